"""
Reading the file: one statement, one step, a whole slice.

A step costs the interpreter's lock (see `schema`), so frames are joined in SQL: 500 of them are one step. Nothing here
knows of the event loop: these are plain functions on a connection, run by `store` in threads. Each looks at a bounded
part of the log, so that none takes long, and never beyond the `head` that it is given, which is what was delivered.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from chainwatch.event import Event, decode, interest
from chainwatch.filter import Filter
from chainwatch.log import Slice
from chainwatch.log.plan import Plan
from chainwatch.log.schema import SEGMENT
from chainwatch.log.tail import payload
from chainwatch.where import View

ROWS: Final = 4096
"""Candidates that one statement gives at most."""
DECODED: Final = 8192
"""Candidates that one call decodes at most: 8 µs each, with the interpreter's lock held for most of it."""
STEPS: Final = 262_144
"""Steps of expressions in one call: about 0.3 µs each, with the interpreter's lock held too."""
SEEKS: Final = 8192
"""Places in the index that one statement looks at: 1 µs each."""
STATEMENTS: Final = 24
"""Statements of one call. With eight times the segments each time, four of them see five million events."""
_BYTES: Final = 1 << 20  # of candidates that are fetched to be decoded

_RANGE: Final = """
SELECT group_concat({frame}, ''), count(*), max(seq) FROM (
    SELECT seq, frame, pair FROM events
    WHERE seq > :after AND seq <= min(:head, :after + :rows) AND (seq = :after + 1 OR reach <= :bytes +
        (SELECT reach - length(frame) FROM events WHERE seq = :after + 1))
    ORDER BY seq LIMIT :rows) AS e {join}
"""
# CROSS JOIN keeps the order of the loops: segments, keys, and for both one seek. Sums of sizes come from a window
# function over the lengths alone, which SQLite takes from the rows' heads.
_KEYED: Final = """
WITH found AS MATERIALIZED (
    SELECT DISTINCT k.seq AS seq
    FROM json_each(:segments) AS s CROSS JOIN json_each(:keys) AS w CROSS JOIN keys AS k
        ON k.segment = s.value AND k.key = w.value AND k.seq > :after AND k.seq <= :head
    ORDER BY k.seq LIMIT :rows),
sized AS MATERIALIZED (
    SELECT f.seq AS seq, length(e.frame) AS size,
        sum(length(e.frame)) OVER (ORDER BY f.seq ROWS UNBOUNDED PRECEDING) AS total
    FROM found AS f CROSS JOIN events AS e ON e.seq = f.seq
    WHERE :pairs IS NULL OR e.pair IN (SELECT value FROM json_each(:pairs)))
SELECT group_concat({frame}, ''), count(*), max(seq),
    (SELECT count(*) FROM found), (SELECT max(seq) FROM found), (SELECT count(*) FROM sized)
FROM (
    SELECT e.seq AS seq, e.frame AS frame, e.pair AS pair FROM sized AS z CROSS JOIN events AS e ON e.seq = z.seq
    WHERE z.total <= :bytes OR z.total = z.size ORDER BY e.seq) AS e {join}
"""
# The frame is a blob of UTF-8; group_concat and || make text of it, which the connection hands out as bytes.
_PLAIN: Final = {"frame": "frame", "join": ""}
_NAMED: Final = {
    "frame": "'event: ' || p.type || char(10) || frame",
    "join": "CROSS JOIN pairs AS p ON p.id = e.pair",
}
_RANGES: Final = {False: _RANGE.format(**_PLAIN), True: _RANGE.format(**_NAMED)}
_KEYS: Final = {False: _KEYED.format(**_PLAIN), True: _KEYED.format(**_NAMED)}

