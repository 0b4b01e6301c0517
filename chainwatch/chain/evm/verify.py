"""
Is this really the whole block? Answers of a node are checked against one another before anything is told of them.

A node may answer from a backend that is behind, may not have the receipts of a fresh block yet and say that there are
none, or may have switched to another branch between two requests. None of these is an error for the node, so the proof
is in the parts: every hash is the block's, there are as many receipts as transactions, log indices run from 0 without a
hole, each is of a transaction of the block, and the bloom of the logs is the header's (yellow paper 4.3.1: for the
address and each topic of each log, three bits of 2048 out of its Keccak-256).

Each function returns what is wrong, in words, or None.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from eth_hash.auto import keccak

from chainwatch.chain.evm.block import RpcBlock, RpcLog, RpcReceipt, RpcTransaction


def receipts_problem(block: RpcBlock, receipts: Sequence[RpcReceipt], *, bloom: bool) -> str | None:
    """Whether `receipts` are those of all transactions of `block`, in order. `bloom`: the chain's headers have one."""
    if len(receipts) != len(block.transactions):
        return f"{len(receipts)} receipts for {len(block.transactions)} transactions"
    for receipt, transaction in zip(receipts, block.transactions, strict=True):
        if receipt.block_hash != block.hash:
            return f"a receipt of another block, {receipt.block_hash}"
        if receipt.transaction_hash != hash_of(transaction):
            return f"the receipt of {receipt.transaction_hash} where that of {hash_of(transaction)} belongs"
    return logs_problem(block, [log for receipt in receipts for log in receipt.logs], bloom=bloom)


def logs_problem(block: RpcBlock, logs: Sequence[RpcLog], *, bloom: bool) -> str | None:
    """Whether `logs` are all logs of `block`, in order."""
    transactions = block.transactions
    for index, log in enumerate(logs):
        if log.block_hash != block.hash:
            return f"a log of another block, {log.block_hash}"
        # The bloom proves addresses and topics, where there is one; nothing proves the data.
        if not _is_hexadecimal(log.data or "0x") or not (
            bloom or all(map(_is_hexadecimal, (log.address, *log.topics)))
        ):
            return f"log {index} with what is no hexadecimal number"
        if int(log.log_index, 16) != index:
            return f"log {log.log_index} where log {index} belongs"
        place = int(log.transaction_index, 16)
        if not 0 <= place < len(transactions) or hash_of(transactions[place]) != log.transaction_hash:
            return f"log {index} of a transaction that is not in the block"
    if bloom and not bloom_fits(block.logs_bloom, logs):
        return f"the bloom of the {len(logs)} logs is not the header's"
    return None


def _is_hexadecimal(text: str) -> bool:
    """
    Whether it can be sliced and read as numbers. `int` would take signs, blanks and underscores, and digits of other
    scripts; other letters it refuses by itself.
    """
    return text.isascii() and text.isalnum()


def hash_of(transaction: str | RpcTransaction) -> str:
    """The hash of a transaction that was told as such or whole."""
    return transaction if isinstance(transaction, str) else transaction.hash


def bloom_fits(logs_bloom: str, logs: Iterable[RpcLog]) -> bool:
    """Whether the bloom filter of these logs is exactly this one (0x and 512 hexadecimal digits)."""
    bits: set[int] = set()
    for log in logs:
        bits.update(_bits(log.address))
        for topic in log.topics:
            bits.update(_bits(topic))
    told = bytes.fromhex(logs_bloom[2:])
    if len(told) != 256:
        return False
    return int.from_bytes(told, "big").bit_count() == len(bits) and all(
        told[255 - (bit >> 3)] >> (bit & 7) & 1 for bit in bits
    )


# Contracts and event signatures come again and again; Keccak in Python costs microseconds, this cache a tenth of one.
@lru_cache(maxsize=16_384)
def _bits(item: str) -> tuple[int, int, int]:
    if len(item) not in (42, 66):  # what a node made up is not kept in a cache, whatever its size
        raise ValueError("a log with what is neither an address nor a topic")
    digest = keccak(bytes.fromhex(item[2:]))
    return (
        (digest[0] << 8 | digest[1]) & 2047,
        (digest[2] << 8 | digest[3]) & 2047,
        (digest[4] << 8 | digest[5]) & 2047,
    )
