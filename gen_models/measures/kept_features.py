"""Features of data that are kept in files, as a network may take a tenth of a second for an image and data stay.

A file is named after the SHA-256 of what it depends on: all pixels as the network gets them, the network, its weights
and its resizing. So it is never that of other images or of another network, and may be deleted at any time.
"""

import hashlib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from gen_models.features.extractor import Extracted, Extractor, described
from gen_models.files import whole_file

_DAMAGED = (ValueError, KeyError, EOFError, zipfile.BadZipFile)  # of a file that is cut or is another one


def extracted(extractor: Extractor, images: Iterator[np.ndarray]) -> Extracted:
    """Features of images [B, H, W, C] that come some at a time."""
    parts = [extractor(some) for some in images]
    features = np.concatenate([part.features for part in parts])
    probabilities = [part.probabilities for part in parts if part.probabilities is not None]
    return Extracted(features, np.concatenate(probabilities) if probabilities else None)


def kept_features(
    extractor: Extractor, images: Callable[[], Iterator[np.ndarray]], folder: Path | None = None
) -> Extracted:
    """Features of images, from the folder's file of them where there is one; it is written where there is none.

    Args:
      extractor: of the features.
      images: gives all images [B, H, W, C] anew, some at a time, each time it is called.
      folder: of the files; it is made where it is not there. None: nothing is kept.

    Raises:
      OSError: the folder cannot be read or written.
    """
    if folder is None:
        return extracted(extractor, images())
    path = folder / f"{extractor.name}_{_digest(extractor, images())}.npz"
    found = _read(path)
    if found is None:
        found = extracted(extractor, images())
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {name: value for name, value in found._asdict().items() if value is not None}
        with whole_file(path) as file:
            np.savez(file, **arrays)
    return found


def _read(path: Path) -> Extracted | None:
    """What a file holds; None where there is none, or it is damaged."""
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Extracted(arrays["features"], arrays.get("probabilities"))
    except _DAMAGED:
        return None


def _digest(extractor: Extractor, images: Iterator[np.ndarray]) -> str:
    total, shape = hashlib.sha256(f"{described(extractor)}; {extractor.num_classes} classes".encode()), ()
    for some in images:
        shape = some.shape[1:]
        total.update(np.asarray(some, np.float32).tobytes())
    total.update(str(shape).encode())
    return total.hexdigest()[:32]
