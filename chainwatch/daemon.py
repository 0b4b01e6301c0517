"""
The daemon: takes the parts up and down in order.

start   log (a damaged one stops here) -> chains and sources of prices -> server (streams can be opened)
stop    server (every stream gets its `complete`) -> chains and sources of prices -> log
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import structlog
from aiohttp import web

from chainwatch import __version__
from chainwatch.config import Settings, vocabulary
from chainwatch.errors import ChainwatchError
from chainwatch.log import Log
from chainwatch.log.store import open_log
from chainwatch.progress import show_progress
from chainwatch.quotes import Quotes
from chainwatch.server.app import build_app, build_runner
from chainwatch.server.context import Context
from chainwatch.server.present import Present
from chainwatch.stream.hub import Hub
from chainwatch.wiring import Chain, demonstration


def run(settings: Settings, *, demo: bool, seed: int, insecure: bool) -> int:
    """Run until SIGTERM or ^C; the exit code. `ChainwatchError` where it cannot start, or cannot go on."""
    try:
        import uvloop

        runner: Callable[..., Any] = uvloop.run
    except ImportError:  # not on every platform, and not needed
        runner = asyncio.run
    # The thread that writes the log takes the interpreter's lock back after each statement; 5 ms is long for a commit.
    sys.setswitchinterval(0.001)
    # What is loaded by now stays, and events are no cycles: looking for garbage less often is a tenth of ingestion.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    runner(_serve(settings, demo=demo, seed=seed, insecure=insecure))
    return 0


async def _serve(settings: Settings, *, demo: bool, seed: int, insecure: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        if demo:
            settings = await stack.enter_async_context(demonstration(settings, seed))
        options = settings.log
        log = await open_log(
            options.path,
            ttl=options.ttl,
            max_events=options.max_events,
            max_bytes=options.max_bytes,
            memory=options.memory,
        )
        stack.push_async_callback(log.close)
        chains = [await Chain.resume(chain, settings, log) for chain in settings.chains]
        quotes = await Quotes.resume(settings, log)
        hub = Hub(log, heartbeat=settings.server.heartbeat)  # before anything is told: it hears of every commit
        present = Present(log)
        present.seed([*quotes.statuses, *(status for chain in chains for status in chain.ingest.statuses)])
        await stack.enter_async_context(_following(chains, quotes, stop))
        await stack.enter_async_context(_listening(settings, log, hub, present, chains, quotes, insecure=insecure))
        await stop.wait()
        structlog.get_logger().info("stopping")


@contextlib.asynccontextmanager
async def _listening(
    settings: Settings,
    log: Log,
    hub: Hub,
    present: Present,
    chains: Sequence[Chain],
    quotes: Quotes,
    *,
    insecure: bool,
) -> AsyncIterator[None]:
    """The server, while inside. `ChainwatchError` where the address cannot be had."""
    server = settings.server
    app = build_app(
        Context(
            log=log,
            hub=hub,
            present=present,
            version=__version__,
            started=time.time(),
            loopback=server.loopback,
            vocabulary=lambda: vocabulary(settings),
            chains=lambda: [chain.vitals() for chain in chains],
            sources=lambda: [*quotes.vitals(), *(feed for chain in chains for feed in chain.ingest.feeds.vitals())],
            allowed_origins=server.allowed_origins,
            max_connections=server.max_connections,
        )
    )
    runner = build_runner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, server.host, server.port, backlog=4096)
        try:
            await site.start()
        except OSError as error:
            raise ChainwatchError(
                f"cannot listen on {server.host}, port {server.port}",
                why=error.strerror or str(error),
                hint="another chainwatch may be running; choose another port with --port",
            ) from None
        host, port = runner.addresses[0][:2]
        if insecure and not server.loopback:
            structlog.get_logger().warning("everyone who can reach this address can read everything", host=host)
        # The one line on stdout: scripts wait for it.
        print(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)  # noqa: T201
        yield
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _following(chains: Sequence[Chain], quotes: Quotes, stop: asyncio.Event) -> AsyncIterator[None]:
    """The chains and the sources of prices, while inside. An error that is no setback of a node ends the daemon."""
    failed: list[BaseException] = []

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            failed.append(error)
            stop.set()

    tasks = [asyncio.create_task(chain.run(), name=f"chain {chain.name}") for chain in chains]
    tasks.append(asyncio.create_task(quotes.run(), name="prices"))
    tasks.append(asyncio.create_task(show_progress(lambda: [chain.vitals() for chain in chains]), name="progress"))
    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if failed:
        raise _first(failed[0])


def _first(error: BaseException) -> BaseException:
    """The error that a person should see, out of the groups in which tasks wrap it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
