"""What an owner may see now, and how much one may have. The server knows the first; it is asked as for agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from chainwatch.errors import ChainwatchError
from chainwatch.filter import Filter

Words = Mapping[str, Sequence[str]]
"""Stream parameters by name, as they were given: `types`, `address`, `where`."""


class Withdrawn(Exception):
    """The owner may not have this (any more): the key was revoked, has expired, or may see less than was asked for."""


class TooMany(ChainwatchError):
    """There is no room for another webhook."""


class TooOften(ChainwatchError):
    """Others are called too often."""

    def __init__(self, wait: float) -> None:
        super().__init__("tests, new webhooks and what is sent again call others: not so often")
        self.wait = wait
        """Seconds after which it may be tried again."""


class Terms(Protocol):
    """The rights of owners."""

    def wanted(self, owner: str, words: Words) -> Filter:
        """
        What these words mean now, narrowed to what their owner may see; `OPERATOR` may see all. `Withdrawn` where they
        may not, `UsageError` where the words mean nothing.
        """

    def open(self, owner: str, wanted: Filter) -> None:
        """A webhook of theirs asks this of each event, until `close`. `Withdrawn` where that is too much."""

    def close(self, owner: str, wanted: Filter) -> None:
        """It does so no more."""
