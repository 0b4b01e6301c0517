"""
Streams that are behind: what they read next, and how they come to be live.

They take turns of a few milliseconds, a piece of the log each, so that a thousand that come back at once keep neither
ingest nor each other waiting. A piece that memory or somebody else's read has is given at once; else the log is read,
and the stream is woken.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from chainwatch import sse
from chainwatch.log import Cursor
from chainwatch.stream import wire
from chainwatch.stream.begin import gap_to_oldest
from chainwatch.stream.slices import Slices, Spot
from chainwatch.stream.stream import Place, Stream

if TYPE_CHECKING:
    from chainwatch.stream.hub import Hub

_BUDGET: Final = 0.005
"""Seconds of one turn of the loop."""
_KEEP: Final = 5.0
"""Seconds that slices of the log are remembered when no stream is behind any more."""

_log = structlog.get_logger("chainwatch.stream")


class Behind:
    """The streams of a hub that are not live."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._slices = Slices(hub.log, self._arrived)
        self._ready: deque[tuple[Stream, wire.Piece | None]] = deque()
        self._ahead: list[Stream] = []  # they have read up to `flushed` in a round, or more
        self._pumping = False
        self._pumped = 0.0  # when a stream was behind last

    def round_ended(self) -> None:
        """A round is over: those that waited for it join, where it came as far as they are."""
        ahead, self._ahead = self._ahead, []
        for stream in ahead:
            if stream.place is Place.AHEAD:
                self.step(stream)

    def tidy(self, now: float) -> None:
        """Now and then: forget what nobody reads any more."""
        if not self._pumping and now - self._pumped > _KEEP:
            self.forget()

    def forget(self) -> None:
        """Let the slices go that are remembered for whoever comes to the same place."""
        self._slices.forget()

    async def close(self) -> None:
        """End the reads that are under way."""
        await self._slices.close()

    def put(self, stream: Stream, piece: wire.Piece | None = None) -> None:
        """It can take more: the piece that was read for it, or whatever comes next."""
        stream.place = Place.READY
        self._ready.append((stream, piece))
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Move streams that are behind, in turn, for a few milliseconds."""
        clock = self._loop.time
        until = clock() + _BUDGET
        ready = self._ready
        while ready:
            stream, piece = ready.popleft()
            if stream.place is Place.READY:
                self.step(stream, piece)
            if clock() > until and ready:
                self._loop.call_soon(self._pump)
                return
        self._pumping = False
        self._pumped = clock()

    def step(self, stream: Stream, piece: wire.Piece | None = None) -> None:
        """Take the piece that was read for it; or join, wait for a round to be over, take the next, have it read."""
        try:
            if piece is None or stream.paused:
                self._step(stream)
            else:
                self._give(stream, piece)
        except Exception:  # noqa: BLE001 - one stream that cannot go on must not stop the others that are behind
            self._hub.broken(stream)

    def _step(self, stream: Stream) -> None:
        if stream.paused:
            stream.place = Place.PAUSED
        elif stream.cursor >= self._hub.flushed:
            if stream.cursor == self._hub.flushed and not self._hub.in_round:
                self._hub.join(stream)
            else:
                stream.place = Place.AHEAD
                self._ahead.append(stream)
        else:
            spot = Spot(stream.cursor, stream.wanted, stream.form)
            if (piece := self._slices.at_hand(spot)) is not None:
                self._give(stream, piece)
            elif self._hub.log.oldest > stream.cursor + 1:
                self._skip(stream)
            else:
                stream.place = Place.READING
                self._slices.fetch(spot, stream)

    def _arrived(self, streams: list[Stream], result: wire.Piece | Exception) -> None:
        if isinstance(result, Exception):
            _log.error("the log cannot be read", problem=str(result), streams=len(streams))
        for stream in streams:
            if stream.place is not Place.READING:
                continue
            if isinstance(result, Exception):
                self._hub.finish(stream, "log")
            elif self._hub.log.oldest > stream.cursor + 1:  # retention was faster than the read
                self._skip(stream)
            else:
                self.put(stream, result)

    def _give(self, stream: Stream, piece: wire.Piece) -> None:
        if stream.remaining is not None and piece.events > stream.remaining:
            piece = wire.first_events(piece, stream.remaining, stream.form)
        stream.cursor = piece.last
        if piece.events:
            stream.sent += piece.events
            stream.bytes += len(piece.wire)
            self._hub.meter.count(time.time(), deliveries=piece.events, size=len(piece.wire))
            self._hub.write(stream, piece.wire, piece.tally)
            self._hub.count_down(stream, piece.events)
        if stream.place in (Place.CLOSING, Place.CLOSED):
            return
        if stream.paused or stream.cursor >= self._hub.flushed:
            self._step(stream)
        else:
            self.put(stream)

    def _skip(self, stream: Stream) -> None:
        """Retention has overtaken a reader: say what is gone, and go on from the oldest event."""
        stands = Cursor(self._hub.log.identity, stream.cursor)
        begin = gap_to_oldest(str(stands), stands, "expired", oldest=self._hub.log.oldest, head=self._hub.log.head)
        if begin.gap is not None:
            told = sse.gap(begin.gap.resumed_at, msgspec.json.encode(begin.gap))
            self._hub.write(stream, *wire.told(told, stream.form))
        stream.cursor = stream.told = begin.after
        self.put(stream)
