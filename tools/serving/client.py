"""A client of `tools.serve` that measures it: by many threads, each with a connection of its own, and no part of it.

It speaks HTTP by Python's own `http.client`, so that what it says of the service does not rest on the service's
libraries.
"""

import http.client
import json
import math
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Address(NamedTuple):
    """Where the service listens."""

    host: str
    port: int


ANSWERED, REFUSED, LOST, WRONG = range(4)  # places in a client's counts, of which `Tally` says what they are


class Tally(NamedTuple):
    """What became of the requests of all clients."""

    answered: int  # with status 200 and as many predictions as inputs
    refused: int  # no connection, or an answer that says the service stops: nothing was taken
    lost: int  # sent, and without a whole answer
    wrong: int  # another status, or other predictions than expected
    rows: int  # of what was answered
    seconds: float
    latencies: tuple[float, ...]  # of the answered, in seconds, sorted

    def percentile(self, share: float) -> float:
        """The latency in seconds below which this share of the answers lies; NaN of none."""
        if not self.latencies:
            return math.nan
        return self.latencies[min(int(share * len(self.latencies)), len(self.latencies) - 1)]


def get(address: Address, path: str) -> tuple[int, Any]:
    """Status and body, as JSON where it is some."""
    connection = http.client.HTTPConnection(*address, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        kind = answer.headers.get("content-type", "")
        return answer.status, json.loads(text) if kind.startswith("application/json") else text
    finally:
        connection.close()


def example(described: Mapping[str, Any], draw: random.Random) -> Any:
    """A random input, of what `GET /` says that one is."""
    if described["kind"] == "tables":
        row: dict[str, Any] = {}
        for column in described["columns"]:
            if column["kind"] == "number":
                row[column["name"]] = draw.gauss(column["centre"], column["scale"])
            else:
                row[column["name"]] = draw.choice(column["words"]) if column["words"] else None
        return row
    if described["kind"] == "images":
        height, width, channels = described["shape"]
        levels = described["levels"]
        return [[[draw.randrange(levels) for _ in range(channels)] for _ in range(width)] for _ in range(height)]
    return " ".join(draw.choice(("a", "good", "bad", "film", "plot", "of", "the")) for _ in range(8))


def body_of(inputs: Sequence[Any]) -> bytes:
    """The body of a request."""
    return json.dumps({"inputs": list(inputs)}).encode()


class Load:
    """Clients that ask one after another, until they are told to stop or the service ends."""

    def __init__(self, address: Address, bodies: Sequence[bytes], rows: int, clients: int):
        self.address, self.bodies, self.rows = address, bodies, rows
        self._stop = threading.Event()
        self._counts = [[0] * 4 for _ in range(clients)]
        self._latencies: list[list[float]] = [[] for _ in range(clients)]
        self._threads = [threading.Thread(target=self._ask, args=(index,), daemon=True) for index in range(clients)]
        self._began = 0.0

    def start(self) -> "Load":
        """Begin to ask."""
        self._began = time.perf_counter()
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> Tally:
        """No more requests; what became of all."""
        self._stop.set()
        return self.wait()

    def wait(self) -> Tally:
        """What became of all, once every client has ended: those end by themselves where nothing listens any more."""
        for thread in self._threads:
            thread.join(60)
        seconds = time.perf_counter() - self._began
        answered, refused, lost, wrong = (sum(counts) for counts in zip(*self._counts, strict=True))
        latencies = sorted(value for values in self._latencies for value in values)
        return Tally(answered, refused, lost, wrong, answered * self.rows, seconds, tuple(latencies))

    def _ask(self, index: int) -> None:
        """One client's requests, in a thread: the bodies in turn, on one connection while the service keeps it."""
        counts, latencies = self._counts[index], self._latencies[index]
        connection: http.client.HTTPConnection | None = None
        at = index
        while not self._stop.is_set():
            body = self.bodies[at % len(self.bodies)]
            at += len(self._threads)
            began = time.perf_counter()
            if connection is None:
                connection = http.client.HTTPConnection(*self.address, timeout=30)
                try:
                    connection.connect()
                except OSError:  # nothing listens: nothing was sent
                    counts[REFUSED] += 1
                    return
            try:
                connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                payload = json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError):
                counts[LOST] += 1
                connection.close()
                connection = None
                continue
            if answer.will_close:
                connection.close()
                connection = None
            if answer.status == 200 and len(payload["predictions"]) == self.rows:
                counts[ANSWERED] += 1
                latencies.append(time.perf_counter() - began)
            else:
                counts[REFUSED if answer.status == 503 else WRONG] += 1
        if connection is not None:
            connection.close()


