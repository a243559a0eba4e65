"""What is planted in a table is found: equal rows, leaks, outliers, wrong labels; and little else."""

import json
import sys

import numpy as np
import pytest

from gen_models.data.splits import Splits, load_splits
from gen_models.data.table_cleaning import suspected_labels, table_report
from gen_models.run import cli
from tools import table_report as tool


@pytest.mark.usefixtures("unchecked")
def test_confident_learning_by_hand():
    """An example counts as of a class where that probability reaches the mean over the examples labelled so."""
    p = np.array([[0.9, 0.1], [0.95, 0.05], [0.4, 0.6], [0.4, 0.6], [0.55, 0.45], [np.nan, np.nan], [0.25, 0.75]])
    y = np.array([0, 0, 0, 1, 0, 0, 1])
    thresholds = p[[0, 1, 2, 4], 0].mean(), p[[3, 6], 1].mean()
    assert thresholds == pytest.approx((0.7, 0.675))
    assert suspected_labels(p, y) == []
    p[2] = [0.3, 0.7]  # now the thresholds are 0.675 and 0.675, and 0.7 is above
    assert suspected_labels(p, y) == [(2, 1, 0.7)]
    with pytest.raises(ValueError, match=r"must be \[N, K\] and labels \[N\]"):
        suspected_labels(p, y[:3])


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A table of two classes that three numbers tell apart; wrong labels, outliers and equal rows at known places."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    x = rng.normal(size=(400, 3)) + 3 * y[:, None]
    wrong = rng.permutation(400)[:20]
    given = y.copy()
    given[wrong] = 1 - given[wrong]
    rows = [f"{a:.5f},{b:.5f},{c:.5f},same,{['no', 'yes'][k]}" for (a, b, c), k in zip(x, given, strict=True)]
    rows[7] = "500,0,0,same,no"
    folder = tmp_path_factory.mktemp("planted")
    again = [*rows, rows[3], rows[5].replace("yes", "?").replace("no", "yes").replace("?", "no")]
    (folder / "train.csv").write_text("\n".join(["a,b,c,d,y", *again]) + "\n")
    (folder / "validation.csv").write_text("\n".join(["a,b,c,d,y", *rows[50:53], "1,1,1,same,no"]) + "\n")
    (folder / "test.csv").write_text("a,b,c,d,y\n1,2,1,same,no\n,2,1,,no\n")
    return f"table:{folder}?target=y", {int(row) for row in wrong} - {7}


def test_what_is_planted_is_found(planted):
    name, wrong = planted
    report = table_report(load_splits(name))
    assert (report.rows, report.duplicates, report.contradictions) == (402, ((400, 3),), ((401, 5),))
    assert report.leaked == (("validation", 3),)
    assert report.constant == ("d",) and report.missing == ()
    assert dict(report.outliers)["a"] == (7,)
    doubted = {doubt.row for doubt in report.doubts}
    assert len(doubted & wrong) >= 0.8 * len(wrong)
    assert len(doubted - wrong) <= 6
    probabilities = [doubt.probability for doubt in report.doubts]
    assert probabilities == sorted(probabilities, reverse=True)
    assert all({doubt.label, doubt.rather} == {"no", "yes"} for doubt in report.doubts)
    lines = "\n".join(report.lines())
    assert "row 7: a 500, b 0, c 0, d same, y no" in lines
    assert "contradictions: 1 rows" in lines and "leaked: 3 rows of validation are for training too" in lines


def test_the_tool_writes_what_it_found(planted, tmp_path, monkeypatch, capsys):
    out = tmp_path / "report.json"
    monkeypatch.setattr(sys, "argv", ["tools.table_report", planted[0], "--no-labels", "--out", str(out)])
    with pytest.raises(SystemExit) as stopped:
        cli.guard(tool.main)
    assert stopped.value.code == 0
    assert "outliers: a in 1 rows, more than 3 interquartile ranges out (7)" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert found["duplicates"] == [[400, 3]] and found["doubts"] == []


def test_a_row_is_found_in_its_file_by_what_stands_in_it(tmp_path):
    """Parts are drawn at random: the training part's row is another one in the file."""
    numbers = np.random.default_rng(0).normal(size=(60, 2)).round(3)
    lines = [f"{a:g},{b:g},{'red' if a > 0 else ''},{a + b:g}" for a, b in numbers]
    lines[40] = "900,1,red,2"
    (tmp_path / "one.csv").write_text("\n".join(["a,b,colour,sum", *lines]) + "\n")
    splits = load_splits(f"table:{tmp_path / 'one.csv'}?target=sum")
    report = table_report(splits)
    (row,) = dict(report.outliers)["a"]
    assert row != 40
    assert report.cells[row] == "a 900, b 1, colour red, sum 2"
    assert f"row {row}: {report.cells[row]}" in list(report.lines())


def test_what_is_no_table_is_refused(planted):
    points = Splits.of_arrays({"x": np.zeros((5, 2), np.float32)})
    with pytest.raises(ValueError, match="is no table in memory"):
        table_report(points)
    with pytest.raises(ValueError, match="folds must be 2 or more"):
        table_report(load_splits(planted[0]), folds=1)
