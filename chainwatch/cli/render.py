"""
An event as a line: for people, as the JSON that came, or by a template. Every value was chosen by a stranger.

People's lines have fixed columns first (time in UTC, chain, what happened, who, which hash) and what varies last.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from chainwatch.errors import UsageError
from chainwatch.event import Event
from chainwatch.lines import line_of, plain
from chainwatch.payloads import PAYLOADS, meant_by
from chainwatch.text import printable

Render = Callable[[Event, bytes, str], bytes]
"""An event, its JSON as it came and its cursor -> one line, its line break included."""

_WIDEST_CHAIN: Final = 16
_LONGEST_VALUE: Final = 4096  # characters of one value in a template
_YELLOW, _DIM, _STRUCK = "33", "2", "9"


def ndjson(_event: Event, line: bytes, _cursor: str) -> bytes:
    """The JSON, byte for byte."""
    return line + b"\n"


# --- for people ---------------------------------------------------------------------------------------------------


class Human:
    """One line an event. The chain's column is as wide as the longest name so far."""

    def __init__(self, *, color: bool) -> None:
        self._color = color
        self._width = len("ethereum")

    def __call__(self, event: Event, _line: bytes, _cursor: str) -> bytes:
        chain = printable(event.chain or "-", _WIDEST_CHAIN)
        self._width = max(self._width, len(chain))
        word, tint, tell = line_of(event.type)
        data = event.data if isinstance(event.data, dict) else {"data": event.data}
        said = tell(data)
        if event.removed:
            said = f"{self._paint('⟲ retracted', _YELLOW)}  {self._paint(said, _DIM, _STRUCK)}"
        when = printable(event.timestamp, 32)[5:19].replace("T", " ")
        columns = (self._paint(f"{when:14}", _DIM), f"{chain:{self._width}}", self._paint(f"{word:9}", tint), said)
        return ("  ".join(columns).rstrip() + "\n").encode(errors="replace")

    def _paint(self, text: str, *codes: str) -> str:
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if self._color else text


# --- by a template ------------------------------------------------------------------------------------------------

_PIECE: Final = re.compile(r"(\{\{|\}\}|\\[\\nt])|\{([^{}]*)\}|([{}])")
_LITERAL: Final = {"{{": "{", "}}": "}", r"\\": "\\", r"\n": "\n", r"\t": "\t"}
_FIELDS: Final = (*Event.__struct_encode_fields__, "cursor")


class Template:
    """
    `{type} {data.amount}`: fields by their path, a list's items by number; `{{` and `}}` are braces, `\\t`, `\\n` and
    `\\\\` what they are in a shell's `printf`. A field that an event does not have is empty. `UsageError` names one
    that none can have, `types` (None: any) being asked for; what only a custom event may have is in `doubts`.
    """

    def __init__(self, text: str, types: frozenset[str] | None = None) -> None:
        self.doubts: list[str] = []
        self._parts: list[str | tuple[str, ...]] = []
        end = 0
        for found in _PIECE.finditer(text):
            literal, path, stray = found.groups()
            self._parts.append(text[end : found.start()])
            end = found.end()
            if stray:
                raise UsageError(
                    f"a single {stray!r} in the template", parameter="format", value=text, hint="a brace is {{ or }}"
                )
            self._parts.append(_LITERAL[literal] if literal else path_of(path, types, self.doubts, "format"))
        self._parts.append(text[end:])

    def __call__(self, event: Event, _line: bytes, cursor: str) -> bytes:
        told = told_by(event, cursor)
        pieces = (part if isinstance(part, str) else looked_up(told, part, _LONGEST_VALUE) for part in self._parts)
        return ("".join(pieces) + "\n").encode(errors="replace")


def path_of(text: str, types: frozenset[str] | None, doubts: list[str], parameter: str) -> tuple[str, ...]:
    """
    The path of a field. `UsageError` where no event of these types (None: any) can have it; what only a custom event
    may have is added to `doubts`.
    """
    first, *rest = path = tuple(text.strip().split("."))
    if first not in _FIELDS or not all(path):
        raise _no_field(text, _FIELDS, first, parameter=parameter)
    if rest and first != "data":
        raise UsageError(f"{first} has no fields, so there is no {{{printable(text)}}}", parameter=parameter)
    if rest:
        known = {name for kind in (types or PAYLOADS) for name in PAYLOADS[kind].__struct_encode_fields__}
        if rest[0] not in known:
            error = _no_field(text, known, rest[0], "data.", parameter=parameter)
            if types is not None:
                raise error
            near = f" ({error.nearest} is near)" if error.nearest else ""
            doubts.append(f"only a custom event may have the field {printable(text)}{near}")
    return path


def _no_field(text: str, known: Iterable[str], word: str, lead: str = "", *, parameter: str) -> UsageError:
    close = difflib.get_close_matches(word, known, n=1)
    return UsageError(
        f"no event asked for has the field {printable(text)!r}",
        parameter=parameter,
        value=text,
        nearest=lead + close[0] if close else "",
        hint="" if close else f"there is: {', '.join(lead + name for name in sorted(known))}",
    )


def told_by(event: Event, cursor: str) -> dict[str, Any]:
    """What paths are looked up in."""
    told = {name: getattr(event, name) for name in _FIELDS if name != "cursor"}
    return told | {"cursor": cursor, "removed": event.removed or None}


def looked_up(value: Any, path: tuple[str, ...], length: int) -> str:
    """What stands at the path, as text of so many characters at most; nothing where there is nothing."""
    for name in path:
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and len(name) < 10 and int(name) < len(value):
            value = value[int(name)]
        else:
            return ""
    return printable(plain(value), length)


def catalogue_types(words: Iterable[str]) -> frozenset[str] | None:
    """The types of the catalogue that these words mean; None where there is no word, or one that it does not know."""
    found: set[str] = set()
    for word in words:
        if (meant := meant_by(word.strip())) is None:
            return None
        found |= meant
    return frozenset(found) or None
