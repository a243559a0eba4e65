"""What every model of the zoo keeps: one trace, gradients of its own, a falling loss, the same under any wrapper.

A program is compiled once a model and shared by the tests that can share it: compilation is what these tests cost.
"""

import functools
import inspect
from collections.abc import Mapping

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from zoo import ZOO

from gen_models.core import TrainState, init_state, make_train_step
from gen_models.nn.devices import DATA_AXIS
from gen_models.training.checkpoint import Checkpoints
from gen_models.training.parallel import compile_step

SIZE = 16  # eight devices with two examples each: one pack of the GAN
# Under wrappers each costs four programs more. That a step is the same under them is shown by one model of each kind:
# with one loss and with players, with noise, with statistics, synchronised or not; those of the slow suite are of the
# same kinds, or are compiled for long.
DEEP = (
    "residual_cnn",
    "mobile_net",
    "resnext",
    "resnet18",
    "fully_convolutional",
    "unet",
    "boundary_unet",
    "detector",
    "sequence_classifier",
    "recurrent_network",
    "speech_recogniser",
    "mask_network",
    "linear_forecaster",
    "recurrent_forecaster",
    "patch_transformer",
    "temporal_convolutional_network",
    "memory_network",
    "sentence_cnn",
    "sentence_lstm",
    "sentence_transformer",
    "recurrent_seq2seq",
    "transformer_seq2seq",
    "convolutional_vae",
    "hierarchical_vae",
    "ladder_vae",
    "importance_vae",
    "semi_supervised_vae",
    "m1_m2",
    "autoencoder",
    "denoising_autoencoder",
    "contractive_autoencoder",
    "restoring_autoencoder",
    "stacked_denoising_autoencoder",
    "pca",
    "vq_vae",
    "pixel_vae",
    "dcgan",
    "spectral_dcgan",
    "resnet_gan",
    "tiny_dcgan",
    "fvsbn",
    "nade",
    "ngram",
    "mlp",
    "pixel_cnn",
    "gated_pixel_cnn",
    "pixel_cnn_pp",
    "row_lstm",
    "diagonal_lstm",
    "image_gpt",
    "pixel_snail",
)
# Compiled for long, and of the same parts as quicker ones, which the default suite asks; the slow one asks all.
LIKE_OTHERS = (
    "perceptron",
    "dcgan",
    "sequence_classifier",
    "image_gpt",
    "memory_network",
    "gated_pixel_cnn",
    "in_unit",
    "naive_bayes",
    "gaussian_naive_bayes",
    "gaussian_discriminant",
    "linear_regression",
    "gaussian_mlp",
    "residual_cnn",
    "mobile_net",
    "resnext",
    "resnet18",
    "fully_convolutional",
    "unet",
    "boundary_unet",
    "detector",
    "convolutional_vae",
    "hierarchical_vae",
    "ladder_vae",
    "importance_vae",
    "semi_supervised_vae",
    "m1_m2",
    "pixel_vae",
    "spectral_dcgan",
    "resnet_gan",
    "recurrent_seq2seq",
    "transformer_seq2seq",
    "sentence_lstm",
    "sentence_transformer",
    "wavenet",
    "temporal_convolutions",
    "windowed_mlp",
    "polyphonic",
    "vq_vae",
    "tiny_dcgan",
    "pixel_cnn",
    "pixel_cnn_pp",
    "pixel_snail",
    "row_lstm",
    "diagonal_lstm",
    "sparse_autoencoder",
    "speech_recogniser",
    "recurrent_forecaster",
    "patch_transformer",
    "mask_network",
    "temporal_convolutional_network",
    "fully_connected",
    "side_by_side",
)
SYNCHRONISED = [name for name, build in ZOO.items() if "axis_name" in inspect.signature(build).parameters]


def _slow_for(names):
    return [pytest.param(name, marks=pytest.mark.slow if name in {*names, *LIKE_OTHERS} else ()) for name in ZOO]


@pytest.fixture(params=_slow_for(()))
def name(request):
    return request.param


@functools.cache
def _entry(name):
    return ZOO[name]()


def _carry(name):
    """What the loss gets beside the batch where the model keeps a state for each example."""
    carry = _state(name).carry
    return {} if carry is None else {"carry": carry}


def _players(model):
    return model.loss if isinstance(model.loss, Mapping) else {"": model.loss}


