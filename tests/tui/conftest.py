"""Pilots that do not wait until the process is idle: servers live in it, too. Tests wait for what a screen shows."""

from __future__ import annotations

import asyncio

import pytest
from textual import app, pilot


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch):
    async def soon(*_: object, **__: object) -> None:
        await asyncio.sleep(0.005)

    monkeypatch.setattr(app, "wait_for_idle", soon)
    monkeypatch.setattr(pilot, "wait_for_idle", soon)
