"""Approvals, swaps and wraps that real contracts wrote on a real node: against what the contracts themselves answer."""

from __future__ import annotations

import re
from fractions import Fraction

import contracts
import pytest
from anvil import ACCOUNTS, Anvil, NodeError
from contracts import (
    MUCH,
    NATIVE,
    OWNER,
    PERMIT2,
    approve,
    balance,
    block_at,
    deploy,
    deploy_pancake_pool,
    deploy_v2_pair,
    deploy_v3_pool,
    deploy_v4_manager,
    make_v4_pool,
    send,
    swap_pancake,
    swap_v2,
    swap_v3,
    swap_v4,
    token,
    transfer,
    unwrap,
    weth,
    wrap,
)

from chainwatch.chain.evm.abi import decimals_of, flag_of, text_of
from chainwatch.chain.evm.reads import Metadata, Pool, Revert
from chainwatch.derive.approvals import approvals
from chainwatch.derive.known import Known, pool_key
from chainwatch.derive.reverts import explain
from chainwatch.derive.rules import Rules, Token
from chainwatch.derive.swaps import candidates, initialized, swaps
from chainwatch.derive.transfers import transfers
from chainwatch.derive.wraps import wraps
from chainwatch.eip55 import checksum

ALICE, BOB = ACCOUNTS[1], ACCOUNTS[2]
ALL = Rules(chain="anvil", native="ETH", transfers="all")


async def market(node: Anvil) -> tuple[str, str, Known]:
    """Two tokens that Alice has some of, and all that is to be known of them."""
    gold, silver = (one.lower() for one in (await token(node, "GOLD", 18), await token(node, "SILVER", 6)))
    for one in (gold, silver):
        await transfer(node, one, OWNER, ALICE, 10**24)
    await node.mine()
    read = {gold: Metadata(symbol="GOLD", decimals=18), silver: Metadata(symbol="SILVER", decimals=6)}
    return gold, silver, Known({}, read)


async def only(node: Anvil, known: Known, rules: Rules = ALL):
    """The one swap of the newest block."""
    (event,) = swaps(await block_at(node), rules, known, 0)
    return event.data


def exact_price(data) -> None:
    amount_in = Fraction(int(data.amount_in), 10**data.decimals_in)
    amount_out = Fraction(int(data.amount_out), 10**data.decimals_out)
    exact = amount_out / amount_in
    assert abs(Fraction(data.price) - exact) * 2 * 10**17 <= exact


async def test_a_real_pair_of_uniswap_v2_swaps_both_ways(anvil):
    gold, silver, known = await market(anvil)
    pair = await deploy_v2_pair(anvil, gold, silver)
    assert [candidates(await block_at(anvil, tag), ALL) for tag in ("earliest", "latest")] == [set(), set()]
    for one in (gold, silver):
        await approve(anvil, one, ALICE, pair.trader, MUCH)
    await anvil.mine()
    known.pools[pair.address] = Pool(token0=pair.token0, token1=pair.token1)
    for into, out, names in ((gold, silver, ("GOLD", "SILVER")), (silver, gold, ("SILVER", "GOLD"))):
        before = await balance(anvil, into, pair.address), await balance(anvil, out, BOB)
        tx_hash = await swap_v2(anvil, pair, ALICE, into, 10**20, BOB)
        await anvil.mine()
        data = await only(anvil, known)
        assert (data.protocol, data.pool, data.tx_hash) == ("uniswap_v2", checksum(pair.address), tx_hash)
        assert (data.token_in, data.token_out) == names
        assert (data.token_in_address, data.token_out_address) == (checksum(into), checksum(out))
        assert (data.sender, data.recipient) == (checksum(pair.trader.lower()), checksum(BOB))
        assert int(data.amount_in) == await balance(anvil, into, pair.address) - before[0] == 10**20
        assert int(data.amount_out) == await balance(anvil, out, BOB) - before[1] > 0
        exact_price(data)


