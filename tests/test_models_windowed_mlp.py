"""The windowed multilayer perceptron against PyTorch, and how far back it sees."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from theirs import assert_language_model_is

from gen_models.models.sequences.windowed_mlp import windowed_mlp

THEIRS = Path(__file__).parent / "fixtures" / "windowed_mlp_torch.npz"  # made by make_windowed_mlp_torch.py beside it


def test_logits_loss_and_gradients_are_pytorchs():
    with np.load(THEIRS) as file:
        theirs = dict(file)
    model = windowed_mlp(6, context=3, embedding=4, features=5, direct=True, start=2)
    assert_language_model_is(model, theirs, atol=1e-6)


@pytest.mark.parametrize("direct", [False, True])
def test_gradients_reach_as_far_back_as_its_context(direct):
    """Each token stands once, so that the gradient of an embedding is that of a position."""
    length, context = 7, 3
    model = windowed_mlp(length + 1, context=context, embedding=2, features=4, direct=direct, start=length)
    tokens = jnp.array([[3, 1, 5, 0, 2, 4, 6]])
    params, _ = jax.jit(model.init)(jax.random.key(0), {"x": tokens, "y": tokens})

    def outputs(embedding):
        return model.apply({**params, "tokens": {"embedding": embedding}}, {}, tokens)[0]

    jacobian = jax.jit(jax.jacrev(outputs))(params["tokens"]["embedding"])  # [T, V, V, C]
    seen = np.abs(np.asarray(jacobian)).sum((1, 3))  # [T, V]: an output of a token
    distance = np.arange(length)[:, None] - np.arange(length)
    np.testing.assert_array_equal(seen[:, tokens[0]] > 0, (distance >= 0) & (distance < context))
    assert (seen[:, length] > 0).tolist() == [True] * (context - 1) + [False] * (length - context + 1)


@pytest.mark.usefixtures("unchecked")
def test_wrong_sizes_are_named():
    for options, said in (({"context": 0}, "context=0"), ({"start": 5}, "start must be a token from 0 to 4, got 5")):
        with pytest.raises(ValueError, match=said):
            windowed_mlp(5, **options)
