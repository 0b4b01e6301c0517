"""
`chainwatch webhooks`: addresses of one's own that a daemon calls when something happens. A client of the daemon.

stdout has the secret, the list, or what came of a test, and nothing else.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from chainwatch.cli import Frame, Group, need_command
from chainwatch.cli.deliveries import fault, standing, table
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
from chainwatch.text import printable

webhooks = typer.Typer(cls=Group, rich_markup_mode=None, add_completion=False)

_LONGEST: Final = 4096  # bytes of a file with a secret
_Name = Annotated[str, typer.Argument(metavar="NAME", help="What the webhook is called.")]


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
        notes.say(f"{name} gets nothing yet: {fault(failing)}")
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


@webhooks.command("show", epilog="Example: chainwatch webhooks show shop --json | jq .dead_letters")
def show(
    ctx: typer.Context,
    name: _Name,
    json: Annotated[
        bool, typer.Option("--json", help="As a JSON object: the webhook, and its dead letters with their events.")
    ] = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """
    Show how a webhook stands.

    That is what it waits for and why, how far it is, and its dead letters: the events that its receiver did not take
    for three days.
    """
    descriptor()

    import msgspec

    from chainwatch.client import webhooks as client

    with showing(key):
        told, letters = asyncio.run(client.show(url, name, key=key))
    if json:
        whole = {"webhook": told, "dead_letters": letters}
        print(msgspec.json.format(msgspec.json.encode(whole), indent=2).decode())
        return
    print(standing(told, letters))
    frame: Frame = ctx.obj or Frame()
    notes = Notes(frame.verbosity)
    if letters:
        notes.say(f"`chainwatch webhooks redeliver {name}` sends them again, `discard {name}` forgets them")
    if told.get("state") == "paused":
        notes.say(
            f"`chainwatch webhooks test {name}` goes on with it if it is accepted, `resume {name}` without asking"
        )


@webhooks.command("resume", epilog="Example: chainwatch webhooks resume shop")
def resume(ctx: typer.Context, name: _Name, url: Url = HERE, key: Key = None) -> None:
    """
    Go on with a webhook that is paused.

    No test is made, and nothing is left out: it goes on behind what was accepted, or given up. One that is not paused,
    and waits for its next attempt, makes it now.
    """
    descriptor()
    from chainwatch.client import webhooks as client

    with showing(key):
        told = asyncio.run(client.resume(url, name, key=key))
    frame: Frame = ctx.obj or Frame()
    Notes(frame.verbosity).say(
        f"{name} is {printable(str(told.get('state')))}, from {printable(str(told.get('cursor')))} on"
    )


@webhooks.command("redeliver", epilog="Example: chainwatch webhooks redeliver shop")
def redeliver(ctx: typer.Context, name: _Name, url: Url = HERE, key: Key = None) -> None:
    """
    Send the dead letters of a webhook again.

    The oldest goes first. What is accepted is no dead letter any more, and a webhook that was paused goes on. Behind
    one that is not accepted none is sent, and all of those stay: the exit code is 1 then.
    """
    descriptor()
    from chainwatch.client import webhooks as client

    accepted = 0
    with showing(key):
        while True:  # a request takes a few seconds of them
            told = asyncio.run(client.redeliver(url, name, key=key))
            accepted += int(told["accepted"])
            if told.get("fault") is not None or not told["accepted"] or not told["left"]:
                break
    print(f"{accepted} accepted, {int(told['left'])} left")
    if told.get("fault") is not None:
        raise ChainwatchError(f"the receiver of {name} did not accept", why=fault(told))
    if told["left"]:
        frame: Frame = ctx.obj or Frame()
        Notes(frame.verbosity).say("what is left was told to a key that could see more, and is not sent")


@webhooks.command("discard", epilog="Example: chainwatch webhooks discard shop")
def discard(name: _Name, url: Url = HERE, key: Key = None) -> None:
    """Forget the dead letters of a webhook."""
    from chainwatch.client import webhooks as client

    with showing(key):
        asyncio.run(client.discard(url, name, key=key))


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
        raise ChainwatchError(f"the receiver of {name} did not accept", why=fault(told))
    print(f"accepted: {printable(str(told.get('status')))} within {printable(str(told.get('milliseconds')))} ms")


def _secret(path: Path) -> str:
    try:
        raw = sys.stdin.buffer.read(_LONGEST) if str(path) == "-" else path.read_bytes()[:_LONGEST]
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UsageError(
            f"cannot read the secret in {printable(str(path))}: {why}", parameter="--secret-file"
        ) from None
    return raw.decode("utf-8", "replace").strip()
