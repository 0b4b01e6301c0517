"""
The bytes of a stream as they stand on the wire: frames joined to pieces, chunk-framed once for every reader of them.

An HTTP/1.1 body without a length is sent in chunks (RFC 9112, section 7.1); an HTTP/1.0 client gets the bare bytes and
the end of the connection. Pure: no socket, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from chainwatch import sse
from chainwatch.log import Entry, Slice

PIECE: Final = 256 * 1024
"""Bytes written to a transport at once, about: what a reader that stops reading can hold of the daemon's memory."""

LAST_CHUNK: Final = b"0\r\n\r\n"


class Piece(NamedTuple):
    """Bytes ready for a transport."""

    wire: bytes
    """Empty where nothing matched."""
    last: int
    """Whoever has this piece has seen the log up to this sequence."""
    events: int


def chunk(data: bytes) -> bytes:
    """`data` as one chunk. Not for empty data: an empty chunk is the end of a body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def wired(data: bytes, *, chunked: bool) -> bytes:
    """`data` as it is sent: a chunk, or as it is."""
    return chunk(data) if chunked and data else data


def of_slice(read: Slice, *, chunked: bool) -> Piece:
    """What the log gave, ready for a transport."""
    return Piece(wired(read.frames, chunked=chunked), read.last, read.events)


def of_entries(entries: Sequence[Entry], head: int, *, named: bool, chunked: bool, most: int) -> list[Piece]:
    """
    Matching entries as pieces of about `most` bytes; the last piece stands for everything up to `head`. A piece is what
    a slow reader's buffer holds, so a burst is not one huge object.
    """
    pieces: list[Piece] = []
    frames: list[bytes] = []
    size = count = 0
    final = len(entries) - 1
    for place, entry in enumerate(entries):
        if named:
            frames.append(sse.event_line(entry.event.type))
        frames.append(entry.frame)
        size += len(entry.frame)
        count += 1
        if size >= most or place == final:
            last = head if place == final else entry.sequence
            pieces.append(Piece(wired(b"".join(frames), chunked=chunked), last, count))
            frames = []
            size = count = 0
    return pieces


def first_events(piece: Piece, count: int, *, chunked: bool) -> Piece:
    """
    The piece cut behind its first `count` events, of which it has more. A frame ends at its blank line; its JSON holds
    no line break. `last` stays: whoever counts events stops here.
    """
    frames = piece.wire[piece.wire.index(b"\r\n") + 2 : -2] if chunked else piece.wire
    end = 0
    for _ in range(count):
        end = frames.index(b"\n\n", end) + 2
    return Piece(wired(frames[:end], chunked=chunked), piece.last, count)
