"""Durable streams and publications through kills of the daemon, as a user has it: nothing lost, nothing told twice."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from daemon import Daemon

from chainwatch import sse

pytestmark = pytest.mark.long

OWN = {"Content-Type": "application/json"}


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    """One that follows no chain: all of its events are published."""
    async with Daemon(tmp_path / "d", chains=[], server={"connects_per_minute": 100_000}) as daemon:
        yield daemon


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def publish(http: aiohttp.ClientSession, daemon: Daemon, number: int, key: str | None = None) -> dict[str, Any]:
    headers = OWN | ({"Idempotency-Key": key} if key else {})
    async with http.post(f"{daemon.url}/events/tick", json={"number": number}, headers=headers) as answer:
        assert answer.status == 201, await answer.text()
        return await answer.json()


async def put(http: aiohttp.ClientSession, daemon: Daemon, name: str, **words: Any) -> dict[str, Any]:
    async with http.put(f"{daemon.url}/agents/{name}", json=words) as answer:
        assert answer.status in (200, 201), await answer.text()
        return await answer.json()


async def events(http: aiohttp.ClientSession, url: str) -> AsyncIterator[tuple[str, int]]:
    """Cursors and numbers of a stream, until it is cut."""
    parser = sse.Parser()
    async with http.get(url, timeout=aiohttp.ClientTimeout(total=None)) as answer:
        assert answer.status == 200, await answer.text()
        async for data in answer.content.iter_any():
            for message in parser.feed(data):
                if message.event == "tick":
                    yield message.id, json.loads(message.data)["data"]["number"]


async def test_a_kill_between_event_and_acknowledgement_repeats_the_event_and_loses_none(daemon, http):
    await put(http, daemon, "a", filters="custom")
    for number in range(1, 6):
        await publish(http, daemon, number)
    got: list[int] = []
    async for cursor, number in events(http, f"{daemon.url}/stream/a"):
        got.append(number)
        if number == 3:
            async with http.post(f"{daemon.url}/agents/a/ack", json={"cursor": cursor}) as answer:
                assert answer.status == 200
        if number == 5:
            await daemon.kill()
            break
    await daemon.start()
    again = [number async for _, number in taken(events(http, f"{daemon.url}/stream/a"), 2)]
    assert (got, again) == ([1, 2, 3, 4, 5], [4, 5])


async def taken(stream: AsyncIterator[tuple[str, int]], count: int) -> AsyncIterator[tuple[str, int]]:
    async for one in stream:
        yield one
        count -= 1
        if not count:
            return


SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 10))]


@pytest.mark.parametrize("ack", ["manual", "auto"])
@pytest.mark.parametrize("seed", SEEDS)
async def test_kills_at_random_moments_lose_nothing(daemon, http, ack, seed):
    """
    A publisher that repeats what was not answered, a client that acknowledges (or leaves it to the daemon), and a
    daemon that is killed now and then: each event is told once, and comes to the client at least once, in order.
    """
    chance = random.Random(seed)
    last = 150
    seen: list[int] = []
    await put(http, daemon, "a", types="custom:tick")
    up = asyncio.Event()
    up.set()

    async def write() -> None:
        number = 1
        while number <= last:
            await up.wait()
            try:
                await publish(http, daemon, number, key=f"tick-{number}")
            except (aiohttp.ClientError, ConnectionError):
                await asyncio.sleep(0)
                continue
            number += 1

    async def read() -> None:
        while last not in seen:
            await up.wait()
            try:
                await follow()
            except (aiohttp.ClientError, ConnectionError):
                await asyncio.sleep(0)

    async def follow() -> None:
        first = True
        async for cursor, number in events(http, f"{daemon.url}/stream/a?ack={ack}"):
            assert number <= max(seen, default=0) + 1 if first else number == seen[-1] + 1, (number, seen[-5:])
            first = False
            seen.append(number)
            if ack == "manual" and chance.random() < 0.2:
                async with http.post(f"{daemon.url}/agents/a/ack", json={"cursor": cursor}) as answer:
                    assert answer.status == 200
            if number == last:
                return

    async def kill() -> None:
        for _ in range(2):
            await asyncio.sleep(chance.uniform(0.05, 0.4))
            up.clear()
            await daemon.kill()
            await daemon.start()
            up.set()

    async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
        for task in (write(), read(), kill()):
            tasks.create_task(task)
    told = [event["data"]["number"] for event in await daemon.history()]
    assert told == [*range(1, last + 1)]
    assert {*seen} == {*told}


async def test_fifty_at_once_and_a_kill_among_them_are_one_event(daemon, http):
    """Whoever got no answer asks again; whoever got one got the same."""
    answers: list[dict[str, Any]] = []

    async def insist() -> None:
        while True:
            try:
                answers.append(await publish(http, daemon, 1, key="once"))
            except (aiohttp.ClientError, ConnectionError):
                await up.wait()
            else:
                return

    up = asyncio.Event()
    for number in range(2):
        up.clear()
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            for _ in range(50):
                tasks.create_task(insist())
            await asyncio.sleep(0.01 * number)
            await daemon.kill()
            await daemon.start()
            up.set()
    assert len(answers) == 100
    assert len({json.dumps(answer) for answer in answers}) == 1
    [event] = await daemon.history()
    assert event["id"] == answers[0]["id"]


async def test_an_agent_that_was_away_for_long_is_back_at_once_and_misses_nothing(daemon, http):
    await put(http, daemon, "a", types="custom:rare")
    async with http.post(f"{daemon.url}/events/rare", json={"number": 1}) as answer:
        first = await answer.json()
    for start in range(0, 1000, 100):
        await asyncio.gather(*(publish(http, daemon, start + n) for n in range(100)))
    parser = sse.Parser()
    async with http.get(f"{daemon.url}/stream/a?limit=1") as answer:
        messages = parser.feed(await answer.read())
    assert [message.event for message in messages] == ["connect", "rare", "complete"]
    assert messages[1].id == first["cursor"]
