"""The follower against nodes that answer nonsense, nothing, or the wrong thing: it never dies, never waits for ever."""

from __future__ import annotations

import asyncio
import json

import pytest
from ingestion import agrees, becomes, chain_settings, folded, followed, opened_log, reached, told
from lies import BLOCKS, READS, RECEIPTS, Fails, Falsehood, Heads, Liar, Lie

from chainwatch.chain.simulated import RpcError, SimulatedNode, World

DEEP = b"[" * 100_000 + b"]" * 100_000
HUGE = "0x" + "f" * 6000


def small_world(seed: int, blocks: int, **more) -> World:
    world = World(seed, transactions=(2, 4), **more)
    world.mine(blocks)
    return world


class Says(Lie):
    """These bytes instead of the result."""

    def __init__(self, result: bytes, *methods: str, times: int | None = None) -> None:
        super().__init__(times=times)
        self.result = result
        self.methods = methods

    def answer(self, request, view, reply):
        return self.result if request.method in self.methods and self.due() else reply


class Altered(Falsehood):
    """One place of the result is something else."""

    def __init__(self, methods, path, value, times=6) -> None:
        super().__init__(times=times)
        self.methods = frozenset(methods)
        self.path = path
        self.value = value

    def applies(self, request, view, truth):
        try:
            for part in self.path:
                truth = truth[part]
        except (LookupError, TypeError):
            return False
        return True

    def falsify(self, request, view, truth):
        place = truth
        for part in self.path[:-1]:
            place = place[part]
        place[self.path[-1]] = self.value
        return truth


class Mute(Lie):
    """From some moment on no request is answered; pings are, and heads are pushed no more."""

    def __init__(self) -> None:
        super().__init__()
        self.mute = False

    def answer(self, request, view, reply):
        return None if self.mute else reply

    def push(self, connection, kind, results):
        return [] if self.mute else results


class NoHeads(Heads):
    """The subscription is dead, and nobody says so."""

    def heads(self, results):
        return []


async def survives(tmp_path, lie: Lie, *, http: bool = False) -> None:
    """Some life with that lie, then without: the log holds the truth, and every transaction of it, and no other."""
    world = small_world(7, 6)
    lying = Liar(lie)
    async with SimulatedNode(world, conduct=lying) as node, opened_log(tmp_path) as log:
        async with followed(log, chain_settings(node.http_url if http else node.url)) as chain:
            async with asyncio.timeout(10):
                while not lie.told:
                    await asyncio.sleep(0.005)
            world.mine()
            world.reorg(2, 3)
            await asyncio.sleep(0.05)
            lying.lies.clear()
            world.mine()
            await reached(chain, world.head.hash)
        fold = await folded(log)
        agrees(fold, world)
        transactions = {
            data["tx_hash"] for kind in ("confirmed", "failed") for data in fold.of_type(f"transaction_{kind}")
        }
        assert transactions == {one.hash for block in world.canonical.values() for one in block.transactions}


@pytest.mark.parametrize("http", [False, True], ids=["websocket", "http"])
@pytest.mark.parametrize("method", ["eth_chainId", "eth_getBlockByNumber", "eth_getBlockReceipts"])
@pytest.mark.parametrize(
    "result", [DEEP, b'"\xff"', b'{"a":', b"9" * 5000, json.dumps(HUGE).encode(), b""],
    ids=["deep", "encoding", "cut", "number", "quantity", "empty"],
)  # fmt: skip
async def test_what_is_no_answer_is_asked_again(result, method, http, tmp_path):
    await survives(tmp_path, Says(result, method, times=3), http=http)


