"""Sparse autoencoders: the divergence in NumPy, and exactly k units with a gradient through these alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.models.latent.sparse_autoencoder import k_sparse, kl_sparse, l1_sparse, sparse_autoencoder

SHAPE = (2, 3, 1)
KEY = jax.random.key(0)
X = jax.random.uniform(jax.random.key(1), (7, *SHAPE))


def _made(sparsity, **options):
    model = sparse_autoencoder(SHAPE, sparsity=sparsity, **{"latent": 5, "hidden": (), **options})
    params, stats = jax.jit(model.init)(KEY, {"x": X})
    return model, jax.tree.map(lambda p: p + 0.2, params), stats


def test_the_divergence_is_its_formula_and_0_at_the_target():
    activity = np.array([0.3, 0.05, 0.9, 0.01], np.float32)
    code = jnp.broadcast_to(activity, (3, 4))
    rho, mean = 0.05, activity.astype(np.float64)
    each = rho * np.log(rho / mean) + (1 - rho) * np.log((1 - rho) / (1 - mean))
    np.testing.assert_allclose(kl_sparse(0.05, 2.0).penalty(code, activity), 2 * each.sum(), rtol=1e-5)
    at_target = jnp.full(4, 0.05)
    value, slope = jax.value_and_grad(lambda mean: kl_sparse(0.05, 2.0).penalty(code, mean))(at_target)
    np.testing.assert_allclose(value, 0, atol=1e-6)
    np.testing.assert_allclose(slope, 0, atol=1e-5)
    assert all(np.isfinite(kl_sparse().penalty(code, jnp.full(4, end))) for end in (0.0, 1.0))


def test_the_loss_takes_the_mean_of_each_unit_over_the_batch():
    model, params, stats = _made(kl_sparse(0.1, 2.0))
    loss, (_, metrics) = model.loss(params, stats, {"x": X}, KEY, step=0)
    code = np.asarray(model.encode(params, stats, X), np.float64)
    assert (code > 0).all() and (code < 1).all()
    mean = code.mean(0)
    penalty = 2 * (0.1 * np.log(0.1 / mean) + 0.9 * np.log(0.9 / (1 - mean))).sum()
    again = np.asarray(model.decode(params, stats, jnp.asarray(code, jnp.float32)))
    error = ((again - np.asarray(X)) ** 2).sum((1, 2, 3)).mean()
    np.testing.assert_allclose([metrics["sparsity"], loss], [penalty, error + penalty], rtol=1e-5)


def test_the_mean_activity_is_that_of_all_devices():
    model, params, stats = _made(kl_sparse())
    across, _, _ = _made(kl_sparse(), axis_name="devices")

    def gradient(model, x):
        return jax.grad(lambda p: model.loss(p, stats, {"x": x}, KEY, step=0)[0])(params)

    @jax.jit
    def gradients(x):
        cut = x.reshape(2, 3, *SHAPE)
        each = jax.vmap(lambda x: jax.lax.pmean(gradient(across, x), "devices"), axis_name="devices")(cut)
        return each, jax.vmap(lambda x: gradient(model, x))(cut), gradient(model, x)

    each, alone, whole = gradients(X[:6])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-4, atol=1e-6), each, whole)
    differs = jax.tree.map(lambda a, b: float(np.abs(a.mean(0) - b).max()), alone, whole)
    assert max(jax.tree.leaves(differs)) > 1e-4


def test_the_sum_of_sizes_is_penalised():
    model, params, stats = _made(l1_sparse(0.3))
    loss, (_, metrics) = model.loss(params, stats, {"x": X}, KEY, step=0)
    code = np.asarray(model.encode(params, stats, X))
    assert (code >= 0).all()
    np.testing.assert_allclose(loss - metrics["reconstruction"], 0.3 * code.sum(1).mean(), rtol=1e-5)


@pytest.mark.slow
def test_exactly_the_k_largest_units_are_kept_and_have_a_gradient():
    model, params, stats = _made(k_sparse(2, encoded=3))
    flat = np.asarray(X).reshape(7, -1)
    linear = flat @ params["encoder"]["code"]["kernel"] + params["encoder"]["code"]["bias"]
    code = np.asarray(model.encode(params, stats, X))
    largest = np.argsort(-linear, 1)
    assert ((code != 0).sum(1) == 3).all()
    np.testing.assert_allclose(
        np.take_along_axis(code, largest[:, :3], 1), np.take_along_axis(linear, largest[:, :3], 1), rtol=1e-5
    )
    kept = k_sparse(2).kept
    tied = jnp.array([[1.0, 1, 1, 1], [-3, -2, -1, -4]])
    np.testing.assert_array_equal(kept(tied), [[1, 1, 0, 0], [0, -2, -1, 0]])
    slope = jax.grad(lambda z: (kept(z) * jnp.arange(1, 5)).sum())(tied)
    np.testing.assert_array_equal(slope, [[1, 2, 0, 0], [0, 2, 3, 0]])

    # A unit that is among the two largest of no image is not moved.
    one = {"x": X[:1]}
    grads = jax.grad(lambda p: model.loss(p, stats, one, KEY, step=0)[0])(params)
    moved = np.abs(grads["encoder"]["code"]["bias"]) > 0
    assert sorted(np.flatnonzero(moved)) == sorted(largest[0, :2])
    assert model.loss(params, stats, {"x": X}, KEY, step=0)[1][1]["active"] == pytest.approx(2 / 5)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: kl_sparse(target=0.0), "a target activity must be between 0 and 1, got target=0.0"),
        (lambda: kl_sparse(weight=-1.0), "weight must not be negative, infinite or NaN, got -1.0"),
        (lambda: l1_sparse(float("nan")), "weight must not be negative"),
        (lambda: k_sparse(0), "k=0"),
        (lambda: k_sparse(2, encoded=2.5), "encoded=2.5"),
        (lambda: _made(k_sparse(6))[0].encode(_made(k_sparse(5))[1], {}, X), "a code of 5 units has no 6 largest"),
    ],
)
def test_bad_values_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
