"""The client of whoever watches: events by the batch, statistics once a second, wallets."""

from __future__ import annotations

import asyncio
import json

import pytest
from daemon import Daemon
from sse_server import LOG, SseServer, connect, frame, line

from chainwatch import client, sse
from chainwatch.client import subscription
from chainwatch.errors import Refused, Unreachable


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch):
    monkeypatch.setattr(subscription, "_FIRST_WAIT", 0.001)
    monkeypatch.setattr(subscription, "_LONGEST_ASKED", 0.1)


async def batches(stream, count):
    """All lines up to the `count`th at least."""
    found = []
    async with asyncio.timeout(10):
        async for lines in stream.batches():
            assert lines
            found += lines
            if len(found) >= count:
                return found
    return found


async def test_a_batch_is_the_json_of_all_that_came_together():
    server = SseServer()
    server.script = [server.said(connect(0), frame(1), frame(2), frame(3))]
    async with server, client.stream(server.url) as stream:
        assert await batches(stream, 3) == [line(1), line(2), line(3)]
        assert stream.cursor == f"{LOG}-3"


async def test_batches_go_on_behind_what_was_given_after_a_cut_and_after_the_end():
    server = SseServer()
    server.script = [
        server.said(connect(0), frame(1), frame(2), then="cut"),
        server.said(connect(2), frame(3), sse.complete()),
        server.said(connect(3), frame(4)),
    ]
    async with server, client.stream(server.url) as stream:
        assert await batches(stream, 4) == [line(number) for number in (1, 2, 3, 4)]
        assert [request.headers.get("Last-Event-ID") for request in server.requests] == [None, f"{LOG}-2", f"{LOG}-3"]


async def test_batches_end_after_the_limit():
    server = SseServer()
    server.script = [server.said(connect(0), frame(1), frame(2), frame(3))]
    async with server, client.stream(server.url, limit=2) as stream:
        assert await batches(stream, 99) == [line(1), line(2)]


async def test_statistics_come_once_a_second_and_come_back_with_the_daemon(tmp_path):
    notes = []
    async with Daemon(tmp_path) as daemon, asyncio.timeout(30):
        snapshots = client.snapshots(daemon.url, on_note=notes.append)
        first, second = [json.loads(await anext(snapshots)) for _ in range(2)]
        assert first["log"]["identity"] == second["log"]["identity"]
        assert second["time"] > first["time"]
        await daemon.stop()
        daemon.configure(server={"port": int(daemon.url.rpartition(":")[2])})
        await daemon.start()
        assert json.loads(await anext(snapshots))["uptime_seconds"] < second["uptime_seconds"] + 10
        assert [type(note).__name__ for note in notes][:2] == ["Connected", "Waiting"]
        assert notes[-1] == client.Connected("", again=True)
        assert await client.wallets(daemon.url) == ()
        await snapshots.aclose()


async def test_statistics_of_nobody_are_unreachable_at_first():
    with pytest.raises(Unreachable):
        await anext(client.snapshots("http://127.0.0.1:9"))
    with pytest.raises(Unreachable):
        await client.wallets("http://127.0.0.1:9")


async def test_statistics_of_something_else_are_refused():
    server = SseServer()
    async with server:
        with pytest.raises(Refused):
            await anext(client.snapshots(server.url))
