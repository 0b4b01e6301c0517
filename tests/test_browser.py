"""A real browser: what a page with `new EventSource(url)` gets, and what a stranger's page does not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from anvil import free_port
from browser import browsing
from daemon import Daemon
from fold import Fold
from ingestion import agrees

from chainwatch.chain.simulated import CHAIN_ID, SimulatedNode, World

pytestmark = pytest.mark.long


def follows(node: SimulatedNode) -> dict[str, Any]:
    return {"name": "sim", "chain_id": CHAIN_ID, "endpoints": [node.url], "start": 0, "tokens": "all"}


async def test_an_event_source_resumes_by_itself_after_kill_9_with_nothing_missing_or_doubled(tmp_path, chromium, site):
    world = World(4)
    world.mine(5)
    port = free_port()
    origin = f"http://127.0.0.1:{site.port}"
    async with (
        SimulatedNode(world) as node,
        Daemon(tmp_path / "d", server={"port": port, "allowed_origins": [origin]}, chains=[follows(node)]) as daemon,
    ):
        await daemon.reached(world.head.hash)
        base = f"{daemon.url}/events"
        page = f"{origin}/?all={base}%3Fsince=earliest&named={base}/block_new%3Fsince=earliest"
        async with browsing(chromium, tmp_path, page):

            def has_it_all() -> bool:
                blocks = [event for event in site.events("all") if event["type"] == "block_new"]
                named = site.events("named", "block_new")
                return all(found and found[-1]["data"]["block_hash"] == world.head.hash for found in (blocks, named))

            await site.until(has_it_all, "it has the first blocks")
            world.mine(3)  # live
            await site.until(has_it_all, "live blocks come")
            for _ in range(2):
                await daemon.kill()
                await site.until(lambda: site.told[-1]["kind"] == "error", "it notices")
                world.mine(4)
                world.reorg(3)
                await daemon.start()
                assert daemon.url.endswith(f":{port}")
                await site.until(has_it_all, "it has what came while the daemon was dead")
            world.mine(2)
            await site.until(has_it_all, "it is live again")
            async with asyncio.timeout(20):  # finality, which comes when nobody mines, moves the end of the history
                while site.events("all") != (history := await daemon.history()):
                    await asyncio.sleep(0.05)

        fold = Fold()
        for event in history:
            fold.apply(event)
        agrees(fold, world)
        assert site.events("named", "block_new") == [event for event in history if event["type"] == "block_new"]
        assert not site.of("named", "message")
        for name in ("all", "named"):
            assert len(site.of(name, "open")) >= 3
            assert len(site.of(name, "connect")) >= 3
            assert not site.of(name, "gap")
            assert not any(error["closed"] for error in site.of(name, "error"))


async def test_a_page_of_an_origin_that_is_not_allowed_gets_nothing(tmp_path, chromium, site):
    world = World(4)
    world.mine(5)
    allowed = f"http://127.0.0.1:{site.port}"
    async with (
        SimulatedNode(world) as node,
        Daemon(tmp_path / "d", server={"allowed_origins": [allowed]}, chains=[follows(node)]) as daemon,
    ):
        await daemon.reached(world.head.hash)
        # The same site by another name is another origin. And a stranger's name for the daemon itself is none of its.
        local = daemon.url.replace("127.0.0.1", "localhost")
        page = f"http://localhost:{site.port}/?foreign={daemon.url}/events%3Fsince=earliest"
        page += f"&by-name={local}/events%3Fsince=earliest"
        async with browsing(chromium, tmp_path, page):
            await site.until(lambda: len(site.of("foreign", "error")) + len(site.of("by-name", "error")) >= 2, "errors")
            assert all(one["kind"] == "error" and one["closed"] for one in site.told)
        assert (await daemon.get("/v1/stats"))["totals"]["deliveries"] == 0
