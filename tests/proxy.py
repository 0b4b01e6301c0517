"""A TCP proxy between the daemon and its node that fails like a network does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Self

from anvil import free_port


class Proxy:
    """Forwards `port` to `target`. `async with` opens and closes it."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self._server: asyncio.Server | None = None
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._left: int | None = None

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.resume()
        await self.refuse()
        self.cut()

    async def accept(self) -> None:
        """Take connections (again)."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def refuse(self) -> None:
        """Take no new connections; those that stand go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def cut(self) -> None:
        """Reset every connection."""
        for pair in list(self._pairs):
            for writer in pair:
                raw = writer.get_extra_info("socket")
                if raw is not None:
                    with contextlib.suppress(OSError):  # it may be closed already
                        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()

    def cut_after(self, count: int) -> None:
        """Reset every connection once that many more bytes came from the node: in the middle of a frame."""
        self._left = count

    def hang(self) -> None:
        """Half-open: connections stay, and nothing passes."""
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            theirs, ours = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, ours)
        self._pairs.add(pair)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, ours, from_node=False))
                tasks.create_task(self._pump(theirs, writer, from_node=True))
        except* (OSError, ConnectionError, EOFError):
            pass
        finally:
            self._pairs.discard(pair)
            writer.transport.abort()
            ours.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_node: bool) -> None:
        while data := await reader.read(65_536):
            await self._flowing.wait()
            if from_node and self._left is not None:
                if len(data) >= self._left:
                    writer.write(data[: self._left])
                    await writer.drain()
                    self._left = None
                    self.cut()
                    return
                self._left -= len(data)
            writer.write(data)
            await writer.drain()
        raise EOFError
