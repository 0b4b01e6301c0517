"""
Whole blocks from one endpoint: asked for in parallel, checked, handed out in order, each the child of the last.

Two ways. Where the node has `eth_getBlockReceipts`, a block and its receipts are asked for together and compared by
hash: one round trip. Where it has not, blocks are asked for one by one and logs in ranges as wide as the provider
allows (or by block hash for a single fresh block, which is an error and not an empty list where the block is unknown),
and only the receipts that somebody needs.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass

import msgspec

from chainwatch.chain.evm.block import (
    Block,
    Header,
    RpcBlock,
    RpcLog,
    RpcReceipt,
    RpcTransaction,
    block_decoder,
    hash_,
    header_decoder,
    header_of,
    logs_decoder,
    quantity,
    receipt_decoder,
    receipts_decoder,
)
from chainwatch.chain.evm.endpoint import CallFailed, Endpoint
from chainwatch.chain.evm.pace import Pace
from chainwatch.chain.evm.verify import hash_of, logs_problem, receipts_problem

RANGE = 128
"""Blocks at most that one `eth_getLogs` spans: their answers are held until the range is whole."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What of a block the configuration asks for; the rest is not fetched."""

    logs: bool
    transaction: Callable[[RpcTransaction], bool] | None
    """Which transactions are told; None where none ever is."""

    @property
    def receipts(self) -> bool:
        return self.logs or self.transaction is not None


class Setback(Exception):
    """
    The node's answers do not fit together now: look at its latest block again. `lie`: they are wrong in
    themselves.
    """

    def __init__(self, reason: str, *, lie: bool = False) -> None:
        super().__init__(reason)
        self.lie = lie


async def header_at(endpoint: Endpoint, tag: str | int) -> Header | None:
    """The node's block at a height or a tag; None where it has none."""
    at = hex(tag) if isinstance(tag, int) else tag
    header = _header(await endpoint.start("eth_getBlockByNumber", [at, False]))
    if header is not None and isinstance(tag, int) and header.number != tag:
        raise Setback(f"asked for block {tag}, the node gave {header.number}", lie=True)
    return header


async def header_by_hash(endpoint: Endpoint, block_hash: str) -> Header | None:
    """The node's block with that hash; None where it does not know it."""
    header = _header(await endpoint.start("eth_getBlockByHash", [block_hash, False]))
    if header is not None and header.hash != block_hash:
        raise Setback(f"asked for block {block_hash}, the node gave {header.hash}", lie=True)
    return header


def _header(told: msgspec.Raw) -> Header | None:
    header = header_decoder.decode(told)
    return None if header is None else header_of(header)


async def block_by_hash(endpoint: Endpoint, wanted: Header, needs: Needs) -> Block:
    """The block with that hash, whole and checked. `Setback` or `CallFailed` where it cannot be had now."""
    whole = needs.transaction is not None
    asked = endpoint.start("eth_getBlockByHash", [wanted.hash, whole])
    if needs.receipts and endpoint.block_receipts:
        receipts = endpoint.start("eth_getBlockReceipts", [wanted.hash])
        block = _with_receipts(endpoint, _block(await asked, wanted.number, needs), await _receipts(endpoint, receipts))
    else:
        logs = endpoint.start("eth_getLogs", [{"blockHash": wanted.hash}]) if needs.logs else None
        told = _block(await asked, wanted.number, needs)
        found = logs_decoder.decode(await logs) if logs is not None else None
        block = await _with_logs(endpoint, told, found, needs)
    if block.header != wanted:
        raise Setback(f"asked for block {wanted.hash}, the node gave {block.header.hash} or another parent", lie=True)
    head = endpoint.head
    if head is not None and head.hash == wanted.hash:
        # What was pushed was known from then on; the rest only came after it.
        return msgspec.structs.replace(block, arrived=endpoint.head_arrived)
    return block


async def blocks(
    endpoint: Endpoint, first: int, last: int, below: Header | None, needs: Needs, pace: Pace
) -> AsyncGenerator[Block]:
    """
    The node's blocks from `first` to `last`, in order, whole and checked; the first is the child of `below` (where
    there is one), and each of the one before.
    """
    by_receipts = needs.receipts and endpoint.block_receipts
    source = _by_receipts if by_receipts or not needs.receipts else _by_ranges
    async for block in source(endpoint, first, last, needs, pace):
        if below is not None and block.header.parent_hash != below.hash:
            raise Setback(f"block {block.header.number} is not the child of block {below.number}: the chain moved")
        below = block.header
        yield block


async def _by_receipts(endpoint: Endpoint, first: int, last: int, needs: Needs, pace: Pace) -> AsyncIterator[Block]:
    whole = needs.transaction is not None
    flight: deque[tuple[int, asyncio.Future[msgspec.Raw], asyncio.Future[msgspec.Raw] | None]] = deque()
    number = first
    while flight or number <= last:
        while number <= last and len(flight) < pace.blocks:
            at = hex(number)
            asked = endpoint.start("eth_getBlockByNumber", [at, whole])
            receipts = endpoint.start("eth_getBlockReceipts", [at]) if needs.receipts else None
            flight.append((number, asked, receipts))
            number += 1
        wanted, asked, receipts = flight.popleft()
        block = _block(await asked, wanted, needs)
        told = [] if receipts is None else await _receipts(endpoint, receipts)
        yield _with_receipts(endpoint, block, told) if needs.receipts else assemble(block, [], [])
        pace.succeeded(len(asked.result()) + (len(receipts.result()) if receipts is not None else 0))


