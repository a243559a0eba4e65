"""The GAN of perceptrons: its networks and losses against the same in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from gen_models.models.adversarial.gan import gan
from gen_models.models.adversarial.players import pack
from gen_models.nn.adversarial_losses import wasserstein
from gen_models.nn.gradient_penalties import wasserstein_penalty

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
BATCH = {"x": RNG.normal(size=(12, 2, 2)).astype(np.float32)}
SIZES = {"latent": 3, "generator_hidden": (5, 4), "discriminator_hidden": (6, 7), "pieces": 3, "packing": 2}
MODEL = gan((2, 2), **SIZES, weight_scale=0.5, momentum=0.8)
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
    np.testing.assert_array_equal(packs[1], BATCH["x"][3:6])
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
    np.testing.assert_allclose(metrics["real_logit"], on_real.mean(), rtol=1e-3)
    np.testing.assert_allclose(metrics["fake_logit"], on_fake.mean(), rtol=1e-3)
    jax.tree.map(np.testing.assert_array_equal, after, stats)
    value, (after, _) = MODEL.loss["generator"](params, stats, BATCH, KEY, **CALL)
    np.testing.assert_allclose(value, np.logaddexp(0, -on_fake).mean(), rtol=1e-4)
    expected = jax.tree.map(lambda old, new: 0.8 * old + 0.2 * new, stats["generator"], seen)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), after["generator"], expected)


@pytest.mark.slow
def test_batch_norm_sees_the_fakes_of_all_devices(variables):
    """Three devices with four examples each: the statistics are those of the twelve."""
    params, stats = variables
    model = gan((2, 2), **SIZES, momentum=0.8, axis_name="devices")
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


def test_a_critic_with_a_penalty_on_whole_packs(variables):
    """Gulrajani et al. (2017): the critic's loss is minus its estimate plus the penalty, whose gradient is of packs."""
    params, stats = variables
    model = gan((2, 2), **SIZES, loss=wasserstein(), penalty=wasserstein_penalty(3))
    value, (_, metrics) = model.loss["discriminator"](params, stats, BATCH, KEY, **CALL)
    np.testing.assert_allclose(value, metrics["penalty"] - metrics["wasserstein"], rtol=1e-5)
    noise_key, penalty_key = jax.random.split(KEY)
    fake, _ = _generator(params, None, jax.random.normal(noise_key, (12, 3)))
    share = np.asarray(jax.random.uniform(penalty_key, (6, 1, 1, 1)))  # one number for both members of a pack
    x = share * BATCH["x"].reshape(6, 2, 2, 2) + (1 - share) * fake.reshape(6, 2, 2, 2)
    steps = 1e-5 * np.eye(8).reshape(8, 1, 2, 2, 2)
    ahead, behind = (
        np.stack([_discriminator(params, (x + s * step).reshape(12, 2, 2)) for step in steps]) for s in (1, -1)
    )
    norms = np.sqrt((((ahead - behind) / 2e-5) ** 2).sum(0))
    np.testing.assert_allclose(metrics["gradient_norm"], norms.mean(), rtol=1e-3)
    np.testing.assert_allclose(metrics["penalty"], 3 * ((norms - 1) ** 2).mean(), rtol=1e-3)
    value, _ = model.loss["generator"](params, stats, BATCH, KEY, **CALL)
    np.testing.assert_allclose(value, -_discriminator(params, fake).mean(), rtol=1e-3)


def test_the_class_stands_beside_the_noise_and_the_example():
    """Mirza & Osindero (2014): both first layers read its one-hot vector as well."""
    batch = BATCH | {"y": np.arange(12, dtype=np.int32) % 3}
    options = {"latent": 3, "generator_hidden": (5,), "discriminator_hidden": (6,), "classes": 3, "weight_scale": 0.5}
    model = gan((2, 2), **options)
    params, stats = model.init(KEY, batch)
    assert params["generator"]["Dense_0"]["kernel"].shape == (3 + 3, 5)
    first = params["discriminator"]["Maxout_0"]["Dense_0"]["kernel"]
    assert first.shape == (4 + 3, 5 * 6)
    z, labels = np.zeros((1, 3), np.float32), [np.array([i]) for i in range(2)]
    row = params["generator"]["Dense_0"]["kernel"][3:]
    norm = params["generator"]["BatchNorm_0"]
    for label in labels:
        h = np.maximum(row[label] / np.sqrt(1 + 1e-4) * norm["scale"] + norm["bias"], 0)  # fresh running averages
        x = h @ params["generator"]["Dense_1"]["kernel"] + params["generator"]["Dense_1"]["bias"]
        np.testing.assert_allclose(model.decode(params, stats, z, label).reshape(1, -1), x, rtol=1e-4, atol=1e-6)
    told = [model.apply(params, stats, BATCH["x"][:1], label) for label in labels]
    beside = np.concatenate([np.tile(BATCH["x"][:1].reshape(1, -1), (2, 1)), np.eye(3, dtype=np.float32)[:2]], 1)
    alone = gan((7,), **{**options, "classes": None})  # the same network on the seven numbers
    np.testing.assert_allclose(np.concatenate(told), alone.apply(params, stats, beside), rtol=1e-5)


