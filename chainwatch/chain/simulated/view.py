"""
The chain as a node sees it whose newest block is `tip`.

The world holds a tree of blocks; a node that is up to date has the world's own head as its tip, one that lags an
older block, one that follows the wrong branch a block of that branch. Everything that is asked of a node is answered
from its view.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainwatch.chain.simulated.block import Block
from chainwatch.chain.simulated.contracts import Key

if TYPE_CHECKING:
    from chainwatch.chain.simulated.world import World


class View:
    """A frozen tip over a living world: blocks that come later are not in it."""

    __slots__ = ("_branch", "_fork_number", "tip", "world")

    def __init__(self, world: World, tip: Block) -> None:
        self.world = world
        self.tip = tip
        self._branch: dict[int, Block] = {}
        """The part of this branch that is not canonical in the world, by number."""
        block: Block | None = tip
        while block is not None and world.canonical.get(block.number) is not block:
            self._branch[block.number] = block
            block = world.blocks.get(block.parent_hash)
        self._fork_number = block.number if block is not None else -1

    def __repr__(self) -> str:
        return f"<View of {self.tip!r}>"

    @property
    def oldest(self) -> int:
        """Number of the oldest block that is still kept."""
        return self.world.oldest

    def number(self, number: int) -> Block | None:
        """The canonical block of that number; None beyond the tip and where it is no longer kept."""
        if number > self._fork_number:
            return self._branch.get(number)
        return self.world.canonical.get(number)

    def tag(self, tag: str) -> Block | None:
        """`latest` and `pending` are the tip, `earliest` is the oldest kept block; None for any other word."""
        depths = {"latest": 0, "pending": 0, "safe": self.world.safe, "finalized": self.world.finalized}
        if tag == "earliest":
            return self.number(self.oldest)
        if tag not in depths:
            return None
        return self.number(max(self.tip.number - depths[tag], self.oldest))

    def hash(self, identity: str) -> Block | None:
        """
        The block of that hash. An orphan is found as well if the world keeps orphans readable, as geth does; a block
        that is newer than the tip is not.
        """
        block = self.world.blocks.get(identity)
        if block is None or block.number > self.tip.number:
            return None
        return block if self.world.readable_orphans or self.canonical(block) else None

    def canonical(self, block: Block) -> bool:
        """Whether the block is on this view's branch."""
        return self.number(block.number) is block

    def included(self, transaction_hash: str) -> tuple[Block, int] | None:
        """The block of this branch that has the transaction, and its index there."""
        for block in self.world.including(transaction_hash):
            if self.canonical(block):
                hashes = [transaction.hash for transaction in block.transactions]
                return block, hashes.index(transaction_hash)
        return None

    def value(self, key: Key) -> int:
        """The state at the tip."""
        for number in sorted(self._branch, reverse=True):
            value = self._branch[number].changes.get(key)
            if value is not None:
                return value
        return self.world.state.at(key, self._fork_number)

    def at(self, block: Block) -> View:
        """The chain as it was when `block` was its tip."""
        return self if block is self.tip else View(self.world, block)

    def behind(self, blocks: int) -> View:
        """The chain as a node sees it that is so many blocks late."""
        block = self.number(max(self.tip.number - blocks, self.oldest))
        return self if block is None else self.at(block)

    def blocks(self, first: int, last: int) -> list[Block]:
        """Those of this branch from `first` to `last`, both included, as far as they are kept."""
        found = (self.number(number) for number in range(max(first, self.oldest), min(last, self.tip.number) + 1))
        return [block for block in found if block is not None]
