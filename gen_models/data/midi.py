"""MIDI files as piano rolls and back, by mido.

A roll is uint8 [T, 88]: whether each key of a piano (MIDI's notes 21, the lowest A, to 108) sounds in each row. A row
lasts one `per_beat`-th of a beat. A file keeps when notes begin; a roll does not, so that a note that is struck again
in the next row becomes one long note.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Real

from gen_models.data.access import DamagedExample
from gen_models.data.names import shown

KEYS, LOWEST = 88, 21
PER_BEAT = 4  # rows of a beat: sixteenths, where a beat is a quarter
DRUMS = 9  # the channel whose notes are no pitches
Roll = Real[np.ndarray, "t k"]


def read_midi(path: Path, per_beat: int = PER_BEAT) -> np.ndarray:
    """The roll uint8 [T, 88] of all tracks; notes are moved to the nearest rows, and none is shorter than one.

    Drums, and notes outside of a piano's keys, are left out.

    Raises:
      DamagedExample: the file is no MIDI file, or has no note.
      ValueError: mido is not installed, or `per_beat` is not positive.
    """
    mido = _mido()
    _check_per_beat(per_beat)
    try:
        file = mido.MidiFile(path)
    except (OSError, EOFError, ValueError, KeyError, IndexError) as error:
        raise DamagedExample(f"{shown(path)} is no MIDI file ({error or type(error).__name__})") from error
    notes = [note for track in file.tracks for note in _notes(track)]
    if not notes:
        raise DamagedExample(f"{shown(path)} has no note of a piano's keys")
    rows = np.array(notes, np.float64)[:, :2] * per_beat / file.ticks_per_beat
    begins = np.rint(rows[:, 0]).astype(int)
    ends = np.maximum(np.rint(rows[:, 1]).astype(int), begins + 1)
    roll = np.zeros((ends.max(), KEYS), np.uint8)
    for begin, end, (_, _, key) in zip(begins, ends, notes, strict=True):
        roll[begin:end, key] = 1
    return roll


def write_midi(roll: Roll, path: Path, *, per_beat: int = PER_BEAT, tempo: float = 90.0) -> Path:
    """Write a roll [T, 88] as a MIDI file of one track; a key that sounds in rows on end is one note.

    Args:
      roll: whether each key sounds in each row.
      path: the file.
      per_beat: rows of a beat.
      tempo: beats a minute.

    Raises:
      ValueError: mido is not installed, the roll has another shape, or a number is not positive.
    """
    mido = _mido()
    _check_per_beat(per_beat)
    roll = np.asarray(roll).astype(bool)
    if roll.ndim != 2 or roll.shape[1] != KEYS:
        raise ValueError(f"a roll is [T, {KEYS}], got {list(roll.shape)}")
    if not tempo > 0:
        raise ValueError(f"tempo must be positive beats a minute, got {tempo}")
    file = mido.MidiFile(ticks_per_beat=120 * per_beat)  # 120 ticks a row
    track = mido.MidiTrack()
    file.tracks.append(track)
    track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo)))
    silence = np.zeros((1, KEYS), bool)
    change = np.diff(np.concatenate([silence, roll, silence]).astype(np.int8), axis=0)
    told = 0  # the row of the last message
    for row in range(len(change)):
        ended, begun = np.flatnonzero(change[row] < 0), np.flatnonzero(change[row] > 0)
        for kind, keys in (("note_off", ended), ("note_on", begun)):
            for key in keys:
                track.append(mido.Message(kind, note=LOWEST + int(key), velocity=64, time=120 * (row - told)))
                told = row
    file.save(path)
    return Path(path)


def has_mido() -> bool:
    """Whether mido is installed."""
    try:
        _mido()
    except ValueError:
        return False
    return True


def _notes(track: Any) -> list[tuple[int, int, int]]:
    """Begin and end in ticks, and key, of each note of a track."""
    now = 0
    sounding: dict[tuple[int, int], int] = {}  # channel and note -> when it began
    found = []
    for message in track:
        now += message.time
        if message.type not in ("note_on", "note_off") or message.channel == DRUMS:
            continue
        which = message.channel, message.note
        begun = sounding.pop(which, None)  # a note that is struck while it sounds ends, and begins again
        key = message.note - LOWEST
        if begun is not None and 0 <= key < KEYS:
            found.append((begun, now, key))
        if message.type == "note_on" and message.velocity > 0:
            sounding[which] = now
    return found


def _check_per_beat(per_beat: int) -> None:
    if per_beat < 1:
        raise ValueError(f"per_beat must be 1 row or more, got {per_beat}")


def _mido() -> Any:
    try:
        import mido
    except ImportError:
        raise ValueError("MIDI files need mido: pip install 'gen_models[music]'") from None
    return mido
