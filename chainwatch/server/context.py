"""What the server knows of the daemon around it: the log, the hub, and a few questions that the daemon answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from chainwatch.filter import Vocabulary
from chainwatch.log import Log
from chainwatch.server.present import Present
from chainwatch.stream.hub import Hub


@dataclass(frozen=True, kw_only=True)
class Context:
    """Given once, when the application is built."""

    log: Log
    hub: Hub
    present: Present
    version: str
    started: float
    """Unix time of the daemon's start."""
    loopback: bool
    """Bound to a loopback address: then a `Host` that is none is a web page that rebinds a name (DNS rebinding)."""
    vocabulary: Callable[[], Vocabulary]
    """What the words of a filter mean now."""
    chains: Callable[[], list[dict[str, Any]]]
    """
    The vitals of each chain, ready for JSON: `name`, `state`, `ready` (bool), `reason`, `endpoint`, `head`,
    `lag_seconds`, `endpoints`; no secret in any of them.
    """
    sources: Callable[[], list[dict[str, Any]]] = list
    """The same of each source of prices: `name`, `chain` (of a feed), `state`, `ready`, `reason`."""
    extra_stats: Callable[[], dict[str, Any]] = dict
    """More for `/v1/stats`, by name."""
    allowed_origins: tuple[str, ...] = ()
    """Origins of other sites that may read; `*` is any."""
    max_connections: int = 10_000
    """Streams in total."""


@dataclass(slots=True)
class Seats:
    """Streams that are open and not in the hub: those of statistics, and those whose handler is not done yet."""

    taken: int = 0


CONTEXT = web.AppKey("context", Context)
SEATS = web.AppKey("seats", Seats)
