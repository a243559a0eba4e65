"""The classifier of a run's own data, whose features `--features classifier` compares: trained once, and kept.

It is the network `cnn` of `experiments.classifier`, trained on the training images alone, as they are, from 0 to 1. It
sees them moved by up to two pixels, and not mirrored as there: a mirrored digit is none, and features that do not
tell an image from its mirror image would hide that a model mirrors.

Its run lies in a folder that is named after a hash of the data, its config and `VERSION`: other data or another config
are another folder, so that none is ever taken for another. A run that was killed goes on, and of several processes one
trains while the others wait for it.
"""

import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from gen_models.features.classifier import classifier_features
from gen_models.features.extractor import NetworkExtractor, digest
from gen_models.run import config as configs
from gen_models.run import console, endings
from gen_models.run.config import Images, InputError, Stopped
from gen_models.run.directory import InUse, Request, Run
from gen_models.run.experiments import find
from gen_models.run.fields import settings
from gen_models.run.job import make_job
from gen_models.run.restore import Loaded, load_run
from gen_models.run.train import run_job

VARIANT = "cnn"  # of experiments.classifier
VERSION = 1  # is raised where the code changes what such a classifier becomes
PASSES = 20  # over the training images, within these numbers of steps
LEAST_STEPS, MOST_STEPS = 500, 6000
WAIT_SECONDS = 2.0  # between looks at a run that another process trains
# Fields of the config that say which images there are; the hash has checksums of the images themselves in their place.
_OF_DATA = ("dataset", "train_split", "size", "damaged")
_OTHERS = "name another network, such as classifier:RUN, squeezenet:FILE or efficientnet_lite0"


def classifier_of_data(found: Loaded, root: Path) -> NetworkExtractor:
    """The features of the classifier of the run's data, which is trained first where it is not there yet.

    How long that takes stands in `docs/measures.md`.

    Args:
      found: the run whose data it is of.
      root: the folder below which classifiers are kept.

    Raises:
      ValueError: the data are no images with labels of two classes or more, or the training diverged.
      OSError: the folder cannot be written.
      Stopped: the training was interrupted; what was trained is kept.
    """
    asked = request_of(found, root)
    if Run(asked.folder).result() is None:
        console.say(f"training a classifier of {found.job.data.name} for its features, {asked.config.steps:,} steps:")
        _train(asked)
    return _extractor(asked.folder, found)


def request_of(found: Loaded, root: Path) -> Request:
    """The classifier's run: its config, and its folder below `root`, whose name is the hash.

    Raises:
      ValueError: there can be none for the run's data.
    """
    _check(found)
    experiment, report = find("experiments.classifier"), found.job.report
    batch = experiment.variants[VARIANT].batch_size
    steps = min(MOST_STEPS, max(LEAST_STEPS, PASSES * len(found.job.data.train) // batch))
    config = replace(
        experiment.variants[VARIANT],
        **{name: getattr(found.config, name) for name in (*_OF_DATA, "data_dir")},
        steps=steps,
        augmentation=("shift",),
        checkpoint_every=250,
        evaluate_every=0,
    )
    parts = {word: _of_part(report, word) for word in ("train", "test")}
    depends = {
        "version": VERSION,
        "config": settings(config, leave_out=_OF_DATA),
        "data": parts,
        "shape": report["shape"],
        "classes": report["num_classes"],
    }
    name = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]
    folder = root.absolute() / f"classifier_{name}"
    return Request(experiment, VARIANT, replace(config, run_dir=str(folder)), folder)


def _check(found: Loaded) -> None:
    """Refuse data of which there can be no classifier."""
    data = found.job.data
    if not isinstance(found.config, Images):
        raise ValueError(
            f"--features classifier: {found.run.folder} has data of its experiment's own, and a classifier of them is "
            f"not known: {_OTHERS}"
        )
    if found.job.batch is not None:
        raise ValueError(
            f"--features classifier: the data of {found.run.folder} cannot be read, and a classifier is trained on "
            "them: say where they are by --data-dir or --dataset"
        )
    if data.num_classes is None or data.num_classes < 2:
        what = "no labels" if data.num_classes is None else "one class"
        raise ValueError(f"--features classifier: {data.name!r} has {what}, and a classifier needs classes: {_OTHERS}")


def _of_part(report: Any, word: str) -> Any:
    """What the hash has of a part: all that tells two states of it apart; None where there is no such part."""
    part = report["parts"][word]
    if part is None or "same_as" in part:
        return part
    return {name: part[name] for name in ("examples", "num_classes", "counts", "fields", "checksum", "checksum_of")}


def _train(asked: Request) -> None:
    """Train the run to its end, or wait until another process has."""
    waited = False
    while Run(asked.folder).result() is None:
        try:
            with endings.about_input():
                job = make_job(asked.experiment, asked.config)
            status, _ = run_job(job, asked)
        except InputError as error:
            if not isinstance(error.__cause__, InUse):
                raise
            if not waited:
                console.say(f"waiting for the classifier that another process trains: {error}")
            waited = True
            time.sleep(WAIT_SECONDS)
            continue
        if status == configs.INTERRUPTED:
            raise Stopped(f"the classifier in {asked.folder} was interrupted and saved: {endings.GOES_ON}", status)
        if status != configs.FINISHED:
            raise ValueError(
                f"the training of the classifier in {asked.folder} diverged: train one that does not by python -m "
                "experiments.classifier, and give it as --features classifier:RUN"
            )


def _extractor(folder: Path, of: Loaded) -> NetworkExtractor:
    """The features of the finished classifier; its data are not read for it."""
    found = load_run(folder, with_data=False)
    trained = found.job.trained(found.state)
    accuracy = next(figure for figure in found.run.result() or [] if figure.name == "accuracy")
    own = f"{digest((trained.params, trained.stats))} of a classifier of {of.job.data.name}"
    return classifier_features(
        trained.model,
        trained.params,
        trained.stats,
        tuple(found.job.data.shape),
        weights=f"{own}, {found.job.test(None).word} accuracy {accuracy.value:.4f}",
    )
