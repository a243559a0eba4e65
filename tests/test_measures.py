"""The mean over a split, likelihoods and latent models: against NumPy, SciPy and closed forms."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from numpy.polynomial.hermite_e import hermegauss
from PIL import Image

from gen_models.data.splits import Splits
from gen_models.data.transforms import binarise_dynamic, compose, random_shift
from gen_models.measures import (
    Elbo,
    LatentWalk,
    LogLikelihood,
    NegativeLogLikelihood,
    Reconstructions,
    Split,
)
from gen_models.measures.base import mean_of, metric_name
from tests.measured import KEY, caught, figures_of, split_of, streamed, trained_of


def squares(model, params, stats, batch, key):
    """[B, 2]."""
    return jnp.stack([batch["x"] ** 2, params + batch["x"]], 1)


@pytest.mark.parametrize("size", [1, 3, 7, 50])
@pytest.mark.parametrize("how", [lambda split: split, streamed])
def test_mean_and_standard_error_are_those_of_the_examples(size, how):
    """What fills up the last batch (copies of the last example, the largest) does not count."""
    x = np.array([1.0, -2, 3, 0.5, 4, 2, 100], np.float32)
    split, trained = how(split_of({"x": x})), trained_of(jnp.float32(1))
    mean = split.mean(squares, trained, KEY, size=size)
    values = np.stack([x.astype(np.float64) ** 2, 1 + x.astype(np.float64)], 1)
    np.testing.assert_allclose(mean.value, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(mean.standard_error, scipy.stats.sem(values), rtol=1e-12)
    np.testing.assert_array_equal(split.each(squares, trained, KEY, size=size), values)


def test_the_mean_is_float64():
    """0.1 in float32, 3,000 times: a sum in float32 would be off by 1e-5."""
    x = np.full(3000, 0.1, np.float32)
    mean = split_of({"x": x}).mean(lambda m, p, s, batch, k: batch["x"], trained_of(), KEY)
    assert mean.value == pytest.approx(math.fsum(x.astype(float)) / 3000, rel=1e-14)


def test_means_that_have_no_standard_error():
    logarithm = lambda model, params, stats, batch, key: jnp.log(batch["x"])  # noqa: E731
    one = split_of({"x": np.ones(1, np.float32)}).mean(logarithm, trained_of(), KEY)
    assert one.value == 0
    assert np.isnan(one.standard_error)
    impossible = split_of({"x": np.array([1.0, 0, 2], np.float32)}).mean(logarithm, trained_of(), KEY)
    assert impossible.value == -np.inf
    assert np.isnan(impossible.standard_error)
    assert mean_of(np.zeros((1, 3))).standard_error.shape == (3,)


def test_a_function_is_compiled_once_for_a_model_and_each_example_draws_anew():
    traces = []

    def noise(model, params, stats, batch, key):
        traces.append(model)
        return params + jax.random.normal(key, batch["x"].shape)

    split, trained = split_of({"x": np.zeros(10, np.float32)}), trained_of(jnp.float32(0))
    first = split.each(noise, trained, KEY, size=4)
    drawn = [jax.random.normal(jax.random.fold_in(KEY, i), (1,)) for i in range(10)]
    np.testing.assert_array_equal(first, np.concatenate(drawn))
    # Another run of the group: the same model with other parameters, another key, a part of the same size.
    again = split.each(noise, trained._replace(params=jnp.float32(5)), KEY, size=4)
    np.testing.assert_allclose(again, first + 5, rtol=1e-6)
    assert (split.first(9).each(noise, trained, jax.random.key(1), size=4) != first[:9]).all()
    assert traces == [trained.model]
    split.each(noise, trained_of(jnp.float32(0)), KEY, size=4)
    assert len(traces) == 2, "another model is another program"


def test_a_transform_is_compiled_once_for_all_measures_and_evaluations():
    traces = []

    def transform(batch, key):
        traces.append(0)
        return batch | {"x": batch["x"] + jax.random.normal(key, batch["x"].shape)}

    split = split_of({"x": np.zeros(9, np.float32)}, transform=transform)
    first, again = (split.mean(squares, trained_of(jnp.float32(0)), KEY, size=4) for _ in range(2))
    np.testing.assert_array_equal(first.value, again.value)
    assert (replace(split, seed=1).mean(squares, trained_of(jnp.float32(0)), KEY, size=4).value != first.value).all()
    assert len(traces) == 1


@pytest.mark.slow_cases("<lambda>")
@pytest.mark.parametrize("how", [lambda split: split, streamed])
def test_figures_do_not_depend_on_the_examples_that_are_taken_at_a_time(how):
    """An example's noise is its own: of the transform, and of what is measured; padding draws nothing for others."""
    x = np.random.default_rng(0).uniform(size=(11, 3, 3, 1)).astype(np.float32)
    noisy = compose(random_shift(1), binarise_dynamic)
    split, trained = how(split_of({"x": x}, transform=noisy)), trained_of(jnp.float32(0))

    def measured(model, params, stats, batch, key):
        return jnp.concatenate([batch["x"].reshape(len(batch["x"]), -1), jax.random.normal(key, (1, 2))], 1)

    whole = split.each(measured, trained, KEY, size=11)
    for size in (1, 4, 50):
        np.testing.assert_array_equal(split.each(measured, trained, KEY, size=size), whole)
    np.testing.assert_array_equal(split.first(5).each(measured, trained, KEY, size=3), whole[:5])
    assert len(np.unique(whole, axis=0)) == 11
    one = noisy({"x": x[7:8], "levels": 256}, jax.random.fold_in(jax.random.key(split.seed), 7))
    np.testing.assert_array_equal(whole[7, :9], np.asarray(one["x"]).ravel())
    np.testing.assert_array_equal(split.some(11)["x"].reshape(11, 9), whole[:, :9])
    assert (replace(split, seed=1).each(measured, trained, KEY)[:, :9] != whole[:, :9]).any()


