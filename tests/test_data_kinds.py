"""Readers of every kind of data: what they give, that streaming gives the same batches, and what they refuse."""

import gzip
import itertools
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kinds_of_data import (
    TEXT,
    WRITERS,
    write_boxes,
    write_clips,
    write_lines,
    write_pairs,
    write_points,
    write_table,
    write_text,
    write_wave,
    write_waves,
)
from PIL import Image, ImageDraw

from gen_models.data import batches, evaluation_batches, load, load_splits, sources
from gen_models.data.dataset import check_kind
from gen_models.data.tables import scale_of

KEY = jax.random.key(0)


@pytest.mark.parametrize("kind", WRITERS)
def test_streamed_batches_equal_those_in_memory(kind, tmp_path, monkeypatch):
    name = WRITERS[kind](tmp_path)
    memory = load(name, "train+validation")
    monkeypatch.setattr(sources, "IN_MEMORY_BYTES", 0)
    disk = load(name, "train+validation")
    assert memory.source is None and disk.arrays is None and memory.shape == disk.shape
    for contiguous in {False, memory.kind == "tokens"}:
        left, right = (batches(d, 4, seed=3, contiguous=contiguous) for d in (memory, disk))
        assert right.streamed and not left.streamed
        a, b = left.rows(2, 5), right.rows(2, 5)
        for k in range(5):
            one, two = (
                jax.jit(of.make)(of.data, jax.tree.map(lambda x, k=k: x[k], rows), KEY)
                for of, rows in ((left, a), (right, b))
            )
            chex.assert_trees_all_equal(one, two)
            chex.assert_trees_all_equal_dtypes(one, two)
        chex.assert_trees_all_equal(right.rows(2, 5, slice(1, 3)), jax.tree.map(lambda x: x[:, 1:3], b))
    for one, two in zip(evaluation_batches(memory, 7), evaluation_batches(disk, 7), strict=True):
        chex.assert_trees_all_equal(one, two)


@pytest.mark.parametrize("kind", WRITERS)
def test_the_three_parts_share_no_example(kind, tmp_path):
    splits = load_splits(WRITERS[kind](tmp_path))
    whole = load(splits.name, "train+validation")
    assert len(splits.train) + len(splits.held_out) == len(whole) and len(splits.test)
    assert splits.train.shape == splits.held_out.shape == splits.test.shape == splits.shape
    assert splits.train.kind == splits.test.kind != "images"
    assert splits.first_batch(2, KEY)["x"].shape == (2, *splits.shape)


def test_windows_of_a_text(tmp_path):
    train, test = (load(write_text(tmp_path), split) for split in ("train+validation", "test"))
    vocabulary = train.meaning
    assert vocabulary.symbols == tuple(sorted(set(TEXT))) and train.num_classes == len(vocabulary.symbols)
    tokens = vocabulary.encode(TEXT)
    assert vocabulary.decode(tokens) == TEXT and tokens.dtype == np.int32
    cut = round(0.9 * len(TEXT))
    x, y = train.arrays["x"], train.arrays["y"]
    assert x.dtype == y.dtype == np.int32 and train.shape == (8,)
    np.testing.assert_array_equal(x.ravel(), tokens[: x.size])
    np.testing.assert_array_equal(y.ravel(), tokens[1 : y.size + 1])
    assert len(x) == (cut - 1) // 8 and train.arrays["start"].tolist() == [True] + [False] * (len(x) - 1)
    np.testing.assert_array_equal(test.arrays["x"].ravel(), tokens[cut:][: test.arrays["x"].size])
    batch = next(iter(evaluation_batches(test, 2)))
    assert batch["x"].dtype == jnp.int32 and set(batch) == {"x", "y", "index", "weight"}
    with pytest.raises(ValueError, match="'%' is none of the"):
        vocabulary.encode("%")


def test_bytes_and_compressed_files_and_official_splits(tmp_path):
    raw = TEXT.encode()
    (tmp_path / "train.txt").write_bytes(raw)
    (tmp_path / "test.txt.gz").write_bytes(gzip.compress(raw[:100]))
    train, test = (load(f"tokens:{tmp_path}?unit=bytes&length=9", split) for split in ("train", "test"))
    assert train.num_classes == 256 and train.meaning.decode(train.meaning.encode("dög")) == "dög"
    np.testing.assert_array_equal(train.arrays["x"][3], np.frombuffer(raw, np.uint8)[27:36])
    np.testing.assert_array_equal(test.arrays["y"].ravel(), np.frombuffer(raw, np.uint8)[1:100])


