"""Judging images: plans that say nothing, answers that outlive kills, a server for its page alone, and a report."""

import functools
import http.client
import importlib.util
import io
import itertools
import json
import os
import re
import sys
import threading
import time
import tomllib
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from rating_server import Server, lines, send, serving, write_images
from saved import saved_run

from gen_models.run import cli, restore
from gen_models.run.config import BAD_INPUT
from gen_models.run.console import console
from tools import rate
from tools.rating_page import answers, images, plan, report, session
from tools.rating_page.application import LONGEST_BODY, PAGE, Application, policy_of

ROOT = Path(__file__).parent.parent
PORT = "8710"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three folders of generated images, and one of real ones: all read-only."""
    top = tmp_path_factory.mktemp("images")
    counts = {"alpha": 30, "beta": 30, "gamma": 30, "photos": 60}
    made = {name: write_images(top / name, count, seed) for seed, (name, count) in enumerate(counts.items())}
    for folder in made.values():
        folder.chmod(0o555)
    yield made
    for folder in made.values():
        folder.chmod(0o755)


def begun(out, *words):
    """The plan of a session that the command line begins, or goes on with."""
    options = rate._parser().parse_intermixed_args([*map(str, words), "--out", str(out)])
    return session.opened(out, rate.asked(options), options)


def said(monkeypatch, capsys, *words):
    """(exit status, standard output, standard error) of the tool."""
    monkeypatch.setattr(sys, "argv", ["tools.rate", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        cli.guard(rate.main)
    return stopped.value.code, *capsys.readouterr()


def given(question, rater="Ada", answer="real", **more):
    """An answer as the page sends it."""
    return {"rater": rater, "question": question.id, "answer": answer, "milliseconds": 812.5, "shown": 500} | more


def shown(out, name):
    return np.asarray(Image.open(session.image_file(out, name)))


def files(folder):
    return {path.name: np.asarray(Image.open(path)).tobytes() for path in folder.iterdir()}


# Plans and images


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


# Answers


@pytest.fixture
def small(folders, tmp_path):
    """A session's folder and plan, of 40 questions."""
    out = tmp_path / "session"
    return out, begun(out, folders["alpha"], "--real", folders["photos"], "--images", 20)


def opened(small, warn=None):
    return answers.opened(*small, warn or pytest.fail)


def test_the_first_answer_to_a_question_counts_once(small):
    folder, found = small
    one, other = found.questions[:2]
    with opened(small) as kept:
        assert kept.keep(given(one, answer="fake")) == (True, 1)
        assert kept.keep(given(one, answer="fake")) == (False, 1)
        assert kept.keep(given(one, answer="real")) == (False, 1)
        assert kept.keep(given(one, rater="  Ada ")) == (False, 1)
        assert kept.keep(given(one, rater="Bo")) == (True, 1) and kept.keep(given(other)) == (True, 2)
        assert kept.answered("Ada") == {one.id, other.id} and kept.answered("Cy") == set()
    with opened(small) as kept:
        assert kept.keep(given(one)) == (False, 2)
    stored, warnings = answers.read(folder, found)
    assert [(a.rater, a.question, a.answer) for a in stored] == [
        ("Ada", one.id, "fake"),
        ("Bo", one.id, "real"),
        ("Ada", other.id, "real"),
    ]
    assert warnings == [] and len(lines(folder)) == 3
    assert (
        all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", a.at) for a in stored) and stored[0].milliseconds == 812.5
    )


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_torn_last_line_is_left_out_and_spoils_no_other(small, cut):
    folder, found = small
    with opened(small) as kept:
        for question in found.questions[:3]:
            kept.keep(given(question))
    path = folder / "answers.jsonl"
    os.truncate(path, path.stat().st_size - cut)
    whole = 3 if cut == 1 else 2  # without its line break alone, the last one is whole
    warned = []
    with opened(small, warned.append) as kept:
        assert len(kept.answered("Ada")) == whole
        kept.keep(given(found.questions[5]))
        kept.keep(given(found.questions[2]))
    assert len(warned) == 3 - whole and all("line 3 of" in line and "torn" in line for line in warned)
    stored, warnings = answers.read(folder, found)
    assert {a.question for a in stored} == {found.questions[i].id for i in (0, 1, 2, 5)}
    assert len(warnings) == 3 - whole


