"""`tools.serve`: batches of static sizes, the model's own answers, refusals that say why, a stop that loses none."""

import asyncio
import http.client
import json
import random
import signal
import sys
import threading
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from saved import saved_run

from gen_models.data.raw_inputs import Form, from_values
from gen_models.data.tables import Prepared
from gen_models.run import cli, experiments
from gen_models.run.predicting import Predictor, predictor_of
from gen_models.run.restore import load_run
from tools import serve, serve_check
from tools.serving.application import Limits, Service, application
from tools.serving.batching import Batcher, Full, Stopped
from tools.serving.client import Load, body_of, example, get, malformed, refusal

ROOT = Path(__file__).parent.parent


def arrays(*values):
    return {"x": np.array(values, np.float32)}


class Computing:
    """Doubles x, slowly where it is told to, and keeps what sizes it was called with."""

    def __init__(self):
        self.sizes, self.go = [], threading.Event()
        self.go.set()

    def __call__(self, given):
        self.sizes.append(len(given["x"]))
        self.go.wait(10)
        if (given["x"] < 0).any():
            raise FloatingPointError("negative")
        return 2 * given["x"]


def test_what_waits_is_computed_together_in_sizes_that_were_compiled():
    async def whole():
        compute, rows = Computing(), []
        batcher = Batcher(compute, (8, 1, 4), most_waiting=12, told=rows.append)
        await batcher.start(arrays(0))
        assert compute.sizes == [1, 4, 8]  # all are compiled before the first request
        compute.go.clear()
        lone = asyncio.create_task(batcher.submit(arrays(1)))
        await asyncio.sleep(0.05)  # it is under way; the others queue up behind it
        given = [arrays(*range(10 * i, 10 * i + n)) for i, n in enumerate((3, 4, 2, 3))]
        others = [asyncio.create_task(batcher.submit(each)) for each in given]
        await asyncio.sleep(0.05)
        assert batcher.waiting_rows == 12
        with pytest.raises(Full):
            await batcher.submit(arrays(1))
        others[1].cancel()  # its client has gone: the rows of the others are still their own
        compute.go.set()
        assert (await lone).tolist() == [2]
        for i, n in ((0, 3), (2, 2), (3, 3)):
            assert (await others[i]).tolist() == [2 * (10 * i + k) for k in range(n)]
        assert compute.sizes[3:] == [1, 8, 8] and rows == [1, 7, 5]
        with pytest.raises(FloatingPointError):
            await batcher.submit(arrays(-1))
        assert (await batcher.submit(arrays(5))).tolist() == [10]  # one failure ends nothing else
        compute.go.clear()
        last = [asyncio.create_task(batcher.submit(arrays(i))) for i in range(6)]
        await asyncio.sleep(0.05)
        stopping = asyncio.create_task(batcher.stop())
        await asyncio.sleep(0)
        with pytest.raises(Stopped):
            await batcher.submit(arrays(1))
        compute.go.set()
        await stopping
        assert [(await one).tolist() for one in last] == [[2 * i] for i in range(6)]  # what was taken is answered

    asyncio.run(whole())


MEANING = Prepared(
    *(("age", "height"), (("town", ("Bergen", "Oslo")),), "kind", ("n", "y"), "mean", "none", (1.0, 2.0), (1.0, 1.0)),
    *((1.0, 2.0), (), (0,), 0, (), 0.0, 1.0),
)


def fake_predictor():
    """p(y) is 1 where age is above 0 and the town is Oslo."""

    def forward(given):
        yes = (given["x"][:, 0] > 0) & (given["categories"][:, 0] == 2)
        return np.stack([1 - yes, yes], 1).astype(np.float32)

    made = Predictor(Form("tables", (2,), 256, MEANING), ("n", "y"), "kind", forward)
    made.__dict__["compiled"] = forward  # it is NumPy's
    return made


