"""
The mempool as this daemon knows it: which transactions wait, and what became of them. No clock, no socket.

Whatever happens is a method, and what it tells is a value: events, and what the journal must keep or forget with
them. A transaction is told as pending once, ever. After that comes, as a rule, exactly one end:

- it is in a told block: `transaction_confirmed` or `transaction_failed`, which `derive.transactions` tells;
- `transaction_replaced`, without a block when another one of its sender with its nonce comes into the mempool, with
  the block when that other one is included and nobody saw it before;
- `transaction_dropped`: the node has not known it for `dropped_after`; or its nonce was used by what nobody saw; or it
  has waited for `expires_after`.

A mempool promises nothing, and no two nodes have the same one. So a transaction that was told as replaced or dropped
can still be included: then it is confirmed as any other, and what was told of it before was true in its time. Blocks
have the last word. Ends that a block brought go with that block: in a reorganisation they are retracted, and the
transaction waits again without being told again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from chainwatch.chain.evm.block import MALFORMED, Block, Header, RpcTransaction, quantity
from chainwatch.derive import pending
from chainwatch.derive.pending import Told, Waiting
from chainwatch.derive.rules import Rules
from chainwatch.derive.shelf import Shelf
from chainwatch.event import Event

__all__ = ["Pool", "Told", "Waiting"]

EXPIRES_AFTER: Final = 3 * 3600.0
"""Seconds after which a transaction that only waits is dropped: what geth's own pool gives one that cannot run."""
MOST: Final = 50_000
"""Transactions that wait at once, 55 MB of them; beyond that, only those that touch wallets are taken."""
REMEMBERED: Final = 100_000
"""Hashes of transactions that are over, the newest: they are not told as pending again."""
ASKED: Final = 64
"""Transactions at most of which the node is asked at once."""
FRESH: Final = 3600_000
"""Milliseconds. Of older blocks, nobody pushes transactions any more: they are not remembered for that."""

LOOK_AGAIN: Final = 10_000
"""Milliseconds at least between two looks for what has waited too long."""


class _Look:
    """What the node last said of one that waits. Not kept: after a restart it is asked anew."""

    __slots__ = ("ahead", "ask_at", "spent", "unknown_since")

    def __init__(self, ask_at: int) -> None:
        self.ask_at = ask_at
        """Unix milliseconds."""
        self.unknown_since: int | None = None
        """Since when the node has not known it, or has called it part of a block that nobody will tell."""
        self.ahead = False
        """It is in a block of the node that is yet to be told."""
        self.spent = False
        """Its sender's nonce has moved past it."""


