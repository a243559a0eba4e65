"""Checksums of data: which bytes an array holds, or which examples stand behind a source.

They tell two states of a data set apart, as a run asks at its resumption; they are no protection against anybody.
"""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gen_models.data.access import Joined, Subset

CHUNK = 2**24  # bytes that are read at once
EXAMPLES = 16  # of a source with a file for each example, evenly spaced, are read
WITHOUT_FILES = 256  # of another source, evenly spaced, are read
FILES = 4096  # of a source, evenly spaced, are looked at for their sizes


def of_arrays(arrays: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits from all bytes of the arrays, their names, shapes and dtypes, at about 1 GB a second."""
    total = 0
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        total = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), total)
        total = _bytes(array, total)
    return f"{total:08x}"


def of_text(text: str) -> str:
    """Eight hexadecimal digits from a text."""
    return f"{zlib.crc32(text.encode(errors='surrogateescape')):08x}"


def of_source(source: Any) -> str:
    """Eight hexadecimal digits from the number of examples, the names and sizes of their files, and a few of them.

    Names are those of the file and its folder, so that data may be moved. `EXAMPLES` (or `WITHOUT_FILES`) are read
    whole, and `FILES` are looked at, however many there are: other changes without a change of names are not seen.
    """
    total = zlib.crc32(str(len(source)).encode())
    for index in _spaced(len(source), FILES):
        path = _path(source, index)
        if path is not None:
            size = path.stat().st_size if path.exists() else -1
            total = zlib.crc32(f"{path.parent.name}/{path.name} {size}".encode(errors="surrogateescape"), total)
    for index in _spaced(len(source), EXAMPLES if has_files(source) else WITHOUT_FILES):
        example = {name: np.asarray(value) for name, value in source[index].items()}
        total = zlib.crc32(of_arrays(example).encode(), total)
    return f"{total:08x}"


def has_files(source: Any) -> bool:
    """Whether a source has a file for each example."""
    return len(source) > 0 and _path(source, 0) is not None


def _spaced(total: int, most: int) -> list[int]:
    """At most `most` evenly spaced indices of 0 to total - 1, the first and the last among them."""
    return sorted({int(index) for index in np.linspace(0, total - 1, min(total, most)).round()})


def _path(source: Any, index: int) -> Path | None:
    """The file that an example is read from, where the source has one for each example."""
    if isinstance(source, Subset):
        return _path(source.source, int(source.indices[index]))
    if isinstance(source, Joined):
        first = len(source.first)
        return _path(source.first, index) if index < first else _path(source.second, index - first)
    paths = getattr(source, "paths", None)
    return None if paths is None else paths[index]


def _bytes(array: np.ndarray, total: int) -> int:
    """`total` gone on with all bytes of an array, in the order of its elements."""
    if array.dtype.hasobject:
        return zlib.crc32(repr(array.tolist()).encode(), total)
    if array.ndim == 0 or not array.size:
        return zlib.crc32(array.tobytes(), total)
    rows = max(1, CHUNK // max(1, array.nbytes // len(array)))
    for start in range(0, len(array), rows):  # in parts, as one that is not contiguous is copied
        part = np.ascontiguousarray(array[start : start + rows])
        total = zlib.crc32(part.reshape(-1).view(np.uint8).data, total)
    return total