def ask(requests, limits=None, before=lambda service: None):
    """(status, headers, body) of each (method, path, content type, parts of the body) by an app that nothing serves."""
    service = Service(fake_predictor(), {"kind": "tables"}, limits or Limits())
    app = application(service)

    async def one(method, path, kind, parts):
        sent, left = [], list(parts)

        async def receive():
            if not left:
                await asyncio.sleep(10)
            part = left.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(left) or part == b"..."}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "query_string": b"", "root_path": "", "scheme": "http"}
        headers = [(b"content-type", kind.encode())] if kind else []
        await app({**scope, "headers": headers, "asgi": {"version": "3.0"}, "http_version": "1.1"}, receive, send)
        body = b"".join(message.get("body", b"") for message in sent[1:])
        told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], told, body

    async def whole():
        await service.start()
        before(service)
        found = [await one(*request) for request in requests]
        await service.batcher.stop()
        return found

    return asyncio.run(whole())


ROW = {"age": 3, "height": None, "town": "Oslo"}
JSON = "application/json"


def post(payload, kind=JSON):
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return "POST", "/predict", kind, [body[:7], body[7:]]


def test_answers_and_meters():
    rows = [ROW, ROW | {"town": "Bergen"}, ROW | {"town": "Paris"}, ROW | {"age": -1.5}, ROW | {"kind": "y"}]
    found = ask([post({"inputs": rows}), ("GET", "/health", "", [b""]), ("GET", "/metrics", "", [b""]), post({})])
    status, _, body = found[0]
    answer = json.loads(body)
    assert status == 200 and answer["predictions"] == ["y", "n", "n", "n", "y"] and answer["classes"] == ["n", "y"]
    assert answer["probabilities"][:2] == [[0, 1], [1, 0]]
    assert answer["notes"] == ["row 3: 'Paris' is none of the words of 'town' for training, and counts as missing"]
    assert found[1][0] == 200 and json.loads(found[1][2]) == {"status": "ok"}
    text = found[2][2].decode()
    assert 'requests_total{path="/predict",status="200"} 1.0' in text and "rows_total 5.0" in text
    assert "batch_rows_sum 5.0" in text and 'request_seconds_bucket{le="+Inf"} 1.0' in text
    assert found[3][0] == 400


@pytest.mark.parametrize(
    ("request_", "status", "why"),
    [
        (post({"inputs": [ROW, ROW | {"age": "3"}]}), 400, "row 2: 'age' must be a number or null, got the text '3'"),
        (post({"inputs": []}), 400, "must stand in a list that is not empty"),
        (post({"inputs": [ROW], "seed": 1}), 400, "'seed' besides"),
        (post(b'{"inputs": [NaN]}'), 400, "NaN is no number of JSON"),
        (post(b"[" * 100_000), 400, "nested too deeply"),
        (post(b"\xff\xfe\xfd"), 400, "no JSON"),
        (post({"inputs": [ROW] * 4}), 413, "may have 3 inputs, got 4"),
        (post({"inputs": [ROW]}, "text/csv"), 415, "got text/csv"),
        (("POST", "/predict", JSON, [b" " * 90_000] * 2), 413, "may have 150,000 bytes"),
        (("POST", "/predict", JSON, [b"...", b"..."]), 408, "must arrive within 0.2 seconds"),
        (("GET", "/predict", "", [b""]), 405, "another method"),
        (("GET", "/model", "", [b""]), 404, "no such path"),
    ],
)
def test_refusals_say_why(request_, status, why):
    ((found, headers, body),) = ask([request_], Limits(rows=3, body=150_000, seconds=0.2))
    answer = json.loads(body)
    assert found == status and why in answer["error"] and isinstance(answer["faults"], list)
    if status in (408, 413):
        assert headers["connection"] == "close" or "inputs" in why
    if why.startswith("row 2"):
        assert answer["faults"] == [{"row": 2, "field": "age", "why": "must be a number or null, got the text '3'"}]


