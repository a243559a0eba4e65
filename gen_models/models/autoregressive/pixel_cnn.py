"""PixelCNN: masked convolutions over the pixels above and to the left.

van den Oord, Kalchbrenner, Kavukcuoglu, Pixel Recurrent Neural Networks (2016): table 1 is the architecture, figure 5
(left) a residual block, section 3.4 and figure 2 the masks A and B for the colours R, G, B. With h = `features`:

    7x7 convolution, mask A, 2h features
    blocks of x + 1x1[h -> 2h](relu(3x3[h -> h](relu(1x1[2h -> h](relu(x)))))), masks B
    two layers of ReLU and 1x1 convolution, mask B
    a softmax over the levels of each channel

It has a blind spot: pixels above and to the right that come earlier are never seen, however many the blocks, as a 3x3
window climbs one row for each column to the right (figure 1 of Conditional Image Generation with PixelCNN Decoders,
2016). `tools/receptive_field.py` draws it.

Differs from the paper: the two layers are followed by a third ReLU and 1x1 convolution, which makes the softmax's
inputs; binary images have a softmax over two levels, not a sigmoid, which is the same distribution; a label, which the
paper does not have, is added to each block's 3x3 convolution as one number a feature (as in eq. 3 of the other paper).
"""

from collections.abc import Sequence
from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.models.autoregressive.pixel_model import pixel_model
from gen_models.models.sizes import check_divides, check_first_window, check_sizes, check_windows
from gen_models.nn.causal import CausalConv
from gen_models.nn.heads import categorical


def pixel_cnn(
    shape: Sequence[int] = (28, 28, 1),
    levels: int = 2,
    *,
    features: int = 32,
    blocks: int = 7,
    first_window: int = 7,
    window: int = 3,
    head_features: int = 32,
    classes: int | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of images of integers 0 to levels - 1; its functions are those of `pixel_model`.

    The paper's for CIFAR-10: levels=256, features=128, blocks=15, head_features=1024 (there, features that three
    channels divide: 126 or 129, and 1023 or 1026).

    Args:
      shape: (height, width, channels); for several channels, these divide `features` and `head_features`.
      levels: values of a channel.
      features: h in the paper; between the blocks there are 2h.
      blocks: residual blocks.
      first_window: odd size of the first convolution, 3 or more; it does not see its own pixel.
      window: odd size of the blocks' convolutions.
      head_features: of the two 1x1 convolutions before the outputs.
      classes: of labels to condition on; None: unconditional.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and statistics stay float32.

    Raises:
      ValueError: a size is not positive, a window is even, the first sees nothing, or the channels do not divide the
        features.
    """
    check_sizes(shape=shape, features=features, blocks=blocks, head_features=head_features, classes=classes)
    check_windows(window=window)
    check_first_window(first_window)
    check_divides("channels", shape[-1], features=features, head_features=head_features)
    head = categorical(shape[-1], levels)
    network = _PixelCNN(
        features=features,
        blocks=blocks,
        first_window=first_window,
        window=window,
        head_features=head_features,
        outputs=head.outputs,
        colours=shape[-1],
        classes=classes,
        dtype=dtype,
    )
    return pixel_model(network, head, shape, levels, classes=classes)


class _PixelCNN(nn.Module, kw_only=True):
    features: int
    blocks: int
    first_window: int
    window: int
    head_features: int
    outputs: int
    colours: int
    classes: int | None
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, label, at, train):  # [B, H, W, C] -> [B, H, W, outputs]
        causal_conv = partial(CausalConv, colours=self.colours, dtype=self.dtype)
        first, later = ((k // 2 + 1, k) for k in (self.first_window, self.window))
        h = causal_conv(2 * self.features, first, kind="A", of_image=True, name="first")(x, at)
        for block in range(self.blocks):
            y = causal_conv(self.features, (1, 1), name=f"down_{block}")(nn.relu(h), at)
            y = causal_conv(self.features, later, name=f"conv_{block}")(nn.relu(y), at)
            if self.classes is not None:
                bias = nn.Embed(self.classes, self.features, dtype=self.dtype, name=f"label_{block}")(label)
                y += bias[:, None, None]
            h += causal_conv(2 * self.features, (1, 1), name=f"up_{block}")(nn.relu(y), at)
        widths = {"head_0": self.head_features, "head_1": self.head_features, "outputs": self.outputs}
        for name, width in widths.items():
            h = causal_conv(width, (1, 1), name=name)(nn.relu(h), at)
        return h.astype(jnp.float32)