# What retention took meanwhile is early.
_SINCE: Final = """
WITH RECURSIVE bisect(low, high) AS (
    VALUES(:oldest, :head + 1)
    UNION ALL
    SELECT iif(coalesce(e.time, 0) < :time, (low + high) / 2 + 1, low),
        iif(coalesce(e.time, 0) < :time, high, (low + high) / 2)
    FROM bisect LEFT JOIN events AS e ON e.seq = (low + high) / 2 WHERE low < high)
SELECT min(high) FROM bisect
"""
_GET: Final = "SELECT value FROM state WHERE key = ?"
# Hexadecimal, so that any number of rows is one value: one step.
_SCAN: Final = """
SELECT json_group_array(json_array(key, hex(value))) FROM
    (SELECT key, value FROM state WHERE key >= ? AND key < ? ORDER BY key)
"""


class Hole(LookupError):
    """Events are missing where the log should be contiguous: retention took them meanwhile, or the file is broken."""


class _Found(NamedTuple):
    frames: bytes
    events: int
    last: int
    """Looked at up to here."""


def read(db: sqlite3.Connection, after: int, head: int, plan: Plan, *, named: bool, max_bytes: int, size: int) -> Slice:
    """Matching frames on from `after`, about `max_bytes` of them; `size` is what a frame has on average."""
    if plan.is_empty or after >= head:
        return Slice(b"", max(after, head), 0)
    parts: list[bytes] = []
    room, events, decoded = max_bytes, 0, 0
    rows = max_bytes // max(size, 1) + 16
    steps = _steps(db, head, plan, named=named)
    fetch = max_bytes if plan.wanted is None else _BYTES
    sieve = _Sieve(plan.wanted)
    last = after
    for _ in range(STATEMENTS):
        found = steps(last, rows, fetch)
        if plan.wanted is None:
            if events and found.events == 1 and len(found.frames) > room:
                break  # a statement gives one event even where it does not fit; this slice has some already
            parts.append(found.frames)
            room -= len(found.frames)
            events += found.events
        else:
            decoded += found.events
            for sequence, frame in _frames(found.frames):
                if sieve.steps > STEPS:
                    return Slice(b"".join(parts), sequence - 1, events)
                event = sieve.event(frame)
                if event is None:
                    continue
                if len(frame) > room and events:
                    return Slice(b"".join(parts), sequence - 1, events)
                parts.append(b"event: %b\n%b" % (event.type.encode(), frame) if named else frame)
                room -= len(frame)
                events += 1
        last = found.last
        # The rest of the room is not worth another statement.
        if last >= head or room < max_bytes // 2 or decoded >= DECODED or (plan.is_open and events):
            break
        fetch = room if plan.wanted is None else _BYTES
    return Slice(parts[0] if len(parts) == 1 else b"".join(parts), last, events)


def page(db: sqlite3.Connection, after: int, head: int, plan: Plan, limit: int) -> tuple[list[tuple[int, Event]], int]:
    """Up to `limit` matching events after `after`, and how far was looked."""
    if plan.is_empty or after >= head:
        return [], max(after, head)
    events: list[tuple[int, Event]] = []
    steps = _steps(db, head, plan, named=False)
    sieve = _Sieve(plan.wanted)
    last, decoded = after, 0
    for _ in range(STATEMENTS):
        found = steps(last, limit - len(events) if plan.wanted is None else ROWS, _BYTES)
        for sequence, frame in _frames(found.frames):
            if sieve.steps > STEPS:
                return events, sequence - 1
            event = sieve.event(frame)
            if event is None:
                continue
            events.append((sequence, event))
            if len(events) == limit:
                return events, sequence
        last = found.last
        decoded += found.events
        if last >= head or decoded >= DECODED:
            break
    return events, last


def last(db: sqlite3.Connection, count: int, oldest: int, head: int, plan: Plan) -> int:
    """
    The sequence behind which the newest `count` matches stand, no further back than `oldest`. Where a filter has to
    look at very many events for them, it settles for fewer.
    """
    if count <= 0 or plan.is_empty:
        return head
    if plan.is_open:
        return max(oldest - 1, head - count)
    high, window, seen = head, max(64, 4 * count), 0
    sieve = _Sieve(plan.wanted)
    while high >= oldest and seen < 8 * DECODED:
        low = max(oldest - 1, high - window)
        steps = _steps(db, high, plan, named=False)
        matches, after = list[int](), low
        while after < high:
            found = steps(after, ROWS, _BYTES)
            for sequence, frame in _frames(found.frames):
                if sieve.steps > 8 * STEPS:
                    return high
                if plan.wanted is None or sieve.event(frame) is not None:
                    matches.append(sequence)
            after = found.last
            seen += found.events
        if len(matches) >= count:
            return matches[-count] - 1
        count -= len(matches)
        high, window = low, window * 4
    return high


