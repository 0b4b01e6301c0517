"""
SIGHUP: the configuration is read again and taken up while every stream stays open, and what changed is said.

One reload at a time; a signal that comes meanwhile has the configuration read once more when it is done. Whatever is
wrong with the new configuration, the daemon goes on with the one it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

import structlog

from chainwatch.config import Settings, api_keys
from chainwatch.errors import ChainwatchError, ConfigError
from chainwatch.following import Following
from chainwatch.reload import Plan, compare
from chainwatch.systemd.notify import Notifier

Load = Callable[[], Settings]
"""The configuration as it is read at a start: the same file, variables and flags. `ConfigError` where it is wrong."""
_STDIN: Final = 0

_log = structlog.get_logger()


class Hangups:
    """The signals that came. To be made on the event loop, before anything that takes time."""

    def __init__(self, stop: asyncio.Event, notifier: Notifier) -> None:
        """
        `stop`: what ends the daemon, since that is what SIGHUP means where the terminal has gone away. `notifier`:
        who else is told that a reload begins and ends.
        """
        self._stop = stop
        self._notifier = notifier
        self._wanted = asyncio.Event()
        # nohup has it ignored: then the terminal may go away.
        self._foreground = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _is_foreground()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._came)
        # Whoever starts the daemon may hold it back until here, see `cli.serve`: none is lost, and none is deadly.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def _came(self) -> None:
        if self._foreground and _is_gone():
            _log.info("the terminal is gone")
            self._stop.set()
        self._wanted.set()

    @contextlib.asynccontextmanager
    async def reloading(
        self, load: Load, following: Following, looks: Callable[[], None], applied: Callable[[Settings], None]
    ) -> AsyncIterator[None]:
        """
        Each signal is heeded while inside. `looks`: what has a look of its own to take, such as at a file of keys;
        `applied` is told of the settings that hold from then on, where they changed.
        """
        task = asyncio.create_task(self._run(load, following, looks, applied), name="reload")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(
        self, load: Load, following: Following, looks: Callable[[], None], applied: Callable[[Settings], None]
    ) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                with self._notifier.reloading():
                    looks()
                    if await reload(load, following):
                        applied(following.settings)
            except Exception:  # noqa: BLE001 - a fault of ours; the daemon works, and must go on
                _log.exception("the configuration was not reloaded as it should have been")


async def reload(load: Load, following: Following) -> bool:
    """Read, compare, take up, and say so; whether anything changed."""
    try:
        now, keys = await asyncio.to_thread(_read, load)
    except ChainwatchError as error:
        for problem in error.problems if isinstance(error, ConfigError) else ():
            hint = {"hint": problem.hint} if problem.hint else {}
            _log.error("wrong in the configuration", place=problem.key, problem=problem.problem, **hint)
        _log.error("configuration not reloaded: nothing changed", reason=error.what)
        return False
    plan = compare(
        following.settings,
        now,
        api_keys=(following.keys, keys),
        stale=following.stale,
        stale_quotes=following.stale_quotes,
    )
    if plan.empty:
        following.keys = keys
        _log.info("configuration reloaded: nothing changed")
        return False
    faults = await following.take_up(plan, keys)
    _say(plan, now, faults)
    return True


def _read(load: Load) -> tuple[Settings, dict[str, str]]:
    settings = load()
    return settings, api_keys(settings)


def _say(plan: Plan, now: Settings, faults: Mapping[str, str]) -> None:
    for change in plan.done(faults):
        about = {name: value for name, value in (("keys", change.keys), ("note", change.note)) if value}
        if change.kind == "server":
            about = {"value": getattr(now.server, change.name)}
        _log.info(f"{change.kind} {change.how}", name=change.name, **about)
    for waiting in plan.restart:
        running = {} if waiting.running is None else {"running": waiting.running}
        _log.warning("this needs a restart, and stays as it is", setting=waiting.key, **running)
    for name, reason in faults.items():
        _log.error("the new configuration cannot be taken up here, the old one holds", what=name, reason=reason)
    _log.info("configuration reloaded", **plan.summary(faults))


def _is_foreground() -> bool:
    """Whether this process has the foreground of a terminal, so that it ends with it."""
    try:
        return os.tcgetpgrp(_STDIN) == os.getpgrp()
    except OSError:
        return False


def _is_gone() -> bool:
    """Whether the terminal hung up."""
    try:
        os.tcgetpgrp(_STDIN)
    except OSError:
        return True
    return False
