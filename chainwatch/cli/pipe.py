"""The end of a command that prints as it reads: nobody reads its pipe any more, or somebody ends it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import signal
import stat
from collections.abc import Coroutine
from typing import Any

from chainwatch.cli.printer import Printer


async def until_closed(printer: Printer, reading: Coroutine[Any, Any, None]) -> None:
    """
    Read until nobody reads the pipe behind stdout any more. In `tail | head -1` that is noticed at once, not by the
    next event, which may be hours away. `BrokenPipeError` then.

    SIGTERM waits for the line under way and its cursor, so that a service that is stopped and started goes on exactly
    behind what it printed; then it ends the process as it always does. A reader that takes nothing is not waited for.
    """
    loop, task, fd = asyncio.get_running_loop(), asyncio.ensure_future(reading), printer.fd
    closed = terminated = False

    def close() -> None:
        nonlocal closed
        closed = True
        loop.remove_reader(fd)
        task.cancel()

    def terminate(_: int, __: object) -> None:
        nonlocal terminated
        terminated = True
        loop.call_soon_threadsafe(task.cancel)
        look()

    def look(*_: object) -> None:
        """
        End a write that waits for its reader. One that has just ended looks the same from here: its reader may have
        asked for the end because of the very line, whose cursor is still to be kept.
        """
        if not printer.writing:
            return
        if select.select([], [fd], [], 0)[1]:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
        else:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

    # Not the loop's own handlers: they would never run while a write to a full pipe waits.
    before = {number: signal.signal(number, do) for number, do in ((signal.SIGTERM, terminate), (signal.SIGALRM, look))}
    if stat.S_ISFIFO(os.fstat(fd).st_mode) and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
        loop.add_reader(fd, close)  # a pipe's writing end is never readable, but its error wakes a reader
    try:
        await task
    except asyncio.CancelledError:
        if closed:
            raise BrokenPipeError from None
        if not terminated:
            raise
    finally:
        loop.remove_reader(fd)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, did in before.items():
            signal.signal(number, did)
    if terminated:
        os.kill(os.getpid(), signal.SIGTERM)
