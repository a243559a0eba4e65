"""The page, its images and its answers over HTTP, as a WSGI application; `tools/rate.py` serves it to this machine.

    GET  /                       the page
    GET  /questions?rater=NAME   what this rater has still to answer, in the rater's own order
    GET  /images/ID.png          an image of the plan
    POST /answers                one answer; the reply comes once it is on the disk

Pages of other sites can send requests to this machine, too. What does not name it as its host (a name that was made to
point here), or comes from another origin, is refused.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from .answers import Answers, rater_name
from .plan import ANSWERS, Plan
from .session import image_file

PAGE = Path(__file__).resolve().parent / "rate.html"
HOSTS = ("127.0.0.1", "localhost")
LONGEST_BODY = 4096  # bytes of an answer
HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)


class Reply(NamedTuple):
    """What a request is answered with."""

    status: HTTPStatus
    content: bytes
    kind: str = "application/json"
    caching: str = "no-store"


class Refused(Exception):
    """A request that is refused, with its status and a line for the page."""

    def __init__(self, status: HTTPStatus, line: str):
        super().__init__(line)
        self.status = status


class Application:
    """A session's WSGI application."""

    def __init__(self, folder: Path, plan: Plan, answers: Answers):
        self._folder, self._plan, self._answers = folder, plan, answers
        self._images = {image for question in plan.questions for image in question.images}
        self._page = PAGE.read_bytes()
        self._policy = policy_of(self._page.decode())

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request, as WSGI has it."""
        try:
            _check_place(environ)
            reply = self._reply(environ)
        except Refused as refused:
            reply = _json({"error": str(refused)}, refused.status)
        except ValueError as error:
            reply = _json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        except OSError as error:
            line = f"it cannot be written or read on the server ({error.strerror}): it is tried again"
            reply = _json({"error": line}, HTTPStatus.SERVICE_UNAVAILABLE)
        own = (
            ("Content-Type", reply.kind),
            ("Content-Length", str(len(reply.content))),
            ("Cache-Control", reply.caching),
            ("Content-Security-Policy", self._policy),
        )
        start_response(f"{reply.status.value} {reply.status.phrase}", [*own, *HEADERS])
        return [reply.content]

    def _reply(self, environ: Mapping[str, Any]) -> Reply:
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        if path == "/answers":
            return self._keep(environ, method)
        if method != "GET":
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{method} is not for this address")
        if path == "/":
            return Reply(HTTPStatus.OK, self._page, "text/html; charset=utf-8")
        if path == "/questions":
            return self._questions(environ)
        return self._image(path)

    def _questions(self, environ: Mapping[str, Any]) -> Reply:
        rater = rater_name(parse_qs(environ.get("QUERY_STRING", "")).get("rater", [""])[0])
        answered = self._answers.answered(rater)
        left = [q for q in self._plan.order(rater) if q.id not in answered]
        asked = self._plan.asked
        about = {"task": asked.task, "words": ANSWERS[asked.task], "show_ms": asked.show_ms, "rater": rater}
        counts = {"answered": len(answered), "total": len(self._plan.questions)}
        return _json(about | counts | {"questions": [{"id": q.id, "images": q.images} for q in left]})

    def _image(self, path: str) -> Reply:
        found = re.fullmatch(r"/images/([0-9a-f]{16})\.png", path)
        if found is None or found[1] not in self._images:  # what is no name of the plan never becomes a path
            raise Refused(HTTPStatus.NOT_FOUND, "there is nothing at this address")
        content = image_file(self._folder, found[1]).read_bytes()
        return Reply(HTTPStatus.OK, content, "image/png", "private, max-age=86400, immutable")

    def _keep(self, environ: Mapping[str, Any], method: str) -> Reply:
        if method != "POST":
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "answers are sent by POST")
        if environ.get("HTTP_ORIGIN") is None:
            raise Refused(HTTPStatus.FORBIDDEN, "an answer must name the page that it comes from")
        if environ.get("CONTENT_TYPE", "").partition(";")[0].strip() != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "an answer is JSON")
        try:
            size = int(environ.get("CONTENT_LENGTH") or "")
        except ValueError:
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "an answer must say how long it is") from None
        if not 0 < size <= LONGEST_BODY:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"an answer has at most {LONGEST_BODY} bytes")
        try:
            found = json.loads(environ["wsgi.input"].read(size))
        except (ValueError, RecursionError):
            raise ValueError("an answer must be JSON") from None
        new, given = self._answers.keep(found)
        return _json({"kept": True, "new": new, "answered": given})


def _check_place(environ: Mapping[str, Any]) -> None:
    """Refuse what was not sent to this machine by its own name, or comes from another site's page."""
    own = {f"{host}:{environ['SERVER_PORT']}" for host in HOSTS}
    origin = environ.get("HTTP_ORIGIN")
    if environ.get("HTTP_HOST", "").lower() not in own:
        raise Refused(HTTPStatus.FORBIDDEN, f"the page is at http://{HOSTS[0]}:{environ['SERVER_PORT']} alone")
    if origin is not None and origin.lower() not in {f"http://{host}" for host in own}:
        raise Refused(HTTPStatus.FORBIDDEN, "requests of other sites are refused")
    own_page = environ.get("HTTP_SEC_FETCH_SITE", "none") in ("same-origin", "none")
    if not own_page and environ.get("PATH_INFO", "") != "/":  # a link to the page may stand anywhere
        raise Refused(HTTPStatus.FORBIDDEN, "requests of other sites are refused")


def policy_of(page: str) -> str:
    """The Content-Security-Policy under which the page's own script and style run, and nothing else does."""

    def hashed(tag: str) -> str:
        texts = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    return (
        f"default-src 'none'; script-src {hashed('script')}; style-src {hashed('style')}; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _json(value: Any, status: HTTPStatus = HTTPStatus.OK) -> Reply:
    return Reply(status, json.dumps(value).encode())
