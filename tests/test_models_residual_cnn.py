"""The plain and residual classifier against the same written with PyTorch's functions, and what its parts are for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.models.supervised import residual_cnn as module
from gen_models.models.supervised.residual_cnn import residual_cnn

RNG = np.random.default_rng(0)
SHAPE = (6, 5, 2)
BATCH = {
    "x": RNG.normal(size=(6, *SHAPE)).astype(np.float32),
    "y": RNG.integers(3, size=6).astype(np.int32),
}
KEY = jax.random.key(0)
SMALL = dict(shape=SHAPE, num_classes=3, channels=(4, 8), strides=(1, 2), groups=2, momentum=0.8)
CASES = {
    "residual batch relu": {},
    "plain batch leaky": dict(residual=False, activation="leaky_relu", windows=(5,)),
    "layer prelu": dict(norm="layer", activation="prelu", blocks=2, windows=(3,)),
    "instance gelu": dict(norm="instance", activation="gelu", windows=(1, 3)),
    "group tanh, bottleneck": dict(norm="group", activation="tanh", bottleneck=2),
    "no norm sigmoid": dict(norm="none", activation="sigmoid", residual=False),
}


def _variables(model):
    shapes = jax.eval_shape(model.init, KEY, BATCH)
    draw = np.random.default_rng(1)
    # positive, as a variance must be, and other than the initial zeros and ones, so that each of them shows
    params, stats = jax.tree.map(lambda x: jnp.asarray(draw.uniform(0.2, 1.5, size=x.shape), jnp.float32), shapes)
    kernels = jax.tree_util.tree_map_with_path(
        lambda path, x: x - 0.8 if "kernel" in jax.tree_util.keystr(path) else x, params
    )
    return kernels, stats


def _torch(params, stats, x, train, arguments):
    """Logits, written with PyTorch's functions in float64."""
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    a = dict(residual=True, activation="relu", windows=(3, 3), norm="batch", blocks=1, bottleneck=1) | arguments
    tensors = jax.tree.map(lambda x: torch.tensor(np.asarray(x, np.float64)), (params, stats))
    params, stats = tensors
    layers = 0

    def conv(h, window, stride):
        nonlocal layers
        name, layers = f"{layers:03d}", layers + 1
        pads = []
        for size in (h.shape[3], h.shape[2]):  # from the last dimension to the first, "SAME"
            total = max((-(-size // stride) - 1) * stride + window - size, 0)
            pads += [total // 2, total - total // 2]
        weights = params[f"conv_{name}"]
        h = F.conv2d(F.pad(h, pads), weights["kernel"].permute(3, 2, 0, 1), weights.get("bias"), stride=stride)
        if a["norm"] == "none":
            return h
        scale, bias = params[f"norm_{name}"]["scale"], params[f"norm_{name}"]["bias"]
        if a["norm"] == "batch":
            running = stats[f"norm_{name}"]
            return F.batch_norm(h, running["mean"].clone(), running["var"].clone(), scale, bias, training=train)
        if a["norm"] == "instance":
            return F.instance_norm(h, weight=scale, bias=bias)
        if a["norm"] == "layer":  # its own scale and bias would be for each position
            return F.layer_norm(h, h.shape[1:]) * scale[:, None, None] + bias[:, None, None]
        return F.group_norm(h, SMALL["groups"], scale, bias)

    def activate(h):
        if a["activation"] == "prelu":
            return F.prelu(h, params[f"slope_{layers - 1:03d}"])
        rules = {"relu": F.relu, "leaky_relu": F.leaky_relu, "gelu": F.gelu, "tanh": torch.tanh}
        return (rules | {"sigmoid": torch.sigmoid})[a["activation"]](h)

    h = activate(conv(torch.tensor(np.asarray(x, np.float64)).permute(0, 3, 1, 2), 3, 1))
    for width, first in zip(SMALL["channels"], SMALL["strides"], strict=True):
        for block in range(a["blocks"]):
            stride = first if block == 0 else 1
            y = h if a["bottleneck"] == 1 else activate(conv(h, 1, 1))
            for i, window in enumerate(a["windows"]):
                y = activate(y) if i else y
                y = conv(y, window, stride if i == 0 else 1)
            y = y if a["bottleneck"] == 1 else conv(activate(y), 1, 1)
            if a["residual"]:
                kept = h[:, :, ::stride, ::stride]
                y = y + torch.cat([kept, torch.zeros_like(y)[:, : width - kept.shape[1]]], 1)
            h = activate(y)
    return (h.mean((2, 3)) @ params["logits"]["kernel"] + params["logits"]["bias"]).numpy()


@pytest.mark.slow_cases("group tanh, bottleneck", "instance gelu", "residual batch relu")
@pytest.mark.parametrize("case", CASES)
def test_logits_are_pytorchs(case):
    arguments = CASES[case]
    model = residual_cnn(**(SMALL | arguments))
    params, stats = _variables(model)
    evaluated = jax.jit(model.apply)(params, stats, BATCH["x"])
    expected = _torch(params, stats, BATCH["x"], False, arguments)
    np.testing.assert_allclose(evaluated, expected, rtol=1e-3, atol=1e-4)
    logits = _torch(params, stats, BATCH["x"], True, arguments)
    value, (after, _) = jax.jit(model.loss)(params, stats, BATCH, KEY, step=0)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(value, -log_p[np.arange(6), BATCH["y"]].mean(), rtol=1e-3)
    moved = [not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(stats), jax.tree.leaves(after), strict=True)]
    assert all(moved) and bool(moved) == (arguments.get("norm", "batch") == "batch")


@pytest.mark.slow_cases("group", "none")
@pytest.mark.parametrize("norm", module.NORMS)
def test_only_batch_norm_sees_the_other_images(norm):
    model = residual_cnn(**(SMALL | dict(norm=norm)))
    params, stats = _variables(model)
    loss = jax.jit(lambda batch: model.loss(params, stats, batch, KEY, step=0)[0])
    alone = np.mean([loss(jax.tree.map(lambda x, i=i: x[i : i + 1], BATCH)) for i in range(6)])
    assert np.isclose(alone, loss(BATCH), rtol=1e-5) == (norm != "batch")


def test_a_plain_network_has_the_parameters_of_the_residual_one_and_a_bottleneck_a_tenth():
    def count(**arguments):
        params, _ = jax.eval_shape(
            residual_cnn((28, 28, 1), 10, channels=(16, 32, 64), strides=(1, 2, 2), **arguments).init,
            KEY,
            {"x": jnp.zeros((1, 28, 28, 1))},
        )
        return sum(x.size for x in jax.tree.leaves(params))

    kernels = 9 * (16 + 16 * 16 + 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64)
    assert count() == count(residual=False) == kernels + 2 * (3 * 16 + 2 * 32 + 2 * 64) + 64 * 10 + 10
    inner = sum(c * (w // 4) + 9 * (w // 4) ** 2 + (w // 4) * w for c, w in ((16, 16), (16, 32), (32, 64)))
    norms = 2 * (16 + sum(w + 2 * (w // 4) for w in (16, 32, 64)))
    assert count(windows=(3,), bottleneck=4) == 9 * 16 + inner + norms + 64 * 10 + 10
    assert count(activation="prelu") == count() + 3 * 16 + 2 * 32 + 2 * 64


def test_a_block_of_zeros_is_the_identity_where_it_is_residual():
    """And for the new channels of a stage, nothing: option A."""
    model = residual_cnn(**(SMALL | dict(norm="none")))
    params, stats = model.init(KEY, BATCH)
    nothing = {
        k: jax.tree.map(jnp.zeros_like, v) if k[:4] == "conv" and k != "conv_000" else v for k, v in params.items()
    }
    units = model.encode(nothing, stats, BATCH["x"])
    first, last = units["layer_000"].outputs, units["layer_004"].outputs
    np.testing.assert_array_equal(last[..., :4], first[:, ::2, ::2])
    assert not last[..., 4:].any() and list(units) == [f"layer_{i:03d}" for i in range(5)]


@pytest.mark.slow_cases("gelu")
@pytest.mark.parametrize("activation", module.ACTIVATIONS)
def test_units_are_what_the_network_computes_and_their_slopes_its_derivatives(activation):
    model = residual_cnn(**(SMALL | dict(norm="none", activation=activation, residual=False)))
    params, stats = model.init(KEY, BATCH)
    units = model.encode(params, stats, BATCH["x"])
    last = units["layer_004"].outputs.mean((1, 2)) @ params["logits"]["kernel"] + params["logits"]["bias"]
    np.testing.assert_allclose(model.apply(params, stats, BATCH["x"]), last, rtol=1e-5, atol=1e-6)
    y, slope = (np.asarray(a) for a in units["layer_000"])
    expected = {
        "relu": (y > 0) * 1.0,
        "leaky_relu": np.where(y > 0, 1, 0.01),
        "prelu": np.where(y > 0, 1, 0.25),
        "tanh": 1 - y**2,
        "sigmoid": y * (1 - y),
    }
    if activation == "gelu":  # y = z Phi(z); the slope's extremes are those of Phi(z) + z phi(z)
        assert -0.13 < slope.min() < 0 and 1 < slope.max() < 1.13 and y.min() > -0.17
    else:
        np.testing.assert_allclose(slope, expected[activation], atol=1e-5)


@pytest.mark.slow_cases("relu-2.0")
@pytest.mark.parametrize(("activation", "gain"), [("relu", 2.0), ("prelu", 2 / 1.0625), ("leaky_relu", 2 / 1.0001)])
def test_rectifiers_start_so_that_the_variance_of_gradients_stays(activation, gain):
    model = residual_cnn((28, 28, 1), channels=(64, 64), strides=(1, 1), activation=activation, windows=(3,))
    params, _ = model.init(KEY, {"x": jnp.zeros((1, 28, 28, 1))})
    np.testing.assert_allclose(params["conv_002"]["kernel"].var() * 9 * 64, gain, rtol=0.03)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(shape=(28, 28)), r"\(height, width, channels\), got shape=\(28, 28\)"),
        (dict(channels=(8, 8)), r"of one length, got channels=\(8, 8\), strides=\(1, 2\, 2\)"),
        (dict(blocks=0), "blocks=0"),
        (dict(windows=(3, 4)), r"odd sizes, one or more, got windows=\(3, 4\)"),
        (dict(windows=()), r"got windows=\(\)"),
        (dict(norm="bach"), "unknown norm 'bach': did you mean 'batch'"),
        (dict(activation="rely"), "unknown activation 'rely': did you mean 'relu'"),
        (dict(bottleneck=3), r"bottleneck=3 must divide the stages' channels=\(16, 32, 64\)"),
        (dict(norm="group", groups=3), r"groups=3 must divide the channels of every layer: \[16, 32, 64\]"),
        (dict(norm="group", bottleneck=8), r"groups=4 must divide the channels of every layer: \[2, 4"),
        (dict(channels=(8, 4, 4)), r"must not fall from stage to stage, got channels=\(8, 4, 4\)"),
        (dict(momentum=1.0), r"momentum must be in \[0, 1\), got 1.0"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        residual_cnn(**arguments)
