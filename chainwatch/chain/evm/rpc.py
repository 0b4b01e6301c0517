"""
JSON-RPC as bytes and values: requests out, replies and notifications in, errors as values that can be decided on.

No socket and no clock here. What an error means is read from its code first (JSON-RPC 2.0, EIP-1474) and from its
message where providers put the truth there.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

import msgspec

T = TypeVar("T")

Kind = Literal["reverted", "limited", "too_large", "pruned", "unsupported", "unknown", "failed"]
"""reverted: a call ran and failed, which is an answer. limited: too many requests. too_large: ask for less at once.
pruned: the node does not have the state of that block, or has it no longer. unsupported: this node has no such method,
for us. unknown: no such block here, now. failed: anything else."""


class RpcError(msgspec.Struct, frozen=True):
    """An error as the node told it."""

    code: int = 0
    message: str = ""
    data: Any = None

    @property
    def kind(self) -> Kind:
        text = self.message.lower()
        # First: what follows in such a message is the contract's own text, and that may say «rate limit».
        if self.code == 3 or _REVERTED.match(text):
            return "reverted"
        if self.code == 429 or any(word in text for word in _LIMITED):
            return "limited"
        if any(word in text for word in _TOO_LARGE):
            return "too_large"
        if self.code == -32005:  # EIP-1474 «limit exceeded»; some providers mean the size, see above
            return "limited"
        # Before `unsupported`: geth says «state 0x… is not available».
        if _PRUNED.search(text) or (isinstance(self.data, str) and "MissingTrieNode" in self.data):
            return "pruned"
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


_REVERTED: Final = re.compile(
    r"(?:err(?:or)?: )?(?:execution revert|vm exception|vm execution error|reverted|revert$|revert:|out of gas|"
    r"evm error:? ?(?!database)|invalid opcode|opcode 0x|bad instruction|bad jump|badinstruction|badjump|outofgas|"
    r"invalid jump|stack (?:underflow|overflow|limit)|stack(?:under|over)flow|write protection|return data out of|"
    r"gas uint64 overflow|max code size|contract creation code storage|max call depth|invalid code: must not begin)"
)
"""How the machine's failures begin: geth and its children, erigon, reth, anvil («EVM error OutOfGas»), Nethermind,
Besu, OpenEthereum («VM execution error.»), ganache and Hardhat («VM Exception while processing transaction»)."""
_PRUNED: Final = re.compile(
    r"missing trie node|\bpruned\b|pruning|histor(?:y|ical) state|state histor|archive|"
    r"\bstate\b.{0,90}(?:not|un) ?(?:be )?available|no state available|blockoutofrange"
)
"""geth: «missing trie node», «state 0x… is not available», «historical state not available in path scheme yet»,
«required historical state unavailable», «state histories haven't been fully indexed yet». erigon: «old data not
available due to pruning». reth: «state at block #3 is pruned». Nethermind: «No state available for block»,
MissingTrieNodeException. Besu: «World state unavailable». OpenEthereum: «your node is running with state pruning».
anvil: «BlockOutOfRangeError». Providers: «archive requests are not on your plan»."""
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
    return deeply(_message.decode, data)


DEEPEST: Final = 4000
"""Levels of JSON that an answer may have. A trace of calls has two for each, and a chain allows 1,024 of them: whoever
pays for 500 nested calls could hide a block's traces from us, if Python's usual limit of 1,000 was ours."""


def deeply(decode: Callable[[Any], T], data: Any) -> T:
    """`decode(data)`, whatever the nesting, up to `DEEPEST` levels. `RecursionError` beyond that."""
    try:
        return decode(data)
    except RecursionError:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, DEEPEST))
        try:
            return decode(data)
        finally:
            sys.setrecursionlimit(limit)


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
