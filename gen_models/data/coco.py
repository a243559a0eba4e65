"""Annotations laid out as COCO's are (Lin et al. 2014): JSON files that name images and the objects in them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gen_models.data.listing import split_files, split_of
from gen_models.data.names import shown
from gen_models.data.walking import Passed


class Annotation(NamedTuple):
    """One image's file and the m objects in it."""

    path: Path
    stated: tuple[int, int] | None  # the height and width that the JSON file states, where it does
    boxes: np.ndarray  # [m, 4], left, top, right, bottom in the pixels of the picture as shown
    classes: np.ndarray  # [m]
    polygons: tuple[tuple[Sequence[float], ...], ...]  # of each object: x, y, x, y, ...


def coco_files(path: Path) -> dict[str, Path]:
    """Split -> JSON file: of one file, a folder of files, or a folder of splits' folders with one JSON file in each.

    Raises:
      ValueError: there is no such file or folder, or a split is missing or there twice.
    """
    if path.is_file():
        return {"train": path}
    if not path.is_dir():
        raise ValueError(f"boxes:{shown(path)}: there is no such file or folder")
    found = split_files(path, ".json")
    for folder in sorted(path.iterdir()) if not found else ():
        split = split_of(folder.name) if folder.is_dir() else None
        own = sorted(folder.glob("*.json")) if split else []
        if split and len(own) == 1:
            found.setdefault(split, own[0])
    if "train" not in found or len(found) == 1:
        raise ValueError(f"boxes:{shown(path)} lacks train.json or test.json: add them, or give one JSON file")
    return found


def load_coco(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
      ValueError: it is damaged, or lacks what is needed.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{shown(path)} is damaged ({error}): get it again") from None
    needed = ("images", "annotations", "categories")
    lacks = [name for name in needed if not isinstance(content, dict) or not isinstance(content.get(name), list)]
    if lacks:
        raise ValueError(f"{shown(path)} lacks {', '.join(lacks)}: it must be laid out as COCO's annotations are")
    return content


def annotations(content: Any, file: Path, number: Mapping[Any, int], masks: bool, passed: Passed) -> list[Annotation]:
    """The images of a JSON file's content; `number` is the class of each category's id.

    Raises:
      ValueError: a field is missing or no number, or a file is not there.
    """
    try:
        found = _annotations(content, file, number, masks, passed)
    except (KeyError, TypeError, AttributeError) as error:
        what = f"lacks the field {error}" if isinstance(error, KeyError) else f"does not fit ({error})"
        raise ValueError(
            f"{shown(file)}: an image or annotation {what}: it must be laid out as COCO's annotations are"
        ) from None
    if not found:
        raise ValueError(f"{shown(file)} names no images: get it again")
    return found


def _annotations(content: Any, file: Path, number: Mapping[Any, int], masks: bool, passed: Passed) -> list[Annotation]:
    of_image: dict[Any, list[Any]] = {}
    for annotation in content["annotations"]:
        if annotation["category_id"] not in number:
            raise ValueError(f"{shown(file)}: category {annotation['category_id']!r} is none of the training file's")
        if annotation.get("iscrowd"):
            passed.add("annotation of a crowd", "annotations of crowds", [file.name])
        else:
            of_image.setdefault(annotation["image_id"], []).append(annotation)
    found = []
    for image in content["images"]:
        name = str(image["file_name"])
        paths = [folder / name for folder in (file.parent, file.parent / "images")]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise ValueError(f"{shown(file)} names {shown(name)}, which is not beside it nor in images there: add it")
        own = of_image.pop(image["id"], [])
        boxes = np.array([annotation["bbox"] for annotation in own], np.float64).reshape(-1, 4)
        if not np.isfinite(boxes).all() or (boxes < 0).any():
            raise ValueError(f"{shown(file)}: a box of {shown(name)} has a negative or no number: repair it")
        boxes[:, 2:] += boxes[:, :2]  # left, top, width, height -> left, top, right, bottom
        polygons = tuple(_polygons(annotation, file) for annotation in own) if masks else ()
        classes = np.array([number[annotation["category_id"]] for annotation in own], np.int32)
        stated = (image["height"], image["width"]) if image.get("height") and image.get("width") else None
        found.append(Annotation(path, stated, boxes, classes, polygons))
    nowhere = [file.name for own in of_image.values() for _ in own]
    passed.add("annotation of an image that is not named", "annotations of images that are not named", nowhere)
    return found


def _polygons(annotation: Any, file: Path) -> tuple[Sequence[float], ...]:
    shape = annotation.get("segmentation")
    if not isinstance(shape, list) or not shape or any(len(polygon) < 6 or len(polygon) % 2 for polygon in shape):
        raise ValueError(
            f"{shown(file)}: an annotation of image {annotation['image_id']} has no polygons: leave out masks=1"
        )
    return tuple(shape)


def check_boxes(image: Annotation, size: tuple[int, int]) -> None:
    """Refuse boxes that do not belong to the picture as it is shown, `size` (height, width).

    Raises:
      ValueError: the JSON file states another size, or a box lies outside.
    """
    height, width = size
    if image.stated is not None and tuple(image.stated) != size:
        turned = " lying, as it is stored" if tuple(image.stated) == size[::-1] else ""
        raise ValueError(
            f"{shown(image.path)} is shown with {height}x{width} pixels, and its boxes are for "
            f"{image.stated[0]}x{image.stated[1]}{turned}: mend its boxes, width and height in the JSON file"
        )
    if len(image.boxes) and (image.boxes[:, 2].max() > width + 1 or image.boxes[:, 3].max() > height + 1):
        raise ValueError(f"a box of {shown(image.path)} lies outside of its {height}x{width} pixels: repair it")
