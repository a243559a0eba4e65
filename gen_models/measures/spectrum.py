"""Spectra of images: the measure of the checkerboards that a decoder leaves where it enlarges.

Odena et al., Deconvolution and Checkerboard Artifacts (2016): a layer that enlarges by a stride may treat pixels by
turns, with the stride's period. Such a pattern stands in the power spectrum at the multiples of 1 / period along both
axes; of layers of stride 2, the last one has the period 2, and the one before it, as the last one enlarges what that
makes, the period 4. Durall et al., Watch Your Up-Convolution (2020), section 3, compare spectra of what is generated
with the data's, averaged over all frequencies as far from 0, as the curve here is.

The power of an image of N = H W pixels is |F(u, v)|^2 / N, F its discrete Fourier transform: that of white noise is its
variance at each frequency, and that of a pattern a (-1)^(i + j) is a^2 N at (1/2, 1/2) and nothing elsewhere.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool, Float

from gen_models import plots
from gen_models.core import Key
from gen_models.data.transforms import to_unit
from gen_models.measures.base import Split, Trained
from gen_models.measures.figure import Figure
from gen_models.measures.samples import classes_in_turn, drawn

_NEAR = (2, 3)  # how far, in frequencies of the image, those lie that a peak is compared with
_TICKS = (-0.5, -0.25, 0, 0.25)


@dataclass(frozen=True)
class Checkerboard:
    """How strong patterns with the strides' periods are in images that the model draws, next to the data's own.

    The images are what `model.sample` gives: of a VAE the means of p(x|z), whose pixels have no noise of their own.
    """

    periods: tuple[int, ...] = (2, 4)  # 2^k for the k-th layer of stride 2 from the image inwards
    count: int = 1000  # images of each kind
    levels: int = 2  # of a pixel, which the model draws from 0 to levels - 1
    conditional: bool = False  # whether the model is told the class
    crops: int = 6  # enlarged pieces of images in the picture
    side: int = 14  # pixels along each side of a piece

    def __post_init__(self) -> None:
        if min(self.periods, default=0) < 2:
            raise ValueError(f"periods must be pixels, 2 or more, got {self.periods}")
        for name, least in (("count", 1), ("crops", 1), ("side", 1), ("levels", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """For each period two ratios in decibels, 10 log10, of the model's images to the data's.

        - power: the mean power at the pattern's frequencies, which blur lowers and noise raises;
        - checkerboard: how far that stands out of the power around it, which neither changes: 0 where the model's
          images have as much of a pattern as the data, and more where the decoder adds one.
        """
        data, model = (spectrum(images, max(self.periods)) for images in self._pair(trained, split, key))
        note = f"of {self.count:,} images that the model draws, over the data's own"
        for period in self.periods:
            at = harmonics(data.shape, period)
            power = decibels(model[at].mean()) - decibels(data[at].mean())
            yield Figure(f"power at period {period}", power, "dB", split.where, note=note)
            found = peak(model, period) - peak(data, period)
            words = f"the peak there, {note}"
            yield Figure(f"checkerboard at period {period}", found, "dB", split.where, note=words, better="minimize")

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `spectra.png`, log power of data and model in two dimensions and by radius, and `crops.png`.

        The latter has enlarged pieces from the middle of images, the data's in the first row and the model's below.
        """
        pair = dict(zip(("data", "model"), self._pair(trained, split, key), strict=True))
        found = {name: spectrum(images, max(self.periods)) for name, images in pair.items()}
        _draw_spectra(found, folder / "spectra.png")
        pieces = [middle(images[: self.crops], self.side) for images in pair.values()]
        count = min(map(len, pieces))
        plots.image_grid(
            np.concatenate([piece[:count] for piece in pieces]), folder / "crops.png", columns=count, scale=8
        )

    def _pair(self, trained: Trained, split: Split, key: Key) -> tuple[np.ndarray, np.ndarray]:
        """Images of the data and of the model, [N, H, W, C], with pixels from 0 to 1."""
        some = split.first(self.count)
        batches = some.batches(250, to_unit)
        data = np.concatenate([np.asarray(b["x"])[np.asarray(b["weight"]) > 0] for b in batches])
        sizes = [min(250, self.count - start) for start in range(0, self.count, 250)]
        made = []
        for size, own in zip(sizes, jax.random.split(key, len(sizes)), strict=True):
            condition = {"label": classes_in_turn(trained, size)} if self.conditional else {}
            made.append(np.asarray(drawn(trained, own, size, **condition)))
        return data, np.concatenate(made) / (self.levels - 1)


def spectrum(images: Float[np.ndarray, "n h w c"], multiple: int = 1) -> Float[np.ndarray, "a b"]:
    """The mean power of images at each frequency (u / a, v / b), over examples and channels; of each, its mean is off.

    Args:
      images: of any scale.
      multiple: images are cut off at their ends to sides that it divides, so that 1 / multiple is a frequency of them.

    Raises:
      ValueError: a side is shorter than `multiple`.
    """
    height, width = (side - side % multiple for side in images.shape[1:3])
    if not (height and width):
        raise ValueError(f"images of {images.shape[1]}x{images.shape[2]} pixels have no period of {multiple}")
    x = np.asarray(images[:, :height, :width], np.float64)
    power = np.abs(np.fft.fft2(x - x.mean((1, 2), keepdims=True), axes=(1, 2))) ** 2
    return power.mean((0, 3)) / (height * width)


