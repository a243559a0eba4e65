"""Batches: a pure function of (seed, step), in memory and streamed alike."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.data import batches, epoch_order, evaluation_batches, in_memory, load, streamed
from gen_models.data.access import ArraySource
from gen_models.data.dataset import Dataset
from gen_models.data.transforms import binarise_dynamic, binarise_fixed

KEY = jax.random.key(0)
DIGITS = load("digits", "test")  # 297 images


def on_disk(dataset):
    """The same examples behind the interface of a random-access source."""
    fields = {f: getattr(dataset, f) for f in ("name", "split", "shape", "num_classes", "levels", "note")}
    return Dataset(**fields, arrays=None, source=ArraySource(dataset.arrays))


def first(rows):
    return jax.tree.map(lambda x: x[0], rows)


def test_an_epoch_visits_every_row_once_and_drops_the_rest():
    b = in_memory(DIGITS, 32)
    assert b.steps_per_epoch == 9
    rows = b.rows(0, 18)
    assert rows.shape == (18, 32) and rows.dtype == np.int32
    epochs = rows.reshape(2, -1)
    for epoch in epochs:
        assert len(set(epoch)) == 288 and set(epoch) <= set(range(297))
    assert (epochs[0] != epochs[1]).any()
    np.testing.assert_array_equal(np.sort(epoch_order(0, 0, 297)), np.arange(297))


def test_order_is_a_function_of_seed_and_step():
    one, same, other = (in_memory(DIGITS, 32, seed=s) for s in (1, 1, 2))
    forward = one.rows(0, 30)
    backward = np.stack([same.rows(k, 1)[0] for k in reversed(range(30))])[::-1]
    np.testing.assert_array_equal(forward, backward)
    assert (forward != other.rows(0, 30)).any()
    # The first draws are written down: a change of the order would silently change every published run.
    assert epoch_order(0, 0, 10).tolist() == [6, 5, 1, 7, 3, 0, 4, 8, 2, 9]


def test_unshuffled():
    rows = in_memory(DIGITS, 100, shuffle=False).rows(0, 3)
    np.testing.assert_array_equal(rows, [np.arange(100), np.arange(100, 200), np.arange(100)])


def test_make_gathers_and_transforms():
    b = in_memory(DIGITS, 16)
    row = first(b.rows(4, 1))
    batch = jax.jit(b.make)(b.data, row, KEY)
    assert b.data["x"].dtype == jnp.uint8
    chex.assert_trees_all_close(batch["x"], DIGITS.arrays["x"][row] / 16.0, atol=1e-7)
    chex.assert_trees_all_equal(batch["y"], jnp.asarray(DIGITS.arrays["y"][row]))
    chex.assert_trees_all_equal(batch["index"], jnp.asarray(row))
    assert set(batch) == {"x", "y", "index"}
    a, c = (in_memory(DIGITS, 16, transform=binarise_dynamic).make(b.data, row, jax.random.key(k)) for k in (0, 1))
    assert (a["x"] != c["x"]).any()


def test_a_scan_over_rows_equals_single_steps():
    b = in_memory(DIGITS, 16, transform=binarise_dynamic)
    rows, keys = b.rows(7, 4), jax.random.split(KEY, 4)

    @jax.jit
    def chunk(data, rows, keys):
        return jax.lax.scan(lambda c, x: (c, b.make(data, *x)), None, (rows, keys))[1]

    scanned = chunk(b.data, rows, keys)
    single = [b.make(b.data, row, key) for row, key in zip(rows, keys, strict=True)]
    chex.assert_trees_all_close(scanned, jax.tree.map(lambda *x: jnp.stack(x), *single), atol=1e-6)


def test_streamed_equals_in_memory():
    memory, stream = (
        f(d, 32, seed=5, transform=binarise_fixed(1)) for f, d in ((in_memory, DIGITS), (streamed, on_disk(DIGITS)))
    )
    assert stream.data == () and stream.steps_per_epoch == memory.steps_per_epoch
    left, right = memory.rows(0, 20), stream.rows(0, 20)
    assert right["x"].shape == (20, 32, 8, 8, 1) and right["x"].dtype == np.uint8
    for k in (0, 8, 9, 19):  # both sides of the epoch's end
        chex.assert_trees_all_equal(
            memory.make(memory.data, left[k], KEY), stream.make((), jax.tree.map(lambda x, k=k: x[k], right), KEY)
        )


def test_streamed_position_is_the_step():
    unbroken = streamed(on_disk(DIGITS), 32).rows(0, 14)
    reads = streamed(on_disk(DIGITS), 32)
    for step, count in ((0, 2), (2, 3), (11, 3), (5, 6), (0, 1)):  # in order, ahead, back, to the start
        part = slice(step, step + count)
        chex.assert_trees_all_equal(reads.rows(step, count), jax.tree.map(lambda x, part=part: x[part], unbroken))
    resumed = streamed(on_disk(DIGITS), 32)
    chex.assert_trees_all_equal(resumed.rows(9, 5), jax.tree.map(lambda x: x[9:14], unbroken))


def test_a_part_of_each_batch_is_its_slice():
    """What two hosts take of each batch makes the whole, whether rows are positions or examples."""
    for b in (in_memory(DIGITS, 32, seed=3), streamed(on_disk(DIGITS), 32, seed=3)):
        whole = b.rows(7, 5)  # over the end of an epoch
        for part in (slice(0, 16), slice(16, 32)):
            for own in (b.rows(7, 5, part), b.rows(7, 5, part=part)):
                chex.assert_trees_all_equal(own, jax.tree.map(lambda x, part=part: x[:, part], whole))
        assert b.streamed == (b.data == ())
        with pytest.raises(ValueError, match="takes nothing of a batch of 32"):
            b.rows(0, 1, slice(32, 64))


def test_only_the_part_is_read_from_disk():
    class Counting(ArraySource):
        def __init__(self, arrays):
            super().__init__(arrays)
            self.read = []

        def __getitem__(self, index):
            self.read.append(index)
            return super().__getitem__(index)

    source = Counting(DIGITS.arrays)
    data = Dataset("digits", "test", None, source, (8, 8, 1), 10, 17, "")
    order = in_memory(DIGITS, 32).rows(0, 100)
    b = streamed(data, 32, workers=1, prefetch=1)
    for step in range(0, 6, 2):  # calls in order are served by one iterator
        b.rows(step, 2, slice(8, 16))
    read = len(source.read)
    assert source.read == order[:, 8:16].ravel()[:read].tolist()
    assert 6 * 8 <= read <= 6 * 8 + 4 * 8  # what is asked for, and what is read ahead


def test_seeking_reads_no_more_than_the_read_ahead():
    class Counting(ArraySource):
        reads = 0

        def __getitem__(self, index):
            type(self).reads += 1
            return super().__getitem__(index)

    data = on_disk(DIGITS)
    data = Dataset(data.name, data.split, None, Counting(DIGITS.arrays), data.shape, 10, 17, "")
    streamed(data, 4, workers=1, prefetch=2).rows(1_000_000, 1)
    assert 0 < Counting.reads <= 4 * 8


def test_an_error_while_reading_reaches_the_caller():
    class Broken(ArraySource):
        def __getitem__(self, index):
            raise ValueError(f"image {index} is broken")

    data = Dataset("broken", "train", None, Broken(DIGITS.arrays), (8, 8, 1), 10, 17, "")
    b = streamed(data, 4)
    for _ in range(2):
        with pytest.raises(ValueError, match="is broken"):
            b.rows(0, 1)


def test_batches_picks_by_where_the_data_are():
    assert batches(DIGITS, 8).data and batches(on_disk(DIGITS), 8).data == ()


@pytest.mark.parametrize("data", [DIGITS, on_disk(DIGITS), dict(DIGITS.arrays)], ids=["memory", "disk", "arrays"])
def test_evaluation_visits_all_once_in_one_shape(data):
    found = list(evaluation_batches(data, 100))
    assert {x["x"].shape for x in found} == {(100, 8, 8, 1)}
    weight = np.concatenate([x["weight"] for x in found])
    index = np.concatenate([x["index"] for x in found])
    assert weight.sum() == 297 and index[weight == 1].tolist() == list(range(297))
    label = np.concatenate([x["y"] for x in found])
    np.testing.assert_array_equal(label[weight == 1], DIGITS.arrays["y"])
    mean = sum((x["weight"] * x["x"].mean((1, 2, 3))).sum() for x in found) / weight.sum()
    levels = 255 if isinstance(data, dict) else 16
    np.testing.assert_allclose(mean, DIGITS.arrays["x"].mean() / levels, rtol=1e-5)


def test_evaluation_has_the_same_randomness_every_time():
    one, two = (list(evaluation_batches(DIGITS, 500, transform=binarise_dynamic)) for _ in range(2))
    chex.assert_trees_all_equal(one, two)
    other = list(evaluation_batches(DIGITS, 500, transform=binarise_dynamic, seed=1))
    assert (one[0]["x"] != other[0]["x"]).any()
    assert one[0]["weight"].sum() == 297  # a batch may be larger than the split


def test_points_that_are_no_images():
    points = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    b = in_memory({"x": points}, 10)
    row = first(b.rows(0, 1))
    batch = b.make(b.data, row, KEY)
    np.testing.assert_array_equal(batch["x"], points[row])


@pytest.mark.parametrize("make", [in_memory, lambda d, b, **k: streamed(on_disk(d), b, **k)])
def test_refused(make):
    with pytest.raises(ValueError, match=r"batch_size=298 is larger than the data, which have 297"):
        make(DIGITS, 298)
    with pytest.raises(ValueError, match="1 or more, got 0"):
        make(DIGITS, 0)
    with pytest.raises(ValueError, match="seed"):
        make(DIGITS, 8, seed=-1)
    with pytest.raises(ValueError, match="step >= 0"):
        make(DIGITS, 8).rows(-1, 1)


def test_bad_arrays_refused():
    with pytest.raises(ValueError, match="same number of examples"):
        in_memory({"x": np.zeros((3, 2)), "y": np.zeros(4, int)}, 2)
    with pytest.raises(ValueError, match="1 values that are not finite"):
        in_memory({"x": np.array([[1.0], [np.nan]], np.float32)}, 1)
    with pytest.raises(ValueError, match="streamed"):
        in_memory(on_disk(DIGITS), 2)
    with pytest.raises(ValueError, match="workers"):
        streamed(on_disk(DIGITS), 2, workers=0)