@functools.cache
def _init(name):
    """Two seeds' states, by one program; the optimizers are the zoo's."""
    entry = _entry(name)
    batch = entry.batch(0, SIZE)
    init = jax.jit(lambda key: init_state(entry.model, entry.tx, key, batch, ema=True))
    return [init(key) for key in jax.random.split(jax.random.key(7), 2)]


def _state(name, seed=0):
    return jax.tree.map(jnp.copy, _init(name)[seed])


def _raw_step(entry, **options):
    return make_train_step(entry.model.loss, entry.tx, ema_decay=0.9, init_carry=entry.model.init_carry, **options)


@functools.cache
def _step(name):
    """The compiled step, which raises when it is traced again; it eats its state."""
    step = _raw_step(_entry(name))
    step.__name__ = f"step_of_{name}"  # chex counts by name
    compiled = jax.jit(chex.assert_max_traces(step, n=1), donate_argnums=0)
    # A restored state is bound to its device, a new one is not, and JAX compiles for each: here all of them are bound.
    return lambda state, batch: compiled(jax.device_put(state, jax.devices()[0]), batch)


def _moved(params):
    """Away from zeros that parameters may start from, behind which nothing has a gradient."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + 0.05 * rng.normal(size=x.shape).astype(x.dtype), params)


def _numbers(tree):
    """The tree with its typed keys as integers, so that NumPy can compare it."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, tree)


def _assert_close(a, b):
    chex.assert_trees_all_close(*jax.device_get((_numbers(a), _numbers(b))), rtol=1e-4, atol=1e-5)


def test_one_trace_with_donated_buffers(name):
    state = _state(name)
    buffers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(_numbers(state)) if x.size]
    assert len(set(buffers)) == len(buffers)  # an alias, as of ema and params, would be donated twice
    for i in range(4):
        state, metrics = _step(name)(state, _entry(name).batch(i, SIZE))
    assert int(state.step) == 4
    chex.assert_tree_all_finite((state.params, state.stats, state.ema, metrics))
    assert all(m.shape == () for m in metrics.values())


@functools.cache
def _gradients(name):
    """Player -> the loss, its gradients, and the statistics after an evaluation: at moved parameters, with two keys."""
    entry, state = _entry(name), _state(name)

    @jax.jit
    def evaluate(params, stats, batch, key):
        out = {}
        for player, loss in _players(entry.model).items():
            call = functools.partial(loss, step=jnp.array(0), **_carry(name))
            (value, _), grads = jax.value_and_grad(call, has_aux=True)(params, stats, batch, key)
            out[player] = value, grads, call(params, stats, batch, key, train=False)[1][0]
        return out

    return [evaluate(_moved(state.params), state.stats, entry.batch(1, SIZE), jax.random.key(i)) for i in range(2)]


def test_losses_and_their_gradients(name):
    """Gradients: finite, somewhere non-zero in each of the player's tensors, zero in all that others own."""
    entry, stats, players = _entry(name), _state(name).stats, _players(_entry(name).model)
    out, again = _gradients(name)
    for player, (_, grads, stats_after) in out.items():
        chex.assert_tree_all_finite(grads)
        for path, g in jax.tree.leaves_with_path(grads if player == "" else grads[player]):
            assert jnp.abs(g).max() > 0, f"{player}: the loss forgot {path}"
        for other in set(players) - {player}:
            assert all((g == 0).all() for g in jax.tree.leaves(grads[other])), (player, other)
        chex.assert_trees_all_equal(stats_after, stats)  # evaluation does not train
    assert all(out[player][0] == again[player][0] for player in players) == entry.deterministic


# Compiled for long; those of the autoregressive ones fall in the tests of the models too.
LONG = ("pixel_cnn_pp", "image_gpt", "pixel_snail", "resnet_gan", "spectral_dcgan", "tiny_dcgan", "m1_m2")


@pytest.mark.parametrize("name", _slow_for(LONG))
def test_the_loss_falls(name):
    """Each player's, with the others frozen."""
    entry = _entry(name)
    batch = entry.batch(1, SIZE)
    for player in _players(entry.model):
        step, state = _step(name), _state(name)
        if player:
            tx = {other: entry.tx[other] if other == player else optax.set_to_zero() for other in entry.model.loss}
            step = jax.jit(make_train_step(entry.model.loss, tx))
            state = state._replace(opt_state={other: tx[other].init(state.params[other]) for other in tx})
        losses = []
        for _ in range(60):
            state, metrics = step(state, batch)
            losses.append(float(metrics[f"{player}/loss" if player else "loss"]))
        assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.02, player


