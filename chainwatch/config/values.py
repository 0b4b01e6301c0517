"""
Values as people write them, turned into what the program counts with: durations, sizes, addresses, endpoints.

Each function takes what TOML (or an environment variable) gave and returns the value, or raises `Wrong`. A message
never repeats an endpoint: its path and query are where providers put their keys.
"""

from __future__ import annotations

import base64
import math
import re
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from chainwatch import text
from chainwatch.eip55 import checksum
from chainwatch.keys.ring import SHAPE

_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d|w)?")
_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kmgt]?i?b)?", re.IGNORECASE)
_BYTES: Final = {"b": 1} | {
    f"{letter}{binary}b": (1024 if binary else 1000) ** power
    for power, letter in enumerate("kmgt", start=1)
    for binary in ("", "i")
}

_ADDRESS: Final = re.compile(r"0[xX][0-9a-fA-F]{40}")
_CHAIN_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_PERCENT: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,12})?) ?%")
_HOOK_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SCHEMES: Final = ("ws", "wss", "http", "https")


class Wrong(ValueError):
    """What is wrong with a value, and what would be right."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.hint = hint


def duration(value: object) -> float:
    """Seconds of `"250ms"`, `"15s"`, `"1m"`, `"12h"`, `"7d"`, `"2w"`; a bare number is seconds."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        return float(match[1]) * _SECONDS[match[2] or "s"]
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
        return float(value)
    raise Wrong("is no duration", 'write it as "15s", "1m", "12h" or "7d"; a bare number is seconds')


def size(value: object) -> int:
    """Bytes of `"64MiB"` (1024), `"4GB"` (1000), `"512"`; a bare number is bytes."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return int(Decimal(match[1]) * _BYTES[(match[2] or "b").lower()])
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise Wrong("is no size", 'write it as "64MiB" or "4GiB"; a bare number is bytes')


def address(value: object) -> str:
    """An address in lower case. Mixed case is a checksum (EIP-55), there to find typing errors: it has to be right."""
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        raise Wrong("is no address", "an address is 0x and 40 hexadecimal digits")
    digits = value[2:]
    if digits not in (digits.lower(), digits.upper()) and digits != checksum(value.lower())[2:]:
        raise Wrong(
            "has a wrong EIP-55 checksum, so a digit may be mistyped", "copy it again, or write it in lower case"
        )
    return value.lower()


def endpoint(value: object) -> str:
    """The URL of a node. The message says which part is wrong and shows none of it."""
    if not isinstance(value, str) or any(char.isspace() for char in value):
        raise Wrong("is no URL", "write it as wss://host/path or https://host/path")
    try:
        parts = urlsplit(value)
        good = parts.scheme.lower() in _SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number, a bracket without its pair
        good = False
    if not good:
        raise Wrong("is no URL of a node", "write it as wss://host/path or https://host/path; ws:// and http:// too")
    return value


def web_address(value: object) -> str:
    """The URL of an API. The message says which part is wrong and shows none of it."""
    try:
        url = endpoint(value)
    except Wrong:
        url = ""
    parts = urlsplit(url)
    if parts.scheme.lower() not in ("http", "https") or parts.query or parts.fragment:
        raise Wrong("is no URL of an API", "write it as https://host/path, without a query")
    return url


def origin(value: object) -> str:
    """An origin as browsers send it: `https://example.org`, without a path. `*` is any."""
    if value == "*":
        return "*"
    if isinstance(value, str) and re.fullmatch(r"https?://[^\s/?#@]+", value.lower()):
        return value.lower()
    raise Wrong("is no origin", 'write it as "https://example.org", without a path; "*" is any')


def network(value: object) -> str:
    """An address, or a network of them: `192.0.2.7`, `10.0.0.0/8`, `2001:db8::/32`."""
    try:
        if isinstance(value, str):
            return str(ip_network(value))
    except ValueError:  # the bits behind the prefix are not 0, too
        pass
    raise Wrong("is no address and no network", 'write it as "192.0.2.7", "10.0.0.0/8" or "2001:db8::/32"')


def confirmations(value: object) -> tuple[int, ...]:
    """Thresholds, ascending: each 1 to 1000, none twice, at least one."""
    numbers = list(value) if isinstance(value, list | tuple) else []
    if not numbers or any(type(number) is not int or not 1 <= number <= 1000 for number in numbers):
        raise Wrong("must be a list of whole numbers from 1 to 1000", 'write [1, 6]; transactions = "none" tells none')
    if len(set(numbers)) < len(numbers):
        raise Wrong("names a number twice")
    return tuple(sorted(numbers))


def start(value: object) -> Literal["latest"] | int:
    """`latest`, or the first block to ingest."""
    if value == "latest":
        return "latest"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise Wrong("is no place to start", '"latest", or a block number from 0 up')


def chain_name(value: object) -> str:
    """A chain's name stands in URLs, metrics and cursors, so it is plain."""
    if not isinstance(value, str) or not _CHAIN_NAME.fullmatch(value):
        raise Wrong(
            "is no name for a chain",
            "up to 64 lower-case letters, digits, - and _, the first a letter or a digit",
        )
    return value


