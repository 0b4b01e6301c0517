"""
Who is told that a resource changed: `resources/subscribe` in sessions of the handshake era, `subscriptions/listen` in
the stateless one. Both are this loop: wait for an event that changes it, say so, and rest for `COALESCE` seconds, so
that a busy resource is told of once and not once an event. What comes meanwhile is behind the cursor, and is told next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Final

import structlog

from chainwatch.mcp.desk import Desk, Turned, Words

COALESCE: Final = 1.0
"""Seconds between two updates of one resource, at least."""
MOST: Final = 100
"""Resources that one session, or one listener, watches."""

_ROUND: Final = 25.0
"""
Seconds of one wait. Then the resource is looked up again: one that is gone is watched no more, and a subscription that
is watched does not expire (see `SHORTEST`).
"""
_log = structlog.get_logger("chainwatch.mcp")
Tell = Callable[[], Awaitable[None]]
Find = Callable[[], Awaitable[Words]]
"""The events by which a resource changes, as of now. `Turned` where there is no such resource."""


async def watch(desk: Desk, find: Find, cursor: str, tell: Tell) -> None:
    """
    Call `tell` when something behind `cursor` changes the resource, until this is cancelled. `Turned` where the
    resource is no more, or the desk gives up; it is told then too, so that whoever reads it hears why.
    """
    try:
        while True:
            try:
                words = await find()
                arrived, cursor = await desk.wait(words, cursor, _ROUND)
                if not arrived:
                    continue
                # The place is taken before anybody is told: whoever reads then sees all up to there, and hears of the
                # rest.
                cursor = await desk.cursor(words)
            except Turned as turned:
                if not turned.passing:
                    raise
                await asyncio.sleep(COALESCE)
                continue
            await tell()
            await asyncio.sleep(COALESCE)
    except Turned:
        await tell()
        raise


class Watches:
    """The loops of one server, each for a session and an address."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[Hashable, str], asyncio.Task[None]] = {}
        self._told: dict[tuple[Hashable, str], Tell] = {}  # those of them that were told at least once
        self._again: set[asyncio.Task[None]] = set()

    def start(self, session: Hashable, uri: str, desk: Desk, find: Find, cursor: str, tell: Tell) -> None:
        """Watch it for that session; once, however often it asks. `Turned` where it watches `MOST` already."""
        key = session, uri
        if key in self._tasks:
            return
        if sum(of == session for of, _ in self._tasks) >= MOST:
            raise Turned(f"There are {MOST} subscriptions to resources in this session", "Unsubscribe from some.")

        async def noted() -> None:
            if self._tasks.get(key) is task:
                self._told[key] = tell
            await tell()

        task = asyncio.create_task(self._run(uri, desk, find, cursor, noted), name="mcp:watch")
        self._tasks[key] = task
        task.add_done_callback(partial(self._over, key))

    def listened(self, session: Hashable) -> None:
        """
        That session listens from now on. What was told while it did not went nowhere, and nobody knows which that was;
        so all that was told is told again.
        """
        for key, tell in list(self._told.items()):
            if key[0] == session:
                task = asyncio.create_task(self._quietly(tell), name="mcp:tell")
                self._again.add(task)
                task.add_done_callback(self._again.discard)

    def stop(self, session: Hashable, uri: str | None = None) -> None:
        """Watch it no more; or nothing of that session."""
        for key, task in list(self._tasks.items()):
            if key[0] == session and uri in (None, key[1]):
                self._over(key, task)
                task.cancel()

    async def close(self) -> None:
        """End all of them."""
        tasks = [*self._tasks.values(), *self._again]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _over(self, key: tuple[Hashable, str], task: asyncio.Task[None]) -> None:
        if self._tasks.get(key) is task:  # else it was watched no more, and then again
            del self._tasks[key]
            self._told.pop(key, None)

    async def _run(self, uri: str, desk: Desk, find: Find, cursor: str, tell: Tell) -> None:
        try:
            await watch(desk, find, cursor, tell)
        except Turned as turned:  # the key ended, the daemon stops: whoever asks again is told why
            _log.info("a resource is watched no more", uri=uri[:200], reason=str(turned))
        except Exception:  # noqa: BLE001 - one session's trouble; the others go on
            _log.exception("a resource could not be watched", uri=uri[:200])

    async def _quietly(self, tell: Tell) -> None:
        try:
            await tell()
        except Exception:  # noqa: BLE001 - it has ended meanwhile
            _log.debug("a session could not be told again", exc_info=True)
