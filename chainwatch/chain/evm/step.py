"""What ingestion hands on: one step of a chain, and where it goes."""

from __future__ import annotations

from typing import Protocol

import msgspec

from chainwatch.chain.evm.block import Block, Header
from chainwatch.chain.evm.head import Window


class Step(msgspec.Struct, frozen=True):
    """What one commit tells: the orphaned blocks go, then the new ones come."""

    ancestor: Header | None
    """The block on which the new ones stand. None at the very first start."""
    orphaned: list[Header]
    """Oldest first; empty unless the chain was reorganised."""
    blocks: list[Block]
    """Oldest first."""


class Sink(Protocol):
    """Where the steps go: derivation and the log."""

    @property
    def window(self) -> Window:
        """What was told and is durable."""

    @property
    def finalized(self) -> int | None:
        """The newest height that the chain called finalized."""

    @property
    def first(self) -> int | None:
        """The height at which telling began."""

    @property
    def blocked(self) -> str | None:
        """Why nothing can be committed for now."""

    async def commit(self, step: Step) -> None:
        """Tell the step; returns when it is durable and `window` is moved. Never fails: it waits for room."""

    async def finality(self, marks: dict[str, Header]) -> None:
        """Tell that `safe` or `finalized` moved."""

    async def status(self, state: str, endpoint: str | None, reason: str | None) -> None:
        """Tell that the state of the connection changed."""
