"""Eight host devices, so that one process can show what pmap and shard_map do, and quick compilation.

XLA reads its flags once a process, when a device is first asked for. They are put back at once: the programs that tests
start are users' programs and inherit nothing.
"""

import os
import shutil
import tempfile
from pathlib import Path

import jax
import pytest

import tests.checked  # jaxtyping looks for it by this name, which pyproject.toml gives

# What tests cost is compilation. The loops that JAX 0.10 can still emit without MLIR compile twice as fast; later
# versions do not know the flag, and XLA ends the process at an unknown one. Level 0 would halve the time again, but its
# programs are wrong: of two that train the same GAN, one had garbage in a bias, now and then infinite (jaxlib 0.10.2).
_quick = "--xla_backend_optimization_level=1 --xla_cpu_parallel_codegen_split_count=1"
if jax.__version_info__ < (0, 11):
    _quick += " --xla_cpu_use_fusion_emitters=false"
_flags = os.environ.get("XLA_FLAGS")
os.environ["XLA_FLAGS"] = f"{_quick} {_flags or ''}"
jax.config.update("jax_num_cpu_devices", 8)
# Programs of quick compilation must not be kept for users, nor for the programs that tests start: a folder of this
# session's own, which its processes share, as many tests compile the same program.
_session = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
_folder = Path(tempfile.gettempdir()) / f"gen_models-tests-{_session}"
jax.config.update("jax_compilation_cache_dir", str(_folder))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.devices()
if _flags is None:
    del os.environ["XLA_FLAGS"]
else:
    os.environ["XLA_FLAGS"] = _flags


@pytest.fixture
def unchecked():
    """A whole test in this context."""
    with tests.checked.unchecked():
        yield


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items):
    """What `slow_cases` names is slow; a name that no case has any more is an error."""
    cases = {}
    for item in items:
        marker = item.get_closest_marker("slow_cases")
        if marker is not None:
            cases.setdefault((item.function, marker.args), set()).add(item.callspec.id)
            if item.callspec.id in marker.args:
                item.add_marker(pytest.mark.slow)
    for (function, named), found in cases.items():
        if len(found) > 1 and not found >= set(named):  # one alone was asked for by its name
            gone = sorted(set(named) - found)
            raise pytest.UsageError(f"slow_cases of {function.__name__} names {gone}: its cases are {sorted(found)}")


def pytest_sessionfinish(session):
    """The last process to end leaves nothing behind."""
    if not hasattr(session.config, "workerinput"):
        shutil.rmtree(_folder, ignore_errors=True)
