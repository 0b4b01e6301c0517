"""What is wrong with an expression, and where."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

from chainwatch.errors import UsageError
from chainwatch.text import printable

_WIDTH: Final = 72  # of the piece of the expression that an error shows


class Wrong(Exception):
    """What is wrong at a place of the text, from 0; `nearest` is what may have been meant, `hint` what to do."""

    def __init__(self, problem: str, at: int, *, nearest: str = "", hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.at = at
        self.nearest = nearest
        self.hint = hint


def explained(wrong: Wrong, text: str) -> UsageError:
    """The error for a person: the column, counted from 1, and the piece of the text with a caret below."""
    hint = wrong.hint or (f"did you mean {wrong.nearest!r}?" if wrong.nearest else "")
    pointed = pointer(text, wrong.at)
    return UsageError(
        f"where, column {wrong.at + 1}: {wrong.problem}",
        parameter="where",
        value=text,
        nearest=wrong.nearest,
        hint=f"{hint}\n{pointed}" if hint else pointed,
    )


def pointer(text: str, at: int) -> str:
    """Two lines: the text, or the piece of it around `at`, and a caret below that character."""
    start = 0 if len(text) <= _WIDTH else max(0, min(at - _WIDTH // 2, len(text) - _WIDTH))
    piece = text[start : start + _WIDTH]
    # What is written out in place of a character is longer than it; so the part before the caret is measured.
    before = printable(piece[: at - start], 10 * _WIDTH)
    more, rest = "…" if start else "", "…" if start + _WIDTH < len(text) else ""
    shown = before + printable(piece[at - start :], 10 * _WIDTH)
    return f"  {more}{shown}{rest}\n  {' ' * (len(more) + len(before))}^"


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word closest to this one; empty where none is close."""
    folded = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.5)
    return folded[close[0]] if close else ""
