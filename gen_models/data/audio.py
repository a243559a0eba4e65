"""Sound: `audio:PATH?length=8000&label=digit`.

- PATH is a folder of `.wav` files, 16 bits, one channel, one rate, in sub-folders that name their classes, laid out as
  `listing.py` says;
- or an `.npz` with `audio` int16 [T], `offset` [N + 1], where clip i is audio[offset[i]:offset[i + 1]], and labels
  `digit`, `label`, or what `label=` names, and perhaps `rate`, samples a second. Where it has `take`, takes 0 to 4 are
  `test`, as is customary for the Free Spoken Digit Dataset; else a tenth, drawn by a fixed permutation.

An example is `{"x": int16 [T], "y": int32 [], "length": int32 []}`. T is the longest clip of all splits, or `length`:
shorter clips end in zeros, of longer ones the beginning is kept, and the field `length` tells how many samples count.
The samples stay int16; `transforms.to_waveform` makes them float32 in [-1, 1), and is the default.
"""

import os
import wave
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from gen_models.data.access import DamagedExample, Example, mixed, tenth, within
from gen_models.data.damage import left_out, whole
from gen_models.data.dataset import Arrays, Origin
from gen_models.data.listing import Found, class_numbers, classes_of, find_splits, with_test
from gen_models.data.names import shown

UNKNOWN = (
    0x7FFFF000  # bytes: a program that writes to a pipe states about as many, or twice, as it does not know better
)
TEST_TAKES = 5  # of each speaker and digit: the customary test set of the Free Spoken Digit Dataset


class Sound(NamedTuple):
    """What the samples of sounds mean."""

    rate: int | None  # samples a second; None where the file does not say
    classes: tuple[str, ...] | None  # their names, where they have some


class Clips:
    """Clips of one long array, as a random-access source."""

    def __init__(self, audio: np.ndarray, offset: np.ndarray, labels: np.ndarray, length: int):
        self.audio, self.offset, self.labels, self.length = audio, offset, labels, length

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        begin, end = self.offset[index]
        return _example(self.audio[begin:end], self.labels[index], self.length)


class Waves:
    """WAV files, as a random-access source."""

    def __init__(self, paths: Sequence[Path], labels: np.ndarray, length: int):
        self.paths, self.labels, self.length = paths, labels, length

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Example:
        return _example(read_wave(self.paths[index])[0], self.labels[index], self.length)


def audio_origin(path: Path, options: Mapping[str, str], limit: int, damaged: str = "stop") -> Origin:
    """The splits of a folder or an archive of sound; those of at most `limit` bytes are in memory.

    Raises:
      DamagedExample: files are no sounds or end too early, unless `damaged` is "skip" and these are left out.
      ValueError: no such file, files of other forms or several rates, or bad options.
    """
    length = options.get("length")
    if length is not None and (not length.isdecimal() or int(length) < 1):
        raise ValueError(f"length={length} of audio must be a whole number of samples, 1 or more")
    if path.suffix.lower() == ".npz":
        return _archive(path, options.get("label"), length, limit)
    if "label" in options:
        raise ValueError(
            f"audio:{path}: label={options['label']} is for an .npz: a folder's classes are its sub-folders"
        )
    listing = find_splits(path, (".wav",), "audio", "sounds")
    heads: dict[Path, tuple[int, int]] = {}
    found, faults = whole(listing.splits, lambda file: heads.update({file.path: _header(file.path)}), damaged)
    rates = {rate: file for file, (rate, _) in reversed(heads.items())}
    if len(rates) > 1:
        (one, first), (other, second), *_ = rates.items()
        raise ValueError(
            f"{shown(first)} has {one} samples a second and {shown(second)} has {other}: resample them to one rate"
        )
    classes = classes_of(found)
    (rate,) = rates
    longest = max(heads[file.path][1] for files in found.values() for file in files)
    found = with_test(found, listing.official, lambda file: file.fraction)

    def read(files: Sequence[Found]) -> Any:
        return within(limit, Waves([f.path for f in files], class_numbers(files, classes), int(length or longest)))

    splits = {split: partial(read, files) for split, files in found.items()}
    meaning = Sound(rate, tuple(map(shown, classes)) or None)
    passed_over = (*listing.passed_over, *left_out(faults))
    return Origin(
        splits,
        len(classes) or None,
        f"sounds in {shown(path)}",
        kind="audio",
        meaning=meaning,
        check=_check,
        passed_over=passed_over,
        drawn=() if listing.official else ("test",),
    )


