"""The GAN: what Goodfellow et al. (2014) prove of its value, and its networks against the same in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from gen_models.models.adversarial.gan import discriminator_loss, gan, generator_loss, pack

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
BATCH = {"x": RNG.normal(size=(12, 2, 2)).astype(np.float32)}
MODEL = gan(
    (2, 2),
    latent=3,
    generator_hidden=(5, 4),
    discriminator_hidden=(6, 7),
    pieces=3,
    packing=2,
    weight_scale=0.5,
    momentum=0.8,
)
CALL = {"step": 0}


@pytest.fixture(scope="module")
def variables():
    shapes = jax.eval_shape(MODEL.init, KEY, BATCH)
    # other than the initial zeros and ones, so that each of them shows
    params = jax.tree.map(lambda x: jnp.asarray(RNG.normal(size=x.shape), jnp.float32), shapes[0])
    return params, jax.tree.map(lambda x: jnp.asarray(RNG.uniform(0.2, 1.5, size=x.shape), jnp.float32), shapes[1])


def _generator(params, stats, z):
    """With the running averages, or with the batch's where `stats` is None; and the batch's."""
    params, h = jax.tree.map(lambda a: np.asarray(a, np.float64), (params["generator"], z))
    seen = {}
    for i in range(2):
        h = h @ params[f"Dense_{i}"]["kernel"]
        norm = params[f"BatchNorm_{i}"]
        seen[f"BatchNorm_{i}"] = {"mean": h.mean(0), "var": h.var(0)}
        used = seen[f"BatchNorm_{i}"] if stats is None else stats["generator"][f"BatchNorm_{i}"]
        h = (h - used["mean"]) / np.sqrt(used["var"] + 1e-4) * norm["scale"] + norm["bias"]
        h = np.maximum(h, 0)
    h = h @ params["Dense_2"]["kernel"] + params["Dense_2"]["bias"]
    return h.reshape(-1, 2, 2), seen


def _discriminator(params, x):
    """Each unit is the largest of its three pieces, on two neighbours side by side."""
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), params["discriminator"])
    h = np.stack([np.concatenate([x[i].ravel(), x[i + 1].ravel()]) for i in range(0, len(x), 2)])
    for i, width in enumerate((6, 7)):
        layer = params[f"Maxout_{i}"]["Dense_0"]
        pieces = [slice(j * width, (j + 1) * width) for j in range(3)]
        h = np.max([h @ layer["kernel"][:, p] + layer["bias"][p] for p in pieces], axis=0)
    return (h @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"])[:, 0]


def test_the_best_discriminator_of_known_distributions():
    """Theorem 1: D* = p / (p + q), where the value is -log 4 + 2 JSD(p, q); with q = p it is -log 4."""
    p, q = np.array([4, 3, 1, 0]), np.array([1, 1, 2, 4])  # of 8
    real, fake = np.repeat(np.arange(4), p), np.repeat(np.arange(4), q)
    best = p / (p + q)
    m = (p + q) / 16
    jsd = 0.5 * sum(w / 8 * np.log(w / 8 / m) for w, m in zip(p[:3], m[:3], strict=True))
    jsd += 0.5 * (q / 8 * np.log(q / 8 / m)).sum()
    table = jnp.asarray(np.log(best.clip(1e-12)) - np.log(1 - best), jnp.float32)  # logits of D* at each of four points

    def loss(table):
        return discriminator_loss(table[real], table[fake])

    np.testing.assert_allclose(-loss(table), -np.log(4) + 2 * jsd, rtol=1e-5)
    np.testing.assert_allclose(jax.grad(loss)(table), 0, atol=1e-6)
    for _ in range(5):  # and it is the best
        assert loss(table + RNG.normal(0, 0.5, size=4)) > loss(table)
    np.testing.assert_allclose(-discriminator_loss(jnp.zeros(8), jnp.zeros(8)), -np.log(4), rtol=1e-6)


def test_the_generators_gradients_at_the_logits():
    """d/dl log(1 - D) = -D and d/dl -log D = -(1 - D): of one sign; the first vanishes where D is sure of a fake."""
    logits = jnp.array([-30.0, -2.0, 0.0, 1.0, 30.0])
    d = expit(np.asarray(logits, np.float64))
    gradients = {o: 5 * jax.grad(generator_loss)(logits, o) for o in ("minimax", "non_saturating")}
    np.testing.assert_allclose(gradients["minimax"], -d, rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(gradients["non_saturating"], -expit(-np.asarray(logits, np.float64)), rtol=1e-5)
    np.testing.assert_allclose(gradients["minimax"], gradients["non_saturating"] * np.exp(logits), rtol=1e-4)
    assert gradients["minimax"][2] == gradients["non_saturating"][2]  # the same at the equilibrium, D = 1/2
    np.testing.assert_allclose(generator_loss(logits, "minimax"), np.log1p(-d[:-1]).sum() / 5 - 30 / 5, rtol=1e-5)


def test_minimax_is_a_zero_sum_game(variables):
    """The generator's minimax gradient is minus the discriminator's loss's, for the same fakes."""
    logits = jnp.asarray(RNG.normal(size=6), jnp.float32)
    real = jnp.asarray(RNG.normal(size=6), jnp.float32)
    np.testing.assert_allclose(
        jax.grad(generator_loss)(logits, "minimax"), -jax.grad(discriminator_loss, argnums=1)(real, logits), rtol=1e-6
    )


