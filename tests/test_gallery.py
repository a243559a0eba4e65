"""The gallery's data: every run is there, whatever state its files are in, and nothing that is not ours is touched."""

import json
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path

import pytest

from gen_models.run.cli import request
from gen_models.run.directory import write_json
from gen_models.run.experiments import find
from gen_models.sweep import plan as plans
from tests.gallery_runs import DAMAGED, SCRIPT, UNREADABLE, change, damage, shown, write_picture, write_run
from tools import gallery
from tools.gallery_page import entries

ROOT = Path(__file__).parent.parent


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


def made(runs, out):
    """The entries by their ids."""
    gallery.make(runs, out)
    return {run["id"]: run for run in shown(out)["runs"]}


def test_a_finished_run_is_shown_with_all_that_it_measured(runs, tmp_path):
    run = write_run(runs / "vae/base/3", "--steps", "200", "--seed", "3")
    entry = made(runs, tmp_path / "site")["vae/base/3"]
    assert {name: entry[name] for name in ("experiment", "variant", "seed", "state", "step", "steps", "seconds")} == {
        "experiment": "vae",
        "variant": "base",
        "seed": 3,
        "state": "finished",
        "step": 200,
        "steps": 200,
        "seconds": 12.5,
    }
    assert entry["started"] == "2026-01-02T03:04:05Z" and entry["errors"] == []
    elbo = entry["figures"][0]
    assert (elbo["name"], elbo["value"], elbo["spread"], elbo["text"]) == ("ELBO", -240.712, 1.234, "-240.7 ± 1.2")
    axis, values, rows = entry["curves"]["metrics"]["train/loss"]
    steps, seconds = entry["curves"]["axes"][axis]
    history = run.history()
    assert steps == [row["step"] for row in history] and seconds == [row["seconds"] for row in history]
    assert values == pytest.approx([row["train/loss"] for row in history], rel=1e-5) and rows == 20
    assert entry["config"]["hidden"] == "512 512" and entry["config"]["beta"] == 1.0
    assert [(file["name"], file["width"], file["height"]) for file in entry["files"]] == [
        ("samples", 40, 30),
        ("step_000010", 40, 30),
    ]
    copy = tmp_path / "site" / "files" / entry["files"][0]["file"]
    assert copy.read_bytes() == (run.samples / "samples.png").read_bytes()


def test_states_are_those_of_the_directories(runs, tmp_path):
    for state in ("finished", "unfinished", "diverged"):
        write_run(runs / state, "--steps", "1000", ended=state)
    found = made(runs, tmp_path / "site")
    assert {name: entry["state"] for name, entry in found.items()} == {name: name for name in found}
    assert "diverged at step 200" in found["diverged"]["errors"][0]
    (runs / "diverged" / "metrics.jsonl").write_text("")
    assert made(runs, tmp_path / "site")["diverged"]["step"] == 200
    assert (found["unfinished"]["step"], found["unfinished"]["steps"]) == (200, 1000)
    assert found["unfinished"]["seconds"] == 9.5 and found["unfinished"]["figures"] == []


def test_damaged_runs_are_shown_with_their_errors_and_harm_no_other(runs, tmp_path):
    write_run(runs / "good")
    for name in DAMAGED:
        write_run(runs / name)
        damage(runs / name, name)
    found = made(runs, tmp_path / "site")
    assert set(found) == {"good", *DAMAGED}
    assert found["good"]["errors"] == [] and found["good"]["state"] == "finished"
    for name in DAMAGED:
        assert found[name]["errors"], name
        assert all("\n" not in error for error in found[name]["errors"]), name
        assert (found[name]["state"] == "unreadable") >= (name in UNREADABLE), name
    # What can be read of a damaged run is shown.
    assert found["torn config"]["figures"] == found["good"]["figures"]
    assert found["torn result"]["curves"] == found["good"]["curves"]
    assert found["torn picture"]["state"] == "finished"
    assert len(found["torn metrics"]["curves"]["metrics"]["train/loss"][1]) == 9


def test_runs_of_one_name_in_different_folders_are_different_runs(runs, tmp_path):
    write_run(runs / "mine/vae/base/0", "--beta", "2")
    write_run(runs / "deep/er/theirs/vae/base/0", "--beta", "3")
    found = made(runs, tmp_path / "site")
    assert {name: entry["config"]["beta"] for name, entry in found.items()} == {
        "mine/vae/base/0": 2.0,
        "deep/er/theirs/vae/base/0": 3.0,
    }


