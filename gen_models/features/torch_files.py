"""Reads weights that PyTorch has saved, without PyTorch, and without running what a file says.

A `.pth` file holds a pickle, and unpickling calls whatever functions the pickle names. Here it may name what a mapping
from names to tensors needs, and nothing else: OrderedDict, the kinds of storages, and the two functions that make
tensors of them, in whose place stand methods of our own. Anything else is refused by its name, before it is imported.

Two forms: since PyTorch 1.6 a zip archive with `data.pkl` and a file for each storage; before, pickles one behind the
other, then each storage's number of elements (int64) and its bytes.
"""

import collections
import math
import pickle
import struct
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C  # with which the older form begins
_PROTOCOL = 1001  # its only version
_KINDS: Mapping[str, np.dtype] = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
# What Python raises while it reads pickles, archives and numbers that are damaged or are none.
_DAMAGE = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, struct.error, EOFError, MemoryError, RecursionError),
    *(AttributeError, IndexError, KeyError, TypeError, NotImplementedError, OverflowError),
)


class RefusedFile(ValueError):
    """A file holds or names something that a mapping from names to tensors does not."""


class _Kind(NamedTuple):
    """Stands for a class of storages."""

    dtype: np.dtype


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype
    elements: int


class _Tensor(NamedTuple):
    """A tensor whose storage has not been read yet."""

    storage: _Storage
    offset: int  # elements
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # elements


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a file that `torch.save` wrote of a mapping from names to tensors, such as a `state_dict`.

    Args:
      path: the file, of either form.

    Returns:
      Name -> array of the tensor's shape and type, in the file's order. A `Parameter` is its tensor; where it lay, and
      whether it had a gradient, is passed over.

    Raises:
      OSError: there is no such file, or it cannot be read.
      RefusedFile: it holds something else, or names a function or a class other than those that tensors need.
      ValueError: it is damaged.
    """
    path = Path(path)
    with path.open("rb") as file:
        try:
            found, storages = _read_archive(file) if zipfile.is_zipfile(file) else _read_pickles(file)
            return {name: _array(tensor, storages) for name, tensor in found.items()}
        except RefusedFile as error:
            raise RefusedFile(f"{path} is refused: {error}") from None
        except (ValueError, *_DAMAGE) as error:
            raise ValueError(
                f"{path} is damaged, or no file that PyTorch saved ({error or type(error).__name__}): fetch it anew"
            ) from error


class _Unpickler(pickle.Unpickler):
    """Loads what a mapping of tensors needs, and names whatever else is asked for."""

    def find_class(self, module: str, name: str) -> Any:
        # Nothing that is returned here can be changed by the pickle, which may set attributes: a built-in class, tuples
        # and bound methods.
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch" and name in _KINDS:
            return _Kind(_KINDS[name])
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return self._parameter
        raise RefusedFile(
            f"it names {module}.{name}, which no mapping of tensors needs and which could do anything: use a file "
            "from a source that you trust, that holds a state_dict alone"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        word, kind, key, _, count, *view = pid
        if word != "storage" or not isinstance(kind, _Kind) or not _is_size(count) or any(view):
            raise pickle.UnpicklingError(f"a storage is told of as {pid!r:.200}")
        return _Storage(str(key), kind.dtype, count)

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
        sizes = (offset, *shape, *strides)
        if not isinstance(storage, _Storage) or len(shape) != len(strides) or not all(map(_is_size, sizes)):
            raise pickle.UnpicklingError("a tensor has no storage, or sizes that are none")
        return _Tensor(storage, offset, tuple(shape), tuple(strides))

    def _parameter(self, tensor: Any, *_: Any) -> Any:
        return tensor


_Read = tuple[Any, dict[str, tuple[np.ndarray, np.dtype]]]  # what was pickled, and by key its storages with their types


def _read_archive(file: IO[bytes]) -> _Read:
    with zipfile.ZipFile(file) as archive:
        (pickled,) = (name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl")
        folder = pickled.removesuffix("data.pkl")
        with archive.open(pickled) as stream:
            found = _Unpickler(stream, encoding="utf-8").load()
        words = archive.read(f"{folder}byteorder") if f"{folder}byteorder" in archive.namelist() else b"little"
        storages = {}
        for each in _storages_of(found):
            size = archive.getinfo(f"{folder}data/{each.key}").file_size
            if size != each.elements * each.dtype.itemsize:
                raise EOFError(f"storage {each.key} has {size} bytes")
            storages[each.key] = _values(archive.read(f"{folder}data/{each.key}"), each.dtype, words == b"little")
    return found, storages


def _read_pickles(file: IO[bytes]) -> _Read:
    file.seek(0)
    magic, protocol, system = (_Unpickler(file).load() for _ in range(3))
    if magic != _MAGIC or protocol != _PROTOCOL:
        raise pickle.UnpicklingError("it does not begin as such a file does")
    found = _Unpickler(file, encoding="utf-8").load()
    keys = _Unpickler(file).load()
    told = {each.key: each for each in _storages_of(found)}
    storages = {}
    for key in map(str, keys):
        (count,) = struct.unpack("<q", file.read(8))
        if key in told and count != told[key].elements:
            raise EOFError(f"storage {key} has {count} elements")
        dtype = told[key].dtype
        content = file.read(count * dtype.itemsize)
        if len(content) != count * dtype.itemsize:
            raise EOFError(f"storage {key} ends early")
        storages[key] = _values(content, dtype, system["little_endian"])
    return found, storages


def _storages_of(found: Any) -> list[_Storage]:
    """The storages of a mapping's tensors, each once.

    Raises:
      RefusedFile: it is no such mapping.
    """
    if not isinstance(found, Mapping):
        raise RefusedFile(f"it holds a {type(found).__name__}, and weights are a mapping from names to tensors")
    others = [name for name, value in found.items() if not (isinstance(value, _Tensor) and isinstance(name, str))]
    if others:
        raise RefusedFile(
            f"it holds entries that are no tensors with a name, the first {others[0]!r}: save a state_dict"
        )
    return list({each.storage.key: each.storage for each in found.values()}.values())


def _values(content: bytes, dtype: np.dtype, little: bool) -> tuple[np.ndarray, np.dtype]:
    values = np.frombuffer(content, dtype)
    return (values if little == (sys.byteorder == "little") else values.byteswap()), dtype


def _array(tensor: _Tensor, storages: Mapping[str, tuple[np.ndarray, np.dtype]]) -> np.ndarray:
    """The tensor as an array of its own; it must not reach beyond its storage."""
    values, dtype = storages[tensor.storage.key]
    if dtype != tensor.storage.dtype:
        raise TypeError(f"storage {tensor.storage.key} has two types")
    if 0 in tensor.shape:
        return np.empty(tensor.shape, dtype)
    last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.strides, strict=True))
    if last >= len(values) or math.prod(tensor.shape) > len(values):
        raise IndexError(f"a tensor reaches beyond storage {tensor.storage.key}")
    strides = [step * dtype.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, strides).copy()


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
