"""An image as what a decoder attends to: the feature map of a convolutional network, position by position.

Xu et al., Show, Attend and Tell: Neural Image Caption Generation with Visual Attention (2015), section 3.1.1: the
decoder gets the features of a convolutional layer, not of a dense one, so that it can look at parts of an image. Here
a layer of stride 2 follows another, each with a rectifier, and to each position of the map before the last layer a
learned vector of its own is added, so that features tell where they are, also in their mean; theirs is VGG's and has
no such vectors. It is the encoder of `recurrent_seq2seq` and `transformer_seq2seq` with `source_vocabulary=None`.
"""

from collections.abc import Sequence

from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from gen_models.models.sequences.seq2seq_model import Memory
from gen_models.nn.conv import Conv


class ImageMemory(nn.Module, kw_only=True):
    """Images [B, H, W, C] as a `Memory` of [B, S, features[-1]], S positions line by line.

    Each layer halves height and width, rounding up: S = ceil(H / 2^L) ceil(W / 2^L).
    """

    features: Sequence[int] = (32, 64)
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, source: Float[Array, "b h w c"], lengths: Array | None = None, train: bool = False) -> Memory:
        """The memory of images; all of its positions count.

        Raises:
          ValueError: the images have no channels, or lengths.
        """
        if source.ndim != 4 or lengths is not None:
            raise ValueError(f"sources must be images [B, H, W, C] without lengths, got {list(source.shape)}")
        h = source
        for index, features in enumerate(self.features):
            if index == len(self.features) - 1:
                places = self.param("places", nn.initializers.normal(0.3), h.shape[1:])
                h = h + places.astype(h.dtype)
            h = nn.relu(Conv(features, (3, 3), strides=2, dtype=self.dtype)(h))
        return Memory(h.reshape(len(h), -1, h.shape[-1]))
