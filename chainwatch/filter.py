"""
One predicate for `?filters=`, `tail --type` and (later) a key's scopes.

A filter is parsed once, against the vocabulary of the daemon (its chains, its tokens, the types it knows), and every
word that means nothing is an error that names it and the nearest word that would: nothing is silently ignored.
Values of one parameter are OR, different parameters are AND.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from chainwatch.errors import UsageError
from chainwatch.event import NATIVE, Interest, address_key, pair_key
from chainwatch.payloads import NAMES, PAYLOADS, meant_by
from chainwatch.where import View, Where, both, compile_where

PARAMETERS: Final = ("filters", "types", "address", "token", "chains", "min_amount", "where")
"""
The parameters that this module reads; each may repeat, and hold several values separated by commas, but for
`min_amount` and `where`, which are one: a comma is part of an expression.
"""

CUSTOM: Final = "custom"
"""Stands among types for each that is not in the catalogue: those too that nobody has published yet."""

_ADDRESS: Final = re.compile(r"0[xX][0-9a-fA-F]{40}")
_CUSTOM: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """What the words of a filter can mean in one daemon."""

    chains: tuple[str, ...] = ()
    tokens: Mapping[str, tuple[tuple[str, str], ...]] = {}
    """Symbol, upper case -> its contracts as (chain, lower-case address); `NATIVE` for a chain's own currency."""
    wallets: Mapping[str, tuple[str, tuple[str, ...]]] = {}
    """Name -> lower-case address, and the chains on which it is watched; none of them is all."""
    prices: tuple[tuple[str, str, str | None], ...] = ()
    """Symbol, quote, and the chain of its feed; None where it belongs to none."""
    custom: frozenset[str] = frozenset()
    """Custom types that were published."""


