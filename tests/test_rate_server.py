"""A server in a process of its own: kills lose no answer, and it listens on this machine alone."""

import http.client
import json
import threading
import time
from pathlib import Path

import pytest
from rating_server import Server, lines, send, serving
from rating_session import begun, given, said, waitress

from gen_models.run.config import BAD_INPUT
from tools.rating_page import answers
from tools.rating_page.application import PAGE

pytest_plugins = ["rating_fixtures"]


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
