"""
Prices from their source to a client: a Chainlink feed on a real node, over new aggregators, reorganisations and kills;
and CoinGecko's API, which has had enough for a while.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from anvil import ACCOUNTS, Anvil
from eth_utils import to_checksum_address
from priceapis import PriceApis, error
from scene import Scene, follows, played
from test_feeds import Feed, call

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

OWNER = ACCOUNTS[0]
USD = 10**8
RESTS = 2
"""Seconds that the API wants to be left alone for."""


class Market(Scene):
    feed: Feed
    api: PriceApis

    async def offer(self, answer: int) -> str:
        """A round goes into the pool; in hundred millionths of a dollar."""
        data = call("Aggregator", "decimals")
        decimals = int(await self.node.call("eth_call", {"to": self.feed.aggregator, "data": data}, "latest"), 16)
        answer *= 10 ** (decimals - 8)
        return await self.node.send(
            OWNER, self.feed.aggregator, call("Aggregator", "transmit", answer, await self.feed.now())
        )

    def prices(self) -> list[tuple[str, str | None, str | None]]:
        """What the feed said, as it stands."""
        return [
            (data["price"], data["previous_price"], data["change_percent"])
            for data in self.standing("price_update", source="chainlink")
        ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def market(anvil_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Market]:
    folder = tmp_path_factory.mktemp("prices")
    async with Anvil(anvil_binary, folder / "anvil") as node, PriceApis() as api:
        feed = await Feed.deploy(node)
        await feed.transmit(3_000 * USD)
        api.prices["ethereum", "usd"] = ("3000.123456789012345678", int(time.time()) - 60)
        async with played(
            node,
            folder / "daemon",
            chains=[follows("anvil", node, start="latest", pending="none")],
            prices=[
                {"symbol": "ETH", "source": "chainlink", "chain": "anvil", "feed": feed.proxy, "heartbeat": "1h"},
                {"symbol": "ETH", "source": "coingecko", "id": "ethereum", "url": f"{api.root}/api/v3", "interval": 1},
            ],
            kind=Market,
        ) as scene:
            scene.feed, scene.api = feed, api
            yield scene


async def test_a_round_is_told_exactly_and_again_when_its_block_comes_again(market):
    assert market.prices() == [("3000", None, None)]
    sent = await market.offer(3_030 * USD + 1)

    async def told(block: str) -> None:
        (data,) = market.standing("price_update", block)
        receipt = await market.receipt(sent)
        round_id, answer = await market.feed.latest()
        assert answer == 3_030 * USD + 1
        assert data == {
            "symbol": "ETH", "quote": "USD", "price": "3030.00000001", "previous_price": "3000",
            "change_percent": "1.0000", "source": "chainlink", "feed": to_checksum_address(market.feed.proxy),
            "round_id": str(round_id), "updated_at": data["updated_at"], "tx_hash": sent,
            "log_index": int(receipt["logs"][0]["logIndex"], 16), "block_number": int(receipt["blockNumber"], 16),
            "block_hash": block,
        }  # fmt: skip
        at = int(receipt["logs"][0]["data"], 16)
        assert data["updated_at"] == time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(at))
        assert (round_id >> 64, round_id & (1 << 64) - 1) == (1, 2)

    await market.over_a_reorganisation(told)
    assert len(market.prices()) == 2


async def test_a_new_aggregator_is_noticed_within_ten_blocks_and_its_decimals_count(market):
    await market.feed.replace(decimals=18)
    await market.feed.transmit(4_000 * 10**18)
    head = await market.node.head()
    block = await market.mine(10)
    (data,) = market.standing("price_update", price="4000")
    assert (data["round_id"], data["tx_hash"]) == (str(2 << 64 | 1), None)
    assert head < data["block_number"] <= head + 10
    await market.offer(4_040 * USD)
    block = await market.mine()
    (data,) = market.standing("price_update", block)
    assert (data["price"], data["previous_price"], data["change_percent"]) == ("4040", "4000", "1.0000")
    # All of that is orphaned: the old aggregator is back, and so is the price before.
    before = market.prices()
    raw = await market.raw(block)
    await market.reorganise(1)
    assert market.prices() == before[:-1]
    await market.reorganise(again=raw)
    assert market.prices() == before


async def test_rounds_survive_kills_at_every_turn(market):
    before = market.prices()
    sent = await market.offer(4_444 * USD)

    async def told(block: str) -> None:
        (data,) = market.standing("price_update", block)
        assert (data["price"], data["previous_price"], data["tx_hash"]) == ("4444", before[-1][0], sent)
        assert market.prices()[:-1] == before

    await market.over_kills(told)


async def test_a_feed_that_is_silent_for_longer_than_its_heartbeat_fails_until_it_answers(market):
    def state() -> tuple[str, str | None]:
        data = market.standing("source_status", source="chainlink:ETH/USD")[-1]
        return data["state"], data["reason"]

    assert state() == ("ok", None)
    await market.node.call("evm_increaseTime", 7200)
    await market.mine()
    assert state() == ("failing", "no answer for longer than its heartbeat of 60m")
    await market.restart()
    await market.mine()
    assert [data["state"] for data in market.standing("source_status", source="chainlink:ETH/USD")] == ["ok", "failing"]
    last = market.prices()[-1][0]
    await market.offer(int(Decimal(last) * USD))
    block = await market.mine()
    assert state() == ("ok", None)
    (data,) = market.standing("price_update", block)
    assert (data["price"], data["change_percent"]) == (last, "0.0000"), "every round is told"


async def test_an_api_that_has_had_enough_is_left_alone_as_long_as_it_wants_over_a_kill_too(market):
    api = market.api
    (first,) = market.standing("price_update", source="coingecko")
    assert first["price"] == "3000.123456789012345678"

    async def enough(_request: web.Request) -> web.Response:
        return error(429, {"status": {"error_code": 429, "error_message": "slow down"}}, **{"Retry-After": str(RESTS)})

    api.conduct = enough
    await market.until(lambda: bool(market.standing("source_status", source="coingecko", state="limited")))
    refused, asked = time.monotonic(), len(api.seen)
    api.conduct = None
    api.prices["ethereum", "usd"] = ("3100", int(time.time()))
    await market.restart()
    await market.until(lambda: len(market.standing("price_update", source="coingecko")) == 2)
    assert time.monotonic() - refused >= RESTS - 0.5
    assert len(api.seen) > asked
    second = market.standing("price_update", source="coingecko")[1]
    assert (second["price"], second["previous_price"]) == ("3100", "3000.123456789012345678")
    assert (second["feed"], second["round_id"], second["block_hash"]) == (None, None, None)
    states = [data["state"] for data in market.standing("source_status", source="coingecko")]
    assert states == ["ok", "limited", "ok"]
