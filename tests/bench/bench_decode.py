"""
What a Transfer log costs, from the node's JSON-like fields to the encoded event with its id: against web3's
`process_log` alone, which decodes and no more. `python tests/bench/bench_decode.py`, about ten seconds.

The logs are the ERC-20 transfers of mainnet block 21925176.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import msgspec
from hexbytes import HexBytes
from web3 import Web3
from web3.datastructures import AttributeDict

from chainwatch.chain.evm.block import RpcBlock, RpcReceipt
from chainwatch.chain.evm.fetch import assemble
from chainwatch.derive.rules import Rules
from chainwatch.derive.transfers import TRANSFER, transfers
from chainwatch.event import encode

DATA = Path(__file__).parent.parent / "data" / "mainnet"
ABI = [
    {
        "type": "event",
        "name": "Transfer",
        "anonymous": False,
        "inputs": [
            {"name": "from", "type": "address", "indexed": True},
            {"name": "to", "type": "address", "indexed": True},
            {"name": "value", "type": "uint256", "indexed": False},
        ],
    }
]


def load(name: str) -> bytes:
    return gzip.decompress((DATA / name).read_bytes())


def per_log(work: Callable[[], int], rounds: int) -> float:
    """Microseconds of one log: the median of some rounds."""
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        count = work()
        times.append((time.process_time() - begin) / count * 1e6)
    return median(times)


def main() -> None:
    receipts = msgspec.json.decode(load("receipts_21925176.json.gz"), type=list[RpcReceipt])
    logs = [
        log for receipt in receipts for log in receipt.logs if log.topics[:1] == [TRANSFER] and len(log.topics) == 3
    ]
    block = assemble(msgspec.json.decode(load("header_21925176.json.gz"), type=RpcBlock), [], logs)
    rules = Rules(chain="ethereum", native="ETH", transfers="all")

    def ours() -> int:
        return len([encode(event) for event in transfers(block, rules, 0)])

    contract = Web3().eth.contract(abi=ABI)
    theirs = [
        AttributeDict(
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
        for receipt in json.loads(load("receipts_21925176.json.gz"))
        for log in receipt["logs"]
        if log["topics"][:1] == [TRANSFER] and len(log["topics"]) == 3
    ]

    def web3() -> int:
        return len([contract.events.Transfer().process_log(log) for log in theirs])

    assert ours() == web3() == len(logs)
    mine, yardstick = per_log(ours, 50), per_log(web3, 5)
    print(f"{len(logs)} Transfer logs of mainnet block 21925176, CPU per log")
    print(f"  web3 process_log, decoding alone       {yardstick:8.2f} µs    1.0×")
    print(f"  log -> event with id -> encoded JSON   {mine:8.2f} µs    {yardstick / mine:.1f}× cheaper")


if __name__ == "__main__":
    main()
