"""Prices over HTTP as a user has them: the whole daemon, its health, its statistics, and no key anywhere."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from daemon import Daemon
from priceapis import PriceApis

pytestmark = pytest.mark.long

KEY = "CG-Vwx9secret0123456789"
NOW = int(time.time()) - 600


async def health(daemon: Daemon) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.get(f"{daemon.url}/health") as answer:
        return answer.status, json.loads(await answer.read())


async def becomes(daemon: Daemon, status: int) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while (found := await health(daemon))[0] != status:
            await asyncio.sleep(0.02)
    return found[1]


async def told(daemon: Daemon, count: int) -> list[dict[str, Any]]:
    """So many prices, when they are in the log."""
    async with asyncio.timeout(60):
        while len(found := await daemon.history(types="price_update")) < count:
            await asyncio.sleep(0.05)
    return found


@pytest.fixture
async def api():
    async with PriceApis() as server:
        yield server


def daemon_of(api: PriceApis, folder: Path) -> Daemon:
    (folder / "key").write_text(KEY + "\n")
    price = {"symbol": "ETH", "source": "coingecko", "id": "ethereum", "url": f"{api.root}/api/v3", "interval": 1,
             "api_key_file": "../key"}  # fmt: skip
    return Daemon(folder / "daemon", prices=[price])


async def test_a_price_is_streamed_and_told_once_over_a_kill(api, tmp_path):
    api.key = KEY
    api.prices["ethereum", "usd"] = ("3000.5", NOW)
    daemon = daemon_of(api, tmp_path)
    async with daemon:
        body = await becomes(daemon, 200)
        assert body["sources"] == [{"name": "coingecko", "ready": True, "state": "ok"}]
        await told(daemon, 1)  # a source is ready when it answers, and its price is kept a moment later
        await daemon.kill()
        api.prices["ethereum", "usd"] = ("3100", NOW + 60)
        await daemon.start()
        found = await told(daemon, 2)
        (vitals,) = (await daemon.get("/v1/stats"))["sources"]
        assert await daemon.stop() == 0
    assert [(event["data"]["price"], event["data"]["previous_price"]) for event in found] == [
        ("3000.5", None),
        ("3100", "3000.5"),
    ]
    assert (vitals["name"], vitals["state"], vitals["monthly_requests"]) == ("coingecko", "ok", None)
    assert vitals["requests"] == len(api.seen)


async def test_a_failing_source_makes_the_daemon_unready_and_no_key_is_told(api, tmp_path):
    api.key = "another"
    daemon = daemon_of(api, tmp_path)
    async with daemon:
        async with asyncio.timeout(20):
            while not (found := await daemon.history(types="source_status")):
                await asyncio.sleep(0.05)
        status, body = await health(daemon)
        told = json.dumps([body, await daemon.get("/v1/stats"), await daemon.history()])
        assert await daemon.stop() == 0
    reason = "it does not accept the API key, or the lack of one: HTTP 401 (Invalid API Key [redacted])"
    assert found[0]["data"] == {"source": "coingecko", "state": "failing", "reason": reason}
    assert (status, body["not_ready"]) == (503, ["coingecko"])
    assert body["sources"] == [{"name": "coingecko", "ready": False, "state": "failing", "reason": reason}]
    assert any(request.headers["x-cg-demo-api-key"] == KEY for request in api.seen)
    assert KEY not in told + daemon.stderr.read_text()


async def test_a_key_that_is_not_there_stops_the_start(api, tmp_path):
    daemon = daemon_of(api, tmp_path)
    (tmp_path / "key").unlink()
    with pytest.raises(AssertionError, match=r"prices\[0\]\.api_key_file: cannot be read"):
        await daemon.start()
    assert daemon.process is not None
    assert await daemon.process.wait() == 3