@pytest.mark.parametrize("how", [lambda split: split, streamed])
def test_some_are_evenly_spaced_and_first_are_the_first(how):
    split = how(split_of({"x": np.arange(1000, dtype=np.float32)}))
    np.testing.assert_array_equal(split.some(4)["x"], [0, 133, 266, 399])
    np.testing.assert_array_equal(split.first(3).some(9)["x"], [0, 1, 2])
    np.testing.assert_array_equal(split.some(2, lambda batch, key: batch | {"x": -batch["x"]})["x"], [0, -399])
    assert split.first(0) is split.first(1000) is split
    part = replace(split, word="validation", seed=3).first(7)
    assert (len(part), part.word, part.seed) == (7, "validation", 3)
    np.testing.assert_array_equal(np.concatenate([batch["x"] for batch in part.batches(7)]), np.arange(7))


def test_where_says_what_was_measured_on():
    split = split_of({"x": np.zeros(1234, np.float32)}, how="binarised (fixed)")
    assert split.where == "toy, test, 1,234 images, binarised (fixed)"
    assert split_of({"x": np.zeros(2)}, "validation").where == "toy, validation, 2 images"
    parts = Splits.of_arrays({"x": np.zeros(3)}, {"x": np.zeros(2)}, {"x": np.zeros(1)}, name="toy")
    split = Split(parts, parts.test, "test")
    assert (split.train().where, split.held_out().where) == (
        "toy, train, 3 examples",
        "toy, validation, 1 examples",
    )
    alone = Splits.of_arrays({"x": np.zeros(3)})
    assert Split(alone, alone.train, "train").held_out().word == "train"


@pytest.mark.parametrize(
    ("figure", "name"),
    [
        ("ELBO", "elbo"),
        ("NLL, lower half", "nll_lower_half"),
        ("bits/dim", "bits_per_dim"),
        ("cross-entropy", "cross_entropy"),
        ("first / last gradient at the end", "first_per_last_gradient_at_the_end"),
    ],
)
def test_names_of_metrics(figure, name):
    assert metric_name(figure) == name


def bernoulli(params, stats, x, key, label=None, mask=None, particles=None):
    """log p of pixels with the logits params + label, of those where the mask is true."""
    logits = params if label is None else params + label[:, None, None, None]
    each = x * jax.nn.log_sigmoid(logits) + (1 - x) * jax.nn.log_sigmoid(-logits)
    each = each if mask is None else each * mask[..., None]
    return each.sum((1, 2, 3)) - (0.0 if particles is None else 1.0 / particles)


