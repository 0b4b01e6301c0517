"""A browser with a page open, and the site that the page is from: no test, but what tests of browsers stand on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

from aiohttp import web
from debian import program

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


def installed_chromium() -> str:
    """The program."""
    return program("chromium", "chromium", "chromium-browser", "google-chrome")


class Site:
    """A web site that is not the daemon: its page opens streams, and tells what it gets."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.port = 0
        self._more = asyncio.Event()
        app = web.Application(client_max_size=1 << 26)
        app.router.add_get("/", self.page)
        app.router.add_get("/favicon.ico", self.page)
        app.router.add_post("/told", self.take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._runner.cleanup()

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
