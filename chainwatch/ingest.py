"""
Steps of a chain become events in the log: one commit each, with everything a restart needs.

`Teller` decides: which events a step tells, in which order, and what changes in the journal. `Ingest` is the edge: it
appends, waits while the disk is full, and says so.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Iterable, Sequence

import structlog

from chainwatch.chain.evm.block import Block, Header
from chainwatch.chain.evm.head import Window
from chainwatch.chain.evm.step import Step
from chainwatch.derive.blocks import block_finalized, block_new, chain_reorg
from chainwatch.derive.rules import Rules
from chainwatch.derive.transactions import Included, confirmed, included
from chainwatch.derive.transfers import transfers
from chainwatch.errors import LogFull
from chainwatch.event import Event, event_id, retraction, rfc3339
from chainwatch.journal import Checkpoint, Journal
from chainwatch.log import Change, Log
from chainwatch.payloads import ChainStatus

ROOM_AGAIN = 1.0
"""Seconds between two tries while the disk is full."""
UNSAID = 100
"""States kept to be told later: a disk may be full for weeks, with a connection that comes and goes."""


class Teller:
    """What the steps of one chain tell. Pure but for its memory, which `Ingest` reads from the journal at start."""

    def __init__(
        self,
        rules: Rules,
        checkpoint: Checkpoint,
        *,
        max_depth: int,
        waiting: dict[int, list[Included]] | None = None,
        orphaned: dict[str, tuple[int, int]] | None = None,
    ) -> None:
        self._rules = rules
        self._journal = Journal(rules.chain)
        self._max_depth = max_depth
        self._waiting = waiting or {}
        self._orphaned = orphaned or {}
        self.checkpoint = checkpoint
        self.window = Window(max_depth + 1, checkpoint.headers)

    def _retracted(self, block_hash: str) -> int:
        return self._orphaned.get(block_hash, (0, 0))[1]

    def step(
        self, step: Step, told: dict[int, list[Event]], now: int
    ) -> tuple[list[Event], list[Change], list[Header]]:
        """
        The events of a step in their order, the changes of the journal, and the window's new headers.

        `told`: height of each orphaned block -> its events as they were told. `now`: Unix milliseconds. `ValueError`
        where a part of a block is malformed: then nothing is remembered of the step.
        """
        before = copy.copy(self.checkpoint), self._waiting.copy(), self._orphaned.copy()
        try:
            return self._step(step, told, now)
        except BaseException:
            self.checkpoint, self._waiting, self._orphaned = before
            raise

    def _step(
        self, step: Step, told: dict[int, list[Event]], now: int
    ) -> tuple[list[Event], list[Change], list[Header]]:
        events: list[Event] = []
        changes: list[Change] = []
        mark = self.checkpoint
        mark.step += 1
        if step.orphaned and step.ancestor is not None:
            events.extend(self._retract(step.ancestor, step.orphaned, step.blocks, told, now, changes))
        kept = self.window.headers
        if step.orphaned and step.ancestor is not None:
            kept = [header for header in kept if header.number <= step.ancestor.number]
        headers = [*kept, *(block.header for block in step.blocks)][-self.window.size :]
        top = headers[-1].number if headers else 0
        for block in step.blocks:
            if mark.first is None:
                mark.first = block.header.number
            self._tell(block, events, changes, keep_open=block.header.number > top - self._max_depth, top=top)
        mark.headers = headers
        mark.peaks = [(ancestor, peak) for ancestor, peak in mark.peaks if peak > top]
        changes.append(self._journal.drop_below("open", top - self._max_depth))
        self._forget_below(top, changes)
        changes.append(self._journal.checkpoint(mark))
        return events, changes, headers

    def _retract(
        self,
        ancestor: Header,
        orphaned: Sequence[Header],
        blocks: Sequence[Block],
        told: dict[int, list[Event]],
        now: int,
        changes: list[Change],
    ) -> Iterable[Event]:
        """`chain_reorg`, then the retractions, newest block first, each block's newest event first."""
        mark, tip = self.checkpoint, orphaned[-1]
        observed = rfc3339(now)
        yield chain_reorg(ancestor, orphaned, blocks, self._rules.chain, self._retracted(tip.hash), now)
        for header in reversed(orphaned):
            for event in reversed(told[header.number]):
                yield retraction(event, observed)
            count = self._retracted(header.hash) + 1
            self._orphaned[header.hash] = (header.number, count)
            self._waiting.pop(header.number, None)
            changes.append(self._journal.orphaned(header.number, header.hash, count))
        changes.append(self._journal.drop_from("open", ancestor.number + 1))
        changes.append(self._journal.drop_from("waiting", ancestor.number + 1))
        mark.peaks = [(min(below, ancestor.number), peak) for below, peak in mark.peaks]
        mark.peaks.append((ancestor.number, tip.number))
        mark.marks = {tag: [one for one in heights if one <= ancestor.number] for tag, heights in mark.marks.items()}
        if mark.first is not None and ancestor.number < mark.first:
            # Nothing that was told is left: it begins anew, maybe lower.
            mark.first = None if not blocks else blocks[0].header.number
            mark.peaks = []

    def _tell(self, block: Block, events: list[Event], changes: list[Change], *, keep_open: bool, top: int) -> None:
        """The events of one new block, and of the confirmations that it brings to older ones."""
        rules, journal, number = self._rules, self._journal, block.header.number
        retracted = self._retracted(block.header.hash)
        own = [block_new(block, rules.chain, retracted)]
        succeeded, failed = included(block, rules, retracted)
        at_once = list(confirmed(succeeded, 1, rules.chain, rfc3339(block.arrived))) if 1 in rules.confirmations else []
        if failed or at_once:
            # A transaction, then its logs: the sort is stable.
            rest = [*failed, *at_once, *transfers(block, rules, retracted)]
            own.extend(sorted(rest, key=lambda event: event.data.transaction_index))
        else:
            own.extend(transfers(block, rules, retracted))
        events.extend(own)
        if keep_open:
            changes.append(journal.open(number, self.checkpoint.step, own))
        if succeeded and rules.confirmations[-1] > 1:
            self._waiting[number] = succeeded
            if number > top - rules.confirmations[-1]:
                changes.append(journal.waiting(number, succeeded))
        for depth in rules.confirmations:
            older = number - depth + 1
            if depth == 1 or older not in self._waiting or self._was_told(older, number):
                continue
            later = list(confirmed(self._waiting[older], depth, rules.chain, rfc3339(block.arrived)))
            events.extend(later)
            if older > top - self._max_depth:
                # One key a block and step: a step of several blocks may confirm one block at several depths.
                changes.append(journal.open(older, self._later_step(), later))

    def _later_step(self) -> int:
        self.checkpoint.step += 1
        return self.checkpoint.step

    def _was_told(self, block: int, height: int) -> bool:
        """Whether that block had been under a tip of that height before a reorganisation above it."""
        return any(block <= ancestor and height <= peak for ancestor, peak in self.checkpoint.peaks)

    def _forget_below(self, top: int, changes: list[Change]) -> None:
        """Drop what no later step can ask for."""
        # All its confirmations are told; `peaks` remembers that across reorganisations.
        done = top - self._rules.confirmations[-1] + 1
        if any(number <= done for number in self._waiting):
            self._waiting = {number: rest for number, rest in self._waiting.items() if number > done}
            changes.append(self._journal.drop_below("waiting", done + 1))
        gone = top - 2 * self._max_depth
        if any(number < gone for number, _ in self._orphaned.values()):
            self._orphaned = {key: pair for key, pair in self._orphaned.items() if pair[0] >= gone}
            changes.append(self._journal.drop_below("orphaned", gone))

    def finality(self, marks: dict[str, Header], now: int) -> tuple[list[Event], list[Change]]:
        """The events of marks that moved up, `safe` first."""
        events: list[Event] = []
        changes: list[Change] = []
        checkpoint = self.checkpoint
        for tag, header in marks.items():
            if tag == "finalized":
                checkpoint.finalized = max(checkpoint.finalized or 0, header.number)
            heights = checkpoint.marks.get(tag, [])
            if heights and header.number <= heights[-1]:
                continue
            last = [height for height in heights if height <= self.window.oldest][-1:]
            within = [height for height in heights if height > self.window.oldest]
            checkpoint.marks = {**checkpoint.marks, tag: [*last, *within, header.number]}
            event = block_finalized(header, tag, self._rules.chain, self._retracted(header.hash), now)
            events.append(event)
            if self.window.at(header.number) is not None:
                changes.append(self._journal.open(header.number, self._later_step(), [event]))
        if events:
            changes.append(self._journal.checkpoint(checkpoint))
        return events, changes


class Ingest:
    """The sink of one chain's follower."""

    def __init__(self, log: Log, teller: Teller, chain: str) -> None:
        self._log = log
        self._teller = teller
        self._journal = Journal(chain)
        self._chain = chain
        self._logger = structlog.get_logger().bind(chain=chain)
        self._status: tuple[str, str | None, str | None] | None = None  # state, endpoint, reason: as it was last heard
        self._unsaid: list[Event] = []  # states that found no room, oldest first
        self._turn = asyncio.Lock()
        self.blocked: str | None = None
        """Why nothing can be committed for now."""
        self.blocks = 0
        """Blocks told since the start of the daemon."""

    @classmethod
    async def resume(cls, log: Log, rules: Rules, *, chain_id: int, max_depth: int) -> Ingest:
        """Where the log says that this chain was left."""
        journal = Journal(rules.chain)
        teller = Teller(
            rules,
            await journal.read_checkpoint(log, chain_id),
            max_depth=max_depth,
            waiting=await journal.read_waiting(log),
            orphaned=await journal.read_orphaned(log),
        )
        return cls(log, teller, rules.chain)

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
        """Commit; while the disk is full, wait for room: nothing is lost, and nothing overtakes."""
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
