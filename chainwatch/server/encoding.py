"""
Which content coding a client gets: `Accept-Encoding`, RFC 9110, section 12.5.3.

gzip goes before zstd where a client likes both the same. A stream in zstd is many frames, each of them complete for
itself; decoders that are still about (aiohttp 3.13's) read one and fail at the next, and their libraries ask for zstd
by default. gzip has one member, that everything reads. Who prefers zstd says so, by its `q` or by naming nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, Literal

from aiohttp import web

from chainwatch.stream import coding
from chainwatch.stream.coding import Coding

Compression = Literal["auto", "always", "never"]
"""
`never`: nobody gets anything compressed. `always`: whoever can read it. `auto`: the same, but a client on this machine
only if it means it, since there is nothing to gain: a library's default list does not count.
"""

_ITEM: Final = re.compile(
    r"(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:[ \t]*;[ \t]*[qQ]=(?P<q>0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"
)
_OF_PROXIES: Final = ("Forwarded", "X-Forwarded-For", "Via")
_OURS: Final = {"gzip": Coding.GZIP, "x-gzip": Coding.GZIP, "zstd": Coding.ZSTD}
"""The first of equals goes first."""


def for_request(request: web.Request, compression: Compression) -> Coding:
    """The coding of the answer to that request."""
    lines = request.headers.getall("Accept-Encoding", None)
    accepted = None if lines is None else ", ".join(lines)
    forwarded = any(name in request.headers for name in _OF_PROXIES)
    return choose(accepted, compression, local=is_local(request.get_extra_info("peername"), forwarded=forwarded))


def headers(coding: Coding) -> dict[str, str]:
    """What an answer in that coding says of itself; the plain one too, since the same request could get another."""
    told = {"Vary": "Accept-Encoding"}
    return told if coding is Coding.IDENTITY else told | {"Content-Encoding": coding.value}


def choose(
    accepted: str | None, compression: Compression, *, local: bool, known: Collection[Coding] | None = None
) -> Coding:
    """
    The coding for a client that sent `Accept-Encoding: <accepted>`, or none (None). `local`: it is on this machine.
    A malformed header is none. Where not even the plain body is acceptable, it is sent all the same, since an answer
    beats a status that ends an `EventSource`.
    """
    if compression == "never" or accepted is None:
        return Coding.IDENTITY
    weights = _weights(accepted)
    if compression == "auto" and local and not _means_it(weights):
        return Coding.IDENTITY
    return _best(weights, coding.known() if known is None else known)


def is_local(peer: object, *, forwarded: bool) -> bool:
    """
    Whether a client is on this machine: its address, as the socket gives it, is of loopback, or it is no address of a
    network at all (a Unix socket); and no proxy has `forwarded` its request.
    """
    if forwarded:
        return False
    return not isinstance(peer, tuple) or not peer or _is_loopback(str(peer[0]))


@lru_cache(maxsize=1024)  # thousands come back from the same few
def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _weights(accepted: str) -> dict[str, float]:
    """`q` by name in lower case; nothing where the header is malformed."""
    weights: dict[str, float] = {}
    for item in accepted.split(","):
        text = item.strip(" \t")
        if not text:
            continue  # RFC 9110, section 5.6.1.2: empty elements are skipped
        found = _ITEM.fullmatch(text)
        if found is None:
            return {}
        weights[found["name"].lower()] = 1.0 if found["q"] is None else float(found["q"])
    return weights


def _means_it(weights: dict[str, float]) -> bool:
    """It names one coding, and that is ours; or it does not want the plain body."""
    named = {name for name, weight in weights.items() if weight > 0} - {"identity", "*"}
    excluded = weights.get("identity", weights.get("*", 1.0)) == 0
    return excluded or (len(named) == 1 and named <= _OURS.keys())


def _best(weights: dict[str, float], known: Collection[Coding]) -> Coding:
    others = weights.get("*", 0.0)
    best, most = Coding.IDENTITY, weights.get("identity", others)
    for name, ours in _OURS.items():
        # Who takes anything gets what everything reads: zstd has to be named.
        weight = weights.get(name, others if name == "gzip" else 0.0)
        # Who likes the plain body no better, or says nothing about it, gets it compressed.
        if weight > 0 and ours in known and (weight > most or (weight == most and best is Coding.IDENTITY)):
            best, most = ours, weight
    return best