def since(db: sqlite3.Connection, time: int, oldest: int, head: int) -> int:
    """The sequence behind which the events stand that were committed at `time` (Unix ms) or later."""
    [first] = db.execute(_SINCE, {"time": time, "oldest": oldest, "head": head}).fetchone()
    return int(first) - 1


def get(db: sqlite3.Connection, key: str) -> bytes | None:
    row = db.execute(_GET, (key,)).fetchone()
    return None if row is None else row[0]


def scan(db: sqlite3.Connection, first: str, beyond: str) -> list[tuple[str, bytes]]:
    [rows] = db.execute(_SCAN, (first, beyond)).fetchone()
    return [(key, bytes.fromhex(value)) for key, value in msgspec.json.decode(rows, type=list[tuple[str, str]])]


def _steps(db: sqlite3.Connection, head: int, plan: Plan, *, named: bool) -> Callable[[int, int, int], _Found]:
    """
    A function that reads one statement on, given after which sequence, how many candidates and how many bytes of
    them at most. For a plan with a filter to decide, the frames are without names: they are decoded first.
    """
    named = named and plan.wanted is None
    if plan.keys is None:
        statement = _RANGES[named]

        def along(after: int, rows: int, size: int) -> _Found:
            place = {"after": after, "head": head, "rows": min(rows, ROWS), "bytes": size}
            frames, events, last = db.execute(statement, place).fetchone()
            if last != after + events:
                raise Hole(after)
            return _Found(frames, events, last)

        return along

    statement, width, widest = _KEYS[named], 1, max(1, SEEKS // len(plan.keys))
    keys = _json(plan.keys)
    pairs = None if plan.pairs is None else _json(plan.pairs)

    def by_keys(after: int, rows: int, size: int) -> _Found:
        nonlocal width
        rows = min(rows, ROWS)
        low = (after + 1) // SEGMENT
        beyond = low + width
        reach = min(head, beyond * SEGMENT - 1)
        place = {"after": after, "head": reach, "rows": rows, "bytes": size}
        asked = {"segments": _json(range(low, beyond)), "keys": keys, "pairs": pairs}
        frames, events, last, found, furthest, matching = db.execute(statement, place | asked).fetchone()
        if found < rows // 4:  # matches are rare: look at more segments at once
            width = min(width * 8, widest)
        if events < matching:  # cut where the bytes were enough
            return _Found(frames, events, last)
        return _Found(frames or b"", events, furthest if found == rows else reach)

    return by_keys


def _frames(joined: bytes) -> Iterator[tuple[int, bytes]]:
    """Sequence and frame of each event in joined frames. JSON has no raw line break, so `\\n\\n` is an end."""
    start = 0
    while start < len(joined):
        end = joined.index(b"\n\n", start) + 2
        frame = joined[start:end]
        yield int(frame[frame.index(b"-") + 1 : frame.index(b"\n")]), frame
        start = end


class _Sieve:
    """Holds what a filter wants, and what looking for it took."""

    def __init__(self, wanted: Filter | None) -> None:
        self._wanted = wanted
        self.steps = 0
        """Of expressions, so far."""

    def event(self, frame: bytes) -> Event | None:
        """The event of a frame; None where the filter does not want it."""
        event = decode(payload(frame))
        if self._wanted is None:
            return event
        view = View(event)
        matches = self._wanted.matches(interest(event), view)
        self.steps += view.steps
        return event if matches else None


def _json(values: Iterable[int]) -> str:
    return msgspec.json.encode(list(values)).decode()
