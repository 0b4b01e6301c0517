"""The line that a filter is typed into: words that could stand there above it, what is wrong with it below."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input, Static

from chainwatch.errors import ChainwatchError
from chainwatch.tui.drawing import RAISED, Cell, drawable, style
from chainwatch.tui.words import Known, completed, offers

_HELP = "types, chains= token= address= min_amount= where=…; nothing: all events"


class FilterInput(Input):
    """An input whose tab completes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", show=False),
        Binding("down", "choose(1)", show=False),
        Binding("up", "choose(-1)", show=False),
        Binding("escape", "leave", show=False),
    ]

    def action_complete(self) -> None:
        self.query_ancestor(Prompt).complete()

    def action_choose(self, by: int) -> None:
        self.query_ancestor(Prompt).choose(by)

    def action_leave(self) -> None:
        self.query_ancestor(Prompt).close()


class Prompt(Vertical):
    """Shown while a filter is typed."""

    class Asked(Message):
        """Enter was pressed."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Closed(Message):
        """Nothing is typed any more."""

    def __init__(self, known: Callable[[], Known]) -> None:
        super().__init__(id="prompt")
        self._known = known
        self._begun = ""
        self._offers: list[str] = []
        self._chosen = 0

    def compose(self) -> ComposeResult:
        yield Static(id="offers")
        # What is typed is no markup, and no colour is made of it.
        yield FilterInput(placeholder="filter", select_on_focus=False, compact=True, highlighter=None)
        yield Static(id="said")

    @property
    def is_open(self) -> bool:
        return self.has_class("open")

    def open(self, text: str) -> None:
        """With the filter that holds now."""
        box = self.query_one(FilterInput)
        box.value = text + " " if text and not text.endswith(" ") else text
        box.cursor_position = len(box.value)
        self.add_class("open")
        box.focus()
        self._offer()
        self.say(_HELP, wrong=False)

    def close(self) -> None:
        self.remove_class("open")
        self.post_message(self.Closed())

    def say(self, text: str, *, wrong: bool = True) -> None:
        mark = "✖ " if wrong else ""
        self.query_one("#said", Static).update(
            Text(mark + text, style("bad" if wrong else "dim", RAISED), no_wrap=not wrong)
        )

    def refuse(self, error: ChainwatchError) -> None:
        """What is wrong with it; it can be corrected at once."""
        self.say("\n  ".join(drawable(line, 500) for line in str(error).split("\n")))

    def complete(self) -> None:
        """The chosen word."""
        if self._offers:
            box = self.query_one(FilterInput)
            box.value = completed(box.value, self._begun, self._offers[self._chosen])
            box.cursor_position = len(box.value)

    def choose(self, by: int) -> None:
        if self._offers:
            self._chosen = (self._chosen + by) % len(self._offers)
            self._draw()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if self.is_open:
            self._offer()
            self.say(_HELP, wrong=False)

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Asked(event.value.strip()))

    def _offer(self) -> None:
        self._begun, self._offers = offers(self.query_one(FilterInput).value, self._known())
        self._chosen = 0
        self._draw()

    def _draw(self) -> None:
        """The words around the chosen one, as many as there is room for."""
        room, cells = max(20, self.size.width - 4), [Cell("  ")]
        first = self._chosen
        while first > 0 and sum(len(word) + 2 for word in self._offers[first - 1 : self._chosen + 1]) < room // 2:
            first -= 1
        for number, word in enumerate(self._offers[first:], start=first):
            chosen = number == self._chosen
            cells.append(Cell(f"{'▸' if chosen else ' '}{drawable(word, 60)} ", "strong" if chosen else "dim"))
        text = Text(no_wrap=True, overflow="ellipsis")
        for cell in cells:
            text.append(cell.text, style(cell.tone, RAISED))
        self.query_one("#offers", Static).update(text)
