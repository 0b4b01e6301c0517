"""
A cursor over the log for whatever is no socket of the hub: WebSockets, MCP, webhooks.

A follower is given the log in order, a piece at a time, until it says `hold`; what it has not taken is in the log, and
nothing is queued for it. One that has everything waits in the index under what it wants, so that an event costs its
matches and not the followers. All take turns of a few milliseconds, a piece each, so that many that are behind keep
neither ingest nor each other waiting; a piece that several need is read once.

What makes this exact: a follower waits only when its cursor is at the log's head, in the same synchronous step as the
comparison, and the log moves its head and calls its listeners in one step too. So no event can come between the last
read and the waiting, nor twice.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from chainwatch.filter import Filter
from chainwatch.log import Cursor, Entry, Log
from chainwatch.stream.begin import Gap, gap_to_oldest
from chainwatch.stream.index import Group, Index
from chainwatch.stream.slices import Slices, Spot
from chainwatch.stream.wire import Form, Piece, first_events

PIECE: Final = 64 * 1024
"""Bytes of frames given at once, about: what a follower that stops taking can hold of the daemon's memory."""

FORM: Final = Form(named=False, chunked=False)
"""Frames as the log holds them: `id: <cursor>\\ndata: <json>\\n\\n`."""

_BUDGET: Final = 0.005
"""Seconds of one turn of the loop."""

_log = structlog.get_logger("chainwatch.stream")


class State(enum.Enum):
    """Where a follower is in its life."""

    READY = "catching up"
    READING = "reading"
    """The log is being read for it."""
    WAITING = "live"
    """It has everything."""
    HELD = "paused"
    """It takes no more for now."""
    CLOSED = "closed"


Given = Piece | Gap | Exception
"""
Frames of matching events (`FORM`); what is gone from the log; or why it cannot be read: then it is held, and whoever
takes closes it.
"""


class Follower:
    """One cursor; made by `Followers.open`."""

    __slots__ = (
        "_followers", "after", "bytes_sent", "events_sent", "found", "group", "id", "kind", "opened", "owner", "peer",
        "queued", "remaining", "state", "take", "transport",
    )  # fmt: skip

    def __init__(
        self,
        followers: Followers,
        group: Group,
        after: int,
        take: Callable[[Given], None],
        *,
        name: str,
        kind: str,
        owner: str,
        peer: str,
        limit: int | None,
        transport: asyncio.WriteTransport | None,
    ) -> None:
        self._followers = followers
        self.group = group
        self.take = take
        self.id = name
        self.kind = kind
        self.owner = owner
        self.peer = peer
        self.transport = transport
        self.remaining = limit
        self.opened = followers.now()
        self.events_sent = 0
        self.bytes_sent = 0  # counted by whoever takes them
        self.state = State.READY
        self.after = after  # while it does not wait: it has everything up to this sequence
        self.found: Piece | Exception | None = None  # what was read for it and comes next
        self.queued = False  # its turn comes

    @property
    def wanted(self) -> Filter:
        return self.group.wanted

    @property
    def position(self) -> int:
        """The sequence up to which it has everything."""
        return self._followers.at if self.state is State.WAITING else self.after

    @property
    def cursor(self) -> str:
        """The same as clients know it."""
        return str(Cursor(self._followers.log.identity, self.position))

    def hold(self) -> None:
        """Give no more, until `resume`. It may be said while something is being taken."""
        self._followers.leave(self, State.HELD)

    def resume(self) -> None:
        """Go on where it was held."""
        if self.state is State.HELD:
            self._followers.put(self)

    def close(self) -> None:
        """Give no more, ever."""
        self._followers.close(self)


