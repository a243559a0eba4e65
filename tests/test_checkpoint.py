"""Checkpoints: the same bits back, and never another model's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_models.checkpoint import Checkpoints
from gen_models.core import Model, init_state

TX = optax.chain(optax.clip_by_global_norm(1.0), optax.inject_hyperparams(optax.adam)(learning_rate=1e-3))


def _state(width=4, dtype=jnp.float32, tx=TX):
    def init(key, batch):
        params = {"a": {"kernel": jax.random.normal(key, (3, width), dtype)}, "b": [jnp.ones(2, jnp.bfloat16)]}
        return params, {"mean": jnp.full(2, jnp.nan)}

    return init_state(Model(init, lambda *a, **k: None), tx, jax.random.key(7), {}, ema=True)


def test_round_trip_is_bit_equal(tmp_path):
    state = _state()
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, state)
    with Checkpoints(tmp_path) as checkpoints:  # as in a new process: nothing was saved through this one
        restored = checkpoints.restore(jax.eval_shape(_state))
    assert jax.tree.structure(state) == jax.tree.structure(restored)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(restored), strict=True):
        assert a.dtype == b.dtype
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (lambda: _state(width=5), r"params/a/kernel.*\[3, 4\].*\[3, 5\]"),
        (lambda: _state(dtype=jnp.bfloat16), "a/kernel.*float32.*bfloat16"),
        (lambda: _state(tx=optax.sgd(1.0)), "opt_state"),
    ],
)
def test_another_models_checkpoint_is_refused(tmp_path, other, named):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, _state())
        checkpoints.wait()
        with pytest.raises(ValueError, match=named):
            checkpoints.restore(jax.eval_shape(other))


def test_keeps_the_newest_and_names_what_is_missing(tmp_path):
    with Checkpoints(tmp_path / "new", keep=2) as checkpoints:
        assert checkpoints.latest() is None
        with pytest.raises(FileNotFoundError, match="no complete checkpoint in"):
            checkpoints.restore(jax.eval_shape(_state))
        for step in (1, 2, 3):
            checkpoints.save(step, _state())
        checkpoints.wait()
        assert checkpoints.latest() == 3 and not checkpoints.path(1).exists() and checkpoints.path(2).exists()
        with pytest.raises(FileNotFoundError, match="step 1"):
            checkpoints.restore(jax.eval_shape(_state), 1)
