"""
Who asks, and what they may: permissions, and a scope that narrows every filter. Pure.

A scope is not checked event by event: it becomes part of the filter before anything is read or sent, so live streams,
replay, history, WebSocket and agents obey it because they obey the filter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import msgspec

from chainwatch.errors import UsageError
from chainwatch.event import Interest
from chainwatch.filter import CUSTOM, Filter, Unknown, Vocabulary, has_type, resolve_types
from chainwatch.keys import Key
from chainwatch.payloads import PAYLOADS
from chainwatch.server.problem import Problem

EVERYTHING: Final = frozenset({"read", "send", "admin"})
NOTHING: Final = frozenset({"\0"})
"""A type, chain or address that no event has: for an allow-list none of whose words means anything any more."""

_T = TypeVar("_T")
_LISTED: Final = 8  # words of an allow-list that an error repeats
_OF_CHAINS: Final = ("chains", "token")
_OF_TYPES: Final = ("filters", "types", "type")
"""Parameters whose words a key that is limited to some chains, or types, may not find out by trying them."""


class Principal(msgspec.Struct, frozen=True):
    """Whoever holds `key`; without one, anybody: then the daemon knows no keys."""

    key: Key | None = None

    @property
    def id(self) -> str:
        """What is theirs (streams, agents) carries it; empty for anybody."""
        return "" if self.key is None else self.key.id

    @property
    def name(self) -> str | None:
        return None if self.key is None else self.key.name

    def may(self, permission: str) -> bool:
        """`admin` may everything."""
        return self.key is None or permission in self.key.can or "admin" in self.key.can

    @property
    def limited(self) -> bool:
        """Whether some chains, types or addresses are not theirs to see."""
        key = self.key
        return key is not None and bool(key.chains or key.types or key.addresses)

    def owns(self, owner: str) -> bool:
        """Whether what `owner` (an id) opened is theirs to see."""
        return self.may("admin") or owner == self.id

    def narrow(self, wanted: Filter, vocabulary: Vocabulary) -> Filter:
        """What of `wanted` they may see; 403 where it names something outside of their scope."""
        key = self.key
        if key is None or not self.limited:
            return wanted
        return msgspec.structs.replace(
            wanted,
            types=_within("type", wanted.types, self.types(vocabulary), has_type),
            chains=_within("chain", wanted.chains, frozenset(key.chains)),
            addresses=_within("address", wanted.addresses, frozenset(address.lower() for address in key.addresses)),
        )

    def known(self, vocabulary: Vocabulary) -> Vocabulary:
        """The words for what is within their scope. To whoever is limited, an error must not list the others."""
        key = self.key
        if key is None or not self.limited:
            return vocabulary
        may, allowed = frozenset(key.chains or vocabulary.chains), self.types(vocabulary)
        wallets: dict[str, tuple[str, tuple[str, ...]]] = {}
        for name, (address, chains) in vocabulary.wallets.items():
            seen = tuple(chain for chain in chains if chain in may)
            if bool(seen) is bool(chains) and (not key.addresses or address in key.addresses):
                wallets[name] = (address, seen)
        tokens: dict[str, tuple[tuple[str, str], ...]] = {}
        for symbol, meant in vocabulary.tokens.items():
            if pairs := tuple(pair for pair in meant if pair[0] in may):
                tokens[symbol] = pairs
        # What its own list names is known to it before it is published. What is published belongs to no chain.
        named = allowed - NOTHING - PAYLOADS.keys() - {CUSTOM}
        custom = frozenset[str]() if key.chains else vocabulary.custom | named
        return msgspec.structs.replace(
            vocabulary,
            chains=tuple(chain for chain in vocabulary.chains if chain in may),
            tokens=tokens,
            wallets=wallets,
            prices=tuple(price for price in vocabulary.prices if not key.chains or price[2] in may),
            custom=frozenset(kind for kind in custom if not allowed or has_type(allowed, kind)),
        )

    def understand(self, ask: Callable[[Vocabulary], _T], vocabulary: Vocabulary) -> _T:
        """
        What `ask` makes of a question in the words that they know. `Problem` 403 for a word of what they are limited
        in, whether or not it names something beyond their scope; else whatever `ask` raises.
        """
        known = self.known(vocabulary)
        try:
            return ask(known)
        except Unknown as error:
            key = self.key
            if key is None or not self.limited:
                raise
            if error.parameter in ((*_OF_CHAINS,) if key.chains else ()) + ((*_OF_TYPES,) if key.types else ()):
                what = {"chains": "chain", "token": "token"}.get(error.parameter, "type")
                more = {"parameter": error.parameter, "value": error.value, "nearest": error.nearest}
                detail = f"this key may not see {what} {error.value}"
                raise Problem(403, detail, more={**more, "hint": error.hint}) from None
            # What others publish, and which tokens are followed, is not for a key of some addresses to read in a hint.
            if known.custom and error.parameter in _OF_TYPES:
                return ask(msgspec.structs.replace(known, custom=frozenset()))
            if error.parameter == "token":
                hint = "the address of a contract can be given as well"
                raise UsageError(error.what, parameter="token", value=error.value, hint=hint) from None
            raise

    def types(self, vocabulary: Vocabulary) -> frozenset[str]:
        """The types of the key's allow-list; empty: it has none."""
        if self.key is None or not self.key.types:
            return frozenset()
        found: set[str] = set()
        for word in self.key.types:
            try:
                found |= resolve_types([word], vocabulary, "types")
            except UsageError:  # of an older or a newer version; what means nothing allows nothing
                continue
        return frozenset(found) or NOTHING

    def sees(self, about: Interest, vocabulary: Vocabulary) -> bool:
        """Whether an event with this interest is within their scope."""
        return self.narrow(Filter(), vocabulary).matches(about)

    def sees_chain(self, chain: str | None) -> bool:
        """Whether they may know of that chain; None: of what belongs to no chain."""
        return self.key is None or not self.key.chains or chain in self.key.chains


def _within(
    what: str,
    asked: frozenset[str],
    allowed: frozenset[str],
    holds: Callable[[frozenset[str], str], bool] = frozenset.__contains__,
) -> frozenset[str]:
    if not allowed:
        return asked
    if not asked:
        return allowed
    if beyond := sorted(word for word in asked if not holds(allowed, word)):
        names = _some(beyond)
        raise Problem(
            403,
            f"this key may not see {what} {names}",
            more={"value": names, "hint": f"it may see: {_some(sorted(allowed - NOTHING)) or 'nothing any more'}"},
        )
    return asked


def _some(words: Iterable[str]) -> str:
    listed = list(words)
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(listed[:_LISTED]) + more
