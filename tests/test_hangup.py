"""
SIGHUP while blocks keep coming and a client listens: what is added and removed is told from then on and no longer, its
stream never breaks, nothing is missed and nothing told twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import signal
import sys
import termios
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from anvil import ACCOUNTS, Anvil, word
from conftest import load_contracts
from daemon import Daemon
from priceapis import PriceApis
from purse import Purse
from scene import Scene, follows
from test_feeds import Feed

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

RICH, ALICE, BOB, CAROL = ACCOUNTS[:4]
SECRET = "a-very-secret-path-of-a-provider"
NOW = int(time.time()) - 60
WATCHED = {"name": "bob", "address": BOB, "chains": ["anvil"]}


class House(Scene):
    """A daemon whose configuration changes, on a node whose chain never stands still."""

    tables: dict[str, Any]
    api: PriceApis
    feed: Feed
    coin: str

    def __init__(self, node: Anvil, daemon: Daemon) -> None:
        super().__init__(node, daemon)
        self.purse = Purse()
        self.read = 0

    def configure(self, **tables: Any) -> None:
        self.tables |= tables
        self.daemon.configure(**self.tables)

    def hang_up(self) -> None:
        assert self.daemon.process is not None
        self.daemon.process.send_signal(signal.SIGHUP)

    def said(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.daemon.stderr.read_text().splitlines() if line.startswith("{")]

    async def reload(self, **tables: Any) -> list[dict[str, Any]]:
        """Change that, send SIGHUP; what was said until it was done, its last line at the end."""
        before = len(self.said())
        self.configure(**tables)
        self.hang_up()

        def done() -> int:
            """How many lines it took."""
            events = [line["event"].startswith("configuration") for line in self.said()[before:]]
            return events.index(True) + 1 if any(events) else 0

        await self.until(lambda: done() > 0)
        return self.said()[before:][: done()]

    def wallets(self) -> list[tuple[str, str]]:
        """Each `wallet_status` there was: name and state."""
        return [
            (event["data"]["name"], event["data"]["state"])
            for event in self.client.events
            if event["type"] == "wallet_status" and not event.get("removed")
        ]

    async def present(self, kind: str) -> list[dict[str, Any]]:
        """How things stand, as a stream that begins now is told."""
        query = {"types": kind, "duration": "0.2s"}
        async with aiohttp.ClientSession() as session, session.get(f"{self.daemon.url}/events", params=query) as answer:
            assert answer.status == 200, await answer.text()
            lines = [line.removeprefix("data: ") for line in (await answer.text()).splitlines()]
        found = [json.loads(line) for line in lines if line.startswith('{"id":')]
        return [event["data"] for event in found]

    async def hears_all(self) -> None:
        """All that the chain has is told, of each chain, and the stream was never cut."""
        head = await self.settled()
        for name, blocks in self.client.fold.chains.items():  # each is the child of the one below: the fold checks it
            assert blocks[max(blocks)] == head, name
            assert len(blocks) == max(blocks) - min(blocks) + 1, name
        for event in self.client.events[self.read :]:
            if event["chain"] == "anvil":
                self.purse.apply(event)
        self.read = len(self.client.events)


@contextlib.asynccontextmanager
async def busy(house: House) -> AsyncIterator[list[str]]:
    """Blocks come all the time meanwhile, each with a payment of ALICE to BOB; their transactions."""
    sent: list[str] = []
    quit_ = asyncio.Event()

    async def mine() -> None:
        while not quit_.is_set():
            sent.append(await house.node.send(ALICE, BOB, value=1, gas=21_000))
            await house.node.mine()
            await asyncio.sleep(0.02)  # a daemon that is for ever behind would prove nothing

    task = asyncio.create_task(mine())
    try:
        yield sent
    finally:
        quit_.set()
        await task


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(anvil_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("reload")
    async with Anvil(anvil_binary, folder / "anvil") as node, PriceApis() as api:
        api.prices["ethereum", "usd"] = ("3000.5", NOW)
        api.prices["bitcoin", "usd"] = ("60000", NOW)
        feed = await Feed.deploy(node)
        await feed.transmit(3_000_00000000)
        tables = {
            "server": {},
            "chains": [
                follows("anvil", node, balance_sweep="1s", request_timeout="5s"),
                follows("still", node, pending="none"),
            ],
            "wallets": [{"name": "alice", "address": ALICE, "chains": ["anvil"]}],
        }
        async with Daemon(folder / "daemon", **tables) as daemon:
            scene = House(node, daemon)
            scene.tables, scene.api, scene.feed = tables, api, feed
            scene.coin = await node.deploy(load_contracts()["Coin"]["bytecode"])
            try:
                await scene.settled()
                yield scene
            finally:
                await scene.client.close()


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _nothing_is_lost(house: House, request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Whatever a test does to the house: the client's stream was not cut, and is the chain."""
    connects = house.client.connects
    yield
    await house.hears_all()
    assert house.client.connects - connects == ("kill" in request.node.name)


