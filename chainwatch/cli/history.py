"""`chainwatch history`: what the daemon keeps, from the oldest event on, for programs and spreadsheets."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
from chainwatch.cli.output import chosen, descriptor, renderer
from chainwatch.cli.pipe import until_closed
from chainwatch.cli.printer import Notes, Printer
from chainwatch.errors import GapError, UsageError

if TYPE_CHECKING:
    from chainwatch.cli.gauge import Gauge
    from chainwatch.cli.render import Render


def history(
    ctx: typer.Context,
    types: Types = None,
    filters: Filters = None,
    chains: Chains = None,
    address: Addresses = None,
    token: Tokens = None,
    min_amount: MinAmount = None,
    where: Where = None,
    since: Since = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="End before: 15m (ago), or an RFC 3339 time.")
    ] = None,
    last: Annotated[
        int | None, typer.Option("-n", metavar="N", min=0, help="Only the newest N.", show_default=False)
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="At most N, the oldest first.", show_default=False),
    ] = None,
    last_event_id: LastEventId = None,
    cursor_file: CursorFile = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with code 5 where events that were asked for are gone.")
    ] = False,
    output: Annotated[
        Literal["json", "csv", "human", "template"] | None,
        typer.Option("--output", "-o", help="How to print an event [default: json]."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line: -o json.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="A row an event below a row of names: -o csv.")] = False,
    columns: Annotated[
        list[str] | None,
        typer.Option("--columns", metavar="FIELDS", help="Of CSV: such as timestamp,data.from,data.amount."),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option("--format", metavar="TEXT", help="A template such as '{type} {data.amount}': -o template."),
    ] = None,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """
    Print the events that a daemon keeps, oldest first, up to now.

    Each is a line of JSON, equal to that of tail. CSV has a column for each field of the types that --type or --filter
    names; without them, one column with the data as JSON. With a cursor file, each run goes on behind the one before,
    and its CSV has the row of names but once.
    """
    from chainwatch.cli.columns import Csv
    from chainwatch.cli.gauge import Gauge
    from chainwatch.cli.render import catalogue_types

    fd, frame = descriptor(), ctx.obj or Frame()
    notes = Notes(frame.verbosity)
    if last is not None and until is not None:
        raise UsageError("-n and --until do not go together", hint="the newest N are those before now")
    begin = start(last, since, last_event_id, cursor_file)
    as_csv = csv or (columns is not None and output is None and not json)
    form = chosen(output, template, as_json=json, as_csv=as_csv) or "json"
    known = catalogue_types([word for given in (*(types or ()), *(filters or ())) for word in given.split(",")])
    render: Render
    if form == "csv":
        render = table = Csv([word for given in columns or () for word in given.split(",")], known)
        for doubt in table.doubts:
            notes.say(doubt)
    elif columns is not None:
        raise UsageError(f"{form} has no columns", hint="leave --columns out, or give --csv")
    else:
        render = renderer(form, template or "", known, notes, frame.color)
    printer = Printer(fd, render, cursor_file)
    if form == "csv" and "cursor" not in begin:
        printer.begin(table.header)
    asked = wanted(types, filters, chains, address, token, min_amount, where)
    asked |= begin | {"until": until, "limit": limit, "key": key}
    shown = sys.stderr is not None and sys.stderr.isatty() and not sys.stdout.isatty() and frame.verbosity >= 0
    with showing(key), Gauge(limit or last, until, shown=shown) as gauge:
        asyncio.run(until_closed(printer, _read(url, asked, printer, notes, gauge, strict=strict)))


async def _read(url: str, asked: dict[str, Any], printer: Printer, notes: Notes, gauge: Gauge, *, strict: bool) -> None:
    from chainwatch import client

    # From the earliest on, all that is kept is all that was asked for.
    whole = asked.get("since") in (None, "earliest") and "cursor" not in asked
    async with aclosing(client.history(url, **asked, on_note=notes.hear)) as pages:
        async for page in pages:
            if page.truncated and not whole:
                missing = "events that were asked for are no longer kept"
                if strict:
                    raise GapError(missing, hint="without --strict, what is kept is printed")
                notes.say(missing, at=-1)
            whole = False
            for event, line in zip(page.events, page.lines, strict=True):
                printer.add(event, line, "")
                if printer.is_full:
                    printer.flush()
            printer.moved(page.next)
            gauge.saw(page.events)
    if not gauge.count:
        notes.say("no such event is kept")
