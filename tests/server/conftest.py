"""Servers for tests, on both loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from server import house as houses
from server.house import House, Serve


def pytest_asyncio_loop_factories(config, item):
    """Every test of a socket runs on both loops: they differ in when they pause, resume and lose a connection."""
    factories = {"asyncio": asyncio.new_event_loop}
    try:
        import uvloop
    except ImportError:
        return factories
    return factories | {"uvloop": uvloop.new_event_loop}


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
