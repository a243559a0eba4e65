"""How well is a series forecast many steps ahead, by no model at all, by one matrix, and by networks?

    python -m experiments.forecast                # DLinear on a generated series, 48 steps ahead
    python -m experiments.forecast patches        # a transformer of patches; or nlinear, lstm, naive, seasonal_naive
    python -m experiments.forecast sweep --seeds 3                   # a table of all
    python -m experiments.forecast --network.quantiles 0.05 0.5 0.95 # intervals of 90 %, and how often they are right
    python -m experiments.forecast etth1 --dataset 'series:ETTh1.csv?train=8640&validation=2880&test=2880'

Series are read in windows of `look_back` rows and the `horizon` rows that follow, both standardised by the rows for
training, in which unit all errors are, as is customary since Zhou et al. (Informer, 2021). All windows of the test part
count; in some published code those of the last batch do not.

The generated series has three channels of daily and weekly waves with persistent noise (`gm.seasonal_series`), of which
the least mean squared error that any forecast can have is known (`gm.seasonal_floor`).

Measured, seed 0, on a core of an AMD EPYC that a dozen other programs shared (standard error by blocks of windows). Of
the generated series, MSE 48 steps ahead, where 0.400 is the least: dlinear 0.433 +- 0.014, nlinear 0.457 +- 0.014, lstm
0.853 +- 0.063, patches 0.454 +- 0.017, naive 1.466 +- 0.089, seasonal_naive 1.356 +- 0.094; the linear ones took half
a minute by the clock, the others three. With quantiles, as above, intervals of 90 % hold 71.7 +- 0.9 %.
Of ETTh1 by `etth1`, with --horizon for the others (MSE, MAE; the MSE that DLinear's authors publish):

     96   0.376 +- 0.035   0.398   0.375
    192   0.408 +- 0.039   0.418   0.405
    336   0.443 +- 0.041   0.445   0.439
    720   0.504 +- 0.030   0.513   0.472: not reached

each in one to three minutes by the clock. With --network.quantiles 0.05 0.5 0.95 the median of 96 hours has 0.368 +-
0.032 and 0.387, and intervals of 90 % hold 83.8 +- 1.1 %: too narrow, as those of the generated series. With
--look-back 336 --horizon 96, naive has 1.294 and 0.713, seasonal_naive 0.512 and
0.433.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import gen_models as gm

Dropout = Annotated[float, gm.TRACED, gm.Range(0.0, 0.6)]
ROWS = 4000  # of the generated series, of which 70 % train and 20 % test


@dataclass(frozen=True, kw_only=True)
class Naive:
    """Rows of before, again."""

    period: int = 1
    """Rows of a season that is repeated; 1: the last row alone."""


@dataclass(frozen=True, kw_only=True)
class Linear:
    """One matrix, or two."""

    kind: Literal["plain", "last", "decomposition"] = "decomposition"
    """Rows as they are, less the last one (NLinear), or a moving average and what is left without it (DLinear)."""
    window: int = 25
    """Rows of the moving average."""
    quantiles: tuple[float, ...] | None = None
    """Levels of the quantiles that are forecast, 0.5 among them; none: the mean."""


@dataclass(frozen=True, kw_only=True)
class Recurrent:
    """Recurrent layers, whose last state makes the forecast."""

    cell: Literal["lstm", "gru"] = "lstm"
    """Kind of the layers."""
    features: int = 64
    """Width of each layer."""
    layers: int = 1
    """Number of layers."""
    dropout: Dropout = 0.1
    """Probability with which a unit is dropped in training."""
    quantiles: tuple[float, ...] | None = None
    """Levels of the quantiles that are forecast, 0.5 among them; none: the mean."""


@dataclass(frozen=True, kw_only=True)
class Patches:
    """A transformer of patches, each column by itself."""

    patch: int = 16
    """Rows of a patch."""
    stride: int = 8
    """Rows from one patch to the next."""
    features: int = 16
    """Width of the stream."""
    layers: int = 2
    """Number of layers."""
    heads: int = 4
    """Heads of each attention."""
    dropout: Dropout = 0.2
    """Probability with which a unit is dropped in training."""
    quantiles: tuple[float, ...] | None = None
    """Levels of the quantiles that are forecast, 0.5 among them; none: the mean."""


@dataclass(frozen=True, kw_only=True)
class Config(gm.Optimisation):
    """A model of a series, and its training."""

    dataset: str = "seasons"
    """Generated series, seasons, or series:PATH with options."""
    data_dir: Annotated[str | None, gm.INCIDENTAL] = None
    """Folder of prepared or original data sets; a series needs none."""
    train_split: str = "train"
    """Split that is trained on, never test."""
    look_back: int = 168
    """Rows that are read."""
    horizon: int = 48
    """Rows that are forecast."""
    steps: int = 1000
    batch_size: int = 32
    network: Linear | Naive | Recurrent | Patches = field(default_factory=Linear)
    """Kind of model, with its sizes."""


base = Config(learning_rate=1e-3, evaluate_every=250)
variants: Mapping[str, Config] = {
    "dlinear": base,
    "nlinear": replace(base, network=Linear(kind="last")),
    "lstm": replace(base, network=Recurrent(), clip_norm=1.0),
    "patches": replace(base, network=Patches(), clip_norm=1.0),
    "naive": replace(base, network=Naive(), steps=1),
    "seasonal_naive": replace(base, network=Naive(period=24), steps=1),
    "etth1": replace(base, look_back=336, horizon=96, steps=1500, early_stopping=4),
}


def data(config: Config) -> "gm.Splits":
    """Windows of a series, standardised by its rows for training."""
    if config.dataset == "seasons":
        return _generated(config)
    options = f"look_back={config.look_back}&horizon={config.horizon}"
    name = f"{config.dataset}{'&' if '?' in config.dataset else '?'}{options}"
    splits = gm.load_splits(name, config.train_split, config.data_dir, examples="windows", kinds=("series",))
    meaning: Any = splits.train.meaning
    return _standardised(splits, meaning.mean, meaning.deviation)


def _generated(config: Config) -> "gm.Splits":
    values = gm.seasonal_series(ROWS)
    sizes = {"train": ROWS * 7 // 10, "validation": ROWS // 10, "test": ROWS // 5}
    parts = gm.series_splits(values, config.look_back, config.horizon, sizes, config.dataset)
    train, held_out, test = (gm.gathered(parts[word]) for word in sizes)
    splits = gm.Splits.of_arrays(train, test, held_out, name=config.dataset, examples="windows")
    rows = values[: sizes["train"]]
    return _standardised(splits, rows.mean(0), rows.std(0))


def _standardised(splits: "gm.Splits", mean: Any, deviation: Any) -> "gm.Splits":
    one = gm.standardise(mean, deviation)
    both = gm.compose(one, gm.on("y", one))
    return replace(splits, transform=both, evaluation=both, how="standardised")


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The model of the config."""
    network, sizes = config.network, (data.shape, config.horizon)
    if isinstance(network, Naive):
        return gm.naive_forecaster(*sizes, period=network.period)
    options: dict[str, Any] = vars(network) | {"dtype": config.precision}
    if isinstance(network, Linear):
        return gm.linear_forecaster(*sizes, **options)
    if isinstance(network, Recurrent):
        return gm.recurrent_forecaster(*sizes, **options)
    return gm.patch_transformer(*sizes, **options)


