"""
The file of the keys: TOML, for `chainwatch keys` to write and for people to read.

It is read whole or not at all: a ring that silently lost its keys would turn everybody away, or let everybody in. It is
replaced in one step, under a lock beside it, so that two who write at once lose nothing, a crash at any moment leaves
the old file or the new one, and a daemon that looks sees one of them.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
import tomli_w
from msgspec import Meta

from chainwatch.errors import ChainwatchError, ConfigError, Problem, UsageError
from chainwatch.event import rfc3339
from chainwatch.keys import ring as rings
from chainwatch.keys.ring import Key, Keyring
from chainwatch.text import printable

State = tuple[int, ...]
"""What a look at the file can tell of it; another state is another file. Empty where there is none."""

MISSING: Final[State] = ()
_LONGEST: Final = 64 * 1024 * 1024  # bytes; some hundred thousand keys
_REMEMBERED: Final = 100
_HEADER: Final = (
    "# The API keys of chainwatch, written by `chainwatch keys`. Nobody can tell a key from its digest.\n\n"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_Words = Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)]
"""An empty list could mean nothing as well as everything, so it is not taken: to leave the line out means all."""
_Time = Annotated[datetime, Meta(tz=True)]


class _Table(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A key, as it is written."""

    name: Annotated[str, Meta(pattern=rf"^{rings.NAME.pattern}\Z")]
    id: Annotated[str, Meta(pattern=r"^[0-9A-Za-z]{10}\Z")]
    digest: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    created: _Time
    expires: _Time | None = None
    can: Annotated[tuple[Literal["read", "send", "admin"], ...], Meta(min_length=1)]
    chains: _Words | None = None
    types: _Words | None = None
    addresses: (
        Annotated[tuple[Annotated[str, Meta(pattern=r"^0x[0-9a-fA-F]{40}\Z")], ...], Meta(min_length=1)] | None
    ) = None