def label(value: object) -> str:
    """A name or symbol that people read: visible characters, no comma (it separates values in filters)."""
    if (
        not isinstance(value, str)
        or not value
        or value != value.strip()
        or "," in value
        or text.printable(value, text.SYMBOL_LENGTH) != value
    ):
        raise Wrong("is no name", "1 to 64 visible characters, no comma, no space at the ends")
    # `?token=` takes a key as well as a symbol, the symbol in any case.
    if SHAPE.fullmatch(value.upper().lower()):
        raise Wrong("looks like an API key", "if it is one, revoke it: chainwatch keys revoke; a name is another")
    return value


def hook_name(value: object) -> str:
    """A webhook's name stands in URLs."""
    if not isinstance(value, str) or not _HOOK_NAME.fullmatch(value):
        raise Wrong("is no name for a webhook", "up to 64 letters, digits, dots, - and _, the first no sign")
    return value


def receiver(value: object) -> str:
    """The URL of a webhook. The message says which part is wrong and shows none of it: its path may be a secret."""
    if not isinstance(value, str) or len(value) > 2048 or " " in value or not value.isprintable():
        raise Wrong("is no URL", "write it as https://host/path")
    try:
        parts = urlsplit(value)
        good = bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.scheme.lower() != "https":
        raise Wrong("is no URL of a receiver", "write it as https://host/path")
    if parts.username is not None or parts.password is not None or "#" in value:
        raise Wrong("has a user, a password or a fragment", "a receiver knows us by the signature of each request")
    return value


def secret(text: str) -> bytes:
    """The key in the secret of a webhook (Standard Webhooks): `whsec_` and 24 to 64 bytes in base64."""
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True) if text.startswith("whsec_") else b""
    except ValueError:
        key = b""
    if not 24 <= len(key) <= 64:
        raise Wrong("is no secret of a webhook", "whsec_ and 24 to 64 random bytes in base64")
    return key


def words(value: object) -> tuple[str, ...]:
    """One text, or a list of them."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(word, str) and word for word in found):
        raise Wrong("is no text and no list of texts", 'write it as "…" or ["…", "…"]')
    return tuple(found)


def since(value: object) -> str:
    """`now`, `earliest`, or a duration."""
    if value in ("now", "earliest"):
        return str(value)
    try:
        duration(value if isinstance(value, str) else None)
    except Wrong:
        raise Wrong("is no place to begin", '"now", "earliest", or how long ago: "1h"') from None
    return str(value)


def percent(value: object) -> Decimal:
    """Per cent of `"0.1%"`."""
    if isinstance(value, str) and (match := _PERCENT.fullmatch(value.strip())):
        return Decimal(match[1])
    raise Wrong("is no percentage", 'write it as "0.1%"')


def file(value: object) -> Path:
    """The path of a file."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise Wrong("is no path of a file")
    return Path(value)
