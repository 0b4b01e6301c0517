"""Nodes that lie: whatever one says, the log ends with the truth, and nothing was told that had to be taken back twice.

Most lies are told by a balanced endpoint now and then, so truth comes between; some only stop when the test stops them.
"""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from ingestion import agrees, becomes, chain_settings, folded, followed, opened_log, reached, status, told
from lies import LIES, Liar, Syncing, WrongChain, lacks, liar

from chainwatch.chain.simulated import Limits, SimulatedNode, World

pytestmark = pytest.mark.long

UNTIL_STOPPED = {"syncing", "lagging", "wrong chain"}


def small_world(seed: int, **more) -> World:
    return World(seed, transactions=(2, 6), **more)


async def live(world: World, seed: int, steps: int = 20) -> None:
    """Some life: blocks, reorganisations, a way back to an orphaned branch."""
    dice = Random(seed)
    for _ in range(steps):
        match dice.randrange(8):
            case 0:
                world.reorg(dice.randint(1, 4), dice.randint(1, 5))
            case 1:
                old = world.head.hash
                world.reorg(2, 3)
                await asyncio.sleep(dice.random() / 50)
                world.switch(old)
            case _:
                world.mine(dice.randint(1, 3))
        await asyncio.sleep(dice.random() / 25)


@pytest.mark.parametrize("name", LIES)
async def test_after_any_lie_the_log_holds_the_truth(name, tmp_path):
    world = small_world(7)
    world.mine(20)
    lying = liar(7, name)
    async with SimulatedNode(world, conduct=lying) as node, opened_log(tmp_path) as log:
        async with followed(log, chain_settings(node.url)) as chain:
            await live(world, 7)
            lying.lies.clear()
            world.mine()
            await reached(chain, world.head.hash)
        agrees(await folded(log), world)


@pytest.mark.parametrize("seed", range(3))
async def test_several_lies_together_end_in_the_truth(seed, tmp_path):
    dice = Random(seed)
    names = dice.sample(sorted(LIES.keys() - UNTIL_STOPPED), 5)
    world = small_world(seed)
    world.mine(10)
    lying = liar(seed, *names)
    async with SimulatedNode(world, conduct=lying) as node, opened_log(tmp_path) as log:
        async with followed(log, chain_settings(node.url)) as chain:
            await live(world, seed)
            lying.lies.clear()
            world.mine()
            await reached(chain, world.head.hash)
        agrees(await folded(log), world)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(200))
async def test_any_mixture_of_lies_ends_in_the_truth(seed, tmp_path):
    await test_several_lies_together_end_in_the_truth(1000 + seed, tmp_path)


async def test_over_http_heads_come_by_asking(tmp_path):
    world = small_world(3)
    world.mine(5)
    async with SimulatedNode(world) as node, opened_log(tmp_path) as log:
        async with followed(log, chain_settings(node.http_url)) as chain:
            for depth in (1, 3):
                await reached(chain, world.head.hash)
                world.reorg(depth, depth + 1)
            await live(world, 3)
            world.mine()
            await reached(chain, world.head.hash)
        agrees(await folded(log), world)
        assert [event for event in await told(log) if event.get("removed")], "nothing was ever taken back"


async def test_without_block_receipts_logs_and_single_receipts_do(tmp_path):
    world = small_world(4)
    world.mine(300)
    async with (
        SimulatedNode(world, conduct=Liar(lacks("eth_getBlockReceipts"))) as node,
        opened_log(tmp_path) as log,
    ):
        async with followed(log, chain_settings(node.url)) as chain:
            await reached(chain, world.head.hash)
            await live(world, 4)
            world.mine()
            await reached(chain, world.head.hash)
        fold = await folded(log)
        agrees(fold, world)
        transactions = {
            data["tx_hash"] for kind in ("confirmed", "failed") for data in fold.of_type(f"transaction_{kind}")
        }
        assert transactions == {one.hash for block in world.canonical.values() for one in block.transactions}


@pytest.mark.parametrize("limits", [Limits(blocks=50), Limits(logs=40), Limits(blocks=1)], ids=str)
async def test_the_limits_of_a_provider_are_found_out_and_kept(limits, tmp_path):
    world = small_world(15)
    world.mine(300)
    poor = Liar(lacks("eth_getBlockReceipts"))
    async with SimulatedNode(world, conduct=poor, limits=limits) as node, opened_log(tmp_path) as log:
        async with followed(log, chain_settings(node.url)) as chain:
            await reached(chain, world.head.hash)
            span = chain.follower.endpoints[0].span.blocks
        assert span <= (limits.blocks * 1.5 if limits.blocks < 1000 else 128)
        agrees(await folded(log), world)


async def test_an_endpoint_of_another_chain_is_never_used(tmp_path):
    world, other = small_world(5), small_world(6)
    world.mine(5)
    other.mine(9)
    async with (
        SimulatedNode(other, conduct=Liar(WrongChain(0))) as wrong,
        SimulatedNode(world) as right,
        opened_log(tmp_path) as log,
    ):
        async with followed(log, chain_settings(wrong.url, right.url)) as chain:
            await reached(chain, world.head.hash)
            vitals = chain.vitals()
        assert [one["state"] for one in vitals["endpoints"]] == ["refused", "ready"]
        assert "serves chain id" in vitals["endpoints"][0]["reason"]
        assert vitals["state"] == "degraded"
        agrees(await folded(log), world)


