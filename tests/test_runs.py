"""Run directories: refused when they are another's, whole when they are written."""

import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
from PIL import Image

from gen_models import plots
from gen_models.measures.figure import Figure
from gen_models.run import directory as runs
from gen_models.run.config import INCIDENTAL, Experiment, RunConfig
from gen_models.run.directory import FORM, Request, Run, check_run, existing_run
from gen_models.run.experiments import find, names
from gen_models.run.fields import names_marked
from gen_models.run.restore import load_run


@dataclass(frozen=True)
class Wide:
    layers: int = 2


@dataclass(frozen=True)
class Deep:
    layers: int = 5


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    steps: int = 5
    hidden: tuple[int, ...] = (3, 4)
    data_dir: Annotated[str | None, INCIDENTAL] = None
    network: Wide | Deep = field(default_factory=Wide)


def _nothing(*_):
    raise AssertionError("a run's directory is looked at before anything is built")


X = Experiment(__file__, "", {"base": Config()}, _nothing, _nothing, _nothing)
Y = replace(X, file=str(Path(__file__).with_name("y.py")))


def asked(folder, config=None, experiment=X) -> Request:
    return Request(experiment, "base", Config() if config is None else config, folder)


def open_run(*arguments) -> Run:
    """Opened and let go at once."""
    with runs.open_run(asked(*arguments)) as run:
        return run


def test_same_config_continues_and_another_names_the_fields(tmp_path):
    folder = tmp_path / "a" / "b"
    assert check_run(asked(folder)) is None and not folder.exists()
    open_run(folder)
    moved = Config(run_dir=str(folder), data_dir="elsewhere")
    assert check_run(asked(folder, moved)) is not None
    with pytest.raises(ValueError, match=r"hidden is \[3, 4\] there and \[3\] here, steps is 5 there and 6 here"):
        check_run(asked(folder, replace(moved, steps=6, hidden=(3,))))
    assert check_run(asked(folder, replace(moved, steps=6))) is not None  # it goes on for longer
    with pytest.raises(ValueError, match=r"network\.layers is 2 there and 3 here"):
        check_run(asked(folder, replace(moved, network=Wide(3))))
    with pytest.raises(ValueError, match=r"network is 'Wide' there and 'Deep' here, network\.layers is 2 there and 5 "):
        check_run(asked(folder, replace(moved, network=Deep())))
    with pytest.raises(ValueError, match=r"a run of test_runs, not of y: choose another --run-dir"):
        open_run(folder, Config(), Y)


def test_the_same_run_goes_on_with_other_values_of_incidental_fields(tmp_path):
    """Where a run lives, how it is watched and how often it is saved: none of them tells two runs apart."""
    open_run(tmp_path / "r")
    names = names_marked(Config(), INCIDENTAL)
    assert {"log_every", "checkpoint_every", "evaluate_every", "tensorboard", "run_dir", "data_dir"} <= set(names)
    for name in names:
        before = getattr(Config(), name)
        value = True if before is False else 7 if isinstance(before, int) or "process" in name else "/7"
        other = replace(Config(), **{name: value})
        assert check_run(asked(tmp_path / "r", other)) is not None
        assert open_run(tmp_path / "r", other).config()["config"][name] == value  # as it is now
    with pytest.raises(ValueError, match="ema_decay"):
        check_run(asked(tmp_path / "r", Config(ema_decay=0.5)))


@pytest.mark.parametrize("form", [None, 1, FORM + 1])
def test_a_run_of_another_form_is_refused_and_left_alone(form, tmp_path):
    run = open_run(tmp_path / "r")
    saved = json.loads((run.folder / "config.json").read_text())
    assert saved.pop("form") == FORM
    text = json.dumps(saved | ({} if form is None else {"form": form}))
    (run.folder / "config.json").write_text(text)
    message = rf"r holds a run of another form \({form or 1}; this version reads {FORM}\): use the version that made"
    for look in (lambda: check_run(asked(run.folder)), lambda: open_run(run.folder), lambda: load_run(run.folder)):
        with pytest.raises(ValueError, match=message):
            look()
    assert (run.folder / "config.json").read_text() == text


def test_a_field_that_is_newer_than_the_run_stands_at_its_default(tmp_path):
    run = open_run(tmp_path / "r")
    saved = json.loads((run.folder / "config.json").read_text())
    del saved["config"]["batch_size"], saved["config"]["network"]["layers"]
    (run.folder / "config.json").write_text(json.dumps(saved))
    assert check_run(asked(run.folder)) is not None
    with pytest.raises(ValueError, match="batch_size is 128 there and 6 here"):
        check_run(asked(run.folder, Config(batch_size=6)))


