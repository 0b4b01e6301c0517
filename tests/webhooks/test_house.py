"""Webhooks that come, change and go while the log takes nothing, clients leave, and keys end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from server.house import block, transfer
from webhooks.conftest import Office
from webhooks.receiver import SECRET, Receiver

from chainwatch.errors import LogFull
from chainwatch.filter import Filter
from chainwatch.log import Drop
from chainwatch.webhooks import Purpose, TooMany, Trust, courier, house, kept


async def begin() -> int:
    return 0


def numbers(events: list) -> list[int]:
    return [event["data"]["number"] for event in events]


Refuse = Callable[[Callable[[Any], bool]], list[Any]]


@pytest.fixture
def refuse(office: Office, monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """The log is full for appends whose changes are such, until what this returns, those that were, is cleared."""

    def full(such: Callable[[Any], bool]) -> list[Any]:
        real, refused = office.log.append, []

        async def append(events: Any, changes: Any = ()) -> Any:
            if such(changes):
                refused.append(changes)
                raise LogFull("no room")
            return await real(events, changes)

        monkeypatch.setattr(office.log, "append", append)
        return refused

    return full


async def test_one_that_expires_while_the_log_is_full_is_sent_nothing_and_the_log_has_its_peace(
    office: Office, receiver: Receiver, trusted, refuse: Refuse
):
    refused = refuse(lambda changes: any(isinstance(change, Drop) for change in changes))
    soon = office.hooks.now() + 100
    hook, _, _ = await office.hooks.add("key", "shop", receiver.url, {}, start=begin, secret=SECRET, expires=soon)
    await office.until(lambda: bool(refused))
    await office.log.append([transfer(1)])
    for _ in range(200):
        await asyncio.sleep(0)
    assert (len(refused), len(receiver.came), hook.status) == (1, 1, "halted")
    await office.hooks.add("key", "shop", receiver.url, {}, start=begin)  # it is wanted after all
    assert numbers(await receiver.events(1)) == [1]


async def test_who_leaves_in_the_middle_of_a_change_leaves_no_webhook_behind_that_stands_still(
    office: Office, receiver: Receiver, trusted, monkeypatch
):
    hook, _, _ = await office.hooks.add("key", "shop", receiver.url, {}, start=begin)
    asked, taken, real = asyncio.Event(), asyncio.Event(), office.log.append

    async def slowly(events: Any, changes: Any = ()) -> Any:
        asked.set()
        await taken.wait()
        return await real(events, changes)

    async def breaking_off(work: Any) -> None:
        monkeypatch.setattr(office.log, "append", slowly)
        task = asyncio.create_task(work)
        await asked.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        taken.set()
        monkeypatch.setattr(office.log, "append", real)

    await breaking_off(office.hooks.add("key", "shop", receiver.url, {"types": ["block"]}, start=begin))
    await office.log.append([transfer(1), block(2)])
    assert numbers(await receiver.events(1)) == [2]
    asked.clear()
    taken.clear()
    await breaking_off(office.hooks.remove(hook))
    await office.until(lambda: office.hooks.get("key", "shop") is None)


async def test_a_configuration_that_comes_while_the_log_is_full_is_taken_up_when_it_has_room(
    office: Office, receiver: Receiver, refuse: Refuse, monkeypatch
):
    monkeypatch.setattr(courier, "AGAIN", 0.02)
    refused = refuse(lambda changes: changes and len(refused) < 3)
    own = Purpose(
        url=receiver.local, words={}, secret=SECRET, created=1, changed=1,
        trust=Trust(private=True, ca_file=receiver.ca_file),
    )  # fmt: skip
    await office.log.append([transfer(1)])
    office.hooks.take_up({"first": (own, begin)})
    office.hooks.take_up({"second": (own, begin)})
    assert numbers(await receiver.events(1)) == [1]
    await office.until(lambda: office.hooks.get("@", "second") is not None)
    assert office.hooks.get("@", "first") is None


async def test_webhooks_of_keys_that_ended_take_nobodys_room(office: Office, receiver: Receiver, trusted, monkeypatch):
    monkeypatch.setattr(kept, "MOST_OF_ALL", 1)
    hook, _, _ = await office.hooks.add("old", "shop", receiver.url, {}, start=begin)
    with pytest.raises(TooMany):
        await office.hooks.add("new", "shop", receiver.url, {}, start=begin)
    office.rights.revoked.add("old")
    office.hooks.recheck()
    await office.until(lambda: hook.status == "halted")
    await office.hooks.add("new", "shop", receiver.url, {}, start=begin)


async def test_a_fault_of_ours_with_one_webhook_leaves_no_other_standing_still(
    office: Office, receiver: Receiver, trusted
):
    for name, words in {"blocks": {"types": ["block"]}, "all": {}}.items():
        await office.hooks.add("key", name, receiver.url, words, start=begin)

    def narrow(wanted: Filter) -> Filter:
        if "block_new" in wanted.types:
            raise KeyError("a fault")
        return msgspec.structs.replace(wanted, types=frozenset({"token_transfer"}))

    office.rights.narrow = narrow
    office.hooks.recheck()
    await office.until(lambda: [wanted.types for _, wanted in office.rights.opened][-1] == {"token_transfer"})
    await office.log.append([block(1), transfer(2)])
    assert numbers(await receiver.events(1)) == [2]


async def test_a_fault_of_ours_does_not_end_the_saving_of_places(office: Office, receiver: Receiver, monkeypatch):
    faults, real = [KeyError("a fault"), KeyError("at the end too")], house.idle

    def idle(register: Any, now: int) -> Any:
        if faults:
            raise faults.pop()
        return real(register, now)

    monkeypatch.setattr(house, "TIDY", 0.01)
    monkeypatch.setattr(house, "idle", idle)
    await office.hooks.close()
    await office.hooks.start()
    hook = await office.operators(receiver, words={"types": ["price"]})
    await office.log.append([transfer(1)])
    await office.until(lambda: hook.standing.sequence == 1)
    assert not faults