async def test_nothing_changed_is_said_and_nothing_is_done(house):
    before = len(house.client.events)
    (line,) = await house.reload()
    assert (line["event"], line["level"]) == ("configuration reloaded: nothing changed", "info")
    await house.heard()
    assert house.client.events[before:] == []


async def test_a_wallet_comes_is_renamed_and_goes_while_blocks_keep_coming(house):
    async with busy(house) as sent:
        told = len(house.wallets())
        *lines, last = await house.reload(wallets=[*house.tables["wallets"], WATCHED])
        assert (last["event"], last["added"]) == ("configuration reloaded", ["wallet bob"])
        assert ("wallet added", "bob") in [(line["event"], line.get("name")) for line in lines]
        await house.until(lambda: house.wallets()[told:] == [("bob", "syncing"), ("bob", "watching")])
        after = len(sent)
        await house.until(lambda: len(sent) > after + 3)
        paid = sent[after + 2]
        await house.until(lambda: bool(house.standing("wallet_incoming", tx_hash=paid)))
        *_, last = await house.reload(wallets=[house.tables["wallets"][0], WATCHED | {"name": "robert"}])
        assert last["changed"] == ["wallet robert"]
        await house.until(lambda: house.wallets()[told + 2 :] == [("robert", "watching")])
        present = {data["name"]: data["state"] for data in await house.present("wallet_status")}
        assert present == {"alice": "watching", "robert": "watching"}
        *_, last = await house.reload(wallets=house.tables["wallets"][:1])
        assert last["removed"] == ["wallet robert"]
        await house.until(lambda: house.wallets()[told + 3 :] == [("robert", "removed")])
        assert [data["name"] for data in await house.present("wallet_status")] == ["alice"]
    await house.settled()
    # Each payment is told once for who sent it; for who got it, as long as he was watched, and without a hole.
    out = [data["tx_hash"] for data in house.standing("wallet_outgoing") if data["tx_hash"] in sent]
    assert sorted(out) == sorted(sent)
    into = [data["tx_hash"] for data in house.standing("wallet_incoming")]
    first = sent.index(into[0])
    assert into == sent[first : first + len(into)]
    assert paid in into[1:]
    assert len(into) < len(sent)


async def test_a_chain_that_did_not_change_keeps_its_connections(house):
    before = (await house.daemon.get("/v1/stats"))["chains"]
    async with busy(house):
        await house.reload(wallets=[*house.tables["wallets"], WATCHED])
        await house.reload(wallets=house.tables["wallets"][:1])
    await house.settled()
    after = (await house.daemon.get("/v1/stats"))["chains"]
    assert (after[1]["name"], after[1]["endpoints"][0]["connects"]) == ("still", 1)
    assert after[1]["blocks"] == len(house.client.fold.chains["still"])
    assert after[0]["blocks"] > before[0]["blocks"], "what it counted goes on"


async def test_a_token_comes_and_goes_and_its_symbol_is_a_word_of_filters_at_once(house):
    path = "/events/history?token=COIN"
    with pytest.raises(AssertionError, match="COIN"):
        await house.daemon.get(path)
    *_, last = await house.reload(tokens=[{"chain": "anvil", "symbol": "COIN", "address": house.coin, "decimals": 6}])
    assert last["added"] == ["token COIN of anvil"]
    transfer = load_contracts()["Coin"]["selectors"]["transfer(address,uint256)"]
    await house.node.send(RICH, house.coin, "0x" + transfer + word(CAROL) + word(5))
    block = await house.mine()
    (data,) = house.standing("token_transfer", block, chain="anvil")
    assert (data["token"], data["amount"]) == ("COIN", "5")
    assert [event["data"]["amount"] for event in (await house.daemon.get(path))["events"]] == ["5"]
    *_, last = await house.reload(tokens=[])
    assert last["removed"] == ["token COIN of anvil"]
    await house.node.send(RICH, house.coin, "0x" + transfer + word(CAROL) + word(6))
    block = await house.mine()
    assert not house.standing("token_transfer", block, chain="anvil"), "it touches no wallet"


