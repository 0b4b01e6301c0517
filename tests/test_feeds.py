"""Chainlink feeds on a real node, from the contract to the log: rounds, new aggregators, reorganisations, restarts."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from anvil import ACCOUNTS, Anvil, NodeError, word
from fold import Fold
from ingestion import chain_settings, followed, opened_log, reached, told

from chainwatch.config import PriceSettings
from chainwatch.text import amount
from chainwatch.wiring import Chain

CONTRACTS = json.loads((Path(__file__).parent / "data" / "contracts" / "Feeds.json").read_text())["contracts"]
OWNER = ACCOUNTS[0]


def call(contract: str, function: str, *arguments: int | str) -> str:
    selectors = CONTRACTS[contract]["selectors"]
    name = next(signature for signature in selectors if signature.startswith(f"{function}("))
    return "0x" + selectors[name] + "".join(word(argument) for argument in arguments)


class Feed:
    """A proxy and the aggregator behind it."""

    def __init__(self, node: Anvil, proxy: str) -> None:
        self.node = node
        self.proxy = proxy
        self.aggregator = ""

    @classmethod
    async def deploy(cls, node: Anvil, decimals: int = 8) -> Feed:
        feed = cls(node, await node.deploy(CONTRACTS["FeedProxy"]["bytecode"]))
        await feed.replace(decimals)
        return feed

    async def replace(self, decimals: int = 8) -> None:
        """Another aggregator takes over: no log says so."""
        self.aggregator = await self.node.deploy(CONTRACTS["Aggregator"]["bytecode"] + word(decimals))
        await self.node.send(OWNER, self.proxy, call("FeedProxy", "confirm", self.aggregator))
        await self.node.mine()

    async def now(self) -> int:
        return int((await self.node.call("eth_getBlockByNumber", "latest", False))["timestamp"], 16)

    async def transmit(self, answer: int, function: str = "transmit") -> None:
        """A round, mined."""
        await self.node.send(OWNER, self.aggregator, call("Aggregator", function, answer, await self.now()))
        await self.node.mine()

    async def latest(self) -> tuple[int, int]:
        """Round and answer, as the proxy says."""
        data = await self.node.call(
            "eth_call", {"to": self.proxy, "data": call("FeedProxy", "latestRoundData")}, "latest"
        )
        return int(data[2:66], 16), int(data[66:130], 16)


@contextlib.asynccontextmanager
async def watched(log: Any, feed: Feed, **more: Any) -> AsyncIterator[Chain]:
    price = {"symbol": "ETH", "source": "chainlink", "chain": "sim", "feed": feed.proxy} | more
    chain = chain_settings(
        feed.node.ws, chain_id=31337, request_timeout=5, transactions="none", tokens="none", pending="none"
    )
    async with followed(log, chain, prices=(PriceSettings.model_validate(price),)) as made:
        yield made


async def settled(chain: Chain, node: Anvil) -> None:
    await reached(chain, (await node.call("eth_getBlockByNumber", "latest", False))["hash"])


async def standing(log: Any) -> list[dict[str, Any]]:
    """The prices that stand, after everything was applied and retracted."""
    fold = Fold()
    for event in await told(log):
        fold.apply(event)
    return fold.of_type("price_update")


async def states(log: Any) -> list[tuple[str, str | None]]:
    found = [event["data"] for event in await told(log) if event["type"] == "source_status"]
    assert {data["source"] for data in found} <= {"chainlink:ETH/USD"}
    return [(data["state"], data["reason"]) for data in found]


async def test_every_round_is_told_exactly(anvil, tmp_path):
    feed = await Feed.deploy(anvil)
    await feed.transmit(3_000_00000000)
    async with opened_log(tmp_path) as log, watched(log, feed) as chain:
        for answer in (3_030_00000000, 3_030_00000000, 1, 2**255 - 1):
            await feed.transmit(answer)
        await settled(chain, anvil)
        found = await standing(log)
        vitals = chain.ingest.feeds.vitals()
    assert [data["price"] for data in found] == [
        "3000", "3030", "3030", "0.00000001",
        "578960446186580977117854925043439539266349923328202820197287920039565.64819967",
    ]  # fmt: skip
    assert [data["previous_price"] for data in found] == [None, *[data["price"] for data in found[:-1]]]
    assert [data["change_percent"] for data in found[:4]] == [None, "1.0000", "0.0000", "-100.0000"]
    assert [int(data["round_id"]) for data in found] == [1 << 64 | number for number in range(1, 6)]
    assert (await feed.latest())[0] == int(found[-1]["round_id"])
    assert all(data["feed"].lower() == feed.proxy for data in found)
    assert all(data["tx_hash"] and data["log_index"] == 0 for data in found[1:])
    assert (vitals[0]["state"], vitals[0]["ready"]) == ("ok", True)


async def test_a_new_aggregator_is_noticed_within_ten_blocks(anvil, tmp_path):
    feed = await Feed.deploy(anvil)
    await feed.transmit(3_000_00000000)
    async with opened_log(tmp_path) as log, watched(log, feed) as chain:
        await settled(chain, anvil)
        await feed.replace(decimals=18)
        await feed.transmit(4_000 * 10**18)
        before = await anvil.head()
        await anvil.mine(10)
        await settled(chain, anvil)
        last = (await standing(log))[-1]
        assert (last["price"], int(last["round_id"])) == ("4000", 2 << 64 | 1)
        assert last["block_number"] <= before + 10
        await feed.transmit(4_100 * 10**18)
        await settled(chain, anvil)
        last = (await standing(log))[-1]
        assert (last["price"], last["previous_price"], last["log_index"]) == ("4100", "4000", 0)


async def test_a_round_without_a_log_is_found_by_reading(anvil, tmp_path):
    feed = await Feed.deploy(anvil)
    await feed.transmit(3_000_00000000)
    async with opened_log(tmp_path) as log, watched(log, feed) as chain:
        await settled(chain, anvil)
        await feed.transmit(3_100_00000000, "whisper")
        await anvil.mine(5)
        await settled(chain, anvil)
        assert [(data["price"], data["tx_hash"]) for data in await standing(log)][1:] == [("3100", None)]


async def test_a_reorganisation_takes_prices_back_and_tells_what_is_so_now(anvil, tmp_path):
    feed = await Feed.deploy(anvil)
    await feed.transmit(3_000_00000000)
    async with opened_log(tmp_path) as log, watched(log, feed) as chain:
        for answer in (3_100_00000000, 3_200_00000000):
            await feed.transmit(answer)
        await settled(chain, anvil)
        old = feed.aggregator
        await feed.replace()
        await feed.transmit(9_000_00000000)
        await anvil.mine(5)
        await settled(chain, anvil)
        assert (await standing(log))[-1]["price"] == "9000"
        # Everything since the second price goes: a price, and the new aggregator.
        await anvil.call("anvil_reorg", 9, [])
        anvil.forget_nonces()
        feed.aggregator = old
        await settled(chain, anvil)
        assert [data["price"] for data in await standing(log)] == ["3000", "3100"]
        await feed.transmit(3_300_00000000)
        await settled(chain, anvil)
        found = await standing(log)
    assert (found[-1]["price"], found[-1]["previous_price"]) == ("3300", "3100")
    assert await feed.latest() == (int(found[-1]["round_id"]), 3_300_00000000)


@pytest.mark.parametrize("seed", range(3))
async def test_over_random_changes_reorganisations_and_restarts_the_last_price_is_the_feeds(anvil, tmp_path, seed):
    dice = Random(seed)
    feed = await Feed.deploy(anvil)
    for _ in range(4):
        async with opened_log(tmp_path) as log, watched(log, feed) as chain:
            for _ in range(6):
                what = dice.choice(["transmit", "transmit", "transmit", "replace", "reorg", "mine"])
                if what == "transmit":
                    await feed.transmit(dice.randrange(1, 10**12))
                elif what == "replace":
                    await feed.replace()
                elif what == "mine":
                    await anvil.mine(dice.randrange(1, 4))
                elif await anvil.head() > 8:
                    await anvil.call("anvil_reorg", dice.randrange(1, 5), [])
                    anvil.forget_nonces()
                    data = await anvil.call(
                        "eth_call", {"to": feed.proxy, "data": call("FeedProxy", "aggregator")}, "latest"
                    )
                    feed.aggregator = "0x" + data[-40:]
                if dice.random() < 0.5:
                    await settled(chain, anvil)
            await anvil.mine(6)
            await settled(chain, anvil)
            found = await standing(log)
            try:
                latest = await feed.latest()
            except NodeError:  # an aggregator without any round
                continue
            assert int(found[-1]["round_id"]) == latest[0]
            assert found[-1]["price"] == amount(latest[1], 8)


async def test_a_restart_tells_no_price_twice(anvil, tmp_path):
    feed = await Feed.deploy(anvil)
    await feed.transmit(3_000_00000000)
    for _ in range(3):
        async with opened_log(tmp_path) as log, watched(log, feed) as chain:
            await anvil.mine(3)
            await settled(chain, anvil)
    await feed.transmit(2_700_00000000)
    async with opened_log(tmp_path) as log, watched(log, feed) as chain:
        await settled(chain, anvil)
        found = await standing(log)
        assert await states(log) == [("ok", None)]
    assert [(data["price"], data["previous_price"]) for data in found] == [("3000", None), ("2700", "3000")]


async def test_a_silent_feed_fails_and_is_well_again_when_it_answers(anvil, tmp_path):
    feed = await Feed.deploy(anvil)
    await feed.transmit(3_000_00000000)
    async with opened_log(tmp_path) as log, watched(log, feed, heartbeat="1h") as chain:
        await settled(chain, anvil)
        await anvil.call("evm_increaseTime", 7200)
        await anvil.mine()
        await settled(chain, anvil)
        assert not chain.ingest.feeds.vitals()[0]["ready"]
        await feed.transmit(3_000_00000000)
        await settled(chain, anvil)
        assert await states(log) == [
            ("ok", None),
            ("failing", "no answer for longer than its heartbeat of 60m"),
            ("ok", None),
        ]


async def test_a_contract_that_is_no_feed_is_told(anvil, tmp_path):
    nothing = Feed(anvil, "0x00000000000000000000000000000000000000ff")
    async with opened_log(tmp_path) as log, watched(log, nothing) as chain:
        await anvil.mine(2)
        await settled(chain, anvil)
        async with asyncio.timeout(10):
            while not await states(log):
                await asyncio.sleep(0.01)
        assert await states(log) == [("failing", "the contract is no Chainlink feed")]


async def test_small_changes_are_left_out_where_that_is_wanted(anvil, tmp_path):
    feed = await Feed.deploy(anvil)
    await feed.transmit(1_000_00000000)
    async with opened_log(tmp_path) as log, watched(log, feed, min_change="1%") as chain:
        for answer in (1_005_00000000, 1_009_99999999, 1_010_00000000):
            await feed.transmit(answer)
        await settled(chain, anvil)
        assert [data["price"] for data in await standing(log)] == ["1000", "1010"]
