"""A diagnosis of a run from its directory: of what it logged and, where its model draws any, of its samples."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_models.data.synthetic import grid_centres
from gen_models.diagnosis import samples as of_samples
from gen_models.diagnosis.checks import Diagnosis, diagnose
from gen_models.diagnosis.finding import Facts, Finding
from gen_models.evaluation.collapse import likeness
from gen_models.evaluation.modes import mode_statistics
from gen_models.evaluation.support import class_coverage
from gen_models.features.extractor import Extractor
from gen_models.measures.base import DrawsSamples, Split
from gen_models.measures.feature_sets import images_of, samples_of, spread_over
from gen_models.measures.kept_features import extracted
from gen_models.measures.modes import GridCoverage
from gen_models.run.directory import existing_run
from gen_models.run.extractors import extractor_of
from gen_models.run.facts import facts_of, history_of
from gen_models.run.job import keys
from gen_models.run.restore import Loaded, load_run, saved_config

COUNT = 1000  # samples, and examples beside them
SHARE = 0.1  # of what a class would have if all were alike: fewer samples do not cover it

_ALIKE = "samples that are alike"
_MISSED = "missed classes or modes"


def diagnose_run(
    folder: str | Path,
    *,
    samples: int = COUNT,
    extractor: Extractor | str | None = None,
    **place: Any,
) -> Diagnosis:
    """What goes, or went, wrong in the run of a folder; nothing is written there.

    Args:
      folder: the run's directory.
      samples: how many are drawn and compared with as many examples; 0: what was logged is all that is looked at, and
        neither the data nor a checkpoint is needed.
      extractor: of the features in which samples are compared, and of the classes that they cover, or the words of the
        command line that name it, such as "classifier"; None: their own pixels, and no classes.
      **place: where the data are, if no longer at the run's, and which state is wanted, as `load_run` takes them.

    Raises:
      ValueError, OSError, ImportError: the directory holds no run, or its data are wanted and cannot be read.
    """
    run = existing_run(folder)
    _, config = saved_config(run, place.get("experiment"))
    if not samples:
        return _without_samples(diagnose(history_of(run), facts_of(config, run=run)), "--samples above 0")
    if not any(run.checkpoints.glob("*")):
        return _without_samples(diagnose(history_of(run), facts_of(config, run=run)), "a checkpoint")
    found = load_run(folder, **place)
    two = isinstance(found.job.model.loss, Mapping) and "discriminator" in found.job.model.loss
    facts = replace(facts_of(config, found.job.objective(), run), adversarial=two)
    diagnosis = diagnose(history_of(run), facts)
    sampler = found.job.sampler()
    if sampler is None or not found.job.model.has("sample"):
        return _without_samples(diagnosis, "a model that draws samples")
    key = keys(config.seed).figures
    if isinstance(extractor, str):
        extractor = extractor_of(extractor, found)
    return _with_samples(diagnosis, found, sampler, facts, found.job.test(key), key, samples, extractor)


def _without_samples(diagnosis: Diagnosis, needs: str) -> Diagnosis:
    return diagnosis.without(_ALIKE, needs).without(_MISSED, needs)


def _with_samples(
    diagnosis: Diagnosis,
    found: Loaded,
    sampler: DrawsSamples,
    facts: Facts,
    split: Split,
    key: Any,
    count: int,
    extractor: Extractor | None,
) -> Diagnosis:
    """The diagnosis after samples were drawn too."""
    trained, step = found.job.trained(found.state), int(found.state.step)
    if isinstance(sampler, GridCoverage):
        own = sampler.sample(trained, key, max(count, sampler.count))
        examples = _points(spread_over(split, count))
        diagnosis = _alike(diagnosis, own[: len(examples)], examples, step, facts, "points of the plane")
        return diagnosis.with_(_MISSED, _modes(sampler, own, step, facts))
    if len(split.dataset.shape) != 3:
        return _without_samples(diagnosis, "images, or points of a grid of modes")
    levels, conditional = getattr(sampler, "levels", 2), getattr(sampler, "conditional", False)
    some = spread_over(split, count)
    at_once = min(250, len(some))
    # Of a model that sees levels of grey and draws their means, images as they are have the scale of samples.
    means = levels == 2 and jnp.issubdtype(found.job.batch_shape["x"].dtype, jnp.integer)
    drawn = samples_of(trained, key, len(some), levels, conditional, at_once)
    sets = {"samples": drawn, "examples": images_of(some, levels, at_once, unchanged=bool(means))}
    if extractor is None:
        own, examples = (np.concatenate([x.reshape(len(x), -1) for x in images]) for images in sets.values())
        diagnosis = _alike(diagnosis, own, examples, step, facts, f"{len(own):,} each, pixel by pixel")
        return diagnosis.without(_MISSED, "a classifier of the data: --features classifier")
    features = {name: extracted(extractor, images) for name, images in sets.items()}
    own, examples = (features[name].features for name in sets)
    among = f"{len(own):,} each, in features of {extractor.name}"
    diagnosis = _alike(diagnosis, own, examples, step, facts, among)
    probabilities = [features[name].probabilities for name in sets]
    if probabilities[0] is None or probabilities[1] is None:
        return diagnosis.without(_MISSED, "--features of a network that has classes, such as classifier")
    classes = probabilities[0].shape[1]
    least = SHARE / classes  # a classifier errs, and one sample is no class
    covered, reference = (
        class_coverage(each.argmax(1), classes, least).classes for each in probabilities if each is not None
    )
    finding = of_samples.classes_missed(covered, classes, reference, step, facts, f"{among}, and by its classes")
    return diagnosis.with_(_MISSED, finding)


def _alike(
    diagnosis: Diagnosis, own: np.ndarray, examples: np.ndarray, step: int, facts: Facts, among: str
) -> Diagnosis:
    """The diagnosis after samples were compared, where they and the examples let them be."""
    try:
        found = likeness(own, examples)
    except ValueError as error:  # samples that are no numbers, data that are copies of each other
        return diagnosis.without(_ALIKE, f"sets that can be compared: {error}")
    return diagnosis.with_(_ALIKE, of_samples.alike(found, step, facts, among))


def _modes(measure: GridCoverage, own: np.ndarray, step: int, facts: Facts) -> Finding | None:
    found = jax.jit(mode_statistics)(own, grid_centres(measure.side, measure.spacing))
    return of_samples.modes_missed(int(found.modes), measure.side**2, 100 * float(found.high_quality), step, facts)


def _points(split: Split) -> np.ndarray:
    """The examples of the split, [N, D]."""
    parts = [np.asarray(batch["x"])[np.asarray(batch["weight"]) > 0] for batch in split.batches(250)]
    points = np.concatenate(parts)
    return points.reshape(len(points), -1)
