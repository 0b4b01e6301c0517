"""
What a chain's ingestion must remember, as keys of the log's state: written in the transaction of the events it goes
with, so that a restart finds exactly what was told.

    chain/NAME/checkpoint            the window of told hashes, and the marks of finality
    chain/NAME/open/NUMBER/STEP      the events of one block, as they were told: what a reorganisation would retract.
                                     Kept beside the log, since retention may take the events before that
    chain/NAME/waiting/NUMBER        transactions of a block that wait for further confirmations
    chain/NAME/orphaned/NUMBER/HASH  how often a block was orphaned

Numbers are padded, so that keys sort as numbers do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from chainwatch.chain.evm.block import Header
from chainwatch.derive.transactions import Included
from chainwatch.errors import ConfigError
from chainwatch.event import Event
from chainwatch.log import Drop, Log, Put


class Checkpoint(msgspec.Struct, kw_only=True):
    """How far a chain was told. Changed in place by `ingest`, and written with every step."""

    chain_id: int
    first: int | None = None
    """The height at which telling began."""
    step: int = 0
    """Commits so far: keeps the keys of `open` in the order of telling."""
    headers: list[Header] = []
    """The window: newest told blocks, oldest first."""
    finalized: int | None = None
    marks: dict[str, list[int]] = {}
    """The heights told for `safe` and `finalized`, ascending: the newest that no reorganisation can reach, and those
    above, which one would take back."""
    peaks: list[tuple[int, int]] = []
    """(ancestor, tip) of past reorganisations: blocks up to `ancestor` were `tip` high already, so confirmations up
    to that height are told and must not be told twice."""


_checkpoint: Final = msgspec.json.Decoder(Checkpoint)
_events: Final = msgspec.json.Decoder(list[Event])
_waiting: Final = msgspec.json.Decoder(list[Included])
_encoder: Final = msgspec.json.Encoder()


class Journal:
    """The keys of one chain."""

    def __init__(self, chain: str) -> None:
        self._prefix = f"chain/{chain}/"

    def _key(self, kind: str, *parts: int | str) -> str:
        return self._prefix + "/".join([kind, *(f"{part:015d}" if isinstance(part, int) else part for part in parts)])

    # --- writing ---

    def checkpoint(self, value: Checkpoint) -> Put:
        return Put(self._key("checkpoint"), _encoder.encode(value))

    def open(self, number: int, step: int, events: Sequence[Event]) -> Put:
        return Put(self._key("open", number, step), _encoder.encode(events))

    def waiting(self, number: int, transactions: Sequence[Included]) -> Put:
        return Put(self._key("waiting", number), _encoder.encode(transactions))

    def orphaned(self, number: int, block_hash: str, count: int) -> Put:
        return Put(self._key("orphaned", number, block_hash), str(count).encode())

    def drop_below(self, kind: str, number: int) -> Drop:
        return Drop(self._key(kind, ""), self._key(kind, max(number, 0)))

    def drop_from(self, kind: str, number: int) -> Drop:
        return Drop(self._key(kind, number), self._key(kind, "~"))

    # --- reading ---

    async def read_checkpoint(self, log: Log, chain_id: int) -> Checkpoint:
        """
        The checkpoint, a new one where there is none. `ConfigError` where the log holds another chain of that
        name.
        """
        told = await log.get(self._key("checkpoint"))
        if told is None:
            return Checkpoint(chain_id=chain_id)
        value = _checkpoint.decode(told)
        if value.chain_id != chain_id:
            name = self._prefix.split("/")[1]
            raise ConfigError(
                f"the log holds chain id {value.chain_id} under the name {name!r}, the configuration says {chain_id}",
                hint="give the chain another name, or begin another log",
            )
        return value

    async def read_open(self, log: Log, number: int) -> list[Event]:
        """The events of the told block at that height, in the order of telling."""
        rows = await log.scan(self._key("open", number), self._key("open", number + 1))
        return [event for _, row in rows for event in _events.decode(row)]

    async def read_waiting(self, log: Log) -> dict[int, list[Included]]:
        """The transactions that wait, by the height of their block."""
        rows = await log.scan(self._key("waiting", ""), self._key("waiting", "~"))
        return {int(key.rsplit("/", 1)[1]): _waiting.decode(row) for key, row in rows}

    async def read_orphaned(self, log: Log) -> dict[str, tuple[int, int]]:
        """Block hash -> (height, how often it was orphaned)."""
        rows = await log.scan(self._key("orphaned", ""), self._key("orphaned", "~"))
        found = {}
        for key, row in rows:
            number, block_hash = key.rsplit("/", 2)[1:]
            found[block_hash] = (int(number), int(row))
        return found
