"""The server's answers to requests: it serves its own page alone, and what others ask is refused."""

import io
import json
import re
import tomllib
from pathlib import Path

import pytest
from rating_server import lines
from rating_session import FullDisk, given, opened

from tools.rating_page import session
from tools.rating_page.application import LONGEST_BODY, PAGE, Application, policy_of

pytest_plugins = ["rating_fixtures"]
ROOT = Path(__file__).parent.parent
PORT = "8710"


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
