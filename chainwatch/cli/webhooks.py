"""
`chainwatch webhooks`: addresses of one's own that a daemon calls when something happens. A client of the daemon.

stdout has the secret, the list, or what came of a test, and nothing else.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from chainwatch.cli import Frame, Group, need_command
from chainwatch.cli.options import (
    HERE,
    Addresses,
    Chains,
    Filters,
    Key,
    MinAmount,
    Since,
    Tokens,
    Types,
    Url,
    Where,
    showing,
    wanted,
)
from chainwatch.cli.output import descriptor
from chainwatch.cli.printer import Notes
from chainwatch.errors import ChainwatchError, UsageError
from chainwatch.text import printable, redact_url

webhooks = typer.Typer(cls=Group, rich_markup_mode=None, add_completion=False)

_LONGEST: Final = 4096  # bytes of a file with a secret
_Name = Annotated[str, typer.Argument(metavar="NAME", help="What the webhook is called.")]

FAULTS: Final = {
    "unreachable": "it cannot be reached, or its name is not known",
    "connection_refused": "nobody listens there",
    "timeout": "it does not answer in time",
    "tls_error": "no secure connection: its certificate is not for that name, or from nobody who is trusted",
    "address_refused": "its name means an address that is not public, or none",
    "http_3xx": "it redirects, and that is not followed",
    "http_4xx": "it refuses",
    "http_5xx": "it fails",
    "bad_answer": "its answer broke off, or is no HTTP",
    "challenge_failed": "it does not repeat the challenge that it was sent",
}
"""What the daemon says of a receiver, for people."""
PAUSES: Final = {
    "gone": "it said 410 Gone",
    "failing": "it took nothing for days",
    "unverified": "it answered no challenge",
    "full": "it has as many dead letters as are kept",
}


@webhooks.callback(invoke_without_command=True)
def _webhooks(ctx: typer.Context) -> None:
    """
    Have events sent to an address of yours.

    Each is one signed HTTPS request (Standard Webhooks), in order and at least once; what is not taken is sent again
    for three days. Those of [[webhooks]] in the configuration are listed and tested with a key that may admin.
    """
    need_command(ctx)


@webhooks.command(
    "add", epilog="Example: chainwatch webhooks add shop https://shop.example.com/hook --type wallet_incoming"
)
def add(
    ctx: typer.Context,
    name: _Name,
    receiver: Annotated[str, typer.Argument(metavar="URL", help="Where events go: https://, at a public address.")],
    types: Types = None,
    filters: Filters = None,
    chains: Chains = None,
    address: Addresses = None,
    token: Tokens = None,
    min_amount: MinAmount = None,
    where: Where = None,
    since: Since = None,
    secret_file: Annotated[
        Path | None,
        typer.Option("--secret-file", metavar="FILE", help="A secret of your own; - is stdin. [default: made up]"),
    ] = None,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """
    Add a webhook, or change it, and print its secret where one was made: this once.

    The receiver is sent a challenge, and gets no event before it has repeated it. One that was there keeps its place.
    """
    descriptor()
    frame: Frame = ctx.obj or Frame()
    notes = Notes(frame.verbosity)
    asked = wanted(types, filters, chains, address, token, min_amount, where)
    words = {word: [given] if isinstance(given, str) else given for word, given in asked.items() if given}
    if since is not None:
        words["since"] = [since]
    secret = None if secret_file is None else _secret(secret_file)

    from chainwatch.client import webhooks as client

    with showing(key):
        told = asyncio.run(client.put(url, name, receiver, words, secret=secret, key=key))
    if made := told.get("secret"):
        print(printable(str(made), 200), flush=True)
        notes.say("this is the secret of its signatures, and is shown once")
    failing = told.get("failing")
    if told.get("state") == "unverified" and isinstance(failing, dict):
        notes.say(f"{name} gets nothing yet: {_fault(failing)}")
        notes.say(f"it is asked a few times more; `chainwatch webhooks test {name}` asks it now")
    else:
        notes.say(f"{name} is {printable(str(told.get('state')))}, from {printable(str(told.get('cursor')))} on")


@webhooks.command("list", epilog="Example: chainwatch webhooks list --json")
def list_(
    ctx: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="As a JSON array, as /webhooks tells it.")] = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """List the webhooks of your key: how they stand, and how far behind they are."""
    descriptor()

    import msgspec

    from chainwatch.client import webhooks as client

    with showing(key):
        found = asyncio.run(client.listed(url, key=key))
    if json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    elif found:
        print(table(found))
    else:
        frame: Frame = ctx.obj or Frame()
        Notes(frame.verbosity).say("there are no webhooks; `chainwatch webhooks add NAME URL` adds one")


@webhooks.command("remove", epilog="Example: chainwatch webhooks remove shop")
def remove(name: _Name, url: Url = HERE, key: Key = None) -> None:
    """Remove a webhook: its place in the log and its dead letters are forgotten."""
    from chainwatch.client import webhooks as client

    with showing(key):
        asyncio.run(client.remove(url, name, key=key))


@webhooks.command("test", epilog="Example: chainwatch webhooks test shop")
def try_out(name: _Name, url: Url = HERE, key: Key = None) -> None:
    """
    Have a webhook called now, and say what came of it; 1 where it was not accepted.

    Where it was, a webhook that was paused goes on, and one that waits for its next attempt makes it.
    """
    descriptor()
    from chainwatch.client import webhooks as client

    with showing(key):
        told = asyncio.run(client.test(url, name, key=key))
    if not told.get("accepted"):
        raise ChainwatchError(f"the receiver of {name} did not accept", why=_fault(told))
    print(f"accepted: {printable(str(told.get('status')))} within {printable(str(told.get('milliseconds')))} ms")


def table(found: Sequence[dict[str, Any]]) -> str:
    """The webhooks for people: a line each, below a line of titles."""
    rows = [["NAME", "STATE", "BEHIND", "ACCEPTED", "DEAD", "RECEIVER", "WHY"]]
    for one in found:
        failing, reason = one.get("failing"), one.get("reason")
        why = PAUSES.get(str(reason), str(reason)) if reason else ""
        if isinstance(failing, dict):
            why = f"{why}; {_fault(failing)}" if why else _fault(failing)
        cells = [one.get(name) for name in ("webhook", "state", "lag", "accepted", "dead_letters")]
        rows.append(
            [*(printable(str(cell), 64) for cell in cells), redact_url(str(one.get("url"))), printable(why, 200)]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _fault(told: dict[str, Any]) -> str:
    """Why a request was not accepted."""
    fault, status = str(told.get("fault")), told.get("status")
    return printable(FAULTS.get(fault, fault), 200) + (f" ({status})" if isinstance(status, int) else "")


def _secret(path: Path) -> str:
    try:
        raw = sys.stdin.buffer.read(_LONGEST) if str(path) == "-" else path.read_bytes()[:_LONGEST]
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UsageError(
            f"cannot read the secret in {printable(str(path))}: {why}", parameter="--secret-file"
        ) from None
    return raw.decode("utf-8", "replace").strip()
