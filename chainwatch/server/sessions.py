"""
What is open, by whose key: so that it ends when the key does.

Streams of the hub carry the id of their key; whatever else is open (WebSockets, statistics) says here how it is ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from chainwatch.keys import Keyring
from chainwatch.server.access import Access
from chainwatch.server.principal import Principal
from chainwatch.stream.hub import Hub

_TURN: Final = 1000
"""Streams ended in one turn of the loop."""

_log = structlog.get_logger("chainwatch.access")
End = Callable[[str], None]
"""Ends a connection for the reason given."""


class Sessions:
    """Ends what is open when its key is revoked, changed, or expires."""

    def __init__(self, access: Access, hub: Hub) -> None:
        self.access = access
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._holders: dict[str, Principal] = {}  # whoever opened something, as they were then
        self._ends: dict[str, dict[End, None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` when keys came, changed or ended."""
        self._listeners.append(listener)

    def welcome(self, principal: Principal) -> None:
        """They are about to open something."""
        if principal.id not in self._holders:
            self._holders[principal.id] = principal
            self._arm()

    @contextmanager
    def open(self, principal: Principal, end: End) -> Iterator[None]:
        """While inside, `end` is called when the key ends."""
        self.welcome(principal)
        ends = self._ends.setdefault(principal.id, {})
        ends[end] = None
        try:
            yield
        finally:
            ends.pop(end, None)
            if not ends and self._ends.get(principal.id) is ends:
                del self._ends[principal.id]

    def change(self, ring: Keyring) -> None:
        """These are the keys from now on."""
        self.access.change(ring)
        self.put_out()
        self._arm()
        self._tell()

    def put_out(self) -> None:
        """End what belongs to keys that hold no more."""
        gone = {holder for holder, principal in self._holders.items() if not self.access.holds(principal)}
        if not gone:
            return
        for holder in sorted(gone):
            principal = self._holders.pop(holder)
            _log.info("a key has ended; so does what it has open", key_id=principal.id or None, name=principal.name)
            for end in list(self._ends.get(holder, ())):
                end("revoked")
        task = self._loop.create_task(self._finish(gone), name="access:put out")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(self, gone: set[str]) -> None:
        ended = 0
        for stream in list(self._hub.streams.values()):
            if stream.owner in gone:
                self._hub.finish(stream, "revoked")
                ended += 1
                if ended % _TURN == 0:
                    await asyncio.sleep(0)

    def _arm(self) -> None:
        """The next key to expire is looked at when it does."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self.access.next_expiry()
        if at is not None and self._holders:
            # An hour at most: clocks of wall time are set now and then.
            self._timer = self._loop.call_later(min(max(at - time.time(), 0) + 0.01, 3600), self._expired)

    def _expired(self) -> None:
        self._timer = None
        self.put_out()
        self._arm()
        self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    def close(self) -> None:
        """Nothing is ended by this any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
