"""Transactions out of blocks: confirmed at each depth that is configured, or failed at inclusion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from chainwatch.chain.evm.block import Block, RpcReceipt, RpcTransaction, quantity
from chainwatch.derive.reverts import explain, explain_told
from chainwatch.derive.rules import Rules
from chainwatch.eip55 import checksum
from chainwatch.event import Event, event_id, rfc3339
from chainwatch.payloads import TransactionConfirmed, TransactionFailed


class Included(msgspec.Struct, frozen=True):
    """A successful transaction that waits for its further confirmations. Kept in the log's state: it outlives us."""

    timestamp: str
    payload: TransactionConfirmed
    retracted: int


def included(block: Block, rules: Rules, retracted: int) -> tuple[list[Included], list[Event]]:
    """
    The told transactions of a block: those that succeeded, to be confirmed from now on; and the events of those that
    failed.
    """
    if not rules.tells_transactions:
        return [], []
    timestamp, observed = rfc3339(block.header.timestamp * 1000), rfc3339(block.arrived)
    receipts = {receipt.transaction_hash: receipt for receipt in block.receipts}
    succeeded: list[Included] = []
    failed: list[Event] = []
    for index, transaction in enumerate(block.transactions):
        if not rules.tells_transaction(transaction.from_, transaction.to):
            continue
        receipt = receipts[transaction.hash]
        if receipt.status is not None and int(receipt.status, 16) == 0:
            failed.append(_failed(block, transaction, receipt, index, rules, retracted, timestamp, observed))
        else:
            payload = _payload(block, transaction, receipt, index, rules)
            succeeded.append(Included(timestamp, payload, retracted))
    return succeeded, failed


def confirmed(waiting: Sequence[Included], confirmations: int, chain: str, observed_at: str) -> Iterator[Event]:
    """The events of transactions whose block has reached that many confirmations."""
    for one in waiting:
        payload = one.payload
        yield Event(
            id=event_id(
                chain, payload.block_hash, TransactionConfirmed.TYPE, payload.tx_hash, None, None, confirmations,
                one.retracted,
            ),
            type=TransactionConfirmed.TYPE,
            timestamp=one.timestamp,
            observed_at=observed_at,
            chain=chain,
            data=msgspec.structs.replace(payload, confirmations=confirmations),
        )  # fmt: skip


def _payload(
    block: Block, transaction: RpcTransaction, receipt: RpcReceipt, index: int, rules: Rules
) -> TransactionConfirmed:
    return TransactionConfirmed(
        tx_hash=transaction.hash.lower(),
        from_=checksum(transaction.from_.lower()),
        to=None if transaction.to is None else checksum(transaction.to.lower()),
        amount=str(quantity(transaction.value, 256)),
        token=rules.native,
        decimals=rules.decimals,
        nonce=quantity(transaction.nonce, 64),
        direction=rules.direction(transaction.from_, transaction.to),
        block_number=block.header.number,
        block_hash=block.header.hash,
        transaction_index=index,
        gas_used=str(quantity(receipt.gas_used, 256)),
        fee=_fee(transaction, receipt),
        confirmations=1,
    )


def _failed(
    block: Block, transaction: RpcTransaction, receipt: RpcReceipt, index: int, rules: Rules, retracted: int,
    timestamp: str, observed: str,
) -> Event:  # fmt: skip
    fields = msgspec.structs.asdict(_payload(block, transaction, receipt, index, rules))
    del fields["confirmations"]
    found = block.readings.reverts.get(transaction.hash)
    reason = explain_told(receipt.revert_reason) or (None if found is None else explain(found))
    payload = TransactionFailed(**fields, revert_reason=reason)
    return Event(
        id=event_id(
            rules.chain, block.header.hash, TransactionFailed.TYPE, payload.tx_hash, None, None, None, retracted
        ),
        type=TransactionFailed.TYPE,
        timestamp=timestamp,
        observed_at=observed,
        chain=rules.chain,
        data=payload,
    )


def _fee(transaction: RpcTransaction, receipt: RpcReceipt) -> str | None:
    """Wei that the sender paid beside the value: gas, blobs (EIP-4844), and the layer below (OP stack)."""
    price = receipt.effective_gas_price or transaction.gas_price
    if price is None:
        return None
    fee = quantity(receipt.gas_used, 256) * quantity(price, 256)
    if receipt.blob_gas_used is not None and receipt.blob_gas_price is not None:
        fee += quantity(receipt.blob_gas_used, 256) * quantity(receipt.blob_gas_price, 256)
    if receipt.l1_fee is not None:
        fee += quantity(receipt.l1_fee, 256)
    return str(fee)
