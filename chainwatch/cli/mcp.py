"""
`chainwatch mcp`: the MCP server for hosts that start a command. stdin and stdout are the protocol and nothing else.

It is an ordinary client of a daemon, which need not be there yet, and may be restarted.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
    MinAmount,
    Tokens,
    Types,
    Url,
    Where,
    wanted,
)
from chainwatch.cli.output import descriptor
from chainwatch.cli.pipe import until_closed
from chainwatch.cli.printer import Notes, Printer, read_cursor
from chainwatch.errors import ChainwatchError

if TYPE_CHECKING:
    from chainwatch.mcp.remote import Desk


def mcp(
    ctx: typer.Context,
    channel: Annotated[
        bool, typer.Option("--channel", help="Push events into the session, where the host has channels.")
    ] = False,
    types: Types = None,
    filters: Filters = None,
    chains: Chains = None,
    address: Addresses = None,
    token: Tokens = None,
    min_amount: MinAmount = None,
    where: Where = None,
    cursor_file: CursorFile = None,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """
    Serve AI agents by the Model Context Protocol, for hosts that start a command.

    The tools and resources are those of /mcp of the daemon at --url. The daemon may come later, and be restarted.

    The filters say which events are pushed where the host has channels, from now on; with a cursor file, from where the
    session before ended. One of them is as good as --channel.
    """
    if importlib.util.find_spec("mcp") is None:
        raise ChainwatchError(
            "the MCP server needs what was not installed with chainwatch", hint="pip install 'chainwatch[mcp]'"
        )
    descriptor()
    if sys.stdin is None:
        raise ChainwatchError("stdin is closed", hint="a host starts this, and speaks to it by stdin and stdout")

    from chainwatch import logs
    from chainwatch.cli.render import ndjson
    from chainwatch.mcp.remote import Desk

    frame: Frame = ctx.obj or Frame()
    notes = Notes(frame.verbosity)
    desk = Desk(url, key)
    asked = wanted(types, filters, chains, address, token, min_amount, where)
    pushed = asked if channel or cursor_file or any(asked.values()) else None
    cursor = read_cursor(cursor_file) if cursor_file else ""
    if sys.stderr is not None:
        logs.set_up(verbosity=frame.verbosity - 1, keys=[key] if key else [])
    if sys.stdin.isatty():
        notes.say("this speaks MCP on stdin and stdout: a host starts it (^C ends it)")
    with _kept_clean() as stdout:
        printer = Printer(stdout, ndjson, cursor_file)
        serving = _serve(desk, url, key, pushed, cursor, printer, notes)
        asyncio.run(until_closed(printer, serving))


async def _serve(
    desk: Desk,
    url: str,
    key: str | None,
    pushed: dict[str, Any] | None,
    cursor: str,
    printer: Printer,
    notes: Notes,
) -> None:
    """Serve until stdin ends. What is `pushed` is a filter, as the client takes it; None: nothing."""
    gc.disable()  # that is a sixth of a start, and hosts wait for it

    import anyio

    from chainwatch import __version__, client
    from chainwatch.client.subscription import OnNote
    from chainwatch.mcp.app import Agents
    from chainwatch.mcp.channel import Channel, declare
    from chainwatch.mcp.stdio import Incoming, Outgoing, Wire

    gc.freeze()  # nor is it looked through at the end: a host that closed stdin has 2 s until it kills
    gc.enable()
    agents = Agents(lambda _: desk)
    server = agents.server(__version__)
    options = server.create_initialization_options() if pushed is None else declare(server)
    wire = Wire(sys.stdin.fileno(), printer.fd)

    def opened(behind: str, hear: OnNote) -> client.Stream:
        return client.stream(url, **pushed or {}, last_event_id=behind or None, key=key, on_note=hear)

    def keep(behind: str) -> None:
        try:
            printer.moved(behind)
        except ChainwatchError as error:  # agents have the tools all the same
            notes.say(f"{error}", at=-1)

    async def run(requests: Incoming, answers: Outgoing) -> None:
        async with anyio.create_task_group() as group:
            if pushed is not None:
                group.start_soon(Channel(wire.push, opened, cursor, keep, notes.hear).run)
            try:
                await server.run(requests, answers, options)
            finally:
                await agents.watches.close()
            group.cancel_scope.cancel()

    await wire.carry(run)


@contextmanager
def _kept_clean() -> Iterator[int]:
    """What is written to it is the protocol. What anything else prints goes to stderr until this ends."""
    own = os.dup(1)
    aside = os.open(os.devnull, os.O_WRONLY) if sys.stderr is None else os.dup(2)
    os.dup2(aside, 1)
    os.close(aside)
    try:
        yield own
    finally:
        os.dup2(own, 1)
        os.close(own)
