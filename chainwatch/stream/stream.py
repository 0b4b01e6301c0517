"""
One client's stream: a cursor into the log, and the protocol of its connection.

There are ten thousand of these, so they are small: slots, no task, no queue. What a client has not read yet is in the
log. A stream never decides anything by itself: it tells the hub what its transport says, and the hub moves it.
"""

from __future__ import annotations

import asyncio
import enum
from functools import cache
from typing import TYPE_CHECKING, Final

from chainwatch.filter import Filter
from chainwatch.stream.coding import Coding, Trailer
from chainwatch.stream.wire import Form

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainwatch.stream.hub import Hub
    from chainwatch.stream.index import Group

# A client of SSE has nothing to say after its request; one that talks on for this many bytes is cut off.
_MOST_JUNK: Final = 64 * 1024

_form: Final = cache(Form)  # there are a dozen, which all streams share


class Place(enum.Enum):
    """Where a stream is in its life."""

    READY = "catching up"
    """It can take the next slice of the log."""
    READING = "reading"
    """The log is being read for it."""
    AHEAD = "waiting"
    """It has read all that the live streams are given, or more: it joins them when the round is over, or the next."""
    LIVE = "live"
    PAUSED = "paused"
    """Its transport takes no more for now."""
    CLOSING = "closing"
    """The end was written; the transport is emptying itself."""
    CLOSED = "closed"


class Stream(asyncio.Protocol):
    """A cursor, and how its client is doing."""

    __slots__ = (
        "bytes", "closed", "cursor", "deadline", "form", "group", "heartbeat", "held", "hub", "id", "junk", "opened",
        "owner", "paused", "peer", "place", "reason", "remaining", "rotates", "seat", "sent", "slot", "stalled", "told",
        "touched", "trailer", "transport", "wanted",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(
        self,
        hub: Hub,
        *,
        name: str,
        peer: str,
        wanted: Filter,
        after: int,
        owner: str = "",
        seat: object = None,
        named: bool = False,
        chunked: bool = True,
        coding: Coding = Coding.IDENTITY,
        limit: int | None = None,
        heartbeat: float | None = None,
        closed: Callable[[Stream], None] | None = None,
    ) -> None:
        self.hub = hub
        self.id = name
        self.peer = peer
        self.owner = owner  # the id of the key that opened it; empty for anybody
        self.seat = seat  # whatever has to be given back by `closed`
        self.wanted = wanted
        self.form = _form(named, chunked, coding)
        self.trailer = Trailer() if coding is Coding.GZIP else None  # what its body ends with
        self.heartbeat = hub.heartbeat if heartbeat is None else heartbeat  # seconds
        self.closed = closed  # called once, when the connection is gone
        self.cursor = after  # while it is not live: everything up to this sequence was written, or does not match
        self.remaining = limit  # events until its limit; None where it has none
        self.deadline: float | None = None  # of the loop's clock
        self.rotates = False  # the deadline is ours, and not the client's
        self.group: Group | None = None  # while it is live
        self.place = Place.READY
        self.paused = False  # the transport takes no more
        self.opened = self.touched = 0.0  # of the loop's clock; touched: when something was written last
        self.stalled = 0.0  # since when a client whose transport is paused took nothing
        self.held = 0  # bytes that it had not taken then
        self.slot = 0  # of the hub's wheel
        self.told = 0  # a sequence that the client has the id of, or of a later one
        self.sent = 0  # events; without those of the present group
        self.bytes = 0  # the same of their wire bytes
        self.junk = 0  # bytes that the client sent after its request
        self.reason = "left"  # why it ended, for the log line

    # asyncio.Protocol: what the transport says. `connection_made` went to aiohttp (see server/takeover.py).

    def data_received(self, data: bytes) -> None:
        self.junk += len(data)
        if self.junk > _MOST_JUNK and self.place is not Place.CLOSED:
            self.reason = "talked"
            self.transport.abort()

    def pause_writing(self) -> None:
        self.paused = True
        self.hub.paused(self)

    def resume_writing(self) -> None:
        self.paused = False
        self.hub.resumed(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol wants it
        self.hub.lost(self)

    # What others want to know.

    @property
    def events_sent(self) -> int:
        return self.sent + (self.group.sent if self.group is not None else 0)

    @property
    def bytes_sent(self) -> int:
        return self.bytes + (self.group.bytes if self.group is not None else 0)

    @property
    def position(self) -> int:
        """The sequence up to which it has everything."""
        return self.cursor if self.group is None else self.hub.flushed
