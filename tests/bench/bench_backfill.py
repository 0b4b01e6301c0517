"""
How fast history is read: against the same pipeline of raw requests, whose answers nobody decodes or stores.
`python tests/bench/bench_backfill.py`, about two minutes.

Once beside the node, where the processor is the limit; once with a round trip of 30 ms between, as with a provider.
Both ask one anvil for each block and its receipts over one WebSocket, with as many blocks in flight. Every block holds
one transaction of 5 Transfer logs, between 1,000 addresses. They take turns; the ratio is that of the medians.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from statistics import median

import structlog
import uvloop
from websockets.asyncio.client import connect

sys.path[:0] = [str(Path(__file__).parent.parent)]

from anvil import ACCOUNTS, Anvil, free_port, word
from conftest import installed_anvil, load_contracts
from ingestion import chain_settings, followed, opened_log, reached

from chainwatch.chain.evm import rpc
from chainwatch.chain.evm.profile import profile
from chainwatch.chain.evm.websocket import WebSocketEndpoint

BLOCKS = 12_000
IN_FLIGHT = 128
ROUNDS = 3
ROUND_TRIP = 0.03
"""Seconds."""


async def grow(node: Anvil) -> None:
    """A chain of blocks with 5 logs each."""
    contracts = load_contracts()
    coin = await node.deploy(contracts["Coin"]["bytecode"])
    data = "0x" + contracts["Coin"]["selectors"]["spread(uint160,uint256)"]
    for number in range(BLOCKS):
        await node.send(ACCOUNTS[0], coin, data + word(1000 + number % 200 * 8) + word(5), gas=500_000)
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


async def pipeline(url: str, last: int) -> float:
    """Seconds for the same requests through the daemon's own endpoint, matched with their answers, nothing decoded."""
    endpoint = WebSocketEndpoint(
        url, chain="anvil", chain_id=31337, profile=profile(31337), timeout=30, changed=lambda: None
    )
    running = asyncio.create_task(endpoint.run())
    while not endpoint.ready:
        await asyncio.sleep(0.001)
    begin = time.perf_counter()
    flight: deque[asyncio.Future] = deque()
    for number in range(last + 1):
        flight.append(endpoint.start("eth_getBlockByNumber", [hex(number), False]))
        flight.append(endpoint.start("eth_getBlockReceipts", [hex(number)]))
        while len(flight) >= 2 * IN_FLIGHT:
            await flight.popleft()
    while flight:
        await flight.popleft()
    taken = time.perf_counter() - begin
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return taken


async def backfill(url: str, block_hash: str, folder: Path) -> float:
    """Seconds from start to the last block durable in the log."""
    begin = time.perf_counter()
    settings = chain_settings(url, name="anvil", chain_id=31337, transactions="none", request_timeout=30)
    async with opened_log(folder, memory=64 * 2**20) as log:
        async with followed(log, settings) as chain:
            await reached(chain, block_hash, seconds=300)
        return time.perf_counter() - begin


class Delay(asyncio.Protocol):
    """One side of a proxy that holds everything back for a while, as a distance does."""

    def __init__(self, target: int | None) -> None:
        self.target = target
        self.other: asyncio.Transport | None = None
        self.early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        if self.target is not None:
            self.opening = asyncio.create_task(self.open(self.target))

    async def open(self, target: int) -> None:
        self.other, theirs = await asyncio.get_running_loop().create_connection(
            lambda: Delay(None), "127.0.0.1", target
        )
        theirs.other = self.transport
        for data in self.early:
            self.data_received(data)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
        else:
            asyncio.get_running_loop().call_later(ROUND_TRIP / 2, self.arrive, data)

    def arrive(self, data: bytes) -> None:
        if self.other is not None and not self.other.is_closing():
            self.other.write(data)

    def connection_lost(self, _: Exception | None) -> None:
        if self.other is not None:
            self.other.close()


def far_away(target: int, port: int) -> None:
    """The proxy, as a process."""

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Delay(target), "127.0.0.1", port)
        await server.serve_forever()

    uvloop.run(serve())


async def compare(what: str, url: str, block_hash: str, last: int, folder: Path) -> None:
    """Both in turn, and the ratio of the medians."""
    await raw(url, min(last, 500))  # warm-up
    bare, matched, ours = [], [], []
    for turn in range(ROUNDS):
        bare.append(await raw(url, last))
        matched.append(await pipeline(url, last))
        place = folder / f"{what}-{turn}"
        place.mkdir()
        ours.append(await backfill(url, block_hash, place))
    print(f"{what}: {last + 1} blocks of 5 logs, {IN_FLIGHT} in flight, median of {ROUNDS} rounds")
    for name, times in (
        ("raw requests, answers not even looked at", bare),
        ("the daemon's requests, answers matched", matched),
        ("the daemon: checked, derived, durable", ours),
    ):
        rate = (last + 1) / median(times)
        print(f"  {name:42} {rate:7.0f} blocks/s   {median(bare) / median(times):.2f}", flush=True)


async def main() -> None:
    sys.setswitchinterval(0.001)  # these three as the daemon has them
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder:
        async with Anvil(installed_anvil(), Path(folder) / "anvil", "--prune-history", durable=False) as node:
            await grow(node)
            head = await node.call("eth_getBlockByNumber", "latest", False)
            last = int(head["number"], 16)
            await compare("local node", node.ws, head["hash"], last, Path(folder))
            port = free_port()
            proxy = multiprocessing.get_context("spawn").Process(target=far_away, args=(node.port, port), daemon=True)
            proxy.start()
            await listens(port)
            await compare("node 30 ms away", f"ws://127.0.0.1:{port}", head["hash"], last, Path(folder))
            proxy.terminate()


async def listens(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


if __name__ == "__main__":
    uvloop.run(main())
