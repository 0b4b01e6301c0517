"""
The daemon: takes the parts up and down in order.

start   keys -> log (a damaged one stops here) -> chains and sources of prices -> server (streams can be opened)
stop    server (every stream gets its `complete`) -> chains and sources of prices -> log
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web

from chainwatch import __version__
from chainwatch.config import Settings, vocabulary
from chainwatch.errors import ChainwatchError, ConfigError, LogFull
from chainwatch.filter import Vocabulary
from chainwatch.following import Following
from chainwatch.hangup import Hangups, Load
from chainwatch.keys import Watch
from chainwatch.log import Log, Put
from chainwatch.log.store import open_log
from chainwatch.payloads import PAYLOADS
from chainwatch.server import descriptors
from chainwatch.server.access import Access
from chainwatch.server.app import build_app, build_runner
from chainwatch.server.context import Context
from chainwatch.server.limits import Gate
from chainwatch.server.present import Present
from chainwatch.server.sessions import Sessions
from chainwatch.stream.follow import Followers
from chainwatch.stream.hub import Hub
from chainwatch.systemd.notify import Notifier
from chainwatch.webhooks import Configured, Webhooks, configured
from chainwatch.wiring import demonstration

_ALIVE: Final = "alive"
"""A key of the log's state: when it was last written for the watchdog, Unix ns."""


def run(settings: Settings, load: Load, *, source: str | None, demo: bool, seed: int, insecure: bool) -> int:
    """
    Run until SIGTERM or ^C; the exit code. `load` reads the settings again, at SIGHUP; `source` says where they are
    from. `ChainwatchError` where it cannot start, or cannot go on.
    """
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
    descriptors.take(settings.server.max_connections)
    runner(_serve(settings, load, source=source, demo=demo, seed=seed, insecure=insecure))
    gc.freeze()  # Python looks for garbage once more as it ends: most of a second, where agents came
    return 0


async def _serve(settings: Settings, load: Load, *, source: str | None, demo: bool, seed: int, insecure: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    notifier = Notifier.here()
    hangups = Hangups(stop, notifier)
    async with contextlib.AsyncExitStack() as stack:
        if demo:
            overlay = await stack.enter_async_context(demonstration(seed))
            settings, configured = overlay(settings), load

            def load() -> Settings:
                return overlay(configured())

        keys = Watch(settings.keys_file)
        if not settings.server.loopback and not insecure and not keys.ring:
            raise ConfigError(
                f"{settings.server.host} is not a loopback address, so others could read everything without a key",
                hint='make a key with `chainwatch keys create NAME`, or listen on "127.0.0.1"; give --insecure if '
                "everyone who can reach the address may read and publish",
            )
        if source is not None:
            chains = [chain.name for chain in settings.chains]
            structlog.get_logger().info("configuration", file=source, chains=chains)
        options = settings.log
        log = await open_log(
            options.path,
            ttl=options.ttl,
            max_events=options.max_events,
            max_bytes=options.max_bytes,
            memory=options.memory,
        )
        stack.push_async_callback(log.close)
        hub = Hub(log, heartbeat=settings.server.heartbeat)  # before anything is told: it hears of every commit
        present = Present(log)
        following = await Following.resume(settings, log, present)
        await stack.enter_async_context(following.running(stop))
        webhooks = await stack.enter_async_context(_listening(following, log, hub, present, keys, insecure=insecure))

        def applied(settings: Settings) -> None:
            hub.heartbeat = settings.server.heartbeat
            descriptors.check(settings.server.max_connections)
            webhooks.take_up(_called(following, log))

        await stack.enter_async_context(hangups.reloading(load, following, keys.look, applied))

        async def prove() -> None:
            await log.append((), (Put(_ALIVE, str(time.time_ns()).encode()),))  # another value: a write, and synced

        await stack.enter_async_context(notifier.ready(prove, lambda: _standing(following, hub)))
        await stop.wait()
        structlog.get_logger().info("stopping")


@contextlib.asynccontextmanager
async def _listening(
    following: Following,
    log: Log,
    hub: Hub,
    present: Present,
    keys: Watch,
    *,
    insecure: bool,
) -> AsyncIterator[Webhooks]:
    """The server, while inside, and who is called. `ChainwatchError` where the address cannot be had."""
    server = following.settings.server
    sessions = Sessions(Access(keys.ring), hub)
    context = Context(
        log=log,
        hub=hub,
        followers=Followers(log),
        present=present,
        version=__version__,
        started=time.time(),
        settings=lambda: following.settings.server,
        sessions=sessions,
        gate=Gate(lambda: following.settings.server),
        vocabulary=_vocabulary(lambda: following.settings, log),
        chains=following.chains,
        sources=following.sources,
        wallets=following.wallets,
        mcp_events=following.settings.mcp.events,
    )
    runner = build_runner(build_app(context))
    await runner.setup()
    watching = asyncio.create_task(keys.run(sessions.change), name="keys")
    try:
        called = _called(following, log)
        try:
            await context.webhooks.configure(called)
        except LogFull:  # what is there goes on without room, and so do the streams
            context.webhooks.take_up(called)
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
        if insecure and not server.loopback and not keys.ring:
            told = structlog.get_logger()
            told.warning("everyone who can reach this address can read and publish everything", host=host)
        # The one line on stdout: scripts wait for it.
        print(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)  # noqa: T201
        yield context.webhooks
    finally:
        watching.cancel()
        await runner.cleanup()


def _standing(following: Following, hub: Hub) -> str:
    """How things stand, in a line."""
    chains = [
        f"{one['name']} {one['state']}" + (f" at {one['head']}" if one["head"] else "") for one in following.chains()
    ]
    count = len(hub.streams)
    return ", ".join([*chains, "1 stream" if count == 1 else f"{count} streams"])


def _called(following: Following, log: Log) -> Configured:
    """The webhooks of the configuration."""
    return configured(following.settings.webhooks, following.keys, log, int(time.time() * 1000))


def _vocabulary(settings: Callable[[], Settings], log: Log) -> Callable[[], Vocabulary]:
    """
    What the words of a filter mean now: what is configured, and the custom types that were ever published. It is asked
    for with every request, and made when one of the two has changed.
    """
    made: tuple[Settings, frozenset[tuple[str | None, str]], Vocabulary] | None = None

    def now() -> Vocabulary:
        nonlocal made
        if made is None or made[0] is not settings() or made[1] is not log.pairs:
            custom = frozenset(kind for _, kind in log.pairs if kind not in PAYLOADS)
            words = msgspec.structs.replace(vocabulary(settings()), custom=custom)
            made = (settings(), log.pairs, words)
        return made[2]

    return now
