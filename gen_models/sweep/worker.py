"""A process that trains runs of a sweep, as its parent tells it: `python -m gen_models.sweep.worker EXPERIMENT LOG`.

Messages are JSON, a line each, on standard input and output, an answer with its question's "number"; what runs print
goes to the log file. It ends when its input does, and gets SIGTERM when its parent dies, so that the run under way is
saved.

    {"do": "check", "configs": [...], "how": ...}
        -> {"errors": [null or a message, ...]}
    {"do": "measure", "config": ..., "hows": [...], "members": n}
        -> {"seconds": {how: of a step of one run}, "problems": ..., "cost": ...}
    {"do": "memory", "config": ...}
        -> {"member": bytes of a stacked run by estimate, "available": bytes}
    {"do": "run", "how": ..., "runs": [{"variant", "config", "folder"}, ...], "until": null or a step}
        -> {"folder", "cost"} for the first of a group, {"folder", "status", "message"} for each, then {"done": true}
"""

import contextlib
import ctypes
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gen_models.run import config as configs
from gen_models.run import directory as runs
from gen_models.sweep.choice import FILLED
from gen_models.sweep.plan import group_of

KEPT = 8  # groups whose jobs are kept
MEASURED_SECONDS = 0.4  # of steps, for each candidate


def main(words: Sequence[str]) -> None:
    """Serve until the input ends."""
    name, log = words
    parent = os.getppid()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG; Linux only
    if os.getppid() != parent:
        return
    with Path(log).open("a") as file, os.fdopen(os.dup(1), "w") as answers:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
            serve(name, sys.stdin, answers)


