"""Bytes of streams."""

from __future__ import annotations

import pytest

from chainwatch.event import Event, interest, keys
from chainwatch.log import Entry, Slice
from chainwatch.stream import coding, wire
from chainwatch.stream.coding import NOTHING, Coding
from chainwatch.stream.wire import Form

PLAIN = Form(named=False, chunked=False)
CHUNKED = Form(named=False, chunked=True)


def entry(sequence: int, size: int = 0) -> Entry:
    event = Event(id=f"evt_{sequence}", type="block_new", timestamp="", observed_at="", chain=None, data={})
    about = interest(event)
    return Entry(sequence, event, about, keys(about), b"id: x-%d\ndata: %b\n\n" % (sequence, b"." * size))


def test_a_chunk_has_its_length_in_hexadecimal():
    assert wire.chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


def test_nothing_is_no_chunk_since_an_empty_one_ends_the_body():
    assert wire.wired(b"", CHUNKED) == b""
    assert wire.of_slice(Slice(b"", 7, 0), CHUNKED) == wire.Piece(b"", 7, 0)


def test_the_entries_of_a_round_are_one_piece_that_stands_for_all_up_to_the_head():
    (piece,) = wire.of_entries([entry(3), entry(5)], 9, PLAIN, most=1000)
    assert piece == wire.Piece(entry(3).frame + entry(5).frame, 9, 2)


def test_named_entries_have_their_event_line():
    (piece,) = wire.of_entries([entry(3)], 3, Form(named=True, chunked=True), most=1000)
    assert piece.wire == wire.chunk(b"event: block_new\n" + entry(3).frame)


def test_a_burst_is_cut_into_pieces_each_with_its_own_cursor():
    entries = [entry(sequence, 400) for sequence in range(1, 11)]
    pieces = wire.of_entries(entries, 42, PLAIN, most=1000)
    assert [piece.last for piece in pieces] == [3, 6, 9, 42]
    assert [piece.events for piece in pieces] == [3, 3, 3, 1]
    assert b"".join(piece.wire for piece in pieces) == b"".join(one.frame for one in entries)


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("kind", list(Coding))
def test_a_piece_is_cut_behind_an_event(chunked, kind):
    frames = b"".join(entry(sequence).frame for sequence in range(1, 6))
    form = Form(named=False, chunked=chunked, coding=kind)
    cut = wire.first_events(wire.of_slice(Slice(frames, 5, 5), form), 2, form)
    two = entry(1).frame + entry(2).frame
    assert cut.wire == wire.wired(two, form)
    assert (cut.events, cut.last) == (2, 2)
    assert cut.tally == (NOTHING.and_then(two) if kind is Coding.GZIP else None)


def test_what_is_compressed_stands_in_chunks_like_the_rest():
    form = Form(named=False, chunked=True, coding=Coding.GZIP)
    (piece,) = wire.of_entries([entry(3, 400)], 3, form, most=1000)
    assert piece.wire == wire.chunk(coding.coded(entry(3, 400).frame, Coding.GZIP))
    first = wire.told(b":\n", form, first=True)
    assert first.wire == wire.chunk(coding.opening(Coding.GZIP) + coding.coded(b":\n", Coding.GZIP))


def test_the_tallies_of_a_burst_go_on_from_piece_to_piece():
    entries = [entry(sequence, 400) for sequence in range(1, 11)]
    begun = NOTHING.and_then(b"what the group was sent before")
    form = Form(named=False, chunked=True, coding=Coding.GZIP)
    pieces = wire.of_entries(entries, 42, form, most=1000, begun=begun)
    assert len(pieces) == 4
    assert pieces[0].tally == begun.and_then(b"".join(one.frame for one in entries[:3]))
    assert pieces[-1].tally == begun.and_then(b"".join(one.frame for one in entries))
