"""
What stands behind the tools: a daemon, as one caller sees it.

There are two: in the daemon itself (`server.mcp`), and over HTTP for `chainwatch mcp` (`mcp.remote`). Both ask with the
words of the stream parameters, and answer with the same events. Everything else is built of `page` and `wait`: look at
the log from a cursor on, and where there is nothing, wait there until there is. So nothing can come between the two,
and nothing is kept for a caller that does not come back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

Words = Mapping[str, Sequence[str]]
"""Stream parameters by their names: `types`, `address`, `token`, `chains`, `min_amount`, `where`."""


class Turned(Exception):
    """
    The daemon cannot do what was asked: `what` went wrong, and what to do about it, for a model to act on. `forbidden`:
    it is not for this caller. `passing`: the daemon is not there now, and may be soon. `full`: a limit is reached.
    """

    def __init__(
        self, what: str, hint: str = "", *, forbidden: bool = False, passing: bool = False, full: bool = False
    ) -> None:
        super().__init__(f"{what}. {hint}" if hint else what)
        self.what = what
        self.hint = hint
        self.forbidden = forbidden
        self.passing = passing
        self.full = full


class Page(NamedTuple):
    """Some of the log, oldest first."""

    events: list[dict[str, Any]]
    cursor: str
    """Behind the last of them, or behind all that was looked at."""
    has_more: bool
    """More may be there at once."""
    truncated: bool
    """Older events than were asked for are gone."""


class Receipt(NamedTuple):
    """A published event, durable."""

    id: str
    cursor: str


class Standing(msgspec.Struct, frozen=True):
    """A subscription, as it is kept."""

    id: str
    words: dict[str, list[str]]
    cursor: str
    """Where it began."""
    created: float
    """Unix seconds."""
    expires: float
    """Unix seconds."""
    ttl: float = 86_400.0
    """Seconds that it lives on when it is asked for."""


class Desk(Protocol):
    """One caller's view of one daemon. All of it raises `Turned`."""

    @property
    def caller(self) -> str:
        """Whose subscriptions are theirs: the id of a key; empty where there are no keys."""

    def may(self, permission: str) -> bool:
        """Whether they may `read` or `send`, as far as is known here."""

    async def cursor(self, words: Words) -> str:
        """Just behind the newest event. The words are checked: `Turned` where one means nothing."""

    async def page(
        self, words: Words, limit: int, *, cursor: str | None = None, since: str | None = None, last: int | None = None
    ) -> Page:
        """Up to `limit` matching events: behind `cursor`, from `since` on, or the newest `last`."""

    async def wait(self, words: Words, cursor: str, seconds: float) -> tuple[bool, str]:
        """
        Whether an event that matches stands behind `cursor`, as soon as one does, or after so many seconds; and a
        cursor that is as good: nothing that matches stands before it.
        """

    async def send(self, kind: str, data: dict[str, Any], key: str | None) -> Receipt:
        """Publish a custom event. `key`: repetitions with it are the same event."""

    async def status(self) -> dict[str, Any]:
        """The statistics of the daemon, as `/v1/stats` has them."""

    async def wallets(self) -> list[dict[str, Any]]:
        """The watched wallets and their balances, as `/v1/wallets` has them."""

    async def keep(self, standing: Standing) -> None:
        """Remember a subscription of theirs, or that it changed."""

    async def forget(self, name: str) -> None:
        """Remember it no more."""

    async def kept(self) -> list[Standing]:
        """Theirs."""
