"""`chainwatch status`: how a daemon is, once; the monitor shows the same as it changes."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainwatch.cli import Frame, use_color
from chainwatch.cli.options import HERE, Key, Url, showing
from chainwatch.cli.output import descriptor
from chainwatch.errors import BadAnswer
from chainwatch.text import printable, redact_url

if TYPE_CHECKING:
    from chainwatch.client import Wallet


def status(
    ctx: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="As /v1/stats tells it, with the wallets.")] = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """
    Show how a daemon is: its chains and how far behind they are, endpoints, prices, wallets, listeners, the log.

    Exits with 0 where it answers, whatever it says. For a check that fails, ask its /health/ready.
    """
    descriptor()
    frame: Frame = ctx.obj or Frame()
    with showing(key):
        told, wallets = asyncio.run(_ask(url, key))

    import msgspec

    if json:
        document = msgspec.json.encode(told | {"wallets": wallets})
        print(msgspec.json.format(document, indent=2).decode())
        return

    from chainwatch.cli.standing import Snapshot, lines

    try:
        vitals = msgspec.convert(told, Snapshot)
    except msgspec.ValidationError as error:
        raise BadAnswer(
            f"{redact_url(url)} says of itself what no daemon says",
            why=printable(str(error)),
            hint="is it of a version that this client knows?",
        ) from None
    color = use_color(sys.stdout, frame.color, os.environ)

    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if color else text

    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in lines(vitals, wallets, url, paint, columns):
        print(line)


async def _ask(url: str, key: str | None) -> tuple[dict[str, Any], tuple[Wallet, ...]]:
    from chainwatch import client

    return await client.stats(url, key=key), await client.wallets(url, key=key)
