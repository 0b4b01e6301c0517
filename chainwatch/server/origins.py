"""
Which web pages may ask: names of this host, origins. Pure.

A web page can make a browser send requests to a loopback address. Where it names the daemon by its own origin, `Origin`
tells; where it has its own name resolve to 127.0.0.1 (DNS rebinding), it is the same origin to the browser, and only
`Host` tells. An `<img>` or a link sends no `Origin`; what it was for is in `Sec-Fetch-*` (Fetch Metadata). Without keys
these checks are all that keeps a page from reading what somebody watches, or from taking over their durable streams.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from urllib.parse import urlsplit

_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^\[\]:/@\s]+)(?::[0-9]{1,5})?")


@lru_cache(maxsize=256)  # of most clients it is one of a few
def is_loopback(host: str) -> bool:
    """Whether a `Host` header names this machine: `localhost`, 127.0.0.0/8 or `[::1]`, with any port or none."""
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = found["name"].lower()
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return address.is_loopback and ((address.version == 6) == name.startswith("["))


def is_same_origin(origin: str, host: str) -> bool:
    """Whether a page of `origin` was served from `host`. A proxy may have taken the TLS away: schemes do not count."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower() != ""


def is_allowed(origin: str, allowed: Collection[str]) -> bool:
    """Whether the configuration names this origin; `*` names all."""
    return "*" in allowed or origin.lower() in {name.lower().rstrip("/") for name in allowed}


def is_of_another_site(headers: Mapping[str, str], *, changes: bool) -> bool:
    """
    Whether a page of another site (another port of this machine is one, too) makes a browser ask this without saying
    its origin, as an image, a frame or a script does. A link may be followed, unless what it leads to `changes`
    something.
    """
    if headers.get("Origin") or headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin"):
        return False
    followed = headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
    return changes or not followed
