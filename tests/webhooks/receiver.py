"""A receiver of webhooks as users have them: HTTPS on a real socket, that answers well, badly, slowly or not at all."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

import trustme
from standardwebhooks.webhooks import Webhook as Verifier

SECRET = "whsec_" + "c2VjcmV0IG9mIHRoZSB0ZXN0cyBvZiB3ZWJob29rcyE="
HOST = "hooks.example.com"
"""What the certificate is for; it resolves to loopback by the tests' own resolver, and by nobody else's."""


class Delivery(NamedTuple):
    """One request that came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verify(self, secret: str = SECRET) -> Any:
        """What it says, by the verifier that receivers use; an error where the signature is wrong."""
        return Verifier(secret).verify(self.body, self.headers)


Behave = Callable[[Delivery, asyncio.StreamWriter], Awaitable[None]]


def respond(status: int, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def says(status: int, body: bytes = b"", **headers: str) -> Behave:
    """Answers with that."""

    async def behave(_: Delivery, writer: asyncio.StreamWriter) -> None:
        writer.write(respond(status, body, **headers))

    return behave


async def well(delivery: Delivery, writer: asyncio.StreamWriter) -> None:
    """Takes events, and answers challenges."""
    told = delivery.json
    challenged = told.get("type") == "verification" and "id" not in told
    writer.write(respond(200, json.dumps({"challenge": told["challenge"]}).encode() if challenged else b""))


async def stalls(_: Delivery, writer: asyncio.StreamWriter) -> None:
    """Never answers, for as long as somebody waits for it."""
    await writer.wait_closed()


async def cuts(_: Delivery, writer: asyncio.StreamWriter) -> None:
    """Goes in the middle of its answer."""
    writer.write(b"HTTP/1.1 20")
    await writer.drain()
    writer.transport.abort()


async def drips(_: Delivery, writer: asyncio.StreamWriter) -> None:
    """A byte now and then, of a head that has no end."""
    writer.write(b"HTTP/1.1 200 X\r\n")
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.02)


async def floods(_: Delivery, writer: asyncio.StreamWriter) -> None:
    """Accepts, and sends for ever."""
    writer.write(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        await writer.drain()


async def promises(_: Delivery, writer: asyncio.StreamWriter) -> None:
    """Says for ever that it goes on."""
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
        await writer.drain()


async def chatters(delivery: Delivery, writer: asyncio.StreamWriter) -> None:
    """Accepts, and goes on with answers to nothing."""
    await well(delivery, writer)
    await writer.drain()
    while True:
        writer.write(respond(200) * 1000)
        await writer.drain()


class Receiver:
    """`async with` opens and closes it. What came is in `came`; `behave` says what it does with the next."""

    def __init__(self, folder: Path, ca: trustme.CA | None = None) -> None:
        self.ca = ca or trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        self.ca.cert_pem.write_to_path(self.ca_file)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(HOST, "localhost", "127.0.0.1").configure_cert(self.context)
        self.behave: Behave = well
        self.came: list[Delivery] = []
        self.connections = 0
        self.under_way = 0
        self.most_at_once = 0
        self._more = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """As clients name it."""
        return f"https://{HOST}:{self.port}/hook?a=b"

    @property
    def local(self) -> str:
        """As the operator of this machine names it."""
        return f"https://localhost:{self.port}/hook"

    async def events(self, count: int) -> list[Any]:
        """The first `count` events that came, each once, in the order in which they came first."""
        found: dict[str, Any] = {}

        def enough() -> bool:
            for one in self.came:
                if one.id.startswith("evt_"):
                    found.setdefault(one.id, one.json)
            return len(found) >= count

        await self.until(enough)
        return list(found.values())[:count]

    async def until(self, holds: Callable[[], bool], seconds: float = 20) -> None:
        async with asyncio.timeout(seconds), self._more:
            await self._more.wait_for(holds)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while True:
                await self._one(reader, writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError, ssl.SSLError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        delivery = Delivery(head[0].split()[1], headers, body)
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        async with self._more:
            self.came.append(delivery)
            self._more.notify_all()
        try:
            await self.behave(delivery, writer)
            await writer.drain()
        finally:
            self.under_way -= 1


async def here(_host: str, _port: int) -> list[str]:
    """Every name is this machine."""
    return ["127.0.0.1"]
