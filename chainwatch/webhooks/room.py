"""Fair shares of what there is little of: requests under way, threads that look names up."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator


class Room:
    """
    So many places at once, and fewer of one owner: whoever is called and stalls keeps theirs. Whoever has none gets one
    at once, beyond that number if need be, so that no others keep anybody out, however many they are; there are no more
    owners than the operator made keys. What becomes free goes to whoever has the fewest.
    """

    def __init__(self, most: int, share: int) -> None:
        self._most = most
        self._share = share
        self._taken = 0
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @contextlib.asynccontextmanager
    async def of(self, owner: str) -> AsyncIterator[None]:
        """A place of theirs, while inside."""
        await self.take(owner)
        try:
            yield
        finally:
            self.leave(owner)

    async def take(self, owner: str) -> None:
        """Returns when they have one more; of one owner, whoever came first is first."""
        if owner not in self._waiting and self._free(owner):
            self._enter(owner)
            return
        waits = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(waits)
        try:
            await waits
        except asyncio.CancelledError:
            if waits.cancelled():
                self._forget(owner, waits)
            else:  # it was given in the same moment
                self.leave(owner)
            raise

    def leave(self, owner: str) -> None:
        """They need one less."""
        self._taken -= 1
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]
        while able := [one for one in self._waiting if self._free(one)]:
            fewest = min(able, key=self._held.__getitem__)
            waits = self._waiting[fewest][0]
            self._forget(fewest, waits)
            if not waits.done():
                self._enter(fewest)
                waits.set_result(None)

    def _free(self, owner: str) -> bool:
        held = self._held[owner]
        return not held or (held < self._share and self._taken < self._most)

    def _enter(self, owner: str) -> None:
        self._held[owner] += 1
        self._taken += 1

    def _forget(self, owner: str, waits: asyncio.Future[None]) -> None:
        """It waits no more; the rest of theirs comes behind that of the others."""
        queue = self._waiting.pop(owner, deque())
        with contextlib.suppress(ValueError):
            queue.remove(waits)
        if queue:
            self._waiting[owner] = queue
