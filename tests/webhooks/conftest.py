"""Webhooks over a real log, and receivers over real TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from webhooks.fixtures import authority, receiving, trusting  # noqa: F401 - fixtures
from webhooks.receiver import SECRET, Receiver, here

from chainwatch import filter as filters
from chainwatch.filter import Filter
from chainwatch.log.store import SqliteLog, open_log
from chainwatch.stream.follow import Followers
from chainwatch.webhooks import Caller, Purpose, Trust, Webhook, Webhooks, Withdrawn, courier, delivery


def pytest_asyncio_loop_factories(config, item):
    """On the daemon's loop."""
    import uvloop

    return {"uvloop": uvloop.new_event_loop}


class Rights:
    """The terms of owners, as a test sets them."""

    def __init__(self) -> None:
        self.revoked: set[str] = set()
        self.narrow: Callable[[Filter], Filter] = lambda wanted: wanted
        self.opened: list[tuple[str, Filter]] = []

    def wanted(self, owner: str, words: Mapping[str, Any]) -> Filter:
        if owner in self.revoked:
            raise Withdrawn("the key was revoked")
        from server.house import VOCABULARY

        return self.narrow(filters.parse({name: list(texts) for name, texts in words.items()}, VOCABULARY))

    def open(self, owner: str, wanted: Filter) -> None:
        self.opened.append((owner, wanted))

    def close(self, owner: str, wanted: Filter) -> None:
        self.opened.remove((owner, wanted))


class Office:
    """A log, and webhooks over it."""

    def __init__(self, log: SqliteLog, rights: Rights, caller: Caller) -> None:
        self.log = log
        self.rights = rights
        self.hooks = Webhooks(Followers(log), rights, caller=caller)

    async def operators(self, receiver: Receiver, name: str = "own", words: Any = None, **more: Any) -> Webhook:
        """A webhook of the configuration, from the beginning of the log."""

        async def begin() -> int:
            return 0

        purpose = Purpose(
            url=receiver.local, words=words or {}, secret=SECRET, created=1, changed=1,
            trust=Trust(private=True, ca_file=receiver.ca_file), **more,
        )  # fmt: skip
        await self.hooks.configure({name: (purpose, begin)})
        found = self.hooks.get("@", name)
        assert found is not None
        return found

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what only the daemon knows."""
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.005)


Opened = Callable[..., Awaitable[Office]]


@pytest.fixture
async def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> AsyncIterator[Opened]:
    """Offices over one log, one at a time; the last one is closed at the end."""
    monkeypatch.setattr(delivery, "wait_of", lambda failed, chance: 20)
    monkeypatch.setattr(courier, "AGAIN", 60)  # what only goes on after a fault of ours does not go on
    offices: list[Office] = []

    async def close() -> None:
        while offices:
            office = offices.pop()
            await office.hooks.close()
            assert not office.rights.opened
            assert not office.hooks.followers.open
            await office.log.close()

    async def start(*, patience: float = 15, **limits: Any) -> Office:
        await close()
        limits = {"ttl": 3600, "max_events": 10**6, "max_bytes": 2**30, "memory": 2**24} | limits
        log = await open_log(tmp_path / "events.db", **limits)
        offices.append(Office(log, Rights(), Caller(here, patience)))
        await offices[-1].hooks.start()
        return offices[-1]

    yield start
    await close()


@pytest.fixture
async def office(opened: Opened) -> Office:
    return await opened()
