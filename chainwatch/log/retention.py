"""
What to forget, and when to look: decisions only, with the time and the sizes as arguments.

Oldest first, at most `SLICE` events at a time, so that an append never waits for more than a few milliseconds. Each
limit is undershot a little when it is met, so that a full log deletes now and then and not with each commit.
"""

from __future__ import annotations

from typing import Final, NamedTuple

SLICE: Final = 1024
"""Events that one transaction deletes at most."""
PAGE: Final = 4096
"""Bytes of a page of the file: SQLite's default, which `file.create` leaves."""
_SLACK: Final = 64  # a limit is undershot by 1/64
_MIB: Final = 1 << 20


class Limits(NamedTuple):
    """What the log may keep."""

    ttl: int
    """Milliseconds."""
    max_events: int
    max_bytes: int
    """Of the database and its WAL on the disk."""

    @property
    def ahead(self) -> int:
        """Bytes of WAL at which a busy writer stops to empty it; an idle one does at a quarter."""
        return min(max(self.max_bytes // 16, _MIB // 4), 16 * _MIB)

    @property
    def pages(self) -> int:
        """Pages that the database may use. What the WAL, its index and a commit or two need is kept free."""
        return max(self.max_bytes - 2 * self.ahead - _MIB // 16, 0) // PAGE


class Held(NamedTuple):
    """What the log keeps."""

    oldest: int
    head: int
    pages: int
    """Pages of the database, free ones included."""
    free: int
    expired: int
    """The newest sequence that is older than `ttl`, among the next `SLICE`; 0 where none is."""

    @property
    def events(self) -> int:
        return self.head - self.oldest + 1


def keep_from(held: Held, limits: Limits) -> int:
    """The sequence of the oldest event to keep; `held.oldest` where nothing has to go."""
    surplus = 0
    if held.events > limits.max_events:
        surplus = held.events - (limits.max_events - limits.max_events // _SLACK)
    used = held.pages - held.free
    if used > limits.pages:
        excess = used - (limits.pages - limits.pages // _SLACK)
        surplus = max(surplus, -(-excess * held.events // used))
    surplus = max(surplus, held.expired - held.oldest + 1)
    return held.oldest + min(surplus, held.events, SLICE)


def give_back(held: Held, limits: Limits) -> int:
    """Free pages to return to the disk: what is above the limit, or more than a quarter of the file (and 4 MiB)."""
    above = held.pages - limits.pages
    idle = held.free - held.pages // 4 if held.free > max(held.pages // 4, 4 * _MIB // PAGE) else 0
    return max(0, min(held.free, max(above, idle), SLICE))


def next_expiry(oldest_time: int | None, now: int, ttl: int) -> int:
    """When to look for expired events again, in Unix ms: not for each event, but each hundredth of `ttl`, or minute."""
    if oldest_time is None:
        return now + ttl
    return max(oldest_time + ttl + 1, now + min(ttl // 100, 60_000))
