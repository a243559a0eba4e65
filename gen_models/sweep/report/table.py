"""A study as a table: for each label and figure the mean over seeds, its intervals and the difference from the base.

`summaries` computes, `show` prints, `write_csv` keeps every digit. Whatever stands in a table was computed from the
figures of finished runs; where there is nothing to compute from, there is nothing in the table.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gen_models.files import write_text
from gen_models.measures.figure import AVERAGED, Figure, without_note
from gen_models.run.console import console, rounded_text
from gen_models.sweep.report.statistics import (
    Difference,
    Interval,
    bootstrap_interval,
    holm,
    paired_difference,
    t_interval,
)
from gen_models.sweep.report.study import RunRecord, Study

STATUSES = ("finished", "diverged", "dropped", "failed", "missing")
ARROWS = {"maximize": " ↑", "minimize": " ↓"}
LABEL_WIDTH, LEAST_LABEL = 34, 10  # columns: a longer label is folded
NARROW = 100  # columns: what is narrower would fold every label, and where there is no terminal rich says 80
WIDE = 120  # is taken then


class Column(NamedTuple):
    """What was measured, and on what: numbers of two columns are never compared."""

    name: str
    unit: str
    measured_on: str
    note: str = ""  # what it is a bound on, by how many samples


class Summary(NamedTuple):
    """A row's runs in one figure: what stands in a cell of the table."""

    label: str
    column: Column
    mean: float  # over finite values; NaN without any
    interval: Interval | None  # bootstrap
    t_interval: Interval | None  # Student
    deviation: float  # sample standard deviation; NaN below two values
    n: int  # finite values
    not_finite: int  # finished runs whose figure is NaN or infinite
    difference: Difference | None  # None for the base itself
    p_holm: float  # corrected within the column


def columns(study: Study) -> list[Column]:
    """The figures in the order in which the labels have them; the first is the primary one."""
    ordered = [run for label in study.labels for run in study.runs if run.label == label]
    notes: dict[Column, set[str]] = {}
    for figure in (figure for run in ordered for figure in run.figures):
        notes.setdefault(_column(figure), set()).add(figure.note)
    # Runs that average their parameters are compared with others: one column, whose note says what is so of all.
    some = {column: found.pop() if len(found) == 1 else _both(column.note) for column, found in notes.items()}
    return [column._replace(note=note) for column, note in some.items()]


_SOME_AVERAGED = f"{AVERAGED} where a run keeps them"


def _both(note: str) -> str:
    return f"{note}; {_SOME_AVERAGED}" if note else _SOME_AVERAGED


def _column(figure: Figure) -> Column:
    """What was measured, whether of averaged parameters or not."""
    bare = without_note(without_note(figure, AVERAGED), _SOME_AVERAGED)
    return Column(bare.name, bare.unit, bare.measured_on, bare.note)


def title(column: Column, among: Sequence[Column], study: Study) -> str:
    """Name, better direction and unit; what it was measured on too where that tells it from another column."""
    alike = [other for other in among if (other.name, other.unit) == (column.name, column.unit)]
    there = {other.measured_on for other in alike}
    about = [column.measured_on] if len(there) > 1 else []
    about += [column.note] if len(there) < len(alike) and column.note else []
    told = f" ({'; '.join(about)})" if about else ""
    unit = f" [{column.unit}]" if column.unit else ""
    return f"{column.name}{ARROWS.get(directions(study).get(column.name, ''), '')}{unit}{told}"


def directions(study: Study) -> dict[str, str]:
    """{figure's name: "maximize" or "minimize"}, of the figures that say which way is better."""
    return {figure.name: figure.better for run in study.runs for figure in run.figures if figure.better is not None}


def summaries(study: Study) -> dict[Column, list[Summary]]:
    """{figure: a summary of each label, in the study's order}, every label in every figure.

    Raises:
      ValueError: the base is not one of the labels.
      ImportError: SciPy is not there.
    """
    if study.base not in study.labels:
        raise ValueError(f"the base {study.base!r} is not among the labels: choose one of {', '.join(study.labels)}")
    table = {}
    for column in columns(study):
        found = {label: _values(study, label, column) for label in study.labels}
        base = found[study.base]
        differences = {}
        for label, values in found.items():
            seeds = [s for s in sorted(values) if s in base and math.isfinite(values[s]) and math.isfinite(base[s])]
            if label != study.base:
                differences[label] = paired_difference([values[s] for s in seeds], [base[s] for s in seeds])
        corrected = dict(zip(differences, holm([d.p for d in differences.values()]), strict=True))
        table[column] = [
            _summary(label, column, values, differences.get(label), corrected.get(label, math.nan))
            for label, values in found.items()
        ]
    return table


