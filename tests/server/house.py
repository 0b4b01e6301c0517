"""A whole server for a test: a real log, a hub, aiohttp on a free port; and a client that reads a raw socket."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from chainwatch import sse
from chainwatch.config import ServerSettings
from chainwatch.event import Event, event_id, rfc3339
from chainwatch.filter import Vocabulary
from chainwatch.keys import Keyring
from chainwatch.log.store import SqliteLog, open_log
from chainwatch.server.access import Access
from chainwatch.server.app import build_app, build_runner
from chainwatch.server.context import Context
from chainwatch.server.limits import Gate
from chainwatch.server.present import Present
from chainwatch.server.sessions import Sessions
from chainwatch.stream.follow import Followers
from chainwatch.stream.hub import Hub

ALICE = "0x" + "a1" * 20
BOB = "0x" + "b0" * 20
USDC = "0x" + "c0" * 20


def transfer(number: int, *, to: str = BOB, chain: str = "ethereum", amount: int = 1, padding: str = "") -> Event:
    """The `number`th token transfer, from Alice."""
    data: dict[str, Any] = {"from": ALICE, "to": to, "token_address": USDC, "amount": str(amount), "number": number}
    if padding:
        data["padding"] = padding
    return _event("token_transfer", number, chain, data)


def block(number: int, *, chain: str = "ethereum") -> Event:
    return _event("block_new", number, chain, {"number": number})


def _event(kind: str, number: int, chain: str, data: dict[str, Any]) -> Event:
    now = rfc3339(int(time.time() * 1000))
    name = event_id(kind, number, chain)
    return Event(id=name, type=kind, timestamp=now, observed_at=now, chain=chain, data=data)


class Answer:
    """One HTTP exchange over a raw socket, its body read as an event stream, or whole."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self.parser = sse.Parser()
        self.raw = b""  # the body without its chunks
        self.ended = False
        self._ready: list[sse.Message] = []
        self.messages: list[sse.Message] = []

    async def head(self) -> None:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)
        }

    async def piece(self) -> bytes:
        """The next piece of the body; empty at its end."""
        if self.ended:
            return b""
        if self.headers.get("transfer-encoding") == "chunked":
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            data = (await self.reader.readexactly(size + 2))[:-2]
        elif "content-length" in self.headers:
            data = await self.reader.readexactly(int(self.headers["content-length"]) - len(self.raw))
        else:
            data = await self.reader.read(65536)
        self.raw += data
        self.ended = not data
        return data

    async def piece_into_parser(self) -> None:
        """The next piece of the body; its events are there for `next`."""
        self._ready += self.parser.feed(await self.piece())

    async def body(self) -> bytes:
        while await self.piece():
            pass
        return self.raw

    async def json(self) -> Any:
        return json.loads(await self.body())

    async def next(self) -> sse.Message:
        """The next event of any name; EOFError at the end."""
        while not self._ready:
            data = await self.piece()
            if not data:
                raise EOFError
            self._ready = self.parser.feed(data)
        self.messages.append(self._ready.pop(0))
        return self.messages[-1]

    async def expect(self, name: str) -> Any:
        """The next event, which has this name; its data."""
        message = await self.next()
        assert message.event == name, message
        return json.loads(message.data) if message.data != "[DONE]" else message.data

    async def numbers(self, count: int) -> list[int]:
        """`data.number` of the next `count` chain events."""
        return [json.loads((await self.next()).data)["data"]["number"] for _ in range(count)]

    async def rest(self) -> list[sse.Message]:
        """All events up to the end of the answer."""
        start = len(self.messages)
        try:
            while True:
                await self.next()
        except (EOFError, asyncio.IncompleteReadError):
            return self.messages[start:]

    def close(self) -> None:
        self.writer.close()

    def cut(self) -> None:
        """As a machine that loses power: no good-bye, and what is under way is lost."""
        self.writer.transport.abort()


class House:
    """The server, and ways in."""

    def __init__(self, log: SqliteLog, hub: Hub, runner: web.AppRunner, port: int, context: Context) -> None:
        self.log = log
        self.hub = hub
        self.runner = runner
        self.port = port
        self.context = context
        self.answers: list[Answer] = []

    async def ask(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        version: str = "1.1",
        receive_buffer: int = 0,
        after: bytes = b"",
    ) -> Answer:
        """Send a request; the answer with its head read. `after` is sent right behind the request."""
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        # A small limit makes the client's own buffer small, too: what is not asked for stays in the kernel.
        limit = receive_buffer or 2**20
        reader, writer = await asyncio.open_connection(sock=sock, limit=max(limit, 4096))
        lines = {"Host": f"localhost:{self.port}", **(headers or {})}
        request = f"{method} {path} HTTP/{version}\r\n" + "".join(f"{name}: {text}\r\n" for name, text in lines.items())
        writer.write(request.encode() + b"\r\n" + after)
        answer = Answer(reader, writer)
        self.answers.append(answer)
        await answer.head()
        return answer

    async def stream(self, path: str = "/events", headers: Mapping[str, str] | None = None, **more: Any) -> Answer:
        """A stream behind its `connect`."""
        answer = await self.ask(path, headers, **more)
        assert answer.status == 200, await answer.body()
        await answer.expect("connect")
        return answer

    async def tell(self, *events: Event) -> None:
        await self.log.append(events)

    async def close(self) -> None:
        """Stop the server as the daemon does, and the log."""
        for answer in self.answers:
            answer.cut()
        await self.runner.cleanup()
        await self.log.close()
        assert not self.hub.streams

    async def until(self, holds: Callable[[], bool], seconds: float = 10) -> None:
        """Wait until something that only the daemon knows is so. Tests of what a client sees wait for that instead."""
        async with asyncio.timeout(seconds):
            while not holds():
                await asyncio.sleep(0.005)


Serve = Callable[..., Awaitable[House]]

VOCABULARY = Vocabulary(chains=("ethereum", "base"), tokens={"USDC": (("ethereum", USDC),)})


async def serve(path: Path, **given: Any) -> House:
    """
    A running server on the log at `path`; what is given goes to the log, the hub, the settings of the server and the
    context, by name. `ring`: the keys that there are.
    """
    log = await open_log(
        path,
        ttl=given.pop("ttl", 3600.0),
        max_events=given.pop("max_events", 1_000_000),
        max_bytes=given.pop("max_bytes", 2**30),
        memory=given.pop("memory", 2**24),
    )
    hub = Hub(log, heartbeat=given.pop("heartbeat", 15.0), stall=given.pop("stall", 60.0))
    # Tests come often, and from one address.
    limits = {"max_connections_per_address": 10_000, "connects_per_minute": 1_000_000}
    fields = {name: given.pop(name) for name in list(given) if name in ServerSettings.model_fields}
    settings = ServerSettings(**{**limits, **fields})
    known = {
        "version": "0",
        "started": time.time(),
        "vocabulary": lambda: VOCABULARY,
        "chains": list,
        "settings": lambda: settings,
    }
    sessions = Sessions(Access(given.pop("ring", None) or Keyring()), hub)
    known |= given
    gate = Gate(known["settings"])
    context = Context(
        log=log, hub=hub, followers=Followers(log), present=Present(log), sessions=sessions, gate=gate, **known
    )
    runner = build_runner(build_app(context))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return House(log, hub, runner, site.port, context)
