"""Backpropagation through time, whole and truncated: closed forms, PyTorch's network, and cuts where they should be."""

from functools import partial
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from theirs import assert_gradients_close, trees_of

from gen_models.core import init_state, make_train_step
from gen_models.data.synthetic import adding_baseline, adding_task, copy_baseline, copy_task
from gen_models.data.transforms import one_hot
from gen_models.models.sequences.recurrent_network import recurrent_network
from gen_models.nn.recurrent import Weights, elman
from gen_models.optimizers import sgd

THEIRS = Path(__file__).parent / "fixtures" / "recurrent_network_torch.npz"  # made by make_..._torch.py beside it
B, T, F, H, D = 3, 6, 2, 4, 2
KEY = jax.random.key(0)
_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(B, T, F)).astype(np.float32)
AT_END = {"x": X, "y": _RNG.normal(size=(B, D)).astype(np.float32)}
AT_EACH = {"x": X, "y": _RNG.normal(size=(B, T, D)).astype(np.float32)}
DEEP = {"layers": 2, "residual": True, "layer_norm": True}
CELLS = [("lstm", {}), pytest.param("gru", DEEP, marks=pytest.mark.slow)]
each_cell = pytest.mark.parametrize(("cell", "more"), CELLS)


def _network(shape=(T, F), outputs=D, *, answer="numbers", features=H, **options):
    return recurrent_network(shape, outputs, answer=answer, features=features, **options)


def _params(cell="elman", **options):
    """Parameters that are nowhere near zero, for all models of such layers."""
    params, _ = jax.jit(_network(cell=cell, **options).init)(KEY, AT_END)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape).astype(leaf.dtype), params)


def _loss(model, params, batch, **more):
    """The loss in evaluation mode, and the carry that it leaves, if any."""
    value, (_, _, *carry) = model.loss(params, {}, batch, KEY, step=0, train=False, **more)
    return value, carry


def _value_and_gradient(model, params, batch, **more):
    return jax.jit(jax.value_and_grad(lambda params: _loss(model, params, batch, **more), has_aux=True))(params)


def test_a_deep_bidirectional_classifier_of_padded_sequences_is_pytorchs():
    with np.load(THEIRS) as file:
        theirs = dict(file)
    params, gradients = trees_of(theirs, "params/", "gradients/")
    model = recurrent_network((5, 3), 3, features=4, layers=2, bidirectional=True)
    batch = {"x": theirs["x"], "y": theirs["y"], "length": theirs["lengths"]}
    ours, _ = jax.eval_shape(model.init, KEY, batch)
    assert jax.tree.map(jnp.shape, ours) == jax.tree.map(jnp.shape, params)
    logits = jax.jit(model.apply)(params, {}, batch["x"], batch["length"])
    np.testing.assert_allclose(logits, theirs["logits"], rtol=1e-5)
    (value, _), found = _value_and_gradient(model, params, batch)
    np.testing.assert_allclose(value, theirs["loss"], rtol=1e-6)
    assert_gradients_close(found, gradients, rtol=1e-4, atol=1e-6)


@each_cell
def test_windows_have_the_whole_sequences_values_and_the_gradient_of_steps_that_carry_their_states(cell, more):
    """The gradient of `window` is the mean over windows of the gradients of a model that is given each alone."""
    params, size = _params(cell, **more), 2
    make = partial(_network, cell=cell, at="each", **more)
    (whole, _), full = _value_and_gradient(make(), params, AT_EACH)
    (cut, _), truncated = _value_and_gradient(make(window=size), params, AT_EACH)
    np.testing.assert_allclose(cut, whole, rtol=1e-6)

    model = make((size, F), truncated=True)
    parts = [{name: value[:, t : t + size] for name, value in AT_EACH.items()} for t in range(0, T, size)]
    of_part = lambda params, part, carry: _loss(model, params, part, carry=carry)  # noqa: E731
    step = jax.jit(jax.value_and_grad(of_part, has_aux=True))
    carry, losses, gradients = model.init_carry(params, parts[0]), [], []
    for part in parts:
        (value, (carry,)), gradient = step(params, part, carry)
        losses.append(value)
        gradients.append(gradient)
    np.testing.assert_allclose(np.mean(losses), whole, rtol=1e-6)
    mean = jax.tree.map(lambda *leaves: sum(leaves) / len(parts), *gradients)
    chex.assert_trees_all_close(truncated, mean, rtol=1e-4, atol=1e-6)
    gap = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), full, truncated)
    assert gap["layers"][f"{cell}_0"]["recurrent_kernel"] > 1e-3  # what the windows leave out


