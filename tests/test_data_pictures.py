"""Pixels of image files as viewers show them: turned, over white, in grey, in light, of a size that is given."""

import warnings

import numpy as np
import pytest
from pictures import coco, pixels, turned, write
from PIL import Image, ImageOps

import gen_models as gm
from experiments.vae import EXPERIMENT
from gen_models.data import images as images_module
from gen_models.data import load
from gen_models.data.images import decode, header
from gen_models.sweep.plan import group_of


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
