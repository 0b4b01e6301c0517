"""
What the sources of prices tell becomes events in the log: one commit a round, with everything a restart needs.

    price/SOURCE/SYMBOL/QUOTE    the price that was told last
    source/NAME                  how a source was told to stand, when it is due, how much of the month is used

The decisions are `price.source`'s; this is the edge. A price is told when the source says that it is newer than the one
told before, and when it differs by `min_change` from that: many small steps add up, and are told in the end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from random import Random
from types import ModuleType
from typing import Any, Final
from urllib.parse import quote as escaped, urlsplit

import msgspec
import structlog

from chainwatch.config import PriceSettings, Settings, api_keys, readable_by_all
from chainwatch.errors import LogFull
from chainwatch.event import Event, event_id, rfc3339
from chainwatch.log import Change, Log, Put
from chainwatch.payloads import PriceUpdate, SourceStatus
from chainwatch.price import coingecko, coinmarketcap
from chainwatch.price.fetch import Fetcher
from chainwatch.price.numbers import change_percent, differs
from chainwatch.price.quote import Ask, Price, Request
from chainwatch.price.round import ask_all
from chainwatch.price.source import Memory, Outcome, Source

ROOM_AGAIN = 1.0
"""Seconds between two tries while the disk is full."""
LONGEST_SLEEP: Final = 600.0
"""Seconds after which the clock is looked at again: a machine may sleep, and its clock may be set."""

_APIS: Final[Mapping[str, ModuleType]] = {"coingecko": coingecko, "coinmarketcap": coinmarketcap}


class Told(msgspec.Struct, frozen=True):
    """The price that was told last."""

    id: str
    """What the source calls it: another id is another price."""
    price: str
    updated_at: int
    """Unix milliseconds."""


class Saved(msgspec.Struct, frozen=True):
    """What is kept of a source."""

    memory: Memory
    status: Event | None = None
    """Its `source_status` that was told last."""


class Entry(msgspec.Struct):
    """One configured price."""

    symbol: str
    quote: str
    ask: Ask
    min_change: Decimal
    told: Told | None = None


_told: Final = msgspec.json.Decoder(Told)
_saved: Final = msgspec.json.Decoder(Saved)
_encode: Final = msgspec.json.encode


class Group:
    """The prices of one source at one address with one key: what is asked for at once."""

    def __init__(
        self, kind: str, source: Source, entries: Sequence[Entry], requests: Sequence[Request], key: str | None
    ) -> None:
        self.kind = kind
        self.source = source
        self.entries = entries
        self.requests = requests
        self.status: Event | None = None
        self._key = key

    def key_of(self, entry: Entry) -> str:
        """Where its last price is kept."""
        return "/".join(["price", self.kind, escaped(entry.symbol, ""), escaped(entry.quote, "")])

    def saved(self) -> Put:
        return Put(f"source/{self.source.name}", _encode(Saved(self.source.memory, self.status)))

    async def ask(self, fetcher: Fetcher) -> tuple[dict[Ask, Price], Outcome]:
        """A round: the prices, and how it went."""
        return await ask_all(fetcher, self.requests, _APIS[self.kind].read, self._key)


class Quotes:
    """All sources of prices that are asked over HTTP."""

    def __init__(self, log: Log, groups: Sequence[Group]) -> None:
        self._log = log
        self._groups = groups
        self._logger = structlog.get_logger()
        self._blocked: str | None = None

    @classmethod
    async def resume(cls, settings: Settings, log: Log, keys: Mapping[str, str] | None = None) -> Quotes:
        """
        Where the log says that they were left. `keys`: the API keys by their files; where they are not given they are
        read, and one that cannot be is a `ConfigError`.
        """
        keys = api_keys(settings) if keys is None else keys
        together: dict[tuple[str, str | None, str | None], list[PriceSettings]] = {}
        for price in settings.prices:
            if price.source in _APIS:
                together.setdefault((price.source, price.url, price.api_key_file), []).append(price)
        count: dict[str, int] = {}
        groups = []
        for (kind, url, key_file), prices in together.items():
            count[kind] = count.get(kind, 0) + 1
            name = kind if count[kind] == 1 else f"{kind}:{count[kind]}"
            groups.append(await _group(log, name, prices, None if key_file is None else keys[key_file]))
            _warn(name, url, key_file)
        return cls(log, groups)

    @property
    def statuses(self) -> list[Event]:
        """The `source_status` of each source that was told last."""
        return [group.status for group in self._groups if group.status is not None]

    def vitals(self) -> list[dict[str, Any]]:
        """What `/v1/stats` and `/health` tell of them."""
        found = [group.source.vitals(time.time()) for group in self._groups]
        return found if self._blocked is None else [one | {"ready": False, "reason": self._blocked} for one in found]

    async def run(self) -> None:
        """Ask for ever."""
        async with Fetcher() as fetcher, asyncio.TaskGroup() as tasks:
            for group in self._groups:
                tasks.create_task(self._follow(group, fetcher), name=f"prices {group.source.name}")

    async def _follow(self, group: Group, fetcher: Fetcher) -> None:
        source = group.source
        while True:
            now = time.time()
            delay = source.delay(now)
            if not delay:
                await self._round(group, fetcher)
                continue
            if source.review(now):
                await self._append([self._status(group)], [group.saved()])
            await asyncio.sleep(min(delay, LONGEST_SLEEP))

    async def _round(self, group: Group, fetcher: Fetcher) -> None:
        group.source.asking(time.time())
        # Counted before it is asked: who is killed in between asked all the same.
        await self._append([], [group.saved()])
        prices, outcome = await group.ask(fetcher)
        now = time.time()
        events: list[Event] = []
        changes: list[Change] = []
        for entry in group.entries:
            price = prices.get(entry.ask)
            if price is not None and _tells(entry, price):
                events.append(_update(group, entry, price, now))
                entry.told = Told(entry.ask.id, price.price, price.updated_at)
                changes.append(Put(group.key_of(entry), _encode(entry.told)))
        if group.source.receive(outcome, now):
            events.append(self._status(group))
        await self._append(events, [*changes, group.saved()])

    def _status(self, group: Group) -> Event:
        memory, now = group.source.memory, time.time_ns()
        at = rfc3339(now // 1_000_000)
        status = SourceStatus(source=group.source.name, state=str(memory.state), reason=memory.reason)
        level = 20 if memory.state == "ok" else 30
        self._logger.log(level, "source of prices", source=status.source, state=status.state, reason=status.reason)
        group.status = Event(
            # It belongs to no block: what makes it one occurrence is the moment in this log.
            id=event_id(None, None, SourceStatus.TYPE, None, self._log.identity, status.source, status.state, now),
            type=SourceStatus.TYPE,
            timestamp=at,
            observed_at=at,
            chain=None,
            data=status,
        )
        return group.status

    async def _append(self, events: Sequence[Event], changes: Sequence[Change]) -> None:
        """Commit; while the disk is full, wait for room: nothing is lost."""
        while True:
            try:
                await self._log.append(events, changes)
            except LogFull as full:
                if self._blocked is None:
                    self._blocked = full.what
                    # No traceback: the disk is full, and nothing is wrong with the program.
                    self._logger.error("no room for the log: prices wait", reason=full.what, hint=full.hint)  # noqa: TRY400
                await asyncio.sleep(ROOM_AGAIN)
                continue
            if self._blocked is not None:
                self._blocked = None
                self._logger.warning("there is room for the log again: prices go on")
            return


async def _group(log: Log, name: str, prices: Sequence[PriceSettings], key: str | None) -> Group:
    kind, url = prices[0].source, prices[0].url
    api = _APIS[kind]
    entries = [Entry(one.symbol, one.quote, Ask(str(one.id), one.quote), one.min_change) for one in prices]
    requests = api.requests(list(dict.fromkeys(entry.ask for entry in entries)), url, key)
    limits = [one.monthly_calls for one in prices if one.monthly_calls is not None]
    # A key without an address of one's own is taken for that of the free plan: it is the one that runs out.
    free = api.FREE_CALLS if key is not None and url is None else None
    stored = await log.get(f"source/{name}")
    saved = Saved(Memory()) if stored is None else _saved.decode(stored)
    source = Source(
        name,
        interval=min(one.interval for one in prices),
        requests=len(requests),
        monthly=min(limits) if limits else free,
        memory=saved.memory,
        random=Random(),  # noqa: S311 - jitter, no secret
    )
    source.resume()
    group = Group(kind, source, entries, requests, key)
    group.status = saved.status
    for entry in entries:
        told = await log.get(group.key_of(entry))
        entry.told = None if told is None else _told.decode(told)
    return group


def _warn(name: str, url: str | None, key_file: str | None) -> None:
    """What is wrong with how a key is kept or sent, and works all the same."""
    if key_file is None:
        return
    logger = structlog.get_logger()
    if readable_by_all(key_file):
        logger.warning("every user of this machine can read this API key", file=key_file, hint="chmod o-r")
    parts = urlsplit(url or "")
    if parts.scheme.lower() == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        logger.warning("this API key crosses the network for everyone to read", source=name, hint="use https://")


def _tells(entry: Entry, price: Price) -> bool:
    told = entry.told
    if told is None:
        return True
    if price.updated_at <= told.updated_at:
        return False  # of a cache that is behind
    if told.id != entry.ask.id:
        return True
    return differs(told.price, price.price, entry.min_change)


def _update(group: Group, entry: Entry, price: Price, now: float) -> Event:
    # The configuration may name another id under the same symbol: that is no change of the price.
    before = entry.told.price if entry.told is not None and entry.told.id == entry.ask.id else None
    at = rfc3339(price.updated_at)
    subject = f"{group.kind}/{entry.symbol}/{entry.quote}/{entry.ask.id}"
    return Event(
        # It belongs to no block; its time only goes up, so no id comes twice.
        id=event_id(None, None, PriceUpdate.TYPE, None, price.updated_at, subject, None, 0),
        type=PriceUpdate.TYPE,
        timestamp=at,
        observed_at=rfc3339(int(now * 1000)),
        chain=None,
        data=PriceUpdate(
            symbol=entry.symbol,
            quote=entry.quote,
            price=price.price,
            previous_price=before,
            change_percent=None if before is None else change_percent(before, price.price),
            source=group.kind,
            feed=None,
            round_id=None,
            updated_at=at,
            tx_hash=None,
            log_index=None,
            block_number=None,
            block_hash=None,
        ),
    )
