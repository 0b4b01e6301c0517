"""The events as they come. Only lines that are drawn are decoded: what comes between two paintings costs nothing."""

from __future__ import annotations

from typing import Final

import msgspec
from textual.strip import Strip

from chainwatch.event import Event
from chainwatch.lines import line_of
from chainwatch.text import short
from chainwatch.tui.drawing import BACKGROUND, RAISED, TINTS, Cell, drawable, fit, strip
from chainwatch.tui.listing import Listing
from chainwatch.tui.model import Model
from chainwatch.tui.ring import Entry

_DECODER: Final = msgspec.json.Decoder(Event)
_WIDEST_CHAIN: Final = 12
_ROOMY: Final = 110
"""Columns from which on a line has its transaction's hash, and its chain where there is but one."""


class EventList(Listing):
    """A view on the ring of the model."""

    def __init__(self, model: Model) -> None:
        super().__init__(id="events")
        self._model = model
        self._drawn: tuple[object, ...] = ()

    def paint(self) -> None:
        """Draw it anew where something changed."""
        view, model = self._model.view, self._model
        seen = view.ring.first, view.ring.end, view.follows, view.paused
        now = *seen, model.filter, model.link, model.stream
        if now != self._drawn:
            self._drawn = now
            self.refresh()

    @property
    def text(self) -> str | None:
        entry = self._model.view.entry
        return entry.decode(errors="replace") if isinstance(entry, bytes) else entry

    def title(self) -> list[Cell]:
        view, model = self._model.view, self._model
        cells = [Cell("▸ events " if self.has_focus else "  events ", "strong" if self.has_focus else "accent")]
        if view.paused:
            cells.append(Cell(f"‖ paused, {view.new:,} new ", "warn"))
        elif not view.follows:
            cells.append(Cell(f"↑ scrolled, {view.new:,} new, End follows ", "warn"))
        elif {model.link.state, model.stream.state} & {"lost", "refused"}:
            cells.append(Cell("✖ waiting for the daemon ", "warn"))
        else:
            cells.append(Cell("↓ following ", "dim"))
        if model.filter:
            cells.append(Cell(f"matching {drawable(model.filter, 300)} ", "warn"))
        return cells

    def place(self) -> tuple[int, int]:
        view = self._model.view
        return view.shown.end - view.shown.first, view.top(self.lines) - view.shown.first

    def line(self, y: int, width: int) -> Strip:
        view = self._model.view
        number = view.top(self.lines) + y
        if number >= view.shown.end:
            return strip([Cell(self._empty(), "dim")] if y == 0 else [], width)
        selected = self.has_focus and number == view.selected
        cells = [Cell("▌" if selected else " ", "accent"), *drawn(view.shown[number], width, self._chain_width(width))]
        return strip(cells, width, RAISED if selected else BACKGROUND)

    def _empty(self) -> str:
        return "  no event passes the filter so far" if self._model.filter else "  no event so far"

    def _chain_width(self, width: int) -> int:
        chains = self._model.vitals.chains if self._model.vitals else ()
        if len(chains) < 2 and width < _ROOMY:
            return 0
        return min(_WIDEST_CHAIN, max((len(chain.name) for chain in chains), default=8))

    # --- moving -----------------------------------------------------------------------------------------------------

    def move(self, by: int) -> None:
        self._model.view.move(by, self.lines)

    def scroll(self, by: int) -> None:
        self._model.view.scroll(by, self.lines)

    def pick(self, y: int) -> None:
        view = self._model.view
        view.select(view.top(self.lines) + y, self.lines)

    def action_first(self) -> None:
        self._model.view.to_first(self.lines)
        self.refresh()

    def action_last(self) -> None:
        self._model.view.to_last(self.lines)
        self.refresh()


def event_of(entry: Entry) -> Event | None:
    """What an entry holds; None for a note, and for what is no event."""
    try:
        return _DECODER.decode(entry) if isinstance(entry, bytes) else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def told(event: Event) -> str:
    """The line about its data."""
    data = event.data if isinstance(event.data, dict) else {"data": event.data}
    return line_of(event.type).tell(data)


def drawn(entry: Entry, width: int, chain_width: int) -> list[Cell]:
    """An entry as a line."""
    if isinstance(entry, str):
        return [Cell(f"▲ {drawable(entry)}", "warn")]
    if (event := event_of(entry)) is None:
        return [Cell(f"✖ no event: {drawable(entry[:400].decode(errors='replace'))}", "bad")]
    word, tint, _ = line_of(event.type)
    said = told(event)
    if width < _ROOMY and isinstance(event.data, dict):
        # The hash is the first thing that a narrow screen can do without: the detail view has it.
        said = said.replace(f"  {short(str(event.data.get('tx_hash'))):11}  ", "  ", 1)
    cells = [Cell(f"{drawable(event.timestamp, 32)[11:19]:8} ", "dim")]
    if chain_width:
        cells.append(Cell(fit(drawable(event.chain or "-", 32), chain_width) + " "))
    cells.append(Cell(fit(drawable(word), 10) + " ", TINTS.get(tint, "plain")))
    if event.removed:
        return [*cells, Cell("⟲ retracted ", "warn"), Cell(drawable(said, 2000), "gone")]
    return [*cells, Cell(drawable(said, 2000))]
