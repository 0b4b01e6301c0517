"""Ingestion without the server: settings, a real log, the follower; for tests that bend the node."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fold import Fold

from chainwatch.chain.simulated import CHAIN_ID, World
from chainwatch.config import ChainSettings, LogSettings, Settings
from chainwatch.derive.transfers import TRANSFER, TRANSFER_BATCH, TRANSFER_SINGLE
from chainwatch.event import encode
from chainwatch.filter import OPEN
from chainwatch.log import Log
from chainwatch.log.store import open_log
from chainwatch.wiring import Chain


@contextlib.asynccontextmanager
async def opened_log(folder: Path, **limits: Any) -> AsyncIterator[Log]:
    defaults = {"ttl": 1e9, "max_events": 10**9, "max_bytes": 10**12, "memory": 2**20}
    log = await open_log(folder / "events.db", **(defaults | limits))
    try:
        yield log
    finally:
        await log.close()


def chain_settings(*endpoints: str, **more: Any) -> ChainSettings:
    """A chain that tells everything of the simulated world, and is not patient with its node."""
    defaults: dict[str, Any] = {
        "name": "sim",
        "chain_id": CHAIN_ID,
        "start": 0,
        "tokens": "all",
        "transactions": "all",
        "confirmations": (1, 3),
        "request_timeout": 0.5,
    }
    return ChainSettings(endpoints=endpoints, **(defaults | more))


@contextlib.asynccontextmanager
async def followed(log: Log, chain: ChainSettings, **more: Any) -> AsyncIterator[Chain]:
    """The chain's ingestion runs while inside."""
    settings = Settings(log=LogSettings(), chains=(chain,), **more)
    made = await Chain.resume(chain, settings, log)
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        ended = await asyncio.gather(task, return_exceptions=True)
        if isinstance(ended[0], Exception):
            raise ended[0]


async def told(log: Log) -> list[dict[str, Any]]:
    """Every event of the log."""
    after, found = 0, []
    while True:
        page, after = await log.page(after, OPEN, 1000)
        found += [json.loads(encode(event)) for _, event in page]
        if not page:
            return found


async def folded(log: Log) -> Fold:
    fold = Fold()
    for event in await told(log):
        fold.apply(event)
    return fold


async def reached(chain: Chain, block_hash: str, *, seconds: float = 30) -> None:
    """Wait until that block is the newest told one."""
    try:
        async with asyncio.timeout(seconds):
            while (tip := chain.ingest.window.tip) is None or tip.hash != block_hash:
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"it does not get to {block_hash}: {json.dumps(chain.vitals(), indent=1)}") from None


async def becomes(chain: Chain, state: str, *, seconds: float = 15) -> None:
    """Wait until the chain's state is that."""
    try:
        async with asyncio.timeout(seconds):
            while chain.follower.state != state:
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"it does not become {state}: {json.dumps(chain.vitals(), indent=1)}") from None


async def status(log: Log, state: str, *, seconds: float = 15) -> dict[str, Any]:
    """Wait until a `chain_status` tells that state; its data."""
    async with asyncio.timeout(seconds):
        while True:
            for event in reversed(await told(log)):
                if event["type"] == "chain_status" and event["data"]["state"] == state:
                    return event["data"]
            await asyncio.sleep(0.01)


def transfers_of(world: World) -> Counter[tuple[str, int]]:
    """(block hash, log index) of every transfer of the canonical chain, each as often as it moves something."""
    found: Counter[tuple[str, int]] = Counter()
    for block in world.canonical.values():
        for index, log in enumerate(block.logs):
            first, count = (log.topics[0] if log.topics else ""), len(log.topics)
            if (first == TRANSFER and count in (3, 4)) or first == TRANSFER_SINGLE:
                found[block.hash, index] += 1
            elif first == TRANSFER_BATCH:
                found[block.hash, index] += int(log.data[2 + 128 : 2 + 192], 16)
    return found


def agrees(fold: Fold, world: World) -> None:
    """The fold is the world's canonical chain, transfer by transfer."""
    assert fold.blocks == {number: block.hash for number, block in world.canonical.items()}
    assert fold.transfers() == transfers_of(world)