def serve(name: str, questions: Any, answers: Any) -> None:
    """Answer each line."""

    number = 0

    def answer(value: Any) -> None:
        answers.write(json.dumps(value | {"number": number}) + "\n")
        answers.flush()

    experiment = importlib.import_module(name).EXPERIMENT
    from gen_models.training.startup import start  # imports JAX

    start()
    import jax

    answer({"backend": jax.default_backend(), "devices": len(jax.devices())})
    serving = Serving(experiment)
    for line in questions:
        asked = json.loads(line)
        number = asked["number"]
        if asked["do"] == "check":
            answer({"errors": [serving.error(fields, asked["how"]) for fields in asked["configs"]]})
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
        self._kind = type(next(iter(experiment.variants.values())))
        self._prepared: dict[str, Any] = {}
        self._costed: set[str] = set()

    def error(self, fields: Any, how: str) -> str | None:
        """What is wrong with a config, found by building it; or with training it so."""
        try:
            prepared = self._job(self._config(fields), fresh=True)
            if how in ("vmap", "scan"):
                from gen_models.sweep.group import refuse_unstackable

                refuse_unstackable(prepared)
        except (ValueError, OSError, ImportError) as error:
            return str(error)
        return None

    def measure(self, fields: Any, hows: Sequence[str], members: int) -> dict[str, Any]:
        """Seconds a step of one run, for each way to train `members` of them; what fails is left out."""
        from gen_models.sweep.measure import cost, seconds_per_step

        config = self._config(fields)
        prepared = self._job(config)
        seconds, problems = {}, {}
        if {"vmap", "scan"} & set(hows):
            memory = self.memory(fields)
            members = max(1, min(members, int(FILLED * memory["available"] / max(1, memory["member"]))))
        for how in hows:
            try:
                seconds[how] = seconds_per_step(prepared, config, how, members, MEASURED_SECONDS)
            except Exception as error:  # a candidate that does not work is not chosen; it is named in the report
                problems[how] = f"{type(error).__name__}: {error}"
                traceback.print_exc()
        return {"seconds": seconds, "problems": problems, "cost": cost(prepared)}

    def memory(self, fields: Any) -> dict[str, int]:
        """What one more stacked run takes, and what there is."""
        from gen_models.sweep.measure import available_bytes, bytes_per_member

        return {"member": bytes_per_member(self._job(self._config(fields))), "available": available_bytes()}

    def run(self, asked: Sequence[Any], how: str, until: int | None) -> Iterator[dict[str, Any]]:
        """Train the runs, and say how each ended; an error ends its run alone, or all of a stacked group."""
        left = {one["folder"]: one for one in asked}
        try:
            for ended in self._together(asked, how) if how in ("vmap", "scan") else self._in_turn(asked, until):
                if "status" in ended:
                    del left[ended["folder"]]
                yield ended
        except Exception as error:
            traceback.print_exc()
            for folder in left:
                yield self._failed(folder, error)

    def _in_turn(self, asked: Sequence[Any], until: int | None) -> Iterator[dict[str, Any]]:
        from gen_models.run.job import run_job
        from gen_models.sweep.measure import cost

        for one in asked:
            config, folder, began = self._config(one["config"]), Path(one["folder"]), time.perf_counter()
            said: dict[str, Any] = {}
            try:
                prepared = self._job(config)
                group = group_of(config)
                if group not in self._costed:
                    self._costed.add(group)
                    yield {"folder": one["folder"], "cost": cost(prepared)}  # kept, whatever becomes of the run
                named = self._experiment.name, one["variant"]
                # Another process may have trained it since the parent looked; in halving the parent knows better.
                status, _ = run_job(prepared, *named, config, folder, until=until, again=until is not None)
                said |= {"status": _STATUS.get(status, "failed"), "message": _MESSAGES.get(status, "")}
                if status == configs.DIVERGED:
                    said["message"] = (runs.Run(folder).stopped() or {}).get("message", "")
            except Exception as error:  # of one run: the others go on
                if isinstance(error.__cause__, runs.InUse):
                    said |= {"status": "busy", "message": str(error)}
                else:
                    traceback.print_exc()
                    said |= self._failed(one["folder"], error)
            yield said | {"folder": one["folder"], "took": time.perf_counter() - began}

    def _together(self, asked: Sequence[Any], how: Any) -> Iterator[dict[str, Any]]:
        from gen_models.sweep.group import Asked, run_group

        some = [Asked(one["variant"], self._config(one["config"]), Path(one["folder"])) for one in asked]
        prepared = self._job(some[0].config)
        for ended in run_group(prepared, self._experiment.name, some, how):
            yield {"folder": str(ended.folder), "status": ended.status, "message": ended.message}

    def _failed(self, folder: str, error: Exception) -> dict[str, Any]:
        message = f"{type(error).__name__}: {error}" if not isinstance(error, configs.InputError) else str(error)
        with contextlib.suppress(OSError):
            runs.Run(Path(folder)).stop("failed", 0, message)
        return {"folder": folder, "status": "failed", "message": message}

    def _config(self, fields: Any) -> Any:
        return runs.restore_config(self._kind, fields)

    def _job(self, config: Any, fresh: bool = False) -> Any:
        """The group's job: built once where it can serve other seeds, else for each run."""
        from gen_models.run.job import prepare

        group = group_of(config)
        if fresh or group not in self._prepared:
            job = self._experiment.build(config)
            if fresh and group in self._prepared:
                return self._prepared[group]
            self._prepared[group] = prepare(job, config)
            while len(self._prepared) > KEPT:
                del self._prepared[next(iter(self._prepared))]
        prepared = self._prepared[group]
        if prepared.serves(config):
            return prepared
        self._prepared[group] = prepare(self._experiment.build(config), config)
        return self._prepared[group]


_STATUS = {
    configs.FINISHED: "finished",
    configs.DIVERGED: "diverged",
    configs.INTERRUPTED: "interrupted",
    configs.PAUSED: "paused",
}
_MESSAGES = {configs.CANNOT_WRITE: "the run directory cannot be written: see the log"}

if __name__ == "__main__":
    main(sys.argv[1:])
