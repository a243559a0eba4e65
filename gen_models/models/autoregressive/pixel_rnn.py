"""PixelRNN: LSTMs over an image's rows, or over its diagonals.

van den Oord et al., Pixel Recurrent Neural Networks (2016): table 1, and figure 5 (right) for a layer. A masked 7 x 7
convolution of the image, 2 h features wide; then layers

    x <- x + U LSTM(x),   LSTM(x) with h features, U a 1 x 1 convolution to 2 h

whose LSTM is the Row LSTM (section 3.1: a pixel sees a triangle above it) or the Diagonal BiLSTM (section 3.2: it sees
every earlier pixel but one, see below); then two layers of ReLU and 1 x 1 convolution, whose last outputs are the
logits of each channel.

Several channels (section 3.4): features belong to the colours in equal parts, in each of an LSTM's gates as well, and
within a pixel a part sees those of earlier colours and its own, after the first convolution. States of earlier pixels
are seen whole.

What the right-hand direction brings to row i are features of row i - 1 and above. None of them holds the last value of
row i - 1, as a pixel's features do not hold the pixel itself. So only pixels whose first convolution reaches that
column see it. That follows from the paper's masks and shift.

Differs from the paper: its "two layers" of ReLU and 1 x 1 convolution are read as these two, where `pixel_cnn.py` has a
third for the logits; no multi-scale generation (section 3.6); binary images have a softmax of two levels; skip
connections lead from each layer's LSTM to what the last two layers read, where the last layer's output goes anyway.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

from flax import linen as nn
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.models.autoregressive.pixel_model import pixel_model
from gen_models.models.sizes import check_divides, check_first_window, check_sizes, check_windows
from gen_models.nn.causal import CausalConv
from gen_models.nn.diagonal_lstm import DiagonalBiLSTM
from gen_models.nn.heads import categorical
from gen_models.nn.row_lstm import RowLSTM

KINDS = ("row", "diagonal")


def pixel_rnn(
    shape: Sequence[int] = (28, 28, 1),
    levels: int = 2,
    *,
    features: int = 16,
    layers: int = 7,
    kind: Literal["row", "diagonal"] = "diagonal",
    window: int = 3,
    residual: bool = True,
    skip: bool = False,
    first_window: int = 7,
    head_features: int = 32,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of images of integers 0 to levels - 1; its functions are those of `pixel_model`.

    Args:
      shape: (height, width, channels); for several channels, these divide `features` and `head_features`.
      levels: values of a channel.
      features: h of an LSTM, of each direction; layers pass on twice as many.
      layers: of LSTMs.
      kind: "row" (Row LSTM) or "diagonal" (Diagonal BiLSTM).
      window: k of the Row LSTM's convolutions, odd; the Diagonal BiLSTM has none.
      residual: a layer's output is added to its input.
      skip: each layer's LSTM also adds to what the output is computed from.
      first_window: of the convolution that reads the image and does not see its own pixel, odd, 3 or more.
      head_features: of the 1 x 1 convolution before the logits.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and statistics stay float32.

    Raises:
      ValueError: a size is not positive, a window is even, the first sees nothing, the channels do not divide the
        features, or the kind is unknown.
    """
    check_sizes(shape=shape, features=features, layers=layers, head_features=head_features)
    check_windows(window=window)
    check_first_window(first_window)
    if kind not in KINDS:
        raise unknown("kind of PixelRNN", kind, KINDS)
    check_divides("channels", shape[-1], features=features, head_features=head_features)
    head = categorical(shape[-1], levels)
    network = _PixelRNN(
        kind=kind,
        features=features,
        layers=layers,
        window=window,
        residual=residual,
        skip=skip,
        first_window=first_window,
        head_features=head_features,
        outputs=head.outputs,
        colours=shape[-1],
        dtype=dtype,
    )
    return pixel_model(network, head, shape, levels)


class _PixelRNN(nn.Module, kw_only=True):
    kind: str
    features: int
    layers: int
    window: int
    residual: bool
    skip: bool
    first_window: int
    head_features: int
    outputs: int
    colours: int
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, label, at, train):  # [B, H, W, C] -> [B, H, W, outputs]
        conv = partial(CausalConv, colours=self.colours, dtype=self.dtype)
        wide, one = 2 * self.features, (1, 1)
        first_window = (self.first_window // 2 + 1, self.first_window)
        x = conv(wide, first_window, kind="A", of_image=True, name="first")(x, at)
        skips = []
        for layer in range(self.layers):
            h = self._lstm(layer)(x, at)
            if self.skip and layer < self.layers - 1:
                skips.append(conv(wide, one, name=f"skip_{layer}")(h, at))
            up = conv(wide, one, name=f"up_{layer}")(h, at)
            x = x + up if self.residual else up
        x = sum(skips, x)
        for name, width in (("head", self.head_features), ("outputs", self.outputs)):
            x = conv(width, one, name=name)(nn.relu(x), at)
        return x.astype("float32")

    def _lstm(self, layer):
        if self.kind == "row":
            return RowLSTM(
                self.features,
                window=self.window,
                colours=self.colours,
                dtype=self.dtype,
                name=f"row_lstm_{layer}",
            )
        return DiagonalBiLSTM(self.features, colours=self.colours, dtype=self.dtype, name=f"diagonal_bilstm_{layer}")
