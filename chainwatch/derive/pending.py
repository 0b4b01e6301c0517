"""One transaction of the mempool: what is remembered of it, and the events that tell of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from chainwatch.chain.evm.block import Block, RpcTransaction, hash_, quantity
from chainwatch.derive.rules import Rules
from chainwatch.eip55 import checksum
from chainwatch.event import Event, event_id, rfc3339
from chainwatch.payloads import TransactionDropped, TransactionPending, TransactionReplaced

_address = re.compile(r"0x[0-9a-fA-F]{40}").fullmatch


class Waiting(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """
    What is remembered of a transaction, in the log's state too: it outlives us.

    It waits; or a told block has ended that (it is in that block, or one that took its nonce is), which a
    reorganisation can undo; or that is over for good, and only its hash is kept, so that it is not told again.
    """

    hash: str
    sender: str
    """Lower case."""
    nonce: int
    since: int
    """Unix milliseconds at which it was first seen, or began to wait again after a reorganisation."""
    told: bool = False
    """It was told as pending."""
    payload: TransactionPending | None = None
    """What was told; None where nothing is left to be told."""
    cancels: bool = False
    """It sends nothing, to its own sender: whatever it replaces is cancelled."""
    block_number: int | None = None
    """The told block that ended its waiting."""
    block_hash: str | None = None

    @property
    def waits(self) -> bool:
        return self.payload is not None and self.block_hash is None

    @property
    def fees(self) -> tuple[int, int]:
        """What it pays at most for a unit of gas, and how much of that to who makes the block; in wei."""
        told = self.payload
        if told is None or told.max_fee_per_gas is None:
            return 0, 0
        most = int(told.max_fee_per_gas)
        return most, most if told.max_priority_fee_per_gas is None else int(told.max_priority_fee_per_gas)


@dataclass(frozen=True, slots=True)
class Told:
    """What something told. What to `keep` and to `forget` (in this order) belongs into the commit of the events."""

    events: list[Event] = field(default_factory=list)
    keep: list[Waiting] = field(default_factory=list)
    """By their hash."""
    forget: list[str] = field(default_factory=list)
    """Hashes."""

    def __bool__(self) -> bool:
        return bool(self.events or self.keep or self.forget)

    def __add__(self, more: Told) -> Told:
        """One after the other."""
        again = {one.hash for one in more.keep}
        return Told(
            [*self.events, *more.events],
            [*self.keep, *more.keep],
            [*(gone for gone in self.forget if gone not in again), *more.forget],
        )


def waiting(transaction: RpcTransaction, rules: Rules, now: int) -> Waiting:
    """A transaction that was pushed, checked. `ValueError` where a part of it is none: who pushes may be anybody."""
    if not _address(transaction.from_) or (transaction.to is not None and not _address(transaction.to)):
        raise ValueError("a pending transaction whose sender or recipient is no address")
    sender = transaction.from_.lower()
    to = None if transaction.to is None else transaction.to.lower()
    value, nonce = quantity(transaction.value, 256), quantity(transaction.nonce, 64)
    most = transaction.max_fee_per_gas or transaction.gas_price
    payload = TransactionPending(
        tx_hash=hash_(transaction.hash),
        from_=checksum(sender),
        to=None if to is None else checksum(to),
        amount=str(value),
        token=rules.native,
        decimals=rules.decimals,
        nonce=nonce,
        direction=rules.direction(sender, to),
        max_fee_per_gas=_wei(most),
        # Some nodes write a fee market's fields, as zero, into transactions that have none.
        max_priority_fee_per_gas=_wei(transaction.max_priority_fee_per_gas) if transaction.max_fee_per_gas else None,
    )
    return Waiting(
        hash=payload.tx_hash,
        sender=sender,
        nonce=nonce,
        since=now,
        told=True,
        payload=payload,
        cancels=cancels(transaction),
    )


def _wei(told: str | None) -> str | None:
    return None if told is None else str(quantity(told, 256))


def cancels(transaction: RpcTransaction) -> bool:
    """Whether it does nothing but use up its sender's nonce."""
    to = transaction.to
    to_itself = to is not None and to.lower() == transaction.from_.lower()
    return to_itself and transaction.input in ("0x", "") and quantity(transaction.value, 256) == 0


# --- events -------------------------------------------------------------------------------------------------------


def pending_event(one: Waiting, chain: str) -> Event:
    """It was seen in the mempool. The id hangs on nothing but its hash: it is told once."""
    kind = TransactionPending.TYPE
    at = rfc3339(one.since)
    return Event(
        id=event_id(chain, None, kind, one.hash, None, None, None, 0),
        type=kind,
        timestamp=at,
        observed_at=at,
        chain=chain,
        data=one.payload,
    )


def replaced_event(one: Waiting, by: str, *, cancel: bool, chain: str, now: int) -> Event:
    """Another pending transaction took its place. `now` in Unix milliseconds."""
    kind, at = TransactionReplaced.TYPE, rfc3339(now)
    return Event(
        id=event_id(chain, None, kind, one.hash, None, by, None, 0),
        type=kind,
        timestamp=at,
        observed_at=at,
        chain=chain,
        data=_replaced(one, by, cancel=cancel, number=None, block_hash=None),
    )


def replaced_in_block(one: Waiting, by: str, *, cancel: bool, block: Block, chain: str, retracted: int) -> Event:
    """A transaction of that block took its place: an event of the block, which goes with it."""
    header, kind = block.header, TransactionReplaced.TYPE
    return Event(
        id=event_id(chain, header.hash, kind, one.hash, None, by, None, retracted),
        type=kind,
        timestamp=rfc3339(header.timestamp * 1000),
        observed_at=rfc3339(block.arrived),
        chain=chain,
        data=_replaced(one, by, cancel=cancel, number=header.number, block_hash=header.hash),
    )


def _replaced(one: Waiting, by: str, *, cancel: bool, number: int | None, block_hash: str | None) -> Any:
    return TransactionReplaced(
        **_fields(one),
        replaced_by=by,
        kind="cancel" if cancel else "speed_up",
        block_number=number,
        block_hash=block_hash,
    )


def dropped_event(one: Waiting, reason: str, *, chain: str, now: int) -> Event:
    """It is gone. `now` in Unix milliseconds."""
    kind, at = TransactionDropped.TYPE, rfc3339(now)
    return Event(
        id=event_id(chain, None, kind, one.hash, None, None, None, 0),
        type=kind,
        timestamp=at,
        observed_at=at,
        chain=chain,
        data=TransactionDropped(**_fields(one), reason=reason),
    )


def passed_over(one: Waiting, *, block: Block, chain: str, retracted: int) -> Event:
    """A later transaction of its sender is in that block, so its nonce is used: an event of the block."""
    header, kind = block.header, TransactionDropped.TYPE
    return Event(
        id=event_id(chain, header.hash, kind, one.hash, None, None, None, retracted),
        type=kind,
        timestamp=rfc3339(header.timestamp * 1000),
        observed_at=rfc3339(block.arrived),
        chain=chain,
        data=TransactionDropped(**_fields(one), reason="nonce_used"),
    )


def _fields(one: Waiting) -> dict[str, Any]:
    return {} if one.payload is None else msgspec.structs.asdict(one.payload)