def _dense(params, h, names):
    for name in names:
        h = np.maximum(h @ params[name]["kernel"] + params[name]["bias"], 0)
    return h


def test_networks_of_relu_alone_are_numpys():
    """VEEGAN's: no batch norm, no maxout; kernels start within the bound of Glorot & Bengio (2010)."""
    sizes = {"latent": 3, "generator_hidden": (50, 40), "discriminator_hidden": (6, 7)}
    relu = {"generator_norm": False, "discriminator_activation": jax.nn.relu, "weight_scale": None}
    model = gan((2,), **sizes, **relu)
    params, stats = model.init(KEY, {"x": BATCH["x"][:, 0]})
    assert not jax.tree.leaves(stats)
    kernel = np.asarray(params["generator"]["Dense_1"]["kernel"])
    bound = np.sqrt(6 / (50 + 40))
    assert 0.95 * bound < np.abs(kernel).max() <= bound
    params = jax.tree.map(lambda x: np.asarray(RNG.normal(size=x.shape), np.float32), params)
    own = jax.tree.map(np.float64, params)
    z = RNG.normal(size=(10, 3)).astype(np.float32)
    h = _dense(own["generator"], z, ("Dense_0", "Dense_1"))
    x = h @ own["generator"]["Dense_2"]["kernel"] + own["generator"]["Dense_2"]["bias"]
    np.testing.assert_allclose(model.decode(params, stats, z), x, rtol=1e-4, atol=1e-3)
    h = _dense(own["discriminator"], BATCH["x"][:, 0], ("Dense_0", "Dense_1"))
    logits = h @ own["discriminator"]["Dense_2"]["kernel"] + own["discriminator"]["Dense_2"]["bias"]
    np.testing.assert_allclose(model.apply(params, stats, BATCH["x"][:, 0]), logits[:, 0], rtol=1e-4, atol=1e-3)


@pytest.mark.slow_cases("None")
@pytest.mark.parametrize("activation", [None, jax.nn.relu])
def test_features_of_the_batch_stand_before_the_last_layer(activation):
    """Examples that are all alike have the features of Salimans et al. and Karras et al. in closed form."""
    options = {"generator_hidden": (4,), "discriminator_hidden": (5,), "discriminator_activation": activation}
    model = gan((2,), **options, discrimination=(3, 2), deviation=True, weights="spectral")
    params, stats = model.init(KEY, {"x": BATCH["x"][:, 0]})
    own = params["discriminator"]
    assert set(stats) == {"generator", "singular_vectors"}
    assert own["MinibatchDiscrimination_0"]["tensor"]["kernel"].shape == (5 + 1, 3 * 2)
    assert own["Dense_0" if activation is None else "Dense_1"]["kernel"].shape == (5 + 1 + 3, 1)
    features = np.asarray(model.encode(params, stats, np.repeat(BATCH["x"][:1, 0], 4, 0)))
    np.testing.assert_allclose(features[:, 5], 0, atol=1e-3)  # the deviation
    np.testing.assert_allclose(features[:, 6:], 4, rtol=1e-5)  # each kernel sees four examples at no distance


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
        ({"weight_scale": 0.0}, "weight_scale must be positive and finite, got 0.0"),
        ({"weight_scale": float("nan")}, "weight_scale must be positive and finite, got nan"),
        ({"weights": "spectrl"}, "unknown normalisation of weights 'spectrl': did you mean 'spectral'"),
        ({"discrimination": (0, 4)}, r"discrimination=\(0, 4\)"),
        ({"deviation": True, "penalty": wasserstein_penalty()}, "the whole batch: deviation. Give deviation=False"),
        ({"condition": "projected"}, "unknown condition 'projected': did you mean 'projection'"),
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
