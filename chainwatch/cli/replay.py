"""`chainwatch replay`: the events of a past block, by the present configuration. No log is touched."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from chainwatch.cli import Frame, use_color
from chainwatch.cli.output import Output, chosen, renderer
from chainwatch.cli.printer import Notes, Printer
from chainwatch.errors import UsageError

if TYPE_CHECKING:
    from chainwatch.config import ChainSettings, Settings


def replay(
    ctx: typer.Context,
    block: Annotated[int, typer.Option("--block", metavar="NUMBER", min=0, help="The block.", show_default=False)],
    chain: Annotated[
        str | None,
        typer.Option("--chain", metavar="CHAIN", help="Its chain, where several are configured.", show_default=False),
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", "-t", metavar="TYPE", help="A type or category of events; may be given again."),
    ] = None,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", metavar="FILTER", help="The same, as `filters` of a stream.")
    ] = None,
    address: Annotated[
        list[str] | None, typer.Option("--address", metavar="ADDRESS", help="An address that an event touches.")
    ] = None,
    token: Annotated[
        list[str] | None,
        typer.Option("--token", metavar="TOKEN", help="A token's contract, or the symbol of a configured token."),
    ] = None,
    min_amount: Annotated[
        str | None, typer.Option("--min-amount", metavar="UNITS", help="Only amounts from so many base units on.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option("--where", metavar="EXPR", help="Only if this is true: 'data.amount > 1e18 && !removed'."),
    ] = None,
    output: Annotated[
        Output | None, typer.Option("--output", "-o", help="How to print an event [default: human].")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line: -o json.")] = False,
    template: Annotated[
        str | None,
        typer.Option("--format", metavar="TEXT", help="A template such as '{type} {data.amount}': -o template."),
    ] = None,
) -> None:
    """
    Print what a past block would tell with the configuration as it is now.

    It asks the chain's endpoints and touches no log: a way to try a wallet, a token or a filter before relying on it.
    Balances need a node that still has the state of that block and of the one before.
    """
    from chainwatch import config, filter as filters_, logs
    from chainwatch.cli.render import catalogue_types
    from chainwatch.event import decode, encode, interest
    from chainwatch.where import View

    frame: Frame = ctx.obj or Frame()
    notes = Notes(frame.verbosity)
    form = chosen(output, template, as_json=json) or "human"
    render = renderer(form, template or "", catalogue_types([*(types or ()), *(filters or ())]), notes, frame.color)
    settings = config.load(config.find(frame.config, os.environ), os.environ, {})
    logs.set_up(
        verbosity=frame.verbosity - 2,  # what connections do is of no interest here; an error says it once
        color=use_color(sys.stderr, frame.color, os.environ),
        secrets=[endpoint for one in settings.chains for endpoint in one.endpoints],
    )
    parameters = {"types": types, "filters": filters, "address": address, "token": token}
    if min_amount is not None:
        parameters["min_amount"] = [min_amount]
    if where is not None:
        parameters["where"] = [where]
    wanted = filters_.parse({name: given for name, given in parameters.items() if given}, config.vocabulary(settings))
    of = _chain(chain, settings)

    from chainwatch.replay import replay as replayed

    told = asyncio.run(replayed(settings, of, block))
    if told.unread:
        notes.say(f"no balances: {told.unread}", at=-1)
    printer = Printer(sys.stdout.fileno(), render, None)
    for event in told.events:
        if wanted.matches(interest(event), View(event)):
            line = encode(event)
            printer.add(decode(line), line, "")
            if printer.is_full:
                printer.flush()
    printer.flush()


def _chain(name: str | None, settings: Settings) -> ChainSettings:
    """The chain that is meant. `UsageError` where that is not clear."""
    chains = {chain.name: chain for chain in settings.chains}
    there = f"there is: {', '.join(chains)}" if chains else "no chain is configured"
    if name is not None:
        if name not in chains:
            raise UsageError(f"unknown chain {name!r}", parameter="chain", value=name, hint=there)
        return chains[name]
    if len(chains) != 1:
        raise UsageError("which chain is meant?", parameter="chain", hint=f"give --chain; {there}")
    return next(iter(chains.values()))
