"""What was found at endpoints, for people: how `config check --online` and `init` tell it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Literal

from chainwatch.chain.evm.reads import Metadata
from chainwatch.errors import Problem
from chainwatch.text import age

if TYPE_CHECKING:
    from chainwatch.chain.evm.probe import Found, Name
    from chainwatch.chain.evm.reads import Readings, Reads
    from chainwatch.config import ChainSettings, Settings

Verdict = Literal["ok", "wrong", "down"]

_SHOWN: Final = {"ok": ("✓ ok   ", "32"), "wrong": ("✗ wrong", "31"), "down": ("✗ down ", "31")}


def probed(chains: Iterable[ChainSettings]) -> Iterator[tuple[ChainSettings, list[Found]]]:
    """What is at the endpoints of each chain, in their order; those of a chain are asked side by side."""
    for chain in chains:
        yield chain, asyncio.run(ask(chain.endpoints, chain.request_timeout))


async def ask(urls: Iterable[str], patience: float) -> list[Found]:
    """What is at each of these, asked side by side; a question waits `patience` seconds for its answer."""
    from chainwatch.chain.evm.probe import probe

    return list(await asyncio.gather(*(probe(url, patience) for url in urls)))


def verdict(found: Found, chain_id: int | None) -> Verdict:
    """Whether it can be used for the chain; None is any."""
    if chain_id is not None and found.chain_id not in (None, chain_id):
        return "wrong"
    return "down" if found.problem else "ok"


def lines(found: Sequence[Found], chain_id: int | None, *, paint: bool) -> Iterator[str]:
    """The endpoints of a chain; its id, if that is known."""
    width = max(len(one.endpoint) for one in found)
    for one in found:
        yield f"  {mark(verdict(one, chain_id), paint=paint)}  {one.endpoint:{width}}  {told(one, chain_id)}"
        if one.abilities and verdict(one, chain_id) == "ok":
            yield f"{'':11}{abilities(one)}"


def mark(found: Verdict, *, paint: bool) -> str:
    """A glyph and a word."""
    text, color = _SHOWN[found]
    return f"\x1b[{color}m{text}\x1b[0m" if paint else text


def told(found: Found, chain_id: int | None) -> str:
    """In a few words: `38 ms, head 21000000 (3s ago), Geth/v1.14.0`."""
    if verdict(found, chain_id) == "wrong":
        return f"it serves chain id {found.chain_id}"
    if found.problem:
        return found.problem
    assert found.latency is not None  # noqa: S101  # it has no problem
    assert found.age is not None  # noqa: S101
    milliseconds = found.latency * 1000
    speed = f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"
    chain = f"chain id {found.chain_id}" if chain_id is None else ""
    return ", ".join(filter(None, (chain, speed, f"head {found.head} ({age(found.age)} old)", found.client)))


def abilities(found: Found) -> str:
    """What it has, and what it has not."""
    there = [one.name for one in found.abilities if one.there]
    missing = [one.name for one in found.abilities if not one.there]
    return f"has {', '.join(there)}" + (f"; has no {', no '.join(missing)}" if missing else "")


def asked_of_contracts(chain: ChainSettings, settings: Settings) -> Reads:
    """The tokens and feeds of the chain that say of themselves whether the configuration has them right."""
    from chainwatch.chain.evm.reads import Reads

    return Reads(
        tokens=tuple(dict.fromkeys(token.address for token in settings.tokens if token.chain == chain.name)),
        feeds=tuple(dict.fromkeys(price.feed for price in settings.prices if price.chain == chain.name and price.feed)),
    )


def mistakes(chain: ChainSettings, settings: Settings, said: Readings) -> Iterator[Problem]:
    """Where the contracts say something else than the configuration."""
    for index, token in enumerate(settings.tokens):
        if token.chain != chain.name or (told := said.tokens.get(token.address)) is None:
            continue
        if told == Metadata():
            yield Problem(f"tokens[{index}].address", "no token answers there", f"is it a contract of {chain.name}?")
        elif told.decimals is not None and told.decimals != token.decimals:
            yield Problem(f"tokens[{index}].decimals", f"its contract says {told.decimals}")
    for index, price in enumerate(settings.prices):
        feed = price.feed if price.chain == chain.name else None
        if feed is not None and feed in said.feeds and said.feeds[feed] is None:
            yield Problem(f"prices[{index}].feed", "no feed answers there", "its proxy's address is at data.chain.link")


_NEEDS: Final[tuple[tuple[Name, str], ...]] = (
    ("mempool", "no endpoint shows its mempool: pending transactions are not told"),
    ("traces", "no endpoint has traces: internal transfers are not told"),
    ("old state", "no endpoint has old state: balances of history are told later, in one step"),
    ("state", "no endpoint tells balances: balance_changed is not told"),
)


def doubts(chain: ChainSettings, settings: Settings, found: Sequence[Found]) -> Iterator[str]:
    """What the configuration wants of a chain and no endpoint that answers has."""
    usable = [one for one in found if verdict(one, chain.chain_id) == "ok"]
    if not usable:
        yield f"{chain.name}: no endpoint can be used"
        return
    watched = any(not wallet.chains or chain.name in wallet.chains for wallet in settings.wallets)
    wanted: dict[Name, bool] = {
        "mempool": chain.pending == "all" or (chain.pending == "watched" and watched),
        "traces": chain.internal_transfers and watched,
        "old state": chain.start != "latest" and watched,
        "state": watched,
    }
    for name, doubt in _NEEDS:
        if wanted[name] and not any(one.has(name) for one in usable):
            yield f"{chain.name}: {doubt}"
