"""What nodes really push of their mempools, from anvil to what is told; and nodes that push nonsense, or nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from anvil import ACCOUNTS, Anvil
from lies import Lie
from structlog.testing import capture_logs

from chainwatch.chain.evm import fetch, mempool
from chainwatch.chain.evm.endpoint import Endpoint
from chainwatch.chain.evm.fetch import Needs
from chainwatch.chain.evm.http import HttpEndpoint
from chainwatch.chain.evm.mempool import Inbox, watch_mempool
from chainwatch.chain.evm.profile import Profile
from chainwatch.chain.evm.websocket import WebSocketEndpoint
from chainwatch.chain.simulated import CHAIN_ID, RpcError, SimulatedNode, World
from chainwatch.derive.mempool import Pool, Told
from chainwatch.derive.rules import Rules
from chainwatch.event import Event

ALICE, BOB, CAROL = ACCOUNTS[:3]
GWEI = 10**9


class Reader:
    """The pool's sink: what it tells, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._moved = asyncio.Event()

    async def pending(self, told: Told) -> None:
        self.events += told.events
        self._moved.set()

    async def has(self, kind: str, tx_hash: str, *, seconds: float = 20) -> Any:
        """Wait for that event; its data."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    for event in self.events:
                        if event.type == kind and event.data.tx_hash == tx_hash:
                            return event.data
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            told = [(event.type, event.data.tx_hash) for event in self.events]
            raise AssertionError(f"no {kind} of {tx_hash}, but {told}") from None


class Watched:
    """One endpoint, and everything from it to the reader."""

    def __init__(
        self,
        url: str,
        chain_id: int,
        *,
        dropped_after: float = 1.0,
        wallets: tuple[str, ...] = (),
        timeout: float = 5.0,
    ) -> None:
        which = "watched" if wallets else "all"
        self.rules = Rules(chain="sim", native="ETH", pending=which, wallets=frozenset(wallets))  # type: ignore[arg-type]
        self.pool = Pool(self.rules, dropped_after=dropped_after, max_depth=8)
        self.inbox = Inbox()
        self.reader = Reader()
        self.changed = asyncio.Event()
        kind = WebSocketEndpoint if url.startswith("ws") else HttpEndpoint
        self.endpoint: Endpoint = kind(
            url, chain="sim", chain_id=chain_id, profile=Profile(development=True), timeout=timeout,
            changed=self.changed.set, pending=self.inbox.push,
        )  # fmt: skip

    async def include(self) -> list[Event]:
        """Tell the node's newest block."""
        head = await self.endpoint.latest()
        needs = Needs(logs=False, transaction=lambda _told: True)
        told = self.pool.included(await fetch.block_by_hash(self.endpoint, head, needs), 0)
        await self.reader.pending(told)
        return told.events

    async def until(self, true: Any, *, seconds: float = 20) -> None:
        async with asyncio.timeout(seconds):
            while not true():
                await asyncio.sleep(0.005)

    @property
    def listens(self) -> bool:
        return getattr(self.endpoint, "_mempool", None) is not None


@contextlib.asynccontextmanager
async def watching(url: str, chain_id: int = 31337, *, listens: bool = True, **more: Any) -> AsyncIterator[Watched]:
    made = Watched(url, chain_id, **more)
    endpoint = made.endpoint
    tasks = [
        asyncio.create_task(endpoint.run()),
        asyncio.create_task(
            watch_mempool(
                made.pool, made.inbox, made.reader, chain="sim", endpoints=[endpoint],
                in_use=lambda: endpoint if endpoint.ready else None,
            )
        ),
    ]  # fmt: skip
    try:
        await made.until(lambda: endpoint.ready and (made.listens or not listens))
        yield made
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


async def send(anvil: Anvil, nonce: int, *, fee: int, to: str = BOB, value: int = 7, data: str = "0x") -> str:
    """A transaction of Alice."""
    return await anvil.call(
        "eth_sendTransaction",
        {
            "from": ALICE, "to": to, "value": hex(value), "nonce": hex(nonce), "gas": hex(50_000), "data": data,
            "maxFeePerGas": hex(fee * GWEI), "maxPriorityFeePerGas": hex(fee * GWEI),
        },
    )  # fmt: skip


# --- anvil --------------------------------------------------------------------------------------------------------


