"""Batches with few labels: which examples keep theirs, and that no other label is in a training batch."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.data.access import ArraySource
from gen_models.data.batching import evaluation_batches
from gen_models.data.dataset import Dataset
from gen_models.data.few_labels import chosen, with_few_labels
from gen_models.data.splits import Splits
from gen_models.data.transforms import binarise_dynamic, binarise_fixed, to_unit

COUNT, CLASSES = 60, 3
RNG = np.random.default_rng(0)
# The pixels of an image say which it is: its first pixel, out of 256 levels, is its position.
PIXELS = RNG.integers(0, 256, (COUNT, 6, 6, 1)).astype(np.uint8)
PIXELS[:, 0, 0, 0] = np.arange(COUNT)
LABELS = RNG.permutation(np.arange(COUNT) % CLASSES).astype(np.int32)


def _splits(transform=to_unit, **more):
    part = {"x": PIXELS, "y": LABELS}
    return Splits.of_arrays(part, part, num_classes=CLASSES, levels=256, transform=transform, **more)


def _batch(splits, step=0, size=20, seed=0):
    batches = splits.batches(size, seed=seed)
    return batches.make(batches.data, batches.rows(step, 1)[0], jax.random.fold_in(jax.random.key(seed), step))


def _position(x):
    return np.round(np.asarray(x)[:, 0, 0, 0] * 255).astype(int)


def test_equally_many_of_each_class_are_chosen_by_the_seed():
    data = _splits().train
    index = chosen(data, 12, 4)
    assert len(set(index.tolist())) == 12 and (np.diff(index) > 0).all()
    np.testing.assert_array_equal(np.bincount(LABELS[index]), [4, 4, 4])
    np.testing.assert_array_equal(index, chosen(data, 12, 4))
    assert (index != chosen(data, 12, 5)).any()
    np.testing.assert_array_equal(chosen(data, COUNT, 0), np.arange(COUNT))


def test_every_example_of_a_class_is_chosen_equally_often():
    """A chi-square test of 2,000 seeds: 20 examples of a class, of which 1 is chosen."""
    data = _splits().train
    counts = np.zeros(COUNT)
    for seed in range(2000):
        counts[chosen(data, CLASSES, seed)] += 1
    chi2 = ((counts - 100) ** 2 / 100).sum()
    assert chi2 < 97.0  # 3 * 19 degrees of freedom, p = 0.001


def test_batches_hold_exactly_the_chosen_labels_with_their_images():
    splits = with_few_labels(_splits(), 6, seed=2)
    index = chosen(splits.train, 6, 2)
    seen, labels = [], []
    for step in range(30):
        batch = _batch(splits, step)
        assert set(batch) == {"x", "index", "labelled_x", "labelled_y"}
        seen.append(_position(batch["labelled_x"]))
        labels.append(np.asarray(batch["labelled_y"]))
    seen, labels = np.concatenate(seen), np.concatenate(labels)
    assert set(seen.tolist()) == set(index.tolist())
    np.testing.assert_array_equal(labels, LABELS[seen])
    counts = np.bincount(seen, minlength=COUNT)[index]
    assert ((counts - 100) ** 2 / 100).sum() < 20.5  # 600 draws of 6, 5 degrees of freedom, p = 0.001


def test_no_batch_depends_on_the_labels_that_are_gone():
    """All labels but the chosen ones are changed, and the batches, and what `make` is given, stay as they were."""
    splits = with_few_labels(_splits(), 6, seed=2)
    index = chosen(splits.train, 6, 2)
    changed = (LABELS + 1) % CLASSES
    changed[index] = LABELS[index]
    whole = splits.batches(20, seed=0)
    row, key = whole.rows(3, 1)[0], jax.random.key(0)
    one, other = (whole.make({**whole.data, "y": jnp.asarray(y)}, row, key) for y in (LABELS, changed))
    chex.assert_trees_all_equal(one, other)


def test_images_and_their_companions_go_through_the_same_transform():
    batch = _batch(with_few_labels(_splits(binarise_dynamic), 6))
    for name in ("x", "labelled_x"):
        assert set(np.unique(batch[name])) == {0.0, 1.0}, name
    # One that draws by the position in the part gives a companion the pixels that it has as an example of the part.
    fixed = binarise_fixed(1)
    batch = _batch(with_few_labels(_splits(fixed), 6, seed=2), size=60)
    index = chosen(_splits().train, 6, 2)
    whole = fixed({"x": jnp.asarray(PIXELS[index]), "index": jnp.asarray(index)}, None)["x"]
    of_pixels = {np.asarray(x).tobytes(): LABELS[i] for x, i in zip(whole, index, strict=True)}
    assert all(
        of_pixels[np.asarray(x).tobytes()] == y for x, y in zip(batch["labelled_x"], batch["labelled_y"], strict=True)
    )


def test_batches_are_pure_and_seeds_share_their_program():
    splits = with_few_labels(_splits(binarise_dynamic), 6)
    chex.assert_trees_all_equal(_batch(splits, 4), _batch(splits, 4))
    assert (_batch(splits, 4)["labelled_y"] != _batch(splits, 5)["labelled_y"]).any()
    assert splits.batches(20, seed=0).make is splits.batches(20, seed=1).make


def test_what_is_measured_keeps_its_labels():
    for transform in (to_unit, None):
        splits = with_few_labels(_splits(transform), 6)
        (batch,) = evaluation_batches(splits.test, COUNT, transform=splits.evaluation)
        np.testing.assert_array_equal(batch["y"], LABELS)
        assert "labelled_x" not in batch
        np.testing.assert_array_equal(_position(batch["x"]), np.arange(COUNT))


class _Counted(ArraySource):
    """Examples that are read one at a time, and counted."""

    read = 0

    def __getitem__(self, index):
        self.read += 1
        return super().__getitem__(index)


def test_data_on_disk_give_the_same_examples_and_no_more_are_read_than_it_takes():
    source = _Counted({"x": PIXELS, "y": LABELS})
    on_disk = Dataset("own", "train", None, source, (6, 6, 1), CLASSES, 256, "")
    np.testing.assert_array_equal(chosen(on_disk, 6, 2), chosen(_splits().train, 6, 2))
    assert source.read < COUNT / 2
    streamed = with_few_labels(Splits(on_disk, None, None, to_unit), 6, seed=2)
    batches = streamed.batches(20, seed=0)
    row = jax.tree.map(lambda x: x[0], batches.rows(0, 1))
    made = batches.make((), row, jax.random.fold_in(jax.random.key(0), 0))
    chex.assert_trees_all_equal(made, _batch(with_few_labels(_splits(), 6, seed=2)))


@pytest.mark.parametrize(
    ("labels", "seed", "message"),
    [
        (7, 0, "labels=7 cannot be shared equally by the 3 classes of 'arrays': give 6, or another multiple of 3"),
        (0, 0, "labels=0 cannot be shared equally .*: give 3"),
        (63, 0, "labels=63 are 21 of each class, but class 0 of 'arrays', train, has 20 examples: give fewer"),
        (6, -1, "the seed of the labels must be 0 or more, got -1"),
    ],
)
def test_bad_values_are_named(labels, seed, message):
    with pytest.raises(ValueError, match=message):
        with_few_labels(_splits(), labels, seed=seed)


def test_parts_without_classes_and_packs_are_refused():
    with pytest.raises(ValueError, match="'arrays' has no labels of which a few could be kept"):
        with_few_labels(Splits.of_arrays({"x": PIXELS}), 6)
    with pytest.raises(ValueError, match="leave packing at 1"):
        with_few_labels(_splits(packing=2), 6)
