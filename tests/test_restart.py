"""The whole daemon under very many clients: stopped while they listen, and short of descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import sys
import time
from pathlib import Path

import aiohttp
import pytest
from anvil import free_port
from daemon import Daemon

from chainwatch import sse

pytestmark = pytest.mark.long


class Crowd:
    """Clients as browsers are: each holds one stream, and comes back behind its cursor when it was told to."""

    def __init__(self, port: int, count: int) -> None:
        self.port = port
        self.clients = [Client(self) for _ in range(count)]
        self.changed = asyncio.Event()
        self.closing = False

    async def open(self) -> None:
        for start in range(0, len(self.clients), 100):
            await asyncio.gather(*(client.connect() for client in self.clients[start : start + 100]))
        await self.until(lambda client: bool(client.cursor))

    async def until(self, holds, seconds: float = 60) -> None:
        """Wait until it holds for each client."""
        async with asyncio.timeout(seconds):
            for client in self.clients:
                while not holds(client):
                    self.changed.clear()
                    await self.changed.wait()

    def close(self) -> None:
        self.closing = True
        for client in self.clients:
            if client.transport is not None:
                client.transport.abort()


class Client(asyncio.Protocol):
    """One of them."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.numbers: list[int] = []
        self.cursor = ""
        self.retries: list[int] = []  # milliseconds, as told with each `complete`
        self.statuses: list[int] = []
        self.cut = 0  # connections that ended without `complete`
        self.done = False
        self.parser = sse.Parser()
        self.head: bytes | None = b""
        self.transport: asyncio.Transport | None = None

    async def connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self.crowd.port)
        except OSError:  # nobody is there just now
            self._again()

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.parser, self.head, self.done = sse.Parser(), b"", False
        resume = f"Last-Event-ID: {self.cursor}\r\n" if self.cursor else ""
        # HTTP/1.0: the body ends with the connection.
        transport.write(f"GET /events/custom:tick HTTP/1.0\r\nHost: localhost\r\n{resume}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        if self.head is not None:
            head, ended, data = (self.head + data).partition(b"\r\n\r\n")
            self.head = None if ended else head
            if not ended:
                return
            self.statuses.append(int(head.split()[1]))
        for message in self.parser.feed(data):
            self.cursor = message.id or self.cursor
            if message.event == "tick":
                self.numbers.append(json.loads(message.data)["data"]["number"])
            elif message.event == "complete":
                self.done = True
                self.retries.append(self.parser.retry)
        self.crowd.changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.cut += not self.done
        self.crowd.changed.set()
        self._again()

    def _again(self) -> None:
        if not self.crowd.closing:
            seconds = self.retries[-1] / 1000 if self.retries else 1.0
            loop = asyncio.get_running_loop()
            loop.call_later(seconds, lambda: loop.create_task(self.connect()))


async def ticks(daemon: Daemon, until: asyncio.Event, each: float) -> int:
    """Publish numbers from 1 on, each until it is durable, whatever happens to the daemon; how many."""
    number = 0
    async with aiohttp.ClientSession() as session:
        while not until.is_set():
            number += 1
            await _publish(session, daemon, number)
            await asyncio.sleep(each)
    return number


async def _publish(session: aiohttp.ClientSession, daemon: Daemon, number: int) -> None:
    while True:
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):
            url, headers = f"{daemon.url}/events/tick", {"Idempotency-Key": f"tick-{number}"}
            async with session.post(url, json={"number": number}, headers=headers) as answer:
                if answer.status == 201:
                    return
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("count", "restarts"), [(500, 1), pytest.param(5000, 3, marks=[pytest.mark.soak, pytest.mark.timeout(600)])]
)
async def test_a_restart_under_many_streams_loses_and_doubles_nothing(tmp_path: Path, count: int, restarts: int):
    port = free_port()
    limits = {"max_connections_per_address": count + 100, "connects_per_minute": count + 100}
    daemon = Daemon(tmp_path / "daemon", server={"port": port, **limits})
    crowd, enough = Crowd(port, count), asyncio.Event()
    await daemon.start()
    publishing = asyncio.create_task(ticks(daemon, enough, count / 25_000), name="publish")
    try:
        await crowd.open()
        for restart in range(1, restarts + 1):
            before = [len(client.numbers) for client in crowd.clients]
            await crowd.until(lambda client: len(client.numbers) > 0)
            began = time.monotonic()
            assert await daemon.stop() == 0
            stopped = time.monotonic() - began
            await crowd.until(lambda client, times=restart: client.transport is None or len(client.statuses) > times)
            told = [client.retries[restart - 1] for client in crowd.clients]  # each had its `complete`
            assert sum(client.cut for client in crowd.clients) == 0
            assert min(told) >= 1000
            assert max(told) <= 1000 + max(2000, count)
            assert len(set(told)) > min(count, 2000) / 4  # no stampede
            await daemon.start()
            await crowd.until(lambda client, times=restart: len(client.statuses) > times)
            assert min(len(client.numbers) for client in crowd.clients) >= min(before)
            print(f"stopped {count} streams in {stopped:.2f} s")
        enough.set()
        last = await publishing
        await crowd.until(lambda client: bool(client.numbers) and client.numbers[-1] == last)
        # Each began at its own place, and has everything from there on.
        for client in crowd.clients:
            assert client.numbers == list(range(client.numbers[0], last + 1))
            assert set(client.statuses) == {200}
        crowd.close()
        assert await daemon.stop() == 0
    finally:
        crowd.close()
        publishing.cancel()
        if daemon.process is not None:
            await daemon.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are Linux'")
async def test_where_descriptors_run_out_those_inside_are_not_hurt_and_others_come_in_later(tmp_path):
    async with Daemon(tmp_path / "daemon") as daemon, aiohttp.ClientSession() as session:
        port = int(daemon.url.rsplit(":", 1)[1])
        stream = await session.get(f"{daemon.url}/events/deploy")
        pid = daemon.process.pid
        used = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - one number, not paths
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 60, used + 60))
        crowd = [await asyncio.open_connection("127.0.0.1", port) for _ in range(400)]
        # Some are in, and the others are closed; they hold nothing.
        closed = await asyncio.gather(*(_is_closed(reader) for reader, _ in crowd))
        assert sum(closed) > 300
        for _, writer in crowd:
            writer.close()

        async def published() -> bool:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.post(f"{daemon.url}/events/deploy", json={"back": True}) as answer:
                    return answer.status == 201
            return False

        async with asyncio.timeout(20):
            while not await published():
                await asyncio.sleep(0.05)
            async for line in stream.content:
                if line.startswith(b"data: ") and b'"back":true' in line:
                    break
        assert len(daemon.stderr.read_text().splitlines()) < 20
        stream.close()
        assert await daemon.stop() == 0


async def _is_closed(reader: asyncio.StreamReader) -> bool:
    """Whether the daemon closes this connection; it has a second to do so."""
    try:
        async with asyncio.timeout(1):
            return await reader.read(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True
