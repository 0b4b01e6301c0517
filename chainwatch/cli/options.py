"""What commands share that are clients of a daemon: options, where a stream begins, and the words for a missing key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from chainwatch.cli.printer import read_cursor
from chainwatch.errors import Refused, UsageError
from chainwatch.text import printable, seconds

Types = Annotated[
    list[str] | None,
    typer.Option("--type", "-t", metavar="TYPE", help="A type or category of events; may be given again."),
]
Filters = Annotated[
    list[str] | None, typer.Option("--filter", metavar="FILTER", help="The same, as `filters` of a stream.")
]
Chains = Annotated[list[str] | None, typer.Option("--chain", metavar="CHAIN", help="A chain by its configured name.")]
Addresses = Annotated[
    list[str] | None, typer.Option("--address", metavar="ADDRESS", help="An address that an event touches.")
]
Tokens = Annotated[
    list[str] | None,
    typer.Option("--token", metavar="TOKEN", help="A token's contract, or the symbol of a configured token."),
]
MinAmount = Annotated[
    str | None, typer.Option("--min-amount", metavar="UNITS", help="Only amounts from so many base units on.")
]
Where = Annotated[
    str | None,
    typer.Option("--where", metavar="EXPR", help="Only if this is true: 'data.amount > 1e18 && !removed'."),
]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Begin at: earliest, now, 15m (ago), or an RFC 3339 time."),
]
LastEventId = Annotated[str | None, typer.Option("--last-event-id", metavar="ID", help="Go on behind this cursor.")]
CursorFile = Annotated[
    Path | None,
    typer.Option("--cursor-file", metavar="FILE", help="Go on behind the cursor in this file, and keep it there."),
]
AgentName = Annotated[
    str | None,
    typer.Option(
        "--agent",
        metavar="AGENT",
        help="A name under which the daemon keeps filter and place: go on behind what was printed last.",
        show_default=False,
    ),
]
Url = Annotated[str, typer.Option("--url", metavar="URL", envvar="CHAINWATCH_URL", help="Where the daemon is.")]
Key = Annotated[
    str | None,
    typer.Option("--key", metavar="KEY", envvar="CHAINWATCH_KEY", help="The key to show to the daemon."),
]

HERE: Final = "http://127.0.0.1:8080"
"""Where a daemon is by default."""

_NO_KEY: Final = "give it with --key or in CHAINWATCH_KEY; `chainwatch keys create NAME` on its machine makes one"


def wanted(
    types: list[str] | None,
    filters: list[str] | None,
    chains: list[str] | None,
    address: list[str] | None,
    token: list[str] | None,
    min_amount: str | None,
    where: str | None,
) -> dict[str, Any]:
    """The events that are meant, as the client takes it."""
    return {
        "types": types or (),
        "filters": filters or (),
        "chains": chains or (),
        "address": address or (),
        "token": token or (),
        "min_amount": min_amount,
        "where": where,
    }


def start(last: int | None, since: str | None, last_event_id: str | None, cursor_file: Path | None) -> dict[str, Any]:
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


def duration(text: str, option: str) -> float:
    """Seconds."""
    found = seconds(text)
    if found is None or not 0 < found < 10**9:
        raise UsageError(
            f"{printable(text, 64)!r} is no {option.lstrip('-')}",
            parameter=option,
            value=text,
            hint="such as 30s, 5m or 2h; a bare number is seconds",
        )
    return found


@contextmanager
def showing(key: str | None) -> Iterator[None]:
    """Say how a key is given where one is missing: the daemon speaks of headers."""
    try:
        yield
    except Refused as refused:
        if refused.status != 401 or key:
            raise
        raise Refused(refused.what, status=401, hint=_NO_KEY) from None
