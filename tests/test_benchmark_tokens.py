"""The benchmark's models of tokens: PyTorch's network is ours, and both samplers draw the same texts."""

from contextlib import ExitStack

import jax
import numpy as np
import pytest

from gen_models.models.sequences.recurrent_language_model import recurrent_language_model
from gen_models.models.sequences.transformer import transformer
from tools.benchmarks import CASES, tokens

SIZES = {"context": 6, "features": 8, "layers": 2, "heads": 2}


def of_torch(params):
    """Our parameters in the order of those of `torch_transformer`."""
    norm = lambda name: params[name]["scale"]  # noqa: E731
    of = [params["tokens"]["embedding"], params["positions"]]
    for layer in range(SIZES["layers"]):
        heads = params[f"attention_{layer}"]
        of += [
            norm(f"before_attention_{layer}"),
            *(heads[name]["kernel"].T for name in ("query", "key", "value", "out")),
        ]
        of += [norm(f"before_mlp_{layer}"), *(params[f"mlp_{name}_{layer}"]["kernel"].T for name in ("in", "out"))]
    return [*of, norm("last")]


@pytest.mark.slow  # as `test_models_transformer.py`, which compares with PyTorch's layers in the default suite
def test_pytorchs_transformer_has_our_loss_and_gradient_with_our_weights():
    torch = pytest.importorskip("torch")
    model, network = transformer(5, **SIZES), tokens.torch_transformer(5, **SIZES)
    [batch, *_] = tokens.windows(3, SIZES["context"], 5)
    params, stats = jax.jit(model.init)(jax.random.key(0), batch)
    with torch.no_grad():
        for own, value in zip(network.parameters(), of_torch(params), strict=True):
            own.copy_(torch.from_numpy(np.array(value)))
    value, grads = jax.value_and_grad(lambda params: model.loss(params, stats, batch, None, step=0)[0])(params)
    theirs = tokens.torch_loss(network, {name: torch.from_numpy(np.array(x)) for name, x in batch.items()})
    theirs.backward()
    np.testing.assert_allclose(value, theirs.item(), rtol=1e-5)
    for own, other in zip(of_torch(grads), network.parameters(), strict=True):
        np.testing.assert_allclose(own, other.grad.numpy(), rtol=1e-3, atol=1e-6)


def test_the_steps_that_are_compared_have_as_many_parameters(monkeypatch):
    monkeypatch.setattr(tokens, "GPT", SIZES)
    built = CASES["step_transformer"].build("step_transformer", ExitStack())
    assert next(iter(built)) == "ours"
    assert len({contender.parameters for contender in built.values()}) == 1


@pytest.mark.slow  # it compiles four programs
def test_samplers_that_are_compared_draw_the_same_tokens(monkeypatch):
    small = {
        "transformer": lambda: transformer(5, **SIZES),
        "lstm_text": lambda: recurrent_language_model(5, features=4),
    }
    monkeypatch.setattr(tokens, "SAMPLED", {name: (make, 6) for name, make in small.items()})
    for name in small:
        built = CASES[f"sampling_{name}"].build(f"sampling_{name}", ExitStack())
        means = [float(contender.run()) for contender in built.values()]
        assert list(built) == ["ours", "naive"] and means[0] == means[1] > 0
