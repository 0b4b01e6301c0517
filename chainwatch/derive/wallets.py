"""Flows become events: what came into a watched wallet, and what left it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from chainwatch.chain.evm.block import Block
from chainwatch.derive.flows import Flow
from chainwatch.derive.known import Known
from chainwatch.derive.rules import Rules
from chainwatch.eip55 import checksum
from chainwatch.event import Event, event_id, rfc3339
from chainwatch.payloads import WalletIncoming, WalletOutgoing


def movements(block: Block, found: Iterable[Flow], rules: Rules, known: Known, retracted: int) -> Iterator[Event]:
    """One event for each flow: between two watched wallets it is outgoing for one and incoming for the other."""
    header = block.header
    timestamp, observed = rfc3339(header.timestamp * 1000), rfc3339(block.arrived)
    for flow in found:
        payload = WalletIncoming if flow.amount > 0 else WalletOutgoing
        token = flow.token
        symbol, _, decimals = known.describe(token, flow.standard == "erc20")
        position = f"{'' if flow.log_index is None else flow.log_index}.{flow.kind}.{flow.position}"
        yield Event(
            id=event_id(
                rules.chain, header.hash, payload.TYPE, flow.tx_hash, position, flow.wallet, None, retracted
            ),
            type=payload.TYPE,
            timestamp=timestamp,
            observed_at=observed,
            chain=rules.chain,
            data=payload(
                address=checksum(flow.wallet),
                counterparty=None if flow.counterparty is None else checksum(flow.counterparty),
                token=symbol if token else rules.native,
                token_address=checksum(token) if token else None,
                decimals=decimals if token else rules.decimals,
                amount=str(abs(flow.amount)),
                token_id=None if flow.token_id is None else str(flow.token_id),
                kind=flow.kind,
                known_token=not token or token in rules.tokens or token in rules.wrapped,
                tx_hash=flow.tx_hash,
                transaction_index=flow.transaction_index,
                log_index=flow.log_index,
                block_number=header.number,
                block_hash=header.hash,
            ),
        )  # fmt: skip
