"""
A connection changes hands: aiohttp reads the request and makes the head of the answer, then the stream has the socket.

aiohttp keeps a protocol, a task, a request, a parser and their buffers for every connection: 11 KiB, and objects by the
dozen for the garbage collector to walk. A stream needs none of them. So its transport gets the stream as its protocol,
and aiohttp's is told that the connection was lost, which is what makes it let everything go; it has no transport any
more by then, so it closes nothing. This leans on two things of aiohttp that are not documented (`RequestHandler` may
be told of a loss by somebody else; its `transport` may be taken away); tests/server/test_takeover.py pins both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.http import StreamWriter

from chainwatch.server.edge import Handler
from chainwatch.stream import kernel

if TYPE_CHECKING:
    from chainwatch.server.connection import Connection
    from chainwatch.stream.stream import Stream


class Head(web.StreamResponse):
    """An answer whose head is not written when it is prepared: `take` gives it. What is taken has its end elsewhere."""

    _send_headers_immediately = False

    async def write_eof(self, data: bytes = b"") -> None:
        if self._req is None or self._req.transport is not None:
            await super().write_eof(data)


def take(request: web.Request, stream: Stream | Connection) -> bytes | None:
    """
    Give `stream` the connection of `request`, whose response was prepared and whose handler must return without another
    await. The head that is still to be written; None where the client is gone already.
    """
    protocol = request.protocol
    transport = protocol.transport
    if transport is None or transport.is_closing() or (isinstance(protocol, Handler) and protocol.ended):
        return None
    stream.transport = transport
    stream.paused = protocol.writing_paused
    transport.set_protocol(stream)
    # Any byte that the kernel does not take at once pauses the stream: from then on the log is its buffer.
    transport.set_write_buffer_limits(high=0)
    kernel.bound(transport)
    # aiohttp stops reading behind a pipelined request or a body; a client that goes away shows by reading alone.
    transport.resume_reading()
    protocol.transport = None
    protocol.connection_lost(None)
    return _held_back(request)


def _held_back(request: web.Request) -> bytes:
    writer = request.writer
    if not isinstance(writer, StreamWriter):
        return b""
    head, writer._headers_buf = writer._headers_buf, None  # noqa: SLF001
    return head or b""
