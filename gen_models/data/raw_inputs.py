"""Inputs that are not part of a data set, as arrays like those of a run's data: raw rows, images, sentences.

They come from files (`from_file`) or as values of JSON (`from_values`). What is wrong is told with its row, counted
from 1 on, its field and the reason; nothing is guessed. A word that no row for training has is no error: it counts as
missing, as it would in training, and stands in `Inputs.notes`.
"""

import base64
import binascii
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gen_models.data.access import DamagedExample
from gen_models.data.sentences import Words
from gen_models.data.tables import Prepared
from gen_models.data.tables.columns import arrays_of, unknown_words
from gen_models.data.tables.reading import ENDINGS, read_table

KINDS = ("tables", "images", "sentences")
MOST_FAULTS = 10  # of which an error tells
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


class Form(NamedTuple):
    """What an example of a run's data is."""

    kind: str  # one of `KINDS`
    shape: tuple[int, ...]  # of x, raw: (F,), (H, W, C) or (T,)
    levels: int  # of the pixels of images
    meaning: Any  # `Prepared`, `Words`, or what images have


class Fault(NamedTuple):
    """One thing that is wrong with the inputs."""

    row: int | None  # from 1 on; None: of all
    field: str
    why: str

    def told(self) -> str:
        """It as a phrase."""
        return (f"row {self.row}: " if self.row else "") + (f"{self.field!r} {self.why}" if self.field else self.why)


class BadInput(ValueError):
    """Inputs that cannot be taken, with all that was found, up to `MOST_FAULTS`."""

    def __init__(self, faults: Sequence[Fault]):
        super().__init__("; ".join(fault.told() for fault in faults))
        self.faults = tuple(faults)


class Inputs(NamedTuple):
    """Examples as arrays."""

    arrays: dict[str, np.ndarray]  # field -> [N, ...], as the run's data have them, without labels
    names: tuple[str, ...]  # of the examples: files; () where they have none
    notes: tuple[str, ...]  # what was taken otherwise than it stands there

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))


def from_file(path: Path, form: Form) -> Inputs:
    """A CSV or Parquet file of rows; an image, a folder of images, or `.npz` with uint8 `x`; a text of lines.

    Raises:
      ValueError: the file is missing, of another form, or holds what a run's model cannot take.
      ImportError: a library that reads it is missing.
    """
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder")
    if form.kind == "tables":
        return _rows_of_file(path, form.meaning)
    return _images_of(path, form) if form.kind == "images" else _sentences_of_file(path, form)


def from_values(values: Any, form: Form) -> Inputs:
    """A list from JSON: rows as objects of column and value, images as base64 of a file or nested lists, or texts.

    Raises:
      BadInput: with row, field and reason of each fault.
    """
    if not isinstance(values, list) or not values:
        raise BadInput([Fault(None, "", f"{_TAKEN[form.kind]} must stand in a list that is not empty")])
    if form.kind == "tables":
        return _rows(values, form.meaning)
    faults: list[Fault] = []
    read = _image if form.kind == "images" else _sentence
    found = [read(value, form, row, faults) for row, value in enumerate(values, 1)]
    if faults:
        raise BadInput(faults[:MOST_FAULTS])
    return Inputs({"x": np.stack(found)}, (), ())


_TAKEN = {"tables": "rows", "images": "images", "sentences": "texts"}


def _rows_of_file(path: Path, columns: Prepared) -> Inputs:
    if path.suffix not in ENDINGS:
        raise ValueError(f"{path}: rows are read from a CSV or a Parquet file ({' or '.join(ENDINGS)})")
    words = read_table(path).words
    arrays = arrays_of(words, path, columns, with_target=False)
    _refuse_gaps(arrays, columns)
    found = unknown_words(words, columns)
    return Inputs(arrays, (), tuple(_unknown(row + 1, name, word) for row, name, word in found))


