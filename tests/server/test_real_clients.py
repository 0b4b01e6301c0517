"""
Programs that read event streams for a living: all of them get the same events in the same order, compressed or not, and
go on by themselves when they are cut in the middle of an event, sent away, or find nobody at home.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import httpx
import pytest
from aiohttp import web
from backports import zstd
from browser import Site, browsing
from debian import program
from server.house import House, block, transfer

from chainwatch.event import encode
from chainwatch.filter import OPEN
from chainwatch.stream import wire
from chainwatch.stream.coding import Coding
from chainwatch.stream.stream import Place

CLIENTS = Path(__file__).parent.parent / "clients"

# One loop is enough: what both do differently is not what a client sees.
pytestmark = [pytest.mark.asyncio(loop_factories=["uvloop"]), pytest.mark.long]

Told = dict[str, Any]


class Client(Protocol):
    """Something that reads a stream and tells what it gets."""

    async def until(self, true: Any, what: str) -> None: ...

    def of(self, *kinds: str) -> list[Told]: ...


class Program:
    """A process that prints one line of JSON for each thing that it gets."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._told: list[Told] = []

    def of(self, *kinds: str) -> list[Told]:
        return [one for one in self._told if one["kind"] in kinds]

    async def until(self, true: Any, what: str) -> None:
        try:
            async with asyncio.timeout(30):
                while not true():
                    line = await self._process.stdout.readline()
                    assert line, f"it ended: {what}"
                    self._told.append(json.loads(line))
        except TimeoutError:
            raise AssertionError(f"not in time: {what}; it told {self._told[-5:]}") from None


