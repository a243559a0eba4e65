"""The command `gen-models`, which a wheel installs: all that a checkout has as `python -m experiments.NAME`. No JAX.

gen-models list                               the experiments, and the question of each
gen-models train vae --steps 2000             as python -m experiments.vae --steps 2000
gen-models train my_vae.py sweep --seeds 3    an experiment of one's own
gen-models sample runs/vae/base/0 --n 64      as python -m tools.sample; likewise evaluate, export, ladder, ...
"""

import runpy
import sys
from collections.abc import Sequence

from gen_models.errors import unknown
from gen_models.run.cli import main as experiment_main
from gen_models.run.config import FINISHED
from gen_models.run.console import say
from gen_models.run.endings import GOES_ON, guarded, words_of
from gen_models.run.experiments import find, names, package, tools


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    words = words_of(sys.argv[1:] if arguments is None else arguments)
    sys.exit(guarded(lambda: _main(words), GOES_ON if words[:1] == ["train"] else "interrupted"))


def _main(words: list[str]) -> int:
    command = words.pop(0) if words else "--help"
    if command in ("-h", "--help"):
        say(f"{(__doc__ or '').strip()}\n\ntools: {', '.join(tools())}")
        return FINISHED
    if command == "list":
        return _list()
    if command not in ("train", *tools()):
        raise unknown("command", command, ("list", "train", *tools()))
    if command == "train":
        if not words or words[0].startswith("-"):
            raise ValueError("gen-models train takes an experiment's name or file first; gen-models list shows them")
        return experiment_main(find(words.pop(0)), words)
    package("tools")
    sys.argv = [f"gen-models {command}", *words]
    runpy.run_module(f"gen_models.tools.{command}", run_name="__main__", alter_sys=True)
    return FINISHED


def _list() -> int:
    for name in names():
        question = (find(name).doc or "").strip().split("\n\n")[0].replace("\n", " ")
        say(f"{name}: {question}")
    return FINISHED
