"""All WebSockets that are open: what they share, and how they end together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from aiohttp import web

from chainwatch.server import ops
from chainwatch.server.context import CONTEXT, Context

if TYPE_CHECKING:
    from chainwatch.server.connection import Connection

_TURN: Final = 500
"""Connections ended in one turn of the loop."""
_SHARED: Final = 64
"""Pieces remembered as frames for whoever has the same subscription: about 5 MiB."""


class Sockets:
    """The WebSockets of one server."""

    def __init__(self, app: web.Application, *, stall: float = 60.0) -> None:
        """`stall`: seconds after which a client is closed that takes nothing, or answers no ping."""
        self.app = app
        self.context: Context = app[CONTEXT]
        self.stall = stall
        self.connections: dict[Connection, None] = {}
        self.spliced = lru_cache(maxsize=_SHARED)(ops.spliced)
        """Like `ops.spliced`; clients that read the same under the same id share the bytes."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._emptied = asyncio.Event()

    def add(self, connection: Connection) -> None:
        self.connections[connection] = None

    def discard(self, connection: Connection) -> None:
        self.connections.pop(connection, None)
        if not self.connections:
            self.spliced.cache_clear()
            self._emptied.set()

    def spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        """Run `work` beside everything else; it is ended when the server stops."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self, grace: float = 2.0) -> None:
        """
        End every subscription with `complete` and every connection with 1001; cut those that have not taken it after
        `grace` seconds. Returns when the last connection is gone.
        """
        for number, connection in enumerate(list(self.connections), start=1):
            connection.finish("shutdown")
            if number % _TURN == 0:
                await asyncio.sleep(0)
        try:
            await asyncio.wait_for(self._gone(), grace)
        except TimeoutError:
            for connection in list(self.connections):
                connection.transport.abort()
            await self._gone()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.context.followers.stop()

    async def _gone(self) -> None:
        while self.connections:
            self._emptied.clear()
            await self._emptied.wait()


SOCKETS = web.AppKey("sockets", Sockets)
