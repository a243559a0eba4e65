"""Images with boxes around objects, and perhaps masks: `boxes:PATH?masks=1`.

- PATH is a folder with `train.json`, `test.json` and perhaps `validation.json` (or the other names of splits in
  `listing.py`), or one JSON file, of which a tenth of the images, drawn by a fixed permutation, is `test`. They hold
  what COCO's do (Lin et al. 2014): `images` (id, file_name, perhaps width and height), `annotations` (image_id,
  category_id, bbox [left, top, width, height]), `categories` (id, name). Files are looked for beside the JSON and in
  `images`. Annotations of crowds (`iscrowd`) are left out, and counted.
- or an `.npz` with `train_x` uint8 [N, H, W, C], `train_boxes` [N, M, 4], `train_classes` [N, M], `train_count` [N],
  perhaps `train_mask` uint8 [N, H, W], and the same for `test` (and `validation`).

An example is `{"x": uint8 [H, W, C], "boxes": float32 [M, 4], "classes": int32 [M], "count": int32 []}`. A box is left,
top, right, bottom in pixels of the picture as shown (`images.py`), from 0 to W and H; behind the first `count`, boxes
are 0 and classes -1. Classes are numbered from 0 in the order of the categories' ids. With `masks=1` there is
`"mask": uint8 [H, W]`: 0 is background, c + 1 an object of class c, drawn from the annotations' polygons, the smaller
over the larger. `size` stretches images, boxes and masks alike.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zipfile import BadZipFile

import numpy as np

from gen_models.data.access import ArraySource, Example, mixed, tenth, within
from gen_models.data.cache import file_stamp
from gen_models.data.coco import Annotation, annotations, check_boxes, coco_files, load_coco
from gen_models.data.damage import left_out, readable
from gen_models.data.dataset import Arrays, Origin, check_arrays
from gen_models.data.listing import SPLIT_FOLDERS
from gen_models.data.names import shown
from gen_models.data.walking import Passed

if TYPE_CHECKING:
    from gen_models.data.folder import Form
    from gen_models.data.images import Header

FIELDS = ("x", "boxes", "classes", "count", "mask")


class Objects(NamedTuple):
    """What the classes of objects mean."""

    classes: tuple[str, ...] | None  # their names; None where the file does not say


class Annotated:
    """Image files with their boxes, as a random-access source."""

    def __init__(
        self,
        images: Sequence[Annotation],
        heads: Mapping[Path, "Header"],
        form: "Form",
        most: int,
        size: tuple[int, int] | None,
        masks: bool,
    ):
        self.images, self.form, self.most, self.size, self.masks = images, form, most, size, masks
        self.shown = [heads[image.path].size for image in images]  # height and width before they are resized
        self.paths = [image.path for image in images]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Example:
        from gen_models.data.folder import picture

        image = self.images[index]
        x = picture(image.path, self.form, self.size, stretch=True)
        height, width = self.shown[index]
        scale = x.shape[1] / width, x.shape[0] / height  # x and y, new over old
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
      DamagedExample: files are no images, unless `damaged` is "skip" and these are left out.
      ValueError: no such file, a JSON without what is needed, boxes outside of their images, or images of several sizes
        where `size` is None.
    """
    if options.get("masks", "0") not in ("0", "1"):
        raise ValueError(f"masks={options['masks']} of boxes must be 0 or 1")
    masks = options.get("masks") == "1"
    if path.suffix.lower() == ".npz":
        if size is not None or masks or damaged != "stop":
            raise ValueError(f"boxes:{path}: size, masks and damaged are for images in files: leave them out")
        return _archive(path, limit)
    files = coco_files(path)
    loaded = {split: load_coco(file) for split, file in files.items()}
    try:
        categories = sorted(loaded["train"]["categories"], key=lambda category: category["id"])
        number = {category["id"]: index for index, category in enumerate(categories)}
        names = tuple(str(category["name"]) for category in categories)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{shown(files['train'])}: a category lacks or mixes {error}: give each an id, a name"
        ) from None
    passed = Passed()
    found = {split: annotations(content, files[split], number, masks, passed) for split, content in loaded.items()}
    return _of_files(path, found, names, passed, size, masks, limit, damaged)


def _split(found: Mapping[str, list[Annotation]]) -> dict[str, list[Annotation]]:
    """The splits, in mixed order where we make some of them, as such files may be sorted by class."""
    if len(found) == 1:
        (every,) = found.values()
        return {split: [every[i] for i in tenth(len(every), split)] for split in ("train", "test")}
    if "validation" in found:
        return dict(found)
    return {**found, "train": [found["train"][i] for i in mixed(len(found["train"]))]}


def _of_files(
    path: Path,
    found: dict[str, list[Annotation]],
    names: tuple[str, ...],
    passed: Passed,
    size: tuple[int, int] | None,
    masks: bool,
    limit: int,
    damaged: str,
) -> Origin:
    """The splits of image files, whose annotations have been read."""
    from gen_models.data.folder import common_form, headers

    found, heads, faults = headers(found, lambda image: (image.path,), size, damaged)
    every = [image for images in found.values() for image in images]
    for image in every:
        check_boxes(image, heads[image.path].size)
    form = common_form([(image.path, heads[image.path]) for image in every], size)
    most = max(1, *(len(image.classes) for image in every))

    def source(images: Sequence[Annotation]) -> Annotated:
        return Annotated(images, heads, form, most, size, masks)

    def stamp(images: Sequence[Annotation]) -> list[object]:
        return ["boxes", form.mode, size, [file_stamp(image.path) for image in images]]

    if damaged == "skip":
        found, unreadable = readable(found, source, path if path.is_dir() else path.parent, stamp)
        faults += unreadable
    found = _split(found)
    splits = {split: partial(within, limit, source(images)) for split, images in found.items()}
    note = f"images with boxes in {shown(path)}" + (f", stretched to {size[0]}x{size[1]}" if size else "") + form.note()
    passed_over = (*passed.phrases(), *left_out(faults), *form.phrases())
    meaning = Objects(names)
    return Origin(splits, len(names), note, kind="boxes", meaning=meaning, check=_check, passed_over=passed_over)


def _mask(image: Annotation, shape: tuple[int, ...], scale: tuple[float, float]) -> np.ndarray:
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
