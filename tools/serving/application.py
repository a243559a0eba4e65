"""The HTTP application of `tools.serve`, by Starlette: predictions, health, metrics, and what an input is.

- `POST /predict`, JSON `{"inputs": [...]}`: `{"predictions": [...], "classes": [...], "probabilities": [[...]],
  "notes": [...]}`; of numbers, predictions and notes. Errors are `{"error": text, "faults": [{"row", "field",
  "why"}]}`, rows counted from 1 on: 400 bad input, 408 too slow, 413 too large, 415 no JSON, 500 the model
  failed, 503 overloaded or stopping (with Retry-After).
- `GET /`: the run, the kind and fields of an input, classes, limits.
- `GET /health`: 200 `{"status": "ok"}`, or 503 `{"status": "stopping"}`.
- `GET /metrics`: Prometheus' text.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gen_models.data.raw_inputs import BadInput, Fault, from_values
from gen_models.run.predicting import Predictor

from .batching import Batcher, Full, Stopped

SIZES = (1, 8, 32, 128, 512)  # rows of a batch that are compiled
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)  # seconds, in which answers are counted
DISCARDED = 16  # times the limit of a body: so much of one that is too large is read, that its client sees why


class Limits(NamedTuple):
    """What is taken at most."""

    rows: int = 512  # of a request
    body: int = 4 * 2**20  # bytes of a request's body
    waiting: int = 8192  # rows of all requests that wait
    seconds: float = 10.0  # in which a request's body must arrive


class Refused(Exception):
    """A request that is not answered, with its status and the reason."""

    def __init__(self, status: int, error: str, faults: tuple[Fault, ...] = ()):
        super().__init__(error)
        self.status, self.faults = status, faults


class Meters:
    """What `/metrics` shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made: Any = {"registry": self.registry}
        self.requests = Counter("requests", "Requests, by path and status", ["path", "status"], **made)
        self.rows = Counter("rows", "Inputs that were predicted", **made)
        self.seconds = Histogram("request_seconds", "Time of an answered prediction", buckets=BUCKETS, **made)
        self.batches = Histogram("batch_rows", "Rows that were computed together", buckets=SIZES, **made)
        self.waiting = Gauge("waiting_rows", "Rows that wait to be computed", **made)


class Service:
    """A predictor behind a batcher, and whether it is to stop; `application` makes an app of it."""

    def __init__(self, predictor: Predictor, described: Mapping[str, Any], limits: Limits):
        self.predictor, self.described, self.limits = predictor, described, limits
        self.meters = Meters()
        self.draining = False
        largest = max(limits.rows, SIZES[-1])
        sizes = sorted({*(size for size in SIZES if size < largest), largest})
        self.batcher = Batcher(self._compute, sizes, limits.waiting, self.meters.batches.observe)
        self.meters.waiting.set_function(lambda: self.batcher.waiting_rows)

    def _compute(self, arrays: Any) -> np.ndarray:
        """The model's outputs for a batch, in the batcher's thread."""
        return np.asarray(self.predictor.compiled(arrays))

    async def start(self) -> None:
        """Compile; afterwards requests are answered."""
        shapes = self.predictor.shapes(1)
        await self.batcher.start({name: np.zeros(shape.shape, shape.dtype) for name, shape in shapes.items()})

    async def predict(self, request: Request) -> Response:
        """The answer to `POST /predict`."""
        began = time.perf_counter()
        values = _inputs_of(await self._body(request), self.limits)
        try:
            inputs = from_values(values, self.predictor.form)
        except BadInput as error:
            raise Refused(400, str(error), error.faults) from None
        arrays = {name: inputs.arrays[name] for name in self.predictor.shapes(1)}
        try:
            outputs = await self.batcher.submit(arrays)
        except Full:
            raise Refused(503, "too many requests wait: try again in a second") from None
        except Stopped:
            raise Refused(503, "the service is stopping: ask another one") from None
        self.meters.rows.inc(len(inputs))
        self.meters.seconds.observe(time.perf_counter() - began)
        return JSONResponse(self._answer(outputs, inputs.notes))

    def _answer(self, outputs: np.ndarray, notes: tuple[str, ...]) -> dict[str, Any]:
        """The model's outputs as the JSON of an answer."""
        found = self.predictor.of_outputs(outputs)
        answer: dict[str, Any] = {"predictions": found.named()}
        if found.probabilities is not None:
            answer |= {"classes": found.classes, "probabilities": found.probabilities.tolist()}
        return answer | {"notes": notes}

    async def _body(self, request: Request) -> bytes:
        """The request's body, within the limits."""
        kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refused(415, f"a request must be JSON (Content-Type: application/json), got {kind[:60]}")
        body, read, limit = bytearray(), 0, self.limits.body
        try:
            async with asyncio.timeout(self.limits.seconds):
                async for part in request.stream():
                    read += len(part)
                    if read > DISCARDED * limit:
                        break
                    if read <= limit:
                        body += part
        except TimeoutError:
            raise Refused(408, f"a request's body must arrive within {self.limits.seconds:g} seconds") from None
        if read > limit:  # it was read, and not kept: a client that still sends would not see the answer
            raise Refused(413, f"a request may have {limit:,} bytes: send it in parts")
        return bytes(body)

    async def health(self, request: Request) -> Response:
        """Whether requests are taken."""
        return JSONResponse({"status": "stopping" if self.draining else "ok"}, 503 if self.draining else 200)

    async def metrics(self, request: Request) -> Response:
        """All meters, as Prometheus reads them."""
        return Response(generate_latest(self.meters.registry), media_type=CONTENT_TYPE_LATEST)

    async def describe(self, request: Request) -> Response:
        """What the service predicts, of what."""
        return JSONResponse(self.described)


