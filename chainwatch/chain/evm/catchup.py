"""
From what was told to a node's head: the common ancestor, then the blocks between, in steps.

Every new block is fetched and checked before anything is retracted, and while one step is committed the next is
fetched. What does not fit together is a `Setback`; what was checked before it is good.

The state behind a block is asked for again and again, by way of the follower, which may find a better endpoint. But no
node's state may stop a chain: after a while the block goes without, and what it moved is explained by a later reading.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any

import msgspec
import structlog

from chainwatch.chain.evm import fetch, state
from chainwatch.chain.evm.block import MALFORMED, Block, Header
from chainwatch.chain.evm.endpoint import CallFailed, Endpoint
from chainwatch.chain.evm.fetch import Needs, Setback
from chainwatch.chain.evm.head import Ask, TooDeep, Walk
from chainwatch.chain.evm.pace import Pace
from chainwatch.chain.evm.reads import NOTHING, Readings, Reads
from chainwatch.chain.evm.step import Sink, Step

STEP_BLOCKS = 64
STEP_LOGS = 1024
"""A step is committed when it holds that many blocks, or logs: the loop derives it in one go, some 10 ms."""
READ_AHEAD = 32
"""Blocks whose state is being read at once."""
PATIENCE = 10.0
"""Seconds that a block waits for its state when that fails,"""
TRIES = 3
"""and how often it is asked for in that time at least."""


class CatchUp:
    """Reads one chain up to a head. `moved` is awaited after each step of a longer way."""

    def __init__(self, sink: Sink, needs: Needs, *, max_depth: int, moved: Callable[[], Awaitable[None]]) -> None:
        self.pace = Pace()
        self._sink = sink
        self._needs = needs
        self._max_depth = max_depth
        self._moved = moved
        self._refused: dict[str, tuple[float, int]] = {}
        """Blocks whose state could not be had: since when, and how often."""
        self._goes_without = False
        """So did the last block; the next does not wait as long."""

    def walk(self) -> Walk:
        """Down from a block of a node's chain to one that was told."""
        sink = self._sink
        return Walk(sink.window, max_depth=self._max_depth, finalized=sink.finalized, first=sink.first)

    async def child(self, endpoint: Endpoint, head: Header, tip: Header) -> None:
        """Tell a head that is the child of the tip: the way of nearly every block."""
        block = await fetch.block_by_hash(endpoint, head, self._needs)
        if self._sink.asks:
            read = self._read(endpoint, block)
            block = read if isinstance(read, Block) else await read
        await self._sink.commit(Step(tip, [], [block]))

    def _read(self, endpoint: Endpoint, block: Block) -> Block | Coroutine[Any, Any, Block]:
        """The block with all that has to be read of the state behind it."""
        first = self._sink.questions(block, again=False)
        if first == NOTHING:
            return block
        return self._ask(endpoint, block, first)

    async def _ask(self, endpoint: Endpoint, block: Block, asked: Reads) -> Block:
        block = await self._answer(endpoint, block, asked)
        return await self._answer(endpoint, block, self._sink.questions(block, again=True))

    async def _answer(self, endpoint: Endpoint, block: Block, asked: Reads) -> Block:
        if asked.tokens or asked.pools:
            asked = await self._sink.recall(asked)
        if asked == NOTHING:
            return block
        readings = await self._look(endpoint, block, asked)
        self._sink.learn(readings)
        return msgspec.structs.replace(block, readings=block.readings.with_more(readings))

    async def _look(self, endpoint: Endpoint, block: Block, asked: Reads) -> Readings:
        """What the state says; that it cannot be read, where the block has waited for it long enough."""
        try:
            readings = await state.answer(endpoint, block, asked)
        except (Setback, CallFailed, *MALFORMED) as error:
            if not self._gives_up(block.header.hash):
                raise
            if not self._goes_without:
                structlog.get_logger().warning(
                    "the state behind blocks cannot be read: balances wait until it can",
                    endpoint=endpoint.name, block=block.header.number, reason=endpoint.explain(error),
                )  # fmt: skip
            self._goes_without = True
            return Readings(unreadable=True)
        self._refused.pop(block.header.hash, None)
        self._goes_without = False
        return readings

    def _gives_up(self, block_hash: str) -> bool:
        if self._goes_without:
            return True
        now = time.monotonic()
        since, count = self._refused.pop(block_hash, (now, 0))
        if now - since >= PATIENCE and count + 1 >= TRIES:
            return True
        self._refused[block_hash] = since, count + 1
        if len(self._refused) > 2 * READ_AHEAD:
            del self._refused[next(iter(self._refused))]
        return False

    async def audit(self, endpoint: Endpoint, tip: Header, asked: Reads) -> None:
        """Read the state at the tip, and tell what no block told."""
        await self._sink.audited(tip, await state.answer(endpoint, fetch.bare(tip), asked))

    async def ancestor(self, endpoint: Endpoint, head: Header, tip: Header) -> Header | TooDeep:
        """The newest told block that is on the chain of `head` too."""
        below = head if head.number <= tip.number else await fetch.header_at(endpoint, tip.number)
        if below is None:
            raise Setback(f"the node names block {head.number} and does not have block {tip.number}")
        walk = self.walk()
        while isinstance(found := walk.receive(below), Ask):
            parent = await fetch.header_by_hash(endpoint, found.hash)
            if parent is None or parent.number != below.number - 1:
                raise Setback(f"the node does not have the parent of its block {below.number}")
            below = parent
        return found if isinstance(found, TooDeep) else found.ancestor

    async def stream(
        self, endpoint: Endpoint, first: int, last: int, below: Header | None, orphaned: list[Header]
    ) -> None:
        """Fetch and commit blocks `first` to `last` in steps; one step is committed while the next is fetched."""
        committing: asyncio.Task[None] | None = None
        batch: list[Block] = []
        logs = 0
        # The blocks that replace orphaned ones come in one step with the retractions.
        least = min(last, orphaned[-1].number) if orphaned else first

        async def flush() -> None:
            nonlocal committing, batch, logs, below, orphaned
            if committing is not None:
                await committing
            step = Step(below, orphaned, batch)
            committing = asyncio.create_task(self._sink.commit(step), name="commit")
            below, orphaned, batch, logs = batch[-1].header, [], [], 0

        try:
            async with contextlib.aclosing(self._blocks(endpoint, first, last, below)) as blocks:
                async for block in blocks:
                    _replaces(block, orphaned)
                    batch.append(block)
                    logs += len(block.logs)
                    if block.header.number >= least and (len(batch) >= STEP_BLOCKS or logs >= STEP_LOGS):
                        await flush()
                        await self._moved()
        except asyncio.CancelledError:
            if committing is not None:
                committing.cancel()
            raise
        except (Setback, CallFailed, *MALFORMED):
            # What was fetched and checked before is good.
            if batch and batch[-1].header.number >= least:
                await flush()
            if committing is not None:
                await committing
            raise
        if batch:
            await flush()
        if committing is not None:
            await committing

    def _blocks(self, endpoint: Endpoint, first: int, last: int, below: Header | None) -> AsyncGenerator[Block, None]:
        blocks = fetch.blocks(endpoint, first, last, below, self._needs, self.pace)
        return state.with_readings(endpoint, blocks, self._read, READ_AHEAD) if self._sink.asks else blocks


def _replaces(block: Block, orphaned: list[Header]) -> None:
    """A node that hides a block for a moment and then gives it is no reorganisation. `Setback` where it does."""
    if orphaned and block.header.hash == orphaned[0].hash:
        raise Setback(f"block {block.header.number} was called orphaned, and is there", lie=True)
