"""
`chainwatch tail`: the events of a running daemon, a line each. stdout has events and nothing else.

What the client has received is written at once, in one write for all that came together; then, and only then, the
cursor file is replaced. A crash between the two tells those events again, it never leaves one out.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from chainwatch.cli import Frame
from chainwatch.cli.options import (
    HERE,
    Addresses,
    AgentName,
    Chains,
    CursorFile,
    Filters,
    Key,
    LastEventId,
    MinAmount,
    Since,
    Tokens,
    Types,
    Url,
    Where,
    showing,
    start,
    wanted,
)
from chainwatch.cli.output import Output, chosen, descriptor, renderer
from chainwatch.cli.pipe import until_closed
from chainwatch.cli.printer import Notes, Printer
from chainwatch.errors import GapError, UsageError

if TYPE_CHECKING:  # the client costs 0.2 s: --help and a mistyped option are answered without it
    from chainwatch import client


def tail(
    ctx: typer.Context,
    types: Types = None,
    filters: Filters = None,
    chains: Chains = None,
    address: Addresses = None,
    token: Tokens = None,
    min_amount: MinAmount = None,
    where: Where = None,
    last: Annotated[
        int | None, typer.Option("-n", metavar="N", min=0, help="Begin with the newest N.", show_default=False)
    ] = None,
    since: Since = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for more, or print what there is and exit.")
    ] = True,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with code 5 where events that were asked for are gone.")
    ] = False,
    last_event_id: LastEventId = None,
    cursor_file: CursorFile = None,
    agent: AgentName = None,
    output: Annotated[
        Output | None, typer.Option("--output", "-o", help="How to print an event [default: human].")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line: -o json.")] = False,
    template: Annotated[
        str | None,
        typer.Option("--format", metavar="TEXT", help="A template such as '{type} {data.amount}': -o template."),
    ] = None,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """
    Print the events of a running daemon as they come.

    Notes go to stderr. A lost connection is made again, and the stream goes on where it was: no event is missed, none
    is told twice.

    With --agent the daemon keeps the place, and each event is printed at least once, by whichever machine follows that
    agent. A filter given here is that of the agent from then on; --since and -n say where a new one begins.
    """
    from chainwatch.cli.render import catalogue_types

    fd, frame = descriptor(), ctx.obj or Frame()
    notes = Notes(frame.verbosity)
    if agent is not None:
        clash = {"--last-event-id": last_event_id, "--cursor-file": cursor_file, "--no-follow": not follow or None}
        if given := [name for name, value in clash.items() if value is not None]:
            raise UsageError(f"--agent and {given[0]} do not go together", hint="the daemon keeps the agent's place")
    begin = start(last, since, last_event_id, cursor_file)
    known = catalogue_types([*(types or ()), *(filters or ())])
    render = renderer(chosen(output, template, as_json=json) or "human", template or "", known, notes, frame.color)
    printer = Printer(fd, render, cursor_file)
    filtered = wanted(types, filters, chains, address, token, min_amount, where)
    if agent is None:
        asked = filtered | begin | {"key": key}
        reading = (_follow if follow else _read)(url, asked, printer, notes, strict=strict)
    else:
        reading = _follow_agent(url, agent, filtered, begin, key, printer, notes, strict=strict)
    with showing(key):
        asyncio.run(until_closed(printer, reading))


_LAST_WORD: Final = 5.0
"""Seconds for the last acknowledgement, when it is ended."""

# --- reading ------------------------------------------------------------------------------------------------------


async def _follow(url: str, asked: dict[str, Any], printer: Printer, notes: Notes, *, strict: bool) -> None:
    from chainwatch import client

    def heard(note: client.Note) -> None:
        if isinstance(note, client.Moved):
            printer.moved(note.cursor)
        else:
            printer.flush()
            notes.hear(note)

    asked["last_event_id"] = asked.pop("cursor", None)
    async with client.stream(url, **asked, strict=strict, on_note=heard) as stream:
        try:
            async for event in stream:
                printer.add(event, stream.line, stream.cursor)
                if not stream.buffered or printer.is_full:
                    printer.flush()
        finally:
            printer.flush()


async def _follow_agent(
    url: str,
    name: str,
    filtered: dict[str, Any],
    begin: dict[str, Any],
    key: str | None,
    printer: Printer,
    notes: Notes,
    *,
    strict: bool,
) -> None:
    """What is printed is acknowledged, and nothing else: killed at any moment, it is behind and never ahead."""
    from chainwatch import client

    found, new = await client.ensure_agent(url, name, filtered, begin, key=key)
    notes.say(
        f"the agent {name} is new" if new else f"the agent {name} goes on, {found.lag:,} events behind the newest"
    )
    places = client.Acknowledger(url, name, key=key)

    def heard(note: client.Note) -> None:
        printer.flush()
        if isinstance(note, client.Moved):
            places.came_to(note.cursor)
        else:
            notes.hear(note)

    telling = asyncio.create_task(places.run(), name="tail: acknowledgements")
    try:
        async with client.follow_agent(url, name, key=key, strict=strict, on_note=heard) as stream:
            try:
                async for event in stream:
                    printer.add(event, stream.line, stream.cursor)
                    if not stream.buffered or printer.is_full:
                        printer.flush()
                        places.came_to(stream.cursor)
            finally:
                printer.flush()
                if stream.cursor:
                    places.came_to(stream.cursor)
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        await places.finish(_LAST_WORD)


async def _read(url: str, asked: dict[str, Any], printer: Printer, notes: Notes, *, strict: bool) -> None:
    from chainwatch import client

    async with aclosing(client.history(url, **asked, on_note=notes.hear)) as pages:
        async for page in pages:
            if page.truncated:
                missing = "events that were asked for are no longer kept"
                if strict:
                    raise GapError(missing, hint="without --strict, what is kept is printed")
                notes.say(missing, at=-1)
            for event, line in zip(page.events, page.lines, strict=True):
                printer.add(event, line, "")
                if printer.is_full:
                    printer.flush()
            printer.moved(page.next)
