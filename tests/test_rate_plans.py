"""Plans of sessions say nothing of where images are from, and come to the same again."""

import functools
import itertools
import re
from collections import Counter

import jax
import numpy as np
import pytest
from PIL import Image
from rating_server import write_images
from rating_session import begun, files, said, shown
from saved import saved_run

from gen_models.run import restore
from gen_models.run.config import BAD_INPUT
from tools.rating_page import images, plan, session

pytest_plugins = ["rating_fixtures"]


def test_half_of_the_images_are_real_and_none_is_shown_twice(folders, tmp_path):
    found = begun(tmp_path, folders["alpha"], folders["beta"], "--real", folders["photos"], "--images", 20)
    kinds = Counter((question.of[0], question.real) for question in found.questions)
    assert kinds == dict.fromkeys(itertools.product((0, 1), (False, True)), 20)
    seen = {(question.of[0], question.real): set() for question in found.questions}
    for question in found.questions:
        seen[question.of[0], question.real].add(shown(tmp_path, question.images[0]).tobytes())
    stored = {name: set(files(folder).values()) for name, folder in folders.items()}
    assert all(len(some) == 20 for some in seen.values())
    assert seen[0, False] < stored["alpha"] and seen[1, False] < stored["beta"]
    assert not seen[0, True] & seen[1, True] and seen[0, True] | seen[1, True] < stored["photos"]


def test_competitors_meet_equally_often_on_both_sides(folders, tmp_path):
    names = ("alpha", "beta", "gamma")
    words = (*(folders[name] for name in names), "--task", "prefer", "--with-real", "--real", folders["photos"])
    found = begun(tmp_path, *words, "--images", 10)
    assert found.names == (*names, "real images") and found.asked.show_ms == 0
    sides = Counter(question.of for question in found.questions)
    assert sides == dict.fromkeys(itertools.permutations(range(4), 2), 5)
    pictures = [shown(tmp_path, image).tobytes() for question in found.questions for image in question.images]
    assert len(set(pictures)) == len(pictures) == 2 * 6 * 10
    stored = {picture: name for name, folder in folders.items() for picture in files(folder).values()}
    of = [found.names[number].replace("real images", "photos") for q in found.questions for number in q.of]
    assert [stored[picture] for picture in pictures] == of


def test_one_source_alone_meets_the_real_images(folders, tmp_path):
    found = begun(tmp_path, folders["alpha"], "--task", "prefer", "--real", folders["photos"], "--images", 4)
    assert found.names[1] == "real images" and len(found.questions) == 4


def test_a_plan_is_of_its_seed_alone(folders, tmp_path):
    words = (folders["alpha"], "--real", folders["photos"], "--images", 10)
    plans = [begun(tmp_path / str(index), *words, "--seed", seed) for index, seed in enumerate((3, 3, 4))]
    assert plans[0] == plans[1] and plans[0].questions != plans[2].questions
    assert files(tmp_path / "0" / "images") == files(tmp_path / "1" / "images") != files(tmp_path / "2" / "images")


def test_each_rater_has_an_order_of_their_own_that_stays(folders, tmp_path):
    found = begun(tmp_path, folders["alpha"], "--real", folders["photos"], "--images", 25)
    orders = [found.order(rater) for rater in ("Ada", "Ada", "Bo")]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2]) == sorted(found.questions)
    runs = [len(list(some)) for _, some in itertools.groupby(question.real for question in orders[0])]
    assert max(runs) < 15  # reals and fakes are mixed


