"""How well a model that makes x again of a damaged x restores images, next to restorers that learn nothing.

Damage is a pure function `(x, key) -> x` of `gen_models/nn/corruptions.py` or `gen_models/nn/image_damage.py`. An
image's damage depends on its place in the data and the evaluation's key alone, so that every measure sees the same.
Images are in [0, 1], and what restores them is cut to that range.
"""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from gen_models import metrics, plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.measures.base import Headline, Mean, Split, Trained, mean_of
from gen_models.measures.figure import Figure
from gen_models.measures.reconstruction import code_of
from gen_models.nn.corruptions import Corruption

Image = Float[np.ndarray, "h w c"]
Images = Float[np.ndarray, "n h w c"]


@dataclass(frozen=True)
class Restoration:
    """What the model makes of damaged images, and what they are without it."""

    corruption: Corruption
    known: bool = False  # whether it is known what is hidden, so that only that is taken from the model
    headline: ClassVar[Headline] = ("psnr", "maximize")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """Peak signal-to-noise ratio and structural similarity, of the model's images and of the damaged ones."""
        clean, damaged, _, restored = _images(self, trained, split, key)
        yield from _figures("", restored, clean, split, "")
        yield from _figures(", damaged image", damaged, clean, split, "")


def hidden_by(corruption: Corruption, x: jax.Array, key: Key) -> jax.Array:
    """1 where the damage of this key does not depend on x, 0 elsewhere: where black and white are damaged alike."""
    return (corruption(jnp.zeros_like(x), key) == corruption(jnp.ones_like(x), key)).astype(x.dtype)


class Restorer(NamedTuple):
    """A restorer that learns nothing but one number, its setting."""

    name: str
    settings: tuple[float, ...]  # of which the one with the least error on training images is taken
    restore: Callable[[Image, Bool[np.ndarray, "h w"], float], Image]  # damaged, what is hidden, the setting


