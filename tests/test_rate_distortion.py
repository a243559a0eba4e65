"""The tool that draws distortions over rates, from runs' directories alone."""

import dataclasses
import sys

import pytest
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text

from gen_models.measures.figure import Figure
from gen_models.run import cli
from gen_models.run.directory import Request, open_run
from gen_models.run.experiments import find
from tools import rate_distortion
from tools.ladder import finished, table
from tools.rate_distortion import Point, draw, frontier, points

VAE = find("experiments.vae")


def _run(folder, rate, distortion, measured_on="digits, test", names=("KL", "reconstruction"), **changes):
    config = dataclasses.replace(VAE.variants["base"], **changes)
    with open_run(Request(VAE, "base", config, folder)) as run:
        figures = [Figure(n, v, "nats/image", measured_on) for n, v in zip(names, (rate, distortion), strict=True)]
        run.finish(figures, 1.0)


def _points(folder):
    return points(table(finished(folder), "KL"))


def test_runs_of_one_config_are_a_point_and_other_images_another_panel(tmp_path):
    _run(tmp_path / "0", 10.0, 90.0)
    _run(tmp_path / "1", 12.0, 86.0, seed=1)
    _run(tmp_path / "2", 2.0, 110.0, beta=4.0)
    _run(tmp_path / "3", 3.0, 5.0, "toys, test", beta=2.0)
    panels = _points(tmp_path)
    assert list(panels) == ["digits, test [nats/image]", "toys, test [nats/image]"]
    digits = panels["digits, test [nats/image]"]
    assert list(digits) == ["base (beta=4.0)", "base (beta=1.0)"]  # the lowest rate first
    assert digits["base (beta=4.0)"] == Point(2.0, 110.0) and digits["base (beta=4.0)"].elbo == -112.0
    both = digits["base (beta=1.0)"]
    assert both[:2] == (11.0, 88.0) and both.spreads == pytest.approx((2**0.5, 8**0.5)) and both.elbo == -99.0


def test_the_frontier_is_what_no_other_point_beats():
    some = [Point(1, 9), Point(3, 4), Point(2, 9), Point(2.5, 3), Point(5, 1), Point(6, 1), Point(0.5, 20)]
    assert frontier(some) == [Point(0.5, 20), Point(1, 9), Point(2.5, 3), Point(5, 1)]
    for point in some:  # each is on it, or a point of it is as good both ways
        assert any(p.rate <= point.rate and p.distortion <= point.distortion for p in frontier(some))


def test_lines_of_equal_elbo_have_slope_minus_one_and_the_best_passes_its_run(tmp_path, monkeypatch):
    seen: list[Canvas] = []
    save = Canvas.savefig
    monkeypatch.setattr(Canvas, "savefig", lambda canvas, *a, **k: seen.append(canvas) or save(canvas, *a, **k))
    some = {"low": Point(2.0, 60.0), "best": Point(10.0, 40.0), "high": Point(30.0, 31.0), "beaten": Point(31.0, 33.0)}
    draw({"digits": some}, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
    axis = seen[0].axes[0]
    shown = [(line, *map(list, line.get_data())) for line in axis.lines]
    falling = [(line, x, y) for line, x, y in shown if line.get_color() in ("0.6", "tab:red")]
    assert len(falling) > 4
    for _, x, y in falling:
        assert y[1] - y[0] == pytest.approx(-(x[1] - x[0])) and x[1] > x[0]
    (best,) = [x[0] + y[0] for line, x, y in falling if line.get_color() == "tab:red"]
    assert best == pytest.approx(50.0)
    (joined,) = [(x, y) for line, x, y in shown if line.get_color() == "tab:blue"]
    assert joined == ([2.0, 10.0, 30.0], [60.0, 40.0, 31.0])
    assert {text.get_text() for text in axis.texts} >= {*some, "ELBO -50.0, the best"}


def test_names_of_runs_that_lie_together_do_not_cover_each_other(tmp_path, monkeypatch):
    seen: list[Canvas] = []
    monkeypatch.setattr(Canvas, "savefig", lambda canvas, *a, **k: seen.append(canvas))
    some = {f"name_{i}": Point(10 + 0.3 * i, 40 - 0.2 * i) for i in range(4)} | {"far": Point(0.0, 90.0)}
    draw({"digits": some}, tmp_path / "a.png")
    seen[0].draw_without_rendering()  # which moves annotations to their places; their own extent holds the arrow too
    boxes = [Text.get_window_extent(text) for text in seen[0].axes[0].texts if text.get_text() in some]
    assert len(boxes) == 5
    for i, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[i + 1 :])


def test_the_command_draws_or_says_what_is_missing(tmp_path, monkeypatch, capsys):
    def command(folder):
        monkeypatch.setattr(sys, "argv", ["rate_distortion", str(folder)])
        with pytest.raises(SystemExit) as stopped:
            cli.guard(rate_distortion.main)
        return stopped.value.code

    (tmp_path / "empty").mkdir()
    assert command(tmp_path / "empty") == 2 and "no finished run in" in capsys.readouterr().err
    _run(tmp_path / "half" / "0", 1.0, 2.0, names=("KL", "other"))
    assert command(tmp_path / "half") == 2 and "both figures 'KL' and 'reconstruction'" in capsys.readouterr().err
    _run(tmp_path / "whole" / "0", 1.0, 2.0)
    assert command(tmp_path / "whole") == 0 and (tmp_path / "whole" / "rate_distortion.png").exists()
    assert "-3.00" in capsys.readouterr().out
