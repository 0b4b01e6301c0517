"""`serve --demo`: the same story for the same seed, all that can happen in it, and nothing hostile in the open."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from daemon import Daemon
from fold import Fold
from ingestion import chain_settings, followed, opened_log, told
from jsonschema import Draft202012Validator

from chainwatch import schema
from chainwatch.chain import simulated
from chainwatch.chain.simulated.contracts import SCAM
from chainwatch.config import PriceSettings, TokenSettings, WalletSettings
from chainwatch.lines import LINES
from chainwatch.payloads import PAYLOADS
from chainwatch.text import printable
from chainwatch.wiring import Chain

pytestmark = pytest.mark.long

COMMAND = (sys.executable, "-m", "chainwatch")


class Demo(Daemon):
    """`serve --demo`, as a newcomer starts it: no configuration, nothing named but the port."""

    def __init__(self, folder: Path, seed: int) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.seed = seed
        self.stderr = folder / "stderr"
        self.process = None
        self.url = ""

    async def start(self, *arguments: str) -> None:
        with self.stderr.open("ab") as stderr:
            self.process = await asyncio.create_subprocess_exec(
                *(*COMMAND, "serve", "--demo", "--seed", str(self.seed), "--port", "0"),
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, "HOME": str(self.folder)},
            )
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            line = (await self.process.stdout.readline()).decode()
        assert line.startswith("listening on "), self.stderr.read_text()
        self.url = line.removeprefix("listening on ").strip()

    async def opening(self) -> list[dict[str, Any]]:
        """The events of the blocks that are there when it starts."""
        async with asyncio.timeout(20):
            while not ((await self.chain())["head"] or 0) >= 64:
                await asyncio.sleep(0.05)
        events = await self.history(types="block_new,token_transfer,transaction_failed")
        return [event for event in events if event["data"]["block_number"] <= 64]


def without_times(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in ("timestamp", "observed_at")}


async def test_the_same_seed_tells_the_same_story_again_and_another_one_another(tmp_path):
    stories = []
    for number, seed in enumerate((7, 7, 8)):
        async with Demo(tmp_path / str(number), seed) as demo:
            stories.append(await demo.opening())
            assert await demo.stop() == 0
            assert not list(demo.folder.rglob("*.db")), "a demonstration leaves no log behind"
    first, again, other = ([without_times(event) for event in story] for story in stories)
    assert len(first) > 100
    assert first == again
    assert {event["id"] for event in first}.isdisjoint(event["id"] for event in other)


async def lived(folder: Path) -> list[dict[str, Any]]:
    """The events of ten minutes of the demo, at up to a hundred times its pace: no reorganisation goes by unseen."""
    following: list[Chain] = []

    async def pause(seconds: float) -> None:
        await asyncio.sleep(seconds)
        while following and following[0].follower.vitals()["head_hash"] != node.world.head.hash:
            await asyncio.sleep(0.005)

    async with opened_log(folder) as log, simulated.demo(7, block_time=0.02, pause=pause) as node:
        tokens = tuple(
            TokenSettings(chain="sim", symbol=token.symbol, address=token.address, decimals=token.decimals)
            for token in simulated.TOKENS
        )
        price = PriceSettings(symbol="ETH", source="chainlink", chain="sim", feed=simulated.FEED)
        wallets = tuple(WalletSettings(name=one.name, address=one.address) for one in simulated.WALLETS)
        settings = chain_settings(
            node.url, confirmations=(1, 6), pending="all", dropped_after=1.0, internal_transfers=True
        )
        async with followed(log, settings, tokens=tokens, wallets=wallets, prices=(price,)) as chain:
            following.append(chain)
            async with asyncio.timeout(240):
                while node.world.head.number < 300 or chain.follower.reorgs < 3:
                    await asyncio.sleep(0.05)
        return await told(log)


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> list[dict[str, Any]]:
    return asyncio.run(lived(tmp_path_factory.mktemp("story")))


def test_everything_happens_in_a_demo(story):
    fold = Fold()
    for event in story:
        fold.apply(event)
    happened = {event["type"] for event in story if not event.get("removed")}
    # What is forgotten is missed by a clock, which has little time at this pace.
    assert happened | {"transaction_dropped"} == {*PAYLOADS}
    assert any(event.get("removed") for event in story)
    assert {data["standard"] for data in fold.of_type("token_transfer")} == {"erc20", "erc721", "erc1155"}
    assert {data["confirmations"] for data in fold.of_type("transaction_confirmed")} == {1, 6}
    assert {data["depth"] for data in fold.of_type("chain_reorg")} <= {1, 2, 3}


def test_a_demo_has_a_price_that_moves_and_now_and_then_another_aggregator(story):
    fold = Fold()
    for event in story:
        fold.apply(event)
    prices = fold.of_type("price_update")
    assert len(prices) > 30
    assert [data["previous_price"] for data in prices[1:]] == [data["price"] for data in prices[:-1]]
    rounds = [int(data["round_id"]) for data in prices]
    assert rounds == sorted(set(rounds))
    assert len({round_id >> 64 for round_id in rounds}) > 1
    assert all(1_000 < float(data["price"]) < 9_000 for data in prices)
    assert any(data["tx_hash"] is None for data in prices), "the first of an aggregator is read"
    assert {event["data"]["state"] for event in story if event["type"] == "source_status"} == {"ok"}


def hostile(text: str) -> set[str]:
    """Characters that could move a cursor, hide, or turn a line around."""
    return {char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp", "Cs")}


def texts(value: Any) -> list[str]:
    match value:
        case str():
            return [value]
        case dict():
            return [text for item in value.values() for text in texts(item)]
        case list():
            return [text for item in value for text in texts(item)]
    return []


def test_nothing_that_a_stranger_wrote_reaches_a_stream_in_the_open(story):
    assert hostile(SCAM.symbol), "the demo has a token that plays tricks"
    assert not hostile("".join(texts(story)))
    by_the_scam = [
        event["data"]
        for event in story
        if event["type"] == "token_transfer" and event["data"]["token_address"].lower() == SCAM.address
    ]
    assert by_the_scam
    # What it calls itself, made visible. A filter for USDC means the configured contract, whatever others claim.
    assert {data["token"] for data in by_the_scam} == {printable(SCAM.symbol)}


def test_what_a_demo_tells_is_as_the_schema_has_it(story):
    schemas = {kind: Draft202012Validator(schema.document([kind])) for kind in {event["type"] for event in story}}
    tried = Counter()
    for event in story:
        tried[event["type"], event.get("removed")] += 1
        if tried[event["type"], event.get("removed")] <= 100:
            schemas[event["type"]].validate(event)
    assert len(tried) > len(schemas), "retractions too"


WORDS = "|".join(line.word for line in LINES.values())
LINE = re.compile(rf"\d\d-\d\d \d\d:\d\d:\d\d  demo      ({WORDS}) {{2,7}}(⟲ retracted  )?\S.*")


async def tail(url: str, *arguments: str) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "tail", "--url", url, *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await process.communicate()
    assert (process.returncode, error) == (0, b"")
    return out.decode().splitlines()


async def test_tail_shows_a_demo_in_columns_and_colours_it_only_where_asked(tmp_path):
    async with Demo(tmp_path / "demo", 7) as demo:
        await demo.opening()
        page = await demo.get("/events/history?limit=300")
        wanted = ("--since", "earliest", "--no-follow")
        plain, coloured, rows = await asyncio.gather(
            tail(demo.url, *wanted), tail(demo.url, *wanted, "--color", "always"), tail(demo.url, *wanted, "--json")
        )
    assert [json.loads(row) for row in rows[:300]] == page["events"]
    for line, painted in zip(plain[:300], coloured[:300], strict=True):
        assert LINE.fullmatch(line), line
        assert not hostile(line)
        assert painted != line
        assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == line
