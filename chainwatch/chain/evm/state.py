"""
The state behind a block: what is asked of it, answered by one endpoint; and blocks that come with their answers.

Everything is read at the block's hash. What does not fit now is a `Setback` or `CallFailed`, and the follower looks
again; a number is never guessed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any

from chainwatch.chain.evm import at, balances, calls
from chainwatch.chain.evm.block import Block
from chainwatch.chain.evm.endpoint import CallFailed, Endpoint
from chainwatch.chain.evm.reads import UNREAD, Metadata, Pool, Readings, Reads
from chainwatch.chain.evm.reverts import reverts
from chainwatch.chain.evm.traces import moves

Read = Callable[[Endpoint, Block], Block | Coroutine[Any, Any, Block]]
"""Asks what has to be known of a block, and gives it with the answers; at once, where nothing has to be asked."""


async def answer(endpoint: Endpoint, block: Block, reads: Reads) -> Readings:
    """
    All that was asked for of the block's state. `Setback` or `CallFailed` where it cannot be had now.

    Where the node has no state of an old block any more, or never gives any, the answers say so; tokens and pools are
    then looked at as they are now, since they do not change, and feeds are left out. A node without `eth_call` tells
    what is held of the native currency.
    """
    parts = [_state(endpoint, block, reads)]
    if reads.moves:
        parts.append(_moves(endpoint, block))
    if reads.reverts:
        parts.append(_reverts(endpoint, block, reads))
    readings = UNREAD
    for part in await at.together(*parts):
        readings = readings.with_more(part)
    return readings


async def _state(endpoint: Endpoint, block: Block, reads: Reads) -> Readings:
    could_call, silent = endpoint.ways.calls, UNREAD
    if not could_call:
        reads, silent = Reads(balances=tuple(pair for pair in reads.balances if not pair[0])), _silence(reads)
    if not (reads.balances or reads.tokens or reads.pools or reads.feeds):
        return silent
    try:
        state = await at.locate(endpoint, block)
        found = await _read(state, reads)
        await state.confirm()
    except CallFailed as failed:
        if failed.kind == "unsupported":
            if could_call and not endpoint.ways.calls:
                return await _state(endpoint, block, reads)
            return Readings(unreadable=True).with_more(_silence(reads)).with_more(silent)
        if failed.kind != "pruned" or not at.old(endpoint, block):
            raise
        now = at.At(endpoint, block, "latest")
        found = await _read(now, Reads(tokens=reads.tokens, pools=reads.pools))
        return Readings(unreadable=True).with_more(found).with_more(silent)
    return found.with_more(silent)


def _silence(reads: Reads) -> Readings:
    """Contracts that nobody can ask say nothing."""
    return Readings(tokens=dict.fromkeys(reads.tokens, Metadata()), pools=dict.fromkeys(reads.pools, Pool()))


async def _read(state: at.At, reads: Reads) -> Readings:
    async def held() -> Readings:
        return Readings(balances=await balances.balances(state, reads.balances))

    async def tokens() -> Readings:
        return Readings(tokens=await calls.tokens(state, reads.tokens))

    async def pools() -> Readings:
        return Readings(pools=await calls.pools(state, reads.pools))

    async def feeds() -> Readings:
        return Readings(feeds=await calls.feeds(state, reads.feeds))

    wanted = ((reads.balances, held), (reads.tokens, tokens), (reads.pools, pools), (reads.feeds, feeds))
    readings = UNREAD
    for part in await at.together(*[read() for asked, read in wanted if asked]):
        readings = readings.with_more(part)
    return readings


async def _moves(endpoint: Endpoint, block: Block) -> Readings:
    return Readings(moves=await moves(endpoint, block))


async def _reverts(endpoint: Endpoint, block: Block, reads: Reads) -> Readings:
    return Readings(reverts=await reverts(endpoint, block, reads.reverts))


async def with_readings(
    endpoint: Endpoint, blocks: AsyncIterator[Block], read: Read, ahead: int
) -> AsyncGenerator[Block]:
    """
    The blocks with what was read of them, in order; `ahead` of them at most are being read, or wait to be taken. An
    error comes at its block, after all before it. Close it (`contextlib.aclosing`) where it is left early.
    """
    room = asyncio.Semaphore(ahead)
    reading: asyncio.Queue[asyncio.Task[Block] | Block | None] = asyncio.Queue()
    tasks: set[asyncio.Task[Block]] = set()

    async def begin() -> None:
        try:
            await room.acquire()
            async for block in blocks:
                asked = read(endpoint, block)
                if isinstance(asked, Block):
                    reading.put_nowait(asked)
                else:
                    task = asyncio.create_task(asked, name=f"read block {block.header.number}")
                    tasks.add(task)
                    reading.put_nowait(task)
                await room.acquire()
        finally:
            reading.put_nowait(None)
            if (close := getattr(blocks, "aclose", None)) is not None:
                await close()

    source = asyncio.create_task(begin(), name="blocks to read")
    try:
        while (asked := await reading.get()) is not None:
            if not isinstance(asked, Block):
                await asyncio.wait((asked,))
                tasks.discard(asked)
                asked = asked.result()
            room.release()
            yield asked
        await source  # the source's own error, in its place
    finally:
        source.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(source, *tasks, return_exceptions=True)