def test_negative_log_likelihood_in_nats_and_bits():
    rng = np.random.default_rng(0)
    x, y = (rng.uniform(size=(300, 5, 4, 1)) < 0.4).astype(np.float32), rng.integers(3, size=300)
    logits = rng.normal(size=(5, 4, 1))
    split, trained = split_of({"x": x, "y": y}, num_classes=3), trained_of(jnp.asarray(logits), log_prob=bernoulli)

    def exact(shift, rows=slice(None)):
        p = 1 / (1 + np.exp(-(logits + np.zeros(300)[:, None, None, None] + shift)))
        return -scipy.stats.bernoulli.logpmf(x, p)[:, rows].sum((1, 2, 3))

    for conditional, shift in ((False, 0), (True, y[:, None, None, None])):
        found = figures_of(NegativeLogLikelihood(conditional=conditional, lower_half=True), trained, split)
        assert list(found) == ["NLL, lower half", "NLL", "bits/dim"]
        for name, nats, scale in (
            ("NLL, lower half", exact(shift, slice(2, None)), 1),  # of five lines the upper two are given
            ("NLL", exact(shift), 1),
            ("bits/dim", exact(shift), 20 * np.log(2)),
        ):
            assert found[name].value == pytest.approx(nats.mean() / scale, rel=1e-5)
            assert found[name].spread == pytest.approx(scipy.stats.sem(nats) / scale, rel=1e-4)
            assert found[name].better == "minimize"
        assert (found["NLL"].unit, found["NLL"].note) == ("nats/image", "exact")
    bound = figures_of(NegativeLogLikelihood(bound_samples=4), trained, split)["NLL"]
    assert bound.value == pytest.approx(exact(0).mean() + 0.25, rel=1e-5)
    assert bound.note == "importance-weighted bound, 4 samples"
    assert NegativeLogLikelihood.headline == ("nll", "minimize")


WEIGHT, BIAS = np.array([2.0, -1.5, 1.0, 0.5, -2.0, 1.0]), np.array([0.3, -0.2, 0.0, 0.5, 0.1, -0.4])


def encode(params, stats, x, key=None):
    """A poor guess of z, so that the bounds lie apart."""
    mu = 0.3 * (x @ jnp.asarray(np.sign(WEIGHT)))[:, None]
    return mu, jnp.full_like(mu, -0.2)


def logits_of(z):
    """Logits of six pixels."""
    return z * jnp.asarray(WEIGHT) + jnp.asarray(BIAS)


def elbo(params, stats, batch, key):
    """The two terms, written out for one draw."""
    mu, log_sigma = encode(params, stats, batch["x"])
    logits = logits_of(mu + jnp.exp(log_sigma) * jax.random.normal(key, mu.shape))
    log_p = (batch["x"] * jax.nn.log_sigmoid(logits) + (1 - batch["x"]) * jax.nn.log_sigmoid(-logits)).sum(-1)
    return {"reconstruction": -log_p, "kl": 0.5 * (mu**2 + jnp.exp(2 * log_sigma) - 1 - 2 * log_sigma).sum(1)}


def importance_weighted(params, stats, x, key, particles):
    """log 1/K sum_k p(x, z_k) / q(z_k | x), written out."""
    mu, log_sigma = encode(params, stats, x)
    z = mu + jnp.exp(log_sigma) * jax.random.normal(key, (particles, *mu.shape))
    logits = logits_of(z)
    log_p = (x * jax.nn.log_sigmoid(logits) + (1 - x) * jax.nn.log_sigmoid(-logits)).sum(-1)
    log_p += jax.scipy.stats.norm.logpdf(z).sum(-1) - jax.scipy.stats.norm.logpdf(z, mu, jnp.exp(log_sigma)).sum(-1)
    return jax.nn.logsumexp(log_p, 0) - jnp.log(particles)


def quadrature(x, mu=0.0, sigma=1.0, power=np.log):
    """E log p(x|z), or log E p(x|z) for `power=None`, over z ~ N(mu, sigma), by Gauss and Hermite's rule."""
    nodes, weights = hermegauss(80)
    z = mu + sigma * nodes  # [N or 1, 80]
    logits = z[..., None] * WEIGHT + BIAS
    log_p = scipy.stats.bernoulli.logpmf(x[:, None], 1 / (1 + np.exp(-logits))).sum(-1)
    weights = weights / weights.sum()
    return (weights * log_p).sum(-1) if power else np.log((weights * np.exp(log_p)).sum(-1))