@pytest.mark.parametrize("name", _slow_for(DEEP))
def test_seeds_in_a_vmap_and_steps_in_a_scan_are_loops(name):
    entry = _entry(name)
    batches = [entry.batch(i, SIZE) for i in range(3)]
    step = _raw_step(entry)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *batches)
    seeds = jax.tree.map(lambda *x: jnp.stack(x), *_init(name))
    together, _ = jax.jit(jax.vmap(lambda state: jax.lax.scan(step, state, stacked)))(seeds)
    for seed in range(2):
        state = _state(name, seed)
        for batch in batches:
            state, _ = _step(name)(state, batch)
        _assert_close(jax.tree.map(lambda x, seed=seed: x[seed], together), state)


@pytest.mark.parametrize("name", _slow_for(DEEP))
@pytest.mark.slow_cases("recurrent_language_model", "transformer", "vae")
def test_eight_devices_however_compiled_are_one(name):
    """pmap and shard_map: eight members with noise of their own, as under vmap. jit: one device, the whole batch."""
    entry = ZOO[name](axis_name=DATA_AXIS) if name in SYNCHRONISED else ZOO[name]()
    step = _raw_step(entry, axis_name=DATA_AXIS)
    batch, state = entry.batch(0, SIZE), _state(name)
    cut, carry = jax.tree.map(lambda x: x.reshape(8, -1, *x.shape[1:]), (batch, state.carry))
    axes = TrainState(*[None] * 6, carry=0)
    mapped = jax.vmap(step, in_axes=(axes, 0), out_axes=(axes, None), axis_name=DATA_AXIS)
    members = jax.jit(mapped)(state._replace(carry=carry), cut)
    joined = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), members[0].carry)
    members = members[0]._replace(carry=joined), members[1]
    _assert_close(compile_step(step, "pmap")(_state(name), batch), members)
    _assert_close(compile_step(step, "shard_map")(_state(name), batch), members)
    one = _step(name)(_state(name), batch)
    _assert_close(compile_step(_raw_step(_entry(name)))(_state(name), batch), one)
    if entry.deterministic:  # and then nothing tells the eight members from one device
        _assert_close(members, one)


def test_a_step_after_save_and_restore_is_the_same_bit_for_bit(name, tmp_path):
    state, _ = _step(name)(_state(name), _entry(name).batch(0, SIZE))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        restored = checkpoints.restore(jax.eval_shape(lambda: _state(name)))
    batch = _entry(name).batch(1, SIZE)
    after, again = (_step(name)(s, batch) for s in (state, restored))
    chex.assert_trees_all_equal(*jax.device_get((_numbers(after), _numbers(again))))


# The longest, and what is made of the layers of others.
ROUNDED_ELSEWHERE = (
    *("pixel_cnn_pp", "image_gpt", "pixel_snail", "residual_cnn", "pixel_vae"),
    *("hierarchical_vae", "ladder_vae", "importance_vae", "m1_m2"),
    *("denoising_autoencoder", "contractive_autoencoder", "stacked_denoising_autoencoder"),
    *("spectral_dcgan", "resnet_gan", "tiny_dcgan"),
)


@pytest.mark.parametrize("name", _slow_for(ROUNDED_ELSEWHERE))
def test_bfloat16_computations_keep_float32_parameters_losses_and_gradients(name):
    """And the gradient points where that of float32 does; a step that forgot the dtype would be equal to it."""
    state, half = _state(name), ZOO[name](dtype=jnp.bfloat16)
    params, batch = _moved(state.params), _entry(name).batch(1, SIZE)
    for player, loss in _players(half.model).items():

        @jax.jit
        def gradient(params, stats, loss=loss):
            call = functools.partial(loss, step=jnp.array(0), **_carry(name))
            return jax.value_and_grad(call, has_aux=True)(params, stats, batch, jax.random.key(0))

        value, grads, _ = _gradients(name)[0][player]
        (rounded, (stats, metrics, *_)), its = gradient(params, state.stats)
        dtypes = {x.dtype for x in jax.tree.leaves((rounded, stats, metrics, its))}
        assert jnp.dtype(jnp.bfloat16) not in dtypes, player
        flat, its_flat = (jnp.concatenate([g.ravel() for g in jax.tree.leaves(g)]) for g in (grads, its))
        cosine = (flat @ its_flat) / jnp.sqrt((flat @ flat) * (its_flat @ its_flat))
        assert abs(float(rounded - value)) < 0.03 * abs(float(value)) and cosine > 0.98, (player, cosine)
        assert not np.array_equal(flat, its_flat)
