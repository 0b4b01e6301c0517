"""
The edge of the mempool: what nodes push comes in here, is looked up where only a hash came, and goes to the pool.

The pool (`derive.mempool`) decides and never waits. This asks nodes: for transactions of which it knows the hash alone,
and, once a second, for what became of those that wait. However much is pushed, blocks are not kept waiting: what does
not fit is left out, the oldest first, and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self, TypeVar

import msgspec
import structlog

from chainwatch.chain.evm.block import MALFORMED, RpcTransaction, quantity
from chainwatch.chain.evm.endpoint import CallFailed, Endpoint
from chainwatch.chain.evm.pushes import Pushed

ROOM: Final = 20_000
"""Transactions, and hashes, that wait to be looked at."""
BATCH: Final = 500
"""Pushed transactions that are told in one commit."""
LOOKUPS: Final = 16
"""Hashes that are looked up at once."""
TRIES: Final = 4
"""How often a node is asked for a transaction whose hash it pushed: some push before they can answer."""
AGAIN: Final = 0.5
"""Seconds between these."""
SEEN: Final = 20_000
"""Hashes, the newest, that were looked up for nothing: other endpoints push them too."""
ASK_EVERY: Final = 1.0
"""Seconds between two rounds of questions about those that wait."""

_transaction: Final = msgspec.json.Decoder(RpcTransaction | None)


class Told(Protocol):
    """What the pool tells: opaque here."""

    def __bool__(self) -> bool: ...
    def __add__(self, more: Self, /) -> Self: ...


T = TypeVar("T", bound=Told)
T_co = TypeVar("T_co", bound=Told, covariant=True)
T_contra = TypeVar("T_contra", bound=Told, contravariant=True)


class Pool(Protocol[T_co]):
    """`derive.mempool.Pool`, which is above us. Times in Unix milliseconds."""

    turned_away: int

    def wants(self, tx_hash: str) -> bool: ...
    def seen(self, transaction: RpcTransaction, now: int) -> T_co: ...
    def due(self, now: int) -> list[str]: ...
    def sender(self, tx_hash: str) -> str | None: ...
    def nonce(self, sender: str, count: int) -> None: ...
    def answered(self, tx_hash: str, transaction: RpcTransaction | None, now: int) -> T_co: ...
    def expire(self, now: int) -> T_co: ...


class Sink(Protocol[T_contra]):
    """Where what the pool tells goes."""

    async def pending(self, told: T_contra) -> None:
        """Commit it. Called in the same turn of the loop in which the pool changed: calls are commits, in order."""


@dataclass(slots=True)
class _Job:
    """A hash to be looked up, of the endpoint that pushed it."""

    endpoint: Endpoint
    arrived: int
    tries: int = 0
    not_before: float = 0.0


class Inbox:
    """What was pushed and not looked at yet. Bounded: what is too much is left out, the oldest first."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._whole: deque[tuple[RpcTransaction, int]] = deque()
        self._hashes: OrderedDict[str, _Job] = OrderedDict()
        self._later: OrderedDict[str, _Job] = OrderedDict()
        """Hashes that their node did not know yet."""
        self._useless: OrderedDict[str, None] = OrderedDict()
        self.pushed = 0
        """Transactions that nodes pushed, each as often as they did."""
        self.left_out = 0
        """How many of them nobody could look at in time."""
        self.malformed = 0
        self.whole = asyncio.Event()
        """There are whole transactions."""
        self.hashes = asyncio.Event()

    def push(self, endpoint: Endpoint, told: Pushed, arrived: int) -> None:
        """A node pushed that. Unix milliseconds."""
        self.pushed += 1
        if not isinstance(told, str):
            self.put(told, arrived)
        elif told not in self._hashes and told not in self._later and told not in self._useless:
            self._hashes[told] = _Job(endpoint, arrived)
            self.hashes.set()
            if len(self._hashes) > self._room:
                self._hashes.popitem(last=False)
                self.left_out += 1

    def put(self, transaction: RpcTransaction, arrived: int) -> None:
        """A whole transaction."""
        self._whole.append((transaction, arrived))
        self.whole.set()
        if len(self._whole) > self._room:
            self._whole.popleft()
            self.left_out += 1

    def take(self) -> list[tuple[RpcTransaction, int]]:
        """The next whole transactions, and when they came."""
        found = [self._whole.popleft() for _ in range(min(BATCH, len(self._whole)))]
        if not self._whole:
            self.whole.clear()
        return found

    def next_hash(self, now: float) -> tuple[str, _Job] | None:
        """The next hash to look up, by the monotonic clock."""
        if self._later and next(iter(self._later.values())).not_before <= now:
            return self._later.popitem(last=False)
        if self._hashes:
            return self._hashes.popitem(last=False)
        self.hashes.clear()
        return None

    @property
    def has_later(self) -> bool:
        """Whether hashes wait for their node to know them."""
        return bool(self._later)

    def again(self, tx_hash: str, job: _Job, now: float) -> None:
        """The node does not know it yet."""
        job.tries += 1
        if job.tries >= TRIES or len(self._later) >= self._room:
            self.left_out += 1
            return
        job.not_before = now + AGAIN
        self._later[tx_hash] = job

    def useless(self, tx_hash: str) -> None:
        """It was looked up; another endpoint need not bring it again."""
        self._useless[tx_hash] = None
        if len(self._useless) > SEEN:
            self._useless.popitem(last=False)

    def vitals(self) -> dict[str, Any]:
        """What `/v1/stats` tells of it."""
        return {
            "pushed": self.pushed,
            "left_out": self.left_out,
            "malformed": self.malformed,
            "to_look_up": len(self._hashes) + len(self._later),
        }