async def test_a_reorganisation_takes_back_what_a_token_moved_that_is_not_listed_for_now(house):
    coin = {"chain": "anvil", "symbol": "COIN", "address": house.coin, "decimals": 6}
    transfer = load_contracts()["Coin"]["selectors"]["transfer(address,uint256)"]
    await house.reload(tokens=[coin])
    await house.mine()
    await house.node.send(RICH, house.coin, "0x" + transfer + word(ALICE) + word(5))
    block = await house.mine()
    assert [data["balance"] for data in house.standing("balance_changed", block, token="COIN")] == ["5"]
    await house.reload(tokens=[])
    await house.reorganise()
    await house.reload(tokens=[coin])
    await house.node.send(RICH, house.coin, "0x" + transfer + word(ALICE) + word(7))
    block = await house.mine()
    (data,) = house.standing("balance_changed", block, token="COIN")
    assert (data["previous_balance"], data["balance"], data["unattributed"]) == ("0", "7", "0")
    await house.hears_all()
    assert house.purse.held[ALICE, house.coin.lower()] == 7
    await house.reload(tokens=[])


async def test_prices_come_and_go_with_what_is_said_of_their_sources(house):
    async def sources() -> list[str]:
        vitals = [one["name"] for one in (await house.daemon.get("/v1/stats"))["sources"]]
        assert sorted(data["source"] for data in await house.present("source_status")) == sorted(vitals)
        return sorted(vitals)

    api = {"source": "coingecko", "url": f"{house.api.root}/api/v3", "interval": 1, "api_key_file": str(key_of(house))}
    key_of(house).write_text("CG-first-key-of-ours")
    house.api.key = "CG-first-key-of-ours"
    eth = {"symbol": "ETH", "id": "ethereum", **api}
    async with busy(house):
        *_, last = await house.reload(
            prices=[eth, {"symbol": "ETH", "source": "chainlink", "chain": "anvil", "feed": house.feed.proxy}]
        )
        assert last["added"] == ["price ETH/USD by coingecko", "price ETH/USD by chainlink of anvil"]
        assert (await house.comes("price_update", source="coingecko"))["price"] == "3000.5"
        assert (await house.comes("price_update", source="chainlink"))["price"] == "3000"
        assert await sources() == ["chainlink:ETH/USD", "coingecko"]
        *_, last = await house.reload(prices=[eth, {"symbol": "BTC", "id": "bitcoin", **api}])
        assert (last["added"], last["removed"]) == (
            ["price BTC/USD by coingecko"], ["price ETH/USD by chainlink of anvil"],
        )  # fmt: skip
        assert (await house.comes("price_update", symbol="BTC"))["price"] == "60000"
        assert await sources() == ["coingecko"]
        # The key is another one, in the same file.
        house.api.key = "CG-second-key-of-ours"
        await house.until(lambda: bool(house.standing("source_status", source="coingecko", state="failing")))
        key_of(house).write_text("CG-second-key-of-ours")
        *_, last = await house.reload()
        assert last["changed"] == ["price ETH/USD by coingecko", "price BTC/USD by coingecko"]
        states = [data["state"] for data in house.standing("source_status", source="coingecko")]
        assert states[-1] == "failing"
        await house.until(lambda: house.standing("source_status", source="coingecko")[-1]["state"] == "ok")
        *_, last = await house.reload(prices=[])
        assert len(last["removed"]) == 2
        assert await sources() == []
    assert len(house.standing("price_update", source="coingecko")) == 2, "no price is told twice"
    assert "key-of-ours" not in house.daemon.stderr.read_text()


def key_of(house: House) -> Path:
    return house.daemon.folder / "gecko.key"


