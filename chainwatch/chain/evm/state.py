"""
The state behind a block: what is asked of it, answered by one endpoint; and blocks that come with their answers.

Everything is read at the block's hash. What does not fit now is a `Setback` or `CallFailed`, and the follower looks
again; a number is never guessed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from chainwatch.chain.evm.block import Block
from chainwatch.chain.evm.endpoint import Endpoint

Read = Callable[[Endpoint, Block], Awaitable[Block]]
"""Asks what has to be known of a block, and gives the block with the answers."""


async def with_readings(
    endpoint: Endpoint, blocks: AsyncIterator[Block], read: Read, ahead: int
) -> AsyncGenerator[Block]:
    """
    The blocks with what was read of them, in order; `ahead` of them at most are being read, or wait to be taken. An
    error comes at its block, after all before it. Close it (`contextlib.aclosing`) where it is left early.
    """
    room = asyncio.Semaphore(ahead)
    reading: asyncio.Queue[asyncio.Task[Block] | None] = asyncio.Queue()
    tasks: set[asyncio.Task[Block]] = set()

    async def one(block: Block) -> Block:
        return await read(endpoint, block)

    async def begin() -> None:
        try:
            await room.acquire()
            async for block in blocks:
                task = asyncio.create_task(one(block), name=f"read block {block.header.number}")
                tasks.add(task)
                reading.put_nowait(task)
                await room.acquire()
        finally:
            reading.put_nowait(None)
            if (close := getattr(blocks, "aclose", None)) is not None:
                await close()

    source = asyncio.create_task(begin(), name="blocks to read")
    try:
        while (task := await reading.get()) is not None:
            block = await task
            tasks.discard(task)
            room.release()
            yield block
        await source  # the source's own error, in its place
    finally:
        source.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(source, *tasks, return_exceptions=True)