async def watch_mempool(
    pool: Pool[T],
    inbox: Inbox,
    sink: Sink[T],
    *,
    chain: str,
    endpoints: Sequence[Endpoint],
    in_use: Callable[[], Endpoint | None],
) -> None:
    """
    Follow the mempool of a chain for ever.

    `in_use`: the endpoint to ask what became of those that wait; None while what was told is behind its head, since
    nothing can be concluded then. `endpoints`: all, which are asked too before one counts as unknown.
    """
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_tell(pool, inbox, sink, chain), name=f"mempool {chain}")
        tasks.create_task(_ask(pool, sink, endpoints, in_use), name=f"mempool questions {chain}")
        for number in range(LOOKUPS):
            tasks.create_task(_look_up(pool, inbox), name=f"mempool look-up {chain} {number}")


async def _tell(pool: Pool[T], inbox: Inbox, sink: Sink[T], chain: str) -> None:
    """What was pushed goes to the pool, and what that tells to the sink."""
    warned = False
    while True:
        await inbox.whole.wait()
        told: T | None = None
        for transaction, arrived in inbox.take():
            try:
                more = pool.seen(transaction, arrived)
            except MALFORMED:
                inbox.malformed += 1
                continue
            if more:
                told = more if told is None else told + more
        if told is not None:
            await sink.pending(told)
        if pool.turned_away and not warned:
            warned = True
            structlog.get_logger().warning(
                "too many pending transactions: only those of wallets are taken until some are gone", chain=chain
            )
        await asyncio.sleep(0)  # others have their turn, however much comes


async def _look_up(pool: Pool[T], inbox: Inbox) -> None:
    """Hashes become whole transactions, one at a time; several of these run."""
    while True:
        found = inbox.next_hash(time.monotonic())
        if found is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN if inbox.has_later else None):
                    await inbox.hashes.wait()
            continue
        tx_hash, job = found
        if not pool.wants(tx_hash):
            continue
        try:
            transaction = await _lookup(job.endpoint, tx_hash)
        except CallFailed as failed:
            inbox.left_out += 1
            if failed.kind == "limited":
                await asyncio.sleep(min(failed.retry_after or 1.0, 30.0))
            continue
        except MALFORMED:
            inbox.malformed += 1
            continue
        if transaction is None:
            inbox.again(tx_hash, job, time.monotonic())
            continue
        inbox.useless(tx_hash)
        inbox.put(transaction, job.arrived)


async def _lookup(endpoint: Endpoint, tx_hash: str) -> RpcTransaction | None:
    """What the node knows of it. `ValueError` where it answers with another."""
    found: RpcTransaction | None = _transaction.decode(await endpoint.start("eth_getTransactionByHash", [tx_hash]))
    if found is not None and found.hash.lower() != tx_hash:
        raise ValueError("asked for a transaction, the node gave another")
    return found


# --- what became of them ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Answer:
    tx_hash: str
    transaction: RpcTransaction | None
    """None: nobody knows it."""
    sender: str | None = None
    nonce: int | None = None
    """The sender's next one, where it was asked for."""


async def _ask(
    pool: Pool[T], sink: Sink[T], endpoints: Sequence[Endpoint], in_use: Callable[[], Endpoint | None]
) -> None:
    while True:
        await asyncio.sleep(ASK_EVERY)
        endpoint = in_use()
        if endpoint is None or endpoint.resting_until > time.monotonic():
            continue
        asked = pool.due(_now())
        found = await asyncio.gather(*(_answer(pool, endpoint, endpoints, tx_hash) for tx_hash in asked))
        told = pool.expire(_now()) if in_use() is not None else None
        for answer in found:
            if answer is None:
                continue
            if answer.sender is not None and answer.nonce is not None:
                pool.nonce(answer.sender, answer.nonce)
            more = pool.answered(answer.tx_hash, answer.transaction, _now())
            told = more if told is None else told + more
        if told:
            await sink.pending(told)


async def _answer(pool: Pool[T], endpoint: Endpoint, endpoints: Sequence[Endpoint], tx_hash: str) -> _Answer | None:
    """What nodes say of it; None where the one in use says nothing that can be meant."""
    try:
        transaction = await _lookup(endpoint, tx_hash)
        if transaction is not None:
            if transaction.block_number is not None:
                quantity(transaction.block_number)
            return _Answer(tx_hash, transaction)
        for other in endpoints:
            if other is not endpoint and other.ready and other.resting_until <= time.monotonic():
                known = await _known_to(other, tx_hash)
                if known is not None:
                    return _Answer(tx_hash, known)
        sender = pool.sender(tx_hash)
        if sender is None:
            return None
        count = await endpoint.start("eth_getTransactionCount", [sender, "latest"])
        return _Answer(tx_hash, None, sender, quantity(msgspec.json.decode(count, type=str), 64))
    except (CallFailed, *MALFORMED):
        return None


async def _known_to(endpoint: Endpoint, tx_hash: str) -> RpcTransaction | None:
    """What another node knows of it; one that fails knows nothing."""
    try:
        found = await _lookup(endpoint, tx_hash)
        if found is not None and found.block_number is not None:
            quantity(found.block_number)
    except (CallFailed, *MALFORMED):
        return None
    return found


def _now() -> int:
    return time.time_ns() // 1_000_000
