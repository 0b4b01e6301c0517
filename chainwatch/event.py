"""
The event: what it is made of, what it is called, how its id is made, and its JSON both ways.

An event is a fact about one block of one chain (or about chainwatch itself). Its id is a hash of what makes the
occurrence that occurrence, so it is the same on every machine and after every restart. A retraction is an event too:
the same type and data, `removed` and `retracts` set, and an id of its own. Whoever folds a stream, applying events and
undoing retractions, holds the canonical chain at every moment.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, TypeGuard

import msgspec

from chainwatch.payloads import PAYLOADS, TokenTransfer

_CROCKFORD: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS: Final = [high + low for high in _CROCKFORD for low in _CROCKFORD]
_halves: Final = struct.Struct(">QQ").unpack

PART: Final = "\x1f"
"""Stands between the parts of an occurrence, and in none of them."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One fact in the past tense. `data` is one of the `payloads` when made here, and a dict when read back."""

    id: str
    """`evt_` and 26 characters of Crockford's base 32 (128 bits)."""
    type: str
    timestamp: str
    """When it happened, by the chain's or the source's clock. RFC 3339, UTC, milliseconds."""
    observed_at: str
    """When this daemon first had it."""
    chain: str | None
    """The configured name of the chain; null where the event belongs to none."""
    data: Any
    removed: bool = False
    """Its block was orphaned: undo the event that `retracts` names."""
    retracts: str | None = None


def event_id(*parts: object) -> str:
    """The id of an occurrence: a 128-bit BLAKE2b over its parts. None and the empty string are the same part."""
    return identify(PART.join(["" if part is None else str(part) for part in parts]))


def identify(text: str) -> str:
    """The id of parts that are joined by `PART` already: for what is told by the thousand."""
    high, low = _halves(hashlib.blake2b(text.encode(), digest_size=16).digest())
    two = _PAIRS
    return (
        f"evt_{two[high >> 54]}{two[high >> 44 & 1023]}{two[high >> 34 & 1023]}{two[high >> 24 & 1023]}"
        f"{two[high >> 14 & 1023]}{two[high >> 4 & 1023]}{two[(high & 15) << 6 | low >> 58]}{two[low >> 48 & 1023]}"
        f"{two[low >> 38 & 1023]}{two[low >> 28 & 1023]}{two[low >> 18 & 1023]}{two[low >> 8 & 1023]}"
        f"{two[low << 2 & 1023]}"
    )


def retraction(event: Event, observed_at: str) -> Event:
    """The event that undoes `event`. Its id hangs on the retracted one's, which is told once in a log, so it is too."""
    return Event(
        id=event_id("retraction", event.id),
        type=event.type,
        timestamp=event.timestamp,
        observed_at=observed_at,
        chain=event.chain,
        data=event.data,
        removed=True,
        retracts=event.id,
    )


# --- JSON ---------------------------------------------------------------------------------------------------------

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """The event as one line of JSON, as it stands in `data:` of a frame and in a line of NDJSON."""
    return _encoder.encode(event)


def decode(text: bytes | str) -> Event:
    """The event of that JSON; `data` is a dict. `msgspec.DecodeError` for anything else."""
    return _decoder.decode(text)


# --- time ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


_YEAR_9999: Final = 253_402_300_799_999


@lru_cache(maxsize=1024)  # the moment of a block is written into each of its events
def rfc3339(milliseconds: int) -> str:
    """
    Unix time in milliseconds as `2025-06-24T07:00:00.000Z`. A block's time is any 64 bits that a node likes; beyond
    what a year of four digits can say, it is the first or the last moment that can be said.
    """
    milliseconds = min(max(milliseconds, 0), _YEAR_9999)
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


# --- interest -----------------------------------------------------------------------------------------------------

NATIVE: Final = "native"
"""Stands in `Interest.tokens` where an amount is in the chain's own currency."""

_ADDRESS_FIELDS: Final = (
    "from", "to", "address", "owner", "spender", "counterparty", "sender", "recipient", "pool", "manager",
    "token_address", "token_in_address", "token_out_address", "feed",
)  # fmt: skip
_TOKEN_FIELDS: Final = (
    ("token_address", "token"), ("token_in_address", "token_in"), ("token_out_address", "token_out"),
)  # fmt: skip
"""Contract and symbol. In the catalogue a symbol without a contract is the chain's own currency."""
_AMOUNT_FIELDS: Final = ("amount", "delta", "amount_in")


