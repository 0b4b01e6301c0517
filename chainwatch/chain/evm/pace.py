"""How much to ask of a node at once."""

from __future__ import annotations

HELD = 32 * 1024 * 1024
"""Bytes of answers that may wait for their turn: a full block of mainnet with its receipts is 1 to 5 MB of JSON."""


class Pace:
    """
    How many blocks to ask for at once: twice as many with each round of good answers until the first refusal, half
    after each, and a few more with each good round then; and never more than memory has room for.
    """

    def __init__(self, first: int = 16, most: int = 128) -> None:
        self._blocks = float(first)
        self._most = most
        self._refused = False
        self._size = 0.0

    @property
    def blocks(self) -> int:
        """At least one."""
        return max(1, min(int(self._blocks), int(HELD / self._size) if self._size else self._most))

    def succeeded(self, size: int) -> None:
        """One block came, in so many bytes."""
        self._blocks = min(self._most, self._blocks + (4 / self._blocks if self._refused else 1))
        # Large blocks come in runs: follow them up at once, and down slowly.
        self._size = max(float(size), self._size + (size - self._size) / 64)

    def limited(self) -> None:
        """The node said that it is too much."""
        self._refused = True
        self._blocks = max(1.0, self._blocks / 2)
