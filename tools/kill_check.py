"""Kill a run at random moments, start it again each time, and compare what it ends in with a run that was left alone.

python -m tools.kill_check                           # all of them: VAE, batch norm, GAN, WGAN-GP, carried states
python -m tools.kill_check classifier:mlp --kills 3
python -m tools.kill_check dcgan:wgan_gp             # WGAN-GP: five updates of the critic in a step, with its penalty
python -m tools.kill_check language_model:lstm       # states that go on from window to window

Each kill is a SIGKILL to the run's whole process group. A third of them wait for a temporary folder of Orbax and so hit
a save; the others fall anywhere from the start of a process to its last picture. Both runs keep their compiled programs
in folders of their own, so that kills hit the writing of those as well. The exit status is 1 if the runs differ in a
bit of the training state, in a row of metrics, a figure or a picture, or if a process that was started again lost a
complete checkpoint, did not go on from the newest one, or failed.
"""

import argparse
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gen_models.errors import unknown
from gen_models.run import cli
from gen_models.run.directory import Run
from gen_models.run.experiments import find

# The command `gen-models train`, by the Python that runs here, in a checkout and in an installed wheel alike.
TRAIN = [sys.executable, "-c", "from gen_models.run.entry import main; main()", "train"]
ROOT = Path(__file__).parent.parent
POLL = 0.001  # seconds
INTO_SAVE = 0.03  # seconds from a temporary folder's appearance to the kill, at most; a small state's save takes 0.04
HANGS = 300.0  # seconds in which a process must get to where it is to be killed, or to its end
STEPS_PER_KILL = 60
# Rows, evaluations and pictures come on the way: they must be the same after a kill. Checkpoints lie on rows' ends.
INTERVALS = ["--checkpoint-every", "20", "--log-every", "5", "--evaluate-every", "60", "--draw-every", "60"]
# Sizes at which a step takes milliseconds, and averaged parameters where the experiment can keep them; of an experiment
# or of one of its variants.
SIZES = {
    "vae": "--batch-size 32 --hidden 64 --latent 8 --importance-samples 2 --ema-decay 0.99",
    "classifier": "--batch-size 32 --network.channels 8 16 --network.strides 2 2 --ema-decay 0.99",
    "gan_grid": "--batch-size 20 --points 4000 --samples 100 --generator-hidden 32 --discriminator-hidden 32",
    "language_model:lstm": "--batch-size 4 --length 16 --network.features 16 --written 16",
    "dcgan:wgan_gp": "--dataset digits --batch-size 40 --network.width 8 --latent 8 --ema-decay 0.99",
}
# What a process was doing when it was killed: a save; what comes before its first; or between two; or after the last.
DOING = SAVING, STARTING, TRAINING, ENDING = "saving", "starting", "training", "ending"


class Report(NamedTuple):
    """What `kill_check` saw."""

    landed: Counter[str]  # kills, by what the process was doing
    lives: int  # processes that were started in the killed run's directory
    repeated: int  # steps trained again, by the rows of metrics that kills left beyond the newest checkpoint
    difference: str | None  # the first, or what went wrong; None: the runs are equal


class Failed(Exception):
    """A run did what no kill may make it do."""


def kill_check(
    experiment: str, variant: str, words: Sequence[str], folder: Path, *, steps: int, kills: int = 20, seed: int = 0
) -> Report:
    """Run a command to its end; run it again, killed `kills` times on the way; compare.

    Should the second run finish before it was killed so often, it is compared, and a third takes the rest.

    Args:
      experiment: its name, such as "vae".
      variant: one of its variants.
      words: options of its command line.
      folder: new or empty: the runs are made in `whole` and `killed_1`, their output beside them.
      steps: updates in all.
      kills: how many.
      seed: of their moments.
    """
    command = [*TRAIN, experiment, variant, *words, "--steps", str(steps)]
    rng, landed, lives, repeated, difference = random.Random(seed), Counter[str](), 0, 0, None
    folder.mkdir(parents=True, exist_ok=True)
    whole, moments = folder / "whole", _moments(kills, rng)
    try:
        pace = _leave_alone(command, whole, steps)
        for number in itertools.count(1):
            killed = folder / f"killed_{number}"
            while Run(killed).result() is None:
                lives += 1
                if lives > 3 * kills + 10:
                    raise Failed(f"{landed.total()} kills in {lives} lives: the run is too short, give more steps")
                with _Life(command, killed, folder / "compiled_killed", folder / f"life_{lives}.log") as life:
                    if not moments:
                        life.until(life.over)
                    elif _kill(life, moments[0], rng, pace, steps, len(moments)):
                        moments.pop(0)
                        landed[life.doing(steps)] += 1
                        repeated += life.lost_steps()
                    else:
                        pace = pace._replace(end=pace.end / 2)
                    life.check()
                    pace = pace._replace(start=life.first_save or pace.start)
            difference = first_difference(whole, killed)
            if difference is not None or not moments:
                break
    except Failed as error:
        difference = str(error)
    return Report(landed, lives, repeated, difference)


