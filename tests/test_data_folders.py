"""Folders as strangers bring them: pixels as viewers show them, links, splits' names, damage, what is passed over."""

import hashlib
import json
import os
import pickle
import warnings
import wave
from dataclasses import replace
from pathlib import Path, PurePath

import jax
import numpy as np
import pytest
from PIL import Image, ImageOps

import gen_models as gm
from experiments.vae import EXPERIMENT
from gen_models.data import batches, load, load_splits, sources
from gen_models.data import images as images_module
from gen_models.data.access import DamagedExample
from gen_models.data.images import decode, header
from gen_models.data.listing import find_splits, fraction_of, split_of, with_test
from gen_models.data.names import shown
from gen_models.run.job import make_job
from gen_models.sweep.plan import group_of

RNG = np.random.default_rng(0)


def pixels(*shape):
    return RNG.integers(0, 256, shape).astype(np.uint8)


def write(path, value=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(6, 5) if value is None else value).save(path, **options)
    return path


def fill(root, *groups, count=3):
    for group in groups:
        for i in range(count):
            write(root / group / f"{i}.png")
    return f"folder:{root}"


def turned(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def cut(path, to=0.6):
    path.write_bytes(path.read_bytes()[: int(to * path.stat().st_size)])


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_pictures_are_turned_as_exif_says(tmp_path, suffix):
    """PIL's own `exif_transpose`, which looks for the tag in other ways, is the reference."""
    for orientation in range(10):  # 0 and 9 are none
        options = {"lossless": True} if suffix == "webp" else {}
        path = write(tmp_path / f"{orientation}.{suffix}", pixels(6, 9, 3), exif=turned(orientation), **options)
        with Image.open(path) as image:
            expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        np.testing.assert_array_equal(decode(path, "RGB"), expected)
        assert header(path).size == expected.shape[:2] == ((9, 6) if 5 <= orientation <= 8 else (6, 9))
        raw = path.read_bytes()
        np.testing.assert_array_equal(decode(raw, "RGB", (4, 4)), decode(path, "RGB", (4, 4)))


def test_a_photo_is_the_same_however_it_is_stored(tmp_path):
    value = pixels(8, 6, 3)
    for kind, image, exif in (
        ("upright", Image.fromarray(value), Image.Exif()),
        ("phone", Image.fromarray(value).transpose(Image.Transpose.ROTATE_90), turned(6)),
    ):
        for i in range(3):
            (tmp_path / kind).mkdir(exist_ok=True)
            image.save(tmp_path / kind / f"{i}.png", exif=exif)
    for size in (None, 4, (3, 5)):
        one, other = (load(f"folder:{tmp_path / kind}", size=size) for kind in ("upright", "phone"))
        np.testing.assert_array_equal(one.arrays["x"], other.arrays["x"])
        assert one.shape == other.shape == (*{None: (8, 6), 4: (4, 4)}.get(size, size), 3)


def coco(root, size, stated=None):
    """One box of the left half of a picture, which is stored lying."""
    for i in range(4):
        write(root / f"{i}.jpg", np.zeros((*size, 3), np.uint8), exif=turned(6))
    images = [{"id": i, "file_name": f"{i}.jpg", **(stated or {})} for i in range(4)]
    objects = [{"image_id": i, "category_id": 1, "bbox": [0, 0, size[0] // 2, size[1]]} for i in range(4)]
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "half"}]}
    (root / "all.json").write_text(json.dumps(content))
    return f"boxes:{root / 'all.json'}"


def test_boxes_are_of_the_picture_as_shown(tmp_path):
    found = load(coco(tmp_path, (6, 10), {"height": 10, "width": 6}), "train+validation")
    assert found.shape == (10, 6, 3)
    np.testing.assert_array_equal(found.arrays["boxes"][0, 0], [0, 0, 3, 10])
    large = load(found.name, "train+validation", size=(20, 18))
    np.testing.assert_array_equal(large.arrays["boxes"][0, 0], [0, 0, 9, 20])
    with pytest.raises(ValueError, match=r"shown with 10x6 pixels, and its boxes are for 6x10 lying, as it is stored"):
        load(coco(tmp_path, (6, 10), {"height": 6, "width": 10}))
    with pytest.raises(ValueError, match=r"shown with 10x6 pixels, and its boxes are for 480x640:"):
        load(coco(tmp_path, (6, 10), {"height": 480, "width": 640}))


def test_what_is_transparent_lies_over_white(tmp_path):
    alpha = pixels(6, 5)
    colour = np.concatenate([pixels(6, 5, 3), alpha[..., None]], -1)
    grey = np.stack([np.zeros((6, 5), np.uint8), alpha], -1)  # a black drawing, whose shape is in its alpha alone
    write(tmp_path / "colour.png", colour)
    write(tmp_path / "grey.png", grey)
    share = alpha[..., None] / 255
    np.testing.assert_allclose(
        decode(tmp_path / "colour.png", "RGB"), colour[..., :3] * share + 255 * (1 - share), atol=1
    )
    np.testing.assert_allclose(decode(tmp_path / "grey.png", "L"), 255 * (1 - share), atol=1)
    palette = Image.new("P", (5, 6), 1)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((0, 0), 0)
    for suffix in ("png", "gif"):
        palette.save(tmp_path / f"p.{suffix}", transparency=1)
        found = decode(tmp_path / f"p.{suffix}", "RGB")
        assert found[0, 0].tolist() == [10, 20, 30] and (found.reshape(-1, 3)[1:] == 255).all()
    Image.new("L", (5, 6), 7).save(tmp_path / "key.png", transparency=7)
    assert (decode(tmp_path / "key.png", "L") == 255).all()
    data = load(f"folder:{tmp_path}")
    assert data.shape == (6, 5, 3) and "over white (5 files with transparency)" in data.note


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tif"])
def test_a_grey_palette_is_grey(tmp_path, suffix):
    image = Image.new("P", (5, 6), 1)
    image.putpalette([7, 7, 7, 99, 99, 99, 200, 200, 200])
    image.putpixel((1, 2), 2)
    image.save(tmp_path / f"a.{suffix}")
    assert header(tmp_path / f"a.{suffix}").mode == "L"
    found = decode(tmp_path / f"a.{suffix}", "L")
    assert found[2, 1] == 200 and (np.delete(found.ravel(), 11) == 99).all()


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_of_animations_and_pages_the_first_is_read_and_told(tmp_path, suffix):
    frames = [Image.new("RGB", (5, 6), (9 + 50 * i,) * 3) for i in range(3)]
    options = {"lossless": True} if suffix == "webp" else {}
    for i in range(2):
        frames[0].save(tmp_path / f"{i}.{suffix}", save_all=True, append_images=frames[1:], **options)
    data = load(f"folder:{tmp_path}")
    assert (data.arrays["x"] == 9).all()
    assert data.passed_over == ("the pictures after the first of 2 files (animations, pages)",)


@pytest.mark.parametrize(
    ("mode", "value", "message"),
    [("I;16", 300, "more than 8 bits"), ("F", 0.5, "more than 8 bits"), ("LAB", (50, 9, 9), "form LAB: convert it")],
)
def test_pixels_that_would_be_mistaken_are_refused(tmp_path, mode, value, message):
    Image.new(mode, (5, 6), value).save(tmp_path / "a.tif")
    for damaged in ("stop", "skip"):  # they are not damaged
        with pytest.raises(ValueError, match=message) as caught:
            load(f"folder:{tmp_path}", damaged=damaged)
        assert type(caught.value) is ValueError and "a.tif" in str(caught.value)


def test_inks_become_light(tmp_path):
    value = np.broadcast_to(np.array([255, 0, 0], np.uint8), (16, 16, 3))
    for suffix in ("jpg", "tif"):
        Image.fromarray(value).convert("CMYK").save(tmp_path / f"a.{suffix}")
        np.testing.assert_allclose(decode(tmp_path / f"a.{suffix}", "RGB"), value, atol=4)


def test_large_files_are_read_where_a_size_is_given(tmp_path, monkeypatch):
    """PIL's limit is set below the files, which it would refuse; whoever else uses PIL finds it as it was."""
    for i in range(3):
        write(tmp_path / f"{i}.png", pixels(40, 30))
        write(tmp_path / f"{i}.tif", pixels(40, 30))
        write(tmp_path / f"{i}.gif", pixels(30, 30))
    for limit in (100, 1000):  # an error, a warning
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert load(f"folder:{tmp_path}", size=8 + limit // 100).shape[2] == 1
            load(f"folder:{tmp_path}", size=9 + limit // 100, damaged="skip")  # read by threads
        assert limit == Image.MAX_IMAGE_PIXELS
        with pytest.raises(ValueError, match=r"differ in size .*: give --size 64, or size=64 in the library"):
            load(f"folder:{tmp_path}")


def test_what_is_too_large_is_named_with_its_pixels(tmp_path, monkeypatch):
    monkeypatch.setattr(images_module, "MOST_PIXELS", 1000)
    write(tmp_path / "plan.png", pixels(40, 30))
    for size in (None, 8):
        with pytest.raises(ValueError, match=r"plan.png has 0 million pixels \(30x40\).*: make it smaller, or remove"):
            load(f"folder:{tmp_path}", size=size)
    write(tmp_path / "b" / "scan.jpg", pixels(40, 30))
    with pytest.raises(ValueError, match=r"scan.jpg .*: give --size 64, or size=64 in the library"):
        load(f"folder:{tmp_path / 'b'}")
    assert header(tmp_path / "b" / "scan.jpg", (8, 8)).size == (40, 30)


def test_a_large_jpeg_is_decoded_smaller(tmp_path, monkeypatch):
    smooth = np.asarray(Image.fromarray(pixels(7, 5, 3)).resize((300, 400), Image.Resampling.BICUBIC))
    path = write(tmp_path / "a.jpg", smooth, exif=turned(6), quality=95)
    whole = [decode(path, "RGB", size, stretch=s).astype(int) for size in ((12, 20), (24, 16)) for s in (False, True)]
    monkeypatch.setattr(images_module, "REDUCED", 1000)
    sizes = []
    convert = Image.Image.convert
    monkeypatch.setattr(Image.Image, "convert", lambda self, mode: (sizes.append(self.size), convert(self, mode))[1])
    small = [decode(path, "RGB", size, stretch=s).astype(int) for size in ((12, 20), (24, 16)) for s in (False, True)]
    assert all(size < (300, 400) for size in sizes) and len(sizes) == 4
    for one, other in zip(whole, small, strict=True):
        assert np.abs(one - other).mean() < 2


def links(root):
    """Classes, files and splits that are links."""
    fill(root / "pool", "cat", "dog", count=30)
    for name in ("classes", "split"):
        (root / name).mkdir()
    for name in ("cat", "dog"):
        (root / "classes" / name).symlink_to(f"../pool/{name}")
        (root / "files" / name).mkdir(parents=True)
        for path in (root / "pool" / name).iterdir():
            (root / "files" / name / path.name).symlink_to(path)
    for split in ("train", "test"):
        (root / "split" / split).symlink_to("../pool")


def test_links_are_followed(tmp_path):
    links(tmp_path)
    whole = load(f"folder:{tmp_path / 'pool'}", "train+validation")
    for name in ("classes", "files"):
        found = load(f"folder:{tmp_path / name}", "train+validation")
        np.testing.assert_array_equal(found.arrays["x"], whole.arrays["x"])
        np.testing.assert_array_equal(found.arrays["y"], whole.arrays["y"])
        assert found.passed_over == ()
    split = load(f"folder:{tmp_path / 'split'}", "test")
    assert len(split) == 60 and split.passed_over == ("the fact that 60 files of test are in train too",)


def test_links_that_lead_back_or_nowhere_are_counted(tmp_path):
    fill(tmp_path / "set", "cat", "dog")
    (tmp_path / "set" / "all").symlink_to(".")
    (tmp_path / "set" / "cat" / "up").symlink_to("../..")  # all that the set lies in
    (tmp_path / "set" / "cat" / "dog").symlink_to("../dog")  # twice, and no circle
    (tmp_path / "set" / "dog" / "cat").symlink_to("../cat")
    (tmp_path / "set" / "gone").symlink_to("nowhere")
    (tmp_path / "set" / "cat" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "set" / "cat" / "self.png").symlink_to("self.png")
    found = load(f"folder:{tmp_path / 'set'}", "train+validation")
    words = " ".join(found.passed_over)
    assert found.num_classes == 2 and "5 broken links" in words and "links that lead back (all" in words
    assert len(found) + len(load(found.name, "test")) == 12  # each class's own, and the other's


def test_what_is_passed_over_is_counted(tmp_path, monkeypatch):
    name = fill(tmp_path, "cat", "dog")
    for other in ("cat/a.heic", "cat/b.HEIC", "dog/notes.txt", "Thumbs.db", "LICENSE", ".DS_Store", "dog/._0.png"):
        (tmp_path / other).write_bytes(b"x")
    for other in ("__MACOSX/cat/0.png", "@eaDir/0.png", ".ipynb_checkpoints/0.png", "owl/locked/0.png"):
        write(tmp_path / other)
    (tmp_path / "empty").mkdir()
    write(tmp_path / "cat" / "tabby" / "0.png")
    os.mkfifo(tmp_path / "cat" / "pipe.png")  # to read it would wait for ever
    scandir = os.scandir

    def locked(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    data = load(name, "train+validation")
    assert data.num_classes == 2 and data.meaning.classes == ("cat", "dog")
    assert set(data.passed_over) == {
        "6 files of other kinds (1 without a suffix, 1 .db, 2 .heic, 1 .png, 1 .txt)",
        "3 hidden files or folders (.DS_Store, .ipynb_checkpoints, dog/._0.png)",
        "2 folders of the system (@eaDir, __MACOSX)",
        "1 folder that cannot be read (owl/locked)",
        "2 folders without images (empty, owl)",
        "1 folder within those of classes, not told apart (cat/tabby)",
    }


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train", "Training", "TRAIN", "train_set", "training-images", "Train Data")),
        *((name, "validation") for name in ("valid", "Val", "VALIDATION", "dev", "valid_set", "val_images")),
        *((name, "test") for name in ("test", "Testing", "Test Set", "testset", "test_split")),
        *((name, None) for name in ("trains", "pretest", "valley", "data", "set", "tests", "device", "training day")),
    ],
)
def test_names_of_splits(name, split):
    assert split_of(name) == split


@pytest.mark.parametrize(
    "words", [("train", "valid", "test"), ("Train", "Val", "Test"), ("training_set", "dev", "TESTING")]
)
def test_folders_of_splits_under_customary_names(tmp_path, words):
    for word, count in zip(words, (5, 3, 2), strict=True):
        name = fill(tmp_path, f"{word}/a", f"{word}/b", count=count)
        fill(tmp_path / "sides" / word, "x", "y", count=count)
    (tmp_path / "annotations").mkdir()
    sides = f"pairs:{tmp_path / 'sides'}"
    (tmp_path / "sides").rename(tmp_path.parent / f"{tmp_path.name}_sides")
    sides = f"pairs:{tmp_path.parent / f'{tmp_path.name}_sides'}"
    for split, count in (("train", 5), ("validation", 3), ("test", 2)):
        data = load(name, split)
        assert len(data) == 2 * count and data.num_classes == 2
        assert data.passed_over == ("1 folder without images (annotations)",)
        assert len(load(sides, split)) == count


REFUSED = {
    "a class called as a split": (("train", "bus", "car"), r"has the folder 'train'.*beside bus, car: .*rename.*move"),
    "two for one split": (("train/a", "Valid/a", "val/a"), r"two folders for the validation split, Valid and val"),
    "none for training": (("test/a", "val/a"), r"none for training: add a folder train, or give .*/test"),
    "splits within classes": (("mug/train", "mug/test"), r"folder mug would be a class, but holds test, train"),
    "an archive's own folder": (
        ("set/train/a", "set/test/a"),
        r"folder set would be a class.*give the path down to it",
    ),
    "a test split without labels": (("train/a", "train/b", "test"), r"train has class folders and test has none"),
    "labels for the test split alone": (("train", "test/a", "test/b"), r"test has class folders and train has none"),
    "loose files": (("a", ""), r"both in sub-folders \(classes\) and outside of them \(0.png, 1.png, 2.png\)"),
    "nothing": (("train/.hidden", "test/a"), r"no images for training .*passed over: 1 hidden"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_layouts_that_could_be_meant_otherwise_are_refused(tmp_path, case):
    folders, message = REFUSED[case]
    name = fill(tmp_path, *folders)
    with pytest.raises(ValueError, match=message) as caught:
        load(name, "train")
    assert "\n" not in str(caught.value)


def test_splits_beside_other_folders_of_images_are_taken_and_the_others_counted(tmp_path):
    name = fill(tmp_path, "train/a", "test/a", "extra", count=4)
    write(tmp_path / "preview.png")
    data = load(name, "train", validation=0)
    assert len(data) == 4 and data.passed_over == (
        "5 files beside the folders of splits (extra/0.png, extra/1.png, extra/2.png and 2 more)",
    )
    fill(tmp_path / "b", "test", "bus")  # no image lies in `test`
    for path in (tmp_path / "b" / "test").iterdir():
        path.unlink()
    assert load(f"folder:{tmp_path / 'b'}").num_classes == 1


def test_without_a_test_split_the_held_out_part_is_measured(tmp_path):
    name = fill(tmp_path, "train/a", "train/b", "valid/a", "valid/b")
    splits = load_splits(name)
    assert (len(splits.train), len(splits.held_out), splits.test) == (6, 6, None)
    assert splits.held_out_word == "validation"
    config = replace(EXPERIMENT.config_class(dataset=name, batch_size=2), hidden=(4,), latent=2)
    assert make_job(EXPERIMENT, config).test(jax.random.key(0)).word == "validation"
    with pytest.raises(ValueError, match="has no test split: it has train, validation: add one, or"):
        load(name, "test")
    with pytest.raises(ValueError, match=r"no test split, so that --train-split train.validation leaves nothing"):
        load_splits(name, "train+validation")


def test_a_few_files_have_a_test_split_too(tmp_path):
    """Whichever names the files have: of two or more files one is `test`, and a tenth where the hashes give too few."""
    for count in (2, 3, 9, 41):
        for start in range(5):
            root = tmp_path / f"{count}_{start}"
            root.mkdir()
            for i in range(count):
                (root / f"{start}{i}.png").touch()
            found = find_splits(root, (".png",), "folder", "images")
            splits = with_test(found.splits, found.official, lambda file: file.fraction)
            assert len(splits["train"]) + len(splits["test"]) == count and len(splits["train"])
            assert len(splits["test"]) >= max(1, count // 20)


STRANGE = [
    b"stra\xdfe.png",
    b"a\nb.png",
    b"[old] {x}%s?.png",
    b"x" * 240 + b".png",
    "bild ä 日本.PNG".encode(),
    b" .png",
]


def test_files_of_any_name(tmp_path):
    for i, name in enumerate(STRANGE):
        for group in (b"cl\xe4ss", b"[b]\n"):
            os.makedirs(os.path.join(os.fsencode(tmp_path), group), exist_ok=True)
            write(tmp_path / "x.png", np.full((6, 5), 20 * i, np.uint8))
            os.rename(tmp_path / "x.png", os.path.join(os.fsencode(tmp_path), group, name))
    parts = [load(f"folder:{tmp_path}", split, validation=2) for split in ("train", "validation", "test")]
    values = sorted(int(x) for part in parts for x in part.arrays["x"][:, 0, 0, 0])
    assert values == sorted(2 * list(range(0, 20 * len(STRANGE), 20)))
    assert parts[0].meaning.classes == (r"[b]\n", r"cl\xe4ss")
    bad = tmp_path / os.fsdecode(b"cl\xe4ss") / os.fsdecode(STRANGE[0])
    cut(bad)
    with pytest.raises(DamagedExample) as caught:
        load(f"folder:{tmp_path}", "train+validation", size=5)
    assert r"cl\xe4ss/stra\xdfe.png cannot be decoded" in str(caught.value)
    assert json.loads(json.dumps(str(caught.value).encode().decode())) and shown(bad).isprintable()


@pytest.mark.parametrize("name", ["cat/0.png", "bild ä 日本.PNG", "a b/c.d/e.jpg"])
def test_the_order_is_that_of_the_names_hashes(name):
    """So the splits of a folder stay those of the years before."""
    expected = int.from_bytes(hashlib.sha256(name.encode("utf-8")).digest()[:6], "big") / 2**48
    assert fraction_of(PurePath(name)) == expected


@pytest.mark.parametrize("name", ["digits", "fashion_mnist_bundled"])
def test_images_in_memory_are_resized(name):
    part = f"{'test' if name == 'digits' else 'validation'}[:20]"
    before, after = load(name, part), load(name, part, size=12)
    assert after.shape == (12, 12, 1) and after.levels == before.levels and after.arrays["x"].max() < before.levels
    assert "resized to 12x12" in after.note
    expected = [Image.fromarray(x).resize((12, 12), Image.Resampling.BICUBIC) for x in before.arrays["x"][..., 0]]
    clipped = np.minimum(np.stack(expected), before.levels - 1)
    np.testing.assert_array_equal(after.arrays["x"][..., 0], clipped)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "tokens:x", "size": 8}, "'tokens:x' has no images to resize: leave out size=8"),
        ({"name": "digits", "size": 0}, "size=0 must be 1 to 16384 pixels"),
        ({"name": "digits", "size": 10**6}, "size=1000000 must be 1 to 16384 pixels"),
        ({"name": "digits", "damaged": "skip"}, "not made of single files that could be left out"),
        ({"name": "folder:x", "damaged": "skpi"}, "did you mean 'skip'"),
        ({"name": f"folder:{__file__}"}, "is a file, and a folder is needed: unpack it"),
    ],
)
def test_options_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        load(**arguments)


def test_the_command_lines_size_reaches_the_images(tmp_path):
    for i in range(12):
        for group in "ab":
            write(tmp_path / group / f"{i}.png", pixels(20 + i, 24))
    config = EXPERIMENT.config_class(dataset=f"folder:{tmp_path}", size=16)
    assert EXPERIMENT.data(config).shape == (16, 16, 1)
    other = EXPERIMENT.config_class(dataset=f"folder:{tmp_path}", size=8)
    assert group_of(config) != group_of(other)
    assert gm.binary_images(gm.BinaryImages(dataset=f"folder:{tmp_path}", size=8)).shape == (8, 8, 1)
    with pytest.raises(ValueError, match="give --size 64, or size=64 in the library"):
        EXPERIMENT.data(EXPERIMENT.config_class(dataset=f"folder:{tmp_path}"))


def damaged_folder(root):
    """Twenty images of two classes, of which one is no image, one is empty and one is cut off."""
    name = fill(root, "a", "b", count=20)
    (root / "a" / "3.png").write_bytes(b"<html>404</html>")
    (root / "b" / "5.png").write_bytes(b"")
    cut(root / "b" / "7.png")
    return name


def test_damaged_files_are_named_and_counted(tmp_path):
    name = damaged_folder(tmp_path)
    with pytest.raises(
        DamagedExample, match=r"[35].png cannot be decoded \(it is .*\), and 1 more: remove .*--damaged"
    ):
        load(name)
    for path in ("a/3.png", "b/5.png"):
        (tmp_path / path).unlink()
    with pytest.raises(DamagedExample, match=r"7.png cannot be decoded \(image file is truncated\): remove it"):
        for split in ("test", "train+validation"):
            load(name, split)


def test_what_is_left_out_is_as_if_it_were_not_there(tmp_path, monkeypatch):
    name = damaged_folder(tmp_path)
    memory = load(name, "train+validation", damaged="skip")
    monkeypatch.setattr(sources, "IN_MEMORY_BYTES", 0)
    disk = load(name, "train+validation", damaged="skip")
    assert disk.arrays is None and "3 damaged files (" in disk.passed_over[0] and memory.passed_over == disk.passed_over
    left, right = batches(memory, 4, seed=1), batches(disk, 4, seed=1)
    np.testing.assert_array_equal(
        memory.arrays["x"][left.rows(0, 9).ravel()], right.rows(0, 9)["x"].reshape(36, *memory.shape)
    )
    for path in ("a/3.png", "b/5.png", "b/7.png"):
        (tmp_path / path).unlink()
    monkeypatch.undo()
    clean = load(name, "train+validation")
    np.testing.assert_array_equal(clean.arrays["x"], memory.arrays["x"])
    np.testing.assert_array_equal(clean.arrays["y"], memory.arrays["y"])


def test_the_only_file_that_would_be_tested_may_be_damaged(tmp_path):
    name = fill(tmp_path, "a", count=8)
    first = min(tmp_path.rglob("*.png"), key=lambda path: fraction_of(path.relative_to(tmp_path)))
    cut(first)
    assert [len(load(name, split, damaged="skip")) for split in ("train+validation", "test")] == [6, 1]


def test_all_damaged_is_an_error_all_the_same(tmp_path):
    for i in range(4):
        cut(write(tmp_path / f"{i}.png"))
    for damaged in ("stop", "skip"):
        with pytest.raises(DamagedExample, match="png cannot be decoded"):
            load(f"folder:{tmp_path}", damaged=damaged)


def test_a_damaged_example_of_a_stream_arrives_unchanged(tmp_path, monkeypatch):
    """Through grain's threads, at the step that needs it; and what is put right is read at the next try."""
    name = fill(tmp_path, "a", count=30)
    monkeypatch.setattr(sources, "IN_MEMORY_BYTES", 0)
    data = load(name, "train+validation")
    whole = batches(data, 3, seed=2).rows(0, 8)["x"]
    bad = data.source.source.paths[int(batches(data, 3, seed=2).rows(5, 1)["index"][0, 1])]
    raw = bad.read_bytes()
    cut(bad)
    found = batches(data, 3, seed=2)
    np.testing.assert_array_equal(found.rows(0, 5)["x"], whole[:5])
    for _ in range(2):
        with pytest.raises(DamagedExample) as caught:
            found.rows(5, 1)
        assert str(caught.value).startswith(f"{bad} cannot be decoded (") and "--damaged skip" in str(caught.value)
    write(bad, pixels(7, 7))
    with pytest.raises(DamagedExample, match=r"was \(6, 5, 1\) at first and is \(7, 7, 1\) now: put the file back"):
        found.rows(5, 1)
    bad.unlink()
    with pytest.raises(DamagedExample, match=r"cannot be read .No such file"):
        found.rows(5, 1)
    bad.write_bytes(raw)
    np.testing.assert_array_equal(found.rows(5, 3)["x"], whole[5:])
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is DamagedExample and str(again) == str(caught.value)


def write_sound(path, total, *, stated=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.arange(total, dtype="<i2").tobytes())
    if stated is not None:
        raw = path.read_bytes()
        path.write_bytes(raw[:40] + stated.to_bytes(4, "little") + raw[44:])


def test_sounds_that_end_early_or_do_not_know_their_end(tmp_path):
    for i in range(12):
        write_sound(tmp_path / f"{i}.wav", 20)
    write_sound(tmp_path / "piped.wav", 20, stated=0xFFFFFFFF)  # as ffmpeg writes to a pipe
    data = load(f"audio:{tmp_path}", "train+validation")
    assert data.shape == (20,) and (data.arrays["length"] == 20).all()
    write_sound(tmp_path / "cut.wav", 20, stated=80)
    with pytest.raises(DamagedExample, match=r"cut.wav ends after 20 of 40 samples: remove it"):
        load(f"audio:{tmp_path}")
    (tmp_path / "none.wav").write_bytes(b"ID3")
    left = load(f"audio:{tmp_path}", "train+validation", damaged="skip")
    np.testing.assert_array_equal(left.arrays["x"], data.arrays["x"])
    assert "2 damaged files" in left.passed_over[0]


def test_a_path_with_a_question_mark(tmp_path):
    fill(tmp_path / "q?x=1", "x", "y")
    assert len(load(f"pairs:{tmp_path / 'q?x=1'}", "train+validation")) == 2
    fill(tmp_path / "r", "1", "y")
    assert len(load(f"pairs:{tmp_path / 'r'}?x=1", "train+validation")) == 2


def test_pairs_and_boxes_leave_out_what_is_damaged(tmp_path):
    fill(tmp_path / "q", "x", "y", count=20)
    cut(tmp_path / "q" / "y" / "4.png")
    (tmp_path / "q" / "x" / "5.png").write_bytes(b"")
    with pytest.raises(DamagedExample, match=r"5.png cannot be decoded \(it is empty\)"):
        load(f"pairs:{tmp_path / 'q'}")
    parts = [load(f"pairs:{tmp_path / 'q'}", split, damaged="skip") for split in ("train+validation", "test")]
    assert sum(map(len, parts)) == 18 and "2 damaged files" in parts[0].passed_over[0]
    name = coco(tmp_path / "c", (6, 10))
    cut(tmp_path / "c" / "2.jpg")
    with pytest.raises(DamagedExample, match=r"2.jpg cannot be decoded"):
        load(name, "train+validation")
        load(name, "test")
    assert sum(len(load(name, split, damaged="skip")) for split in ("train+validation", "test")) == 3


def test_boxes_sorted_by_class_are_held_out_mixed(tmp_path):
    for split, total in (("train", 40), ("valid", 0), ("Test", 4)):
        images, objects = [], []
        for i in range(total):
            write(tmp_path / f"{split}{i}.png")
            images.append({"id": i, "file_name": f"{split}{i}.png"})
            objects.append({"image_id": i, "category_id": i // 20, "bbox": [0, 0, 2, 2]})
        content = {"images": images, "annotations": objects, "categories": [{"id": k, "name": str(k)} for k in (0, 1)]}
        if total:
            (tmp_path / f"{split}.json").write_text(json.dumps(content))
    held = load(f"boxes:{tmp_path}", "validation", validation=8)
    assert set(held.arrays["classes"][:, 0]) == {0, 1} and len(load(f"boxes:{tmp_path}", "test")) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: [c], "lacks images, annotations, categories"),
        (lambda c: c | {"annotations": [{"image_id": 0}]}, "lacks the field 'category_id'"),
        (lambda c: c | {"images": [{"id": 0}]}, "lacks the field 'file_name'"),
        (lambda c: c | {"categories": [{"id": 1}]}, "a category lacks or mixes 'name'"),
        (lambda c: c | {"annotations": [None]}, "does not fit"),
    ],
)
def test_annotations_that_lack_a_field_are_refused(tmp_path, change, message):
    name = coco(tmp_path, (6, 10))
    content = json.loads((tmp_path / "all.json").read_text())
    (tmp_path / "all.json").write_text(json.dumps(change(content)))
    with pytest.raises(ValueError, match=message):
        load(name)