async def test_a_real_pool_of_uniswap_v3_swaps_exact_in_and_exact_out(anvil):
    gold, silver, known = await market(anvil)
    pool = await deploy_v3_pool(anvil, gold, silver)
    known.pools[pool.address] = Pool(token0=pool.token0, token1=pool.token1)
    for into, out, amount in ((gold, silver, 10**20), (silver, gold, -(10**20))):
        before = await balance(anvil, into, pool.address), await balance(anvil, out, BOB)
        await swap_v3(anvil, pool, ALICE, into, amount, BOB)
        await anvil.mine()
        data = await only(anvil, known)
        assert (data.protocol, data.pool) == ("uniswap_v3", checksum(pool.address))
        assert (data.token_in_address, data.token_out_address) == (checksum(into), checksum(out))
        assert (data.sender, data.recipient) == (checksum(pool.trader.lower()), checksum(BOB))
        assert int(data.amount_in) == await balance(anvil, into, pool.address) - before[0]
        assert int(data.amount_out) == await balance(anvil, out, BOB) - before[1]
        assert 10**20 in (int(data.amount_in), int(data.amount_out))
        exact_price(data)


async def test_a_pool_of_pancakeswap_v3_swaps(anvil):
    gold, silver, known = await market(anvil)
    pool = await deploy_pancake_pool(anvil, gold, silver)
    known.pools[pool.address] = Pool(token0=pool.token0, token1=pool.token1)
    await approve(anvil, silver, ALICE, pool.address, MUCH)
    await swap_pancake(anvil, pool, ALICE, silver, 3000, 10**15, BOB)
    await anvil.mine()
    data = await only(anvil, known)
    assert (data.protocol, data.token_in, data.amount_in) == ("pancakeswap_v3", "SILVER", "3000")
    assert (data.token_out, data.amount_out, data.price) == ("GOLD", str(10**15), "0.333333333333333333")
    assert await balance(anvil, gold, BOB) == 10**15


async def test_a_pool_of_uniswap_v4_is_known_from_the_block_that_makes_it(anvil):
    gold, _, known = await market(anvil)
    manager = await deploy_v4_manager(anvil)
    pool = await make_v4_pool(anvil, manager, NATIVE, gold)
    await approve(anvil, gold, ALICE, manager, MUCH)
    await anvil.mine()
    made = initialized(await block_at(anvil))
    assert made == {pool_key(manager, pool.pool_id): Pool(token0="", token1=gold)}
    known.pools.update(made)
    wallet = Rules(chain="anvil", native="ETH", wallets=frozenset({ALICE}))
    for into, amounts, names in ((NATIVE, (10**18, 3 * 10**18), ("ETH", "GOLD")), (gold, (6, 2), ("GOLD", "ETH"))):
        await swap_v4(anvil, pool, ALICE, into, *amounts)
        await anvil.mine()
        data = await only(anvil, known, wallet)
        assert (data.protocol, data.pool, data.manager) == ("uniswap_v4", pool.pool_id, checksum(manager))
        assert (data.token_in, data.token_out) == names
        assert (int(data.amount_in), int(data.amount_out)) == amounts
        assert (data.sender, data.recipient) == (checksum(ALICE), None)
        assert data.price == {"ETH": "3", "GOLD": "0.333333333333333333"}[names[0]]
        assert (data.token_in_address is None, data.token_out_address is None) == (into == NATIVE, into != NATIVE)


async def test_a_stranger_cannot_speak_for_the_pool_manager(anvil):
    """The same code at another address makes and swaps a pool with the very same id."""
    gold, _, known = await market(anvil)
    real, stranger = await deploy_v4_manager(anvil), await deploy_v4_manager(anvil, "0x" + "66" * 20)
    made = await make_v4_pool(anvil, real, NATIVE, gold)
    await anvil.mine()
    known.pools.update(initialized(await block_at(anvil)))
    forged = await make_v4_pool(anvil, stranger, NATIVE, gold)
    assert forged.pool_id == made.pool_id
    await swap_v4(anvil, forged, ALICE, NATIVE, 1, 10**20)
    await anvil.mine()
    data = await only(anvil, known)
    assert (data.pool, data.manager) == (made.pool_id, checksum(stranger))
    assert (data.token_in, data.token_out_address, data.price) == (None, None, None)