def test_lines_of_other_kinds_are_left_out_with_their_numbers(small):
    folder, found = small
    with opened(small) as kept:
        kept.keep(given(found.questions[0]))
    with (folder / "answers.jsonl").open("ab") as file:
        for line in (b"\xff\xfe", b"[1]", b'{"question": "gone"}', b"[" * 100_000, b""):
            file.write(line + b"\n")
    stored, warnings = answers.read(folder, found)
    assert len(stored) == 1 and [re.search(r"line (\d+)", line)[1] for line in warnings] == ["2", "3", "4", "5"]


class FullDisk:
    """A file that takes some bytes, and then no more until there is room."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, content):
        if self.room <= 0:
            raise OSError(28, "No space left on device")
        taken = self.file.write(content[: self.room])
        self.room -= taken
        return taken

    def fileno(self):
        return self.file.fileno()


@pytest.mark.parametrize("room", [0, 1, 50])
def test_an_answer_that_a_full_disk_refuses_is_not_kept_and_may_come_again(small, room):
    folder, found = small
    one, other = found.questions[:2]
    with opened(small) as kept:
        kept.keep(given(other))
        disk = kept._file = FullDisk(kept._file, room)
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                kept.keep(given(one))
        assert kept.answered("Ada") == {other.id}
        disk.room = 10**6
        assert kept.keep(given(one)) == (True, 2)
    stored, _ = answers.read(folder, found)
    assert [a.question for a in stored] == [other.id, one.id]


def test_two_processes_do_not_serve_one_session(small):
    with opened(small), pytest.raises(ValueError, match="is served by another process"), opened(small):
        pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": "0" * 16}, "no such question"),
        ({"question": ["x"]}, "no such question"),
        ({"answer": "left"}, "an answer is one of fake, real"),
        ({"milliseconds": -1}, "milliseconds must be a number"),
        ({"milliseconds": float("nan")}, "milliseconds must be a number"),
        ({"milliseconds": True}, "milliseconds must be a number"),
        ({"shown": "500"}, "shown must be a number"),
        ({"rater": ""}, "a name has from 1 to 40 characters"),
        ({"rater": "x" * 41}, "a name has from 1 to 40 characters"),
        ({"rater": "a\u202eb"}, "a name has from 1 to 40 characters"),
        ({"rater": None}, "a rater's name must be text"),
    ],
)
def test_what_is_no_answer_is_refused_and_nothing_is_written(small, change, message):
    with opened(small) as kept, pytest.raises(ValueError, match=message):
        kept.keep(given(small[1].questions[0]) | change)
    assert (small[0] / "answers.jsonl").read_bytes() == b""


# The server


@pytest.fixture
def application(small):
    with opened(small) as kept:
        yield Application(*small, kept)


def asked(application, method, path, body=b"", query="", **changes):
    """(status, headers, content) of a request; a change to None takes a header away."""
    own = f"127.0.0.1:{PORT}"
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_PORT": PORT,
        "HTTP_HOST": own,
    }
    if method == "POST":
        environ |= {
            "HTTP_ORIGIN": f"http://{own}",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(body)),
        }
    environ = {name: value for name, value in (environ | changes).items() if value is not None}
    seen = []
    content = application(environ | {"wsgi.input": io.BytesIO(body)}, lambda *reply: seen.append(reply))
    (status, headers), *_ = seen
    return int(status.split()[0]), dict(headers), b"".join(content)


def test_the_browser_hears_nothing_of_where_images_are_from(application, small):
    _, found = small
    replies = [asked(application, "GET", path, query=query) for path, query in (("/", ""), ("/questions", "rater=Ada"))]
    text = b"".join(content for _, _, content in replies).decode()
    assert not any(word in text for word in ("alpha", "photos", str(small[0]), "source"))
    told = json.loads(replies[1][2])
    assert [question["id"] for question in told["questions"]] == [question.id for question in found.order("Ada")]
    assert all(set(question) == {"id", "images"} for question in told["questions"])
    assert (told["task"], told["show_ms"], told["answered"], told["total"]) == ("real", 500, 0, 40)
    status, headers, content = asked(application, "GET", f"/images/{found.questions[0].images[0]}.png")
    assert status == 200 and headers["Content-Type"] == "image/png"
    assert content == session.image_file(small[0], found.questions[0].images[0]).read_bytes()


def test_each_rater_goes_on_where_they_were(application, small):
    order = small[1].order("Ada")
    for number, question in enumerate(order[:3], 1):
        status, _, content = asked(application, "POST", "/answers", json.dumps(given(question)).encode())
        assert (status, json.loads(content)) == (200, {"kept": True, "new": True, "answered": number})
        assert len(lines(small[0])) == number
    told = {who: json.loads(asked(application, "GET", "/questions", query=f"rater={who}")[2]) for who in ("Ada", "Bo")}
    assert [question["id"] for question in told["Ada"]["questions"]] == [question.id for question in order[3:]]
    assert told["Ada"]["answered"] == 3 and told["Bo"]["answered"] == 0 and len(told["Bo"]["questions"]) == 40


@pytest.mark.parametrize(
    "host", ["evil.example:8710", "127.0.0.1", "127.0.0.1:80", "127.0.0.1.evil.example:8710", "", None]
)
def test_other_names_of_this_machine_are_refused(application, host):
    for method, path in (("GET", "/"), ("GET", "/questions"), ("POST", "/answers")):
        assert asked(application, method, path, b"{}", HTTP_HOST=host)[0] == 403
    assert asked(application, "GET", "/", HTTP_HOST="LocalHost:8710")[0] == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:8710", "http://127.0.0.1:9999", ""]
)
def test_other_sites_pages_can_neither_read_nor_answer(application, small, origin):
    body = json.dumps(given(small[1].questions[0])).encode()
    assert asked(application, "POST", "/answers", body, HTTP_ORIGIN=origin)[0] == 403
    assert asked(application, "GET", "/questions", query="rater=Ada", HTTP_ORIGIN=origin)[0] == 403
    image = f"/images/{small[1].questions[0].images[0]}.png"
    assert asked(application, "GET", image, HTTP_SEC_FETCH_SITE="cross-site")[0] == 403
    assert asked(application, "GET", "/", HTTP_SEC_FETCH_SITE="cross-site")[0] == 200  # by a link
    assert asked(application, "GET", image)[0] == 200
    assert asked(application, "POST", "/answers", body, HTTP_ORIGIN=None)[0] == 403
    assert lines(small[0]) == []
    assert asked(application, "POST", "/answers", body, HTTP_SEC_FETCH_SITE="same-origin")[0] == 200


def test_only_images_of_the_plan_are_served(application, small):
    (small[0] / "images" / f"{'0' * 16}.png").write_bytes(b"not of the plan")
    for name in ("0" * 16, "../plan", "..%2fplan", "../../session/plan", small[1].questions[0].id, ""):
        for path in (f"/images/{name}.png", f"/images/{name}", f"/{name}"):
            status, _, content = asked(application, "GET", path)
            assert status == 404 or path == "/", path
            assert b"not of the plan" not in content
    for path in ("/plan.json", "/answers.jsonl"):
        assert asked(application, "GET", path)[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "changes", "status"),
    [
        ("GET", "/answers", b"", {}, 405),
        ("PUT", "/", b"", {}, 405),
        ("POST", "/questions", b"{}", {}, 405),
        ("POST", "/answers", b"{}", {"CONTENT_TYPE": "text/plain"}, 415),
        ("POST", "/answers", b"{}", {"CONTENT_LENGTH": None}, 411),
        ("POST", "/answers", b"{}", {"CONTENT_LENGTH": "many"}, 411),
        ("POST", "/answers", b"{}", {"CONTENT_LENGTH": str(LONGEST_BODY + 1)}, 413),
        ("POST", "/answers", b"{}", {"CONTENT_LENGTH": "-1"}, 413),
        ("POST", "/answers", b"{", {}, 400),
        ("POST", "/answers", b"[" * 4000, {}, 400),
        ("POST", "/answers", b"[]", {}, 400),
        ("POST", "/answers", b"{}", {}, 400),
        ("GET", "/questions", b"", {}, 400),
    ],
)
def test_requests_of_other_kinds_are_refused_with_a_line(application, small, method, path, body, changes, status):
    found, headers, content = asked(application, method, path, body, **changes)
    assert found == status and json.loads(content)["error"] and headers["X-Content-Type-Options"] == "nosniff"
    assert lines(small[0]) == []


def test_a_disk_that_is_full_is_told_to_the_page(application, small):
    application._answers._file = FullDisk(application._answers._file, 10)
    body = json.dumps(given(small[1].questions[0])).encode()
    status, _, content = asked(application, "POST", "/answers", body)
    assert status == 503 and "No space left" in json.loads(content)["error"]


def test_the_page_is_one_file_that_loads_nothing_from_elsewhere(application):
    text = PAGE.read_text()
    policy = asked(application, "GET", "/")[1]["Content-Security-Policy"]
    assert policy == policy_of(text) and "unsafe" not in policy and policy.startswith("default-src 'none'")
    assert policy_of(text.replace("PAUSE = 500", "PAUSE = 501")) != policy
    assert not re.search(r"https?:|<script src|@import|url\(|style=|\son\w+=", text)
    words = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function")
    assert not any(word in text for word in words)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["package-data"]["gen_models.tools.rating_page"] == ["*.html"]
    assert {path.suffix for path in PAGE.parent.iterdir() if path.is_file()} == {".py", ".html"}


# A server in a process of its own

waitress = pytest.mark.skipif(
    not importlib.util.find_spec("waitress"), reason="needs waitress: pip install 'gen_models[rate]'"
)


def post_all(server, questions, rater, acknowledged, errors):
    """Answer each question until it is kept, as the page does; `server()` gives the port of now."""
    for question in questions:
        end = time.monotonic() + 100
        while time.monotonic() < end:
            try:
                status, content, _ = send(server(), "/answers", given(question, rater, ("fake", "real")[question.real]))
            except (OSError, http.client.HTTPException):  # it is killed, amid an answer perhaps, or not there yet
                time.sleep(0.02)
                continue
            if status != 200 or not json.loads(content)["kept"]:
                errors.append((status, content))
            acknowledged.append((rater, question.id))
            break
        else:
            errors.append((rater, question.id))


def killed_session(small, kills):
    """Four raters answer all questions, while the server is killed now and then; what they were told is kept."""
    folder, found = small
    raters, acknowledged, errors = ("Ada", "Bo", "Cy", "Di"), [], []
    server = Server("--out", folder, "--port", 0)
    now = {"port": server.port}
    arguments = [(lambda: now["port"], found.order(rater), rater, acknowledged, errors) for rater in raters]
    threads = [threading.Thread(target=post_all, args=one) for one in arguments]
    for thread in threads:
        thread.start()
    each = len(raters) * len(found.questions) // (kills + 1)
    for kill in range(1, kills + 1):
        while len(acknowledged) < kill * each and any(thread.is_alive() for thread in threads):
            time.sleep(0.002)
        server.kill()
        told = set(acknowledged)  # of these the browser has heard
        assert told <= {(line["rater"], line["question"]) for line in lines(folder)}
        server = Server("--out", folder, "--port", 0)
        now["port"] = server.port
    for thread in threads:
        thread.join()
    assert server.stop() == 0 and errors == []
    stored, _ = answers.read(folder, found)
    assert len(stored) == len(raters) * len(found.questions) == len(set(acknowledged))
    assert all(a.answer == ("fake", "real")[q.real] for a in stored for q in found.questions if q.id == a.question)


@waitress
def test_a_kill_amid_four_raters_loses_no_answer_that_was_said_to_be_kept(small):
    killed_session(small, kills=1)


@waitress
@pytest.mark.slow  # half a minute: the server is started again and again
def test_ten_kills_amid_four_raters_lose_nothing(folders, tmp_path):
    out = tmp_path / "session"
    words = (folders["alpha"], "--real", folders["photos"], "--images", 30)
    killed_session((out, begun(out, *words)), kills=10)


@waitress
def test_the_server_itself_bounds_what_it_takes_and_listens_here_alone(small):
    folder, found = small
    with serving("--out", folder, "--port", 0) as server:
        status, content, headers = send(server.port, "/")
        assert status == 200 and content == PAGE.read_bytes() and "Server" not in headers
        question = found.questions[0]
        assert send(server.port, "/answers", given(question) | {"rater": "x" * 10_000})[0] == 413
        assert send(server.port, "/", Host="evil.example")[0] == 403
        assert send(server.port, "/answers", given(question), Origin="http://evil.example")[0] == 403
        assert send(server.port, "/answers", given(question))[0] == 200
        listening = Path(f"/proc/{server.process.pid}/net/tcp")
        if listening.exists():
            local = [row.split()[1] for row in listening.read_text().splitlines()[1:] if row.split()[3] == "0A"]
            assert [one for one in local if int(one[-4:], 16) == server.port] == [f"0100007F:{server.port:04X}"]
        assert server.stop() == 0
    assert len(lines(folder)) == 1


@waitress
def test_a_port_that_is_taken_is_said(small, monkeypatch, capsys):
    with serving("--out", small[0], "--port", 0) as server:
        other = small[0].parent / "other"
        other.mkdir()
        for name in ("plan.json", "images"):
            (other / name).symlink_to(small[0] / name)
        status, _, error = said(monkeypatch, capsys, "--out", other, "--port", server.port)
    assert status == BAD_INPUT and f"--port {server.port} cannot be used" in error


# The report


def test_error_rates_are_reported_with_their_intervals(small, monkeypatch, capsys):
    folder, found = small
    with opened(small) as kept:
        for rater, wrong in (("Ada", 5), ("Bo", 2)):
            for real in (False, True):
                for number, question in enumerate(q for q in found.questions if q.real == real):
                    right = number >= (wrong if real else 2 * wrong)
                    word = ("fake", "real")[question.real == right]
                    kept.keep(given(question, rater, word, milliseconds=1000 + 100 * real))
    with (folder / "answers.jsonl").open("ab") as file:
        file.write(b'{"rater": "Cy"')
    monkeypatch.setattr(console, "width", 200)
    status, out, error = said(monkeypatch, capsys, "--out", folder, "--report")
    assert status == 0 and "warning: line 81 of" in error and "torn" in error
    assert "2 raters, 80 of 80 answers, images shown for 500 ms" in out
    rows = {
        cells[0]: cells[1:]
        for line in out.splitlines()
        if len(cells := re.split(r"\s*[│┃|]\s*", line.strip("│ "))) == 6
    }
    assert rows["fakes as real"] == [
        "35.0%",
        "22.1 to 50.5%",
        "20.0 to 50.0%",
        "14 of 40",
        "1.00 s",
    ]
    assert rows["reals as fake"][:1] == ["17.5%"]
    assert rows["reals as fake"][3:] == ["7 of 40", "1.10 s"]
    assert "with 2 raters the intervals over raters are too narrow" in out
    assert rows["all errors"][0] == "26.2%" and rows["all errors"][3:] == ["21 of 80", "1.05 s"]


def test_preferences_and_strengths_are_those_that_were_given(folders, tmp_path, monkeypatch, capsys):
    """alpha wins all but 3 of 10 against beta, and so on; the sides on which they stand do not matter."""
    names = ("alpha", "beta", "gamma")
    found = begun(tmp_path, *(folders[name] for name in names), "--task", "prefer", "--images", 10)
    won = {(0, 1): 7, (0, 2): 9, (1, 2): 6}
    met = Counter()
    with answers.opened(tmp_path, found, pytest.fail) as kept:
        for question in found.questions:
            pair = tuple(sorted(question.of))
            winner = pair[met[pair] >= won[pair]]
            met[pair] += 1
            kept.keep(given(question, answer=("left", "right")[question.of.index(winner)]))
    monkeypatch.setattr(console, "width", 200)
    status, out, _ = said(monkeypatch, capsys, "--out", tmp_path, "--report")
    assert status == 0 and "images shown until the answer" in out
    for pair, count in won.items():
        row = next(line for line in out.splitlines() if f"{names[pair[0]]} over {names[pair[1]]}" in line)
        assert f"{count}0.0%" in row and f"{count} of 10" in row and "one rater" in row
    after = out.partition("Strengths")[2]
    assert after.index("alpha") < after.index("beta") < after.index("gamma") and "+" in after


def test_strengths_that_would_be_infinite_are_named(folders, tmp_path, capsys):
    names = ("alpha", "beta", "gamma")
    found = begun(tmp_path, *(folders[name] for name in names), "--task", "prefer", "--images", 2)
    every = [answers.Answer("Ada", q.id, ("left", "right")[q.of[1] < q.of[0]], 1.0, 1.0) for q in found.questions]
    report.show(found, every)
    assert "none of the others was preferred to alpha" in " ".join(capsys.readouterr().out.split())


def test_a_report_of_nothing_is_one_line(small, monkeypatch, capsys):
    status, _, error = said(monkeypatch, capsys, "--out", small[0], "--report")
    assert status == BAD_INPUT and "no answer has been given yet" in error


def test_a_report_of_some_answers_says_what_is_missing(small, capsys):
    _, found = small
    question = next(q for q in found.questions if q.real)
    report.show(found, [answers.Answer("Ada", question.id, "fake", 1.0, 1.0)])
    assert "none yet" in capsys.readouterr().out
