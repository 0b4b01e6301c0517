"""`chainwatch replay`: a past block prints what the daemon told of it, and touches nothing."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import contracts
import pytest
import pytest_asyncio
from anvil import ACCOUNTS, Anvil, free_port
from contracts import MUCH, OWNER, approve, calldata, send, transfer
from daemon import Daemon
from scene import Scene, follows, played
from test_feeds import Feed

from chainwatch import config
from chainwatch.cli import run
from chainwatch.event import encode
from chainwatch.replay import replay

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

ALICE, BOB, CAROL = ACCOUNTS[1:4]
BY_READING = {"chain_reorg", "chain_status", "source_status", "block_finalized"}
"""What no block tells by itself."""


class Done(NamedTuple):
    code: int | None
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


async def replayed(settings: Path, *arguments: str | int) -> Done:
    """`chainwatch replay`, as a process in the folder of its configuration, which is its home too."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("CHAINWATCH_", "XDG_"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chainwatch", "-c", str(settings), "replay", *map(str, arguments)),
        cwd=settings.parent,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environ | {"HOME": str(settings.parent), "PYTHONWARNINGS": "error"},
    )
    out, err = await process.communicate()
    return Done(process.returncode, out.decode(), err.decode())


async def each(settings: Path, *runs: Sequence[str | int]) -> list[Done]:
    """Several of these; two at a time."""
    room = asyncio.Semaphore(2)

    async def one(arguments: Sequence[str | int]) -> Done:
        async with room:
            return await replayed(settings, *arguments)

    return await asyncio.gather(*map(one, runs))


