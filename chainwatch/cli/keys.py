"""
`chainwatch keys`: make, list and revoke API keys, in the file that the daemon of the same configuration reads.

It needs no daemon, and one that runs keeps up by itself. stdout has the key, or the list, and nothing else.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from chainwatch.cli import Frame, Group, close_stdout, need_command
from chainwatch.cli.printer import Notes
from chainwatch.errors import ChainwatchError, UsageError
from chainwatch.text import printable, short

if TYPE_CHECKING:
    from chainwatch.config import Settings
    from chainwatch.keys import Key

keys = typer.Typer(cls=Group, rich_markup_mode=None, add_completion=False)

_LogPath = Annotated[
    Path | None,
    typer.Option("--log", metavar="PATH", help="As of serve: the keys are kept beside it.", show_default=False),
]


@keys.callback(invoke_without_command=True)
def _keys(ctx: typer.Context) -> None:
    """
    Make, list and revoke API keys.

    Once there is a key, the daemon of this configuration wants one from everybody. It need not run, and one that does
    knows of a new key, or of a revocation, within a second.
    """
    need_command(ctx)


@keys.command("create", epilog="Example: chainwatch keys create phone --types wallet --expires 90d")
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it, such as the program that will use it.")],
    can: Annotated[
        list[str] | None,
        typer.Option("--can", metavar="WHAT", help="What it is for: read, send, admin. [default: read]"),
    ] = None,
    chains: Annotated[
        list[str] | None,
        typer.Option("--chains", metavar="CHAINS", help="Only these chains, by their configured names."),
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--types", metavar="TYPES", help="Only these types or categories; custom:NAME is a custom type."),
    ] = None,
    addresses: Annotated[
        list[str] | None, typer.Option("--addresses", metavar="ADDRESSES", help="Only events that touch one of these.")
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="WHEN", help="After so long (90d), or at a date or time (RFC 3339)."),
    ] = None,
    log: _LogPath = None,
) -> None:
    """
    Make an API key, and print it: this once.

    What is kept is a digest, so nobody can show the key again. Lists are written with commas, or the option is given
    again. A key without a list is for all there is.
    """
    from chainwatch import keys as store

    if sys.stdout is None:
        raise ChainwatchError("stdout is closed, and the key is shown there", hint="give it a file or a pipe")
    frame: Frame = ctx.obj
    settings, path = _settings(frame, log)
    now = _now()
    first = not store.load(path)
    key, text = store.create(
        path,
        name=name,
        can=_words(can, "--can") or ["read"],
        chains=_chains(_words(chains, "--chains"), settings),
        types=_types(_words(types, "--types")),
        addresses=[_address(word) for word in _words(addresses, "--addresses")],
        expires=None if expires is None else expiry(expires, now),
        now=now,
    )
    try:
        print(text, flush=True)
    except OSError as error:
        close_stdout()  # what is still in its buffer must not come out later
        store.revoke(path, key.id, now=_now())  # nobody saw it
        if isinstance(error, BrokenPipeError):
            raise
        why = (error.strerror or "").lower()
        raise ChainwatchError("cannot write to stdout", why=why, hint=f"the key {name!r} was taken back") from None
    notes = Notes(frame.verbosity)
    notes.say(f"{name} ({key.id}) {_rights(key)}")
    notes.say(f"this is shown once; its digest is kept in {path}")
    if first:
        notes.say("it is the first key: a daemon of this configuration wants a key from everybody now")
    _doubts(notes, path)


@keys.command("list", epilog="Example: chainwatch keys list --json")
def list_(
    ctx: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="As a JSON array; an empty list allows all.")] = False,
    log: _LogPath = None,
) -> None:
    """List the API keys: what they are called and what they are for. The keys themselves are not kept."""
    import msgspec

    from chainwatch import keys as store

    frame: Frame = ctx.obj
    _, path = _settings(frame, log)
    ring, now = store.load(path), _now()
    if json:
        array = msgspec.json.encode([_described(key, now) for key in ring.keys])
        print(msgspec.json.format(array, indent=2).decode())
    elif ring.keys:
        print(table(ring.keys, now))
    notes = Notes(frame.verbosity)
    if not ring.keys and not json:
        notes.say(f"no key is left in {path}" if ring else f"there are no keys; they would be in {path}")
    _doubts(notes, path)


@keys.command("revoke", epilog="Example: chainwatch keys revoke phone")
def revoke(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(metavar="NAME|ID", help="The key by its name, its id, or its own text.")],
    log: _LogPath = None,
) -> None:
    """
    Revoke an API key. A running daemon ends its streams within a second.

    Its name can be given to a new key. When the last one is revoked the daemon still wants a key from everybody.
    """
    from chainwatch import keys as store

    frame: Frame = ctx.obj
    _, path = _settings(frame, log)
    gone = store.revoke(path, key, now=_now())
    notes = Notes(frame.verbosity)
    notes.say(f"{gone.name} ({gone.id}) is revoked")
    if not store.load(path).keys:
        notes.say(
            "it was the last key: nobody gets in until there is another. "
            f"To do without keys, delete {path} and start the daemon anew"
        )


# --- what was meant -----------------------------------------------------------------------------------------------


def _settings(frame: Frame, log: Path | None) -> tuple[Settings, Path]:
    """The configuration that serve would find, and the file of its keys. Nothing of the nodes is read."""
    from chainwatch import config
    from chainwatch.cli.service import keeps

    found = config.find(frame.config, os.environ)
    settings = config.load(found, os.environ, {"log.path": log}, secrets=False)
    path, doubt = place(settings, keeps(found and found.absolute()), environ=os.environ, root=os.geteuid() == 0)
    if doubt:
        Notes(frame.verbosity).say(doubt)
    return settings, path


def place(settings: Settings, service: Path | None, *, environ: Mapping[str, str], root: bool) -> tuple[Path, str]:
    """
    The file of the keys, and what to say of it. `service`: where a service of the machine with this configuration has
    its own. Root means that one, unless something names another: nobody else reads a key in the home of root.
    """
    named = "path" in settings.log.model_fields_set or settings.server.keys_file or environ.get("XDG_STATE_HOME")
    if service is None or named:
        return settings.keys_file, ""
    if root:
        return service / settings.keys_file.name, ""
    return settings.keys_file, f"the service of this machine has keys of its own, in {service}: those are for sudo"


def _now() -> int:
    return time.time_ns() // 1_000_000


def _words(given: Iterable[str] | None, option: str) -> list[str]:
    words = [word.strip() for value in given or () for word in value.split(",")]
    if not all(words):
        # Nothing allowed is not everything allowed: an unset variable of a script must not make a key for all.
        raise UsageError(f"{option} has an empty value", parameter=option, hint=f"leave {option} out to allow all")
    return words


def _chains(words: Sequence[str], settings: Settings) -> Sequence[str]:
    from chainwatch.config import vocabulary
    from chainwatch.filter import parse

    if words:
        parse({"chains": words}, vocabulary(settings))
    return words


def _types(words: Sequence[str]) -> Sequence[str]:
    from chainwatch.filter import Vocabulary, resolve_types

    try:
        resolve_types(words, Vocabulary(), "--types")
    except UsageError as error:
        if ":" in error.value:
            raise
        hint = f"{error.hint}\na custom type is written custom:NAME"
        raise UsageError(error.what, parameter=error.parameter, value=error.value, hint=hint) from None
    return words


def _address(word: str) -> str:
    from chainwatch.config import values

    try:
        return values.address(word)
    except values.Wrong as wrong:
        raise UsageError(
            f"{printable(word, 80)!r} {wrong}", parameter="--addresses", value=word, hint=wrong.hint
        ) from None


# A time without its zone would be hours off, and nobody would notice: it is none.
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d))?", re.ASCII)
_AGE: Final = re.compile(r"[0-9]+(?:\.[0-9]+)? ?(?:ms|s|m|h|d|w)")
_LAST: Final = 253_402_300_799_999  # the year 9999


def expiry(text: str, now: int) -> int:
    """When a key ends, in Unix milliseconds: so long after `now`, or at an RFC 3339 time or at the start of a date."""
    from chainwatch.config import values

    written = text.strip()
    if _AGE.fullmatch(written):
        moment = min(now + int(values.duration(written) * 1000), _LAST + 1)
    elif _MOMENT.fullmatch(written.upper().replace(" ", "T")):
        try:
            read = datetime.fromisoformat(written.upper().replace(" ", "T"))
        except ValueError:
            raise _no_time(text) from None
        read = read if read.tzinfo else read.replace(tzinfo=UTC)
        moment = int(read.timestamp() * 1000)
    else:
        raise _no_time(text)
    if moment > _LAST:
        raise UsageError(
            f"{printable(text, 64)!r} is too far away", hint="leave --expires out for a key that never ends"
        )
    if moment <= now:
        raise UsageError(f"{printable(text, 64)!r} is over already", hint="a key ends in the future")
    return moment


def _no_time(text: str) -> UsageError:
    return UsageError(
        f"{printable(text, 64)!r} is no time for a key to end",
        parameter="--expires",
        value=text,
        hint="such as 12h or 90d from now, the date 2027-01-31 (UTC), or the time 2027-01-31T18:00:00Z",
    )


# --- what is told -------------------------------------------------------------------------------------------------


def _doubts(notes: Notes, path: Path) -> None:
    from chainwatch import keys as store

    for doubt in store.load(path).doubts:
        notes.say(doubt, at=-1)


def _permissions(key: Key) -> list[str]:
    from chainwatch.keys import PERMISSIONS

    return [permission for permission in PERMISSIONS if permission in key.can]


def _lists(key: Key) -> Mapping[str, Sequence[str]]:
    from chainwatch.eip55 import checksum

    addresses = [checksum(address) for address in key.addresses]
    return {"chains": key.chains, "types": key.types, "addresses": addresses}


def _rights(key: Key) -> str:
    limits = [f"{name} {_few(words)}" for name, words in _lists(key).items() if words]
    until = "never expires" if key.expires is None else f"expires {_moment(key.expires)}"
    return "; ".join([f"may {', '.join(_permissions(key))}", *(limits or ["all chains, types and addresses"]), until])


def _described(key: Key, now: int) -> dict[str, Any]:
    from chainwatch.event import rfc3339

    return {
        "name": key.name,
        "id": key.id,
        "can": _permissions(key),
        **_lists(key),
        "created": rfc3339(key.created),
        "expires": None if key.expires is None else rfc3339(key.expires),
        "expired": key.is_expired(now),
    }


def _moment(milliseconds: int) -> str:
    from chainwatch.event import rfc3339

    return f"{rfc3339(milliseconds)[:-5]}Z"  # to the second


def table(ring: Sequence[Key], now: int) -> str:
    """The keys for people: a line each, below a line of titles."""
    rows = [["NAME", "ID", "CAN", "CHAINS", "TYPES", "ADDRESSES", "CREATED", "EXPIRES"]]
    for key in ring:
        lists = {**_lists(key), "addresses": [short(address) for address in _lists(key)["addresses"]]}
        expires = "never" if key.expires is None else _moment(key.expires)
        rows.append(
            [
                key.name,
                key.id,
                ",".join(_permissions(key)),
                *(_few(words) for words in lists.values()),
                _moment(key.created),
                expires + (" expired" if key.is_expired(now) else ""),
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _few(words: Sequence[str]) -> str:
    if not words:
        return "all"
    shown = [printable(word, 64) for word in words[:3]]
    return ", ".join(shown) + (f" and {len(words) - 3} more" if len(words) > 3 else "")
