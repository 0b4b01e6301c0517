"""
What it costs to begin: `--help` beside the import of typer, `tail` until it is connected, and the idle daemon's memory.
`python tests/bench/bench_startup.py`, about a minute.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path[:0] = [str(Path(__file__).parent.parent)]

from daemon import Daemon

from chainwatch.chain.simulated import CHAIN_ID, SimulatedNode, World

COMMAND = str(Path(sys.executable).with_name("chainwatch"))


def seconds(*command: str) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def compare_help() -> None:
    yardstick, ours = [], []
    for _ in range(21):
        yardstick.append(seconds(sys.executable, "-c", "import typer"))
        ours.append(seconds(COMMAND, "--help"))
    print(f"python -c 'import typer'   {median(yardstick) * 1000:6.0f} ms   1.00")
    print(f"chainwatch --help          {median(ours) * 1000:6.0f} ms   {median(ours) / median(yardstick):.2f}")


async def connect_tail(url: str) -> float:
    """Seconds from the start of the process to its first event."""
    begin = time.perf_counter()
    tail = await asyncio.create_subprocess_exec(
        *(COMMAND, "tail", "--url", url, "-n", "1", "--json"), stdout=subprocess.PIPE
    )
    assert tail.stdout is not None
    await tail.stdout.readline()
    taken = time.perf_counter() - begin
    tail.kill()
    await tail.wait()
    return taken


async def measure_daemon() -> None:
    world = World(1)
    world.mine(200)
    with tempfile.TemporaryDirectory() as folder:
        async with SimulatedNode(world) as node:
            chain = {"name": "sim", "chain_id": CHAIN_ID, "endpoints": [node.url], "start": 0, "tokens": "all"}
            async with Daemon(Path(folder), chains=[chain]) as daemon:
                await daemon.reached(world.head.hash)
                taken = [await connect_tail(daemon.url) for _ in range(11)]
                print(f"tail, start to first event {median(taken) * 1000:6.0f} ms   (bar 1000 ms)")
                await asyncio.sleep(3)
                assert daemon.process is not None
                status = await asyncio.to_thread(Path(f"/proc/{daemon.process.pid}/status").read_text)
                resident = int(status.split("VmRSS:")[1].split()[0]) / 1024
                print(f"idle daemon, resident      {resident:6.0f} MiB  (bar 120 MB)")


if __name__ == "__main__":
    compare_help()
    asyncio.run(measure_daemon())
