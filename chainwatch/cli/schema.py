"""`chainwatch schema`: what every event looks like, for programs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def schema(
    types: Annotated[
        list[str] | None,
        typer.Argument(metavar="TYPE", hidden=True),  # the text below says it: typer would add «<list[str]>»
    ] = None,
) -> None:
    """
    Print the JSON Schema of events: of all, or of the types and categories that are named.

    It is what a daemon serves at /schema.json. chainwatch-events(7) says the same for people.
    """
    import msgspec

    from chainwatch import schema as schemas
    from chainwatch.filter import Vocabulary, resolve_types
    from chainwatch.payloads import PAYLOADS

    wanted = resolve_types(types or (), Vocabulary(), "type")
    ordered = [name for name in PAYLOADS if name in wanted] + sorted(wanted - PAYLOADS.keys())
    document = msgspec.json.encode(schemas.document(ordered))
    sys.stdout.write(msgspec.json.format(document, indent=2).decode() + "\n")
