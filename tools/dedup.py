"""Find near-duplicates in a data set of images and leave them out, as the DCGAN paper did; and find what tests know.

python -m tools.dedup fashion_mnist_bundled --out dedup/fashion
python -m tools.dedup npz:my_images.npz --distance 6 --remove-leaks
python -m tools.dedup cifar10 --data-dir DIR --plant 500           # how many near-duplicates does which distance find?
python -m tools.dedup fashion_mnist_bundled --spoil 0.3 --out dedup/spoiled
python -m tools.dedup --search 1000000 --distance 8                # what the search costs

An autoencoder of DIMENSIONS-128-DIMENSIONS units, denoising and with dropout, is trained on centre crops of 32x32
pixels; a bit of an image's code says whether a unit is above 0 (Radford et al., 2016, section 4.1.1). Images whose
codes differ in at most --distance bits are near-duplicates. Of the training part the first is kept, and each later one
that is not near one that is kept: so the nearest kept one is always within the distance. The held-out and the test
part stay as they are, so that figures can be compared; which of their images are near one for training is reported, and
with --remove-leaks these leave the training part.

In --out DIR there are afterwards:
  cleaned.npz          the cleaned data set, all parts, for --dataset npz:DIR/cleaned.npz
  cleaned/             of a folder of images in its place: links to its files, for --dataset folder:DIR/cleaned
  kept.npz             `train`: the positions of the examples that stay, in the order in which experiments read them
  removed.txt          a line for each that does not: its file, or its position
  groups.json          which one stands for which ones, with the bits in which they differ, and the leaks
  groups.png, leaks_PART.png   some of them, to be looked at: are they duplicates?

What which distance finds depends on the data; --plant N measures it by changed copies, one of each of N examples, among
all others: "right" is the share of copies' originals in all that copies are found near, a lower bound, as others may be
duplicates, too. Measured once each, seed 0, on 2 vCPUs of an Intel Xeon that other programs kept busy.

CIFAR-10 from JPEGs of quality 75, 45,000 examples; in %, but for the bits, by
`python -m tools.dedup npz:cifar10_jpegq75.npz --plant 500`, 5 minutes of the clock:
  bits  shift 1  shift 2  gain  bright  JPEG 50  JPEG 20  hue  right  removed of the data as they are
  0           0        0    56      65       16        3    9  100.0  0.00
  2           2        0    83      93       59       32   35  100.0  0.03
  4           7        1    90      99       89       67   58   99.9  0.12
  6          20        3    96     100       99       86   76   99.6  0.33
  8          38        6    98     100      100       96   87   98.9  0.67
  12         75       21    99     100      100      100   96   95.9  2.05
The bundled part of Fashion-MNIST, 9,000 examples, by
`python -m tools.dedup fashion_mnist_bundled --plant 300 --steps 800`, 10 s of a core:
  bits  shift 1  shift 2  gain  bright  JPEG 50  JPEG 20       right  removed
  0           0        0    38      39       10        4        96.5  0.17
  1           0        0    70      68       27       12        89.1  0.83
  2           1        0    85      81       49       24        79.2  1.82
  4           3        2    97      95       80       54        42.5  5.86
  8          10        5   100     100       99       93         9.1  20
So the codes are nearly blind to shifts, even by a pixel, at any distance at which they are right; they withstand
compression and light. Garments in front of black differ in little else than their outlines: there the default is too
far, and 0 or 1 is better. The paper takes images of one code for duplicates, judges by eye that less than 1 in 100 are
wrong, and removes about 275,000 of the three million bedrooms of LSUN, which we do not have; on CIFAR-10 no more than
1 in 100 is wrong up to 6 bits. Not tried: other networks and larger codes, or comparing the pixels of what is found.

What training on the cleaned set changes, for a classifier: nothing that these few seeds tell. Of the bundled part of
Fashion-MNIST, 30 % of the examples for training were copied 5 times with changes (--spoil 0.3: 13,500 copies), and the
spoiled set was cleaned with --distance 2: 6,891 of the 22,500 went, half as many as were copied, as shifts and the
strongest compression escape. Test accuracy in % after 2,000 steps, by seed, standard error over images 0.76, of
`python -m experiments.classifier sweep --variants mlp --seeds 3 --steps 2000 --dataset npz:dedup/spoiled/spoiled.npz`
and the like with the other data: as it was 86.45, 86.40, 87.15; spoiled 86.75, 87.15; cleaned 86.75, 87.10. Changed
copies are augmentation, too; a longer training, a generative model or copies without changes may tell more.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen_models.run import cli
from gen_models.run.config import FINISHED
from gen_models.run.console import say

if TYPE_CHECKING:
    from .duplicates.outputs import Found
    from .duplicates.parts import Parts

DISTANCE = 4  # of natural images: see the head of this file
COPIES = 5  # of each example that --spoil copies


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, and find, plant, spoil or time; the exit status."""
    options = _checked(_parser().parse_args(arguments))
    if options.search is not None:
        from .duplicates.search import timed

        for line in timed(options.search, options.distance):
            say(line)
        return FINISHED
    from gen_models.training.startup import start

    from .duplicates.parts import read

    start()
    parts = read(options.data, options.data_dir, options.size, options.damaged)
    if options.plant is not None:
        plant(parts, options)
    elif options.spoil is not None:
        spoil(parts, options)
    else:
        clean(parts, options)
    return FINISHED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", metavar="DATA", help="as --dataset of experiments: a name, npz:FILE, ...")
    parser.add_argument("--data-dir", metavar="DIR", help="folder of prepared data sets")
    parser.add_argument("--size", type=int, metavar="N", help="height and width of the images that are written")
    parser.add_argument("--damaged", choices=("stop", "skip"), default="stop", help="at files that cannot be read")
    parser.add_argument(
        "--distance", type=int, default=DISTANCE, metavar="BITS", help=f"of near-duplicates (default: {DISTANCE})"
    )
    parser.add_argument("--steps", type=int, default=1000, help="of the autoencoder's training (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the training, and of changes (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("dedup"), metavar="DIR", help="a folder (default: dedup)")
    parser.add_argument("--remove-leaks", action="store_true", help="train on nothing near the other parts, either")
    parser.add_argument("--write", action="store_true", help="write cleaned.npz though it has more than a gibibyte")
    parser.add_argument("--plant", type=int, metavar="N", help="measure by changed copies of N examples, and stop")
    parser.add_argument(
        "--spoil", type=float, metavar="SHARE", help=f"write the data with {COPIES} changed copies of a share, and stop"
    )
    parser.add_argument("--search", type=int, metavar="N", help="time the search among N codes, and stop")
    return parser


def _checked(options: argparse.Namespace) -> argparse.Namespace:
    """The options, where they say something that can be done."""
    if (options.data is None) == (options.search is None):
        raise ValueError("give a data set, such as npz:my_images.npz, or --search N without one")
    if sum(value is not None for value in (options.plant, options.spoil, options.search)) > 1:
        raise ValueError("--plant, --spoil and --search are three things: give one of them")
    for name, least in {"steps": 1, "seed": 0, "plant": 1, "search": 2}.items():
        value = getattr(options, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} must be {least} or more, got {value}")
    if not 0 <= options.distance <= 128:
        raise ValueError(f"--distance must be from 0 to the 128 bits of a code, got {options.distance}")
    if options.spoil is not None and not 0 < options.spoil <= 1:
        raise ValueError(f"--spoil must be a share above 0 and up to 1, got {options.spoil}")
    writes = options.plant is None and options.search is None
    if writes and options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise ValueError(f"--out: {options.out} is there and not empty: give another folder")
    return options


def clean(parts: "Parts", options: argparse.Namespace) -> None:
    """Find near-duplicates, report, and write the cleaned data set."""
    import numpy as np

    from .duplicates import outputs

    found = find(parts, options)
    total, removed = len(found.stays), int((~found.stays).sum())
    groups = found.groups()
    near = sum(len(group) - 1 for group in groups)
    say(f"train: {near:,} of {total:,} are near-duplicates of {len(groups):,} others ({100 * near / total:.2f} %)")
    for part, leaks in found.leaks.items():
        known = int((leaks.nearest >= 0).sum())
        same = int(((leaks.nearest >= 0) & (leaks.distances == 0)).sum())
        say(f"{part}: {known:,} of {len(leaks.nearest):,} are near one for training, {same:,} with its very code")
    options.out.mkdir(parents=True, exist_ok=True)
    asked = {name: getattr(options, name) for name in ("data", "distance", "steps", "seed", "remove_leaks")}
    outputs.write_record(found, parts, options.out / "groups.json", asked)
    np.savez(options.out / "kept.npz", train=np.flatnonzero(found.stays))
    gone = np.flatnonzero(~found.stays).tolist()
    lines = [str(index) if parts.files is None else str(parts.files["train"].below[index]) for index in gone]
    (options.out / "removed.txt").write_text("".join(f"{line}\n" for line in lines))
    train = parts.crops["train"]
    pictures = [outputs.draw_groups(found, train, options.out / "groups.png")]
    for part, leaks in found.leaks.items():
        path = options.out / f"leaks_{part}.png"
        pictures.append(outputs.draw_leaks(part, leaks, parts.crops[part], train, path))
    for picture in pictures:
        if picture is not None:
            say("look at", picture)
    where = write_cleaned(parts, found, options)
    say(f"{removed:,} removed, {total - removed:,} stay: {where}")


def find(parts: "Parts", options: argparse.Namespace) -> "Found":
    """Train the autoencoder, encode all parts, and compare their codes."""
    import numpy as np

    from gen_models.data.near_duplicates import connected_groups, first_kept, near_codes, nearest_reference

    from .duplicates.codes import codes_of, trained
    from .duplicates.outputs import Found

    encode = trained(parts.crops["train"], steps=options.steps, seed=options.seed)
    codes = {name: codes_of(encode, crops) for name, crops in parts.crops.items()}
    near = near_codes(codes["train"], options.distance)
    kept = first_kept(near)
    chained = len(near.code_of) - len(np.unique(connected_groups(near)))
    if chained > (kept.by != np.arange(len(kept.by))).sum():
        say(f"chains: {chained:,} would go if one of each connected group stayed")
    others = [name for name in codes if name != "train"]
    leaks = {name: nearest_reference(codes[name], codes["train"], options.distance) for name in others}
    stays = kept.by == np.arange(len(kept.by))
    if options.remove_leaks:
        for name in others:
            back = nearest_reference(codes["train"], codes[name], options.distance)
            stays &= back.nearest < 0
    if not stays.any():
        raise ValueError(
            f"--distance {options.distance} with --remove-leaks leaves nothing to train on: give a smaller distance"
        )
    return Found(kept, leaks, options.distance, stays)


def write_cleaned(parts: "Parts", found: "Found", options: argparse.Namespace) -> Path | str:
    """Write the cleaned data set in the form that the data have; where it is, or why it is not."""
    from .duplicates import outputs

    if parts.whole is None and parts.files is not None:
        outputs.link_files(parts.files, found.stays, options.out / "cleaned")
        return options.out / "cleaned"
    whole: Any = parts.whole
    reason = outputs.why_not(whole, options.write)
    if reason is not None:
        return f"no cleaned.npz, as {reason}"
    outputs.write_archive(whole, found.stays, options.out / "cleaned.npz")
    return options.out / "cleaned.npz"


def plant(parts: "Parts", options: argparse.Namespace) -> None:
    """Measure what which distance finds of changed copies, as a table."""
    import numpy as np
    from rich.table import Table

    from gen_models.run.console import console

    from .duplicates.codes import codes_of, images_at, trained
    from .duplicates.plants import DISTANCES, measured

    crops = parts.crops["train"]
    if options.plant > len(crops):
        raise ValueError(f"--plant {options.plant}, but there are {len(crops):,} examples: give fewer")
    encode = trained(crops, steps=options.steps, seed=options.seed)
    chosen = np.random.default_rng(options.seed).choice(len(crops), options.plant, replace=False)
    codes = codes_of(encode, crops)
    curve = measured(encode, images_at(crops, chosen), chosen, codes, options.seed)
    table = Table(
        title=f"{parts.name}: a changed copy of each of {options.plant:,} examples among {len(crops):,}; found, in %",
        title_justify="left",
    )
    for heading in ("bits", *curve.recall, "right, %", "wrong, a copy", "removed, %"):
        table.add_column(heading, justify="right")
    for at, distance in enumerate(DISTANCES):
        table.add_row(
            str(distance),
            *(f"{100 * shares[at]:.0f}" for shares in curve.recall.values()),
            f"{100 * curve.precision[at]:.1f}",
            f"{curve.false[at]:.3f}",
            f"{100 * curve.removed[at] / len(crops):.2f}",
        )
    set_bits = np.unpackbits(codes.view(np.uint8), axis=1).mean(0)
    say(f"{int((np.minimum(set_bits, 1 - set_bits) < 0.01).sum())} of 128 bits are the same in over 99 % of the images")
    console.print(table)
    say(
        "right: of the examples that a copy is found near, the share that it was made of (a lower bound, as others may "
        "be near-duplicates, too); wrong: how many others; removed: of the data as they are"
    )


def spoil(parts: "Parts", options: argparse.Namespace) -> None:
    """Write the data with changed copies of a share of the training part, to see what these do."""
    from dataclasses import replace

    from .duplicates import outputs
    from .duplicates.plants import spoiled

    if parts.whole is None:
        raise ValueError(f"--spoil writes an archive: give the size of its images with --size for {parts.name}")
    reason = outputs.why_not(parts.whole, options.write)
    if reason is not None:
        raise ValueError(f"--spoil writes no archive of {parts.name}: {reason}")
    train: Any = parts.whole["train"]
    images, labels = spoiled(train.arrays["x"], train.arrays["y"], options.spoil, COPIES, options.seed)
    whole = {**parts.whole, "train": replace(train, arrays={"x": images, "y": labels})}
    options.out.mkdir(parents=True, exist_ok=True)
    outputs.write_archive(whole, None, options.out / "spoiled.npz")
    say(f"{len(train):,} examples and {len(images) - len(train):,} changed copies:", options.out / "spoiled.npz")


if __name__ == "__main__":
    cli.guard(main)
