"""
The two lines at the top. They move as long as the program lives, whether or not anything comes, and whatever is paused:
who looks at the screen can tell a quiet daemon from a dead one, and both from a terminal that hangs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len
from textual.strip import Strip
from textual.widget import Widget

from chainwatch.states import GLYPHS, kind
from chainwatch.text import age
from chainwatch.tui.drawing import RAISED, Cell, Tone, drawable, fit, sparkline, state, strip
from chainwatch.tui.model import Link, Model
from chainwatch.tui.tables import milliseconds, rate

_PULSE: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_SPARK: Final = 24
_STALE: Final = 3.0
"""Seconds after which a snapshot says when it is from."""
_WIDE: Final = 100
"""Columns from which on words stand apart, and are whole."""


class Part(NamedTuple):
    """Some words of a line; where it is too short for all of them, those of the highest rank are left out first."""

    cells: tuple[Cell, ...]
    rank: int = 0
    right: bool = False

    @property
    def width(self) -> int:
        return sum(cell_len(cell.text) for cell in self.cells)


def fitting(parts: Sequence[Part], width: int) -> Strip:
    """A line of what there is room for. A part of rank 0 stays, and is cut at worst."""
    kept = list(parts)
    while sum(part.width for part in kept) > width and any(part.rank for part in kept):
        kept.remove(max(kept, key=lambda part: part.rank))
    left, right = ([part for part in kept if part.right is side] for side in (False, True))
    room = max(0, width - sum(part.width for part in right))
    cells = ([cell for part in side for cell in part.cells] for side in (left, right))
    return Strip([*strip(next(cells), room, RAISED), *strip(next(cells), width - room, RAISED)], width)


class Header(Widget):
    """How everything stands, at a glance."""

    def __init__(self, model: Model, clock: Callable[[], float]) -> None:
        super().__init__(id="header")
        self._model = model
        self._clock = clock

    def render_line(self, y: int) -> Strip:
        now, width = self._clock(), self.size.width
        return fitting(tuple(self._first(now) if y == 0 else self._second(now, width)), width)

    def _first(self, now: float) -> Iterator[Part]:
        model, link = self._model, _worse(self._model)
        yield Part((Cell(f" {_PULSE[int(now * 10) % len(_PULSE)]} ", "accent"),))
        yield Part((Cell("chainwatch  ", "strong"),), 6)
        yield Part((_LINKS.get(link.state, Cell(f"✖ {link.state}", "bad")),))
        if link.state in _BROKEN and link.retry_at:
            yield Part((Cell(f"  again in {max(0.0, link.retry_at - now):.0f}s", "warn"),), 3)
        if link.state == "live":
            yield from _troubled(model)
        if model.view.paused:
            yield Part((Cell(f"  ‖ paused, {model.view.new:,} new", "warn"),), 1)
        yield Part((Cell(f"  {drawable(model.url, 60)}", "dim"),), 8)
        behind, known = model.behind, model.link.state == "live"  # else these are numbers of before
        spark = f"  {sparkline(model.past.of('events'), _SPARK)} "
        yield Part((Cell(spark, "accent" if known else "dim"),), 9, right=True)
        yield Part((Cell(f" {rate(model.rates.of('events'))} ", "strong" if known else "dim"),), 2, right=True)
        if behind is not None:
            late: Tone = "dim" if not known else "warn" if behind > 60 else "plain"
            yield Part((Cell(f" {age(behind)} behind ", late),), 4, right=True)

    def _second(self, now: float, width: int) -> Iterator[Part]:
        model, vitals, link = self._model, self._model.vitals, _worse(self._model)
        cursor = Cell(" cursor ", "dim"), Cell(fit(drawable(model.cursor or "-", 64), 22))
        if link.state in _BROKEN:
            old = "" if vitals is None or now - vitals.time <= _STALE else f"  as of {age(now - vitals.time)} ago "
            yield Part(cursor, 1)
            reason, room = _why(link, model.url), width - len(old) - 1
            yield Part((Cell(" "), Cell(fit(reason, min(room, cell_len(reason))), "warn")))
            yield Part((Cell(old, "warn"),), 2, right=True)
            return
        yield Part(cursor)
        if vitals is None:
            return
        p50, p99 = (milliseconds(vitals.latency("arrival_to_socket", share)) for share in ("p50", "p99"))
        way = "  arrival to socket p50 " if width >= _WIDE else "  to socket p50 "
        yield Part((Cell(way, "dim"), Cell(p50)), 1)
        yield Part((Cell("  p99 ", "dim"), Cell(p99)), 2)
        yield Part((Cell(f"  up {age(vitals.uptime_seconds)} ", "dim"),), 3, right=True)
        yield Part((Cell(f" v{drawable(vitals.version, 20)} ", "dim"),), 4, right=True)


_BROKEN: Final = ("lost", "refused")
_LINKS: Final = {"live": Cell("● live", "good"), "connecting": Cell("◌ connecting", "accent")}


def _worse(model: Model) -> Link:
    """The connection, or the stream of events where that stands otherwise."""
    return model.link if model.link.state != "live" else model.stream


def _troubled(model: Model) -> Iterator[Part]:
    """The chain that stands worst, and how many more are not well."""
    kinds = list(GLYPHS)
    chains = [one for one in (model.vitals.chains if model.vitals else ()) if kind(one.state) != "good"]
    if chains:
        worst = max(chains, key=lambda one: kinds.index(kind(one.state)))
        yield Part((Cell("  "), state(worst.state, worst.name)), 5)
        if len(chains) > 1:
            yield Part((Cell(f" and {len(chains) - 1:,} more", "warn"),), 7)


def _why(link: Link, url: str) -> str:
    """The reason without the address, which stands above it."""
    reason = drawable(link.reason, 300).replace(drawable(url, 300), "the daemon")
    return reason.removeprefix("cannot reach the daemon: ").removeprefix("lost the daemon: ")


class Keys(Widget):
    """The keys, in the last line: those that do something now."""

    _KEYS: Final = (
        ("space", "pause"), ("/", "filter"), ("enter", "detail"), ("tab", "panes"), ("s", "sort"), ("y", "copy"),
        ("^s", "save"), ("?", "help"), ("q", "quit"),
    )  # fmt: skip
    _TYPING: Final = (
        ("tab", "complete"), ("up down", "choose"), ("enter", "take it"), ("^u", "clear"), ("esc", "leave it"),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__(id="keys")
        self.typing = False
        """A filter is being typed."""

    def render_line(self, _y: int) -> Strip:
        cells: list[Cell] = []
        gap = " " if self.size.width >= _WIDE else ""
        for key, meaning in self._TYPING if self.typing else self._KEYS:
            cells += [Cell(f" {key}", "strong"), Cell(f" {meaning}{gap}", "dim")]
        return strip(cells, self.size.width, RAISED)