def test_one_window_that_covers_all_is_the_whole_in_the_same_bits():
    params = _params()
    whole, one = (_value_and_gradient(_network(cell="elman", window=w), params, AT_END) for w in (None, T))
    chex.assert_trees_all_equal(whole, one)


def test_no_gradient_passes_a_border_and_it_does_where_there_is_none():
    params = _params(layers=2)
    for window, reached in ((None, T), (3, 3)):
        model = _network(cell="elman", layers=2, window=window)
        gradient = jax.jit(jax.grad(lambda x, model=model: _loss(model, params, AT_END | {"x": x})[0]))(X)
        assert (np.abs(gradient) > 0).any((0, 2)).tolist() == [t >= T - reached for t in range(T)]


@pytest.mark.parametrize("radius", [1.25, pytest.param(0.8, marks=pytest.mark.slow)])
def test_gradients_of_a_linear_network_vanish_and_explode_as_powers_of_its_spectral_radius(radius):
    """With W = r Q and Q orthogonal, all singular values of dh_T/dh_0, W to the power of T, are r^T."""
    steps, model = 20, _network((20, F), cell="elman", activation="linear", radius=radius)
    batch = {"x": np.ones((1, steps, F), np.float32), "y": np.ones((1, D), np.float32)}
    params, _ = jax.jit(model.init)(KEY, batch)
    weights = params["layers"]["elman_0"]
    np.testing.assert_allclose(np.abs(np.linalg.eigvals(weights["recurrent_kernel"])), radius, rtol=1e-5)

    def last(state):
        own = Weights(weights["kernel"], weights["recurrent_kernel"], weights["bias"])
        return elman(batch["x"], state[None], own, "linear")[1][0]

    jacobian = jax.jit(jax.jacrev(last))(jnp.zeros(H))
    np.testing.assert_allclose(np.linalg.svd(jacobian)[1], radius**steps, rtol=1e-4)
    zeros = (jnp.zeros((1, steps, H)),)
    (by_state,) = jax.jit(jax.grad(lambda nudges: _loss(model, params, batch, nudges=nudges)[0]))(zeros)
    norms = np.linalg.norm(by_state[0], axis=-1)
    assert norms[-1] > 1e-3
    np.testing.assert_allclose(norms / norms[-1], radius ** np.arange(steps)[::-1], rtol=1e-4)


@each_cell
def test_the_gradient_by_a_state_is_that_of_what_is_read_from_it_on(cell, more):
    """By nudges, the states of all layers taken together; with a window, up to the border. States are `encode`'s."""
    params, at = _params(cell, **more), 3
    model = _network(cell=cell, **more)
    states = jax.jit(partial(model.encode, params, {}))(X)
    before = jax.tree.map(lambda leaf: leaf[:, at - 1], states)
    rest, tail = _network((T - at, F), cell=cell, truncated=True, **more), AT_END | {"x": X[:, at:]}
    of_rest = lambda carry: _loss(rest, params, tail, carry=carry)  # noqa: E731
    (value, (carry,)), expected = jax.jit(jax.value_and_grad(of_rest, has_aux=True))(before)
    chex.assert_trees_all_close(carry, jax.tree.map(lambda leaf: leaf[:, -1], states), rtol=1e-5, atol=1e-6)
    zeros = jax.tree.map(jnp.zeros_like, states)
    for window in (None, 2):
        model = _network(cell=cell, window=window, **more)
        of_nudges = lambda nudges, model=model: _loss(model, params, AT_END, nudges=nudges)[0]  # noqa: E731
        whole, found = jax.jit(jax.value_and_grad(of_nudges))(zeros)
        np.testing.assert_allclose(whole, value, rtol=1e-5)
        if window is None:
            there = jax.tree.map(lambda leaf: leaf[:, at - 1], found)
            chex.assert_trees_all_close(there, expected, rtol=1e-4, atol=1e-6)
        else:
            moved = [(np.abs(leaf) > 0).any((0, 2)) for leaf in jax.tree.leaves(found)]
            # Behind step 4 stands a border; the state there is not reached by what comes later.
            assert np.any(moved, 0).tolist() == [False] * 4 + [True] * 2


