"""
From events to one commit: frames, index keys, and the changes of state that are left when all are done.

Pure. `draft` runs on the event loop when events are appended; `compose` in the writer's thread, when it is
known which sequences come next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import msgspec

from chainwatch.event import Event, Interest, encode, interest, keys
from chainwatch.log import Change, Drop, Entry, Put
from chainwatch.log.tail import Chunk, chunks


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
    reach: int
    """Bytes of all frames ever, these included."""


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
    entries = [
        Entry(sequence, event, about, index, b"id: %b-%d\ndata: %b\n\n" % (prefix, sequence, payload))
        for sequence, (event, payload, about, index) in enumerate(drafts, first)
    ]
    pairs: dict[tuple[str | None, str], int] = {}
    numbers: list[int] = []
    for entry in entries:
        pair = (entry.about.chain, entry.about.type)
        number = known.get(pair) or pairs.get(pair)
        if number is None:
            number = pairs[pair] = len(known) + len(pairs) + 1
        numbers.append(number)
    parts = list(chunks(entries, numbers))
    lengths = [len(entry.frame) for entry in entries]
    ends = list(accumulate(lengths))
    touched = [
        (key, chunk.first + place) for chunk in parts for key, place in zip(chunk.keys, chunk.places, strict=True)
    ]
    drops, puts = net(changes)
    values = list(puts.values())
    value_ends = list(accumulate(map(len, values)))
    row = (
        first,
        time,
        reach,
        b"".join([chunk.blob for chunk in parts]),
        # substr counts from 1.
        _json([(end - length + 1, length, number) for end, length, number in zip(ends, lengths, numbers, strict=True)]),
        _json(touched),
        _json([(number, *pair) for pair, number in pairs.items()]),
        _json(drops),
        _json(
            [(key, end - len(value) + 1, len(value)) for key, value, end in zip(puts, values, value_ends, strict=True)]
        ),
        b"".join([*values, b"\0"]),  # the substr of an empty blob is NULL, not empty
    )
    return Commit(row, entries, parts, pairs, reach + (ends[-1] if ends else 0))


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
