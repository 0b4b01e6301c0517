"""
What the steps of one chain tell: which events, in which order, and what changes in the journal. Pure but for its
memory, which `ingest` reads from the journal at start.

A step tells, in this order: `chain_reorg` and the retractions, newest block first; then each new block, oldest first:
`block_new`, its transactions with what their logs tell, prices, what became of pending transactions, balances; then the
confirmations that the block brings to older ones.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from chainwatch.chain.evm.block import Block, Header
from chainwatch.chain.evm.head import Window
from chainwatch.chain.evm.reads import Holding, Metadata, Pool as Pair, Readings, Reads
from chainwatch.chain.evm.step import Step
from chainwatch.derive.approvals import approvals
from chainwatch.derive.balances import Holdings
from chainwatch.derive.blocks import block_finalized, block_new, chain_reorg
from chainwatch.derive.feeds import Feeds
from chainwatch.derive.flows import Flow, flows
from chainwatch.derive.known import Known
from chainwatch.derive.mempool import Pool
from chainwatch.derive.questions import questions
from chainwatch.derive.rules import Rules
from chainwatch.derive.swaps import initialized, swaps
from chainwatch.derive.transactions import Included, confirmed, included
from chainwatch.derive.transfers import transfers
from chainwatch.derive.wallets import movements
from chainwatch.event import Event, retraction, rfc3339
from chainwatch.journal import Checkpoint, Journal
from chainwatch.log import Change
from chainwatch.payloads import WalletStatus


class Memory(msgspec.Struct, kw_only=True):
    """What a chain's teller knows beside its checkpoint; all of it is in the journal."""

    waiting: dict[int, list[Included]]
    """Transactions that wait for further confirmations, by the height of their block."""
    orphaned: dict[str, tuple[int, int]]
    """Block hash -> (height, how often it was orphaned)."""
    holdings: Holdings
    known: Known
    feeds: Feeds
    pool: Pool


class _Derived(NamedTuple):
    """What a block tells by itself."""

    succeeded: list[Included]
    """The transactions that wait for confirmations."""
    events: list[Event]
    """In their order, but for balances, which come last."""
    balances: list[Event]