class Interest(NamedTuple):
    """What a filter can ask about an event. Addresses and tokens are lower case."""

    type: str
    chain: str | None
    addresses: tuple[str, ...]
    """Every address that the event touches, token contracts included, each once."""
    tokens: tuple[str, ...]
    """Contract addresses, or `NATIVE`."""
    amount: str | None
    """Base units, signed, where the event has an amount."""


def interest(event: Event) -> Interest:
    """What the event touches; the same for a fresh event and for one that was read back."""
    data = event.data
    if isinstance(data, TokenTransfer):  # the most frequent by far
        token = data.token_address.lower()
        addresses = tuple({data.from_.lower(): 0, data.to.lower(): 0, token: 0})
        return Interest(event.type, event.chain, addresses, (token,), data.amount)
    if isinstance(data, dict):
        asked, get = _asked_of_type.get(event.type, _OF_CUSTOM), data.get
    else:
        asked, get = _asked_of(type(data)), partial(getattr, data)
    if asked is _NOTHING:  # a block has none of these
        return Interest(event.type, event.chain, (), (), None)
    found = {value.lower(): 0 for name in asked.addresses if _is_address(value := get(name))}
    amount = next((value for name in asked.amounts if isinstance(value := get(name), str)), None)
    return Interest(event.type, event.chain, tuple(found), _tokens(asked, get), amount)


class _Asked(NamedTuple):
    """Where addresses, tokens (contract, symbol) and the amount stand."""

    addresses: tuple[str, ...]
    tokens: tuple[tuple[str | None, str | None], ...]
    amounts: tuple[str, ...]


_NOTHING: Final = _Asked((), (), ())
_OF_CUSTOM: Final = _Asked(_ADDRESS_FIELDS, tuple((contract, None) for contract, _ in _TOKEN_FIELDS), _AMOUNT_FIELDS)
"""Of whatever a stranger published: a symbol there means nothing."""


def _tokens(asked: _Asked, get: Callable[[str], object]) -> tuple[str, ...]:
    found: dict[str, int] = {}
    for name, symbol in asked.tokens:
        contract = None if name is None else get(name)
        if _is_address(contract):
            found[contract.lower()] = 0
        elif contract is None and symbol is not None and get(symbol) is not None:
            found[NATIVE] = 0
    return tuple(found)


def _find(names: Mapping[str, str]) -> _Asked:
    """`names`: the fields that there are in JSON, and what each is called where it is looked up."""
    found = _Asked(
        tuple(names[name] for name in _ADDRESS_FIELDS if name in names),
        tuple((names.get(contract), names.get(symbol)) for contract, symbol in _TOKEN_FIELDS if symbol in names),
        tuple(names[name] for name in _AMOUNT_FIELDS if name in names),
    )
    return _NOTHING if found == _NOTHING else found


_asked_of_type: Final = {
    name: _find({field: field for field in payload.__struct_encode_fields__}) for name, payload in PAYLOADS.items()
}
_asked: Final[dict[type, _Asked]] = {}


def _asked_of(payload: type[msgspec.Struct]) -> _Asked:
    """The attributes of a payload that hold them: those that it has."""
    if payload not in _asked:
        names = zip(payload.__struct_encode_fields__, payload.__struct_fields__, strict=True)
        _asked[payload] = _find(dict(names))
    return _asked[payload]


def _is_address(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) == 42 and value[:2] in ("0x", "0X")


@lru_cache(maxsize=4096)
def pair_key(chain: str | None, kind: str) -> int:
    """The index key of one type on one chain: 63 bits."""
    digest = hashlib.blake2b(f"{chain or ''}|{kind}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@lru_cache(maxsize=16_384)
def address_key(address: str) -> int:
    """
    The index key of an address, on any chain: its last 63 bits, which a vanity prefix does not touch. Two addresses
    may share one: a key finds candidates, `Filter.matches` decides.
    """
    try:
        return int(address[-16:], 16) & 0x7FFF_FFFF_FFFF_FFFF
    except ValueError:  # a custom event may hold anything 42 characters long
        return 0


def keys(about: Interest) -> tuple[int, ...]:
    """The keys under which the log indexes an event: its type on its chain, and each address it touches."""
    return (pair_key(about.chain, about.type), *dict.fromkeys(map(address_key, about.addresses)))
