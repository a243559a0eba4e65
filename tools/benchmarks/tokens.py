"""Models of tokens: their training steps against PyTorch's, and their samplers against whole networks for each token.

The transformer has the sizes of `experiments/language_model.py`, which are nanoGPT's for a CPU.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gen_models.core import Batch
from gen_models.models.sequences.recurrent_language_model import recurrent_language_model
from gen_models.models.sequences.transformer import transformer

from . import Contender
from .causal import sampler
from .contenders import BATCHES, on_one_device, ours, pytorch

VOCABULARY = 65  # tiny Shakespeare's characters
RATE = 1e-3
GPT: Mapping[str, Any] = {"context": 64, "features": 128, "layers": 4, "heads": 4}
SAMPLED: Mapping[str, tuple[Any, int]] = {  # name -> the model, and how many tokens are drawn of each sequence
    "transformer": (lambda: transformer(VOCABULARY, **{**GPT, "context": 256}), 256),
    "lstm_text": (lambda: recurrent_language_model(VOCABULARY, features=256), 256),
}


def windows(size: int, length: int, vocabulary: int = VOCABULARY) -> list[Batch]:
    """Batches of random tokens and of those that follow them: a step costs the same whatever they are."""
    drawn = jax.random.randint(jax.random.key(0), (BATCHES, size, length + 1), 0, vocabulary)
    return [{"x": each[:, :-1], "y": each[:, 1:]} for each in drawn]


def step_transformer(stack: ExitStack) -> dict[str, Contender]:
    """nanoGPT's step, Adam; PyTorch's attention is its own fused one."""
    model, tx, batches = transformer(VOCABULARY, **GPT), optax.adam(RATE), windows(12, GPT["context"])
    return {
        "ours": on_one_device(model, tx, batches),
        "cut over cores": ours(model, tx, batches),
        **pytorch(lambda: torch_transformer(VOCABULARY, **GPT), torch_loss, batches, RATE),
    }


def torch_transformer(vocabulary: int, context: int, features: int, layers: int, heads: int) -> Any:
    """The network of `transformer` with its default options, as a `torch.nn.Module`: [B, T] -> [B, T, V]."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.before_attention = nn.LayerNorm(features, bias=False)
            self.query, self.key, self.value, self.out = (nn.Linear(features, features, bias=False) for _ in range(4))
            self.before_mlp = nn.LayerNorm(features, bias=False)
            self.mlp_in = nn.Linear(features, 4 * features, bias=False)
            self.mlp_out = nn.Linear(4 * features, features, bias=False)

        def forward(self, h):
            n = self.before_attention(h)
            q, k, v = (
                layer(n).unflatten(-1, (heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
            )
            h = h + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
            return h + self.mlp_out(F.gelu(self.mlp_in(self.before_mlp(h))))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(vocabulary, features)
            self.positions = nn.Embedding(context, features)
            self.blocks = nn.Sequential(*(Block() for _ in range(layers)))
            self.last = nn.LayerNorm(features, bias=False)
            for weight in self.parameters():
                if weight.ndim == 2:
                    nn.init.normal_(weight, std=0.02)

        def forward(self, tokens):
            h = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
            return self.last(self.blocks(h)) @ self.tokens.weight.T

    return Network()


def torch_loss(network: Any, batch: Mapping[str, Any]) -> Any:
    """Nats a token."""
    from torch.nn import functional as F

    return F.cross_entropy(network(batch["x"]).flatten(0, 1), batch["y"].flatten().long())


def sampling(stack: ExitStack, name: str) -> dict[str, Contender]:
    """16 sequences by the cached sampler, and by one scan of whole networks; a step is all of it."""
    make, length = SAMPLED[name]
    built = make()
    example = {"x": jnp.zeros((1, length), jnp.int32), "y": jnp.zeros((1, length), jnp.int32)}
    params = jax.jit(built.init)(jax.random.key(0), example)[0]
    return {
        method: sampler(built, params, of, length=length) for method, of in (("ours", "cached"), ("naive", "naive"))
    }