@pytest.mark.parametrize("clip", [1e-3, pytest.param(1e3, marks=pytest.mark.slow)])
def test_a_clipped_step_is_the_gradient_scaled_to_its_norm(clip):
    """Pascanu et al. (2013), algorithm 1, of the gradient through time: it acts where the norm is above the bound."""
    params, model = _params(), _network(cell="elman")
    (_, _), gradient = _value_and_gradient(model, params, AT_END)
    norm = float(optax.tree.norm(gradient))
    tx = sgd(1.0, clip_norm=clip)
    state = init_state(model, tx, KEY, AT_END)._replace(params=params)
    after, metrics = jax.jit(make_train_step(model.loss, tx))(state, AT_END)
    np.testing.assert_allclose(metrics["grad_norm"], norm, rtol=1e-5)  # that of before it was clipped
    scale = min(1.0, clip / norm)
    assert (scale < 1) == (clip < 1)
    moved = jax.tree.map(lambda old, new: old - new, params, after.params)
    chex.assert_trees_all_close(moved, jax.tree.map(lambda g: scale * g, gradient), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("at", "window"), [("each", 2), pytest.param("end", None, marks=pytest.mark.slow)])
def test_padding_changes_nothing_and_an_answer_is_that_of_its_own_step(at, window):
    params, lengths = _params("lstm"), np.array([6, 1, 4])
    model, batch = _network(at=at, window=window), (AT_END if at == "end" else AT_EACH) | {"length": lengths}
    counts = np.arange(T) < lengths[:, None]
    spoiled = batch | {"x": np.where(counts[..., None], X, 9)}
    if at == "each":
        spoiled["y"] = np.where(counts[..., None], batch["y"], -9).astype(np.float32)
    both = jax.jit(jax.value_and_grad(lambda params, batch: _loss(model, params, batch)[0]))
    plain, padded = (both(params, one) for one in (batch, spoiled))
    chex.assert_trees_all_close(plain, padded, rtol=1e-5, atol=1e-7)
    answers = np.asarray(jax.jit(_network(at="each").apply)(params, {}, X))  # step t has read nothing behind it
    if at == "end":
        expected = ((answers[np.arange(B), lengths - 1] - batch["y"]) ** 2).mean()
    else:
        expected = ((answers - batch["y"]) ** 2).mean(-1)[counts].sum() / (B * T)
    np.testing.assert_allclose(plain[0], expected, rtol=1e-5)


def test_answers_of_each_kind_against_scipy_and_by_hand():
    options = {"features": 3, "cell": "elman", "at": "each"}
    model = _network(answer="normal", **options)
    params = jax.jit(model.init)(KEY, AT_EACH)[0]

    @jax.jit
    def normal():
        return model.apply(params, {}, X, deviations=True), model.loss(params, {}, AT_EACH, KEY, step=0)

    (mean, deviation), (value, (_, metrics)) = normal()
    log_p = scipy.stats.norm.logpdf(AT_EACH["y"], np.float64(mean), np.float64(deviation))
    np.testing.assert_allclose(value, -log_p.sum(-1).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["mean_squared_error"], ((mean - AT_EACH["y"]) ** 2).mean(), rtol=1e-5)

    labels, lengths = np.random.default_rng(2).integers(3, size=(B, T)), np.array([6, 1, 3])
    labels[1, 1:] = 7  # padding may hold anything
    tagger = recurrent_network((T, F), 3, **options)
    params = jax.jit(tagger.init)(KEY, AT_EACH)[0]

    @jax.jit
    def tagged():
        loss = partial(tagger.loss, params, {}, key=KEY, step=0)
        return tagger.apply(params, {}, X), loss({"x": X, "y": labels, "length": lengths}), loss({"x": X, "y": labels})

    logits, (value, (_, metrics)), (spoiled, _) = tagged()
    log_p = np.asarray(jax.nn.log_softmax(logits), np.float64)
    counts = np.arange(T) < lengths[:, None]
    own = np.take_along_axis(log_p, np.where(counts, labels, 0)[..., None], -1)[..., 0]
    np.testing.assert_allclose(value, -own[counts].sum() / (B * T), rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], (log_p.argmax(-1) == labels)[counts].mean(), rtol=1e-6)
    assert np.isnan(spoiled)  # without lengths, a label of no class


def test_one_number_needs_no_axis_of_its_own():
    model = _network(outputs=1, cell="elman")
    params, _ = jax.jit(model.init)(KEY, AT_END)
    y = AT_END["y"]
    first, second = jax.jit(lambda: [_loss(model, params, {"x": X, "y": of})[0] for of in (y[:, 0], y[:, :1])])()
    assert first == second


