"""
Time for all streams: heartbeats, durations, clients that take nothing.

One timer and one wheel; a stream is looked at when something may be due, never because of an event. What is written
here waits for a round of the hub to end: it would come before events that the round still owes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from chainwatch import sse
from chainwatch.event import rfc3339
from chainwatch.log import Cursor
from chainwatch.stream import kernel, wire
from chainwatch.stream.stream import Place, Stream
from chainwatch.stream.wheel import Wheel

if TYPE_CHECKING:
    from chainwatch.stream.hub import Hub

_TURN: Final = 1000
"""Streams looked at in one turn of the loop."""
_WIDTH: Final = 0.05
"""Seconds that a heartbeat may be late."""


class Watch:
    """Looks after the streams of a hub."""

    def __init__(self, hub: Hub, stall: float) -> None:
        self._hub = hub
        self._stall = stall
        self._loop = asyncio.get_running_loop()
        self._wheel: Wheel[Stream] = Wheel(_WIDTH)
        self._timer: asyncio.Handle | None = None
        self._fires = 0.0  # when: uvloop's handle does not say it where that time has come already
        self._due: deque[Stream] = deque()
        self._looking = False  # streams of `_due` are being looked at
        self._beats: dict[tuple[wire.Form, int], wire.Told] = {}

    def __len__(self) -> int:
        return len(self._wheel)

    def drop(self, stream: Stream) -> None:
        """Look at it no more."""
        self._wheel.discard(stream, stream.slot)

    def put_at(self, stream: Stream, at: float) -> None:
        """Look at it at this time of the loop, and not before."""
        self._wheel.discard(stream, stream.slot)
        stream.slot = self._wheel.put(stream, at)
        self._arm()

    def round_ended(self) -> None:
        """What waited for the end of a round is done now."""
        if self._looking:
            self._look()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def put(self, stream: Stream, now: float) -> None:
        """Put a stream where its next deadline is. A stalled transport is looked at often enough to be noticed."""
        idle_since = stream.touched if stream.group is None else max(stream.touched, stream.group.touched)
        at = min(idle_since + stream.heartbeat, now + self._stall / 4)
        if stream.deadline is not None:
            at = min(at, stream.deadline)
        self.put_at(stream, max(at, now))

    def rotate(self, stream: Stream, age: float) -> None:
        """End it in order when it is `age` seconds old, if it lives so long: its client comes back, and goes on."""
        at = stream.opened + age
        if stream.place in (Place.CLOSING, Place.CLOSED) or (stream.deadline is not None and stream.deadline <= at):
            return
        stream.deadline, stream.rotates = at, True
        self.put(stream, self._loop.time())

    def _arm(self) -> None:
        at = self._wheel.next()
        if at is None or (self._timer is not None and self._fires <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._fires = at
        self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        self._hub.behind.tidy(now)
        self._due += self._wheel.due(now + 0.001)  # a timer of the loop may fire a hair early
        self._arm()
        if self._due and not self._looking:
            self._looking = True
            self._look()

    def _look(self) -> None:
        if self._hub.in_round:
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
            self._hub.finish(stream, "rotation" if stream.rotates else "duration")
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
        self.put(stream, now)

    def _beat(self, stream: Stream) -> None:
        """
        A sign of life. It moves the client's cursor where the log went on and nothing matched, so that a reconnect
        after a quiet hour does not read that hour again.
        """
        position = stream.position
        told = stream.told if stream.group is None else max(stream.told, stream.group.told)
        key = (stream.form, position if position > told else -1)
        found = self._beats.get(key)
        if found is None:
            cursor = str(Cursor(self._hub.log.identity, position)) if position > told else ""
            beat = sse.HEARTBEAT
            if stream.form.named:
                about = msgspec.json.encode({"timestamp": rfc3339(int(time.time() * 1000))})
                beat += sse.heartbeat(about, cursor=cursor)
            elif cursor:
                beat += sse.cursor_only(cursor)
            found = self._beats[key] = wire.told(beat, stream.form)
        stream.told = max(told, position)
        self._hub.write(stream, *found)
