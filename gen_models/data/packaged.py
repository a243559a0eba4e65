"""Data that come with the package, or with scikit-learn."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gen_models.data.dataset import Origin


class Packaged(NamedTuple):
    """A file that comes with the package, and is read as a path of a kind."""

    kind: str
    file: str
    options: Mapping[str, str]  # those of the kind that are its own if nothing else is asked for
    note: str


PACKAGED: Mapping[str, Packaged] = {
    "tiny_shakespeare": Packaged(
        "tokens",
        "tiny_shakespeare.txt.gz",
        {},
        "tiny Shakespeare (Karpathy, 2015), public domain; the last tenth is the test split",
    ),
    "names": Packaged(
        "tokens",
        "names.txt.gz",
        {"documents": "lines"},
        "first names of makemore, MIT, Copyright Andrej Karpathy; test split by us",
    ),
    "spoken_digits": Packaged(
        "audio",
        "spoken_digits.npz",
        {},
        "a part of the Free Spoken Digit Dataset (Jackson et al.), CC BY-SA 4.0; takes 0 to 4 are the test split",
    ),
    "penguins": Packaged(
        "table",
        "penguins.csv",
        {"target": "species", "untargeted": "skip"},
        "penguins of the Palmer Archipelago (Gorman et al., 2014; Horst et al., 2020), CC0; split by us",
    ),
}
BUNDLED = Path(__file__).parent / "bundled" / "fashion_mnist.npz"


def bundled_fashion() -> Origin:
    """The part of Fashion-MNIST that comes with the package."""

    def read(split: str) -> dict[str, np.ndarray]:
        with np.load(BUNDLED, allow_pickle=False) as archive:
            return {"x": archive[f"{split}_image"], "y": archive[f"{split}_label"]}

    note = "part of Fashion-MNIST (MIT, Copyright 2017 Zalando SE): figures are not comparable with the whole set's"
    splits = {split: partial(read, split) for split in ("train", "test")}
    return Origin(splits, 10, note, hold_out=1000, balanced=True)


def digits_origin() -> Origin:
    """Scikit-learn's digits; ValueError without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ValueError("digits come with scikit-learn: pip install 'gen_models[data]'") from None
    digits = load_digits()
    image, label = digits.images.astype(np.uint8), digits.target.astype(np.int32)

    def read(span: slice) -> dict[str, np.ndarray]:
        return {"x": image[span], "y": label[span]}

    splits = {"train": partial(read, slice(0, 1500)), "test": partial(read, slice(1500, None))}
    return Origin(splits, 10, "scikit-learn's copy of the UCI digits test set, CC BY 4.0; split by us", levels=17)
