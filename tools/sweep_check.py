"""How much faster is a sweep than its runs by themselves?

    python -m tools.sweep_check                         # MLP VAE, convolutional VAE and a toy; then the runner itself
    python -m tools.sweep_check vae --steps 300 --json FILE

Sixteen runs (4 learning rates x 4 seeds) from the command to the last figure, compilation included: as commands one
after another, which find no compiled program ("compiling", as scripts without JAX's cache), or those that the first has
left in an empty folder ("launches", as ours); one after another in one process that compiles once ("one"); and as
sweeps ("processes", "vmap", "scan", "auto"), which find none. Then training alone, seconds a step of one run: "loop" is
a loop over a jitted step, where "one" takes many steps in a call of its program, and "plain" such a loop without the
gradients of `nn/conv.py`. `runner` is what a sweep adds to each run: the time between the end of one and the beginning
of the next.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gen_models.run import cli, console
from gen_models.run.arguments import parse
from gen_models.run.experiments import find
from gen_models.sweep.plan import Row, planned
from gen_models.sweep.runner import Runner

from .benchmarks import toy

RATES = ("3e-4", "1e-3", "3e-3", "1e-2")
SEEDS = 4
# Sizes at which training is most of a run's time; figures are of fewer importance samples than the experiment's own.
CASES: dict[str, tuple[str, list[str]]] = {
    "vae": ("experiments.vae", ["--hidden", "256", "--latent", "16", "--importance-samples", "1"]),
    "vae_conv": (
        "experiments.vae",
        ["--channels", "16", "32", "--hidden", "128", "--latent", "16", "--importance-samples", "1"],
    ),
    "toy": ("tools.benchmarks.toy", []),
}
WAYS = {
    "vae": ("compiling", "launches", "one", "processes"),
    "vae_conv": ("compiling", "launches", "one", "processes"),
    "toy": ("compiling", "launches", "one", "processes", "vmap"),
}


def main(words: Sequence[str] | None = None) -> None:
    """Measure the cases named, print a table for each, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join([*CASES, 'runner'])}; default: all")
    parser.add_argument("--steps", type=int, default=300, help="of each run")
    parser.add_argument("--ways", nargs="+", help="of compiling, launches, one, processes, vmap, scan, auto")
    parser.add_argument("--json", type=Path, help="also write the seconds here")
    options = parser.parse_args(words)
    known = [*CASES, "runner"]
    found: dict[str, object] = {}
    for case in options.cases or known:
        if case not in known:
            parser.error(f"unknown case {case!r}: choose from {', '.join(known)}")
        if case == "runner":
            found[case] = runner()
            continue
        seconds = {way: measured(case, way, options.steps) for way in options.ways or WAYS[case]}
        _show(f"{case}: {len(RATES) * SEEDS} runs of {options.steps:,} steps", "s", seconds)
        each = steps_alone(case)
        _show(f"{case}: a step of one of {len(RATES) * SEEDS} runs", "ms", {way: 1e3 * s for way, s in each.items()})
        found[case] = {"seconds": seconds, "seconds a step": each}
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def _show(title: str, unit: str, taken: Mapping[str, float]) -> None:
    """Each way's time, and how many times shorter it is than each other's."""
    rows = [(way, f"{time:.3g}", *(f"{other / time:.2f}" for other in taken.values())) for way, time in taken.items()]
    console.show_table(title, ("way", unit, *(f"{way} / this" for way in taken)), rows)


def measured(case: str, way: str, steps: int) -> float:
    """Seconds from the first command to the end of the last."""
    module, fields = CASES[case]
    fields = [*fields, "--steps", str(steps)]
    with tempfile.TemporaryDirectory() as folder:
        sweep = ["sweep", "--seeds", str(SEEDS), "--grid", f"learning_rate={','.join(RATES)}", "--variants", "base"]
        commands = [[*sweep, *fields, "--execution", way, "--run-dir", f"{folder}/runs"]]
        if case == "vae_conv":
            commands[0][commands[0].index("base")] = "conv"
        if way in ("compiling", "launches"):
            variant = ["conv"] if case == "vae_conv" else ["base"]
            points = [(rate, seed) for rate in RATES for seed in range(SEEDS)]
            commands = [
                [
                    *variant,
                    *fields,
                    "--learning-rate",
                    rate,
                    "--seed",
                    str(seed),
                    "--run-dir",
                    f"{folder}/{rate}/{seed}",
                ]
                for rate, seed in points
            ]
        began = time.perf_counter()
        for command in commands:
            if way == "compiling":
                shutil.rmtree(f"{folder}/cache", ignore_errors=True)
            _run(module, command, Path(folder))
        return time.perf_counter() - began


def runner(count: int = 50) -> float:
    """Seconds a run between its worker's own times, of runs of the toy that train one step."""
    row = Row("base", "base", replace(toy.variants["base"], steps=1))
    with tempfile.TemporaryDirectory() as folder:
        members = [planned(Path(folder), row, seed) for seed in range(count + 1)]
        with Runner(toy.EXPERIMENT, Path(folder), "one", None, lambda line: None) as sweep:
            sweep.train(members[:1])  # the worker has started and compiled
            began = time.perf_counter()
            sweep.train(members[1:])
            total = time.perf_counter() - began
            own = sum(sweep.took[one.folder] for one in members[1:])
    each = (total - own) / count
    console.say(f"a run of one step of the toy: {1e3 * own / count:.1f} ms; the runner adds {1e3 * each:.1f} ms")
    return each


def steps_alone(case: str, members: int = 16) -> dict[str, float]:
    """Seconds a step of one run of `members`, for each way to train them."""
    module, fields = CASES[case]
    experiment = toy.EXPERIMENT if case == "toy" else find(module)
    variant = "conv" if case == "vae_conv" else "base"
    row = Row("base", variant, parse(experiment, variant, [*fields, "--steps", "100000"]))
    with tempfile.TemporaryDirectory() as folder:
        plan = [planned(Path(folder), row, seed) for seed in range(members)]
        with Runner(experiment, Path(folder), "auto", None, console.say) as sweep:
            return sweep.compare(plan, ("plain", "loop", "one", "vmap", "scan"))


def _run(module: str, words: Sequence[str], folder: Path) -> None:
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", module, *words], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{module} {' '.join(words)} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    cli.guard(main)
