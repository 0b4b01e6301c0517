"""
Answers of `eth_call` and the data of errors, decoded: the contract ABI, cut down to single values.

A contract answers what it likes: nothing, half a word, a length of 2^256, a name that moves the cursor. What does not
fit the type that was asked for is None, never an exception; text comes out harmless (`text.printable`).
"""

from __future__ import annotations

import re

from chainwatch.text import printable

WORD = 64
"""Hexadecimal digits of 32 bytes."""

# `int` would take signs, blanks and underscores, `bytes.fromhex` blanks.
_word = re.compile(r"[0-9a-fA-F]{64}").fullmatch
_digits = re.compile(r"[0-9a-fA-F]*").fullmatch


def uint_of(data: str, at: int = 0) -> int | None:
    """The unsigned number in the word of that index of ABI data (0x and hexadecimal digits)."""
    word = data[2 + at * WORD : 2 + (at + 1) * WORD]
    return int(word, 16) if data[:2] in ("0x", "0X") and _word(word) else None


def int_of(data: str, at: int = 0) -> int | None:
    """The signed number there (two's complement of 256 bits)."""
    number = uint_of(data, at)
    return None if number is None else number - (number >> 255 << 256)


def address_of(data: str, at: int = 0) -> str | None:
    """The address there in lower case; None where the bytes before it are not zero."""
    number = uint_of(data, at)
    return None if number is None or number >> 160 else f"0x{number:040x}"


def decimals_of(data: str) -> int | None:
    """What `decimals()` answered: 0 to 255. Some contracts say 2^256-1."""
    number = uint_of(data)
    return None if number is None or number > 255 else number


def flag_of(data: str) -> bool:
    """What `supportsInterface` answered (EIP-165). Anything but the word 1 is no."""
    return uint_of(data) == 1


def text_of(data: str, length: int, at: int = 0) -> str | None:
    """
    The text in ABI data, harmless and cut at `length` characters: a `string` whose offset stands in the word of that
    index, or, where one word is all that there is, a `bytes32` padded with NUL, as the first tokens answer `symbol()`.
    None where there is no text, or an empty one.
    """
    if at == 0 and len(data) == 2 + WORD:
        # Zeros in front: a number.
        digits = data[2:] if data[2:4] != "00" and uint_of(data) is not None else None
    else:
        digits = bytes_of(data, at)
    if digits is None:
        return None
    # A character has at most four bytes: what is behind these is cut off anyway.
    cut = digits[: 8 * (length + 1)]
    text = bytes.fromhex(cut).decode("utf-8", "replace").rstrip("\0")
    return printable(text, length) if text.strip() else None


def bytes_of(data: str, at: int = 0) -> str | None:
    """The hexadecimal digits of the `bytes` (or `string`) whose offset stands in the word of that index."""
    offset = uint_of(data, at)
    if offset is None or offset > len(data):  # the bound first: a hostile offset is a number of 256 bits
        return None
    start = 2 + offset * 2
    count = uint_of("0x" + data[start : start + WORD])
    start += WORD
    if count is None or start + count * 2 > len(data):
        return None
    digits = data[start : start + count * 2]
    return digits if _digits(digits) else None
