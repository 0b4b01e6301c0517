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
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from chainwatch.errors import ChainwatchError, ConfigError, UsageError
from chainwatch.event import rfc3339
from chainwatch.keys import form, ring as rings
from chainwatch.keys.ring import Key, Keyring, Revoked
from chainwatch.text import printable

State = tuple[int, ...]
"""What a look at the file can tell of it; another state is another file. Empty where there is none."""

MISSING: Final[State] = ()
_LONGEST: Final = 64 * 1024 * 1024  # bytes; some hundred thousand keys
_REMEMBERED: Final = 100  # revoked keys


class Contents(NamedTuple):
    """What the file held when it was read."""

    ring: Keyring
    revoked: Sequence[Revoked]
    state: State


def load(path: Path) -> Keyring:
    """The keys in that file, none where there is none. `ConfigError` where it cannot be read, or trusted, or meant."""
    return read(path).ring


def create(
    path: Path,
    *,
    name: str,
    can: Collection[str],
    chains: Sequence[str],
    types: Sequence[str],
    addresses: Sequence[str],
    expires: int | None,
    now: int,
) -> tuple[Key, str]:
    """
    A new key in that file, and its text, which is nowhere else. Times are Unix milliseconds.

    `UsageError` where it cannot be meant, `ConfigError` where the file cannot be used, `ChainwatchError` where it
    cannot be written; nothing is changed then.
    """
    make = partial(
        rings.mint, name=name, can=can, chains=chains, types=types, addresses=addresses, expires=expires, now=now
    )
    make(load(path))  # for nothing: what cannot be meant leaves no folder and no lock
    with _locked(path) as place:
        held = read(place)
        key, text = make(held.ring)
        _replace(place, form.write((*held.ring.keys, key), held.revoked))
    return key, text


def revoke(path: Path, name_or_id: str, *, now: int) -> Key:
    """
    Take the key with that name or id out of the file at the Unix time `now` in milliseconds; the key it was. The text
    of a key will do as well: of a key that leaked it may be all that is known. Raises what `create` raises.
    """
    shape = rings.SHAPE.fullmatch(name_or_id)
    wanted = shape["id"] if shape else name_or_id
    if look(path) == MISSING:  # nothing is made beside a file that is not there
        raise UsageError("there are no keys", hint=f"they would be in {printable(str(path))}")
    with _locked(path) as place:
        held = read(place)
        key = held.ring.named(wanted) or held.ring.get(wanted)
        if key is None:
            raise _unknown(wanted, held)
        rest = [other for other in held.ring.keys if other is not key]
        gone = Revoked(name=key.name, id=key.id, at=now)
        _replace(place, form.write(rest, (*held.revoked, gone)[-_REMEMBERED:]))
    return key


def _unknown(wanted: str, held: Contents) -> UsageError:
    for gone in reversed(held.revoked):
        if wanted in (gone.name, gone.id):
            return UsageError(f"the key {gone.name!r} ({gone.id}) was revoked already, {rfc3339(gone.at)}")
    names = [key.name for key in held.ring.keys]
    folded = {word.lower(): word for word in (*(key.id for key in held.ring.keys), *names)}
    close = difflib.get_close_matches(wanted.lower(), folded, n=1, cutoff=0.6)
    # A key that lost a character on its way is still most of a secret.
    shown = "cw_…" if wanted.lower().startswith("cw_") else printable(wanted, 64)
    few = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    return UsageError(
        f"no key has the name or id {shown!r}",
        parameter="key",
        nearest=folded[close[0]] if close else "",
        hint="" if close else f"there is: {few}" if names else "there is no key",
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
    """What is in the file, and in which state it was. Raises what `load` raises."""
    shown = printable(str(path))
    try:
        # Whatever may be in its place, such as a pipe, is not waited for.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            doubts = _trust(shown, status, path.resolve().parent)
            raw = file.read(_LONGEST + 1)
    except FileNotFoundError:
        return Contents(Keyring(), (), MISSING)
    except OSError as error:
        raise ConfigError(f"cannot read the API keys in {shown}: {error.strerror or error}") from None
    if len(raw) > _LONGEST:
        raise ConfigError(f"the API keys in {shown} cannot be used: it is longer than {_LONGEST} bytes")
    found = form.parse(raw, shown)
    ring = Keyring(found.keys, required=True, doubts=[*doubts, *found.doubts])
    return Contents(ring, found.revoked, _state(status))


def _state(status: os.stat_result) -> State:
    # Mode and owner too: who makes a file writable for others breaks it, without touching its contents.
    return (status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode, status.st_uid)


def _trust(shown: str, status: os.stat_result, folder: Path) -> list[str]:
    """What to say of a file that may be used. `ConfigError` where others can write it: they could make keys."""
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{shown} is no file", hint="server.keys_file names the file of the API keys itself")
    me = os.geteuid()
    if me != 0 and status.st_uid not in (0, me):
        raise ConfigError(
            f"the API keys in {shown} belong to another user, who could add keys",
            hint="run this as that user, or give the file to the one that runs the daemon (chown)",
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"others can write the API keys in {shown}, and so add keys", hint=f"chmod 600 {shown}")
    around = folder.stat().st_mode
    if around & stat.S_IWOTH and not around & stat.S_ISVTX:
        raise ConfigError(
            f"everyone can replace the API keys in {shown}",
            hint=f"their folder is open to all: chmod o-w {printable(str(folder))}",
        )
    if status.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return [f"others can read the names and rights of the API keys in {shown}: chmod 600 {shown}"]
    return []


# --- writing ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """
    The one name of that file, links followed, while nobody else writes it. The lock is a file beside it, which stays:
    the file itself is another one after each change.
    """
    with _explained(path):
        place = path.resolve()
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _lock_file(place)
    try:
        with _explained(path):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield place
    finally:
        os.close(lock)


def _lock_file(place: Path) -> int:
    name = f"{place}.lock"
    try:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(name, os.O_RDWR | os.O_NOFOLLOW)
    _give(lock, place)  # a new one alone: the name could be a link to a file that was never theirs (CWE-59)
    return lock


def _replace(place: Path, text: str) -> None:
    """All of it or nothing of it is in the file, whenever the machine stops. The lock is held."""
    fresh = Path(f"{place}.new")
    with _explained(place):
        fresh.unlink(missing_ok=True)  # of one who was killed here
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


def _give(descriptor: int, place: Path) -> None:
    """What root writes belongs to whoever had the file, or has its folder: else the daemon could not read it."""
    if os.geteuid() == 0:
        owner = (place if place.exists() else place.parent).stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        why = (getattr(error, "strerror", None) or str(error)).lower()
        raise ChainwatchError(
            f"cannot write the API keys in {printable(str(path))}", why=why, hint="nothing was changed"
        ) from None
