"""A real browser: what a page with `new EventSource(url)` gets, and what a stranger's page does not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from anvil import free_port
from daemon import Daemon
from debian import program
from fold import Fold
from ingestion import agrees

from chainwatch.chain.simulated import CHAIN_ID, SimulatedNode, World

PAGE = """<!doctype html><title>a page of another origin</title><script>
const told = [];
let telling = false;
async function tell(what) {
  told.push(what);
  if (telling) return;
  telling = true;
  while (told.length)
    await fetch("/told", {method: "POST", body: JSON.stringify(told.splice(0))});
  telling = false;
}
for (const [name, url] of new URLSearchParams(location.search)) {
  const source = new EventSource(url);
  source.onopen = () => tell({name, kind: "open"});
  source.onerror = () => tell({name, kind: "error", closed: source.readyState === EventSource.CLOSED});
  source.onmessage = ({data, lastEventId}) => tell({name, kind: "message", data, cursor: lastEventId});
  for (const kind of ["connect", "gap", "complete", "block_new"])
    source.addEventListener(kind, ({data, lastEventId}) => tell({name, kind, data, cursor: lastEventId}));
}
</script>"""


@pytest.fixture(scope="session")
def chromium() -> str:
    return program("chromium", "chromium", "chromium-browser", "google-chrome")


class Site:
    """A web site that is not the daemon: its page opens streams, and tells what it gets."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.port = 0
        self._more = asyncio.Event()

    async def page(self, _: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def take(self, request: web.Request) -> web.Response:
        self.told += await request.json()
        self._more.set()
        return web.Response(status=204)

    def of(self, name: str, *kinds: str) -> list[dict[str, Any]]:
        return [one for one in self.told if one["name"] == name and (not kinds or one["kind"] in kinds)]

    def events(self, name: str, kind: str = "message") -> list[dict[str, Any]]:
        return [json.loads(one["data"]) for one in self.of(name, kind)]

    async def until(self, true: Any, what: str, seconds: float = 40) -> None:
        """Wait until what the page told makes that true."""
        try:
            async with asyncio.timeout(seconds):
                while not true():
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            counts: dict[str, int] = {}
            for one in self.told:
                key = f"{one['name']} {one['kind']}"
                counts[key] = counts.get(key, 0) + 1
            raise AssertionError(f"not within {seconds} s: {what}; the page told {counts}") from None


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    app = web.Application(client_max_size=1 << 26)
    app.router.add_get("/", site.page)
    app.router.add_get("/favicon.ico", site.page)
    app.router.add_post("/told", site.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    site.port = runner.addresses[0][1]
    yield site
    await runner.cleanup()


@contextlib.asynccontextmanager
async def browsing(chromium: str, folder: Path, url: str) -> AsyncIterator[None]:
    """A browser with that page open."""
    with (folder / "browser.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            chromium,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--user-data-dir={folder / 'profile'}", "--remote-debugging-port=0", url),
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "HOME": str(folder)},
        )
    try:
        yield
    finally:
        # It is the leader of its own group, in which all its helpers are.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


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
