"""Serve a trained run's predictions over HTTP: rows of a table, images or sentences in JSON.

python -m tools.serve runs/tables/mlp/0
curl -X POST localhost:8000/predict -H 'Content-Type: application/json' -d '{"inputs": [{"island": "Dream", ...}]}'

GET / says what an input is; GET /health and /metrics (Prometheus) are for who watches it. Requests that wait are
computed together, in sizes that are compiled before the port answers. At SIGTERM it answers all that it took, and for
--drain seconds all that still comes. `tools/serving/application.py` has the statuses and limits, `tools.serve_check`
measures it, `tools/serving/Containerfile` puts it into a container. There is no encryption and nobody is asked who he
is: it belongs behind a proxy that does both. Extra: serve.
"""

import argparse
import importlib
import socket
from typing import TYPE_CHECKING, Any

from gen_models.run import cli, tool
from gen_models.run.console import say

from .predict import loaded_predictor

if TYPE_CHECKING:
    from gen_models.run.predicting import Predictor

PORT = 8000
PARTS = ("prometheus_client", "starlette", "uvicorn")


def main() -> int:
    """Parse, restore, compile, serve until a signal ends it."""
    parser = tool.run_parser(__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1; all: 0.0.0.0)")
    parser.add_argument("--port", type=int, default=PORT, help=f"0: any that is free (default: {PORT})")
    parser.add_argument("--most-rows", type=int, default=512, help="inputs of a request, at most (default: 512)")
    parser.add_argument("--most-bytes", type=int, default=4 * 2**20, help="of a request's body (default: 4 MiB)")
    parser.add_argument("--most-waiting", type=int, default=8192, help="inputs that wait, at most (default: 8192)")
    parser.add_argument("--drain", type=float, default=1.0, help="seconds in which it still answers (default: 1)")
    arguments = parser.parse_args()
    _check(arguments)
    for part in PARTS:
        try:
            importlib.import_module(part)
        except ImportError:
            raise ImportError("serving needs Starlette, Uvicorn and more: pip install 'gen_models[serve]'") from None
    with _listening(arguments.host, arguments.port) as listening:
        return _serve(arguments, listening)


def _serve(arguments: argparse.Namespace, listening: socket.socket) -> int:
    """Restore, compile, and serve at a socket until a signal ends it; the exit status."""
    from .serving import server
    from .serving.application import Limits, Service, application

    found = tool.loaded(arguments, with_data=False)
    predictor = loaded_predictor(found, arguments)
    limits = Limits(arguments.most_rows, arguments.most_bytes, arguments.most_waiting)
    described = describe(predictor) | {"run": str(arguments.run), "step": int(found.state.step)}
    service = Service(predictor, described | {"limits": limits._asdict()}, limits)
    host, port = listening.getsockname()[:2]

    def ready() -> None:
        say(f"serving {arguments.run} at http://{host}:{port}")

    if not server.run(application(service), service, listening, arguments.drain, ready):
        raise ValueError(f"{arguments.run} cannot be served: its model could not be compiled")
    say("stopped: all that was taken is answered")
    return 0


def describe(predictor: "Predictor") -> dict[str, Any]:
    """What an input is, as JSON: enough to write one."""
    form, meaning = predictor.form, predictor.form.meaning
    told: dict[str, Any] = {"kind": form.kind, "target": predictor.target, "classes": predictor.classes}
    if form.kind == "tables":
        numbers = [
            {"name": name, "kind": "number", "centre": centre, "scale": scale}
            for name, centre, scale in zip(meaning.numeric, meaning.centre, meaning.scale, strict=True)
        ]
        words = [{"name": name, "kind": "word", "words": own} for name, own in meaning.categorical]
        return told | {"columns": [*numbers, *words], "complete": meaning.missing == "drop"}
    return told | ({"shape": form.shape, "levels": form.levels} if form.kind == "images" else {"length": form.shape[0]})


def _check(arguments: argparse.Namespace) -> None:
    if not 0 <= arguments.port <= 65_535:
        raise ValueError(f"--port must be from 0 to 65535, got {arguments.port}")
    for name in ("most_rows", "most_bytes", "most_waiting"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be 1 or more, got {getattr(arguments, name)}")
    if not arguments.drain >= 0:
        raise ValueError(f"--drain must be 0 seconds or more, got {arguments.drain}")


def _listening(host: str, port: int) -> socket.socket:
    """A socket at the address, taken before anything is restored.

    Raises:
      ValueError: the address cannot be had.
    """
    try:
        listening = socket.create_server((host, port), backlog=2048)
    except OSError as error:
        raise ValueError(f"cannot listen at {host}:{port} ({error.strerror or error}): choose another --port") from None
    # Answers go out in two pieces: without this the second would wait for the client's delayed acknowledgement, 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


if __name__ == "__main__":
    cli.guard(main)
