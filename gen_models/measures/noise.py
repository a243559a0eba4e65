"""Pictures of a GAN's noise: walks between draws of it, and arithmetic with the noise of classes.

Radford et al., Unsupervised Representation Learning with DCGANs (2016), sections 6.1 and 6.3.2.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import numpy as np

from gen_models import plots
from gen_models.core import Key
from gen_models.measures.base import Split, Trained
from gen_models.measures.latent import _decoded, _encoded
from gen_models.measures.probes import check_scikit_learn, fitted_probe
from gen_models.models.sizes import check_sizes

Noise = Literal["normal", "uniform"]


def drawn_noise(key: Key, n: int, latent: int, noise: Noise) -> np.ndarray:
    """n draws of the noise of `adversarial_model`, [n, latent]: a standard Gaussian, or each number from -1 to 1."""
    shape = (n, latent)
    drawn = jax.random.uniform(key, shape, minval=-1, maxval=1) if noise == "uniform" else jax.random.normal(key, shape)
    return np.asarray(drawn)


@dataclass(frozen=True)
class NoiseWalk:
    """What is generated along lines from one draw of the noise to the next.

    Lines are straight for uniform noise, as in the paper. For Gaussian noise they are great arcs (White, Sampling
    Generative Networks, 2016), on which the norm is that of draws: halfway along a straight line it is smaller than
    that of nearly all of them.
    """

    latent: int  # dimensions of the noise
    noise: Noise = "uniform"
    walks: int = 8  # rows of the picture
    steps: int = 12  # images in a row, both ends included
    conditional: bool = False  # whether the model is told the class; each walk is then within one

    def __post_init__(self) -> None:
        check_sizes(latent=self.latent, walks=self.walks, steps=self.steps)

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `noise_walk.png`: a row of images for each walk."""
        ends = drawn_noise(key, 2 * self.walks, self.latent, self.noise).astype(np.float64)
        share = np.linspace(0, 1, self.steps)
        between = straight if self.noise == "uniform" else arc
        along = np.concatenate([between(a, b, share) for a, b in zip(ends[0::2], ends[1::2], strict=True)])
        classes = np.arange(self.walks, dtype=np.int32) % (trained.num_classes or 1)
        label = np.repeat(classes, self.steps) if self.conditional else None
        images = _decoded(trained, along.astype(np.float32), label)
        plots.image_grid(images, folder / "noise_walk.png", columns=self.steps)


def straight(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Points of the line from a to b, [S, D], at the shares [S] of its length."""
    return a * (1 - share[:, None]) + b * share[:, None]


def arc(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Points [S, D] between a and b whose direction turns evenly, and whose norm goes evenly from that of a to b's."""
    norms = np.linalg.norm(a), np.linalg.norm(b)
    angle = np.arccos(np.clip(a @ b / (norms[0] * norms[1]), -1, 1))
    if np.sin(angle) < 1e-9:  # one direction, or opposite ones, which no single arc joins
        return straight(a, b, share)
    turned = np.sin((1 - share) * angle)[:, None] * a / norms[0] + np.sin(share * angle)[:, None] * b / norms[1]
    norm = norms[0] * (1 - share) + norms[1] * share
    return turned / np.sin(angle) * norm[:, None]


@dataclass(frozen=True)
class NoiseArithmetic:
    """What is generated of z(a) - z(b) + z(c), where z(k) is the mean noise of some samples of class k.

    Which class a sample shows is told by a logistic regression on the model's own codes of training examples, so that
    no other network is needed; of the samples that are drawn, those count for which it is surest. (In the paper a
    person chose.)

    Raises:
      ValueError: a number is not positive, a class negative, or scikit-learn is not installed.
    """

    terms: tuple[int, int, int]  # the classes a, b and c
    latent: int  # dimensions of the noise
    noise: Noise = "uniform"
    averaged: int = 3  # samples whose noise is averaged; the paper takes 3
    drawn: int = 1000  # samples among which they are chosen
    examples: int = 5000  # first training examples that the classifier of samples is fitted to
    around: float = 0.25  # the results are also shown with uniform noise of -0.25 to 0.25 added, as in the paper

    def __post_init__(self) -> None:
        check_sizes(latent=self.latent, averaged=self.averaged, drawn=self.drawn, examples=self.examples)
        if min(self.terms) < 0:
            raise ValueError(f"terms are classes, from 0 on, got {self.terms}")
        check_scikit_learn("arithmetic with classes")

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `noise_arithmetic.png`.

        Its first three rows are of the classes a, b and c: the chosen samples, then what is generated of their mean.
        The rows below are of z(a) - z(b) + z(c): itself, then some with noise added. Where the data have no such
        classes, there is no picture.
        """
        classes = trained.num_classes or 0
        if max(self.terms) >= classes:
            return
        noise_key, around_key = jax.random.split(key)
        z = drawn_noise(noise_key, self.drawn, self.latent, self.noise)
        probability = self._probabilities(trained, split, _decoded(trained, z))
        chosen = [z[np.argsort(-probability[:, term], kind="stable")[: self.averaged]] for term in self.terms]
        a, b, c = (some.mean(0) for some in chosen)
        result = a - b + c
        more = 2 * (self.averaged + 1) - 1
        noisy = result + self.around * drawn_noise(around_key, more, self.latent, "uniform")
        rows = [*(np.concatenate([some, some.mean(0, keepdims=True)]) for some in chosen), result[None], noisy]
        images = _decoded(trained, np.concatenate(rows).astype(np.float32))
        plots.image_grid(images, folder / "noise_arithmetic.png", columns=self.averaged + 1)

    def _probabilities(self, trained: Trained, split: Split, samples: np.ndarray) -> np.ndarray:
        """Probabilities of the classes of generated images, [N, K]; 0 for a class without training examples."""
        known = split.train().first(self.examples)
        probe = fitted_probe(trained, known, jax.random.key(0))
        found = probe.classifier.predict_proba(probe.standardised(_encoded(trained, samples)))
        probability = np.zeros((len(samples), trained.num_classes or 0))
        probability[:, probe.classifier.classes_] = found
        return probability
