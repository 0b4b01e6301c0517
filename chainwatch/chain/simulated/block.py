"""
One block, and its JSON as a node gives it.

Fields are those of geth for an Ethereum block after Prague. What stands for a root or a signature is a hash that
nobody can check; the block hash, too, is no hash of the header, so that it does not hang on the time stamp: the same
seed gives the same hashes today and tomorrow. The bloom, the gas sums, the log indices and the balances are right.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final, NamedTuple

import msgspec

from chainwatch.chain.simulated.contracts import Key
from chainwatch.chain.simulated.primitives import Log, bloom, digest
from chainwatch.chain.simulated.transactions import BLOB_GAS, BLOB_PRICE, Outcome, Transaction

GAS_LIMIT: Final = 30_000_000

# Of an empty trie, of an empty list of uncles, of no requests: constants of the protocol.
EMPTY_ROOT: Final = "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"
EMPTY_UNCLES: Final = "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"
EMPTY_REQUESTS: Final = "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
EXTRA: Final = "0x" + b"chainwatch simulated".hex()

_encode: Final = msgspec.json.encode


class Withdrawal(NamedTuple):
    serial: int
    validator: int
    address: str
    gwei: int


class Block:
    """A block of one branch. Everything but the ready-made JSON is fixed when it is made."""

    __slots__ = (
        "_wire", "base_fee", "bloom", "chain_id", "changes", "fork", "gas_used", "hash", "miner", "number", "outcomes",
        "parent_hash", "timestamp", "transactions", "withdrawals",
    )  # fmt: skip

    def __init__(
        self,
        *,
        chain_id: int,
        number: int,
        identity: str,
        parent_hash: str,
        timestamp: int,
        base_fee: int,
        miner: str,
        transactions: tuple[Transaction, ...],
        outcomes: tuple[Outcome, ...],
        withdrawals: tuple[Withdrawal, ...],
        changes: dict[Key, int],
    ) -> None:
        self.chain_id = chain_id
        self.number = number
        self.hash = identity
        self.parent_hash = parent_hash
        self.timestamp = timestamp
        self.base_fee = base_fee
        self.miner = miner
        self.transactions = transactions
        self.outcomes = outcomes
        self.withdrawals = withdrawals
        self.changes = changes
        """The state after this block, where it differs from the parent's."""
        self.gas_used = sum(outcome.gas_used for outcome in outcomes)
        self.bloom = bloom(self.logs)
        self._wire: Wire | None = None

    def __repr__(self) -> str:
        return f"<Block {self.number} {self.hash[:10]}…>"

    @property
    def logs(self) -> tuple[Log, ...]:
        """All logs, in order: a log's place here is its log index."""
        return tuple([log for outcome in self.outcomes for log in outcome.logs])

    @property
    def wire(self) -> Wire:
        """Its JSON, made piece by piece when somebody asks, and kept until `forget`."""
        if self._wire is None:
            self._wire = Wire(self)
        return self._wire

    def forget(self) -> None:
        """Let the ready-made JSON go; it is made again on demand."""
        self._wire = None


