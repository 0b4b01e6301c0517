"""
The fan-out: every committed event to every stream that wants it, as cheap as C.

    live     per event the index finds the groups that want it; once per turn of the loop each group's frames go out as
             one bytes object, the same for all its members
    behind   a stream whose transport takes no more leaves its group with its cursor behind that write, and reads on
             from the log when the transport resumes; nothing is queued for it, nothing dropped

What makes this exact: `flushed` is the sequence up to which live streams have everything. Events wait in `_entries`
until a round takes them all, and a round gives them to those who are members at its start. A stream joins only when
its cursor is at `flushed`, in the same synchronous step as the comparison, so no event can come between its last read
and its membership, nor twice. One that has read beyond `flushed` waits for the next round's start.

A round writes to about a thousand streams in a turn of the loop, so that ingest and accept stay alive meanwhile; what
is not part of it (heartbeats, durations) waits until it is over.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import structlog

from chainwatch import sse
from chainwatch.event import rfc3339
from chainwatch.filter import Filter
from chainwatch.log import Cursor, Entry, Log
from chainwatch.stream import kernel, wire
from chainwatch.stream.begin import gap_to_oldest
from chainwatch.stream.index import Group, Index
from chainwatch.stream.meter import Meter
from chainwatch.stream.slices import Slices, Spot
from chainwatch.stream.stream import Place, Stream
from chainwatch.stream.wheel import Wheel

_TURN: Final = 1000
"""Streams written to in one turn of the loop."""
_BUDGET: Final = 0.005
"""Seconds of one turn for streams that are behind."""
_WIDTH: Final = 0.05
"""Seconds that a heartbeat may be late."""
_GRACE: Final = 5.0
"""Seconds that a stream's transport has to empty itself after the end was written."""
_KEEP: Final = 5.0
"""Seconds that slices of the log are remembered when no stream is behind any more."""

_log = structlog.get_logger("chainwatch.stream")
_GroupKey = tuple[Filter, bool, bool, Stream | None]
_Job = tuple[Group, list[Stream], list[wire.Piece]]


