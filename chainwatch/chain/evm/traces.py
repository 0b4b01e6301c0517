"""
Value that moved inside transactions, out of traces: `trace_block` (the OpenEthereum format, of erigon, Nethermind,
Besu, reth, anvil) or `debug_traceBlockByHash` with the `callTracer` (geth's).

A call, a creation or a self-destruct below the top of a transaction moves its value, unless it failed or anything above
it did: what is reverted takes all below it back. `delegatecall`, `staticcall` and `callcode` move nothing, whatever
value stands beside them.

Traces are slow. They are asked for on a connection of their own, and a block does not wait for them for ever: they are
the reasons of balances, not the balances.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
import structlog

from chainwatch.chain.evm.at import old
from chainwatch.chain.evm.block import MALFORMED, Block, hash_, quantity
from chainwatch.chain.evm.endpoint import CallFailed, Endpoint
from chainwatch.chain.evm.fetch import Setback
from chainwatch.chain.evm.reads import Move
from chainwatch.chain.evm.rpc import deeply

PATIENCE = 30.0
"""Seconds that a block waits for its traces."""
LITTLE = 1.0
"""The same where the blocks before had to go without."""
TRIES = 3
"""How often the traces of a block are asked for in vain; after that it goes without."""
MOST = 1000
"""Blocks whose tries are counted."""

_logger = structlog.get_logger()


class Action(msgspec.Struct, rename="camel", gc=False):
    """What a trace of `trace_block` says that was done; the fields hang on its type."""

    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    value: str | None = None
    call_type: str | None = None
    address: str | None = None
    """Of a self-destruct: who."""
    refund_address: str | None = None
    balance: str | None = None


class Result(msgspec.Struct, gc=False):
    address: str | None = None
    """Of a creation: the new contract."""


class Trace(msgspec.Struct, rename="camel", gc=False):
    """One entry of `trace_block`."""

    type: str
    action: Action
    block_hash: str
    trace_address: list[int] = []
    transaction_hash: str | None = None
    """None for a block's reward."""
    error: str | None = None
    result: Result | None = None


class Frame(msgspec.Struct, gc=False):
    """One call of the `callTracer`, and those that it made."""

    type: str
    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    value: str | None = None
    error: str | None = None
    calls: list[Frame] = []


class Traced(msgspec.Struct, rename="camel", gc=False):
    """One transaction of `debug_traceBlockByHash`."""

    result: Frame | None = None
    tx_hash: str | None = None
    """Not told before geth 1.11."""
    error: str | None = None


traces_decoder: Final = msgspec.json.Decoder(list[Trace] | None)
traced_decoder: Final = msgspec.json.Decoder(list[Traced] | None)


def of_traces(traces: Iterable[Trace]) -> Iterator[Move]:
    """The moves of a block's entries of `trace_block`, which come in the order of transactions and calls."""
    transaction: str | None = None
    reverted: list[list[int]] = []
    for trace in traces:
        if trace.transaction_hash is None or trace.type == "reward":
            continue
        if trace.transaction_hash != transaction:
            transaction, reverted = trace.transaction_hash, []
        path, action = trace.trace_address, trace.action
        if trace.error is not None:
            reverted.append(path)
            continue
        if not path or any(path[: len(above)] == above for above in reverted):
            continue
        match trace.type:
            case "call" if action.call_type in (None, "call"):
                parties = action.from_, action.to, action.value
            case "create":
                parties = action.from_, trace.result.address if trace.result else None, action.value
            case "suicide" | "selfdestruct":
                parties = action.address, action.refund_address, action.balance
            case _:
                continue
        yield from _move(transaction, ".".join(map(str, path)), *parties)


def of_frames(traced: Iterable[tuple[str, Frame]]) -> Iterator[Move]:
    """The moves of a block's transactions, by the `callTracer`."""
    for transaction, top in traced:
        # No recursion: how deep a tree is, is for others to choose.
        todo: list[tuple[str, Frame]] = [("", top)]
        while todo:
            path, frame = todo.pop()
            if frame.error is not None:
                continue
            if path and frame.type.upper() in ("CALL", "CREATE", "CREATE2", "SELFDESTRUCT"):
                yield from _move(transaction, path, frame.from_, frame.to, frame.value)
            below = [(f"{path}.{index}" if path else str(index), call) for index, call in enumerate(frame.calls)]
            todo.extend(reversed(below))