def counts(study: Study, label: str) -> dict[str, int]:
    """{status: runs of the label}."""
    return {s: sum(m.label == label and m.status == s for m in study.runs) for s in STATUSES}


def runs_text(study: Study, label: str) -> str:
    """Such as "5", or "4, 1 diverged"."""
    some = counts(study, label)
    return ", ".join([str(some["finished"]), *(f"{some[s]} {s}" for s in STATUSES[1:] if some[s])])


def median_seconds(study: Study, label: str) -> float | None:
    """Of the training of its finished runs."""
    seconds = [m.seconds for m in finished(study, label) if m.seconds is not None]
    return median(seconds) if seconds else None


def finished(study: Study, label: str) -> list[RunRecord]:
    """The label's finished runs, by seed."""
    return sorted((m for m in study.runs if m.label == label and m.status == "finished"), key=lambda m: m.seed)


def estimate(mean: float, interval: Interval | None, *, signed: bool = False, typical: float | None = None) -> str:
    """`mean [low, high]` to the first two digits of the interval's half width; empty where the mean is NaN.

    `typical` is the half width that gives a column its digits, such as the median of its rows; a row whose own is much
    smaller keeps one digit of it.
    """
    if not math.isfinite(mean):
        return ""
    sign = "+" if signed else ""
    if interval is None:
        return ("+" if signed and mean > 0 else "") + rounded_text(mean, None)
    low, high = interval
    digits = _digits((high - low) / 2)
    digits = digits if typical is None else max(_digits(typical), digits - 1)
    if digits > 7 or max(abs(low), abs(high)) >= 1e9:  # too small or large to be written out
        return f"{mean:{sign}.4g} [{low:{sign}.4g}, {high:{sign}.4g}]"
    form = f"{sign},.{max(0, digits)}f"
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]"


def typical_width(intervals: Sequence[Interval | None]) -> float | None:
    """The median half width, which `estimate` takes."""
    widths = [(interval[1] - interval[0]) / 2 for interval in intervals if interval is not None]
    return median(widths) if widths else None


def chance(p: float) -> str:
    """A p-value to read: two digits, and none below what so few runs can tell."""
    if math.isnan(p):
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def show(study: Study, target: Console = console) -> None:
    """Print a row for each label: the primary figure with its difference from the base and Holm's p, then the others.

    The primary figure has a table of its own and the others stand in threes, so that 100 columns are enough.
    """
    table = summaries(study)
    names = list(table)
    head = Text(
        f"{study.experiment.rsplit('.', 1)[-1]}: mean over seeds {', '.join(map(str, study.seeds))} "
        f"[95% bootstrap interval]; Δ: paired difference from {study.base}"
    )
    first = [
        ("runs", [runs_text(study, label) for label in study.labels]),
        *((title(column, names, study), value_texts(table[column])) for column in names[:1]),
        *(("Δ", difference_texts(table[column])) for column in names[:1]),
        *(("p (Holm)", [chance(summary.p_holm) for summary in table[column]]) for column in names[:1]),
    ]
    rest = [(title(column, names, study), value_texts(table[column])) for column in names[1:]]
    if target.width < NARROW:
        target = Console(file=target.file, width=WIDE)
    wide = target.width
    taken = sum(3 + max(map(len, [*texts, *name.split()])) for name, texts in first)
    label_width = max(LEAST_LABEL, min(max(len(label) for label in study.labels), LABEL_WIDTH, wide - taken - 2))
    tables, left = [first], wide
    for name, texts in rest:  # as many beside each other as fit
        width = 3 + max(map(len, [*texts, *name.split()]))
        if len(tables) == 1 or width > left:
            tables.append([])
            left = wide - label_width - 2
        tables[-1].append((name, texts))
        left -= width
    target.print(head, soft_wrap=True)
    for named in tables:
        target.print(_shown(study.labels, named, label_width))


