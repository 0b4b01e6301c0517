"""
What a node tells of a block, and the verified block that the rest of the program works on.

The `Rpc…` structs are the answers of the Ethereum JSON-RPC API (execution-apis, `eth_getBlockByHash`,
`eth_getBlockReceipts`) cut down to the fields that are used: msgspec skips the others without building them.
Quantities stay hexadecimal text until somebody needs the number.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from chainwatch.chain.evm.reads import UNREAD, Readings

MALFORMED: Final = (ValueError, OverflowError, RecursionError)
"""What reading a malformed answer raises: no JSON, wrong types, no numbers, numbers or a nesting beyond all measure."""


class RpcTransaction(msgspec.Struct, rename="camel", gc=False):
    hash: str
    from_: str = msgspec.field(name="from")
    value: str
    nonce: str
    to: str | None = None
    gas_price: str | None = None
    """In a block: the price that was paid. Pending: the most that the sender pays, as `max_fee_per_gas`."""
    max_fee_per_gas: str | None = None
    max_priority_fee_per_gas: str | None = None
    block_hash: str | None = None
    """None while it is pending."""
    block_number: str | None = None
    input: str = "0x"


class RpcWithdrawal(msgspec.Struct, rename="camel", gc=False):
    """A payment of the beacon chain (EIP-4895)."""

    index: str
    address: str
    amount: str
    """Gwei."""


class RpcBlock(msgspec.Struct, rename="camel", gc=False):
    number: str
    hash: str
    parent_hash: str
    timestamp: str
    gas_used: str
    gas_limit: str
    logs_bloom: str
    transactions: list[str | RpcTransaction]
    """Hashes, or whole transactions where they were asked for."""
    base_fee_per_gas: str | None = None
    miner: str | None = None
    """Who gets the tips."""
    withdrawals: list[RpcWithdrawal] | None = None


class RpcHeader(msgspec.Struct, rename="camel", gc=False):
    """A block without its body, as `newHeads` pushes it."""

    number: str
    hash: str
    parent_hash: str
    timestamp: str


class RpcLog(msgspec.Struct, rename="camel", gc=False):
    address: str
    topics: list[str]
    data: str
    log_index: str
    transaction_hash: str
    transaction_index: str
    block_hash: str


class RpcReceipt(msgspec.Struct, rename="camel", gc=False):
    transaction_hash: str
    transaction_index: str
    block_hash: str
    gas_used: str
    logs: list[RpcLog]
    contract_address: str | None = None
    """The contract that it created."""
    status: str | None = None
    """`0x0` failed, `0x1` succeeded; absent before Byzantium."""
    effective_gas_price: str | None = None
    blob_gas_used: str | None = None
    blob_gas_price: str | None = None
    l1_fee: str | None = None
    """OP-stack chains: what the transaction paid for its data on the chain below, in wei."""
    revert_reason: str | None = None
    """Besu and Nethermind give it, as hexadecimal ABI data or as text."""


class Header(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A block by its place in a chain."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int
    """Seconds since 1970, by the chain's clock. Never an order: several blocks may share one."""


class Block(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A block whose parts were checked against one another (`verify`)."""

    header: Header
    transaction_count: int
    gas_used: int
    gas_limit: int
    base_fee_per_gas: int | None
    transactions: list[RpcTransaction]
    """In order; empty where nobody asked for them."""
    receipts: list[RpcReceipt]
    """One per transaction of `transactions` and in their order; or those of some only, where the node cannot give a
    block's receipts at once; empty where nobody asked for them."""
    logs: list[RpcLog]
    """All logs of the block in the order of their index; empty where nobody asked for them."""
    arrived: int
    """Unix milliseconds at which the node's message about it came in."""
    miner: str | None = None
    """Who gets the tips; lower case."""
    withdrawals: list[RpcWithdrawal] = []
    readings: Readings = UNREAD
    """What was read of the state behind it."""


block_decoder: Final = msgspec.json.Decoder(RpcBlock | None)
header_decoder: Final = msgspec.json.Decoder(RpcHeader | None)
receipts_decoder: Final = msgspec.json.Decoder(list[RpcReceipt] | None)
receipt_decoder: Final = msgspec.json.Decoder(RpcReceipt | None)
logs_decoder: Final = msgspec.json.Decoder(list[RpcLog] | None)


_hash = re.compile(r"0x[0-9a-fA-F]{64}").fullmatch


def hash_(text: str) -> str:
    """A told hash in lower case. `ValueError` where it is none: hashes stand in ids, keys and lines of the log."""
    if not _hash(text):
        raise ValueError(f"{text[:80]!r} is no hash")
    return text.lower()


def quantity(text: str, bits: int = 63) -> int:
    """A told number of that size; 63 bits are what every database can hold. `ValueError` where it is none."""
    number = int(text, 16) if text.isascii() and text.isalnum() else -1  # `int` takes signs, blanks and underscores
    if not 0 <= number < 1 << bits:
        raise ValueError(f"{text[:80]!r} is no number that can be meant")
    return number


def header_of(told: RpcHeader | RpcBlock) -> Header:
    """The place of a told block. `ValueError` where a part is none."""
    return Header(quantity(told.number), hash_(told.hash), hash_(told.parent_hash), quantity(told.timestamp))
