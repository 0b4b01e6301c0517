"""
The small contract that reads many balances in one call (`reader.yul`, compiled into `reader.hex`): what it is asked,
and what it answers, as bytes.

It is on no chain. `eth_call` runs it where its third argument, a state override, puts it for that one call; or as the
code of a creation, which works where a node has no overrides.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from chainwatch.chain.evm.reads import Holding

ADDRESS = "0x131df83c16a3d12eac085c9bd98408003678e91b"
"""Where it is put: the first 20 bytes of the Keccak-256 of «chainwatch: where the reader of balances is put»."""
MOST_OF_CREATION = 740
"""Pairs that a creation can answer: what it returns counts as code, and that has 24,576 bytes at most (EIP-170)."""

_TAG = "0xbd6e851cf50572012c7911dda34ce269f9ef1d674d04bf4d553fbe81"
"""How an answer begins, 28 bytes: a node that ignores what it does not know answers something else."""
_HEAD = len(_TAG) + 8
_ENTRY = 66
"""Hexadecimal digits of an answer: a byte that is 1 where there is one, and 32 bytes."""


@cache
def code() -> str:
    """Hexadecimal digits, without 0x."""
    return (files("chainwatch.chain.evm") / "reader.hex").read_text("ascii").strip()


def question(pairs: Sequence[Holding]) -> str:
    """The pairs as the contract reads them; hexadecimal digits, without 0x."""
    return "".join([(token[2:] or "0" * 40) + wallet[2:] for token, wallet in pairs])


def answers(data: str, asked: int) -> list[int | None] | None:
    """
    The balances, in the order of the pairs, None for each that has no answer; fewer than were asked for where the gas
    did not reach. None where this is no answer of the contract.
    """
    try:
        count = int(data[len(_TAG) : _HEAD], 16)
        if not data.lower().startswith(_TAG) or count > asked or len(data) != _HEAD + count * _ENTRY:
            return None
        return [
            int(data[at + 2 : at + _ENTRY], 16) if data[at : at + 2] == "01" else None
            for at in range(_HEAD, len(data), _ENTRY)
        ]
    except ValueError:
        return None
