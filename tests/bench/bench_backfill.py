"""
How fast history is read: against the same pipeline of raw requests, whose answers nobody decodes or stores.
`python tests/bench/bench_backfill.py`, about two minutes.

Both ask one anvil for each block and its receipts over one WebSocket, with as many blocks in flight. Every block holds
one transaction of 5 Transfer logs. They take turns; the ratio is that of the medians.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import uvloop
from websockets.asyncio.client import connect

sys.path[:0] = [str(Path(__file__).parent.parent)]

from anvil import ACCOUNTS, Anvil, word
from conftest import installed_anvil, load_contracts
from ingestion import chain_settings, followed, opened_log, reached

from chainwatch.chain.evm import rpc

BLOCKS = 6000
IN_FLIGHT = 128
ROUNDS = 5


async def grow(node: Anvil) -> None:
    """A chain of blocks with 5 logs each."""
    contracts = load_contracts()
    coin = await node.deploy(contracts["Coin"]["bytecode"])
    data = "0x" + contracts["Coin"]["selectors"]["spread(uint160,uint256)"]
    for number in range(BLOCKS):
        await node.send(ACCOUNTS[0], coin, data + word(1000 + number * 8) + word(5), gas=500_000)
        await node.mine()


async def raw(url: str, last: int) -> float:
    """Seconds for the same requests, the answers thrown away."""
    begin = time.perf_counter()
    async with connect(url, max_size=None, compression=None, ping_interval=None) as socket:
        room = asyncio.Semaphore(IN_FLIGHT)

        async def ask() -> None:
            for number in range(last + 1):
                await room.acquire()
                await socket.send(rpc.request(2 * number, "eth_getBlockByNumber", [hex(number), False]), text=True)
                await socket.send(rpc.request(2 * number + 1, "eth_getBlockReceipts", [hex(number)]), text=True)

        asking = asyncio.create_task(ask())
        for answer in range(2 * (last + 1)):
            await socket.recv(decode=False)
            if answer % 2:
                room.release()
        await asking
    return time.perf_counter() - begin


async def backfill(url: str, block_hash: str, folder: Path) -> float:
    """Seconds from start to the last block durable in the log."""
    begin = time.perf_counter()
    settings = chain_settings(url, name="anvil", chain_id=31337, transactions="none", request_timeout=30)
    async with opened_log(folder, memory=64 * 2**20) as log:
        async with followed(log, settings) as chain:
            await reached(chain, block_hash, seconds=300)
        return time.perf_counter() - begin


async def main() -> None:
    sys.setswitchinterval(0.001)
    with tempfile.TemporaryDirectory() as folder:
        async with Anvil(installed_anvil(), Path(folder) / "anvil", durable=False) as node:
            await grow(node)
            head = await node.call("eth_getBlockByNumber", "latest", False)
            last = int(head["number"], 16)
            await raw(node.ws, last)  # warm-up
            pipeline, ours = [], []
            for turn in range(ROUNDS):
                pipeline.append(await raw(node.ws, last))
                place = Path(folder) / str(turn)
                place.mkdir()
                ours.append(await backfill(node.ws, head["hash"], place))
    print(f"{last + 1} blocks of 5 logs from anvil, {IN_FLIGHT} in flight, median of {ROUNDS} rounds")
    print(f"  raw requests, answers thrown away   {(last + 1) / median(pipeline):8.0f} blocks/s   1.00")
    print(
        f"  checked, derived, durable           {(last + 1) / median(ours):8.0f} blocks/s   {median(pipeline) / median(ours):.2f}"
    )


if __name__ == "__main__":
    uvloop.run(main())
