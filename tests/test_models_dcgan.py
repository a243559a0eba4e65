"""The DCGAN: the published networks' sizes, its discriminator against XLA's convolutions, and each switch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gen_models.models.adversarial.dcgan import dcgan, features_of, pooled
from gen_models.nn.adversarial_losses import wasserstein
from gen_models.nn.gradient_penalties import r1, wasserstein_penalty
from gen_models.nn.judgements import Judgement
from gen_models.nn.normalised_weights import COLLECTION

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
CALL = {"step": 0}
BATCH = {"x": RNG.uniform(size=(4, 8, 8, 1)).astype(np.float32), "y": np.array([0, 1, 2, 1], np.int32)}
SMALL = {"shape": (8, 8, 1), "latent": 3, "features": (2, 3), "window": 3, "weight_scale": 0.3}


def _sizes(tree):
    return {".".join(k.key for k in path): leaf.shape for path, leaf in jax.tree.leaves_with_path(tree)}


def _init(model):
    return jax.jit(model.init)(KEY, BATCH)


def test_the_networks_are_those_of_the_paper():
    """Radford et al. (2016), figure 1: 100 -> 4x4x1024 -> 8x8x512 -> 16x16x256 -> 32x32x128 -> 64x64x3, and back."""
    params, stats = jax.eval_shape(dcgan().init, KEY, {"x": jnp.zeros((2, 64, 64, 3))})
    generator, discriminator = _sizes(params["generator"]), _sizes(params["discriminator"])
    widths = [3, 128, 256, 512, 1024]
    assert generator["Dense_0.kernel"] == (100, 4 * 4 * 1024)
    for i in range(4):
        assert generator[f"ConvTranspose_{i}.kernel"] == (5, 5, widths[4 - i], widths[3 - i])
        assert discriminator[f"Conv_{i}.kernel"] == (5, 5, widths[i], widths[i + 1])
        # of the projection each unit by itself, as in the authors' code
        assert generator[f"BatchNorm_{i}.scale"] == ((widths[4 - i],) if i else (4 * 4 * 1024,))
    assert discriminator["Dense_0.kernel"] == (4 * 4 * 1024, 1)
    # batch norm in all layers but the generator's output and the discriminator's input; no other biases
    norms = [{name for name in sizes if name.startswith("BatchNorm")} for sizes in (generator, discriminator)]
    assert [len(names) for names in norms] == [2 * 4, 2 * 3]
    biases = {name for sizes in (generator, discriminator) for name in sizes if name.endswith("bias")}
    assert all(name.startswith("BatchNorm") for name in biases)
    assert set(stats) == {"generator", "discriminator"}


@pytest.mark.parametrize(
    ("shape", "features", "first"),
    [
        ((28, 28, 1), (128, 256), 7 * 7 * 256),
        ((32, 32, 3), (128, 256, 512), 4 * 4 * 512),
        ((64, 64, 3), (128, 256, 512, 1024), 4 * 4 * 1024),
        ((15, 31, 1), (128,), 8 * 16 * 128),
        ((5, 5, 1), (128,), 3 * 3 * 128),
    ],
)
def test_other_sizes_by_the_same_rule(shape, features, first):
    assert features_of(shape) == features
    model = dcgan(shape)
    params, stats = jax.eval_shape(model.init, KEY, {"x": jnp.zeros((2, *shape))})
    assert params["generator"]["Dense_0"]["kernel"].shape == (100, first)
    assert jax.eval_shape(lambda p, s: model.sample(p, s, KEY, 5), params, stats).shape == (5, *shape)
    code = jax.eval_shape(lambda p, s: model.encode(p, s, jnp.zeros((2, *shape))), params, stats)
    assert code.shape == (2, 16 * sum(features))  # section 5.1


def test_weights_start_as_published():
    params, _ = jax.jit(dcgan((16, 16, 1), features=(32, 64)).init)(KEY, {"x": np.zeros((1, 16, 16, 1), np.float32)})
    for path, leaf in jax.tree.leaves_with_path(params):
        name = path[-1].key
        if name == "bias":
            assert not leaf.any()
        elif name == "scale":
            np.testing.assert_allclose((leaf.mean(), leaf.std()), (1, 0.02), atol=0.01)
        elif leaf.size > 500:
            np.testing.assert_allclose((leaf.mean(), leaf.std()), (0, 0.02), atol=0.002)


@pytest.mark.slow
def test_the_discriminator_is_that_of_xlas_convolutions():
    model = dcgan(**SMALL)
    params, stats = _init(model)
    stats = jax.tree.map(lambda s: jnp.asarray(RNG.uniform(0.5, 1.5, s.shape), jnp.float32), stats)
    own, running = params["discriminator"], stats["discriminator"]["BatchNorm_0"]

    def convolved(x, kernel):
        return lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    first = jax.nn.leaky_relu(convolved(2 * BATCH["x"] - 1, own["Conv_0"]["kernel"]), 0.2)
    h = (convolved(first, own["Conv_1"]["kernel"]) - running["mean"]) / np.sqrt(running["var"] + 1e-5)
    second = jax.nn.leaky_relu(h * own["BatchNorm_0"]["scale"] + own["BatchNorm_0"]["bias"], 0.2)
    expected = second.reshape(4, -1) @ own["Dense_0"]["kernel"][:, 0]
    np.testing.assert_allclose(model.apply(params, stats, BATCH["x"]), expected, rtol=1e-4, atol=1e-5)
    code = model.encode(params, stats, BATCH["x"])
    np.testing.assert_allclose(code[:, : 4 * 4 * 2].reshape(4, 4, 4, 2), first, rtol=1e-4, atol=1e-5)
    twice = second.repeat(2, 1).repeat(2, 2)  # a map of 2x2 fills the grid of 4x4
    np.testing.assert_allclose(code[:, 4 * 4 * 2 :].reshape(4, 4, 4, 3), twice, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [4, 7, 8, 14])
def test_maps_are_pooled_to_windows_that_cover_them(side):
    h = RNG.normal(size=(2, side, side, 3)).astype(np.float32)
    found = pooled(Judgement(jnp.zeros(2), jnp.zeros((2, 1)), maps=(jnp.asarray(h),))).reshape(2, 4, 4, 3)
    covered = np.zeros((side, side), bool)
    for i in range(4):
        for j in range(4):
            rows = slice(i * side // 4, int(np.ceil((i + 1) * side / 4)))
            columns = slice(j * side // 4, int(np.ceil((j + 1) * side / 4)))
            covered[rows, columns] = True
            np.testing.assert_array_equal(found[:, i, j], h[:, rows, columns].max((1, 2)))
    assert covered.all()


def _differ(a, b):
    return any(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), a, b)))


def _step(model):
    """Both losses, and their gradients, of a model that was just made."""
    params, stats = _init(model)

    @jax.jit
    def run(params, stats):
        return {
            player: jax.value_and_grad(loss, has_aux=True)(params, stats, BATCH, KEY, **CALL)
            for player, loss in model.loss.items()
        }

    return params, stats, run(params, stats)


SWITCHES = {
    "pooling": ({"pooling": True}, {"generator", "discriminator"}),
    "without batch norm": ({"generator_norm": False, "discriminator_norm": False}, {"generator"}),
    "spectral": ({"weights": "spectral", "discriminator_norm": False}, {"generator", COLLECTION}),
    "weight": ({"weights": "weight", "discriminator_norm": False}, {"generator"}),
    "minibatch features": ({"discrimination": (3, 2), "deviation": True}, {"generator", "discriminator"}),
    "packs": ({"packing": 2}, {"generator", "discriminator"}),
    "concatenate": ({"classes": 3}, {"generator", "discriminator"}),
    "projection": ({"classes": 3, "condition": "projection"}, {"generator", "discriminator"}),
    "auxiliary": ({"classes": 3, "condition": "auxiliary"}, {"generator", "discriminator"}),
    "critic": (
        {"loss": wasserstein(), "penalty": wasserstein_penalty(), "discriminator_norm": False, "pooling": True},
        {"generator"},
    ),
    "unrolled": ({"unrolled": 2, "unrolled_rate": 0.1}, {"generator", "discriminator"}),
}


QUICK = ("minibatch features", "critic")  # what the zoo's models have not, either


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in SWITCHES])
def test_every_switch_trains_all_parameters_and_moves_what_it_should(name):
    options, collections = SWITCHES[name]
    model = dcgan(**SMALL, **options)
    params, stats, out = _step(model)
    assert set(stats) == collections
    for player, ((value, (after, _)), gradients) in out.items():
        assert np.isfinite(value)
        for path, leaf in jax.tree.leaves_with_path(gradients[player]):
            last = name == "critic" and jax.tree_util.keystr(path, simple=True, separator=".") == "Dense_0.bias"
            assert np.isfinite(leaf).all() and (np.abs(leaf).max() > 0 or last), (player, path)
        moved = {key for key in stats if _differ(stats[key], after[key])}
        own = {player} if player == "generator" else {"discriminator", COLLECTION}
        assert moved == {key for key in own if key in stats and jax.tree.leaves(stats[key])}, player
    label = BATCH["y"] if "classes" in options else None
    labels = {} if label is None else {"label": label}
    samples = model.sample(params, stats, KEY, 4, **labels)
    assert samples.shape == (4, 8, 8, 1) and samples.min() >= 0 and samples.max() <= 1 and samples.std() > 0
    assert model.apply(params, stats, BATCH["x"], **labels).shape == ((2,) if "packing" in options else (4,))


@pytest.mark.slow
def test_pooling_leaves_windows_of_one_pixel():
    """What strides would skip, maxima see: each pixel moves the logit where it is the darkest, or the brightest."""
    model = dcgan(**{**SMALL, "window": 1, "features": (2,)}, pooling=True, discriminator_norm=False)
    params, stats = _init(model)
    assert model.sample(params, stats, KEY, 2).shape == (2, 8, 8, 1)
    images = np.full((2, 64, 64), 0.5, np.float32)
    images[:, range(64), range(64)] = np.array([[0], [1]])  # one pixel of each image differs
    grey = np.full((1, 8, 8, 1), 0.5, np.float32)
    moved = model.apply(params, stats, images.reshape(128, 8, 8, 1)) - model.apply(params, stats, grey)
    assert (np.abs(moved).reshape(2, 64).max(0) > 1e-6).all()


def test_packs_are_images_with_their_channels_side_by_side():
    model = dcgan(**SMALL, packing=2, discriminator_norm=False)
    params, stats = _init(model)
    alone = dcgan(**{**SMALL, "shape": (8, 8, 2)}, discriminator_norm=False)
    both = np.concatenate([BATCH["x"][::2], BATCH["x"][1::2]], -1)
    np.testing.assert_allclose(model.apply(params, stats, BATCH["x"]), alone.apply(params, stats, both), rtol=1e-5)


@pytest.mark.slow
def test_classes_change_what_is_made_and_how_it_is_judged():
    for condition in ("concatenate", "projection"):
        model = dcgan(**SMALL, classes=3, condition=condition)
        params, stats = _init(model)
        z = np.zeros((2, 3), np.float32)
        first, second = model.decode(params, stats, z, np.array([0, 1]))
        assert np.abs(first - second).max() > 1e-3
        logits = model.apply(params, stats, np.repeat(BATCH["x"][:1], 2, 0), np.array([0, 1]))
        assert abs(logits[0] - logits[1]) > 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (8, 8)}, "an image's shape is"),
        (
            {"features": (2, 3, 4, 5)},
            r"stride 2, features=\(2, 3, 4, 5\): give at most 3 features, or use",
        ),
        ({"shape": (1, 1, 1)}, r"features=\(2, 3\): use images with sides of more than 2"),
        ({"features": ()}, "one or more channels"),
        ({"window": 1}, "leaves gaps between strides of 2: give 2 or more, or pooling=True"),
        (
            {"penalty": r1()},
            "on the whole batch: discriminator_norm. Give discriminator_norm=False, or no penalty",
        ),
        (
            {"penalty": r1(), "discriminator_norm": False, "deviation": True, "discrimination": (3, 2)},
            "Give deviation=False, discrimination=None, or no penalty",
        ),
        ({"weights": "norm"}, "unknown normalisation of weights 'norm'"),
        ({"classes": 3, "condition": "project"}, "unknown condition 'project': did you mean 'projection'"),
        ({"discrimination": (3,)}, r"discrimination is \(kernels, size\)"),
        *[({"weight_scale": scale}, "weight_scale must be positive and finite") for scale in (0.0, np.nan, np.inf)],
        ({"condition": "project"}, "unknown condition 'project'"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\)"),
        ({"noise": "gauss"}, "unknown noise 'gauss'"),
    ],
)
def test_impossible_arguments_are_refused(options, message, unchecked):
    with pytest.raises(ValueError, match=message):
        dcgan(**{**SMALL, **options})
