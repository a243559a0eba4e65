"""A process that trains runs of a sweep, as its parent tells it: `... worker EXPERIMENT LOG FILE`.

Messages are JSON, a line each, on standard input and output, an answer with its question's "number"; what runs print
goes to the log file. It ends when its input does, and gets SIGTERM when its parent dies, so that the run under way is
saved.

    {"do": "check", "configs": [...], "how": ...}
        -> {"errors": [null or a message, ...], "objective": [metric, way] by which the rows are judged, or null,
            "told": lines that say what was read}
    {"do": "compare", "runs": [{"variant", "config", "folder"}, ...]}
        -> {"errors": [null, or how a run's data differ from those that its config names now, ...]}
    {"do": "measure", "config": ..., "hows": [...], "members": n}
        -> {"seconds": {how: of a step of one run}, "problems": ..., "cost": ...}
    {"do": "memory", "config": ...}
        -> {"member": bytes of a stacked run by estimate, "available": bytes}
    {"do": "run", "how": ..., "runs": [{"variant", "config", "folder"}, ...], "until": null or a step}
        -> {"folder", "cost"} for the first of a group, {"folder", "status", "message"} for each, then {"done": true}
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from gen_models.data.report import told
from gen_models.run import config as configs
from gen_models.run import directory, endings
from gen_models.run.directory import Request
from gen_models.run.experiments import find
from gen_models.run.fields import from_json
from gen_models.run.job import Job, make_job
from gen_models.run.terminal import terminal
from gen_models.run.train import EndedBefore, run_job
from gen_models.sweep.choice import FILLED
from gen_models.sweep.endings import BY_ANOTHER
from gen_models.sweep.group import run_group
from gen_models.sweep.measure import available_bytes, bytes_per_member, cost, seconds_per_step
from gen_models.sweep.plan import group_of
from gen_models.sweep.stacked import refuse_unstackable
from gen_models.training.startup import start

KEPT = 8  # groups whose jobs are kept
MEASURED_SECONDS = 0.4  # of steps, for each candidate


def main(words: Sequence[str]) -> None:
    """Serve until the input ends."""
    name, log_file, experiment_file = words
    parent = os.getppid()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG; Linux only
    if os.getppid() != parent:
        return
    # Without a parent that reads them, the answers can be written no more: not when they are closed either.
    with (
        contextlib.suppress(KeyboardInterrupt, BrokenPipeError),
        Path(log_file).open("a") as log,
        os.fdopen(os.dup(1), "w") as answers,
    ):
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        with terminal(), endings.signals():
            serve(find(name, experiment_file), sys.stdin, answers)


def serve(experiment: configs.Experiment, questions: Any, answers: Any) -> None:
    """Answer each line."""

    number = 0

    def answer(value: Any) -> None:
        answers.write(json.dumps(value | {"number": number}) + "\n")
        answers.flush()

    start()
    answer({"backend": jax.default_backend(), "devices": len(jax.devices())})
    serving = Serving(experiment)
    for line in questions:
        asked = json.loads(line)
        number = asked["number"]
        if asked["do"] == "check":
            errors = [serving.error(fields, asked["how"]) for fields in asked["configs"]]
            answer({"errors": errors, "objective": serving.objective(), "told": serving.told()})
        elif asked["do"] == "compare":
            answer({"errors": [serving.other_data(one) for one in asked["runs"]]})
        elif asked["do"] == "memory":
            answer(serving.memory(asked["config"]))
        elif asked["do"] == "measure":
            answer(serving.measure(asked["config"], asked["hows"], asked["members"]))
        else:
            for ended in serving.run(asked["runs"], asked["how"], asked.get("until")):
                answer(ended)
                if ended.get("status") == "interrupted":
                    return
            answer({"done": True})


class Serving:
    """What is kept from one message to the next: a group's job and its compiled program."""

    def __init__(self, experiment: configs.Experiment) -> None:
        self._experiment = experiment
        self._kind = experiment.config_class
        self._jobs: dict[str, Job] = {}
        self._costed: set[str] = set()
        self._told: dict[str, None] = {}

    def error(self, fields: Any, how: str) -> str | None:
        """What is wrong with a config, found by making its job; or with training it so."""
        try:
            job = self._job(self._config(fields), fresh=True)
            self._told[told(job.report)] = None
            if how in ("vmap", "scan"):
                refuse_unstackable(job)
        except Exception as error:
            if (ending := endings.ending_of(error)) is None:
                raise  # a mistake in code: the log has its traceback, and its last line is shown
            return ending.line
        return None

    def objective(self) -> tuple[str, str] | None:
        """The metric by which runs are judged and its better way, of the jobs that were made."""
        return next((job.objective() for job in self._jobs.values()), None)

    def other_data(self, one: Any) -> str | None:
        """What is said where the data of a run are not those that its config names now."""
        try:
            asked = self._request(one)
            directory.refuse_other_data(asked, self._job(asked.config).described())
        except (ValueError, OSError, ImportError) as error:
            return str(error)
        return None

    def told(self) -> list[str]:
        """What was read for the jobs that were made, each data set once."""
        return list(self._told)

    def measure(self, fields: Any, hows: Sequence[str], members: int) -> dict[str, Any]:
        """Seconds a step of one run, for each way to train `members` of them; what fails is left out."""
        config = self._config(fields)
        job = self._job(config)
        seconds, problems = {}, {}
        if {"vmap", "scan"} & set(hows):
            memory = self.memory(fields)
            members = max(1, min(members, int(FILLED * memory["available"] / max(1, memory["member"]))))
        for how in hows:
            try:
                seconds[how] = seconds_per_step(job, config, how, members, MEASURED_SECONDS)
            except Exception as error:  # a candidate that does not work is not chosen; it is named in the report
                problems[how] = f"{type(error).__name__}: {error}"
                traceback.print_exc()
        return {"seconds": seconds, "problems": problems, "cost": cost(job)}

    def memory(self, fields: Any) -> dict[str, int]:
        """What one more stacked run takes, and what there is."""
        return {"member": bytes_per_member(self._job(self._config(fields))), "available": available_bytes()}

    def run(self, asked: Sequence[Any], how: str, until: int | None) -> Iterator[dict[str, Any]]:
        """Train the runs, and say how each ended; an error ends its run alone, or all of a stacked group."""
        left = {one["folder"]: one for one in asked}
        requests = [self._request(one) for one in asked]
        try:
            for ended in self._together(requests, how) if how in ("vmap", "scan") else self._in_turn(requests, until):
                if "status" in ended:
                    del left[ended["folder"]]
                yield ended
        except Exception as error:
            traceback.print_exc()
            for folder in left:
                yield self._failed(folder, error)

    def _in_turn(self, asked: Sequence[Request], until: int | None) -> Iterator[dict[str, Any]]:
        for one in asked:
            began, folder = time.perf_counter(), str(one.folder)
            said: dict[str, Any] = {}
            try:
                job, group = self._job(one.config), group_of(one.config)
                if group not in self._costed:
                    self._costed.add(group)
                    yield {"folder": folder, "cost": cost(job)}  # kept, whatever becomes of the run
                # Another process may have trained it since the parent looked; in halving the parent knows better.
                status, _ = run_job(job, one, until=until, again=until is not None)
                said |= {"status": _STATUS[status], "message": ""}
                if status == configs.DIVERGED:
                    said["message"] = (directory.Run(one.folder).stopped() or {}).get("message", "")
            except EndedBefore as before:
                yield {"folder": folder, "status": before.status, "message": BY_ANOTHER}
                continue
            except Exception as error:  # of one run: the others go on
                if isinstance(error.__cause__, directory.InUse):
                    said |= {"status": "busy", "message": str(error)}
                else:
                    traceback.print_exc()
                    said |= self._failed(folder, error)
            yield said | {"folder": folder, "took": time.perf_counter() - began}

    def _together(self, asked: Sequence[Request], how: Any) -> Iterator[dict[str, Any]]:
        for ended in run_group(self._job(asked[0].config), asked, how):
            yield {"folder": str(ended.folder), "status": ended.status, "message": ended.message}

    def _failed(self, folder: str, error: Exception) -> dict[str, Any]:
        message = endings.message_of(error)
        with contextlib.suppress(OSError):
            directory.Run(Path(folder)).stop("failed", 0, message)
        return {"folder": folder, "status": "failed", "message": message}

    def _config(self, fields: Any) -> Any:
        return from_json(self._kind, fields)

    def _request(self, one: Any) -> Request:
        return Request(self._experiment, one["variant"], self._config(one["config"]), Path(one["folder"]))

    def _job(self, config: Any, fresh: bool = False) -> Job:
        """The group's job; another one where it cannot serve this config, or to find what is wrong with one."""
        group = group_of(config)
        kept = self._jobs.get(group)
        if kept is not None and kept.serves(config) and not fresh:
            return kept
        job = make_job(self._experiment, config)
        if kept is None or not kept.serves(config):
            self._jobs[group] = job
            while len(self._jobs) > KEPT:
                del self._jobs[next(iter(self._jobs))]
        return self._jobs[group]


_STATUS = {
    configs.FINISHED: "finished",
    configs.DIVERGED: "diverged",
    configs.INTERRUPTED: "interrupted",
    configs.PAUSED: "paused",
}

if __name__ == "__main__":
    main(sys.argv[1:])
