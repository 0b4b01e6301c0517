"""
`chainwatch tail`: the events of a running daemon, a line each. stdout has events and nothing else.

What the client has received is written at once, in one write for all that came together; then, and only then, the
cursor file is replaced. A crash between the two tells those events again, it never leaves one out.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import stat
import sys
from collections.abc import Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from chainwatch.cli import Frame
from chainwatch.cli.output import Output, chosen, renderer
from chainwatch.cli.printer import Notes, Printer, read_cursor
from chainwatch.errors import ChainwatchError, GapError, Refused, UsageError

if TYPE_CHECKING:  # the client costs 0.2 s: --help and a mistyped option are answered without it
    from chainwatch import client


def tail(
    ctx: typer.Context,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", "-t", metavar="TYPE", help="A type or category of events; may be given again."),
    ] = None,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", metavar="FILTER", help="The same, as `filters` of a stream.")
    ] = None,
    chains: Annotated[
        list[str] | None, typer.Option("--chain", metavar="CHAIN", help="A chain by its configured name.")
    ] = None,
    address: Annotated[
        list[str] | None, typer.Option("--address", metavar="ADDRESS", help="An address that an event touches.")
    ] = None,
    token: Annotated[
        list[str] | None,
        typer.Option("--token", metavar="TOKEN", help="A token's contract, or the symbol of a configured token."),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option("--where", metavar="EXPR", help="Only if this is true: 'data.amount > 1e18 && !removed'."),
    ] = None,
    last: Annotated[
        int | None, typer.Option("-n", metavar="N", min=0, help="Begin with the newest N.", show_default=False)
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Begin at: earliest, now, 15m (ago), or an RFC 3339 time."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for more, or print what there is and exit.")
    ] = True,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with code 5 where events that were asked for are gone.")
    ] = False,
    last_event_id: Annotated[
        str | None, typer.Option("--last-event-id", metavar="ID", help="Go on behind this cursor.")
    ] = None,
    cursor_file: Annotated[
        Path | None,
        typer.Option("--cursor-file", metavar="FILE", help="Go on behind the cursor in this file, and keep it there."),
    ] = None,
    output: Annotated[
        Output | None, typer.Option("--output", "-o", help="How to print an event [default: human].")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line: -o json.")] = False,
    template: Annotated[
        str | None,
        typer.Option("--format", metavar="TEXT", help="A template such as '{type} {data.amount}': -o template."),
    ] = None,
    url: Annotated[
        str, typer.Option("--url", metavar="URL", envvar="CHAINWATCH_URL", help="Where the daemon is.")
    ] = "http://127.0.0.1:8080",
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="KEY", envvar="CHAINWATCH_KEY", help="The key to show to the daemon."),
    ] = None,
) -> None:
    """
    Print the events of a running daemon as they come.

    Notes go to stderr. A lost connection is made again, and the stream goes on where it was: no event is missed, none
    is told twice.
    """
    from chainwatch.cli.render import catalogue_types

    if sys.stdout is None:  # and the next file or socket to be opened would take its place
        raise ChainwatchError("stdout is closed", hint="give it a file or a pipe")
    frame = ctx.obj or Frame()
    notes = Notes(frame.verbosity)
    start = _start(last, since, last_event_id, cursor_file)
    known = catalogue_types([*(types or ()), *(filters or ())])
    render = renderer(chosen(output, template, as_json=json), template or "", known, notes, frame.color)
    printer = Printer(sys.stdout.fileno(), render, cursor_file)
    wanted: dict[str, Any] = {
        "types": types or (),
        "filters": filters or (),
        "chains": chains or (),
        "address": address or (),
        "token": token or (),
        "where": where,
        "key": key,
    }
    reading = _follow if follow else _read
    try:
        asyncio.run(_until_closed(printer, reading(url, wanted | start, printer, notes, strict=strict)))
    except Refused as refused:
        if refused.status != 401 or key:
            raise
        raise Refused(refused.what, status=401, hint=_NO_KEY) from None  # the daemon speaks of headers


_NO_KEY: Final = "give it with --key or in CHAINWATCH_KEY; `chainwatch keys create NAME` on its machine makes one"


# --- what was meant -----------------------------------------------------------------------------------------------


def _start(last: int | None, since: str | None, last_event_id: str | None, cursor_file: Path | None) -> dict[str, Any]:
    """Where to begin, as the client takes it. -n and --since are for a cursor file that is not there yet, too."""
    others = {"--cursor-file": cursor_file, "--since": since, "-n": last}
    if last_event_id is not None and (clash := [name for name, value in others.items() if value is not None]):
        raise UsageError(f"--last-event-id and {clash[0]} both say where to begin", hint="give one of them")
    cursor = last_event_id or (read_cursor(cursor_file) if cursor_file else "")
    if cursor:
        return {"cursor": cursor}
    if last == 0:
        return {"since": "now"}
    return {"since": since, "last": last}


# --- reading ------------------------------------------------------------------------------------------------------


async def _follow(url: str, wanted: dict[str, Any], printer: Printer, notes: Notes, *, strict: bool) -> None:
    from chainwatch import client

    def heard(note: client.Note) -> None:
        if isinstance(note, client.Moved):
            printer.moved(note.cursor)
        else:
            printer.flush()
            notes.hear(note)

    wanted["last_event_id"] = wanted.pop("cursor", None)
    async with client.stream(url, **wanted, strict=strict, on_note=heard) as stream:
        try:
            async for event in stream:
                printer.add(event, stream.line, stream.cursor)
                if not stream.buffered or printer.is_full:
                    printer.flush()
        finally:
            printer.flush()


async def _read(url: str, wanted: dict[str, Any], printer: Printer, notes: Notes, *, strict: bool) -> None:
    from chainwatch import client

    async with aclosing(client.history(url, **wanted, on_note=notes.hear)) as pages:
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


async def _until_closed(printer: Printer, reading: Coroutine[Any, Any, None]) -> None:
    """
    Read until nobody reads the pipe behind stdout any more. In `tail | head -1` that is noticed at once, not by the
    next event, which may be hours away. `BrokenPipeError` then.

    SIGTERM waits for the line under way and its cursor, so that a service that is stopped and started goes on exactly
    behind what it printed; then it ends the process as it always does. A reader that takes nothing is not waited for.
    """
    loop, task, fd = asyncio.get_running_loop(), asyncio.ensure_future(reading), printer.fd
    closed = terminated = False

    def close() -> None:
        nonlocal closed
        closed = True
        loop.remove_reader(fd)
        task.cancel()

    def terminate(number: int, _: object) -> None:
        nonlocal terminated
        terminated = True
        if printer.writing:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        loop.call_soon_threadsafe(task.cancel)

    # Not the loop's own handler: that would never run while a write to a full pipe waits.
    before = signal.signal(signal.SIGTERM, terminate)
    if stat.S_ISFIFO(os.fstat(fd).st_mode) and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
        loop.add_reader(fd, close)  # a pipe's writing end is never readable, but its error wakes a reader
    try:
        await task
    except asyncio.CancelledError:
        if closed:
            raise BrokenPipeError from None
        if not terminated:
            raise
    finally:
        loop.remove_reader(fd)
        signal.signal(signal.SIGTERM, before)
    if terminated:
        os.kill(os.getpid(), signal.SIGTERM)
