"""The client publishes: once, however often it has to be sent; and says what it cannot know."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from sse_server import problem

from chainwatch import client
from chainwatch.client import subscription
from chainwatch.errors import BadAnswer, ChainwatchError, Refused, Unreachable, UsageError


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch):
    monkeypatch.setattr(subscription, "_FIRST_WAIT", 0.001)


class Desk:
    """A server that answers each request by the next step; the last one stays."""

    def __init__(self, *steps) -> None:
        self.steps = list(steps)
        self.keys: list[str] = []
        self.bodies: list[object] = []
        self.paths: list[str] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.keys.append(request.headers["Idempotency-Key"])
        self.paths.append(request.raw_path)
        self.bodies.append(await request.json())
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        return await step(request)


@asynccontextmanager
async def desk(*steps):
    there = Desk(*steps)
    app = web.Application()
    app.router.add_post("/events/{type}", there.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    there.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with asyncio.timeout(10):
            yield there
    finally:
        await runner.cleanup()


def told(**headers: str):
    async def step(_: web.Request) -> web.Response:
        return web.json_response({"id": "evt_1", "cursor": "log1-1"}, status=201, headers=headers)

    return step


async def cut(request: web.Request) -> web.Response:
    request.transport.abort()
    return web.Response()


async def test_an_event_is_published_with_an_idempotency_key_of_its_own():
    async with desk(told()) as there:
        receipts = [await client.send(there.url, "deploy", {"n": n}) for n in range(2)]
    assert receipts == [("evt_1", "log1-1", False)] * 2
    assert there.bodies == [{"n": 0}, {"n": 1}]
    assert len({*there.keys}) == 2


async def test_it_is_sent_again_with_the_same_key_until_it_is_answered():
    notes = []
    steps = (cut, problem(503, {"Retry-After": "0"}), problem(502), problem(429, {"Retry-After": "0"}))
    async with desk(*steps, told(**{"Idempotent-Replayed": "true"})) as there:
        receipt = await client.send(there.url, "deploy", {}, on_note=notes.append)
    assert receipt.replayed
    assert len(there.keys) == 5
    assert len({*there.keys}) == 1
    assert [type(note) for note in notes] == [client.Waiting] * 4


async def test_what_is_never_answered_may_have_been_told_and_the_error_says_how_to_go_on():
    async with desk(cut) as there:
        with pytest.raises(Unreachable) as caught:
            await client.send(there.url, "deploy", {}, idempotency_key="job-1", timeout=0.05)
    assert "deploy may have been told, or not" in caught.value.what
    assert "job-1" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, UsageError), (401, Refused), (403, Refused), (409, Refused), (413, Refused), (422, Refused)],
)
async def test_what_a_daemon_will_not_have_is_an_error_at_once(status, error):
    async with desk(problem(status, detail="no")) as there:
        with pytest.raises(error, match="no"):
            await client.send(there.url, "deploy", {})
    assert len(there.keys) == 1


async def test_what_no_daemon_says_is_an_error():
    async def odd(_: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    async with desk(odd) as there:
        with pytest.raises(BadAnswer):
            await client.send(there.url, "deploy", {})


async def test_nobody_there_is_an_error_at_once():
    with pytest.raises(Unreachable, match="cannot reach"):
        await client.send("http://127.0.0.1:1", "deploy", {})
    with pytest.raises(Unreachable, match="cannot reach"):
        await client.stats("http://127.0.0.1:1")


@pytest.mark.parametrize("key", ["a\nb", "ü", "a\x00"])
async def test_a_key_that_is_no_header_is_not_sent(key):
    with pytest.raises(ChainwatchError, match="is no idempotency key"):
        await client.send("http://127.0.0.1:1", "deploy", {}, idempotency_key=key)


async def test_a_type_cannot_lead_to_another_path():
    async with desk(told()) as there:
        await client.send(there.url, "../agents/x?y", {})
    assert there.paths == ["/events/..%2Fagents%2Fx%3Fy"]


@pytest.mark.parametrize("value", [float("inf"), float("nan"), [{"a": -float("inf")}], "\ud800"])
async def test_what_json_has_no_words_for_is_not_published_as_something_else(value):
    async with desk(told()) as there:
        with pytest.raises(UsageError, match="no JSON"):
            await client.send(there.url, "deploy", {"a": value})
        await client.send(there.url, "deploy", {"a": 2**70, "b": "\u2028é", "c": 0.1})
    assert there.bodies == [{"a": 2**70, "b": "\u2028é", "c": 0.1}]
