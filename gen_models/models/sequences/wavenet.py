"""WaveNet: dilated causal convolutions with gates, over samples of sound or any other tokens.

van den Oord et al., WaveNet: A Generative Model for Raw Audio (2016). A causal convolution of the one-hot tokens makes
h^0. Layer l, whose dilation is 1, 2, 4, ..., 2^(L - 1) and begins again with each cycle, computes (section 2.3, and 2.5
with a class c and features f_t)

    z = tanh(W_f * h + V_f c + U_f f) sigmoid(W_g * h + V_g c + U_g f);   h^(l+1) = h^l + W_r z,   s^l = W_s z

and the logits are W_2 relu(W_1 relu(sum of s^l)) (section 2.4), each with a bias. Here filter and gate are one
convolution, and so are W_r and W_s; the last layer has no W_r, as nothing would read it. A class has an embedding for
each layer, which is V of its one-hot code. Features come at the rate of the tokens: f_t stands beside the token that
follows x_t, which is the one that position t predicts. What stretches them is not part of the model, as it may look
ahead; the model itself does not: an output depends on features up to its own alone.

While tokens are drawn, each layer keeps what it needs in a ring buffer (`gen_models/nn/temporal.py`), so that a token
costs one step whatever the receptive field (Paine et al., Fast WaveNet Generation Algorithm, 2016).
"""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.models.sequences.token_model import token_model
from gen_models.models.sizes import check_sizes
from gen_models.nn.temporal import CausalConv, CausalEmbed


def wavenet(
    vocabulary: int = 256,
    *,
    features: int = 32,
    skip_features: int = 64,
    layers: int = 8,
    cycles: int = 1,
    window: int = 2,
    classes: int | None = None,
    local_features: int | None = None,
    start: int | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of tokens 0 to vocabulary - 1; its functions are those of `token_model`.

    It reads sequences of any length, each window from its beginning. An output sees `wavenet_receptive_field` tokens.

    Args:
      vocabulary: different tokens; of sound the levels of `mu_law_encode`.
      features: of each layer's input and gate.
      skip_features: of what each layer gives to the outputs.
      layers: in a cycle, with dilations 1, 2, ..., 2^(layers - 1).
      cycles: of layers, one behind another.
      window: taps of each convolution.
      classes: of labels to condition on; None: unconditional.
      local_features: numbers that stand beside each token, to condition on; None: none do.
      start: the token that a sequence begins after; None: vocabulary // 2, which is silence.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, softmax and losses stay float32.

    Raises:
      ValueError: a size is not positive, or `start` is no token.
    """
    check_sizes(vocabulary=vocabulary, features=features, skip_features=skip_features, layers=layers, cycles=cycles)
    check_sizes(window=window, classes=classes, local_features=local_features)
    network = _WaveNet(
        vocabulary=vocabulary,
        features=features,
        skip_features=skip_features,
        layers=layers,
        cycles=cycles,
        window=window,
        classes=classes,
        dtype=dtype,
    )
    start = vocabulary // 2 if start is None else start
    return token_model(network, vocabulary, start=start, classes=classes, local_features=local_features)


def wavenet_receptive_field(layers: int, cycles: int = 1, window: int = 2) -> int:
    """Tokens that an output depends on: 1 + (window - 1) (1 + cycles (2^layers - 1)).

    The 1 within is the first convolution, of the tokens themselves.

    Raises:
      ValueError: a size is not positive.
    """
    check_sizes(layers=layers, cycles=cycles, window=window)
    return 1 + (window - 1) * (1 + cycles * (2**layers - 1))


class _WaveNet(nn.Module, kw_only=True):
    vocabulary: int
    features: int
    skip_features: int
    layers: int
    cycles: int
    window: int
    classes: int | None
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, tokens, cache, lengths, train, label=None, features=None, t=None):
        """[B, T] -> [B, T, V]; of step t [B] -> [B, V]. Padding stands where nothing that counts sees it."""
        dilations = self._dilations()
        embed = CausalEmbed(self.vocabulary, self.features, self.window, self.dtype, name="tokens")
        h, buffer = (embed(tokens), None) if t is None else embed.step(tokens, cache[0], t)
        kept, skips = [buffer], 0
        for i, dilation in enumerate(dilations):
            block = _Block(
                features=self.features,
                skip_features=self.skip_features,
                window=self.window,
                dilation=dilation,
                classes=self.classes,
                last=i == len(dilations) - 1,
                dtype=self.dtype,
                name=f"block_{i}",
            )
            h, skip, buffer = block(h, None if t is None else cache[i + 1], t, label, features)
            kept.append(buffer)
            skips += skip
        hidden = nn.relu(nn.Dense(self.skip_features, dtype=self.dtype, name="hidden")(nn.relu(skips)))
        logits = nn.Dense(self.vocabulary, dtype=self.dtype, name="logits")(hidden)
        return logits.astype(jnp.float32), None if t is None else tuple(kept)

    def step(self, token, cache, t, label=None, features=None):
        return self(token, cache, None, False, label, features, t)

    def empty(self, batch, length):
        zeros = partial(jnp.zeros, dtype=jnp.float32 if self.dtype is None else self.dtype)
        of_tokens = zeros((batch, self.window, self.window * self.features))
        sizes = [(self.window - 1) * dilation + 1 for dilation in self._dilations()]
        return (of_tokens, *(zeros((batch, size, self.features)) for size in sizes))

    def _dilations(self):
        return [2**i for i in range(self.layers)] * self.cycles


class _Block(nn.Module, kw_only=True):
    features: int
    skip_features: int
    window: int
    dilation: int
    classes: int | None
    last: bool
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, h, buffer, t, label, features):
        """The stream after the layer, [..., C], what it gives to the outputs, [..., S], and its buffer."""
        layer = CausalConv(2 * self.features, self.window, dilation=self.dilation, dtype=self.dtype, name="conv")
        y, buffer = (layer(h), None) if t is None else layer.step(h, buffer, t)
        if self.classes is not None:
            of_label = nn.Embed(self.classes, 2 * self.features, dtype=self.dtype, name="label")(label)
            y += of_label[:, None] if t is None else of_label
        if features is not None:
            y += nn.Dense(2 * self.features, use_bias=False, dtype=self.dtype, name="features")(features)
        filtered, gate = jnp.split(y, 2, -1)
        outputs = self.skip_features + (0 if self.last else self.features)
        out = nn.Dense(outputs, dtype=self.dtype, name="out")(jnp.tanh(filtered) * nn.sigmoid(gate))
        skip, branch = out[..., : self.skip_features], out[..., self.skip_features :]
        return h if self.last else h + branch, skip, buffer
