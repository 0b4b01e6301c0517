"""How long a subscription lives, and how many there may be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chainwatch.mcp.desk import Standing, Turned
from chainwatch.mcp.subscriptions import MOST, Subscriptions
from chainwatch.mcp.updates import Watches


class Drawer:
    """A desk that keeps subscriptions, and does nothing else."""

    caller = "somebody"

    def __init__(self) -> None:
        self.found: dict[str, Standing] = {}

    async def cursor(self, _: Any) -> str:
        return "log-1"

    async def keep(self, standing: Standing) -> None:
        await asyncio.sleep(0)  # a disk takes its time
        self.found[standing.id] = standing

    async def forget(self, name: str) -> None:
        del self.found[name]

    async def kept(self) -> list[Standing]:
        return list(self.found.values())


async def test_a_subscription_lives_on_while_it_is_asked_for_and_expires_when_it_is_not():
    now, desk = 1000.0, Drawer()
    subscriptions = Subscriptions(lambda: now)
    standing = await subscriptions.open(desk, {}, 100)
    assert standing.expires == 1100
    for now in range(1040, 1400, 40):  # noqa: B007 - it is the clock
        standing = await subscriptions.get(desk, standing.id)
    assert standing.expires == 1420, "it is written down again when half of its life is over"
    assert standing.created == 1000
    now = 1419.9
    assert (await subscriptions.get(desk, standing.id)).expires == 1519.9
    now = 1519.9
    with pytest.raises(Turned, match="may have expired"):
        await subscriptions.get(desk, standing.id)
    assert await subscriptions.all(desk) == []
    assert desk.found == {}, "what has expired is forgotten"


async def test_a_hundred_subscriptions_are_as_many_as_one_may_have_however_fast_they_come():
    desk, subscriptions = Drawer(), Subscriptions()
    found = await asyncio.gather(*(subscriptions.open(desk, {}, 60) for _ in range(MOST + 20)), return_exceptions=True)
    refused = [str(one) for one in found if isinstance(one, Turned)]
    assert (len(refused), len(desk.found)) == (20, MOST)
    assert all("as many as one may have. Call unsubscribe" in text for text in refused)
    await subscriptions.close(desk, next(iter(desk.found)))
    await subscriptions.open(desk, {}, 60)


async def test_calls_that_are_cancelled_in_the_middle_count_too():
    desk, subscriptions = Drawer(), Subscriptions()
    for _ in range(3):
        opening = [asyncio.create_task(subscriptions.open(desk, {}, 60)) for _ in range(MOST)]
        await asyncio.sleep(0)
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
    await asyncio.sleep(0)
    assert len(desk.found) == MOST
    with pytest.raises(Turned, match="as many as one may have"):
        await subscriptions.open(desk, {}, 60)


async def test_what_expired_makes_room_for_new_ones():
    now, desk = 1000.0, Drawer()
    subscriptions = Subscriptions(lambda: now)
    for _ in range(MOST):
        await subscriptions.open(desk, {}, 60)
    with pytest.raises(Turned, match="as many as one may have"):
        await subscriptions.open(desk, {}, 60)
    now = 1060.0
    await subscriptions.open(desk, {}, 60)
    assert len(desk.found) == 1


async def test_what_is_watched_no_more_and_at_once_again_can_be_ended_again():
    """The first loop ends after the second one has begun, and must not take it for itself."""

    class Patient:
        async def wait(self, *_: Any) -> tuple[bool, str]:
            await asyncio.sleep(3600)
            return False, ""

    async def find() -> dict[str, list[str]]:
        return {}

    async def tell() -> None:
        raise AssertionError("nothing changes")

    watches, before = Watches(), asyncio.all_tasks()
    for _ in range(3):
        watches.start("session", "events://stream", Patient(), find, "log-1", tell)
        watches.start("session", "events://stream", Patient(), find, "log-1", tell)
        await asyncio.sleep(0)
        watches.stop("session", "events://stream")
        watches.start("session", "events://stream", Patient(), find, "log-1", tell)
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(asyncio.all_tasks() - before) == 1
        watches.stop("session")
        for _ in range(3):
            await asyncio.sleep(0)
        assert not asyncio.all_tasks() - before
