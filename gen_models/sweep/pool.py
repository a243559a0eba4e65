"""A worker process of a sweep on this machine: pinned to a core with one thread, or with all cores.

On a CPU two processes with a core each do more in a second than one with two threads, as small products gain little
from a second thread: every sweep's report has what was measured. Imports no JAX.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from gen_models.run.config import Experiment

STOPPING_SECONDS = 120.0  # for a worker to save the run under way


class Source(NamedTuple):
    """From where another process imports an experiment."""

    name: str  # its module, such as "experiments.vae"
    file: str  # where that module is


def source_of(experiment: Experiment) -> Source:
    """From where a worker imports the experiment."""
    return Source(experiment.name, experiment.file)


class Worker:
    """One process; its answers arrive in the pool's queue as (worker, message), and None when it has ended."""

    def __init__(self, number: int, source: Source, log: Path, core: int | None, answers: "queue.Queue[Any]") -> None:
        self.number, self.core, self.log = number, core, log
        self.busy: Any = None  # what it was asked and has not answered, as its parent keeps it
        self.asked = 0  # questions so far: an answer has its question's number, the greeting 0
        self.stopped = False
        self.backend = ""  # JAX's, once it has said so
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ)
        if core is not None:
            environment |= {"JAX_NUM_CPU_DEVICES": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [*_interpreter(core), source.name, str(log), source.file],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,  # a Ctrl-C is for the parent, which tells its workers
        )
        self.reader = threading.Thread(target=self._read, args=(answers,), daemon=True)
        self.reader.start()

    def ask(self, message: Any) -> None:
        """Send a message. A worker that has ended gets none: its last answer, None, says that it has ended."""
        self.asked += 1
        with suppress(BrokenPipeError, ValueError):
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(message | {"number": self.asked}) + "\n")
            self.process.stdin.flush()

    def stop(self) -> None:
        """Ask it to save what it does and end."""
        if not self.stopped:
            self.stopped = True
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)

    def last_words(self) -> str:
        """What the log of a process that ended says last, and where the log is: ": TypeError: ...; see LOG"."""
        said = ""
        with suppress(OSError):
            lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
            said = lines[-1][:300] if lines else ""
        if self.process.wait() == -9:
            said = "killed, as systems do when memory runs out"
        return f"{f': {said}' if said else ''}; see {self.log}"

    def _read(self, answers: "queue.Queue[Any]") -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                try:
                    message = json.loads(line)
                except json.JSONDecodeError:  # a kill cut it short
                    continue
                answers.put((self, message))
        answers.put((self, None))


def _interpreter(core: int | None) -> list[str]:
    """The command that runs a worker, on one core from its start: XLA counts the cores it may use when it is loaded."""
    module = "gen_models.sweep.worker"
    if core is None or not hasattr(os, "sched_setaffinity"):
        return [sys.executable, "-m", module]
    # As with -m, Python looks for modules in the folder of the command first.
    code = f"import os, runpy; os.sched_setaffinity(0, {{{core}}}); runpy.run_module({module!r}, run_name='__main__')"
    return [sys.executable, "-c", code]


@contextmanager
def workers(
    source: Source, cores: Sequence[int | None], folder: Path, answers: "queue.Queue[Any]", first: int = 0
) -> Iterator[list[Worker]]:
    """One worker for each entry of `cores`; None: a worker that may use all cores. `first` is the first one's number.

    All of them have ended when the context is left, and what they did is saved.
    """
    numbered = enumerate(cores, first)
    started = [Worker(number, source, folder / f"worker{number}.log", core, answers) for number, core in numbered]
    try:
        yield list(started)  # a copy: the owner replaces those that die, and they are to be ended here too
    finally:
        for worker in started:
            if worker.busy is not None:
                worker.stop()
            with suppress(BrokenPipeError, OSError):
                assert worker.process.stdin is not None
                worker.process.stdin.close()
        for worker in started:
            try:
                worker.process.wait(STOPPING_SECONDS)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            worker.reader.join()
