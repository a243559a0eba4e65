"""Series of numbers: `series:PATH?look_back=336&horizon=96&train=8640&validation=2880&test=2880&columns=A,B`.

PATH is a CSV file whose first line names the columns and whose rows are in the order of time, evenly spaced. A first
column that holds no numbers, such as dates, is passed over; all others are numbers, and none is missing. The first
`train` rows are for training, the next ones validate, then some test; without these options 70 %, 10 % and 20 % do.

An example is a window: `{"x": float32 [look_back, F], "y": float32 [horizon, F]}`, y being the rows that follow those
of x. What is forecast lies in the part of the split, every window of which is taken; what a window of the validation or
test part looks back on may lie in the part before, as it is known when the forecast is made (so in Zhou et al.,
Informer, 2021, and since). The values are those of the file: `meaning` has mean and deviation of the rows for training,
by which `transforms.standardise` makes them comparable.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gen_models.data.access import Example, within
from gen_models.data.csvs import is_number, read_rows
from gen_models.data.dataset import Arrays, Origin
from gen_models.data.names import shown
from gen_models.errors import unknown

LOOK_BACK, HORIZON = 96, 24  # where nothing else is asked for
SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


class Series(NamedTuple):
    """What the columns of a series are."""

    columns: tuple[str, ...]
    mean: tuple[float, ...]  # of each, over the rows for training
    deviation: tuple[float, ...]  # likewise; 1 where all values are alike


class Windows:
    """The windows of a series whose forecasts begin at some of its rows, as a random-access source."""

    def __init__(self, values: np.ndarray, starts: range, look_back: int, horizon: int):
        self.values, self.starts, self.look_back, self.horizon = values, starts, look_back, horizon

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> Example:
        at = self.starts[index]
        return {"x": self.values[at - self.look_back : at], "y": self.values[at : at + self.horizon]}


def series_origin(path: Path, options: Mapping[str, str], limit: int) -> Origin:
    """The splits of a file; those of at most `limit` bytes are in memory.

    Raises:
      ValueError: no such file or column, values that are missing or no numbers, or too few rows.
    """
    if not path.is_file():
        raise ValueError(f"series:{path}: there is no such file")
    names, values, passed = _read(path, options.get("columns"))
    look_back, horizon = (_whole(options, name, own) for name, own in (("look_back", LOOK_BACK), ("horizon", HORIZON)))
    given = [name for name in SHARES if name in options]
    if given and len(given) < len(SHARES):
        raise ValueError(
            f"series:{path}: {' and '.join(given)} alone: give train, validation and test, or none of them"
        )
    sizes = {name: _whole(options, name, int(share * len(values))) for name, share in SHARES.items()}
    splits = series_splits(values, look_back, horizon, sizes, f"series:{path}")
    train = values[: sizes["train"]].astype(np.float64)
    deviation = train.std(0)
    meaning = Series(names, tuple(train.mean(0).tolist()), tuple(np.where(deviation > 0, deviation, 1.0).tolist()))
    return Origin(
        {split: partial(within, limit, windows) for split, windows in splits.items()},
        None,
        f"windows of {shown(path)}" + ("" if given else "; splits by us"),
        kind="series",
        meaning=meaning,
        check=_check,
        passed_over=passed,
        drawn=() if given else ("validation", "test"),
    )


def series_splits(
    values: Float[np.ndarray, "n f"], look_back: int, horizon: int, sizes: Mapping[str, int], name: str = "the series"
) -> dict[str, Windows]:
    """The windows of the parts of a series, `train`, `validation` and `test`, which follow one another.

    Args:
      values: a row for each time, in order.
      look_back: rows that a forecast is made of.
      horizon: rows that are forecast.
      sizes: rows of each part; those of the training part hold the look-back of its windows too.
      name: of the series, for errors.

    Raises:
      ValueError: a part has no window, or there are fewer rows than the parts have.
    """
    if sum(sizes.values()) > len(values):
        raise ValueError(f"{name} has {len(values):,} rows, and its parts {sum(sizes.values()):,}: give smaller ones")
    found, begin = {}, 0
    for split, size in sizes.items():
        first, last = max(begin, look_back), begin + size - horizon
        if last < first:
            raise ValueError(
                f"{name}: {split} has {size:,} rows, which hold no window of look_back={look_back} and "
                f"horizon={horizon}: give shorter ones or a larger part"
            )
        found[split] = Windows(values, range(first, last + 1), look_back, horizon)
        begin += size
    return found


def _read(path: Path, wanted: str | None) -> tuple[tuple[str, ...], np.ndarray, tuple[str, ...]]:
    """The columns' names, the values float32 [N, F], and what was passed over, in phrases."""
    rows = read_rows(path)
    if len(rows) < 3:
        raise ValueError(f"{shown(path)} has no rows below the names of its columns: get it again")
    names = [name.lstrip("# ") for name in rows[0][1]]
    words = [row for _, row in rows[1:]]
    for line, row in rows[1:]:
        if len(row) != len(names):
            raise ValueError(f"{shown(path)}, line {line}: {len(row)} values for {len(names)} columns")
    time = not is_number(words[0][0]) and bool(words[0][0])
    kept = list(range(int(time), len(names)))
    if wanted is not None:
        for one in wanted.split(","):
            if one not in names[int(time) :]:
                raise unknown("column", one, names[int(time) :])
        kept = [names.index(one) for one in wanted.split(",")]
    if not kept:
        raise ValueError(f"{shown(path)} has no column of numbers, only {', '.join(names)}")
    for line, row in rows[1:]:
        for column in kept:
            if not is_number(row[column]) or not np.isfinite(float(row[column])):
                raise ValueError(
                    f"{shown(path)}, line {line}: {names[column]!r} is {row[column]!r}, and a series has a number at "
                    "each time: fill it in, or leave the column out with columns="
                )
    values = np.array([[float(row[column]) for column in kept] for row in words], np.float32)
    return tuple(names[column] for column in kept), values, (f"the column {names[0]!r}, of times",) if time else ()


