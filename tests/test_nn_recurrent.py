"""Recurrent layers: PyTorch's in value and gradient, the plain scan's, and the same however a sequence is read."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import AxisType

from gen_models.nn import recurrent
from gen_models.nn.devices import over_devices, plain
from gen_models.nn.recurrent import GRU, LSTM, Bidirectional, Elman, Weights

TORCH = dict(np.load(Path(__file__).parent / "fixtures" / "recurrent_torch.npz"))
LAYERS = {
    "lstm": LSTM(6),
    "gru": GRU(6),
    "elman_tanh": Elman(6),
    "elman_relu": Elman(6, activation="relu"),
    "lstm_both": Bidirectional(LSTM(6), LSTM(6, reverse=True)),
    "gru_both": Bidirectional(GRU(6), GRU(6, reverse=True)),
}
KINDS = {
    "lstm": (recurrent.lstm, recurrent.lstm_step, 4, 2),
    "gru": (recurrent.gru, recurrent.gru_step, 3, 1),
    "elman": (recurrent.elman, recurrent.elman_step, 1, 1),
    "elman_relu": (
        partial(recurrent.elman, activation="relu"),
        partial(recurrent.elman_step, activation="relu"),
        1,
        1,
    ),
}
B, T, C, H = 4, 5, 3, 6
LENGTHS = np.array([3, 5, 0, 1])


def _arguments(kind, batch=B, seed=0):
    """Inputs, a carry and weights of one kind."""
    rng = np.random.default_rng(seed)
    _, _, gates, states = KINDS[kind]

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape, scale=0.6), jnp.float32)

    carry = tuple(draw(batch, H) for _ in range(states))
    weights = Weights(draw(C, gates * H), draw(H, gates * H), draw(gates * H), draw(H) if kind == "gru" else None)
    return draw(batch, T, C), carry if states > 1 else carry[0], weights


def _weighted(y):
    """A sum that tells all elements apart."""
    return sum((jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape) * leaf).sum() for leaf in jax.tree.leaves(y))


def _value_and_gradients(f, *arguments):
    y, pull = jax.vjp(lambda *arguments: (lambda y: (_weighted(y), y))(f(*arguments)), *arguments, has_aux=False)
    return y[1], pull((jnp.ones([]), jax.tree.map(jnp.zeros_like, y[1])))


def _assert_close(got, want, tolerance=1e-5):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(np.float32(a), np.float32(b), rtol=tolerance, atol=tolerance), got, want
    )


def _from_torch(case, suffix="", grad=""):
    """The module's parameters, or their gradients, from PyTorch's, which has a second bias everywhere."""
    w = {name: TORCH[f"{case}/{grad}{name}_l0{suffix}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    params = {"kernel": w["weight_ih"].T, "recurrent_kernel": w["weight_hh"].T}
    second = w["bias_hh"].copy()
    if case.startswith("gru"):
        params["recurrent_bias"] = second[12:].copy()
        second[12:] = 0
    return params | {"bias": w["bias_ih"] + (0 if grad else second)}


@pytest.mark.parametrize("case", LAYERS)
def test_values_and_gradients_are_those_of_pytorch(case):
    layer = LAYERS[case]
    lengths = TORCH.get(f"{case}/lengths")

    def get(grad=""):
        carry = [TORCH[f"{case}/{grad}{n}"] for n in ("h0", "c0") if f"{case}/{n}" in TORCH]
        if case.endswith("_both"):
            params = {"forward": _from_torch(case, "", grad), "backward": _from_torch(case, "_reverse", grad)}
            carry = [tuple(c[i] for c in carry) if len(carry) > 1 else carry[0][i] for i in range(2)]
            return params, TORCH[f"{case}/{grad}x"], tuple(carry)
        carry = [c[0] for c in carry]
        return _from_torch(case, "", grad), TORCH[f"{case}/{grad}x"], tuple(carry) if len(carry) > 1 else carry[0]

    def run(params, x, carry):
        """In PyTorch's form: outputs, and each last state with the directions in front."""
        outputs, last = layer.apply({"params": params}, x, carry, lengths)
        if not case.endswith("_both"):
            last = (last,)
        return outputs, jax.tree.map(lambda *leaves: jnp.stack(leaves), *last)

    (outputs, last), gradients = jax.jit(partial(_value_and_gradients, run))(*get())
    _assert_close(outputs, TORCH[f"{case}/outputs"], 2e-6)
    last = last if isinstance(last, tuple) else (last,)
    _assert_close(last, tuple(TORCH[f"{case}/{n}_last"] for n in "hc"[: len(last)]), 2e-6)
    _assert_close(gradients, get("grad/"), 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_at_a_time_is_the_whole_sequence(kind):
    whole, step, _, _ = KINDS[kind]
    x, carry, weights = _arguments(kind)

    @jax.jit
    def by_steps(x, carry, weights):
        def body(carry, x):
            output, carry = step(x, carry, weights)
            return carry, output

        carry, outputs = jax.lax.scan(body, carry, x.swapaxes(0, 1))
        return outputs.swapaxes(0, 1), carry

    _assert_close(by_steps(x, carry, weights), jax.jit(whole)(x, carry, weights), 1e-6)


@pytest.mark.slow_cases("GRU", "LSTM")
@pytest.mark.parametrize("layer", [LSTM(H), GRU(H), Elman(H)], ids=lambda layer: type(layer).__name__)
def test_a_module_steps_and_goes_on_where_it_stopped(layer):
    x = _arguments("lstm")[0]
    variables = layer.init(jax.random.key(0), x)
    outputs, last = jax.jit(layer.apply)(variables, x)
    carry = None
    for t in range(2):
        output, carry = layer.apply(variables, x[:, t], carry, method="step")
        _assert_close(output, outputs[:, t], 1e-6)
    _assert_close(jax.jit(layer.apply)(variables, x[:, 2:], carry), (outputs[:, 2:], last), 1e-6)


@pytest.mark.slow_cases("gru-False-True", "gru-True-False", "lstm-False-False", "lstm-True-True")
@pytest.mark.parametrize(
    ("kind", "reverse", "padded"),
    [
        ("lstm", False, False),
        ("lstm", True, True),
        ("gru", True, False),
        ("gru", False, True),
        ("elman", True, True),
        ("elman_relu", False, False),
    ],
)
def test_custom_gradient_is_that_of_the_plain_scan(kind, reverse, padded):
    f = partial(KINDS[kind][0], reverse=reverse, lengths=LENGTHS if padded else None)
    arguments = _arguments(kind)
    run = jax.jit(partial(_value_and_gradients, f))
    got = run(*arguments)
    with plain():
        _assert_close(got, run(*arguments))


@pytest.mark.parametrize("kind", ["lstm", "gru", "elman"])
@pytest.mark.parametrize("padded", [False, True])
def test_reverse_reads_each_sequence_from_its_own_end(kind, padded):
    whole = partial(KINDS[kind][0], lengths=LENGTHS if padded else None)
    x, carry, weights = _arguments(kind)
    mirrored = np.arange(T)[None] + np.zeros_like(LENGTHS)[:, None]
    for row, length in zip(mirrored, LENGTHS if padded else [T] * B, strict=True):
        row[:length] = row[:length][::-1]

    @jax.jit
    def run(x, carry, weights):
        outputs, last = whole(jnp.take_along_axis(x, mirrored[..., None], 1), carry, weights)
        return (jnp.take_along_axis(outputs, mirrored[..., None], 1), last), whole(x, carry, weights, reverse=True)

    want, got = run(x, carry, weights)
    _assert_close(got, want, 1e-6)
    if padded:
        assert (got[0][2] == 0).all()  # its length is 0
        assert jax.tree.all(jax.tree.map(lambda a, b: bool((a[2] == b[2]).all()), got[1], carry))


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_padding_is_not_read(kind):
    x, carry, weights = _arguments(kind)
    padding = (np.arange(T) >= LENGTHS[:, None])[..., None]
    run = jax.jit(partial(_value_and_gradients, partial(KINDS[kind][0], lengths=LENGTHS)))
    want = run(x, carry, weights)
    got = run(jnp.where(padding, jnp.nan, x), carry, weights)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), got, want))
    assert (jnp.where(padding, got[1][0], 0) == 0).all() and (got[1][0][1] != 0).all()