def read_wave(path: Path) -> tuple[np.ndarray, int]:
    """The samples int16 [T] of a WAV file, and their rate in samples a second.

    Raises:
      DamagedExample: the file cannot be read, is no WAV file, is empty, or ends before its header says.
      ValueError: it has other than 16 bits or several channels.
    """
    rate, count = _header(path)
    try:
        with path.open("rb") as raw, wave.open(raw) as file:
            return np.frombuffer(file.readframes(count), "<i2").astype(np.int16), rate
    except (wave.Error, EOFError, OSError) as error:
        raise DamagedExample(f"{shown(path)} cannot be read ({error})") from error


def _header(path: Path) -> tuple[int, int]:
    """The rate and the number of samples of a WAV file, without reading the samples."""
    try:
        with path.open("rb") as raw, wave.open(raw) as file:
            bits, channels = 8 * file.getsampwidth(), file.getnchannels()
            rate, count = file.getframerate(), file.getnframes()
            there = (os.fstat(raw.fileno()).st_size - raw.tell()) // max(1, file.getsampwidth() * channels)
    except (wave.Error, EOFError, OSError) as error:
        raise DamagedExample(f"{shown(path)} is no WAV file of plain samples ({error})") from error
    if bits != 16 or channels != 1:
        raise ValueError(
            f"{shown(path)} has {bits} bits and {channels} channels: convert it to 16 bits and one channel"
        )
    if there < count < UNKNOWN // 2:
        raise DamagedExample(f"{shown(path)} ends after {there} of {count} samples")
    count = min(there, count)
    if not count:
        raise DamagedExample(f"{shown(path)} is empty")
    return rate, count


def _archive(path: Path, label: str | None, length: str | None, limit: int) -> Origin:
    """The splits of an `.npz` of sound; see the top of this file."""
    if not path.is_file():
        raise ValueError(f"audio:{path}: there is no such file")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (BadZipFile, ValueError, OSError, EOFError, AttributeError) as error:
        raise ValueError(f"{path} is not an .npz archive of plain arrays ({error}): make it with np.savez") from None
    if not {"audio", "offset"} <= set(arrays):
        raise ValueError(f"{path} has the arrays {', '.join(arrays)}: audio and offset are needed")
    audio, offset = arrays["audio"], arrays["offset"]
    whole = offset.ndim == 1 and len(offset) > 1 and offset.dtype.kind in "iu" and (np.diff(offset) > 0).all()
    if audio.dtype != np.int16 or audio.ndim != 1 or not whole or offset[0] != 0 or offset[-1] != len(audio):
        raise ValueError(f"{path}: offset must rise from 0 to the length of audio, which must be int16 [T]")
    total = len(offset) - 1
    name = label or next((name for name in ("digit", "label") if name in arrays), None)
    labels = np.zeros(total, np.int32) if name is None else arrays.get(name)
    if labels is None or labels.shape != (total,) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise ValueError(f"{path}: {name!r} must be labels from 0 on, [{total}]; it has {', '.join(arrays)}")
    if "take" in arrays:
        test = arrays["take"] < TEST_TAKES
        order = mixed(total)  # such archives are sorted by class
        chosen = {"train": order[~test[order]], "test": order[test[order]]}
    else:
        chosen = {split: tenth(total, split) for split in ("train", "test")}
    spans = np.stack([offset[:-1], offset[1:]], 1).astype(np.int64)
    size = int(length or np.diff(offset).max())
    labels = labels.astype(np.int32)
    splits = {s: partial(within, limit, Clips(audio, spans[where], labels[where], size)) for s, where in chosen.items()}
    classes = None if name is None else int(labels.max()) + 1
    note = f"sounds in {path}, labelled by {name}" if name else f"sounds in {path}"
    drawn = () if "take" in arrays else ("test",)
    rate = arrays.get("rate")
    if rate is not None and (rate.shape != () or rate.dtype.kind not in "iu" or rate < 1):
        raise ValueError(f"{path}: rate must be one whole number of samples a second, got {rate}")
    meaning = Sound(None if rate is None else int(rate), None)
    return Origin(splits, classes, note, kind="audio", meaning=meaning, check=_check, drawn=drawn)


def _example(samples: np.ndarray, label: np.ndarray | np.integer, length: int) -> Example:
    """One clip, cut or filled up with zeros to `length` samples."""
    x = np.zeros(length, np.int16)
    count = min(length, len(samples))
    x[:count] = samples[:count]
    return {"x": x, "y": np.int32(label), "length": np.int32(count)}


def _check(arrays: Arrays, name: str, origin: Origin) -> dict[str, np.ndarray]:
    return dict(arrays)
