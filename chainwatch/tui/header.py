"""
The two lines at the top. They move as long as the program lives, whether or not anything comes, and whatever is paused:
who looks at the screen can tell a quiet daemon from a dead one, and both from a terminal that hangs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rich.cells import cell_len
from textual.strip import Strip
from textual.widget import Widget

from chainwatch.text import age
from chainwatch.tui.drawing import RAISED, Cell, Tone, drawable, fit, sparkline, strip
from chainwatch.tui.model import Link, Model
from chainwatch.tui.tables import milliseconds, rate

_PULSE: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_SPARK: Final = 24
_STALE: Final = 3.0
"""Seconds after which a snapshot says when it is from."""


class Header(Widget):
    """How everything stands, at a glance."""

    def __init__(self, model: Model, clock: Callable[[], float]) -> None:
        super().__init__(id="header")
        self._model = model
        self._clock = clock

    def render_line(self, y: int) -> Strip:
        now = self._clock()
        left, right = (self._first if y == 0 else self._second)(now, self.size.width)
        width = self.size.width
        room = width - sum(cell_len(cell.text) for cell in right)
        if room < min(30, sum(cell_len(cell.text) for cell in left)):
            return strip(left, width, RAISED)
        return Strip([*strip(left, room, RAISED), *strip(right, width - room, RAISED)], width)

    def _first(self, now: float, width: int) -> tuple[list[Cell], list[Cell]]:
        model = self._model
        pulse = _PULSE[int(now * 10) % len(_PULSE)]
        left = [Cell(f" {pulse} ", "accent"), Cell("chainwatch  ", "strong"), *_standing(model, now)]
        if model.view.paused:
            left.append(Cell(f"  ‖ paused, {model.view.new:,} new", "warn"))
        left.append(Cell(f"  {drawable(model.url, 60)}", "dim"))
        behind, known = model.behind, model.link.state == "live"  # else these are numbers of before
        right = [Cell(f"{sparkline(model.past.of('events'), _SPARK)} ", "accent" if known else "dim")]
        right = right if width >= 110 else []
        right.append(Cell(f" {rate(model.rates.of('events'))} ", "strong" if known else "dim"))
        if behind is not None:
            late: Tone = "dim" if not known else "warn" if behind > 60 else "plain"
            right.append(Cell(f" {age(behind)} behind ", late))
        return left, right

    def _second(self, now: float, width: int) -> tuple[list[Cell], list[Cell]]:
        model, vitals = self._model, self._model.vitals
        left = [Cell(" cursor ", "dim"), Cell(fit(drawable(model.cursor or "-", 64), 22))]
        if vitals is None:
            return left, []
        p50, p99 = (milliseconds(vitals.latency("arrival_to_socket", share)) for share in ("p50", "p99"))
        left += [Cell("  arrival to socket p50 " if width >= 100 else "  to socket p50 ", "dim"), Cell(p50)]
        left += [Cell("  p99 ", "dim"), Cell(p99)]
        stale = now - vitals.time
        if model.link.state != "live" and stale > _STALE:
            return left, [Cell(f"as of {age(stale)} ago ", "warn")]
        return left, [Cell(f"up {age(vitals.uptime_seconds)}  v{drawable(vitals.version, 20)} ", "dim")]


def _standing(model: Model, now: float) -> list[Cell]:
    """The connection, the stream of events where that stands otherwise, and the worst chain."""
    link = model.link if model.link.state != "live" else model.stream
    if link.state == "live":
        worst = [chain for chain in (model.vitals.chains if model.vitals else ()) if chain.state != "connected"]
        cells = [Cell("● live", "good")]
        return cells + [Cell(f"  ▲ {drawable(one.name, 16)} {drawable(one.state, 16)}", "warn") for one in worst[:1]]
    if link.state == "connecting":
        return [Cell("◌ connecting", "accent")]
    return [Cell(f"✖ {link.state}", "bad"), Cell(f"  {_why(link, model.url, now)}", "warn")]


def _why(link: Link, url: str, now: float) -> str:
    again = f"again in {max(0.0, link.retry_at - now):.0f}s" if link.retry_at else ""
    reason = link.reason.rpartition(f"{url}: ")[2]  # the address stands beside it
    return "; ".join(part for part in (again, drawable(reason, 120)) if part)


class Keys(Widget):
    """The keys, in the last line."""

    _KEYS: Final = (
        ("space", "pause"), ("/", "filter"), ("enter", "detail"), ("tab", "panes"), ("s", "sort"), ("y", "copy"),
        ("^s", "save"), ("?", "help"), ("q", "quit"),
    )  # fmt: skip

    def render_line(self, _y: int) -> Strip:
        cells: list[Cell] = []
        gap = " " if self.size.width >= 100 else ""
        for key, meaning in self._KEYS:
            cells += [Cell(f" {key}", "strong"), Cell(f" {meaning}{gap}", "dim")]
        return strip(cells, self.size.width, RAISED)