def application(service: Service) -> Starlette:
    """The app; it compiles when it starts, and answers what it took before it ends."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.batcher.stop()

    routes = [
        Route("/predict", _answered(service, service.predict), methods=["POST"]),
        Route("/", _answered(service, service.describe)),
        Route("/health", _answered(service, service.health)),
        Route("/metrics", _answered(service, service.metrics)),
    ]
    handlers: Any = {HTTPException: _no_such}
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)


def _answered(
    service: Service, handler: Callable[[Request], Awaitable[Response]]
) -> Callable[..., Awaitable[Response]]:
    """The handler, whose refusals and failures are answers too; all are counted."""

    async def answered(request: Request) -> Response:
        try:
            answer = await handler(request)
        except Refused as error:
            faults = [fault._asdict() for fault in error.faults]
            answer = JSONResponse({"error": str(error), "faults": faults}, error.status)
            if error.status == 503:
                answer.headers["retry-after"] = "1"
        except ClientDisconnect:
            answer = Response(status_code=499)  # nobody reads it
        except Exception as error:
            answer = JSONResponse({"error": f"the model failed: {type(error).__name__}", "faults": []}, 500)
        if service.draining or answer.status_code in (408, 413):  # the body may not have been read to its end
            answer.headers["connection"] = "close"
        service.meters.requests.labels(request.url.path, str(answer.status_code)).inc()
        return answer

    return answered


async def _no_such(request: Request, error: Any) -> Response:
    """The answer where there is no such path, or not by this method."""
    why = {404: "there is no such path: POST /predict, GET /, /health and /metrics", 405: "another method is needed"}
    text = why.get(error.status_code, str(error.detail))
    return JSONResponse({"error": text, "faults": []}, error.status_code, headers=error.headers)


def _inputs_of(body: bytes, limits: Limits) -> list[Any]:
    """The list of inputs in a body."""
    try:
        payload = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Refused(400, f"the body is no JSON: {reason[:200]}") from None
    if not isinstance(payload, dict) or not isinstance(payload.get("inputs"), list):
        raise Refused(400, 'the body must be an object {"inputs": [...]}, with a list of inputs')
    if more := sorted(set(payload) - {"inputs"}):
        raise Refused(400, f'the body has {", ".join(map(repr, more))[:200]} besides "inputs": leave it out')
    if len(payload["inputs"]) > limits.rows:
        raise Refused(
            413, f"a request may have {limits.rows:,} inputs, got {len(payload['inputs']):,}: send it in parts"
        )
    return payload["inputs"]


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON: send null where a value is not known")
