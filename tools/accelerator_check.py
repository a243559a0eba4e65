"""Prove on this machine's accelerators what the tests prove on a CPU, then measure; a GPU, a TPU, or a CPU.

python -m tools.accelerator_check --minutes 8
python -m tools.accelerator_check --minutes 30 --experiment my_vae.py    # one's own experiment, before all others
python -m tools.accelerator_check --only equality samplers
python -m tools.accelerator_check --list

In the order of worth: a step under jit, pmap and shard_map equals that of plain XLA on one CPU device; it is traced
once; bfloat16 gives the same loss and direction; a run that is killed and resumed ends in the same bits; cached
samplers draw what naive ones draw; exported samplers draw what the model draws. Then a step's time, memory and share of
the roofline, whose products of matrices and bandwidth are measured in the same run, and its time against that of the
same update by hand, of plain XLA and of PyTorch, where it is installed.

Models are those of the experiments, at tiny sizes for what is proven and at their own for what is measured, on bundled
images: no network is needed. It ends within the minutes and says what it left out for lack of time. Each check runs in
a process of its own. The file, accelerator.json by default, has the machine and a row for each finding; the exit status
is 1 where a check failed.
"""

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from gen_models.errors import unknown
from gen_models.files import write_text
from gen_models.run import cli
from gen_models.run.config import FINISHED
from gen_models.run.console import console, say
from gen_models.run.experiments import find

from .accelerator import CHECKS, Finding

# By worth: one of each kind of layer first, then the others.
SUBJECTS = (
    "vae",
    "classifier cnn",
    "gan_grid",
    "likelihood_ladder gated_pixel_cnn",
    "likelihood_ladder diagonal_lstm",
    "vae conv",
    "likelihood_ladder image_gpt",
    "likelihood_ladder pixel_cnn_pp",
    "likelihood_ladder row_lstm",
    "likelihood_ladder nade",
    "likelihood_ladder pixel_snail",
    "likelihood_ladder made",
    "likelihood_ladder pixel_cnn",
    "likelihood_ladder fvsbn",
    "classifier mlp",
    "classifier logistic",
)
FAILED = 1
POLL = 0.1  # seconds
ENDING = 5.0  # seconds that a process gets to end by itself
ROOT = Path(__file__).parent.parent
STYLES = {"ok": "green", "failed": "bold red", "measured": "", "left out": "yellow"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, check, show, write; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="the time that all of it may take (default: 8)")
    parser.add_argument("--only", nargs="+", metavar="CHECK", help=f"of {', '.join(CHECKS)}")
    parser.add_argument("--subjects", nargs="+", metavar="NAME", help='such as vae "classifier cnn"; see --list')
    parser.add_argument("--experiment", type=Path, action="append", default=[], metavar="FILE", help="one of your own")
    parser.add_argument("--out", type=Path, default=Path("accelerator.json"), help="(default: accelerator.json)")
    parser.add_argument("--list", action="store_true", help="show the checks and the subjects, and stop")
    options = parser.parse_args(arguments)
    if options.list:
        return _list()
    checks, subjects = list(options.only or CHECKS), list(options.subjects or SUBJECTS)
    for check in checks:
        if check not in CHECKS:
            raise unknown("check", check, CHECKS)
    for subject in subjects:
        _refuse_unknown(subject)
    for file in options.experiment:
        find(str(file))
    subjects = [str(file.resolve()) for file in options.experiment] + subjects
    if not 0 < options.minutes < float("inf"):
        raise ValueError(f"--minutes must be above 0, got {options.minutes}")
    if not options.out.absolute().parent.is_dir() or options.out.is_dir():
        raise ValueError(f"--out: {options.out} is a folder, or its folder does not exist: give a file's name")
    return _run(checks, subjects, options.minutes, options.out)


