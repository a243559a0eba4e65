"""Tables, CSV and reports of made-up studies: what stands in them follows from the figures, and nothing else does."""

import csv
import io
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image
from rich.console import Console
from scipy import stats

from gen_models.measures.figure import AVERAGED, Figure, with_note
from gen_models.sweep.report import curves, pictures
from gen_models.sweep.report.report import write_report
from gen_models.sweep.report.results import findings
from gen_models.sweep.report.statistics import holm
from gen_models.sweep.report.study import Group, RunRecord, Study
from gen_models.sweep.report.table import HEADER, chance, columns, estimate, show, summaries, write_csv

HERE = "MNIST, test, 10,000 images"
ODD = "base,width=64,<script>alert('1|2')</script>"
STRANGE = ("_hidden", "[red]loud[/red]", "$x_{", "数", "a`b*c")


def _record(label, seed, value, picture=None, extra=(), **changes):
    figures = [
        Figure("ELBO", value, "nats/image", HERE, better="maximize"),
        Figure("modes", float(seed % 2), "of 25", HERE),
        *extra,
    ]
    history = [
        {"step": step, "seconds": step / 10, "train/loss": 500 / step + seed, "train/norm": 10 ** (3 - step / 100)}
        | ({"validation/loss": -value + 100 / step} if step % 200 == 0 else {})
        for step in range(50, 401, 50)
    ]
    made = {} if picture is None else {"samples": picture}
    return RunRecord(label, seed, "finished", figures, history, 10.0 + seed, 400, made)._replace(**changes)


def _diverged(label, seed):
    rows_ = [{"step": step, "seconds": 1.0, "train/loss": 10.0**step} for step in (1, 2, 3)]
    rows_.append({"step": 4, "seconds": 1.0, "train/loss": "nan"})
    return RunRecord(label, seed, "diverged", (), rows_, None, 4, message="loss was nan at step 4 & <b>not</b> before")


def _study(labels, members, **changes):
    configs = {label: {"width": 10 * i, "steps": 400, "name": label} for i, label in enumerate(labels)}
    seeds = tuple(sorted({m.seed for m in members}))
    costs = {labels[0]: {"parameters": 1234567.0, "FLOPs per step": 1.25e9}}
    groups = [
        Group((labels[0],), 3, "scan", {"vmap": 0.004, "scan": 0.002}, "the quickest"),
        Group(tuple(labels[1:]), 9, "processes", {}),
    ]
    environment = {"python": "3.11", "devices": ["cpu:cpu"], "versions": {"jax": "0.10", "flax": None}}
    made = Study(
        *(
            "experiments.vae",
            "Does <width> matter?",
            labels[0],
            tuple(labels),
            configs,
            members,
            seeds,
            "400 steps each",
        ),
        *(costs, groups, environment, "python -m experiments.vae sweep --note '<x>'"),
    )
    return made._replace(**changes)


@pytest.fixture
def study(tmp_path):
    """Five seeds; a better label, one that lost seeds, one with another figure and NaN, one that always diverged."""
    grid = tmp_path / "grid.png"
    Image.fromarray(np.arange(600 * 500, dtype=np.uint8).reshape(600, 500)).save(grid)
    noise = np.random.default_rng(0).normal(0, 0.3, (3, 5))
    base = [-100.0 + seed for seed in range(5)]
    extra = [[Figure("NLL", math.nan if s == 1 else 90.0 + s**2, "nats/image", HERE, note="IWAE")] for s in range(5)]
    members = [
        *(_record("base", s, base[s] + noise[0, s], grid, extra[s]) for s in range(5)),
        *(_record("good", s, base[s] + 3 + noise[1, s], grid) for s in range(5)),
        *(_record(ODD, s, base[s] + noise[2, s], None, [extra[s][0]._replace(value=80.0)]) for s in (0, 2, 4)),
        _diverged(ODD, 1),
        RunRecord(ODD, 3, "failed", message="RESOURCE_EXHAUSTED: out of memory"),
        *(_diverged("broken", s) for s in range(5)),
    ]
    return _study(("base", "good", ODD, "broken"), members)