async def test_a_node_far_behind_is_no_reorganisation_and_another_one_is_used(tmp_path):
    world = small_world(8)
    world.mine(400)
    behind = Liar(Syncing(300))
    async with (
        SimulatedNode(world) as good,
        SimulatedNode(world, conduct=behind) as syncing,
        opened_log(tmp_path) as log,
    ):
        async with followed(log, chain_settings(good.url)) as chain:
            await reached(chain, world.head.hash)
        async with followed(log, chain_settings(syncing.url, good.url)) as chain:
            world.mine(3)
            await reached(chain, world.head.hash)
        fold = await folded(log)
        assert not [event for event in await told(log) if event.get("removed")]
        agrees(fold, world)


async def test_a_lone_node_far_behind_is_waited_for(tmp_path):
    world = small_world(9)
    world.mine(400)
    behind = Liar(Syncing(300))
    async with SimulatedNode(world, conduct=behind) as node, opened_log(tmp_path) as log:
        behind.lies.clear()
        async with followed(log, chain_settings(node.url)) as chain:
            await reached(chain, world.head.hash)
        behind.lies.append(Syncing(300))
        async with followed(log, chain_settings(node.url)) as chain:
            await becomes(chain, "syncing")
            behind.lies.clear()
            world.mine()
            await reached(chain, world.head.hash)
        agrees(await folded(log), world)


async def test_a_reorganisation_deeper_than_allowed_halts_the_chain_and_takes_nothing_back(tmp_path):
    world = small_world(10, finalized=100)
    world.mine(30)
    old = world.head.hash
    async with SimulatedNode(world) as node, opened_log(tmp_path) as log:
        async with followed(log, chain_settings(node.url, max_reorg_depth=4)) as chain:
            await reached(chain, world.head.hash)
            before = log.head
            world.reorg(6, 8)
            halted = await status(log, "halted")
            assert "max_reorg_depth = 4" in halted["reason"]
            assert {event["type"] for event in (await told(log))[before:]} <= {"chain_status", "block_finalized"}
            world.switch(old)
            world.mine()
            await reached(chain, world.head.hash)
            await becomes(chain, "connected")
        agrees(await folded(log), world)


async def test_what_is_final_is_never_taken_back(tmp_path):
    world = small_world(11, safe=1, finalized=2)
    world.mine(30)
    async with SimulatedNode(world) as node, opened_log(tmp_path) as log:
        async with followed(log, chain_settings(node.url)) as chain:
            await reached(chain, world.head.hash)
            async with asyncio.timeout(10):
                while chain.ingest.finalized is None:
                    await asyncio.sleep(0.01)
            world.reorg(5, 6)
            await becomes(chain, "halted")
        assert "finalized" in chain.follower.reason
        assert not [event for event in await told(log) if event.get("removed")]


async def test_the_preferred_endpoint_is_used_again_when_it_is_back(tmp_path):
    world = small_world(12)
    world.mine(5)
    async with SimulatedNode(world) as first, SimulatedNode(world) as second, opened_log(tmp_path) as log:
        async with followed(log, chain_settings(first.url, second.url)) as chain:
            await reached(chain, world.head.hash)
            assert chain.vitals()["endpoint"] == first.url
            first.refuse()
            for connection in list(first.connections):
                connection.close(1001)
            world.mine()
            await reached(chain, world.head.hash)
            assert chain.vitals()["endpoint"] == second.url
            await first.listen()
            async with asyncio.timeout(20):
                while chain.vitals()["endpoint"] != first.url:
                    world.mine()
                    await asyncio.sleep(0.1)
            await reached(chain, world.head.hash)
        agrees(await folded(log), world)
        states = [event["data"]["state"] for event in await told(log) if event["type"] == "chain_status"]
        assert "degraded" in states
        assert states[-1] == "connected"


async def test_a_chain_without_new_blocks_is_called_stalled_and_goes_on(tmp_path):
    world = small_world(13)
    world.mine(5)
    async with (
        SimulatedNode(world) as node,
        opened_log(tmp_path) as log,
        followed(log, chain_settings(node.url, stall_after=0.3)) as chain,
    ):
        await reached(chain, world.head.hash)
        await becomes(chain, "stalled")
        world.mine()
        await reached(chain, world.head.hash)
        await becomes(chain, "connected")


async def test_the_same_chain_read_again_gives_the_same_ids(tmp_path):
    world = small_world(14)
    world.mine(60)
    async with SimulatedNode(world) as node:
        ids = []
        for folder in ("first", "second"):
            (tmp_path / folder).mkdir()
            async with opened_log(tmp_path / folder) as log:
                async with followed(log, chain_settings(node.url)) as chain:
                    await reached(chain, world.head.hash)
                events = [
                    event for event in await told(log) if event["type"] not in ("chain_status", "block_finalized")
                ]
                ids.append([event["id"] for event in events])
    assert ids[0] == ids[1]
    assert len(ids[0]) > 100
