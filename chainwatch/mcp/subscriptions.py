"""
Subscriptions of agents: a filter and the place where it began, under a name that only its caller knows.

Nothing runs for one. What matches is in the log, and whoever waits says from which cursor on; so an agent that comes
back an hour later, or a daemon that was started anew, goes on where it was. One that nobody asks for any more expires.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec

from chainwatch.mcp.desk import Desk, Standing, Turned, Words

MOST: Final = 100
"""Subscriptions of one caller."""
SHORTEST: Final = 60.0
LONGEST: Final = 7 * 86_400.0
DEFAULT: Final = 86_400.0
"""Seconds that one lives without being asked for."""

_AGAIN: Final = 0.5  # of its life: before that, asking for one is not written down


class Subscriptions:
    """Those of all callers of one server; each is kept by its caller's desk."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock`: Unix seconds."""
        self._clock = clock
        self._opening: Counter[str] = Counter()  # of each caller, those that are not kept yet
        self._keeping: set[asyncio.Task[None]] = set()

    async def open(self, desk: Desk, words: Words, seconds: float) -> Standing:
        """A new one, from now on. `Turned` where its words mean nothing, or there are `MOST` already."""
        cursor = await desk.cursor(words)
        await self.all(desk)  # forgets those that have expired
        # Nothing is waited for from here on to the count: a caller may open many at the same time.
        if len(await desk.kept()) + self._opening[desk.caller] >= MOST:
            raise Turned(f"There are {MOST} subscriptions, as many as one may have", "Call unsubscribe for some.")
        now = self._clock()
        plain = {name: list(texts) for name, texts in words.items()}
        standing = Standing(f"sub_{secrets.token_hex(8)}", plain, cursor, now, now + seconds, seconds)
        self._opening[desk.caller] += 1
        # To its end even where the call is cancelled: what is on disk is known, and counted.
        keeping = asyncio.create_task(self._keep(desk, standing), name="mcp:keep")
        self._keeping.add(keeping)
        keeping.add_done_callback(self._keeping.discard)
        await asyncio.shield(keeping)
        return standing

    async def _keep(self, desk: Desk, standing: Standing) -> None:
        try:
            await desk.keep(standing)
        finally:
            self._opening[desk.caller] -= 1
            if not self._opening[desk.caller]:
                del self._opening[desk.caller]

    async def get(self, desk: Desk, name: str) -> Standing:
        """One of theirs, which lives on for being asked for. `Turned` where they have none of that name."""
        now = self._clock()
        for standing in await desk.kept():
            if standing.id == name and standing.expires > now:
                return await self._renewed(desk, standing, now)
        raise Turned(
            f"There is no subscription {name!r}",
            "It may have expired, or belong to another key: call list_subscriptions, or subscribe_to_events again.",
        )

    async def all(self, desk: Desk) -> list[Standing]:
        """Theirs, oldest first; those that have expired are forgotten."""
        now = self._clock()
        found = sorted(await desk.kept(), key=lambda one: (one.created, one.id))
        for gone in [one for one in found if one.expires <= now]:
            await desk.forget(gone.id)
        return [one for one in found if one.expires > now]

    async def close(self, desk: Desk, name: str) -> None:
        """Forget one of theirs; `Turned` where there is none."""
        await self.get(desk, name)
        await desk.forget(name)

    async def _renewed(self, desk: Desk, standing: Standing, now: float) -> Standing:
        if standing.expires - now > standing.ttl * _AGAIN:
            return standing
        fresh = msgspec.structs.replace(standing, expires=now + standing.ttl)
        await desk.keep(fresh)
        return fresh