def harmonics(shape: Sequence[int], period: int) -> Bool[np.ndarray, "a b"]:
    """Frequencies of patterns with this period that are not all of half of it: multiples of 1 / period along both axes.

    Raises:
      ValueError: the period does not divide the sides.
    """

    def multiples(period: int) -> np.ndarray:
        if any(side % period for side in shape):
            raise ValueError(f"a period of {period} does not divide the sides {tuple(shape)}")
        along = [np.arange(side) % (side // period) == 0 for side in shape]
        return along[0][:, None] & along[1][None, :]

    found = multiples(period)
    found &= ~multiples(period // 2 if period % 2 == 0 else 1)
    return found


def peak(power: Float[np.ndarray, "a b"], period: int) -> float:
    """How far the power at the `harmonics` of a period stands out of that around each of them, in decibels.

    Around are the frequencies 2 or 3 steps away along one axis or both, without multiples of 1 / period. All means are
    of decibels, so that a spectrum that falls evenly has no peak.

    Raises:
      ValueError: the period does not divide the sides, or there is nothing around.
    """
    at, reach = harmonics(power.shape, period), range(-max(_NEAR), max(_NEAR) + 1)
    off = np.logical_or.outer(*(np.arange(side) % (side // period) != 0 for side in power.shape))
    steps = [(u, v) for u in reach for v in reach if max(abs(u), abs(v)) in _NEAR]
    level = 10 * np.log10(np.maximum(power, np.finfo(np.float64).tiny))
    counted = sum(np.roll(off, step, (0, 1)).astype(int) for step in steps)
    around = sum(np.roll(off * level, step, (0, 1)) for step in steps)
    if not counted[at].all():
        raise ValueError(f"images of {power.shape[0]}x{power.shape[1]} pixels are too small for a period of {period}")
    return float((level[at] - around[at] / counted[at]).mean())


def radial(power: Float[np.ndarray, "a b"]) -> Float[np.ndarray, "r"]:
    """The mean power at frequencies at the distances 0, 1, 2, ... of 1 / the longer side from 0, up to 1/2."""
    longer = max(power.shape)
    along = [np.fft.fftfreq(side) * longer for side in power.shape]
    distance = np.rint(np.hypot(along[0][:, None], along[1][None, :])).astype(int)
    sums = np.bincount(distance.ravel(), power.ravel())
    return (sums / np.maximum(np.bincount(distance.ravel()), 1))[: longer // 2 + 1]


def middle(images: Float[np.ndarray, "n h w c"], side: int) -> Float[np.ndarray, "n a b c"]:
    """The middle of images: `side` pixels along each axis, or as many as there are."""
    tops = [max(0, (whole - side) // 2) for whole in images.shape[1:3]]
    return images[:, tops[0] : tops[0] + side, tops[1] : tops[1] + side]


def decibels(power: float | np.floating) -> float:
    """10 log10 of a power; of none, that of the least number."""
    return 10 * math.log10(max(float(power), np.finfo(np.float64).tiny))


def _draw_spectra(found: Mapping[str, np.ndarray], path: Path) -> None:
    """Log power in two dimensions, a panel for each name on one scale, and all of them by their distance from 0."""
    levels = {name: [[decibels(each) for each in row] for row in np.fft.fftshift(p)] for name, p in found.items()}
    floor = min(np.percentile(level, 1) for level in levels.values())  # below that, single frequencies without power
    most = max(np.max(level) for level in levels.values())
    with plots.drawing(path, figsize=(3.3 * len(found) + 4.2, 3.3), layout="constrained") as canvas:
        axes = canvas.subplots(1, len(found) + 1, width_ratios=[1.0] * len(found) + [1.3])
        for axis, (name, level) in zip(axes, levels.items(), strict=False):
            down, along = (
                0.5 / side for side in np.shape(level)
            )  # half a frequency: each stands in its square's middle
            extent = (-0.5 - along, 0.5 - along, 0.5 - down, -0.5 - down)
            shown = axis.imshow(level, vmin=floor, vmax=most, extent=extent, interpolation="nearest")
            axis.set(title=name, xlabel="cycles per pixel", xticks=_TICKS, yticks=_TICKS)
        canvas.colorbar(shown, ax=axes[: len(found)], label="power [dB]", shrink=0.8)
        for name, power in found.items():
            values = [decibels(each) for each in radial(power)[1:]]  # of 0, where nothing is left, there is no decibel
            at = np.arange(1, len(values) + 1) / max(power.shape)
            axes[-1].plot(at, values, label=name, linewidth=1.2)
        axes[-1].set(xlabel="cycles per pixel, in any direction", ylabel="power [dB]", xlim=(0, 0.5))
        axes[-1].set_ylim(floor - 1, None)
        axes[-1].grid(alpha=0.3)
        axes[-1].legend(frameon=False, fontsize=8)
        for axis in axes:
            axis.tick_params(labelsize=8)
