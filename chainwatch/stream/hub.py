"""
The fan-out: every committed event to every stream that wants it, as cheap as C.

    live     per event the index finds the groups that want it; once per turn of the loop each group's frames go out as
             one bytes object, the same for all its members
    behind   a stream whose transport takes no more leaves its group with its cursor behind that write, and reads on
             from the log when the transport resumes; nothing is queued for it, nothing dropped

What makes this exact: `flushed` is the sequence up to which live streams have everything. Events wait in `_entries`
until a round takes them all, and a round gives them to those who are members at its start. A stream joins only when
its cursor is at `flushed` and no round is under way, in the same synchronous step as the comparison, so no event can
come between its last read and its membership, nor twice: one that left in a round and has read on is not given the rest
of that round. One that has read beyond `flushed` waits for the next round's start.

A round writes to about a thousand streams in a turn of the loop, so that ingest and accept stay alive meanwhile; what
is not part of it (heartbeats, durations) waits until it is over.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from typing import Final

import structlog

from chainwatch import sse
from chainwatch.filter import Filter
from chainwatch.log import Cursor, Entry, Log
from chainwatch.stream import kernel, wire
from chainwatch.stream.behind import Behind
from chainwatch.stream.coding import Tally
from chainwatch.stream.index import Group, Index
from chainwatch.stream.meter import Meter
from chainwatch.stream.stream import Place, Stream
from chainwatch.stream.watch import Watch

_TURN: Final = 1000
"""Streams written to in one turn of the loop."""
_GRACE: Final = 5.0
"""Seconds that a stream's transport has to empty itself after the end was written."""

