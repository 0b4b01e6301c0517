"""
What happened, for people: the word for a type and one line about its data. Every value was chosen by a stranger, and
may be missing or of any kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from chainwatch.text import SYMBOL_LENGTH, age, amount, printable, short

_LONGEST_REST: Final = 160  # of the data of a type that has no line of its own
_MOST: Final = 4  # causes, balances
_CREATION: Final = "(creation)"
_GLANCE: Final = 6  # significant digits of a ratio

_RED, _GREEN, _YELLOW, _BLUE, _MAGENTA, _CYAN = "31", "32", "33", "34", "35", "36"

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


def _value(data: Data, name: str = "amount", side: str = "") -> str:
    """
    An exact amount with its symbol; of a token without metadata its base units and its contract. `side`: `_in` or
    `_out`, of a swap.
    """
    symbol = _symbol(data, side)
    told = _number(data, name, decimals := data.get(f"decimals{side}"))
    if told is None:
        return f"{_text(data, name, 100) or '?'} {symbol}"
    return f"{told} {symbol}" if isinstance(decimals, int) else f"{told} base units of {symbol}"


def _symbol(data: Data, side: str = "") -> str:
    return _text(data, f"token{side}", SYMBOL_LENGTH) or _hash(data, f"token{side}_address")


def _number(data: Data, name: str, decimals: object) -> str | None:
    try:
        return amount(data[name], decimals if isinstance(decimals, int) else None)
    except (KeyError, TypeError, ValueError):
        return None


def _signed(data: Data, name: str, decimals: object) -> str:
    told = _number(data, name, decimals) or _text(data, name, 100) or "?"
    return told if told[0] in "-+?" else f"+{told}"


def _some(lines: list[str]) -> list[str]:
    """The first of them, and how many more there are."""
    return lines[:_MOST] + ([f"{len(lines) - _MOST} more"] if len(lines) > _MOST else [])


def _parties(data: Data) -> str:
    """Of a transaction: one that creates a contract has no recipient."""
    return _between({**data, "to": _CREATION} if data.get("to") is None else data)


def _between(data: Data, one: str = "from", other: str = "to", arrow: str = "→") -> str:
    """Two parties and the transaction: three short hashes, 41 columns."""
    return f"{_hash(data, one):11} {arrow} {_hash(data, other):11}  {_hash(data, 'tx_hash'):11}"


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
    return (
        f"{_count(data, 'depth', 'blocks')} orphaned above {_block(shared)} {_hash(shared, 'block_hash')}, {count} new"
    )


def _transaction_pending(data: Data) -> str:
    told = [_value(data), f"nonce {_text(data, 'nonce', 20) or '?'}"]
    fee = _text(data, "max_fee_per_gas", 80)
    if fee.isdecimal():
        told.append(f"at most {amount(fee, 9)} gwei")
    return f"{_parties(data)}  {', '.join(told)}"


def _transaction_confirmed(data: Data) -> str:
    told = [_value(data), _count(data, "confirmations", "confirmations")]
    return f"{_parties(data)}  {', '.join(told + _fee(data))}"


def _transaction_failed(data: Data) -> str:
    reason = _text(data, "revert_reason")
    told = [_value(data), f"reverted: {reason}" if reason else "reverted"]
    return f"{_parties(data)}  {', '.join(told + _fee(data))}"


_REPLACED: Final = {"cancel": "cancelled by", "speed_up": "sped up by"}
_DROPPED: Final = {
    "gone": "gone from the mempool",
    "nonce_used": "its nonce was used by another",
    "expired": "waited too long",
}


def _transaction_replaced(data: Data) -> str:
    how = _REPLACED.get(_text(data, "kind"), "replaced by")
    told = [_value(data), f"{how} {_hash(data, 'replaced_by')}"]
    if data.get("block_number") is not None:
        told.append(f"in {_block(data)}")
    return f"{_parties(data)}  {', '.join(told)}"


def _transaction_dropped(data: Data) -> str:
    reason = _text(data, "reason")
    told = [_value(data), _DROPPED.get(reason, reason) or "dropped"]
    return f"{_parties(data)}  {', '.join(told)}"


def _fee(data: Data) -> list[str]:
    return [f"fee {_value(data, 'fee')}"] if data.get("fee") is not None else []


def _balance_changed(data: Data) -> str:
    decimals = data.get("decimals")
    delta = f"{_signed(data, 'delta', decimals)} {_symbol(data)}"
    causes = data.get("causes")
    told = _some(
        [
            f"{_text(cause, 'kind', 32) or '?'} {_signed(cause, 'amount', decimals)}"
            for cause in (causes if isinstance(causes, list) else [])
            if isinstance(cause, dict)
        ]
    )
    if _text(data, "unattributed", 100) not in ("", "0"):
        told.append(f"unattributed {_signed(data, 'unattributed', decimals)}")
    why = f" ({', '.join(told)})" if told else ""
    return f"{_hash(data, 'address'):11}  {delta}, now {_value(data, 'balance')}{why}"


def _wallet_incoming(data: Data) -> str:
    return f"{_between(data, 'address', 'counterparty', '←')}  {_moved(data)}"


def _wallet_outgoing(data: Data) -> str:
    return f"{_between(data, 'address', 'counterparty')}  {_moved(data)}"


def _moved(data: Data) -> str:
    told = [_piece(data)]
    if (kind := _text(data, "kind", 32)) not in ("native", "token"):
        told.append(kind)
    if data.get("known_token") is not True and data.get("token_address") is not None:
        told.append(f"UNKNOWN TOKEN {_hash(data, 'token_address')}")  # anybody can call a token USDC
    return ", ".join(part for part in told if part)


def _token_transfer(data: Data) -> str:
    told = [_piece(data)]
    if data.get("token_name") is not None and data.get("token") is not None:
        told.append(f"says {_hash(data, 'token_address')}")  # that is not configured: anybody can call a token USDC
    return f"{_between(data)}  {', '.join(told)}"


def _piece(data: Data) -> str:
    """An amount, or one of the things that a contract numbers, and how many of it."""
    if data.get("token_id") is None:
        return _value(data)
    times = _text(data, "amount", 80)
    return f"{_symbol(data)} no. {_text(data, 'token_id', 80)}" + (f" × {times}" if times not in ("1", "") else "")


def _token_approval(data: Data) -> str:
    if data.get("token_id") is not None:
        what = f"{_symbol(data)} no. {_text(data, 'token_id', 80)}"
    elif data.get("approved_for_all") is not None:
        what = f"ALL {_symbol(data)}"
    elif data.get("unlimited") is True:
        what = f"UNLIMITED {_symbol(data)}"
    else:
        what = _value(data)
    if data.get("revoked") is True:
        told = [f"revoked: {what if data.get('amount') is None else _symbol(data)}"]
    else:
        told = [f"may spend {what}"]
        if data.get("expiration") is not None:
            told.append(f"until {_text(data, 'expiration', 32)}")
    if _text(data, "standard") == "permit2":
        told.append("Permit2")
    return f"{_between(data, 'owner', 'spender')}  {', '.join(told)}"


def _token_swap(data: Data) -> str:
    told = [f"{_value(data, 'amount_in', '_in')} for {_value(data, 'amount_out', '_out')}"]
    if data.get("price") is not None:
        told[0] += f" at {_ratio(_text(data, 'price', 100))}"
    told.append(_text(data, "protocol", 32))
    return f"{_between(data, 'sender', 'recipient')}  {', '.join(part for part in told if part)}"


def _ratio(text: str) -> str:
    """A decimal number, for a glance: what stands behind its first six digits is cut off, unless it is whole."""
    whole, _, fraction = text.partition(".")
    if not fraction.isdecimal() or not whole.isdecimal():
        return text
    zeros = 0 if whole != "0" else len(fraction) - len(fraction.lstrip("0"))
    kept = fraction[: max(0, zeros + _GLANCE - (0 if whole == "0" else len(whole)))].rstrip("0")
    return f"{whole}.{kept}" if kept else whole


def _price_update(data: Data) -> str:
    pair = f"{_text(data, 'symbol', SYMBOL_LENGTH) or '?'}/{_text(data, 'quote', SYMBOL_LENGTH) or '?'}"
    change = _text(data, "change_percent", 32)
    if change:
        change = f"{change}%" if change[0] in "-+" else f"+{change}%"
    told = [f"{pair} {_text(data, 'price', 100) or '?'}", change, _text(data, "source", 32)]
    return ", ".join(part for part in told if part)


def _chain_status(data: Data) -> str:
    told = [_text(data, "state"), _text(data, "endpoint")]
    if data.get("head") is not None:
        told.append(f"head {_block(data, 'head')}")
    if isinstance(lag := data.get("lag_seconds"), int | float):
        told.append(f"{age(lag)} old")
    return ", ".join(part for part in [*told, _text(data, "reason")] if part)


def _wallet_status(data: Data) -> str:
    balances = data.get("balances")
    held = [_value(one, "balance") for one in (balances if isinstance(balances, list) else []) if isinstance(one, dict)]
    told = [_text(data, "name", SYMBOL_LENGTH), _text(data, "state", 32), *_some(held)]
    return f"{_hash(data, 'address'):11}  {', '.join(part for part in told if part)}"


def _source_status(data: Data) -> str:
    told = (_text(data, "source", SYMBOL_LENGTH), _text(data, "state", 32), _text(data, "reason"))
    return ", ".join(part for part in told if part)


def _rest(data: Data) -> str:
    return printable(" ".join(f"{name}={plain(value)}" for name, value in data.items()), _LONGEST_REST)


def plain(value: Any) -> str:
    """A value as text: a string as it is, nothing for null, JSON for all else."""
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


class Line(NamedTuple):
    """How a type is drawn."""

    word: str
    tint: str
    tell: Callable[[Data], str]


LINES: Final[dict[str, Line]] = {
    "block_new": Line("block", _BLUE, _block_new),
    "block_finalized": Line("finality", _BLUE, _block_finalized),
    "chain_reorg": Line("reorg", _YELLOW, _chain_reorg),
    "transaction_pending": Line("pending", _BLUE, _transaction_pending),
    "transaction_confirmed": Line("confirmed", _GREEN, _transaction_confirmed),
    "transaction_failed": Line("failed", _RED, _transaction_failed),
    "transaction_replaced": Line("replaced", _YELLOW, _transaction_replaced),
    "transaction_dropped": Line("dropped", _YELLOW, _transaction_dropped),
    "balance_changed": Line("balance", _GREEN, _balance_changed),
    "wallet_incoming": Line("incoming", _GREEN, _wallet_incoming),
    "wallet_outgoing": Line("outgoing", _MAGENTA, _wallet_outgoing),
    "token_transfer": Line("transfer", _CYAN, _token_transfer),
    "token_approval": Line("approval", _YELLOW, _token_approval),
    "token_swap": Line("swap", _CYAN, _token_swap),
    "price_update": Line("price", _BLUE, _price_update),
    "chain_status": Line("status", _YELLOW, _chain_status),
    "wallet_status": Line("wallet", _YELLOW, _wallet_status),
    "source_status": Line("source", _YELLOW, _source_status),
}


def line_of(kind: str) -> Line:
    """The line of a type; one that is not in the catalogue shows its name and its data."""
    return LINES.get(kind) or Line(printable(kind, SYMBOL_LENGTH), _MAGENTA, _rest)