async def test_what_is_watched_is_enough_to_find_the_pools_to_ask(anvil):
    gold, silver, known = await market(anvil)
    pair = await deploy_v2_pair(anvil, gold, silver)
    await approve(anvil, gold, ALICE, pair.trader, MUCH)
    await swap_v2(anvil, pair, ALICE, gold, 10**20, BOB)
    await anvil.mine()
    block = await block_at(anvil)
    known.pools[pair.address] = Pool(token0=pair.token0, token1=pair.token1)
    for watched in (
        {"wallets": frozenset({ALICE})},
        {"wallets": frozenset({BOB})},
        {"tokens": {gold: Token("GOLD", 18)}},
        {"tokens": {silver: Token("SILVER", 6)}},
    ):
        rules = Rules(chain="anvil", native="ETH", **watched)
        assert candidates(block, rules) == {pair.address}
        assert len(list(swaps(block, rules, known, 0))) == 1
    other = Rules(
        chain="anvil", native="ETH", wallets=frozenset({ACCOUNTS[4]}), tokens={"0x" + "11" * 20: Token("X", 1)}
    )
    assert candidates(block, other) == set()
    assert list(swaps(block, other, known, 0)) == []


async def test_approvals_of_every_kind(anvil):
    gold, _, known = await market(anvil)
    title, crate = (one.lower() for one in (await deploy(anvil, "Title"), await deploy(anvil, "Crate")))
    await contracts.permit2(anvil)
    await send(anvil, OWNER, title, "mint(address,uint256)", ALICE, 7)
    await anvil.mine()
    known.tokens[title] = Metadata(symbol="TITLE", standard="erc721")
    known.tokens[crate] = Metadata(symbol="CRATE", standard="erc1155")
    for amount in (2**256 - 1, 5, 0):
        await approve(anvil, gold, ALICE, BOB, amount)
    for to in (BOB, NATIVE):
        await send(anvil, ALICE, title, "approve(address,uint256)", to, 7)
    for contract, given in ((title, True), (title, False), (crate, True)):
        await send(anvil, ALICE, contract, "setApprovalForAll(address,bool)", BOB, given)
    signature = "approve(address,address,uint160,uint48)"
    await send(anvil, ALICE, PERMIT2, signature, gold, BOB, 2**160 - 1, 2**48 - 1)
    single = ((gold, 9, 1_900_000_000, 0), BOB, 2_000_000_000)
    signature = "permit(address,((address,uint160,uint48,uint48),address,uint256),bytes)"
    await send(anvil, BOB, PERMIT2, signature, ALICE, single, b"\x01" * 65)
    await send(anvil, ALICE, PERMIT2, "lockdown((address,address)[])", [(gold, BOB), (title, OWNER)])
    await anvil.mine()
    block = await block_at(anvil)
    told = [event.data for event in approvals(block, ALL, known, 0)]
    assert len(told) == len(block.logs) == 12
    assert all(
        (one.owner, one.spender in {checksum(BOB), NATIVE, checksum(OWNER)}) == (checksum(ALICE), True) for one in told
    )
    shown = {(one.tx_hash, one.log_index) for one in told}
    assert shown == {(log.transaction_hash, int(log.log_index, 16)) for log in block.logs}
    # Alice's transactions and Bob's `permit` are ordered by the node: by kind, then.
    assert sorted(
        (
            one.standard,
            one.token,
            one.amount or "",
            one.token_id or "",
            one.unlimited,
            one.revoked,
            one.expiration or "",
        )
        for one in told
    ) == sorted(
        [
            ("erc20", "GOLD", str(2**256 - 1), "", True, False, ""),
            ("erc20", "GOLD", "5", "", False, False, ""),
            ("erc20", "GOLD", "0", "", False, True, ""),
            ("erc721", "TITLE", "", "7", False, False, ""),
            ("erc721", "TITLE", "", "7", False, True, ""),
            ("erc721", "TITLE", "", "", True, False, ""),
            ("erc721", "TITLE", "", "", False, True, ""),
            ("erc1155", "CRATE", "", "", True, False, ""),
            ("permit2", "GOLD", str(2**160 - 1), "", True, False, ""),
            ("permit2", "GOLD", "9", "", False, False, "2030-03-17T17:46:40.000Z"),
            ("permit2", "GOLD", "0", "", False, True, ""),
            ("permit2", "TITLE", "0", "", False, True, ""),
        ]
    )


