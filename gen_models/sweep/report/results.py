"""The report's first section: what the tests show, in words, and the tables behind it."""

import math
from collections.abc import Mapping, Sequence

from gen_models.sweep.report.document import Block, Bullets, Folded, Grid, Heading, Paragraph
from gen_models.sweep.report.statistics import Difference, Interval
from gen_models.sweep.report.study import Study
from gen_models.sweep.report.table import (
    Column,
    Summary,
    chance,
    columns,
    difference_texts,
    directions,
    estimate,
    median_seconds,
    runs_text,
    title,
    typical_width,
    value_texts,
)

ABREAST = 4  # figures next to each other in a table
NAMED = 6  # rows that a finding names


def findings(study: Study, table: Mapping[Column, Sequence[Summary]]) -> list[tuple[str, str]]:
    """(figure, what its tests show at Holm's 5%), a line for each figure that was tested."""
    said = []
    for column, some in table.items():
        tested = [summary for summary in some if summary.p_holm == summary.p_holm]
        if not tested:
            continue
        name = title(column, list(table), study)
        sure = [summary for summary in tested if summary.p_holm < 0.05]
        if not sure:
            said.append(
                (name, f"of {many(len(tested), 'row')} tested, none differs from {study.base} at the 5% level.")
            )
            continue
        said_of = []
        texts = dict(zip((summary.label for summary in some), difference_texts(some), strict=True))
        for summary in sorted(sure, key=lambda summary: summary.p_holm)[:NAMED]:
            text = f"{texts[summary.label]}, p {_p(summary.p_holm)}"
            said_of.append(f"{summary.label} is {_verdict(study, summary)} ({text})")
        more = f"; and {len(sure) - NAMED} more" if len(sure) > NAMED else ""
        said.append(
            (name, f"{len(sure)} of {many(len(tested), 'row')} differ from {study.base}: {'; '.join(said_of)}{more}.")
        )
    return said


def _verdict(study: Study, summary: Summary) -> str:
    """Better or worse where the direction is known, else above or below."""
    up = summary.difference is not None and summary.difference.mean > 0
    direction = directions(study).get(summary.column.name)
    if direction is None:
        return "above" if up else "below"
    return "better" if up == (direction == "maximize") else "worse"


def result(study: Study, table: Mapping[Column, Sequence[Summary]]) -> list[Block]:
    """Findings, a table of the primary figure and of the costs, tables of the others, and every number folded."""
    names = list(table)
    tested = findings(study, table)
    blocks: list[Block] = [Heading("Result")]
    if not names:
        blocks.append(Paragraph("No run finished: there are no figures."))
    elif not tested:
        blocks.append(
            Paragraph("There is nothing to test: no row shares two seeds with the base in a figure that varies.")
        )
    blocks += [Bullets([(f"{name}:", text) for name, text in tested])] if tested else []
    # First what decides, then the other figures. All numbers of every figure follow in the folded tables.
    first = {"runs": [runs_text(study, label) for label in study.labels]}
    for column in names[:1]:
        first[title(column, names, study)] = value_texts(table[column])
        first["Δ"] = difference_texts(table[column])
        first["p (Holm)"] = [chance(summary.p_holm) for summary in table[column]]
    blocks.append(_grid(study, first | _costs(study)))
    for start in range(1, len(names), ABREAST):
        some = names[start : start + ABREAST]
        blocks.append(_grid(study, {title(column, names, study): value_texts(table[column]) for column in some}))
    blocks.append(
        Paragraph(
            "Numbers are means over seeds [95% bootstrap interval]. Δ is the mean paired difference from the base, the "
            "bold row, in the first figure. A cell is empty where nothing was measured. Seconds are the median over "
            "finished runs of the time that training took.",
            small=True,
        )
    )
    detail: list[Block] = []
    for column in names:
        detail += [
            Paragraph(f"{title(column, names, study)}, on {column.measured_on}{_noted(column)}"),
            _detail(study, table[column]),
        ]
    return [*blocks, *([Folded("Every number, figure by figure", detail)] if detail else [])]


def _detail(study: Study, some: Sequence[Summary]) -> Grid:
    differences = [summary.difference or Difference(math.nan, None, None, math.nan, 0) for summary in some]
    cells = {
        "n": [str(summary.n) for summary in some],
        "mean [bootstrap]": value_texts(some),
        "[Student]": _intervals([summary.t_interval for summary in some]),
        "deviation": [estimate(summary.deviation, None) for summary in some],
        "pairs": ["" if summary.difference is None else str(summary.difference.pairs) for summary in some],
        "Δ [bootstrap]": difference_texts(some),
        "Δ [Student]": _intervals([d.t_interval for d in differences], signed=True),
        "p": [chance(d.p) for d in differences],
        "p (Holm)": [chance(summary.p_holm) for summary in some],
    }
    return _grid(study, cells)


def _grid(study: Study, cells: Mapping[str, Sequence[str]]) -> Grid:
    """{heading: a cell for each row} as a table with the base in bold."""
    lines = [[label, *(column[index] for column in cells.values())] for index, label in enumerate(study.labels)]
    return Grid(["row", *cells], lines, 1, frozenset({study.labels.index(study.base)}))


def _intervals(some: Sequence[Interval | None], *, signed: bool = False) -> list[str]:
    typical = typical_width(some)
    texts = ["" if i is None else estimate(i[0], i, signed=signed, typical=typical) for i in some]
    return [text[text.index("[") :] if text else "" for text in texts]


def _costs(study: Study) -> dict[str, list[str]]:
    """{heading: a cell for each row}, without the headings that no row has."""
    costs = [study.costs.get(label, {}) for label in study.labels]
    seconds = [median_seconds(study, label) for label in study.labels]
    cells = {
        "parameters": [f"{c['parameters']:,.0f}" if "parameters" in c else "" for c in costs],
        "FLOPs per step": [f"{c['FLOPs per step']:.3g}" if "FLOPs per step" in c else "" for c in costs],
        "seconds": ["" if s is None else f"{s:,.1f}" for s in seconds],
    }
    if any(column.name == "parameters" for column in columns(study)):  # it is a figure: once is enough
        del cells["parameters"]
    return {name: some for name, some in cells.items() if any(some)}


def _p(p: float) -> str:
    text = chance(p)
    return text if text.startswith("<") else f"= {text}"


def many(count: int, what: str) -> str:
    """Such as "1 seed", "3 seeds"."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def _noted(column: Column) -> str:
    return f"; {column.note}" if column.note else ""
