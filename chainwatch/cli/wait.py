"""
`chainwatch wait`: the next event that is meant, for scripts and agents that live in a shell.

Its cursor is told with it. Whoever goes on behind that misses nothing that happened between two runs.
"""

from __future__ import annotations

import asyncio
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
    duration,
    showing,
    start,
    wanted,
)
from chainwatch.cli.output import descriptor
from chainwatch.cli.pipe import until_closed
from chainwatch.cli.printer import Notes, Printer
from chainwatch.errors import TimedOut

if TYPE_CHECKING:
    from chainwatch import client


def wait(
    ctx: typer.Context,
    types: Types = None,
    filters: Filters = None,
    chains: Chains = None,
    address: Addresses = None,
    token: Tokens = None,
    min_amount: MinAmount = None,
    where: Where = None,
    timeout: Annotated[
        str | None,
        typer.Option("--timeout", metavar="TIME", help="Exit with code 5 after 30s, 5m, 2h. [default: never]"),
    ] = None,
    since: Since = None,
    last_event_id: LastEventId = None,
    cursor_file: CursorFile = None,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """
    Wait for the next event that is meant, print it as a line of JSON, and exit.

    The last line on stderr is its cursor: with --last-event-id the next run goes on behind it, and misses nothing that
    happened between the two. --cursor-file keeps it by itself. After a time-out, the cursor is where the search
    ended. A daemon that is restarted is waited for.
    """
    from chainwatch.cli.render import ndjson

    fd, frame = descriptor(), ctx.obj or Frame()
    notes = Notes(frame.verbosity)
    patience = None if timeout is None else duration(timeout, "--timeout")
    begin = start(None, since, last_event_id, cursor_file)
    begin["last_event_id"] = begin.pop("cursor", None)
    asked = wanted(types, filters, chains, address, token, min_amount, where) | begin | {"key": key}
    printer = Printer(fd, ndjson, cursor_file)
    with showing(key):
        asyncio.run(until_closed(printer, _next(url, asked, printer, notes, patience)))


async def _next(url: str, asked: dict[str, Any], printer: Printer, notes: Notes, patience: float | None) -> None:
    from chainwatch import client

    def heard(note: client.Note) -> None:
        if isinstance(note, client.Moved):
            printer.moved(note.cursor)
        else:
            notes.hear(note)

    cursor = ""
    async with client.stream(url, **asked, limit=1, on_note=heard) as stream:
        try:
            async with asyncio.timeout(patience):
                event = await anext(stream)
        except TimeoutError:
            cursor = stream.cursor
        else:
            printer.add(event, stream.line, stream.cursor)
            printer.flush()
            if not printer.keeps:
                notes.say(f"cursor {stream.cursor}")
            return
    told = cursor and not printer.keeps
    raise TimedOut(f"no such event within {patience:g}s", hint=f"cursor {cursor}" if told else "")