class Malformed(NamedTuple):
    """A request that must be refused."""

    what: str
    body: bytes
    kind: str = "application/json"
    path: str = "/predict"
    method: str = "POST"
    status: tuple[int, ...] = (400,)


def malformed(described: Mapping[str, Any], count: int, seed: int = 0) -> list[Malformed]:
    """`count` different requests of every kind of mistake that we know, over and over with other random inputs."""
    draw, found = random.Random(seed), list[Malformed]()
    makers = [*_OF_ALL, *(_OF_ROWS if described["kind"] == "tables" else ())]
    for index in range(count):
        found.append(makers[index % len(makers)](described, draw))
    return found


def _cut(described: Mapping[str, Any], draw: random.Random) -> Malformed:
    whole = body_of([example(described, draw)])
    return Malformed("cut short", whole[: draw.randrange(1, len(whole) - 1)])


def _row(change: Callable[[dict[str, Any], random.Random], Any], what: str) -> Callable[..., Malformed]:
    """A good row, then one that is changed."""

    def make(described: Mapping[str, Any], draw: random.Random) -> Malformed:
        good, row = example(described, draw), example(described, draw)
        return Malformed(what, body_of([good, change(row, draw)]))

    return make


def _with(kind: type, value: Any) -> Callable[[dict[str, Any], random.Random], Any]:
    """A row in which a number (float) or a word (str) is another value."""

    def change(row: dict[str, Any], draw: random.Random) -> dict[str, Any]:
        names = [name for name, own in row.items() if isinstance(own, kind)] or list(row)
        return row | {draw.choice(names): value}

    return change


def _without(row: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    gone = draw.choice(list(row))
    return {name: value for name, value in row.items() if name != gone}


_OF_ALL: tuple[Callable[..., Malformed], ...] = (
    _cut,
    lambda d, r: Malformed("empty", b""),
    lambda d, r: Malformed("no text", bytes(r.randrange(128, 256) for _ in range(20))),
    lambda d, r: Malformed("nested", b'{"inputs": ' + b"[" * 100_000),
    lambda d, r: Malformed("a list", json.dumps([example(d, r)]).encode()),
    lambda d, r: Malformed("no inputs", json.dumps({"rows": [example(d, r)]}).encode()),
    lambda d, r: Malformed("no list", json.dumps({"inputs": example(d, r) if d["kind"] != "images" else 3}).encode()),
    lambda d, r: Malformed("none", body_of([])),
    lambda d, r: Malformed("more", json.dumps({"inputs": [example(d, r)], "seed": 3}).encode()),
    lambda d, r: Malformed("null", body_of([None])),
    lambda d, r: Malformed("a constant", b'{"inputs": [NaN]}'),
    lambda d, r: Malformed("too many", body_of([0] * (d["limits"]["rows"] + 1)), status=(413,)),
    lambda d, r: Malformed("too long", b" " * (d["limits"]["body"] + 1), status=(413,)),
    lambda d, r: Malformed("a form", b"inputs=3", "application/x-www-form-urlencoded", status=(415,)),
    lambda d, r: Malformed("another path", b"{}", path="/predictions", status=(404,)),
    lambda d, r: Malformed("another method", b"{}", method="PUT", status=(405,)),
)
_OF_ROWS: tuple[Callable[..., Malformed], ...] = (
    _row(_with(float, "a lot"), "text for a number"),
    _row(_with(float, True), "truth value for a number"),
    _row(_with(float, [1.0]), "list for a number"),
    _row(_with(float, 10**60), "number beyond float32"),
    _row(_with(str, 3), "number for a word"),
    _row(_with(str, {"a": 1}), "object for a word"),
    _row(_without, "missing column"),
    _row(lambda row, draw: row | {"colour of the sky": 1}, "unknown column"),
    _row(lambda row, draw: list(row.values()), "list for a row"),
)


def refusal(address: Address, request: Malformed) -> str | None:
    """Why the answer to a malformed request is no clear refusal; None where it is one."""
    connection = http.client.HTTPConnection(*address, timeout=30)
    try:
        connection.request(request.method, request.path, request.body, {"Content-Type": request.kind})
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return f"{request.what}: no answer ({error!r})"
    finally:
        connection.close()
    if answer.status not in request.status:
        return f"{request.what}: status {answer.status}, expected {request.status}"
    try:
        told = json.loads(text)
        clear = len(told["error"]) > 10 and isinstance(told["faults"], list)
    except (ValueError, KeyError, TypeError):
        clear = False
    return None if clear else f"{request.what}: the answer says no reason: {text[:100]!r}"
