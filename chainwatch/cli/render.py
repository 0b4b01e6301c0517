"""
An event as a line: for people, as the JSON that came, or by a template. Every value was chosen by a stranger.

People's lines have fixed columns first (time in UTC, chain, what happened, who, which hash) and what varies last.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from chainwatch.errors import UsageError
from chainwatch.event import Event
from chainwatch.payloads import PAYLOADS, meant_by
from chainwatch.text import SYMBOL_LENGTH, age, amount, printable, short

Render = Callable[[Event, bytes, str], bytes]
"""An event, its JSON as it came and its cursor -> one line, its line break included."""

_WIDEST_CHAIN: Final = 16
_LONGEST_VALUE: Final = 4096  # characters of one value in a template
_LONGEST_REST: Final = 160  # of the data of a type that has no line of its own

_RED, _GREEN, _YELLOW, _BLUE, _MAGENTA, _CYAN = "31", "32", "33", "34", "35", "36"
_DIM, _STRUCK = "2", "9"


def ndjson(_event: Event, line: bytes, _cursor: str) -> bytes:
    """The JSON, byte for byte."""
    return line + b"\n"


# --- for people ---------------------------------------------------------------------------------------------------


class Human:
    """One line an event. The chain's column is as wide as the longest name so far."""

    def __init__(self, *, color: bool) -> None:
        self._color = color
        self._width = len("ethereum")

    def __call__(self, event: Event, _line: bytes, _cursor: str) -> bytes:
        chain = printable(event.chain or "-", _WIDEST_CHAIN)
        self._width = max(self._width, len(chain))
        word, tint, tell = _LINES.get(event.type, (printable(event.type, SYMBOL_LENGTH), _MAGENTA, _rest))
        data = event.data if isinstance(event.data, dict) else {"data": event.data}
        said = tell(data)
        if event.removed:
            said = f"{self._paint('⟲ retracted', _YELLOW)}  {self._paint(said, _DIM, _STRUCK)}"
        when = printable(event.timestamp, 32)[5:19].replace("T", " ")
        columns = (self._paint(f"{when:14}", _DIM), f"{chain:{self._width}}", self._paint(f"{word:9}", tint), said)
        return ("  ".join(columns).rstrip() + "\n").encode(errors="replace")

    def _paint(self, text: str, *codes: str) -> str:
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if self._color else text


Data = Mapping[str, Any]


def _text(data: Data, name: str, length: int = 256) -> str:
    value = data.get(name)
    return "" if value is None else printable(str(value), length)


def _hash(data: Data, name: str) -> str:
    return short(_text(data, name)) or "-"


def _block(data: Data, name: str = "block_number") -> str:
    return f"#{_text(data, name) or '?'}"


def _count(data: Data, name: str, things: str) -> str:
    count = _text(data, name) or "?"
    return f"{count} {things.removesuffix('s') if count == '1' else things}"


def _value(data: Data, name: str = "amount") -> str:
    """An exact amount with its symbol; of a token without metadata its base units and its contract."""
    token = _text(data, "token", SYMBOL_LENGTH) or _hash(data, "token_address")
    decimals = data.get("decimals")
    try:
        told = amount(data[name], decimals if isinstance(decimals, int) else None)
    except (KeyError, TypeError, ValueError):
        return f"{_text(data, name, 100) or '?'} {token}"
    return f"{told} {token}" if isinstance(decimals, int) else f"{told} base units of {token}"


def _between(data: Data) -> str:
    """From, to and the transaction: three short hashes, 41 columns."""
    return f"{_hash(data, 'from'):11} → {_hash(data, 'to'):11}  {_hash(data, 'tx_hash'):11}"


def _block_new(data: Data) -> str:
    told = [_count(data, "transaction_count", "transactions")]
    used, limit = _text(data, "gas_used", 20), _text(data, "gas_limit", 20)
    if used.isdecimal() and limit.isdecimal() and int(limit):
        told.append(f"{100 * int(used) // int(limit)}% full")
    fee = _text(data, "base_fee_per_gas", 80)
    if fee.isdecimal():
        told.append(f"base fee {amount(fee, 9)} gwei")
    return f"{_block(data)} {_hash(data, 'block_hash'):11}  {', '.join(told)}"


def _block_finalized(data: Data) -> str:
    return f"{_block(data)} {_hash(data, 'block_hash'):11}  {_text(data, 'tag')}"


def _chain_reorg(data: Data) -> str:
    ancestor = data.get("common_ancestor")
    shared = ancestor if isinstance(ancestor, dict) else {}
    new = data.get("new_blocks")
    count = len(new) if isinstance(new, list) else "?"
    behind = f"{_text(data, 'depth') or '?'} orphaned behind {_block(shared)} {_hash(shared, 'block_hash')}"
    return f"{behind}, {count} new"


def _transaction_confirmed(data: Data) -> str:
    told = [_value(data), _count(data, "confirmations", "confirmations")]
    return f"{_between(data)}  {', '.join(told + _fee(data))}"


def _transaction_failed(data: Data) -> str:
    reason = _text(data, "revert_reason")
    told = [_value(data), f"reverted: {reason}" if reason else "reverted"]
    return f"{_between(data)}  {', '.join(told + _fee(data))}"


