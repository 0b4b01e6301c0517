"""
What is known of a daemon, apart from how it is drawn: the newest snapshot, what came before it, and how the connection
stands. Pure: time is an argument, in Unix seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import msgspec

from chainwatch.client import Wallet
from chainwatch.payloads import PAYLOADS
from chainwatch.tui.prices import Prices
from chainwatch.tui.ring import Ring
from chainwatch.tui.view import View
from chainwatch.tui.vitals import Vitals

RING_BYTES: Final = 16 * 1024 * 1024
"""Of events that can be looked at; twice that while an older view is held."""
HISTORY: Final = 60
"""Snapshots that sparklines are drawn from: a minute."""
_SPAN: Final = 5
"""Seconds that a rate is taken over."""
_LATE: Final = 500
"""Entries."""


class _Kind(msgspec.Struct):
    type: str


_KIND: Final = msgspec.json.Decoder(_Kind)


@dataclass(frozen=True, slots=True)
class Link:
    """How the connection to the daemon stands."""

    state: str = "connecting"
    """`connecting`, `live`, `lost`, `refused`."""
    reason: str = ""
    retry_at: float = 0.0
    """Unix time of the next attempt, where it is lost."""


class Rates:
    """Counters, such as events told since a start: how fast each of them moves."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    def count(self, now: float, counts: dict[str, int]) -> None:
        """How far they are. One that is not there any more is forgotten, one that fell began anew."""
        for name in [name for name in self._seen if name not in counts]:
            del self._seen[name]
        for name, count in counts.items():
            seen = self._seen.setdefault(name, deque(maxlen=_SPAN + 1))
            if seen and (count < seen[-1][1] or now <= seen[-1][0]):
                seen.clear()
            seen.append((now, count))

    def of(self, name: str) -> float | None:
        """A second, over the newest few; None where that cannot be said yet."""
        seen = self._seen.get(name)
        if seen is None or len(seen) < 2:
            return None
        (first, before), (last, after) = seen[0], seen[-1]
        return (after - before) / (last - first)


class Past:
    """Numbers of the last minute, by name."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[float]] = {}

    def keep(self, values: dict[str, float | None]) -> None:
        for name in [name for name in self._kept if name not in values]:
            del self._kept[name]
        for name, value in values.items():
            kept = self._kept.setdefault(name, deque(maxlen=HISTORY))
            if value is not None:
                kept.append(value)

    def of(self, name: str) -> Sequence[float]:
        return tuple(self._kept.get(name, ()))


@dataclass(slots=True)
class Model:
    """Everything that a screen is drawn from."""

    url: str
    """Redacted."""
    vitals: Vitals | None = None
    link: Link = Link()
    stream: Link = Link()
    """The same, of the stream of events."""
    cursor: str = ""
    filter: str = ""
    """As it was typed; empty for all events."""
    wallets: tuple[Wallet, ...] = ()
    oldest: str = ""
    """RFC 3339: when the oldest event of the log was told."""
    prices: Prices = field(default_factory=Prices)
    rates: Rates = field(default_factory=Rates)
    past: Past = field(default_factory=Past)
    view: View = field(default_factory=lambda: View(Ring(RING_BYTES)))
    own: deque[str] = field(default_factory=lambda: deque(maxlen=16))
    """The streams of this monitor, the newest last."""
    received: int = 0
    """Events of the stream so far."""

    def hear(self, vitals: Vitals) -> None:
        """A snapshot. That it came says that the daemon is there."""
        self.vitals, self.link = vitals, Link("live")
        listeners = {f"stream {one.stream}": one.sent for one in vitals.streams.list}
        self.rates.count(vitals.time, {"events": vitals.totals.events, "commits": vitals.log.commits, **listeners})
        trips = {
            f"{chain.name} {one.endpoint}": one.rtt_p50_seconds for chain in vitals.chains for one in chain.endpoints
        }
        self.past.keep({"events": self.rates.of("events"), **trips, **{c.name: c.lag_seconds for c in vitals.chains}})

    def take(self, lines: list[bytes], cursor: str) -> None:
        """Events that came together, and the cursor behind them."""
        self.received += len(lines)
        self.view.ring.extend(lines)
        self.cursor = cursor

    def say(self, note: str) -> None:
        """Something between two events that people should know, such as a gap."""
        self.view.ring.extend([note])

    def custom_types(self) -> set[str]:
        """What clients have published of late, of what is still here."""
        ring, found = self.view.ring, set()
        for number in range(max(ring.first, ring.end - _LATE), ring.end):
            with suppress(msgspec.MsgspecError, UnicodeDecodeError):
                found.add(_KIND.decode(entry).type if isinstance(entry := ring[number], bytes) else "")
        return {name for name in found if name and name not in PAYLOADS}

    @property
    def behind(self) -> float | None:
        """Seconds since the newest block of the chain that is furthest behind."""
        chains = self.vitals.chains if self.vitals else ()
        return max((chain.lag_seconds for chain in chains if chain.lag_seconds is not None), default=None)
