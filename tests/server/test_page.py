"""`GET /` in a real browser: the stream is seen at work, filtered, paused, unlocked; nothing of an event runs."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from browser import browsing
from server.house import _event, block, transfer
from server.test_access import key, text

from chainwatch.keys import Keyring

pytestmark = pytest.mark.long

CHAIN = {
    "name": "ethereum", "state": "connected", "ready": True, "head": 18_500_000, "lag_seconds": 1.25, "reason": None,
}  # fmt: skip
HOSTILE = (
    "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>\u202e</details>{markup}"
)


class Tab:
    """The page, by the browser's own protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    async def ask(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while (answer := await self._socket.receive_json()).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    async def run(self, code: str) -> Any:
        result = await self.ask("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, code: str, seconds: float = 20) -> None:
        """Until that is true of the page; it is looked at again with each change of it."""
        waiting = (
            "new Promise(resolve => { const look = () => { if (%s) { seen.disconnect(); resolve(true); } };"
            "const seen = new MutationObserver(look);"
            "seen.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});"
            "look(); })"
        )
        try:
            async with asyncio.timeout(seconds):
                await self.run(waiting % code)
        except TimeoutError:
            raise AssertionError(f"{code}: {await self.text('body')}") from None

    async def text(self, what: str) -> str:
        return await self.run(f"document.querySelector({json.dumps(what)}).innerText")

    async def filter(self, text: str) -> None:
        await self.run(f"at('filter').value = {json.dumps(text)}; at('choose').requestSubmit()")

    async def picture(self, path: Path, *, width: int = 1000, dark: bool = False) -> None:
        await self.ask("Emulation.setDeviceMetricsOverride", width=width, height=700, deviceScaleFactor=1, mobile=False)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.ask("Emulation.setEmulatedMedia", features=scheme)
        shot = base64.b64decode((await self.ask("Page.captureScreenshot"))["data"])
        await asyncio.to_thread(path.write_bytes, shot)


@contextlib.asynccontextmanager
async def opened(chromium: str, folder: Path, url: str) -> AsyncIterator[Tab]:
    """The page in a browser."""
    async with browsing(chromium, folder, url), aiohttp.ClientSession() as session:
        port = folder / "profile" / "DevToolsActivePort"
        async with asyncio.timeout(40):
            while not port.exists() or len(port.read_text().splitlines()) < 2:
                await asyncio.sleep(0.02)
            at = f"http://127.0.0.1:{port.read_text().splitlines()[0]}/json"
            while True:
                async with session.get(at) as answer:
                    tabs = [tab for tab in await answer.json() if tab["type"] == "page" and tab["url"].startswith(url)]
                if tabs:
                    break
                await asyncio.sleep(0.02)
        async with session.ws_connect(tabs[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            tab = Tab(socket)
            # Before it there is an empty page, with which a promise would go.
            while not await tab.run("document.readyState === 'complete' && typeof begin === 'function'"):
                await asyncio.sleep(0.02)
            yield tab


async def test_a_newcomer_sees_the_stream_filters_it_and_pauses(serve, chromium, tmp_path):
    house = await serve(chains=lambda: [CHAIN])
    await house.tell(block(1), transfer(2, amount=5))
    async with opened(chromium, tmp_path, f"http://127.0.0.1:{house.port}/") as tab:
        await tab.until("at('events').childElementCount === 2 && at('chains').childElementCount === 1")
        assert (await tab.text("summary")).startswith(await tab.text("summary .time"))
        assert "token_transfer" in await tab.text("#events details:first-child")  # the newest first
        card = await tab.text("#chains")
        assert "ethereum" in card
        assert "head 18,500,000 · 1.3 s behind" in card
        await tab.until("at('state').textContent === 'live'")
        assert "events/s" in await tab.text("#rates")

        await tab.run("document.querySelector('details').open = true")
        await tab.until("document.querySelector('details pre')")
        assert json.loads(await tab.text("details pre"))["type"] == "token_transfer"
        await tab.until("at('pause').textContent === 'Go on'")  # what is being read does not run away

        await tab.filter("types=block_new")
        await tab.until("at('events').childElementCount === 1 && at('events').innerText.includes('block_new')")
        await tab.filter("data.amount == 5")
        await tab.until("at('events').childElementCount === 1 && at('events').innerText.includes('token_transfer')")

        await tab.filter("types=block_mew")
        await tab.until("!at('problem').hidden")
        assert "block_new" in await tab.text("#problem")
        await tab.filter("data.amount ==")
        await tab.until("at('problem').textContent.includes('^')")
        await tab.filter("")
        await tab.until("at('problem').hidden && at('events').childElementCount === 2")

        await tab.run("at('pause').click()")
        await house.tell(block(3))
        await tab.until("at('pause').textContent === 'Go on (1 new)'")
        assert await tab.run("at('events').childElementCount") == 2
        await tab.filter("types=block_finalized")
        await tab.until("at('pause').textContent === 'Pause' && at('events').className === 'filtered'")
        await tab.filter("")
        await tab.until("at('events').childElementCount === 3")
        await tab.run("at('pause').click()")
        await house.tell(block(4))
        await tab.until("at('pause').textContent === 'Go on (1 new)'")
        await tab.run("at('pause').click()")
        await tab.until("at('events').childElementCount === 4")
        assert await tab.run("location.href") == f"http://127.0.0.1:{house.port}/"


SAID = {
    "block_finalized": ({"block_number": 7, "tag": "safe"}, "safe · block 7"),
    "chain_reorg": ({"depth": 2}, "2 orphaned"),
    "token_approval": ({"token": "USDC", "unlimited": True}, "UNLIMITED"),
    "transaction_failed": ({"revert_reason": "no funds", "confirmations": 1}, "no funds · 1 confirmation"),
    "transaction_replaced": ({"replaced_by": "0x" + "ab" * 32, "kind": "cancel"}, "cancel by 0xabab…abab"),
    "wallet_incoming": ({"known_token": False}, "unknown token"),
}


async def test_what_an_event_is_about_is_said_in_a_line(serve, chromium, tmp_path):
    chains = [CHAIN | {"name": state, "state": state} for state in ("connected", "syncing", "degraded", "halted")]
    house = await serve(chains=lambda: chains)
    await house.tell(*(_event(kind, n, "ethereum", data) for n, (kind, (data, _)) in enumerate(SAID.items())))
    async with opened(chromium, tmp_path, f"http://127.0.0.1:{house.port}/") as tab:
        await tab.until(f"at('events').childElementCount === {len(SAID)} && at('chains').childElementCount === 4")
        told = await tab.run("[...document.querySelectorAll('.about')].map(one => one.textContent).reverse()")
        assert told == [line for _, line in SAID.values()]
        cards = await tab.run("[...document.querySelectorAll('.card span')].map(one => one.textContent)")
        assert cards == ["● connected", "◌ syncing", "▲ degraded", "✖ halted"]
        await tab.run("at('filter').value = '_'")
        room = await tab.run("parseFloat(getComputedStyle(at('filter')).lineHeight)")
        assert room >= 1.6 * await tab.run(
            "parseFloat(getComputedStyle(at('filter')).fontSize)"
        )  # else `_` is not seen


async def test_nothing_of_an_event_runs_or_leaves_its_place(serve, chromium, tmp_path):
    bad = dict(CHAIN, ready=False, reason=HOSTILE, name="ethereum")
    house = await serve(chains=lambda: [bad])
    data = {"token": HOSTILE, "amount": "1", "name": HOSTILE * 9, "from": HOSTILE, "block_number": HOSTILE}
    await house.tell(_event("token_transfer", 1, "ethereum", data))
    async with opened(chromium, tmp_path, f"http://127.0.0.1:{house.port}/") as tab:
        await tab.until("at('events').childElementCount === 1 && at('chains').childElementCount === 1")
        await tab.run("document.querySelector('details').open = true")
        await tab.until("document.querySelector('details pre')")
        assert await tab.run("document.title") == "chainwatch"
        assert await tab.run("document.images.length + document.scripts.length") == 1
        assert "<img src=x" in await tab.text("summary")
        assert "\\u202e" in await tab.text("summary")
        assert "\u202e" not in await tab.text("body")
        for width in (1000, 360):
            for dark in (False, True):
                await tab.picture(tmp_path / f"hostile-{width}{'-dark' * dark}.png", width=width, dark=dark)
                assert await tab.run("document.documentElement.scrollWidth <= innerWidth")
        # What the page would run by mistake, its policy does not.
        await tab.run("at('events').innerHTML = '<img src=x onerror=\"document.title=1\">'")
        refused = await tab.run(
            "new Promise(resolve => { document.addEventListener('securitypolicyviolation',"
            "e => resolve(e.violatedDirective)); const made = document.createElement('script');"
            "made.textContent = 'document.title = 2'; document.body.append(made); })"
        )
        assert refused.startswith("script-src")
        assert await tab.run("document.title") == "chainwatch"


async def test_a_page_with_keys_asks_for_one_and_keeps_it_out_of_the_address(serve, chromium, tmp_path):
    reader = key("page")
    house = await serve(ring=Keyring([reader]))
    await house.tell(block(1))
    url = f"http://127.0.0.1:{house.port}/"
    async with opened(chromium, tmp_path, url) as tab:
        await tab.until("!at('unlock').hidden && at('choose').hidden")
        assert await tab.run("at('problem').hidden")
        await tab.run("at('key').value = 'cw_wrong'; at('unlock').requestSubmit()")
        await tab.until("at('problem').textContent.includes('not known') && !at('unlock').hidden")
        await tab.run(f"at('key').value = {json.dumps(text(reader))}; at('unlock').requestSubmit()")
        await tab.until("at('events').childElementCount === 1 && at('unlock').hidden && at('rates').textContent")
        assert await tab.run("location.href") == url
        assert text(reader) not in await tab.run("document.documentElement.outerHTML")
        assert await tab.run("localStorage.length") == 0


async def test_the_page_asks_nobody_else_and_may_run_nothing_else(house):
    answer = await house.ask("/", {"Accept": "text/html,*/*;q=0.8"})
    body = (await answer.body()).decode()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "://" not in body
    again = await house.ask("/", {"Accept": "text/html", "If-None-Match": answer.headers["etag"]})
    assert again.status == 304


@pytest.mark.parametrize("accept", ["*/*", "", "application/json"])
async def test_whoever_reads_no_html_is_told_where_things_are(house, accept):
    answer = await house.ask("/", {"Accept": accept} if accept else {})
    told = (await answer.body()).decode()
    assert answer.headers["content-type"].startswith("text/plain")
    assert f"curl -N 'http://localhost:{house.port}/events/stream" in told
    assert answer.headers["vary"] == "Accept"


async def test_the_page_needs_no_key(serve):
    house = await serve(ring=Keyring([key("page")]))
    assert (await house.ask("/", {"Accept": "text/html"})).status == 200
    assert (await house.ask("/events")).status == 401
