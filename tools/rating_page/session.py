"""A session's folder: a plan, the images under names that say nothing, and the answers.

plan.json       what was asked for, and every question with where its images are from
images/         PNG files, written anew, so that neither name, form nor metadata tells where one is from
answers.jsonl   see `answers.py`
"""

import io
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from gen_models.files import write_bytes
from gen_models.run.console import say

from . import plan as plans
from .images import Pixels, Pool, alike, fakes_of, folder_pool, is_run, taken
from .plan import Asked, Plan

_Drawn = tuple[Plan, dict[str, Pixels]]  # the images by their names


def opened(folder: Path, asked: Asked, options: Namespace) -> Plan:
    """The plan of a session, which is begun where the folder holds none; without sources, of the one that is there.

    Args:
      folder: of the session.
      asked: what the command line asks for.
      options: those of `tool.run_options`.

    Raises:
      ValueError, OSError, ImportError: the folder holds something else, or a session of another kind; a source cannot
        be read; or the images are too few or of different sizes.
    """
    there = (folder / plans.FILE).is_file()
    if there and (found := plans.load(folder)).questions:
        if asked.sources and (others := plans.differing(found.asked, asked)):
            raise ValueError(
                f"{folder} holds a session that asks for something else: {'; '.join(others)}. Repeat the old options, "
                "give no run to go on with it as it is, or choose another --out"
            )
        return found
    plans.check(asked)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out: {folder} is a file: give a folder")
    if not there and folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"--out: {folder} is not empty and holds no session: give another folder")
    return _begun(folder, asked, options)


def _begun(folder: Path, asked: Asked, options: Namespace) -> Plan:
    """Draw the images, write them and then the plan: where this is killed, the same command begins anew."""
    rng = np.random.default_rng(asked.seed)
    found, images = drawn(asked, options, rng)
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        plans.save(folder, Plan(asked, (), (), ()))  # the mark by which the folder is known
    except OSError as error:
        raise ValueError(f"--out: {folder} cannot be written ({error.strerror}): give another folder") from error
    for name, pixels in images.items():
        write_bytes(image_file(folder, name), png(pixels))
    plans.save(folder, found)
    return found


def image_file(folder: Path, name: str) -> Path:
    """Where the image of this name lies."""
    return folder / "images" / f"{name}.png"


def png(pixels: Pixels) -> bytes:
    """A PNG file of uint8 [H, W, 1 or 3]."""
    held = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(held, "PNG")
    return held.getvalue()


def drawn(asked: Asked, options: Namespace, rng: np.random.Generator) -> _Drawn:
    """The plan, and its images by their names.

    Raises:
      ValueError, OSError, ImportError: as `opened`.
    """
    data_meet = asked.task == plans.PREFER and (asked.with_real or len(asked.sources) == 1)
    names = (*plans.names_of(asked.sources), *([plans.REAL_IMAGES] if data_meet else []))
    wanted = plans.images_needed(asked, len(names))
    given = None if asked.real is None else folder_pool(Path(asked.real))
    fakes, pools = [], []
    for number, source in enumerate(map(Path, asked.sources)):
        needs_real = asked.task == plans.REAL or (data_meet and number == 0)  # competitors meet the first one's data
        if needs_real and given is None and source.is_dir() and not is_run(source):
            raise ValueError(f"{source} is a folder of images, and no run: give a folder of real ones by --real DIR")
        if is_run(source):
            say(f"{wanted} samples are drawn of", source)
        some, own = fakes_of(source, wanted, asked.seed, options, with_data=needs_real and given is None)
        fakes.append(some)
        if needs_real and (pool := given or own) is not None:
            pools.append(pool)
    make = _preferences if asked.task == plans.PREFER else _real_or_fake
    return make(asked, names, fakes, pools, rng)


def _real_or_fake(
    asked: Asked, names: Sequence[str], fakes: Sequence[list[Pixels]], pools: Sequence[Pool], rng: np.random.Generator
) -> _Drawn:
    reals = _shared(pools, asked.images, rng)
    every = {
        f"{name}, {'real' if real else 'generated'}": some
        for real, each in enumerate((fakes, reals))
        for name, some in zip(names, each, strict=True)
    }
    images = alike(every)
    found = plans.real_or_fake(asked, names, [pool.name for pool in pools], rng)
    kinds = [f"{names[q.of[0]]}, {'real' if q.real else 'generated'}" for q in found.questions]
    return found, {q.images[0]: images[kind].pop() for q, kind in zip(found.questions, kinds, strict=True)}


def _preferences(
    asked: Asked, names: Sequence[str], fakes: Sequence[list[Pixels]], pools: Sequence[Pool], rng: np.random.Generator
) -> _Drawn:
    every = [*fakes, *(taken(pool, len(fakes[0]), rng, "--images") for pool in pools)]
    images = alike(dict(zip(names, every, strict=True)))
    found = plans.preferences(asked, names, [pool.name for pool in pools], rng)
    pairs = [(image, names[of]) for q in found.questions for image, of in zip(q.images, q.of, strict=True)]
    return found, {image: images[name].pop() for image, name in pairs}


def _shared(pools: Sequence[Pool], count: int, rng: np.random.Generator) -> list[list[Pixels]]:
    """`count` real images for each source; sources with the same data share none, so that none is shown twice."""
    by_name = {pool.name: pool for pool in pools}
    each = [pool.name for pool in pools]
    left = {name: taken(pool, count * each.count(name), rng, "--images") for name, pool in by_name.items()}
    return [[left[pool.name].pop() for _ in range(count)] for pool in pools]