@dataclass(frozen=True)
class Restorers:
    """What restorers that learn nothing make of images with the same damage, and a picture of all.

    Raises:
      ValueError: scikit-image is not installed.
    """

    corruption: Corruption
    restorers: Sequence[Restorer]
    examples: int = 1000  # first examples of the split that are restored; 0: all
    tuned_on: int = 50  # first training images by which settings are chosen
    known: bool = False  # as in `Restoration`
    count: int = 12  # images in a row of the picture

    def __post_init__(self) -> None:
        if importlib.util.find_spec("skimage") is None:
            raise ValueError("restorers are scikit-image's: pip install 'gen_models[restoration]'")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """Peak signal-to-noise ratio and structural similarity of each restorer's images."""
        some, tuning = split.first(self.examples), self._tuning_images(trained, split, key)
        clean, damaged, hidden, _ = _images(self, trained, some, key)
        for restorer in self.restorers:
            setting = _best_setting(restorer, *tuning)
            chosen = f"setting {setting:g}, the best of {len(restorer.settings)} for {len(tuning[0])} training images"
            note = chosen if len(restorer.settings) > 1 else ""
            yield from _figures(f", {restorer.name}", _restored(restorer, damaged, hidden, setting), clean, some, note)

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `restorations.png`, in rows: clean, damaged, by each restorer, and by the model."""
        if split.dataset.shape[-1] not in (1, 3):
            return
        every = _images(self, trained, split.first(400), key)
        at = np.linspace(0, every.shape[1] - 1, min(self.count, every.shape[1])).astype(int)
        clean, damaged, hidden, restored = every[:, at]
        tuning = self._tuning_images(trained, split, key)
        theirs = [_restored(one, damaged, hidden, _best_setting(one, *tuning)) for one in self.restorers]
        rows = np.concatenate([clean, damaged, *theirs, restored])
        plots.image_grid(rows, folder / "restorations.png", columns=len(at))

    def _tuning_images(self, trained: Trained, split: Split, key: Key) -> tuple[Images, Images, Images]:
        clean, damaged, hidden, _ = _images(self, trained, split.train().first(self.tuned_on), key)
        return clean, damaged, hidden


def total_variation(weights: Sequence[float] = (0.03, 0.05, 0.08, 0.12, 0.18, 0.25, 0.35, 0.5)) -> Restorer:
    """The image of least total variation and squared distance together (Rudin et al. 1992; Chambolle, 2004)."""
    return Restorer("total variation", tuple(weights), _total_variation)


def non_local_means(strengths: Sequence[float] = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6)) -> Restorer:
    """Means of pixels with like surroundings (Buades et al. 2005); a strength is a distance that still counts."""
    return Restorer("non-local means", tuple(strengths), _non_local_means)


def biharmonic() -> Restorer:
    """The smoothest surface over what is hidden, whose bilaplacian is 0 there (Damelin & Hoang, 2018)."""
    return Restorer("biharmonic", (0.0,), _biharmonic)


def bicubic(factor: int = 2) -> Restorer:
    """Cubic splines between the means of blocks of `factor` by `factor` pixels."""
    return Restorer("bicubic", (float(factor),), _bicubic)


def _images(
    measure: "Restoration | Restorers", trained: Trained, split: Split, key: Key
) -> Float[np.ndarray, "4 n h w c"]:
    """All images of a split: clean, damaged, as a mask of what is hidden, and restored by the model."""
    return np.moveaxis(split.each(_each_with(measure.corruption, measure.known), trained, key), 1, 0)


@lru_cache(maxsize=16)
def _each_with(corruption: Corruption, known: bool) -> Callable[..., jax.Array]:
    """What `Split.each` compiles once for all measures of a model that have this damage: [B, 4, H, W, C]."""

    def each(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
        x = batch["x"]
        damaged = corruption(x, key)
        restored = jnp.clip(model.decode(params, stats, code_of(model, params, stats, damaged)), 0, 1)
        hidden = hidden_by(corruption, x, key)
        return jnp.stack([x, damaged, hidden, jnp.where(hidden > 0, restored, damaged) if known else restored], 1)

    return each


def _total_variation(image: Image, hidden: Bool[np.ndarray, "h w"], weight: float) -> Image:
    from skimage.restoration import denoise_tv_chambolle

    return denoise_tv_chambolle(image, weight=weight, channel_axis=-1)


def _non_local_means(image: Image, hidden: Bool[np.ndarray, "h w"], strength: float) -> Image:
    from skimage.restoration import denoise_nl_means

    restored = denoise_nl_means(image, patch_size=5, patch_distance=6, h=strength, channel_axis=-1)
    return restored.reshape(image.shape)  # it leaves out an axis of one channel


def _biharmonic(image: Image, hidden: Bool[np.ndarray, "h w"], setting: float) -> Image:
    from skimage.restoration import inpaint_biharmonic

    return inpaint_biharmonic(image, hidden, channel_axis=-1)


def _bicubic(image: Image, hidden: Bool[np.ndarray, "h w"], factor: float) -> Image:
    from skimage.transform import resize

    return resize(image[:: int(factor), :: int(factor)], image.shape, order=3, anti_aliasing=False)


def _restored(restorer: Restorer, damaged: Images, hidden: Images, setting: float) -> Images:
    masks = hidden[..., 0] > 0
    each = [restorer.restore(image, mask, setting) for image, mask in zip(damaged, masks, strict=True)]
    return np.clip(np.stack(each), 0, 1)


def _best_setting(restorer: Restorer, clean: Images, damaged: Images, hidden: Images) -> float:
    """The setting with the least squared error on these images."""
    if len(restorer.settings) == 1:
        return restorer.settings[0]
    errors = [((_restored(restorer, damaged, hidden, each) - clean) ** 2).mean() for each in restorer.settings]
    return restorer.settings[int(np.argmin(errors))]


def _figures(of: str, images: Images, clean: Images, split: Split, more: str) -> Iterator[Figure]:
    """Both figures of images with their standard errors, that of a logarithm by its derivative."""
    error: Mean = mean_of(((images - clean) ** 2).mean((1, 2, 3)))
    decibels = float(metrics.peak_signal_to_noise(jnp.asarray(images), jnp.asarray(clean)))
    with np.errstate(invalid="ignore"):  # images without any error have no spread
        spread = float(10 / np.log(10) * error.standard_error / error.value)
    note = "; ".join(word for word in ("of the mean squared error over all images", more) if word)
    yield Figure(f"PSNR{of}", decibels, "dB", split.where, spread, note, "maximize")
    window = min(11, *(side - 1 + side % 2 for side in images.shape[1:3]))
    alike = mean_of(np.asarray(_similarities(jnp.asarray(images), jnp.asarray(clean), window), np.float64))
    note = "; ".join(word for word in (f"window {window}x{window}", more) if word)
    value, spread = float(alike.value), float(alike.standard_error)
    yield Figure(f"SSIM{of}", value, "fraction", split.where, spread, note, "maximize")


@partial(jax.jit, static_argnums=2)
def _similarities(images: jax.Array, clean: jax.Array, window: int) -> jax.Array:
    """Structural similarity of each image, [N]."""
    alone = partial(metrics.structural_similarity, window=window)
    return jax.lax.map(lambda pair: alone(pair[0][None], pair[1][None]), (images, clean), batch_size=100)