async def test_the_real_weth9_wraps_and_unwraps_to_the_wei(anvil):
    contract = (await weth(anvil)).lower()
    rules = Rules(chain="anvil", native="ETH", transfers="all", wrapped=frozenset({contract}))
    await wrap(anvil, contract, ALICE, 10**18 + 1)
    await unwrap(anvil, contract, ALICE, 7)
    await transfer(anvil, contract, ALICE, BOB, 5)
    await anvil.mine()
    block = await block_at(anvil)
    assert [(one.kind, one.wallet, one.amount, one.contract) for one in wraps(block, rules)] == [
        ("wrap", ALICE, 10**18 + 1, contract),
        ("unwrap", ALICE, 7, contract),
    ]
    (moved,) = transfers(block, rules, 0)
    assert (moved.data.from_, moved.data.amount) == (checksum(ALICE), "5")
    assert await balance(anvil, contract, ALICE) == 10**18 + 1 - 7 - 5


async def test_what_tokens_say_of_themselves_is_read(anvil):
    gold, silver, _ = await market(anvil)
    title, crate = await deploy(anvil, "Title"), await deploy(anvil, "Crate")
    wrapped = await weth(anvil)

    async def ask(to: str, signature: str, *values: object) -> str:
        return await anvil.call("eth_call", {"to": to, "data": contracts.calldata(signature, *values)}, "latest")

    assert [text_of(await ask(one, "symbol()"), 64) for one in (gold, silver, title, crate, wrapped)] == [
        "GOLD", "SILVER", "TITLE", "CRATE", "WETH",
    ]  # fmt: skip
    assert text_of(await ask(gold, "name()"), 256) == "GOLD token"
    assert [decimals_of(await ask(one, "decimals()")) for one in (gold, silver, wrapped)] == [18, 6, 18]
    asks = "supportsInterface(bytes4)"
    assert flag_of(await ask(title, asks, bytes.fromhex("80ac58cd")))
    assert flag_of(await ask(crate, asks, bytes.fromhex("d9b67a26")))
    assert not flag_of(await ask(crate, asks, bytes.fromhex("80ac58cd")))
    nobody = "0x" + "12" * 20
    assert (text_of(await ask(nobody, "symbol()"), 64), decimals_of(await ask(nobody, "decimals()"))) == (None, None)


async def test_what_real_contracts_return_when_they_refuse_is_explained(anvil):
    gold, silver, _ = await market(anvil)
    pair = await deploy_v2_pair(anvil, gold, silver)
    title = await deploy(anvil, "Title")

    async def refused(sender: str, to: str, signature: str, *values: object) -> str | None:
        asked = {"from": sender, "to": to, "data": contracts.calldata(signature, *values)}
        with pytest.raises(NodeError) as error:
            await anvil.call("eth_call", asked, "latest")
        return explain(Revert(data=re.search("'data': '(0x[0-9a-f]*)'", str(error.value))[1]))

    assert (
        await refused(BOB, gold, "transfer(address,uint256)", ALICE, 10)
        == f"ERC20InsufficientBalance({checksum(BOB)}, 0, 10)"
    )
    assert (
        await refused(BOB, gold, "transferFrom(address,address,uint256)", ALICE, BOB, 3)
        == f"ERC20InsufficientAllowance({checksum(BOB)}, 0, 3)"
    )
    assert await refused(BOB, title, "approve(address,uint256)", BOB, 1) == "TITLE: not yours"
    swap = "swap(uint256,uint256,address,bytes)"
    assert await refused(BOB, pair.address, swap, 0, 0, BOB, b"") == "UniswapV2: INSUFFICIENT_OUTPUT_AMOUNT"
    manager = await deploy_v4_manager(anvil)
    key = (gold, gold, 500, 10, NATIVE)
    assert (
        await refused(BOB, manager, "initialize((address,address,uint24,int24,address),uint160)", key, 1)
        == f"CurrenciesOutOfOrderOrEqual({checksum(gold)}, {checksum(gold)})"
    )
