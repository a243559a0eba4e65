"""Parameters, outputs and gradients of networks of others, kept in fixtures, and models that must equal them."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from gen_models.core import Model


def trees_of(theirs: Mapping[str, np.ndarray], *kinds: str) -> list[Any]:
    """The trees of arrays whose names begin with each kind, "params/" or "gradients/"."""
    return [
        unflatten_dict({k.removeprefix(kind): jnp.asarray(v) for k, v in theirs.items() if k.startswith(kind)}, sep="/")
        for kind in kinds
    ]


def assert_gradients_close(found: Any, theirs: Any, *, rtol: float = 1e-3, atol: float) -> None:
    """Each leaf of the gradients found is theirs; the name of one that is not is said."""
    theirs = flatten_dict(theirs, sep="/")
    for name, gradient in flatten_dict(found, sep="/").items():
        np.testing.assert_allclose(gradient, theirs[name], rtol=rtol, atol=atol, err_msg=name)


def assert_language_model_is(model: Model, theirs: Mapping[str, np.ndarray], *, atol: float, **told: Any) -> None:
    """A model of tokens has their parameters' shapes and, with these, their logits, loss and gradients.

    What it is told beside tokens is the batch's, and that of `apply`, by name.
    """
    params, gradients = trees_of(theirs, "params/", "gradients/")
    x, y = theirs["tokens"][:, :-1].astype(np.int32), theirs["tokens"][:, 1:].astype(np.int32)
    batch = {"x": x, "y": y, **told}
    ours, _ = jax.jit(model.init)(jax.random.key(0), batch)
    assert jax.tree.map(jnp.shape, ours) == jax.tree.map(jnp.shape, params)
    np.testing.assert_allclose(model.apply(params, {}, x, **told), theirs["logits"], rtol=1e-4, atol=2e-5)
    loss = jax.jit(jax.value_and_grad(lambda p: model.loss(p, {}, batch, jax.random.key(0), step=0)[0]))
    value, found = loss(params)
    np.testing.assert_allclose(value, theirs["loss"], rtol=1e-5)
    assert_gradients_close(found, gradients, atol=atol)
