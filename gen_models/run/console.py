"""What a run shows in the terminal: a progress bar with speed and loss, then a table. Imports no JAX."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from gen_models.measures.figure import Figure
from gen_models.run.directory import Run

# What is shown comes from users: neither [..] nor :name: in it means anything.
console = Console(markup=False, emoji=False, highlight=False)


class ProgressDisplay:
    """Shows how far a run is: a live bar in a terminal, a line every ten seconds elsewhere."""

    def __init__(self, progress: Progress | None, steps: int, start: int) -> None:
        self._progress, self._steps = progress, steps
        self._task = (
            None if progress is None else progress.add_task("train", total=steps, completed=start, loss="", speed="")
        )
        self._first: tuple[float, int] | None = None
        self._last_line = time.perf_counter()

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show step, steps/s since the first program was done (compilation left out), and the losses."""
        now = time.perf_counter()
        if self._first is None:
            self._first = (now, step)
        elapsed, done = now - self._first[0], step - self._first[1]
        speed = f"{done / elapsed:,.1f} steps/s" if done and elapsed > 0 else ""
        losses = {k: v for k, v in metrics.items() if k.rsplit("/", 1)[-1] == "loss"}
        text = ", ".join(f"{k.replace('/', ' ')} {v:.4g}" for k, v in losses.items())
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=step, loss=text, speed=speed)
        elif now - self._last_line > 10 or step == self._steps:
            self._last_line = now
            say(f"step {step:,} of {self._steps:,}  {text}  {speed}")


@contextmanager
def show_progress(steps: int, start: int) -> Iterator[ProgressDisplay]:
    """A display of the steps from `start` to `steps`, for as long as the block runs."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield ProgressDisplay(None, steps, start)
        return
    columns = (
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}", markup=False),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.fields[speed]}", style="cyan", markup=False),
        TextColumn("{task.fields[loss]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield ProgressDisplay(progress, steps, start)


def show_result(
    run: Run, figures: Sequence[Figure], *, seconds: float | None = None, finished_before: bool = False
) -> None:
    """Print the table of a run's figures, and the paths of its pictures."""
    say(f"{run.folder} finished before" if finished_before else str(run.folder))
    measured_on = list(dict.fromkeys(figure.measured_on for figure in figures))
    shared = len(measured_on) == 1  # then it is said once, under the table
    caption = printable(f"measured on {measured_on[0]}") if shared else None
    table = Table(caption=caption, caption_justify="left")
    for name in ("figure", "value", "unit", *(() if shared else ("measured on",)), "note"):
        table.add_column(name, justify="right" if name == "value" else "left", overflow="fold")
    for figure in figures:
        where = () if shared else (figure.measured_on,)
        cells = (figure.name, rounded_text(figure.value, figure.spread), figure.unit, *where, figure.note)
        table.add_row(*map(printable, cells))
    if seconds is not None:
        where = () if shared else ("this machine",)
        table.add_row("training time", f"{seconds:.1f}", "s", *where, "on this machine, compilation included")
    console.print(table)
    for remark in run.remarks():
        say(remark)
    pictures = [*sorted(run.samples.glob("*.png")), run.curves]
    shown = [picture for picture in pictures if picture.exists() and not picture.name.startswith("step_")]
    if shown:
        say("\n  ".join(["pictures:", *map(str, shown)]))


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> None:
    """Print a table, whose columns but the first are aligned to the right."""
    table = Table(title=printable(title), title_justify="left", caption=printable(caption), caption_justify="left")
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(printable, row))
    console.print(table)


def say(text: str, path: Path | None = None) -> None:
    """Print one line to the user, with a path behind it where one is given."""
    console.print(printable(text if path is None else f"{text} {path}"), soft_wrap=True)


def printable(text: object) -> str:
    """The text; characters that a terminal would obey, and halves of characters, as escapes. Line breaks stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in str(text))


def rounded_text(value: float, spread: float | None) -> str:
    """The value to the first two digits of its spread, or to four significant ones; long whole numbers in full."""
    if (spread is None or spread == 0) and float(value).is_integer() and abs(value) >= 1000:
        return f"{value:,.0f}"
    if spread is None or not math.isfinite(spread) or spread <= 0 or not math.isfinite(value):
        return f"{value:.4g}" if abs(value) < 1e5 or not math.isfinite(value) else f"{value:,.0f}"
    digits = max(0, 1 - math.floor(math.log10(spread)))
    return f"{value:.{digits}f} +- {spread:.{digits}f}"
