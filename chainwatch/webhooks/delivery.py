"""
What follows from an attempt. Pure: time and chance are arguments.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Fault = Literal[
    "unreachable", "connection_refused", "timeout", "tls_error", "address_refused", "http_3xx", "http_4xx", "http_5xx",
    "bad_answer", "challenge_failed",
]  # fmt: skip
"""What is told of an attempt that failed: a word of ours, never what the receiver said (it would be a way to read what
stands behind an address)."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one request."""

    status: int | None = None
    """Of the answer; None where there was none."""
    fault: Fault | None = None
    """None: accepted (2xx, and a challenge was answered)."""
    milliseconds: int = 0
    retry_after: float | None = None
    """Seconds that the receiver asks for."""