def test_overloaded_and_stopping_are_told():
    ((status, headers, _),) = ask([post({"inputs": [ROW] * 3})], Limits(waiting=2))
    assert status == 503 and headers["retry-after"] == "1"
    requests = [("GET", "/health", "", [b""]), post({"inputs": [ROW]})]
    found = ask(requests, before=lambda service: setattr(service, "draining", True))
    assert found[0][0] == 503 and json.loads(found[0][2]) == {"status": "stopping"}
    assert found[1][0] == 200 and found[1][1]["connection"] == "close"  # what still comes is answered


def test_the_container_file_holds_together():
    """It was not built here; what it copies, installs and starts is there."""
    file = ROOT / "tools" / "serving" / "Containerfile"
    text = file.read_text().replace("\\\n", " ")
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert steps[0][0] == "FROM" and steps[0][1].startswith("python:3.")
    for _, words in (step for step in steps if step[0] == "COPY"):
        for source in words.split()[:-1]:
            assert source == "${RUN}" or (ROOT / source).exists(), source
    assert ["ARG", "RUN"] in steps and ["STOPSIGNAL", "SIGTERM"] in steps
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    installed = next(words for name, words in steps if name == "RUN" and "pip install" in words)
    assert set(installed.partition("[")[2].partition("]")[0].split(",")) <= set(extras)
    command = json.loads(next(words for name, words in steps if name == "ENTRYPOINT"))
    health = json.loads(next(words for name, words in steps if name == "HEALTHCHECK").partition("CMD ")[2])
    assert command[0] == "gen-models" and command[1] in experiments.tools() and "8000/health" in health[2]
    assert command[command.index("--port") + 1] == dict(steps)["EXPOSE"] and dict(steps)["USER"] != "root"
    line = f"docker build -f {file.relative_to(ROOT)} --build-arg RUN="
    for page in (ROOT / "README.md", ROOT / "docs" / "serving.md", file):
        assert line in page.read_text(), page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "99999"], "--port must be from 0 to 65535"),
        (["--most-rows", "0"], "--most-rows must be 1 or more"),
        (["--drain", "-1"], "--drain must be 0 seconds or more"),
        (["--host", "203.0.113.7", "--port", "0"], "cannot listen at 203.0.113.7:0"),
        (["--port", "0"], "holds no run"),
    ],
)
def test_bad_options_are_refused(words, message, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["tools.serve", str(tmp_path), *words])
    with pytest.raises(SystemExit) as stopped:
        cli.guard(serve.main)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_server_answers_refuses_and_stops_without_losing_any(tmp_path):
    """A process of its own, and a client that knows nothing of it."""
    run = saved_run("tables", "mlp", tmp_path / "run", steps=3, missing="median", learning_rate=0.05)
    with serve_check.started(str(run)) as running:
        address = running.address
        described = get(address, "/")[1]
        draw = random.Random(1)
        rows = [example(described, draw) for _ in range(8)]
        load = Load(address, [body_of(rows)], 8, clients=16).start()
        time.sleep(1)
        tally = load.stop()
        assert tally.answered > 50 and (tally.lost, tally.wrong, tally.refused) == (0, 0, 0)
        predictor = predictor_of(load_run(run))
        expected = predictor(from_values(rows, predictor.form))
        connection = http.client.HTTPConnection(*address, timeout=30)
        connection.request("POST", "/predict", body_of(rows), {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        assert answer["predictions"] == expected.named()
        np.testing.assert_allclose(answer["probabilities"], expected.probabilities, rtol=1e-4, atol=1e-6)
        requests = malformed(described, 100)
        assert len({request.what for request in requests}) >= 20
        assert [fault for request in requests if (fault := refusal(address, request))] == []
        load = Load(address, [body_of(rows)], 8, clients=16).start()
        time.sleep(1)
        running.process.send_signal(signal.SIGTERM)
        tally = load.wait()
        assert tally.answered > 50 and (tally.lost, tally.wrong) == (0, 0)
        assert running.process.wait(30) == 0
