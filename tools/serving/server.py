"""Uvicorn, which stops without losing a request.

At SIGTERM (or Ctrl-C) the service first *drains*: for `drain` seconds it still answers all that comes, tells each
client to close its connection, and `/health` says 503, so that what distributes requests sends no more. Then it takes
the connections that wait at its port and closes it, answers what these send within `LINGER` seconds and all that it has
taken, and ends with status 0. A second signal ends the draining at once.
"""

import asyncio
import functools
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from .application import Service

LINGER = 1.0  # seconds in which a connection that was taken last must send its request
PAUSE = 0.02  # seconds in which who asks for a connection learns that the queue is full, and tries again a second later


class Server(uvicorn.Server):
    """Uvicorn's server, which drains before it stops."""

    def __init__(self, config: uvicorn.Config, service: Service, drain: float, ready: Callable[[], None]):
        super().__init__(config)
        self.service, self.drain, self.ready = service, drain, ready
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listening: list[socket.socket] = []
        self._taking: set[asyncio.Task[object]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, once all sizes are compiled; then say so."""
        self._loop, self._listening = asyncio.get_running_loop(), sockets or []
        await super().startup(sockets)
        if not self.should_exit:
            self.ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain, and then stop; it is called by the signal."""
        if self.service.draining or self._loop is None:
            self.should_exit = True
            return
        self.service.draining = True
        self._loop.call_soon_threadsafe(self._loop.call_later, self.drain, self._stop)

    def _stop(self) -> None:
        """Close the port, and end a little later; the event loop calls it."""
        assert self._loop is not None
        self._taking.add(task := self._loop.create_task(self._close()))
        task.add_done_callback(self._taking.discard)

    async def _close(self) -> None:
        assert self._loop is not None
        # A connection that the system has made and nobody has accepted is reset when the port is closed, though its
        # client may have sent a request. So the queue is cut to one place first, and emptied right before.
        for listening in self._listening:
            self._loop.remove_reader(listening)
            listening.listen(0)
        for _ in range(3):  # asyncio's own tasks for what it has accepted fail once its server is closed
            await asyncio.sleep(0)
        for server, listening in zip(self.servers, self._listening, strict=True):
            self._take_waiting(listening)
            time.sleep(PAUSE)  # nothing may be accepted meanwhile
            self._take_waiting(listening)
            server.close()
        self._loop.call_later(LINGER, self._end)

    def _take_waiting(self, listening: socket.socket) -> None:
        """Accept what the system has already connected, which would be reset otherwise."""
        assert self._loop is not None
        kind: Any = self.config.http_protocol_class
        protocol = functools.partial(
            kind, config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:  # none waits any more
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._loop.connect_accepted_socket(protocol, connection))
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)

    def _end(self) -> None:
        self.should_exit = True


def run(app: Starlette, service: Service, listening: socket.socket, drain: float, ready: Callable[[], None]) -> bool:
    """Serve until a signal ends it; whether it had begun to."""
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on")
    config.timeout_keep_alive = 30
    server = Server(config, service, drain, ready)
    server.run(sockets=[listening])
    return server.started
