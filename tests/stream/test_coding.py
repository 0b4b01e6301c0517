"""Pieces that are compressed once for everyone, and what makes a valid body of them for each."""

from __future__ import annotations

import gzip
import zlib

import pytest
from backports import zstd
from hypothesis import given, strategies as st

from chainwatch.stream import coding
from chainwatch.stream.coding import NOTHING, Coding, Tally, Trailer

CODED = [Coding.GZIP, Coding.ZSTD]
DECODE = {Coding.GZIP: gzip.decompress, Coding.ZSTD: zstd.decompress}
# Some look back on the one before, some are larger than any window, some cannot be made smaller.
PIECES = [b":\n", b"id: a-1\ndata: {}\n\n", b"id: a-2\ndata: {}\n\n" * 300, bytes(200_000), bytes(range(256)) * 40]
pieces = st.lists(st.sampled_from(PIECES) | st.binary(min_size=1, max_size=300), max_size=12)


def tally(data: bytes) -> Tally:
    return NOTHING.and_then(data)


@given(pieces, st.sampled_from(CODED), st.data())
def test_whoever_joins_anywhere_and_leaves_anywhere_has_one_valid_body(told, kind, data):
    first = data.draw(st.integers(0, len(told)))
    beyond = data.draw(st.integers(first, len(told)))
    wire = [coding.coded(piece, kind) for piece in told]
    trailer = Trailer()
    for piece in told[first:beyond]:
        trailer.add(tally(piece))
    body = coding.opening(kind) + b"".join(wire[first:beyond]) + coding.ending(trailer, kind)
    assert DECODE[kind](body) == b"".join(told[first:beyond])


@given(pieces, st.sampled_from(CODED))
def test_each_piece_is_out_at_once(told, kind):
    """Nothing of it waits in the decoder for the next piece, as an event would that is the last for an hour."""
    decoder = zlib.decompressobj(31) if kind is Coding.GZIP else None
    frame = zstd.ZstdDecompressor()
    if decoder is not None:
        decoder.decompress(coding.opening(kind))
    else:
        frame.decompress(coding.opening(kind))
    for piece in told:
        wire = coding.coded(piece, kind)
        if decoder is not None:
            assert decoder.decompress(wire) == piece
            continue
        # A frame never ends with a read: decoders of some libraries fail where one does.
        assert not frame.eof
        frame.decompress(wire)
        assert frame.eof
        rest, frame = frame.unused_data, zstd.ZstdDecompressor()
        assert frame.decompress(rest) == piece


@given(st.lists(st.tuples(st.binary(max_size=50), st.sampled_from(["alone", "joined"]), st.binary(max_size=50))))
def test_the_tally_of_a_member_is_that_of_what_it_was_sent(steps):
    """What the group was sent while it was away is not its."""
    trailer = Trailer()
    group = tally(b"before its time")
    sent = b""
    for data, how, missed in steps:
        if how == "alone":
            trailer.add(tally(data))
        else:
            trailer.join(group)
            group = group.and_then(data)
            trailer.leave(group)
        sent += data
        group = group.and_then(missed)
    assert trailer.tally == tally(sent)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 1_000_003, 3 * 2**20, 2**24 + 1])
def test_checksums_are_joined_at_any_size(size):
    data = bytes(range(251)) * (size // 251 + 1)
    trailer = Trailer()
    trailer.add(tally(b"before"))
    trailer.add(tally(data[:size]))
    assert trailer.tally == tally(b"before" + data[:size])


def test_the_size_in_a_trailer_is_counted_modulo_4_gib():
    trailer = Trailer()
    trailer.tally = Tally(7, 2**32 + 5)
    assert trailer.wire() == b"\x03\x00\x07\x00\x00\x00\x05\x00\x00\x00"


@given(st.sampled_from(list(Coding)), st.sampled_from(PIECES))
def test_a_piece_can_be_read_again(kind, data):
    assert coding.plain(coding.coded(data, kind), kind) == data


def test_the_plain_stream_has_nothing_around_it():
    assert coding.opening(Coding.IDENTITY) == coding.ending(None, Coding.IDENTITY) == b""
    assert coding.coded(b"x", Coding.IDENTITY) == b"x"


def test_a_compressor_that_was_interrupted_is_not_used_again():
    library = coding._zstd()
    library._compressor.compress(b"half a frame", library._compressor.FLUSH_BLOCK)
    assert coding.plain(coding.coded(b"whole", Coding.ZSTD), Coding.ZSTD) == b"whole"


def test_a_decoder_of_zstd_needs_little_memory():
    limit = {zstd.DecompressionParameter.window_log_max: 18}
    wire = coding.coded(bytes(2**20), Coding.ZSTD)[3:] + b"\x01\x00\x00"
    assert zstd.decompress(wire, options=limit) == bytes(2**20)


def test_real_events_get_small():
    event = b'id: 1-%d\ndata: {"type":"block_new","chain":"ethereum","data":{"block_number":%d,"gas_used":"%d"}}\n\n'
    burst = b"".join(event % (number, number, number * 7919) for number in range(500))
    assert len(coding.coded(burst, Coding.GZIP)) < len(burst) / 4
    assert len(coding.coded(burst, Coding.ZSTD)) < len(burst) / 4
