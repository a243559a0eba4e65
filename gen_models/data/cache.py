"""Decoded arrays kept beside the data as .npy, so that a split is decoded once and not in every run."""

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from gen_models.files import whole_file

FOLDER = ".gen_models_cache"


def cached(
    root: Path,
    name: str,
    stamp: Iterable[object],
    make: Callable[[], dict[str, np.ndarray]],
    keys: Sequence[str] = ("x", "y"),
) -> dict[str, np.ndarray]:
    """The arrays `keys` that `make` gives, from the cache in `root` where it has them, else made and put there.

    `stamp` is all that the arrays depend on, such as the files' sizes and times: another stamp is another entry. Each
    file appears whole or not at all (written aside, then renamed), so two processes may do this at once; a folder that
    cannot be written is left alone, and an entry that cannot be read is made again.
    """
    digest = hashlib.sha256(repr(tuple(stamp)).encode(errors="surrogateescape")).hexdigest()[:16]
    paths = {key: root / FOLDER / f"{name}-{digest}-{key}.npy" for key in keys}
    try:
        return {key: np.load(path, allow_pickle=False) for key, path in paths.items()}
    except (OSError, ValueError, EOFError):  # absent, or damaged by something other than us
        pass
    arrays = make()
    with contextlib.suppress(OSError):
        (root / FOLDER).mkdir(exist_ok=True)
        for key, path in paths.items():
            with whole_file(path) as file:
                np.save(file, arrays[key], allow_pickle=False)
    return arrays


def file_stamp(path: Path) -> tuple[str, int, int]:
    """A file's name, size and time of change: what tells two states of it apart without reading it."""
    status = path.stat()
    return str(path.name), status.st_size, status.st_mtime_ns