def _whole(options: Mapping[str, str], name: str, own: int) -> int:
    text = options.get(name, str(own))
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{name}={text} of a series must be a whole number of rows, 1 or more")
    return int(text)


def _check(arrays: Arrays, name: str, origin: Origin) -> dict[str, np.ndarray]:
    return dict(arrays)


def seasonal_series(
    count: int,
    seed: int = 0,
    *,
    channels: int = 3,
    periods: Sequence[int] = (24, 168),
    noise: float = 0.5,
    persistence: float = 0.8,
) -> Float[np.ndarray, "n channels"]:
    """A series of waves with persistent noise, float32 [count, channels], a pure function of the arguments.

    Each channel is the sum of a sine of each period, with an amplitude from 0.5 to 1.5 and a phase drawn for it, and of
    n_t = persistence n_(t-1) + noise e_t, with e_t normal and n_0 from the stationary distribution.

    Raises:
      ValueError: a size or a period is not positive, `noise` is negative, or `persistence` is outside of [0, 1).
    """
    if min(count, channels, *periods) < 1 or noise < 0 or not 0 <= persistence < 1:
        raise ValueError(
            "sizes must be positive, noise 0 or more and persistence in [0, 1), got "
            f"{count=}, {channels=}, {periods=}, {noise=}, {persistence=}"
        )
    rng = np.random.default_rng(seed)
    time, values = np.arange(count)[:, None], np.zeros((count, channels))
    for period in periods:
        size, phase = rng.uniform(0.5, 1.5, channels), rng.uniform(0, 2 * np.pi, channels)
        values += size * np.sin(2 * np.pi * time / period + phase)
    state = rng.normal(size=channels) * noise / np.sqrt(1 - persistence**2)
    for row in values:
        row += state
        state = persistence * state + noise * rng.normal(size=channels)
    return values.astype(np.float32)


def seasonal_floor(horizon: int, *, noise: float = 0.5, persistence: float = 0.8) -> Float[np.ndarray, " horizon"]:
    """The least mean squared error of a forecast of `seasonal_series` 1, ..., horizon steps ahead, given all before.

    It is that of who knows the waves: noise^2 (1 - persistence^(2h)) / (1 - persistence^2) at step h.
    """
    ahead = np.arange(1, horizon + 1)
    return noise**2 * (1 - persistence ** (2 * ahead)) / (1 - persistence**2)