def test_a_run_alone_is_a_folder_of_runs_too(runs, tmp_path):
    write_run(runs / "vae")
    assert set(made(runs / "vae", tmp_path / "site")) == {"vae"}


def test_text_that_is_html_is_in_the_data_alone(runs, tmp_path):
    write_run(runs / SCRIPT.replace("/", "_"), "--dataset", SCRIPT)
    (entry,) = made(runs, tmp_path / "site").values()
    assert entry["config"]["dataset"] == SCRIPT
    for name in gallery.ASSETS:
        assert (tmp_path / "site" / name).read_bytes() == (gallery.PAGE / name).read_bytes()


def test_a_sweep_knows_its_runs_and_its_report(runs, tmp_path):
    folder = runs / "study"
    rows = tuple(
        plans.Row(label, "base", request(find("vae"), "base", words).config)
        for label, words in (("base", []), ("base,beta=2", ["--beta", "2"]))
    )
    plans.save(plans.Plan("experiments.vae", folder, rows, (0, 1), "base", "10 steps each", "the command"))
    for run in ("base/0", "base,beta=2/1", "other/0"):
        write_run(folder / run)
    (folder / "report.html").write_text("<h1>a report</h1>")
    found = made(runs, tmp_path / "site")
    assert [found[f"study/{run}"]["row"] for run in ("base/0", "base,beta=2/1", "other/0")] == [
        "base",
        "base,beta=2",
        "",
    ]
    assert found["study/base/0"]["sweep"] == "study" and found["study/other/0"]["sweep"] == ""
    (sweep,) = shown(tmp_path / "site")["sweeps"]
    assert (sweep["rows"], sweep["seeds"], sweep["budget"], sweep["complete"]) == (2, 2, "10 steps each", False)
    assert (tmp_path / "site/files" / sweep["files"][0]["file"]).read_text() == "<h1>a report</h1>"
    (folder / "sweep.json").write_text('{"rows": 3}')
    assert set(made(runs, tmp_path / "site")) == set(found)
    assert shown(tmp_path / "site")["sweeps"][0]["errors"]


@pytest.mark.parametrize("count", [0, 1, 2, 299, 300, 301, 5000])
def test_curves_are_thinned_evenly_and_keep_their_ends(count):
    found = entries.curves([{"step": i, "seconds": i / 7, "loss": float(i)} for i in range(count)])
    if not count:
        assert found == {"axes": [], "metrics": {}}
        return
    axis, values, rows = found["metrics"]["loss"]
    steps = found["axes"][axis][0]
    assert values == steps and rows == count and len(values) == min(count, entries.POINTS)
    assert (steps[0], steps[-1]) == (0, count - 1)
    gaps = {after - before for before, after in pairwise(steps)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_values_that_are_not_finite_are_gaps():
    rows = [{"step": i, "seconds": i, "loss": value} for i, value in enumerate([1.0, "nan", "inf", None, True, 2.0])]
    assert entries.curves(rows)["metrics"]["loss"][1] == [1.0, None, None, None, None, 2.0]


def test_steps_are_exact():
    assert entries.curves([{"step": 123_456_789, "seconds": 1, "loss": 1}])["axes"] == [[[123_456_789], [1.0]]]


def test_metrics_of_the_same_rows_share_their_axes():
    rows = [{"step": i, "seconds": i, "a": 1, "b": 2, **({"c": 3} if i % 2 else {})} for i in range(10)]
    found = entries.curves(rows)
    assert len(found["axes"]) == 2
    assert found["metrics"]["a"][0] == found["metrics"]["b"][0] != found["metrics"]["c"][0]


def test_some_pictures_during_training_are_shown_the_last_among_them(runs, tmp_path):
    run = write_run(runs / "vae")
    for step in range(100, 5100, 100):
        write_picture(run.samples / f"step_{step:06d}.png", step % 256)
    (run.samples / "at_100").mkdir()
    write_picture(run.samples / "at_100/samples.png", 7)
    names = [file["name"] for file in made(runs, tmp_path / "site")["vae"]["files"]]
    assert names[:2] == ["samples", "at_100/samples"]
    assert len(names) == 2 + entries.DURING and names[-1] == "step_005000"


@pytest.mark.parametrize("what", ["nothing", "no folder", "another program's"])
def test_no_runs_is_one_line(runs, tmp_path, what):
    if what != "no folder":
        runs.mkdir()
    if what == "another program's":
        (runs / "config.json").write_text('{"model_type": "gpt"}')
    with pytest.raises(ValueError, match=r"there is no folder|holds no runs") as error:
        gallery.make(runs, tmp_path / "site")
    assert str(runs) in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "site").exists()


