"""What a trained convolutional classifier computes: kernels, maps, receptive fields, and what makes its units fire.

The functions are those of `gen_models/evaluation/feature_maps.py`. Fields are measured at the start as well, of fresh
parameters, as training widens them (Luo et al., 2016, section 3.2).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gen_models import plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.evaluation import feature_maps as look
from gen_models.measures.base import Split, Trained, compiled_for
from gen_models.measures.figure import Figure


def pictures(
    path: Path,
    rows: Sequence[Sequence[Any]],
    *,
    names: Sequence[str] = (),
    titles: Sequence[str] = (),
    side: float = 1.1,
) -> None:
    """Images [H, W] in rows, each in its own greys; those with negative values blue below 0 and red above.

    Args:
      path: the PNG file.
      rows: of images; None leaves a place empty.
      names: of the rows, to their left.
      titles: of the columns.
      side: of a picture, in inches.
    """
    across = max(len(row) for row in rows)
    with plots.drawing(path, figsize=(side * across + 0.3, 1.1 * side * len(rows)), layout="constrained") as canvas:
        axes = canvas.subplots(len(rows), across, squeeze=False)
        for axis in axes.ravel():
            axis.set(xticks=[], yticks=[])
            axis.set_frame_on(False)
        for line, row in zip(axes, rows, strict=True):
            for axis, image in zip(line, row, strict=False):
                if image is not None:
                    limit = float(np.nanmax(np.abs(image))) or 1.0
                    signed = float(np.nanmin(image)) < 0
                    axis.imshow(image, cmap="RdBu_r" if signed else "gray", vmin=-limit if signed else 0, vmax=limit)
        for axis, title in zip(axes[0], titles, strict=False):
            axis.set_title(plots.literal(title), fontsize=8)
        for axis, name in zip(axes[:, 0], names, strict=False):
            axis.set_ylabel(plots.literal(name), fontsize=8)


@dataclass(frozen=True)
class FeatureMaps:
    """Pictures of the first layer's kernels, and of the maps of every convolution."""

    images: int = 1  # whose maps are drawn
    channels: int = 8  # of each map: those whose largest value is the largest

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `kernels.png` and `maps.png`: an image, and below it a row for each convolution, behind its norm.

        Kernels are means over the channels of the input; what is below 0, which a rectifier takes away, is black in
        maps.
        """
        x = np.asarray(split.some(self.images)["x"])
        kernels = np.asarray(_first_kernel(*trained[:3], x)).mean(2)  # [h, w, C']
        pictures(folder / "kernels.png", _in_rows(list(kernels.transpose(2, 0, 1)), 8), side=0.7)
        found = compiled_for(_maps, trained.model)(trained.params, trained.stats, x)
        rows: list[Any] = []
        for i, image in enumerate(x):
            rows.append([image.mean(-1)])
            for each in found:
                z = np.maximum(np.asarray(each[i]), 0)
                order = z.max((0, 1)).argsort(kind="stable")[::-1][: self.channels]
                rows.append([z[..., channel] for channel in order])
        names = ["image", *(f"{i + 1}: {each.shape[1]}x{each.shape[2]}" for i, each in enumerate(found))] * len(x)
        pictures(folder / "maps.png", rows, names=names, side=0.9)


def _in_rows(images: list[Any], columns: int) -> list[list[Any]]:
    return [images[i : i + columns] for i in range(0, len(images), columns)]


def _maps(model: Model, params: Params, stats: Stats, x: Any) -> Any:
    return look.maps(model, params, stats, x, normed=True)


def _first_kernel(model: Model, params: Params, stats: Stats, x: Any) -> Any:
    """The kernel [h, w, C, C'] of the convolution that is computed first."""
    kernels: list[Any] = []

    def convolved(module, read, out):
        kernels.append(module.get_variable("params", "kernel"))
        return out

    look.watched(lambda: model.apply(params, stats, x), convolved, lambda index, out: out)
    return kernels[0]


@dataclass(frozen=True)
class ReceptiveFields:
    """Sizes of the fields of the middle units: by windows and strides, and effectively, at the start and at the end."""

    images: int = 16

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """For each convolution the side of its unit's field in pixels, and that of the effective field."""
        layers, fields = self._found(trained, split, key)
        where = f"{split.where}: {self.images} of them"
        for i, sizes in enumerate(_sizes(layers)):
            yield Figure(f"field of layer {i + 1}", max(sizes), "pixels", where, note="side, by windows and strides")
            for when, of_layers in fields.items():
                note = "side of a square of the pixels with more than 4.55 % of the largest mean gradient"
                size = look.effective_size(of_layers[i])
                yield Figure(f"effective field of layer {i + 1} at the {when}", size, "pixels", where, note=note)
                note = "side of a square of one value with the gradients' sum and sum of squares"
                size = look.even_size(of_layers[i])
                yield Figure(f"even field of layer {i + 1} at the {when}", size, "pixels", where, note=note)

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `fields.png`: roots of mean gradients by pixel, a column for each convolution, before and after."""
        layers, fields = self._found(trained, split, key)
        rows = [[np.sqrt(field) for field in of_layers] for of_layers in fields.values()]
        titles = [f"{i + 1}: {max(sizes)} pixels" for i, sizes in enumerate(_sizes(layers))]
        pictures(folder / "fields.png", rows, names=[f"at the {when}" for when in fields], titles=titles, side=1.3)

    def _found(self, trained: Trained, split: Split, key: Key) -> tuple[list[look.Convolution], dict[str, list[Any]]]:
        batch = split.some(self.images)
        x, model = np.asarray(batch["x"]), trained.model
        layers = look.convolutions(model, trained.params, trained.stats, x)
        fields: dict[str, list[Any]] = {}
        for when, (params, stats) in {
            "start": model.init(key, batch),
            "end": (trained.params, trained.stats),
        }.items():
            fields[when] = [look.receptive_field(model, params, stats, x, i) for i in range(len(layers))]
        return layers, fields


def _sizes(layers: Sequence[look.Convolution]) -> list[tuple[int, ...]]:
    """Of each convolution, the sizes of the field of its middle unit."""
    return [look.seen_by(layers, i, [size // 2 for size in each.map_sizes])[1] for i, each in enumerate(layers)]


@dataclass(frozen=True)
class StrongestPatches:
    """What makes units fire: for each channel, what its strongest units see of images (Zeiler & Fergus, 2014)."""

    images: int = 1000  # the first ones of the split
    count: int = 9  # parts of each channel, of different images
    shown: int = 6  # channels of each convolution in the picture

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """For each convolution, how often two of a channel's strongest images are of one class."""
        some = split.first(self.images)
        if some.dataset.num_classes is None:
            return
        batch = some.whole()
        labels = batch["y"]
        note = f"pairs of the {self.count} images with a channel's largest values, mean over channels; the spread too"
        for i, (values, _) in enumerate(self._strongest(trained, batch)):
            chosen = labels[values.argsort(0, kind="stable")[::-1][: self.count]]  # [count, C']
            pairs = self.count * (self.count - 1)
            same = (chosen[:, None] == chosen[None]).sum((0, 1)) - len(chosen)
            shares = same / pairs
            spread = float(shares.std(ddof=1) / np.sqrt(len(shares))) if len(shares) > 1 else None
            yield Figure(f"one class, layer {i + 1}", float(shares.mean()), "fraction", some.where, spread, note)

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `patches_LAYER.png` of each convolution: a row for each channel, the parts of images."""
        some = split.first(self.images)
        batch = some.whole()
        x = batch["x"]
        layers = look.convolutions(trained.model, trained.params, trained.stats, x[:1])
        for i, (values, places) in enumerate(self._strongest(trained, batch)):
            channels = np.linspace(0, values.shape[1] - 1, min(self.shown, values.shape[1])).astype(int)
            rows = []
            for channel in channels:
                best = values[:, channel].argsort(kind="stable")[::-1][: self.count]
                rows.append([_part(x[j], layers, i, places[j, channel]) for j in best])
            names = [f"channel {channel}" for channel in channels]
            pictures(folder / f"patches_{i + 1}.png", rows, names=names, side=0.8)

    def _strongest(self, trained: Trained, batch: Any) -> list[tuple[np.ndarray, np.ndarray]]:
        found = compiled_for(look.strongest, trained.model)(trained.params, trained.stats, batch["x"])
        return [(np.asarray(values), np.asarray(places).astype(int)) for values, places in found]


def _part(image: np.ndarray, layers: Sequence[look.Convolution], layer: int, at: Any) -> np.ndarray:
    """[h, w]: the part of an image [H, W, C] that a unit sees; what lies beyond the edges is a third of white."""
    ((top, bottom), (left, right)), size = look.seen_by(layers, layer, [int(a) for a in at])
    part = np.full(size, 0.33)
    height, width = image.shape[:2]
    inner = image[max(top, 0) : min(bottom + 1, height), max(left, 0) : min(right + 1, width)].mean(-1)
    part[max(-top, 0) : max(-top, 0) + len(inner), max(-left, 0) : max(-left, 0) + inner.shape[1]] = inner
    return part
