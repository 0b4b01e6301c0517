"""What is pushed into a session: in order, bounded, and with a cursor that is kept behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sse_server import SseServer, an_event, connect, frame, gap, problem

from chainwatch import client
from chainwatch.client.subscription import OnNote
from chainwatch.mcp import channel
from chainwatch.mcp.channel import Channel, message, trouble


class Session:
    """A host that takes one notification after the other, each when it is let."""

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []
        self.kept: list[str] = []
        self.heard: list[client.Note] = []
        self.let = asyncio.Semaphore(0)
        self.taken = asyncio.Semaphore(0)

    async def push(self, method: str, params: dict[str, Any]) -> None:
        assert method == "notifications/claude/channel"
        self.begun.append(params)
        await self.let.acquire()
        self.taken.release()

    async def take(self, count: int) -> None:
        for _ in range(count):
            self.let.release()
            await self.taken.acquire()

    @asynccontextmanager
    async def of(self, server: SseServer, cursor: str = "") -> AsyncIterator[None]:
        """The channel, with what this server says."""

        def opened(behind: str, hear: OnNote) -> client.Stream:
            return client.stream(server.url, last_event_id=behind or None, on_note=hear)

        task = asyncio.create_task(Channel(self.push, opened, cursor, self.kept.append, self.heard.append).run())
        try:
            async with asyncio.timeout(20):
                yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, count: int) -> None:
        while len(self.begun) < count:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("together", [True, False])
async def test_a_gap_is_told_before_the_event_behind_it_and_no_cursor_is_kept_before_that(together: bool) -> None:
    server, session = SseServer(), Session()
    parts = [connect(7), gap(7), frame(8)]
    server.script = [server.said(b"".join(parts)) if together else server.said(*parts)]
    async with server, session.of(server, "log1-1"):
        await session.until(1)
        await asyncio.wait_for(server.asked.acquire(), 5)
        for _ in range(20):  # the event behind it has come as well, or comes now
            await asyncio.sleep(0.001)
        assert [one["meta"] for one in session.begun] == [{"trouble": "gap"}]
        assert session.kept == []
        await session.take(2)
        assert session.begun[1]["meta"]["event_id"] == an_event(8)["id"]
    assert session.kept[-1] == "log1-8"


async def test_an_event_that_was_not_taken_is_pushed_again_by_the_next_session() -> None:
    server, session = SseServer(), Session()
    server.script = [server.said(connect(1), frame(2), frame(3))]
    async with server:
        async with session.of(server, "log1-1"):
            await session.take(1)
            await session.until(2)
        assert session.kept[-1] == "log1-2"
        server.script = [server.said(connect(2), frame(3))]
        async with session.of(server, session.kept[-1]):
            await session.take(1)
    assert [one["meta"]["event_id"] for one in session.begun] == [an_event(number)["id"] for number in (2, 3, 3)]
    assert server.requests[1].headers["Last-Event-ID"] == "log1-2"


async def test_a_daemon_that_turns_the_stream_away_is_told_of_once_and_asked_again(monkeypatch) -> None:
    monkeypatch.setattr(channel, "AGAIN", 0.001)
    server, session = SseServer(), Session()
    server.script = [
        *(problem(400, detail="unknown type 'deplyo'", nearest="deploy") for _ in range(3)),
        problem(401, detail="a key is needed"),
        server.said(connect(1), frame(2)),
    ]
    async with server, session.of(server):
        await session.take(3)
    told = [one["meta"].get("trouble", "event") for one in session.begun]
    assert told == ["refused", "refused", "event"]
    assert "deploy" in session.begun[0]["content"]


@pytest.mark.parametrize("hostile", ["</channel>", "<b>&amp;", "\x1b[2J\u202e", "\ud800", "x" * 100_000])
def test_no_text_of_an_event_can_end_its_element_or_hide_anything(hostile: str) -> None:
    event = an_event(1, token=hostile, **{hostile[:200]: [hostile, {"deep": hostile}]})
    event["chain"] = hostile
    told = message(event)
    assert not set("<>&\x1b\u202e\ud800") & set(told["content"])
    assert len(told["content"]) < 10_000
    assert json.loads(told["content"].split("\n", 1)[1])["id"] == event["id"]
    for name, value in told["meta"].items():
        assert name.isidentifier()
        assert not set("<>&\"'\n") & set(value)
        assert len(value) <= 100
    assert not set("<>&\x1b") & set(trouble("refused", hostile)["content"])


def test_what_was_retracted_says_of_what() -> None:
    event = an_event(2) | {"removed": True, "retracts": "evt_1"}
    told = message(event)
    assert (told["meta"]["removed"], told["meta"]["retracts"]) == ("true", "evt_1")
    assert told["content"].startswith("retracted: ")


@pytest.mark.parametrize("data", [None, 5, "text", [1], {}])
def test_an_event_with_any_data_is_pushed(data: object) -> None:
    assert message(an_event(1) | {"type": "deploy", "data": data})["meta"]["type"] == "deploy"
