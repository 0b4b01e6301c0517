"""What a client is told when the log takes nothing: come again, nothing was changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from chainwatch.errors import LogError, LogFull
from chainwatch.server.problem import Problem

AGAIN: Final = "5"
"""Seconds, for `Retry-After`."""


@contextmanager
def durably() -> Iterator[None]:
    """While inside, an error of the log is `Problem` 503. Its own words name a file of the daemon's machine."""
    try:
        yield
    except LogFull:
        why = "there is no room for the event log: nothing was changed"
    except LogError:
        why = "the event log cannot be written: nothing was changed"
    else:
        return
    raise Problem(503, why, headers={"Retry-After": AGAIN})
