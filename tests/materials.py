"""Small data of every kind, by the names that the documentation's pages use."""

import gzip
import json
import shutil
import wave
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent
CLASSES = ("boots", "shirts")
IMAGES = 30  # of each class


def write_all(folder: Path) -> None:
    """All of them, the folders that pages call DIR and FOLDER, and the experiment that docs/start.md shows."""
    for write in (images, damaged_images, archives, idx, text, sounds, tables, points, pairs, boxes):
        write(folder)
    for name in ("DIR", "FOLDER"):
        (folder / name).mkdir()
    shutil.copy(ROOT / "examples" / "capacity_vae.py", folder / "my_vae.py")


def _grey(seed: int, height: int = 16, width: int = 16) -> np.ndarray:
    """uint8 [height, width], a ramp with noise: no two are equal."""
    draw = np.random.default_rng(seed)
    return (np.linspace(0, 200, width)[None] + draw.integers(0, 55, (height, width))).astype(np.uint8)


def images(folder: Path) -> None:
    """my_images/CLASS/*.png, of three sizes, and a file that is no image."""
    for at, name in enumerate(CLASSES):
        own = folder / "my_images" / name
        own.mkdir(parents=True)
        for number in range(IMAGES):
            size = (40, 40 + 8 * (number % 3))
            Image.fromarray(_grey(100 * at + number, *size)).save(own / f"{number:03}.png")
    (folder / "my_images" / "notes.txt").write_text("from the attic\n")


def damaged_images(folder: Path) -> None:
    """damaged_images: as my_images, of one size, and one file that ends too early."""
    for at, name in enumerate(CLASSES):
        own = folder / "damaged_images" / name
        own.mkdir(parents=True)
        for number in range(IMAGES):
            Image.fromarray(_grey(100 * at + number)).save(own / f"{number:03}.png")
    file = folder / "damaged_images" / "boots" / "007.png"
    file.write_bytes(file.read_bytes()[:100])


def archives(folder: Path) -> None:
    """my_images.npz, with official splits; competition.npz, whose test part has no labels; more_images.npz."""
    train, test = (np.stack([_grey(seed) for seed in range(*span)]) for span in ((0, 120), (120, 150)))
    label, own = np.arange(120) % 3, np.arange(30) % 3
    np.savez(folder / "my_images.npz", train_image=train, train_label=label, test_image=test, test_label=own)
    more = np.concatenate([train, test])
    np.savez(folder / "more_images.npz", train_image=more, train_label=np.arange(150) % 3, test_image=test)
    np.savez(folder / "competition.npz", train_image=train, train_label=label, test_image=test)


def idx(folder: Path) -> None:
    """my_idx: four files as MNIST's."""
    (folder / "my_idx").mkdir()
    for part, count in (("train", 100), ("t10k", 20)):
        pixels = np.stack([_grey(seed) for seed in range(count)])
        label = (np.arange(count) % 4).astype(np.uint8)
        for name, values in (("images-idx3-ubyte", pixels), ("labels-idx1-ubyte", label)):
            head = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
            (folder / "my_idx" / f"{part}-{name}.gz").write_bytes(gzip.compress(head + values.tobytes()))


def text(folder: Path) -> None:
    """my_text.txt."""
    (folder / "my_text.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 100)


def sounds(folder: Path) -> None:
    """my_sounds/CLASS/*.wav, of two lengths."""
    draw = np.random.default_rng(0)
    for name in CLASSES:
        (folder / "my_sounds" / name).mkdir(parents=True)
        for number in range(20):
            with wave.open(str(folder / "my_sounds" / name / f"{number:02}.wav"), "wb") as file:
                file.setparams((1, 2, 8000, 0, "NONE", ""))
                file.writeframes(draw.integers(-999, 999, 400 + 100 * (number % 2)).astype("<i2").tobytes())


def tables(folder: Path) -> None:
    """my_table.csv: numbers, one of them missing, words, and a price that depends on the first."""
    draw = np.random.default_rng(0)
    lines = ["area,rooms,town,price"]
    for number in range(200):
        area, town = draw.integers(30, 150), ("Rome", "Oslo")[number % 2]
        lines.append(
            f"{'' if number == 7 else area},{1 + area // 30},{town},{1000 + 30 * area + draw.integers(-300, 300)}"
        )
    (folder / "my_table.csv").write_text("\n".join(lines) + "\n")


def points(folder: Path) -> None:
    """my_points.csv and my_points.npy: [500, 2]."""
    x = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    np.save(folder / "my_points.npy", x)
    np.savetxt(folder / "my_points.csv", x, delimiter=",", header="east,north", comments="")


def pairs(folder: Path) -> None:
    """my_pairs/low/*.png and my_pairs/high/*.png, of twice the size."""
    for name, size in (("low", 8), ("high", 16)):
        (folder / "my_pairs" / name).mkdir(parents=True)
        for number in range(40):
            Image.fromarray(_grey(number, size, size)).save(folder / "my_pairs" / name / f"{number:02}.png")


def boxes(folder: Path) -> None:
    """my_boxes: train.json and test.json as COCO's, and their images."""
    (folder / "my_boxes" / "images").mkdir(parents=True)
    at = 0
    for part, count in (("train", 30), ("test", 6)):
        found, annotations = [], []
        for _ in range(count):
            at += 1
            Image.fromarray(_grey(at, 20, 20)).save(folder / "my_boxes" / "images" / f"{at:02}.png")
            found.append({"id": at, "file_name": f"{at:02}.png", "width": 20, "height": 20})
            box = {"bbox": [2, 3, 8, 9], "segmentation": [[2, 3, 10, 3, 10, 12, 2, 12]]}
            annotations.append({"id": at, "image_id": at, "category_id": 1 + at % 2, "iscrowd": 0, **box})
        categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
        content = {"images": found, "annotations": annotations, "categories": categories}
        (folder / "my_boxes" / f"{part}.json").write_text(json.dumps(content))
