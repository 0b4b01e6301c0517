"""
What reading balances costs a block: requests and milliseconds, for each way of reading, against a batch of
`eth_getBalance` (JSON-RPC batching over HTTP), which is how it is done as a rule. About half a minute:
`python tests/bench/bench_balances.py`.

The node is anvil, on the same machine, so the network costs nothing here; over the internet each request that has to
wait for another adds a round trip.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))

import structlog
from aiohttp import ClientSession
from anvil import ACCOUNTS, Anvil
from asking import block_at, connected
from conftest import installed_anvil, load_contracts

from chainwatch.chain.evm import balances
from chainwatch.chain.evm.reads import Holding, Reads
from chainwatch.chain.evm.state import answer

ROUNDS = 15


async def milliseconds(work: Callable[[], Awaitable[object]]) -> float:
    """The median of some rounds, after one that finds out what the node can do."""
    await work()
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        await work()
        times.append((time.perf_counter() - begin) * 1000)
    return median(times)


async def batched(node: Anvil, holdings: list[Holding], block_hash: str) -> float:
    """One HTTP request with an `eth_getBalance`, or a `balanceOf`, for each."""
    at = {"blockHash": block_hash}
    calls = [
        {"jsonrpc": "2.0", "id": index, "method": "eth_getBalance", "params": [wallet, at]} if not token else
        {"jsonrpc": "2.0", "id": index, "method": "eth_call",
         "params": [{"to": token, "data": f"0x70a08231{wallet[2:]:0>64}"}, at]}
        for index, (token, wallet) in enumerate(holdings)
    ]  # fmt: skip
    async with ClientSession() as session:

        async def ask() -> None:
            async with session.post(node.http, json=calls) as told:
                answers = json.loads(await told.read())
            assert len({one["id"]: int(one["result"], 16) for one in answers}) == len(holdings)

        return await milliseconds(ask)


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with tempfile.TemporaryDirectory() as folder:
        async with Anvil(installed_anvil(), Path(folder), durable=False) as node:
            coin = await node.deploy(load_contracts()["Coin"]["bytecode"])
            await node.mine(10)
            wallets = [*ACCOUNTS[:1], *[f"0x{number:040x}" for number in range(2**100, 2**100 + 999)]]
            sets = {
                "1 wallet": [("", wallet) for wallet in wallets[:1]],
                "100 wallets": [("", wallet) for wallet in wallets[:100]],
                "1,000 wallets": [("", wallet) for wallet in wallets],
                "1,000 wallets, a token": [(coin, wallet) for wallet in wallets],
            }
            print(
                f"{'':24}{'batch':>10}  {'override':>24}{'deployless':>24}{'plain':>24}   ms a block (requests; ratio)"
            )
            for name, holdings in sets.items():
                async with connected(node.ws) as endpoint:
                    block = await block_at(endpoint)
                    yardstick = await batched(node, holdings, block.header.hash)
                    line = f"{name:24}{yardstick:8.2f} 1×"
                    for way in ("override", "deployless", "plain"):
                        endpoint.ways.reader, endpoint.ways.proven = way, False
                        balances.FEW = 0  # the reader, even for one
                        asked = Reads(balances=tuple(holdings))
                        spent = await milliseconds(lambda asked=asked, block=block: answer(endpoint, block, asked))
                        assert endpoint.ways.reader == way
                        before = endpoint.requests
                        await answer(endpoint, block, asked)
                        ratio = yardstick / spent
                        line += f"{f'{spent:.2f} ({endpoint.requests - before}; {ratio:.1f}×)':>24}"
                    print(line)


if __name__ == "__main__":
    asyncio.run(main())
