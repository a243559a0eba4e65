"""Measure speed as ratios, taken in interleaved rounds of one process.

python -m tools.benchmark --list
python -m tools.benchmark --json benchmark.json            # all cases, about 30 minutes on 2 cores
python -m tools.benchmark step_vae lstm --rounds 100
python -m tools.benchmark sampling --json sampling.json    # all cases that begin with sampling_
python -m tools.benchmark --profile conv_stack             # where a step's time goes

A ratio is (time of the other) / (time of ours), the median over rounds, with its quartiles: above 1, ours is faster. In
a round each contender trains for a while, one after another in random order. The file gets a list of rows {"name",
"median_ms", "against", "ratio", "rounds", "ratio_low", "ratio_high", "against_ms", "machine"}, times in milliseconds a
step, which is a training step or what `--list` says; samplers' have "compile_s" too, how long ours took to compile. Run
it while nothing else does: two programs on one core measure each other.
"""

import argparse
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.table import Table

from gen_models.errors import unknown
from gen_models.run import cli
from gen_models.run.console import console, say

from .benchmarks import CASES, chosen

PROFILED_STEPS = 10
NO_TORCH = "PyTorch is not installed: pip install 'gen_models[benchmark]'"


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, show, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="cases (default: all of them; see --list)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the rows are written")
    parser.add_argument("--rounds", type=int, help="default: by case, see --list")
    parser.add_argument("--seed", type=int, default=0, help="of the order within rounds (default: 0)")
    parser.add_argument("--profile", action="store_true", help="show where a step's time goes instead of measuring it")
    parser.add_argument("--contender", default="ours", help="with --profile: whose step, such as plain_xla")
    parser.add_argument("--top", type=int, default=20, help="with --profile: how many operations (default: 20)")
    parser.add_argument("--list", action="store_true", help="show the cases and stop")
    options = parser.parse_intermixed_args(arguments)
    if options.list:
        return _list()
    names = chosen(options.names)
    for option in ("rounds", "top"):
        value = getattr(options, option)
        if value is not None and value < 1:
            raise ValueError(f"--{option} must be 1 or more, got {value}")
    if options.profile and len(names) != 1:
        raise ValueError(f"--profile takes one case, got {len(names)}: known: {', '.join(CASES)}")
    if options.profile and options.json is not None:
        raise ValueError("--json is for what is measured without --profile, which slows the steps")
    if options.json is not None and not options.json.absolute().parent.is_dir():
        raise ValueError(f"--json: the folder {options.json.absolute().parent} does not exist")
    if options.json is not None and options.json.is_dir():
        raise ValueError(f"--json: {options.json} is a folder: give the name of a file")

    from gen_models.training.startup import start

    start()
    if options.profile:
        return show_profile(names[0], options.contender, options.top)
    found = []
    for name in names or CASES:
        found += run_case(name, options.rounds, options.seed)
        if options.json is not None:  # after each case: those that were measured stay, whatever comes
            options.json.write_text(json.dumps(found, indent=1) + "\n")
    show(found)
    if options.json is not None:
        say("rows:", options.json)


def run_case(name: str, rounds: int | None = None, seed: int = 0) -> list[dict[str, Any]]:
    """The rows of one case."""
    from .benchmarks.measure import measure, rows

    case, machine = CASES[name], describe_machine()
    rounds = case.rounds if rounds is None else rounds
    done = 0
    with ExitStack() as stack, console.status(f"{name}: compiling") as status:
        contenders = case.build(name, stack)

        def count() -> None:
            nonlocal done
            done += 1
            status.update(f"{name}: round {done} of {rounds}")

        times = measure(
            contenders,
            rounds,
            seconds=case.seconds,
            settle=case.settle,
            warm_up=case.warm_up,
            seed=seed,
            after_round=count,
        )
    found = rows(name, times, machine, case.rows_of(times))
    took = next(iter(contenders.values())).compile_seconds
    return [row | {"compile_s": took} for row in found] if took is not None else found


def show(found: Sequence[dict[str, Any]]) -> None:
    """The rows as a table."""
    table = Table(caption="ratio: time of the other / time of ours; its quartiles over rounds", caption_justify="left")
    for column in ("case", "ms a step", "against", "ms a step", "ratio", "quartiles", "rounds"):
        name = column in ("case", "against")
        table.add_column(column, justify="left" if name else "right", no_wrap=name)
    compiled = any("compile_s" in row for row in found)
    if compiled:
        table.add_column("compiled in s", justify="right")
    for row in found:
        ours, other = f"{row['median_ms']:.2f}", f"{row['against_ms']:.2f}"
        quartiles = f"{row['ratio_low']:.3f} to {row['ratio_high']:.3f}"
        cells = (row["name"], ours, row["against"], other, f"{row['ratio']:.3f}", quartiles, str(row["rounds"]))
        table.add_row(*cells, *([f"{row['compile_s']:.1f}" if "compile_s" in row else ""] if compiled else []))
    console.print(table)
    if not _version("torch"):
        say(NO_TORCH)


def show_profile(name: str, contender: str, top: int) -> None:
    """Two tables: time by kind of operation, and the longest operations."""
    from .benchmarks.profile import by_kind, profile

    with ExitStack() as stack:
        contenders = CASES[name].build(name, stack)
        if contender not in contenders:
            raise unknown(f"contender of {name}", contender, contenders)
        step, operations = profile(contenders[contender], PROFILED_STEPS)
    kinds = Table(title=f"{name}, {contender}: {step * 1e3:.2f} ms a step while it was traced", title_justify="left")
    for column in ("kind", "ms", "share", "a step"):
        kinds.add_column(column, justify="left" if column == "kind" else "right")
    for kind in by_kind(operations)[:top]:
        kinds.add_row(kind.kind, f"{kind.seconds * 1e3:.3f}", f"{kind.share:.1%}", f"{kind.runs:g}")
    console.print(kinds)
    longest = Table(title=f"the {min(top, len(operations))} longest operations", title_justify="left")
    for column in ("operation", "ms", "share", "a step", "result", "from"):
        longest.add_column(column, justify="right" if column in ("ms", "share", "a step") else "left", overflow="fold")
    for one in operations[:top]:
        figures = (f"{one.seconds * 1e3:.3f}", f"{one.share:.1%}", f"{one.runs:g}")
        longest.add_row(one.name, *figures, _first(one.shape), one.source)
    console.print(longest)


def describe_machine() -> dict[str, Any]:
    """What a figure depends on; "load" is the machine's average of the last minute, where it is known."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    from gen_models.machine import cores

    return {
        "processor": processor,
        "cores": cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("jax", "jaxlib", "torch")},
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _first(shape: str) -> str:
    """Of a tuple's shapes the first."""
    return shape.strip("()").partition(", ")[0] + ", ..." if shape.startswith("(") else shape


def _list() -> None:
    table = Table()
    for column in ("case", "rounds", "what"):
        table.add_column(column)
    for name, case in CASES.items():
        table.add_row(name, str(case.rounds), case.about)
    console.print(table)


if __name__ == "__main__":
    cli.guard(main)
