"""
Why a transaction failed: by a trace of it where the node has that, else by calling the same again.

A call at the parent block runs before the transactions that came first in the block, so it may fail otherwise, or not
at all: then nothing is said. What was returned is the contract's own, and goes out as it is, cut.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from chainwatch.chain.evm.at import old, text, together
from chainwatch.chain.evm.block import MALFORMED, Block, quantity
from chainwatch.chain.evm.endpoint import CallFailed, Endpoint
from chainwatch.chain.evm.reads import Revert
from chainwatch.text import printable

PATIENCE = 10.0
"""Seconds that a block waits for the reasons of its failed transactions."""
CONNECT = 3.0
"""Seconds of these that a second connection to the node may take."""
MOST = 64
"""Transactions of a block whose reason is looked for; a spammer's thousandth failure need not be explained."""
AT_ONCE = 8
"""Of them, so many are asked for side by side: a block of mainnet has about as many, and waits for them."""
LONGEST = 4096
"""Bytes of returned data that are kept."""
OUT_OF_GAS: Final = "out of gas"

_data = re.compile(r"0x(?:[0-9a-fA-F]{2})+")
_REVERTED_WITH: Final = re.compile(r"revert(?:ed)?:? (0x[0-9a-fA-F]+)", re.IGNORECASE)
_NO_REASON: Final = re.compile(
    r"(?:err(?:or)?: )?(?:execution )?revert(?:ed)?\.?$|vm execution error\.?$", re.IGNORECASE
)
_COMMON: Final = re.compile(r"out ?of ?gas|gas exhausted", re.IGNORECASE)


class _Top(msgspec.Struct, rename="camel", gc=False):
    """The top call of a `callTracer`."""

    type: str
    output: str | None = None
    error: str | None = None


class _Transaction(msgspec.Struct, rename="camel", gc=False):
    """What is called again."""

    from_: str = msgspec.field(name="from")
    gas: str
    value: str
    input: str
    to: str | None = None


_top_decoder: Final = msgspec.json.Decoder(_Top | None)
_transaction_decoder: Final = msgspec.json.Decoder(_Transaction | None)


async def reverts(endpoint: Endpoint, block: Block, hashes: Sequence[str]) -> dict[str, Revert]:
    """Of failed transactions of the block. One that cannot be explained is there, and says nothing."""
    found = dict.fromkeys(hashes, Revert())
    used = {receipt.transaction_hash: receipt.gas_used for receipt in block.receipts}

    async def explain(transaction: str) -> None:
        found[transaction] = await _explain(endpoint, block, transaction, used.get(transaction))

    try:
        async with asyncio.timeout(PATIENCE):
            for transaction in hashes[:1]:
                await explain(transaction)  # alone: it finds out what the node can do
            for start in range(1, min(len(hashes), MOST), AT_ONCE):
                await together(*(explain(transaction) for transaction in hashes[start : start + AT_ONCE]))
    except TimeoutError:
        pass  # the rest goes without a reason
    return found


async def _explain(endpoint: Endpoint, block: Block, transaction: str, gas_used: str | None) -> Revert:
    try:
        if endpoint.ways.debug:
            told = await _traced(endpoint, transaction)
            if told is not None:
                return told
        return await _replayed(endpoint, block, transaction, gas_used)
    except CallFailed as failed:
        if failed.kind in ("lost", "limited", "unknown") or (failed.kind == "pruned" and not old(endpoint, block)):
            raise
        return Revert()
    except MALFORMED:
        return Revert()


async def _traced(endpoint: Endpoint, transaction: str) -> Revert | None:
    """By `debug_traceTransaction`; None where the node cannot do that."""
    options = {"tracer": "callTracer", "tracerConfig": {"onlyTopCall": True}}
    try:
        async with asyncio.timeout(CONNECT):
            companion = await endpoint.companion()
    except TimeoutError:  # the provider allows one connection only, perhaps
        endpoint.ways.debug = False
        return None
    try:
        top = _top_decoder.decode(await companion.start("debug_traceTransaction", [transaction, options]))
    except CallFailed as failed:
        if failed.kind == "unsupported":
            endpoint.ways.debug = False
        if failed.kind == "limited":
            raise
        return None
    except MALFORMED:
        return None  # it knows another format only
    return None if top is None or top.error is None else revert(top.output, top.error)


async def _replayed(endpoint: Endpoint, block: Block, transaction: str, gas_used: str | None) -> Revert:
    """By calling the same at the parent block."""
    told = _transaction_decoder.decode(await endpoint.start("eth_getTransactionByHash", [transaction]))
    if told is None:
        return Revert()
    call = {"from": told.from_, "gas": told.gas, "value": told.value, "data": told.input}
    if told.to is not None:
        call["to"] = told.to
    header = block.header
    parent = {"blockHash": header.parent_hash} if endpoint.ways.by_hash is not False else hex(header.number - 1)
    found = Revert()  # where it succeeds there, what failed hung on the transactions before it
    try:
        text(await endpoint.start("eth_call", [call, parent]))
    except CallFailed as failed:
        if failed.kind != "reverted":
            raise
        found = revert(failed.data, failed.reason)
    if found == Revert() and gas_used is not None and quantity(gas_used) == quantity(told.gas):
        return Revert(error=OUT_OF_GAS)
    return found


def revert(data: Any, error: str | None) -> Revert:
    """
    What was returned, and else the machine's word for what went wrong. Nodes tell the data as text (`0x…`, or
    `Reverted 0x…`), as an object with `data` or `result`, or in their message.
    """
    returned = _returned(data) or _returned(error)
    if returned is not None:
        return Revert(data=returned[: 2 + 2 * LONGEST])
    if not error or _NO_REASON.match(error.strip()):
        return Revert()
    return Revert(error=OUT_OF_GAS if _COMMON.search(error) else printable(error.strip()))


def _returned(told: Any) -> str | None:
    for _ in range(3):
        if not isinstance(told, dict):
            break
        told = told.get("data") or told.get("result") or told.get("output")
    if not isinstance(told, str):
        return None
    if (found := _REVERTED_WITH.search(told)) is not None:
        told = found[1]
    return told.lower() if _data.fullmatch(told) else None
