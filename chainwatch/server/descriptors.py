"""
File descriptors: each connection is one, and when they are gone the log cannot open its file nor a chain its node.

So as many as the system allows are taken at the start, and connections never get the last of them.
"""

from __future__ import annotations

import resource
from typing import Final

import structlog

_KEPT: Final = 128
"""For the log, nodes, price APIs and whatever else the process opens; a quarter where there are very few."""
_MOST: Final = 1_048_576
"""Where the system names no limit: Linux' own default of `fs.nr_open`."""

_log = structlog.get_logger("chainwatch.server")


def limit() -> int:
    """Descriptors that the process may have now."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST if soft == resource.RLIM_INFINITY else soft


def room() -> int:
    """Those that connections may have."""
    most = limit()
    return most - min(_KEPT, most // 4)


def take(max_connections: int) -> None:
    """Raise the limit as far as that is allowed, and say so where `max_connections` do not fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < most:
        for wanted in (most, 10_240):  # macOS takes no more than the second, whatever it says
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            except (OSError, ValueError):
                continue
            break
    check(max_connections)


def check(max_connections: int) -> None:
    """Warn where the limit of descriptors comes before that of connections."""
    if room() < max_connections:
        _log.warning(
            "server.max_connections is more than this process may open",
            max_connections=max_connections,
            possible=room(),
            hint=f"raise the limit of open files (ulimit -n, LimitNOFILE=) to {max_connections + _KEPT}",
        )