class Wire:
    """The JSON of a block, as bytes that answers are spliced from."""

    def __init__(self, block: Block) -> None:
        self._block = block

    @cached_property
    def header(self) -> bytes:
        """As `newHeads` pushes it."""
        block = self._block
        blobs = sum(transaction.type == 3 for transaction in block.transactions)
        return _encode({
            "number": hex(block.number),
            "hash": block.hash,
            "parentHash": block.parent_hash,
            "sha3Uncles": EMPTY_UNCLES,
            "logsBloom": f"0x{block.bloom:0512x}",
            "transactionsRoot": digest("transactions", block.hash) if block.transactions else EMPTY_ROOT,
            "stateRoot": digest("state", block.hash),
            "receiptsRoot": digest("receipts", block.hash) if block.transactions else EMPTY_ROOT,
            "miner": block.miner,
            "difficulty": "0x0",
            "extraData": EXTRA,
            "gasLimit": hex(GAS_LIMIT),
            "gasUsed": hex(block.gas_used),
            "timestamp": hex(block.timestamp),
            "mixHash": digest("randao", block.hash),
            "nonce": "0x0000000000000000",
            "baseFeePerGas": hex(block.base_fee),
            "withdrawalsRoot": digest("withdrawals", block.hash) if block.withdrawals else EMPTY_ROOT,
            "blobGasUsed": hex(blobs * BLOB_GAS),
            "excessBlobGas": "0x0",
            "parentBeaconBlockRoot": digest("beacon", block.parent_hash),
            "requestsHash": EMPTY_REQUESTS,
        })  # fmt: skip

    @cached_property
    def hashes(self) -> bytes:
        """The block with its transactions' hashes."""
        return self._whole(_encode([transaction.hash for transaction in self._block.transactions]))

    @cached_property
    def full(self) -> bytes:
        """The block with its transactions."""
        return self._whole(b"[" + b",".join(self.transactions) + b"]")

    @cached_property
    def transactions(self) -> list[bytes]:
        block = self._block
        return [
            included(transaction, block.chain_id, block, index) for index, transaction in enumerate(block.transactions)
        ]

    @cached_property
    def logs(self) -> list[bytes]:
        block = self._block
        place = {"blockHash": block.hash, "blockNumber": hex(block.number), "blockTimestamp": hex(block.timestamp)}
        entries = [
            {
                "address": log.address,
                "topics": log.topics,
                "data": log.data,
                **place,
                "transactionHash": transaction.hash,
                "transactionIndex": hex(index),
            }
            for index, (transaction, outcome) in enumerate(zip(block.transactions, block.outcomes, strict=True))
            for log in outcome.logs
        ]
        return [
            _encode({**entry, "logIndex": hex(log_index), "removed": False}) for log_index, entry in enumerate(entries)
        ]

    @cached_property
    def receipts(self) -> list[bytes]:
        block, receipts, gas, at = self._block, [], 0, 0
        for index, (transaction, outcome) in enumerate(zip(block.transactions, block.outcomes, strict=True)):
            gas += outcome.gas_used
            logs = self.logs[at : at + len(outcome.logs)]
            at += len(outcome.logs)
            receipt = {
                "type": hex(transaction.type),
                "status": hex(outcome.ok),
                "cumulativeGasUsed": hex(gas),
                "logs": msgspec.Raw(b"[" + b",".join(logs) + b"]"),
                "logsBloom": f"0x{bloom(outcome.logs):0512x}",
                "transactionHash": transaction.hash,
                "transactionIndex": hex(index),
                "blockHash": block.hash,
                "blockNumber": hex(block.number),
                "gasUsed": hex(outcome.gas_used),
                "effectiveGasPrice": hex(outcome.price),
                "from": transaction.sender,
                "to": transaction.call.target,
                "contractAddress": outcome.created,
            }
            if transaction.type == 3:
                receipt |= {"blobGasUsed": hex(BLOB_GAS), "blobGasPrice": hex(BLOB_PRICE)}
            receipts.append(_encode(receipt))
        return receipts

    def _whole(self, transactions: bytes) -> bytes:
        block = self._block
        size = 700 + sum(130 + len(transaction.call.data()) // 2 for transaction in block.transactions)
        withdrawals = [
            {
                "index": hex(withdrawal.serial),
                "validatorIndex": hex(withdrawal.validator),
                "address": withdrawal.address,
                "amount": hex(withdrawal.gwei),
            }
            for withdrawal in block.withdrawals
        ]
        return b'%s,"size":"0x%x","transactions":%s,"uncles":[],"withdrawals":%s}' % (
            self.header[:-1], size, transactions, _encode(withdrawals),
        )  # fmt: skip


def removed(log: bytes) -> bytes:
    """The same log, as it is pushed when its block was orphaned."""
    return log.removesuffix(b"false}") + b"true}"


def included(transaction: Transaction, chain_id: int, block: Block | None = None, index: int = 0) -> bytes:
    """A transaction in its block, or, without one, as it waits in the pool."""
    signature = digest("signature", transaction.hash)
    fields: dict[str, object] = {
        "blockHash": block.hash if block else None,
        "blockNumber": hex(block.number) if block else None,
        "from": transaction.sender,
        "gas": hex(transaction.gas_limit),
        "gasPrice": hex(transaction.price(block.base_fee) if block else transaction.most),
        "hash": transaction.hash,
        "input": transaction.call.data(),
        "nonce": hex(transaction.nonce),
        "to": transaction.call.target,
        "transactionIndex": hex(index) if block else None,
        "value": hex(transaction.call.value),
        "type": hex(transaction.type),
        "chainId": hex(chain_id),
        "r": signature,
        "s": "0x3" + signature[3:],  # below half the curve's order (EIP-2)
    }
    parity = int(signature[-1], 16) & 1
    if transaction.type == 0:
        fields["v"] = hex(35 + 2 * chain_id + parity)  # EIP-155
    else:
        fields |= {
            "maxFeePerGas": hex(transaction.cap), "maxPriorityFeePerGas": hex(transaction.tip), "accessList": [],
            "v": hex(parity), "yParity": hex(parity),
        }  # fmt: skip
    if transaction.type == 3:
        blob = "0x01" + digest("blob", transaction.hash)[4:]
        fields |= {"maxFeePerBlobGas": hex(BLOB_PRICE * 10), "blobVersionedHashes": [blob]}
    return _encode(fields)
