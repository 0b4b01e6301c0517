"""A first configuration out of a few answers: which chains, wallets and prices; and `place`, which writes it."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from chainwatch.config import document, known, values
from chainwatch.config.known import Known
from chainwatch.eip55 import checksum
from chainwatch.errors import ChainwatchError, UsageError
from chainwatch.text import printable

HEAD: Final = (
    """The configuration of chainwatch, written by `chainwatch init`. What counts has no # before it; every other key \
stands there with its default, or with an example.

chainwatch config check --online tells what is wrong with it, chainwatch serve follows it.

"""
    + document.HEAD
)


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain to follow."""

    name: str
    chain_id: int
    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wallet:
    """A wallet to watch."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Wish:
    """A chain as somebody named it: a well-known one, or endpoints of their own, or both."""

    name: str | None
    known: Known | None
    endpoint: str | None


def wish(text: str) -> Wish:
    """`ethereum`, `https://node.example`, `mine=wss://node.example`. `UsageError` for what is none of these."""
    written = text.strip()
    name, equals, url = written.partition("=")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        name, equals, url = "", "", written
    if equals or "://" in written:
        try:
            endpoint = values.endpoint(url.strip())
            named = values.chain_name(name.strip().lower()) if equals else None
        except values.Wrong as wrong:
            what = "the URL" if "URL" in str(wrong) else repr(name)
            raise UsageError(f"{what} {wrong}", parameter="--chain", hint=wrong.hint) from None
        return Wish(named, known.CHAINS.get(named or ""), endpoint)
    found = known.CHAINS.get(written.lower())
    if found is None:
        from chainwatch.config.explain import nearest

        near = nearest(written, known.CHAINS)
        hint = "" if near else f"there is: {', '.join(known.CHAINS)}; or the URL of a node"
        raise UsageError(
            f"no well-known chain is called {printable(written, 64)!r}",
            parameter="--chain", value=written, nearest=near, hint=hint,
        )  # fmt: skip
    return Wish(found.name, found, None)


def wallet(text: str, number: int) -> Wallet:
    """`0x…`, `treasury=0x…`; without a name it is that `number`. `UsageError` for what is none of these."""
    name, equals, address = text.rpartition("=")
    try:
        named = values.label(name.strip()) if equals else f"wallet-{number}"
        return Wallet(named, checksum(values.address(address.strip())))
    except values.Wrong as wrong:
        what = address if "address" in str(wrong) or "checksum" in str(wrong) else name
        raise UsageError(
            f"{printable(what.strip(), 80)!r} {wrong}", parameter="--wallet", value=text, hint=wrong.hint
        ) from None


def offered(chains: Sequence[Chain]) -> dict[str, dict[str, Any]]:
    """The prices that feeds on these chains tell, by symbol: the tables for them. The first chain that has one."""
    tables: dict[str, dict[str, Any]] = {}
    for chain in chains:
        if (found := known.by_id(chain.chain_id)) is not None:
            for symbol in found.feeds:
                tables.setdefault(symbol, known.price_table(chain.name, found, symbol))
    return tables


def price(text: str, prices: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The table of that price. `UsageError` where none of the chains tells it."""
    symbol = text.strip().upper()
    if symbol not in prices:
        there = f"there is: {', '.join(prices)}" if prices else "no chain that was chosen has a feed that is known here"
        raise UsageError(
            f"no price of {printable(text.strip(), 64)!r} is offered", parameter="--price", value=text, hint=there
        )
    return prices[symbol]


def written(chains: Sequence[Chain], wallets: Sequence[Wallet], prices: Sequence[Mapping[str, Any]]) -> str:
    """The file."""
    tokens: list[dict[str, Any]] = []
    for chain in chains:
        if (found := known.by_id(chain.chain_id)) is not None:
            tokens += known.token_tables(chain.name, found)
    return document.write(
        {
            "chains": [
                {"name": chain.name, "chain_id": chain.chain_id, "endpoints": list(chain.endpoints)} for chain in chains
            ],
            "wallets": [{"name": one.name, "address": one.address} for one in wallets],
            "tokens": tokens,
            "prices": list(prices),
        },
        HEAD,
    )


def named(chain_id: int, url: str, taken: Sequence[str]) -> str:
    """What to call a chain of which only a node is known."""
    found = known.by_id(chain_id)
    host = (urlsplit(url).hostname or "").replace(".", "-")
    for name in (found.name if found else f"chain-{chain_id}", f"chain-{chain_id}", f"{host}-{chain_id}"):
        if name not in taken:
            return name
    return f"chain-{chain_id}-{len(taken)}"


def place(path: Path, text: str) -> None:
    """
    Write a file that nobody else can read, whole or not at all, and never over another one. `ChainwatchError` where
    that cannot be.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    made: list[Path] = []
    try:
        for folder in reversed([folder for folder in path.parents if not folder.exists()]):
            folder.mkdir(mode=0o700)
            made.append(folder)
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # A rename would take the place of a file that came meanwhile.
        path.hardlink_to(beside)
        made.clear()
    except FileExistsError:
        raise exists(path) from None
    except OSError as error:
        raise ChainwatchError(f"cannot write {printable(str(path))}", why=(error.strerror or "").lower()) from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()


def exists(path: Path) -> ChainwatchError:
    """The error that says so."""
    return ChainwatchError(
        f"{printable(str(path), 4096)} is there already, and was left as it is",
        hint="`chainwatch config check` tells what is wrong with it; name another file with -c",
    )
