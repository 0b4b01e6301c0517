"""
What deriving costs, in CPU per log of mainnet block 21925176: `python tests/bench/bench_decode.py`, about 15 seconds.

First its ERC-20 transfers, from the node's JSON-like fields to the encoded event with its id, against web3's
`process_log` and eth_abi's decoder alone, which decode and no more. Then all 463 logs of the block, through every
derivation of tokens, against eth_abi's decoder of those logs that mean something. Then what a log costs that means
nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))

import msgspec
from eth_abi import decode
from mainnet import WETH, Witness, block, place, raw_logs

from chainwatch.chain.evm.reads import Metadata
from chainwatch.derive.approvals import approvals
from chainwatch.derive.known import Known
from chainwatch.derive.rules import Rules
from chainwatch.derive.swaps import swaps
from chainwatch.derive.transfers import TRANSFER, transfers
from chainwatch.derive.wraps import wraps
from chainwatch.event import encode

ADDRESS = ["address", "address"]
MEANT = {  # topic, number of topics -> the types of the indexed arguments and of the data
    ("Transfer(address,address,uint256)", 3): (ADDRESS, ["uint256"]),
    ("Transfer(address,address,uint256)", 4): ([*ADDRESS, "uint256"], []),
    ("TransferSingle(address,address,address,uint256,uint256)", 4): (["address", *ADDRESS], ["uint256", "uint256"]),
    ("TransferBatch(address,address,address,uint256[],uint256[])", 4): (
        ["address", *ADDRESS],
        ["uint256[]", "uint256[]"],
    ),
    ("Approval(address,address,uint256)", 3): (ADDRESS, ["uint256"]),
    ("Approval(address,address,uint256)", 4): ([*ADDRESS, "uint256"], []),
    ("ApprovalForAll(address,address,bool)", 3): (ADDRESS, ["bool"]),
    ("Swap(address,uint256,uint256,uint256,uint256,address)", 3): (ADDRESS, ["uint256"] * 4),
    ("Swap(address,address,int256,int256,uint160,uint128,int24)", 3): (
        ADDRESS,
        ["int256", "int256", "uint160", "uint128", "int24"],
    ),
    ("Swap(bytes32,address,int128,int128,uint160,uint128,int24,uint24)", 3): (
        ["bytes32", "address"],
        ["int128", "int128", "uint160", "uint128", "int24", "uint24"],
    ),
    ("Deposit(address,uint256)", 2): (["address"], ["uint256"]),
    ("Withdrawal(address,uint256)", 2): (["address"], ["uint256"]),
}


def per(work: Callable[[], object], count: int, rounds: int) -> float:
    """Microseconds of CPU for one of `count`: the median of some rounds."""
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        work()
        times.append((time.process_time() - begin) / count * 1e6)
    return median(times)


def row(name: str, cost: float, yardstick: float) -> None:
    print(f"  {name:<62}{cost:8.2f} µs {yardstick / cost:7.1f}×")


def by_eth_abi(logs: list[dict]) -> Callable[[], int]:
    """eth_abi on the arguments of every log that means something, its bytes made before."""
    from eth_utils import keccak

    kinds = {("0x" + keccak(text=name).hex(), count): types for (name, count), types in MEANT.items()}
    work = []
    for log in logs:
        found = kinds.get((log["topics"][0], len(log["topics"]))) if log["topics"] else None
        if found is not None:
            topics = [bytes.fromhex(topic[2:]) for topic in log["topics"][1:]]
            work.append((found[0], topics, found[1], bytes.fromhex(log["data"][2:])))

    def run() -> int:
        for kinds, topics, types, data in work:
            for kind, topic in zip(kinds, topics, strict=True):
                decode([kind], topic)
            decode(types, data)
        return len(work)

    return run


def main() -> None:
    whole, raw = block("helios"), raw_logs("helios")
    rules = Rules(chain="ethereum", native="ETH", transfers="all", wrapped=frozenset({WETH}))
    contracts = {log.address for log in whole.logs}
    known = Known({}, {contract: Metadata(symbol="COIN", name="Coin", decimals=18) for contract in contracts})

    coins = [log for log in whole.logs if log.topics[:1] == [TRANSFER] and len(log.topics) == 3]
    raw_coins = [log for log in raw if log["topics"][:1] == [TRANSFER] and len(log["topics"]) == 3]
    only = msgspec.structs.replace(whole, logs=coins)
    witness = Witness("Transfer(address indexed from, address indexed to, uint256 value)")
    theirs = by_eth_abi(raw_coins)
    assert len(list(transfers(only, rules, 0))) == len(list(witness(raw_coins))) == theirs() == len(coins)
    yardstick = per(lambda: list(witness(raw_coins)), len(coins), 3)
    print(f"{len(coins)} ERC-20 transfers of mainnet block 21925176, CPU per log")
    row("web3 process_log, decoding alone", yardstick, yardstick)
    row("eth_abi, decoding alone", per(theirs, len(coins), 9), yardstick)
    row("log -> event with id", per(lambda: list(transfers(only, rules, 0, known)), len(coins), 50), yardstick)
    row(
        "log -> event with id -> encoded JSON",
        per(lambda: [encode(event) for event in transfers(only, rules, 0, known)], len(coins), 50),
        yardstick,
    )

    def events() -> list:
        return [
            *transfers(whole, rules, 0, known), *approvals(whole, rules, known, 0), *swaps(whole, rules, known, 0),
        ]  # fmt: skip

    def everything() -> int:
        return len(events()) + len(wraps(whole, rules))

    theirs, count = by_eth_abi(raw), len(raw)
    yardstick = per(theirs, count, 9)
    print(f"\nall {count} logs of the block: {theirs()} mean something; CPU per log of the block")
    row("eth_abi, decoding of those alone", yardstick, yardstick)
    row(f"transfers, approvals, swaps, wraps: {everything()} with their ids", per(everything, count, 50), yardstick)
    row("the same, events encoded as JSON", per(lambda: list(map(encode, events())), count, 50), yardstick)

    told = {(event.data.tx_hash, event.data.log_index) for event in events()}
    told |= {(wrap.tx_hash, wrap.log_index) for wrap in wraps(whole, rules)}
    rest = [log for log, told_raw in zip(whole.logs, raw, strict=True) if place(told_raw) not in told]
    nothing = msgspec.structs.replace(whole, logs=rest * 20)
    print(f"\na log that means nothing ({len(rest)} of them), CPU per log and derivation")
    for name, work in {
        "transfers": lambda: list(transfers(nothing, rules, 0, known)),
        "approvals": lambda: list(approvals(nothing, rules, known, 0)),
        "swaps": lambda: list(swaps(nothing, rules, known, 0)),
        "wraps": lambda: wraps(nothing, rules),
    }.items():
        print(f"  {name:<62}{per(work, len(nothing.logs), 50):8.3f} µs")


if __name__ == "__main__":
    main()
