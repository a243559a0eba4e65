"""Arrays as strangers save them: what is read, as what, and by which expression the rest is mended."""

from dataclasses import replace

import numpy as np
import pytest

from experiments import classifier, likelihood_ladder
from gen_models.data import Splits, evaluation_batches, in_memory, load, load_splits
from gen_models.data.labels import tail_is_unlike
from gen_models.data.report import report_of, told
from gen_models.data.transforms import binarise_dynamic, binarise_fixed, quantise, to_unit
from gen_models.measures.base import Split
from gen_models.measures.classification import labels_of

N = 40
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (N, 6, 5)).astype(np.uint8)
X[0, 0, 0] = 255
Y = np.arange(N) % 4
RGB = RNG.integers(0, 256, (N, 6, 5, 3)).astype(np.uint8)


def save(tmp_path, arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    return f"npz:{tmp_path / 'a.npz'}"


def whole(name):
    """Images and labels of all examples for training and for the test, by image."""
    parts = [load(name, split) for split in ("train+validation", "test")]
    return {bytes(x): y for part in parts for x, y in zip(part.arrays["x"], part.arrays["y"], strict=True)}


OFFICIAL = {
    "ours": ("train_image", "train_label", "test_image", "test_label"),
    "keras": ("x_train", "y_train", "x_test", "y_test"),
    "capitals": ("X_train", "Y_train", "X_test", "Y_test"),
    "plural": ("train_images", "train_labels", "test_images", "test_labels"),
    "joined": ("trainX", "trainY", "testX", "testY"),
    "data and targets": ("train_data", "train_targets", "test_data", "test_targets"),
    "suffix": ("images-train", "labels-train", "images-test", "labels-test"),
}


@pytest.mark.parametrize("names", OFFICIAL.values(), ids=OFFICIAL)
def test_customary_names_of_official_splits(tmp_path, names):
    name = save(tmp_path, dict(zip(names, (X[:30], Y[:30], X[30:], Y[30:]), strict=True)))
    train, test = load(name, "train+validation"), load(name, "test")
    np.testing.assert_array_equal(train.arrays["x"][..., 0], X[:30])
    np.testing.assert_array_equal(train.arrays["y"], Y[:30])
    np.testing.assert_array_equal(test.arrays["x"][..., 0], X[30:])
    np.testing.assert_array_equal(test.arrays["y"], Y[30:])
    assert train.num_classes == test.num_classes == 4 and train.passed_over == ()


def test_an_official_validation_part_under_other_names(tmp_path):
    arrays = {f"{s}_{w}": v for s in ("train", "val", "test") for w, v in (("images", X), ("labels", Y[:, None]))}
    splits = load_splits(save(tmp_path, arrays))
    assert [len(part) for part in (splits.train, splits.held_out, splits.test)] == [N, N, N]
    assert splits.held_out.made == "" and splits.held_out.arrays["y"].shape == (N,)


@pytest.mark.parametrize(
    "names", [("image", "label"), ("images", "labels"), ("X", "y"), ("data", "target"), ("arr_0", "arr_1")]
)
def test_customary_names_of_one_part(tmp_path, names):
    found = whole(save(tmp_path, dict(zip(names, (X, Y), strict=True))))
    assert found == {bytes(x): y for x, y in zip(X, Y, strict=True)}


def test_images_alone(tmp_path):
    np.savez(tmp_path / "a.npz", X)
    splits = load_splits(f"npz:{tmp_path / 'a.npz'}")
    assert splits.num_classes is None and "no labels" in told(report_of(splits))


LABELS = {
    "column": Y[:, None],
    "row": Y[None],
    "one-hot": np.eye(4, dtype=np.float32)[Y],
    "one-hot of booleans": np.eye(4, dtype=bool)[Y],
    "float": Y.astype(np.float64),
    "words": np.array(["ant", "bee", "cat", "dog"])[Y],
    "bytes": np.array([b"ant", b"bee", b"cat", b"dog"])[Y],
    "numbers as words": np.array(["1", "2", "10", "20"])[Y],
    "unsigned": Y.astype(np.uint64),
}


@pytest.mark.parametrize("label", LABELS.values(), ids=LABELS)
def test_labels_of_customary_forms(tmp_path, label):
    name = save(tmp_path, {"image": X, "label": label})
    assert whole(name) == {bytes(x): y for x, y in zip(X, Y, strict=True)}
    data = load(name)
    assert data.num_classes == 4 and data.arrays["y"].dtype == np.int32
    words = label.dtype.kind in "US"
    assert (data.meaning.classes if words else data.meaning) == (
        None if not words else tuple(w if isinstance(w, str) else w.decode() for w in label[:4].tolist())
    )


PIXELS = {
    "int64": X.astype(np.int64),
    "float of 0 to 255": X.astype(np.float32),
    "float of 0 to 1": (X / 255).astype(np.float32),
    "half of 0 to 255": X.astype(np.float16),
    "colours": RGB,
}


@pytest.mark.parametrize("image", PIXELS.values(), ids=PIXELS)
def test_pixels_that_are_eight_bits(tmp_path, image):
    found = whole(save(tmp_path, {"image": image, "label": Y}))
    assert found == {bytes(x): y for x, y in zip(RGB if image is RGB else X, Y, strict=True)}


# What is saved, what the message says, and the arrays that its expression makes.
FLAT, CIFAR = X[:, :5].reshape(N, 25), np.moveaxis(RGB[:, :5], -1, 1).reshape(N, -1)
MENDED = {
    "NCHW": ({"image": np.moveaxis(RGB, -1, 1)}, "np.moveaxis(image, 1, -1)", RGB),
    "rows": ({"image": FLAT}, "image.reshape(-1, 5, 5)", X[:, :5]),
    "rows of colours": ({"image": CIFAR}, "image.reshape(-1, 3, 5, 5).transpose(0, 2, 3, 1)", RGB[:, :5]),
    "a leading axis": ({"image": X[None], "label": Y}, "image[0]", X),
    "a leading axis before colours": ({"image": RGB[None]}, "image[0]", RGB),
    "examples last": ({"image": np.moveaxis(RGB, 0, -1), "label": Y}, "np.moveaxis(image, -1, 0)", RGB),
    "0 to 1, of more bits": ({"image": X / 255 + 1e-4 * (X < 200)}, "np.uint8(np.round(image * 255))", X),
    "-1 to 1": ({"image": X / 127.5 - 1}, "np.uint8(np.round((image + 1) * 127.5))", X),
    "16 bits": ({"image": X.astype(np.uint16) * 257}, None, X),
    "objects": ({"image": np.array([*X, None], object)[:-1]}, "np.stack(list(image))", X),
    "from 1": ({"image": X, "label": Y + 1}, "label - 1", None),
    "many outputs": ({"image": X, "label": np.stack([Y, Y], 1)}, "label[:, 0]", None),
    "identifiers": ({"image": X, "label": Y * 1000}, "np.unique(label, return_inverse=True)[1]", None),
}


@pytest.mark.parametrize(("arrays", "remedy", "mended"), MENDED.values(), ids=MENDED)
def test_what_is_refused_is_mended_by_the_expression_of_the_message(tmp_path, arrays, remedy, mended):
    name = save(tmp_path, arrays)
    with pytest.raises(ValueError, match=r"save |choose one|number them") as error:
        load(name)
    message = str(error.value)
    assert "\n" not in message
    remedy = remedy or message.rpartition("save ")[2]
    assert remedy in message
    made = eval(remedy, {"np": np, **arrays})  # the expression is that of the message, and the names are the arrays'
    field = "image" if mended is not None else "label"
    if mended is not None:
        np.testing.assert_array_equal(made, mended)
    load(save(tmp_path, {**arrays, field: made}))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": X, "label": Y[:-1]}, "label has 39 labels for 40 examples"),
        ({"image": X, "label": np.where(Y, Y, -1)}, "10 of 40 labels in label are below 0, the lowest -1"),
        ({"image": X, "label": np.where(Y, Y, np.nan)}, "10 labels that are not finite"),
        ({"image": X, "label": Y + 0.5}, "labels such as 0.5: classes are whole numbers"),
        ({"train_image": X, "train_lable": Y, "test_image": X}, "an array 'train_lable': call it train_label"),
        ({"image": X, "lables": Y}, "an array 'lables': call it labels"),
        ({"X": X, "x": X}, "has both X and x"),
        ({"test_image": X}, "images of test alone"),
        ({"image": X[:0]}, "is empty"),
        ({"image": RGB[0]}, r"save image\[None\], if it is one image"),
        ({"image": np.array([["a"]])}, "pixels must be numbers|reshape"),
        (
            {"train_image": X, "train_label": Y % 3, "test_image": X, "test_label": Y},
            "labels must be 0 to 2, got 0 to 3: classes are numbered by the labels for training",
        ),
        (
            {"train_image": X, "train_label": LABELS["words"], "test_image": X, "test_label": np.full(N, "cow")},
            "unknown class in test_label 'cow'",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, arrays, message):
    name = save(tmp_path, arrays)
    with pytest.raises(ValueError, match=message) as error:
        load_splits(name)
    assert "\n" not in str(error.value)


def test_a_test_part_without_labels_has_no_classes(tmp_path):
    arrays = {"train_image": X, "train_label": Y, "test_image": X[:7], "ids": np.arange(7)}
    splits = load_splits(save(tmp_path, arrays))
    assert (splits.num_classes, splits.held_out.num_classes, splits.test.num_classes) == (4, 4, None)
    assert told(report_of(splits)).endswith("; test has no labels; passed over: 1 array (ids)")


def test_without_labels_of_the_test_part_the_held_out_part_is_measured(tmp_path):
    name = save(tmp_path, {"train_image": X, "train_label": Y, "test_image": X[:7]})
    config = replace(classifier.EXPERIMENT.variants["logistic"], dataset=name)
    splits = classifier.data(config)
    assert splits.test is splits.held_out and (splits.test_word, splits.held_out_word) == ("validation", "validation")
    line = told(report_of(splits))
    assert "the test part is the held-out part" in line
    assert line.endswith("; passed over: 7 examples of test, which has no labels: figures are of validation")
    with pytest.raises(ValueError, match=r"test of .* has no labels, and a classifier needs them: hold out a part"):
        classifier.data(replace(config, train_split="train+validation"))
    unlike = Split(load_splits(name), load_splits(name).test, "test")
    with pytest.raises(ValueError, match=r"test of .* has no labels to compare with"):
        labels_of(unlike)


@pytest.mark.parametrize(("label", "message"), [(None, "has no labels"), (np.zeros(N, int), "has one class")])
def test_a_classifier_needs_two_classes(tmp_path, label, message):
    name = save(tmp_path, {"image": X} | ({} if label is None else {"label": label}))
    with pytest.raises(ValueError, match=f"{message}, and a classifier needs"):
        classifier.data(replace(classifier.EXPERIMENT.variants["logistic"], dataset=name))


@pytest.mark.parametrize("dtype", [np.uint8, bool, np.float32])
def test_images_of_0_and_1_have_two_levels(tmp_path, dtype):
    binary = (X > 127).astype(dtype)
    splits = load_splits(save(tmp_path, {"train_image": binary, "test_image": binary[:4]}))
    assert splits.levels == splits.test.levels == splits.held_out.levels == 2
    assert "images 6x5x1, 2 levels" in told(report_of(splits))
    assert set(np.unique(splits.first_batch(30, None)["x"])) == {0.0, 1.0}
    with pytest.raises(ValueError, match="a pixel is 9, but the data have 2 levels"):
        load_splits(save(tmp_path, {"train_image": binary, "test_image": np.full((2, 6, 5), 9, np.uint8)}))


def test_dim_images_are_of_256_levels_and_said_to_be_dim(tmp_path):
    splits = load_splits(save(tmp_path, {"image": X // 16}))
    assert splits.levels == 256 and told(report_of(splits)).endswith("; the brightest pixel is 15 of 255")


def test_of_sorted_labels_the_last_of_each_class_are_held_out(tmp_path):
    order = np.argsort(Y, kind="stable")
    arrays = {"train_image": X[order], "train_label": Y[order], "test_image": X, "test_label": Y}
    splits = load_splits(save(tmp_path, arrays))
    assert np.bincount(splits.train.arrays["y"]).tolist() == [9] * 4
    assert np.bincount(splits.held_out.arrays["y"]).tolist() == [1] * 4
    assert "validation 4 (held out by us, the last of each class, as the labels are in order)" in told(
        report_of(splits)
    )
    mixed = load_splits(save(tmp_path, {**arrays, "train_image": X, "train_label": Y}))
    np.testing.assert_array_equal(mixed.held_out.arrays["x"][..., 0], X[-4:])


def test_which_tails_are_unlike_the_whole():
    mixed = np.random.default_rng(0).integers(0, 10, 1000)
    assert not tail_is_unlike(mixed, 100) and not tail_is_unlike(mixed, 5)  # 5 lack most classes, as any 5 would
    assert tail_is_unlike(np.sort(mixed), 100) and tail_is_unlike(np.sort(mixed)[::-1], 100)
    blocks = np.concatenate([mixed[:500] % 5, mixed[500:] % 5 + 5])
    assert tail_is_unlike(blocks, 100)
    assert not tail_is_unlike(np.zeros(100, int), 10) and not tail_is_unlike(mixed, 0)


OWN = {
    "a list": ([[1.0]], 'arrays by field, such as {"x": array}, got list'),
    "nothing": ({}, "the same number of examples"),
    "no example": ({"x": np.zeros((0, 2))}, "has no example"),
    "ragged": ({"x": [[1.0], [1.0, 2.0]]}, "is no array"),
    "words": ({"x": np.array(["a", "b"])}, "holds <U1 values"),
    "objects": ({"x": np.array([None, 1])}, "holds object values"),
    "nan": ({"x": [1.0, float("nan")]}, "1 values that are not finite"),
    "numbers of 64 bits": ({"x": np.array([2**40, 1])}, "which 32 bits do not hold"),
    "labels of 64 bits": ({"x": np.zeros(2), "y": np.array([2**40, 1])}, "int32 holds no such"),
}


@pytest.mark.parametrize(("arrays", "message"), OWN.values(), ids=OWN)
@pytest.mark.parametrize("use", [lambda a: in_memory(a, 1), lambda a: Splits.of_arrays(a).batches(1, seed=0)])
@pytest.mark.usefixtures("unchecked")
def test_own_arrays_that_cannot_be_meant_are_refused_in_one_line(arrays, message, use):
    with pytest.raises(ValueError) as error:
        use(arrays)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.usefixtures("unchecked")
def test_lists_are_arrays():
    splits = Splits.of_arrays({"x": [[1.0, 2.0], [3.0, 4.0]], "y": [0, 1]}, num_classes=2)
    batch = splits.first_batch(2, None)
    assert sorted(batch["y"].tolist()) == [0, 1] and batch["x"].shape == (2, 2)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("label", [[0, 2], [-1, 0], [0.0, 1.0], None])
def test_labels_must_be_of_the_classes(label):
    arrays = {"x": [1.0, 2.0]} | ({} if label is None else {"y": label})
    with pytest.raises(ValueError, match=r"labels must be 0 to 1|needs labels 'y' of integers"):
        Splits.of_arrays(arrays, num_classes=2)


def test_own_images_of_0_and_1_have_two_levels():
    binary = (X[..., None] > 127).astype(np.uint8)
    b = in_memory({"x": binary}, 8)
    batch = b.make(b.data, b.rows(0, 1)[0], None)
    assert set(np.unique(batch["x"])) == {0.0, 1.0}
    # The training part decides: dark test images of 8 bits do not become white.
    splits = Splits.of_arrays({"x": X[..., None]}, {"x": binary})
    assert splits.levels == splits.test.levels == 256
    assert Splits.of_arrays({"x": binary}, levels=256).levels == 256
    with pytest.raises(ValueError, match="a pixel is 255, but the data have 2 levels"):
        Splits.of_arrays({"x": binary}, {"x": X[..., None]})


@pytest.mark.parametrize("transform", [to_unit, binarise_dynamic, binarise_fixed(), quantise(2)])
def test_pixels_of_two_levels_stay_as_they_are(transform):
    binary = (X[..., None] > 127).astype(np.uint8)
    batch = next(evaluation_batches({"x": binary}, N, transform=transform))
    np.testing.assert_array_equal(batch["x"], binary)


@pytest.mark.usefixtures("unchecked")
def test_parts_of_splits_are_data_sets():
    with pytest.raises(ValueError, match=r"parts must be data sets, got dict: of arrays, use Splits\.of_arrays"):
        Splits({"x": X}, None, None)


def test_more_levels_than_the_images_have_are_refused_before_compute(tmp_path):
    name = save(tmp_path, {"image": (X > 127).astype(np.uint8)})
    config = replace(likelihood_ladder.EXPERIMENT.variants["pixel_cnn"], dataset=name, levels=4)
    with pytest.raises(ValueError, match=r"have 2 levels, and 4 are wanted: --levels 2"):
        likelihood_ladder.data(config)
    assert likelihood_ladder.data(replace(config, levels=2)).levels == 2


@pytest.mark.parametrize("split", ["test", "test[:50%]", "train+test", "validation", "Train", "train[:0]"])
def test_what_may_not_be_trained_on(split):
    config = replace(classifier.EXPERIMENT.variants["logistic"], train_split=split)
    with pytest.raises(ValueError, match=r"must not be trained on|give train or|unknown split|is empty"):
        classifier.data(config)
