"""Never an event missed, never one doubled: a real node, the real daemon, and everything that can go wrong between.

A schedule mines, cuts, hangs, reorganises, rolls back, restarts the node and kills the daemon. Whatever it was, in the
end the fold of the stream is the node's canonical chain and its logs, and a client that was cut at random holds exactly
what the daemon's history holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from anvil import ACCOUNTS, Anvil, word
from daemon import Daemon
from fold import Client, Fold, expected_transfers
from hypothesis import HealthCheck, given, settings, strategies as st
from proxy import Proxy

pytestmark = pytest.mark.long

MINE = st.tuples(st.just("mine"), st.integers(1, 6), st.integers(0, 4))
REORG = st.tuples(st.just("reorg"), st.integers(1, 8), st.booleans())
ROLLBACK = st.tuples(st.just("rollback"), st.integers(1, 6))
SETTLE = st.tuples(st.just("settle"))
CUT = st.tuples(st.just("cut"), st.sampled_from([0, 0, 1, 40, 700, 5000]))
REFUSE = st.tuples(st.just("refuse"), st.integers(1, 4))
HANG = st.tuples(st.just("hang"), st.booleans())
RESTART_NODE = st.tuples(st.just("restart_node"))
KILL = st.tuples(st.just("kill"), st.integers(0, 30))
STOP = st.tuples(st.just("stop"))
CUT_CLIENT = st.tuples(st.just("cut_client"))
PAUSE = st.tuples(st.just("pause"), st.integers(0, 12))

ACTION = st.one_of(
    MINE,
    MINE,
    MINE,
    SETTLE,
    SETTLE,
    SETTLE,
    REORG,
    REORG,
    ROLLBACK,
    CUT,
    REFUSE,
    HANG,
    RESTART_NODE,
    KILL,
    STOP,
    CUT_CLIENT,
    PAUSE,
)
SCHEDULE = st.lists(ACTION, min_size=4, max_size=14)


class World:
    """A node, a network that fails, the daemon, and a client."""

    def __init__(self, node: Anvil, proxy: Proxy, daemon: Daemon, client: Client, coin: str, selectors: dict) -> None:
        self.node = node
        self.proxy = proxy
        self.daemon = daemon
        self.client = client
        self.coin = coin
        self.selectors = selectors
        self.salt = 0

    async def do(self, action: tuple) -> None:
        await getattr(self, action[0])(*action[1:])

    async def mine(self, blocks: int, transactions: int) -> None:
        for _ in range(blocks):
            for _ in range(transactions):
                self.salt += 1
                data = self.selectors["spread(uint160,uint256)"] + word(self.salt * 64) + word(1 + self.salt % 5)
                await self.node.send(ACCOUNTS[self.salt % 2 and 0], self.coin, "0x" + data)
            await self.node.mine()

    async def reorg(self, depth: int, with_transactions: bool) -> None:
        depth = min(depth, await self.node.head() - 2)  # the contract's block stays
        if depth < 1:
            return
        await self.node.call("anvil_reorg", depth, [])
        self.node.forget_nonces()
        if with_transactions:
            await self.mine(1, 2)

    async def settle(self) -> None:
        """All is told, and the client has it: what comes next has something to take back."""
        await self.daemon.reached((await self.node.call("eth_getBlockByNumber", "latest", False))["hash"])
        await self.client.has((await self.daemon.history())[-1]["id"])

    async def rollback(self, depth: int) -> None:
        depth = min(depth, await self.node.head() - 2)
        if depth < 1:
            return
        await self.node.call("anvil_rollback", depth)
        self.node.forget_nonces()

    async def cut(self, after: int) -> None:
        if after:
            self.proxy.cut_after(after)
        else:
            self.proxy.cut()

    async def refuse(self, tenths: int) -> None:
        await self.proxy.refuse()
        self.proxy.cut()
        await self.mine(2, 1)
        await asyncio.sleep(tenths / 10)
        await self.proxy.accept()

    async def hang(self, node: bool) -> None:
        """Half-open, for longer than the daemon's patience or not."""
        if node:
            self.node.freeze()
            await asyncio.sleep(0.3)
            self.node.thaw()
        else:
            self.proxy.hang()
            await self.mine(1, 1)
            await asyncio.sleep(1.4)
            self.proxy.resume()

    async def restart_node(self) -> None:
        await self.node.restart()

    async def kill(self, hundredths: int) -> None:
        """kill -9, at some moment after blocks came."""
        await self.mine(2, 2)
        await asyncio.sleep(hundredths / 100)
        await self.daemon.kill()
        await self.start_again()

    async def stop(self) -> None:
        assert await self.daemon.stop() == 0
        await self.start_again()

    async def start_again(self) -> None:
        await self.daemon.start()
        self.client.url = self.daemon.url

    async def cut_client(self) -> None:
        self.client.cut()

    async def pause(self, hundredths: int) -> None:
        await asyncio.sleep(hundredths / 100)