def test_a_session_goes_on_and_draws_nothing_again(folders, tmp_path):
    words = (folders["alpha"], "--real", folders["photos"], "--images", 5)
    before = begun(tmp_path, *words)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert begun(tmp_path, *words) == begun(tmp_path) == before == plan.load(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == written
    with pytest.raises(ValueError, match=r"asks for something else: images is 5 there and 6 here; seed is 0 there"):
        begun(tmp_path, *words[:-1], 6, "--seed", 1)


def test_a_session_that_was_killed_while_it_was_drawn_is_begun_again(folders, tmp_path, monkeypatch):
    words = (folders["alpha"], "--real", folders["photos"], "--images", 5)
    whole = begun(tmp_path / "whole", *words)
    with monkeypatch.context() as patched:
        left = iter([session.write_bytes] * 4)
        patched.setattr(session, "write_bytes", lambda *arguments: next(left)(*arguments))
        with pytest.raises(StopIteration):
            begun(tmp_path / "cut", *words)
    assert begun(tmp_path / "cut", *words) == whole
    assert files(tmp_path / "cut" / "images") == files(tmp_path / "whole" / "images")


def test_files_do_not_tell_by_their_form_where_an_image_is_from(folders, tmp_path):
    colour = write_images(tmp_path / "colour", 5, 9, colour=True)
    found = begun(tmp_path / "out", folders["alpha"], "--real", colour, "--images", 5)
    for question in found.questions:
        with Image.open(session.image_file(tmp_path / "out", question.images[0])) as image:
            assert image.mode == "RGB" and not image.info
        assert re.fullmatch("[0-9a-f]{16}", question.images[0]) and re.fullmatch("[0-9a-f]{16}", question.id)
    assert len({path.stat().st_mode for path in (tmp_path / "out" / "images").iterdir()}) == 1


def test_a_runs_samples_and_its_test_part_are_shown(tmp_path, monkeypatch):
    run = saved_run("vae", "base", tmp_path / "run")
    load_run = functools.cache(restore.load_run)
    monkeypatch.setattr("gen_models.run.tool.loaded", lambda options, **_: load_run(options.run))
    before = sorted(run.rglob("*"))
    found = begun(tmp_path / "out", run, "--images", 6, "--seed", 3)
    _, _, job, state = load_run(run)
    kinds = {True: [], False: []}
    for question in found.questions:
        kinds[question.real].append(shown(tmp_path / "out", question.images[0]))
    drawn = job.sampler().sample(job.trained(state), jax.random.key(3), 6)[..., 0]
    assert {x.tobytes() for x in kinds[False]} == {
        np.round(255 * x).astype(np.uint8).tobytes() for x in np.asarray(drawn)
    }
    assert set(np.unique(kinds[True])) == {0, 255}  # binarised, as the model sees them
    raw = begun(tmp_path / "raw", run, "--images", 6, "--seed", 3, "--untransformed")
    test, levels = job.data.test.arrays["x"][..., 0], job.data.levels
    stored = {np.round(255 / (levels - 1) * x).astype(np.uint8).tobytes() for x in test}
    assert {shown(tmp_path / "raw", q.images[0]).tobytes() for q in raw.questions if q.real} < stored
    assert found.reals[0].endswith("binarised (dynamic)") and raw.reals[0].endswith("untransformed")
    assert sorted(run.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "give one or more runs, or folders of images"),
        ("absent", "absent is no folder"),
        ("empty --real photos", "empty holds neither a run nor images"),
        ("alpha", r"alpha is a folder of images, and no run: give a folder of real ones by --real DIR"),
        ("alpha --real absent", "absent is no folder"),
        ("alpha --real alpha", "alpha is given twice"),
        ("alpha alpha --task prefer", "alpha is given twice"),
        ("alpha --real photos --images 31", "31 different images are asked for, but there are 30"),
        ("alpha beta gamma --task prefer --images 16", "32 different images are asked for, but there are 30"),
        ("alpha beta --real photos --images 30 --seed -1", "--seed must be 0 or more, got -1"),
        ("alpha --real photos --images 0", "--images must be 1 or more, got 0"),
        ("alpha --real photos --show-ms -5", r"--show-ms must be from 0 .* to 60000 milliseconds, got -5"),
        ("alpha --real photos --with-real", "--with-real is for --task prefer"),
        ("alpha beta --task prefer --real photos", "--real: no real images are shown .*: add --with-real"),
        ("alpha --real photos --untransformed", "--untransformed is of the runs' own real images"),
        ("alpha beta --task prefer --untransformed", "--untransformed is of the runs' own real images"),
        (
            "alpha --real large --images 5",
            "images must have one size, .*alpha, generated: 6x8; .*alpha, real: 9x9: resize them",
        ),
        ("alpha --real photos --port 80", "--port must be from 1024 to 65535, or 0"),
        ("alpha --real photos --out photos", "photos is not empty and holds no session"),
        ("alpha --real photos --out alpha/alpha_0.png", "is a file: give a folder"),
        ("alpha --report", "--report is of the session in --out: give no run"),
        ("--report --out nowhere", "nowhere holds no session: python -m tools.rate RUN"),
    ],
)
def test_what_makes_no_session_is_said_in_one_line(words, message, folders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, folder in folders.items():
        (tmp_path / name).symlink_to(folder)
    (tmp_path / "empty").mkdir()
    write_images(tmp_path / "large", 60, 8, size=(9, 9))
    before = sorted(tmp_path.rglob("*"))
    status, _, error = said(monkeypatch, capsys, *words.split())
    assert status == BAD_INPUT and error.count("\n") == 1 and re.search(message, error), error
    assert sorted(tmp_path.rglob("*")) == before


def test_pixels_are_those_of_the_levels():
    x = np.array([0, 1, 3, 7]).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(images.pixels_of(x, 8, "samples")[0][..., 0], [[0, 36], [109, 255]])
    np.testing.assert_array_equal(images.pixels_of(x / 7, 2, "samples")[0][..., 0], [[0, 36], [109, 255]])
    with pytest.raises(ValueError, match=r"samples are arrays of the shape \(2,\), and no images"):
        images.pixels_of(np.zeros((5, 2)), 2, "samples")
    for wrong in (x + 1, x - 1.0, np.where(x == 3, np.nan, x)):
        with pytest.raises(ValueError, match=r"samples have pixels from .* and not from 0 to 7"):
            images.pixels_of(wrong, 8, "samples")


def test_names_are_what_differs_of_the_paths():
    assert plan.names_of(["/lab/runs/vae/base/0"]) == ("vae/base/0",)
    assert plan.names_of(["/lab/runs/vae/base/0", "/lab/runs/vae/beta4/0"]) == ("base/0", "beta4/0")
    assert plan.names_of(["/lab/a", "/lab/a/b", "/other"]) == ("lab/a", "lab/a/b", "other")
    wrong = plan.Asked(plan.PREFER, ("/lab/a", "/lab/real images"), None, False, 5, 0, 0)
    with pytest.raises(ValueError, match="a folder is called 'real images'"):
        plan.check(wrong)


@pytest.mark.parametrize("damage", ["{", '{"form": 9}', '{"form": 1}', "[]"])
def test_a_damaged_plan_is_named(damage, tmp_path):
    (tmp_path / "plan.json").write_text(damage)
    with pytest.raises(ValueError, match=r"plan\.json cannot be used .*: begin a session in another --out"):
        plan.load(tmp_path)
