"""
Replay meets live without a hole and without a double on WebSockets: a writer at full speed, and clients with several
subscriptions that come with any cursors, read fast or slowly, are cut anywhere and come back.
"""

from __future__ import annotations

import asyncio
import random

import pytest
from server.house import ALICE, BOB, USDC, House
from server.talk import Raw
from server.test_exactly_once import write

from chainwatch.filter import OPEN
from chainwatch.server.sockets import SOCKETS
from chainwatch.stream import follow

pytestmark = pytest.mark.long

QUERIES = (
    {},
    {"address": BOB},
    {"types": "token_transfer", "address": [ALICE]},
    {"token": USDC, "address": BOB},
    {"where": "data.to == '" + BOB + "'"},
)


class Client:
    """Reads until each of its subscriptions has the last event; is cut now and then, and resumes by their cursors."""

    def __init__(self, house: House, queries: list[dict], firsts: list[int], last: int, chance: random.Random) -> None:
        self.house = house
        self.queries = queries
        self.firsts = firsts
        self.last = last
        self.chance = chance
        self.cursors = [f"{house.log.identity}-{first}" for first in firsts]
        self.numbers: list[list[int]] = [[] for _ in queries]
        self.cuts = 0

    def lacks(self, place: int) -> bool:
        return self.numbers[place][-1:] != [self.last]

    async def run(self) -> None:
        while any(map(self.lacks, range(len(self.queries)))):
            raw = await Raw.open(self.house, receive_buffer=self.chance.choice([0, 0, 2048, 16_384]))
            for place, query in enumerate(self.queries):
                if self.lacks(place):
                    raw.say("subscribe", str(place), last_event_id=self.cursors[place], **query)
            await self.read(raw, self.chance.choice([1, 10, 100, 1000]))
            raw.cut()
            self.cuts += 1

    async def read(self, raw: Raw, most: int) -> None:
        for _ in range(most):
            if not any(map(self.lacks, range(len(self.queries)))):
                return
            message = await raw.next()
            assert message["op"] in ("connect", "event"), message
            place = int(message["id"])
            self.cursors[place] = message["cursor"]
            if message["op"] == "event":
                self.numbers[place].append(message["event"]["data"]["number"])


async def everyone_ends_with_the_log(house: House, *, clients: int, before: int, during: int, chance: random.Random):
    await write(house, 1, before, chance)
    last = before + during
    readers = []
    for _ in range(clients):
        queries = chance.sample(QUERIES, chance.choice([1, 2, 3]))
        firsts = [chance.randrange(before + 1) for _ in queries]
        readers.append(Client(house, queries, firsts, last, random.Random(chance.random())))
    async with asyncio.timeout(100), asyncio.TaskGroup() as tasks:
        for reader in readers:
            tasks.create_task(reader.run())
        await write(house, before + 1, last, chance)
    told, _ = await house.log.page(0, OPEN, 100_000)
    for reader in readers:
        for query, first, numbers in zip(reader.queries, reader.firsts, reader.numbers, strict=True):
            wanted = [
                event.data["number"]
                for sequence, event in told
                if sequence > first and (BOB not in str(query) or event.data["to"] == BOB)
            ]
            assert numbers == wanted, (query, first)
    assert sum(reader.cuts for reader in readers) > clients
    await house.until(lambda: not house.runner.app[SOCKETS].connections)
    assert not house.context.followers.open


@pytest.mark.parametrize("memory", [2**24, 20_000])
async def test_every_subscription_ends_with_exactly_the_log(serve, monkeypatch, memory):
    """With a small memory most replays come from the disk; with short turns many wait within one."""
    monkeypatch.setattr(follow, "_BUDGET", 0.0005)
    house = await serve(memory=memory)
    await everyone_ends_with_the_log(house, clients=15, before=150, during=350, chance=random.Random(memory))


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(25))
async def test_many_subscriptions_end_with_exactly_the_log(serve, monkeypatch, seed):
    chance = random.Random(seed)
    monkeypatch.setattr(follow, "_BUDGET", chance.choice([0.0001, 0.005]))
    house = await serve(memory=chance.choice([1, 20_000, 2**24]))
    await everyone_ends_with_the_log(house, clients=20, before=300, during=700, chance=chance)
