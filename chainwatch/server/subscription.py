"""One subscription of a WebSocket: a follower of the log that writes frames."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from chainwatch.event import rfc3339
from chainwatch.filter import Filter
from chainwatch.log import Cursor
from chainwatch.server import ops
from chainwatch.server.parameters import Asked
from chainwatch.server.problem import Problem
from chainwatch.stream.begin import NOW, Begin, Gap
from chainwatch.stream.follow import Follower, Given
from chainwatch.stream.wire import Piece

if TYPE_CHECKING:
    from chainwatch.server.connection import Connection
    from chainwatch.server.register import Agent

_WIDTH: Final = 0.05
"""Seconds that a heartbeat may be early."""


class Subscription:
    """What the client calls `id`."""

    __slots__ = ("_connection", "_head", "agent", "deadline", "follower", "heartbeat", "id", "touched")

    def __init__(
        self,
        connection: Connection,
        name: str,
        stream: str,
        asked: Asked,
        start: Begin,
        agent: Agent | None = None,
    ) -> None:
        """
        `stream`: its name in statistics; it begins at `start`, with `connect` and whatever goes with that. `agent`: the
        one for which it is.
        """
        context, now = connection.context, connection.now()
        if (full := context.gate.ask(connection.principal.id, asked.wanted.where)) is not None:
            raise Problem(full.status, full.why, more={"parameter": "where"})
        self._connection = connection
        self._head = ops.head_of_events(name)
        self.id = name
        self.heartbeat = context.hub.heartbeat if asked.heartbeat is None else asked.heartbeat  # seconds
        self.deadline = None if asked.duration is None else now + asked.duration
        self.touched = now  # when it was written to last
        # In one step with the decision where it begins: what is committed from here on, the follower tells.
        present = context.present.frames(asked.wanted, named=False)[: asked.limit] if asked.start == NOW else []
        self.follower: Follower = context.followers.follow(
            asked.wanted,
            start.after,
            self._take,
            name=stream,
            kind="ws",
            owner=connection.principal.id,
            peer=connection.peer,
            limit=None if asked.limit is None else asked.limit - len(present),
            transport=connection.transport,
        )
        connection.subscriptions[name] = self
        self.agent = agent
        if agent is not None:
            agent.socket = self
        self._write(_connect(connection, name, stream, asked.wanted, start))
        if start.gap is not None:
            self._write(ops.message("gap", name, **msgspec.structs.asdict(start.gap)))
        # How things stand now has no place in the log: whoever is cut goes on from where this began.
        told = b"".join(b"id: %b\n%b" % (start.cursor.encode(), frame) for frame in present)
        if told:
            self.follower.events_sent += len(present)
            self._write(ops.spliced(told, self._head))
        if self.follower.remaining == 0:
            self.complete("limit")
            return
        if connection.paused:
            self.follower.hold()
        connection.look_at(self.due())

    def complete(self, reason: str) -> None:
        """The end was meant, for this `reason`; the client can go on from the cursor, after `retry` milliseconds."""
        cursor = self.follower.cursor
        self.close()
        retry = self._connection.context.hub.retry()
        self._write(ops.message("complete", self.id, cursor=cursor, reason=reason, retry=retry))

    def close(self) -> None:
        """Write no more."""
        self.follower.close()
        if self._connection.subscriptions.get(self.id) is self:
            del self._connection.subscriptions[self.id]
            self._connection.context.gate.forget(self._connection.principal.id, self.follower.wanted.where)
        if self.agent is not None and self.agent.socket is self:
            self.agent.socket = None

    def look(self, now: float) -> None:
        """It may have come to its end, or be idle for so long that it is time for a sign of life."""
        if self.deadline is not None and now >= self.deadline:
            self.complete("duration")
        elif self._connection.paused:
            self.touched = now  # what the transport holds is under way: not idle
        elif now - self.touched >= self.heartbeat - _WIDTH:
            moment = rfc3339(int(time.time() * 1000))
            self._write(ops.message("heartbeat", self.id, cursor=self.follower.cursor, timestamp=moment))

    def due(self) -> float:
        """When to look again."""
        idle = self.touched + self.heartbeat
        return idle if self.deadline is None else min(idle, self.deadline)

    def _take(self, given: Given) -> None:
        try:
            self._tell(given)
        except Exception:
            self._connection.broken()
            raise

    def _tell(self, given: Given) -> None:
        connection = self._connection
        if isinstance(given, Piece):
            data = connection.sockets.spliced(given.wire, self._head)
            connection.context.hub.meter.count(time.time(), deliveries=given.events, size=len(data))
            connection.events += given.events
            self._write(data)
            if self.follower.remaining == 0:
                self.complete("limit")
        elif isinstance(given, Gap):
            self._write(ops.message("gap", self.id, **msgspec.structs.asdict(given)))
        else:
            self.complete("log")

    def _write(self, data: bytes) -> None:
        self.touched = self._connection.now()
        self.follower.bytes_sent += len(data)
        self._connection.write(data)


def _connect(connection: Connection, name: str, stream: str, wanted: Filter, start: Begin) -> bytes:
    log = connection.context.log
    replay_from = str(Cursor(log.identity, start.after)) if start.after < log.head else None
    return ops.message(
        "connect", name, stream=stream, cursor=start.cursor, filters=wanted.describe(), replay_from=replay_from
    )
