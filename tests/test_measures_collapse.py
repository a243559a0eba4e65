"""Measures of samples that are alike and of a discriminator, against models whose answers are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gen_models as gm

DRAW = np.random.default_rng(0)
CLASSES = np.repeat(np.arange(4), 60)
CENTRES = 4 * np.eye(4, 9)
POINTS = (CENTRES[CLASSES] + 0.3 * DRAW.normal(size=(240, 9))).astype(np.float32).reshape(240, 3, 3, 1)
DATA = gm.Splits.of_arrays(
    {"x": POINTS[::2], "y": CLASSES[::2]}, test={"x": POINTS[1::2], "y": CLASSES[1::2]}, name="points", num_classes=4
)
TEST = gm.Split(DATA, DATA.test, "test")
KEY = jax.random.key(0)


def figures(measure, model, params=()):
    trained = gm.Trained(model, params, (), num_classes=4)
    return {figure.name: figure.value for figure in measure.figures(trained, TEST, KEY)}


def drawing(points):
    """A model that draws these points in turn."""
    points = jnp.asarray(points)

    def sample(params, stats, key, n):
        return points[jnp.arange(n) % len(points)]

    return gm.Model(lambda key, batch: ((), ()), lambda *_, **__: (0.0, ((), {})), sample=sample)


def test_samples_of_the_data_have_not_collapsed():
    found = figures(gm.measures.Collapse(100), drawing(POINTS[DRAW.permutation(240)]))
    assert found["spread of samples"] == pytest.approx(1, abs=0.1) and found["different samples"] > 1000
    assert (found["classes covered"], found["collapsed"]) == (4, 0)


def test_half_of_the_classes_one_image_and_few_images_are_collapse():
    two_classes = figures(gm.measures.Collapse(100), drawing(POINTS[CLASSES < 2]))
    assert (two_classes["classes covered"], two_classes["collapsed"]) == (2, 1)
    one_image = figures(gm.measures.Collapse(100), drawing(POINTS[:1]))
    assert one_image["spread of samples"] < 1e-3 and one_image["collapsed"] == 1
    few = figures(gm.measures.Collapse(100), drawing(POINTS[::40]))  # six, of all classes
    assert 5 < few["different samples"] < 7.5 and few["classes covered"] == 4 and few["collapsed"] == 1


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="2 or more, got count=1"):
        gm.measures.Collapse(1)
    with pytest.raises(ValueError, match="packing"):
        gm.measures.Discrimination(packing=0)


def players(sample):
    """A discriminator whose logit is the first number, and a generator whose loss is 3 a + 4 b."""

    def generator(params, stats, batch, key, *, step, train=True):
        own = params["generator"]
        return 3 * own["a"] + 4 * own["b"], ((), {})

    return gm.Model(
        lambda key, batch: ((), ()),
        {"discriminator": generator, "generator": generator},
        apply=lambda params, stats, x: x.reshape(len(x), -1)[:, 0],
        sample=sample,
    )


def test_the_area_is_the_share_of_pairs_in_order_and_the_gradient_is_the_generators():
    params = {"generator": {"a": jnp.zeros(()), "b": jnp.zeros(())}, "discriminator": ()}
    low = players(lambda params, stats, key, n: jnp.full((n, 3, 3, 1), -9.0))
    found = figures(gm.measures.Discrimination(60), low, params)
    assert found["real told from generated"] == 1 and found["generator gradient"] == pytest.approx(5)
    real = TEST.some(60)["x"].reshape(60, -1)[:, 0]
    assert found["gap of logits"] == pytest.approx(real.mean() + 9, rel=1e-5)
    middle = players(lambda params, stats, key, n: jnp.full((n, 3, 3, 1), 2.0))  # between two kinds of real ones
    found = figures(gm.measures.Discrimination(60, gradient=False), middle, params)
    assert found["real told from generated"] == pytest.approx((real > 2).mean(), abs=1e-6)
    assert "generator gradient" not in found


def test_a_model_of_one_player_has_no_discriminator():
    with pytest.raises(ValueError, match="players are discriminator and generator"):
        figures(gm.measures.Discrimination(), drawing(POINTS))