async def test_a_transaction_is_told_when_it_comes_into_the_mempool_and_not_again_when_it_is_mined(anvil):
    async with watching(anvil.ws, wallets=(BOB,)) as watched:
        before = time.time()
        one = await send(anvil, 0, fee=5)
        data = await watched.reader.has("transaction_pending", one)
        assert (data.nonce, data.amount, data.direction, data.token) == (0, "7", "incoming", "ETH")
        assert (data.from_.lower(), data.to.lower()) == (ALICE, BOB)
        assert data.max_fee_per_gas == data.max_priority_fee_per_gas == str(5 * GWEI)
        assert time.time() - before < 5
        await send(anvil, 1, fee=5, to=CAROL)
        last = await send(anvil, 2, fee=5)
        await watched.reader.has("transaction_pending", last)
        await anvil.mine()
        assert await watched.include() == []
        assert [event.data.tx_hash for event in watched.reader.events] == [one, last]
        assert watched.inbox.vitals() == {"pushed": 3, "left_out": 0, "malformed": 0, "to_look_up": 0}


async def test_a_higher_fee_is_a_speed_up_and_nothing_to_oneself_a_cancel(anvil):
    async with watching(anvil.ws) as watched:
        one = await send(anvil, 0, fee=5)
        await watched.reader.has("transaction_pending", one)
        two = await send(anvil, 0, fee=8)
        sped_up = await watched.reader.has("transaction_replaced", one)
        assert (sped_up.replaced_by, sped_up.kind, sped_up.block_number) == (two, "speed_up", None)
        three = await send(anvil, 0, fee=12, to=ALICE, value=0)
        cancelled = await watched.reader.has("transaction_replaced", two)
        assert (cancelled.replaced_by, cancelled.kind, cancelled.block_hash) == (three, "cancel", None)
        await anvil.mine()
        assert await watched.include() == []
        assert [event.type for event in watched.reader.events].count("transaction_pending") == 3


async def test_what_the_node_drops_is_dropped_after_a_while(anvil):
    async with watching(anvil.ws) as watched:
        one, two = await send(anvil, 0, fee=5), await send(anvil, 1, fee=5)
        await watched.reader.has("transaction_pending", two)
        await anvil.call("anvil_dropTransaction", two)
        dropped = await watched.reader.has("transaction_dropped", two)
        assert (dropped.reason, dropped.nonce) == ("gone", 1)
        assert [event.data.tx_hash for event in watched.reader.events] == [one, two, two]


async def test_a_nonce_that_is_used_in_a_block_that_nobody_tells_is_the_reason(anvil):
    async with watching(anvil.ws) as watched:
        one = await send(anvil, 0, fee=5)
        await watched.reader.has("transaction_pending", one)
        await anvil.call("anvil_dropTransaction", one)
        await anvil.call("anvil_setNonce", ALICE, "0x1")
        assert (await watched.reader.has("transaction_dropped", one)).reason == "nonce_used"


async def test_a_replacement_that_is_mined_unseen_names_its_block(anvil):
    async with watching(anvil.ws) as watched:
        one = await send(anvil, 0, fee=5)
        await watched.reader.has("transaction_pending", one)
        watched.inbox.push = lambda *_told: None  # type: ignore[method-assign]
        watched.endpoint._on_pending = None
        two = await send(anvil, 0, fee=8)
        await anvil.mine()
        assert [event.data.replaced_by for event in await watched.include()] == [two]
        data = await watched.reader.has("transaction_replaced", one)
        assert (data.block_number, data.kind) == (1, "speed_up")


@pytest.mark.parametrize("push", [True, False], ids=["subscription", "filter"])
async def test_hashes_are_looked_up(anvil, push):
    """Over HTTP there are hashes only; a WebSocket that pushes hashes goes the same way."""
    url = anvil.ws if push else anvil.http
    async with watching(url, listens=push) as watched:
        if push:
            watched.endpoint._on_pending = lambda endpoint, told, now: watched.inbox.push(endpoint, told.hash, now)
        else:
            await watched.until(lambda: watched.endpoint.requests >= 4)  # the filter is there
        sent = [await send(anvil, nonce, fee=5) for nonce in range(40)]
        for one in sent:
            await watched.reader.has("transaction_pending", one)
        assert len(watched.reader.events) == 40