@pytest.mark.parametrize("variational", [False, True])
def test_dropout_is_for_training_alone_and_may_be_the_same_at_all_steps(variational):
    """A unit that is dropped at all steps is seen where all answers are alike: those of one step, repeated."""
    model = _network(at="each", layers=1, dropout=0.5, variational=variational)
    params, _ = jax.jit(_network(at="each", layers=1).init)(KEY, AT_EACH)
    params["layers"]["lstm_0"] = jax.tree.map(jnp.zeros_like, params["layers"]["lstm_0"])
    # A cell of zeros stays at zero; with the output gate open and c at 1 it gives the same numbers at each step.
    bias = jnp.concatenate([jnp.full(H, 9.0), jnp.full(H, -9.0), jnp.full(H, 9.0), jnp.full(H, 9.0)])
    params["layers"]["lstm_0"]["bias"] = bias

    @partial(jax.jit, static_argnums=1)
    def answers(key, train):
        """By the gradient of their squared errors at targets of 0."""
        loss = lambda y: model.loss(params, {}, {"x": X, "y": y}, key, step=0, train=train)[0]  # noqa: E731
        return -B * T * D / 2 * jax.grad(loss)(jnp.zeros((B, T, D)))

    kept, again, evaluated = answers(KEY, True), answers(jax.random.key(1), True), answers(KEY, False)
    np.testing.assert_allclose(evaluated, jax.jit(model.apply)(params, {}, X), rtol=1e-5)
    assert np.abs(kept - again).max() > 1e-2
    assert (np.ptp(kept, axis=1).max() < 1e-3) == variational


def test_an_irnn_starts_as_a_sum_of_its_inputs():
    """Le et al. (2015): the identity, biases of 0, inputs' kernel of deviation 0.001; relu keeps what is positive."""
    model = _network(cell="irnn", features=400, radius=0.5)
    params, _ = jax.jit(model.init)(KEY, AT_END)
    cell = params["layers"]["irnn_0"]
    np.testing.assert_array_equal(cell["recurrent_kernel"], 0.5 * np.eye(400))
    assert not cell["bias"].any()
    np.testing.assert_allclose(cell["kernel"].std(), 1e-3, rtol=0.1)
    model = _network((3, F), cell="irnn")
    ones = {"x": np.ones((1, 3, F), np.float32), "y": np.zeros((1, D), np.float32)}
    params, _ = jax.jit(model.init)(KEY, ones)
    (states,) = jax.jit(model.encode)(params, {}, ones["x"])
    one = np.maximum(params["layers"]["irnn_0"]["kernel"].sum(0), 0)
    np.testing.assert_allclose(states[0], np.arange(1, 4)[:, None] * one, rtol=1e-5, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_gated_network_learns_to_add(cell):
    model = _network((10, 2), 1, cell=cell, features=16)
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2))
    data = adding_task(4000, length=10)
    step = jax.jit(make_train_step(model.loss, tx))
    state = init_state(model, tx, KEY, jax.tree.map(lambda x: x[:1], data))
    for i in range(800):
        rows = np.random.default_rng(i).integers(4000, size=64)
        state, _ = step(state, jax.tree.map(lambda x, rows=rows: x[rows], data))
    test = adding_task(500, seed=1, length=10)
    error = float(_loss(model, state.params, test)[0])
    assert error < 0.01 < adding_baseline()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (6,)}, r"a sequence's shape is \(steps, features\), got shape=\(6,\)"),
        ({"shape": (0, 2)}, r"shape=\(0, 2\)"),
        ({"outputs": 0}, "outputs=0"),
        ({"outputs": 1, "answer": "classes"}, "two classes or more, got outputs=1"),
        ({"features": 0}, "features=0"),
        ({"window": 4}, "4 steps of a window must divide T=6"),
        ({"bidirectional": True, "truncated": True}, "a bidirectional network reads whole sequences"),
        ({"bidirectional": True, "window": 2}, "a bidirectional network reads whole sequences, got window=2"),
        ({"cell": "lstn"}, "unknown cell 'lstn': did you mean 'lstm'"),
        ({"answer": "number"}, "unknown kind of answer 'number': did you mean 'numbers'"),
        ({"at": "start"}, "unknown place of answers 'start'"),
        ({"activation": "gelu"}, "unknown activation 'gelu': did you mean 'relu'"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"radius": -1.0}, "radius must not be negative"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        _network(**arguments)


