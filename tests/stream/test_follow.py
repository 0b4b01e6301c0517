"""Followers: everything once and in order, whatever holds them, wherever they begin, whatever they want."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from server.house import ALICE, BOB, block, transfer

from chainwatch.errors import LogError
from chainwatch.event import interest
from chainwatch.filter import OPEN, Filter
from chainwatch.log.store import SqliteLog, open_log
from chainwatch.stream import follow
from chainwatch.stream.begin import Gap
from chainwatch.stream.follow import Follower, Followers, Given, State
from chainwatch.stream.wire import Piece

CAROL = "0x" + "ca" * 20
Opened = Callable[..., Awaitable[SqliteLog]]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    logs: list[SqliteLog] = []

    async def start(*, memory: int = 2**24, max_events: int = 10**6) -> SqliteLog:
        log = await open_log(tmp_path / "events.db", ttl=3600, max_events=max_events, max_bytes=2**30, memory=memory)
        logs.append(log)
        return log

    yield start
    for log in logs:
        await log.close()


class Taker:
    """Takes what it is given, and holds now and then where a `chance` is given."""

    def __init__(self, followers: Followers, wanted: Filter = OPEN, after: int = 0, **more: object) -> None:
        self.chance: random.Random | None = more.pop("chance", None)
        self.given: list[Given] = []
        self.numbers: list[int] = []
        self.came = asyncio.Event()
        self.follower: Follower = followers.follow(wanted, after, self.take, name=str(id(self)), kind="test", **more)

    def take(self, given: Given) -> None:
        self.given.append(given)
        if isinstance(given, Piece):
            self.numbers += numbers_in(given)
        self.came.set()
        if self.chance is not None and self.chance.random() < 0.5:
            self.follower.hold()
            asyncio.get_running_loop().call_later(self.chance.random() * 0.003, self.follower.resume)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                self.came.clear()
                await self.came.wait()

    async def live(self) -> None:
        async with asyncio.timeout(20):
            while self.follower.state is not State.WAITING:
                await asyncio.sleep(0)


def numbers_in(piece: Piece) -> list[int]:
    frames = [frame.partition(b"\ndata: ") for frame in piece.wire.split(b"\n\n") if frame]
    assert len(frames) == piece.events
    return [json.loads(data)["data"]["number"] for _, _, data in frames]


async def test_a_follower_is_given_what_was_and_what_comes(opened):
    log = await opened()
    await log.append([transfer(1), transfer(2)])
    taker = Taker(Followers(log))
    await taker.until(lambda: taker.numbers == [1, 2])
    await taker.live()
    await log.append([transfer(3)])
    await taker.until(lambda: taker.numbers == [1, 2, 3])
    assert taker.follower.events_sent == 3


async def test_one_that_begins_now_is_given_only_what_comes(opened):
    log = await opened()
    await log.append([transfer(1)])
    taker = Taker(Followers(log), after=log.head)
    await log.append([transfer(2)])
    await taker.until(lambda: taker.numbers == [2])


async def test_what_is_not_wanted_wakes_nobody_and_moves_the_cursor(opened):
    log = await opened()
    followers = Followers(log)
    taker = Taker(followers, Filter(types=frozenset({"block_new"})))
    await taker.live()
    await log.append([transfer(number) for number in range(1, 50)])
    assert taker.follower.state is State.WAITING
    assert taker.follower.position == 49
    assert taker.follower.cursor == f"{log.identity}-49"
    taker.follower.hold()
    assert taker.follower.position == 49
    taker.follower.resume()
    await log.append([block(50), transfer(51)])
    await taker.until(lambda: taker.numbers == [50])
    assert taker.follower.position == 51


async def test_one_that_is_held_is_given_nothing_and_misses_nothing(opened):
    log = await opened()
    taker = Taker(Followers(log))
    other = Taker(taker.follower._followers)
    await taker.live()
    taker.follower.hold()
    await log.append([transfer(1)])
    await other.until(lambda: other.numbers == [1])
    assert taker.numbers == []
    assert taker.follower.position == 0
    await log.append([transfer(2)])
    taker.follower.resume()
    await taker.until(lambda: taker.numbers == [1, 2])


async def test_one_that_is_closed_is_given_nothing_and_leaves_nothing(opened):
    log = await opened()
    followers = Followers(log)
    takers = [Taker(followers), Taker(followers, Filter(addresses=frozenset({BOB})))]
    for taker in takers:
        await taker.live()
    await log.append([transfer(1)])
    for taker in takers:
        await taker.until(lambda taker=taker: taker.numbers == [1])
        taker.follower.close()
        taker.follower.close()
        taker.follower.resume()
    other = Taker(followers, after=log.head)
    await log.append([transfer(2)])
    await other.until(lambda: other.numbers == [2])
    other.follower.close()
    assert [taker.numbers for taker in takers] == [[1], [1]]
    assert not followers.open
    assert not followers._groups
    assert not followers._members
    assert not followers._waiting
    assert not len(followers._index)
    assert not followers._slices._kept


async def test_a_follower_that_is_closed_while_it_takes_is_given_no_more(opened):
    log = await opened()
    await log.append([transfer(number, padding="." * 40_000) for number in range(1, 9)])
    followers = Followers(log)
    taker = Taker(followers)
    last = Taker(followers)
    take = taker.take
    taker.follower.take = lambda given: (take(given), taker.follower.close())
    await last.until(lambda: len(last.numbers) == 8)
    assert taker.numbers == [1]


async def test_pieces_are_small_and_shared(opened):
    log = await opened()
    await log.append([transfer(number, padding="." * 1000) for number in range(1, 501)])
    followers = Followers(log)
    takers = [Taker(followers), Taker(followers)]
    for taker in takers:
        await taker.until(lambda taker=taker: len(taker.numbers) == 500)
        await taker.live()
    first, second = (taker.given for taker in takers)
    assert len(first) > 5
    assert all(len(piece.wire) <= follow.PIECE for piece in first)
    assert all(one.wire is other.wire for one, other in zip(first, second, strict=True))
    await log.append([transfer(501)])
    for taker in takers:
        await taker.until(lambda taker=taker: len(taker.numbers) == 501)
    assert first[-1].wire is second[-1].wire


async def test_many_that_are_behind_share_one_read_of_the_disk(opened, monkeypatch):
    log = await opened(memory=1)
    await log.append([transfer(number) for number in range(1, 101)])
    reads = []
    read = log.read
    monkeypatch.setattr(log, "read", lambda after, *given, **named: reads.append(after) or read(after, *given, **named))
    followers = Followers(log)
    takers = [Taker(followers) for _ in range(50)]
    for taker in takers:
        await taker.until(lambda taker=taker: len(taker.numbers) == 100)
    assert reads == [0]


@pytest.mark.parametrize("memory", [1, 2**24])
@pytest.mark.parametrize("limit", [1, 7, 100])
async def test_a_limit_is_kept_to_the_event(opened, limit, memory):
    log = await opened(memory=memory)
    await log.append([transfer(number) for number in range(1, 51)])
    followers = Followers(log)
    taker = Taker(followers, limit=limit)
    other = Taker(followers)
    await taker.until(lambda: len(taker.numbers) == min(50, limit))
    for number in range(51, 151):
        await log.append([transfer(number)])
    await other.until(lambda: len(other.numbers) == 150)
    if limit == 100:
        await taker.until(lambda: len(taker.numbers) == 100)
    assert taker.numbers == list(range(1, limit + 1))
    assert taker.follower.state is State.HELD
    assert taker.follower.remaining == 0


async def test_retention_that_overtakes_a_follower_is_told_as_a_gap(opened):
    log = await opened(max_events=1000, memory=2**20)
    taker = Taker(Followers(log))
    await taker.live()
    taker.follower.hold()
    for start in range(1, 5001, 100):
        await log.append([transfer(number) for number in range(start, start + 100)])
    async with asyncio.timeout(20):
        while log.oldest == 1:
            await asyncio.sleep(0.01)
    taker.follower.resume()
    await taker.until(lambda: bool(taker.numbers) and taker.numbers[-1] == 5000)
    gap = taker.given[0]
    assert isinstance(gap, Gap)
    assert (gap.requested, gap.reason) == (f"{log.identity}-0", "expired")
    resumed = int(gap.resumed_at.rpartition("-")[2])
    assert taker.numbers == list(range(resumed + 1, 5001))


async def test_whoever_fails_to_take_ends_alone(opened):
    log = await opened()
    followers = Followers(log)
    broken, whole = Taker(followers), Taker(followers)

    def fail(given: Given) -> None:
        raise RuntimeError("no")

    broken.follower.take = fail
    await log.append([transfer(1)])
    await whole.until(lambda: whole.numbers == [1])
    assert broken.follower.state is State.CLOSED
    await log.append([transfer(2)])
    await whole.until(lambda: whole.numbers == [1, 2])


async def test_a_log_that_cannot_be_read_is_told(opened, monkeypatch):
    log = await opened(memory=1)
    await log.append([transfer(1)])

    async def read(*given: object, **named: object) -> None:
        raise LogError("the disk is gone")

    monkeypatch.setattr(log, "read", read)
    taker = Taker(Followers(log))
    await taker.until(lambda: bool(taker.given))
    assert [type(given) for given in taker.given] == [LogError]
    assert taker.follower.state is State.HELD


WANTED = (
    OPEN,
    Filter(addresses=frozenset({BOB})),
    Filter(addresses=frozenset({ALICE}), types=frozenset({"token_transfer"})),
    Filter(types=frozenset({"block_new"})),
)


@pytest.mark.parametrize("memory", [1, 30_000, 2**24])
async def test_every_follower_ends_with_exactly_the_log(opened, monkeypatch, memory):
    """Any filter, from any place, held at any moment, closed and opened again, while events are committed."""
    monkeypatch.setattr(follow, "_BUDGET", 0.0005)
    chance = random.Random(memory)
    log = await opened(memory=memory)
    followers = Followers(log)

    def some(number: int) -> object:
        if chance.random() < 0.1:
            return block(number)
        return transfer(number, to=chance.choice([BOB, CAROL]), padding="." * chance.choice([0, 0, 3000]))

    async def write(first: int, beyond: int) -> None:
        number = first
        while number < beyond:
            until = min(beyond, number + chance.choice([1, 1, 3, 50]))
            await log.append([some(n) for n in range(number, until)])
            number = until

    written = False

    async def read(wanted: Filter, after: int) -> list[int]:
        """In many followers, each of which goes on behind the one before."""
        own = random.Random(chance.random())
        numbers: list[int] = []
        while not (written and after == log.head):
            taker = Taker(followers, wanted, after, chance=own)
            most = own.choice([1, 10, 100, 1000])
            while len(taker.numbers) < most and not (written and taker.follower.position == log.head):
                await asyncio.sleep(0.001)
            taker.follower.hold()
            numbers += taker.numbers
            after = taker.follower.position
            taker.follower.close()
        return numbers

    await write(1, 500)
    firsts = [chance.randrange(500) for _ in range(20)]
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        readers = [tasks.create_task(read(WANTED[n % 4], first)) for n, first in enumerate(firsts)]
        await write(500, 1500)
        written = True
    told, _ = await log.page(0, OPEN, 100_000)
    for n, first in enumerate(firsts):
        assert readers[n].result() == [
            event.data["number"]
            for sequence, event in told
            if sequence > first and WANTED[n % 4].matches(interest(event))
        ]
    assert not followers.open


async def test_what_cannot_be_routed_is_read_from_the_log(opened, monkeypatch):
    log = await opened()
    followers = Followers(log)
    taker = Taker(followers)
    await taker.live()

    def broken(_: object) -> None:
        raise RuntimeError("a fault of ours")

    with monkeypatch.context() as patched:
        patched.setattr(followers._index, "route", broken)
        await log.append([block(1)])
        await taker.until(lambda: taker.numbers == [1])
    await taker.live()
    await log.append([block(2)])
    await taker.until(lambda: taker.numbers == [1, 2])
    await followers.stop()
