"""
Where in a TOML file a setting stands: the line of each table, key and item, by its place (`chains[0].endpoints[1]`).

`tomllib` reads values and forgets where they were. This reads the same text once more and keeps nothing else; it is for
text that `tomllib` took, so it refuses nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from typing import Final

_TOKEN: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'"
    r"|#[^\n]*|\n|[\[\]{},=]"
    r"|[^\s\"'#\[\]{},=]+",
    re.DOTALL,
)
_LAST: Final = re.compile(r"(?:\[\d+\]|\.?[^.\[\]]+)$")


def lines(text: str) -> dict[str, int]:
    """The line, from 1, of each place in a TOML file."""
    reader = _Reader(text)
    reader.document()
    return reader.found


def line_of(place: str, found: Mapping[str, int]) -> int | None:
    """The line of a place; of what it is in, where it is not there itself (a key that is missing)."""
    while place and place not in found:
        place = _LAST.sub("", place)
    return found.get(place)


class _Reader:
    def __init__(self, text: str) -> None:
        self.found: dict[str, int] = {}
        self._tokens: list[tuple[str, int]] = []
        self._at = 0
        line = 1
        for match in _TOKEN.finditer(text):
            if not match[0].startswith("#"):
                self._tokens.append((match[0], line))
            line += match[0].count("\n")

    @property
    def _next(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._next
        self._at += 1
        return token

    def _peek(self) -> str:
        """What comes next, line breaks passed over."""
        while self._next == "\n":
            self._at += 1
        return self._next

    def _mark(self, place: str, at: int) -> None:
        if at < len(self._tokens):
            self.found.setdefault(place, self._tokens[at][1])

    def document(self) -> None:
        arrays: Counter[str] = Counter()
        home = ""
        while self._peek():
            if self._next == "[":
                home = self._header(arrays)
            else:
                self._entry(home)

    def _header(self, arrays: Counter[str]) -> str:
        start = self._at
        self._take()
        if is_array := self._next == "[":
            self._take()
        parts = self._key("]")
        home = ""
        for number, part in enumerate(parts, start=1):
            home = f"{home}.{part}" if home else part
            if is_array and number == len(parts):
                arrays[home] += 1
            if home in arrays:  # a table below an array is one of its newest item
                home = f"{home}[{arrays[home] - 1}]"
        while self._next == "]":
            self._take()
        self._mark(home, start)
        return home

    def _key(self, end: str) -> list[str]:
        parts: list[str] = []
        while self._next not in (end, "", "\n"):
            token = self._take()
            if token.startswith(('"', "'")):
                parts.append(tomllib.loads(f"k = {token}")["k"])
            else:
                parts += [part for part in token.split(".") if part]
        return parts

    def _entry(self, home: str) -> None:
        start = self._at
        place = home
        for part in self._key("="):
            place = f"{place}.{part}" if place else part
            self._mark(place, start)
        self._take()
        self._value(place)

    def _value(self, place: str) -> None:
        opening = self._next
        if opening not in ("[", "{"):
            while self._next not in (",", "]", "}", "\n", ""):
                self._take()
            return
        self._take()
        number = 0
        while self._peek() not in ("]", "}", ""):
            if self._next == ",":
                self._take()
            elif opening == "{":
                self._entry(place)
            else:
                self._mark(f"{place}[{number}]", self._at)
                self._value(f"{place}[{number}]")
                number += 1
        self._take()
