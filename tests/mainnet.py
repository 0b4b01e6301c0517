"""
Real blocks of Ethereum mainnet for tests of derivations, and web3's codec as the witness of what their logs say.

Nothing here is shared with `chainwatch.derive`: topics come from signatures, values from web3's decoder.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from eth_utils import keccak
from hexbytes import HexBytes
from web3 import Web3
from web3.datastructures import AttributeDict

from chainwatch.chain.evm.block import Block, Header, RpcBlock, RpcLog, RpcReceipt, RpcTransaction
from chainwatch.chain.evm.fetch import assemble

DATA = Path(__file__).parent / "data" / "mainnet"
WETH = "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2"
USDC = "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"
POOL_MANAGER = "0x000000000004444c5dc75cb358380d2e3de08a90"


@cache
def raw_logs(name: str) -> list[dict[str, Any]]:
    """The logs of a block as the node gave them: `helios` (21,925,176) or `shovel` (18,000,000)."""
    if name == "helios":
        return [log for receipt in _load("receipts_21925176.json.gz") for log in receipt["logs"]]
    return _load("logs_18000000.json.gz")


@cache
def block(name: str) -> Block:
    """The same block, as chainwatch has it; that of `helios` with its receipts and the senders of its transactions."""
    logs = msgspec.convert(raw_logs(name), list[RpcLog])
    if name == "shovel":
        return assemble(msgspec.convert(_load("block_18000000.json.gz"), RpcBlock), [], logs)
    receipts = _load("receipts_21925176.json.gz")
    told = msgspec.convert(_load("header_21925176.json.gz"), RpcBlock)
    told.transactions = [
        RpcTransaction(hash=one["transactionHash"], from_=one["from"], to=one["to"], value="0x0", nonce="0x0")
        for one in receipts
    ]
    return assemble(told, msgspec.convert(receipts, list[RpcReceipt]), logs)


def _load(name: str) -> Any:
    return json.loads(gzip.decompress((DATA / name).read_bytes()))


class Witness:
    """An event by its Solidity declaration, `Transfer(address indexed from, address indexed to, uint256 value)`."""

    def __init__(self, declaration: str) -> None:
        self.name, rest = declaration.rstrip(")").split("(")
        inputs = []
        for argument in rest.split(","):
            kind, *more, name = argument.split()
            inputs.append({"name": name, "type": kind, "indexed": more == ["indexed"]})
        self.topic = "0x" + keccak(text=f"{self.name}({','.join(one['type'] for one in inputs)})").hex()
        self.topics = 1 + sum(one["indexed"] for one in inputs)
        abi = [{"type": "event", "name": self.name, "anonymous": False, "inputs": inputs}]
        self._event = Web3().eth.contract(abi=abi).events[self.name]()

    def __call__(self, logs: list[dict[str, Any]], emitter: str | None = None) -> Iterator[tuple[dict, dict]]:
        """Each of the logs that is this event (of that contract), with its arguments."""
        for log in logs:
            if log["topics"][:1] != [self.topic] or len(log["topics"]) != self.topics:
                continue
            if emitter is None or log["address"].lower() == emitter:
                yield log, dict(self._event.process_log(_for_web3(log))["args"])


def _for_web3(log: dict[str, Any]) -> AttributeDict:
    return AttributeDict(
        {
            **log,
            "topics": [HexBytes(topic) for topic in log["topics"]],
            "data": HexBytes(log["data"]),
            "blockHash": HexBytes(log["blockHash"]),
            "transactionHash": HexBytes(log["transactionHash"]),
            "address": Web3.to_checksum_address(log["address"]),
            "blockNumber": int(log["blockNumber"], 16),
            "logIndex": int(log["logIndex"], 16),
            "transactionIndex": int(log["transactionIndex"], 16),
        }
    )


def place(log: dict[str, Any]) -> tuple[str, int]:
    """Where a raw log stands; and of an event's data the same."""
    return (log["transactionHash"], int(log["logIndex"], 16))


def word(value: int) -> str:
    """32 bytes of ABI data, without 0x; negative numbers in two's complement."""
    return f"{value % 2**256:064x}"


def log(topics: list[str], data: str, address: str = "0x" + "11" * 20, index: int = 0, tx: str = "22") -> RpcLog:
    return RpcLog(
        address=address,
        topics=topics,
        data=data,
        log_index=hex(index),
        transaction_hash="0x" + tx * 32,
        transaction_index="0x0",
        block_hash="0x" + "33" * 32,
    )


def block_of(*logs: RpcLog, transactions: tuple[RpcTransaction, ...] = ()) -> Block:
    """A block that nobody mined, with these logs."""
    return Block(
        header=Header(1, "0x" + "33" * 32, "0x" + "44" * 32, 1_700_000_000),
        transaction_count=len(transactions),
        gas_used=1,
        gas_limit=1,
        base_fee_per_gas=None,
        transactions=list(transactions),
        receipts=[],
        logs=list(logs),
        arrived=1_700_000_001_000,
    )