def _many(count=30, seeds=3):
    labels = ["base"] + [f"deep_residual,learning_rate=0.0003,width={i}" for i in range(count - 1)]
    generator = np.random.default_rng(1)
    members = [_record(x, s, -1000 + s + generator.normal()) for x in labels for s in range(seeds)]
    return _study(tuple(labels), members)


def _values(study, label, name):
    return {m.seed: f.value for m in study.runs if m.label == label for f in m.figures if f.name == name}


def test_rows_are_what_numpy_and_scipy_say(study):
    table = summaries(study)
    assert [c.name for c in table] == ["ELBO", "modes", "NLL"] and all(len(some) == 4 for some in table.values())
    base, good, odd, broken = next(iter(table.values()))
    ours, theirs = _values(study, "good", "ELBO"), _values(study, "base", "ELBO")
    assert good.mean == pytest.approx(np.mean([*ours.values()])) and good.n == 5
    assert good.deviation == pytest.approx(np.std([*ours.values()], ddof=1))
    assert good.difference.p == pytest.approx(stats.ttest_rel([*ours.values()], [*theirs.values()]).pvalue)
    some = _values(study, ODD, "ELBO")  # seeds 0, 2, 4: paired with these of the base
    assert odd.difference.pairs == 3
    assert odd.difference.mean == pytest.approx(np.mean([some[s] - theirs[s] for s in (0, 2, 4)]))
    assert [good.p_holm, odd.p_holm] == holm([good.difference.p, odd.difference.p])
    assert base.difference is None and math.isnan(base.p_holm)
    assert math.isnan(broken.mean) and broken.interval is None and broken.n == 0 and broken.difference.pairs == 0


def test_a_figure_that_is_not_finite_is_counted_and_left_out(study):
    base, good, odd, _ = summaries(study)[columns(study)[2]]
    assert base.n == 4 and base.not_finite == 1 and base.mean == np.mean([90, 94, 99, 106])
    assert good.n == 0 and good.difference.pairs == 0
    assert odd.n == 3 and odd.difference.pairs == 3 and odd.interval is None  # the same value each time


def test_what_was_measured_on_other_data_is_another_figure():
    there = [_record("other", s, -5.0 * s) for s in range(3)]
    there = [m._replace(figures=[f._replace(measured_on="CIFAR-10, test") for f in m.figures]) for m in there]
    made = _study(("base", "other"), [*(_record("base", s, -1.0 * s) for s in range(3)), *there])
    table = summaries(made)
    assert len(table) == 4
    assert all(row.difference is None or row.difference.pairs == 0 for some in table.values() for row in some)


def test_averaged_parameters_are_compared_with_others_and_said():
    """One column: the note is of all runs, or says that it is of some; other notes still make columns of their own."""

    def made(averaged):
        records = [_record(label, seed, 90.0 + seed) for label in ("base", "wide") for seed in range(2)]
        for number, record in enumerate(records):
            if record.label in averaged:
                noted = [with_note(figure, AVERAGED) for figure in record.figures]
                records[number] = record._replace(figures=noted)
        return _study(("base", "wide"), records)

    for averaged, note in ((), ""), (("base", "wide"), AVERAGED), (("wide",), f"{AVERAGED} where a run keeps them"):
        study = made(averaged)
        assert [(column.name, column.note) for column in columns(study)] == [("ELBO", note), ("modes", note)]
        for some in summaries(study).values():
            assert [summary.n for summary in some] == [2, 2]
        assert _values(study, "base", "ELBO") == _values(study, "wide", "ELBO")


