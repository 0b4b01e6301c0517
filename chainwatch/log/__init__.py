"""
The append-only event log: everything that is told goes through it, and every reader is a cursor over it.

The rule of the house: commit, then deliver. A batch of events and the state that they belong to (checkpoints) are one
transaction; listeners hear of it only when it is on disk. A sequence that a reader has seen is never renumbered.

This module is the interface, kept small so that another engine can stand behind it. The embedded one is `store`
(`open_log`): `file` and `schema` its SQLite file, `batch` and `writer` the way in, `plan`, `reader` and `tail` (the
newest events, in memory) the ways out, `retention` what is forgotten and when.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from chainwatch.event import Event, Interest
from chainwatch.filter import Filter


class Cursor(NamedTuple):
    """A place in one log: just behind the event with this sequence. 0 is the beginning."""

    log: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.log}-{self.sequence}"


def parse_cursor(text: str) -> Cursor | None:
    """The cursor of that text; None where it is none. Cursors are opaque to clients: this is for the server alone."""
    log, _, sequence = text.partition("-")
    if not log.isalnum() or not sequence.isascii() or not sequence.isdigit() or len(sequence) > 18:
        return None
    return Cursor(log, int(sequence))


class Entry(NamedTuple):
    """One committed event."""

    sequence: int
    event: Event
    about: Interest
    keys: tuple[int, ...]
    frame: bytes
    """The event as SSE without an `event:` line: `id: <cursor>\\ndata: <json>\\n\\n`. The named form is
    `event: <type>\\n` before it."""


class Slice(NamedTuple):
    """What one read of the log gave."""

    frames: bytes
    """Frames one after another, ready to be sent."""
    last: int
    """Everything up to this sequence has been looked at, matching or not."""
    events: int
    """How many events are in `frames`."""


class Put(msgspec.Struct, frozen=True):
    """Set a key of the state that is kept with the events."""

    key: str
    value: bytes
    stamped: bool = False
    """The sequence of the first event of the same append goes before the value, as 8 bytes, the highest first."""


class Drop(msgspec.Struct, frozen=True):
    """
    Remove the keys from `first` up to, and without, `beyond`: `first` alone where that is `first` and a NUL, which no
    key holds.
    """

    first: str
    beyond: str


Change = Put | Drop
Listener = Callable[[Sequence[Entry]], None]


class Log(Protocol):
    """An open log. One task of one process appends; anyone reads. Every method is called on the event loop."""

    @property
    def identity(self) -> str:
        """Letters and digits; made once with the log, part of every cursor."""

    @property
    def oldest(self) -> int:
        """The sequence of the oldest event that is kept; `head + 1` where none is."""

    @property
    def head(self) -> int:
        """The sequence of the newest committed event; 0 where none ever was."""

    @property
    def pairs(self) -> frozenset[tuple[str | None, str]]:
        """Every (chain, type) that the log has held: what `Filter.pair_keys` chooses from."""

    async def append(self, events: Sequence[Event], changes: Sequence[Change] = ()) -> Sequence[Entry]:
        """
        Commit events and changes of state together, in this order. Returns when they are on disk; listeners have
        been called by then, in the order of sequences. Appends are committed in the order of the calls. `LogFull` where
        there is no room: nothing was written, and the same batch may be appended again.
        """

    def listen(self, listener: Listener) -> None:
        """Call `listener` with the entries of each commit, on the event loop, in order, each entry once."""

    def read_tail(self, after: int, wanted: Filter, *, named: bool, max_bytes: int) -> Slice | None:
        """
        Read on from `after` out of memory, at once; None where memory does not reach back that far. It looks at a
        bounded part, so `last` may be less than the head.
        """

    async def read(self, after: int, wanted: Filter, *, named: bool, max_bytes: int) -> Slice:
        """
        Read on from `after`, up to the committed head, at most about `max_bytes` of frames (one event always fits).
        `Slice.last` moves on even where nothing matches; a call looks at a bounded part of the log. It never skips
        what is forgotten: where `after < oldest - 1`, also when retention overtakes the call, the slice is empty and
        `last` is `after`. Whoever reads looks at `oldest` then, tells the gap, and goes on from `oldest - 1`.
        """

    async def page(self, after: int, wanted: Filter, limit: int) -> tuple[list[tuple[int, Event]], int]:
        """
        Up to `limit` matching events after `after`, oldest first, with their sequences; and the sequence up to which
        the log has been looked at: the committed head where no more matches. A filter that finds little in much may
        give fewer than `limit` and stop before the head. What is forgotten is skipped: compare `oldest` afterwards.
        """

    async def last(self, count: int, wanted: Filter) -> int:
        """
        The sequence after which the newest `count` matching events stand; fewer, where a filter would have to look at
        very many for them.
        """

    async def since(self, milliseconds: int) -> int:
        """The sequence after which the events stand that were told at that Unix time or later."""

    async def get(self, key: str) -> bytes | None:
        """The value of a key of the state."""

    async def scan(self, first: str, beyond: str) -> list[tuple[str, bytes]]:
        """Keys and values from `first` up to, and without, `beyond`, in order of the keys."""

    def stats(self) -> dict[str, int | float]:
        """Numbers for people and metrics: `oldest`, `head`, `events`, sizes in bytes, times in seconds."""

    async def close(self) -> None:
        """Finish what was appended, and let the file go."""
