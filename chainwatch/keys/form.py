"""
What is written of keys, and what that means: text to keys and back. No file and no clock.

A field too many, a list of nothing: each is an error. What is not understood may be what was to forbid something. But a
type that another version knows is none: it allows nothing, and must not keep a daemon from hearing of a revocation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import tomli_w
from msgspec import Meta

from chainwatch.errors import ConfigError, Problem, UsageError
from chainwatch.filter import Vocabulary, resolve_types
from chainwatch.keys import ring as rings
from chainwatch.keys.ring import Key, Revoked
from chainwatch.text import printable

_HEADER: Final = "# The API keys of chainwatch, as `chainwatch keys` writes them. A digest gives no key away.\n\n"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")

_Words = Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)]
"""An empty list might mean nothing as well as everything: it is not taken, and no list at all means everything."""
_Time = Annotated[datetime, Meta(tz=True)]


class _Table(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A key."""

    name: str
    id: str
    digest: str
    created: _Time
    expires: _Time | None = None
    can: _Words
    chains: _Words | None = None
    types: _Words | None = None
    addresses: _Words | None = None


class _Gone(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A key that was revoked."""

    name: str
    id: str
    revoked: _Time


class _File(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    keys: list[_Table]
    """Required: a file that was cut down to nothing is broken, and does not revoke every key."""
    revoked: list[_Gone] = []


class Parsed(NamedTuple):
    """What is written."""

    keys: list[Key]
    revoked: list[Revoked]
    doubts: list[str]
    """What should be told of it, though it can be used."""


def parse(raw: bytes, shown: str) -> Parsed:
    """The keys that are written, and those that were. `ConfigError` names `shown`, the file, and the first problem."""
    try:
        found = msgspec.toml.decode(raw, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        problem, _, place = str(error).partition(" - at `$")
        raise _broken(shown, place.strip("`."), problem) from None
    keys: list[Key] = []
    doubts: list[str] = []
    taken: set[str] = set()
    for index, table in enumerate(found.keys):
        try:
            key = _key(table)
            rings.check(key)
        except UsageError as error:
            raise _broken(shown, f"keys[{index}].{error.parameter}", error.what, error.hint) from None
        if twice := {key.name, key.id} & taken:
            raise _broken(shown, f"keys[{index}]", f"{min(twice)!r} is another key already")
        taken |= {key.name, key.id}
        keys.append(key)
        doubts += (f"in {shown}, {key.name} is limited to an {doubt}" for doubt in _strange(key.types))
    revoked = [Revoked(name=gone.name, id=gone.id, at=_milliseconds(gone.revoked)) for gone in found.revoked]
    return Parsed(keys, revoked, doubts)


def _strange(types: Iterable[str]) -> Iterator[str]:
    """What is wrong with each type that means nothing."""
    for word in types:
        try:
            resolve_types([word], Vocabulary(), "types")
        except UsageError as error:
            yield f"unknown type {printable(word, 64)!r}, which allows nothing" + (
                f" (did you mean {error.nearest!r}?)" if error.nearest else ""
            )


def write(keys: Iterable[Key], revoked: Iterable[Revoked]) -> str:
    """These keys as TOML."""
    tables: dict[str, Any] = {"keys": [_table(key) for key in keys]}
    if gone := [{"name": one.name, "id": one.id, "revoked": _time(one.at)} for one in revoked]:
        tables["revoked"] = gone
    return _HEADER + tomli_w.dumps(tables)


def _broken(shown: str, place: str, problem: str, hint: str = "") -> ConfigError:
    return ConfigError(
        f"the API keys in {shown} cannot be used",
        [Problem(place or "the file", printable(problem), hint)],
        hint="put it right, or back: nothing of it is used as it is",
    )


def _key(table: _Table) -> Key:
    if not _DIGEST.fullmatch(table.digest):  # which may be a secret that stands in the wrong place
        raise UsageError("is no SHA-256", parameter="digest", hint="64 hexadecimal digits, in lower case")
    for address in table.addresses or ():
        if not _ADDRESS.fullmatch(address):
            raise UsageError(f"{printable(address, 80)!r} is no address", parameter="addresses")
    return Key(
        name=table.name,
        id=table.id,
        digest=table.digest,
        created=_milliseconds(table.created),
        expires=None if table.expires is None else _milliseconds(table.expires),
        can=frozenset(table.can),
        chains=table.chains or (),
        types=table.types or (),
        addresses=tuple(address.lower() for address in table.addresses or ()),
    )


def _table(key: Key) -> dict[str, Any]:
    table: dict[str, Any] = {"name": key.name, "id": key.id, "digest": key.digest, "created": _time(key.created)}
    if key.expires is not None:
        table["expires"] = _time(key.expires)
    table["can"] = [permission for permission in rings.PERMISSIONS if permission in key.can]
    lists = {"chains": key.chains, "types": key.types, "addresses": key.addresses}
    return table | {name: list(words) for name, words in lists.items() if words}


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _time(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)
