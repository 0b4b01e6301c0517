"""
A chain out of a seed: no clock, no socket, no chance.

`World` holds the tree of blocks and which branch is canonical. The same seed and the same calls (`mine`, `reorg`,
`rollback`, `switch`) give the same blocks, transactions, receipts and hashes on every machine; only time stamps come
from a clock that is handed in. What is kept is bounded, so that a demo can run for weeks: the newest `keep` blocks,
and orphans as long as they are among the newest 256 heights. Older blocks are gone, as from a pruned node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from chainwatch.chain.simulated import calls
from chainwatch.chain.simulated.block import Block, Withdrawal
from chainwatch.chain.simulated.contracts import ACCOUNTS, MINERS, NATIVE, NATIVE_SYMBOL, NONCE, genesis
from chainwatch.chain.simulated.primitives import Dice, Weights, digest
from chainwatch.chain.simulated.state import Draft, History
from chainwatch.chain.simulated.transactions import (
    DEFAULT_MIX,
    GWEI,
    Outcome,
    Transaction,
    affordable,
    execute,
    invent,
    outbid,
    signed,
)
from chainwatch.chain.simulated.view import View

CHAIN_ID: Final = 1337
GENESIS_TIME: Final = 1_700_000_000
"""Unix seconds of block 0 where no clock is given."""
ORPHANS_KEPT: Final = 256
"""Heights below the head at which orphans, and the ready-made JSON of blocks, are still held."""
BASE_FEES: Final = (GWEI, 60 * GWEI)


class Change(NamedTuple):
    """What one call did to the canonical chain."""

    removed: tuple[Block, ...]
    """Orphaned blocks, newest first."""
    added: tuple[Block, ...]
    """New canonical blocks, oldest first."""
    pending: tuple[Transaction, ...]
    """Transactions that are new in the pool, those of orphaned blocks among them: geth pushes them again."""


class World:
    """
    The chain and everything that could have been it.

    `transactions`: least and most of them in a block. `mix`: what they do (see `DEFAULT_MIX`), as name to weight.
    `keep`: blocks kept. `safe`, `finalized`: how far these tags are behind the head. `readable_orphans`: blocks that
    are not canonical are still answered by hash, as geth does; anvil forgets them. `clock`: Unix seconds; without
    one, blocks are `block_time` seconds apart.
    """

    def __init__(
        self,
        seed: int,
        *,
        chain_id: int = CHAIN_ID,
        transactions: tuple[int, int] = (0, 9),
        mix: Mapping[str, int] = DEFAULT_MIX,
        keep: int = 100_000,
        safe: int = 8,
        finalized: int = 16,
        readable_orphans: bool = True,
        block_time: int = 2,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.seed = seed
        self.chain_id = chain_id
        self.native = NATIVE_SYMBOL
        self.safe = safe
        self.finalized = finalized
        self.readable_orphans = readable_orphans
        self.blocks: dict[str, Block] = {}
        """Every block that is kept, of every branch, by hash."""
        self.canonical: dict[int, Block] = {}
        """The chain, by number."""
        self.state = History()
        self.pool: list[Transaction] = []
        """What waits to be included, in order; of one sender always by nonce."""
        self._transactions = transactions
        self._mix = Weights(mix)
        self._keep = max(keep, 2)
        self._block_time = block_time
        self._clock = clock
        self._forks = 0
        self._including: dict[str, list[Block]] = {}
        self._orphans: dict[str, Block] = {}
        self._listeners: list[Callable[[Change], None]] = []
        self.oldest = 0
        first = Block(
            chain_id=chain_id, number=0, identity=digest("genesis", seed, chain_id), parent_hash="0x" + "00" * 32,
            timestamp=int(clock()) if clock else GENESIS_TIME, base_fee=10 * GWEI, miner=MINERS[0], transactions=(),
            outcomes=(), withdrawals=(), changes=genesis(),
        )  # fmt: skip
        self._append(first)
        self._view = View(self, first)
        self._refill(Dice("pool", seed, first.hash))

    @property
    def head(self) -> Block:
        return self._view.tip

    def view(self) -> View:
        """The canonical chain as it is now."""
        return self._view

    def including(self, transaction_hash: str) -> list[Block]:
        """Blocks of any branch that have the transaction."""
        return self._including.get(transaction_hash, [])

    def follow(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Be told of every change, at once and in order. Returns what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # --- what can happen ----------------------------------------------------------------------------------------

    def mine(self, count: int = 1) -> Change:
        """So many blocks on top of the head."""
        return self._change([], lambda: [self._forge() for _ in range(count)])

    def reorg(self, depth: int, length: int | None = None) -> Change:
        """The newest `depth` blocks are replaced by `length` others (as a rule one more, as the heavier branch has)."""
        orphaned = self._newest(depth)
        return self._change(orphaned, lambda: [self._forge() for _ in range(depth + 1 if length is None else length)])

    def rollback(self, count: int) -> Change:
        """The newest `count` blocks are gone, and nothing comes in their place, as by `debug_setHead`."""
        return self._change(self._newest(count), list)

    def switch(self, tip: str) -> Change:
        """The branch that ends in the block with this hash becomes canonical, as in A, B, A. KeyError: not kept."""
        target = View(self, self.blocks[tip])
        ancestor = target.tip
        while self.canonical.get(ancestor.number) is not ancestor:
            ancestor = self.blocks[ancestor.parent_hash]
        back = target.blocks(ancestor.number + 1, target.tip.number)
        return self._change(self._newest(self.head.number - ancestor.number), lambda: [self._append(b) for b in back])

    # --- in the pool --------------------------------------------------------------------------------------------

    def replace(self, waiting: str, *, cancel: bool = False) -> Transaction:
        """Another transaction takes the place of the waiting one with this hash, for more. KeyError: none waits."""
        place = self._waiting(waiting)
        self.pool[place] = outbid(self.pool[place], self.chain_id, cancel=cancel)
        self._tell(Change((), (), (self.pool[place],)))
        return self.pool[place]

    def underpay(self, sender: str) -> Transaction:
        """A transaction comes that pays less than any block asks for: it waits, and all later ones of its sender."""
        nonce = max([self.state.latest((NONCE, sender)), *(t.nonce + 1 for t in self.pool if t.sender == sender)])
        stuck = signed(self.chain_id, sender, nonce, calls.Pay(ACCOUNTS[0], GWEI), 2, 1, BASE_FEES[0] // 2)
        self.pool.append(stuck)
        self._tell(Change((), (), (stuck,)))
        return stuck

    def evict(self, waiting: str) -> None:
        """The waiting one with this hash is forgotten, and the later ones of its sender with it. KeyError: none."""
        gone = self.pool[self._waiting(waiting)]
        self.pool = [t for t in self.pool if t.sender != gone.sender or t.nonce < gone.nonce]

    def _waiting(self, identity: str) -> int:
        for place, transaction in enumerate(self.pool):
            if transaction.hash == identity:
                return place
        raise KeyError(identity)

    # --- how it happens -----------------------------------------------------------------------------------------

    def _newest(self, count: int) -> list[Block]:
        head = self.head.number
        if not 0 <= count <= head - self.oldest:
            raise ValueError(f"cannot take back {count} blocks: the head is {head}, the oldest kept is {self.oldest}")
        return [self.canonical[number] for number in range(head, head - count, -1)]

    def _change(self, orphaned: list[Block], renew: Callable[[], list[Block]]) -> Change:
        known = {transaction.hash for transaction in self.pool}
        if orphaned:
            self._forks += 1
            for block in orphaned:
                self._orphan(block)
            self._view = View(self, self.canonical[orphaned[-1].number - 1])
            # What was in them waits again, oldest first, before everything that came later.
            again = [transaction for block in reversed(orphaned) for transaction in block.transactions]
            self.pool = again + self.pool
        added = renew()
        pending = tuple([transaction for transaction in self.pool if transaction.hash not in known])
        change = Change(tuple(orphaned), tuple(added), pending)
        self._tell(change)
        return change

    def _tell(self, change: Change) -> None:
        for listener in tuple(self._listeners):
            listener(change)

    def _orphan(self, block: Block) -> None:
        del self.canonical[block.number]
        self.state.retract(block.changes)
        self._orphans[block.hash] = block

    def _append(self, block: Block) -> Block:
        """The block becomes the head."""
        self.blocks[block.hash] = block
        self._orphans.pop(block.hash, None)
        self.canonical[block.number] = block
        self.state.extend(block.number, block.changes)
        for transaction in block.transactions:
            holders = self._including.setdefault(transaction.hash, [])
            if block not in holders:
                holders.append(block)
        self._view = View(self, block)
        self.pool = [t for t in self.pool if t.nonce >= self.state.latest((NONCE, t.sender))]
        self._prune(block.number)
        return block

    def _prune(self, head: int) -> None:
        aged = self.canonical.get(head - ORPHANS_KEPT)
        if aged is not None:
            aged.forget()
        for orphan in [orphan for orphan in self._orphans.values() if orphan.number <= head - ORPHANS_KEPT]:
            del self._orphans[orphan.hash]
            self._drop(orphan)
        while self.oldest <= head - self._keep:
            gone = self.canonical.pop(self.oldest)
            self.oldest += 1
            self._drop(gone)
            self.state.forget(gone.changes, self.oldest)

    def _drop(self, block: Block) -> None:
        del self.blocks[block.hash]
        for transaction in block.transactions:
            holders = self._including[transaction.hash]
            holders.remove(block)
            if not holders:
                del self._including[transaction.hash]

    def _forge(self) -> Block:
        """The next block: some of the pool is included, in order, and the pool filled up again."""
        parent = self.head
        number = parent.number + 1
        dice = Dice("block", self.seed, self.chain_id, self._forks, parent.hash)
        now = int(self._clock()) if self._clock else parent.timestamp + self._block_time
        timestamp = max(now, parent.timestamp)
        draft = Draft(self.state.latest, timestamp)
        base_fee = min(max(parent.base_fee * dice.between(875, 1125) // 1000, BASE_FEES[0]), BASE_FEES[1])
        miner = dice.pick(MINERS)
        transactions, outcomes = self._include(dice, draft, base_fee, miner)
        withdrawals = tuple(
            [
                Withdrawal(
                    4 * number + index, dice.below(100), dice.pick(ACCOUNTS), dice.between(10_000_000, 20_000_000)
                )
                for index in range(dice.below(3))
            ]
        )
        for withdrawal in withdrawals:
            draft.add((NATIVE, withdrawal.address), withdrawal.gwei * GWEI)
        contents = digest(*[transaction.hash for transaction in transactions])
        block = Block(
            chain_id=self.chain_id, number=number, parent_hash=parent.hash, timestamp=timestamp,
            identity=digest("block", self.seed, self.chain_id, number, self._forks, parent.hash, contents),
            base_fee=base_fee, miner=miner, transactions=tuple(transactions), outcomes=tuple(outcomes),
            withdrawals=withdrawals, changes=draft.changes,
        )  # fmt: skip
        self._append(block)
        self._refill(Dice("pool", self.seed, block.hash))
        return block

    def _include(self, dice: Dice, draft: Draft, base_fee: int, miner: str) -> tuple[list[Transaction], list[Outcome]]:
        room = dice.between(*self._transactions)
        waiting: set[str] = set()  # senders of whom one transaction waits, so the later ones must
        chosen: list[Transaction] = []
        outcomes: list[Outcome] = []
        for transaction in self.pool:
            if len(chosen) == room:
                break
            sender = transaction.sender
            late = sender in waiting or transaction.nonce != draft.get((NONCE, sender))
            if late or dice.one_in(8) or not affordable(transaction, draft) or transaction.most < base_fee:
                waiting.add(sender)
                continue
            chosen.append(transaction)
            outcomes.append(execute(transaction, draft, base_fee, miner))
        return chosen, outcomes

    def _refill(self, dice: Dice) -> None:
        """Twice as many as fit into a block wait."""
        nonces: dict[str, int] = {}
        for transaction in self.pool:
            nonces[transaction.sender] = transaction.nonce + 1

        def next_nonce(sender: str) -> int:
            nonce = nonces.get(sender)
            nonces[sender] = (self.state.latest((NONCE, sender)) if nonce is None else nonce) + 1
            return nonces[sender] - 1

        while len(self.pool) < 2 * self._transactions[1]:
            self.pool.append(invent(dice, self._mix.draw(dice), self.state.latest, next_nonce, self.chain_id))
