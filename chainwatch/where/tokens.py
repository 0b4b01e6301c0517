"""The words of an expression, each with its place. The lexis is CEL's (langdef.md, "Syntax"), without bytes."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from chainwatch.where.errors import Wrong
from chainwatch.where.values import BITS, Ratio

_WIDEST: Final = 650  # decimal digits: more than a number of BITS bits can have


class Token(NamedTuple):
    """`kind`: `number`, `text`, `name`, `end`, or an operator itself."""

    kind: str
    value: Any
    at: int


_TOKEN: Final = re.compile(
    r"""
    (?P<space> [\t\n\f\r\ ]+ | //[^\n]* )
    | (?P<number> (?: 0[xX][0-9a-fA-F]+ | [0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)? | [0-9]+(?:[eE][+-]?[0-9]+)? ) [uU]? )
    | (?P<text> (?P<prefix> [rR]? ) (?P<quote> \"\"\" | ''' | \" | ' ) )
    | (?P<name> [_a-zA-Z][_a-zA-Z0-9]* )
    | (?P<operator> && | \|\| | [=!<>]= | [-+*/%!<>?:.,()\[\]{}] )
    """,
    re.VERBOSE,
)
_WORD: Final = re.compile(r"[_a-zA-Z0-9]")
_ESCAPE: Final = re.compile(
    r"\\(?:(?P<one>[abfnrtv\\?\"'`])|[xX](?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})"
    r"|(?P<octal>[0-3][0-7]{2}))"
)
_ONE: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_MEANT: Final = {
    "=": "==",
    "&": "&&",
    "|": "||",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
    "≥": ">=",
    "≤": "<=",
    "≠": "!=",
}


def tokens(text: str) -> list[Token]:
    """The words of the text, `end` last. `Wrong` for what is none."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            meant = _MEANT.get(text[at], "")
            raise Wrong(f"{text[at]!r} means nothing here", at, nearest=meant)
        end = match.end()
        match match.lastgroup:
            case "number":
                found.append(Token("number", _number(match["number"], text, at, end), at))
            case "text" | "quote" | "prefix":
                value, end = _string(text, at, match)
                found.append(Token("text", value, at))
            case "name":
                if text[end : end + 1] in ('"', "'") and text[end - 1] in "bB" and end - at <= 2:
                    raise Wrong("bytes are not offered: no field of an event holds any", at)
                found.append(Token("name", match["name"], at))
            case "operator":
                found.append(Token(match["operator"], None, at))
        at = end
    found.append(Token("end", None, len(text)))
    return found


def _number(digits: str, text: str, at: int, end: int) -> int | Ratio:
    if end < len(text) and _WORD.match(text[end]):
        word = re.compile(r"[_a-zA-Z0-9.]*").match(text, at)
        raise Wrong(f"{word[0] if word else digits!r} is no number", at)
    lower = digits.lower()
    too_large = Wrong(f"a number of more than {BITS} bits", at)
    if lower.startswith("0x"):
        value = int(lower.rstrip("u"), 16)
        if value.bit_length() > BITS:
            raise too_large
        return value
    if lower.endswith("u"):
        if not lower[:-1].isdigit():
            raise Wrong(f"{digits!r} is no number: u stands behind whole ones", at)
        lower = lower[:-1]
    mantissa, _, exponent = lower.partition("e")
    if len(mantissa) > _WIDEST or len(exponent) > 6 or abs(int(exponent or 0)) > _WIDEST:
        raise too_large
    whole, point, behind = mantissa.partition(".")
    value = int(whole + behind)
    shift = int(exponent or 0) - len(behind)
    numerator, denominator = value * 10 ** max(shift, 0), 10 ** max(-shift, 0)
    if max(numerator, denominator).bit_length() > BITS:
        raise too_large
    return Ratio(numerator, denominator) if point or exponent else numerator


def _string(text: str, at: int, opening: re.Match[str]) -> tuple[str, int]:
    """The value of the literal that begins at `at`, and the place behind it."""
    quote, raw = opening["quote"], bool(opening["prefix"])
    parts: list[str] = []
    place = opening.end()
    while True:
        if text.startswith(quote, place):
            return "".join(parts), place + len(quote)
        if place >= len(text) or (len(quote) == 1 and text[place] in "\r\n"):
            raise Wrong("this text has no end: its closing quote is missing", at)
        character = text[place]
        if "\ud800" <= character <= "\udfff":
            raise Wrong("half a character", place)
        if character != "\\" or raw:
            parts.append(character)
            place += 1
            continue
        escape = _ESCAPE.match(text, place)
        if escape is None:
            raise Wrong(f"{text[place : place + 2]!r} is no escape", place, hint=r"a backslash itself is \\")
        parts.append(_escaped(escape, place))
        place = escape.end()


def _escaped(escape: re.Match[str], place: int) -> str:
    if one := escape["one"]:
        return _ONE.get(one, one)
    code = int(escape["octal"], 8) if escape["octal"] else int(escape["x"] or escape["u"] or escape["U"], 16)
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise Wrong(f"{escape[0]} is no character", place)
    return chr(code)