class Page:
    """An EventSource of a page in a browser."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def of(self, *kinds: str) -> list[Told]:
        return self._site.of("stream", *kinds)

    async def until(self, true: Any, what: str) -> None:
        await self._site.until(true, what)


@asynccontextmanager
async def running(*command: str) -> AsyncIterator[Program]:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, limit=2**24)
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
def node(node_modules, monkeypatch):
    """Node.js, which finds the packages of the tests."""
    monkeypatch.setenv("NODE_PATH", str(node_modules))
    return program("nodejs", "node")


class Story:
    """What happens to a client."""

    def __init__(self, house: House, client: Client, coding: Coding) -> None:
        self.house = house
        self.client = client
        self.coding = coding  # what the client asks for by default
        self.count = 5

    async def tell(self, count: int) -> None:
        await self.house.tell(*(transfer(self.count + number) for number in range(1, count + 1)))
        self.count += count

    async def has_it_all(self) -> None:
        await self.client.until(lambda: len(self.client.of("message")) >= self.count, f"it has {self.count} events")

    async def live(self):
        streams = self.house.hub.streams
        await self.house.until(lambda: [stream.place for stream in streams.values()] == [Place.LIVE])
        return next(iter(streams.values()))

    async def noticed(self, before: int) -> None:
        await self.client.until(lambda: len(self.client.of("error")) > before, "it notices")

    async def play(self) -> None:
        house, client = self.house, self.client
        await self.has_it_all()  # of the past
        await self.tell(3)
        await self.has_it_all()  # live, and its limit ends the stream now and then
        stream = await self.live()
        always = house.context.settings().compression == "always"
        assert stream.form.coding is (self.coding if always else Coding.IDENTITY)
        half = wire.told(f'id: {house.log.identity}-{self.count + 1}\ndata: {{"type"'.encode(), stream.form)
        house.hub.write(stream, *half)
        stream.transport.close()  # cut in the middle of an event
        await self.tell(4)
        await self.has_it_all()
        house.hub.finish(await self.live(), "shutdown")  # sent away in order
        await self.tell(8)
        await self.has_it_all()
        stream = await self.live()
        (door,) = house.runner.sites
        await door.stop()  # nobody at home for a while
        before = len(client.of("error"))
        stream.transport.abort()
        await self.tell(2)
        await self.noticed(before + 1)
        await web.TCPSite(house.runner, "127.0.0.1", house.port).start()
        await self.has_it_all()
        await self.tell(1)
        await self.has_it_all()

        told, _ = await house.log.page(0, OPEN, 1000)
        identity = house.log.identity
        assert [(one["cursor"], one["data"]) for one in client.of("message")] == [
            (f"{identity}-{sequence}", encode(event).decode()) for sequence, event in told
        ]
        assert len(client.of("connect")) >= 6
        assert {one["data"] for one in client.of("complete")} == {"[DONE]"}
        assert not client.of("gap")
        assert not any(one["closed"] for one in client.of("error"))


PATH = "/events?since=earliest&limit=7"


@pytest.fixture(params=["auto", "always"])
async def home(request, serve, monkeypatch, site) -> House:
    """With "always", clients that ask for compression by default get it though they are on this machine."""
    house = await serve(compression=request.param, allowed_origins=(f"http://127.0.0.1:{site.port}",))
    monkeypatch.setattr(house.hub, "retry", lambda: 20)  # ms: what clients wait is not what is tested
    await house.tell(*(transfer(number) for number in range(1, 6)))
    return house


def address(house: House) -> str:
    return f"http://127.0.0.1:{house.port}{PATH}"


NPM = [("eventsource.cjs", Coding.GZIP), ("launchdarkly.cjs", Coding.IDENTITY)]
OTHERS = [
    ("httpx_client.py", Coding.GZIP),
    ("launchdarkly_client.py", Coding.IDENTITY),
    ("curl_client.py", Coding.GZIP),
]


@pytest.mark.parametrize(("name", "coding"), NPM)
async def test_a_client_from_npm(home, node, name, coding):
    async with running(node, str(CLIENTS / name), address(home)) as client:
        await Story(home, client, coding).play()


@pytest.mark.parametrize(("name", "coding"), OTHERS)
async def test_a_client_of_python_or_the_shell(home, name, coding):
    async with running(sys.executable, str(CLIENTS / name), address(home)) as client:
        await Story(home, client, coding).play()


async def test_an_event_source_of_a_browser(home, chromium, site, tmp_path):
    url = address(home).replace("?", "%3F").replace("&", "%26")
    async with browsing(chromium, tmp_path, f"http://127.0.0.1:{site.port}/?stream={url}"):
        await Story(home, Page(site), Coding.GZIP).play()


def same(bodies: list[bytes]) -> None:
    """The same events between `connect`, which names the stream, and `complete`, which has a wait of its own."""
    inner = [body.split(b"\n\n")[1:-2] for body in bodies]
    assert all(events == inner[0] for events in inner)
    assert len(inner[0]) == 300
    assert all(body.endswith(b"data: [DONE]\n\n") for body in bodies)


async def test_every_decoder_reads_to_the_end(serve, node):
    """What insists on whole bodies, and what reads many frames of zstd."""
    house = await serve(compression="always")
    await house.tell(*(transfer(number) for number in range(150)))
    for number in range(150):
        await house.tell(block(number))
    url = f"http://127.0.0.1:{house.port}/events?since=earliest&limit=300"
    bodies = []

    async def by(*command: str) -> bytes:
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        body, _ = await process.communicate()
        assert process.returncode == 0, command
        return body

    curl = program("curl", "curl")
    bodies.append(await by(curl, "-sS", url))
    bodies.append(gzip.decompress(await by(curl, "-sS", "-H", "Accept-Encoding: gzip", url)))
    bodies.append(zstd.decompress(await by(curl, "-sS", "-H", "Accept-Encoding: zstd", url)))
    bodies += [await by(curl, "-sS", "--compressed", *version, url) for version in ((), ("--http1.0",))]
    async with aiohttp.ClientSession() as session:
        for headers in ({}, {"Accept-Encoding": "zstd"}):
            async with session.get(url, headers=headers) as answer:
                assert answer.headers["Content-Encoding"] == headers.get("Accept-Encoding", "gzip")
                bodies.append(await answer.read())
    async with httpx.AsyncClient() as client:
        answer = await client.get(url)
        assert answer.headers["Content-Encoding"] == "gzip"
        bodies.append(answer.content)
    fetched = [json.loads(line) for line in (await by(node, str(CLIENTS / "fetch.cjs"), url)).splitlines()]
    assert [one["coding"] for one in fetched] == ["gzip", "gzip"]
    bodies += [one["body"].encode() for one in fetched]
    same(bodies)