class Teller:
    """What the steps of one chain tell."""

    def __init__(self, rules: Rules, checkpoint: Checkpoint, memory: Memory, *, max_depth: int, log: str) -> None:
        """`log`: the log's identity."""
        self._rules = rules
        self._log = log
        self._journal = Journal(rules.chain)
        self._max_depth = max_depth
        self._memory = memory
        self.checkpoint = checkpoint
        self.window = Window(max_depth + 1, checkpoint.headers)

    @property
    def holdings(self) -> Holdings:
        return self._memory.holdings

    @property
    def known(self) -> Known:
        return self._memory.known

    @property
    def pool(self) -> Pool:
        return self._memory.pool

    @property
    def feeds(self) -> Feeds:
        return self._memory.feeds

    def _retracted(self, block_hash: str) -> int:
        return self._memory.orphaned.get(block_hash, (0, 0))[1]

    # --- what to read ---

    @property
    def asks(self) -> bool:
        """Whether anything ever has to be read beside blocks."""
        rules = self._rules
        return bool(rules.wallets or rules.feeds) or rules.tells_transfers or rules.tells_transactions

    def questions(self, block: Block, *, again: bool) -> Reads:
        """What has to be read of the state before that block can be told."""
        memory = self._memory
        if not again and self._rules.tells_transfers and (made := initialized(block)):
            self.known.learn(pools=made)
        return questions(block, self._rules, memory.known, memory.holdings, memory.feeds, again=again)

    def learn(self, readings: Readings) -> None:
        """What was read of tokens and pools is known from now on, to the blocks behind as well."""
        self.known.learn(readings.tokens, readings.pools)

    # --- steps ---

    def step(
        self, step: Step, told: dict[int, list[Event]], now: int
    ) -> tuple[list[Event], list[Change], list[Header]]:
        """
        The events of a step in their order, the changes of the journal, and the window's new headers.

        `told`: height of each orphaned block -> its events as they were told. `now`: Unix milliseconds. `ValueError`
        where a part of a block is malformed: then nothing is remembered of the step.
        """
        memory, feeds = self._memory, self._memory.feeds
        before = copy.copy(self.checkpoint), memory.waiting.copy(), memory.orphaned.copy()
        prices = feeds.known, feeds.top
        try:
            return self._step(step, told, now)
        except BaseException:
            self.checkpoint, memory.waiting, memory.orphaned = before
            feeds.known, feeds.top = prices
            memory.holdings.undo()
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
        # Whatever may be malformed is looked at before the pool, which cannot go back.
        derived = [self._derive(block, changes) for block in step.blocks]
        if step.orphaned:
            changes += self._journal.pending(self.pool.orphaned(step.orphaned))
        for block, told_of in zip(step.blocks, derived, strict=True):
            if mark.first is None:
                mark.first = block.header.number
            self._tell(block, told_of, events, changes, top=top)
        mark.headers = headers
        mark.peaks = [(ancestor, peak) for ancestor, peak in mark.peaks if peak > top]
        changes.append(self._journal.drop_below("open", top - self._max_depth))
        self._forget_below(top, changes)
        if headers:
            events += self.feeds.statuses(headers[-1].timestamp, self._log, now * 1_000_000)
        self._keep_state(events, changes)
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
        mark, tip, memory = self.checkpoint, orphaned[-1], self._memory
        observed = rfc3339(now)
        yield chain_reorg(ancestor, orphaned, blocks, self._rules.chain, self._retracted(tip.hash), now)
        for header in reversed(orphaned):
            for event in reversed(told[header.number]):
                memory.holdings.retract(event)
                yield retraction(event, observed)
            count = self._retracted(header.hash) + 1
            memory.orphaned[header.hash] = (header.number, count)
            memory.waiting.pop(header.number, None)
            changes.append(self._journal.orphaned(header.number, header.hash, count))
        memory.holdings.rewind(ancestor.number)
        memory.feeds.rewind(ancestor.number)
        changes.append(self._journal.drop_from("open", ancestor.number + 1))
        changes.append(self._journal.drop_from("waiting", ancestor.number + 1))
        mark.peaks = [(min(below, ancestor.number), peak) for below, peak in mark.peaks]
        mark.peaks.append((ancestor.number, tip.number))
        mark.marks = {tag: [one for one in heights if one <= ancestor.number] for tag, heights in mark.marks.items()}
        if mark.first is not None and ancestor.number < mark.first:
            # Nothing that was told is left: it begins anew, maybe lower.
            mark.first = None if not blocks else blocks[0].header.number
            mark.peaks = []

    def _derive(self, block: Block, changes: list[Change]) -> _Derived:
        """What the block tells by itself."""
        rules, memory, journal = self._rules, self._memory, self._journal
        retracted = self._retracted(block.header.hash)
        known = memory.known
        found = flows(block, rules)
        succeeded, events = derived(block, found, rules, known, retracted)
        events += memory.feeds.updates(block, retracted)
        balances = memory.holdings.tell(block, found, retracted)
        read = block.readings
        # An empty answer may be the node's, and not the contract's: another start, or node, asks again.
        changes += [journal.token(token, about) for token, about in read.tokens.items() if about != Metadata()]
        changes += [journal.pool(key, about) for key, about in read.pools.items() if about != Pair()]
        if rules.tells_transfers:
            changes += [journal.pool(key, about) for key, about in initialized(block).items()]
        return _Derived(succeeded, events, balances)

    def _tell(self, block: Block, derived: _Derived, events: list[Event], changes: list[Change], *, top: int) -> None:
        """The events of one new block, and of the confirmations that it brings to older ones."""
        succeeded, own = derived.succeeded, derived.events
        rules, journal, number, memory = self._rules, self._journal, block.header.number, self._memory
        if rules.tells_pending:
            told = memory.pool.included(block, self._retracted(block.header.hash))
            changes += journal.pending(told)
            own += told.events
        own += derived.balances
        events.extend(own)
        if number > top - self._max_depth:
            changes.append(journal.open(number, self.checkpoint.step, own))
        if succeeded and rules.confirmations[-1] > 1:
            memory.waiting[number] = succeeded
            if number > top - rules.confirmations[-1]:
                changes.append(journal.waiting(number, succeeded))
        for depth in rules.confirmations:
            older = number - depth + 1
            if depth == 1 or older not in memory.waiting or self._was_told(older, number):
                continue
            later = list(confirmed(memory.waiting[older], depth, rules.chain, rfc3339(block.arrived)))
            events.extend(later)
            if older > top - self._max_depth:
                # One key a block and step: a step of several blocks may confirm one block at several depths.
                changes.append(journal.open(older, self._later_step(), later))

    def _keep_state(self, events: Iterable[Event], changes: list[Change]) -> None:
        """What wallets hold, how they stand, and the feeds, as this commit leaves them."""
        journal, memory = self._journal, self._memory
        settled: Mapping[Holding, int | None] = memory.holdings.settle()
        changes += [journal.holding(pair, held) for pair, held in settled.items()]
        changes += [journal.wallet(event) for event in events if isinstance(event.data, WalletStatus)]
        if self._rules.feeds:
            changes.append(journal.feeds(memory.feeds.state()))

    def _later_step(self) -> int:
        self.checkpoint.step += 1
        return self.checkpoint.step

    def _was_told(self, block: int, height: int) -> bool:
        """Whether that block had been under a tip of that height before a reorganisation above it."""
        return any(block <= ancestor and height <= peak for ancestor, peak in self.checkpoint.peaks)

    def _forget_below(self, top: int, changes: list[Change]) -> None:
        """Drop what no later step can ask for."""
        memory = self._memory
        # All its confirmations are told; `peaks` remembers that across reorganisations.
        done = top - self._rules.confirmations[-1] + 1
        if any(number <= done for number in memory.waiting):
            memory.waiting = {number: rest for number, rest in memory.waiting.items() if number > done}
            changes.append(self._journal.drop_below("waiting", done + 1))
        gone = top - 2 * self._max_depth
        if any(number < gone for number, _ in memory.orphaned.values()):
            memory.orphaned = {key: pair for key, pair in memory.orphaned.items() if pair[0] >= gone}
            changes.append(self._journal.drop_below("orphaned", gone))

    # --- beside the steps ---

    def audit(self, header: Header, readings: Readings, now: int) -> tuple[list[Event], list[Change]]:
        """What a reading of all balances at the tip shows that no block told."""
        changes: list[Change] = []
        step = self._later_step()
        events = self.holdings.audit(header, readings.balances, rfc3339(now), step)
        if events:
            changes.append(self._journal.open(header.number, step, events))
            self._keep_state(events, changes)
            changes.append(self._journal.checkpoint(self.checkpoint))
        return events, changes

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


def derived(
    block: Block, found: Sequence[Flow], rules: Rules, known: Known, retracted: int
) -> tuple[list[Included], list[Event]]:
    """
    The events of a block that hang on nothing but the block: `block_new`, then each transaction with what its logs
    tell, in the order of the chain; and the transactions that wait for further confirmations.
    """
    succeeded, failed = included(block, rules, retracted)
    at_once = confirmed(succeeded, 1, rules.chain, rfc3339(block.arrived)) if 1 in rules.confirmations else ()
    moved = movements(block, found, rules, known, retracted)
    rest: list[Event] = [*failed, *at_once]
    of_logs: Iterator[Event]
    for of_logs in (
        transfers(block, rules, retracted, known),
        approvals(block, rules, known, retracted),
        swaps(block, rules, known, retracted),
        moved,
    ):
        rest.extend(of_logs)
    rest.sort(key=_place)
    return succeeded, [block_new(block, rules.chain, retracted), *rest]


def _place(event: Event) -> tuple[int, int]:
    """A transaction, then what moved with it, then its logs; the sort is stable. What has no transaction comes last."""
    index = event.data.transaction_index
    log_index = getattr(event.data, "log_index", None)
    return 1 << 62 if index is None else index, -1 if log_index is None else log_index