def test_tracks_go_on_where_the_batch_before_ended(tmp_path):
    """Side by side, an epoch's windows spell the text, and `start` is true where nothing goes before."""
    data = load(write_text(tmp_path), "train+validation")
    b = batches(data, 3, contiguous=True)
    steps = b.steps_per_epoch
    assert steps == len(data) // 3
    rows = b.rows(0, 2 * steps)
    made = [b.make(b.data, jax.tree.map(lambda x, k=k: x[k], rows), KEY) for k in range(2 * steps)]
    tracks = np.stack([batch["x"] for batch in made[:steps]], 1).reshape(3, -1)
    tokens = data.meaning.encode(TEXT)
    np.testing.assert_array_equal(tracks.ravel(), tokens[: tracks.size])
    for batch, after in itertools.pairwise(made[:steps]):
        np.testing.assert_array_equal(batch["y"][:, -1], after["x"][:, 0])
    starts = np.stack([batch["start"] for batch in made])
    assert starts[[0, steps]].all() and not np.delete(starts, [0, steps], 0).any()
    chex.assert_trees_all_equal(made[0], made[steps])
    splits = load_splits(data.name, contiguous=True)
    assert splits.batches(2, seed=0).make is splits.batches(3, seed=1).make and "start" in splits.first_batch(2, KEY)


def test_each_line_is_a_document(tmp_path):
    data = load(write_lines(tmp_path), "train+validation")
    decode, found, words = data.meaning.decode, "", []
    for x, y, length, start in zip(*(data.arrays[f] for f in ("x", "y", "length", "start")), strict=True):
        assert decode(x[1:length]) == decode(y[: length - 1]) and set(decode(x[length:])) <= {"\n"}
        assert start == (found == "") and (x[0] == data.meaning.encode("\n")[0] or not start)
        if not start:
            assert decode(x[:1]) == found[-1]
        found += decode(y[:length])
        if found.endswith("\n"):
            words.append(found[:-1])
            found = ""
    everything = words + [
        data.meaning.decode(y[: n - 1])
        for y, n in zip(*(load(data.name.split("&")[0], "test").arrays[f] for f in ("y", "length")), strict=True)
    ]
    assert sorted(everything) == sorted(["emma", "olivia", "ava", "li", "bo"] * 6)


def test_waves(tmp_path):
    data = load(write_waves(tmp_path), "test")
    assert data.arrays["x"].dtype == np.int16 and data.shape == (18,)  # the longest is of the training part
    assert data.meaning == (8000, ("no", "yes")) and sorted(data.arrays["length"]) == [10, 10, 11, 11, 12, 12]
    assert not any(x[n:].any() for x, n in zip(data.arrays["x"], data.arrays["length"], strict=True))
    batch = next(iter(evaluation_batches(data, 6)))
    np.testing.assert_array_equal(batch["x"], data.arrays["x"] / np.float32(2**15))
    short = load(f"audio:{tmp_path / 'a'}?length=4", "test")
    assert short.shape == (4,) and (short.arrays["length"] == 4).all()


def test_clips_of_an_archive(tmp_path):
    name = write_clips(tmp_path)
    with np.load(tmp_path / "c.npz", allow_pickle=False) as archive:
        audio, offset, digit, take = (archive[field] for field in ("audio", "offset", "digit", "take"))
    test = load(name, "test")
    expected = {audio[offset[i] : offset[i + 1]].tobytes() for i in range(40) if take[i] < 5}
    assert {x[:n].tobytes() for x, n in zip(test.arrays["x"], test.arrays["length"], strict=True)} == expected
    train = load(name)
    assert train.num_classes == 10 and len(set(train.arrays["y"])) > 6 and digit.max() == 9


def test_spoken_digits_come_with_the_package():
    train, held_out, test = (load("spoken_digits?length=2000", split) for split in ("train", "validation", "test"))
    assert (len(train), len(held_out), len(test)) == (405, 45, 50) and test.num_classes == 10
    assert np.bincount(test.arrays["y"]).tolist() == [5] * 10  # takes 0 to 4 of each digit
    assert train.meaning == (8000, None) and train.shape == (2000,) and train.arrays["x"].dtype == np.int16
    with pytest.raises(ValueError, match="no images to resize"):
        load("spoken_digits", size=4)


@pytest.mark.parametrize("rate", [0, 8000.0, [1, 2]])
def test_a_rate_that_is_none_is_refused(tmp_path, rate):
    write_clips(tmp_path)
    with np.load(tmp_path / "c.npz") as archive:
        np.savez(tmp_path / "d.npz", **archive, rate=np.asarray(rate))
    with pytest.raises(ValueError, match="rate must be one whole number"):
        load(f"audio:{tmp_path / 'd.npz'}")


