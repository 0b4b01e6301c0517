"""
chainwatch as a process of its own: the real log on disk, hub and routes, as the daemon runs them; told by lines what to
append, where a daemon's ingest would. `python ours.py MEMORY`: the log's tail in memory, bytes.

    pace COUNT RATE BATCH ADDRESSES   append COUNT events, BATCH at a time, RATE a second; 0: as fast as it goes, some
                                      appends under way at once, as where several chains are followed
    about                             tasks and streams, behind a collection of garbage
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import structlog
import uvloop
from server.house import House, serve

from fanout.events import event

_AT_ONCE = 4


async def main(memory: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        house = await serve(Path(folder) / "events.db", memory=memory, max_connections=100_000)
        say(port=house.port)
        loop = asyncio.get_running_loop()
        made = 0
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            command, *numbers = line.split()
            if command == "pace":
                count, rate, batch, addresses = map(int, numbers)
                await pace(house, made, count, rate, batch, addresses)
                made += count
                say(head=house.log.head)
            else:
                gc.collect()
                say(tasks=len(asyncio.all_tasks()), streams=len(house.hub.streams))
        await house.close()


async def pace(house: House, made: int, count: int, rate: int, batch: int, addresses: int) -> None:
    began = time.monotonic()
    under_way: deque[asyncio.Task[None]] = deque()
    for done in range(0, count, batch):
        due = began + done / rate if rate else time.monotonic()
        if (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        numbers = range(made + done + 1, made + min(done + batch, count) + 1)
        events = [event(number, due, addresses) for number in numbers]
        under_way.append(asyncio.create_task(house.tell(*events), name=f"append:{done}"))
        if not rate and len(under_way) >= _AT_ONCE:  # a chain at its pace waits for nobody
            await under_way.popleft()
    await asyncio.gather(*under_way)


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))  # stdout is the answer
    # As the daemon does: see chainwatch/daemon.py.
    sys.setswitchinterval(0.001)
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    uvloop.run(main(int(sys.argv[1])))