def _run(checks: Sequence[str], subjects: Sequence[str], minutes: float, out: Path) -> int:
    ends = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory(prefix="accelerator_check_") as folder:
        machine = _machine(Path(folder), ends)
        say(f"{machine['devices']} x {machine['device']}, JAX {machine['jax']}, {minutes:g} minutes")
        found: list[Finding] = []
        for index, check in enumerate(checks):
            left = ends - time.monotonic()
            share = CHECKS[check].share / sum(CHECKS[other].share for other in checks[index:])
            for finding in _checked(check, subjects, share * left, left, machine["platform"], Path(folder)):
                found.append(finding)
                if finding.status != "left out":  # these are told together at the end
                    say(f"{finding.check}, {finding.subject}: {finding.status}, {finding.said}")
            rows = [dataclasses.asdict(finding) for finding in found]
            write_text(out, json.dumps({"machine": machine, "minutes": minutes, "findings": rows}, indent=1) + "\n")
    show(found)
    say("findings:", out)
    return FAILED if any(finding.status == "failed" for finding in found) else FINISHED


def _machine(folder: Path, ends: float) -> dict[str, Any]:
    """What the machine is.

    Raises:
      ValueError: JAX does not start here.
    """
    into, log = folder / "machine.json", folder / "machine.log"
    with _process("machine", ["--into", str(into)], log) as process:
        status = _wait(process, ends)
    if status != 0 or not into.exists():
        raise ValueError(f"JAX finds no device, or did not start in time: {_last_line(log)}")
    return json.loads(into.read_text())


def _checked(
    check: str, subjects: Sequence[str], seconds: float, left: float, platform: str, folder: Path
) -> Iterator[Finding]:
    """The findings of one check as they come.

    Its process has `seconds` of the `left` ones. It ends by itself after about that, and is ended after twice as many.
    """
    into, log = folder / f"{check}.jsonl", folder / f"{check}.log"
    into.touch()
    if left < 1:
        yield Finding(check, "all", "left out", "no time was left")
        return
    words = ["--into", str(into), "--seconds", str(seconds), "--platform", platform]
    words += [f"--subject={subject}" for subject in subjects]
    limit, taken = min(2 * seconds, left), 0
    ends = time.monotonic() + limit
    with _process(check, words, log) as process:
        while True:
            over = process.poll() is not None  # before the file is read: nothing is written after the end
            lines = into.read_text().splitlines()
            for line in lines[taken:]:
                yield Finding(**json.loads(line))
            taken = len(lines)
            if over or time.monotonic() > ends:
                break
            time.sleep(POLL)
        if process.poll() is None:
            yield Finding(check, "the rest", "left out", f"it was stopped after {limit:.0f} s")
        elif process.returncode:
            yield Finding(check, "the process", "failed", f"it ended with {process.returncode}: {_last_line(log)}")


@contextmanager
def _process(check: str, words: Sequence[str], log: Path) -> Iterator[subprocess.Popen]:
    """A check's process, which does not outlive the block."""
    # What one process holds of an accelerator's memory, another cannot have: each takes what it needs.
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "2"} | os.environ
    package = f"{__package__ or 'tools'}.accelerator"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", package, check, *words],
            cwd=ROOT if package.startswith("tools.") else None,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()  # it ends what it has started
        try:
            process.wait(ENDING)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(process: subprocess.Popen, ends: float) -> int | None:
    try:
        return process.wait(max(1.0, ends - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def show(found: Sequence[Finding]) -> None:
    """The findings as a table, and what was left out as one line."""
    table = Table(title="what was found", title_justify="left")
    for name in ("check", "subject", "", "what", "s"):
        table.add_column(name, justify="right" if name == "s" else "left", overflow="fold")
    for finding in found:
        if finding.status != "left out":
            status = Text(finding.status, style=STYLES[finding.status])
            cells = (finding.check, finding.subject, status, finding.said, f"{finding.seconds:.1f}")
            table.add_row(*cells)
    console.print(table)
    for check in CHECKS:
        left = [finding.subject for finding in found if finding.check == check and finding.status == "left out"]
        if left:
            say(f"left out for lack of time, {check}: {', '.join(left)}")


def _refuse_unknown(subject: str) -> None:
    name, _, variant = subject.partition(" ")
    variants = find(name).variants
    if variant and variant not in variants:
        raise unknown("variant", variant, variants)


def _list() -> int:
    for name, check in CHECKS.items():
        say(f"{name}: {check.about}")
    say(f"subjects: {', '.join(SUBJECTS)}")
    return FINISHED


if __name__ == "__main__":
    cli.guard(main)
