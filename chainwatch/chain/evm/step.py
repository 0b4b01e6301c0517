"""What ingestion hands on: one step of a chain, and where it goes."""

from __future__ import annotations

from typing import Protocol

import msgspec

from chainwatch.chain.evm.block import Block, Header
from chainwatch.chain.evm.head import Window
from chainwatch.chain.evm.reads import Readings, Reads


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

    @property
    def asks(self) -> bool:
        """Whether anything ever has to be read of the state beside blocks."""

    def questions(self, block: Block, *, again: bool) -> Reads:
        """What has to be read before that block can be told; `again`: it has the answers of the first round."""

    async def recall(self, asked: Reads) -> Reads:
        """What of these was read long ago is known again; the rest."""

    def learn(self, readings: Readings) -> None:
        """What was read, so that nobody has to read it for the next block."""

    def audit(self) -> Reads | None:
        """What to read at the tip now, where its state should be looked at."""

    async def audited(self, header: Header, readings: Readings) -> None:
        """Tell what that reading at the tip showed."""

    async def commit(self, step: Step) -> None:
        """Tell the step; returns when it is durable and `window` is moved. Never fails: it waits for room."""

    async def finality(self, marks: dict[str, Header]) -> None:
        """Tell that `safe` or `finalized` moved."""

    async def status(self, state: str, endpoint: str | None, reason: str | None) -> None:
        """Tell that the state of the connection changed."""
