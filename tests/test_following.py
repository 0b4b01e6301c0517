"""One part exchanged for another, on a real log: what it told goes on without a hole, and nothing is told twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from ingestion import chain_settings, opened_log, told

from chainwatch import following as module
from chainwatch.config import Settings
from chainwatch.errors import LogFull
from chainwatch.event import Event, event_id, rfc3339
from chainwatch.following import Following, Post
from chainwatch.log import Log, Put
from chainwatch.payloads import SourceStatus
from chainwatch.reload import compare
from chainwatch.server.present import Present

AT = rfc3339(1_700_000_000_000)


class Counter:
    """Tells 0, 1, 2, … as fast as the log takes them, and remembers in the log how far it got."""

    def __init__(self, log: Log, begun: int) -> None:
        self.log = log
        self.next = begun
        self.statuses: list[Event] = []

    @classmethod
    async def resume(cls, log: Log) -> Counter:
        kept = await log.get("counter")
        return cls(log, 0 if kept is None else int(kept))

    async def run(self) -> None:
        while True:
            number = self.next
            event = Event(
                id=event_id("counter", number), type="source_status", timestamp=AT, observed_at=AT, chain=None,
                data=SourceStatus(source=str(number), state="ok", reason=None),
            )  # fmt: skip
            with contextlib.suppress(LogFull):
                await self.log.append([event], [Put("counter", str(number + 1).encode())])
                self.next = number + 1


class House:
    def __init__(self, log: Log) -> None:
        self.log = log
        self.resumed: list[Counter] = []
        self.ended: list[asyncio.Task[None]] = []

    def make(self) -> Awaitable[Counter]:
        return Counter.resume(self.log)

    async def post(self) -> Post[Counter]:
        post = Post("counter", self.log, await self.make(), self.make, lambda _, fresh: self.resumed.append(fresh))
        post.start(self.ended.append)
        return post

    async def numbers(self) -> list[int]:
        return [int(event["data"]["source"]) for event in await told(self.log)]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with opened_log(tmp_path) as log:
        yield House(log)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def some(house: House, post: Post[Counter]) -> None:
    """It goes on."""
    begun = post.part.next
    async with asyncio.timeout(10):
        while post.part.next < begun + 3:
            await asyncio.sleep(0)


async def test_a_hundred_exchanges_leave_no_hole_and_tell_nothing_twice(house):
    post, chance = await house.post(), random.Random(1)
    for _ in range(100):
        await turns(chance.randrange(40))  # into the middle of an append, as a rule
        assert await post.exchange(house.make) is None
    await some(house, post)
    await post.stop()
    numbers = await house.numbers()
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 100
    assert len(house.resumed) == 100
    assert house.ended == [], "nothing ended by itself"


async def test_an_exchange_that_is_cancelled_anywhere_can_be_stopped_and_leaves_a_log_to_go_on_from(house):
    for count in range(60):
        post = await house.post()
        await turns(5)
        exchange = asyncio.create_task(post.exchange(house.make))
        await turns(count)
        exchange.cancel()
        await asyncio.gather(exchange, return_exceptions=True)
        await post.stop()
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "counter"]
    numbers = await house.numbers()
    assert numbers == list(range(len(numbers)))


async def test_what_cannot_be_resumed_goes_on_as_it_was(house):
    post = await house.post()
    await some(house, post)

    async def never() -> Counter:
        raise LogFull("no room")

    assert await post.exchange(never) == "no room"
    assert post.trouble is None
    await some(house, post)
    await post.stop()
    numbers = await house.numbers()
    assert numbers == list(range(len(numbers)))


async def test_what_cannot_go_on_at_all_is_tried_again_until_it_can(house, monkeypatch):
    monkeypatch.setattr(module, "AGAIN", 0.01)
    broken = asyncio.Event()

    class Fragile(House):
        def make(self) -> Awaitable[Counter]:
            return self._fail() if broken.is_set() else super().make()

        async def _fail(self) -> Counter:
            raise OSError("too many open files")

    fragile = Fragile(house.log)
    post = await fragile.post()
    broken.set()
    assert await post.exchange(fragile.make) == "OSError: too many open files"
    assert post.trouble == "OSError: too many open files"
    assert not fragile.ended, "the daemon goes on"
    broken.clear()
    async with asyncio.timeout(10):
        while post.trouble is not None:
            await asyncio.sleep(0)
    await some(fragile, post)
    broken.set()
    assert await post.exchange(fragile.make) is not None
    assert await post.exchange(house.make) is None
    assert post.trouble is None
    await some(fragile, post)
    await post.stop()


async def test_a_part_that_fails_by_itself_is_told_and_one_that_fails_while_it_is_stopped_is_not(house):
    class Clumsy(Counter):
        async def run(self) -> None:
            try:
                await super().run()
            finally:
                raise RuntimeError("it fell")

    async def clumsy() -> Counter:
        return Clumsy(house.log, (await house.make()).next)

    post = await house.post()
    await post.exchange(clumsy)
    await turns(3)
    assert await post.exchange(house.make) is None
    assert house.ended == []

    class Weak(Counter):
        async def run(self) -> None:
            raise RuntimeError("it fell")

    async def weak() -> Counter:
        return Weak(house.log, 0)

    await post.exchange(weak)
    await turns(3)
    (task,) = house.ended
    assert isinstance(task.exception(), RuntimeError)
    await post.stop()


@contextlib.asynccontextmanager
async def followed(log: Log, settings: Settings) -> AsyncIterator[tuple[Following, asyncio.Event]]:
    stop = asyncio.Event()
    following = await Following.resume(settings, log, Present(log))
    async with following.running(stop):
        yield following, stop


async def taken_up(following: Following, now: Settings) -> dict[str, str]:
    stale = {"stale": following.stale, "stale_quotes": following.stale_quotes}
    return await following.take_up(compare(following.settings, now, **stale), following.keys)


async def test_a_chain_that_nobody_can_resume_is_not_ready_and_says_why_until_it_is_followed_again(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "AGAIN", 0.05)
    one = Settings(chains=(chain_settings("ws://127.0.0.1:1"), chain_settings("ws://127.0.0.1:1", name="two")))
    other = one.model_copy(
        update={"chains": (one.chains[0].model_copy(update={"confirmations": (1, 9)}), one.chains[1])}
    )
    async with opened_log(tmp_path) as log, followed(log, one) as (following, stop):
        resume: Callable[..., Any] = module.Chain.resume
        failing = True

        async def fails(chain: Any, *rest: Any) -> Any:
            if failing:
                raise OSError("too many open files")
            return await resume(chain, *rest)

        monkeypatch.setattr(module.Chain, "resume", fails)
        assert await taken_up(following, other) == {"chain sim": "OSError: too many open files"}
        assert following.settings.chains == one.chains
        vitals = {chain["name"]: chain for chain in following.chains()}
        assert (vitals["sim"]["ready"], vitals["sim"]["state"]) == (False, "halted")
        assert vitals["sim"]["reason"] == "OSError: too many open files"
        assert vitals["two"]["state"] != "halted"
        states = [event["data"]["state"] for event in await told(log) if event["chain"] == "sim"]
        assert states[-1] == "halted"
        failing = False
        async with asyncio.timeout(10):
            while following.chains()[0]["state"] == "halted":
                await asyncio.sleep(0.01)
        assert following.stale == {"sim"}, "it runs by what it had, and the next signal tries again"
        assert await taken_up(following, other) == {}
        assert (following.settings, following.stale) == (other, set())
        assert not stop.is_set()