def test_a_table(tmp_path):
    name = write_table(tmp_path)
    train, test = load(name, "train"), load(name, "test")
    columns = train.meaning
    assert columns.numeric == ("width", "height") and columns.target == "colour" and columns.classes == ("g", "r")
    assert columns.categorical == (("class", ("a", "b")),) and train.num_classes == 2
    for part in (train, test):
        rows = part.arrays
        assert rows["x"].dtype == np.float32 and (rows["mask"] == ~np.isnan(rows["x"])).all()
        heights = rows["x"][:, 1][rows["mask"][:, 1]].astype(int)
        assert (rows["y"][rows["mask"][:, 1]] == (heights + 1) % 2).all()  # even rows are red, class 1
        assert (rows["categories"][rows["mask"][:, 1], 0] == np.array([1, 2, 0])[heights % 3]).all()
    splits = load_splits(name)
    mean, deviation = scale_of(splits.train)
    np.testing.assert_allclose(mean, np.nanmean(splits.train.arrays["x"], 0), rtol=1e-5)
    np.testing.assert_allclose(deviation, np.nanstd(splits.train.arrays["x"], 0), rtol=1e-5)
    (batch,) = evaluation_batches(splits.test, 4, transform=splits.evaluation)
    expected = np.nan_to_num((splits.test.arrays["x"] - mean) / deviation, nan=0)
    np.testing.assert_allclose(batch["x"], expected, rtol=1e-5, atol=1e-6)
    assert (batch["mask"] == splits.test.arrays["mask"]).all()
    last = load(f"{name}&test=last&categorical=height&drop=class", "test")
    assert len(last.meaning.categorical[0][1]) == 34 and "class" not in dict(last.meaning.categorical)
    numbers = load(f"table:{tmp_path / 't.csv'}?target=width", "test")
    assert numbers.arrays["y"].dtype == np.float32 and numbers.num_classes is None


def test_points_of_every_file(tmp_path):
    archive = load(write_points(tmp_path), "train+validation")
    assert archive.num_classes == 4 and archive.arrays["x"].dtype == np.float32 and archive.shape == (3,)
    with np.load(tmp_path / "p.npz", allow_pickle=False) as file:
        x = file["x"]
    np.save(tmp_path / "p.npy", x)
    np.savetxt(tmp_path / "p.csv", x, delimiter=",", header="a,b,c", comments="")
    for end in ("npy", "csv"):
        same = load(f"points:{tmp_path / 'p'}.{end}", "train+validation")
        np.testing.assert_array_equal(same.arrays["x"], archive.arrays["x"])
        assert same.num_classes is None and "y" not in same.arrays
    (batch,) = evaluation_batches(same, 36)
    np.testing.assert_array_equal(batch["x"], same.arrays["x"])  # floats are no pixels: nothing is divided by 255


def test_pairs_belong_together(tmp_path):
    data = load(write_pairs(tmp_path), "test")
    assert data.shape == (4, 5, 1) and data.meaning == (8, 10, 3)
    for i in range(4):
        x, y = (np.asarray(Image.open(tmp_path / "q" / "test" / side / f"{i}.png")) for side in "xy")
        (row,) = np.flatnonzero((data.arrays["x"][..., 0] == x).all((1, 2)))
        np.testing.assert_array_equal(data.arrays["y"][row], y)
    (batch,) = evaluation_batches(data, 4)
    np.testing.assert_allclose(batch["y"], data.arrays["y"] / 255.0, atol=1e-7)
    assert load(data.name, "test", size=3).shape == (3, 3, 1)


def test_boxes_and_masks(tmp_path):
    name = write_boxes(tmp_path)
    data = load(name, "train+validation")
    assert data.num_classes == 2 and data.meaning.classes == ("cat", "dog")
    for i in range(len(data)):
        x, boxes, classes, count, mask = (data.arrays[f][i] for f in ("x", "boxes", "classes", "count", "mask"))
        assert count == x[0, 0, 0] % 3 and boxes.dtype == np.float32
        expected = [[1, 2, 7, 6], [2, 2, 8, 7]][:count]
        np.testing.assert_array_equal(boxes[:count], np.array(expected, np.float32).reshape(-1, 4))
        assert classes[:count].tolist() == [0, 1][:count] and (classes[count:] == -1).all() and not boxes[count:].any()
        assert set(np.unique(mask)) == {0, *range(1, count + 1)}
        if count == 1:
            canvas = Image.new("L", (12, 10))
            ImageDraw.Draw(canvas).rectangle([1, 2, 6, 5], fill=1)  # PIL's last row and column belong to it
            inside = np.asarray(canvas) > 0
            assert (mask[inside] == 1).all() and mask.sum() - inside.sum() <= 11  # at most a border more
    double = load(name, "train+validation", size=(20, 24))
    np.testing.assert_array_equal(double.arrays["boxes"], 2 * data.arrays["boxes"])
    arrays = {f"{split}_{field}": value for split in ("train", "test") for field, value in data.arrays.items()}
    np.savez(tmp_path / "b.npz", **arrays)
    again = load(f"boxes:{tmp_path / 'b.npz'}", "test")
    chex.assert_trees_all_equal(again.arrays, data.arrays)


