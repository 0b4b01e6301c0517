"""
From the node's push to an SSE client: `python tests/bench/bench_latency.py`, about a minute.

A bare WebSocket subscriber beside the daemon gets the same `newHeads`; the time between its message and the block's
`block_new` at each of 50 clients is what the daemon adds: asking for block and receipts, checking, deriving, the commit
to disk, and the fan-out. Node, daemon and clients share one machine.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import uvloop
from websockets.asyncio.client import connect

sys.path[:0] = [str(Path(__file__).parent.parent)]

from anvil import ACCOUNTS, Anvil, word
from conftest import installed_anvil, load_contracts
from daemon import Daemon

CLIENTS = 50
BLOCKS = 400
EVERY = 0.1
"""Seconds between two blocks."""


class Reader(asyncio.Protocol):
    """A client that looks for hashes of blocks in what comes, and notes when."""

    def __init__(self, host: str, seen: dict[str, list[float]], ready: asyncio.Future[None]) -> None:
        self.host = host
        self.seen = seen
        self.ready = ready

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(f"GET /events?types=block_new HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if not self.ready.done():
            self.ready.set_result(None)
        for part in data.split(b'"block_hash":"')[1:]:
            self.seen.setdefault(part[:66].decode(), []).append(now)


async def main() -> None:
    contracts = load_contracts()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with Anvil(installed_anvil(), folder / "anvil", "--prune-history", durable=False) as node:
            coin = await node.deploy(contracts["Coin"]["bytecode"])
            data = "0x" + contracts["Coin"]["selectors"]["spread(uint160,uint256)"]
            chain = {"name": "anvil", "chain_id": 31337, "endpoints": [node.ws], "tokens": "all", "transactions": "all"}
            async with Daemon(folder / "daemon", chains=[chain]) as daemon:
                pushed: dict[str, float] = {}
                seen: dict[str, list[float]] = {}
                parts = urlsplit(daemon.url)
                loop = asyncio.get_running_loop()
                for _ in range(CLIENTS):
                    ready = loop.create_future()
                    await loop.create_connection(
                        lambda r=ready: Reader(parts.netloc, seen, r), parts.hostname, parts.port
                    )
                    await ready
                async with connect(node.ws) as bare:
                    await bare.send(
                        json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]})
                    )
                    await bare.recv()

                    async def listen() -> None:
                        while True:
                            told = await bare.recv()
                            now = time.perf_counter()
                            pushed[json.loads(told)["params"]["result"]["hash"]] = now

                    listening = asyncio.create_task(listen())
                    for number in range(BLOCKS):
                        await node.send(ACCOUNTS[0], coin, data + word(1000 + number * 8) + word(5), gas=500_000)
                        await node.mine()
                        await asyncio.sleep(EVERY)
                    await daemon.reached((await node.call("eth_getBlockByNumber", "latest", False))["hash"])
                    await asyncio.sleep(0.2)
                    listening.cancel()
                stats = await daemon.get("/v1/stats")
    counted = [block for block in pushed if block in seen][20:]
    delays = sorted((at - pushed[block]) * 1000 for block in counted for at in seen[block])
    assert all(len(seen[block]) == CLIENTS for block in counted), "a client missed a block, or got one twice"
    print(f"{len(counted)} blocks of 5 transfers, {CLIENTS} clients, milliseconds after the node's own push")
    for share in (50, 90, 99):
        print(f"  p{share:<3} {delays[len(delays) * share // 100]:7.2f}")
    print(f"  max  {delays[-1]:7.2f}")
    print(f"  the daemon's own account: {json.dumps(stats['latencies_ms'])}")


if __name__ == "__main__":
    uvloop.run(main())
