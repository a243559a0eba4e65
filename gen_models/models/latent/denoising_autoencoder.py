"""The denoising autoencoder: it makes x again of a damaged x.

Vincent et al., Extracting and Composing Robust Features with Denoising Autoencoders (2008), and Stacked Denoising
Autoencoders (2010), section 3.1:

    E_{x~ ~ C(x~|x)} L(x, g(f(x~)))

with one draw of the damage C for each example and step; the corruptions are those of `gen_models/nn/corruptions.py`.
With Gaussian noise of small variance and the squared error, the best g(f(x)) - x is sigma^2 times the gradient of the
data's log-density (Alain & Bengio, 2014, theorem 1).
"""

from collections.abc import Sequence
from typing import Unpack

from gen_models.core import Model
from gen_models.models.latent.autoencoder import Network, parts_of
from gen_models.nn.corruptions import Corruption, masking


def denoising_autoencoder(
    shape: Sequence[int] = (28, 28, 1), *, corruption: Corruption | None = None, **network: Unpack[Network]
) -> Model:
    """An autoencoder that sees damaged images and is compared with whole ones.

    Its functions are those of `autoencoder`. In its loss x is damaged in training; with `train=False` it is not, nor is
    it by `encode`.

    Args:
      shape: (height, width, channels) of one image.
      corruption: (x, key) -> damaged x, of `gen_models/nn/corruptions.py`; None: `masking(0.25)`.
      **network: as for `autoencoder`.

    Raises:
      ValueError: as `autoencoder`.
    """
    parts = parts_of(shape, **network)
    corrupted = masking(0.25) if corruption is None else corruption

    def loss(params, stats, batch, key, *, step, train=True):
        x = parts.seen(batch)
        z = parts.code(params, corrupted(x, key) if train else x)
        reconstruction = parts.error(params, z, x).mean()
        return reconstruction, (stats, {"reconstruction": reconstruction})

    return parts.model(loss)
