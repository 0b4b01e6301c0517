"""What the server knows of the daemon around it: the log, the hub, and a few questions that the daemon answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from aiohttp import web

from chainwatch.config import ServerSettings
from chainwatch.filter import Vocabulary
from chainwatch.log import Log
from chainwatch.server.limits import Gate
from chainwatch.server.present import Present
from chainwatch.server.rights import Rights
from chainwatch.server.sessions import Sessions
from chainwatch.server.turns import Turns
from chainwatch.stream.follow import Followers
from chainwatch.stream.hub import Hub
from chainwatch.webhooks import Webhooks


@dataclass(frozen=True, kw_only=True)
class Context:
    """Given once, when the application is built."""

    log: Log
    hub: Hub
    followers: Followers
    """Who reads the log and is no stream of the hub: WebSockets."""
    present: Present
    version: str
    started: float
    """Unix time of the daemon's start."""
    settings: Callable[[], ServerSettings]
    """`[server]` as it is now: limits and origins may change while the daemon runs."""
    sessions: Sessions
    """Whose requests these are, and the end of what they open."""
    gate: Gate
    """Seats for what stays open."""
    vocabulary: Callable[[], Vocabulary]
    """What the words of a filter mean now."""
    chains: Callable[[], list[dict[str, Any]]]
    """
    The vitals of each chain, ready for JSON: `name`, `state`, `ready` (bool), `reason`, `endpoint`, `head`,
    `lag_seconds`, `endpoints`; no secret in any of them.
    """
    sources: Callable[[], list[dict[str, Any]]] = list
    """The same of each source of prices: `name`, `chain` (of a feed), `state`, `ready`, `reason`."""
    wallets: Callable[[], list[dict[str, Any]]] = list
    """
    Each watched wallet on each chain, ready for JSON: `chain`, `address`, `name`, `state` (`syncing`, `watching`),
    `block_number` and `block_hash` (the newest block that was told), `balances` (`token`, `token_address`, `decimals`,
    `balance`), as they were told last.
    """
    mcp_events: bool = False
    """Whether `/mcp` has the events extension."""
    extra_stats: Callable[[], dict[str, Any]] = dict
    """More for `/v1/stats`, by name."""
    turns: Turns = field(default_factory=Turns)
    """Of clients that have much of the log read."""

    @cached_property
    def webhooks(self) -> Webhooks:
        """Who is called when something happens."""
        return Webhooks(self.followers, Rights(self))


CONTEXT = web.AppKey("context", Context)
