"""The images that raters see, of runs or of folders of images. JAX is imported when they are read."""

import dataclasses
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gen_models.run import tool

if TYPE_CHECKING:
    from gen_models.measures.base import Split
    from gen_models.run.restore import Loaded

Pixels = np.ndarray  # uint8 [H, W, 1 or 3]
BEYOND = 0.01  # how far rounding may take a pixel out of its range


class Pool(NamedTuple):
    """Images of which some are taken at random."""

    name: str  # pools of one name hold the same images
    size: int
    take: Callable[[np.ndarray], list[Pixels]]  # those of these numbers, from 0 to size - 1


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, and not images alone."""
    return (folder / "config.json").is_file()


def fakes_of(
    source: Path, count: int, seed: int, options: Namespace, *, with_data: bool
) -> tuple[list[Pixels], Pool | None]:
    """`count` generated images of a run or a folder, and, of a run whose data are wanted, its real ones.

    Args:
      source: the run's directory, or a folder of images.
      count: how many.
      seed: of the samples, or of which images are taken.
      options: of the command line, those of `tool.run_options` and `untransformed`.
      with_data: whether the run's real images are wanted.

    Raises:
      ValueError, OSError, ImportError: there is no such folder, it cannot be read, or its images are too few.
    """
    if not source.is_dir():
        raise ValueError(f"{source} is no folder: give a run's directory or a folder of images")
    if not is_run(source):
        return taken(folder_pool(source), count, np.random.default_rng(seed), "--images"), None
    found = tool.loaded(Namespace(**vars(options) | {"run": source}), with_data=with_data)
    return _samples(found, count, seed), test_pool(found, options.untransformed) if with_data else None


def _samples(found: "Loaded", count: int, seed: int) -> list[Pixels]:
    import jax

    sampler = tool.sampler_of(found)
    drawn = np.asarray(sampler.sample(found.job.trained(found.state), jax.random.key(seed), count))
    return pixels_of(drawn, _levels(found), f"samples of {found.run.folder}")


def _levels(found: "Loaded") -> int:
    return getattr(tool.sampler_of(found), "levels", found.job.data.levels)


def test_pool(found: "Loaded", untransformed: bool) -> Pool:
    """The real images of a run: its test part, as the model sees them, or with `untransformed` as they are stored.

    Raises:
      ValueError: the data cannot be read, or are no images.
    """
    import jax

    split = found.job.test(jax.random.key(0))
    levels = found.job.data.levels if untransformed else _levels(found)
    where = f"{split.where}{', untransformed' if untransformed else ''}"

    def take(numbers: np.ndarray) -> list[Pixels]:
        chosen = _chosen(split, numbers)
        batch = next(iter(chosen.batches(len(numbers), _unchanged if untransformed else None)))
        return pixels_of(np.asarray(batch["x"]), levels, f"images of {where}")

    return Pool(where, len(split), take)


def _unchanged(batch: Any, key: Any) -> Any:
    return batch


def _chosen(split: "Split", numbers: np.ndarray) -> "Split":
    """The examples of a split that have these numbers."""
    from gen_models.data.access import Subset

    data = split.dataset
    arrays = None if data.arrays is None else {name: values[numbers] for name, values in data.arrays.items()}
    source = None if data.source is None else Subset(data.source, numbers)
    return dataclasses.replace(split, dataset=dataclasses.replace(data, arrays=arrays, source=source))


def pixels_of(x: np.ndarray, levels: int, what: str) -> list[Pixels]:
    """Images [N, H, W, C] whose pixels are 0 to levels - 1, as bytes.

    Raises:
      ValueError: they are no such images.
    """
    if x.ndim != 4 or x.shape[-1] not in (1, 3):
        raise ValueError(f"the {what} are arrays of the shape {x.shape[1:]}, and no images [height, width, 1 or 3]")
    unit = np.asarray(x, np.float64) / (levels - 1)
    if not ((unit >= -BEYOND) & (unit <= 1 + BEYOND)).all():
        raise ValueError(
            f"the {what} have pixels from {x.min():g} to {x.max():g}, and not from 0 to {levels - 1}: write them as "
            "PNG files, and give their folder in place of the run"
        )
    return list(np.round(255 * np.clip(unit, 0, 1)).astype(np.uint8))


def folder_pool(folder: Path) -> Pool:
    """The image files below a folder, at any depth; nothing is written there.

    Raises:
      ValueError: there is no such folder, or no image in it.
    """
    from gen_models.data.folder import SUFFIXES
    from gen_models.data.images import decode, header
    from gen_models.data.walking import Passed, files_below

    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: give one with images")
    paths = [folder / path for path in files_below(folder, SUFFIXES, Passed())[0]]
    if not paths:
        raise ValueError(f"{folder} holds neither a run nor images ({', '.join(SUFFIXES)})")

    def take(numbers: np.ndarray) -> list[Pixels]:
        return [decode(paths[number], header(paths[number]).mode) for number in numbers]

    return Pool(f"images in {folder}", len(paths), take)


def taken(pool: Pool, count: int, rng: np.random.Generator, option: str) -> list[Pixels]:
    """`count` different images of the pool.

    Raises:
      ValueError: there are fewer; the message names the option that asks for so many.
    """
    if count > pool.size:
        raise ValueError(
            f"{count} different images are asked for, but there are {pool.size} ({pool.name}): lower {option}"
        )
    return pool.take(rng.permutation(pool.size)[:count])


def alike(images: Mapping[str, Sequence[Pixels]]) -> dict[str, list[Pixels]]:
    """The images, all in colour where one is, so that no file tells by its form where it is from.

    Args:
      images: name -> images of it.

    Raises:
      ValueError: sizes differ, by which raters would tell.
    """
    sizes = {name: {image.shape[:2] for image in some} for name, some in images.items()}
    if len(set().union(*sizes.values())) > 1:
        each = "; ".join(
            f"{name}: {', '.join(f'{w}x{h}' for h, w in sorted(found)[:3])}" for name, found in sizes.items()
        )
        raise ValueError(
            f"images must have one size, or raters tell by it where they are from, got {each}: resize them"
        )
    channels = max(image.shape[-1] for some in images.values() for image in some)
    return {name: [np.repeat(x, channels // x.shape[-1], axis=-1) for x in some] for name, some in images.items()}