def _unknown(row: int, name: str, word: str) -> str:
    return f"row {row}: {word!r} is none of the words of {name!r} for training, and counts as missing"


def _rows(rows: list[Any], columns: Prepared) -> Inputs:
    """Rows of JSON; this is the path of every request, so that there is one pass over the cells."""
    numeric, categorical = columns.numeric, [(name, _numbers_of(words)) for name, words in columns.categorical]
    known = {*numeric, *(name for name, _ in categorical)}
    x, numbers = np.empty((len(rows), len(numeric)), np.float32), np.zeros((len(rows), len(categorical)), np.int32)
    faults: list[Fault] = []
    notes: list[str] = []
    for row, cells in enumerate(rows, 1):
        if not isinstance(cells, dict):
            faults.append(Fault(row, "", f"a row is an object of column and value, got {_kind(cells)}"))
            continue
        if cells.keys() != known:
            faults += _wrong_columns(row, cells, known, columns.target)
        for index, name in enumerate(numeric):
            x[row - 1, index] = _number(cells.get(name), row, name, faults)
        for index, (name, words) in enumerate(categorical):
            word = cells.get(name)
            if word is None or word == "":
                continue
            if not isinstance(word, str):
                faults.append(Fault(row, name, f"must be a text or null, got {_kind(word)}"))
            elif word.strip() in words:
                numbers[row - 1, index] = words[word.strip()]
            else:
                notes.append(_unknown(row, name, word))
    if faults:
        raise BadInput(faults[:MOST_FAULTS])
    arrays = {"x": x, "mask": ~np.isnan(x)} | ({"categories": numbers} if categorical else {})
    _refuse_gaps(arrays, columns)
    return Inputs(arrays, (), tuple(notes))


def _numbers_of(words: Sequence[str]) -> dict[str, int]:
    return {word: index for index, word in enumerate(words, 1)}


def _wrong_columns(row: int, cells: Mapping[str, Any], known: set[str], target: str | None) -> Iterator[Fault]:
    for name in sorted(known - cells.keys()):
        yield Fault(row, name, "is missing: give its value, or null where it is not known")
    for name in cells:
        if name not in known and name != target:  # a target is passed over, so that rows of the data can be sent
            yield Fault(row, str(name)[:100], f"is no column of the model: it has {', '.join(sorted(known))}")


def _number(value: Any, row: int, name: str, faults: list[Fault]) -> float:
    """The number, NaN for null; faults get what is none."""
    if type(value) is float or type(value) is int:
        if -3.4e38 < value < 3.4e38:
            return value
        faults.append(Fault(row, name, f"must be a finite number in the range of float32, got {str(value)[:30]}"))
    elif value is not None:
        faults.append(Fault(row, name, f"must be a number or null, got {_kind(value)}"))
    return math.nan


def _refuse_gaps(arrays: Mapping[str, np.ndarray], columns: Prepared) -> None:
    """Of a model that was trained on complete rows alone, refuse others."""
    if columns.missing != "drop":
        return
    faults = [Fault(int(row) + 1, columns.numeric[at], _NEEDED) for row, at in np.argwhere(~arrays["mask"])]
    for row, at in np.argwhere(arrays.get("categories", np.ones((1, 1))) == 0):
        faults.append(Fault(int(row) + 1, columns.categorical[at][0], _NEEDED))
    if faults:
        raise BadInput(sorted(faults)[:MOST_FAULTS])


_NEEDED = "is missing or unknown, and the model was trained on complete rows alone: fill it"


def _images_of(path: Path, form: Form) -> Inputs:
    if path.suffix == ".npz":
        return _images_of_archive(path, form)
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.suffix.lower() in IMAGE_ENDINGS)
    if not files:
        raise ValueError(f"{path} has no images ({', '.join(IMAGE_ENDINGS)})")
    pixels = []
    for file in files:
        try:
            pixels.append(_decoded(file, form))
        except DamagedExample as error:
            raise ValueError(str(error)) from None
        _check_image(pixels[-1], form, str(file))
    names = tuple(str(file.relative_to(path)) if path.is_dir() else file.name for file in files)
    return Inputs({"x": np.stack(pixels)}, names, ())