class Followers:
    """All followers of one log."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.open: dict[str, Follower] = {}
        """Those that are not closed, by their names."""
        self.at = log.head
        """Whoever waits has everything up to this sequence."""
        self._loop = asyncio.get_running_loop()
        self._index = Index()
        self._groups: dict[Filter, Group] = {}
        self._members: dict[Group, int] = {}  # how many followers a group has
        self._waiting: dict[Group, dict[Follower, None]] = {}
        self._slices: Slices[Follower] = Slices(log, self._arrived, size=PIECE)
        self._ready: deque[Follower] = deque()
        self._pumping = False
        log.listen(self._committed)

    def now(self) -> float:
        """Seconds of the clock of `Follower.opened`."""
        return self._loop.time()

    def follow(
        self,
        wanted: Filter,
        after: int,
        take: Callable[[Given], None],
        *,
        name: str,
        kind: str,
        owner: str = "",
        peer: str = "",
        limit: int | None = None,
        transport: asyncio.WriteTransport | None = None,
    ) -> Follower:
        """
        Give to `take` what `wanted` lets pass of the log behind the sequence `after`, from the next turn of the loop
        on. Behind `limit` events it is held: whoever takes closes it. `kind`, `owner` (the id of a key), `peer` and the
        `transport` that its bytes go to are told in statistics.
        """
        group = self._groups.get(wanted)
        if group is None:
            group = self._groups[wanted] = Group(wanted, FORM)
            self._index.add(group)
        self._members[group] = self._members.get(group, 0) + 1
        follower = Follower(
            self, group, after, take,
            name=name, kind=kind, owner=owner, peer=peer, limit=limit, transport=transport,
        )  # fmt: skip
        self.open[name] = follower
        self.put(follower)
        return follower

    def close(self, follower: Follower) -> None:
        """See `Follower.close`."""
        if follower.state is State.CLOSED:
            return
        self.leave(follower, State.CLOSED)
        del self.open[follower.id]
        group = follower.group
        self._members[group] -= 1
        if not self._members[group]:
            del self._members[group], self._groups[group.wanted]
            self._waiting.pop(group, None)
            self._index.remove(group)
        if not self.open:
            self._slices.forget()

    def leave(self, follower: Follower, state: State) -> None:
        """It is given nothing from now on: it was told to hold, or is over."""
        if follower.state is State.CLOSED:
            return
        if follower.state is State.WAITING:
            self._waiting[follower.group].pop(follower, None)
            follower.after = self.at
        follower.state = state
        follower.found = None

    async def stop(self) -> None:
        """End the reads that are under way."""
        await self._slices.close()

    # --- turns --------------------------------------------------------------------------------------------------------

    def put(self, follower: Follower, found: Piece | Exception | None = None) -> None:
        """It can take more: what was read for it, or whatever comes next."""
        follower.state = State.READY
        follower.found = found
        if follower.queued:
            return
        follower.queued = True
        self._ready.append(follower)
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Move followers on, in turn, for a few milliseconds."""
        clock = self._loop.time
        until = clock() + _BUDGET
        ready = self._ready
        while ready:
            follower = ready.popleft()
            follower.queued = False
            if follower.state is State.READY:
                self._step(follower)
            if clock() > until and ready:
                self._loop.call_soon(self._pump)
                return
        self._pumping = False

    def _step(self, follower: Follower) -> None:
        """Give it what was read for it, or the next piece; let it wait, or have the log read."""
        found, follower.found = follower.found, None
        if found is None and follower.after >= self.at:
            follower.state = State.WAITING
            self._waiting.setdefault(follower.group, {})[follower] = None
            return
        spot = Spot(follower.after, follower.group.wanted, FORM)
        if found is not None or (found := self._slices.at_hand(spot)) is not None:
            self._give(follower, found)
        elif self.log.oldest > follower.after + 1:
            self._skip(follower)
        else:
            follower.state = State.READING
            self._slices.fetch(spot, follower)

    def _give(self, follower: Follower, given: Given) -> None:
        if isinstance(given, Piece):
            if follower.remaining is not None and given.events > follower.remaining:
                given = first_events(given, follower.remaining, FORM)
            follower.after = given.last
            follower.events_sent += given.events
            if follower.remaining is not None:
                follower.remaining -= given.events
                if follower.remaining <= 0:
                    follower.state = State.HELD
        elif isinstance(given, Exception):
            follower.state = State.HELD
        if not isinstance(given, Piece) or given.events:
            try:
                follower.take(given)
            except Exception:  # noqa: BLE001 - whoever fails to take must not end the others' turns
                _log.exception("a follower of the log failed", follower=follower.id, kind=follower.kind)
                self.close(follower)
        if follower.state is State.READY:
            self.put(follower)

    def _skip(self, follower: Follower) -> None:
        """Retention has overtaken it: say what is gone, and go on from the oldest event."""
        log = self.log
        stands = Cursor(log.identity, follower.after)
        begin = gap_to_oldest(str(stands), stands, "expired", oldest=log.oldest, head=log.head)
        follower.after = begin.after
        if begin.gap is not None:
            self._give(follower, begin.gap)

    def _arrived(self, followers: list[Follower], result: Piece | Exception) -> None:
        if isinstance(result, Exception):
            _log.error("the log cannot be read", problem=str(result), followers=len(followers))
        for follower in followers:
            if follower.state is not State.READING:
                continue
            if isinstance(result, Piece) and result.last <= follower.after:
                self.put(follower)  # retention was faster than the read: the next step tells the gap
            else:
                self.put(follower, result)

    # --- what comes ---------------------------------------------------------------------------------------------------

    def _committed(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        before, self.at = self.at, entries[-1].sequence
        if not self._groups:
            return
        try:
            routed = self._index.route(entries)
        except Exception:  # noqa: BLE001 - a follower that silently misses events is the one thing that must not be
            _log.exception("events could not be routed; whoever waits reads them from the log")
            self._wake_all(before)
            return
        for group in routed:
            pending, group.pending = group.pending, []
            waiting = self._waiting.pop(group, None)
            if not waiting:
                continue
            frames = [entry.frame for entry in pending]
            if sum(map(len, frames)) <= PIECE:  # what is longer is cut when it is read
                piece = Piece(b"".join(frames), self.at, len(frames))
                self._slices.keep(Spot(before, group.wanted, FORM), piece)
            for follower in waiting:
                follower.after = before
                self.put(follower)

    def _wake_all(self, after: int) -> None:
        for group in self._groups.values():
            group.pending = []
        waiting, self._waiting = self._waiting, {}
        for followers in waiting.values():
            for follower in followers:
                follower.after = after
                self.put(follower)