async def test_a_whole_chain_comes_and_goes(house):
    chains = house.tables["chains"]
    async with busy(house):
        *_, last = await house.reload(chains=[*chains, follows("late", house.node)])
        assert last["added"] == ["chain late"]
        head = await house.node.call("eth_getBlockByNumber", "latest", False)
        await house.until(lambda: head["hash"] in house.client.fold.chains.get("late", {}).values())
        names = [one["name"] for one in (await house.daemon.get("/health"))["chains"]]
        assert names == ["anvil", "still", "late"]
        await house.daemon.get("/events/history?chains=late")
        *_, last = await house.reload(chains=chains)
        assert last["removed"] == ["chain late"]
    status = house.standing("chain_status", chain="late")[-1]
    assert (status["state"], status["reason"]) == ("disconnected", "the configuration has it no more")
    assert [one["name"] for one in (await house.daemon.get("/health"))["chains"]] == ["anvil", "still"]
    assert len(await house.present("chain_status")) == 2
    house.client.fold.chains.pop("late")
    # Another chain of that name is none that this log can go on with: it is said, and all else goes on.
    *_, failed, last = await house.reload(chains=[*chains, follows("late", house.node, chain_id=5)])
    assert (failed["what"], failed["level"]) == ("chain late", "error")
    assert "chain id 31337" in failed["reason"]
    assert (last["failed"], "added" in last) == (["chain late"], False)
    assert [one["name"] for one in (await house.daemon.get("/health"))["chains"]] == ["anvil", "still"]
    *_, last = await house.reload(chains=chains)
    assert last["event"] == "configuration reloaded: nothing changed"


async def test_other_endpoints_are_used_at_once_and_never_shown(house):
    chains = house.tables["chains"]
    *lines, last = await house.reload(
        chains=[chains[0] | {"endpoints": [f"{house.node.http}/?key={SECRET}"], "confirmations": [1, 2]}, chains[1]]
    )
    assert last["changed"] == ["chain anvil"]
    assert [line["keys"] for line in lines if line["event"] == "chain changed"] == [["confirmations", "endpoints"]]
    await house.mine(2)
    assert (await house.daemon.chain())["endpoint"].startswith("http://127.0.0.1")
    *_, last = await house.reload(chains=chains)
    assert last["changed"] == ["chain anvil"]
    assert SECRET not in house.daemon.stderr.read_text()


async def test_what_is_wrong_is_told_at_once_and_changes_nothing(house):
    tables = dict(house.tables)
    before = await house.daemon.get("/v1/stats")
    lines = await house.reload(
        server={"prot": 1, "heartbeat": "soon"}, wallets=[{"name": "x", "address": "0x12"}], tokens=[]
    )
    wrong = [line["place"] for line in lines if line["event"] == "wrong in the configuration"]
    assert sorted(wrong) == ["server.heartbeat", "server.prot", "wallets[0].address"]
    assert (lines[-1]["event"], lines[-1]["level"]) == ("configuration not reloaded: nothing changed", "error")
    assert "3 problems" in lines[-1]["reason"]
    house.daemon.config.rename(house.daemon.folder / "away")
    house.hang_up()
    await house.until(lambda: "cannot read the configuration" in house.said()[-1].get("reason", ""))
    house.daemon.config.write_text("[[[")
    house.hang_up()
    await house.until(lambda: "is not valid TOML" in house.said()[-1].get("reason", ""))
    *_, last = await house.reload(**tables)
    assert last["event"] == "configuration reloaded: nothing changed"
    after = await house.daemon.get("/v1/stats")
    assert [one["endpoints"][0]["connects"] for one in after["chains"]] == [
        one["endpoints"][0]["connects"] for one in before["chains"]
    ]


async def test_where_it_listens_needs_a_restart_and_the_rest_is_taken_up(house):
    *lines, last = await house.reload(
        server={"port": 1}, log={"ttl": "1d"}, wallets=[house.tables["wallets"][0], WATCHED]
    )
    waiting = [line["setting"] for line in lines if line["event"].startswith("this needs a restart")]
    assert waiting == last["needs_restart"] == ["server.port", "log.ttl"]
    assert last["added"] == ["wallet bob"]
    *_, last = await house.reload(server={}, log={}, wallets=house.tables["wallets"][:1])
    assert last["removed"] == ["wallet bob"]
    assert "needs_restart" not in last