def _move(transaction: str, path: str, sender: str | None, to: str | None, value: str | None) -> Iterator[Move]:
    # geth before 1.9 says nothing of a self-destruct but that it happened.
    if sender is None or to is None or value is None or (amount := quantity(value, 256)) == 0:
        return
    yield Move(tx_hash=hash_(transaction), path=path, sender=sender.lower(), to=to.lower(), amount=amount)


async def moves(endpoint: Endpoint, block: Block) -> list[Move] | None:
    """The moves of the block; None where the node cannot tell them. `Setback` or `CallFailed`: look again."""
    ways = endpoint.ways
    if ways.traces == "none":
        return None
    if block.transaction_count == 0:
        return []
    patience = LITTLE if ways.traceless else PATIENCE
    try:
        async with asyncio.timeout(patience):
            found = await _ask(await endpoint.companion(), endpoint, block)
    except TimeoutError:
        problem = f"no traces within {patience:g} s"
    except CallFailed as failed:
        if failed.kind == "limited":
            raise
        if failed.kind == "pruned" and old(endpoint, block):
            return None
        problem = str(failed)
    except (Setback, *MALFORMED) as error:
        problem = endpoint.explain(error)
    else:
        ways.traceless = 0
        ways.untraced.clear()
        return found
    if len(ways.untraced) > MOST:
        ways.untraced.clear()
    ways.untraced[block.header.hash] += 1
    if not ways.traceless and ways.untraced[block.header.hash] < TRIES:
        raise Setback(f"block {block.header.number}: {problem}")
    ways.traceless += 1
    if ways.traceless.bit_count() == 1:
        _logger.warning(
            "a block goes without internal transfers", endpoint=endpoint.name, block=block.header.number, reason=problem
        )
    return None


async def _ask(companion: Endpoint, endpoint: Endpoint, block: Block) -> list[Move] | None:
    """By the first method that the node has; None where it has none."""
    ways = endpoint.ways
    if ways.traces in (None, "trace_block"):
        try:
            told = await companion.start("trace_block", [hex(block.header.number)])
            ways.traces = "trace_block"
            return _checked(deeply(traces_decoder.decode, told), block)
        except CallFailed as failed:
            if failed.kind != "unsupported":
                raise
    if ways.traces in (None, "debug_traceBlockByHash"):
        try:
            told = await companion.start("debug_traceBlockByHash", [block.header.hash, {"tracer": "callTracer"}])
            ways.traces = "debug_traceBlockByHash"
            return list(of_frames(_named(deeply(traced_decoder.decode, told), block)))
        except CallFailed as failed:
            if failed.kind != "unsupported":
                raise
    ways.traces = "none"
    _logger.warning(
        "the node has no traces: internal transfers are not told",
        endpoint=endpoint.name,
        hint="use an endpoint with trace_block or debug_traceBlockByHash, or set internal_transfers = false",
    )
    return None


def _checked(traces: list[Trace] | None, block: Block) -> list[Move]:
    """They are asked for by number: each has to be of our block, and each transaction has to be there."""
    if traces is None or any(trace.block_hash.lower() != block.header.hash for trace in traces):
        raise Setback("the traces are of another block")
    seen = {trace.transaction_hash for trace in traces if trace.transaction_hash is not None}
    if len(seen) < block.transaction_count:
        raise Setback(f"traces of {len(seen)} transactions, where the block has {block.transaction_count}")
    return list(of_traces(traces))


def _named(traced: list[Traced] | None, block: Block) -> list[tuple[str, Frame]]:
    """Each transaction's tree beside its hash."""
    if traced is None or len(traced) != block.transaction_count:
        raise Setback(f"traces of {len(traced or ())} transactions, where the block has {block.transaction_count}")
    hashes = [one.hash for one in block.transactions] or [receipt.transaction_hash for receipt in block.receipts]
    named = []
    for index, one in enumerate(traced):
        transaction = one.tx_hash or (hashes[index] if len(hashes) == len(traced) else None)
        if transaction is None or one.result is None:
            raise Setback(f"transaction {index} is not traced: {one.error}")
        named.append((transaction, one.result))
    return named