def test_an_unknown_base_is_refused_before_anything_is_written(study, tmp_path):
    with pytest.raises(ValueError, match="the base 'bse' is not among the labels: choose one of base, good"):
        write_report(study._replace(base="bse"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_csv_holds_every_digit_and_nothing_that_was_not_measured(study, tmp_path):
    write_csv(study, tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == HEADER and len(lines) == 4 * 3
    for column, some in summaries(study).items():
        for row in some:
            line = next(x for x in lines if x["label"] == row.label and x["figure"] == column.name)
            assert line["n"] == str(row.n) and line["measured_on"] == HERE
            numbers = {"mean": row.mean, "standard_deviation": row.deviation, "p_holm": row.p_holm}
            numbers |= {"p": row.difference.p, "difference": row.difference.mean} if row.difference else {}
            for name, value in numbers.items():
                assert line[name] == "" if math.isnan(value) else float(line[name]) == value
            ends = (line["bootstrap_low"], line["bootstrap_high"])
            assert ends == ("", "") if row.interval is None else tuple(map(float, ends)) == row.interval
    odd = next(line for line in lines if line["label"] == ODD)
    assert [odd[s] for s in ("finished", "diverged", "failed", "missing")] == ["3", "1", "1", "0"]
    assert odd["parameters"] == "" and odd["seconds_median"] == "12.0" and odd["better"] == "maximize"
    broken = next(line for line in lines if line["label"] == "broken")
    assert (
        broken["diverged"] == "5"
        and not any(broken[n] for n in ("mean", "bootstrap_low", "t_high"))
        and broken["p"] == ""
    )
    assert not list(tmp_path.glob(".*"))


def test_nothing_finished_is_still_a_table_and_a_report(tmp_path):
    made = _study(("base", "other"), [_diverged("base", 0), RunRecord("other", 0, "missing")])
    write_csv(made, tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(x["label"], x["diverged"], x["missing"], x["mean"]) for x in lines] == [
        ("base", "1", "0", ""),
        ("other", "0", "1", ""),
    ]
    assert "No run finished" in write_report(made, tmp_path).page.read_text()
    show(made, Console(file=io.StringIO(), width=100))


@pytest.mark.parametrize("count", [7, 30])
def test_terminal_table_fits_100_columns_and_cuts_no_number(count):
    made, text = _many(count), io.StringIO()
    show(made, Console(file=text, width=100))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 100 and "…" not in text.getvalue()
    shown = [
        [float(number.replace(",", "")) for number in found]
        for found in re.findall(r" (-[\d.,]+) \[(-[\d.,]+), (-[\d.,]+)\]", text.getvalue())
    ]
    elbo = next(iter(summaries(made).values()))
    for row, numbers in zip(elbo, [numbers for numbers in shown if numbers[0] < -900], strict=True):
        assert numbers == pytest.approx([row.mean, *row.interval], abs=0.0501)


def test_terminal_says_what_diverged_and_takes_labels_literally(study):
    text = io.StringIO()
    labels = ("base", *STRANGE)
    made = _study(labels, [_record(label, s, -1.0 * s) for label in labels for s in range(2)])
    show(made, Console(file=text, width=100))
    assert all(label in text.getvalue() for label in STRANGE)
    show(study, Console(file=text, width=100))
    assert "3, 1 diverged, 1 failed" in text.getvalue() and "0, 5 diverged" in text.getvalue()
    assert "(1 not finite)" in text.getvalue()


@pytest.mark.parametrize(
    ("mean", "interval", "text"),
    [
        (1.23456, (1.2, 1.3), "1.235 [1.200, 1.300]"),
        (-1234567.0, (-1234600.0, -1234500.0), "-1,234,567 [-1,234,600, -1,234,500]"),
        (3e-9, (2e-9, 4e-9), "3e-09 [2e-09, 4e-09]"),
        (652824.0, None, "652,824"),
        (math.nan, None, ""),
    ],
)
def test_estimates_have_the_digits_that_their_interval_supports(mean, interval, text):
    assert estimate(mean, interval) == text


def test_chances_to_read():
    assert [chance(p) for p in (math.nan, 0.0002, 0.0123, 0.5, 1.0)] == ["", "<0.001", "0.012", "0.50", "1.00"]


def _directed(study, better):
    """The study with another direction of its first figure."""
    some = [m._replace(figures=[f._replace(better=better) for f in m.figures if f.name == "ELBO"]) for m in study.runs]
    return study._replace(runs=some)


def test_findings_say_better_only_where_the_direction_is_known(study):
    said = dict(findings(study, summaries(study)))
    assert "good is better (+" in said["ELBO ↑ [nats/image]"] and ODD not in said["ELBO ↑ [nats/image]"]
    down = _directed(study, "minimize")
    assert "good is worse (+" in dict(findings(down, summaries(down)))["ELBO ↓ [nats/image]"]
    unknown = _directed(study, None)
    assert "good is above (+" in dict(findings(unknown, summaries(unknown)))["ELBO [nats/image]"]
    assert "none differs" in said["modes [of 25]"]


class _Page(HTMLParser):
    """Collects tags, what is loaded, and checks that elements close in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.loads, self.text, self._open = [], [], "", []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data")]
        if tag not in ("meta", "img", "wbr"):
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.loads += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_page_needs_nothing_else_and_escapes_what_it_is_given(study, tmp_path):
    text = write_report(study, tmp_path).page.read_text()
    page = _Page(text)
    assert {"svg", "table", "details", "img"} <= set(page.tags) and not {"script", "link", "b>"} & set(page.tags)
    assert page.loads and all(value.startswith(("data:image/png;base64,", "#")) for value in page.loads)
    assert "@import" not in text and not re.search(r"url\((?!#)", text) and "prefers-color-scheme: dark" in text
    for said in (ODD, "Does <width> matter?", "<b>not</b> before", "RESOURCE_EXHAUSTED", "--note '<x>'", "cpu:cpu"):
        assert said in page.text
    assert "vmap 4 ms (2.00×)" in page.text and "1,234,567" in page.text
    assert "84% with 5" in page.text and "did not finish" in page.text
    assert '"steps": 400' in page.text  # shared by all rows: folded
    assert "#010203" not in text and "currentColor" in text


def test_markdown_says_the_same_and_links_its_pictures(study, tmp_path):
    report = write_report(study, tmp_path)
    text = report.text.read_text()
    assert "<script>" not in text and "&lt;script&gt;" in text
    links = re.findall(r"!\[[^]]*\]\(([^)]*)\)", text)
    assert links == ["report/forest.png", "report/curves.png", "report/samples.png"]
    for link in links:
        with Image.open(tmp_path / link) as picture:
            picture.load()
            assert np.asarray(picture.convert("L")).std() > 1
    grids = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    for grid in grids:  # a | of a label must not make a cell
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in grid.splitlines()}) == 1
    good = next(row for row in next(iter(summaries(study).values())) if row.label == "good")
    assert f"{good.mean:.1f}" in text and f"{good.mean:.1f}" in report.page.read_text()
    assert not [p for p in tmp_path.rglob(".*") if p.is_file()]


def test_reports_are_repeated_and_replaced(tmp_path):
    members = [_record(label, s, -5.0 + s**2, history=()) for label in ("base", "b") for s in range(2)]
    made = _study(("base", "b"), members)
    first = write_report(made, tmp_path).page.read_text()
    assert write_report(made, tmp_path).page.read_text() == first
    assert "Does" not in write_report(made._replace(question=""), tmp_path).page.read_text()


def test_one_seed_has_no_interval_and_says_so(tmp_path):
    made = _study(("base", "other"), [_record("base", 0, -5.0), _record("other", 0, -4.0)])
    text = write_report(made, tmp_path).page.read_text()
    assert "One seed has no interval" in text and "There is nothing to test" in text
    assert "2 rows, 1 seed<" in text
    assert all(row.interval is None and math.isnan(row.p_holm) for some in summaries(made).values() for row in some)
    assert not curves.curves(made)[0].axes[0].collections  # no band


def test_many_labels_and_strange_ones_are_drawn(tmp_path):
    report = write_report(_many(), tmp_path / "many")
    assert report.page.stat().st_size < 3e6 and "Grey lines are the other rows" in report.page.read_text()
    labels = ("base", *STRANGE)
    made = _study(labels, [_record(label, s, -1.0 * s) for label in labels for s in range(2)])
    assert "[red]loud[/red]" in _Page(write_report(made, tmp_path / "strange").page.read_text()).text
    drawn, _ = curves.curves(made)
    legend = [text.get_text().strip("\u200a") for text in drawn.legends[0].get_texts()]
    assert len(legend) == len(labels)


def test_curves_are_means_with_bands_and_dashed_ends(study):
    figure, said = curves.curves(study)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["validation/loss", "train/loss", "train/norm"] and said == ""
    validation, loss, norm = figure.axes
    assert norm.get_yscale() == "log" and loss.get_yscale() == "linear"  # 3.5 decades; 500/50 to 500/400 + 4
    base = next(line for line in loss.lines if to_hex(line.get_color()) == pictures.INK)
    steps = np.arange(50, 401, 50)
    np.testing.assert_allclose(base.get_xdata(), steps)
    np.testing.assert_allclose(base.get_ydata(), 500 / steps + 2)  # the mean seed is 2
    dashed = [line for line in loss.lines if line.get_linestyle() == "--"]
    assert len(dashed) == 6 and all(max(line.get_xdata()) == 4 for line in dashed)
    bands = [band.get_datalim(loss.transData).ymax for band in loss.collections]
    assert max(bands) == pytest.approx(500 / 50 + 4) and len(bands) == 3  # least to largest of base, good and ODD
    assert loss.get_ylim()[1] < 20  # what diverged does not squeeze the rest
    assert len(validation.lines) == 3


def test_curves_do_not_average_over_changing_runs():
    long = _record("base", 0, -1.0)
    short = _record("base", 1, -1.0)._replace(history=_record("base", 1, -1.0).history[:4])
    figure, _ = curves.curves(_study(("base", "x"), [long, short]))
    line = next(axis for axis in figure.axes if axis.get_title() == "train/loss").lines[0]
    assert max(line.get_xdata()) == 200


def test_forest_draws_what_varies_and_marks_what_is_far_away(study):
    drawn = pictures.forest(study, summaries(study))
    assert [axis.get_title() for axis in drawn.axes] == ["ELBO ↑ [nats/image]", "NLL [nats/image]"]
    labels = ("base", "a", "b", "c", "far")
    offsets = dict(zip(labels, (0.0, 1.0, -1.0, 0.5, 4000.0), strict=True))
    generator = np.random.default_rng(2)
    made = _study(labels, [_record(x, s, offsets[x] + generator.normal()) for x in labels for s in range(4)])
    axis = pictures.forest(made, summaries(made)).axes[0]
    assert axis.get_xlim()[1] < 100 and any("4e+03 ▸" in text.get_text() for text in axis.texts)


def test_samples_are_of_the_first_finished_seed_and_scaled_down(study, tmp_path):
    found = pictures.samples(study)
    assert list(found) == ["base", "good"]  # the others have none
    assert all(seed == 0 and max(picture.size) == 384 for seed, picture in found.values())
    gone = study._replace(runs=[m._replace(pictures={"samples": tmp_path / "none.png"}) for m in study.runs])
    assert pictures.samples(gone) == {}


def test_terminal_table_is_not_squeezed_where_there_is_no_terminal():
    text = io.StringIO()
    show(_many(7), Console(file=text, width=80))
    lines = text.getvalue().splitlines()
    assert 100 < max(map(len, lines)) <= 120
    assert not any(line.rstrip().endswith(",") for line in lines)  # no interval is parted
