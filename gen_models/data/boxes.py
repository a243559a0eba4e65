"""Images with boxes around objects, and perhaps masks: `boxes:PATH?masks=1`.

- PATH is a folder with `train.json`, `test.json` and perhaps `validation.json`, or one JSON file, of which a tenth of
  the images, drawn by a fixed permutation, is `test`. They hold what COCO's do (Lin et al. 2014): `images` (id,
  file_name), `annotations` (image_id, category_id, bbox [left, top, width, height]), `categories` (id, name). Files
  are looked for beside the JSON and in `images`. Annotations of crowds (`iscrowd`) are left out.
- or an `.npz` with `train_x` uint8 [N, H, W, C], `train_boxes` [N, M, 4], `train_classes` [N, M], `train_count` [N],
  perhaps `train_mask` uint8 [N, H, W], and the same for `test` (and `validation`).

An example is `{"x": uint8 [H, W, C], "boxes": float32 [M, 4], "classes": int32 [M], "count": int32 []}`. A box is left,
top, right, bottom in pixels, from 0 to W and H; behind the first `count`, boxes are 0 and classes -1. Classes are
numbered from 0 in the order of the categories' ids. With `masks=1` there is `"mask": uint8 [H, W]`: 0 is background,
c + 1 an object of class c, drawn from the annotations' polygons, the smaller over the larger. `size` stretches images,
boxes and masks alike.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from gen_models.data.access import ArraySource, Example, tenth, within
from gen_models.data.dataset import Arrays, Origin, check_arrays
from gen_models.data.listing import SPLIT_FOLDERS

FIELDS = ("x", "boxes", "classes", "count", "mask")


class Objects(NamedTuple):
    """What the classes of objects mean."""

    classes: tuple[str, ...] | None  # their names; None where the file does not say


class _Image(NamedTuple):
    """One image's file and the m objects in it."""

    path: Path
    boxes: np.ndarray  # [m, 4], left, top, right, bottom in the file's pixels
    classes: np.ndarray  # [m]
    polygons: tuple[tuple[Sequence[float], ...], ...]  # of each object: x, y, x, y, ...


class Annotated:
    """Image files with their boxes, as a random-access source."""

    def __init__(self, images: Sequence[_Image], mode: str, most: int, size: tuple[int, int] | None, masks: bool):
        self.images, self.mode, self.most, self.size, self.masks = images, mode, most, size, masks

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Example:
        from gen_models.data.images import stretch

        image = self.images[index]
        x, scale = stretch(image.path, self.mode, self.size)  # scale: x and y, new over old
        count = len(image.classes)
        boxes, classes = np.zeros((self.most, 4), np.float32), np.full(self.most, -1, np.int32)
        boxes[:count], classes[:count] = image.boxes * np.array([*scale, *scale]), image.classes
        found: Example = {"x": x, "boxes": boxes, "classes": classes, "count": np.int32(count)}
        if self.masks:
            found["mask"] = _mask(image, x.shape[:2], scale)
        return found


def boxes_origin(
    path: Path, options: Mapping[str, str], size: tuple[int, int] | None, limit: int, damaged: str = "stop"
) -> Origin:
    """The splits of images with boxes; those of at most `limit` decoded bytes are in memory.

    Raises:
      ValueError: no such file, a JSON without what is needed, boxes outside of their images, or images of several sizes
        where `size` is None.
    """
    if options.get("masks", "0") not in ("0", "1"):
        raise ValueError(f"masks={options['masks']} of boxes must be 0 or 1")
    masks = options.get("masks") == "1"
    if path.suffix.lower() == ".npz":
        if size is not None or masks:
            raise ValueError(f"boxes:{path}: size and masks are for images in files: leave them out")
        return _archive(path, limit)
    files = _files(path)
    loaded = {split: _load(file) for split, file in files.items()}
    categories = sorted(loaded["train"]["categories"], key=lambda category: category["id"])
    number = {category["id"]: index for index, category in enumerate(categories)}
    found = {split: _images(content, files[split], number, masks) for split, content in loaded.items()}
    if len(found) == 1:
        (every,) = found.values()
        found = {split: [every[i] for i in tenth(len(every), split)] for split in ("train", "test")}
    most = max(1, *(len(image.classes) for images in found.values() for image in images))
    mode = _mode(found, size)
    splits = {split: partial(within, limit, Annotated(own, mode, most, size, masks)) for split, own in found.items()}
    names = tuple(str(category["name"]) for category in categories)
    note = f"images with boxes in {path}" + (f", stretched to {size[0]}x{size[1]}" if size else "")
    return Origin(splits, len(names), note, kind="boxes", meaning=Objects(names), check=_check)


