"""
Which MCP sessions there are, and which of them goes when there are too many. Pure.

Many hosts never end a session; it lives on until it is idle for long. One that comes anew all the time must not keep
everybody else out by that: where there are too many, whoever has the most loses the one that was idle the longest. Its
client is told that it is not there any more, and begins another one (that is the protocol's way).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple


class Session(NamedTuple):
    """One session."""

    key: str
    """The id of the key that began it; empty where there are no keys."""
    name: str


class Book:
    """The sessions, by their keys. One that ended by itself may still be in it, and goes when there is no room."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._of: dict[str, OrderedDict[str, int]] = {}
        """Requests under way, by key and session; the session comes first that was idle the longest."""

    def __len__(self) -> int:
        return self._count

    def add(self, session: Session) -> None:
        """It began."""
        self._of.setdefault(session.key, OrderedDict())[session.name] = 0
        self._count += 1

    def enter(self, session: Session) -> None:
        """A request of it begins."""
        if (known := self._of.get(session.key)) and session.name in known:
            known[session.name] += 1

    def leave(self, session: Session) -> None:
        """That request is over."""
        if (known := self._of.get(session.key)) and session.name in known:
            known[session.name] -= 1
            known.move_to_end(session.name)

    def drop(self, session: Session) -> None:
        """It ended."""
        known = self._of.get(session.key)
        if known is None or known.pop(session.name, None) is None:
            return
        self._count -= 1
        if not known:
            del self._of[session.key]

    def too_many(self) -> Session | None:
        """One that has to go; None where there is room, or all of them are in use."""
        if self._count <= self._most:
            return None
        for key, known in sorted(self._of.items(), key=lambda item: -len(item[1])):
            for name, under_way in known.items():
                if not under_way:
                    return Session(key, name)
        return None

    def any(self, whose: Callable[[str], bool] = lambda _: True) -> Session | None:
        """One of them, or of those keys, while there are any."""
        return next((Session(key, name) for key, known in self._of.items() if whose(key) for name in known), None)
