"""
The body of a request: one JSON object, taken exactly as it was meant, or refused with the place of what is wrong.

What is posted is what comes back. So whatever a JSON parser would quietly change is an error here: a number that no
double holds, a field that is there twice, half of a surrogate pair. Whole numbers stay whole, up to a thousand digits.
"""

from __future__ import annotations

import codecs
import json
import re
from decimal import Decimal
from typing import Any, Final

import msgspec
from aiohttp import web

from chainwatch.errors import UsageError
from chainwatch.server import asking
from chainwatch.server.problem import Problem
from chainwatch.text import printable

DEEPEST: Final = 64
"""Objects and lists inside of one another; readers of JSON give up somewhere beyond a hundred."""
_TEXT: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET: Final = re.compile(rb"[\[\]{}]")
_DIGITS: Final = 1000  # of a whole number; Python refuses to read more than 4300


async def read(request: web.Request) -> dict[str, Any]:
    """The JSON object that this request carries; `Problem` 400 or 415 where it carries none."""
    check_type(request)
    return parse(await request.read())  # `body` saw to its size and its time


def nothing_asked(request: web.Request) -> None:
    """`UsageError` where the address has parameters that this route would ignore."""
    for name, _ in asking.query(request):
        raise UsageError(f"unknown parameter {name!r}", parameter=name, value=name, hint="this takes none")


def check_type(request: web.Request) -> None:
    """A form of a web page can post text and form data to anybody (CWE-352), but no JSON."""
    hint = "send JSON with Content-Type: application/json (curl --json)"
    kind = request.content_type
    if "Content-Type" in request.headers and not (kind == "application/json" or kind.endswith("+json")):
        raise Problem(415, f"the body is {kind}, not JSON", more={"value": kind, "hint": hint})
    charset = (request.charset or "utf-8").lower()
    if charset not in ("utf-8", "utf8"):
        raise Problem(415, f"the body is written in {charset}", more={"value": charset, "hint": "JSON is UTF-8"})


def parse(body: bytes) -> dict[str, Any]:
    """The object that these bytes say; `Problem` 400 where they say none, or one that would not come back the same."""
    if not body.strip(b" \t\r\n"):
        raise _wrong("the body is empty; a JSON object is wanted")
    if body.startswith(codecs.BOM_UTF8):
        raise _wrong("the body begins with a byte order mark, which JSON must not (RFC 8259, section 8.1)")
    _check_depth(body)
    try:
        value = json.loads(
            body.decode(),
            object_pairs_hook=_object,
            parse_int=_whole,
            parse_float=_number,
            parse_constant=_constant,
        )
    except UnicodeDecodeError as error:
        raise _wrong(f"the body is no UTF-8: byte {error.start} of it") from None
    except json.JSONDecodeError as error:
        raise _wrong(f"the body is no JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    if not isinstance(value, dict):
        raise _wrong(f"the body is {_kind(value)}; a JSON object is wanted")
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise _wrong(f"the body has half of a surrogate pair in a text (\\u{ord(half):04x})") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _wrong(f"the body has the field {printable(twice, 80)!r} twice in one object")
    return found


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise _wrong(f"the body has a number of {len(text)} digits; at most {_DIGITS} are taken, more as a text")
    return int(text)


def _number(text: str) -> float:
    found = float(text)
    if not abs(found) < float("inf") or Decimal(text) != Decimal(repr(found)):
        raise _wrong(f"the number {printable(text, 80)} cannot be kept exactly; send it as a text")
    return found


def _constant(text: str) -> float:
    raise _wrong(f"the body has {text}, which is no JSON")


def _check_depth(body: bytes) -> None:
    """Before it is parsed: how deep a parser goes is for the whole program to say, and not the same everywhere."""
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return
    depth = 0
    for found in _BRACKET.finditer(_TEXT.sub(b"", body)):
        depth += 1 if found[0] in b"[{" else -1
        if depth > DEEPEST:
            raise _too_deep()


def _too_deep() -> Problem:
    return _wrong(f"the body has objects or lists more than {DEEPEST} deep in one another")


def _kind(value: object) -> str:
    names = {list: "a list", str: "a text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _wrong(detail: str) -> Problem:
    return Problem(400, detail)
