"""Bytes of streams."""

from __future__ import annotations

import pytest

from chainwatch.event import Event, interest, keys
from chainwatch.log import Entry, Slice
from chainwatch.stream import wire


def entry(sequence: int, size: int = 0) -> Entry:
    event = Event(id=f"evt_{sequence}", type="block_new", timestamp="", observed_at="", chain=None, data={})
    about = interest(event)
    return Entry(sequence, event, about, keys(about), b"id: x-%d\ndata: %b\n\n" % (sequence, b"." * size))


def test_a_chunk_has_its_length_in_hexadecimal():
    assert wire.chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


def test_nothing_is_no_chunk_since_an_empty_one_ends_the_body():
    assert wire.wired(b"", chunked=True) == b""
    assert wire.of_slice(Slice(b"", 7, 0), chunked=True) == wire.Piece(b"", 7, 0)


def test_the_entries_of_a_round_are_one_piece_that_stands_for_all_up_to_the_head():
    (piece,) = wire.of_entries([entry(3), entry(5)], 9, named=False, chunked=False, most=1000)
    assert piece == wire.Piece(entry(3).frame + entry(5).frame, 9, 2)


def test_named_entries_have_their_event_line():
    (piece,) = wire.of_entries([entry(3)], 3, named=True, chunked=True, most=1000)
    assert piece.wire == wire.chunk(b"event: block_new\n" + entry(3).frame)


def test_a_burst_is_cut_into_pieces_each_with_its_own_cursor():
    entries = [entry(sequence, 400) for sequence in range(1, 11)]
    pieces = wire.of_entries(entries, 42, named=False, chunked=False, most=1000)
    assert [piece.last for piece in pieces] == [3, 6, 9, 42]
    assert [piece.events for piece in pieces] == [3, 3, 3, 1]
    assert b"".join(piece.wire for piece in pieces) == b"".join(one.frame for one in entries)


@pytest.mark.parametrize("chunked", [True, False])
def test_a_piece_is_cut_behind_an_event(chunked):
    frames = b"".join(entry(sequence).frame for sequence in range(1, 6))
    piece = wire.of_slice(Slice(frames, 5, 5), chunked=chunked)
    cut = wire.first_events(piece, 2, chunked=chunked)
    assert cut.wire == wire.wired(entry(1).frame + entry(2).frame, chunked=chunked)
    assert cut.events == 2
