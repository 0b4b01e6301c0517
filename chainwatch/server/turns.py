"""
Turns at the log, for questions that may have much of it read: a page of history, the newest so many events.

The log has two threads to read with, and streams that catch up need them. So a client asks one such question at a time,
and its others wait for that: a flood of them is the client's own to wait for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from chainwatch.server.problem import Problem

MOST: Final = 32
"""Questions of one client, the one that is asked and those that wait."""


class _Line:
    """The questions of one client."""

    __slots__ = ("count", "lock")

    def __init__(self) -> None:
        self.count = 0
        self.lock = asyncio.Lock()  # it is fair, and so keeps the order


class Turns:
    """Who asks, and who waits."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}

    def __len__(self) -> int:
        """Clients that ask."""
        return len(self._lines)

    @asynccontextmanager
    async def of(self, client: str, *, most: int | None = None) -> AsyncIterator[None]:
        """It is the client's turn while inside. `Problem` 429 where `most` (`MOST`) of its questions wait already."""
        most = MOST if most is None else most
        line = self._lines.setdefault(client, _Line())
        if line.count >= most:
            wait = {"Retry-After": "1"}
            raise Problem(429, f"{most} questions of this client wait for the log already", headers=wait)
        line.count += 1
        try:
            async with line.lock:
                yield
        finally:
            line.count -= 1
            if not line.count:
                del self._lines[client]
