"""Servers for tests, and hosts that speak with them: in both eras of the protocol, on both loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from hosts import ERAS, Host, connected
from server import house as houses
from server.house import House, Serve

BOTH_LOOPS = {"test_bridge.py", "test_callers.py", "test_hosting.py", "test_resources.py", "test_tools.py"}

Enter = Callable[..., AbstractAsyncContextManager[Host]]
"""Connects a host with a house: `enter(house)`, `enter(house, key)`."""


def pytest_asyncio_loop_factories(config, item):
    """On the daemon's loop; what is hosted in the test's own process, on asyncio's too."""
    import uvloop

    factories = {"uvloop": uvloop.new_event_loop}
    if item.path.name in BOTH_LOOPS:
        factories["asyncio"] = asyncio.new_event_loop
    return factories


@pytest.fixture(params=ERAS)
def era(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Start servers; see `house.serve`."""
    started: list[House] = []

    async def start(path: str = "events.db", **given: Any) -> House:
        started.append(await houses.serve(tmp_path / path, **given))
        return started[-1]

    yield start
    for house in started:
        await house.close()


@pytest.fixture
async def house(serve: Serve) -> House:
    return await serve()


@pytest.fixture
def enter(era: str) -> Enter:
    """
    Connect hosts of that era; see `hosts.connected`. A test does it itself: what the SDK opens has to be closed by the
    task that opened it, and fixtures are set up and torn down by different ones.
    """

    def connect(house: House, key: str = "") -> AbstractAsyncContextManager[Host]:
        return connected(f"http://127.0.0.1:{house.port}", era, key)

    return connect
