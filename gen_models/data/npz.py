"""One archive of arrays: `npz:PATH`. Three sets of names are understood.

    train_image, train_label, test_image, test_label (and validation_image, validation_label)
    image, label                        a tenth is held out as `test`, drawn by a fixed permutation
    header, {train,test}_scan, {train,test}_offset, {train,test}_label
                                        small JPEGs that share one header: image i of a split is the bytes
                                        header + scan[offset[i]:offset[i + 1]]

Images are uint8 [N, H, W] or [N, H, W, C], labels integers [N] from 0; labels may be absent.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from gen_models.data.access import tenth
from gen_models.data.cache import cached, file_stamp
from gen_models.data.dataset import Origin

SPLITS = ("train", "validation", "test")


def npz_origin(path: Path) -> Origin:
    """The splits of the archive.

    Raises:
      ValueError: no such file, not an .npz, Python objects in it, or array names other than those above.
    """
    if not path.is_file():
        raise ValueError(f"npz:{path}: there is no such file")
    names = _names(path)
    note = f"arrays in {path}"
    if "header" in names and "train_scan" in names:
        present = [split for split in SPLITS if f"{split}_scan" in names]
        splits = {split: partial(_decode, path, split) for split in present}
        label = _read(path, "train_label") if "train_label" in names else None
        return Origin(splits, _classes(label), f"{note}, lossy: decoded from JPEG")
    if "train_image" in names:
        present = [split for split in SPLITS if f"{split}_image" in names]
        splits = {split: partial(_take, path, f"{split}_", names) for split in present}
        label = _read(path, "train_label") if "train_label" in names else None
        return Origin(splits, _classes(label), note)
    if "image" not in names:
        raise ValueError(f"{path} has the arrays {', '.join(names)}: name them image and label, or train_image, ...")
    splits = {split: partial(_drawn, path, names, split) for split in ("train", "test")}
    return Origin(splits, _classes(_read(path, "label") if "label" in names else None), f"{note}; test split by us")


def _names(path: Path) -> tuple[str, ...]:
    """The names of the arrays in an archive."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return tuple(archive.files)
    except (BadZipFile, ValueError, OSError, EOFError, AttributeError) as error:  # a lone .npy has no files
        raise ValueError(f"{path} is not an .npz archive ({error}): make it with np.savez") from None


def _read(path: Path, name: str) -> np.ndarray:
    """One array of an archive."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive[name]
    except (BadZipFile, ValueError, EOFError) as error:
        raise ValueError(f"{name!r} in {path} cannot be read ({error}): save plain arrays with np.savez") from None


def _take(path: Path, prefix: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Images and labels of a split, whose arrays' names begin with the prefix; no "y" where there are no labels."""
    fields = {"x": f"{prefix}image", "y": f"{prefix}label"}
    return {field: _read(path, array) for field, array in fields.items() if array in names}


def _drawn(path: Path, names: Sequence[str], split: str) -> dict[str, np.ndarray]:
    """The images of a split that we draw, in the archive's order."""
    arrays = _take(path, "", names)
    chosen = np.sort(tenth(len(arrays["x"]), split))
    return {key: value[chosen] for key, value in arrays.items()}


def _decode(path: Path, split: str) -> dict[str, np.ndarray]:
    """The images of a split that is kept as JPEGs with one header, and their labels."""
    from gen_models.data.images import decode

    def make() -> dict[str, np.ndarray]:
        head, scan, offset = (_read(path, name) for name in ("header", f"{split}_scan", f"{split}_offset"))
        count = len(offset) - 1
        if head.dtype != np.uint8 or scan.dtype != np.uint8 or count < 1 or offset[0] or offset[-1] != len(scan):
            raise ValueError(f"{path}: {split}_offset must run from 0 to the length of {split}_scan (uint8)")
        prefix, body = head.tobytes(), scan.tobytes()
        images = [decode(prefix + body[offset[i] : offset[i + 1]], "RGB") for i in range(count)]
        label = f"{split}_label"
        has_label = label in _names(path)
        return {"x": np.stack(images), "y": _read(path, label) if has_label else np.zeros(count, np.int32)}

    return cached(path.parent, f"{path.stem}-{split}", file_stamp(path), make)


def _classes(label: np.ndarray | None) -> int | None:
    """The number of classes of labels that count from 0; None without labels."""
    return None if label is None or not label.size else int(label.max()) + 1
