"""Polyphonic music as piano rolls: `rolls:PATH?length=128&per_beat=4`.

- PATH is a `.mat` file with `traindata`, `validdata` and `testdata`, cells of rolls [T, 88] of zeros and ones, as the
  data of Boulanger-Lewandowski et al. (2012) are handed on;
- or a folder of MIDI files, laid out as `listing.py` says, of which each beat becomes `per_beat` rows (`midi.py`).

A piece is cut to windows of `length` rows; the last one is filled up with silence, and `length` of the example tells
how many rows count. An example is `{"x": uint8 [T, 88], "y": uint8 [T, 88], "length": int32 [], "start": bool []}`:
y[t] is the row that follows x[t], and a piece follows a row of silence. `start` says that no window of the piece goes
before this one, for batches that go on where those before ended (`contiguous`). Windows come in the pieces' order.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gen_models.data.access import DamagedExample, Example, within
from gen_models.data.damage import left_out, whole
from gen_models.data.dataset import Arrays, Origin
from gen_models.data.listing import find_splits, with_test
from gen_models.data.midi import KEYS, PER_BEAT, read_midi
from gen_models.data.names import shown

LENGTH = 128  # rows of a window
CELLS = {"train": "traindata", "validation": "validdata", "test": "testdata"}


class Rolls:
    """Windows of pieces, as a random-access source."""

    def __init__(self, pieces: Sequence[np.ndarray], length: int):
        self.pieces, self.length = pieces, length
        windows = [-(-len(piece) // length) for piece in pieces]  # of each piece, rounded up
        self.piece = np.repeat(np.arange(len(pieces)), windows)
        self.begin = np.concatenate([length * np.arange(count) for count in windows])

    def __len__(self) -> int:
        return len(self.piece)

    def __getitem__(self, index: int) -> Example:
        piece, begin = self.pieces[self.piece[index]], int(self.begin[index])
        rows = np.zeros((self.length + 1, piece.shape[1]), np.uint8)  # the row before the window, then the window
        if begin:
            rows[0] = piece[begin - 1]
        found = piece[begin : begin + self.length]
        rows[1 : len(found) + 1] = found
        return {"x": rows[:-1], "y": rows[1:], "length": np.int32(len(found)), "start": np.bool_(begin == 0)}


def roll_windows(pieces: Sequence[np.ndarray], length: int = LENGTH) -> dict[str, np.ndarray]:
    """The windows of rolls [T, K] as arrays, for `Splits.of_arrays`: "x", "y", "length" and "start", as above.

    Raises:
      ValueError: there is no piece, one is empty or no roll of zeros and ones, or `length` is not positive.
    """
    if length < 1:
        raise ValueError(f"length must be 1 row or more, got {length}")
    if not len(pieces):
        raise ValueError("there is no piece of music: give one or more rolls [T, K]")
    pieces = [_checked(piece, f"piece {index}", None) for index, piece in enumerate(pieces)]
    source = Rolls(pieces, length)
    examples = [source[index] for index in range(len(source))]
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


def rolls_origin(path: Path, options: Mapping[str, str], limit: int, damaged: str = "stop") -> Origin:
    """The splits of a `.mat` file of rolls, or of a folder of MIDI files.

    Raises:
      DamagedExample: MIDI files cannot be read, unless `damaged` is "skip" and these are left out.
      ValueError: no such file, one of another form, or bad options.
    """
    length, per_beat = (_count(options, name, most) for name, most in (("length", LENGTH), ("per_beat", PER_BEAT)))
    if path.suffix.lower() == ".mat":
        if "per_beat" in options:
            raise ValueError(f"rolls:{path}: per_beat={options['per_beat']} is for MIDI files: its rows are given")
        return _origin(_of_mat(path), length, limit, f"piano rolls of {shown(path)}")
    listing = find_splits(path, (".mid", ".midi"), "rolls", "MIDI files")
    rolls: dict[Path, np.ndarray] = {}
    found, faults = whole(
        listing.splits, lambda file: rolls.update({file.path: read_midi(file.path, per_beat)}), damaged
    )
    found = with_test(found, listing.official, lambda file: file.fraction)
    pieces = {split: [rolls[file.path] for file in files] for split, files in found.items()}
    origin = _origin(pieces, length, limit, f"MIDI files in {shown(path)}, {per_beat} rows a beat")
    return origin._replace(
        passed_over=(*listing.passed_over, *left_out(faults)), drawn=() if listing.official else ("test",)
    )


def _origin(pieces: Mapping[str, Sequence[np.ndarray]], length: int, limit: int, note: str) -> Origin:
    splits = {split: partial(within, limit, Rolls(own, length)) for split, own in pieces.items()}
    return Origin(splits, None, note, kind="rolls", check=_check)


def _of_mat(path: Path) -> dict[str, list[np.ndarray]]:
    """Split -> rolls of a `.mat` file."""
    if not path.is_file():
        raise ValueError(f"rolls:{path}: there is no such file")
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        found = loadmat(path)
    except (MatReadError, NotImplementedError, ValueError, TypeError, OSError) as error:
        raise DamagedExample(f"{shown(path)} is no MATLAB file of version 5 ({error})") from error
    lacking = [name for name in CELLS.values() if name not in found]
    if lacking:
        raise ValueError(f"{shown(path)} lacks {', '.join(lacking)}: it must have {', '.join(CELLS.values())}")
    return {
        split: [
            _checked(piece, f"{shown(path)}, {name}[{index}]", KEYS) for index, piece in enumerate(found[name].flat)
        ]
        for split, name in CELLS.items()
    }


def _checked(piece: Any, where: str, keys: int | None) -> np.ndarray:
    """A roll as uint8.

    Raises:
      ValueError: it is empty, or no roll of zeros and ones.
    """
    piece = np.asarray(piece)
    if piece.ndim != 2 or 0 in piece.shape or (keys is not None and piece.shape[1] != keys):
        raise ValueError(f"{where} must be a roll [T, {keys or 'K'}], got {list(piece.shape)}")
    if piece.dtype.kind not in "buif" or not np.isin(piece, (0, 1)).all():
        raise ValueError(f"{where} must have zeros and ones alone")
    return piece.astype(np.uint8)


def _count(options: Mapping[str, str], name: str, default: int) -> int:
    text = options.get(name, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{name}={text} of rolls must be a whole number of 1 or more")
    return int(text)


def _check(arrays: Arrays, name: str, origin: Origin) -> dict[str, np.ndarray]:
    return dict(arrays)