class Hub:
    """All streams of one log."""

    def __init__(self, log: Log, *, heartbeat: float = 15.0, stall: float = 60.0) -> None:
        """
        `heartbeat`: seconds of idleness after which a stream gets a sign of life, where it asked for no other.
        `stall`: seconds after which a client is closed whose transport took nothing.
        """
        self.log = log
        self.heartbeat = heartbeat
        self.flushed = log.head
        self.streams: dict[str, Stream] = {}
        self.meter = Meter()
        self.stopped = asyncio.Event()
        self._stall = stall
        self._loop = asyncio.get_running_loop()
        self._index = Index()
        self._groups: dict[_GroupKey, Group] = {}
        self._slices = Slices(log, self._arrived)
        # A round of the live streams.
        self._entries: list[Entry] = []  # committed since the last round began
        self._batches: list[tuple[str, float]] = []  # their newest observed_at, and when they were committed
        self._flushing = False  # a round is scheduled or under way
        self._round: Iterator[None] | None = None
        self._at = self.flushed  # the cursor behind the write that is under way
        self._rest = (0, 0)  # events and bytes of the group that come after it
        # Streams that are behind.
        self._ready: deque[tuple[Stream, wire.Piece | None]] = deque()
        self._ahead: list[Stream] = []
        self._pumping = False
        self._pumped = 0.0  # when a stream was behind last
        # Time.
        self._wheel: Wheel[Stream] = Wheel(_WIDTH)
        self._timer: asyncio.TimerHandle | None = None
        self._due: deque[Stream] = deque()
        self._looking = False  # streams of `_due` are being looked at
        self._beats: dict[tuple[bool, bool, int], bytes] = {}
        self._emptied = asyncio.Event()
        log.listen(self._committed)

    @property
    def closing(self) -> bool:
        """No stream begins any more, and every open one was told its end."""
        return self.stopped.is_set()

    def now(self) -> float:
        """Seconds of the clock of `Stream.opened`."""
        return self._loop.time()

    # --- streams come and go --------------------------------------------------------------------------------------

    def open(self, stream: Stream, first: bytes, *, duration: float | None = None) -> None:
        """Begin: `first` (connect, and a gap where there is one), then the log from the stream's cursor on."""
        now = self._loop.time()
        stream.opened = stream.touched = stream.stalled = now
        stream.told = stream.cursor
        stream.deadline = None if duration is None else now + duration
        self.streams[stream.id] = stream
        self._look_again(stream, now)
        self._write(stream, wire.wired(first, chunked=stream.chunked))
        self._make_ready(stream)

    def finish(self, stream: Stream, reason: str) -> None:
        """End a stream in order: `complete`, a time to come back after, the end of the body."""
        if stream.place in (Place.CLOSING, Place.CLOSED):
            return
        live = stream.group is not None
        # At its limit the client's cursor is its last event; in a round it is not known which event that is.
        told = reason != "limit" and not (live and self._round is not None)
        cursor = str(Cursor(self.log.identity, stream.position)) if told else ""
        if live:
            self._leave(stream)
        stream.place = Place.CLOSING
        stream.reason = reason
        self._wheel.discard(stream, stream.slot)
        stream.slot = self._wheel.put(stream, self._loop.time() + _GRACE)
        self._arm()
        end = sse.control("complete", b"[DONE]", cursor=cursor, retry_ms=self.retry())
        self._write(stream, wire.chunk(end) + wire.LAST_CHUNK if stream.chunked else end)
        stream.transport.close()

    def retry(self) -> int:
        """
        Milliseconds after which a client that is cut comes back: a second, and a share of what it takes to let all of
        them in one after another (a connect costs about a quarter of a millisecond).
        """
        return 1000 + int(random.random() * max(2000, len(self.streams)))  # noqa: S311 - jitter is no secret

    async def close(self, grace: float = 2.0) -> None:
        """
        End every stream with `complete`, at once; cut those that have not taken it after `grace` seconds. Returns when
        the last connection is gone.
        """
        self.stopped.set()
        for _ in self._round or ():
            pass
        self._round = None
        for number, stream in enumerate(list(self.streams.values()), start=1):
            self.finish(stream, "shutdown")
            if number % _TURN == 0:
                await asyncio.sleep(0)
        try:
            await asyncio.wait_for(self._gone(), grace)
        except TimeoutError:
            for stream in list(self.streams.values()):
                stream.transport.abort()
            await self._gone()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._slices.close()

    async def _gone(self) -> None:
        while self.streams:
            self._emptied.clear()
            await self._emptied.wait()

    def lost(self, stream: Stream) -> None:
        """The connection is gone."""
        if stream.place is Place.CLOSED:
            return
        if stream.group is not None:
            self._leave(stream)
        stream.place = Place.CLOSED
        self._wheel.discard(stream, stream.slot)
        self.streams.pop(stream.id, None)
        if not self.streams:
            self._emptied.set()
        if stream.closed is not None:
            stream.closed(stream)

    # --- live -----------------------------------------------------------------------------------------------------

    def _join(self, stream: Stream) -> None:
        key = (stream.wanted, stream.named, stream.chunked, None if stream.remaining is None else stream)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(stream.wanted, named=stream.named, chunked=stream.chunked)
            self._index.add(group)
        group.members[stream] = None
        stream.group = group
        stream.sent -= group.sent
        stream.bytes -= group.bytes
        stream.place = Place.LIVE

    def _leave(self, stream: Stream) -> None:
        group = stream.group
        if group is None:
            return
        events, size = self._rest
        stream.group = None
        stream.cursor = self._at
        stream.sent += group.sent - events
        stream.bytes += group.bytes - size
        stream.told = max(stream.told, min(group.told, self._at))
        stream.touched = max(stream.touched, group.touched)
        del group.members[stream]
        if not group.members:
            key = (stream.wanted, stream.named, stream.chunked, None if stream.remaining is None else stream)
            del self._groups[key]
            self._index.remove(group)

    def _committed(self, entries: Sequence[Entry]) -> None:
        if self.closing or not entries:
            return
        now = time.time()
        self.meter.count(now, events=len(entries))
        self._entries += entries
        self._batches.append((entries[-1].event.observed_at, now))
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Begin a round: everything committed, to everyone who is live now."""
        entries, self._entries = self._entries, []
        batches, self._batches = self._batches, []
        if self.closing:
            return
        head = entries[-1].sequence
        try:
            jobs = self._jobs(entries, head)
        except Exception:  # noqa: BLE001 - a stream that silently misses events is the one thing that must not be
            _log.exception("events could not be prepared; live streams are cut, and resume by their cursors")
            jobs = []
            for stream in [stream for stream in self.streams.values() if stream.place is Place.LIVE]:
                stream.reason = "broken"
                stream.transport.abort()
        self.flushed = self._at = head
        ahead, self._ahead = self._ahead, []
        self._round = self._deliver(jobs, batches)
        self._deliver_on()
        for stream in ahead:
            if stream.place is Place.AHEAD:
                self._step(stream)

    def _jobs(self, entries: list[Entry], head: int) -> list[_Job]:
        now = self._loop.time()
        jobs: list[_Job] = []
        deliveries = size = 0
        for group in self._index.route(entries):
            pending, group.pending = group.pending, []
            group.touched = now
            group.told = pending[-1].sequence
            members = list(group.members)
            if (limit := members[0].remaining) is not None:  # alone in its group
                del pending[limit:]
            pieces = wire.of_entries(pending, head, named=group.named, chunked=group.chunked)
            wired = sum([len(piece.wire) for piece in pieces])
            group.sent += len(pending)
            group.bytes += wired
            deliveries += len(pending) * len(members)
            size += wired * len(members)
            jobs.append((group, members, pieces))
        self.meter.count(time.time(), deliveries=deliveries, size=size)
        return jobs

    def _deliver_on(self) -> None:
        if self._round is None:
            return
        more = next(self._round, self) is not self
        self._at = self.flushed
        self._rest = (0, 0)
        if more:
            self._loop.call_soon(self._deliver_on)
            return
        self._round = None
        if self._looking:
            self._look()
        if self._entries:
            self._loop.call_soon(self._flush)
        else:
            self._flushing = False

    def _deliver(self, jobs: list[_Job], batches: list[tuple[str, float]]) -> Iterator[None]:
        """Write each group's pieces to those who were its members when the round began; yields between turns."""
        room = _TURN
        for group, members, pieces in jobs:
            rest_events = sum([piece.events for piece in pieces])
            rest_bytes = sum([len(piece.wire) for piece in pieces])
            first = members[0]
            for piece in pieces:
                data = piece.wire
                rest_events -= piece.events
                rest_bytes -= len(data)
                counts = first.remaining is not None and first.group is group
                for start in range(0, len(members), _TURN):
                    part = members[start : start + _TURN] if len(members) > _TURN else members
                    if room < len(part):
                        yield
                        room = _TURN
                    room -= len(part)
                    # A pause comes from inside of write(), and takes its place from these two.
                    self._at = piece.last
                    self._rest = (rest_events, rest_bytes)
                    for stream in part:
                        if stream.group is group:
                            try:
                                stream.transport.write(data)
                            except Exception:  # noqa: BLE001 - one broken transport must not end the others' round
                                self._broken(stream)
                if counts:
                    self._count_down(first, piece.events)
        written = time.time()
        for observed_at, committed in batches:
            self.meter.batch(observed_at, committed, written)

    def _count_down(self, stream: Stream, events: int) -> None:
        if stream.remaining is None or stream.place in (Place.CLOSING, Place.CLOSED):
            return
        stream.remaining -= events
        if stream.remaining <= 0:
            self.finish(stream, "limit")

    # --- behind ---------------------------------------------------------------------------------------------------

    def paused(self, stream: Stream) -> None:
        """The transport takes no more; its protocol says so from inside of `write`."""
        if stream.place is Place.LIVE:
            self._leave(stream)
            stream.place = Place.PAUSED
        stream.stalled = self._loop.time()
        stream.held = kernel.held(stream.transport)

    def resumed(self, stream: Stream) -> None:
        """The transport has sent all that it held."""
        if stream.place is Place.PAUSED:
            self._make_ready(stream)

    def _make_ready(self, stream: Stream, piece: wire.Piece | None = None) -> None:
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
                if piece is None or stream.paused:
                    self._step(stream)
                else:
                    self._give(stream, piece)
            if clock() > until and ready:
                self._loop.call_soon(self._pump)
                return
        self._pumping = False
        self._pumped = clock()

    def _step(self, stream: Stream) -> None:
        """Join, wait for the next round, take the next piece of the log, or have it read."""
        if stream.paused:
            stream.place = Place.PAUSED
        elif stream.cursor == self.flushed:
            self._join(stream)
        elif stream.cursor > self.flushed:
            stream.place = Place.AHEAD
            self._ahead.append(stream)
        else:
            spot = Spot(stream.cursor, stream.wanted, stream.named, stream.chunked)
            if (piece := self._slices.at_hand(spot)) is not None:
                self._give(stream, piece)
            elif self.log.oldest > stream.cursor + 1:
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
                self.finish(stream, "log")
            elif self.log.oldest > stream.cursor + 1:  # retention was faster than the read
                self._skip(stream)
            else:
                self._make_ready(stream, result)

    def _give(self, stream: Stream, piece: wire.Piece) -> None:
        if stream.remaining is not None and piece.events > stream.remaining:
            piece = wire.first_events(piece, stream.remaining, chunked=stream.chunked)
        stream.cursor = piece.last
        if piece.events:
            stream.sent += piece.events
            stream.bytes += len(piece.wire)
            self.meter.count(time.time(), deliveries=piece.events, size=len(piece.wire))
            self._write(stream, piece.wire)
            self._count_down(stream, piece.events)
        if stream.place in (Place.CLOSING, Place.CLOSED):
            return
        if stream.paused or stream.cursor >= self.flushed:
            self._step(stream)
        else:
            self._make_ready(stream)

    def _skip(self, stream: Stream) -> None:
        """Retention has overtaken a reader: say what is gone, and go on from the oldest event."""
        stands = Cursor(self.log.identity, stream.cursor)
        begin = gap_to_oldest(str(stands), stands, "expired", oldest=self.log.oldest, head=self.log.head)
        if begin.gap is not None:
            told = sse.gap(begin.gap.resumed_at, msgspec.json.encode(begin.gap))
            self._write(stream, wire.wired(told, chunked=stream.chunked))
        stream.cursor = stream.told = begin.after
        self._make_ready(stream)

    def _write(self, stream: Stream, data: bytes) -> None:
        stream.touched = self._loop.time()
        try:
            stream.transport.write(data)
        except Exception:  # noqa: BLE001 - see _deliver
            self._broken(stream)

    def _broken(self, stream: Stream) -> None:
        _log.exception("a stream's transport failed", stream=stream.id)
        stream.reason = "broken"
        stream.transport.abort()

    # --- time -----------------------------------------------------------------------------------------------------

    def _look_again(self, stream: Stream, now: float) -> None:
        """Put a stream where its next deadline is. A stalled transport is looked at often enough to be noticed."""
        idle_since = stream.touched if stream.group is None else max(stream.touched, stream.group.touched)
        at = min(idle_since + stream.heartbeat, now + self._stall / 4)
        if stream.deadline is not None:
            at = min(at, stream.deadline)
        stream.slot = self._wheel.put(stream, max(at, now))
        self._arm()

    def _arm(self) -> None:
        at = self._wheel.next()
        if at is None or (self._timer is not None and self._timer.when() <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        if not self._pumping and now - self._pumped > _KEEP:
            self._slices.forget()
        self._due += self._wheel.due(now + 0.001)  # a timer of the loop may fire a hair early
        self._arm()
        if self._due and not self._looking:
            self._looking = True
            self._look()

    def _look(self) -> None:
        if self._round is not None:
            return  # its end calls again: a write now would come before what the round still owes
        now = self._loop.time()
        self._beats.clear()
        for _ in range(min(_TURN, len(self._due))):
            stream = self._due.popleft()
            if stream.place is not Place.CLOSED:
                self._look_after(stream, now)
        self._looking = bool(self._due)
        if self._looking:
            self._loop.call_soon(self._look)

    def _look_after(self, stream: Stream, now: float) -> None:
        if stream.place is Place.CLOSING:
            stream.transport.abort()
            return
        if stream.deadline is not None and now >= stream.deadline:
            self.finish(stream, "duration")
            return
        if stream.paused:
            size = kernel.held(stream.transport)
            if size < stream.held:
                stream.held = size
                stream.stalled = now
            elif now - stream.stalled >= self._stall:
                stream.reason = "stalled"
                stream.transport.abort()
                return
            stream.touched = now  # what it holds is under way: not idle
        else:
            idle_since = stream.touched if stream.group is None else max(stream.touched, stream.group.touched)
            if now - idle_since >= stream.heartbeat - _WIDTH:
                self._beat(stream)
        self._look_again(stream, now)

    def _beat(self, stream: Stream) -> None:
        """
        A sign of life. It moves the client's cursor where the log went on and nothing matched, so that a reconnect
        after a quiet hour does not read that hour again.
        """
        position = stream.position
        told = stream.told if stream.group is None else max(stream.told, stream.group.told)
        key = (stream.named, stream.chunked, position if position > told else -1)
        beat = self._beats.get(key)
        if beat is None:
            cursor = str(Cursor(self.log.identity, position)) if position > told else ""
            beat = sse.HEARTBEAT
            if stream.named:
                about = msgspec.json.encode({"timestamp": rfc3339(int(time.time() * 1000))})
                beat += sse.heartbeat(about, cursor=cursor)
            elif cursor:
                beat += sse.cursor_only(cursor)
            beat = self._beats[key] = wire.wired(beat, chunked=stream.chunked)
        stream.told = max(told, position)
        self._write(stream, beat)
