"""
sse-starlette on uvicorn, as its documentation shows it: a queue and a generator for each client. uvloop, httptools and
no access log, so that it is as quick as it can be. Told by lines: `pace COUNT RATE`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import uvicorn
from sse_starlette.sse import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from fanout.events import text

queues: set[asyncio.Queue[ServerSentEvent]] = set()


async def events(request: Request) -> EventSourceResponse:
    queue: asyncio.Queue[ServerSentEvent] = asyncio.Queue()
    queues.add(queue)

    async def each() -> AsyncIterator[ServerSentEvent]:
        try:
            while True:
                yield await queue.get()
        finally:
            queues.discard(queue)

    return EventSourceResponse(each(), sep="\n")


async def pace(made: int, count: int, rate: int) -> None:
    began = time.monotonic()
    for number in range(made + 1, made + count + 1):
        due = began + (number - made - 1) / rate if rate else time.monotonic()
        if (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        one = ServerSentEvent(data=text(number, due).decode(), id=str(number))
        for queue in queues:
            queue.put_nowait(one)


async def main() -> None:
    app = Starlette(routes=[Route("/events", events)])
    config = uvicorn.Config(app, port=0, log_level="error", access_log=False, backlog=4096)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(json.dumps({"port": server.servers[0].sockets[0].getsockname()[1]}), flush=True)
    loop = asyncio.get_running_loop()
    made = 0
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        _, count, rate = line.split()
        await pace(made, int(count), int(rate))
        made += int(count)
        print("{}", flush=True)
    running.cancel()
    os._exit(0)  # an orderly end of 10,000 generators takes it a minute


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
