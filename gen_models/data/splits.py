"""The parts of a data set with their transforms: what an experiment trains on, and what it is measured on.

    splits = load_splits("fashion_mnist_bundled", transform=binarise_dynamic)
    batches = splits.batches(128, seed=0)

What is trained on cannot validate: where the validation part is trained on, the held-out part is the test part, and
`held_out_word` says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gen_models.data.batching import Batch, Batches, Placed, batches_of, place
from gen_models.data.dataset import Dataset, check_kind, of_arrays, take_split
from gen_models.data.sources import origin_of
from gen_models.data.tables import scale_of
from gen_models.data.tokens import Vocabulary
from gen_models.data.transforms import Transform, standardise

Arrays = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Splits:
    """Training, held-out and test parts of one data set; None for a part that the data do not have."""

    train: Dataset
    held_out: Dataset | None  # measured during training; a search goes by it
    test: Dataset | None  # measured at the end
    transform: Transform | None = None  # of training batches, (batch, key) -> batch
    evaluation: Transform | None = None  # of what is measured; None: as `transform`
    packing: int = 1  # examples that a model judges at once: a batch of `size` packs takes size * packing examples
    examples: str = "examples"  # what tables call the examples: "images", "sequences"
    how: str = ""  # what `evaluation` makes of the examples, in words: "binarised (dynamic)"
    redraws: bool = False  # whether the run's seed draws the noise of the final evaluation; else all runs' is the same
    contiguous: bool = False  # whether example b of a batch goes on where that of the batch before ended: `batches`

    def __post_init__(self) -> None:
        if self.packing < 1:
            raise ValueError(f"packing must be 1 or more, got {self.packing}")
        for part in (self.train, self.held_out, self.test):
            if part is not None and not isinstance(part, Dataset):
                raise ValueError(f"parts must be data sets, got {type(part).__name__}: of arrays, use Splits.of_arrays")
            if part is not None and part.shape != self.train.shape:
                raise ValueError(
                    f"an example of {part.name}, {part.split}, has the shape {part.shape}, but one of "
                    f"{self.train.name}, {self.train.split}, has {self.train.shape}: all parts must agree"
                )
        if self.evaluation is None:
            object.__setattr__(self, "evaluation", self.transform)

    @classmethod
    def of_arrays(
        cls,
        train: Arrays,
        test: Arrays | None = None,
        held_out: Arrays | None = None,
        *,
        name: str = "arrays",
        num_classes: int | None = None,
        levels: int | None = None,
        transform: Transform | None = None,
        evaluation: Transform | None = None,
        packing: int = 1,
        examples: str = "examples",
        how: str = "",
    ) -> "Splits":
        """Splits of one's own arrays: any fields, shapes and dtypes with a leading axis [N, ...], as {"x": [N, 2]}.

        Without `held_out`, the test part is held out, as what is trained on cannot validate; without `test` too,
        nothing is. `test=train` measures on the training part, and says so.

        Args:
          train: field -> [N, ...].
          test: the same fields as `train`, of the test part.
          held_out: the same fields, of the held-out part.
          name: the name of the data in tables.
          num_classes: the number of classes that "y" counts from 0; None: "y" is no class.
          levels: the number of levels of the pixels of uint8 images; None: two where those for training are 0 and 1
            alone, else 256.
          transform: the transform of training batches.
          evaluation: the transform of what is measured; None: as `transform`.
          packing: examples that a model judges at once, as a packed GAN does: a batch of `size` takes size * packing.
          examples: what tables call the examples: "points", say.
          how: what `evaluation` makes of the examples, in words.

        Raises:
          ValueError: as `dataset.of_arrays`, shapes disagree, or `packing` is below 1.
        """
        own = of_arrays(train, name, "train", num_classes, levels)

        def part(arrays: Arrays | None, split: str) -> Dataset | None:
            if arrays is None or arrays is train:
                return None if arrays is None else own
            return of_arrays(arrays, name, split, num_classes if "y" in arrays else None, own.levels)

        tested = part(test, "test")
        held = tested if held_out is None else part(held_out, "validation")
        return cls(own, held, tested, transform, evaluation, packing, examples, how)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example's x."""
        return self.train.shape

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The text of each token, where the data are tokens that have one."""
        return self.train.meaning if isinstance(self.train.meaning, Vocabulary) else None

    @property
    def num_classes(self) -> int | None:
        """The number of classes of the labels y; None where there are none."""
        return self.train.num_classes

    @property
    def levels(self) -> int:
        """The number of levels of a pixel of uint8 images, which is 0 to levels - 1."""
        return self.train.levels

    @property
    def name(self) -> str:
        """The name of the data set."""
        return self.train.name

    @property
    def held_out_word(self) -> str:
        """What the held-out part is: "validation", "test", "train" where it is the training part, or "none"."""
        if self.held_out is None:
            return "none"
        if self.held_out is self.train:
            return "train"
        return "test" if self.held_out is self.test and not self._test_is_validation else "validation"

    @property
    def test_word(self) -> str:
        """What the test part is: "test", "train" or "validation" where it is one of these, or "none"."""
        if self.test is None:
            return "none"
        if self.test is self.train:
            return "train"
        return "validation" if self._test_is_validation else "test"

    @property
    def _test_is_validation(self) -> bool:
        """Whether what is measured at the end was held out, as the test part cannot be measured."""
        return self.test is not None and self.test is self.held_out and self.test.split.startswith("validation")

    def with_labels(self, who: str = "this model") -> "Splits":
        """The same splits for a model that needs labels, which is measured on labelled examples alone.

        Where the test part has no labels, as that of a competition, the held-out part is measured in its place, and the
        report says so.

        Args:
          who: what needs labels, for the error.

        Raises:
          ValueError: the training part has no labels, or no part that could be measured has.
        """
        if self.num_classes is None:
            raise ValueError(f"{self.name!r} has no labels, and {who} needs them: choose another --dataset")
        if self.held_out is not None and self.held_out is not self.test and self.held_out.num_classes is None:
            raise ValueError(
                f"{self.held_out.split} of {self.name!r} has no labels, and {who} needs them: leave it out"
            )
        if self.test is None or self.test.num_classes is not None:
            return self
        if self.held_out in (None, self.test):
            raise ValueError(
                f"test of {self.name!r} has no labels, and {who} needs them: hold out a part to measure "
                "(--train-split train), or add the labels"
            )
        left = f"{len(self.test):,} examples of test, which has no labels: figures are of {self.held_out.split}"
        held_out = replace(self.held_out, passed_over=(*self.held_out.passed_over, left))
        return replace(self, held_out=held_out, test=held_out)

    def batches(self, batch_size: int, *, seed: int) -> Batches:
        """Training batches of `batch_size` packs; those of all sizes and seeds share data on the device and `make`.

        A pack is one example, unless `packing` is above 1.

        Raises:
          ValueError: the batch is larger than the training part, or the seed is negative.
        """
        size = batch_size * self.packing
        return batches_of(self._placed, size, seed=seed, contiguous=self.contiguous)

    def first_batch(self, batch_size: int, key: Any) -> Batch:
        """The first batch of epoch 0 with seed 0, for an initialisation that looks at data; `key` is the transform's.

        Raises:
          ValueError: as `batches`.
        """
        first = self.batches(batch_size, seed=0)
        row = jax.tree.map(lambda x: np.asarray(x)[0], first.rows(0, 1))
        return first.make(first.data, row, key)

    @cached_property
    def _placed(self) -> Placed:
        """The training part, put on the device once for all batch sizes and seeds."""
        return place(self.train, self.transform)


def load_splits(
    name: str,
    train_split: str = "train",
    data_dir: str | Path | None = None,
    *,
    transform: Transform | None = None,
    evaluation: Transform | None = None,
    validation: int | float | None = None,
    size: int | tuple[int, int] | None = None,
    damaged: str = "stop",
    examples: str = "examples",
    how: str = "",
    redraws: bool = False,
    contiguous: bool = False,
    kinds: Sequence[str] = (),
) -> Splits:
    """`load` for the three parts: `train_split`, `test`, and `validation` unless `train_split` begins with "train+".

    The test part is None where the data have none, as a folder of `train` and `valid`: the held-out part is then
    measured in its place, and said to be. Without a transform, tables are standardised by the mean and deviation of the
    part that is trained on.

    Args:
      name: as in `load`.
      train_split: what is trained on: `train`, `train+validation`, or a slice of them.
      data_dir: as in `load`.
      transform: as in `Splits`.
      evaluation: as in `Splits`.
      validation: as in `load`.
      size: as in `load`.
      damaged: as in `load`.
      examples: as in `Splits`.
      how: as in `Splits`.
      redraws: as in `Splits`.
      contiguous: as in `Splits`.
      kinds: the kinds of data that are wanted, such as ("images",); none: any.

    Raises:
      ValueError: `train_split` is of another part than the training one (which validation may extend), the data are of
        another kind, nothing is left to measure, or as `load`.
    """
    if "test" in train_split:
        raise ValueError(
            f"--train-split {train_split}: figures are of the test split, which must not be trained on: give train or "
            "train+validation"
        )
    if not train_split.startswith("train"):
        raise ValueError(f"--train-split {train_split}: give train or train+validation, or a slice such as train[:10%]")
    origin = origin_of(name, data_dir, size=size, damaged=damaged)
    train = take_split(origin, name, train_split, validation)
    if kinds:
        check_kind(train, kinds)
    test = take_split(origin, name, "test", validation) if "test" in origin.splits else None
    if test is None and train_split.startswith("train+"):
        raise ValueError(
            f"{name!r} has no test split, so that --train-split {train_split} leaves nothing to measure: give "
            "--train-split train, or add a test split"
        )
    held_out = test if train_split.startswith("train+") else take_split(origin, name, "validation", validation)
    if transform is None and train.kind == "tables":
        transform = standardise(*scale_of(train))
    words: dict[str, Any] = {"examples": examples, "how": how, "redraws": redraws, "contiguous": contiguous}
    return Splits(train, held_out, test, transform, evaluation, **words)
