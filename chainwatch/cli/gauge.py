"""How far the reading of history is: a bar on stderr, once it takes long."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Self

from chainwatch.event import Event
from chainwatch.text import moment

if TYPE_CHECKING:
    from rich.progress import Progress

_LONG: Final = 1.0  # seconds: what is over sooner needs no bar


class Gauge:
    """
    What came so far, of so many events or of the time until the end, whichever is nearer. How many events there will be
    nobody knows: the time of each, between the first one and the end, says how far it is.
    """

    def __init__(self, most: int | None, until: str | None, *, shown: bool) -> None:
        self.count = 0
        self._most = most
        self._begun = time.monotonic()
        now = int(time.time() * 1000)
        self._end = min(now, (moment(until, now) if until else None) or now)
        self._first: int | None = None
        self._shown = shown
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def saw(self, events: Sequence[Event]) -> None:
        """The next events."""
        self.count += len(events)
        if not events or not self._shown:
            return
        newest = moment(events[-1].observed_at, 0) or 0
        if self._first is None:
            self._first = moment(events[0].observed_at, 0) or 0
        taken = time.monotonic() - self._begun
        if self._bar is None and taken >= _LONG:
            self._bar = _bar()
            self._bar.start()
        if self._bar is not None:
            done = done_by(newest, self._first, self._end, self.count, self._most)
            told = f"{self.count:,} events, {self.count / taken:,.0f}/s"
            self._bar.update(self._bar.task_ids[0], completed=done, told=told)


def done_by(newest: int, first: int, end: int, count: int, most: int | None) -> float:
    """How much of the way is done, from 0 to 1. Times are Unix milliseconds."""
    by_time = (newest - first) / (end - first) if end > first else 1.0
    by_count = count / most if most else 0.0
    return min(1.0, max(by_time, by_count, 0.0))


def _bar() -> Progress:
    # Rich costs a tenth of a second to import, and most histories are over before that is worth it.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[told]}"), TimeRemainingColumn()
    bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
    bar.add_task("history", total=1.0, told="")
    return bar
