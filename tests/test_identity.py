"""An id is the occurrence's: the same chain, read again by another daemon into another log, has the same events."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from anvil import ACCOUNTS, Anvil
from asking import Poor, refused
from contracts import bytecode, calldata
from ingestion import chain_settings, followed, opened_log, reached, told
from test_feeds import Feed
from test_wallets import load

from chainwatch.config import PriceSettings, TokenSettings, WalletSettings

pytestmark = pytest.mark.long

OWNER, ALICE, BOB = ACCOUNTS[:3]


async def contracts(node: Anvil) -> dict[str, str]:
    """What moves things in every way that is told."""
    found = {name: await node.deploy(bytecode(name)) for name in ("WETH9", "Coin", "Pack", "Deed")}
    found |= {name: await node.deploy(load("Wallets")[name]["bytecode"]) for name in ("Payer", "Failing")}
    return found


async def act(node: Anvil, at: dict[str, str], feed: Feed, chance: random.Random) -> None:
    """Some transactions, mined."""
    for _ in range(chance.randrange(5)):
        someone, other = chance.sample([OWNER, ALICE, BOB], 2)
        ether = chance.randrange(1, 10**9)
        number = chance.randrange(10**9)
        sends: list[tuple[str, str | None, str, int]] = [
            (someone, other, "0x", ether),
            (OWNER, at["Coin"], calldata("transfer(address,uint256)", other, number), 0),
            (OWNER, at["Coin"], calldata("spread(uint160,uint256)", int(other, 16), 3), 0),
            (someone, at["WETH9"], calldata("deposit()"), ether),
            (someone, at["WETH9"], calldata("withdraw(uint256)", 1), 0),
            (someone, at["WETH9"], calldata("approve(address,uint256)", other, number), 0),
            (someone, at["WETH9"], calldata("transfer(address,uint256)", someone, 0), 0),
            (someone, at["Pack"], calldata("mintBatch(address,uint256[],uint256[])", other, [1, 2, 1], [5, 0, 5]), 0),
            (someone, at["Deed"], calldata("mint(address,uint256)", other, number), 0),
            (someone, at["Payer"], calldata("payTwice(address,uint256)", other, ether // 2), ether),
            (someone, at["Failing"], calldata("text()"), 0),
            (OWNER, feed.aggregator, calldata("transmit(int256,uint256)", number + 1, await feed.now()), 0),
        ]
        await node.send(*chance.choice(sends))
    await node.mine()


async def ingested(
    folder: Path, node: Anvil, at: dict[str, str], feed: Feed, during: Any = None, url: str = "", **chain: Any
) -> dict[str, Any]:
    """The events of the chain that hang on its blocks alone, by id."""
    settings = chain_settings(
        url or node.ws, chain_id=31337, request_timeout=10, balance_sweep=3600, confirmations=(1, 3), **chain
    )
    listed = {"COIN": at["Coin"], "WETH": at["WETH9"]}
    more = {
        "wallets": tuple(WalletSettings(name=name, address=one) for name, one in (("a", ALICE), ("b", BOB))),
        "tokens": tuple(
            TokenSettings(chain="sim", symbol=name, address=one, decimals=6) for name, one in listed.items()
        ),
        "prices": (PriceSettings(symbol="ETH", source="chainlink", chain="sim", feed=feed.proxy),),
    }
    async with opened_log(folder) as log:
        async with followed(log, settings, **more) as made:
            if during is not None:
                await during(made)
            await reached(made, (await node.call("eth_getBlockByNumber", "latest", False))["hash"])
        found = await told(log)
    # What stands at a moment, and not in a block, is told whenever it is looked at.
    found = [event for event in found if event["data"].get("block_hash") and event["type"] != "block_finalized"]
    for event in found:
        del event["observed_at"]
    assert len({event["id"] for event in found}) == len(found)
    return {event["id"]: event for event in found}


@pytest.mark.parametrize("traces", [False, True], ids=["plain", "traces"])
async def test_the_same_chain_has_the_same_events(anvil, tmp_path, traces):
    chance = random.Random(3)
    at, feed = await contracts(anvil), await Feed.deploy(anvil)

    async def lives(chain: Any) -> None:
        for _ in range(40):
            # One block at a time: anvil may answer of its newest block what is so in the next.
            await reached(chain, (await anvil.call("eth_getBlockByNumber", "latest", False))["hash"])
            while chain.ingest.audit() is not None:
                await asyncio.sleep(0.005)
            await act(anvil, at, feed, chance)

    live = await ingested(tmp_path / "live", anvil, at, feed, lives, internal_transfers=traces)
    again = await ingested(tmp_path / "again", anvil, at, feed, internal_transfers=traces)
    assert {event["type"] for event in live.values()} >= {
        "block_new", "transaction_confirmed", "transaction_failed", "wallet_incoming", "wallet_outgoing",
        "balance_changed", "wallet_status", "token_transfer", "token_approval", "price_update",
    }  # fmt: skip
    assert again == live
    if not traces:
        # A provider that gives no receipts of whole blocks, no traces, and heeds neither hashes nor overrides.
        async with Poor(anvil.http, meagre).serving() as url:
            assert await ingested(tmp_path / "poor", anvil, at, feed, url=url) == live


def meagre(method: str, params: list[Any]) -> dict[str, Any] | None:
    if method in ("eth_getBlockReceipts", "trace_block") or method.startswith("debug_"):
        return refused(f"the method {method} does not exist/is not available", -32601)
    if method in ("eth_call", "eth_getBalance") and (len(params) > 2 or isinstance(params[1], dict)):
        return refused("invalid argument 1: json: cannot unmarshal object", -32602)
    return None