def _fee(data: Data) -> list[str]:
    return [f"fee {_value(data, 'fee')}"] if data.get("fee") is not None else []


def _token_transfer(data: Data) -> str:
    if data.get("token_id") is None:
        return f"{_between(data)}  {_value(data)}"
    token = _text(data, "token", SYMBOL_LENGTH) or _hash(data, "token_address")
    times = _text(data, "amount", 80)
    return f"{_between(data)}  {token} no. {_text(data, 'token_id', 80)}" + (f" × {times}" if times != "1" else "")


def _chain_status(data: Data) -> str:
    told = [_text(data, "state"), _text(data, "endpoint")]
    if data.get("head") is not None:
        told.append(f"head {_block(data, 'head')}")
    if isinstance(lag := data.get("lag_seconds"), int | float):
        told.append(f"{age(lag)} old")
    return ", ".join(part for part in [*told, _text(data, "reason")] if part)


def _rest(data: Data) -> str:
    return printable(" ".join(f"{name}={_plain(value)}" for name, value in data.items()), _LONGEST_REST)


_LINES: Final[dict[str, tuple[str, str, Callable[[Data], str]]]] = {
    "block_new": ("block", _BLUE, _block_new),
    "block_finalized": ("finalized", _BLUE, _block_finalized),
    "chain_reorg": ("reorg", _YELLOW, _chain_reorg),
    "transaction_confirmed": ("confirmed", _GREEN, _transaction_confirmed),
    "transaction_failed": ("failed", _RED, _transaction_failed),
    "token_transfer": ("transfer", _CYAN, _token_transfer),
    "chain_status": ("status", _YELLOW, _chain_status),
}


def _plain(value: Any) -> str:
    """A value as text: a string as it is, nothing for null, JSON for all else."""
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


# --- by a template ------------------------------------------------------------------------------------------------

_PIECE: Final = re.compile(r"(\{\{|\}\}|\\[\\nt])|\{([^{}]*)\}|([{}])")
_LITERAL: Final = {"{{": "{", "}}": "}", r"\\": "\\", r"\n": "\n", r"\t": "\t"}
_FIELDS: Final = (*Event.__struct_encode_fields__, "cursor")


class Template:
    """
    `{type} {data.amount}`: fields by their path, a list's items by number; `{{` and `}}` are braces, `\\t`, `\\n` and
    `\\\\` what they are in a shell's `printf`. A field that an event does not have is empty. `UsageError` names one
    that none can have, `types` (None: any) being asked for; what only a custom event may have is in `doubts`.
    """

    def __init__(self, text: str, types: frozenset[str] | None = None) -> None:
        self.doubts: list[str] = []
        self._parts: list[str | tuple[str, ...]] = []
        end = 0
        for found in _PIECE.finditer(text):
            literal, path, stray = found.groups()
            self._parts.append(text[end : found.start()])
            end = found.end()
            if stray:
                raise UsageError(
                    f"a single {stray!r} in the template", parameter="format", value=text, hint="a brace is {{ or }}"
                )
            self._parts.append(_LITERAL[literal] if literal else self._path(path, types))
        self._parts.append(text[end:])

    def __call__(self, event: Event, _line: bytes, cursor: str) -> bytes:
        told = {name: getattr(event, name) for name in _FIELDS if name != "cursor"}
        told |= {"cursor": cursor, "removed": event.removed or None}
        pieces = (part if isinstance(part, str) else _looked_up(told, part) for part in self._parts)
        return ("".join(pieces) + "\n").encode(errors="replace")

    def _path(self, text: str, types: frozenset[str] | None) -> tuple[str, ...]:
        first, *rest = path = tuple(text.strip().split("."))
        if first not in _FIELDS or not all(path):
            raise _no_field(text, _FIELDS, first)
        if rest and first != "data":
            raise UsageError(f"{first} has no fields, so there is no {{{printable(text)}}}", parameter="format")
        if rest:
            known = {name for kind in (types or PAYLOADS) for name in PAYLOADS[kind].__struct_encode_fields__}
            if rest[0] not in known:
                error = _no_field(text, known, rest[0], "data.")
                if types is not None:
                    raise error
                near = f" ({error.nearest} is near)" if error.nearest else ""
                self.doubts.append(f"only a custom event may have the field {printable(text)}{near}")
        return path


def _no_field(text: str, known: Iterable[str], word: str, lead: str = "") -> UsageError:
    close = difflib.get_close_matches(word, known, n=1)
    return UsageError(
        f"no event asked for has the field {printable(text)!r}",
        parameter="format",
        value=text,
        nearest=lead + close[0] if close else "",
        hint="" if close else f"there is: {', '.join(lead + name for name in sorted(known))}",
    )


def _looked_up(value: Any, path: tuple[str, ...]) -> str:
    for name in path:
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and len(name) < 10 and int(name) < len(value):
            value = value[int(name)]
        else:
            return ""
    return printable(_plain(value), _LONGEST_VALUE)


def catalogue_types(words: Iterable[str]) -> frozenset[str] | None:
    """The types of the catalogue that these words mean; None where there is no word, or one that it does not know."""
    found: set[str] = set()
    for word in words:
        if (meant := meant_by(word.strip())) is None:
            return None
        found |= meant
    return frozenset(found) or None
