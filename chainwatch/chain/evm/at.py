"""
One block's state at one node: single questions, asked by the block's hash.

`{"blockHash": …}` (EIP-1898) makes it certain which block is meant, through reorganisations and balancers. A node
that does not know it, or takes it and answers from its newest block, is asked by number, and has to show afterwards
that the block of that number still is ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec

from chainwatch.chain.evm.block import Block, quantity
from chainwatch.chain.evm.endpoint import CallFailed, Endpoint
from chainwatch.chain.evm.fetch import Setback, header_at

ZERO = "0x" + "0" * 40
NOWHERE = "0x" + "0" * 63 + "1"
"""The hash of no block."""
CALL_GAS = 600_000
"""Gas of a call of a contract that nobody knows: `balanceOf` of the costliest honest tokens takes a quarter."""
IN_FLIGHT = 100
"""Questions that wait for their answers at once."""
OLD = 64
"""Blocks below the head from which on a node may have forgotten a state."""
ODD = 4
"""How often a call may fail for reasons that nobody knows before that is taken for its answer."""

_text = msgspec.json.Decoder(str)
T = TypeVar("T")


class At:
    """The state at a block."""

    def __init__(self, endpoint: Endpoint, block: Block, where: dict[str, str] | str) -> None:
        self.endpoint = endpoint
        self.block = block
        self.where = where
        """What stands for the block in a request."""
        head = endpoint.head
        # anvil answers of its newest block by what it holds at that moment, and that may be the next block's already.
        self._sliding = endpoint.profile.development and (head is None or head.number <= block.header.number)

    def balance(self, wallet: str) -> asyncio.Future[msgspec.Raw]:
        return self.endpoint.start("eth_getBalance", [wallet, self.where])

    def call(self, to: str, data: str) -> asyncio.Future[msgspec.Raw]:
        return self.endpoint.start("eth_call", [{"to": to, "data": data, "gas": hex(CALL_GAS)}, self.where])

    async def answers(self, calls: list[tuple[str, str]]) -> list[str | None]:
        """What contracts answer, (contract, data) each; None where the call failed, which is an answer too."""
        told: list[str | None] = []
        refused: CallFailed | None = None
        for start in range(0, len(calls), IN_FLIGHT):
            some = calls[start : start + IN_FLIGHT]
            asked = [self.call(to, data) for to, data in some]
            for future, call in zip(asked, some, strict=True):
                try:
                    told.append(text(await future))
                except CallFailed as failed:
                    told.append(None)
                    if failed.kind == "reverted":
                        continue
                    if failed.kind == "unsupported":
                        self.endpoint.ways.calls = False
                    if failed.kind != "failed":
                        raise
                    if not self._odd(*call):
                        refused = failed
        if refused is not None:
            raise refused
        return told

    def _odd(self, to: str, data: str) -> bool:
        """A call failed for a reason that is in no list: whether it did so often enough to be believed."""
        oddities, key = self.endpoint.ways.oddities, (self.block.header.hash, to, data)
        if len(oddities) > 10_000:
            oddities.clear()
        oddities[key] += 1
        return oddities[key] >= ODD

    async def confirm(self) -> None:
        """After all questions: they were about our block. `Setback` where that is not certain."""
        ours = self.block.header
        if self._sliding:
            newest = await self.endpoint.latest()
            if newest.hash != ours.hash:
                raise Setback(f"block {ours.number} was followed or replaced while its state was read")
        elif not isinstance(self.where, dict):
            header = await header_at(self.endpoint, ours.number)
            if header is None or header.hash != ours.hash:
                raise Setback(f"block {ours.number} was replaced while its state was read")


async def locate(endpoint: Endpoint, block: Block) -> At:
    """The state at the block, in the way that the node knows. `CallFailed` where it does not have it."""
    ways, header = endpoint.ways, block.header
    if ways.by_hash is None:
        ways.by_hash = await _heeds_hashes(endpoint, block)
    return At(endpoint, block, {"blockHash": header.hash} if ways.by_hash else hex(header.number))


async def _heeds_hashes(endpoint: Endpoint, block: Block) -> bool:
    ours = endpoint.start("eth_getBalance", [ZERO, {"blockHash": block.header.hash}])
    nowhere = endpoint.start("eth_getBalance", [ZERO, {"blockHash": NOWHERE}])
    try:
        amount(await ours)
    except CallFailed as failed:
        if failed.kind not in ("failed", "unsupported"):
            raise
        amount(await endpoint.start("eth_getBalance", [ZERO, hex(block.header.number)]))  # else that is the answer
        return False
    try:
        await nowhere
    except CallFailed as failed:
        if failed.kind in ("lost", "limited"):
            raise
        return True
    return False


def old(endpoint: Endpoint, block: Block) -> bool:
    """Whether the block is so far below the node's head that its state may be gone for good."""
    return endpoint.head is not None and endpoint.head.number - block.header.number >= OLD


def text(told: msgspec.Raw) -> str:
    """An answer that is text. `ValueError` (one of `MALFORMED`) where it is none."""
    return _text.decode(told)


def amount(told: msgspec.Raw) -> int:
    """An answer that is a number of 256 bits. `ValueError` where it is none."""
    return quantity(text(told), 256)


async def together(*parts: Coroutine[Any, Any, T]) -> list[T]:
    """
    All of them at once; the first error ends the others and is raised as it is. Who is cancelled is cancelled: a
    `TaskGroup` and `gather` raise a part's error alone where it comes at the same moment, as all do when the daemon
    stops, and who catches that error goes on for ever.
    """
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        done = [task for task in tasks if task.done() and not task.cancelled()]
        failed = next((error for task in done if (error := task.exception()) is not None), None)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if failed is not None:
        raise failed
    return [task.result() for task in tasks]
