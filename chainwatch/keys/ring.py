"""
What a key is, how one is made, and how a presented one is found. No file and no clock.

The text of a key is `cw_` + id + `_` + secret. The id is public: it finds the key, and names its owner in streams,
statistics and logs. The secret has 256 random bits, so one SHA-256 keeps it: a slow hash makes guessing expensive where
a secret can be guessed, and nobody guesses one out of 2^256.
"""

from __future__ import annotations

import difflib
import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable
from typing import Final

import msgspec

from chainwatch.errors import UsageError
from chainwatch.filter import Vocabulary, resolve_types
from chainwatch.text import printable

PERMISSIONS: Final = ("read", "send", "admin")
"""What a key can be for."""

_ALPHABET: Final = string.digits + string.ascii_letters
_ID_LENGTH: Final = 10
_SECRET_LENGTH: Final = 43  # 43 × log2(62) = 256.03 bits

SHAPE: Final = re.compile(rf"cw_(?P<id>[0-9A-Za-z]{{{_ID_LENGTH}}})_(?P<secret>[0-9A-Za-z]{{{_SECRET_LENGTH}}})")
"""
What the text of a key looks like, for `fullmatch`. No address does, and the configuration takes no such symbol for a
token, so `?token=` can tell a key from a token.
"""

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What people call a key, for `fullmatch`."""

_ID: Final = re.compile(rf"[0-9A-Za-z]{{{_ID_LENGTH}}}")
_THERE_IS: Final = f"there is: {', '.join(PERMISSIONS)}"
_NOBODY: Final = "0" * 64  # the digest that an unknown id is compared with


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is kept: everything but its secret. Times are Unix milliseconds."""

    name: str
    """Unique among the keys that are not revoked; see `NAME`."""
    id: str
    """Public, and part of the key's text: 10 letters and digits, never used again."""
    digest: str
    """SHA-256 of the secret, 64 hexadecimal digits."""
    created: int
    expires: int | None
    """From this moment on it is worth nothing; None: never."""
    can: frozenset[str]
    """Of `PERMISSIONS`, one at least."""
    chains: tuple[str, ...] = ()
    """Only these; empty: all."""
    types: tuple[str, ...] = ()
    """Only these types and categories, in the words that were given. One that means nothing allows nothing."""
    addresses: tuple[str, ...] = ()
    """Only events that touch one of these, lower case."""

    def __repr__(self) -> str:
        """Without the digest, which has no place in a log."""
        return f"Key(name={self.name!r}, id={self.id!r})"

    def is_expired(self, now: int) -> bool:
        """Whether it is worth nothing at the Unix time `now` in milliseconds."""
        return self.expires is not None and self.expires <= now


class Revoked(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was: who revokes it once more is not led to another one of a like name."""

    name: str
    id: str
    at: int
    """Unix milliseconds."""


class Keyring:
    """The keys at one moment; it does not change."""

    __slots__ = ("_by_id", "_required", "doubts", "keys")

    def __init__(self, keys: Iterable[Key] = (), *, required: bool = False, doubts: Iterable[str] = ()) -> None:
        """
        `required`: a key is wanted although there may be none, because there is or was a file of keys. `doubts`: what a
        person should be told of that file although it can be used.
        """
        self.keys: Final = tuple(keys)
        self.doubts: Final = tuple(doubts)
        self._required: Final = required
        self._by_id: Final = {key.id: key for key in self.keys}

    def __bool__(self) -> bool:
        """
        Whether everyone needs a key. An expired key counts, and so does a file that has none left: neither opens to
        everybody what was closed.
        """
        return self._required or bool(self.keys)

    def __repr__(self) -> str:
        return f"Keyring({', '.join(key.name for key in self.keys)})"

    def find(self, presented: str) -> Key | None:
        """
        The key with this text, expired or not; None where there is none. In constant time: an unknown id costs what a
        wrong secret does, and no time tells how much of a secret was right.
        """
        shape = SHAPE.fullmatch(presented)
        if shape is None:
            return None
        key = self._by_id.get(shape["id"])
        same = hmac.compare_digest(digest_of(shape["secret"]), key.digest if key is not None else _NOBODY)
        return key if same else None

    def get(self, key_id: str) -> Key | None:
        """The key with this id."""
        return self._by_id.get(key_id)

    def named(self, name: str) -> Key | None:
        """The key with this name."""
        return next((key for key in self.keys if key.name == name), None)


def digest_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def mint(
    ring: Keyring,
    *,
    name: str,
    can: Iterable[str],
    chains: Iterable[str],
    types: Iterable[str],
    addresses: Iterable[str],
    expires: int | None,
    now: int,
) -> tuple[Key, str]:
    """A new key beside those of `ring`, and its text. `UsageError` where it cannot be meant."""
    _check_name(name)
    if (there := ring.named(name)) is not None:
        state = " (expired)" if there.is_expired(now) else ""
        raise UsageError(
            f"there is a key {name!r} already{state}",
            parameter="name",
            value=name,
            hint=f"choose another name, or revoke that one first: chainwatch keys revoke {name}",
        )
    if expires is not None and expires <= now:
        raise UsageError("a key that has expired already", parameter="expires", hint="choose a time in the future")
    taken = {word for key in ring.keys for word in (key.id, key.name)} | {name}
    while (key_id := _random(_ID_LENGTH)) in taken:  # `revoke` takes names and ids
        pass
    secret = _random(_SECRET_LENGTH)
    key = Key(
        name=name,
        id=key_id,
        digest=digest_of(secret),
        created=now,
        expires=expires,
        can=frozenset(can),
        chains=tuple(dict.fromkeys(chains)),
        types=tuple(dict.fromkeys(types)),
        addresses=tuple(dict.fromkeys(address.lower() for address in addresses)),
    )
    check(key)
    resolve_types(key.types, Vocabulary(), "types")
    return key, f"cw_{key_id}_{secret}"


def check(key: Key) -> None:
    """`UsageError` where a key cannot be used. Its allow-lists are not looked at."""
    _check_name(key.name)
    if not _ID.fullmatch(key.id):
        raise UsageError("is no id", parameter="id", hint=f"{_ID_LENGTH} letters and digits")
    if unknown := sorted(key.can - {*PERMISSIONS}):
        close = difflib.get_close_matches(unknown[0].lower(), PERMISSIONS, n=1, cutoff=0.5)
        raise UsageError(
            f"unknown permission {printable(unknown[0], 64)!r}",
            parameter="can",
            value=unknown[0],
            nearest=close[0] if close else "",
            hint="" if close else _THERE_IS,
        )
    if not key.can:
        raise UsageError("a key that may do nothing", parameter="can", hint=_THERE_IS)


def _check_name(name: str) -> None:
    if SHAPE.fullmatch(name):  # and is not shown again
        raise UsageError("that is a key, not a name for one", parameter="name")
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{printable(name, 80)!r} is no name for a key",
            parameter="name",
            value=name,
            hint="up to 64 letters, digits, dots, - and _, the first a letter or a digit",
        )


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
