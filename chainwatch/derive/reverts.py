"""
Why a transaction failed, in words: what it returned, decoded.

Solidity returns `Error(string)` for `require` and `revert` with a text, `Panic(uint256)` where the compiler's own
checks failed, and a contract's custom errors as a selector (four bytes of the Keccak-256 of the signature) with ABI
data. A selector is a claim: any contract can return it. It names an error here only where the data fits the signature.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from eth_hash.auto import keccak

from chainwatch.chain.evm.abi import address_of, bytes_of, int_of, text_of, uint_of
from chainwatch.chain.evm.reads import Revert
from chainwatch.derive.errors import MEANINGS, SIGNATURES
from chainwatch.eip55 import checksum
from chainwatch.text import NAME_LENGTH, printable

ERROR: Final = "08c379a0"
"""Error(string)"""
PANIC: Final = "4e487b71"
"""Panic(uint256)"""

_PANICS: Final = {
    0x00: "the compiler's own check failed",
    0x01: "assertion failed",
    0x11: "arithmetic overflow or underflow",
    0x12: "division or modulo by zero",
    0x21: "no such value in the enum",
    0x22: "a byte array in storage is wrongly encoded",
    0x31: "pop from an empty array",
    0x32: "index out of bounds",
    0x41: "too much memory allocated",
    0x51: "call of a function that was never set",
}
"""Solidity's documentation, "Panic via assert and Error via require"."""

_DEPTH: Final = 4
"""Errors that carry the data of another error: so deep they are followed."""

_LONGEST: Final = 1 << 17
"""Characters of data that are looked into: more costs time, and explains no more."""

_hexadecimal = re.compile(r"0[xX](?:[0-9a-fA-F]{2})*").fullmatch


def explain(revert: Revert) -> str | None:
    """The reason in words; None where there is neither data nor a word of the machine."""
    reason = _explained(revert.data, _DEPTH) if revert.data else None
    return reason or _said(revert.error)


def explain_told(told: str | None) -> str | None:
    """The same of a receipt's own `revertReason`: data, or a text."""
    if not told:
        return None
    data = told.removeprefix("Reverted ")
    return _explained(data, _DEPTH) if data.startswith("0x") else _said(told)


def _said(word: str | None) -> str | None:
    """The node's own words, without those that say nothing."""
    if not word:
        return None
    return printable(word.removeprefix("execution reverted: ")) or None


def _explained(data: str, depth: int) -> str | None:
    if len(data) > _LONGEST or not _hexadecimal(data):
        return printable(data, 64)
    if len(data) < 10:
        return f"data {data}" if len(data) > 2 else None
    selector, rest = data[2:10].lower(), "0x" + data[10:]
    if selector == ERROR and (digits := bytes_of(rest)) is not None:
        text = text_of(rest, NAME_LENGTH) if digits else None
        meaning = MEANINGS.get(text or "")
        return f"{text}: {meaning}" if meaning else text
    if selector == PANIC and (code := uint_of(rest)) is not None:
        meaning = _PANICS.get(code)
        return f"panic 0x{code:02x}: {meaning}" if meaning else f"panic 0x{code:02x}"
    known = _errors().get(selector)
    if known is not None:
        name, kinds = known
        values = [_shown(kind, rest, index, depth) for index, kind in enumerate(kinds)]
        fitting = [value for value in values if value is not None]
        if len(fitting) == len(kinds):
            return printable(f"{name}({', '.join(fitting)})")
    return f"custom error 0x{selector}"


@cache
def _errors() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Selector -> name and types. Made when the first error is seen: most runs of a program see none."""
    found = {}
    for signature in SIGNATURES:
        name, kinds = signature[:-1].split("(")
        found[keccak(signature.encode())[:4].hex()] = name, tuple(kinds.split(",")) if kinds else ()
    return found


def _shown(kind: str, data: str, at: int, depth: int) -> str | None:
    """The argument of that index and type; None where the data does not fit it."""
    if kind == "address":
        address = address_of(data, at)
        return None if address is None else checksum(address)
    if kind == "string":
        return None if bytes_of(data, at) is None else f'"{text_of(data, NAME_LENGTH, at) or ""}"'
    if kind == "bytes":
        digits = bytes_of(data, at)
        if digits is None:
            return None
        # In an error it is what some other contract returned.
        return (_explained("0x" + digits, depth - 1) if depth else None) or "0x"
    if kind.startswith("int"):
        signed = int_of(data, at)
        half = 1 << int(kind[3:]) - 1
        return str(signed) if signed is not None and -half <= signed < half else None
    number = uint_of(data, at)
    if number is None:
        return None
    if kind == "bool":
        return {0: "false", 1: "true"}.get(number)
    if kind.startswith("uint"):
        return None if number >> int(kind[4:]) else str(number)
    size = int(kind.removeprefix("bytes"))
    behind = 8 * (32 - size)
    return None if number & (1 << behind) - 1 else f"0x{number >> behind:0{2 * size}x}"
