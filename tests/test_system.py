"""
How things stand, as people ask for it: the states of chains, wallets and sources, told when they change, and told first
to whoever asks for them; through `tail` and the Python client too.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from anvil import ACCOUNTS, Anvil
from daemon import Daemon
from priceapis import PriceApis
from scene import Scene, follows, played
from test_feeds import Feed

from chainwatch import client

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

ALICE, BOB = ACCOUNTS[1:3]
NOW = int(time.time()) - 60


class Tail:
    """`chainwatch tail --json` of a daemon."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.ids: list[str] = []
        """Of the events that it printed."""

    async def next(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            line = await self.process.stdout.readline()
        assert line, "tail ended"
        return json.loads(line)

    async def states(self, count: int) -> list[tuple[str, str | None, str]]:
        found = []
        for _ in range(count):
            event = await self.next()
            self.ids.append(event["id"])
            found.append((event["type"], event["chain"], event["data"]["state"]))
        return found


@asynccontextmanager
async def tailed(daemon: Daemon, *arguments: str) -> AsyncIterator[Tail]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chainwatch", "tail", "--json", "--url", daemon.url, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Tail(process)
        assert process.returncode is None, "it goes on"
        process.terminate()  # a shell's background job, as a test run may be, leaves its children deaf to ^C
        async with asyncio.timeout(10):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(anvil_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """A chain, a wallet, a feed and a source over HTTP."""
    folder = tmp_path_factory.mktemp("system")
    async with Anvil(anvil_binary, folder / "anvil") as anvil, PriceApis() as api:
        feed = await Feed.deploy(anvil)
        await feed.transmit(3_000_00000000)
        api.prices["ethereum", "usd"] = ("3000.5", NOW)
        async with played(
            anvil,
            folder / "daemon",
            chains=[follows("anvil", anvil, request_timeout="1s")],
            wallets=[{"name": "alice", "address": ALICE}],
            prices=[
                {"symbol": "ETH", "source": "chainlink", "chain": "anvil", "feed": feed.proxy},
                {"symbol": "ETH", "source": "coingecko", "id": "ethereum", "url": f"{api.root}/api/v3", "interval": 1},
            ],
        ) as scene:
            scene.api = api
            yield scene


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _all_is_well(scene: Scene) -> None:
    """Whatever the story before did."""
    scene.api.conduct = None
    if scene.node.process is None:
        await scene.node.start()

    def well() -> bool:
        newest = {
            (event["type"], event["chain"], event["data"].get("source")): event["data"]["state"]
            for event in scene.client.events
            if event["type"] in ("chain_status", "source_status")
        }
        return sorted(newest.values()) == ["connected", "ok", "ok"]

    await scene.until(well)


PRESENT = [
    ("chain_status", "anvil", "connected"),
    ("source_status", None, "ok"),
    ("source_status", "anvil", "ok"),
    ("wallet_status", "anvil", "watching"),
]


async def test_who_asks_for_system_hears_how_things_stand_and_then_what_happens(scene, tmp_path):
    file = tmp_path / "cursor"
    async with tailed(scene.daemon, "-t", "system", "--cursor-file", str(file)) as tail:
        assert await tail.states(4) == PRESENT
        begun = file.read_text().strip()
        assert begun.rsplit("-", 1)[0] == scene.client.cursor.rsplit("-", 1)[0]
        await scene.node.stop()
        ((kind, chain, state),) = await tail.states(1)
        assert (kind, chain) == ("chain_status", "anvil")
        assert state in ("disconnected", "connecting", "stalled")
        await scene.node.start()
        while state != "connected":
            ((kind, chain, state),) = await tail.states(1)
            assert (kind, chain) == ("chain_status", "anvil")
    now = file.read_text().strip()
    assert int(now.rsplit("-", 1)[1]) > int(begun.rsplit("-", 1)[1])
    # Whoever goes on from a cursor is told what it missed, and not how things stand.
    async with tailed(scene.daemon, "-t", "chain_status", "--cursor-file", str(file)) as again:
        await scene.node.stop()
        # It may have been told once more meanwhile that the chain is connected; never what was told before.
        while (await again.states(1))[0][2] == "connected":
            pass
    assert set(again.ids).isdisjoint(tail.ids)


async def test_tail_of_one_type_hears_that_type_alone_and_as_it_was_told(scene):
    (status,) = [event for event in scene.client.fold.open.values() if event["type"] == "chain_status"][-1:]
    async with tailed(scene.daemon, "--type", "chain_status", "-n", "0") as tail:
        assert await tail.next() == status
    async with tailed(scene.daemon, "--type", "wallet_status", "--address", ALICE, "--since", "now") as tail:
        watching = await tail.next()
        assert (watching["data"]["name"], watching["data"]["state"]) == ("alice", "watching")
        assert watching["id"] in scene.client.fold.open


async def test_the_python_client_s_cursor_never_goes_back(scene):
    cursors: list[int] = []
    told: list[tuple[str, str | None, str]] = []
    async with asyncio.timeout(20), client.stream(scene.daemon.url, filters="system", limit=5) as stream:
        async for event in stream:
            cursors.append(int(stream.cursor.rsplit("-", 1)[1]))
            told.append((event.type, event.chain, event.data["state"]))
            if told == PRESENT:
                scene.api.conduct = _failing
    assert told == [*PRESENT, ("source_status", None, "failing")]
    assert cursors == sorted(cursors)
    assert cursors[3] < cursors[4]
    again = client.stream(scene.daemon.url, filters="system", last_event_id=stream.cursor, duration=1)
    assert [event async for event in again] == [], "nothing is told again"


async def _failing(_request: web.Request) -> web.Response:
    return web.Response(status=500)


async def test_wallets_that_are_added_and_removed_are_told_and_what_stands_outlives_a_kill(scene):
    await scene.restart()
    await scene.settled()
    async with tailed(scene.daemon, "-t", "wallet_status,source_status") as tail:
        assert await tail.states(3) == PRESENT[1:]
    counts = {kind: len(scene.standing(kind)) for kind in ("wallet_status", "source_status")}
    await scene.daemon.kill()
    text = scene.daemon.config.read_text()
    scene.daemon.config.write_text(text.replace('name = "alice"', 'name = "bob"').replace(ALICE, BOB))
    await scene.daemon.start()
    scene.client.url = scene.daemon.url
    await scene.mine()
    told = [(data["name"], data["state"]) for data in scene.standing("wallet_status")[counts["wallet_status"] :]]
    assert sorted(told) == [("alice", "removed"), ("bob", "syncing"), ("bob", "watching")]
    assert len(scene.standing("source_status")) == counts["source_status"]
    (watching,) = [data for data in scene.standing("wallet_status", state="watching") if data["name"] == "bob"]
    balance = int(await scene.node.call("eth_getBalance", BOB, "latest"), 16)
    assert watching["balances"] == [{"token": "ETH", "token_address": None, "decimals": 18, "balance": str(balance)}]
    async with tailed(scene.daemon, "-t", "wallet_status") as tail:
        event = await tail.next()
        assert (event["data"]["name"], event["data"]["state"]) == ("bob", "watching")
