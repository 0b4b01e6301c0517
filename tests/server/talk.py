"""WebSocket clients for tests: one that `websockets` speaks for, and one that does anything to a raw socket."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import pytest
from server.house import House
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

SECONDS = 20
"""How long a test waits for anything."""


class Talk:
    """`async with Talk(house) as ws`: messages both ways, as JSON."""

    def __init__(self, house: House, path: str = "/ws", headers: Mapping[str, str] | None = None, **more: Any) -> None:
        self.url = f"ws://localhost:{house.port}{path}"
        self.more = {"additional_headers": headers or {}, "proxy": None, "ping_interval": None, **more}
        self.messages: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        self.socket: ClientConnection = await connect(self.url, **self.more)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cut() if kind is not None else await self.socket.close()

    async def say(self, op: str, name: str | None = None, **more: Any) -> None:
        await self.socket.send(json.dumps({"op": op} | ({} if name is None else {"id": name}) | more))

    async def next(self) -> dict[str, Any]:
        """The next message."""
        async with asyncio.timeout(SECONDS):
            text = await self.socket.recv()
        assert isinstance(text, str)
        self.messages.append(json.loads(text))
        return self.messages[-1]

    async def expect(self, op: str, name: str | None = None) -> dict[str, Any]:
        """The next message, which is this one."""
        message = await self.next()
        assert (message["op"], message.get("id")) == (op, name), message
        return message

    async def subscribe(self, name: str = "a", **parameters: Any) -> dict[str, Any]:
        """Begin a subscription; its `connect`."""
        await self.say("subscribe", name, **parameters)
        return await self.expect("connect", name)

    async def numbers(self, count: int, name: str = "a") -> list[int]:
        """`data.number` of the next `count` messages, events all of them."""
        return [(await self.expect("event", name))["event"]["data"]["number"] for _ in range(count)]

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """The messages up to the first for which it holds, with it."""
        start = len(self.messages)
        while not holds(await self.next()):
            pass
        return self.messages[start:]

    async def refused(self, op: str, name: str | None = None, **more: Any) -> dict[str, Any]:
        """Say it; the error that answers it."""
        await self.say(op, name, **more)
        told = await self.expect("error", name)
        assert told["answers"] == op
        return told

    async def answers(self) -> None:
        """It is there and hears: nothing else is on its way."""
        await self.say("ping", "are you there")
        await self.expect("pong", "are you there")

    async def ended(self) -> tuple[int, str]:
        """Wait for the end, which comes next; code and reason."""
        with pytest.raises(ConnectionClosed) as closed:
            await self.next()
        assert closed.value.rcvd is not None
        return closed.value.rcvd.code, closed.value.rcvd.reason

    def cut(self) -> None:
        """As a machine that loses power."""
        self.socket.transport.abort()


class Raw:
    """A handshake, and then whatever bytes a test likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, house: House, *, receive_buffer: int = 0, behind: bytes = b"", query: str = "") -> Self:
        """`behind`: sent with the request, before the answer is there."""
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", house.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=max(receive_buffer, 4096))
        head = (
            f"GET /ws{query} HTTP/1.1\r\nHost: localhost:{house.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        writer.write(head.encode() + behind)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
        return cls(reader, writer)

    def say(self, op: str, name: str | None = None, **more: Any) -> None:
        self.send(frame(json.dumps({"op": op} | ({} if name is None else {"id": name}) | more).encode()))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def frame(self) -> Frame:
        """The next frame of any kind; EOFError where the connection ended."""
        async with asyncio.timeout(SECONDS):
            try:
                first, second = await self.reader.readexactly(2)
                size = second
                if size >= 126:
                    size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
                return Frame(Opcode(first & 15), await self.reader.readexactly(size), bool(first & 128))
            except (asyncio.IncompleteReadError, ConnectionError):
                raise EOFError from None

    async def next(self) -> dict[str, Any]:
        """The next message; pings are left aside."""
        while (got := await self.frame()).opcode is not Opcode.TEXT:
            assert got.opcode is Opcode.PING, got
        return json.loads(got.data)

    async def closed(self) -> int:
        """The code of the close that comes, whatever comes before it."""
        while (got := await self.frame()).opcode is not Opcode.CLOSE:
            pass
        return int.from_bytes(got.data[:2], "big")

    def cut(self) -> None:
        self.writer.transport.abort()


def frame(payload: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True) -> bytes:
    """A frame as a client sends it."""
    return Frame(opcode, payload, fin).serialize(mask=True)
