"""Webhooks that come, change and go while the log takes nothing, clients leave, and keys end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from server.house import block, transfer
from webhooks.conftest import Office
from webhooks.receiver import SECRET, Receiver

from chainwatch.errors import LogFull
from chainwatch.log import Drop


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
