"""Addresses as people see them: EIP-55, whose mixed case is a checksum."""

from __future__ import annotations

from functools import lru_cache

from eth_hash.auto import keccak


# Contracts and wallets come again and again.
@lru_cache(maxsize=16_384)
def checksum(address: str) -> str:
    """
    A lower-case address as EIP-55 writes it: a letter is upper case where the same digit of the Keccak-256 of the
    address's digits is 8 or more. `eth_utils` spends four times that, on checks that were made before, and its import
    costs a sixth of a start.
    """
    digits = address[2:]
    pairs = zip(digits, keccak(digits.encode()).hex(), strict=False)  # the hash is longer
    return "0x" + "".join([digit.upper() if other > "7" else digit for digit, other in pairs])
