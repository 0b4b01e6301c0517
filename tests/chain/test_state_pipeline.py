"""Blocks are read ahead of where they are told: in order, not too many at once, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from chainwatch.chain.evm.block import Block, Header
from chainwatch.chain.evm.fetch import Setback
from chainwatch.chain.evm.state import with_readings


def block(number: int) -> Block:
    return Block(
        header=Header(number, f"0x{number:064x}", f"0x{number - 1:064x}", number),
        transaction_count=0, gas_used=0, gas_limit=0, base_fee_per_gas=None, transactions=[], receipts=[], logs=[],
        arrived=0,
    )  # fmt: skip


async def blocks(count: int, ended: list[str] | None = None, error: Exception | None = None) -> AsyncIterator[Block]:
    try:
        for number in range(1, count + 1):
            yield block(number)
        if error is not None:
            raise error
    finally:
        if ended is not None:
            ended.append("source")


class Desk:
    """Reads when it is told to; knows who waits, and how many ever waited at once."""

    def __init__(self) -> None:
        self.waiting: dict[int, asyncio.Future[None]] = {}
        self.most = 0
        self.came = asyncio.Event()

    async def read(self, _endpoint: object, one: Block) -> Block:
        number = one.header.number
        self.waiting[number] = asyncio.get_running_loop().create_future()
        self.most = max(self.most, len(self.waiting))
        self.came.set()
        try:
            await self.waiting[number]
        finally:
            del self.waiting[number]
            self.came.set()
        return one

    async def until(self, numbers: set[int]) -> None:
        async with asyncio.timeout(5):
            while set(self.waiting) != numbers:
                self.came.clear()
                await self.came.wait()

    def finish(self, *numbers: int) -> None:
        for number in numbers:
            self.waiting[number].set_result(None)


def others() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks()} - {asyncio.current_task().get_name(), "consumer"}


async def collect(source: AsyncIterator[Block], found: list[int]) -> None:
    async for one in source:
        found += [one.header.number]


async def test_what_is_read_first_waits_for_what_comes_first():
    desk, found = Desk(), []
    consumer = asyncio.create_task(collect(with_readings(None, blocks(4), desk.read, 4), found), name="consumer")
    await desk.until({1, 2, 3, 4})
    desk.finish(4, 3, 2)
    await desk.until({1})
    assert found == []
    desk.finish(1)
    await consumer
    assert found == [1, 2, 3, 4]
    assert not others()


async def test_no_more_are_read_at_once_than_allowed():
    desk, found = Desk(), []
    consumer = asyncio.create_task(collect(with_readings(None, blocks(5), desk.read, 2), found), name="consumer")
    await desk.until({1, 2})
    desk.finish(2)  # it is read, and waits to be taken: that counts
    await desk.until({1})
    desk.finish(1)
    await desk.until({3, 4})
    desk.finish(3, 4)
    await desk.until({5})
    desk.finish(5)
    await consumer
    assert found == [1, 2, 3, 4, 5]
    assert desk.most == 2


async def test_an_error_of_a_reading_comes_at_its_block():
    desk, found, ended = Desk(), [], []
    consumer = asyncio.create_task(collect(with_readings(None, blocks(9, ended), desk.read, 4), found), name="consumer")
    await desk.until({1, 2, 3, 4})
    desk.waiting[3].set_exception(Setback("it does not fit"))
    await desk.until({1, 2, 4})
    assert found == []
    desk.finish(1, 2)
    with pytest.raises(Setback, match="it does not fit"):
        await consumer
    assert found == [1, 2]
    assert ended == ["source"]
    assert not others()


async def test_an_error_of_the_source_comes_after_all_before_it():
    desk, found = Desk(), []
    source = with_readings(None, blocks(2, error=Setback("no more")), desk.read, 4)
    consumer = asyncio.create_task(collect(source, found), name="consumer")
    await desk.until({1, 2})
    desk.finish(2, 1)
    with pytest.raises(Setback, match="no more"):
        await consumer
    assert found == [1, 2]


async def test_whoever_is_cancelled_leaves_no_task_behind():
    desk, ended = Desk(), []
    consumer = asyncio.create_task(collect(with_readings(None, blocks(9, ended), desk.read, 3), []), name="consumer")
    await desk.until({1, 2, 3})
    consumer.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await consumer
    assert ended == ["source"]
    assert not desk.waiting
    assert not others()


async def test_whoever_leaves_early_leaves_no_task_behind():
    desk, ended = Desk(), []
    async with contextlib.aclosing(with_readings(None, blocks(9, ended), desk.read, 3)) as source:
        first = asyncio.create_task(anext(source), name="consumer")
        await desk.until({1, 2, 3})
        desk.finish(1)
        assert (await first).header.number == 1
    assert ended == ["source"]
    assert not desk.waiting
    assert not others()
