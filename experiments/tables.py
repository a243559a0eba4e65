"""How well does a network predict a column of a table from the others, beside a linear model and scikit-learn's?

    python -m experiments.tables                  # the species of penguins, by a multilayer perceptron
    python -m experiments.tables linear           # by logistic regression
    python -m experiments.tables weight           # their weight, a number; or weight_linear
    python -m experiments.tables --dataset 'table:FILE.csv?target=COLUMN' --missing nearest --indicator
    python -m experiments.tables --measure baselines                     # scikit-learn's models beside it
    python -m experiments.tables sweep --variants mlp --grid fold=0,1,2,3,4 # a cross-validation

Whether the target is a class or a number is told by its column. Rows are prepared by the training part alone
(`gm.prepared_table`); with `fold`, that part of `folds` is the test part, and `python -m tools.folds FOLDER` has the
means over the folds of a folder's runs.

Measured, seed 0, on a core of an AMD EPYC that a dozen other programs shared. Species, mean of five folds and its
standard error over them, `--fold 0` to `--fold 4` with --measure baselines: accuracy 0.9912 +- 0.0059; scikit-learn's
logistic regression 0.9942 +- 0.0036, gradient boosting 0.9913 +- 0.0036, random forest 0.9883 +- 0.0055; the most
frequent class 0.442 +- 0.020. Weight, RMSE in grams on one tenth of the rows, standard error over these: weight
319 +- 51, weight_linear 321 +- 44; ridge regression 320 +- 44, gradient boosting 324 +- 42, random forest 326 +- 49;
the mean 884. Half a minute by the clock each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import gen_models as gm


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Logistic or linear regression."""


@dataclass(frozen=True, kw_only=True)
class Mlp:
    """A multilayer perceptron."""

    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers."""
    dropout: Annotated[float, gm.TRACED, gm.Range(0.0, 0.6)] = 0.1
    """Probability with which a hidden unit is dropped in training."""


@dataclass(frozen=True, kw_only=True)
class Config(gm.Optimisation):
    """A model of a table, and its training."""

    dataset: str = "penguins"
    """Table that comes with the package, penguins, or table:PATH with options."""
    data_dir: Annotated[str | None, gm.INCIDENTAL] = None
    """Folder of prepared or original data sets; a table needs none."""
    train_split: str = "train"
    """Split that is trained on, never test."""
    fold: int | None = None
    """Part of a cross-validation that is the test part, from 0 on; none: a tenth of the rows is."""
    folds: int = 5
    """Parts of a cross-validation."""
    missing: Literal["mean", "median", "most_frequent", "nearest", "drop"] = "median"
    """What stands for a missing number: that of the column, of the nearest rows, or nothing, as the row is left out."""
    scaling: Literal["standard", "min_max", "robust", "none"] = "standard"
    """Unit of the columns: mean and deviation, least and range, median and quartiles, or their own."""
    indicator: bool = False
    """Whether the model is told what was missing."""
    neighbours: int = 5
    """Rows whose mean stands for a missing number, with --missing nearest."""
    network: Mlp | Linear = field(default_factory=Mlp)
    """Kind of model, with its sizes."""
    measure: tuple[Literal["baselines", "report"], ...] = ()
    """Further figures at the end: scikit-learn's models; of classes precision, recall, F1 and areas under curves."""
    steps: int = 1000
    batch_size: int = 64


base = Config(learning_rate=3e-3, optimizer="adamw", weight_decay=0.01, evaluate_every=200)
_weight = replace(base, dataset="penguins?target=body_mass_g")
variants: Mapping[str, Config] = {
    "mlp": base,
    "linear": replace(base, network=Linear()),
    "weight": _weight,
    "weight_linear": replace(_weight, network=Linear(), learning_rate=0.03),
}


def data(config: Config) -> "gm.Splits":
    """Rows of the table, prepared by the training part."""
    name = config.dataset
    if config.fold is not None:
        name += f"{'&' if '?' in name else '?'}fold={config.fold}&folds={config.folds}"
    splits = gm.load_splits(name, config.train_split, config.data_dir, examples="rows", kinds=("tables",))
    if splits.train.meaning.target is None:
        raise ValueError(f"{config.dataset!r} names no target, and what is to be predicted must be known: add ?target=")
    return gm.prepared_table(
        splits,
        missing=config.missing,
        scaling=config.scaling,
        indicator=config.indicator,
        neighbours=config.neighbours,
    )


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """A classifier where the target has classes, and else a regression."""
    columns: Any = data.train.meaning
    options: dict[str, Any] = {"dtype": config.precision}
    if columns.classes is None:
        sizes = vars(config.network) if isinstance(config.network, Mlp) else {"hidden": ()}
        numbers = gm.mlp((columns.width,), 1, answer="numbers", **sizes, **options)
        return gm.in_unit(numbers, centre=columns.target_centre, scale=columns.target_scale)
    if len(columns.classes) < 2:
        raise ValueError(f"{columns.target!r} of {data.name!r} has one class, and a classifier needs two")
    make: Any = gm.mlp if isinstance(config.network, Mlp) else gm.logistic_regression
    return make((columns.width,), len(columns.classes), **vars(config.network), **options)


def measures(config: Config) -> "Sequence[gm.Measure]":
    """What the target's kind asks for, and what the config does."""
    more: Mapping[str, Any] = {"baselines": gm.measures.TableBaselines, "report": gm.measures.ClassificationReport}
    return (gm.measures.TableFigures(), *(make() for name, make in more.items() if name in config.measure))


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    swept=("mlp", "linear"),
    tiny={"batch_size": 16, "network.hidden": (8,)},
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