class Unknown(UsageError):
    """A word that names nothing in this daemon, though it could name something in another: `parameter` says of what."""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed filter. An empty set asks nothing. Equal filters are equal values, so streams can share their work."""

    types: frozenset[str] = frozenset()
    """See `has_type`; with `CUSTOM` there are no single custom types among them."""
    chains: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()
    """Lower case."""
    tokens: frozenset[tuple[str, str]] = frozenset()
    """(chain, contract); the chain is empty where any is meant."""
    min_amount: int | None = None
    """Base units; compared with the size of a signed amount."""
    where: Where | None = None

    def matches(self, about: Interest, view: View | None = None) -> bool:
        """
        Whether the event with this interest passes. `view` is the event itself, which `where` asks about: `TypeError`
        without it, so that nobody forgets it. Filters that look at one event share one view.
        """
        if self.types and about.type not in self.types and not has_type(self.types, about.type):
            return False
        if self.chains and about.chain not in self.chains:
            return False
        if self.addresses and self.addresses.isdisjoint(about.addresses):
            return False
        if self.tokens and not any(
            (about.chain or "", token) in self.tokens or ("", token) in self.tokens for token in about.tokens
        ):
            return False
        if self.min_amount is not None and (about.amount is None or _size(about.amount) < self.min_amount):
            return False
        if self.where is None:
            return True
        if view is None:
            raise TypeError("a filter with `where` needs the event itself")
        return view.answer(self.where)

    @property
    def is_open(self) -> bool:
        """It lets everything pass."""
        return self == OPEN

    @property
    def by_pairs(self) -> bool:
        """Types and chains decide alone: the keys of `pairs` give exactly its events."""
        return not self.addresses and not self.tokens and self.min_amount is None and self.where is None

    def address_keys(self) -> frozenset[int] | None:
        """The keys of `event.address_key`, one of which every matching event has; None where no address narrows it."""
        if self.addresses:
            return frozenset(address_key(address) for address in self.addresses)
        if self.tokens and all(token != NATIVE for _, token in self.tokens):
            return frozenset(address_key(token) for _, token in self.tokens)
        return None

    def pair_keys(self, known: Iterable[tuple[str | None, str]]) -> frozenset[int]:
        """The keys of `event.pair_key` among the (chain, type) pairs known to a log that can hold a match."""
        return frozenset(pair_key(chain, kind) for chain, kind in known if self.takes(chain, kind))

    def takes(self, chain: str | None, kind: str) -> bool:
        """Whether an event of that type on that chain can match."""
        return (not self.types or has_type(self.types, kind)) and (not self.chains or chain in self.chains)

    def describe(self) -> dict[str, list[str]]:
        """The filter in the words of its parameters, types resolved: what `connect` and `/v1/stats` tell."""
        told: dict[str, list[str]] = {}
        if self.types:
            told["types"] = sorted(self.types)
        if self.chains:
            told["chains"] = sorted(self.chains)
        if self.addresses:
            told["address"] = sorted(self.addresses)
        if self.tokens:
            told["token"] = sorted({token for _, token in self.tokens})
        if self.min_amount is not None:
            told["min_amount"] = [str(self.min_amount)]
        if self.where is not None:
            told["where"] = [self.where.text]
        return told


OPEN: Final = Filter()


def has_type(types: frozenset[str], kind: str) -> bool:
    """Whether `kind` is one of these types."""
    return kind in types or (CUSTOM in types and kind not in PAYLOADS)


def common_types(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    """The types that are in both."""
    return frozenset({kind for kind in one if has_type(other, kind)} | {kind for kind in other if has_type(one, kind)})


def _size(amount: str) -> int:
    try:
        return abs(int(amount))
    except ValueError:
        return -1


def parse(
    parameters: Mapping[str, Sequence[str]], vocabulary: Vocabulary, only: frozenset[str] = frozenset()
) -> Filter:
    """
    The filter of the parameters named in `PARAMETERS` (others are not looked at). `only`: types beyond which nothing is
    asked for, such as those of a route. `UsageError` names the first value that cannot be meant.
    """
    if parameters.keys().isdisjoint(PARAMETERS):  # thousands may come back at once, and most ask for everything
        return Filter(types=only) if only else OPEN
    types = resolve_types(_words(parameters, "filters"), vocabulary, "filters")
    narrowed = resolve_types(_words(parameters, "types"), vocabulary, "types")
    if types and narrowed and not common_types(types, narrowed):
        raise UsageError("filters and types have no type in common, so nothing can match", parameter="types")
    types = common_types(types, narrowed) if types and narrowed else types or narrowed
    if only and types and not common_types(only, types):
        raise UsageError(
            f"{', '.join(sorted(only))} and the types asked for have none in common, so nothing can match",
            parameter="types",
        )
    types = common_types(types, only) if types and only else types or only
    return Filter(
        types=types,
        chains=frozenset(parse_chain(word, vocabulary) for word in _words(parameters, "chains")),
        addresses=frozenset(parse_address(word, "address") for word in _words(parameters, "address")),
        tokens=frozenset(pair for word in _words(parameters, "token") for pair in parse_token(word, vocabulary)),
        min_amount=_min_amount(_words(parameters, "min_amount")),
        where=_where(parameters.get("where", ()), types),
    )


def and_where(wanted: Filter, expression: str) -> Filter:
    """
    What of `wanted` the expression is true of, too. It is the caller's: what a client gave goes into it by
    `where.quoted`. `UsageError` as for `where` itself.
    """
    where = compile_where(expression, wanted.types)
    return msgspec.structs.replace(wanted, where=where if wanted.where is None else both(where, wanted.where))


def _words(parameters: Mapping[str, Sequence[str]], name: str) -> list[str]:
    given = parameters.get(name, ())
    words = [word.strip() for value in given for word in value.split(",")]
    if given and not all(words):
        raise UsageError(f"{name} has an empty value", parameter=name, value=",".join(given))
    return words


def resolve_types(words: Iterable[str], vocabulary: Vocabulary, parameter: str) -> frozenset[str]:
    """
    The types that category and type names mean, singular or plural, in any case; `custom:NAME` as well. `custom` is all
    custom types, whenever they are published.
    """
    found = frozenset(kind for word in words for kind in _types_of(word, vocabulary, parameter))
    return frozenset(kind for kind in found if kind in PAYLOADS or kind == CUSTOM) if CUSTOM in found else found


def _types_of(word: str, vocabulary: Vocabulary, parameter: str) -> frozenset[str]:
    lower = word.lower().replace("-", "_")
    if lower.startswith("custom:"):
        name = lower.removeprefix("custom:")
        if not _CUSTOM.fullmatch(name):
            raise UsageError(
                f"{word!r} is no custom type",
                parameter=parameter,
                value=word,
                hint="a custom type is a letter, then letters, digits and _: at most 64",
            )
        return frozenset({name})
    if (meant := meant_by(word)) is not None:
        return meant
    singular = lower.removesuffix("s")
    for name in (lower, singular):
        if name in vocabulary.custom:
            return frozenset({name})
    if singular == CUSTOM:
        return frozenset({CUSTOM})
    raise unknown("event type or category", word, [*NAMES, CUSTOM, *vocabulary.custom], parameter)


def parse_chain(word: str, vocabulary: Vocabulary) -> str:
    if word in vocabulary.chains:
        return word
    raise unknown("chain", word, vocabulary.chains, "chains")


def parse_address(word: str, parameter: str) -> str:
    if not _ADDRESS.fullmatch(word):
        raise UsageError(
            f"{word!r} is no address",
            parameter=parameter,
            value=word,
            hint="an address is 0x and 40 hexadecimal digits",
        )
    return word.lower()


def parse_token(word: str, vocabulary: Vocabulary) -> tuple[tuple[str, str], ...]:
    if word[:2] in ("0x", "0X"):
        return (("", parse_address(word, "token")),)
    if found := vocabulary.tokens.get(word.upper()):
        return found
    raise unknown("configured token", word, vocabulary.tokens, "token")


def _min_amount(words: list[str]) -> int | None:
    if not words:
        return None
    if len(words) > 1 or not re.fullmatch(r"[0-9]{1,78}", words[0]):
        raise UsageError(
            f"{','.join(words)!r} is no amount",
            parameter="min_amount",
            value=",".join(words),
            hint="min_amount is one whole number of base units, such as 1000000000000000000 for 1 ETH",
        )
    return int(words[0])


def _where(given: Sequence[str], types: frozenset[str]) -> Where | None:
    if not given:
        return None
    if len(given) > 1:
        raise UsageError(
            f"where is given {len(given)} times",
            parameter="where",
            value=given[1],
            hint="where is one expression: join several by &&, in an address written as %26%26",
        )
    return compile_where(given[0], types)


def unknown(what: str, word: str, known: Iterable[str], parameter: str) -> Unknown:
    names = sorted(known)
    folded = {name.lower(): name for name in names}
    lower = word.lower()
    # «failed», as people see it in `tail`, is not nearest to «wallet».
    close = [name for name in folded if {lower, lower.removesuffix("s")} & {*name.split("_")}]
    close = close or difflib.get_close_matches(lower, folded, n=1, cutoff=0.5)
    hint = (
        ""
        if close
        else (f"there is: {', '.join(names)}" if names else f"no {what.removeprefix('configured ')} is configured")
    )
    return Unknown(
        f"unknown {what} {word!r}",
        parameter=parameter,
        value=word,
        nearest=folded[close[0]] if close else "",
        hint=hint,
    )