@pytest.mark.parametrize(
    ("methods", "path", "value"),
    [
        (BLOCKS, ["number"], HUGE),
        (BLOCKS, ["timestamp"], HUGE),
        (BLOCKS, ["timestamp"], "-0x1"),
        (BLOCKS, ["parentHash"], "\u202egnp.exe"),
        (BLOCKS, ["gasUsed"], HUGE),
        (BLOCKS, ["transactions", 1], "0x" + "12" * 32),
        (BLOCKS, ["transactions", 0, "hash"], "\x1b]0;owned\x07"),
        (BLOCKS, ["transactions", 0, "nonce"], HUGE),
        (BLOCKS, ["transactions", 0, "value"], "-0x1"),
        (BLOCKS, ["transactions", 0, "from"], "0x12"),
        (RECEIPTS, [0, "status"], "failed"),
        (RECEIPTS, [0, "gasUsed"], HUGE),
        (RECEIPTS, [0, "logs", 0, "transactionIndex"], HUGE),
        (RECEIPTS, [0, "logs", 0, "transactionHash"], "0x" + "12" * 32),
        (RECEIPTS, [0, "logs", 0, "topics", 0], "0x" + "12" * 4096),
    ],
)
async def test_a_malformed_part_of_a_block_is_never_told(methods, path, value, tmp_path):
    await survives(tmp_path, Altered(methods, path, value))


async def test_hashes_where_transactions_were_asked_for_are_no_block(tmp_path):
    class HashesOnly(Falsehood):
        methods = BLOCKS

        def applies(self, request, view, truth):
            return bool(truth) and request.params[1]

        def falsify(self, request, view, truth):
            return truth | {"transactions": [one["hash"] for one in truth["transactions"]]}

    await survives(tmp_path, HashesOnly(times=8))


async def test_a_node_that_answers_pings_and_nothing_else_is_left(tmp_path):
    world = small_world(1, 5)
    mute = Mute()
    async with (
        SimulatedNode(world, conduct=Liar(mute)) as node,
        SimulatedNode(world) as other,
        opened_log(tmp_path) as log,
    ):
        async with followed(log, chain_settings(node.url, other.url)) as chain:
            await reached(chain, world.head.hash)
            mute.mute = True
            async with asyncio.timeout(10):
                while chain.vitals()["endpoints"][0]["state"] == "ready":
                    await asyncio.sleep(0.01)
            world.mine()
            await reached(chain, world.head.hash)
        agrees(await folded(log), world)


async def test_a_subscription_that_died_is_made_anew(tmp_path):
    world = small_world(2, 5)
    silent = Liar(NoHeads())
    async with SimulatedNode(world, conduct=silent) as node, opened_log(tmp_path) as log:
        async with followed(log, chain_settings(node.url)) as chain, asyncio.timeout(15):
            await reached(chain, world.head.hash)
            while chain.vitals()["endpoints"][0]["connects"] < 2:
                world.mine()
                await asyncio.sleep(0.05)
            silent.lies.clear()
            world.mine()
            await reached(chain, world.head.hash)
        agrees(await folded(log), world)


@pytest.mark.parametrize("http", [False, True], ids=["websocket", "http"])
async def test_a_node_that_asks_for_rest_is_asked_nothing(http, tmp_path):
    world = small_world(3, 5)
    asked: list[str] = []

    class Rested(Lie):
        """Turns one request for a block away, and counts what comes after."""

        def answer(self, request, view, reply):
            if self.told:
                asked.append(request.method)
            if request.method == "eth_getBlockReceipts" and self.due():
                return RpcError(-32005, "too many requests", {"rate": {"backoff_seconds": 1.5}})
            return reply

    lie = Rested(times=1)
    async with (
        SimulatedNode(world, conduct=Liar(lie)) as node,
        opened_log(tmp_path) as log,
        followed(log, chain_settings(node.http_url if http else node.url)) as chain,
    ):
        async with asyncio.timeout(10):
            while not lie.told:
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)  # what was on its way
        asked.clear()
        await asyncio.sleep(1.2)
        assert not asked
        await reached(chain, world.head.hash)


async def test_endpoints_of_one_host_are_told_apart(tmp_path):
    """Their names are the same once their keys are cut out."""
    world = small_world(4, 30, finalized=100)
    async with SimulatedNode(world) as node, opened_log(tmp_path) as log:
        settings = chain_settings(f"{node.url}/first-key", f"{node.url}/second-key", max_reorg_depth=4)
        async with followed(log, settings) as chain:
            await reached(chain, world.head.hash)
            first, second = chain.follower.endpoints
            assert first.name == second.name
            async with asyncio.timeout(10):
                while not (first.ready and second.ready):
                    await asyncio.sleep(0.005)
            chain.follower._halt(first, "for the test")
            assert chain.follower.halted is None
            world.mine()
            await reached(chain, world.head.hash)
            await becomes(chain, "degraded")
            assert "for the test" in (chain.follower.reason or "")


