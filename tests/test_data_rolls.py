"""Piano rolls: windows give their pieces again, MIDI files keep them, and generated chords have the entropy stated."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from gen_models.data import chords, midi
from gen_models.data.access import DamagedExample
from gen_models.data.batching import batches
from gen_models.data.rolls import roll_windows
from gen_models.data.sources import load

LENGTHS = (5, 9, 4, 12)


def _pieces(seed=0, lengths=LENGTHS, keys=88):
    rng = np.random.default_rng(seed)
    return [(rng.random((length, keys)) < 0.1).astype(np.uint8) for length in lengths]


def _rebuilt(windows):
    """The pieces of windows, from what follows each row."""
    found = []
    for y, length, start in zip(windows["y"], windows["length"], windows["start"], strict=True):
        assert not y[length:].any()
        if start:
            found.append(y[:length])
        else:
            found[-1] = np.concatenate([found[-1], y[:length]])
    return found


def _cells(pieces):
    cells = np.empty((1, len(pieces)), object)
    cells[0] = pieces
    return cells


@pytest.mark.parametrize("length", [1, 4, 20])
def test_windows_are_their_pieces_and_each_row_follows_the_one_before(length):
    pieces = _pieces()
    windows = roll_windows(pieces, length)
    for got, want in zip(_rebuilt(windows), pieces, strict=True):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(windows["x"][:, 1:], windows["y"][:, :-1])
    assert not windows["x"][windows["start"], 0].any()  # a piece follows silence
    inner = np.flatnonzero(~windows["start"])
    np.testing.assert_array_equal(windows["x"][inner, 0], windows["y"][inner - 1, -1])


def test_a_mat_file_has_its_own_splits_and_its_windows_go_on_in_batches(tmp_path):
    own = {name: _pieces(seed) for seed, name in enumerate(("traindata", "validdata", "testdata"))}
    savemat(tmp_path / "music.mat", {name: _cells(pieces) for name, pieces in own.items()})
    for split, name in (("train", "traindata"), ("validation", "validdata"), ("test", "testdata")):
        found = load(f"rolls:{tmp_path}/music.mat?length=4", split)
        assert (found.kind, found.shape, found.num_classes) == ("rolls", (4, 88), None)
        for got, want in zip(_rebuilt(found.arrays), own[name], strict=True):
            np.testing.assert_array_equal(got, want)
    train = load(f"rolls:{tmp_path}/music.mat?length=4", "train")
    going = batches(train, 2, contiguous=True)
    rows = [going.make(going.data, {k: v[0] for k, v in going.rows(step, 1).items()}, None) for step in range(3)]
    assert rows[0]["start"].all()
    for before, after in pairwise(rows):
        on = ~np.asarray(after["start"])
        np.testing.assert_array_equal(np.asarray(after["x"])[on, 0], np.asarray(before["y"])[on, -1])
    loose = batches(train, 2)
    assert "start" not in loose.make(loose.data, loose.rows(0, 1)[0], None)


def test_midi_files_keep_a_roll(tmp_path):
    pytest.importorskip("mido")
    for index, roll in enumerate(_pieces()):
        roll[-1, index] = 1  # a file does not tell of silence at its end
        path = midi.write_midi(roll, tmp_path / f"{index}.mid", per_beat=3)
        np.testing.assert_array_equal(midi.read_midi(path, per_beat=3), roll)
        coarse = midi.read_midi(path, per_beat=1)
        assert abs(len(coarse) - len(roll) / 3) <= 1
    for index in range(4, 20):
        midi.write_midi(_pieces(index)[0], tmp_path / f"{index}.mid")
    found = load(f"rolls:{tmp_path}?length=4&per_beat=4", "train")
    assert found.arrays["y"].any() and found.shape == (4, 88)
    (tmp_path / "3.mid").write_bytes(b"MThd")
    with pytest.raises(DamagedExample, match=r"3\.mid is no MIDI file"):
        load(f"rolls:{tmp_path}", "train")
    assert "1 damaged" in " ".join(load(f"rolls:{tmp_path}", "train", damaged="skip").passed_over)


def test_notes_of_a_midi_file_that_another_wrote(tmp_path):
    """Two tracks, a note that ends by a velocity of 0, one struck while it sounds, drums, and one below a piano."""
    mido = pytest.importorskip("mido")
    file = mido.MidiFile(ticks_per_beat=100)
    one, two = mido.MidiTrack(), mido.MidiTrack()
    file.tracks += [one, two]
    one.append(mido.Message("note_on", note=60, velocity=90, time=0))
    one.append(mido.Message("note_on", note=60, velocity=90, time=100))  # struck again
    one.append(mido.Message("note_on", note=60, velocity=0, time=100))
    one.append(mido.Message("note_on", note=64, velocity=90, time=0))
    one.append(mido.Message("note_off", note=64, time=10))  # shorter than a row
    two.append(mido.Message("note_on", channel=9, note=40, velocity=90, time=0))
    two.append(mido.Message("note_off", channel=9, note=40, time=400))
    two.append(mido.Message("note_on", note=20, velocity=90, time=0))
    two.append(mido.Message("note_off", note=20, time=100))
    file.save(tmp_path / "made.mid")
    roll = midi.read_midi(tmp_path / "made.mid", per_beat=2)
    want = np.zeros((5, 88), np.uint8)
    want[:4, 60 - 21] = 1
    want[4, 64 - 21] = 1
    np.testing.assert_array_equal(roll, want)


def test_generated_chords_are_triads_that_follow_each_other_as_often_as_is_said():
    pieces = np.stack(chords.chord_progressions(3000, 3, chords=8))
    held = pieces.reshape(3000, 8, chords.HOLD, 88)
    assert (held == held[:, :, :1]).all() and (held.sum(-1) == 3).all()
    known = chords.triads().reshape(-1, 88)
    which = (held[:, :, 0, None] == known).all(-1).argmax(-1)  # degree and position
    np.testing.assert_array_equal(known[which], held[:, :, 0])
    degree = which // chords.POSITIONS
    counts = np.zeros((7, 7))
    np.add.at(counts, (degree[:, :-1].ravel(), degree[:, 1:].ravel()), 1)
    assert not counts[chords.FOLLOWS == 0].any()
    shares = counts / counts.sum(1, keepdims=True)
    assert np.abs(shares - chords.FOLLOWS).max() < 0.05
    np.testing.assert_allclose(np.bincount(degree[:, 0], minlength=7) / 3000, chords.stationary(), atol=0.03)
    often = chords.stationary()
    np.testing.assert_allclose(often @ chords.FOLLOWS, often, atol=1e-12)
    # The mean of -log p of the drawn pieces, of which the entropy is the expectation.
    log_p = np.log(often[degree[:, 0]]) + np.log(chords.FOLLOWS[degree[:, :-1], degree[:, 1:]]).sum(1)
    nats = (8 * np.log(2) - log_p) / (8 * chords.HOLD)
    assert abs(nats.mean() - chords.chord_entropy(8)) < 4 * nats.std() / np.sqrt(3000)


def test_triads_are_those_of_c_major():
    names = [{(key + 21) % 12 for key in np.flatnonzero(row)} for row in chords.triads()[:, 0]]
    assert names == [{0, 4, 7}, {2, 5, 9}, {4, 7, 11}, {5, 9, 0}, {7, 11, 2}, {9, 0, 4}, {11, 2, 5}]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda at: load(f"rolls:{at}/none.mat"), "there is no such file"),
        (lambda at: load(f"rolls:{at}/none.mat?length=0"), "length=0 of rolls must be a whole number of 1 or more"),
        (lambda at: load(f"rolls:{at}/none.mat?beat=2"), "unknown option of rolls:PATH 'beat'"),
        (lambda at: load(f"rolls:{at}/lacks.mat"), "lacks validdata, testdata"),
        (lambda at: load(f"rolls:{at}/lacks.mat?per_beat=2"), "per_beat=2 is for MIDI files"),
        (lambda at: load(f"rolls:{at}/bad.mat"), "is no MATLAB file of version 5"),
        (lambda at: load(f"rolls:{at}/narrow.mat"), r"traindata\[0\] must be a roll \[T, 88\], got \[3, 12\]"),
        (lambda at: roll_windows([]), "there is no piece of music"),
        (lambda at: roll_windows([np.full((2, 3), 2)]), "piece 0 must have zeros and ones alone"),
        (lambda at: roll_windows(_pieces(), 0), "length must be 1 row or more, got 0"),
        (lambda at: midi.write_midi(np.zeros((3, 12)), at / "a.mid"), r"a roll is \[T, 88\], got \[3, 12\]"),
        (lambda at: midi.write_midi(np.zeros((3, 88)), at / "a.mid", tempo=0), "tempo must be positive"),
        (lambda at: chords.chord_progressions(0), "count must be 1 or more, got 0"),
    ],
)
def test_what_is_no_music(tmp_path: Path, call, message):
    savemat(tmp_path / "lacks.mat", {"traindata": _cells(_pieces())})
    narrow = _cells(_pieces(keys=12, lengths=(3, 3)))
    savemat(tmp_path / "narrow.mat", dict.fromkeys(("traindata", "validdata", "testdata"), narrow))
    (tmp_path / "bad.mat").write_bytes(b"not a matrix" * 20)
    with pytest.raises(ValueError, match=message):
        call(tmp_path)
