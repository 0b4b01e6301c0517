"""What `trace_block` answers: each transaction's own call, and the calls with value that its contract made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from chainwatch.chain.simulated.block import Block
from chainwatch.chain.simulated.calls import Split
from chainwatch.chain.simulated.contracts import SPLITTER


def of_block(block: Block) -> bytes:
    """As JSON, in the format of OpenEthereum."""
    return msgspec.json.encode(list(_entries(block)))


def _entries(block: Block) -> Iterator[dict[str, Any]]:
    for index, (transaction, outcome) in enumerate(zip(block.transactions, block.outcomes, strict=True)):
        call = transaction.call
        inner = (
            [(call.left, call.value // 2), (call.right, call.value - call.value // 2)]
            if isinstance(call, Split)
            else []
        )
        place = {
            "blockHash": block.hash,
            "blockNumber": block.number,
            "transactionHash": transaction.hash,
            "transactionPosition": index,
        }
        gas = {"gas": hex(call.gas)}
        if call.target is None:
            kind, data = "create", {"init": call.data()}
            result: dict[str, Any] | None = {"address": outcome.created, "code": "0x", "gasUsed": hex(outcome.gas_used)}
        else:
            kind, data = "call", {"to": call.target, "input": call.data(), "callType": "call"}
            result = {"output": "0x", "gasUsed": hex(outcome.gas_used)}
        ended: dict[str, Any] = {"result": result} if outcome.ok else {"error": "Reverted", "result": None}
        action = {"from": transaction.sender, "value": hex(call.value), **gas, **data}
        yield {**place, "type": kind, "action": action, **ended, "subtraces": len(inner), "traceAddress": []}
        for branch, (to, value) in enumerate(inner):
            action = {"from": SPLITTER, "to": to, "value": hex(value), "input": "0x", "callType": "call", **gas}
            done = {"result": {"output": "0x", "gasUsed": "0x0"}, "subtraces": 0, "traceAddress": [branch]}
            yield {**place, "type": "call", "action": action, **done}
