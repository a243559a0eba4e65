"""In a wheel experiments and tools are `gen_models.experiments` and `gen_models.tools`: so they hide nobody's own."""

from setuptools import find_packages, setup

BESIDE = ("experiments", "tools")
setup(
    packages=[
        *find_packages(include=["gen_models*"]),
        *(f"gen_models.{name}" for name in find_packages(include=[f"{name}*" for name in BESIDE])),
    ],
    package_dir={f"gen_models.{name}": name for name in BESIDE},
)
