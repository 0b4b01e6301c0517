"""
JSON-RPC as bytes and values: requests out, replies and notifications in, errors as values that can be decided on.

No socket and no clock here. What an error means is read from its code first (JSON-RPC 2.0, EIP-1474) and from its
message where providers put the truth there.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec

Kind = Literal["limited", "unsupported", "too_large", "unknown", "failed"]
"""limited: too many requests. unsupported: this node has no such method, for us. too_large: ask for less at once.
unknown: no such block here, now. failed: anything else."""


class RpcError(msgspec.Struct, frozen=True):
    """An error as the node told it."""

    code: int = 0
    message: str = ""
    data: Any = None

    @property
    def kind(self) -> Kind:
        text = self.message.lower()
        if self.code == 429 or any(word in text for word in _LIMITED):
            return "limited"
        if any(word in text for word in _TOO_LARGE):
            return "too_large"
        if self.code == -32005:  # EIP-1474 «limit exceeded»; some providers mean the size, see above
            return "limited"
        if self.code in (-32601, -32004) or any(word in text for word in _UNSUPPORTED):
            return "unsupported"
        if any(word in text for word in _UNKNOWN):
            return "unknown"
        return "failed"

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, where the error says (`data.rate.backoff_seconds`, as Infura has it)."""
        try:
            return max(0.0, float(self.data["rate"]["backoff_seconds"]))
        except (TypeError, KeyError, ValueError, OverflowError):
            return None


_LIMITED: Final = ("rate limit", "too many requests", "request limit", "requests per second", "capacity", "daily limit")
_TOO_LARGE: Final = (
    "block range", "query returned more than", "range is too", "range too", "too wide", "limited to", "exceed maximum",
    "response size", "result set", "too many results", "too large", "max results", "more than 10000", "query timeout",
)  # fmt: skip
_UNSUPPORTED: Final = (
    "method not found", "does not exist", "not supported", "unsupported", "not available", "not whitelisted",
    "not allowed", "is not enabled", "unknown method",
)  # fmt: skip
_UNKNOWN: Final = (
    "unknown block", "not found", "header for hash", "resource not", "cannot find", "beyond current head",
    "after last accepted",
)  # fmt: skip


class Message(msgspec.Struct, gc=False):
    """Anything that a node sends: a reply (`id`), or a notification (`method`)."""

    id: int | str | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: RpcError | None = None
    method: str | None = None
    params: msgspec.Raw = msgspec.Raw(b"null")


class Notification(msgspec.Struct):
    """`params` of an `eth_subscription`."""

    subscription: str
    result: msgspec.Raw


_message: Final = msgspec.json.Decoder(Message)
_notification: Final = msgspec.json.Decoder(Notification)
_encoder: Final = msgspec.json.Encoder()


def request(number: int, method: str, params: list[Any]) -> bytes:
    """One request as it goes over the wire."""
    return _encoder.encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params})


def message(data: bytes | str) -> Message:
    """What came in. `msgspec.DecodeError` where it is no JSON-RPC."""
    return _message.decode(data)


def notification(params: msgspec.Raw) -> Notification:
    return _notification.decode(params)


# --- how much eth_getLogs may ask for -----------------------------------------------------------------------------

_SUGGESTED: Final = re.compile(r"\[\s*(0x[0-9a-f]+)\s*,\s*(0x[0-9a-f]+)\s*\]", re.IGNORECASE)
_LIMIT: Final = re.compile(r"(\d[\d,_]*)\s*(k)?\s*(?:-|\s)?\s*block", re.IGNORECASE)
_LIMIT_AFTER: Final = re.compile(
    r"(?:range|limit|max(?:imum)?(?: is)?|exceeds?|up to)[^\d\[]{0,24}(\d[\d,_]*)\s*(k)?\b", re.IGNORECASE
)


def suggested_span(text: str, span: int) -> int | None:
    """
    The number of blocks that an error message of `eth_getLogs` suggests, smaller than `span`; None where it does
    not. Providers write `[0x1, 0x7d0]`, `limited to 10,000 blocks`, `up to a 2K block range`, `exceed maximum block
    range: 50000`.
    """
    if found := _SUGGESTED.search(text):
        suggestion = int(found[2], 16) - int(found[1], 16) + 1
        return suggestion if 0 < suggestion < span else None
    for pattern in (_LIMIT, _LIMIT_AFTER):
        for found in pattern.finditer(text):
            number = int(found[1].replace(",", "").replace("_", "")) * (1000 if found[2] else 1)
            if 0 < number < span:
                return number
    return None


class Span:
    """How many blocks one `eth_getLogs` asks for: found out, kept, and tried a little larger now and then."""

    def __init__(self, first: int = 2048) -> None:
        self.blocks = first
        self._ceiling = first
        self._good = 0

    def succeeded(self) -> None:
        """After enough answers in a row, ask for more again: limits differ with what the blocks hold."""
        self._good += 1
        if self._good >= 16 and self.blocks < self._ceiling * 2:
            self._good = 0
            self.blocks += max(1, self.blocks // 2)

    def too_large(self, text: str) -> None:
        """The node refused: take its suggestion, else half."""
        self._good = 0
        self.blocks = suggested_span(text, self.blocks) or max(1, self.blocks // 2)
        self._ceiling = self.blocks