def test_a_folder_that_is_not_a_run_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="not empty and holds no run"):
        open_run(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(FileNotFoundError, match="holds no run"):
        existing_run(tmp_path)


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((ValueError, OSError), match="file"):
        open_run(tmp_path / "file" / "run")


def test_two_processes_never_hold_one_directory(tmp_path):
    """Another process finds it held, by name; once the holder is killed, however, it is free."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom gen_models.run import directory as runs\n"
        "sys.path.insert(0, sys.argv[2])\nfrom test_runs import asked\n"
        "with runs.open_run(asked(Path(sys.argv[1]))):\n"
        "    print('held', flush=True)\n    time.sleep(60)\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "r"), str(Path(__file__).parent)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"r is in use by process {other.pid} on .*: wait for it, or choose"):
            open_run(tmp_path / "r")
        other.kill()
    assert open_run(tmp_path / "r").config()["variant"] == "base"


def test_links_that_lead_out_are_refused(tmp_path):
    run = open_run(tmp_path / "r")
    (tmp_path / "elsewhere").mkdir()
    for link in (run.checkpoints, run.samples / "samples.png", run.metrics):
        link.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ValueError, match=f"{link.name} is a symbolic link"):
            open_run(tmp_path / "r")
        link.unlink()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_what_a_kill_left_at_the_very_beginning_is_no_obstacle(tmp_path):
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / ".lock").write_text("process 1 on x")
    (folder / ".config.json.1234").write_text('{"exp')
    assert check_run(asked(folder)) is None
    run = open_run(folder)
    assert sorted(path.name for path in run.folder.iterdir()) == [".lock", "config.json", "samples"]


def test_damaged_config_is_named_and_kept(tmp_path):
    run = open_run(tmp_path / "r")
    (run.folder / "config.json").write_text('{"experiment": ')
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        check_run(asked(run.folder))


@pytest.mark.parametrize("name", ["experiments.os", "experiments.../evil", "experiments.", "experiments.a..b"])
def test_a_config_cannot_name_what_is_no_experiment(tmp_path, name):
    run = open_run(tmp_path / "r")
    saved = json.loads((run.folder / "config.json").read_text())
    (run.folder / "config.json").write_text(json.dumps(saved | {"experiment": name}))
    with pytest.raises(ValueError, match="unknown experiment"):
        load_run(run.folder)


def test_metrics_rewind_to_a_step_and_drop_a_torn_line(tmp_path):
    run = open_run(tmp_path / "r")
    for step in (10, 20, 30):
        run.log(step, step / 2, {"train/loss": float("nan") if step == 10 else step})
    with run.metrics.open("a") as file:
        file.write('{"step": 40, "sec')
    assert run.rewind(20) == 10.0
    assert [row["step"] for row in run.history()] == [10, 20]
    assert np.isnan(float(run.history()[0]["train/loss"]))


def test_result_round_trip_with_what_json_cannot_hold(tmp_path):
    run = open_run(tmp_path / "r")
    assert run.result() is None
    figures = [Figure("a", 1.5, "nats", "here", 0.1, "note"), Figure("b", float("inf"), "", "there")]
    run.finish(figures, 3.0)
    assert run.result() == figures
    json.loads((run.folder / "result.json").read_text(), parse_constant=lambda word: pytest.fail(f"not JSON: {word}"))


def test_image_grid_puts_each_image_in_its_place(tmp_path):
    images = np.linspace(0, 1, 5)[:, None, None, None] * np.ones((5, 4, 3, 1))
    pixels = np.asarray(Image.open(plots.image_grid(images, tmp_path / "g.png", columns=2, scale=3, gap=1)))
    assert pixels.shape == (3 * 13 + 1, 2 * 10 + 1)
    for index in range(5):
        row, column = divmod(index, 2)
        block = pixels[1 + 13 * row : 13 + 13 * row, 1 + 10 * column : 10 + 10 * column]
        assert (block == round(255 * index / 4)).all() or abs(int(block[0, 0]) - 255 * index / 4) <= 0.5


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("images", "message"),
    [(np.zeros((2, 3, 3)), "must be"), (np.full((1, 2, 2, 1), np.nan), "NaN"), (np.zeros((1, 2, 2, 2)), "must be")],
)
def test_image_grid_refuses_what_it_cannot_show(tmp_path, images, message):
    with pytest.raises(ValueError, match=message):
        plots.image_grid(images, tmp_path / "g.png")


EVERY = [(name, variant) for name in names() for variant in find(name).variants]


@pytest.mark.parametrize(("name", "variant"), EVERY)
def test_every_variants_directory_is_its_own_again(name, variant, tmp_path):
    """Its network need not be of the class that the first variant has."""
    experiment = find(name)
    asked = Request(experiment, variant, experiment.variants[variant], tmp_path / "run")
    for _ in range(2):
        with runs.open_run(asked) as run:
            assert run.config()["variant"] == variant
    other = asked._replace(config=replace(asked.config, seed=asked.config.seed + 1))
    with pytest.raises(ValueError, match=f"seed is {asked.config.seed} there and {other.config.seed} here"):
        check_run(other)
