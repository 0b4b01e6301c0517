"""
What a service manager is told, by sd_notify(3): ready, reloading, stopping, alive, and a line on how things stand.

The protocol is lines of text in one datagram to `$NOTIFY_SOCKET`; where that is not set nobody wants to know, and
nothing is done. The watchdog is fed by the event loop, so one that hangs is found; and only once the log has written
something, so a log that does not write is found too:

    committed       fed
    no room         fed: the disk answers, the daemon waits for room and goes on by itself; a restart would end all
                    streams and find the same disk. The status says so
    other errors    not fed (read-only, moved, broken, stopped): a restart may help, and tells people if it does not
    no answer       not fed: the disk hangs
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Final

import structlog

from chainwatch.errors import LogError, LogFull
from chainwatch.text import printable

PULSE: Final = 10.0
"""Seconds between two looks at how things stand, where there is no watchdog."""
_SHARE: Final = 3
"""Looks in the time of the watchdog: systemd asks for two, one may be late."""

_log = structlog.get_logger()


def address(environ: Mapping[str, str]) -> str | None:
    """Where a manager listens, as `socket` wants it; None where none does. `@name` is an abstract socket."""
    named = environ.get("NOTIFY_SOCKET", "")
    if named.startswith("@"):
        return "\0" + named[1:]
    return named if named.startswith("/") else None


def watchdog(environ: Mapping[str, str], pid: int) -> float | None:
    """Within how many seconds the manager wants to hear from process `pid` again; None: it does not wait for that."""
    for_whom, usec = environ.get("WATCHDOG_PID", ""), environ.get("WATCHDOG_USEC", "")
    if for_whom and for_whom != str(pid):
        return None
    return int(usec) / 1e6 if usec.isascii() and usec.isdigit() and int(usec) > 0 else None


def status(text: str) -> str:
    """The line `STATUS=`: a line feed in it would begin another one."""
    return f"STATUS={printable(text, 500)}"


class Notifier:
    """The way to the manager, if there is one."""

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        self.watchdog = watchdog(environ, pid)
        self._address = address(environ)
        self._told = ""
        self._stopping = False

    @classmethod
    def here(cls) -> Notifier:
        """That of this process."""
        return cls(os.environ, os.getpid())

    @property
    def heard(self) -> bool:
        """Whether anybody wants to know."""
        return self._address is not None

    def tell(self, *lines: str) -> None:
        """One datagram. Who cannot be reached is no reason to stop."""
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.connect(self._address)
                sock.send("\n".join(lines).encode())
        except OSError as error:
            _log.warning("the service manager does not hear", told=lines[0], reason=error.strerror)

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """Reloading while inside, and ready again whatever comes of it: the daemon goes on."""
        # systemd 253 and later compare this time with that of their own request.
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            if not self._stopping:  # whoever stops is not ready again
                self.tell("READY=1")

    @contextlib.asynccontextmanager
    async def ready(self, prove: Callable[[], Awaitable[object]], stand: Callable[[], str]) -> AsyncIterator[None]:
        """
        Ready on the way in, alive and told of while inside, stopping on the way out. `prove` returns when the log has
        written something, and raises `LogError` where it cannot; `stand` is how things stand, in a line.
        """
        self._told = status(_line(stand))
        self.tell("READY=1", self._told)
        task = asyncio.create_task(self._pulse(prove, stand), name="systemd") if self.heard else None
        try:
            yield
        finally:
            self._stopping = True
            self.tell("STOPPING=1", status("stopping"))
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _pulse(self, prove: Callable[[], Awaitable[object]], stand: Callable[[], str]) -> None:
        while True:
            fed, trouble = True, ""
            if self.watchdog is not None:
                fed, trouble = await _alive(prove)
            shown = status(trouble or _line(stand))
            lines = ["WATCHDOG=1"] if fed and self.watchdog is not None else []
            if shown != self._told:
                self._told = shown
                lines.append(shown)
                if not fed:
                    _log.error("the watchdog is not fed: the log cannot be written", reason=trouble)
            if lines:
                self.tell(*lines)
            await asyncio.sleep(PULSE if self.watchdog is None else self.watchdog / _SHARE)


def _line(stand: Callable[[], str]) -> str:
    """How things stand. A fault of ours in that is said, and is no reason for a restart: the log writes."""
    try:
        return stand()
    except Exception:  # noqa: BLE001 - it must not end the looking, nor keep the daemon from its start
        _log.exception("it cannot be told how things stand")
        return "how things stand cannot be told: a fault of chainwatch"


async def _alive(prove: Callable[[], Awaitable[object]]) -> tuple[bool, str]:
    """Whether the watchdog is to be fed, and what is wrong."""
    try:
        await prove()
    except LogFull as full:
        return True, full.what
    except LogError as error:
        return False, error.what
    except Exception:  # noqa: BLE001 - a fault of ours must be said, and the next time may be better
        _log.exception("it cannot be told whether the log can be written")
        return False, "a fault of chainwatch"
    return True, ""