def test_bounds_lie_in_their_order_below_the_exact_likelihood():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(2000, 1))
    x = (rng.uniform(size=(2000, 6)) < 1 / (1 + np.exp(-(z * WEIGHT + BIAS)))).astype(np.float32)
    split = split_of({"x": x})
    trained = trained_of(elbo=elbo, log_prob=importance_weighted)
    terms = figures_of(Elbo(), trained, split)
    bounds = [figures_of(LogLikelihood(samples), trained, split)["log-likelihood"] for samples in (5, 500)]
    exact = quadrature(x, power=None).mean()
    assert terms["ELBO"].value + 0.05 < bounds[0].value < bounds[1].value < exact + 0.005
    assert bounds[1].value == pytest.approx(exact, abs=0.01)
    assert bounds[0].note.startswith("importance-weighted bound, 5 samples")

    mu, log_sigma = (np.asarray(value, np.float64) for value in encode(None, {}, x))
    kl = 0.5 * (mu**2 + np.exp(2 * log_sigma) - 1 - 2 * log_sigma).sum(1).mean()
    assert terms["KL"].value == pytest.approx(kl, rel=1e-5)
    assert terms["reconstruction"].value == pytest.approx(-quadrature(x, mu, np.exp(log_sigma)).mean(), abs=0.1)
    total = terms["reconstruction"].value + terms["KL"].value
    assert terms["ELBO"].value == pytest.approx(-total, rel=1e-12)
    assert (terms["ELBO"].better, terms["KL"].better, Elbo.headline) == ("maximize", None, ("elbo", "maximize"))


def test_pictures_of_a_latent_model(tmp_path, monkeypatch):
    """A code that is the image's mean, and a decoder that paints it."""
    grey = np.repeat(np.arange(30, dtype=np.uint8), 16).reshape(30, 4, 4, 1) * 8
    split = split_of({"x": grey}, transform=binarise_dynamic)
    trained = trained_of(
        encode=lambda p, s, x: (x.mean((1, 2, 3))[:, None], None),
        decode=lambda p, s, z: jnp.broadcast_to(z[:, :, None, None], (len(z), 4, 4, 1)),
    )
    grids = caught(monkeypatch, "image_grid")
    Reconstructions(count=10).draw(trained, split, KEY, tmp_path)
    (lines, path), options = grids[0]
    assert (path, options["columns"], lines.shape) == (tmp_path / "reconstructions.png", 10, (30, 4, 4, 1))
    original, given, again = lines.reshape(3, 10, 16)
    np.testing.assert_allclose(original, split.some(10, lambda b, k: b)["x"].reshape(10, 16) / 255, rtol=1e-6)
    assert set(np.unique(given)) == {0, 1}
    np.testing.assert_allclose(again, given.mean(1, keepdims=True) + np.zeros(16), atol=1e-6)
    Reconstructions(count=24).draw(trained, split, KEY, tmp_path)
    assert grids[1][0][0].shape[0] == 72, "two lines of twelve, three times"

    LatentWalk(pairs=2, steps=5).draw(trained, split, KEY, tmp_path)
    (walk, path), options = grids[2]
    assert (path, options["columns"], walk.shape) == (tmp_path / "latent_walk.png", 5, (10, 4, 4, 1))
    ends = split.some(6)["x"].mean((1, 2, 3))
    along = [np.linspace(a, b, 5) for a, b in (ends[:2], ends[2:4])]
    np.testing.assert_allclose(walk.mean((1, 2, 3)), np.concatenate(along), atol=1e-6)
    # Four pixels of a side, doubled, and gaps of two: twelve images a line and six lines; five and two.
    sizes = {"reconstructions.png": (122, 62), "latent_walk.png": (52, 22)}
    for name in sizes:
        with Image.open(tmp_path / name) as picture:
            assert picture.size == sizes[name]


def test_chosen_examples_are_measured_in_their_order():
    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    some = split_of({"x": x}).chosen([4, 1, 5])
    assert len(some) == 3
    np.testing.assert_array_equal(some.each(_read, trained_of(), KEY), x[[4, 1, 5]])
    np.testing.assert_array_equal(split_of({"x": x}).chosen(range(2)).each(_read, trained_of(), KEY), x[:2])


def _read(model, params, stats, batch, key):
    return batch["x"]
