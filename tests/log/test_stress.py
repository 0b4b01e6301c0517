"""Readers, appends and retention at once: never a hole, a double, or an event out of order."""

from __future__ import annotations

import asyncio
import random

import pytest

from chainwatch.filter import OPEN, Filter

pytestmark = pytest.mark.long

FILTERS = [
    OPEN,
    Filter(types=frozenset({"token_transfer"})),
    Filter(types=frozenset({"block_new"}), chains=frozenset({"base"})),
    Filter(addresses=frozenset({"0x" + "4" * 40, "0x" + "7" * 40})),
    Filter(min_amount=500, chains=frozenset({"ethereum"})),
]


async def follow(log, seed: int, told: dict[int, tuple[bytes, frozenset[int]]], done: asyncio.Event) -> int:
    """
    A stream as the server runs one: reads on, stops to breathe, goes back. Returns how often retention overtook it.
    `told` holds what was committed: the frame of each sequence, and the filters that it matches.
    """
    chance = random.Random(seed)
    which = seed % len(FILTERS)
    after, gaps = log.oldest - 1, 0
    while not (done.is_set() and after >= log.head):
        found = await log.read(after, FILTERS[which], named=False, max_bytes=chance.choice([1, 3000, 50_000]))
        if after < log.oldest - 1:
            assert found == (b"", after, 0)
            gaps += 1
            after = log.oldest - 1
            continue
        assert after <= found.last <= log.head
        expected = [frame for at in range(after + 1, found.last + 1) for frame, of in [told[at]] if which in of]
        assert found.frames == b"".join(expected)
        assert found.events == len(expected)
        after = found.last
        match chance.randrange(60):
            case 0:
                after = max(log.oldest - 1, after - 300)
            case 1:
                await asyncio.sleep(chance.random() / 50)
            case 2:
                page, looked = await log.page(after, FILTERS[which], 20)
                listed = [sequence for sequence, _ in page]
                assert listed == sorted(set(listed))
                begin = max(after + 1, log.oldest)
                assert [at for at in listed if at >= begin] == [
                    at for at in range(begin, looked + 1) if which in told[at][1]
                ]
        if after == log.head:
            await asyncio.sleep(0.001)
    return gaps


async def run(opened, made, seed: int, commits: int) -> int:
    chance = random.Random(seed)
    log = await opened(max_events=chance.choice([300, 2000]), memory=chance.choice([0, 50_000, 1 << 24]))
    told: dict[int, tuple[bytes, frozenset[int]]] = {}

    def hear(entries) -> None:
        for entry in entries:
            assert entry.sequence == len(told) + 1
            matching = frozenset(at for at, wanted in enumerate(FILTERS) if wanted.matches(entry.about))
            told[entry.sequence] = (entry.frame, matching)

    log.listen(hear)
    done = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(follow(log, seed + at, told, done)) for at in range(10)]
        for number in range(commits):
            await log.append(made.random(chance.choice([1, 5, 80, 400]), seed * 10_000 + number))
            if chance.random() < 0.2:
                await asyncio.sleep(chance.random() / 100)
        done.set()
    assert log.head == len(told)
    return sum(reader.result() for reader in readers)


@pytest.mark.parametrize("seed", range(3))
async def test_readers_of_a_log_that_grows_and_forgets_see_all_or_a_gap(opened, made, seed):
    await run(opened, made, seed, 40)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1000, 1050))
async def test_many_readers_for_long(opened, made, seed):
    await run(opened, made, seed, 200)
