"""Small runs of the VAE that the tests of sweeps train, alone, together and from the command line."""

import dataclasses
import json

from tiny import tiny_config

from gen_models.run.directory import Request, existing_run
from gen_models.run.experiments import find


def _words(value):
    return [str(one) for one in value] if isinstance(value, tuple) else [str(value)]


VAE = find("experiments.vae")
RATES = (1e-3, 1e-2, 1e12)  # the last one diverges
TINY = [word for name, value in VAE.tiny.items() for word in (f"--{name.replace('_', '-')}", *_words(value))]
WORDS = ["sweep", *TINY, "--steps", "40", "--evaluate-every", "20", "--log-every", "10"]
GRID = ["--variants", "base", "--grid", "learning_rate=0.001,0.01,1e12"]
FEW = ["--variants", "base", "--grid", "learning_rate=0.001,1e12"]


def small_config(**changes):
    often = {"steps": 40, "log_every": 10, "evaluate_every": 20, "checkpoint_every": 20}
    return dataclasses.replace(tiny_config(VAE, "base"), **(often | changes))


def asked(folder, **changes):
    members = [(rate, seed) for rate in RATES for seed in (0, 1)]
    return [
        Request(VAE, "base", small_config(learning_rate=rate, seed=seed, **changes), folder / f"{rate}" / f"{seed}")
        for rate, seed in members
    ]


def found_in(folder):
    """What a run's directory says, without times."""
    run = existing_run(folder)
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in run.history()]
    figures = run.result()
    return {f.name: f.value for f in figures or []}, history, run.stopped()


def starts_of(folder):
    return {
        path.parent.relative_to(folder): len(json.loads(path.read_text())["starts"])
        for path in folder.glob("*/*/environment.json")
    }