async def test_reading_history_for_long_is_no_stall(tmp_path):
    world = small_world(5, 1200)
    async with SimulatedNode(world) as node, opened_log(tmp_path) as log:
        async with followed(log, chain_settings(node.url, stall_after=0.3)) as chain:
            async with asyncio.timeout(30):
                while (tip := chain.ingest.window.tip) is None or tip.hash != world.head.hash:
                    world.mine()
                    await asyncio.sleep(0.02)
                    if tip is not None and tip.number > 1500:
                        break
        states = [event["data"]["state"] for event in await told(log) if event["type"] == "chain_status"]
    assert "stalled" not in states


async def test_a_height_answered_with_another_block_is_no_reorganisation(tmp_path):
    class OneBelow(Falsehood):
        """Headers by height are those of the block below; whole blocks are right."""

        methods = frozenset({"eth_getBlockByNumber"})

        def applies(self, request, view, truth):
            return bool(truth) and str(request.params[0]).startswith("0x") and not request.params[1]

        def falsify(self, request, view, truth):
            return json.loads(view.hash(truth["parentHash"]).wire.hashes)

    world = small_world(6, 10)
    lying = Liar()
    async with SimulatedNode(world, conduct=lying) as node, opened_log(tmp_path) as log:
        async with followed(log, chain_settings(node.url)) as chain:
            await reached(chain, world.head.hash)
            lying.lies.append(OneBelow(times=4))
            world.mine(3)
            await reached(chain, world.head.hash)
        assert not [event for event in await told(log) if event["type"] == "chain_reorg"]


async def test_a_head_that_claims_another_parent_is_not_taken_for_a_child(tmp_path):
    class ForgedParent(Heads):
        """Each pushed head claims to be the child of the block that was the tip before."""

        def __init__(self) -> None:
            super().__init__()
            self.parent = ""

        def heads(self, results):
            return [json.dumps(json.loads(head) | {"parentHash": self.parent}).encode() for head in results]

    world = small_world(8, 10)
    forger = ForgedParent()
    lying = Liar()
    async with SimulatedNode(world, conduct=lying) as node, opened_log(tmp_path) as log:
        async with followed(log, chain_settings(node.url)) as chain:
            await reached(chain, world.head.hash)
            forger.parent = world.head.hash
            lying.lies.append(forger)
            world.reorg(1, 2)
            await reached(chain, world.head.hash)
        agrees(await folded(log), world)


async def test_one_failure_does_not_end_the_marks_of_finality(tmp_path, monkeypatch):
    monkeypatch.setattr("chainwatch.chain.evm.follow.FINALITY_AGAIN", 0.2)

    class FailsByTag(Fails):
        def answer(self, request, view, reply):
            tagged = request.params and request.params[0] in ("safe", "finalized")
            return super().answer(request, view, reply) if tagged else reply

    world = small_world(9, 30, safe=1, finalized=2)
    lie = FailsByTag(RpcError(-32603, "Internal error"), methods=READS, times=1)
    async with (
        SimulatedNode(world, conduct=Liar(lie)) as node,
        opened_log(tmp_path) as log,
        followed(log, chain_settings(node.url)) as chain,
        asyncio.timeout(10),
    ):
        await reached(chain, world.head.hash)
        while chain.ingest.finalized is None:
            world.mine()
            await asyncio.sleep(0.05)
    assert lie.told == 1


async def test_a_rollback_below_where_telling_began_is_noticed(tmp_path):
    world = small_world(10, 30)
    async with (
        SimulatedNode(world) as node,
        opened_log(tmp_path) as log,
        followed(log, chain_settings(node.url, start="latest")) as chain,
    ):
        await reached(chain, world.head.hash)
        world.switch(world.canonical[27].hash)
        await reached(chain, world.head.hash)
        world.mine(3)
        await reached(chain, world.head.hash)
        assert (await folded(log)).blocks == {number: world.canonical[number].hash for number in (27, 28, 29, 30)}
