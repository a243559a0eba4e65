"""Photographs with the boundaries that several people marked: BSDS500, and pictures that are drawn here.

An example is {"x": uint8 [H, W, 3], "boundaries": uint16 [H, W], "annotators": int32 []}: bit a of a pixel says whether
annotator a marked it. Behind the transforms x is float32 in [0, 1], and there is "share" float32 [H, W], the share of
annotators who marked the pixel, which is what a network learns.

BSDS500 (Arbelaez et al., 2011) is read in the layout of its archive, BSR/BSDS500/data: images/{train,val,test}/NAME.jpg
and groundTruth/{train,val,test}/NAME.mat, a cell array with a struct for each annotator, whose Boundaries is [H, W].
Upright photographs are laid on their side (transposed, with their boundaries), so that all have one shape; that changes
no figure of the benchmark.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt16

from gen_models.data.splits import Splits
from gen_models.data.transforms import Batch, Transform, to_unit

MOST = 16  # annotators of a photograph
PARTS = {"train": "train", "validation": "val", "test": "test"}
ROOTS = ("", "data", "BSDS500/data", "BSR/BSDS500/data")  # where images and groundTruth lie below the folder
NOTE = "BSDS500 (Arbelaez et al., 2011), for research"


def boundary_splits(
    folder: str | Path, *, crop: int = 256, train_split: Literal["train", "train+validation"] = "train"
) -> Splits:
    """BSDS500: training crops with flips, whole photographs to measure.

    Args:
      folder: with `images` and `groundTruth`, or one above it as the archive unpacks.
      crop: sides of the squares that are trained on, in pixels.
      train_split: whether the 100 validation photographs are trained on too, as published figures have it.

    Raises:
      ValueError: files are missing, hold something else, or have other sizes; `crop` is larger than a photograph.
    """
    root = next((Path(folder) / r for r in ROOTS if (Path(folder) / r / "images").is_dir()), None)
    if root is None:
        raise ValueError(f"{folder} has no folder images: give BSR/BSDS500/data, or a folder above it")
    if not (root / "groundTruth").is_dir():
        raise ValueError(
            f"{root} has images but no folder groundTruth: the boundaries come with the whole archive, BSR"
        )
    parts = {part: _read(root, word) for part, word in PARTS.items()}
    train = parts["train"]
    if train_split == "train+validation":
        train = {name: np.concatenate([train[name], parts["validation"][name]]) for name in train}
        parts["validation"] = parts["test"]
    return _splits(train, parts["validation"], parts["test"], crop, NOTE)


def drawn_boundary_splits(examples: int, *, side: int = 96, crop: int = 64, seed: int = 0) -> Splits:
    """Photographs of `drawn_photographs`: `examples` to train on, and 40 each to validate and to test on.

    Raises:
      ValueError: as `drawn_photographs`, or `crop` is larger than a photograph.
    """
    train, held_out, test = (
        drawn_photographs(count, side=(side, side), seed=3 * seed + part)
        for part, count in enumerate((examples, 40, 40))
    )
    return _splits(train, held_out, test, crop, "drawn photographs")


def _splits(
    train: Mapping[str, Any], held_out: Mapping[str, Any], test: Mapping[str, Any], crop: int, name: str
) -> Splits:
    same = held_out is test
    return Splits.of_arrays(
        train,
        test,
        None if same else held_out,
        name=name.split(" (")[0],
        transform=boundary_crops(crop, train["x"].shape[1:3]),
        evaluation=with_share,
        examples="photographs",
    )


def drawn_photographs(
    count: int, *, side: tuple[int, int] = (96, 96), annotators: int = 3, seed: int = 0
) -> dict[str, np.ndarray]:
    """Pictures of regions with colours, textures, light and noise, and what each annotator marks of their boundaries.

    Regions are nearest to one of 3 to 7 points, in a plane that waves bend. A region has one colour and a grating of a
    random direction, whose edges are no boundaries. Each annotator takes two neighbouring regions for one with
    probability 1/2, and half of them mark all lines a pixel lower.

    Raises:
      ValueError: a number is not positive, or there are more than 16 annotators.
      ImportError: scikit-image is not there, which makes lines thin.
    """
    if min(count, annotators, *side) < 1 or annotators > MOST:
        raise ValueError(f"count, side and 1 to {MOST} annotators must be positive, got {count}, {side}, {annotators}")
    draw, thin = np.random.default_rng(seed), thinning()
    images, every = np.zeros((count, *side, 3), np.uint8), np.zeros((count, *side), np.uint16)
    for x, bits in zip(images, every, strict=True):
        regions = _regions(draw, side)
        x[:] = _painted(draw, regions)
        for annotator in range(annotators):
            own, number = regions.copy(), int(draw.integers(regions.max() + 1))
            near = np.unique(regions[:-1][regions[1:] == number])
            near = near[near != number]
            if draw.random() < 0.5 and near.size:
                own[own == number] = draw.choice(near)
            moved = np.roll(own, draw.integers(2), 0)
            marks = np.zeros(side, bool)
            marks[1:-2] = moved[1:-2] != moved[2:-1]
            marks[:, 1:-2] |= moved[:, 1:-2] != moved[:, 2:-1]
            marks[[0, -1]] = marks[:, [0, -1]] = False  # what entered on the other side is no boundary
            bits |= thin(marks).astype(np.uint16) << annotator
    return {"x": images, "boundaries": every, "annotators": np.full(count, annotators, np.int32)}


def thinning() -> Callable[..., Any]:
    """The function that thins lines to one pixel, [H, W] to [H, W].

    Raises:
      ImportError: scikit-image is not there; the message names the extra.
    """
    try:
        from skimage.morphology import thin
    except ImportError:
        raise ImportError("boundaries are thinned by scikit-image: pip install 'gen_models[boundaries]'") from None
    return thin


def _regions(draw: np.random.Generator, side: tuple[int, int]) -> np.ndarray:
    lines, columns = np.indices(side) / max(side)
    bent_lines, bent_columns = (
        at + draw.uniform(0.02, 0.06) * np.sin(2 * np.pi * (draw.uniform(1, 2) * other + draw.random()))
        for at, other in ((lines, columns), (columns, lines))
    )
    points = draw.uniform(0, np.array(side) / max(side), (draw.integers(3, 8), 2))
    bent = np.stack([bent_lines, bent_columns], -1)
    return ((bent[:, :, None] - points) ** 2).sum(-1).argmin(-1)


def _painted(draw: np.random.Generator, regions: np.ndarray) -> np.ndarray:
    lines, columns = np.indices(regions.shape)
    picture = np.zeros((*regions.shape, 3))
    for number in range(regions.max() + 1):
        angle, period, phase = draw.uniform(0, np.pi), draw.uniform(5, 12), draw.random()
        wave = np.sin(2 * np.pi * ((np.cos(angle) * lines + np.sin(angle) * columns) / period + phase))
        own = draw.uniform(0.15, 0.85, 3) + draw.uniform(0, 0.15) * wave[..., None]
        picture = np.where((regions == number)[..., None], own, picture)
    light = 1 + draw.uniform(-0.3, 0.3) * (lines / regions.shape[0] - 0.5)
    noisy = picture * light[..., None] + draw.normal(0, 0.04, picture.shape)
    return np.rint(255 * np.clip(noisy, 0, 1)).astype(np.uint8)


def marks_of(boundaries: UInt16[np.ndarray, "h w"], annotators: int) -> Bool[np.ndarray, "annotators h w"]:
    """The marks of each annotator of a photograph."""
    return (np.asarray(boundaries)[None] >> np.arange(annotators, dtype=np.uint16)[:, None, None]) & 1 > 0


def with_share(batch: Batch, key: Any = None) -> Batch:
    """Photographs to float32 in [0, 1], and the share of annotators who marked each pixel."""
    marks = jax.lax.population_count(jnp.asarray(batch["boundaries"])).astype(jnp.float32)
    return {**to_unit(batch), "share": marks / jnp.asarray(batch["annotators"], jnp.float32)[:, None, None]}


def boundary_crops(side: int, shape: tuple[int, int]) -> Transform:
    """Squares at uniform places of photographs, in one of the square's eight symmetries, with the share of marks.

    Raises:
      ValueError: a square is larger than a photograph [H, W].
    """
    if not 1 <= side <= min(shape):
        raise ValueError(f"crop must be 1 to {min(shape)}, the shorter side of the photographs, got {side}")

    def transform(batch: Batch, key: Any) -> Batch:
        whole = with_share(batch)
        count = whole["x"].shape[0]
        corner_key, turn_key = jax.random.split(key)
        corners = jax.random.randint(corner_key, (count, 2), 0, jnp.array(shape) - side + 1)
        turns = jax.random.bernoulli(turn_key, shape=(count, 3))

        def one(image: Float[Array, "h w c"], corner: Array, turn: Array) -> Array:
            square = jax.lax.dynamic_slice(image, (*corner, 0), (side, side, image.shape[-1]))
            square = jnp.where(turn[0], square[::-1], square)
            square = jnp.where(turn[1], square[:, ::-1], square)
            return jnp.where(turn[2], square.swapaxes(0, 1), square)

        both = jax.vmap(one)(jnp.concatenate([whole["x"], whole["share"][..., None]], -1), corners, turns)
        rest = {name: value for name, value in whole.items() if name != "boundaries"}
        return rest | {"x": both[..., :-1], "share": both[..., -1]}

    return transform


def _read(root: Path, word: str) -> dict[str, np.ndarray]:
    from PIL import Image

    paths = sorted((root / "images" / word).glob("*.jpg"))
    if not paths:
        raise ValueError(f"{root / 'images' / word} holds no .jpg: it should have the photographs of {word}")
    images: list[np.ndarray] = []
    bits, counts = [], []
    for path in paths:
        marks = _annotations(root / "groundTruth" / word / f"{path.stem}.mat")
        with Image.open(path) as opened:
            image = np.asarray(opened.convert("RGB"))
        if marks.shape[1:] != image.shape[:2]:
            raise ValueError(f"{path} is {image.shape[:2]}, but its boundaries are {marks.shape[1:]}: get it again")
        if image.shape[0] > image.shape[1]:
            image, marks = image.swapaxes(0, 1), marks.swapaxes(1, 2)
        if images and image.shape != images[0].shape:
            raise ValueError(
                f"{path} is {image.shape[:2]} and {paths[0]} {images[0].shape[:2]}: all must have one size"
            )
        images.append(image)
        bits.append((marks.astype(np.uint16) << np.arange(len(marks), dtype=np.uint16)[:, None, None]).sum(0))
        counts.append(len(marks))
    arrays = {"x": np.stack(images), "boundaries": np.stack(bits).astype(np.uint16)}
    return arrays | {"annotators": np.array(counts, np.int32)}


def _annotations(path: Path) -> Bool[np.ndarray, "annotators h w"]:
    """What each annotator marked, of a file of BSDS500."""
    if not path.is_file():
        raise ValueError(f"{path} is not there: every photograph needs its boundaries")
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError:
        raise ValueError("BSDS500's boundaries are read by SciPy: pip install 'gen_models[boundaries]'") from None
    try:
        cells = loadmat(path)["groundTruth"].ravel()
        marks = [np.asarray(cell["Boundaries"][0, 0]) > 0 for cell in cells]
    except (MatReadError, KeyError, IndexError, ValueError, TypeError, OSError, EOFError) as error:
        raise ValueError(f"{path} is no file of BSDS500's boundaries ({error}): get it again") from None
    if not 1 <= len(marks) <= MOST or len({own.shape for own in marks}) != 1 or marks[0].ndim != 2:
        raise ValueError(
            f"{path} has {len(marks)} annotators or maps of several sizes: 1 to {MOST} of one size are needed"
        )
    return np.stack(marks)
