"""
Content codings of a stream: a piece is compressed once, and the same bytes go to everyone, whenever they joined.

So a piece never looks back beyond its own beginning, and ends on a byte. What a client was sent is still one valid
body, since it is framed by what the client alone gets at its beginning and at its end:

    gzip    header, pieces, trailer: one member (RFC 1952). A piece is raw deflate with a full flush behind it, which
            forgets the window (RFC 1951). The trailer has the CRC and the size of everything that this client was
            sent; see `Trailer`.
    zstd    frames one after another (RFC 8878, section 3.1). A piece ends the frame before it and begins its own, which
            the next piece ends. A piece that were a whole frame would be neater, but decoders of libraries that are
            widely used (httpx, for one) fail where a frame ends with a read.

Levels: 350-byte events shrink to 60 % at any level. Of 256 KiB of them gzip makes 26 % in 2 ms at level 1, 23 % in 5 ms
at level 6; zstd 19 % in half a millisecond at level 1, and no less at levels 2 to 4. The loop serves others too, so it
is level 1. Pure: no socket, no clock.
"""

from __future__ import annotations

import enum
import gzip
import importlib.util
import struct
import sys
import zlib
from functools import cache
from typing import Final, NamedTuple

_LEVEL: Final = 1
_SMALL: Final = 4096
"""Bytes that a small window holds: a compressor of an event needs not the memory of one of a megabyte."""
_ZSTD_WINDOW: Final = 18
"""Log 2 of bytes; a client holds as much. A browser takes 23 (RFC 9659)."""

_DEFLATE_END: Final = b"\x03\x00"
"""A last block that holds nothing, of fixed codes."""
_ZSTD_END: Final = b"\x01\x00\x00"
"""A last block that holds nothing, raw."""
_CRC_POLYNOMIAL: Final = 0xEDB88320
"""Of gzip's CRC-32; the coefficient of x^0 is the highest bit."""
_ONE: Final = 1 << 31
_ZEROS: Final = memoryview(bytes(1 << 16))


class Coding(enum.Enum):
    """As `Content-Encoding` names it."""

    IDENTITY = "identity"
    GZIP = "gzip"
    ZSTD = "zstd"


_OPENINGS: Final = {
    Coding.IDENTITY: b"",
    Coding.GZIP: b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff",  # no name, no time, no system
    Coding.ZSTD: b"\x28\xb5\x2f\xfd\x00\x00",  # a frame with the smallest window, for the first piece to end
}


@cache
def known() -> frozenset[Coding]:
    """What this Python can do: its library of zstd may not have been built."""
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    try:
        found = importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        found = False
    return frozenset(Coding) if found else frozenset(Coding) - {Coding.ZSTD}


def opening(coding: Coding) -> bytes:
    """What a client gets before its first piece."""
    return _OPENINGS[coding]


def ending(trailer: Trailer | None, coding: Coding) -> bytes:
    """What a client gets behind its last piece. gzip needs its `trailer`."""
    if coding is Coding.ZSTD:
        return _ZSTD_END
    return b"" if trailer is None else trailer.wire()


def coded(data: bytes, coding: Coding) -> bytes:
    """`data` as a piece of that coding. Called on the event loop alone: the compressor of zstd is shared."""
    if coding is Coding.GZIP:
        window, memory = (12, 5) if len(data) <= _SMALL else (15, 8)
        deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -window, memory)
        return deflate.compress(data) + deflate.flush(zlib.Z_FULL_FLUSH)
    if coding is Coding.ZSTD:
        return _zstd().piece(data)
    return data


def whole(data: bytes, coding: Coding) -> bytes:
    """`data` as a body of its own. For any thread."""
    if coding is Coding.GZIP:
        return gzip.compress(data, _LEVEL, mtime=0)
    if coding is Coding.ZSTD:
        return _zstd().compress(data, _LEVEL)
    return data


