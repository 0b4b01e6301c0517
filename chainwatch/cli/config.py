"""
`chainwatch config`: what is wrong with the configuration, what is in force and by what, and which file that is.

No daemon need run. stdout has what was asked for; what is wrong goes to stderr, all at once, with exit code 3.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chainwatch.cli import Frame, Group, need_command, use_color
from chainwatch.cli.printer import Notes
from chainwatch.errors import ConfigError, Problem, Unreachable
from chainwatch.text import printable

if TYPE_CHECKING:
    from chainwatch.config import ChainSettings, Settings
    from chainwatch.config.load import Loaded
    from chainwatch.config.show import Table

config = typer.Typer(cls=Group, rich_markup_mode=None, add_completion=False)

BUILT_IN = "built in: Ethereum through public endpoints"


@config.callback(invoke_without_command=True)
def _config(ctx: typer.Context) -> None:
    """Check the configuration, show what is in force and by what, or say which file that is."""
    need_command(ctx)


@config.command("check", epilog="Example: chainwatch config check --online")
def check(
    ctx: typer.Context,
    online: Annotated[bool, typer.Option("--online", help="Ask each endpoint who it is and what it has, too.")] = False,
) -> None:
    """
    Tell everything that is wrong.

    Each problem of the configuration is told with its line and with what would be right. With --online each
    endpoint is asked as well: whether it answers, for which chain, how fast, how old its newest block is, and what
    it has of what the configuration needs; the contracts of tokens and feeds, what they say of themselves; and what
    the names of receivers of webhooks mean, who are not called. Exit code 3 where something is wrong, 4 where an
    endpoint does not answer, or a name is not known.
    """
    found = _loaded(ctx)
    settings = found.settings
    print(f"{_named(found)}: {_summary(settings)}", flush=True)
    notes = Notes(ctx.obj.verbosity)
    for doubt in _doubts(found):
        notes.say(doubt, at=-1)
    if online:
        _check_online(ctx.obj, found, notes)


@config.command("show", epilog="Example: chainwatch config show --json | jq .settings.server.port")
def show(
    ctx: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="As a JSON object.")] = False,
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="As of serve.", show_default=False)
    ] = None,
    port: Annotated[int | None, typer.Option("--port", metavar="PORT", help="As of serve.", show_default=False)] = None,
    log: Annotated[Path | None, typer.Option("--log", metavar="PATH", help="As of serve.", show_default=False)] = None,
) -> None:
    """
    Show each value, and where it is from.

    That is the file and its line, a variable, an option, or the default. It is written as in a file. Of URLs of
    nodes only the host is shown, of secrets nothing.
    """
    import msgspec

    from chainwatch.config import show as shown

    found = _loaded(ctx, {"server.host": host, "server.port": port, "log.path": log})
    if json:
        print(msgspec.json.format(msgspec.json.encode(shown.nested(found)), indent=2).decode())
        return
    paint = use_color(sys.stdout, ctx.obj.color, os.environ)
    print(f"# {_named(found)}")
    for table in shown.tables(found):
        print("\n" + "\n".join(_written(table, paint=paint)))


@config.command("path", epilog="Example: $EDITOR $(chainwatch config path)")
def path(ctx: typer.Context) -> None:
    """
    Print the path of the file that is read. It is the first of these, and no other is looked at.

    What -c names; what CHAINWATCH_CONFIG names; that of the user; that of the system. Why it is this one goes to
    stderr. Exit code 1 where there is none.
    """
    from chainwatch import config as settings

    frame: Frame = ctx.obj
    notes = Notes(frame.verbosity)
    found = settings.find(frame.config, os.environ)
    usual = [printable(str(one)) for one in settings.usual(os.environ)]
    if found is None:
        notes.say(f"there is no file, neither {usual[0]} nor {usual[1]}; {BUILT_IN}")
        notes.say("`chainwatch init` writes one")
        raise typer.Exit(1)
    print(found)
    if frame.config is not None:
        notes.say("it is named by -c")
    elif os.environ.get("CHAINWATCH_CONFIG"):
        notes.say("it is named by CHAINWATCH_CONFIG")
    else:
        notes.say("it is the first that exists of " + " and ".join(usual))
    if not found.is_file():
        notes.say("it is not there", at=-1)


def _loaded(ctx: typer.Context, flags: dict[str, object] | None = None) -> Loaded:
    from chainwatch import config as settings

    frame: Frame = ctx.obj
    try:
        return settings.loaded(settings.find(frame.config, os.environ), os.environ, flags or {})
    except ConfigError as error:
        raise ConfigError(error.what, error.problems, hint="") from None


def _named(found: Loaded) -> str:
    return BUILT_IN if found.path is None else printable(str(found.path), 4096)


def _summary(settings: Settings) -> str:
    counts = [
        _count(len(settings.chains), "chain"), _count(len(settings.wallets), "wallet"),
        _count(len(settings.tokens), "token"), _count(len(settings.prices), "price"),
        *([_count(len(settings.webhooks), "webhook")] if settings.webhooks else ()),
    ]  # fmt: skip
    return f"good; {', '.join(counts)}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _doubts(found: Loaded) -> Iterator[str]:
    """What is allowed, and may not be meant."""
    from chainwatch import keys
    from chainwatch.config import readable_by_all
    from chainwatch.text import secret_parts

    settings = found.settings
    urls = [
        url
        for index, chain in enumerate(settings.chains)
        for position, url in enumerate(chain.endpoints)
        if f"chains[{index}].endpoints[{position}]" not in found.overlaid  # those of another file are not in this one
    ]
    if found.path and secret_parts(urls) and readable_by_all(str(found.path)):
        yield f"every user of this machine can read {found.path}, which has keys of nodes in it: chmod 600"
    if not settings.server.loopback and not keys.load(settings.keys_file):
        yield f"{settings.server.host} is no loopback address and there are no keys: serve will want --insecure"
    if not settings.chains:
        yield "there are no chains: nothing is followed, and streams have what clients publish"


def _written(table: Table, *, paint: bool) -> Iterator[str]:
    from chainwatch.config.written import toml

    yield f"[{table.name}]" if table.index is None else f"[[{table.name}]]"
    lines = [
        (f"# {key.key} is not set" if key.value is None else f"{key.key} = {toml(key.value)}", key)
        for key in table.keys
    ]
    width = max(len(line) for line, _ in lines if "\n" not in line)
    for line, key in lines:
        told = f"  # {key.where or key.origin}"
        pad = "" if "\n" in line else " " * (min(width, 60) - len(line))
        yield f"{line}{pad}" + (f"\x1b[2m{told}\x1b[0m" if paint else told)


def _check_online(frame: Frame, loaded: Loaded, notes: Notes) -> None:
    """
    Ask every endpoint, and the contracts. `ConfigError` where one is of another chain, or a contract is another than
    the configuration says; `Unreachable` where an endpoint does not answer.
    """
    from chainwatch.cli.probes import doubts, lines, probed, verdict
    from chainwatch.config.places import line_of

    settings = loaded.settings
    paint = use_color(sys.stdout, frame.color, os.environ)
    problems: list[Problem] = []
    silent: list[str] = []
    for index, (chain, found) in enumerate(probed(settings.chains)):
        print(f"{chain.name}, chain id {chain.chain_id}")
        print("\n".join(lines(found, chain.chain_id, paint=paint)), flush=True)
        for doubt in doubts(chain, settings, found):
            notes.say(doubt, at=-1)
        for number, one in enumerate(found):
            match verdict(one, chain.chain_id):
                case "wrong":
                    place = f"chains[{index}].endpoints[{number}]"
                    problems.append(Problem(place, f"it serves chain id {one.chain_id}"))
                case "down":
                    silent.append(one.endpoint)
        usable = [url for url, one in zip(chain.endpoints, found, strict=True) if verdict(one, chain.chain_id) == "ok"]
        problems += _contracts(chain, settings, usable, notes)
    unknown = 0
    if settings.webhooks:
        wrong, unknown = _receivers(settings, paint=paint)
        problems += wrong
    if problems:
        placed = [replace(problem, line=line_of(problem.key, loaded.lines)) for problem in problems]
        raise ConfigError(f"{_count(len(placed), 'problem')} in {_named(loaded)}", placed)
    if silent:
        asked = _count(sum(len(chain.endpoints) for chain in settings.chains), "endpoint")
        raise Unreachable(
            f"{len(silent)} of {asked} cannot be used now",
            hint="serve tries again and again, and uses others meanwhile",
        )
    if unknown:
        raise Unreachable(
            f"the names of {unknown} of {_count(len(settings.webhooks), 'receiver')} are not known now",
            hint="their events wait in the log, and are sent when they are",
        )


def _receivers(settings: Settings, *, paint: bool) -> tuple[list[Problem], int]:
    """What is wrong with receivers of webhooks, by what their names mean now; and how many mean nothing."""
    from chainwatch.cli import receivers

    found = receivers.looked_up(settings.webhooks)
    print("webhooks")
    print("\n".join(receivers.lines(found, paint=paint)), flush=True)
    hint = "set allow_private = true if its receiver is on a network of yours"
    wrong = [
        Problem(f"webhooks[{index}].url", one.told, hint) for index, one in enumerate(found) if one.verdict == "wrong"
    ]
    return wrong, sum(one.verdict == "down" for one in found)


def _contracts(chain: ChainSettings, settings: Settings, usable: Sequence[str], notes: Notes) -> list[Problem]:
    """What is wrong with tokens and feeds, as their contracts tell it to the first endpoint that can be asked."""
    from chainwatch.chain.evm.probe import contracts
    from chainwatch.cli.probes import asked_of_contracts, mistakes

    reads = asked_of_contracts(chain, settings)
    if not (reads.tokens or reads.feeds):
        return []
    for url in usable:
        if (said := asyncio.run(contracts(url, chain.request_timeout, reads))) is not None:
            wrong = list(mistakes(chain, settings, said))
            good = len(reads.tokens) + len(reads.feeds) - len(wrong)
            print(f"  {good} of {_count(len(reads.tokens) + len(reads.feeds), 'contract')} as configured", flush=True)
            return wrong
    notes.say(f"{chain.name}: tokens and feeds could not be asked what they are", at=-1)
    return []
