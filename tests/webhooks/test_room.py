"""Shares of requests and look-ups: whoever stalls keeps nobody out."""

from __future__ import annotations

import asyncio

from chainwatch.webhooks.room import Room


class People:
    """Who is inside, and leaves when told."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.inside: list[str] = []
        self._waiting: list[asyncio.Task[None]] = []

    async def come(self, *owners: str) -> None:
        async def enter(owner: str) -> None:
            await self.room.take(owner)
            self.inside.append(owner)

        for owner in owners:
            self._waiting.append(asyncio.create_task(enter(owner)))
            await asyncio.sleep(0)
        await self.settle()

    async def go(self, owner: str) -> None:
        self.inside.remove(owner)
        self.room.leave(owner)
        await self.settle()

    async def give_up(self, place: int) -> None:
        self._waiting[place].cancel()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def close(self) -> None:
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)


async def test_an_owner_has_a_share_and_whoever_has_nothing_gets_a_place_at_once():
    people = People(Room(most=4, share=2))
    await people.come("a", "a", "a", "b", "b", "b")
    assert people.inside == ["a", "a", "b", "b"]
    await people.come("c", "d", "c")
    assert people.inside[4:] == ["c", "d"]
    await people.close()


async def test_what_becomes_free_goes_to_whoever_has_the_fewest_and_then_to_whoever_came_first():
    people = People(Room(most=6, share=3))
    await people.come("a", "a", "a", "b", "b", "c", "a", "b", "c", "d")
    assert people.inside[6:] == ["d"]
    await people.go("d")  # it was one too many
    assert len(people.inside) == 6
    await people.go("b")
    assert people.inside[-1] == "b"  # of two with one each, it waited longer
    await people.go("b")
    assert people.inside[-1] == "c"
    await people.go("a")
    assert people.inside[-1] == "a"
    await people.close()


async def test_whoever_gives_up_waiting_takes_nothing_and_leaves_the_others_their_turns():
    people = People(Room(most=1, share=1))
    await people.come("a", "a", "a")
    await people.give_up(1)
    await people.go("a")
    assert people.inside == ["a"]
    await people.come("a")
    people.inside.remove("a")
    people.room.leave("a")  # it is given to whoever waits, who goes in that moment
    await people.give_up(3)
    await people.come("a")
    assert people.inside == ["a"]
    await people.close()


async def test_everything_that_was_taken_comes_back():
    room = Room(most=3, share=2)

    async def work(owner: str) -> None:
        async with room.of(owner):
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(work(f"owner{number % 7}")) for number in range(200)]
    for task in tasks[::5]:
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (room._taken, dict(room._held), room._waiting) == (0, {}, {})
