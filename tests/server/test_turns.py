"""One client's long reads of the log wait for one another, and nobody else for them."""

from __future__ import annotations

import asyncio
import threading

import pytest
from server.test_access import holding, key

from chainwatch.keys import Keyring
from chainwatch.server import turns
from chainwatch.server.problem import Problem
from chainwatch.server.turns import Turns

ONE, OTHER = key("one"), key("other")


@pytest.fixture
async def house(serve):
    return await serve(ring=Keyring([ONE, OTHER]))


class Slow:
    """Reads of the log that wait, in its threads, for a gate."""

    def __init__(self, monkeypatch, name: str) -> None:
        from chainwatch.log import reader

        self.begun = 0
        self.gate = threading.Event()
        question = getattr(reader, name)

        def slowly(*given, **named):
            self.begun += 1
            self.gate.wait(10)
            return question(*given, **named)

        monkeypatch.setattr(reader, name, slowly)


@pytest.mark.parametrize(
    ("path", "read"), [("/events/history?types=block", "page"), ("/events?last=5&types=block&limit=1", "last")]
)
async def test_one_clients_slow_reads_leave_a_reader_for_the_others(house, monkeypatch, path, read):
    slow = Slow(monkeypatch, read)
    asked = [asyncio.create_task(house.ask(path, holding(ONE))) for _ in range(8)]
    await house.until(lambda: slow.begun == 1)
    since = await house.ask("/events?since=1h", holding(OTHER))  # asks the log's readers, too
    assert since.status == 200
    assert slow.begun == 1
    slow.gate.set()
    assert [answer.status for answer in await asyncio.gather(*asked)] == [200] * 8
    assert slow.begun == 8
    await house.until(lambda: not len(house.context.turns))


async def test_too_many_that_wait_are_429(house, monkeypatch):
    monkeypatch.setattr(turns, "MOST", 3)
    slow = Slow(monkeypatch, "page")
    asked = [asyncio.create_task(house.ask("/events/history", holding(ONE))) for _ in range(3)]
    await house.until(lambda: slow.begun == 1 and _waiting(house) == 3)
    answer = await house.ask("/events/history", holding(ONE))
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    slow.gate.set()
    assert [one.status for one in await asyncio.gather(*asked)] == [200] * 3
    await house.until(lambda: not len(house.context.turns))


def _waiting(house) -> int:
    return sum(line.count for line in house.context.turns._lines.values())


async def test_turns_are_in_order_and_leave_nothing_behind():
    line, told = Turns(), []

    async def take(number: int) -> None:
        async with line.of("client"):
            told.append(number)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(take(number)) for number in range(5)]
    await asyncio.sleep(0)
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (told, len(line)) == ([0, 1, 3, 4], 0)


async def test_who_waits_behind_too_many_is_turned_away(monkeypatch):
    monkeypatch.setattr(turns, "MOST", 1)
    line = Turns()
    async with line.of("client"), line.of("another"):
        with pytest.raises(Problem):
            await line.of("client").__aenter__()
    assert len(line) == 0