def test_a_folder_that_holds_something_else_is_refused_and_stays_as_it_is(runs, tmp_path):
    write_run(runs / "vae")
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "data.js").write_text("// somebody's own")
    with pytest.raises(ValueError, match=f"--out: {out} is not empty"):
        gallery.make(runs, out)
    assert [path.name for path in out.iterdir()] == ["data.js"]
    with pytest.raises(ValueError, match="is not empty"):
        gallery.make(runs, runs)
    with pytest.raises(ValueError, match="is a file"):
        gallery.make(runs, out / "data.js")
    with pytest.raises(ValueError, match=r"--out: .* cannot be written \(Not a directory\)"):
        gallery.make(runs, out / "data.js" / "inside")


def test_a_gallery_among_the_runs_is_none_of_them(runs):
    write_run(runs / "vae")
    out = runs / "gallery"
    assert set(made(runs, out)) == {"vae"}
    write_run(out / "files" / "hidden")  # even so
    assert set(made(runs, out)) == {"vae"}


def test_the_same_command_brings_it_up_to_date(runs, tmp_path):
    out = tmp_path / "site"
    run = write_run(runs / "vae")
    other = write_run(runs / "other")
    before = made(runs, out)
    (out / "files" / "notes.txt").write_text("somebody's own")
    left = out / "files" / f".{'0' * 16}.png.123"
    left.write_bytes(b"of a process that was killed")
    kept, replaced = (out / "files" / before[name]["files"][0]["file"] for name in ("other", "vae"))
    written = kept.stat().st_mtime_ns
    write_picture(run.samples / "samples.png", 99)
    write_run(runs / "third")
    after = made(runs, out)
    assert set(after) == {"vae", "other", "third"}
    assert kept.stat().st_mtime_ns == written and not replaced.exists() and not left.exists()
    assert (out / "files" / "notes.txt").exists()
    shown_files = {file["file"] for entry in after.values() for file in entry["files"]}
    assert shown_files == {path.name for path in (out / "files").glob("*.png")}
    assert other.result()


def test_a_gallery_that_was_cut_short_is_gone_on_with(runs, tmp_path, monkeypatch):
    write_run(runs / "vae")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(gallery, "_beside", killed)
        with pytest.raises(KeyboardInterrupt):
            gallery.make(runs, tmp_path / "site")
    assert set(made(runs, tmp_path / "site")) == {"vae"}


def test_links_are_followed_and_lead_nowhere_twice(runs, tmp_path):
    write_run(tmp_path / "elsewhere/vae/0")
    runs.mkdir()
    (runs / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(runs)
    assert set(made(runs, tmp_path / "site")) == {"linked/vae/0"}


def test_the_command_needs_no_jax_and_ends_in_one_line(runs, tmp_path):
    write_run(runs / "vae")
    code = "import sys; from gen_models.run.entry import main\ntry: main()\nfinally: assert 'jax' not in sys.modules"
    words = [sys.executable, "-c", code, "gallery"]
    done = subprocess.run([*words, str(runs), "--out", str(tmp_path / "site")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 run (1 finished)" in done.stdout and str(tmp_path / "site" / "index.html") in done.stdout
    refused = subprocess.run([*words, str(tmp_path / "nowhere")], capture_output=True, text=True)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and "nowhere" in refused.stderr


def test_the_page_is_whole_in_a_wheel_and_loads_nothing_from_elsewhere():
    files = {path.name for path in gallery.PAGE.iterdir() if path.suffix not in (".py", "") and path.is_file()}
    assert files == set(gallery.ASSETS)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["gen_models.tools.gallery_page"]
    assert all(any(fnmatch(name, pattern) for pattern in patterns) for name in files)
    page = (gallery.PAGE / "index.html").read_text()
    assert all(f'"{name}"' in page for name in files - {"index.html"})
    for name in files:
        text = (gallery.PAGE / name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert "//" not in "".join(line.partition("// ")[0] for line in text.splitlines()), name
        assert not any(
            word in text
            for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "fetch(", "eval(")
        )


def test_what_is_written_is_json_without_nan(runs, tmp_path):
    run = write_run(runs / "vae")
    change(run.folder / "config.json", config={"beta": float("nan"), "seed": 0, "steps": 1})
    result = json.loads((run.folder / "result.json").read_text())
    result["figures"][0] |= {"value": "nan", "spread": "inf"}
    write_json(run.folder / "result.json", result)
    entry = made(runs, tmp_path / "site")["vae"]
    assert entry["config"]["beta"] == "nan" and entry["figures"][0]["value"] == "nan"