# --- nodes of all kinds -------------------------------------------------------------------------------------------


class Only(Lie):
    """`eth_subscribe` to the mempool: refused with a second parameter, or at all; pushes are what the test says."""

    def __init__(self, refused: str = "", told: Any = None) -> None:
        super().__init__()
        self.refused = refused
        self.told = told

    def answer(self, request, view, reply):
        if request.method == "eth_subscribe" and request.params[0] == "newPendingTransactions":
            if self.refused == "objects" and len(request.params) > 1:
                return RpcError(-32602, "too many arguments, want at most 1")
            if self.refused == "all":
                return RpcError(-32601, "no such subscription")
            if self.refused == "silently":
                return None
        return reply

    def push(self, connection, kind, results):
        if kind == "newPendingTransactions" and self.told is not None:
            return self.told(results)
        return results


def pending_of(world: World) -> set[str]:
    return {transaction.hash for transaction in world.pool}


async def test_a_node_that_gives_no_objects_gives_hashes():
    world = World(3)
    async with (
        SimulatedNode(world, conduct=Only("objects")) as node,
        watching(node.url, CHAIN_ID, dropped_after=60) as watched,
    ):
        change = world.mine()
        assert change.pending
        for transaction in change.pending:
            await watched.reader.has("transaction_pending", transaction.hash)


async def test_a_node_without_a_mempool_is_as_good_as_any_for_heads():
    world = World(3)
    with capture_logs() as logs:
        async with (
            SimulatedNode(world, conduct=Only("all")) as node,
            watching(node.url, CHAIN_ID, listens=False) as watched,
        ):
            await watched.until(lambda: any("no mempool" in line["event"] for line in logs))
            world.mine()
            await watched.until(lambda: watched.endpoint.head.hash == world.head.hash)
            assert watched.endpoint.connects == 1
    assert [line["event"].split(":")[0] for line in logs if line["log_level"] == "warning"] == [
        "endpoint shows no mempool"
    ]


async def test_a_node_that_pushes_nonsense_loses_nothing_but_that():
    world = World(3)
    nonsense = [b'"0x12"', b"{}", b"17", b'{"hash":"0x1","from":"a","value":"z","nonce":"?"}', b'""', b"null"]
    whole = json.dumps(
        {"hash": "0x" + "1" * 64, "from": "0x<b>", "to": None, "value": "0x1", "nonce": "0x1", "input": "0x"}
    ).encode()
    conduct = Only(told=lambda results: [*nonsense, whole, *results])
    async with SimulatedNode(world, conduct=conduct) as node, watching(node.url, CHAIN_ID) as watched:
        change = world.mine()
        for transaction in change.pending:
            await watched.reader.has("transaction_pending", transaction.hash)
        assert watched.inbox.malformed == 2
        assert watched.endpoint.connects == 1
        await watched.until(lambda: watched.endpoint.head.hash == world.head.hash)


async def test_heads_come_first_however_much_is_pushed():
    """Fifty thousand hashes that lead nowhere: the next head is there at once, and what was too much is counted."""
    world = World(3)
    flood = [b'"0x%064x"' % number for number in range(25_000)]
    conduct = Only(told=lambda results: [*flood, *results])
    # The node is in this process, and is not given up on while it writes all that.
    async with SimulatedNode(world, conduct=conduct) as node, watching(node.url, CHAIN_ID, timeout=60) as watched:
        world.mine()
        world.mine()
        await watched.until(lambda: watched.endpoint.head.hash == world.head.hash, seconds=60)
        assert (await watched.endpoint.latest()).hash == world.head.hash
        assert watched.inbox.vitals()["to_look_up"] <= 2 * mempool.ROOM
        assert watched.inbox.left_out > 0


async def test_a_node_that_cannot_answer_yet_for_what_it_pushed_is_asked_again():
    world = World(3)

    class Late(Only):
        asked = 0

        def answer(self, request, view, reply):
            if request.method == "eth_getTransactionByHash":
                self.asked += 1
                if self.asked <= 5:
                    return b"null"
            return super().answer(request, view, reply)

    conduct = Late("objects")
    async with SimulatedNode(world, conduct=conduct) as node, watching(node.url, CHAIN_ID) as watched:
        change = world.mine()
        for transaction in change.pending:
            await watched.reader.has("transaction_pending", transaction.hash)
