"""
What a chain's ingestion must remember, as keys of the log's state: written in the transaction of the events it goes
with, so that a restart finds exactly what was told.

    chain/NAME/checkpoint            the window of told hashes, and the marks of finality
    chain/NAME/open/NUMBER/STEP      the events of one block, as they were told: what a reorganisation would retract.
                                     Kept beside the log, since retention may take the events before that
    chain/NAME/waiting/NUMBER        transactions of a block that wait for further confirmations
    chain/NAME/orphaned/NUMBER/HASH  how often a block was orphaned
    chain/NAME/holding/WALLET/TOKEN  the balance that was told last; no token: the native currency
    chain/NAME/wallet/ADDRESS        the `wallet_status` that was told last
    chain/NAME/token/CONTRACT        what a token says of itself, read once
    chain/NAME/pool/KEY              the tokens of an exchange pool, read once
    chain/NAME/pending/HASH          a transaction that waits in the mempool
    chain/NAME/feeds                 the price feeds, and the prices told last

Numbers are padded, so that keys sort as numbers do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from chainwatch.chain.evm.block import Header
from chainwatch.chain.evm.reads import Holding, Metadata, Pool
from chainwatch.derive.mempool import Told, Waiting
from chainwatch.derive.transactions import Included
from chainwatch.errors import ConfigError
from chainwatch.event import Event
from chainwatch.log import Change, Drop, Log, Put


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
_event: Final = msgspec.json.Decoder(Event)
_metadata: Final = msgspec.json.Decoder(Metadata)
_pool: Final = msgspec.json.Decoder(Pool)
_pending: Final = msgspec.json.Decoder(Waiting)
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

    def holding(self, pair: Holding, held: int | None) -> Change:
        token, wallet = pair
        key = self._key("holding", wallet, token)
        return _drop(key) if held is None else Put(key, str(held).encode())

    def wallet(self, status: Event) -> Put:
        return Put(self._key("wallet", status.data.address.lower()), _encoder.encode(status))

    def forget_wallet(self, address: str) -> list[Drop]:
        """A wallet that is watched no more, and what it held."""
        held = self._key("holding", address, "")
        return [_drop(self._key("wallet", address)), Drop(held, held + "~")]

    def token(self, contract: str, about: Metadata) -> Put:
        return Put(self._key("token", contract), _encoder.encode(about))

    def pool(self, key: str, about: Pool) -> Put:
        return Put(self._key("pool", key), _encoder.encode(about))

    def pending(self, told: Told) -> list[Change]:
        """What of the mempool is to be kept, and to be forgotten."""
        kept = [Put(self._key("pending", waiting.hash), _encoder.encode(waiting)) for waiting in told.keep]
        return [*kept, *(_drop(self._key("pending", tx_hash)) for tx_hash in told.forget)]

    def feeds(self, state: bytes) -> Put:
        return Put(self._key("feeds"), state)

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

    async def read_holdings(self, log: Log) -> dict[Holding, int]:
        """The balances as they were told last."""
        rows = await log.scan(self._key("holding", ""), self._key("holding", "~"))
        found = {}
        for key, row in rows:
            wallet, token = key.rsplit("/", 2)[1:]
            found[token, wallet] = int(row)
        return found

    async def read_wallets(self, log: Log) -> dict[str, Event]:
        """The last `wallet_status` of each wallet, by its address in lower case."""
        rows = await log.scan(self._key("wallet", ""), self._key("wallet", "~"))
        return {key.rsplit("/", 1)[1]: _event.decode(row) for key, row in rows}

    async def read_token(self, log: Log, contract: str) -> Metadata | None:
        row = await log.get(self._key("token", contract))
        return None if row is None else _metadata.decode(row)

    async def read_pool(self, log: Log, key: str) -> Pool | None:
        row = await log.get(self._key("pool", key))
        return None if row is None else _pool.decode(row)

    async def read_pending(self, log: Log) -> list[Waiting]:
        rows = await log.scan(self._key("pending", ""), self._key("pending", "~"))
        return [_pending.decode(row) for _, row in rows]

    async def read_feeds(self, log: Log) -> bytes | None:
        return await log.get(self._key("feeds"))


def _drop(key: str) -> Drop:
    """One key."""
    return Drop(key, key + "\0")
