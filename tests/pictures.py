"""Folders of images that tests write."""

import json

import numpy as np
from PIL import Image

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


def coco(root, size, stated=None):
    """One box of the left half of a picture, which is stored lying."""
    for i in range(4):
        write(root / f"{i}.jpg", np.zeros((*size, 3), np.uint8), exif=turned(6))
    images = [{"id": i, "file_name": f"{i}.jpg", **(stated or {})} for i in range(4)]
    objects = [{"image_id": i, "category_id": 1, "bbox": [0, 0, size[0] // 2, size[1]]} for i in range(4)]
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "half"}]}
    (root / "all.json").write_text(json.dumps(content))
    return f"boxes:{root / 'all.json'}"
