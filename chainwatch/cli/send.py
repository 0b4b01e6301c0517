"""`chainwatch send`: an event of one's own, durable in the daemon's log when it is answered, and told once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from chainwatch.cli import Frame
from chainwatch.cli.options import HERE, Key, Url, duration, showing
from chainwatch.cli.output import descriptor
from chainwatch.cli.printer import Notes
from chainwatch.errors import ChainwatchError, UsageError
from chainwatch.text import printable

_LONGEST: Final = 1024 * 1024  # of what is read from stdin; the daemon has its own limit, and says it


def send(
    ctx: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="What to call it: small letters, digits and _.")],
    data: Annotated[
        list[str] | None,
        typer.Argument(metavar="DATA", hidden=True),  # the text below says it: typer would add «<list[str]>»
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            "--idempotency-key",
            metavar="ID",
            help="What to know it by: what is sent again with it makes no second event. [default: made up]",
        ),
    ] = None,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="TIME", help="Try again for so long where the daemon goes away.")
    ] = "1m",
    json: Annotated[bool, typer.Option("--json", help="Print id and cursor as a JSON object.")] = False,
    url: Url = HERE,
    key: Key = None,
) -> None:
    """
    Publish an event of your own; its id and its cursor are printed once it is durable.

    The data are a JSON object, `-` for one on stdin, or pairs: name=text, and name:=JSON for a number, true or a list.

    Where the answer is lost, it is sent again, and is one event all the same.
    """
    descriptor()
    frame: Frame = ctx.obj or Frame()
    notes = Notes(frame.verbosity)
    body, patience = read(data or ()), duration(timeout, "--timeout")

    import msgspec

    from chainwatch import client

    with showing(key):
        receipt = asyncio.run(
            client.send(url, kind, body, idempotency_key=idempotency_key, timeout=patience, key=key, on_note=notes.hear)
        )
    if receipt.replayed and idempotency_key:
        notes.say(f"{idempotency_key} was sent before: it is that event, and no second one")
    if json:
        print(msgspec.json.encode({"id": receipt.id, "cursor": receipt.cursor}).decode())
    else:
        print(printable(receipt.id), printable(receipt.cursor))


def read(words: Sequence[str]) -> dict[str, Any]:
    """The data that are meant by what stands behind the type. `UsageError` names what is none."""
    if not words:
        return {}
    if words[0].lstrip()[:1] in ("{", "[") or "=" not in words[0]:
        if len(words) > 1:
            raise UsageError(
                f"{printable(words[1], 64)!r} is more than one JSON object", parameter="DATA", hint="quote it: '{…}'"
            )
        return _object(_stdin() if words[0] == "-" else words[0])
    pairs: dict[str, Any] = {}
    for word in words:
        name, sign, text = word.partition("=")
        as_json = name.endswith(":")
        name = name.removesuffix(":")
        if not sign or not name:
            raise UsageError(f"{printable(word, 64)!r} is no pair", parameter="DATA", value=word, hint=_PAIRS)
        if name in pairs:
            raise UsageError(f"{printable(name, 64)} is given twice", parameter="DATA", value=name)
        pairs[name] = _json(text, f"{name}:=") if as_json else text
    return pairs


_PAIRS: Final = "such as name=text, or name:=5 for a number, true, null, a list or an object"


_SHORT: Final = "Input data was truncated"


def _object(text: str) -> dict[str, Any]:
    found = _json(text, "")
    if not isinstance(found, dict):
        raise UsageError("the data are no JSON object", parameter="DATA", hint='such as \'{"app": "web"}\'')
    return found


def _json(text: str, where: str) -> Any:
    import msgspec

    try:
        return msgspec.json.decode(text.encode(errors="surrogateescape"))
    except (ValueError, RecursionError) as error:
        why = printable(str(error).removeprefix("JSON is malformed: ")).replace(_SHORT, "it ends too early")
        what = f"{printable(where + text, 64)!r} is no JSON" if text.strip() else f"{where or 'stdin'} has no JSON"
        # Of a word that has neither braces nor an equals sign it is not clear what was meant.
        raise UsageError(what, parameter="DATA", value=text, hint=why if where or "{" in text else _PAIRS) from None


def _stdin() -> str:
    if sys.stdin is None:
        raise ChainwatchError("stdin is closed", hint="give it a file or a pipe")
    text = sys.stdin.buffer.read(_LONGEST + 1)
    if len(text) > _LONGEST:
        raise UsageError(f"stdin has more than {_LONGEST} bytes", parameter="DATA", hint="one event is one object")
    return text.decode(errors="surrogateescape")
