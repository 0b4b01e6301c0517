"""
From events to one commit: frames, index keys, and the changes of state that are left when all are done.

Pure. `draft` runs on the event loop when events are appended; `compose` in the writer's thread, when it is
known which sequences come next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from chainwatch.event import Event, Interest, encode, interest, keys
from chainwatch.log import Change, Drop, Entry, Put
from chainwatch.log.tail import Chunk, chunks

_NONE: Final = "[]"


class Draft(NamedTuple):
    """An event that has no sequence yet."""

    event: Event
    payload: bytes
    about: Interest
    keys: tuple[int, ...]


class Commit(NamedTuple):
    """A commit, ready to be written and, once it is, to be told."""

    row: tuple[object, ...]
    """The parameters of `schema.COMMIT`."""
    entries: list[Entry]
    chunks: list[Chunk]
    pairs: dict[tuple[str | None, str], int]
    """Chains and types that are new with it."""
    size: int
    """Bytes of the frames."""
    keys: int
    """Keys of the events, all counted."""


def draft(event: Event) -> Draft:
    about = interest(event)
    return Draft(event, encode(event), about, keys(about))


def compose(
    identity: str,
    first: int,
    time: int,
    reach: int,
    drafts: Sequence[Draft],
    changes: Iterable[Change],
    known: Mapping[tuple[str | None, str], int],
) -> Commit:
    """The commit of `drafts` from sequence `first` on, at `time` (Unix ms), behind `reach` bytes of frames."""
    prefix = identity.encode()
    entries: list[Entry] = []
    pairs: dict[tuple[str | None, str], int] = {}
    numbers: list[int] = []
    placed: list[tuple[int, int, int]] = []
    size = 0
    for sequence, (event, payload, about, index) in enumerate(drafts, first):
        frame = b"id: %b-%d\ndata: %b\n\n" % (prefix, sequence, payload)
        entries.append(Entry(sequence, event, about, index, frame))
        pair = (about.chain, about.type)
        number = known.get(pair) or pairs.get(pair)
        if number is None:
            number = pairs[pair] = len(known) + len(pairs) + 1
        numbers.append(number)
        length = len(frame)
        placed.append((size + 1, length, number))  # substr counts from 1
        size += length
    parts = list(chunks(entries, numbers))
    touched = [
        (key, chunk.first + place) for chunk in parts for key, place in zip(chunk.keys, chunk.places, strict=True)
    ]
    drops, puts = net(changes)
    kept: list[tuple[str, int, int]] = []
    values: list[bytes] = []
    end = 0
    for key, value in puts.items():
        kept.append((key, end + 1, len(value)))
        values.append(value)
        end += len(value)
    row = (
        first,
        time,
        reach,
        parts[0].blob if len(parts) == 1 else b"".join([chunk.blob for chunk in parts]),
        _json(placed),
        _json(touched),
        _json([(number, *pair) for pair, number in pairs.items()]) if pairs else _NONE,
        _json(drops) if drops else _NONE,
        _json(kept) if kept else _NONE,
        b"".join([*values, b"\0"]),  # the substr of an empty blob is NULL, not empty
    )
    return Commit(row, entries, parts, pairs, size, len(touched))


def stamped(changes: Iterable[Change], sequence: int) -> Iterator[Change]:
    """The changes of an append whose first event has that sequence, as they are written."""
    for change in changes:
        if isinstance(change, Put) and change.stamped:
            yield Put(change.key, sequence.to_bytes(8, "big") + change.value)
        else:
            yield change


def net(changes: Iterable[Change]) -> tuple[list[tuple[str, str]], dict[str, bytes]]:
    """What changes in order come to: ranges to remove first, then keys to set."""
    drops: list[tuple[str, str]] = []
    puts: dict[str, bytes] = {}
    for change in changes:
        if isinstance(change, Drop):
            if change.beyond == change.first + "\0":  # one key: thousands of transactions may leave the mempool at once
                drops.append((change.first, change.first + "\1"))  # a text in SQLite's JSON ends at a NUL
                puts.pop(change.first, None)
                continue
            drops.append((change.first, change.beyond))
            for key in [key for key in puts if change.first <= key < change.beyond]:
                del puts[key]
        else:
            puts[change.key] = change.value
    return drops, puts


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
