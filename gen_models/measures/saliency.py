"""Which pixels a classifier's answers rest on, by several methods, and which of these maps say something true.

The methods and both tests are those of `gen_models/evaluation/saliency.py`. Beside the methods stand the image itself,
whose brightest pixels are removed first, and pixels in random order: a map that is no better than these says nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gen_models import plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.evaluation import saliency as of
from gen_models.measures.base import Split, Trained, compiled_for, mean_of
from gen_models.measures.feature_maps import pictures
from gen_models.measures.figure import Figure

METHODS: Mapping[str, Callable[..., Any]] = {
    "gradient": of.gradient,
    "integrated gradients": of.integrated_gradients,
    "Grad-CAM": of.grad_cam,
    "occlusion": of.occlusion,
}


@dataclass(frozen=True)
class Saliency:
    """Maps of the pixels that speak for the likeliest class, and whether they are true."""

    images: int = 100  # whose pixels are removed
    randomised: int = 20  # whose maps are compared as weights are drawn again
    shown: int = 5  # images in the picture of maps

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """Areas under deletion curves, and rank correlations of maps with those of weights that are drawn again."""
        where = f"{split.where}: {self.images} of them"
        note = "p of the likeliest class, mean over the shares of pixels that are made black"
        for name, curves in self._curves(trained, split, key).items():
            area = mean_of(np.trapezoid(curves, dx=1 / (curves.shape[1] - 1), axis=1))
            yield Figure(
                f"deletion, {name}", float(area.value), "area", where, float(area.standard_error), note, "minimize"
            )
        where = f"{split.where}: {self.randomised} of them"
        note = "rank correlation of a map's sizes with those of the trained network; the spread is over images"
        _, alike = self._drawn_again(trained, split, key)
        for name, of_layers in alike.items():
            for words, values in (("the last layer", of_layers[0]), ("all layers", of_layers[-1])):
                kept = _ranked(values)
                mean, of_them = mean_of(kept), f"{note}; {len(kept)} images whose maps are not of one value"
                spread = float(mean.standard_error)
                yield Figure(f"{name} with {words} random", float(mean.value), "correlation", where, spread, of_them)

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `saliency.png`, `deletion.png` and `randomised.png`."""
        x = np.asarray(split.some(self.shown)["x"])
        found = _maps(trained, x, likeliest(trained, x))
        rows = [[x[i].mean(-1), *(each[i] for each in found.values())] for i in range(len(x))]
        pictures(folder / "saliency.png", rows, titles=["image", *found], side=1.2)

        curves = {}
        for name, values in self._curves(trained, split, key).items():
            mean = mean_of(values)
            share = np.linspace(0, 1, values.shape[1])
            low, high = mean.value - mean.standard_error, mean.value + mean.standard_error
            curves[name] = plots.Curve(share, mean.value, low, high)
        what = "share of pixels that are made black, the most salient first"
        plots.panels({"": curves}, folder / "deletion.png", x=what, y="p of the likeliest class")

        drawn, alike = self._drawn_again(trained, split, key)
        rows = [[each[name][0] for each in drawn.values()] for name in METHODS]
        pictures(folder / "randomised.png", rows, titles=list(drawn), names=list(METHODS), side=1.2)
        layers = np.arange(1, len(drawn))
        lines = {name: plots.Curve(layers, [_ranked(values).mean() for values in each]) for name, each in alike.items()}
        what = "layers that are random, from the last one down"
        plots.panels(
            {"": lines}, folder / "randomised_correlation.png", x=what, y="rank correlation with the trained map"
        )

    def _curves(self, trained: Trained, split: Split, key: Key) -> dict[str, np.ndarray]:
        """Method -> p [images, steps + 1] as its pixels are removed."""
        x = np.asarray(split.some(self.images)["x"])
        classes = likeliest(trained, x)
        maps = _maps(trained, x, classes) | {
            "brightness": x.mean(-1),
            "random": np.asarray(jax.random.uniform(key, x.shape[:3])),
        }
        removed = compiled_for(of.removed, trained.model)
        return {name: np.asarray(removed(trained.params, trained.stats, x, classes, m)) for name, m in maps.items()}

    def _drawn_again(
        self, trained: Trained, split: Split, key: Key
    ) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, list[np.ndarray]]]:
        """What is random -> method -> maps; method -> rank correlations [images] with the trained ones, in order."""
        x = np.asarray(split.some(self.randomised)["x"])
        classes = likeliest(trained, x)
        drawn = {"trained": _maps(trained, x, classes)}
        for name, (params, stats) in of.randomised(trained.model, trained.params, trained.stats, x, key):
            words = name if len(drawn) == 1 else f"to {name}"
            drawn[words] = _maps(trained._replace(params=params, stats=stats), x, classes)
        after = list(drawn)[1:]
        own = drawn["trained"]
        alike = {
            name: [of.rank_correlation(np.abs(own[name]), np.abs(drawn[each][name])) for each in after]
            for name in METHODS
        }
        return drawn, alike


def _ranked(correlations: np.ndarray) -> np.ndarray:
    """Those of images whose maps are not of one value, as Grad-CAM's may be; NaN where there are none."""
    kept = correlations[np.isfinite(correlations)]
    return kept if len(kept) else np.full(1, np.nan)


def likeliest(trained: Trained, x: np.ndarray) -> np.ndarray:
    """The class [B] to which the network gives most."""
    logits = compiled_for(_logits, trained.model)(trained.params, trained.stats, x)
    return np.asarray(logits).argmax(-1).astype(np.int32)


def _logits(model: Model, params: Params, stats: Stats, x: Any) -> Any:
    return model.apply(params, stats, x)


def _maps(trained: Trained, x: np.ndarray, classes: np.ndarray) -> dict[str, np.ndarray]:
    """Method -> maps [B, H, W]."""
    return {
        name: np.asarray(compiled_for(method, trained.model)(trained.params, trained.stats, x, classes))
        for name, method in METHODS.items()
    }
