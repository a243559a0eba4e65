"""Folders of images to be judged, and a server in a process of its own that tests kill."""

import contextlib
import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent
SIZE = (8, 6)  # height and width


def write_images(folder: Path, count: int, seed: int, *, size: tuple[int, int] = SIZE, colour: bool = False) -> Path:
    """Different images of noise, as PNG files."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        pixels = rng.integers(0, 256, size=(*size, 3) if colour else size, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{folder.name}_{number}.png")
    return folder


class Server:
    """`python -m tools.rate` with these words, once it listens."""

    def __init__(self, *words: object):
        command = [sys.executable, "-m", "tools.rate", *map(str, words)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        said = ""
        while found := self.process.stdout.readline():
            said += found
            if port := re.search(r"http://127\.0\.0\.1:(\d+)", found):
                self.port, self.address = int(port[1]), port[0]
                return
        raise AssertionError(f"the server did not start: {said}{self.process.stderr.read()}")

    def kill(self):
        """SIGKILL: nothing of the process runs any more."""
        self._end(signal.SIGKILL)

    def stop(self):
        """Ask it to end, as Ctrl-C does, which tests that run in the background ignore; returns the exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number):
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode


@contextlib.contextmanager
def serving(*words):
    """A server for as long as the block runs."""
    server = Server(*words)
    try:
        yield server
    finally:
        server.kill()


def send(port, path, body=None, **headers):
    """(status, JSON, headers) of a request, with the headers of the page's own unless others are given."""
    address = f"http://127.0.0.1:{port}"
    own = {"Origin": address, "Content-Type": "application/json"} if body is not None else {}
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, own | {k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, reply.read(), reply.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers


def lines(folder):
    """The lines of a session's answers that can be read."""
    found = []
    for line in (folder / "answers.jsonl").read_bytes().split(b"\n"):
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found