def first_difference(whole: Path, killed: Path) -> str | None:
    """What differs first between two finished runs: a leaf of the training state, or what `differing_file` names."""
    from gen_models.run.restore import load_run  # imports JAX

    leaf = differing_leaf(load_run(whole).state, load_run(killed).state)
    return differing_file(whole, killed) if leaf is None else f"the training state differs in {leaf}"


def differing_file(whole: Path, killed: Path) -> str | None:
    """The first row of metrics, figure or picture that differs, seconds left out; or None."""
    histories = ([row | {"seconds": None} for row in Run(folder).history()] for folder in (whole, killed))
    for number, (a, b) in enumerate(itertools.zip_longest(*histories), 1):
        if a != b:
            return f"row {number} of metrics.jsonl differs: {a} and {b}"
    for one, other in itertools.zip_longest(*(map(repr, Run(f).result() or []) for f in (whole, killed))):
        if one != other:  # as text, in which NaN is equal to NaN
            return f"the figures differ: {one} and {other}"
    ours, theirs = ({str(p.relative_to(f)): p.read_bytes() for p in f.rglob("*.png")} for f in (whole, killed))
    for name in sorted(ours | theirs):
        if ours.get(name) != theirs.get(name):
            return f"the picture {name} differs"
    return None


def differing_leaf(a: Any, b: Any) -> str | None:
    """The path of the first leaf that has another dtype, another shape or another bit in `b`; typed keys too."""
    import jax
    import numpy as np

    from gen_models.training.checksums import named_leaves

    def bits(leaf: Any) -> tuple[str, tuple[int, ...], bytes]:
        plain = jax.random.key_data(leaf) if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        return str(leaf.dtype), leaf.shape, np.asarray(plain).tobytes()

    ours, theirs = named_leaves(a), named_leaves(b)
    for name in ours | theirs:
        if name not in ours or name not in theirs or bits(ours[name]) != bits(theirs[name]):
            return name
    return None


class _Pace(NamedTuple):
    """How long a process takes, in seconds."""

    start: float  # until its first save begins
    training: float  # of a run from its first save to the last
    end: float  # from there to `result.json`


class _Moment(NamedTuple):
    """When to kill."""

    phase: str
    share: float  # of the phase


