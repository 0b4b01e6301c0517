"""`chainwatch monitor`: see what a daemon does, as it does it."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final

import typer

from chainwatch.cli import Frame
from chainwatch.cli.options import HERE, Key, Url, showing
from chainwatch.cli.printer import Notes
from chainwatch.errors import ChainwatchError

_SOON: Final = 1.0
"""Seconds for an answer, after which somebody may wonder."""


def monitor(ctx: typer.Context, url: Url = HERE, key: Key = None) -> None:
    """
    See what a running daemon does: its chains, who listens, prices and wallets, the log, and the events as they come.

    `?` shows the keys. Where the daemon goes away, the monitor waits for it, and goes on where it was.
    """
    frame: Frame = ctx.obj or Frame()
    _need_terminal()
    if frame.color != "auto" or not os.environ.get("NO_COLOR"):
        os.environ.pop("NO_COLOR", None)
    if frame.color == "never":
        os.environ["NO_COLOR"] = "1"

    from chainwatch.text import redact_url

    with showing(key):  # whatever is wrong with the address or the key is said in a line, before the screen is taken
        asyncio.run(_there(url, key, Notes(frame.verbosity)))

    from chainwatch.tui.app import Monitor
    from chainwatch.tui.feed import Feed
    from chainwatch.tui.model import Model

    model = Model(redact_url(url))
    app = Monitor(model, Feed(url, key, model))
    app.run()
    if app.fault is not None:
        raise app.fault
    raise typer.Exit(app.return_code or 0)


async def _there(url: str, key: str | None, notes: Notes) -> None:
    """The daemon answers. Where it takes its time, that is said."""
    from chainwatch import client
    from chainwatch.text import redact_url

    asking = asyncio.create_task(client.stats(url, key=key), name="monitor: is it there")
    if not (await asyncio.wait({asking}, timeout=_SOON))[0]:
        notes.say(f"waiting for an answer of {redact_url(url)}")
    await asking


def _need_terminal() -> None:
    """It reads keys from stdin, and draws on stderr as well as stdout."""
    streams = {"stdin": sys.__stdin__, "stdout": sys.__stdout__, "stderr": sys.__stderr__}
    for name, stream in streams.items():
        if stream is None or not stream.isatty() or os.environ.get("TERM") in (None, "", "dumb"):
            what = f"{name} is none" if stream is None or not stream.isatty() else "this one cannot move a cursor"
            raise ChainwatchError(
                f"the monitor needs a terminal, and {what}",
                hint="`chainwatch tail` prints events as lines, `chainwatch status` how things stand",
            )
