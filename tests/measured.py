"""Toys that measures are tested on: splits of a few arrays, and models that are a function or two."""

from dataclasses import replace

import jax

from gen_models import plots
from gen_models.core import Model
from gen_models.data.access import ArraySource
from gen_models.data.splits import Splits
from gen_models.measures import Split, Trained

KEY = jax.random.key(0)


def split_of(arrays, word="test", **options):
    """A split of these arrays alone, which are also what is trained on."""
    data = Splits.of_arrays(arrays, arrays, name="toy", examples="images", **options)
    return Split(data, data.test, word)


def trained_of(params=None, num_classes=None, **operations):
    """A model of these operations."""
    nothing = {"init": lambda key, batch: ({}, {}), "loss": lambda *_, **__: (0.0, ({}, {}))}
    return Trained(Model(**(nothing | operations)), params, {}, num_classes)


def streamed(split):
    """The same split, its examples read one by one."""
    source = ArraySource(split.dataset.arrays)
    return replace(split, dataset=replace(split.dataset, arrays=None, source=source))


def figures_of(measure, trained, split, key=KEY):
    """Name -> figure."""
    return {figure.name: figure for figure in measure.figures(trained, split, key)}


def caught(monkeypatch, name):
    """What measures give to a function of `plots`, which draws it all the same."""
    seen, draw = [], getattr(plots, name)
    monkeypatch.setattr(plots, name, lambda *args, **kwargs: seen.append((args, kwargs)) or draw(*args, **kwargs))
    return seen