@pytest.mark.usefixtures("unchecked")
def test_answers_that_do_not_fit_are_refused_before_anything_is_computed():
    end, each = _network(), recurrent_network((T, F), 3, at="each")
    for call, said in (
        (lambda: _loss(end, None, {"x": X}), r"the batch has no 'y', only \['x'\]: the numbers"),
        (lambda: _loss(end, None, AT_EACH), r"'y' must be \[3, 2\], numbers for each answer, got \[3, 6, 2\]"),
        (lambda: _loss(each, None, AT_EACH), r"'y' must be \[3, 6\] integers, one for each step, got float32"),
        (lambda: end.apply(None, {}, X, np.ones(2, int)), r"lengths must be \[3\] integers"),
        (lambda: end.apply(None, {}, X, deviations=True), "have no standard deviations"),
        (lambda: _network(bidirectional=True).encode(None, {}, X), "no operation 'encode'"),
        (lambda: _loss(_network(bidirectional=True), None, AT_END, nudges=()), "nudges are of one direction's states"),
    ):
        with pytest.raises(ValueError, match=said):
            call()


def test_sums_are_of_the_two_marked_numbers_and_errors_of_answering_one_their_variance():
    data = adding_task(20_000, seed=3, length=9)
    x, y = data["x"], data["y"]
    assert x.shape == (20_000, 9, 2) and x.dtype == y.dtype == np.float32
    marks = x[..., 1]
    assert set(np.unique(marks)) == {0, 1} and (marks.sum(1) == 2).all()
    np.testing.assert_allclose(y, (x[..., 0] * marks).sum(1), rtol=1e-6)
    pairs = np.bincount((marks @ 2 ** np.arange(9)).astype(int))
    assert scipy.stats.chisquare(pairs[pairs > 0]).pvalue > 1e-3 and (pairs > 0).sum() == 36  # all pairs, evenly
    assert scipy.stats.kstest(x[:2000, :, 0].ravel(), "uniform").pvalue > 1e-3
    squares = (y - 1.0) ** 2
    assert abs(squares.mean() - adding_baseline()) < 4 * squares.std() / np.sqrt(len(y))
    again = adding_task(20_000, seed=3, length=9)
    assert all(np.array_equal(data[name], again[name]) for name in data)
    with pytest.raises(ValueError, match="length=1"):
        adding_task(5, length=1)


def test_symbols_come_again_behind_the_delay_and_the_baseline_is_the_entropy_of_not_knowing_them():
    data = copy_task(500, seed=3, delay=4, memory=2, symbols=3)
    x, y = data["x"], data["y"]
    assert x.shape == y.shape == (500, 8) and x.dtype == y.dtype == np.int32
    np.testing.assert_array_equal(y[:, -2:], x[:, :2])
    np.testing.assert_array_equal(x[:, 2:], [[0, 0, 0, 4, 4, 4]] * 500)
    assert not y[:, :-2].any() and set(np.unique(x[:, :2])) == {1, 2, 3}
    # Who knows the time alone answers each step's frequencies: by enumeration of all sequences, their entropy.
    every = np.array(list(np.ndindex(3, 3))) + 1
    answers = np.concatenate([np.zeros((9, 6), int), every], 1)
    shares = [np.bincount(column, minlength=4) / 9 for column in answers.T]
    assert copy_baseline(4, 2, 3) == pytest.approx(np.mean([scipy.stats.entropy(share) for share in shares]))
    assert copy_baseline(1000) == pytest.approx(10 * np.log(8) / 1020)
    with pytest.raises(ValueError, match="delay=0"):
        copy_task(5, delay=0)


def test_tokens_as_vectors():
    tokens = np.array([[0, 2], [1, 1]])
    made = one_hot(3)({"x": jnp.asarray(tokens), "y": 5})
    np.testing.assert_array_equal(made["x"], np.eye(3)[tokens])
    assert made["x"].dtype == np.float32 and made["y"] == 5
    inside = jax.jit(lambda x: one_hot(3)({"x": x})["x"])(jnp.array([[3, 1]]))
    assert np.isnan(inside[0, 0]).all() and (inside[0, 1] == jnp.array([0, 1, 0])).all()
    for call, said in (
        (lambda: one_hot(1), "a width of 2 or more, got 1"),
        (lambda: one_hot(3)({"x": jnp.array([-1])}), "integers from 0 to 2, got -1"),
        (lambda: one_hot(3)({"x": jnp.ones(2)}), "needs integers, got float32"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
