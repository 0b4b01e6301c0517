"""
A pane: a title, and lines of which one is selected. It draws the lines that can be seen and no others, each as a strip:
a list of ten thousand costs what a list of ten costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from chainwatch.tui.drawing import BACKGROUND, RAISED, Cell, fit, strip
from chainwatch.tui.model import Model
from chainwatch.tui.tables import Column, Draw, Row, Table

_WHEEL = 3
"""Lines."""


class Listing(Widget, can_focus=True):
    """What lists have in common. The first line is the title, the last column the place in the whole."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home,g", "first", show=False),
        Binding("end,G", "last", show=False),
        # Textual's own would pass over what is not on the screen.
        Binding("tab", "app.pane(1)", show=False),
        Binding("shift+tab", "app.pane(-1)", show=False),
    ]

    class Chosen(Message):
        """A line was clicked twice."""

    @property
    def lines(self) -> int:
        """How many there is room for."""
        return max(1, self.size.height - 1)

    @property
    def text(self) -> str | None:
        """The selected line, to be copied."""
        raise NotImplementedError

    def title(self) -> list[Cell]:
        raise NotImplementedError

    def line(self, y: int, width: int) -> Strip:
        """The `y`th line that can be seen, below the title."""
        raise NotImplementedError

    def place(self) -> tuple[int, int]:
        """How many lines there are, and how many of them stand above the first that can be seen."""
        raise NotImplementedError

    def move(self, by: int) -> None:
        raise NotImplementedError

    def scroll(self, by: int) -> None:
        raise NotImplementedError

    def pick(self, y: int) -> None:
        """The `y`th line that can be seen was clicked at."""
        raise NotImplementedError

    def action_first(self) -> None:
        raise NotImplementedError

    def action_last(self) -> None:
        raise NotImplementedError

    # --- keys and the mouse -----------------------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        self.move(by)
        self.refresh()

    def action_page(self, pages: int) -> None:
        self.move(pages * max(1, self.lines - 1))
        self.refresh()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll(_WHEEL)
        self.refresh()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll(-_WHEEL)
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        if event.y >= 1:
            self.pick(event.y - 1)
            self.refresh()
            if event.chain == 2:
                self.post_message(self.Chosen())

    # --- drawing ----------------------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y == 0:
            return self._title(width)
        body = self.line(y - 1, width - 1)
        return Strip([*body, *strip([self._bar(y - 1)], 1)], width)

    def _title(self, width: int) -> Strip:
        cells = self.title()
        used = sum(cell_len(cell.text) for cell in cells)
        return strip([*cells, Cell("─" * max(0, width - used), "dim")], width)

    def _bar(self, y: int) -> Cell:
        count, above = self.place()
        height = self.lines
        if count <= height:
            return Cell(" ")
        size = max(1, height * height // count)
        begin = (height - size) * above // max(1, count - height)
        return Cell("┃", "plain") if begin <= y < begin + size else Cell("│", "dim")


class Pane(Listing):
    """A table of the model, in one of several orders."""

    def __init__(self, name: str, title: str, draw: Draw, orders: Sequence[str] = ()) -> None:
        super().__init__(id=name)
        self.caption = title
        self.table = Table("", (), (), "")
        self.orders = orders
        self._draw = draw
        self._order = 0
        self._selected = 0
        self._top = 0
        self.tabs: Sequence[str] = ()
        """The titles of all panes, where only one of them is on the screen at a time."""

    @property
    def order(self) -> str:
        return self.orders[self._order] if self.orders else ""

    @property
    def row(self) -> Row | None:
        """The selected one."""
        return self.table.rows[min(self._selected, len(self.table.rows) - 1)] if self.table.rows else None

    @property
    def text(self) -> str | None:
        return self.row.text if self.row else None

    def sort(self) -> str | None:
        """The next order; None where there is only one."""
        self._order = (self._order + 1) % max(1, len(self.orders))
        return self.order or None

    def draw(self, model: Model, now: float) -> None:
        """How things stand now."""
        self.table = self._draw(model, self.order, now)
        self._keep()
        self.refresh()

    def title(self) -> list[Cell]:
        mark = "▸ " if self.has_focus else "  "
        about = f" {self.table.about}" if self.table.about else ""
        sorted_by = f"  by {self.order} " if self._order else " "
        own = [
            Cell(f"{mark}{self.caption}", "strong" if self.has_focus else "accent"),
            Cell(f"{about}{sorted_by}", "dim"),
        ]
        cells: list[Cell] = []
        for one in self.tabs or [self.caption]:
            cells += own if one == self.caption else [Cell(f"  {one} ", "dim")]
        return cells

    def place(self) -> tuple[int, int]:
        return len(self.table.rows) + self._heads, self._top

    def line(self, y: int, width: int) -> Strip:
        if not self.table.rows:
            return strip([Cell(f"  {self.table.empty}", "dim")] if y == 0 else [], width)
        widths = laid_out(self.table.columns, width - 1)
        if y < self._heads:
            heads = [Cell(fit(column.title, wide, column.align) + " ", "dim") for column, wide in widths.values()]
            return strip([Cell(" "), *heads], width)
        number = self._top + y - self._heads
        if number >= len(self.table.rows):
            return strip([], width)
        row, selected = self.table.rows[number], self.has_focus and number == self._selected
        cells = [Cell("▌" if selected else " ", "accent")]
        for index, (column, wide) in widths.items():
            text, tone = row.cells[index] if index < len(row.cells) else Cell("")
            fitting = text if cell_len(text) <= wide else column.shorter(text)
            cells.append(Cell(fit(fitting, wide, column.align) + " ", tone))
        return strip(cells, width, RAISED if selected else BACKGROUND)

    @property
    def _heads(self) -> int:
        return 1 if any(column.title for column in self.table.columns) else 0

    @property
    def _room(self) -> int:
        return max(1, self.lines - self._heads)

    def _keep(self) -> None:
        """The selection on the table, and the table's lines on the screen."""
        count = len(self.table.rows)
        self._selected = max(0, min(self._selected, count - 1))
        self._top = max(0, min(self._top, count - self._room, self._selected))
        self._top = max(self._top, self._selected - self._room + 1)

    def move(self, by: int) -> None:
        self._selected += by
        self._keep()

    def scroll(self, by: int) -> None:
        self._top = max(0, min(self._top + by, len(self.table.rows) - self._room))
        self._selected = max(self._top, min(self._selected, self._top + self._room - 1))
        self._keep()

    def pick(self, y: int) -> None:
        if y >= self._heads:
            self._selected = self._top + y - self._heads
            self._keep()

    def action_first(self) -> None:
        self.move(-len(self.table.rows))
        self.refresh()

    def action_last(self) -> None:
        self.move(len(self.table.rows))
        self.refresh()


def laid_out(columns: Sequence[Column], width: int) -> dict[int, tuple[Column, int]]:
    """The columns that there is room for, by their index, and how wide each is: a blank stands behind each."""
    kept = dict(enumerate(columns))
    while sum(column.width + 1 for column in kept.values()) > width and any(column.rank for column in kept.values()):
        del kept[max(kept, key=lambda index: (kept[index].rank, index))]
    left = width - sum(column.width + 1 for column in kept.values())
    widths: dict[int, tuple[Column, int]] = {}
    for index, column in kept.items():
        more = min(max(left, 0), max(0, column.most - column.width))
        widths[index] = (column, column.width + more)
        left -= more
    return widths
