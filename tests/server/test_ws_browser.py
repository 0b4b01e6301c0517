"""A real browser's `WebSocket`: a page of an allowed origin is told, is cut and resumes; a stranger's gets nothing."""

from __future__ import annotations

import json

import pytest
from aiohttp import web
from browser import Site, browsing
from server.house import block

from chainwatch.server.sockets import SOCKETS

pytestmark = pytest.mark.long

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
  let cursor = null;
  const open = () => {
    const socket = new WebSocket(url);
    socket.onopen = () => socket.send(JSON.stringify(
      {op: "subscribe", id: name, types: ["block_new"], min_amount: null, last_event_id: cursor, since: "earliest"}));
    socket.onmessage = ({data}) => {
      const message = JSON.parse(data);
      cursor = message.cursor;
      tell({name, kind: message.op, data});
    };
    socket.onclose = ({code, wasClean}) => { tell({name, kind: "close", code, wasClean}); setTimeout(open, 50); };
  };
  open();
}
</script>"""


class Page(Site):
    async def page(self, _: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")


async def test_a_browser_subscribes_is_cut_and_resumes(serve, chromium, tmp_path):
    async with Page() as site:
        house = await serve(allowed_origins=(f"http://127.0.0.1:{site.port}",))
        await house.tell(block(1), block(2))
        url = f"ws://127.0.0.1:{house.port}/ws"
        # The same site by another name is another origin.
        stranger = f"http://localhost:{site.port}/?stranger={url}"

        def numbers() -> list[int]:
            return [json.loads(one["data"])["event"]["data"]["number"] for one in site.of("page", "event")]

        (tmp_path / "other").mkdir()
        async with (
            browsing(chromium, tmp_path, f"http://127.0.0.1:{site.port}/?page={url}"),
            browsing(chromium, tmp_path / "other", stranger),
        ):
            await site.until(lambda: numbers() == [1, 2], "what was")
            for number in (3, 4):
                for connection in list(house.runner.app[SOCKETS].connections):
                    connection.transport.abort()
                await house.tell(block(number))
                await site.until(lambda number=number: numbers()[-1] == number, "what came meanwhile, and what comes")
            await site.until(lambda: len(site.of("stranger", "close")) >= 2, "the stranger is turned away")
            await house.runner.app[SOCKETS].close()
            await site.until(lambda: any(one.get("code") == 1001 for one in site.of("page", "close")), "the end")
        assert numbers() == [1, 2, 3, 4]
        assert {one["kind"] for one in site.of("stranger")} == {"close"}
        assert {one["code"] for one in site.of("stranger")} == {1006}
