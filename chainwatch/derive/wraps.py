"""
Native currency that became a token, or became itself again: the `Deposit` and `Withdrawal` logs of WETH9 and its kin.

WETH9 writes no `Transfer` for these. Some chains' contracts write both; there the `Transfer` from or to the zero
address says it already, and the other log is no second movement.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal

import msgspec

from chainwatch.chain.evm.block import Block, RpcLog
from chainwatch.derive.rules import Rules
from chainwatch.derive.transfers import TRANSFER
from chainwatch.derive.words import ZERO, party

DEPOSIT: Final = "0xe1fffcc4923d04b559f4d29a8bfc6cda04eb5b0d3c460751c2402c5c5cc9109c"
"""Deposit(address,uint256)"""
WITHDRAWAL: Final = "0x7fcf532c15f0a6db0bd6d0e038bea71d30d808c7d98cb3bf7268a95bf5081b65"
"""Withdrawal(address,uint256)"""

_KINDS: Final[dict[str, Literal["wrap", "unwrap"]]] = {DEPOSIT: "wrap", WITHDRAWAL: "unwrap"}


class Wrap(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses and hashes are lower case."""

    log_index: int
    tx_hash: str
    transaction_index: int
    contract: str
    wallet: str
    amount: int
    kind: Literal["wrap", "unwrap"]


def wraps(block: Block, rules: Rules) -> list[Wrap]:
    """Every wrap and unwrap of the block, in the order of the logs, at the contracts that are `rules.wrapped`."""
    wrapped = rules.wrapped
    if not wrapped:
        return []
    found = []
    for log in block.logs:
        topics = log.topics
        if topics and topics[0] in _KINDS and log.address.lower() in wrapped:
            wrap = _wrap(log)
            if wrap is not None:
                found.append(wrap)
    if not found:
        return found
    told = _told_by_transfers(block, {wrap.contract for wrap in found})
    if not told:
        return found
    return [wrap for wrap in found if not _consume(told, _key(wrap))]


_Key = tuple[str, str, str, str, int]
"""Transaction, contract, kind, wallet, amount."""


def _wrap(log: RpcLog) -> Wrap | None:
    topics, data = log.topics, log.data
    if len(topics) != 2 or len(data) < 66 or (wallet := party(topics[1])) is None:
        return None
    return Wrap(
        log_index=int(log.log_index, 16),
        tx_hash=log.transaction_hash.lower(),
        transaction_index=int(log.transaction_index, 16),
        contract=log.address.lower(),
        wallet=wallet[0],
        amount=int(data[2:66], 16),
        kind=_KINDS[topics[0]],
    )


def _key(wrap: Wrap) -> _Key:
    return wrap.tx_hash, wrap.contract, wrap.kind, wrap.wallet, wrap.amount


def _told_by_transfers(block: Block, contracts: set[str]) -> Counter[_Key]:
    """The transfers of these contracts from and to the zero address."""
    told: Counter[_Key] = Counter()
    for log in block.logs:
        topics = log.topics
        if len(topics) != 3 or topics[0] != TRANSFER or len(log.data) < 66:
            continue
        contract = log.address.lower()
        if contract not in contracts or (sender := party(topics[1])) is None or (to := party(topics[2])) is None:
            continue
        tx_hash, amount = log.transaction_hash.lower(), int(log.data[2:66], 16)
        if sender[0] == ZERO:
            told[tx_hash, contract, "wrap", to[0], amount] += 1
        if to[0] == ZERO:
            told[tx_hash, contract, "unwrap", sender[0], amount] += 1
    return told


def _consume(told: Counter[_Key], key: _Key) -> bool:
    """Whether a transfer tells the same; each transfer speaks for one log only."""
    if not told[key]:
        return False
    told[key] -= 1
    return True