class Pool:
    """
    The transactions of one chain that wait, and those that did lately. Times are Unix milliseconds.

    `waiting`: what the journal kept. `dropped_after`, `expires_after`: seconds. `max_depth`: blocks that are more than
    that below the newest told one are never orphaned.
    """

    def __init__(
        self,
        rules: Rules,
        waiting: Iterable[Waiting] = (),
        *,
        dropped_after: float,
        max_depth: int,
        expires_after: float = EXPIRES_AFTER,
        most: int = MOST,
        remembered: int = REMEMBERED,
    ) -> None:
        self._rules = rules
        self._dropped_after = int(dropped_after * 1000)
        self._expires_after = int(expires_after * 1000)
        self._interval = max(1, self._dropped_after // 3)
        self._max_depth = max_depth
        self._most = most
        self._remembered = remembered
        self._shelf = Shelf()
        self._looks: OrderedDict[str, _Look] = OrderedDict()
        """Of all that wait, the one that is to be asked for next first."""
        self._tip: int | None = None
        self._now = 0
        self._expires_at = 0
        """Nothing has waited for too long before that."""
        self.turned_away = 0
        """How many were not taken because there was no room."""
        for one in sorted(waiting, key=lambda one: (one.block_number or 0, one.since)):
            self._place(one)
            self._now = max(self._now, one.since)

    # --- what is pushed ---

    def wants(self, tx_hash: str) -> bool:
        """Whether a transaction of which only the hash was pushed has to be looked up."""
        return self._rules.tells_pending and tx_hash.lower() not in self._shelf

    def seen(self, transaction: RpcTransaction, now: int) -> Told:
        """
        It came into the mempool of a node. `ValueError` where it is malformed: whoever pushed it, nothing happened.

        Not told again, and not told at all when a told block has it, or has its nonce, already: then it came late.
        """
        told = Told()
        self._now = max(self._now, now)
        if transaction.block_hash is not None or not self._rules.tells_pending:
            return told
        tells = self._rules.tells_pending_transaction(transaction.from_, transaction.to)
        if not tells and not self._shelf.has_sender(transaction.from_.lower()):
            return told  # nearly all, where wallets are watched
        newcomer = pending.waiting(transaction, self._rules, now)
        if (known := self._looks.get(newcomer.hash)) is not None:
            known.unknown_since = None
            return told
        rivals = self._shelf.at(newcomer.sender, newcomer.nonce)
        if newcomer.hash in self._shelf or any(not one.waits for one in rivals):
            return told
        if any(_pays_less(newcomer, one) for one in rivals):
            return told  # nodes take a replacement only for more: it was replaced before we saw it
        if tells and self._has_room(newcomer):
            told.events.append(pending.pending_event(newcomer, self._rules.chain))
            self._keep(newcomer, told)
        for one in rivals:
            told.events.append(self._replaced(one, newcomer.hash, cancel=newcomer.cancels, now=now))
            self._finish(one, told)
        return told

    def _has_room(self, newcomer: Waiting) -> bool:
        touches = newcomer.payload is not None and newcomer.payload.direction is not None
        if len(self._looks) < self._most or touches:
            return True
        self.turned_away += 1
        return False

    # --- blocks ---

    def included(self, block: Block, retracted: int) -> Told:
        """
        The block is told; it has its whole transactions. Never raises.

        The events belong to it, as its own do: where it is orphaned, they are retracted. `retracted`: how often the
        block was orphaned before.
        """
        told, header, chain = Told(), block.header, self._rules.chain
        self._tip, self._now = header.number, max(self._now, block.arrived)
        fresh = block.arrived - header.timestamp * 1000 < FRESH
        for transaction in block.transactions:
            tx_hash, sender = transaction.hash.lower(), transaction.from_.lower()
            one, has_mates = self._shelf.get(tx_hash), self._shelf.has_sender(sender)
            tells = fresh and self._rules.tells_pending_transaction(sender, transaction.to)
            if one is None and not has_mates and not tells:
                continue  # nearly all, where wallets are watched
            nonce = _nonce(transaction)
            if one is None and tells:
                one = Waiting(hash=tx_hash, sender=sender, nonce=nonce, since=block.arrived)
            if one is not None:
                self._end(one, header, told)
            if not has_mates:
                continue
            for other in self._shelf.at(sender, nonce):
                if other.waits:
                    told.events.append(
                        pending.replaced_in_block(
                            other, tx_hash, cancel=_cancels(transaction), block=block, chain=chain, retracted=retracted
                        )
                    )
                    self._end(other, header, told)
            for other in self._shelf.below(sender, nonce):
                told.events.append(pending.passed_over(other, block=block, chain=chain, retracted=retracted))
                self._end(other, header, told)
        self._settle(header.number - self._max_depth - 1, told)
        return told

    def orphaned(self, headers: Sequence[Header]) -> Told:
        """
        These told blocks are orphaned; their events are retracted elsewhere. What they ended waits again. It is not
        told again; what was never told as pending is told when a node pushes it again.
        """
        told = Told()
        for header in headers:
            self._tip = header.number - 1 if self._tip is None else min(self._tip, header.number - 1)
            for one in self._shelf.ended_by(header.hash):
                if not one.told:
                    self._forget(one.hash, told)
                    continue
                back = msgspec.structs.replace(one, block_number=None, block_hash=None)
                if back.waits:
                    back = msgspec.structs.replace(back, since=max(self._now, one.since))
                self._keep(back, told)
        return told

    def close(self) -> Told:
        """
        Pending transactions are told no more, so nobody will learn how these end: they are over. Where they are told
        again some day, none of these is told as new, or as dropped though a block had it meanwhile.
        """
        told = Told()
        for one in self._shelf.open():
            self._let_go(one, told)
        return told

    def _settle(self, depth: int, told: Told) -> None:
        """Blocks up to that height are never orphaned: what they ended is over."""
        for one in self._shelf.ended_up_to(depth):
            self._let_go(one, told)

    # --- what the node says ---

    def due(self, now: int) -> list[str]:
        """
        Of which to ask the node now, by hash: a bounded number, each at most every third of `dropped_after`. To be
        called only while what was told is abreast of the node.
        """
        found: list[str] = []
        while self._looks and len(found) < ASKED:
            tx_hash, look = next(iter(self._looks.items()))
            if now < look.ask_at <= now + self._interval:  # beyond that, the clock was set back
                break
            look.ask_at = now + self._interval
            self._looks.move_to_end(tx_hash)
            found.append(tx_hash)
        return found

    def sender(self, tx_hash: str) -> str | None:
        """Who sent one that waits; None where it does not."""
        return self._shelf[tx_hash].sender if tx_hash in self._looks else None

    def nonce(self, sender: str, count: int) -> None:
        """The next nonce of that sender is `count`, by the state of the node's newest block."""
        for one in self._shelf.below(sender.lower(), count):
            self._looks[one.hash].spent = True

    def answered(self, tx_hash: str, transaction: RpcTransaction | None, now: int) -> Told:
        """
        What nodes say of one that was `due`: None, they do not know it. Whoever asked for the sender's `nonce` said
        so before. `ValueError` where the answer is malformed.
        """
        told = Told()
        self._now = max(self._now, now)
        if (look := self._looks.get(tx_hash)) is None:
            return told
        number = None
        if transaction is not None:
            if transaction.hash.lower() != tx_hash:
                raise ValueError("asked for a transaction, the node gave another")
            number = None if transaction.block_number is None else quantity(transaction.block_number)
            look.ahead = number is not None and (self._tip is None or number > self._tip)
            if number is None or look.ahead:
                look.unknown_since = None
                look.spent = False
                return told
        # A block that we are past, and did not tell, may yet come by a reorganisation: it gets the same time.
        look.ahead = False
        if look.unknown_since is None:
            look.unknown_since = now
        if now - look.unknown_since < self._dropped_after:
            return told
        one = self._shelf[tx_hash]
        reason = "nonce_used" if look.spent or number is not None else "gone"
        rival = self._rival(one) if reason == "gone" else None
        if rival is not None:
            told.events.append(self._replaced(one, rival.hash, cancel=rival.cancels, now=now))
        else:
            told.events.append(pending.dropped_event(one, reason, chain=self._rules.chain, now=now))
        self._finish(one, told)
        return told

    def _rival(self, one: Waiting) -> Waiting | None:
        """Another with its nonce, which the node knows."""
        for other in self._shelf.at(one.sender, one.nonce):
            if other.waits and other.hash != one.hash and self._looks[other.hash].unknown_since is None:
                return other
        return None

    def expire(self, now: int) -> Told:
        """
        Drop what has waited for too long. As with `due`: only while what was told is abreast of the node, since after
        an outage blocks may be about to tell of what waited through it.
        """
        told = Told()
        self._now = max(self._now, now)
        if now < self._expires_at:
            return told
        soonest = now + self._expires_after
        for tx_hash, look in list(self._looks.items()):
            one = self._shelf[tx_hash]
            if now - one.since < self._expires_after:
                soonest = min(soonest, one.since + self._expires_after)
            elif look.ahead:
                soonest = now
            else:
                told.events.append(pending.dropped_event(one, "expired", chain=self._rules.chain, now=now))
                self._finish(one, told)
        # All of them are looked at: not each time that one more is due.
        self._expires_at = max(soonest, now + min(LOOK_AGAIN, self._expires_after // 100))
        return told

    def vitals(self) -> Mapping[str, Any]:
        """What `/v1/stats` tells of it."""
        return {"waiting": len(self._looks), "turned_away": self.turned_away}

    # --- what is known ---

    def _replaced(self, one: Waiting, by: str, *, cancel: bool, now: int) -> Event:
        return pending.replaced_event(one, by, cancel=cancel, chain=self._rules.chain, now=now)

    def _end(self, one: Waiting, header: Header, told: Told) -> None:
        """That block ends its waiting."""
        self._keep(msgspec.structs.replace(one, block_number=header.number, block_hash=header.hash), told)

    def _finish(self, one: Waiting, told: Told) -> None:
        """It is over for good: nothing but its hash is remembered."""
        self._keep(Waiting(hash=one.hash, sender=one.sender, nonce=one.nonce, since=self._now, told=True), told)
        while len(self._shelf.over) > self._remembered:
            self._forget(next(iter(self._shelf.over)), told)

    def _let_go(self, one: Waiting, told: Told) -> None:
        """As `_finish`; of one that was never told nothing is remembered."""
        if one.told:
            self._finish(one, told)
        else:
            self._forget(one.hash, told)

    def _keep(self, one: Waiting, told: Told) -> None:
        self._place(one)
        told.keep.append(one)

    def _forget(self, tx_hash: str, told: Told) -> None:
        self._shelf.remove(tx_hash)
        self._looks.pop(tx_hash, None)
        told.forget.append(tx_hash)

    def _place(self, one: Waiting) -> None:
        self._shelf.put(one)
        self._looks.pop(one.hash, None)
        if one.waits:
            self._looks[one.hash] = _Look(max(one.since, self._now) + self._interval)


def _pays_less(one: Waiting, other: Waiting) -> bool:
    (most, tip), (others_most, others_tip) = one.fees, other.fees
    return most <= others_most and tip <= others_tip and (most, tip) != (others_most, others_tip)


def _nonce(transaction: RpcTransaction) -> int:
    """The nonce of a transaction in a block; one that is none stands for no place at all."""
    try:
        return quantity(transaction.nonce, 64)
    except MALFORMED:
        return -1


def _cancels(transaction: RpcTransaction) -> bool:
    try:
        return pending.cancels(transaction)
    except MALFORMED:
        return False
