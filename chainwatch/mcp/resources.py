"""
What can be read and watched by address.

    events://stream{?filters,address,chains,token}   the newest events of a filter, and a cursor
    events://subscriptions/{id}                      the newest of a subscription
    chains://status                                  how each chain is followed
    wallets://{address}                              what a watched wallet holds

The parameters of a stream may come in any order, each once or more, with commas for several values; `min_amount` and
`where` are taken too. Each address also has words: a change of the resource is an event that they let pass.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from chainwatch.mcp import arguments as given, told, tools
from chainwatch.mcp.desk import Desk, Turned, Words
from chainwatch.mcp.subscriptions import Subscriptions

STREAM: Final = "events://stream"
STATUS: Final = "chains://status"
SUBSCRIPTIONS: Final = "events://subscriptions/"
WALLETS: Final = "wallets://"
SHOWN: Final = 20
"""Events that a stream shows when it is read."""
LONGEST: Final = 8192
"""Characters of an address."""

_TAKEN: Final = ("filters", "types", "address", "chains", "token", "min_amount", "where")
_MOST: Final = 100  # parameters of one address
_WALLET: Final = re.compile(r"0[xX][0-9a-fA-F]{40}")


class Template(NamedTuple):
    """A family of addresses, as a host is told of it."""

    uri: str
    name: str
    description: str


TEMPLATES: Final = (
    Template(
        f"{STREAM}{{?filters,address,chains,token}}",
        "events",
        f"The newest {SHOWN} events of a filter, and the cursor behind them. Subscribe to it to hear when there are "
        f"more. {told.WARNING}",
    ),
    Template(f"{SUBSCRIPTIONS}{{id}}", "subscription", f"The newest events of a subscription. {told.WARNING}"),
    Template(f"{WALLETS}{{address}}", "wallet", f"What a watched wallet holds. {told.WARNING}"),
)


class Listed(NamedTuple):
    """One address that can be read."""

    uri: str
    name: str
    description: str


async def listed(desk: Desk, subscriptions: Subscriptions) -> list[Listed]:
    """Those that the caller can read now, without having to fill in a template."""
    if not desk.may("read"):
        return []
    wallets: dict[str, str] = {}
    for wallet in await desk.wallets():
        wallets.setdefault(wallet["address"], wallet["name"] or wallet["address"])
    return [
        Listed(STREAM, "events", f"The newest events of all kinds, and a cursor. {told.WARNING}"),
        Listed(STATUS, "chain status", f"How each chain and each source of prices is followed. {told.REASON}"),
        *(Listed(f"{WALLETS}{address}", name, "What this wallet holds.") for address, name in wallets.items()),
        *(
            Listed(tools.resource_of(one.id), one.id, f"The newest events of this subscription. {told.WARNING}")
            for one in await subscriptions.all(desk)
        ),
    ]


async def words_of(uri: str, desk: Desk, subscriptions: Subscriptions) -> Words:
    """The events by which this resource changes. `Turned` where there is no such resource, or it is not theirs."""
    if len(uri) > LONGEST:
        raise _unknown(uri)
    if uri == STATUS:
        return {"types": ["chain_status", "source_status"]}
    if uri.startswith(SUBSCRIPTIONS):
        return (await subscriptions.get(desk, _rest(uri, SUBSCRIPTIONS))).words
    if uri.startswith(WALLETS):
        await _wallets(uri, desk)
        return {"types": ["balance_changed", "wallet_status"], "address": [_rest(uri, WALLETS)]}
    if uri.partition("?")[0] == STREAM:
        words = _query(uri)
        await desk.cursor(words)
        return words
    raise _unknown(uri)


async def read(uri: str, desk: Desk, subscriptions: Subscriptions) -> dict[str, Any]:
    """What the resource is now, ready for JSON."""
    if len(uri) > LONGEST:
        raise _unknown(uri)
    if uri == STATUS:
        call = tools.Call(desk, subscriptions, _quiet)
        return (await tools.status(call, given.Nothing())).model_dump()
    if uri.startswith(WALLETS):
        return {"wallets": await _wallets(uri, desk)}
    words = await words_of(uri, desk, subscriptions)
    return (await tools.newest(desk, words, SHOWN))._asdict()


def _query(uri: str) -> dict[str, list[str]]:
    words: dict[str, list[str]] = {}
    query = uri.partition("?")[2].partition("#")[0]
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST)
    except ValueError:
        raise Turned(f"{STREAM} takes at most {_MOST} parameters", "Several values of one go with commas.") from None
    for name, value in pairs:
        if name not in _TAKEN:
            raise Turned(f"{STREAM} has no parameter {name[:80]!r}", f"There is: {', '.join(_TAKEN)}.")
        if value:
            words.setdefault(name, []).append(value)
    return words


async def _wallets(uri: str, desk: Desk) -> list[dict[str, Any]]:
    """The wallet on each of its chains."""
    address = _rest(uri, WALLETS)
    found = [wallet for wallet in await desk.wallets() if wallet["address"].lower() == address.lower()]
    if not found or not _WALLET.fullmatch(address):
        raise Turned(
            f"No watched wallet has the address {address[:80]!r}", "Read the list of resources, or get_balances."
        )
    return [told.event(wallet) for wallet in found]


def _rest(uri: str, start: str) -> str:
    """What stands behind the start of an address, as it was before it was percent-encoded."""
    return unquote(uri.removeprefix(start))


def _unknown(uri: str) -> Turned:
    return Turned(f"There is no resource {uri[:200]!r}", "Read the list of resources and of their templates.")


async def _quiet(_done: int, _total: int, _line: str) -> None:
    """Progress that nobody asked for."""
