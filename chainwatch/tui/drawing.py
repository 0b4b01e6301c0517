"""
Text into cells of a terminal. Whatever a stranger wrote, a line is exactly as wide as it has to be, and nothing in it
is read as markup: a line is made of segments, and parsed by nobody.

Tones go with a glyph or a word wherever they mean something: who sees no colours, or has switched them off, loses
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, Literal, NamedTuple
from unicodedata import category

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from chainwatch.states import GLYPHS, Kind, kind
from chainwatch.text import printable

Tone = Literal["plain", "dim", "good", "warn", "bad", "accent", "violet", "cyan", "strong", "gone"]

# After Okabe and Ito: told apart by people who do not tell red from green.
_COLORS: Final[dict[Tone, str]] = {
    "plain": "#d8dee6", "dim": "#8794a1", "good": "#4fc9a4", "warn": "#eab54a", "bad": "#ff8552",
    "accent": "#69b4f0", "violet": "#d79ad2", "cyan": "#6fd3e3", "strong": "#ffffff", "gone": "#8794a1",
}  # fmt: skip
BACKGROUND: Final = "#10151b"
RAISED: Final = "#1a222b"
SELECTED: Final = "#2b4057"
_BOLD: Final = frozenset({"strong", "bad"})

TINTS: Final[dict[str, Tone]] = {
    "31": "bad", "32": "good", "33": "warn", "34": "accent", "35": "violet", "36": "cyan",
}  # fmt: skip
"""The tone for a colour of a terminal, as `chainwatch.lines` names them."""

# What terminals disagree about: the width of flags, skin tones, keycaps, variation selectors, conjoining Jamo, marks
# with a width of their own (category Mc), fillers, and what Unicode 16 made wide; and marks without end on one letter,
# which run over the lines above and below.
_CONTESTED: Final = re.compile(
    "[\u1160-\u11ff\u20e3\u2630-\u2637\u268a-\u268f\u3164\u3248-\u324f\u4dc0-\u4dff\ufe00-\ufe0f\uffa0"
    "\U0001d300-\U0001d37f\U0001f1e6-\U0001f1ff\U0001f3fb-\U0001f3ff\U000e0100-\U000e01ef]"
)
_MARK: Final = (
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05c7\u0610-\u061a\u064b-\u065f"
    "\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20f0\ufe20-\ufe2f]"
)
_MARKS: Final = re.compile(f"({_MARK}{{2}}){_MARK}+")


class Cell(NamedTuple):
    """A piece of text and how it is meant."""

    text: str
    tone: Tone = "plain"


@lru_cache(maxsize=256)
def style(tone: Tone, background: str = BACKGROUND) -> Style:
    return Style(
        color=_COLORS[tone], bgcolor=background, bold=tone in _BOLD or None, strike=True if tone == "gone" else None
    )


def drawable(text: str, length: int = 1000) -> str:
    """`text` on one line, in characters whose width every terminal knows."""
    shown = printable(text, length)
    if shown.isascii():
        return shown
    known = "".join(char if char.isprintable() and category(char) != "Mc" else "·" for char in shown)
    return _MARKS.sub(r"\1", _CONTESTED.sub("·", known))


def fit(text: str, width: int, align: str = "<") -> str:
    """`text` in exactly `width` columns; what does not fit ends with `…`. `align`: `<` or `>`."""
    wide = len(text) if text.isascii() else cell_len(text)
    if wide == width:
        return text
    if wide < width:
        return text + " " * (width - wide) if align == "<" else " " * (width - wide) + text
    return set_cell_size(text, width - 1) + "…" if width > 0 else ""


def strip(cells: Iterable[Cell], width: int, background: str = BACKGROUND) -> Strip:
    """Cells beside one another, cut or filled up to `width` columns. Their text is drawable already."""
    segments: list[Segment] = []
    left = width
    for text, tone in cells:
        wide = len(text) if text.isascii() else cell_len(text)
        if wide > left:
            segments.append(Segment(fit(text, left), style(tone, background)))
            left = 0
            break
        if wide:
            segments.append(Segment(text, style(tone, background)))
            left -= wide
    if left:
        segments.append(Segment(" " * left, style("plain", background)))
    return Strip(segments, width)


# --- small pictures -----------------------------------------------------------------------------------------------

_BARS: Final = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int, *, bottom: float | None = 0.0) -> str:
    """
    The newest values as bars, from `bottom` (None: the lowest of them) to the highest; what is missing at the left is
    blank. Values are finite.
    """
    newest = values[-width:]
    low = min(newest, default=0.0) if bottom is None else bottom
    high = max(newest, default=0.0) - low
    bars = [_BARS[max(0, min(7, int(8 * ((value - low) / high))))] if high > 0 else _BARS[0] for value in newest]
    return "".join(bars).rjust(width)


_TONES: Final[dict[Kind, Tone]] = {"good": "good", "coming": "accent", "doubtful": "warn", "bad": "bad"}


def state(word: str, name: str = "") -> Cell:
    """A state as a glyph and a word; `name`: whose it is, between the two."""
    meant = kind(word)
    return Cell(" ".join(filter(None, (GLYPHS[meant], drawable(name, 16), drawable(word, 16)))), _TONES[meant])
