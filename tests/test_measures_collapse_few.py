"""Whether samples have collapsed, by the classes that they cover and those that as many examples do."""

import jax.numpy as jnp
import numpy as np
import pytest
from measured import figures_of, split_of, trained_of

from gen_models.measures import Collapse, Discrimination

DIM, CLASSES = 16, 40


def _data():
    """300 points around 40 centres that are far apart."""
    draw = np.random.default_rng(0)
    centres = 10 * draw.normal(size=(CLASSES, 1, 1, DIM))
    y = draw.permutation(np.arange(300, dtype=np.int32) % CLASSES)
    x = centres[y] + 0.1 * draw.normal(size=(300, 1, 1, DIM))
    return split_of({"x": x.astype(np.float32), "y": y}), centres, draw


@pytest.mark.parametrize(("known", "collapsed"), [(range(CLASSES), 0.0), (range(12), 1.0)])
def test_few_samples_are_no_collapse_where_as_few_examples_have_no_more_classes(known, collapsed):
    """15 of 40 classes are fewer than half, and all that 15 samples or examples can have."""
    split, centres, draw = _data()
    chosen = draw.choice(list(known), size=300)
    samples = jnp.asarray(centres[chosen] + 0.1 * draw.normal(size=(300, 1, 1, DIM)), jnp.float32)
    trained = trained_of(num_classes=CLASSES, sample=lambda params, stats, key, n: samples[:n])
    many = figures_of(Collapse(300), trained, split)
    assert many["collapsed"].value == collapsed
    assert many["classes covered"].value == len(set(chosen)) and f"examples: {CLASSES}" in many["classes covered"].note
    few = figures_of(Collapse(15), trained, split)
    assert few["classes covered"].value <= 15 and few["collapsed"].value == 0


def test_a_pack_of_more_examples_than_there_are_is_refused():
    split, *_ = _data()
    players = {name: lambda *_, **__: (0.0, ({}, {})) for name in ("discriminator", "generator")}
    with pytest.raises(ValueError, match="packing=8 examples are judged at once, but 4 are looked at"):
        figures_of(Discrimination(4, packing=8), trained_of(loss=players), split)