async def play(binary: Path, contracts: dict, schedule: list[tuple]) -> None:
    """Play a schedule and hold the daemon to its promise."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chainwatch-")))
        node = await stack.enter_async_context(Anvil(binary, folder / "anvil"))
        coin = await node.deploy(contracts["Coin"]["bytecode"])
        proxy = await stack.enter_async_context(Proxy(node.port))
        chain = {
            "name": "anvil",
            "chain_id": 31337,
            "endpoints": [proxy.ws],
            "start": 0,
            "tokens": "all",
            "transactions": "all",
            "confirmations": [1, 3],
            "request_timeout": "1s",
        }
        daemon = await stack.enter_async_context(Daemon(folder / "daemon", chains=[chain]))
        client = Client(daemon.url)
        stack.push_async_callback(client.close)
        world = World(node, proxy, daemon, client, coin, contracts["Coin"]["selectors"])
        for action in schedule:
            await world.do(action)
        await check(world)


async def check(world: World) -> None:
    node, daemon = world.node, world.daemon
    canonical = await node.canonical()
    await daemon.reached(canonical[max(canonical)])
    history = await daemon.history()
    await world.client.has(history[-1]["id"])
    fold = world.client.fold
    assert fold.blocks == canonical
    assert fold.transfers() == expected_transfers(await node.logs())
    history = await daemon.history()
    await world.client.has(history[-1]["id"])
    assert world.client.events == history
    await check_transactions(node, fold, canonical)


async def check_transactions(node: Anvil, fold: Fold, canonical: dict[int, str]) -> None:
    """Each transaction is confirmed once at each depth that its block has reached."""
    expected = set()
    # A block that was three deep once stays confirmed: only its own orphaning takes that back.
    least = set()
    for number, block_hash in canonical.items():
        block = await node.call("eth_getBlockByHash", block_hash, False)
        for transaction in block["transactions"]:
            expected.add((transaction, 1))
            if number + 2 <= max(canonical):
                least.add((transaction, 3))
    told = [(data["tx_hash"], data["confirmations"]) for data in fold.of_type("transaction_confirmed")]
    assert len(told) == len(set(told))
    assert {pair for pair in told if pair[1] == 1} == expected
    assert {pair for pair in told if pair[1] == 3} >= least


Play = Callable[[list[tuple]], Awaitable[None]]


@pytest.fixture
def play_on(anvil_binary: Path, contracts: dict) -> Callable[[list[tuple]], None]:
    def run(schedule: list[tuple]) -> None:
        asyncio.run(asyncio.wait_for(play(anvil_binary, contracts, schedule), 110))

    return run


@pytest.mark.parametrize(
    "schedule",
    # Without `settle` before it, a reorganisation comes before the daemon has seen what it orphans.
    [
        [("mine", 3, 2), ("settle",), ("reorg", 2, False)],
        [("mine", 5, 2), ("settle",), ("rollback", 3), ("pause", 10), ("mine", 1, 1)],
        [("mine", 5, 2), ("settle",), ("rollback", 4)],
        [("mine", 4, 3), ("settle",), ("kill", 0), ("reorg", 4, True), ("kill", 2)],
        [("mine", 3, 2), ("hang", False), ("mine", 2, 2), ("hang", True)],
        [("mine", 3, 2), ("settle",), ("refuse", 3), ("reorg", 5, True), ("restart_node",), ("mine", 2, 2)],
        [("cut", 700), ("mine", 6, 4), ("cut_client",), ("cut", 5000), ("mine", 3, 3), ("stop",)],
        [
            ("mine", 6, 1),
            ("settle",),
            ("reorg", 8, False),
            ("settle",),
            ("reorg", 3, True),
            ("cut", 0),
            ("reorg", 1, False),
        ],
        [("mine", 5, 2), ("settle",), ("stop",), ("reorg", 3, True), ("settle",), ("cut_client",), ("rollback", 2)],
    ],
    ids=lambda schedule: "-".join(action[0] for action in schedule),
)
def test_a_known_story_ends_with_the_canonical_chain(play_on, schedule):
    play_on(schedule)


@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
@given(schedule=SCHEDULE)
def test_any_schedule_ends_with_the_canonical_chain(play_on, schedule):
    play_on(schedule)


@pytest.mark.soak
@pytest.mark.timeout(0)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(schedule=st.lists(ACTION, min_size=8, max_size=30))
def test_hundreds_of_long_schedules_end_with_the_canonical_chain(play_on, schedule):
    play_on(schedule)
