"""
`chainwatch init`: a first configuration, by a few questions or by options.

Nothing is written before all is answered, so ^C leaves nothing behind. Questions and notes go to stderr, the path of
the file to stdout.
"""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from chainwatch.cli import Frame, use_color
from chainwatch.cli.printer import Notes
from chainwatch.errors import ChainwatchError, ConfigError, Unreachable, UsageError
from chainwatch.text import printable

if TYPE_CHECKING:
    from chainwatch.chain.evm.probe import Found
    from chainwatch.config.starter import Chain, Wallet, Wish

PATIENCE: Final = 5.0
"""Seconds that an endpoint has for an answer."""

T = TypeVar("T")


def init(
    ctx: typer.Context,
    chains: Annotated[
        list[str] | None,
        typer.Option(
            "--chain",
            metavar="CHAIN",
            help="A well-known chain, the URL of a node, or NAME=URL; may be given again.",
        ),
    ] = None,
    wallets: Annotated[
        list[str] | None,
        typer.Option("--wallet", metavar="WALLET", help="An address, or NAME=ADDRESS; may be given again."),
    ] = None,
    prices: Annotated[
        list[str] | None,
        typer.Option("--price", metavar="SYMBOL", help="A price in USD, such as ETH; may be given again."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; what is not given is the default.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no endpoint who it is.")] = False,
) -> None:
    """
    Write a configuration: which chains to follow, which wallets to watch, which prices.

    It asks; and it asks the endpoints who they are, and says what it found. The file is that of -c, or that of the
    user. It is for nobody else to read, and one that is there stays as it is. The defaults are Ethereum through public
    endpoints, no wallet, and the price of ETH.
    """
    from chainwatch.config import starter

    frame: Frame = ctx.obj
    path = _target(frame)
    if path.exists() or path.is_symlink():
        raise starter.exists(path)
    given = bool(chains or wallets or prices)
    asks = not yes and sys.stdin is not None and sys.stdin.isatty()
    if not (asks or yes or given):
        raise UsageError(
            "init asks questions, and stdin is no terminal",
            hint="say what you want, such as --chain ethereum --wallet 0x…, or --yes for the defaults",
        )
    told = _Told(frame, offline=offline)
    if asks:
        told.say(f"This writes {printable(str(path), 4096)}. ^C leaves everything as it was.")
    followed = _chains(told, chains, asks=asks)
    watched = _wallets(told, wallets, asks=asks)
    priced = _prices(told, prices, followed, asks=asks)
    text = starter.written(followed, watched, priced)
    starter.place(path, text)
    print(path, flush=True)
    _next(told, path, frame)


def _target(frame: Frame) -> Path:
    """What -c or CHAINWATCH_CONFIG names; else that of the user."""
    from chainwatch import config

    if frame.config is not None or os.environ.get("CHAINWATCH_CONFIG"):
        found = config.find(frame.config, os.environ)
        if found is not None:
            return found
    return config.usual(os.environ)[0]


class _Told:
    """Whoever sits at the terminal: what they are told, and what they answer."""

    def __init__(self, frame: Frame, *, offline: bool) -> None:
        self.offline = offline
        self.notes = Notes(frame.verbosity)
        self._quiet = frame.verbosity < 0
        self.paint = use_color(sys.stderr, frame.color, os.environ)

    def say(self, text: str = "") -> None:
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)

    def ask(self, question: str, read: Callable[[str], T], default: str | None = None) -> T:
        """An answer that `read` takes: a `UsageError` of it is told, and the question put again."""
        while True:
            answer = typer.prompt(
                question, default=default or "", show_default=bool(default), err=True, prompt_suffix=": "
            )
            try:
                return read(str(answer).strip())
            except UsageError as error:
                self.complain(error)

    def complain(self, error: ChainwatchError) -> None:
        print("\n".join(f"  {printable(line, 500)}" for line in str(error).splitlines()), file=sys.stderr, flush=True)

    def confirm(self, question: str, *, default: bool) -> bool:
        return bool(typer.confirm(question, default=default, err=True))

    def probe(self, name: str, urls: Sequence[str], chain_id: int | None) -> list[Found]:
        """Who is at these endpoints, of that chain if it is known. What was found is said."""
        from chainwatch.cli.probes import ask, lines

        self.say(f"asking {'the node' if len(urls) == 1 else f'{len(urls)} endpoints'} of {name} …")
        found = asyncio.run(ask(urls, PATIENCE))
        for line in lines(found, chain_id, paint=self.paint):
            self.say(line)
        return found


# --- chains -------------------------------------------------------------------------------------------------------


def _chains(told: _Told, given: Sequence[str] | None, *, asks: bool) -> list[Chain]:
    from chainwatch.config import starter
    from chainwatch.config.known import CHAINS

    def several(answer: str) -> list[Wish]:
        return [starter.wish(part) for part in answer.split(",") if part.strip()]

    if given:
        wishes = [one for text in given for one in several(text)]
    elif asks:
        told.say("\n" + textwrap.fill(f"Chains that are known here: {', '.join(CHAINS)}.", 80))
        told.say("Or give the URL of a node of yours, or several of either, with commas.")
        wishes = told.ask("Which chains", several, "ethereum")
    else:
        wishes = several("ethereum")
    followed: list[Chain] = []
    for one in wishes:
        _follow(told, one, followed, asks=asks)
    if asks and not given:
        for index, chain in enumerate(followed):
            followed[index] = _own(told, chain)
    return followed


def _follow(told: _Told, one: Wish, followed: list[Chain], *, asks: bool) -> None:
    """Put the chain that is meant to those that are followed; a further node of one of them beside its others."""
    from chainwatch.config import values
    from chainwatch.config.known import by_id
    from chainwatch.config.starter import Chain, named

    if one.endpoint is None and one.known is not None:
        if all(chain.name != one.known.name for chain in followed):
            endpoints = _usable(told, one.known.name, one.known.chain_id, one.known.endpoints)
            followed.append(Chain(one.known.name, one.known.chain_id, tuple(endpoints)))
        return
    assert one.endpoint is not None  # noqa: S101  # a wish is one or the other
    chain_id = _identified(told, one, asks=asks)
    for index, chain in enumerate(followed):
        if chain.chain_id == chain_id and one.name in (None, chain.name):
            followed[index] = Chain(chain.name, chain_id, (*chain.endpoints, one.endpoint))
            return
    taken = [chain.name for chain in followed]

    def free(answer: str) -> str:
        try:
            name = values.chain_name(answer)
        except values.Wrong as wrong:
            raise UsageError(f"{printable(answer, 64)!r} {wrong}", hint=wrong.hint) from None
        if name in taken:
            raise UsageError(f"two chains are called {name!r}", parameter="--chain", hint="each needs its own name")
        return name

    name = one.name or named(chain_id, one.endpoint, taken)
    if asks and one.name is None and by_id(chain_id) is None:
        name = told.ask(f"What do you call the chain with id {chain_id}", free, name)
    followed.append(Chain(free(name), chain_id, (one.endpoint,)))


def _usable(told: _Told, name: str, chain_id: int, urls: Sequence[str]) -> list[str]:
    """The endpoints that are of the chain, those first that answer: what is down now may be there tomorrow."""
    from chainwatch.cli.probes import verdict

    if told.offline:
        return list(urls)
    found = told.probe(name, urls, chain_id)
    verdicts = [verdict(one, chain_id) for one in found]
    if "ok" not in verdicts:
        told.notes.say(f"none of the endpoints of {name} answers: they are kept as they are", at=-1)
        return list(urls)
    sides = list(zip(urls, verdicts, strict=True))
    return [url for wanted in ("ok", "down") for url, side in sides if side == wanted]


def _identified(told: _Told, one: Wish, *, asks: bool) -> int:
    """The id of the chain that a node serves."""
    assert one.endpoint is not None  # noqa: S101
    name = one.name or "that chain"
    if told.offline:
        found = None
    else:
        (found,) = told.probe(name, [one.endpoint], one.known.chain_id if one.known else None)
    if found is not None and found.chain_id is not None:
        if one.known is not None and found.chain_id != one.known.chain_id:
            raise ConfigError(
                f"{found.endpoint} serves chain id {found.chain_id}, and {name} is {one.known.chain_id}",
                hint="give it another name, or another node",
            )
        return found.chain_id
    if one.known is not None:
        return one.known.chain_id
    if asks:
        return told.ask(f"Which chain id does {name} serve", _chain_id)
    raise Unreachable(
        f"nobody knows which chain {found.endpoint if found else 'the node'} serves",
        why=f"{found.endpoint}: {found.problem}" if found else "",
        hint="its id is learned from the node, so it has to answer; a well-known chain is named by NAME=URL",
    )


def _chain_id(answer: str) -> int:
    if not answer.isdecimal() or not 1 <= int(answer) < 2**63:
        raise UsageError("a chain id is a whole number, such as 1")
    return int(answer)


def _own(told: _Told, chain: Chain) -> Chain:
    """The chain, with a node of its user's before all others if there is one."""
    from chainwatch.config.starter import Chain as Followed

    if any(_is_private(chain, url) for url in chain.endpoints):
        return chain

    def read(answer: str) -> str:
        from chainwatch.config import values

        if not answer:
            return ""
        try:
            url = values.endpoint(answer)
        except values.Wrong as wrong:
            raise UsageError(f"it {wrong}", hint=wrong.hint) from None
        if not told.offline:
            (found,) = told.probe(chain.name, [url], chain.chain_id)
            if found.chain_id not in (None, chain.chain_id):
                raise UsageError(f"it serves chain id {found.chain_id}, and {chain.name} is {chain.chain_id}")
            if found.problem and not told.confirm("Take it all the same?", default=False):
                raise UsageError("then another one, or none")
        return url

    url = told.ask(f"A node of yours for {chain.name}, to be preferred (a URL; empty for none)", read)
    return Followed(chain.name, chain.chain_id, (url, *chain.endpoints)) if url else chain


def _is_private(chain: Chain, url: str) -> bool:
    from chainwatch.config.known import by_id

    known = by_id(chain.chain_id)
    return known is None or url not in known.endpoints


# --- wallets and prices -------------------------------------------------------------------------------------------


def _wallets(told: _Told, given: Sequence[str] | None, *, asks: bool) -> list[Wallet]:
    from chainwatch.config import starter

    watched: list[Wallet] = []

    def add(text: str) -> Wallet:
        one = starter.wallet(text, len(watched) + 1)
        if any(one.name == other.name for other in watched):
            raise UsageError(f"two wallets are called {one.name!r}", parameter="--wallet")
        watched.append(one)
        return one

    for text in given or ():
        add(text)
    if asks and not given:
        told.say("\nWallets to watch: an address, or a name and an address, such as treasury=0x…")
        while told.ask("A wallet (empty for no more)", lambda answer: add(answer) if answer else None) is not None:
            pass
    return watched


def _prices(
    told: _Told, given: Sequence[str] | None, followed: Sequence[Chain], *, asks: bool
) -> list[dict[str, object]]:
    from chainwatch.config import starter

    offered = starter.offered(followed)

    def several(answer: str) -> list[dict[str, object]]:
        words = dict.fromkeys(part.strip().upper() for part in answer.split(",") if part.strip())
        return [] if list(words) == ["NONE"] else [starter.price(word, offered) for word in words]

    default = "ETH" if "ETH" in offered else next(iter(offered), "none")
    if given:
        return several(",".join(given))
    if asks and offered:
        told.say(f"\nPrices in USD that Chainlink's feeds on these chains tell: {', '.join(offered)}; or none.")
        return told.ask("Which prices", several, default)
    return several(default)


def _next(told: _Told, path: Path, frame: Frame) -> None:
    from chainwatch import config

    found = config.find(None, os.environ)
    option = f"-c {path} " if frame.config is not None and found != path else ""
    told.say("\nIt is written. What you can do now:")
    commands = {
        f"{option}serve": "follow it",
        "tail": "see the events, in another terminal",
        f"{option}config check": "after you have changed something",
    }
    width = max(map(len, commands))
    for command, what in commands.items():
        told.say(f"  chainwatch {command:{width}}  {what}")
