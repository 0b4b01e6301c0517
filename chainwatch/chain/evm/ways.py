"""What a node turned out to be able to do when its state was asked for; forgotten when its connection is made anew."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

Reader = Literal["override", "deployless", "plain"]
"""How many balances are read. override: one `eth_call` of a contract that is put there for the call. deployless: one
`eth_call` of a creation. plain: a question for each."""

CHUNK = 1000
"""Pairs that one call of the reader takes at first: 3 million gas for the native currency, 10 to 30 for tokens, where
nodes allow 25 to 50 million and more."""


@dataclass(slots=True)
class Ways:
    """None: not found out yet."""

    by_hash: bool | None = None
    """State can be asked for by a block's hash (EIP-1898), and the node heeds it."""
    calls: bool = True
    """The node has `eth_call`."""
    reader: Reader = "override"
    proven: bool = False
    """An answer of that reader was compared with a plain one."""
    stumbles: int = 0
    """How often a proven reader failed, one after another."""
    chunk: int = CHUNK
    """Pairs that one call of the reader takes."""
    traces: Literal["trace_block", "debug_traceBlockByHash", "none"] | None = None
    traceless: int = 0
    """Blocks that went without traces that the node should have, one after another."""
    untraced: Counter[str] = field(default_factory=Counter)
    """How often the traces of a block (its hash) could not be had: blocks are asked for side by side, and what ends a
    connection is the first failure of each."""
    debug: bool = True
    """The node has `debug_traceTransaction`."""
    oddities: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """How often a call (block, contract, data) failed for reasons that nobody knows."""
