"""
Steps of a chain become events in the log: one commit each, with everything a restart needs.

`teller` decides which events a step tells, in which order, and what changes in the journal. `Ingest` is the edge: it
appends, waits while the disk is full, and says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import structlog

from chainwatch.chain.evm.block import Block, Header
from chainwatch.chain.evm.head import Window
from chainwatch.chain.evm.reads import Readings, Reads
from chainwatch.chain.evm.step import Step
from chainwatch.derive.balances import Holdings
from chainwatch.derive.feeds import Feeds
from chainwatch.derive.known import Known
from chainwatch.derive.mempool import Pool, Told
from chainwatch.derive.rules import Rules
from chainwatch.eip55 import checksum
from chainwatch.errors import LogFull
from chainwatch.event import Event, event_id, rfc3339
from chainwatch.journal import Journal
from chainwatch.log import Change, Log
from chainwatch.payloads import ChainStatus, WalletStatus
from chainwatch.teller import Memory, Teller

ROOM_AGAIN = 1.0
"""Seconds between two tries while the disk is full."""
UNSAID = 100
"""States kept to be told later: a disk may be full for weeks, with a connection that comes and goes."""


class Ingest:
    """The sink of one chain's follower."""

    def __init__(self, log: Log, rules: Rules, teller: Teller, *, sweep: float, statuses: dict[str, Event]) -> None:
        """`sweep`: seconds between two audits; `statuses`: how each wallet stood last, read back from the journal."""
        self._log = log
        self._rules = rules
        self._teller = teller
        self._journal = Journal(rules.chain)
        self._chain = chain = rules.chain
        self._sweep = sweep
        self._audited: tuple[float, str] = (-sweep, "")  # when, and at which tip
        self._wallets = statuses
        self._logger = structlog.get_logger().bind(chain=chain)
        self._status: tuple[str, str | None, str | None] | None = None  # state, endpoint, reason: as it was last heard
        self._unsaid: list[Event] = []  # states that found no room, oldest first
        self._in_order = asyncio.Lock()
        self._turn = asyncio.Lock()
        self.blocked: str | None = None
        """Why nothing can be committed for now."""
        self.blocks = 0
        """Blocks told since the start of the daemon."""

    @classmethod
    async def resume(
        cls, log: Log, rules: Rules, *, chain_id: int, max_depth: int, sweep: float, dropped_after: float
    ) -> Ingest:
        """Where the log says that this chain was left."""
        journal = Journal(rules.chain)
        memory = Memory(
            waiting=await journal.read_waiting(log),
            orphaned=await journal.read_orphaned(log),
            holdings=Holdings(rules, await journal.read_holdings(log)),
            known=Known(rules.tokens),
            feeds=Feeds(rules, await journal.read_feeds(log), depth=max_depth),
            pool=Pool(rules, await journal.read_pending(log), dropped_after=dropped_after, max_depth=max_depth),
        )
        checkpoint = await journal.read_checkpoint(log, chain_id)
        teller = Teller(rules, checkpoint, memory, max_depth=max_depth, log=log.identity)
        return cls(log, rules, teller, sweep=sweep, statuses=await journal.read_wallets(log))

    async def begin(self) -> None:
        """
        Tell which wallets are new, which have another name, and which are watched no more; settle what the
        configuration ends.
        """
        rules = self._rules
        new = [self._wallet_event(wallet, rules.names.get(wallet, ""), "syncing") for wallet in self._unknown()]
        renamed = [self._wallet_event(wallet, *named) for wallet, named in self._renamed()]
        gone = sorted(self._wallets.keys() - rules.wallets)
        events = [
            *new,
            *renamed,
            *(self._wallet_event(wallet, self._wallets[wallet].data["name"], "removed") for wallet in gone),
        ]
        changes: list[Change] = [self._journal.wallet(event) for event in (*new, *renamed)]
        for wallet in gone:
            changes += self._journal.forget_wallet(wallet)
        if not rules.tells_pending:
            changes += self._journal.pending(self.pool.close())
        if events or changes:
            await self._append(events, changes)

    def _unknown(self) -> list[str]:
        return sorted(self._rules.wallets - self._wallets.keys())

    def _renamed(self) -> Iterator[tuple[str, tuple[str, str]]]:
        """The wallets that were told by another name; the new one, and the state, which stays."""
        for wallet in sorted(self._rules.wallets & self._wallets.keys()):
            told, name = self._wallets[wallet].data, self._rules.names.get(wallet, "")
            if told["name"] != name:
                yield wallet, (name, told["state"])

    def _wallet_event(self, wallet: str, name: str, state: str) -> Event:
        now = time.time_ns()
        at = rfc3339(now // 1_000_000)
        return Event(
            id=event_id(self._chain, None, WalletStatus.TYPE, None, self._log.identity, wallet, state, now),
            type=WalletStatus.TYPE,
            timestamp=at,
            observed_at=at,
            chain=self._chain,
            data=WalletStatus(
                address=checksum(wallet), name=name, state=state, balances=[], block_number=None, block_hash=None
            ),
        )

    @property
    def statuses(self) -> list[Event]:
        """How the watched wallets and the price feeds stood when the daemon began."""
        wallets = [event for wallet, event in self._wallets.items() if wallet in self._rules.wallets]
        return wallets + self._teller.feeds.told

    def wallets(self) -> list[dict[str, Any]]:
        """What is known of the watched wallets, see `Context.wallets`."""
        tip, rules = self.window.tip, self._rules
        return [
            {
                "chain": self._chain,
                "address": checksum(wallet),
                "name": rules.names.get(wallet, ""),
                "state": "watching" if balances else "syncing",
                "block_number": None if tip is None else tip.number,
                "block_hash": None if tip is None else tip.hash,
                "balances": msgspec.to_builtins(balances),
            }
            for wallet, balances in self._teller.holdings.held().items()
        ]

    @property
    def feeds(self) -> Feeds:
        """The price feeds of the chain."""
        return self._teller.feeds

    @property
    def window(self) -> Window:
        return self._teller.window

    @property
    def finalized(self) -> int | None:
        return self._teller.checkpoint.finalized

    @property
    def first(self) -> int | None:
        return self._teller.checkpoint.first

    async def commit(self, step: Step) -> None:
        """Tell a step; returns when it is durable."""
        told = {header.number: await self._journal.read_open(self._log, header.number) for header in step.orphaned}
        events, changes, headers = self._teller.step(step, told, time.time_ns() // 1_000_000)
        await self._append(events, changes)
        self.window.replace(headers)
        self.blocks += len(step.blocks)

    # --- what has to be read ---

    @property
    def asks(self) -> bool:
        return self._teller.asks

    def questions(self, block: Block, *, again: bool) -> Reads:
        return self._teller.questions(block, again=again)

    async def recall(self, asked: Reads) -> Reads:
        """What of these the journal knows is known from now on; what is left has to be read."""
        if not asked.tokens and not asked.pools:
            return asked
        tokens = {token: await self._journal.read_token(self._log, token) for token in asked.tokens}
        pools = {key: await self._journal.read_pool(self._log, key) for key in asked.pools}
        self._teller.learn(
            Readings(
                tokens={token: about for token, about in tokens.items() if about is not None},
                pools={key: about for key, about in pools.items() if about is not None},
            )
        )
        return msgspec.structs.replace(
            asked,
            tokens=tuple(token for token, about in tokens.items() if about is None),
            pools=tuple(key for key, about in pools.items() if about is None),
        )

    def learn(self, readings: Readings) -> None:
        self._teller.learn(readings)

    def audit(self) -> Reads | None:
        """What to read at the tip now: every balance, now and then, and soon where one may have moved unseen."""
        holdings, tip = self._teller.holdings, self.window.tip
        if not holdings.wanted or tip is None:
            return None
        since, at = self._audited
        if time.monotonic() - since < self._sweep and (at == tip.hash or not holdings.unsettled):
            return None
        return Reads(balances=holdings.wanted)

    async def audited(self, header: Header, readings: Readings) -> None:
        """Tell what an audit at the tip showed."""
        self._audited = (time.monotonic(), header.hash)
        if readings.unreadable:
            return
        events, changes = self._teller.audit(header, readings, time.time_ns() // 1_000_000)
        if events:
            await self._append(events, changes)

    async def finality(self, marks: dict[str, Header]) -> None:
        """Tell that `safe` or `finalized` moved."""
        events, changes = self._teller.finality(marks, time.time_ns() // 1_000_000)
        if events:
            await self._append(events, changes)

    async def status(self, state: str, endpoint: str | None, reason: str | None) -> None:
        """Tell that the state of the connection changed. Where there is no room, it is told when there is."""
        halted_by_us = self.blocked is not None and reason == self.blocked
        if halted_by_us or (state, endpoint, reason) == self._status:
            return  # it is told, or waits for room
        self._status = (state, endpoint, reason)
        await self._say(state, endpoint, reason)

    async def _say(self, state: str, endpoint: str | None, reason: str | None) -> None:
        event = self._status_event(state, endpoint, reason)
        try:
            await self._tell([event], ())
        except LogFull:
            self._unsaid = [*self._unsaid[-UNSAID:], event]

    async def pending(self, told: Told) -> None:
        """Tell what became known of the mempool."""
        if told:
            await self._append(told.events, self._journal.pending(told))

    @property
    def pool(self) -> Pool:
        """The mempool as it is known."""
        return self._teller.pool

    def _status_event(self, state: str, endpoint: str | None, reason: str | None) -> Event:
        now = time.time_ns()
        tip = self.window.tip
        at = rfc3339(now // 1_000_000)
        return Event(
            # A state belongs to no block: what makes it one occurrence is the moment in this log.
            id=event_id(self._chain, None, ChainStatus.TYPE, None, self._log.identity, state, None, now),
            type=ChainStatus.TYPE,
            timestamp=at,
            observed_at=at,
            chain=self._chain,
            data=ChainStatus(
                state=state,
                endpoint=endpoint,
                head=tip.number if tip else None,
                lag_seconds=round(max(0.0, now / 1e9 - tip.timestamp), 3) if tip else None,
                reason=reason,
            ),
        )

    async def _append(self, events: Sequence[Event], changes: Sequence[Change]) -> None:
        """
        Commit; while the disk is full, wait for room: nothing is lost, and nothing overtakes. Steps and the mempool
        both come here, and the pool has changed by then: calls are commits, in order.
        """
        async with self._in_order:  # it is fair
            await self._insist(events, changes)

    async def _insist(self, events: Sequence[Event], changes: Sequence[Change]) -> None:
        while True:
            try:
                await self._tell(events, changes)
            except LogFull as full:
                if self.blocked is None:
                    self.blocked = full.what
                    # No traceback: the disk is full, and nothing is wrong with the program.
                    self._logger.error(  # noqa: TRY400
                        "no room for the log: ingestion waits", reason=full.what, hint=full.hint
                    )
                    await self._say("halted", self._status[1] if self._status else None, self.blocked)
                await asyncio.sleep(ROOM_AGAIN)
                continue
            if self.blocked is not None:
                self._logger.warning("there is room for the log again: ingestion goes on")
                self.blocked = None
                if self._status is not None:
                    await self._say(*self._status)
            return

    async def _tell(self, events: Sequence[Event], changes: Sequence[Change]) -> None:
        """Append, behind the states that found no room before. `LogFull` where there still is none."""
        async with self._turn:
            waiting = len(self._unsaid)
            await self._log.append([*self._unsaid, *events], changes)
            del self._unsaid[:waiting]
