"""Every model under `jax_enable_x64`: two steps in a scan and a sample, in float32 still; the deep ones are slow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo import ZOO

from gen_models.core import init_state, make_train_step
from gen_models.data import transforms
from gen_models.models.latent.vae import vae
from gen_models.models.supervised.mlp import mlp

# One of each kind: two players and batch norm, variables in order, pixels with kept rows.
DEFAULT = ("gan", "fvsbn")
ANY_LENGTH = ("recurrent_language_model", "ngram", "windowed_mlp", "temporal_convolutions")


@pytest.fixture(autouse=True)
def _x64():
    with jax.enable_x64(True):
        yield


def _is_single(tree):
    return {x.dtype for x in jax.tree.leaves(tree)} <= {jnp.dtype(jnp.float32), jnp.dtype(jnp.int32)}


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in DEFAULT else pytest.mark.slow) for n in ZOO])
def test_two_steps_in_a_scan_and_a_sample(name):
    entry = ZOO[name]()
    batch = jax.tree.map(lambda x: np.stack([x, x]), entry.batch(0, 4))

    @jax.jit
    def run(batch):
        state = init_state(entry.model, entry.tx, jax.random.key(0), jax.tree.map(lambda x: x[0], batch))
        step = make_train_step(entry.model.loss, entry.tx, init_carry=entry.model.init_carry)
        state, metrics = jax.lax.scan(step, state, batch)
        drawn = entry.model.sample(state.params, state.stats, jax.random.key(1), 2, **how) if has_sampler else ()
        return state.params, state.stats, metrics, drawn

    # Models of any number of tokens are told one, and those of targets their sources.
    any_length = "seq2seq" in name or name in ANY_LENGTH
    how = {"length": 3} if any_length else {}
    how |= {"source": batch["source"][0, :2]} if "source" in batch else {}
    has_sampler = entry.model.has("sample")
    params, stats, metrics, drawn = run(batch)
    assert _is_single((params, stats, metrics, drawn))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((params, stats, metrics, drawn)))
    assert all(x.shape == (2,) for x in metrics.values())


def test_traced_numbers_do_not_widen_a_loss():
    """A rate or a weight of a config is float64 here, where it is traced."""
    x = np.ones((2, 2, 2, 1), np.float32)

    @jax.jit
    def losses(number):
        assert number.dtype == jnp.float64
        latent = vae((2, 2, 1), latent=1, hidden=(2,), beta=number, warmup_steps=number)
        classes = mlp((2, 2, 1), 2, hidden=(2,), dropout=number / 2, label_smoothing=number / 2)
        batch = {"x": x, "y": np.zeros(2, np.int32)}
        out = []
        for model in (latent, classes):
            params, stats = model.init(jax.random.key(0), batch)
            out.append(model.loss(params, stats, batch, jax.random.key(1), step=jnp.int32(0)))
        return out

    assert _is_single(losses(jnp.float64(0.5)))


def test_transforms_stay_single_and_a_fixed_draw_stays_the_same():
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 1)).astype(np.uint8)
    batch = {"x": jnp.asarray(images), "index": jnp.arange(2)}
    transform = transforms.binarise_fixed(0)
    for each in (transforms.to_unit, transforms.to_symmetric, transforms.binarise_dynamic, transforms.dequantise):
        assert each(batch, jax.random.key(0))["x"].dtype == jnp.float32
    wide = np.asarray(transform(batch)["x"])
    with jax.enable_x64(False):
        np.testing.assert_array_equal(wide, transform({"x": jnp.asarray(images), "index": jnp.arange(2)})["x"])
