"""
Replay meets live, without a hole and without a double: a writer at full speed, clients that come with any cursor, are
cut anywhere and come back, read slowly, or not at all.
"""

from __future__ import annotations

import asyncio
import json
import random
import tracemalloc

import pytest
from server.house import ALICE, BOB, Answer, House, block, transfer

from chainwatch.stream.stream import Place


def number_of(data: str) -> int:
    return json.loads(data)["data"]["number"]


class Reader:
    """A client that is cut at random and resumes by its last event id, until it has seen the last event."""

    def __init__(self, house: House, query: str, first: int, last: int, chance: random.Random) -> None:
        self.house = house
        self.query = query
        self.cursor = f"{house.log.identity}-{first}"
        self.last = last
        self.chance = chance
        self.numbers: list[int] = []
        self.cuts = 0

    async def run(self) -> None:
        while not self.numbers or self.numbers[-1] != self.last:
            buffer = self.chance.choice([0, 0, 4096, 16_384])
            answer = await self.house.ask(
                f"/events?{self.query}", {"Last-Event-ID": self.cursor}, receive_buffer=buffer
            )
            assert answer.status == 200
            await self._read(answer, self.chance.randrange(1, 400))
            answer.cut()
            self.cuts += 1

    async def _read(self, answer: Answer, most: int) -> None:
        for _ in range(most):
            if self.numbers and self.numbers[-1] == self.last:
                return
            message = await answer.next()
            assert message.event in ("message", "connect"), message
            self.cursor = message.id or self.cursor
            if message.event == "message":
                self.numbers.append(number_of(message.data))


def house_filter():
    from chainwatch.filter import OPEN

    return OPEN


async def write(house: House, count: int, chance: random.Random) -> None:
    """`count` transfers as fast as they are committed, in batches of any size, then the last one, to everybody."""
    number = 0
    while number < count:
        batch = min(count - number, chance.choice([1, 1, 2, 5, 40]))
        events = [
            transfer(n, to=chance.choice([BOB, "0x" + "d1" * 20]), padding="." * chance.choice([0, 300]))
            for n in range(number + 1, number + batch + 1)
        ]
        await house.tell(*events)
        number += batch
        if chance.random() < 0.3:
            await asyncio.sleep(0)


@pytest.mark.parametrize("memory", [2**24, 20_000])
async def test_every_client_ends_with_exactly_the_log(serve, memory):
    """With a small memory most replays come from the disk."""
    chance = random.Random(memory)
    house = await serve(memory=memory)
    count, before = 1500, 500
    await write(house, before, chance)
    last = before + count + 1
    queries = ["", f"address={BOB}", f"types=token_transfer&address={ALICE}", "types=token_transfer"]
    firsts = [chance.randrange(0, before + 1) for _ in range(60)]
    readers = [
        Reader(house, queries[place % 4], first, last, random.Random(place)) for place, first in enumerate(firsts)
    ]
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for reader in readers:
            tasks.create_task(reader.run())
        for number in range(before + 1, before + count + 1):
            await house.tell(transfer(number, to=chance.choice([BOB, "0x" + "d1" * 20])))
        await house.tell(transfer(last))
    entries, _ = await house.log.page(0, house_filter(), 10_000)
    everything = [event.data for _, event in entries]
    for reader, first in zip(readers, firsts, strict=True):
        wanted = [
            data["number"]
            for sequence, data in enumerate(everything, start=1)
            if sequence > first and (f"address={BOB}" != reader.query or data["to"] == BOB)
        ]
        assert [n for n in reader.numbers] == [n for n in wanted]  # noqa: C416 - shows the first difference
    assert sum(reader.cuts for reader in readers) > len(readers)
    await house.until(lambda: not house.hub.streams)