_log = structlog.get_logger("chainwatch.stream")
_GroupKey = tuple[Filter, wire.Form, Stream | None]
_Job = tuple[Group, list[Stream], list[wire.Piece], int, int]
"""A group, its members, what they get, and how many events and bytes that is."""


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
        self._loop = asyncio.get_running_loop()
        self.behind = Behind(self)
        self.watch = Watch(self, stall)
        self._index = Index()
        self._groups: dict[_GroupKey, Group] = {}
        # A round of the live streams.
        self._entries: list[Entry] = []  # committed since the last round began
        self._batches: list[tuple[str, float]] = []  # their newest observed_at, and when they were committed
        self._flushing = False  # a round is scheduled or under way
        self._round: Iterator[None] | None = None
        self._at = self.flushed  # the cursor behind the write that is under way
        self._rest = (0, 0)  # events and bytes of the group that come after it
        self._tally: Tally | None = None  # of the group up to it, where trailers need one
        self._ends: list[tuple[Stream, str]] = []  # streams to finish behind the round, and why
        self._quiet: list[asyncio.Future[None]] = []  # who waits for the end of the round
        self._emptied = asyncio.Event()
        log.listen(self._committed)

    @property
    def closing(self) -> bool:
        """No stream begins any more, and every open one was told its end."""
        return self.stopped.is_set()

    @property
    def in_round(self) -> bool:
        """Some live streams have the newest events and some do not yet."""
        return self._round is not None

    async def quiet(self) -> None:
        """Wait until no round is under way; none begins before the caller's next await."""
        while self._round is not None:
            ended = self._loop.create_future()
            self._quiet.append(ended)
            await ended

    def now(self) -> float:
        """Seconds of the clock of `Stream.opened`."""
        return self._loop.time()

    # --- streams come and go --------------------------------------------------------------------------------------

    def open(self, stream: Stream, first: bytes, *, head: bytes = b"", duration: float | None = None) -> None:
        """
        Begin: the `head` of the answer and `first` (connect, a gap where there is one, the present state where it was
        asked for) in one write, then the log from the stream's cursor on.
        """
        now = self._loop.time()
        stream.opened = stream.touched = stream.stalled = now
        stream.told = stream.cursor
        stream.deadline = None if duration is None else now + duration
        self.streams[stream.id] = stream
        self.watch.put(stream, now)
        begin = wire.told(first, stream.form, first=True)
        self.write(stream, head + begin.wire, begin.tally)
        if self.closing:  # it was let in just before
            self.finish(stream, "shutdown")
        elif stream.remaining == 0:
            self.finish(stream, "limit")
        else:
            self.behind.put(stream)

    def finish(self, stream: Stream, reason: str) -> None:
        """
        End a stream in order: `complete`, a time to come back after, the end of the body. At once, or when the round is
        over that it may have a part in.
        """
        if stream.place in (Place.CLOSING, Place.CLOSED):
            return
        if stream.group is not None and self._round is not None and reason != "limit":
            self._ends.append((stream, reason))  # the round may not have come to it yet: it ends behind that
            return
        # At its limit the client's cursor is its last event.
        cursor = str(Cursor(self.log.identity, stream.position)) if reason != "limit" else ""
        self._leave(stream)
        stream.place = Place.CLOSING
        stream.reason = reason
        self.watch.put_at(stream, self._loop.time() + _GRACE)
        end = sse.control("complete", b"[DONE]", cursor=cursor, retry_ms=self.retry())
        self.write(stream, wire.last_told(end, stream.form, stream.trailer))
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
        self._between()
        self._tell_quiet()
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
        self.watch.close()
        await self.behind.close()

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
        self.watch.drop(stream)
        self.streams.pop(stream.id, None)
        if not self.streams:
            self._emptied.set()
            self.behind.forget()
        if stream.closed is not None:
            stream.closed(stream)

    # --- live -----------------------------------------------------------------------------------------------------

    def join(self, stream: Stream) -> None:
        key = (stream.wanted, stream.form, None if stream.remaining is None else stream)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(stream.wanted, stream.form)
            self._index.add(group)
        group.members[stream] = None
        stream.group = group
        stream.sent -= group.sent
        stream.bytes -= group.bytes
        if stream.trailer is not None:
            stream.trailer.join(group.tally)
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
        if stream.trailer is not None:
            stream.trailer.leave(group.tally if self._tally is None else self._tally)
        stream.told = max(stream.told, min(group.told, self._at))
        stream.touched = max(stream.touched, group.touched)
        del group.members[stream]
        if not group.members:
            key = (stream.wanted, stream.form, None if stream.remaining is None else stream)
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
        self._round = self._deliver(jobs, batches)
        self._deliver_on()

    def _jobs(self, entries: list[Entry], head: int) -> list[_Job]:
        now = self._loop.time()
        jobs: list[_Job] = []
        deliveries = size = 0
        for group in self._index.route(entries):
            pending, group.pending = group.pending, []
            group.touched = now
            group.told = pending[-1].sequence
            members = list(group.members)
            seen = head
            if (limit := members[0].remaining) is not None and limit < len(pending):  # alone in its group
                del pending[limit:]
                seen = pending[-1].sequence
            pieces = wire.of_entries(pending, seen, group.form, most=wire.PIECE, begun=group.tally)
            if (tally := pieces[-1].tally) is not None:
                group.tally = tally
            count = len(pending)
            wired = len(pieces[0].wire) if len(pieces) == 1 else sum([len(piece.wire) for piece in pieces])
            group.sent += count
            group.bytes += wired
            deliveries += count * len(members)
            size += wired * len(members)
            jobs.append((group, members, pieces, count, wired))
        self.meter.count(time.time(), deliveries=deliveries, size=size)
        return jobs

    def _deliver_on(self) -> None:
        if self._round is None:
            return
        more = next(self._round, self) is not self
        self._between()
        if more:
            self._loop.call_soon(self._deliver_on)
            return
        self._round = None
        ends, self._ends = self._ends, []
        for stream, reason in ends:
            self.finish(stream, reason)
        self.behind.round_ended()
        self.watch.round_ended()
        self._tell_quiet()
        if self._entries:
            self._loop.call_soon(self._flush)
        else:
            self._flushing = False

    def _tell_quiet(self) -> None:
        quiet, self._quiet = self._quiet, []
        for ended in quiet:
            if not ended.done():
                ended.set_result(None)  # who waits goes on before the next round, which is put behind it

    def _between(self) -> None:
        """No write is under way: who leaves now has everything."""
        self._at = self.flushed
        self._rest = (0, 0)
        self._tally = None

    def _deliver(self, jobs: list[_Job], batches: list[tuple[str, float]]) -> Iterator[None]:
        """Write each group's pieces to those who were its members when the round began; yields between turns."""
        room = _TURN
        for group, members, pieces, events, size in jobs:
            rest_events, rest_bytes = events, size
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
                    # A pause comes from inside of write(), and takes its place from these.
                    self._at = piece.last
                    self._rest = (rest_events, rest_bytes)
                    self._tally = piece.tally
                    for stream in part:
                        if stream.group is group:
                            try:
                                stream.transport.write(data)
                            except Exception:  # noqa: BLE001 - one broken transport must not end the others' round
                                self.broken(stream)
                if counts:
                    self.count_down(first, piece.events)
        written = time.time()
        for observed_at, committed in batches:
            self.meter.batch(observed_at, committed, written)

    def count_down(self, stream: Stream, events: int) -> None:
        if stream.remaining is None or stream.place in (Place.CLOSING, Place.CLOSED):
            return
        stream.remaining -= events
        if stream.remaining <= 0:
            self.finish(stream, "limit")

    # --- what transports say ------------------------------------------------------------------------------------------

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
            self.behind.put(stream)

    def write(self, stream: Stream, data: bytes, tally: Tally | None = None) -> None:
        """
        Bytes for this stream alone, with what its trailer needs to know of them. A live one gets none in a round: what
        that owes it comes first.
        """
        stream.touched = self._loop.time()
        if tally is not None and stream.trailer is not None:
            if stream.group is None:
                stream.trailer.add(tally)
            else:
                stream.trailer.leave(stream.group.tally)
                stream.trailer.add(tally)
                stream.trailer.join(stream.group.tally)
        try:
            stream.transport.write(data)
        except Exception:  # noqa: BLE001 - see _deliver
            self.broken(stream)

    def broken(self, stream: Stream) -> None:
        """Cut a stream that cannot go on; its client resumes by its cursor. In an `except` block."""
        _log.exception("a stream failed, and is cut", stream=stream.id)
        stream.reason = "broken"
        stream.transport.abort()
