"""IDX files: the format of MNIST and Fashion-MNIST (http://yann.lecun.com/exdb/mnist, section "file format").

Two zero bytes, a type (0x08 is uint8), the number of axes, each axis as a big-endian 32-bit integer, then the values.
"""

import gzip
import zlib
from pathlib import Path

import numpy as np

_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def read_idx(path: str | Path) -> np.ndarray:
    """The uint8 array of an IDX file, gzipped or not (its first bytes tell).

    Raises:
      ValueError: the file is truncated or corrupt, is not IDX, or holds something other than unsigned bytes.
    """
    raw = Path(path).read_bytes()
    try:
        raw = gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") or str(path).endswith(".gz") else raw
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is a truncated or corrupt gzip file ({error}): get it again") from None
    if len(raw) < 4 or raw[0] or raw[1] or not 1 <= raw[3] <= 4:
        raise ValueError(f"{path} is not an IDX file: it begins with the bytes {raw[:4].hex(' ')}")
    if raw[2] != 0x08:
        raise ValueError(f"{path} holds values of IDX type 0x{raw[2]:02x}; only unsigned bytes (0x08) are supported")
    header = 4 + 4 * raw[3]
    shape = tuple(int(n) for n in np.frombuffer(raw[4:header], ">u4")) if len(raw) >= header else ()
    size = 1
    for n in shape:  # Python's integers: a corrupt header must not overflow
        size *= n
    if len(raw) < header or len(raw) - header != size:
        raise ValueError(f"{path} is truncated or corrupt: its header says {shape}, {len(raw) - header} values follow")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def find_idx(folder: str | Path, split: str) -> tuple[Path, Path] | None:
    """The files (images, labels) of `split` in a folder, under any of their customary names; None without them."""
    found = [_find(Path(folder), stem) for stem in _FILES[split]]
    return (found[0], found[1]) if found[0] and found[1] else None


def has_idx(folder: str | Path, split: str) -> bool:
    """Whether a folder has one of the two files of `split` at least."""
    return any(_find(Path(folder), stem) for stem in _FILES[split])


def read_idx_split(folder: str | Path, split: str) -> dict[str, np.ndarray]:
    """`{"x": uint8 [N, H, W], "y": uint8 [N]}` in the order of the files.

    Raises:
      ValueError: a file is missing or bad, or the two files disagree.
    """
    files = find_idx(folder, split)
    if files is None:
        raise ValueError(f"{folder} lacks {' or '.join(_FILES[split])} (or the same with .gz)")
    image, label = map(read_idx, files)
    if image.ndim != 3 or label.ndim != 1 or len(image) != len(label):
        raise ValueError(f"{files[0]} and {files[1]} do not fit: shapes {image.shape} and {label.shape}")
    return {"x": image, "y": label}


def _find(folder: Path, stem: str) -> Path | None:
    """The file of this name, gzipped or not, with "-idx" or ".idx" in it; None without one."""
    for name in (stem, stem.replace("-idx", ".idx")):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    return None
