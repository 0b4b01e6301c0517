"""
Durable streams: what is kept of one, and what has left the daemon of one that acknowledges by itself. Pure.

    agent/OWNER/NAME     what it is for: the words of its filter as they were given. They are resolved at each connect,
                         since the configuration may have changed; so is what its owner may see
    agent-at/OWNER/NAME  how far it is. A key of its own, so that an acknowledgement and a change of the filter at the
                         same time do not undo one another

OWNER is the id of a key, empty where the daemon knows no keys. They are state of the log, so they live and die with it,
as their cursors do.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any, Final

import msgspec

from chainwatch.errors import UsageError
from chainwatch.log import Change, Cursor, Drop, Put, parse_cursor

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MOST: Final = 100
"""Agents of one owner."""
START: Final = ("since", "last", "last_event_id")
"""Where a new agent starts: not kept."""

_AGENTS: Final = "agent/"
_PLACES: Final = "agent-at/"
AGENTS: Final = (_AGENTS, "agent0")
"""The range of what agents are for; `0` comes behind `/`."""
PLACES: Final = (_PLACES, "agent-at0")
"""The range of how far they are."""
_SAMPLES: Final = 8


class Purpose(msgspec.Struct, frozen=True):
    """What an agent is for. Times are Unix milliseconds."""

    words: dict[str, list[str]]
    """Stream parameters, as they were given."""
    created: int
    changed: int


class Spot(msgspec.Struct, frozen=True):
    """How far an agent is."""

    sequence: int
    at: int
    """Unix milliseconds at which it came there."""


def put_purpose(owner: str, name: str, purpose: Purpose) -> Put:
    return Put(f"{_AGENTS}{owner}/{name}", msgspec.json.encode(purpose))


def put_place(owner: str, name: str, place: Spot) -> Put:
    return Put(f"{_PLACES}{owner}/{name}", msgspec.json.encode(place))


def forget(owner: str, name: str) -> list[Change]:
    """Nothing of that agent is kept."""
    keys = (f"{_AGENTS}{owner}/{name}", f"{_PLACES}{owner}/{name}")
    return [Drop(key, f"{key}\0") for key in keys]


def whose(key: str) -> tuple[str, str]:
    """Owner and name of a key of either range."""
    _, owner, name = key.split("/")
    return owner, name


# --- what clients say ---------------------------------------------------------------------------------------------


def words(body: dict[str, Any]) -> dict[str, list[str]]:
    """
    The stream parameters in the body of a request, by name; each value is a text, a number, true or false, or a list
    of these. `UsageError` for anything else.
    """
    return {name: _texts(name, value) for name, value in body.items()}


def _texts(name: str, value: object) -> list[str]:
    found = [_text(name, one) for one in value] if isinstance(value, list) else [_text(name, value)]
    if not found:
        raise UsageError(f"{name} is an empty list", parameter=name, value="[]", hint=f"leave {name} away")
    return found


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    shown = "null" if value is None else "a list in a list" if isinstance(value, list) else "an object"
    raise UsageError(f"{name} is {shown}", parameter=name, hint=f"{name} is a text, or a list of texts")


def place_of(text: str, parameter: str, *, log: str, head: int) -> int:
    """The sequence of a cursor that this log gave out; `UsageError` for any other text."""
    cursor = parse_cursor(text)
    if cursor is None:
        why, hint = "is no cursor", "a cursor is the id of an event in a stream"
    elif cursor.log != log:
        why, hint = "is a cursor of another log", f"cursors of this one begin with {log}-"
    elif cursor.sequence > head:
        why, hint = "is beyond the end of the log", f"the newest event has the cursor {Cursor(log, head)}"
    else:
        return cursor.sequence
    raise UsageError(f"{text!r} {why}", parameter=parameter, value=text, hint=hint)


# --- what has left ------------------------------------------------------------------------------------------------


class Leaving:
    """
    How much of a stream the machine of its client has. Looked at now and then: what was written at one look has left
    when no more bytes are on their way than were written since. Bytes that are no events are on their way too, and are
    not counted as written: so this may lag, and never runs ahead.
    """

    __slots__ = ("_looks", "left")

    def __init__(self, position: int) -> None:
        self.left = position
        """Everything up to this sequence has left, or does not match."""
        self._looks: deque[tuple[int, int]] = deque()  # bytes written, position: not left yet, oldest first

    def look(self, written: int, position: int, under_way: int) -> int:
        """
        `written` bytes of events bring the client to `position`; of all bytes, the last `under_way` are not at its
        machine yet. The new `left`.
        """
        if under_way <= 0:
            self._looks.clear()
            self.left = max(self.left, position)
            return self.left
        while self._looks and written - self._looks[0][0] >= under_way:
            self.left = max(self.left, self._looks.popleft()[1])
        if position > (self._looks[-1][1] if self._looks else self.left):
            if len(self._looks) == _SAMPLES:  # a reader so slow that more of them would tell little more
                self._looks.pop()
            self._looks.append((written, position))
        return self.left
