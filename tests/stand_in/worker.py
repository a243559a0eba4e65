"""Speaks `gen_models.sweep.worker`'s protocol, and writes runs' directories without training anything."""

import json
import os
import sys
import time
from pathlib import Path

from gen_models.measures.figure import Figure
from gen_models.run import directory
from gen_models.run.directory import Request, open_run
from gen_models.run.experiments import find
from gen_models.run.fields import from_json

SECONDS = {"one": 0.004, "vmap": 0.002, "scan": 0.003}  # a step

name, log, file = sys.argv[1:]
experiment = find(name, file)
number = 0


def answer(value):
    print(json.dumps(value | {"number": number}), flush=True)


def train(run, until):
    """Pretends to train a run to its end or to a step; returns how it ended."""
    config = from_json(type(experiment.variants["base"]), run["config"])
    folder = Path(run["folder"])
    before = folder.parent / f"{folder.name}.starts"
    starts = before.read_text().splitlines() if before.exists() else []
    before.parent.mkdir(parents=True, exist_ok=True)
    before.write_text("\n".join([*starts, str(os.getpid())]))
    if config.fate == "dies" or (config.fate == "dies once" and not starts):
        os._exit(9)
    if config.fate == "is held once" and not starts:
        return {"status": "busy", "message": "held"}
    value = config.good * (1 + config.seed / 100)
    with open_run(Request(experiment, run["variant"], config, folder)) as held:
        held.begin()
        if config.fate == "diverges":
            held.stop("diverged", 7, "diverged at step 7")
            return {"status": "diverged", "message": "diverged at step 7"}
        end = config.steps if until is None else min(until, config.steps)
        held.log(end, 0.1, {"validation/x": value})
        directory.write_json(folder / "environment.json", {"starts": [{"python": "3"}]})
        if end < config.steps:
            return {"status": "paused", "message": ""}
        held.finish([Figure("x", value, "", "nothing", better="maximize")], 0.1)
    return {"status": "finished", "message": ""}


answer({"backend": "cpu", "devices": 1})
for line in sys.stdin:
    asked = json.loads(line)
    number = asked["number"]
    if asked["do"] == "check":
        wrong = [config["fate"] == "broken" for config in asked["configs"]]
        errors = ["fate: choose another one" if bad else None for bad in wrong]
        answer({"errors": errors, "objective": ["validation/x", "maximize"]})
    elif asked["do"] == "measure":
        answer({"seconds": {how: SECONDS[how] for how in asked["hows"]}, "problems": {}, "cost": {"parameters": 5.0}})
    elif asked["do"] == "memory":
        answer({"member": 100, "available": 400})
    else:
        for run in asked["runs"]:
            began = time.perf_counter()
            answer({"folder": run["folder"], "cost": {"parameters": 5.0}})
            answer({"folder": run["folder"]} | train(run, asked["until"]) | {"took": time.perf_counter() - began})
        answer({"done": True})
