"""
`chainwatch tail`: the events of a running daemon, a line each. stdout has events and nothing else.

What the client has received is written at once, in one write for all that came together; then, and only then, the
cursor file is replaced. A crash between the two tells those events again, it never leaves one out.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainwatch.cli import Frame
from chainwatch.cli.options import (
    HERE,
    Addresses,
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
from chainwatch.errors import GapError

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
    """
    from chainwatch.cli.render import catalogue_types

    fd, frame = descriptor(), ctx.obj or Frame()
    notes = Notes(frame.verbosity)
    begin = start(last, since, last_event_id, cursor_file)
    known = catalogue_types([*(types or ()), *(filters or ())])
    render = renderer(chosen(output, template, as_json=json) or "human", template or "", known, notes, frame.color)
    printer = Printer(fd, render, cursor_file)
    asked = wanted(types, filters, chains, address, token, min_amount, where) | begin | {"key": key}
    reading = _follow if follow else _read
    with showing(key):
        asyncio.run(until_closed(printer, reading(url, asked, printer, notes, strict=strict)))


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
