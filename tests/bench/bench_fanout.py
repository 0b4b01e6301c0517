"""
CPU per delivered event: the hub (real log, real sockets) against the plain way of aiohttp, in one run.

    .venv/bin/python tests/bench/bench_fanout.py [--streams 1000] [--rate 20] [--seconds 5]

Each server is a process of its own; this one is the clients, and its CPU does not count. The plain way encodes a frame
once, too, and calls `await response.write(frame)` for one client after another; it stores nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from aiohttp import web

from chainwatch.event import Event, encode, event_id, rfc3339

PADDING = "." * 120  # makes an event of about 350 bytes


def event(number: int) -> Event:
    now = rfc3339(int(time.time() * 1000))
    data = {"block_number": number, "padding": PADDING}
    name = event_id("bench", number)
    return Event(id=name, type="block_new", timestamp=now, observed_at=now, chain="ethereum", data=data)


async def serve(kind: str, streams: int, rate: float, seconds: float, burst: int) -> None:
    """One server: prints its port; when told to, sends for `seconds`; prints the CPU seconds that it took."""
    with tempfile.TemporaryDirectory() as folder:
        if kind == "hub":
            runner, send, close = await the_hub(Path(folder))
        else:
            runner, send, close = await the_plain_way()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
        await site.start()
        print(json.dumps({"port": site.port}), flush=True)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, sys.stdin.readline)
        told = {"rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
        began, cpu = time.perf_counter(), time.process_time()
        total = int(rate * seconds)
        for number in range(total):
            await send([event(number)])
            await asyncio.sleep(max(0, began + (number + 1) / rate - time.perf_counter()))
        told |= {"cpu": time.process_time() - cpu, "deliveries": total * streams}
        await loop.run_in_executor(None, sys.stdin.readline)
        cpu = time.process_time()
        for start in range(0, burst, 100):
            await send([event(total + start + place) for place in range(100)])
        await loop.run_in_executor(None, sys.stdin.readline)
        told |= {"burst_cpu": time.process_time() - cpu, "burst_deliveries": burst * streams}
        print(json.dumps(told), flush=True)
        await close()
        await runner.cleanup()


async def the_hub(folder: Path):
    from chainwatch.filter import Vocabulary
    from chainwatch.log.store import open_log
    from chainwatch.server.app import build_app
    from chainwatch.server.context import Context
    from chainwatch.server.present import Present
    from chainwatch.stream.hub import Hub

    log = await open_log(folder / "events.db", ttl=3600, max_events=10**7, max_bytes=2**32, memory=2**26)
    context = Context(
        log=log,
        hub=Hub(log),
        present=Present(log),
        version="0",
        started=time.time(),
        loopback=True,
        vocabulary=Vocabulary,
        chains=list,
        max_connections=100_000,
    )
    runner = web.AppRunner(build_app(context), access_log=None)
    await runner.setup()
    return runner, log.append, context.hub.close


async def the_plain_way():
    responses: list[web.StreamResponse] = []
    over = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        responses.append(response)
        await over.wait()
        return response

    async def send(events: list[Event]) -> None:
        for one in events:
            frame = b"id: x-1\ndata: %b\n\n" % encode(one)
            for response in responses:
                await response.write(frame)

    async def close() -> None:
        over.set()

    app = web.Application()
    app.router.add_get("/events", stream)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    return runner, send, close


class Clients:
    """Many sockets, drained; events are counted by their `data:` lines."""

    def __init__(self, port: int, count: int) -> None:
        self.events = 0
        self._selector = selectors.DefaultSelector()
        self._sockets = []
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ)
            self._sockets.append(sock)

    def drain(self, until: int, patience: float) -> None:
        """Read until so many events were seen, or nothing came for so many seconds."""
        last = time.perf_counter()
        while self.events < until and time.perf_counter() - last < patience:
            for key, _ in self._selector.select(0.2):
                data = key.fileobj.recv(2**20)  # type: ignore[union-attr]
                self.events += data.count(b'"padding"')
                last = time.perf_counter()

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._selector.close()


def measure(kind: str, arguments: argparse.Namespace) -> dict[str, float]:
    given = [str(arguments.streams), str(arguments.rate), str(arguments.seconds), str(arguments.burst)]
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve", kind, *given], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    clients = Clients(json.loads(server.stdout.readline())["port"], arguments.streams)
    clients.drain(1, 1.0)  # what `connect` sends
    for phase, count in enumerate((int(arguments.rate * arguments.seconds), arguments.burst)):
        server.stdin.write("go\n")
        server.stdin.flush()
        clients.events = 0
        clients.drain(count * arguments.streams, 5.0)
        assert clients.events == count * arguments.streams, (kind, phase, clients.events)
    server.stdin.write("done\n")
    server.stdin.flush()
    told = json.loads(server.stdout.readline())
    clients.close()
    server.wait(30)
    return {
        "live": told["cpu"] / told["deliveries"] * 1e6,
        "burst": told["burst_cpu"] / told["burst_deliveries"] * 1e6,
        "rss": told["rss"],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--burst", type=int, default=1000)
    arguments = parser.parse_args()
    if arguments.serve:
        import structlog
        import uvloop

        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))  # stdout is the answer
        kind, streams, rate, seconds, burst = arguments.serve
        uvloop.run(serve(kind, int(streams), float(rate), float(seconds), int(burst)))
        return
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    print(f"{arguments.streams} streams, {arguments.rate:g} events/s; µs of CPU per delivery")
    told = {kind: measure(kind, arguments) for kind in ("hub", "plain")}
    for phase in ("live", "burst"):
        hub, plain = told["hub"][phase], told["plain"][phase]
        print(f"  {phase:6} hub {hub:7.2f}   await response.write per client {plain:7.2f}   ratio {hub / plain:.3f}")
    print(f"  memory with all streams open: hub {told['hub']['rss']} MiB, plain {told['plain']['rss']} MiB")


if __name__ == "__main__":
    main()
