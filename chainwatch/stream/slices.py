"""
Reading the log for streams that are behind: what several of them need is read once.

After a restart thousands come back with the same cursor and filter; they share one read, and one bytes object, which
their transports' buffers share too. A few reads run at a time, the others wait their turn.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

from chainwatch.filter import Filter
from chainwatch.log import Log
from chainwatch.stream import wire

_KEPT: Final = 32
"""Pieces remembered: 8 MiB of streams at most."""
_AT_ONCE: Final = 4
"""Reads of the log under way."""


class Spot(NamedTuple):
    """What a reader reads next."""

    after: int
    wanted: Filter
    form: wire.Form


R = TypeVar("R")
"""Whoever reads."""


class Slices(Generic[R]):
    """Pieces of the log by where they begin."""

    def __init__(
        self, log: Log, arrived: Callable[[list[R], wire.Piece | Exception], None], *, size: int = wire.PIECE
    ) -> None:
        """`arrived`: what was read, and for whom. `size`: bytes of a piece, about."""
        self._log = log
        self._arrived = arrived
        self._size = size
        self._kept: OrderedDict[Spot, wire.Piece] = OrderedDict()
        self._waiting: dict[Spot, list[R]] = {}  # readers of the reads that are under way, or queued
        self._queue: deque[Spot] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def at_hand(self, spot: Spot) -> wire.Piece | None:
        """The piece, where it was read just now or memory has it."""
        piece = self._kept.get(spot)
        if piece is None:
            read = self._log.read_tail(spot.after, spot.wanted, named=spot.form.named, max_bytes=self._size)
            if read is None:
                return None
            piece = self.keep(spot, wire.of_slice(read, spot.form))
        return piece

    def keep(self, spot: Spot, piece: wire.Piece) -> wire.Piece:
        """Remember the piece for whoever comes to that spot."""
        if piece.last <= spot.after:
            return piece  # retention was faster: what was asked for is gone
        self._kept[spot] = piece
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return piece

    def fetch(self, spot: Spot, reader: R) -> None:
        """Read the piece for `reader`, and for whoever asks for it meanwhile; `arrived` is called with all of them."""
        if (waiting := self._waiting.get(spot)) is not None:
            waiting.append(reader)
            return
        self._waiting[spot] = [reader]
        self._queue.append(spot)
        self._start()

    def forget(self) -> None:
        """Let the remembered pieces go: nobody is behind."""
        self._kept.clear()

    async def close(self) -> None:
        """End the reads that are under way."""
        self._queue.clear()
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self) -> None:
        while self._queue and len(self._tasks) < _AT_ONCE:
            spot = self._queue.popleft()
            task = asyncio.create_task(self._read(spot), name=f"stream:read:{spot.after}")
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._start()

    async def _read(self, spot: Spot) -> None:
        result: wire.Piece | Exception
        try:
            read = await self._log.read(spot.after, spot.wanted, named=spot.form.named, max_bytes=self._size)
            result = self.keep(spot, wire.of_slice(read, spot.form))
        except Exception as problem:  # noqa: BLE001 - whatever it is, its readers must hear of it
            result = problem
        if readers := self._waiting.pop(spot, None):
            self._arrived(readers, result)
