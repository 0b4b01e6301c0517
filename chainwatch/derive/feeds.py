"""
Chainlink: prices that a chain itself holds.

A feed is a proxy, whose address people know, and behind it an aggregator, which writes `AnswerUpdated` for each round.
The proxy may get another aggregator at any time, and says so in no log. So the proxy is resolved (`chain.evm.state`
reads it at a block's hash) until it is known, every `AGAIN` blocks, and after a restart or a reorganisation; what its
latest round then is and was not told by a log, is told as well. A proxy counts rounds as phase << 64 | round of its
aggregator.

What is known of a feed is kept by block number, as far back as a reorganisation can reach: `rewind` is exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from chainwatch.chain.evm.abi import int_of, uint_of
from chainwatch.chain.evm.block import Block, RpcLog, quantity
from chainwatch.chain.evm.reads import Feed
from chainwatch.derive.rules import FeedRule, Rules
from chainwatch.eip55 import checksum
from chainwatch.event import Event, event_id, rfc3339
from chainwatch.payloads import PriceUpdate, SourceStatus
from chainwatch.price.numbers import change_percent, differs
from chainwatch.text import age, amount

ANSWER_UPDATED: Final = "0x0559884fd3a460db3073b7fc896cc77986f16e378210ded43186175bf646fc5f"
"""AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt)"""

AGAIN: Final = 5
"""Blocks after which a proxy is looked at again."""
UNANSWERED: Final = 10
"""Blocks at which a feed could not be read, one after another: then it fails, and says so."""
GRACE: Final = 1.1
"""A feed is late when it is silent for so many times its heartbeat: the last block is never quite on time."""
KEPT: Final = 4096
"""Rounds of a feed that are remembered at most, however deep reorganisations may be."""

Round = tuple[int, int]
"""Phase of the proxy, and round of the aggregator: ordered as the proxy's own round ids."""


class Resolved(msgspec.Struct, frozen=True, array_like=True):
    """What stood behind a proxy from a block on."""

    block: int
    aggregator: str
    decimals: int
    phase: int


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """A round, and whether it was told (it may have changed too little)."""

    block: int
    round: Round
    updated_at: int
    """Unix seconds."""
    price: str
    told: bool


