"""What lies over the screen for a moment: an event in full, and the keys."""

from __future__ import annotations

import re
from typing import ClassVar, Final

import msgspec
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from chainwatch.lines import line_of
from chainwatch.tui.drawing import RAISED, TINTS, Tone, drawable, style
from chainwatch.tui.eventlist import event_of, told
from chainwatch.tui.ring import Entry

_LONGEST: Final = 20_000  # characters of one line of an event in full
_MOST: Final = 2_000  # lines
_FIELD: Final = re.compile(r'( *)"((?:[^"\\]|\\.)*)": (.*)', re.DOTALL)


class Dialog(ModalScreen[None]):
    """Some text in a frame."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark", "dismiss", show=False),
        Binding("y,c", "copy", show=False),
        Binding("up,k", "scroll(-1)", show=False),
        Binding("down,j", "scroll(1)", show=False),
        Binding("ctrl+c", "app.interrupt", show=False),
    ]

    def __init__(self, title: str, text: Text, copied: str) -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._copied = copied

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="dialog") as box:
            box.border_title = Text(self._title)
            box.border_subtitle = Text("esc closes" + (", y copies" if self._copied else ""))
            yield Static(self._text, id="text")

    def action_copy(self) -> None:
        if self._copied:
            self.app.copy_to_clipboard(self._copied)
            self.app.notify("copied")

    def action_scroll(self, by: int) -> None:
        self.query_one("#dialog").scroll_relative(y=by, animate=False)


def _add(text: Text, part: str, tone: Tone) -> None:
    text.append(part, style(tone, RAISED))


def detail(entry: Entry) -> Dialog:
    """An event: its line, then its JSON with a field a line. What it holds is written out, never obeyed."""
    text, copied = Text(overflow="fold"), entry if isinstance(entry, str) else entry.decode(errors="replace")
    event = event_of(entry)
    if event is None:
        _add(text, drawable(copied, _LONGEST), "plain")
        return Dialog("note" if isinstance(entry, str) else "no event", text, copied)
    word, tint, _ = line_of(event.type)
    _add(text, f"{drawable(word)}  ", TINTS.get(tint, "plain"))
    _add(text, "⟲ retracted  " if event.removed else "", "warn")
    _add(text, drawable(told(event), _LONGEST) + "\n\n", "plain")
    lines = msgspec.json.format(copied, indent=2).split("\n")
    for line in lines[:_MOST]:
        if found := _FIELD.fullmatch(line):
            space, name, value = found.groups()
            _add(text, f"{space}{drawable(name, _LONGEST)}: ", "accent")
            _add(text, drawable(value, _LONGEST) + "\n", "plain")
        else:
            _add(text, drawable(line, _LONGEST) + "\n", "plain")
    if len(lines) > _MOST:
        _add(text, f"and {len(lines) - _MOST:,} lines more; copied is all of it", "warn")
    return Dialog(drawable(event.type, 64), text, copied)


def about(title: str, told: str) -> Dialog:
    """A row of a pane, a line for each thing that is known."""
    text = Text(overflow="fold")
    for line in told.split("\n"):
        name, colon, value = line.partition(": ")
        _add(text, f"{name}: " if colon else "", "accent")
        _add(text, (value if colon else line) + "\n", "plain")
    return Dialog(title, text, told)


_HELP: Final = (
    ("Look", (
        ("up  down", "select; above the end, the list stands still"),
        ("home  end", "the oldest event here; the newest, and follow"),
        ("space", "pause the events, or go on"),
        ("enter", "the selected line in full"),
        ("tab  shift+tab", "the next pane, the one before"),
        ("s", "sort the pane otherwise"),
        ("y  c", "copy the selected line; of an event its JSON"),
        ("ctrl+s", "save the events that are here, as NDJSON"),
        ("q", "quit"),
    )),
    ("Filter", (
        ("/", "such as token_transfer chains=base token=USDC"),
        ("", "address=0x… min_amount=1000000"),
        ("", "where=data.amount > 1e18 && !removed"),
    )),
    ("Marks", (
        ("● ◌ ▲ ✖", "well, on the way, in doubt, broken"),
        ("⟲ retracted", "its block was orphaned: undo that event"),
        ("to socket", "from a node to the sockets of listeners"),
        ("12:00:00", "when it happened, in UTC"),
    )),
)  # fmt: skip
_KEY: Final = 16  # columns


def keys() -> Dialog:
    """What the keys do, and the marks mean."""
    text = Text(overflow="fold")
    for title, lines in _HELP:
        _add(text, f"{title}\n", "strong")
        for key, meaning in lines:
            _add(text, f"  {key:{_KEY}}", "accent")
            _add(text, f"{meaning}\n", "plain")
    text.right_crop(1)
    return Dialog("keys", text, "")