def _files(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {"train": path}
    if not path.is_dir():
        raise ValueError(f"boxes:{path}: there is no such file or folder")
    found = {s: path / f"{n}.json" for s, ns in SPLIT_FOLDERS.items() for n in ns if (path / f"{n}.json").is_file()}
    if not {"train", "test"} <= set(found):
        raise ValueError(f"boxes:{path} lacks train.json or test.json: add them, or give one JSON file")
    return found


def _load(path: Path) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): get it again") from None
    lacks = [name for name in ("images", "annotations", "categories") if name not in content]
    if lacks:
        raise ValueError(f"{path} lacks {', '.join(lacks)}: it must be laid out as COCO's annotations are")
    return content


def _images(content: Any, file: Path, number: Mapping[Any, int], masks: bool) -> list[_Image]:
    """The images of a JSON file's content; `number` is the class of each category's id."""
    of_image: dict[Any, list[Any]] = {}
    for annotation in content["annotations"]:
        if annotation["category_id"] not in number:
            raise ValueError(f"{file}: category {annotation['category_id']!r} is none of the training file's")
        if not annotation.get("iscrowd"):
            of_image.setdefault(annotation["image_id"], []).append(annotation)
    found = []
    for image in content["images"]:
        paths = [folder / image["file_name"] for folder in (file.parent, file.parent / "images")]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise ValueError(f"{file} names {image['file_name']}, which is not in {file.parent} or its images: add it")
        own = of_image.get(image["id"], [])
        boxes = np.array([annotation["bbox"] for annotation in own], np.float64).reshape(-1, 4)
        if not np.isfinite(boxes).all() or (boxes < 0).any():
            raise ValueError(f"{file}: a box of {image['file_name']} has a negative or no number: repair it")
        boxes[:, 2:] += boxes[:, :2]  # left, top, width, height -> left, top, right, bottom
        polygons = tuple(_polygons(annotation, file) for annotation in own) if masks else ()
        classes = np.array([number[annotation["category_id"]] for annotation in own], np.int32)
        found.append(_Image(path, boxes, classes, polygons))
    if not found:
        raise ValueError(f"{file} names no images: get it again")
    return found


def _polygons(annotation: Any, file: Path) -> tuple[Sequence[float], ...]:
    shape = annotation.get("segmentation")
    if not isinstance(shape, list) or not shape or any(len(polygon) < 6 or len(polygon) % 2 for polygon in shape):
        raise ValueError(f"{file}: an annotation of image {annotation['image_id']} has no polygons: leave out masks=1")
    return tuple(shape)


def _mode(found: Mapping[str, Sequence[_Image]], size: tuple[int, int] | None) -> str:
    """The mode that all images get; their boxes are checked against their sizes."""
    from gen_models.data.images import header

    first, mode = None, "L"
    for image in (image for images in found.values() for image in images):
        (height, width), own = header(image.path)
        mode = "RGB" if own == "RGB" else mode
        first = first or (height, width)
        if size is None and (height, width) != first:
            raise ValueError(
                f"{image.path} is {height}x{width}, others are {first[0]}x{first[1]}: give size=, as size=64"
            )
        if len(image.boxes) and (image.boxes[:, 2].max() > width + 1 or image.boxes[:, 3].max() > height + 1):
            raise ValueError(f"a box of {image.path} lies outside of its {height}x{width} pixels: repair it")
    return mode