def test_what_a_model_cannot_take_is_refused_by_name(tmp_path):
    with pytest.raises(
        ValueError, match="is of the kind 'tokens', and this model takes images: choose another --dataset"
    ):
        load_splits(write_text(tmp_path), kinds=("images",))
    check_kind(load("digits"), ("images", "points"))


def _broken(root):
    """A name, its files, and what the error must say."""
    write_text(root)
    write_clips(root)
    write_table(root)
    write_pairs(root)
    write_boxes(root)
    (root / "latin.txt").write_bytes("dög".encode("latin-1") * 99)
    (root / "broken.txt.gz").write_bytes(gzip.compress(b"x" * 999)[:-9])
    (root / "bad.csv").write_text("a,b\n1,2\n3\n")
    (root / "names.csv").write_text("\n".join(["name,b", *(f"n{i},{i}" for i in range(50))]))
    (root / "words.csv").write_text("1,2\nx,3\n")
    (root / "notarget.csv").write_text("a,b\n1,x\n2,\n")
    np.save(root / "nan.npy", np.full((9, 2), np.nan))
    np.savez(root / "z.npz", z=np.zeros(3))
    write_wave(root / "stereo" / "s.wav", np.zeros(8), channels=2)
    write_wave(root / "rates" / "train" / "1.wav", np.zeros(8))
    write_wave(root / "rates" / "train" / "2.wav", np.zeros(8), rate=16000)
    (root / "q" / "train" / "y" / "3.png").unlink()
    (root / "none.json").write_text("{}")
    return {
        f"tokens:{root}/none.txt": "there is no such file",
        f"tokens:{root}/t.txt?length=0": "length=0 of tokens must be",
        f"tokens:{root}/t.txt?length=9999": "fewer than 9999 [+] 1 tokens",
        f"tokens:{root}/t.txt?units=bytes": "unknown option of tokens:PATH 'units': did you mean 'unit'",
        f"tokens:{root}/t.txt?unit=": "needs a value",
        f"tokens:{root}/t.txt?unit=byte": "did you mean 'bytes'",
        f"tokens:{root}/latin.txt": r"not UTF-8 at byte 1: convert it, or add [?]unit=bytes",
        f"tokens:{root}/broken.txt.gz": "truncated or corrupt gzip",
        f"tokens:{root}": "lacks train.txt or test.txt",
        f"audio:{root}/stereo": "16 bits and 2 channels: convert",
        f"audio:{root}/rates": "resample them to one rate",
        f"audio:{root}/z.npz": "audio and offset are needed",
        f"audio:{root}/c.npz?label=speaker": "'speaker' must be labels",
        f"table:{root}/bad.csv": "line 3: 1 values for 2 columns",
        f"table:{root}/names.csv": "50 different words in 50 rows: leave it out with drop=name",
        f"table:{root}/t.csv?target=color": "did you mean 'colour'",
        f"table:{root}/notarget.csv?target=b": "row 2 has no 'b', the target",
        f"points:{root}/words.csv": "points are numbers alone, use table:",
        f"points:{root}/nan.npy": "18 values that are not finite",
        f"points:{root}/z.npz": "name the points x",
        f"pairs:{root}/q": "has no other half",
        f"pairs:{root}": "lacks the folder 'x'",
        f"boxes:{root}/none.json": "lacks images, annotations, categories",
        f"boxes:{root}/z.npz": "name them train_x",
        f"sound:{root}": "unknown kind of path 'sound'",
    }


def test_bad_files_are_refused_in_one_line(tmp_path):
    for name, message in _broken(tmp_path).items():
        with pytest.raises(ValueError, match=message) as caught:
            load(name)
        assert "\n" not in str(caught.value)


def test_the_data_know_nothing_of_what_is_built_on_them():
    code = (
        "import sys, gen_models.data, gen_models.data.synthetic, gen_models.data.tokens, gen_models.data.boxes\n"
        "import gen_models.data.audio, gen_models.data.tables, gen_models.data.points, gen_models.data.pairs\n"
        "above = ('models', 'evaluation', 'run', 'training', 'measures', 'sweep', 'core', 'nn')\n"
        "print([m for m in sys.modules if m.startswith(tuple('gen_models.' + name for name in above))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
