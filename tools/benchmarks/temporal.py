"""Networks of dilated causal convolutions: WaveNet's sampler, and training steps of it and of temporal convolutions."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gen_models.core import Batch, Model
from gen_models.models.sequences.temporal_convolutions import temporal_convolutions
from gen_models.models.sequences.wavenet import wavenet

from . import Contender
from .causal import sampler
from .contenders import BATCHES, ours, plain_xla, pytorch

RATE = 1e-3
DRAWN, LENGTH = 4, 1024  # sequences that the samplers draw, and their tokens
# One block of the paper: dilations 1 to 512, whose outputs see 1,025 tokens.
WAVENET: Mapping[str, Any] = {"vocabulary": 256, "features": 32, "skip_features": 64, "layers": 10}
TCN: Mapping[str, Any] = {"vocabulary": 64, "features": 64, "layers": 5, "window": 3}


def sampling_wavenet(stack: ExitStack) -> dict[str, Contender]:
    """Sequences by ring buffers, and by one scan of full forward passes."""
    built = wavenet(**WAVENET)
    params = jax.jit(built.init)(jax.random.key(0), tokens(1, 8, 256)[0])[0]
    return {
        name: sampler(built, params, method, n=DRAWN, length=LENGTH)
        for name, method in (("ours", "cached"), ("naive", "naive"))
    }


def step_wavenet(stack: ExitStack) -> dict[str, Contender]:
    """Training steps on 4 sequences of 2,048 tokens."""
    return _steps(wavenet(**WAVENET), tokens(4, 2048, WAVENET["vocabulary"]), _torch_wavenet)


def step_tcn(stack: ExitStack) -> dict[str, Contender]:
    """Training steps on 16 sequences of 256 tokens."""
    return _steps(temporal_convolutions(**TCN), tokens(16, 256, TCN["vocabulary"]), _torch_tcn)


def tokens(size: int, length: int, vocabulary: int) -> list[Batch]:
    """Batches of noise, {"x": int32 [size, length], "y": what follows each}."""
    drawn = np.random.default_rng(0).integers(vocabulary, size=(BATCHES, size, length + 1), dtype=np.int32)
    return [{"x": jnp.asarray(one[:, :-1]), "y": jnp.asarray(one[:, 1:])} for one in drawn]


def _steps(model: Model, batches: list[Batch], network: Callable[[], Any]) -> dict[str, Contender]:
    def loss(network, batch):
        from torch.nn import functional as F

        return F.cross_entropy(network(batch["x"]), batch["y"].long())

    tx = optax.adam(RATE)
    return {
        "ours": ours(model, tx, batches),
        "plain_xla": plain_xla(model, tx, batches),
        **pytorch(network, loss, batches, RATE),
    }


def _torch_wavenet() -> Any:
    """The same network with PyTorch's own dilated convolutions, [B, T] -> [B, V, T]."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    width, skips, layers = (WAVENET[name] for name in ("features", "skip_features", "layers"))

    class WaveNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(WAVENET["vocabulary"], 2 * width)
            self.conv = nn.ModuleList(nn.Conv1d(width, 2 * width, 2, dilation=2**i) for i in range(layers))
            outputs = [skips + width] * (layers - 1) + [skips]
            self.out = nn.ModuleList(nn.Conv1d(width, n, 1) for n in outputs)
            self.hidden, self.logits = nn.Conv1d(skips, skips, 1), nn.Conv1d(skips, WAVENET["vocabulary"], 1)

        def forward(self, x):
            before, now = self.embed(x).mT.chunk(2, 1)
            h, given = F.pad(before, (1, 0))[..., :-1] + now, []
            for i, (conv, out) in enumerate(zip(self.conv, self.out, strict=True)):
                filtered, gate = conv(F.pad(h, (2**i, 0))).chunk(2, 1)
                y = out(torch.tanh(filtered) * torch.sigmoid(gate))
                given.append(y[:, :skips])
                h = h + y[:, skips:] if y.shape[1] > skips else h
            return self.logits(F.relu(self.hidden(F.relu(sum(given[1:], given[0])))))

    return WaveNet()


def _torch_tcn() -> Any:
    """The blocks of Bai et al. in PyTorch, [B, T] -> [B, V, T]."""
    from torch import nn
    from torch.nn import functional as F

    width, window, norm = TCN["features"], TCN["window"], nn.utils.parametrizations.weight_norm

    class Temporal(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(TCN["vocabulary"], width)
            self.conv = nn.ModuleList(
                norm(nn.Conv1d(width, width, window, dilation=2 ** (i // 2))) for i in range(2 * TCN["layers"])
            )
            self.logits = nn.Conv1d(width, TCN["vocabulary"], 1)

        def forward(self, tokens):
            x = self.embed(tokens).mT
            h = x
            for i, conv in enumerate(self.conv):
                h = F.relu(conv(F.pad(h, ((window - 1) * 2 ** (i // 2), 0))))
                if i % 2:  # the end of a block
                    h = x = F.relu(x + h)
            return self.logits(x)

    return Temporal()