class FeedState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of one feed."""

    resolved: tuple[Resolved, ...] = ()
    """Oldest first; the last holds now."""
    seen: tuple[Seen, ...] = ()
    """Oldest first."""
    sure: bool = False
    """It was read since the start of the daemon, or the last reorganisation, and is a feed."""
    unanswered: int = 0
    """Blocks since it was asked for in vain."""
    foreign: bool = False
    """The contract is no feed."""
    state: str | None = None
    """As `source_status` told it."""
    reason: str | None = None
    status: Event | None = None
    """That event."""


_NEW: Final = FeedState()
_decoder: Final = msgspec.json.Decoder(dict[str, FeedState])
_replace: Final = msgspec.structs.replace


class Feeds:
    """
    The feeds of one chain. Pure but for `known` and `top`, which are replaced whole and never changed in place: whoever
    keeps the old ones can go back to them.
    """

    def __init__(self, rules: Rules, saved: bytes | None = None, *, depth: int = 64) -> None:
        """`saved`: what `state` gave. `depth`: blocks that a reorganisation can take back."""
        self._rules = rules
        self._depth = depth
        self.top = -1
        """Height of the newest told block."""
        before = {} if saved is None else _decoder.decode(saved)
        self.known: Mapping[str, FeedState] = {
            proxy: _replace(before.get(proxy, _NEW), sure=False, unanswered=0) for proxy in rules.feeds
        }

    def state(self) -> bytes:
        """What a restart has to know."""
        return msgspec.json.encode(self.known)

    # --- what to read ---

    def asks(self, block: Block) -> tuple[str, ...]:
        """The proxies that have to be resolved at this block."""
        number = block.header.number
        # Not above what was told: another branch, of which nothing is known yet.
        if number % AGAIN == 0 or number <= self.top:
            return tuple(self.known)
        return tuple(proxy for proxy, feed in self.known.items() if not feed.sure)

    # --- what to tell ---

    def updates(self, block: Block, retracted: int) -> list[Event]:
        """The new rounds of a block: those of its logs in their order, then those that only a reading shows."""
        if not self.known:
            return []
        self.top = number = block.header.number
        # One that is sure was read too early, before it was: what it says counts when its time comes, so that it does
        # not matter how far ahead of telling blocks are asked about.
        told = {
            proxy: feed
            for proxy, feed in block.readings.feeds.items()
            if proxy in self.known and (number % AGAIN == 0 or not self.known[proxy].sure)
        }
        behind = self._aggregators()
        self._resolve(number, told)
        for aggregator, feeds in self._aggregators().items():
            behind[aggregator] = {**behind.get(aggregator, {}), **feeds}
        events = [event for log in block.logs for event in self._logged(block, log, behind, retracted)]
        for proxy, feed in told.items():
            if feed is not None and (latest := _latest(feed)) is not None:
                events += self._saw(block, proxy, *latest, feed.decimals, None, retracted)
        return events

    def _aggregators(self) -> dict[str, dict[str, Resolved]]:
        """Aggregator -> the proxies before it."""
        found: dict[str, dict[str, Resolved]] = {}
        for proxy, feed in self.known.items():
            if feed.resolved:
                found.setdefault(feed.resolved[-1].aggregator, {})[proxy] = feed.resolved[-1]
        return found

    def _resolve(self, number: int, readings: Mapping[str, Feed | None]) -> None:
        oldest = number - self._depth
        now: dict[str, FeedState] = {}
        for proxy, feed in self.known.items():
            told = readings.get(proxy)
            if proxy not in readings:
                state = feed if feed.sure else _replace(feed, unanswered=feed.unanswered + 1)
            elif told is None:
                state = _replace(feed, sure=False, unanswered=0, foreign=True)  # it may yet be made
            else:
                latest = _latest(told)
                at = Resolved(number, told.aggregator.lower(), told.decimals, latest[0][0] if latest else told.phase)
                same = feed.resolved and feed.resolved[-1] == _replace(at, block=feed.resolved[-1].block)
                resolved = feed.resolved if same else _since(oldest, (*feed.resolved, at))
                state = _replace(feed, resolved=resolved, sure=True, unanswered=0, foreign=False)
            now[proxy] = state
        self.known = now

    def _logged(
        self, block: Block, log: RpcLog, behind: Mapping[str, Mapping[str, Resolved]], retracted: int
    ) -> Iterator[Event]:
        if (
            len(log.topics) != 3
            or log.topics[0] != ANSWER_UPDATED
            or (feeds := behind.get(log.address.lower())) is None
        ):
            return
        answer, round_, updated_at = int_of(log.topics[1]), uint_of(log.topics[2]), uint_of(log.data)
        if answer is None or round_ is None or updated_at is None or round_ >> 64:
            return
        for proxy, at in feeds.items():
            yield from self._saw(block, proxy, (at.phase, round_), answer, updated_at, at.decimals, log, retracted)

    def _saw(
        self, block: Block, proxy: str, round_: Round, answer: int, updated_at: int, decimals: int, log: RpcLog | None,
        retracted: int,
    ) -> Iterator[Event]:  # fmt: skip
        """The event of a round, where it is newer than the last one and its answer a price."""
        feed, rule, header = self.known[proxy], self._rules.feeds[proxy], block.header
        if answer <= 0 or (feed.seen and round_ <= feed.seen[-1].round):
            return
        price = amount(answer, decimals)
        before = _told(feed.seen)
        tells = before is None or rule.min_change is None or differs(before, price, rule.min_change)
        seen = Seen(header.number, round_, min(updated_at, 1 << 40), price, tells)
        kept = _since(header.number - self._depth, (*feed.seen, seen))
        self.known = {**self.known, proxy: _replace(feed, seen=kept)}
        if not tells:
            return
        at = rfc3339(seen.updated_at * 1000)
        tx_hash = None if log is None else log.transaction_hash.lower()
        index = None if log is None else quantity(log.log_index)
        yield Event(
            id=event_id(
                self._rules.chain, header.hash, PriceUpdate.TYPE, tx_hash, index, proxy, None, retracted,
            ),
            type=PriceUpdate.TYPE,
            timestamp=at,
            observed_at=rfc3339(block.arrived),
            chain=self._rules.chain,
            data=PriceUpdate(
                symbol=rule.symbol,
                quote=rule.quote,
                price=price,
                previous_price=before,
                change_percent=None if before is None else change_percent(before, price),
                source="chainlink",
                feed=checksum(proxy),
                round_id=str(round_[0] << 64 | round_[1]),
                updated_at=at,
                tx_hash=tx_hash,
                log_index=index,
                block_number=header.number,
                block_hash=header.hash,
            ),
        )  # fmt: skip

    # --- what a reorganisation takes back ---

    def rewind(self, ancestor: int) -> None:
        """The blocks above `ancestor` are orphaned: what they told of feeds is forgotten, and each is read again."""
        self.top = min(self.top, ancestor)
        self.known = {
            proxy: _replace(
                feed,
                resolved=tuple(one for one in feed.resolved if one.block <= ancestor),
                seen=tuple(one for one in feed.seen if one.block <= ancestor),
                sure=False,
            )
            for proxy, feed in self.known.items()
        }

    # --- how they are ---

    def statuses(self, head: int, log: str, now: int) -> list[Event]:
        """
        `source_status` of the feeds whose state changed since this was asked last. `head` is the time of the newest
        told block in Unix seconds, and it counts, not ours: while history is read, and while the chain stands still,
        no feed is late. `log`: the log's identity; `now`: Unix nanoseconds.
        """
        known = dict(self.known)
        changed: list[Event] = []
        for proxy, feed in self.known.items():
            rule = self._rules.feeds[proxy]
            state, reason = _standing(feed, rule, head)
            if state is not None and (state, reason) != (feed.state, feed.reason):
                event = self._status(SourceStatus(source=name_of(rule), state=state, reason=reason), log, now)
                known[proxy] = _replace(feed, state=state, reason=reason, status=event)
                changed.append(event)
        self.known = known
        return changed

    def _status(self, status: SourceStatus, log: str, now: int) -> Event:
        chain, at = self._rules.chain, rfc3339(now // 1_000_000)
        return Event(
            # It belongs to no block: what makes it one occurrence is the moment in this log.
            id=event_id(chain, None, SourceStatus.TYPE, None, log, status.source, status.state, now),
            type=SourceStatus.TYPE,
            timestamp=at,
            observed_at=at,
            chain=chain,
            data=status,
        )

    @property
    def told(self) -> list[Event]:
        """The `source_status` of each feed that was told last."""
        return [feed.status for feed in self.known.values() if feed.status is not None]

    def vitals(self) -> list[dict[str, Any]]:
        """What `/v1/stats` and `/health` tell of them."""
        return [
            {
                "name": name_of(self._rules.feeds[proxy]),
                "chain": self._rules.chain,
                "state": feed.state or "starting",
                "ready": feed.state == "ok",
                "reason": feed.reason,
                "price": _told(feed.seen),
            }
            for proxy, feed in self.known.items()
        ]


def name_of(rule: FeedRule) -> str:
    """What `source_status` calls a feed."""
    return f"chainlink:{rule.symbol}/{rule.quote}"


def _standing(feed: FeedState, rule: FeedRule, now: int) -> tuple[str | None, str | None]:
    """State and reason; no state while nothing can be said."""
    if feed.unanswered >= UNANSWERED:
        return "failing", "the node does not tell what the feed says"
    if feed.foreign:
        return "failing", "the contract is no Chainlink feed"
    if not feed.resolved:
        return feed.state, feed.reason
    if not feed.seen:
        return "failing", "the feed has no answer yet"
    if now - feed.seen[-1].updated_at > rule.heartbeat * GRACE:
        return "failing", f"no answer for longer than its heartbeat of {age(rule.heartbeat)}"
    return "ok", None


def _latest(feed: Feed) -> tuple[Round, int, int] | None:
    """Round, answer and time of the latest round, where there is one that can be meant: `uint80`."""
    if feed.answer is None or feed.round_id is None or feed.updated_at is None or not 0 <= feed.round_id < 1 << 80:
        return None
    return (feed.round_id >> 64, feed.round_id & (1 << 64) - 1), feed.answer, feed.updated_at


def _told(seen: Sequence[Seen]) -> str | None:
    """The price that was told last."""
    return next((one.price for one in reversed(seen) if one.told), None)


def _since(oldest: int, facts: tuple[Any, ...]) -> tuple[Any, ...]:
    """The facts of blocks from `oldest` on, and those before that still hold: the last one, and the last told one."""
    old = [index for index, fact in enumerate(facts) if fact.block < oldest]
    kept = {*old[-1:], *[index for index in old if getattr(facts[index], "told", False)][-1:]}
    recent = [index for index, fact in enumerate(facts) if fact.block >= oldest]
    return tuple(facts[index] for index in (*sorted(kept), *recent[-KEPT:]))
