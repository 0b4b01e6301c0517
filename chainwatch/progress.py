"""How far the reading of history is: a bar on a terminal, a line in the log now and then otherwise."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

BEHIND = 64
"""Blocks from which on it is history and not just the next few heads."""
LOOK_EVERY = 0.5
SAY_EVERY = 10.0
"""Seconds."""

Vitals = Callable[[], Iterable[Mapping[str, Any]]]
"""`name`, `head` (newest told block) and `node_head` of each chain that there is now."""


async def show_progress(chains: Vitals) -> None:
    """Watch the chains for ever."""
    show = _bars if sys.stderr.isatty() else _lines
    await show(chains)


def _distance(vitals: Mapping[str, Any]) -> tuple[int, int] | None:
    """Told and known height of a chain that reads history; None of one that does not."""
    told, known = vitals["head"], vitals["node_head"]
    return None if told is None or known is None or known - told < BEHIND else (told, known)


async def _lines(chains: Vitals) -> None:
    logger = structlog.get_logger()
    said: dict[str, tuple[float, int]] = {}
    while True:
        await asyncio.sleep(LOOK_EVERY)
        for vitals in chains():
            name, now = vitals["name"], time.monotonic()
            if (distance := _distance(vitals)) is None:
                if name in said:
                    del said[name]
                    logger.info("history read", chain=name, block=vitals["head"])
                continue
            told, known = distance
            at, before = said.get(name, (0.0, told))
            if now - at >= SAY_EVERY:
                rate = (told - before) / (now - at) if at else 0.0
                left = round((known - told) / rate) if rate > 0 else None
                said[name] = (now, told)
                logger.info(
                    "reading history", chain=name, block=told, of=known, per_second=round(rate), seconds_left=left
                )


async def _bars(chains: Vitals) -> None:
    bars: Progress | None = None
    rows: dict[str, tuple[TaskID, int]] = {}
    try:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            reading = {vitals["name"]: distance for vitals in chains() if (distance := _distance(vitals))}
            if bars is None and reading:
                bars = _new_bars()
                bars.start()
            if bars is None:
                continue
            for name, (told, known) in reading.items():
                if name not in rows:
                    rows[name] = (bars.add_task(name, total=None), told)
                row, first = rows[name]
                bars.update(row, completed=told - first, total=known - first)
            for name in rows.keys() - reading.keys():
                bars.remove_task(rows.pop(name)[0])
            if not rows:
                bars.stop()
                bars = None
    finally:
        if bars is not None:
            bars.stop()


def _new_bars() -> Progress:
    # Rich costs a tenth of a second to import, and most starts have no history to read.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
