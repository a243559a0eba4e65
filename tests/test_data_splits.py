"""Splits: which part is what, and training batches that are those of `batches`."""

import dataclasses

import chex
import jax
import numpy as np
import pytest

from gen_models.data import Splits, batches, load, load_splits
from gen_models.data.transforms import binarise_dynamic, to_unit

KEY = jax.random.key(3)


def test_the_parts_of_a_loaded_set():
    splits = load_splits("digits", transform=binarise_dynamic, evaluation=to_unit)
    assert [len(part) for part in (splits.train, splits.held_out, splits.test)] == [1350, 150, 297]
    assert (splits.shape, splits.num_classes, splits.levels, splits.name) == ((8, 8, 1), 10, 17, "digits")
    assert splits.held_out_word == "validation" and splits.test_word == "test"
    assert splits.transform is binarise_dynamic and splits.evaluation is to_unit
    both = load_splits("digits", "train+validation[:50%]", transform=to_unit)
    assert len(both.train) == 750 and both.held_out is both.test and both.held_out_word == "test"
    assert both.evaluation is to_unit


def test_the_test_part_is_not_trained_on():
    with pytest.raises(ValueError, match=r"--train-split test\[:50%\]: figures are of the test split, which must not"):
        load_splits("digits", "test[:50%]")


@pytest.mark.parametrize("seed", [0, 5])
def test_training_batches_are_those_of_batches(seed):
    splits = load_splits("digits", transform=binarise_dynamic)
    ours, naive = (
        splits.batches(32, seed=seed),
        batches(load("digits", "train"), 32, seed=seed, transform=binarise_dynamic),
    )
    assert (ours.steps_per_epoch, ours.batch_size, ours.streamed) == (42, 32, False)
    left, right = ours.rows(40, 5), naive.rows(40, 5)
    np.testing.assert_array_equal(left, right)
    for a, b in zip(left, right, strict=True):
        chex.assert_trees_all_equal(ours.make(ours.data, a, KEY), naive.make(naive.data, b, KEY))


def test_all_seeds_and_sizes_share_the_data_and_the_function():
    splits = load_splits("digits", transform=binarise_dynamic)
    one, other, small = splits.batches(32, seed=0), splits.batches(32, seed=1), splits.batches(8, seed=0)
    assert one.data is other.data is small.data and one.make is other.make is small.make
    assert (one.rows(0, 1) != other.rows(0, 1)).any()
    unlike = dataclasses.replace(splits, transform=to_unit)
    assert unlike.batches(32, seed=0).make is not one.make


def test_the_first_batch_is_that_of_seed_0():
    splits = load_splits("digits", transform=binarise_dynamic)
    b = splits.batches(16, seed=0)
    chex.assert_trees_all_equal(splits.first_batch(16, KEY), b.make(b.data, b.rows(0, 1)[0], KEY))


def test_arrays_of_any_kind():
    rng = np.random.default_rng(0)
    train = {"x": rng.integers(50, size=(40, 7)), "y": rng.normal(size=(40, 3)), "length": rng.integers(7, size=40)}
    test = {key: value[:5] for key, value in train.items()}
    splits = Splits.of_arrays(train, test, name="mine")
    assert splits.held_out is splits.test and splits.held_out_word == "test" and splits.shape == (7,)
    batch = splits.first_batch(8, KEY)
    assert {key: value.shape for key, value in batch.items()} == {
        "x": (8, 7),
        "y": (8, 3),
        "length": (8,),
        "index": (8,),
    }
    assert batch["x"].dtype == np.int32  # never cast to float
    np.testing.assert_array_equal(batch["x"], train["x"][np.asarray(batch["index"])])
    alone = Splits.of_arrays(train)
    assert alone.held_out is None and alone.test is None and alone.held_out_word == alone.test_word == "none"
    same = Splits.of_arrays(train, train)
    assert same.test is same.train is same.held_out and same.held_out_word == same.test_word == "train"
    three = Splits.of_arrays(train, test, {key: value[5:9] for key, value in train.items()}, num_classes=3)
    assert len(three.held_out) == 4 and three.held_out_word == "validation" and three.num_classes == 3


def test_a_row_may_be_a_pack_of_examples():
    points = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    packed = Splits.of_arrays({"x": points}, packing=3).batches(4, seed=1)
    flat = Splits.of_arrays({"x": points}).batches(12, seed=1)
    np.testing.assert_array_equal(packed.rows(0, 9), flat.rows(0, 9))
    assert packed.steps_per_epoch == 8 and packed.batch_size == 12


def test_refused():
    points = {"x": np.zeros((9, 2), np.float32)}
    with pytest.raises(ValueError, match="packing must be 1 or more, got 0"):
        Splits.of_arrays(points, packing=0)
    with pytest.raises(ValueError, match="all parts must agree"):
        Splits.of_arrays(points, {"x": np.zeros((9, 3), np.float32)})
    with pytest.raises(ValueError, match="batch_size=12 is larger than the data, which have 9"):
        Splits.of_arrays(points, packing=3).batches(4, seed=0)
    for split, message in (("validation", "give train or train"), ("test", "must not be trained on")):
        with pytest.raises(ValueError, match=message):
            load_splits("fashion_mnist_bundled", split)
