"""
The bytes of a stream as they stand on the wire: frames joined to pieces, compressed and chunk-framed once for every
reader of them.

An HTTP/1.1 body without a length is sent in chunks (RFC 9112, section 7.1); an HTTP/1.0 client gets the bare bytes and
the end of the connection. Pure: no socket, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from chainwatch import sse
from chainwatch.log import Entry, Slice
from chainwatch.stream.coding import NOTHING, Coding, Tally, Trailer, coded, ending, opening, plain

PIECE: Final = 256 * 1024
"""Bytes written to a transport at once, about: what a reader that stops reading can hold of the daemon's memory."""

LAST_CHUNK: Final = b"0\r\n\r\n"


class Form(NamedTuple):
    """How the same events differ on the wire from client to client."""

    named: bool
    """With an `event:` line."""
    chunked: bool
    coding: Coding = Coding.IDENTITY


class Piece(NamedTuple):
    """Bytes ready for a transport."""

    wire: bytes
    """Empty where nothing matched."""
    last: int
    """Whoever has this piece has seen the log up to this sequence."""
    events: int
    tally: Tally | None = None
    """What a trailer of gzip needs to know of the piece, and of those that it was counted on from."""


class Told(NamedTuple):
    """Bytes of what is no event of the log, ready for a transport."""

    wire: bytes
    tally: Tally | None


def chunk(data: bytes) -> bytes:
    """`data` as one chunk. Not for empty data: an empty chunk is the end of a body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def wired(data: bytes, form: Form) -> bytes:
    """`data` as it is sent: compressed, in a chunk, or as it is."""
    if not data:
        return data
    if form.coding is not Coding.IDENTITY:
        data = coded(data, form.coding)
    return chunk(data) if form.chunked else data


def told(data: bytes, form: Form, *, first: bool = False) -> Told:
    """What the daemon has to say itself; `first` in a body or not."""
    if first and form.coding is not Coding.IDENTITY:
        body = opening(form.coding) + coded(data, form.coding)
        return Told(chunk(body) if form.chunked else body, _tally(data, form))
    return Told(wired(data, form), _tally(data, form))


def last_told(data: bytes, form: Form, trailer: Trailer | None) -> bytes:
    """The same, and the end of the body behind it. `trailer`: of everything before."""
    if trailer is not None:
        trailer.add(NOTHING.and_then(data))
    body = coded(data, form.coding) + ending(trailer, form.coding)
    return chunk(body) + LAST_CHUNK if form.chunked else body


def of_slice(read: Slice, form: Form) -> Piece:
    """What the log gave, ready for a transport."""
    return Piece(wired(read.frames, form), read.last, read.events, _tally(read.frames, form))


def of_entries(entries: Sequence[Entry], head: int, form: Form, *, most: int, begun: Tally = NOTHING) -> list[Piece]:
    """
    Matching entries as pieces of about `most` bytes; the last piece stands for everything up to `head`. A piece is what
    a slow reader's buffer holds, so a burst is not one huge object. Tallies go on from `begun`.
    """
    if len(entries) == 1 and not form.named and form.coding is Coding.IDENTITY:  # a stream for one address, live
        return [Piece(wired(entries[0].frame, form), head, 1)]
    pieces: list[Piece] = []
    frames: list[bytes] = []
    tally = begun if form.coding is Coding.GZIP else None
    size = count = 0
    final = len(entries) - 1
    for place, entry in enumerate(entries):
        if form.named:
            frames.append(sse.event_line(entry.event.type))
        frames.append(entry.frame)
        size += len(entry.frame)
        count += 1
        if size >= most or place == final:
            last = head if place == final else entry.sequence
            data = b"".join(frames)
            if tally is not None:
                tally = tally.and_then(data)
            pieces.append(Piece(wired(data, form), last, count, tally))
            frames = []
            size = count = 0
    return pieces


def first_events(piece: Piece, count: int, form: Form) -> Piece:
    """
    The piece cut behind its first `count` events, of which it has more. A frame ends at its blank line; its JSON holds
    no line break.
    """
    body = piece.wire[piece.wire.index(b"\r\n") + 2 : -2] if form.chunked else piece.wire
    frames = plain(body, form.coding)
    begin = end = 0
    for _ in range(count):
        begin, end = end, frames.index(b"\n\n", end) + 2
    fields = frames[begin : frames.index(b"\ndata: ", begin)]  # the last of them is the id, a cursor
    last = int(fields[fields.rindex(b"-") + 1 :])
    return Piece(wired(frames[:end], form), last, count, _tally(frames[:end], form))


def _tally(data: bytes, form: Form) -> Tally | None:
    return NOTHING.and_then(data) if form.coding is Coding.GZIP else None
