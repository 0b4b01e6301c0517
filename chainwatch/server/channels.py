"""
`GET /v1/{channel}/{resource}`: the stream of one thing, its events named.

    wallet   an address, on any chain; or the name of a configured wallet, on the chains on which it is watched
    token    a contract, on any chain; or the symbol of a configured token or currency
    chain    the name of a chain
    type     a type, or a category of types
    price    a symbol (ETH), or a symbol and what it is priced in (ETH-USD)

A channel is a filter, so all else is as on every route: parameters narrow it, a key's scope does, cursors are the same.
A key that is limited in what a channel is about gets 403 for what it may not see and for what there is not, alike: it
does not learn which names exist.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable
from typing import Final

import msgspec
from aiohttp import web

from chainwatch.errors import UsageError
from chainwatch.filter import (
    Filter,
    Vocabulary,
    and_where,
    parse_address,
    parse_chain,
    parse_token,
    resolve_types,
    unknown,
)
from chainwatch.keys import Key
from chainwatch.server import asking, parameters, streams
from chainwatch.server.asking import PRINCIPAL
from chainwatch.server.context import CONTEXT
from chainwatch.server.parameters import Asked
from chainwatch.server.principal import Principal
from chainwatch.server.problem import Problem
from chainwatch.where import quoted

CHANNELS: Final = ("wallet", "token", "chain", "type", "price")


async def channel(request: web.Request) -> web.StreamResponse:
    """The stream of that resource."""
    asked = parse(
        request.match_info["channel"],
        request.match_info["resource"],
        asking.query(request),
        request.app[CONTEXT].vocabulary(),
        request[PRINCIPAL],
        last_event_id=request.headers.get("Last-Event-ID", ""),
    )
    return await streams.answer(request, asked)


def parse(
    channel: str,
    resource: str,
    query: Iterable[tuple[str, str]],
    vocabulary: Vocabulary,
    principal: Principal,
    *,
    last_event_id: str = "",
) -> Asked:
    """The stream of that resource for `principal`. `Problem` and `UsageError` as for `resolve` and any query."""
    part = resolve(channel, resource, vocabulary, principal)
    query, now = [*query], int(time.time() * 1000)
    only = {"type": resource, "price": "price_update"}.get(channel)

    def ask(words: Vocabulary) -> Asked:
        return parameters.stream(query, words, now=now, last_event_id=last_event_id, only=only, names=True)

    asked = principal.understand(ask, vocabulary)
    wanted = principal.narrow(within(asked.wanted, part, channel), vocabulary)
    return msgspec.structs.replace(asked, wanted=wanted)


def resolve(channel: str, resource: str, vocabulary: Vocabulary, principal: Principal) -> Filter:
    """
    What the stream of `resource` is narrowed to. `Problem` 404 for a channel that is none, 403 for what `principal` may
    not see, or not know of; `UsageError` for a resource that is none.
    """
    if channel not in CHANNELS:
        close = difflib.get_close_matches(channel.lower(), CHANNELS, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"there is: {', '.join(CHANNELS)}"
        more = {"value": channel, "nearest": close[0] if close else "", "hint": hint}
        raise Problem(404, f"there is no channel {channel!r}", more=more)
    if channel in ("wallet", "token") and resource[:2] in ("0x", "0X"):
        parse_address(resource, channel)  # what is no address is nobody's secret
    key = principal.key
    if key is None or not _is_limited(key, channel):
        return _meaning(channel, resource, vocabulary)
    try:
        part = _meaning(channel, resource, principal.known(vocabulary))
        principal.narrow(part, vocabulary)
    except (UsageError, Problem):
        raise Problem(403, f"this key may not see {channel} {resource}", more={"value": resource}) from None
    return part


def _is_limited(key: Key, channel: str) -> bool:
    """Whether it may not know of all that there is in that channel."""
    match channel:
        case "wallet":
            return bool(key.addresses or key.chains)
        case "type":
            return bool(key.types)
        case "price":
            return bool(key.types or key.chains)
    return bool(key.chains)


def _meaning(channel: str, resource: str, vocabulary: Vocabulary) -> Filter:
    match channel:
        case "wallet":
            return _wallet(resource, vocabulary)
        case "token":
            return Filter(tokens=frozenset(parse_token(resource, vocabulary)))
        case "chain":
            return Filter(chains=frozenset({parse_chain(resource, vocabulary)}))
        case "type":
            return Filter(types=resolve_types([resource], vocabulary, "type"))
    return _price(resource, vocabulary)


def _wallet(resource: str, vocabulary: Vocabulary) -> Filter:
    if resource[:2] in ("0x", "0X"):
        return Filter(addresses=frozenset({parse_address(resource, "wallet")}))
    for name, (address, chains) in vocabulary.wallets.items():
        if name.lower() == resource.lower():
            return Filter(addresses=frozenset({address}), chains=frozenset(chains))
    raise unknown("wallet", resource, vocabulary.wallets, "wallet")


def _price(resource: str, vocabulary: Vocabulary) -> Filter:
    """Symbols and quotes of any spelling; each that is configured stands in the events as it was written."""
    asked = resource.lower()
    found = {(symbol, "") for symbol, _, _ in vocabulary.prices if symbol.lower() == asked} or {
        (symbol, quote)
        for symbol, quote, _ in vocabulary.prices
        if asked in (f"{symbol}-{quote}".lower(), f"{symbol}/{quote}".lower())
    }
    if not found:
        names = {name for symbol, quote, _ in vocabulary.prices for name in (symbol, f"{symbol}-{quote}")}
        raise unknown("price", resource, names, "price")
    parts = [
        f"data.symbol == {quoted(symbol)}" + (f" && data.quote == {quoted(quote)}" if quote else "")
        for symbol, quote in sorted(found)
    ]
    return and_where(Filter(types=frozenset({"price_update"})), " || ".join(parts))


def within(wanted: Filter, part: Filter, channel: str) -> Filter:
    """What of `wanted` is in `part`, of which that channel is made; `UsageError` where that is nothing."""
    tokens = frozenset(both for one in wanted.tokens for other in part.tokens for both in _common(one, other))
    narrowed = msgspec.structs.replace(
        wanted,
        addresses=_both(wanted.addresses, part.addresses),
        chains=_both(wanted.chains, part.chains),
        tokens=tokens if wanted.tokens and part.tokens else wanted.tokens or part.tokens,
    )
    for parameter, asked, left in (
        ("address", wanted.addresses, narrowed.addresses),
        ("chains", wanted.chains, narrowed.chains),
        ("token", wanted.tokens, narrowed.tokens),
    ):
        if asked and not left:
            raise UsageError(
                f"this {channel} and the {parameter} asked for have nothing in common, so nothing can match",
                parameter=parameter,
                hint="where= can ask for a second address or token of the same event",
            )
    if part.where is None:
        return narrowed
    return and_where(narrowed, part.where.text)


def _both(asked: frozenset[str], part: frozenset[str]) -> frozenset[str]:
    return asked & part if asked and part else asked or part


def _common(one: tuple[str, str], other: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """What two tokens (chain, contract) have in common; an empty chain is any."""
    if one[1] != other[1] or (one[0] and other[0] and one[0] != other[0]):
        return ()
    return ((one[0] or other[0], one[1]),)