def _images_of_archive(path: Path, form: Form) -> Inputs:
    try:
        with np.load(path, allow_pickle=False) as archive:
            name = next((name for name in ("x", "image", "images") if name in archive.files), None)
            if name is None:
                raise ValueError(f"{path} has the arrays {', '.join(archive.files)}: name the images x")
            pixels = archive[name]
    except (OSError, EOFError) as error:
        raise ValueError(f"{path} is no .npz file that can be read ({error})") from None
    if pixels.ndim == 3 and form.shape[-1] == 1:
        pixels = pixels[..., None]
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or not len(pixels):
        raise ValueError(f"{path}: {name} must be uint8 [N, H, W, C], got {pixels.dtype} {list(pixels.shape)}")
    _check_image(pixels[0], form, str(path))
    if pixels.max() >= form.levels:
        raise ValueError(f"{path}: a pixel is {pixels.max()}, but the data for training have {form.levels} levels")
    return Inputs({"x": pixels}, (), ())


def _decoded(file: Path | bytes, form: Form) -> np.ndarray:
    """An image as uint8 [H, W, C], as many channels as the model's."""
    from gen_models.data.images import decode  # Pillow is wanted for images alone

    pixels = decode(file, "L" if form.shape[-1] == 1 else "RGB")
    return pixels if form.levels == 256 else (pixels.astype(int) * form.levels // 256).astype(np.uint8)


def _check_image(pixels: np.ndarray, form: Form, what: str) -> None:
    if pixels.shape != form.shape:
        given, wanted = ("x".join(map(str, shape)) for shape in (pixels.shape, form.shape))
        raise ValueError(f"{what} is {given}, and the model takes images of {wanted}: resize it")


def _image(value: Any, form: Form, row: int, faults: list[Fault]) -> np.ndarray:
    """An image of JSON: base64 of a file, or nested lists of whole numbers [H, W] or [H, W, C]."""
    try:
        if isinstance(value, str):
            pixels = _decoded(base64.b64decode(value, validate=True), form)
        else:
            pixels = np.asarray(value)
            pixels = pixels[..., None] if pixels.ndim == 2 else pixels
            if pixels.dtype.kind not in "iu" or (pixels < 0).any() or (pixels >= form.levels).any():
                raise ValueError(f"pixels must be whole numbers from 0 to {form.levels - 1}")
        _check_image(pixels, form, "the image")
        return pixels.astype(np.uint8)
    except (ValueError, OverflowError, binascii.Error) as error:  # DamagedExample is a ValueError
        faults.append(Fault(row, "", str(error).splitlines()[0]))
        return np.zeros(form.shape, np.uint8)


def _sentences_of_file(path: Path, form: Form) -> Inputs:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error}): convert it") from None
    if not lines:
        raise ValueError(f"{path} has no lines: give a sentence on each")
    return from_values(lines, form)


def _sentence(value: Any, form: Form, row: int, faults: list[Fault]) -> np.ndarray:
    tokens = np.zeros(form.shape, np.int32)
    if not isinstance(value, str) or not value.split():
        faults.append(
            Fault(row, "", "a text must have a word" if isinstance(value, str) else f"a text, got {_kind(value)}")
        )
        return tokens
    meaning: Words = form.meaning
    own = meaning.encode(value)[: len(tokens)]
    tokens[: len(own)] = own
    return tokens


def _kind(value: Any) -> str:
    """A value's kind in the words of JSON, with the value where it is short."""
    name = {str: "the text", bool: "the truth value", int: "the number", float: "the number", list: "a list"}
    word = name.get(type(value), "null" if value is None else "an object")
    return f"{word} {value!r}" if isinstance(value, str | bool | int | float) and len(repr(value)) <= 40 else word
