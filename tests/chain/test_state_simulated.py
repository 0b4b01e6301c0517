"""The state of the simulated node, which has no machine: balances one by one, traces as real nodes give them."""

from __future__ import annotations

import pytest
from asking import block_at, connected

from chainwatch.chain.evm.endpoint import CallFailed
from chainwatch.chain.evm.reads import Metadata, Pool, Reads
from chainwatch.chain.evm.state import answer
from chainwatch.chain.simulated import CHAIN_ID, SimulatedNode, World
from chainwatch.chain.simulated.calls import Split
from chainwatch.chain.simulated.contracts import ACCOUNTS, CATS, NATIVE, PAIR, SPLITTER, USDC, WETH


async def test_balances_are_those_of_each_block():
    world = World(seed=3, transactions=(4, 9))
    world.mine(12)
    holdings = [(token, owner) for token in ("", USDC.address, WETH.address) for owner in ACCOUNTS]
    async with SimulatedNode(world) as node, connected(node.url, chain_id=CHAIN_ID) as endpoint:
        for number in (0, 5, 12):
            readings = await answer(endpoint, await block_at(endpoint, number), Reads(balances=tuple(holdings)))
            view = world.view().at(world.canonical[number])
            assert readings.balances == {
                (token, owner): view.value((token or NATIVE, owner)) for token, owner in holdings
            }
        assert (endpoint.ways.by_hash, endpoint.ways.reader) == (True, "plain")


async def test_contracts_of_every_kind_answer():
    world = World(seed=3)
    world.mine(2)
    async with SimulatedNode(world) as node, connected(node.url, chain_id=CHAIN_ID) as endpoint:
        asked = Reads(tokens=(USDC.address, CATS.address), pools=(PAIR, USDC.address), feeds=(USDC.address,))
        readings = await answer(endpoint, await block_at(endpoint), asked)
    assert readings.tokens[USDC.address] == Metadata(symbol="USDC", name=USDC.name, decimals=6)
    assert readings.tokens[CATS.address].standard == "erc721"
    assert readings.pools == {PAIR: Pool(token0=USDC.address, token1=WETH.address), USDC.address: Pool()}
    assert readings.feeds == {USDC.address: None}


async def test_what_a_contract_passes_on_is_in_the_traces():
    world = World(seed=5, transactions=(6, 12))
    world.mine(40)
    async with SimulatedNode(world) as node, connected(node.url, chain_id=CHAIN_ID) as endpoint:
        seen = 0
        for number, block in list(world.canonical.items())[1:]:
            found = (await answer(endpoint, await block_at(endpoint, number), Reads(moves=True))).moves
            splits = [one for one in block.transactions if isinstance(one.call, Split)]
            expected = [
                (one.hash, SPLITTER, to, amount)
                for one in splits
                for to, amount in (
                    (one.call.left, one.call.value // 2),
                    (one.call.right, one.call.value - one.call.value // 2),
                )
                if amount
            ]
            assert [(one.tx_hash, one.sender, one.to, one.amount) for one in found] == expected
            seen += len(expected)
        assert seen > 10


@pytest.mark.parametrize("readable", [True, False])
async def test_the_state_of_an_orphan_is_its_own_or_none(readable):
    world = World(seed=7, readable_orphans=readable)
    world.mine(5)
    asked = Reads(balances=tuple(("", owner) for owner in ACCOUNTS))
    async with SimulatedNode(world) as node, connected(node.url, chain_id=CHAIN_ID) as endpoint:
        block = await block_at(endpoint)
        world.reorg(2)
        if readable:
            readings = await answer(endpoint, block, asked)
            view = world.view().at(world.blocks[block.header.hash])
            assert readings.balances == {("", owner): view.value((NATIVE, owner)) for owner in ACCOUNTS}
        else:
            with pytest.raises(CallFailed) as failed:
                await answer(endpoint, block, asked)
            assert failed.value.kind == "unknown"


async def test_a_failed_transaction_is_called_again():
    world = World(seed=9, transactions=(6, 12))
    world.mine(60)
    failed = [
        (number, transaction.hash)
        for number, block in world.canonical.items()
        for transaction, outcome in zip(block.transactions, block.outcomes, strict=True)
        if not outcome.ok
    ]
    assert failed
    async with SimulatedNode(world) as node, connected(node.url, chain_id=CHAIN_ID) as endpoint:
        told = []
        for number, transaction in failed:
            readings = await answer(endpoint, await block_at(endpoint, number), Reads(reverts=(transaction,)))
            told.append(readings.reverts[transaction].data)
        assert any(data is not None and data.startswith("0x08c379a0") for data in told)
        assert endpoint.ways.debug is False