async def test_limits_hold_for_what_comes_next_and_nobody_is_sent_away(house):
    async with aiohttp.ClientSession() as session:
        *_, last = await house.reload(
            server={"max_connections": 1, "heartbeat": "100ms", "allowed_origins": ["https://example.org"]}
        )
        assert last["changed"] == ["server allowed_origins", "server heartbeat", "server max_connections"]
        async with session.get(f"{house.daemon.url}/events") as answer:
            assert answer.status == 503
        await house.reload(server={"max_connections": 10, "heartbeat": "100ms"})
        async with session.get(f"{house.daemon.url}/events?types=chain_reorg") as answer:
            assert answer.status == 200
            async with asyncio.timeout(10):
                while await answer.content.readline() != b":\n":
                    pass
    await house.reload(server={})


async def test_a_storm_of_signals_leaves_what_the_last_configuration_says(house):
    alone = house.tables["wallets"][:1]
    lists = [[*alone, WATCHED], alone, [*alone, WATCHED | {"name": "robert"}], [{"name": "a", "address": ALICE}]]
    async with busy(house) as sent:
        for turn in range(20):
            house.configure(wallets=lists[turn % 4])
            house.hang_up()
            await house.until(lambda turn=turn: len(sent) > turn)
        last = {"name": "carol", "address": CAROL, "chains": ["anvil"]}
        house.configure(wallets=[*alone, last])
        house.hang_up()
        await house.until(lambda: house.wallets()[-1] == ("carol", "watching"))
    await house.hears_all()
    present = {data["name"]: data["state"] for data in await house.present("wallet_status")}
    assert present == {"alice": "watching", "carol": "watching"}
    out = [data["tx_hash"] for data in house.standing("wallet_outgoing", chain="anvil") if data["tx_hash"] in sent]
    assert sorted(out) == sorted(sent)
    await house.reload(wallets=alone)


async def test_a_kill_right_after_the_signal_loses_nothing_and_the_next_start_has_the_new_configuration(house):
    async with busy(house) as sent:
        house.configure(wallets=[*house.tables["wallets"], WATCHED])
        house.hang_up()
        await house.restart()
        await house.until(lambda: house.wallets()[-1] == ("bob", "watching"))
    await house.settled()
    out = [data["tx_hash"] for data in house.standing("wallet_outgoing") if data["tx_hash"] in sent]
    assert sorted(out) == sorted(sent)


async def test_a_stop_in_the_middle_of_a_reload_is_a_stop(anvil, tmp_path):
    wallets = [{"name": "alice", "address": ALICE}]
    async with Daemon(tmp_path, chains=[follows("anvil", anvil)], wallets=wallets) as daemon:
        daemon.configure(server={}, chains=[follows("anvil", anvil)])
        daemon.process.send_signal(signal.SIGHUP)
        daemon.process.send_signal(signal.SIGTERM)
        assert await daemon.process.wait() == 0
        assert '"level": "error"' not in daemon.stderr.read_text()


@pytest.mark.parametrize("nohup", [False, True])
async def test_a_demonstration_has_nothing_to_reload_and_ends_with_its_terminal_except_under_nohup(tmp_path, nohup):
    master, slave = pty.openpty()

    def own_terminal() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    with (tmp_path / "stderr").open("w") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chainwatch", "serve", "--demo", "--port", "0"),
            stdin=slave, stdout=asyncio.subprocess.PIPE, stderr=stderr, preexec_fn=own_terminal,
            env={**os.environ, "HOME": str(tmp_path)},
        )  # fmt: skip
    os.close(slave)
    reloaded = "configuration reloaded: nothing changed"

    def stderr() -> str:
        return (tmp_path / "stderr").read_text()

    async def until_reloaded(times: int) -> None:
        while stderr().count(reloaded) < times:
            await asyncio.sleep(0.01)

    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert (await process.stdout.readline()).startswith(b"listening on ")
            process.send_signal(signal.SIGHUP)
            await until_reloaded(1)
            os.close(master)  # the window is closed, and the kernel says so
            if nohup:
                await until_reloaded(2)
                process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
        assert ("the terminal is gone" in stderr()) is not nohup
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
