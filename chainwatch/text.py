"""
Text for people: what comes from a chain made harmless, amounts, short hashes, ages.

Token names, symbols and revert reasons are chosen by strangers: a symbol can move a terminal's cursor, set a window's
title, turn a line right to left or hide in zero width. `printable` writes every such character out: `\\u001b`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

# Cc control, Cf format (bidi, zero width), Zl/Zp line and paragraph separators, Cs lone surrogates.
_HOSTILE = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs"})

SYMBOL_LENGTH = 64
"""Characters kept of a token's symbol."""
NAME_LENGTH = 256
"""Characters kept of a name or a revert reason."""


def printable(text: str, length: int = NAME_LENGTH) -> str:
    """
    `text` with each character of Unicode category Cc, Cf, Zl, Zp or Cs written out, as a visible backslash-u escape,
    and cut at `length` characters (of the visible text) with `…`.
    """
    if text.isascii() and text.isprintable():
        shown = text
    else:
        kept = text[: length + 1]
        shown = "".join(_visible(char) if unicodedata.category(char) in _HOSTILE else char for char in kept)
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def _visible(char: str) -> str:
    code = ord(char)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def amount(base_units: int | str, decimals: int | None) -> str:
    """
    Base units as a decimal number, exact to the last digit: `amount(1500, 3)` is `1.5`. Without decimals, or with more
    than a token can have (0 to 255), the base units themselves. `ValueError` for what is no whole number.
    """
    units = int(base_units)
    if not decimals or not 0 < decimals <= 255:
        return str(units)
    sign = "-" if units < 0 else ""
    whole, rest = divmod(abs(units), 10**decimals)
    fraction = str(rest).rjust(decimals, "0").rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def glance(number: str, decimals: int = 4) -> str:
    """A decimal number to be looked at: thousands apart, and `…` where it has more digits than so many."""
    whole, point, fraction = number.partition(".")
    shown = f"{int(whole):,}" if whole.lstrip("-").isdecimal() else whole
    sign = "-" if whole == "-0" else ""
    return f"{sign}{shown}{point}{fraction}" if len(fraction) <= decimals else f"{sign}{shown}.{fraction[:decimals]}…"


def wide(text: str) -> int:
    """How many columns of a terminal it takes, as far as they agree about that."""
    if text.isascii():
        return len(text)
    return sum(
        2 if unicodedata.east_asian_width(char) in "WF" else unicodedata.category(char) not in ("Mn", "Me")
        for char in text
    )


def short(hexadecimal: str, *, lead: int = 6, tail: int = 4) -> str:
    """`0x1234…cdef` of a long hash or address; what is short already stays."""
    return hexadecimal if len(hexadecimal) <= lead + tail + 1 else f"{hexadecimal[:lead]}…{hexadecimal[-tail:]}"


def age(seconds: float) -> str:
    """A duration in one unit, for a glance: `0.4s`, `12s`, `3m`, `5h`, `9d`."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f}s"
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "m"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds // unit)}{name}"
    return f"{int(seconds // 86_400)}d"


_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d|w)?")


def seconds(text: str) -> float | None:
    """A duration: seconds, or a number with one of ms, s, m, h, d, w. None for any other text."""
    found = _DURATION.fullmatch(text.strip().lower())
    return float(found[1]) * _SECONDS[found[2] or "s"] if found else None


def moment(text: str, now: int) -> int | None:
    """
    Unix milliseconds of an age (`15m` before `now`) or of an ISO 8601 date or time, in UTC where it does not say. None
    for any other text.
    """
    ago = seconds(text) if text[-1:].isalpha() else None
    if ago is not None:
        return now - int(ago * 1000)
    try:
        # In a query a `+` that was not escaped arrives as a space.
        read = datetime.fromisoformat(text.strip().upper().replace(" ", "+") if "T" in text.upper() else text)
        return int((read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def redact_url(url: str) -> str:
    """Scheme, host and port of an endpoint: its path, query and user part are where providers put their keys."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "<url>"
    if not host:
        return "<url>"
    if ":" in host:
        host = f"[{host}]"
    hidden = "/…" if parts.path.strip("/") or parts.query or parts.username else ""
    return f"{parts.scheme}://{host}{port}{hidden}"


_URL = re.compile(r"\b(?:wss?|https?)://[^\s\"'<>]*[^\s\"'<>:,.;)]", re.IGNORECASE)


def redact(text: str) -> str:
    """`text` with every URL in it redacted."""
    return _URL.sub(lambda match: redact_url(match.group()), text)


HIDDEN = "[redacted]"


def secret_parts(urls: Iterable[str], keys: Iterable[str] = ()) -> re.Pattern[str] | None:
    """
    What of these URLs may be a key (user names, passwords, long pieces of paths, values of queries), and the `keys`.
    They turn up alone, too: some libraries put a request's path into their errors, and some nodes name the key that
    they do not know.
    """
    parts = {piece for url in urls for piece in _secret_parts(url)} | {key for key in keys if len(key) >= 8}
    pieces = sorted(parts, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, pieces))) if pieces else None


def _secret_parts(url: str) -> list[str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return []
    pieces = [piece for piece in parts.path.split("/") if len(piece) >= 16]
    pieces += [value for _, value in parse_qsl(parts.query) if len(value) >= 8]
    return pieces + [piece for piece in (parts.password, parts.username) if piece and len(piece) >= 8]
