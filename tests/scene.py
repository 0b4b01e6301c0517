"""
The whole path as a user has it, for stories: a real node, the daemon that follows it as a process, and a client that
folds what it gets. The node may be configured as several chains of different settings: one story, seen by each.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from anvil import Anvil
from daemon import Daemon
from fold import Client

Event = dict[str, Any]
Told = Callable[[str], Awaitable[None]]
"""Checks what is told of the block with that hash."""

OF_NO_BLOCK = {"chain_status", "source_status", "wallet_status", "transaction_pending", "chain_reorg"}


class Scene:
    def __init__(self, node: Anvil, daemon: Daemon) -> None:
        self.node = node
        self.daemon = daemon
        self.client = Client(daemon.url)

    # --- the chain ---

    async def mine(self, blocks: int = 1) -> str:
        """Mine what waits; the newest block's hash, when all of it has come to the client."""
        await self.node.mine(blocks)
        return await self.settled()

    async def settled(self) -> str:
        """The newest block's hash, when every chain is there and all of it has come to the client."""
        head = await self.node.call("eth_getBlockByNumber", "latest", False)
        chains = (await self.daemon.get("/v1/stats"))["chains"]
        for index in range(len(chains)):
            await self.daemon.reached(head["hash"], index=index)
        await self.heard()
        return head["hash"]

    async def heard(self) -> None:
        """Wait until the client has what is in the log now."""
        flushed = (await self.daemon.get("/v1/stats"))["log"]["head"]
        await self.until(lambda: bool(self.client.cursor) and int(self.client.cursor.rsplit("-", 1)[1]) >= flushed)

    async def raw(self, block_hash: str) -> list[str]:
        """The signed transactions of a block."""
        block = await self.node.call("eth_getBlockByHash", block_hash, False)
        return [await self.node.call("eth_getRawTransactionByHash", one) for one in block["transactions"]]

    async def reorganise(self, depth: int = 1, again: Sequence[str] = ()) -> str:
        """So many blocks become others, the first of which has the signed transactions `again`."""
        await self.node.call("anvil_reorg", depth, [[one, 0] for one in again])
        self.node.forget_nonces()
        return await self.settled()

    async def receipt(self, tx_hash: str) -> Event:
        return await self.node.call("eth_getTransactionReceipt", tx_hash)

    async def fee(self, tx_hash: str) -> int:
        """Wei that a transaction paid for gas, by its receipt."""
        receipt = await self.receipt(tx_hash)
        return int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)

    # --- what was told ---

    def standing(self, kind: str, block_hash: str | None = None, *, chain: str | None = None, **data: Any) -> list[Any]:
        """`data` of the events of a type that stand: of that block, that chain, with these fields."""
        return [
            event["data"]
            for event in self.client.fold.open.values()
            if event["type"] == kind
            and chain in (None, event["chain"])
            and block_hash in (None, event["data"].get("block_hash"))
            and all(event["data"][name] == value for name, value in data.items())
        ]

    def of_block(self, block_hash: str) -> list[Event]:
        """The events that stand and belong to that block."""
        return [
            event
            for event in self.client.fold.open.values()
            if event["type"] not in OF_NO_BLOCK and event["data"].get("block_hash") == block_hash
        ]

    async def until(self, true: Callable[[], bool], *, seconds: float = 20) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not true():
                    await asyncio.sleep(0.01)
                    if self.client.failed is not None:
                        raise self.client.failed
        except TimeoutError:
            last = "\n".join(json.dumps(event) for event in self.client.events[-8:])
            raise AssertionError(f"it is never so; last of {len(self.client.events)} events:\n{last}") from None

    async def comes(self, kind: str, *, chain: str | None = None, **data: Any) -> Event:
        """Wait for the one event of a type with these fields that stands; its data."""
        await self.until(lambda: bool(self.standing(kind, chain=chain, **data)))
        (found,) = self.standing(kind, chain=chain, **data)
        return found

    # --- what a story has to survive ---

    async def restart(self) -> None:
        """kill -9, and another start: the client goes on behind what it has."""
        await self.daemon.kill()
        await self.daemon.start()
        self.client.url = self.daemon.url

    async def over_a_reorganisation(self, told: Told) -> None:
        """What waits is mined and told; the block is orphaned, and all is taken back; it comes again, in another."""
        first = await self.mine()
        await told(first)
        before, again = self.of_block(first), await self.raw(first)
        assert before
        await self.reorganise()
        self._took_back(before)
        second = await self.reorganise(again=again)
        await told(second)
        assert {event["id"] for event in before}.isdisjoint(event["id"] for event in self.of_block(second))

    async def over_kills(self, told: Told) -> None:
        """The same, while the daemon is killed before each of it; and once more for nothing."""
        first = await self.mine()
        await told(first)
        before, again = self.of_block(first), await self.raw(first)
        assert before
        for depth, included in ((1, ()), (1, again)):
            await self.daemon.kill()
            await self.node.call("anvil_reorg", depth, [[one, 0] for one in included])
            await self.daemon.start()
            self.client.url = self.daemon.url
            block = await self.settled()
            if not included:
                self._took_back(before)
        await told(block)
        count = self.client.fold.count
        await self.restart()
        await self.settled()
        assert {event["type"] for event in self.client.events[count:]} <= {"chain_status"}, "nothing is told twice"
        await told(block)
        self.node.forget_nonces()

    def _took_back(self, before: list[Event]) -> None:
        assert not {event["id"] for event in before} & self.client.fold.open.keys()
        retracted = [event["retracts"] for event in self.client.events if event.get("removed")]
        # The block's own events go last to first; of several chains, each in its order.
        for chain in {event["chain"] for event in before}:
            mine = [event["id"] for event in before if event["chain"] == chain]
            assert [one for one in retracted if one in mine] == mine[::-1]


S = TypeVar("S", bound=Scene)


@contextlib.asynccontextmanager
async def played(node: Anvil, folder: Path, kind: type[S] = Scene, **tables: Any) -> AsyncIterator[S]:
    """The daemon with these tables of its configuration follows the node."""
    async with Daemon(folder, **tables) as daemon:
        scene = kind(node, daemon)
        try:
            await scene.settled()
            yield scene
        finally:
            await scene.client.close()


def follows(name: str, node: Anvil, **settings: Any) -> dict[str, Any]:
    """A chain of the configuration: that node, by that name."""
    given = {"name": name, "chain_id": 31337, "endpoints": [node.ws], "confirmations": [1], "start": 0}
    return given | settings