def test_the_networks_are_numpys(variables):
    params, stats = variables
    z = RNG.normal(size=(10, 3)).astype(np.float32)
    np.testing.assert_allclose(MODEL.decode(params, stats, z), _generator(params, stats, z)[0], rtol=1e-4, atol=1e-4)
    logits = MODEL.apply(params, stats, BATCH["x"])
    assert logits.shape == (6,)
    np.testing.assert_allclose(logits, _discriminator(params, BATCH["x"]), rtol=1e-4, atol=1e-4)


def test_packs_are_neighbours_side_by_side(variables):
    params, stats = variables
    packs = pack(jnp.asarray(BATCH["x"]), 3)
    np.testing.assert_array_equal(packs[1], np.concatenate([BATCH["x"][i].ravel() for i in (3, 4, 5)]))
    logits = MODEL.apply(params, stats, BATCH["x"])
    changed = BATCH["x"].copy()
    changed[5] += 1  # the second of the third pack
    moved = np.asarray(MODEL.apply(params, stats, changed) != logits)
    np.testing.assert_array_equal(moved, np.arange(6) == 2)


def test_the_losses_are_numpys(variables):
    """In training: fakes with the batch's statistics, the value of both players, the running averages moved once."""
    params, stats = variables
    z = np.asarray(jax.random.normal(KEY, (12, 3)))
    fake, seen = _generator(params, None, z)
    on_real, on_fake = _discriminator(params, BATCH["x"]), _discriminator(params, fake)
    value, (after, metrics) = MODEL.loss["discriminator"](params, stats, BATCH, KEY, **CALL)
    np.testing.assert_allclose(value, np.logaddexp(0, -on_real).mean() + np.logaddexp(0, on_fake).mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["real_probability"], expit(on_real).mean(), rtol=1e-3)
    np.testing.assert_allclose(metrics["fake_probability"], expit(on_fake).mean(), rtol=1e-3)
    jax.tree.map(np.testing.assert_array_equal, after, stats)
    value, (after, _) = MODEL.loss["generator"](params, stats, BATCH, KEY, **CALL)
    np.testing.assert_allclose(value, np.logaddexp(0, -on_fake).mean(), rtol=1e-4)
    expected = jax.tree.map(lambda old, new: 0.8 * old + 0.2 * new, stats["generator"], seen)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), after["generator"], expected)