def _shown(labels: Sequence[str], named: Sequence[tuple[str, Sequence[str]]], label_width: int) -> Table:
    """A table with a row a label; `named` holds its columns: (heading, a text for each label)."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("row", overflow="fold", min_width=label_width)
    for name, texts in named:  # a fixed width: a label may be folded, a number may not be cut
        shown.add_column(Text(name), justify="right", width=max(map(len, [*texts, *name.split()])))
    for index, label in enumerate(labels):
        # A long label breaks at its commas. As Text: rich would take [..] of a label for markup.
        first_cell = label if len(label) <= 20 else label.replace(",", ", ")
        shown.add_row(Text(first_cell), *(Text(texts[index]) for _, texts in named))
    return shown


def value_texts(some: Sequence[Summary]) -> list[str]:
    """Means and their bootstrap intervals, and how many finished runs have no finite value."""
    typical, texts = typical_width([summary.interval for summary in some]), []
    for summary in some:
        text = estimate(summary.mean, summary.interval, typical=typical)
        odd = f"{summary.not_finite} not finite" if summary.not_finite else ""
        texts.append(f"{text} ({odd})" if text and odd else text or odd)
    return texts


def difference_texts(some: Sequence[Summary]) -> list[str]:
    """Paired differences and their bootstrap intervals; empty for the base and without pairs."""
    found = [summary.difference for summary in some]
    typical = typical_width([d.interval for d in found if d is not None])
    return ["" if d is None else estimate(d.mean, d.interval, signed=True, typical=typical) for d in found]


HEADER = (
    *("label", "figure", "unit", "measured_on", "note", "better"),
    *("mean", "bootstrap_low", "bootstrap_high", "t_low", "t_high", "standard_deviation", "n", "not_finite"),
    *("difference", "difference_bootstrap_low", "difference_bootstrap_high", "difference_t_low", "difference_t_high"),
    *("pairs", "p", "p_holm"),
    *STATUSES,
    *("parameters", "flops_per_step", "seconds_median"),
)


def write_csv(study: Study, path: Path) -> None:
    """Write `results.csv`: a row for each label and figure, every number as Python's repr, empty where there is none.

    The columns are `HEADER`: what was measured, and which way is better ("maximize", "minimize" or unknown); the mean
    over n seeds with the ends of its 95% bootstrap and Student intervals, and the sample standard deviation; the mean
    paired difference from the base with the same intervals, the number of pairs, the p-value of the paired t-test and
    Holm's correction of it over the labels of the same figure; the label's runs by status; its parameters, FLOPs per
    training step, and the median seconds of training.

    Raises:
      OSError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    better = directions(study)
    # Without figures there is still a line a label, which counts its runs.
    table: dict[Column | None, list[Summary]] = dict(summaries(study).items()) or {None: []}
    for index, label in enumerate(study.labels):
        cost = study.costs.get(label, {})
        about: list[object] = [counts(study, label)[status] for status in STATUSES]
        about += [cost.get("parameters"), cost.get("FLOPs per step"), median_seconds(study, label)]
        for column, some in table.items():
            if column is None:
                writer.writerow([label, *[None] * (len(HEADER) - 1 - len(about)), *map(_cell, about)])
                continue
            summary = some[index]
            d = summary.difference or Difference(math.nan, None, None, math.nan, 0)
            line: list[object] = [label, *column, better.get(column.name, "")]
            line += [summary.mean, *_ends(summary.interval), *_ends(summary.t_interval)]
            line += [summary.deviation, summary.n, summary.not_finite]
            line += [d.mean, *_ends(d.interval), *_ends(d.t_interval)]
            line += [None if summary.difference is None else d.pairs, d.p, summary.p_holm, *about]
            writer.writerow(map(_cell, line))
    write_text(Path(path), text.getvalue())


def _values(study: Study, label: str, column: Column) -> dict[int, float]:
    """{seed: value}."""
    same = _column(Figure(column.name, math.nan, column.unit, column.measured_on, note=column.note))
    return {
        run.seed: float(figure.value)
        for run in finished(study, label)
        for figure in run.figures
        if _column(figure) == same
    }


def _summary(
    label: str, column: Column, values: Mapping[int, float], difference: Difference | None, p_holm: float
) -> Summary:
    finite = [value for _, value in sorted(values.items()) if math.isfinite(value)]
    return Summary(
        label,
        column,
        float(np.mean(finite)) if finite else math.nan,
        bootstrap_interval(finite),
        t_interval(finite),
        float(np.std(finite, ddof=1)) if len(finite) > 1 else math.nan,
        len(finite),
        len(values) - len(finite),
        difference,
        p_holm,
    )


def _digits(half: float) -> int:
    """After the point, for two digits of `half`."""
    return 1 - math.floor(math.log10(max(half, 1e-300)))


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else interval


def _cell(value: object) -> object:
    """repr keeps every digit of a float; NaN and None are empty."""
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(float(value))
    return "" if value is None else value