def _mask(image: _Image, shape: tuple[int, ...], scale: tuple[float, float]) -> np.ndarray:
    """The mask uint8 [H, W]; larger objects are drawn first, so that smaller ones in front of them can be seen."""
    from PIL import Image, ImageDraw

    canvas = Image.new("L", (shape[1], shape[0]))
    draw = ImageDraw.Draw(canvas)
    area = (image.boxes[:, 2] - image.boxes[:, 0]) * (image.boxes[:, 3] - image.boxes[:, 1])
    for index in np.argsort(-area, kind="stable"):
        for polygon in image.polygons[index]:
            corners = np.asarray(polygon, np.float64).reshape(-1, 2) * np.array(scale)
            # COCO's corners lie on the edges between pixels. PIL's lie in the middle of pixels, and it fills up to and
            # with them: half a pixel less is the same point.
            draw.polygon([tuple(corner) for corner in corners - 0.5], fill=int(image.classes[index]) + 1)
    return np.asarray(canvas)


def _archive(path: Path, limit: int) -> Origin:
    """The splits of an `.npz` of images with boxes; see the top of this file."""
    if not path.is_file():
        raise ValueError(f"boxes:{path}: there is no such file")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (BadZipFile, ValueError, OSError, EOFError, AttributeError) as error:
        raise ValueError(f"{path} is not an .npz archive of plain arrays ({error}): make it with np.savez") from None
    found = {}
    for split in (split for split in SPLIT_FOLDERS if f"{split}_x" in arrays):
        found[split] = {field: arrays[f"{split}_{field}"] for field in FIELDS if f"{split}_{field}" in arrays}
        lacks = [f"{split}_{field}" for field in FIELDS[:4] if field not in found[split]]
        if lacks:
            raise ValueError(f"{path} lacks {', '.join(lacks)}: add them")
    if "train" not in found:
        raise ValueError(f"{path} has the arrays {', '.join(arrays)}: name them train_x, train_boxes, ...")
    classes = int(found["train"]["classes"].max()) + 1
    splits = {split: partial(within, limit, ArraySource(_checked(own, str(path)))) for split, own in found.items()}
    return Origin(splits, classes, f"images in {path}", kind="boxes", meaning=Objects(None), check=_check)


def _checked(arrays: Arrays, name: str) -> dict[str, np.ndarray]:
    """The fields of N examples, in their dtypes, with 0 and -1 behind the first `count` objects."""
    x, boxes, classes, count = (np.asarray(arrays[field]) for field in FIELDS[:4])
    total, most = len(x), boxes.shape[1] if boxes.ndim == 3 else 0
    if boxes.shape != (total, most, 4) or classes.shape != (total, most) or count.shape != (total,):
        shapes = f"{list(boxes.shape)}, {list(classes.shape)} and {list(count.shape)}"
        raise ValueError(f"{name}: boxes, classes and count must be [N, M, 4], [N, M] and [N], got {shapes}")
    if not np.isfinite(boxes).all() or classes.dtype.kind not in "iu" or count.dtype.kind not in "iu":
        raise ValueError(f"{name}: boxes must be finite, and classes and count integers")
    if count.min() < 0 or count.max() > most:
        raise ValueError(f"{name}: count must be 0 to {most}, got {count.min()} to {count.max()}")
    real = np.arange(most) < count[:, None]  # [N, M]: whether there is an object, or it fills up
    found = {
        "x": check_arrays({"x": x}, name, None, 256)["x"],
        "boxes": np.where(real[..., None], boxes, 0).astype(np.float32),
        "classes": np.where(real, classes, -1).astype(np.int32),
        "count": count.astype(np.int32),
    }
    if "mask" in arrays:
        mask = np.asarray(arrays["mask"])
        if mask.dtype != np.uint8 or mask.shape != found["x"].shape[:3]:
            raise ValueError(f"{name}: mask must be uint8 [N, H, W], got {mask.dtype} {list(mask.shape)}")
        found["mask"] = mask
    return found


def _check(arrays: Arrays, name: str, origin: Origin) -> dict[str, np.ndarray]:
    found = _checked(arrays, name)
    if origin.num_classes is not None and found["classes"].max() >= origin.num_classes:
        raise ValueError(f"{name}: classes must be 0 to {origin.num_classes - 1}, got {found['classes'].max()}")
    return found
