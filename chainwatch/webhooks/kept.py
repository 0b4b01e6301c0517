"""
What is kept of a webhook, as state of the log. Pure.

    webhook/OWNER/NAME           what it is for: where it goes, the words of its filter, its secret
    webhook-at/OWNER/NAME        how it stands: how far it is, and what of the next event was tried
    webhook-dead/OWNER/NAME/N    an event that was given up, by its sequence, with the event itself: retention may take
                                 it from the log

OWNER is the id of a key, empty where the daemon knows no keys, `@` for what the configuration names: of these only the
standing and the dead letters are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from chainwatch.log import Change, Drop, Put
from chainwatch.webhooks.caller import NOBODY, Trust
from chainwatch.webhooks.delivery import Fault, Pause, Trouble

OPERATOR: Final = "@"
"""The owner of what the configuration names: no id of a key."""
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
EVENT: Final = "event"
"""The form of a body that is the event as streams have it."""
MOST: Final = 100
"""Webhooks of one owner."""
MOST_OF_ALL: Final = 1000
"""Of a daemon: each may hold a connection and a piece of the log."""
LETTERS: Final = 100
"""Dead letters of one webhook,"""
LETTER_BYTES: Final = 1024 * 1024
"""and bytes of their events."""
OVERLAP: Final = 86_400_000
"""Milliseconds for which a secret that was replaced still signs beside the new one."""

_PURPOSES: Final = "webhook/"
_STANDINGS: Final = "webhook-at/"
_LETTERS: Final = "webhook-dead/"
PURPOSES: Final = (_PURPOSES, "webhook0")
STANDINGS: Final = (_STANDINGS, "webhook-at0")
DEAD: Final = (_LETTERS, "webhook-dead0")
"""The ranges of keys; `0` comes behind `/`."""


class Purpose(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a webhook is for. Times are Unix milliseconds."""

    url: str
    words: Mapping[str, Sequence[str]]
    """Stream parameters, as they were given."""
    secret: str
    created: int
    changed: int
    former: str | None = None
    """The secret before,"""
    former_until: int = 0
    """which signs too until then."""
    form: str = EVENT
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Sent with each request."""
    expires: int | None = None
    """When it is removed."""
    trust: Trust = NOBODY

    def __repr__(self) -> str:
        """Without secrets, and the path of the URL may be one."""
        return f"Purpose(form={self.form!r})"

    def secrets(self, now: int) -> list[str]:
        """What signs at that time."""
        return [self.secret, *([self.former] if self.former and now < self.former_until else ())]

    def signed(self, secret: str | None, now: int) -> Purpose:
        """The same with that secret, if any: the one before signs beside it for a while."""
        if secret is None or secret == self.secret:
            return self
        return msgspec.structs.replace(self, secret=secret, former=self.secret, former_until=now + OVERLAP)

    def differs(self, other: Purpose, fields: Sequence[str]) -> bool:
        """Whether one of these is another."""
        return any(getattr(self, field) != getattr(other, field) for field in fields)


class Standing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a webhook stands. Times are Unix milliseconds."""

    sequence: int
    """Everything up to it was accepted, does not match, or is a dead letter."""
    at: int
    """When it came there."""
    verified: bool = False
    """Its receiver wants what comes."""
    trouble: Trouble | None = None
    """What is tried again: the next event, or the challenge."""
    after_dead: bool = False
    """Nothing was accepted since the last dead letter."""
    pause: Pause | None = None
    accepted: int = 0
    """Events, ever."""
    accepted_at: int | None = None


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was given up. Times are Unix milliseconds."""

    sequence: int
    since: int
    at: int
    attempts: int
    fault: Fault
    status: int | None
    event: msgspec.Raw


def put_purpose(owner: str, name: str, purpose: Purpose) -> Put:
    return Put(f"{_PURPOSES}{owner}/{name}", msgspec.json.encode(purpose))


def put_standing(owner: str, name: str, standing: Standing) -> Put:
    return Put(f"{_STANDINGS}{owner}/{name}", msgspec.json.encode(standing))


def put_letter(owner: str, name: str, letter: Letter) -> Put:
    return Put(_key_of(owner, name, letter), msgspec.json.encode(letter))


def drop_letter(owner: str, name: str, letter: Letter) -> Drop:
    key = _key_of(owner, name, letter)
    return Drop(key, f"{key}\0")


def _key_of(owner: str, name: str, letter: Letter) -> str:
    return f"{_LETTERS}{owner}/{name}/{letter.sequence:020}"


def letters_of(owner: str, name: str) -> tuple[str, str]:
    """The range of its dead letters."""
    return f"{_LETTERS}{owner}/{name}/", f"{_LETTERS}{owner}/{name}0"


def forget(owner: str, name: str) -> list[Change]:
    """Nothing of that webhook is kept."""
    keys = (f"{_PURPOSES}{owner}/{name}", f"{_STANDINGS}{owner}/{name}")
    return [*(Drop(key, f"{key}\0") for key in keys), Drop(*letters_of(owner, name))]


def whose(key: str) -> tuple[str, str]:
    """Owner and name of a key of any range."""
    _, owner, name, *_ = key.split("/")
    return owner, name