def plain(piece: bytes, coding: Coding) -> bytes:
    """What `coded` made a piece of."""
    if coding is Coding.GZIP:
        return zlib.decompressobj(-15).decompress(piece)
    if coding is Coding.ZSTD:
        return _zstd().decompress(piece[len(_ZSTD_END) :] + _ZSTD_END)
    return piece


class Tally(NamedTuple):
    """CRC-32 and size of some bytes."""

    crc: int
    size: int

    def and_then(self, data: bytes) -> Tally:
        """Of these bytes and `data` behind them."""
        return Tally(zlib.crc32(data, self.crc), self.size + len(data))


NOTHING: Final = Tally(0, 0)


class Trailer:
    """
    The tally of what one client of gzip was sent, at no cost for a delivery.

    A group has one tally of its pieces for all members. A member notes it when it joins; when it leaves, what came
    between is put behind what it had by one multiplication of polynomials over GF(2):

        crc(a + b) = crc(a) · x^(8·|b|) xor crc(b)
    """

    __slots__ = ("since", "tally")

    def __init__(self) -> None:
        self.tally = NOTHING
        self.since = NOTHING  # the group's, when it joined

    def add(self, piece: Tally) -> None:
        """It was sent a piece for itself, while it is in no group."""
        self.tally = _behind(self.tally, NOTHING, piece)

    def join(self, group: Tally) -> None:
        """It is sent what the group is sent from now on."""
        self.since = group

    def leave(self, group: Tally) -> None:
        """It was sent what the group was sent since it joined."""
        self.tally = _behind(self.tally, self.since, group)

    def wire(self) -> bytes:
        """The end of the member (RFC 1952, section 2.3.1)."""
        return _DEFLATE_END + struct.pack("<II", self.tally.crc, self.tally.size & 0xFFFF_FFFF)


def _behind(before: Tally, start: Tally, end: Tally) -> Tally:
    """`before`, and behind it the bytes by which `start` became `end`."""
    size = end.size - start.size
    return Tally(_shifted(before.crc ^ start.crc, size) ^ end.crc, before.size + size)


def _shifted(crc: int, size: int) -> int:
    """`crc` · x^(8·size). That is the CRC of so many zeros behind it: zlib takes them faster than this multiplies."""
    crc = ~zlib.crc32(_ZEROS[: size % len(_ZEROS)], ~crc & 0xFFFF_FFFF) & 0xFFFF_FFFF
    bit = len(_ZEROS).bit_length() - 1
    while size >> bit:
        if size >> bit & 1:
            crc = _times(crc, _power(bit))
        bit += 1
    return crc


@cache
def _power(bit: int) -> int:
    """x^(8·2^bit)."""
    return _ONE >> 8 if bit == 0 else _times(_power(bit - 1), _power(bit - 1))


def _times(one: int, other: int) -> int:
    """The product of two polynomials of CRCs, modulo that of the CRC."""
    product = 0
    bit = _ONE
    while one:
        if one & bit:
            product ^= other
            one ^= bit
        bit >>= 1
        other = other >> 1 ^ _CRC_POLYNOMIAL if other & 1 else other >> 1
    return product


class _Zstd:
    """The library, loaded when the first client asks for it, and one compressor: one costs more than an event."""

    def __init__(self) -> None:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
        self.compress = zstd.compress
        self.decompress = zstd.decompress
        self._compressor_of = zstd.ZstdCompressor
        self._options: dict[int, int] = {
            zstd.CompressionParameter.compression_level: _LEVEL,
            zstd.CompressionParameter.window_log: _ZSTD_WINDOW,
        }
        self._compressor = zstd.ZstdCompressor(options=self._options)

    def piece(self, data: bytes) -> bytes:
        compressor = self._compressor
        if compressor.last_mode != compressor.FLUSH_FRAME:  # out of memory between the two calls: it is in mid-frame
            compressor = self._compressor = self._compressor_of(options=self._options)
        begun = compressor.compress(data, compressor.FLUSH_BLOCK)
        compressor.compress(b"", compressor.FLUSH_FRAME)  # its end, which the next piece begins with
        return _ZSTD_END + begun


_zstd: Final = cache(_Zstd)
