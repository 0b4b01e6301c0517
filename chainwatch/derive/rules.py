"""What of a chain is told, by the configuration: the argument of every derivation."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

import msgspec

Which = Literal["watched", "all", "none"]


class Token(msgspec.Struct, frozen=True):
    """A configured token."""

    symbol: str
    decimals: int


class FeedRule(msgspec.Struct, frozen=True, kw_only=True):
    """A configured Chainlink feed."""

    symbol: str
    quote: str
    min_change: Decimal | None = None
    """In per cent: smaller changes are not told. None: each round is."""
    heartbeat: float = 86_400.0
    """Seconds within which the feed answers, even if the price stays what it is."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses are lower case."""

    chain: str
    native: str
    """Symbol of the chain's own currency."""
    decimals: int = 18
    """Of the chain's own currency."""
    confirmations: tuple[int, ...] = (1,)
    """At which depths a transaction is told as confirmed; ascending."""
    transactions: Which = "watched"
    pending: Which = "watched"
    transfers: Which = "watched"
    wallets: frozenset[str] = frozenset()
    names: Mapping[str, str] = {}
    """What the wallets are called, by address."""
    internal: bool = False
    """Value that moves inside transactions is looked for, by traces."""
    tokens: Mapping[str, Token] = {}
    """The configured tokens by contract."""
    feeds: Mapping[str, FeedRule] = {}
    """The configured Chainlink feeds by their proxy."""
    wrapped: frozenset[str] = frozenset()
    """Contracts that turn the native currency into a token and back, as WETH9 does."""

    @property
    def tells_transactions(self) -> bool:
        return self.transactions == "all" or (self.transactions == "watched" and bool(self.wallets))

    @property
    def tells_transfers(self) -> bool:
        return self.transfers == "all" or (self.transfers == "watched" and bool(self.wallets or self.tokens))

    def tells_transaction(self, sender: str, to: str | None) -> bool:
        """Whether a transaction between these is told."""
        if self.transactions == "watched":
            return sender.lower() in self.wallets or (to is not None and to.lower() in self.wallets)
        return self.transactions == "all"

    @property
    def tells_pending(self) -> bool:
        return self.pending == "all" or (self.pending == "watched" and bool(self.wallets))

    def tells_pending_transaction(self, sender: str, to: str | None) -> bool:
        """Whether a transaction between these is told while it waits in the mempool."""
        if self.pending == "watched":
            return sender.lower() in self.wallets or (to is not None and to.lower() in self.wallets)
        return self.pending == "all"

    def direction(self, sender: str, to: str | None) -> str | None:
        """`outgoing`, `incoming`, `self` (between watched wallets), or None: seen from the watched wallets."""
        out = sender.lower() in self.wallets
        into = to is not None and to.lower() in self.wallets
        if out and into:
            return "self"
        return "outgoing" if out else "incoming" if into else None
