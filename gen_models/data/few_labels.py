"""A training part with few labels: which examples keep theirs, and batches that hold no other label.

As in Kingma et al., Semi-supervised Learning with Deep Generative Models (2014), section 4, equally many examples of
each class keep their label, and a seed draws them. The others are there as images alone. Differs: those that keep their
label are also among the images without one, as any other example of the part is.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from gen_models.data.access import ArraySource, Subset
from gen_models.data.dataset import Dataset, check_kind
from gen_models.data.splits import Splits
from gen_models.data.transforms import Batch, Transform, to_unit


def with_few_labels(splits: Splits, labels: int, *, seed: int = 0) -> Splits:
    """The same splits, whose training batches hold the labels of `labels` examples and of no other.

    A training batch has "x" [B, ...] without "y", and for each of its examples a companion that kept its label, drawn
    evenly and with replacement by the batch's key: "labelled_x" [B, ...], made of its pixels by the same transform, and
    "labelled_y" int32 [B]. So a batch is a pure function of the seed and the step, and is cut over devices as any
    other. What is measured stays as it is, with all labels.

    Args:
      splits: images, or other examples of classes, that fit into batches with one label each.
      labels: examples that keep their label, equally many of each class.
      seed: draws them; the run's seed does not, so that runs with other seeds see the same labels.

    Raises:
      ValueError: as `chosen`, or examples are not alone in their track (`packing`, `contiguous`).
      DataAbsent: the data are not there.
    """
    if splits.packing > 1 or splits.contiguous:
        raise ValueError(
            "each example gets a labelled companion of its own: leave packing at 1 and contiguous at False"
        )
    index = chosen(splits.train, labels, seed)
    few = _examples(splits.train, index)
    inner = splits.transform or (to_unit if few["x"].dtype == np.uint8 else _unchanged)
    constants = {name: jnp.asarray(value) for name, value in few.items()}
    return replace(splits, transform=_with_companions(constants, inner), evaluation=splits.evaluation or inner)


def chosen(dataset: Dataset, labels: int, seed: int = 0) -> Int[np.ndarray, " labels"]:
    """The positions, in rising order, of `labels` examples of a part, equally many of each class, drawn by the seed.

    Examples are gone through in the permutation of the seed, and each is taken while its class has too few: of data
    that are read from disk, no more are read than that takes.

    Raises:
      ValueError: the part has no classes, they cannot share `labels` equally, a class has too few examples, or the seed
        is negative.
      DataAbsent: the data are not there.
    """
    check_kind(dataset, ("images", "points", "tables", "audio"), "a model of few labels")
    classes = dataset.num_classes
    if classes is None:
        raise ValueError(f"{dataset.name!r} has no labels of which a few could be kept: choose another --dataset")
    if labels < classes or labels % classes:
        few = classes * max(1, labels // classes)
        raise ValueError(
            f"labels={labels} cannot be shared equally by the {classes} classes of {dataset.name!r}: give {few}, or "
            f"another multiple of {classes}"
        )
    if seed < 0:
        raise ValueError(f"the seed of the labels must be 0 or more, got {seed}")
    wanted, found = labels // classes, list[int]()
    missing = np.full(classes, wanted)
    labelled = dataset.arrays["y"] if dataset.arrays is not None else None
    source: Any = dataset.source
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy=seed)))
    for position in generator.permutation(len(dataset)):
        label = int(source[int(position)]["y"] if labelled is None else labelled[position])
        if missing[label]:
            missing[label] -= 1
            found.append(int(position))
        if len(found) == labels:
            return np.sort(np.asarray(found, np.int32))
    label = int(missing.argmax())
    raise ValueError(
        f"labels={labels} are {wanted} of each class, but class {label} of {dataset.name!r}, {dataset.split}, has "
        f"{wanted - int(missing[label])} examples: give fewer"
    )


def _examples(dataset: Dataset, index: Int[np.ndarray, " labels"]) -> dict[str, np.ndarray]:
    """The fields of these examples, [labels, ...] each, and their positions as "index"."""
    source = dataset.source if dataset.arrays is None else ArraySource(dataset.arrays)
    some = Subset(source, index)
    read = [some[position] for position in range(len(some))]
    return {name: np.stack([np.asarray(each[name]) for each in read]) for name in read[0]} | {"index": index}


def _with_companions(few: Mapping[str, jax.Array], inner: Transform) -> Transform:
    """The transform that takes a batch's own labels away and adds the companions."""

    def transform(batch: Batch, key: Any) -> Batch:
        own_key, which_key, companions_key = jax.random.split(key, 3)
        which = jax.random.randint(which_key, batch["x"].shape[:1], 0, len(few["y"]))
        own = {name: value for name, value in batch.items() if name != "y"}
        companions = {name: value[which] for name, value in few.items()}
        # The number of levels is of the data and not of an example.
        companions |= {name: batch[name] for name in ("levels",) if name in batch}
        made = inner(companions, companions_key)
        return {**inner(own, own_key), "labelled_x": made["x"], "labelled_y": made["y"]}

    return transform


def _unchanged(batch: Batch, key: Any) -> Batch:
    return batch