async def _by_ranges(endpoint: Endpoint, first: int, last: int, needs: Needs, pace: Pace) -> AsyncIterator[Block]:
    whole = needs.transaction is not None
    number = first
    while number <= last:
        upto = min(last, number + min(endpoint.span.blocks, RANGE) - 1)
        asked: deque[tuple[int, asyncio.Future[msgspec.Raw]]] = deque()
        told: list[RpcBlock] = []
        ahead = number
        while len(told) <= upto - number:
            while ahead <= upto and len(asked) < pace.blocks:
                asked.append((ahead, endpoint.start("eth_getBlockByNumber", [hex(ahead), whole])))
                ahead += 1
            wanted, future = asked.popleft()
            pace.succeeded(len(await future))
            told.append(_block(future.result(), wanted, needs))
        logs: dict[str, list[RpcLog]] = {block.hash: [] for block in told}
        if needs.logs:
            for log in await _logs_between(endpoint, number, upto):
                if log.block_hash not in logs:
                    raise Setback(f"a log of block {log.block_hash}, which is none of {number} to {upto}")
                logs[log.block_hash].append(log)
        for block in told:
            yield await _with_logs(endpoint, block, logs[block.hash] if needs.logs else None, needs)
        number = upto + 1


async def _logs_between(endpoint: Endpoint, first: int, last: int) -> list[RpcLog]:
    """All logs of a range, in as many requests as the provider's limit wants."""
    found: list[RpcLog] = []
    number = first
    while number <= last:
        upto = min(last, number + endpoint.span.blocks - 1)
        try:
            told = logs_decoder.decode(
                await endpoint.start("eth_getLogs", [{"fromBlock": hex(number), "toBlock": hex(upto)}])
            )
        except CallFailed as failed:
            if failed.kind != "too_large" or upto == number:
                raise
            endpoint.span.too_large(failed.reason)
            continue
        endpoint.span.succeeded()
        found.extend(told or [])
        number = upto + 1
    return found


async def _receipts(endpoint: Endpoint, asked: asyncio.Future[msgspec.Raw]) -> list[RpcReceipt]:
    try:
        receipts: list[RpcReceipt] | None = receipts_decoder.decode(await asked)
    except CallFailed as failed:
        if failed.kind == "unsupported":
            endpoint.block_receipts = False
            raise Setback("the node has no eth_getBlockReceipts: asking for logs instead") from None
        raise
    if receipts is None:
        raise Setback("the node has no receipts of the block yet")
    return receipts


def _block(told: msgspec.Raw, number: int, needs: Needs) -> RpcBlock:
    block: RpcBlock | None = block_decoder.decode(told)
    if block is None:
        raise Setback(f"the node does not have block {number}")
    if quantity(block.number) != number:
        raise Setback(f"asked for block {number}, the node gave {quantity(block.number)}", lie=True)
    for transaction in block.transactions:
        hash_(hash_of(transaction))
    if needs.transaction is not None and any(isinstance(transaction, str) for transaction in block.transactions):
        raise Setback(f"block {number}: hashes where whole transactions were asked for", lie=True)
    return block


def _with_receipts(endpoint: Endpoint, block: RpcBlock, receipts: list[RpcReceipt]) -> Block:
    problem = receipts_problem(block, receipts, bloom=endpoint.profile.bloom)
    if problem is not None:
        raise Setback(f"block {int(block.number, 16)}: {problem}", lie=True)
    return assemble(block, receipts, [log for receipt in receipts for log in receipt.logs])


async def _with_logs(endpoint: Endpoint, block: RpcBlock, logs: list[RpcLog] | None, needs: Needs) -> Block:
    if logs is not None:
        logs.sort(key=_index)
        problem = logs_problem(block, logs, bloom=endpoint.profile.bloom)
        if problem is not None:
            raise Setback(f"block {int(block.number, 16)}: {problem}", lie=True)
    receipts = []
    if needs.transaction is not None:
        wanted = [told.hash for told in block.transactions if not isinstance(told, str) and needs.transaction(told)]
        asked = [endpoint.start("eth_getTransactionReceipt", [transaction]) for transaction in wanted]
        for transaction, future in zip(wanted, asked, strict=True):
            receipt = receipt_decoder.decode(await future)
            if receipt is None or receipt.block_hash != block.hash or receipt.transaction_hash != transaction:
                raise Setback(f"block {int(block.number, 16)}: no receipt of {transaction} in it", lie=True)
            receipts.append(receipt)
    return assemble(block, receipts, logs or [])


def _index(log: RpcLog) -> int:
    return int(log.log_index, 16)


def bare(header: Header) -> Block:
    """A block of which only its place is known: what its state is asked by."""
    return Block(
        header=header, transaction_count=0, gas_used=0, gas_limit=0, base_fee_per_gas=None, transactions=[],
        receipts=[], logs=[], arrived=time.time_ns() // 1_000_000,
    )  # fmt: skip


def assemble(block: RpcBlock, receipts: list[RpcReceipt], logs: list[RpcLog]) -> Block:
    """The block out of its checked parts."""
    transactions = block.transactions
    return Block(
        header=header_of(block),
        transaction_count=len(transactions),
        gas_used=quantity(block.gas_used, 256),
        gas_limit=quantity(block.gas_limit, 256),
        base_fee_per_gas=None if block.base_fee_per_gas is None else quantity(block.base_fee_per_gas, 256),
        transactions=[told for told in transactions if not isinstance(told, str)],
        receipts=receipts,
        logs=logs,
        arrived=time.time_ns() // 1_000_000,
        miner=None if block.miner is None else block.miner.lower(),
        withdrawals=block.withdrawals or [],
    )
