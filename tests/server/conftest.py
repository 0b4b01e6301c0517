"""Servers for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from server import house as houses
from server.house import House, Serve

BOTH_LOOPS = {
    "test_agents.py", "test_compression.py", "test_edge.py", "test_exactly_once.py", "test_rotation.py",
    "test_slow_readers.py", "test_streams.py", "test_takeover.py", "test_ws.py", "test_ws_exactly_once.py",
    "test_ws_hostile.py",
}  # fmt: skip
"""Tests of what sockets do: the loops differ in when they pause, resume and lose a connection."""


def pytest_asyncio_loop_factories(config, item):
    """On the daemon's loop; what is about sockets, or soaks, on asyncio's too."""
    import uvloop

    factories = {"uvloop": uvloop.new_event_loop}
    if item.path.name in BOTH_LOOPS or item.get_closest_marker("soak"):
        factories["asyncio"] = asyncio.new_event_loop
    return factories


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
