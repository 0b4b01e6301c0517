"""
Where a stream begins: behind the cursor that a client comes back with, at a time, before its newest events, or now.

A cursor that cannot be continued (older than what is kept, of another log, from the future, or no cursor at all) is a
gap: the stream says so and goes on from the oldest kept event. It is never silence, and never an error status, which
would stop an `EventSource` for good.
"""

from __future__ import annotations

from typing import Final

import msgspec

from chainwatch.event import rfc3339
from chainwatch.filter import Filter
from chainwatch.log import Cursor, Log, parse_cursor
from chainwatch.text import printable

EARLIEST: Final = 0
"""As `Start.since`: from the oldest kept event on."""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for."""

    resume: str = ""
    """A cursor, as the client gave it; empty where it gave none. It goes before the others."""
    since: int | None = None
    """Unix milliseconds, or `EARLIEST`; None is now."""
    last: int | None = None
    """Before the newest so many matching events."""


NOW: Final = Start()


class Gap(msgspec.Struct, frozen=True):
    """Events that were asked for are gone: the data of `event: gap`."""

    requested: str
    oldest: str | None
    """The id of the oldest kept event; null where none is kept."""
    resumed_at: str
    """The cursor from which the stream goes on; the id of the gap."""
    reason: str
    """`expired`, `other_log`, `future`, `malformed`."""


class Begin(msgspec.Struct, frozen=True):
    """The decision."""

    after: int
    """The stream goes on behind this sequence."""
    cursor: str
    """
    Where the client stands when it has `connect`. Before a gap that is not behind it yet: who is cut between the two
    and comes back is told of the gap again.
    """
    gap: Gap | None = None


def resume(text: str, *, identity: str, oldest: int, head: int) -> Begin:
    """Continue behind the cursor `text` in the log `identity`, which holds the sequences from `oldest` to `head`."""
    cursor = parse_cursor(text)
    if cursor is None:
        return gap_to_oldest(text, Cursor(identity, 0), "malformed", oldest=oldest, head=head)
    if cursor.log != identity:
        return gap_to_oldest(text, Cursor(identity, 0), "other_log", oldest=oldest, head=head)
    if cursor.sequence > head:
        return gap_to_oldest(text, Cursor(identity, 0), "future", oldest=oldest, head=head)
    if cursor.sequence < oldest - 1:
        return gap_to_oldest(text, cursor, "expired", oldest=oldest, head=head)
    return Begin(cursor.sequence, str(cursor))


def gap_to_oldest(requested: str, stands: Cursor, reason: str, *, oldest: int, head: int) -> Begin:
    """Go on from the oldest kept event, and say that what lies between is gone. The client stands at `stands`."""
    gap = Gap(
        requested=printable(requested),
        oldest=str(Cursor(stands.log, oldest)) if oldest <= head else None,
        resumed_at=str(Cursor(stands.log, oldest - 1)),
        reason=reason,
    )
    return Begin(oldest - 1, str(stands), gap)


async def begin(log: Log, start: Start, wanted: Filter) -> Begin:
    """The decision for this log, as it stands."""
    if start.resume:
        return resume(start.resume, identity=log.identity, oldest=log.oldest, head=log.head)
    if start.last is not None:
        after = await log.last(start.last, wanted)
        if start.since:
            after = max(after, await log.since(start.since))
    elif start.since is None:
        after = log.head
    elif start.since == EARLIEST:
        after = log.oldest - 1
    else:
        after = await log.since(start.since)
        if 1 < log.oldest <= log.head and after < log.oldest:
            # All that is kept is younger than what was asked for, and something older is gone.
            stands = Cursor(log.identity, log.oldest - 2)
            return gap_to_oldest(rfc3339(start.since), stands, "expired", oldest=log.oldest, head=log.head)
    after = max(after, log.oldest - 1)
    return Begin(after, str(Cursor(log.identity, after)))
