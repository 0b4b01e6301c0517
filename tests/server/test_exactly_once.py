"""
Replay meets live without a hole and without a double: a writer at full speed, and clients that come with any cursor,
read fast or slowly, are cut anywhere and come back.
"""

from __future__ import annotations

import asyncio
import json
import random

import pytest
from server.house import ALICE, BOB, USDC, Answer, House, transfer

from chainwatch.filter import OPEN

pytestmark = pytest.mark.long

CAROL = "0x" + "ca" * 20
QUERIES = ("", f"address={BOB}", f"types=token_transfer&address={ALICE}", f"token={USDC}&address={BOB}", "named=true")


class Client:
    """Reads until it has the last event; is cut now and then, and resumes by its last event id."""

    def __init__(self, house: House, query: str, first: int, last: int, chance: random.Random) -> None:
        self.house = house
        self.query = query
        self.first = first
        self.last = last
        self.chance = chance
        self.cursor = f"{house.log.identity}-{first}"
        self.numbers: list[int] = []
        self.cuts = 0

    @property
    def done(self) -> bool:
        return bool(self.numbers) and self.numbers[-1] >= self.last

    async def run(self) -> None:
        while not self.done:
            buffer = self.chance.choice([0, 0, 2048, 16_384])
            answer = await self.house.ask(
                f"/events?{self.query}", {"Last-Event-ID": self.cursor}, receive_buffer=buffer
            )
            assert answer.status == 200
            await self.read(answer, self.chance.choice([1, 10, 100, 1000]))
            answer.cut()
            self.cuts += 1

    async def read(self, answer: Answer, most: int) -> None:
        for _ in range(most):
            if self.done:
                return
            message = await answer.next()
            assert message.event in ("message", "connect", "token_transfer"), message
            self.cursor = message.id
            if message.event != "connect":
                self.numbers.append(json.loads(message.data)["data"]["number"])


def some(chance: random.Random, number: int) -> object:
    return transfer(number, to=chance.choice([BOB, CAROL]), padding="." * chance.choice([0, 0, 500]))


async def write(house: House, first: int, last: int, chance: random.Random) -> None:
    """Transfers as fast as they are committed, in batches of any size; the last one is for everybody."""
    number = first
    while number < last:
        beyond = min(last, number + chance.choice([1, 1, 3, 50]))
        await house.tell(*(some(chance, n) for n in range(number, beyond)))
        number = beyond
    await house.tell(transfer(last))


async def everyone_ends_with_the_log(house: House, *, clients: int, before: int, during: int, chance: random.Random):
    await write(house, 1, before, chance)
    last = before + during
    readers = [
        Client(house, QUERIES[place % len(QUERIES)], chance.randrange(before + 1), last, random.Random(chance.random()))
        for place in range(clients)
    ]
    async with asyncio.timeout(100), asyncio.TaskGroup() as tasks:
        for reader in readers:
            tasks.create_task(reader.run())
        await write(house, before + 1, last, chance)
    told, _ = await house.log.page(0, OPEN, 100_000)
    for reader in readers:
        wanted = [
            event.data["number"]
            for sequence, event in told
            if sequence > reader.first and (BOB not in reader.query or event.data["to"] == BOB)
        ]
        assert reader.numbers == wanted, (reader.query, reader.first)
    assert sum(reader.cuts for reader in readers) > clients
    await house.until(lambda: not house.hub.streams)


@pytest.mark.parametrize(("memory", "turn", "piece"), [(2**24, 1000, 2**18), (20_000, 1000, 2**18), (2**24, 3, 700)])
async def test_every_client_ends_with_exactly_the_log(serve, monkeypatch, memory, turn, piece):
    """
    With a small memory most replays come from the disk; with short turns clients come and go within one round, and
    with small pieces they pause within it.
    """
    monkeypatch.setattr("chainwatch.stream.hub._TURN", turn)
    monkeypatch.setattr("chainwatch.stream.wire.PIECE", piece)
    house = await serve(memory=memory)
    await everyone_ends_with_the_log(house, clients=60, before=300, during=700, chance=random.Random(memory + turn))


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(20))
async def test_hundreds_of_clients_end_with_exactly_the_log(serve, monkeypatch, seed):
    chance = random.Random(seed)
    monkeypatch.setattr("chainwatch.stream.hub._TURN", chance.choice([1, 7, 1000]))
    monkeypatch.setattr("chainwatch.stream.wire.PIECE", chance.choice([3000, 20_000, 2**18]))
    house = await serve(memory=chance.choice([1, 20_000, 2**24]))
    await everyone_ends_with_the_log(house, clients=200, before=600, during=1400, chance=chance)