def test_batch_norm_sees_the_fakes_of_all_devices(variables):
    """Three devices with four examples each: the statistics are those of the twelve."""
    params, stats = variables
    model = gan(
        (2, 2),
        latent=3,
        generator_hidden=(5, 4),
        discriminator_hidden=(6, 7),
        pieces=3,
        packing=2,
        momentum=0.8,
        axis_name="devices",
    )
    keys = jax.random.split(KEY, 3)
    z = np.concatenate([jax.random.normal(key, (4, 3)) for key in keys])
    fake, seen = _generator(params, None, z)
    cut = {"x": BATCH["x"].reshape(3, 4, 2, 2)}

    def loss(player):
        def call(batch, key):
            return model.loss[player](params, stats, batch, key, **CALL)

        return jax.vmap(call, axis_name="devices")(cut, keys)

    values, (after, _) = loss("generator")
    np.testing.assert_allclose(values.mean(), np.logaddexp(0, -_discriminator(params, fake)).mean(), rtol=1e-4)
    expected = jax.tree.map(lambda old, new: 0.8 * old + 0.2 * new, stats["generator"], seen)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, np.stack([b] * 3), rtol=1e-4, atol=1e-5),
        after["generator"],
        expected,
    )
    values, _ = loss("discriminator")
    on_real, on_fake = _discriminator(params, BATCH["x"]), _discriminator(params, fake)
    expected = np.logaddexp(0, -on_real).mean() + np.logaddexp(0, on_fake).mean()
    np.testing.assert_allclose(values.mean(), expected, rtol=1e-4)


def test_samples_do_not_depend_on_their_neighbours(variables):
    params, stats = variables
    z = jnp.asarray(RNG.normal(size=(10, 3)), jnp.float32)
    np.testing.assert_allclose(
        MODEL.decode(params, stats, z)[:1], MODEL.decode(params, stats, z[:1]), rtol=1e-5, atol=1e-5
    )
    samples = MODEL.sample(params, stats, KEY, 5)
    assert samples.shape == (5, 2, 2)
    np.testing.assert_array_equal(samples, MODEL.sample(params, stats, KEY, 5))
    assert not np.array_equal(samples, MODEL.sample(params, stats, jax.random.key(1), 5))


@pytest.mark.slow
def test_the_default_is_pacgans_grid():
    """Counted from the layers of the authors' code; weights N(0, 0.02^2), biases 0."""
    for packing in (1, 4):
        model = gan(packing=packing)
        params, _ = jax.eval_shape(model.init, KEY, {"x": jnp.zeros((packing, 2))})
        count = {name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in params.items()}
        assert count["generator"] == 2 * 400 + 3 * 400**2 + 4 * 2 * 400 + 400 * 2 + 2
        assert count["discriminator"] == (2 * packing + 1) * 1000 + 2 * 201 * 1000 + 201
        assert list(model.loss) == ["discriminator", "generator"]
    params, _ = gan().init(KEY, {"x": jnp.zeros((1, 2))})
    for path, leaf in jax.tree.leaves_with_path(params):
        if path[-1].key == "kernel" and leaf.size > 1000:
            np.testing.assert_allclose(leaf.std(), 0.02, rtol=0.05)
            assert abs(leaf.mean()) < 0.002
        elif path[-1].key == "bias":
            assert not leaf.any()


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"objective": "minmax"}, "unknown objective 'minmax': did you mean 'minimax'"),
        ({"packing": 0}, "packing=0"),
        ({"latent": 0}, "latent=0"),
        ({"momentum": -0.1}, r"momentum must be in \[0, 1\), got -0.1"),
        ({"weight_scale": 0.0}, "weight_scale must be positive, got 0.0"),
    ],
)
def test_impossible_arguments_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        gan(**keywords)


def test_a_batch_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="packing=2 does not divide the batch of 5 examples"):
        MODEL.init(KEY, {"x": np.zeros((5, 2, 2))})
    with pytest.raises(ValueError, match=r"built for images of shape \(2, 2\), but the batch is \(4, 3\)"):
        MODEL.init(KEY, {"x": np.zeros((4, 3))})
