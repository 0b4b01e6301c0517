"""
What the kernel holds of a stream.

By default it takes megabytes for a client that reads nothing, and calls a socket writable only when a third of that has
drained: a dead reader is then expensive, and a slow one looks dead. So what is not sent yet is bounded, and what is
held is counted to the byte. Where the platform offers neither, streams work without.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import Final

from chainwatch.stream.wire import PIECE

_NOTSENT_LOWAT: Final[int | None] = getattr(socket, "TCP_NOTSENT_LOWAT", None)


def bound(transport: asyncio.BaseTransport) -> None:
    """Let the kernel take no more than a piece that it cannot send yet."""
    sock = transport.get_extra_info("socket")
    if _NOTSENT_LOWAT is None or sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, PIECE)


if sys.platform == "linux":
    import fcntl
    import termios

    def held(transport: asyncio.WriteTransport) -> int:
        """Bytes that were written to `transport` and that the client's machine does not have yet."""
        size = transport.get_write_buffer_size()
        sock = transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return size
        try:
            unsent: int = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
        except OSError:
            return size
        return size + unsent

else:

    def held(transport: asyncio.WriteTransport) -> int:
        """Bytes that were written to `transport` and that the kernel did not take yet."""
        return transport.get_write_buffer_size()