@dataclass(frozen=True)
class Floor:
    """The least error that any forecast of the generated series can have."""

    horizon: int
    reads_parameters = False

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "Iterator[gm.Figure]":
        """The mean of the closed form over steps and channels, in the unit of the standardised series."""
        scale = gm.seasonal_series(ROWS)[: ROWS * 7 // 10].std(0)
        value = float((gm.seasonal_floor(self.horizon)[:, None] / scale**2).mean())
        yield gm.Figure("least MSE", value, "squared", split.where, note="of who knows the waves: a closed form")


def measures(config: Config) -> "Sequence[gm.Measure]":
    """Errors, the coverage of intervals, the floor where it is known, and size."""
    quantiles = None if isinstance(config.network, Naive) else config.network.quantiles
    floor = (Floor(config.horizon),) if config.dataset == "seasons" else ()
    return (gm.measures.ForecastErrors(quantiles), *floor, gm.measures.Parameters())


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    swept=("dlinear", "nlinear", "lstm", "patches", "naive", "seasonal_naive"),
    tiny={
        "look_back": 12,
        "horizon": 4,
        "batch_size": 4,
        "network.features": 4,
        "network.layers": 1,
        "network.heads": 2,
        "network.patch": 4,
        "network.stride": 4,
        "network.window": 3,
        "network.period": 4,
    },
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