class _Revoked(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A key that was, so that who revokes it again is not led to another one of a like name."""

    name: str
    id: str
    revoked: _Time


class _File(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    keys: list[_Table]
    """Required: a file that was cut down to nothing is broken, and does not revoke every key."""
    revoked: list[_Revoked] = []


class Contents(NamedTuple):
    """What the file held when it was read."""

    ring: Keyring
    revoked: tuple[_Revoked, ...]
    state: State


def load(path: Path) -> Keyring:
    """The keys in that file, none where there is none. `ConfigError` where it cannot be read, or trusted, or meant."""
    return read(path).ring


def create(
    path: Path,
    *,
    name: str,
    can: Iterable[str],
    chains: Iterable[str],
    types: Iterable[str],
    addresses: Iterable[str],
    expires: int | None,
    now: int,
) -> tuple[Key, str]:
    """
    A new key in that file, and its text, which is nowhere else. Times are Unix milliseconds.

    `UsageError` where it cannot be meant, `ConfigError` where the file cannot be used, `ChainwatchError` where it
    cannot be written; nothing is changed then.
    """
    with _locked(path) as place:
        held = read(place)
        key, text = rings.mint(
            held.ring, name=name, can=can, chains=chains, types=types, addresses=addresses, expires=expires, now=now
        )
        _replace(place, (*held.ring.keys, key), held.revoked)
    return key, text


def revoke(path: Path, name_or_id: str, *, now: int) -> Key:
    """
    Take the key with that name or id out of the file; the key it was. The text of a key will do as well: a key that
    leaked is what its finder has. Raises what `create` raises.
    """
    shape = rings.SHAPE.fullmatch(name_or_id)
    wanted = shape["id"] if shape else name_or_id
    if not load(path):
        raise UsageError("there are no keys", hint=f"they would be in {printable(str(path))}")
    with _locked(path) as place:
        held = read(place)
        key = held.ring.named(wanted) or held.ring.get(wanted)
        if key is None:
            raise _unknown(wanted, held)
        rest = tuple(other for other in held.ring.keys if other is not key)
        gone = _Revoked(name=key.name, id=key.id, revoked=_time(now))
        _replace(place, rest, (*held.revoked, gone)[-_REMEMBERED:])
    return key


def _unknown(wanted: str, held: Contents) -> UsageError:
    for gone in reversed(held.revoked):
        if wanted in (gone.name, gone.id):
            return UsageError(f"the key {gone.name!r} ({gone.id}) was revoked {rfc3339(_milliseconds(gone.revoked))}")
    names = [key.name for key in held.ring.keys]
    ids = [key.id for key in held.ring.keys]
    folded = {word.lower(): word for word in (*ids, *names)}
    close = difflib.get_close_matches(wanted.lower(), folded, n=1, cutoff=0.6)
    # A key that lost a character on its way is still most of a secret.
    shown = "cw_…" if wanted.lower().startswith("cw_") else printable(wanted, 64)
    few = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    return UsageError(
        f"no key has the name or id {shown!r}",
        parameter="key",
        nearest=folded[close[0]] if close else "",
        hint="" if close else f"there is: {few}" if names else "all keys are revoked",
    )


# --- reading ------------------------------------------------------------------------------------------------------


def look(path: Path) -> State:
    """The state of the file, without reading it."""
    try:
        return _state(path.stat())
    except FileNotFoundError:
        return MISSING
    except OSError as error:  # reading it will say what is wrong
        return (error.errno or -1,)


def read(path: Path) -> Contents:
    """What is in the file, and of which state that is. Raises what `load` raises."""
    shown = printable(str(path))
    try:
        # Whatever may be in its place, such as a pipe, is not waited for.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            doubt = _trust(shown, status, path.resolve().parent)
            raw = file.read(_LONGEST + 1)
    except FileNotFoundError:
        return Contents(Keyring(), (), MISSING)
    except OSError as error:
        raise ConfigError(f"cannot read the API keys in {shown}: {error.strerror or error}") from None
    if len(raw) > _LONGEST:
        raise _broken(shown, "", f"is longer than {_LONGEST} bytes")
    keys, revoked = _parse(raw, shown)
    return Contents(Keyring(keys, required=True, doubt=doubt), revoked, _state(status))


def _state(status: os.stat_result) -> State:
    # Mode and owner too: who makes a file writable for others breaks it, without touching its contents.
    return (status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode, status.st_uid)


def _trust(shown: str, status: os.stat_result, folder: Path) -> str:
    """What to say of a file that may be used. `ConfigError` where others can write it: they could make keys."""
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{shown} is no file", hint="server.keys_file names the file of the API keys itself")
    mine = os.geteuid()
    if mine not in (0, status.st_uid) and status.st_uid != 0:
        raise ConfigError(
            f"the API keys in {shown} belong to another user, who could add keys",
            hint="run this as that user, or give the file to the one who runs the daemon: chown",
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"others can write the API keys in {shown}, and so add keys", hint=f"chmod 600 {shown}")
    around = folder.stat().st_mode
    if around & stat.S_IWOTH and not around & stat.S_ISVTX:
        raise ConfigError(
            f"everyone can replace the API keys in {shown}", hint=f"their folder is open to all: chmod o-w {folder}"
        )
    if status.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return f"others can read the names and rights of the API keys in {shown}: chmod 600 {shown}"
    return ""


def _parse(raw: bytes, shown: str) -> tuple[list[Key], tuple[_Revoked, ...]]:
    try:
        found = msgspec.toml.decode(raw, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        problem, _, place = str(error).partition(" - at `$")
        raise _broken(shown, place.strip("`.").removesuffix("[...]"), problem) from None
    keys: list[Key] = []
    taken: set[str] = set()
    for index, table in enumerate(found.keys):
        try:
            key = _key(table)
            rings.check_name(key.name)
            rings.check(key)
        except UsageError as error:
            raise _broken(shown, f"keys[{index}].{error.parameter}", error.what, error.hint) from None
        except (OverflowError, ValueError):
            raise _broken(shown, f"keys[{index}]", "holds a time that no clock shows") from None
        if twice := {key.name, key.id} & taken:
            raise _broken(shown, f"keys[{index}]", f"{min(twice)!r} is another key already")
        taken |= {key.name, key.id}
        keys.append(key)
    return keys, tuple(found.revoked)


def _broken(shown: str, place: str, problem: str, hint: str = "") -> ConfigError:
    return ConfigError(
        f"the API keys in {shown} cannot be used",
        [Problem(place or "the file", printable(problem), hint)],
        hint="put it right, or back: none of it is used as it is",
    )


def _key(table: _Table) -> Key:
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


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _time(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)


# --- writing ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """
    The one name of that file, links followed, while nobody else writes it. The lock is a file beside it, which stays:
    the file itself is another one after each change.
    """
    try:
        place = path.resolve()
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(f"{place}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        raise _unwritable(path, error) from None
    try:
        with _explained(path):
            _give(lock, place)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield place
    finally:
        os.close(lock)


def _replace(place: Path, keys: Iterable[Key], revoked: Iterable[_Revoked]) -> None:
    tables: dict[str, Any] = {"keys": [_written(key) for key in keys]}
    if gone := [msgspec.structs.asdict(one) for one in revoked]:
        tables["revoked"] = gone
    text = _HEADER + tomli_w.dumps(tables)
    fresh = Path(f"{place}.new")
    with _explained(place):
        fresh.unlink(missing_ok=True)  # of one who was killed here; nobody else has the lock
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            _give(file.fileno(), place)
            os.fsync(file.fileno())
        fresh.replace(place)
        folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _written(key: Key) -> dict[str, Any]:
    table: dict[str, Any] = {"name": key.name, "id": key.id, "digest": key.digest, "created": _time(key.created)}
    if key.expires is not None:
        table["expires"] = _time(key.expires)
    table["can"] = [one for one in rings.PERMISSIONS if one in key.can]
    lists = {"chains": key.chains, "types": key.types, "addresses": key.addresses}
    return table | {name: list(words) for name, words in lists.items() if words}


def _give(descriptor: int, place: Path) -> None:
    """What root writes belongs to whoever had the file, or has its folder: the daemon, which could not read it else."""
    if os.geteuid() == 0:
        owner = (place if place.exists() else place.parent).stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: Exception) -> ChainwatchError:
    why = (getattr(error, "strerror", None) or str(error)).lower()
    return ChainwatchError(f"cannot write the API keys in {printable(str(path))}", why=why, hint="nothing was changed")