class _Life:
    """A process of a run; a context manager that leaves none behind."""

    def __init__(self, command: Sequence[str], run: Path, compiled: Path, log: Path) -> None:
        self.run, self.log = run, log
        self.before, self._metrics = self.newest(), _written(run / "metrics.jsonl")
        self.first_save: float | None = None  # seconds from the start to its first save, where it was waited for
        self._began = time.time()
        environment = {"JAX_COMPILATION_CACHE_DIR": str(compiled), "PYTHONUNBUFFERED": "1"}
        with log.open("w") as output:
            self._process = subprocess.Popen(
                [*command, "--run-dir", str(run)],
                cwd=ROOT,
                env=os.environ | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> "_Life":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> bool:
        """Kill it and what it started; False where it had ended."""
        if not self.over():
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait() == -signal.SIGKILL

    def age(self) -> float:
        """Seconds since the start."""
        return time.time() - self._began

    def over(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def newest(self) -> int:
        """The step of the newest complete checkpoint, 0 where there is none: Orbax renames a folder when it is."""
        return max((int(name) for name in self._checkpoints() if name.isdigit()), default=0)

    def saving(self) -> bool:
        """Whether a temporary folder is there that is not from a life before."""
        for name in self._checkpoints():
            if ".orbax-checkpoint-tmp" in name:
                try:
                    if (self.run / "checkpoints" / name).stat().st_ctime >= self._began:
                        return True
                except FileNotFoundError:  # it is complete now
                    continue
        return False

    def saved(self) -> bool:
        """Whether this life has begun to save."""
        return self.saving() or self.newest() > self.before

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the condition or the end of the process.

        Raises:
          Failed: neither comes.
        """
        begun = time.monotonic()
        while not (condition() or self.over()):
            if time.monotonic() > begun + HANGS:
                raise Failed(f"nothing happened in {HANGS:.0f} s: see {self.log}")
            time.sleep(POLL)

    def wait(self, seconds: float) -> None:
        """Wait for so long, or for the end of the process."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end)

    def doing(self, steps: int) -> str:
        """What it was doing when it was killed."""
        if self.saving():
            return SAVING
        if self.newest() == steps:
            return ENDING
        return TRAINING if self.saved() else STARTING

    def lost_steps(self) -> int:
        """How many steps rows of metrics tell of that no complete checkpoint holds; rows of lives before left out."""
        if _written(self.run / "metrics.jsonl") == self._metrics:
            return 0
        return max(0, max((row["step"] for row in Run(self.run).history()), default=0) - self.newest())

    def check(self) -> None:
        """That it did what it had to.

        Raises:
          Failed: it lost a checkpoint, did not go on from the newest, found it damaged, or failed.
        """
        output, status = self.log.read_text(), self._process.wait()
        if status not in (0, -signal.SIGKILL) or "Traceback" in output:
            errors = re.findall(r"^(?:error|[\w.]+(?:Error|Exception)): .*", output, re.MULTILINE)
            raise Failed(
                f"a process ended with status {status}: {(errors or ['it does not say why'])[-1]}; see {self.log}"
            )
        if self.newest() < self.before:
            raise Failed(f"the complete checkpoint of step {self.before} was lost: see {self.log}")
        if "is damaged" in output:
            raise Failed(f"a complete checkpoint is damaged: see {self.log}")
        found = re.search(r"resuming at step ([\d,]+) from", output)
        resumed = int(found[1].replace(",", "")) if found else 0
        if resumed != self.before and (found or self.saved() or status == 0):
            raise Failed(f"it went on from step {resumed}, and the newest checkpoint was {self.before}: see {self.log}")

    def _checkpoints(self) -> list[str]:
        try:
            return os.listdir(self.run / "checkpoints")
        except FileNotFoundError:
            return []


def _leave_alone(command: Sequence[str], run: Path, steps: int) -> _Pace:
    """The run that is not killed; returns how long it took."""
    with _Life(command, run, run.with_name("compiled_whole"), run.with_suffix(".log")) as life:
        times = []
        for condition in (life.saved, lambda: life.newest() == steps, (run / "result.json").exists, life.over):
            life.until(condition)
            times.append(life.age())
        life.check()
    return _Pace(times[0], times[1] - times[0], times[2] - times[1])


def _moments(kills: int, rng: random.Random) -> list[_Moment]:
    """A third in saves, a fifth at the start of a process, a tenth at the end of the run, the others in training."""
    saves, starts, ends = -(-kills // 3), kills // 5, kills // 10
    phases = [SAVING] * saves + [STARTING] * starts + [TRAINING] * (kills - saves - starts - ends)
    rng.shuffle(phases)
    return [_Moment(phase, rng.random()) for phase in phases + [ENDING] * ends]


def _kill(life: _Life, moment: _Moment, rng: random.Random, pace: _Pace, steps: int, left: int) -> bool:
    """Wait for the moment and kill; False where the process ended before.

    The part of the training that a life may take is such that `left` kills share what remains of it.
    """
    if moment.phase == STARTING:
        life.wait(moment.share * pace.start)
    elif moment.phase == ENDING or life.before == steps:
        life.until(lambda: life.newest() == steps)
        life.wait(moment.share * pace.end / 2)
    else:
        remains = pace.training * (1 - life.before / steps)
        life.until(life.saved)
        life.first_save = life.age()
        life.wait(moment.share * remains * min(1, 2 / (left + 1)))
        if moment.phase == SAVING:
            life.until(lambda: life.saving() or life.newest() == steps)
            life.wait(rng.uniform(0, INTO_SAVE))
    return life.kill()


def _written(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size


def named(word: str) -> tuple[str, str]:
    """Experiment and variant.

    Raises:
      ValueError: there is no such experiment or variant.
    """
    name, _, variant = word.partition(":")
    experiment = find(name)
    if variant and variant not in experiment.variants:
        raise unknown("variant", variant, experiment.variants)
    return experiment.name.removeprefix("experiments."), variant or next(iter(experiment.variants))


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, check one experiment after another, say what was found; 1 where a run is not equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT[:VARIANT]", help="default: " + " ".join(SIZES))
    parser.add_argument("--kills", type=int, default=20, help="of each run (default: 20)")
    parser.add_argument("--steps", type=int, help=f"of each run; by default {STEPS_PER_KILL} for each kill")
    parser.add_argument("--seed", type=int, default=0, help="of the kills' moments (default: 0)")
    parser.add_argument("--folder", type=Path, help="for the runs; by default one that is deleted where all is equal")
    options = parser.parse_args(arguments)
    chosen = dict.fromkeys(named(word) for word in options.experiments or SIZES)
    steps = STEPS_PER_KILL * options.kills if options.steps is None else options.steps
    if options.kills < 1 or steps < 1:
        raise ValueError(f"--kills and --steps must be 1 or more, got {options.kills} and {steps}")
    if options.folder is not None and options.folder.exists() and any(options.folder.iterdir()):
        raise ValueError(f"--folder: {options.folder} is not empty, choose another")
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="kill_check_"))).absolute()

    failed = False
    for name, variant in chosen:
        label = f"{name}:{variant}"
        words = [*SIZES.get(label, SIZES.get(name, "")).split(), *INTERVALS]
        print(f"{label}: {steps:,} steps, {options.kills} kills at moments of seed {options.seed}", flush=True)
        report = kill_check(
            name, variant, words, folder / f"{name}_{variant}", steps=steps, kills=options.kills, seed=options.seed
        )
        where = ", ".join(f"{report.landed[what]} {what}" for what in DOING)
        print(f"  {report.landed.total()} kills ({where}), {report.lives} lives, {report.repeated:,} steps repeated")
        print("  bit-equal: yes" if report.difference is None else f"  bit-equal: no, {report.difference}", flush=True)
        failed |= report.difference is not None
    if failed or options.folder is not None:
        print(f"the runs and their output are in {folder}")
    else:
        shutil.rmtree(folder)
    return int(failed)


if __name__ == "__main__":
    cli.guard(main)
