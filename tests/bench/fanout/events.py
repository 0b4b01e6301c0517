"""The events of the bench: about 400 bytes as a frame, and in each when it was due (microseconds) and its number."""

from __future__ import annotations

import time
from typing import Any

from chainwatch.event import Event, encode, rfc3339

PADDING = "." * 120


def address(number: int) -> str:
    """The address of a stream with this number, as the load client writes it in a path."""
    return f"0x{number:040x}"


def event(number: int, due: float, addresses: int = 0) -> Event:
    """
    A block, or where there are so many addresses, a transfer that touches the next of them. `due`: when it is meant to
    be sent, in seconds of the monotonic clock. A sender that comes late does not make it younger.
    """
    now = rfc3339(time.time_ns() // 1_000_000)
    data: dict[str, Any] = {"sent": int(due * 1e6), "number": number, "padding": PADDING}
    kind = "block_new"
    if addresses:
        kind = "token_transfer"
        data["to"] = address(number % addresses)
    # A made-up id: to hash what happened is the work of ingestion, and nobody else's here does it.
    return Event(id=f"evt_{number:026}", type=kind, timestamp=now, observed_at=now, chain="ethereum", data=data)


def text(number: int, due: float, addresses: int = 0) -> bytes:
    """The same, as JSON."""
    return encode(event(number, due, addresses))