@pytest.mark.slow_cases("lstm")
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_gradients_inside_scan_vmap_and_checkpoint(kind):
    f = partial(KINDS[kind][0], lengths=LENGTHS)
    arguments = [_arguments(kind, seed=seed) for seed in range(2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *arguments)

    def gradients(f, *arguments):
        return _value_and_gradients(f, *arguments)[1]

    @jax.jit
    def run(stacked):
        mapped = jax.vmap(partial(gradients, f))(*stacked)
        return mapped, jax.lax.scan(lambda _, a: (None, gradients(jax.checkpoint(f), *a)), None, stacked)[1]

    results = run(stacked)
    with plain():
        alone = jax.jit(partial(gradients, f))
        for seed in range(2):
            want = alone(*arguments[seed])
            for got in results:
                _assert_close(jax.tree.map(lambda g, seed=seed: g[seed], got), want)


@pytest.mark.slow
def test_forward_mode_and_second_derivatives():
    x, carry, weights = _arguments("lstm")
    f = jax.jit(lambda x: recurrent.lstm(x, carry, weights)[0])
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(f, (x,), (x,))
    with plain():
        _, tangent = jax.jvp(f, (x,), (x,))
    pulled = jax.jit(jax.grad(lambda x: _weighted(f(x))))
    np.testing.assert_allclose(_weighted(tangent), (pulled(x) * x).sum(), rtol=1e-4)

    def penalty(x):
        return (jax.grad(lambda x: _weighted(recurrent.gru(x, *_arguments("gru")[1:])))(x) ** 2).sum()

    twice = jax.jit(jax.grad(penalty))
    got = twice(x)
    with plain():
        _assert_close(got, twice(x), 1e-4)


@pytest.mark.slow_cases("gru-16", "lstm-16")
@pytest.mark.parametrize(("kind", "size"), [("lstm", 16), ("gru", 16), ("lstm", 6)])  # the eight devices divide 16
def test_cut_over_devices_is_whole(kind, size):
    arguments = _arguments(kind, batch=size)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    lengths = jnp.arange(size) % (T + 1)
    run = jax.jit(partial(_value_and_gradients, partial(KINDS[kind][0], reverse=True, lengths=lengths)))
    want = run(*arguments)
    with over_devices(mesh):
        got = run(*arguments)
        outputs = jax.jit(KINDS[kind][0])(*arguments)[0]
    _assert_close(got, want)
    if size == 16:
        assert outputs.sharding.spec[0] == "data"


def _products_in_loops(jaxpr, inside=False):
    """How many products the loops of a program hold."""
    count = 0
    for eqn in jaxpr.eqns:
        count += inside and eqn.primitive.name == "dot_general"
        for inner in jax.tree.leaves(eqn.params, is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                count += _products_in_loops(inner, inside or eqn.primitive.name == "scan")
    return count


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_step_makes_one_product_in_each_loop(kind):
    """The recurrent kernel's, forward and backward; all others are made for all steps at once."""
    run = partial(_value_and_gradients, KINDS[kind][0])
    assert _products_in_loops(jax.make_jaxpr(run)(*_arguments(kind)).jaxpr) == 2
    with plain():
        assert _products_in_loops(jax.make_jaxpr(run)(*_arguments(kind)).jaxpr) > 2


@pytest.mark.slow_cases("GRU-plain", "LSTM-custom", "LSTM-plain")
@pytest.mark.parametrize(("layer", "how"), [(LSTM, "custom"), (LSTM, "plain"), (GRU, "plain"), (Elman, "custom")])
def test_half_precision_is_near_and_its_parameters_are_not_half(layer, how):
    x = _arguments("lstm")[0]
    variables = layer(H).init(jax.random.key(0), x)

    def run(dtype):
        def f(variables, x):
            outputs, carry = layer(H, dtype=dtype).apply(variables, x, lengths=LENGTHS)
            return outputs, carry

        return jax.jit(partial(_value_and_gradients, f))(variables, x)

    want = run(jnp.float32)
    if how == "plain":
        with plain():
            got = run(jnp.bfloat16)
    else:
        got = run(jnp.bfloat16)
    (outputs, carry), gradients = got
    assert outputs.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((variables, carry, gradients)))
    _assert_close(got, want, 0.05)
    assert (got[0][0] != want[0][0]).any()


def test_initial_parameters():
    x = jnp.zeros((1, 1, 400))
    params = jax.jit(LSTM(32).init)(jax.random.key(0), x)["params"]
    assert jax.tree.map(jnp.shape, params) == {"kernel": (400, 128), "recurrent_kernel": (32, 128), "bias": (128,)}
    np.testing.assert_allclose(params["kernel"].std(), 400**-0.5, rtol=0.02)
    np.testing.assert_array_equal(params["bias"], np.repeat([0, 1, 0, 0], 32))
    blocks = params["recurrent_kernel"].reshape(32, 4, 32)
    for i in range(4):
        np.testing.assert_allclose(blocks[:, i].T @ blocks[:, i], np.eye(32), atol=1e-5)
    assert abs(blocks[:, 0] - blocks[:, 1]).max() > 0.1
    params = jax.jit(LSTM(32, forget_bias=0.0, bias_init=nn.initializers.ones).init)(jax.random.key(0), x)["params"]
    np.testing.assert_array_equal(params["bias"], np.ones(128))
    assert jax.tree.map(jnp.shape, jax.jit(GRU(8).init)(jax.random.key(0), x)["params"]) == {
        "kernel": (400, 24),
        "recurrent_kernel": (8, 24),
        "bias": (24,),
        "recurrent_bias": (8,),
    }


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_named():
    x, carry, weights = _arguments("lstm")
    gru_x, gru_carry, gru_weights = _arguments("gru")
    for call, named in (
        (lambda: recurrent.lstm(x[0], carry, weights), r"\(5, 3\)"),
        (lambda: recurrent.lstm(x[:, :0], carry, weights), r"\(4, 0, 3\)"),
        (lambda: recurrent.lstm(x[..., :2], carry, weights), r"\(2, 24\)"),
        (lambda: recurrent.lstm(x, carry, gru_weights), r"\(3, 18\)"),
        (lambda: recurrent.lstm(x, carry[:1], weights), "carry"),
        (lambda: recurrent.lstm(x, (carry[0], carry[1][:1]), weights), r"\(1, 6\)"),
        (lambda: recurrent.lstm(x, carry, weights, lengths=jnp.ones(3, int)), r"\(3,\)"),
        (lambda: recurrent.lstm(x, carry, weights, lengths=jnp.ones(4)), "float32"),
        (lambda: recurrent.lstm_step(x, carry, weights), r"\(4, 5, 3\)"),
        (lambda: recurrent.gru(gru_x, gru_carry, gru_weights._replace(recurrent_bias=None)), "None"),
        (lambda: recurrent.elman(x, None, weights, activation="rleu"), "relu"),
        (lambda: Bidirectional(LSTM(2), LSTM(2)).init(jax.random.key(0), x), "reverse=True"),
    ):
        with pytest.raises(ValueError, match=named):
            call()
