"""The functions of expressions: what each takes and gives. All are of CEL's standard but `lowerAscii` (its strings)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from chainwatch.where.errors import Wrong, nearest
from chainwatch.where.parser import MACROS
from chainwatch.where.shapes import BOOL, JSON, LIST, MAP, NUMBER, NUMERIC, SPAN, TEXT, TIME, Shape
from chainwatch.where.syntax import Call, Literal
from chainwatch.where.values import (
    SLOW,
    Meter,
    Ratio,
    Span,
    Time,
    Undecided,
    fraction,
    number,
    span_of_text,
    time_of_text,
)

CHARACTERS: Final = 1024
"""Of a text that are looked at in one step. A search may look at each once for every character of what it looks for."""
_FEW: Final = 100  # characters, from which on Python searches in linear time


class Function(NamedTuple):
    """One of them."""

    does: Callable[..., Any]
    """Takes the meter and the arguments."""
    takes: tuple[int, ...]
    """The kinds that each argument can be of."""
    gives: int
    received: bool | None
    """Written `a.f(b)`; None: either way."""


def _size(_: Meter, value: Any) -> int:
    if type(value) not in (str, list, dict):
        raise Undecided("no size")
    return len(value)


def _starts(_: Meter, text: Any, part: Any) -> bool:
    if type(text) is not str or type(part) is not str:
        raise Undecided("no text")
    return text.startswith(part)


def _ends(_: Meter, text: Any, part: Any) -> bool:
    if type(text) is not str or type(part) is not str:
        raise Undecided("no text")
    return text.endswith(part)


def _contains(meter: Meter, text: Any, part: Any) -> bool:
    if type(text) is not str or type(part) is not str:
        raise Undecided("no text")
    meter.spend(len(text) * min(len(part), _FEW) // CHARACTERS)
    return part in text


def _lower(meter: Meter, text: Any) -> str:
    if type(text) is not str:
        raise Undecided("no text")
    meter.spend(8 * len(text) // CHARACTERS)
    return text.lower() if text.isascii() else text.translate(_ASCII)


_ASCII: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def _int(_: Meter, value: Any) -> int:
    if isinstance(value, Time):
        return value.ns // 10**9
    found = number(value)
    if isinstance(found, int):
        return found
    if found is None or type(value) is str:  # CEL: the text of a whole number alone
        raise Undecided("no whole number")
    whole = abs(found.numerator) // found.denominator
    return whole if found.numerator >= 0 else -whole


def _uint(meter: Meter, value: Any) -> int:
    found = _int(meter, value)
    if found < 0:
        raise Undecided("less than 0")
    return found


def _double(_: Meter, value: Any) -> Ratio:
    found = fraction(value)
    if found is None:
        raise Undecided("no number")
    return found


def _string(_: Meter, value: Any) -> str:
    if type(value) is str:
        return value
    if type(value) is bool:
        return "true" if value else "false"
    found = number(value)
    if found is None:
        raise Undecided("no text")
    if isinstance(found, int):
        return str(found)
    try:
        return found.decimal().removesuffix(".0")
    except ValueError:
        raise Undecided("a number without an end") from None


def _timestamp(meter: Meter, value: Any) -> Time:
    meter.spend(SLOW)
    found = time_of_text(value) if type(value) is str else value
    if type(found) is int:
        found = Time(found * 10**9) if -62_135_596_800 <= found < 253_402_300_800 else None
    if type(found) is not Time:
        raise Undecided("no time")
    return found


def _duration(meter: Meter, value: Any) -> Span:
    meter.spend(SLOW)
    found = span_of_text(value) if type(value) is str else value
    if type(found) is not Span:
        raise Undecided("no duration")
    return found


FUNCTIONS: Final[dict[str, Function]] = {
    "size": Function(_size, (TEXT | LIST | MAP,), NUMBER, None),
    "startsWith": Function(_starts, (TEXT, TEXT), BOOL, received=True),
    "endsWith": Function(_ends, (TEXT, TEXT), BOOL, received=True),
    "contains": Function(_contains, (TEXT, TEXT), BOOL, received=True),
    "lowerAscii": Function(_lower, (TEXT,), TEXT, received=True),
    "int": Function(_int, (NUMBER | NUMERIC | TIME,), NUMBER, received=False),
    "uint": Function(_uint, (NUMBER | NUMERIC,), NUMBER, received=False),
    "double": Function(_double, (NUMBER | NUMERIC,), NUMBER, received=False),
    "string": Function(_string, (NUMBER | TEXT | BOOL,), TEXT, received=False),
    "timestamp": Function(_timestamp, (NUMBER | TEXT | TIME,), TIME, received=False),
    "dyn": Function(lambda _, value: value, (~0,), JSON | TIME | SPAN, received=False),
    "duration": Function(_duration, (TEXT | SPAN,), SPAN, received=False),
}
_NOT_OFFERED: Final = {
    "matches": "a regular expression can take for ever; ask startsWith, endsWith or contains",
    "map": "ask exists, all or exists_one",
    "filter": "ask exists, all or exists_one",
}


def check(call: Call, given: Sequence[Shape]) -> Shape:
    """What a call gives. `Wrong` for a function that does not exist, or that does not take these."""
    name = call.function
    function = FUNCTIONS.get(name)
    if function is None:
        if name in _NOT_OFFERED:
            raise Wrong(f"{name} is not offered", call.at, hint=_NOT_OFFERED[name])
        known = [*FUNCTIONS, *MACROS, "has"]
        close = nearest(name, known)
        hint = "" if close else f"there is: {', '.join(known)}"
        raise Wrong(f"unknown function {name!r}", call.at, nearest=close, hint=hint)
    form = f"text.{name}({'…' * (len(function.takes) - 1)})" if function.received else f"{name}(…)"
    if len(given) != len(function.takes) or function.received not in (None, call.received):
        raise Wrong(f"{name} is written {form}", call.at)
    for argument, shape, kinds in zip(call.arguments, given, function.takes, strict=True):
        fits = shape.kinds & kinds
        if name in ("int", "uint", "double") and isinstance(argument, Literal) and isinstance(argument.value, str):
            fits = number(argument.value) is not None
        if not fits:
            raise Wrong(f"{name} does not take {shape.told()}", argument.at)
    match call.arguments:
        case (Literal(value=str(text), at=at),) if name in ("timestamp", "duration"):
            _constant(name, text, at)
    return Shape(kinds=function.gives, open=name == "dyn")


def _constant(name: str, text: str, at: int) -> None:
    if name == "timestamp" and time_of_text(text) is None:
        raise Wrong(f"{text!r} is no time", at, hint='such as: timestamp("2025-06-24T07:00:00Z")')
    if name == "duration" and span_of_text(text) is None:
        raise Wrong(f"{text!r} is no duration", at, hint='such as: duration("1m30s")')