def bare(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the moment at which somebody first had them."""
    return [{name: value for name, value in event.items() if name != "observed_at"} for event in events]


class Past(Scene):
    """A chain with a busy block, and the daemon that told it."""

    block: str
    number: int
    gold: str
    history: list[dict[str, Any]]

    def of(self, block: str, *, chain: str = "anvil") -> list[dict[str, Any]]:
        """What the daemon's history has of that block."""
        return [
            event
            for event in self.history
            if event["type"] not in BY_READING
            and event["chain"] == chain
            and event["data"].get("block_hash") == block
            # A round that was there before, and is found by reading now and then.
            and (event["type"] != "price_update" or event["data"]["tx_hash"])
        ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def past(anvil_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Past]:
    folder = tmp_path_factory.mktemp("replay")
    async with Anvil(anvil_binary, folder / "anvil") as node:
        gold, usdc = (await contracts.token(node, "GOLD", 18)).lower(), (await contracts.token(node, "FAKE", 6)).lower()
        weth = (await contracts.weth(node)).lower()
        pair = await contracts.deploy_v2_pair(node, gold, usdc)
        feed = await Feed.deploy(node)
        await feed.transmit(3_000_00000000)
        for name in (gold, usdc):
            await transfer(node, name, OWNER, ALICE, 10**24)
        await approve(node, gold, ALICE, pair.trader, MUCH)
        await node.mine(2)
        await node.send(ALICE, BOB, value=10**18 + 1)
        await node.send(CAROL, gold, calldata("transfer(address,uint256)", ALICE, 9), gas=200_000)
        await node.send(ALICE, gold, calldata("transfer(address,uint256)", BOB, MUCH), gas=200_000)
        await transfer(node, usdc, ALICE, CAROL, 77)
        await approve(node, usdc, BOB, CAROL, 2**256 - 1)
        await contracts.swap_v2(node, pair, ALICE, gold, 10**20, BOB)
        await contracts.wrap(node, weth, BOB, 5)
        await send(node, OWNER, feed.aggregator, "transmit(int256,uint256)", 3_100_00000000, await feed.now())
        await node.mine()
        busy = await node.call("eth_getBlockByNumber", "latest", False)
        await node.send(BOB, ALICE, value=3)
        await node.mine(4)
        async with played(
            node,
            folder / "daemon",
            chains=[
                follows("anvil", node, confirmations=[1, 3, 9]),
                follows("traced", node, transactions="none", tokens="all", internal_transfers=True),
            ],
            wallets=[{"name": "alice", "address": ALICE}, {"name": "bob", "address": BOB}],
            tokens=[
                {"chain": "anvil", "symbol": "USDC", "address": usdc, "decimals": 6},
                {"chain": "anvil", "symbol": "WETH", "address": weth, "decimals": 18},
                {"chain": "traced", "symbol": "FAKE", "address": usdc, "decimals": 6},
            ],
            prices=[{"symbol": "ETH", "source": "chainlink", "chain": "anvil", "feed": feed.proxy}],
            kind=Past,
        ) as scene:
            scene.block, scene.number, scene.gold = busy["hash"], int(busy["number"], 16), gold
            scene.history = await scene.daemon.history()
            yield scene


# --- what it prints -------------------------------------------------------------------------------------------------


async def test_a_block_prints_what_the_daemon_s_history_has_of_it(past):
    done = await replayed(past.daemon.config, "--chain", "anvil", "--block", past.number, "--json")
    assert (done.code, done.err) == (0, "")
    wanted = past.of(past.block)
    assert bare(done.events) == bare(wanted)
    assert {event["type"] for event in wanted} == {
        "block_new", "transaction_confirmed", "transaction_failed", "token_transfer", "token_approval", "token_swap",
        "wallet_incoming", "wallet_outgoing", "balance_changed", "price_update",
    }  # fmt: skip
    confirmed = {event["data"]["confirmations"] for event in wanted if event["type"] == "transaction_confirmed"}
    assert confirmed == {1, 3}, "the ninth is yet to come"


async def test_every_block_of_both_chains_says_the_same_again(past):
    settings = config.load(past.daemon.config, {}, {})
    heights = await past.node.canonical()
    for of in settings.chains:
        for number, block in heights.items():
            told = await replay(settings, of, number)
            assert told.unread is None
            found = [json.loads(encode(event)) for event in told.events]
            found = [event for event in found if event["type"] != "price_update" or event["data"]["tx_hash"]]
            assert bare(found) == bare(past.of(block, chain=of.name)), f"block {number} of {of.name}"


async def test_filters_choose_as_those_of_a_stream_do(past):
    number = ("--chain", "anvil", "--block", past.number, "--json")
    runs: list[tuple[tuple[str, ...], dict[str, str]]] = [
        (("-t", "balance_changed", "-t", "prices"), {"types": "balance_changed,prices"}),
        (("--filter", "wallets", "--address", BOB.upper().replace("X", "x")), {"filters": "wallets", "address": BOB}),
        (("--token", f"usdc,{past.gold}", "--min-amount", "70"), {"token": f"USDC,{past.gold}", "min_amount": "70"}),
    ]
    done = await each(past.daemon.config, *((*number, *arguments) for arguments, _ in runs))
    counts = []
    for one, (arguments, parameters) in zip(done, runs, strict=True):
        there = {event["id"] for event in await past.daemon.history(chains="anvil", **parameters)}
        wanted = [event for event in past.of(past.block) if event["id"] in there]
        assert one.code == 0
        assert bare(one.events) == bare(wanted), arguments
        counts.append(len(wanted))
    assert all(0 < count < len(past.of(past.block)) for count in counts), counts


async def test_people_and_templates_get_lines(past):
    number = ("--chain", "anvil", "--block", past.number)
    human, template = await each(
        past.daemon.config, number, (*number, "-t", "wallet_incoming", "--format", "{data.token} {data.amount}")
    )
    assert (human.code, human.err) == (template.code, template.err) == (0, "")
    assert len(human.out.splitlines()) == len(past.of(past.block))
    assert any("ERC20InsufficientBalance" in line for line in human.out.splitlines())
    incoming = [event["data"] for event in past.of(past.block) if event["type"] == "wallet_incoming"]
    assert template.out.splitlines() == [f"{data['token']} {data['amount']}" for data in incoming]


async def test_a_closed_pipe_is_no_failure_to_talk_about(past):
    command = f"{sys.executable} -m chainwatch -c {past.daemon.config} replay --chain anvil --block {past.number}"
    process = await asyncio.create_subprocess_shell(
        f"{command} | true; echo ${{PIPESTATUS[0]}}",
        executable="/bin/bash",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (out.decode().strip(), err) == ("141", b"")


# --- what is wrong --------------------------------------------------------------------------------------------------


async def test_what_cannot_be_meant_is_said_with_its_exit_code(past, capsys):
    settings, head = past.daemon.config, await past.node.head()
    known = ("--chain", "anvil", "--block", past.number)
    unknown, unclear = await each(settings, ("--chain", "anvil", "--block", 10**6), ("--block", 1))
    assert (unknown.code, unknown.out) == (1, "")
    assert unknown.err.startswith(f"chainwatch: anvil has no block {10**6}\nits newest block is {head}, says ws://")
    assert (unclear.code, unclear.out) == (2, "")
    assert unclear.err == "chainwatch: which chain is meant?\ngive --chain; there is: anvil, traced\n"
    for arguments, said in (
        (("--chain", "base", "--block", 1), "unknown chain 'base'"),
        ((*known, "--type", "wallte"), "did you mean 'wallet'?"),
        ((*known, "--address", "0x12"), "'0x12' is no address"),
        ((*known, "--token", "SHIB"), "unknown configured token 'SHIB'"),
        ((*known, "--min-amount", "1.5"), "'1.5' is no amount"),
        (("--chain", "anvil", "--block", -1), "--block"),
    ):
        assert run(["-c", str(settings), "replay", *map(str, arguments)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert said in err


async def test_nobody_there_and_a_bad_configuration_are_other_failures(tmp_path):
    chain = {"name": "anvil", "chain_id": 31337, "request_timeout": "1s"}
    urls = [f"{scheme}://127.0.0.1:{free_port()}/secret-key" for scheme in ("ws", "http")]
    nobody = Daemon(tmp_path / "nobody", chains=[chain | {"endpoints": urls}])
    bad = Daemon(tmp_path / "bad", chains=[chain | {"endpoints": []}])
    unreachable, wrong = await asyncio.gather(replayed(nobody.config, "--block", 1), replayed(bad.config, "--block", 1))
    assert (unreachable.code, unreachable.out) == (4, "")
    assert unreachable.err.startswith("chainwatch: no endpoint of anvil can be reached\nws://127.0.0.1:")
    assert len(unreachable.err.splitlines()) == 3  # what, and each endpoint's why; nothing of what was left open
    assert "secret-key" not in unreachable.err
    assert (wrong.code, wrong.out) == (3, "")
    assert "chains[0].endpoints" in wrong.err


async def test_another_chain_behind_the_endpoint_is_said(past, tmp_path):
    chain = {"name": "main", "chain_id": 1, "endpoints": [past.node.ws], "request_timeout": "2s"}
    done = await replayed(Daemon(tmp_path / "other", chains=[chain]).config, "--block", 1)
    assert (done.code, done.out) == (4, "")
    assert "31337" in done.err


# --- what it leaves -------------------------------------------------------------------------------------------------


async def test_no_log_is_touched(past, tmp_path):
    """Neither is one made, nor is the running daemon's opened, which would be refused."""
    fresh = Daemon(tmp_path / "fresh", chains=[follows("anvil", past.node)], log={"path": "here/events.db"})
    before = sorted(fresh.folder.rglob("*"))
    done = await replayed(fresh.config, "--block", past.number, "--json")
    assert done.code == 0
    assert done.events
    assert sorted(fresh.folder.rglob("*")) == before == [fresh.config]
    told = await past.daemon.get("/v1/stats")
    await replayed(past.daemon.config, "--chain", "anvil", "--block", past.number)
    assert (await past.daemon.get("/v1/stats"))["log"]["head"] == told["log"]["head"]


async def test_a_node_without_old_state_gives_the_rest_and_says_so(anvil_binary, tmp_path):
    async with Anvil(anvil_binary, tmp_path / "anvil", "--prune-history", durable=False) as node:
        await node.send(ALICE, BOB, value=7)
        await node.mine(600)
        made = Daemon(
            tmp_path / "made",
            chains=[follows("anvil", node, confirmations=[1, 6])],
            wallets=[{"name": "alice", "address": ALICE}],
        )
        done = await replayed(made.config, "--block", 1, "--json")
    assert done.code == 0
    assert done.err == f"chainwatch: no balances: {node.ws} no longer has the state of block 0\n"
    assert [(event["type"], event["data"].get("confirmations")) for event in done.events] == [
        ("block_new", None), ("transaction_confirmed", 1), ("wallet_outgoing", None), ("transaction_confirmed", 6),
    ]  # fmt: skip
