"""
The life of a connection to one endpoint, and which endpoint of several to use: decisions only.

A link never gives up. It waits between tries, longer each time, with jitter so that many daemons do not come back at
once; as long as a node asks (`Retry-After`) where it asks; and starts over after it has held for a while.

    waiting --Due--> Open --Opened--> Identify --Identified--> Subscribe --Subscribed--> serving
       ^                |                 |                        |                       |
       +----------------+--- Dropped / Limited / wrong chain ------+-----------------------+
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

FIRST_WAIT = 0.25
LONGEST_WAIT = 30.0
LONGEST_ASKED = 3600.0
"""Seconds at most that a node's `Retry-After` is heeded: an endpoint that asks for a year is tried again before."""
WRONG_CHAIN_WAIT = 60.0
"""An endpoint of another chain is a mistake in the configuration, or a provider's: look again now and then."""
HELD = 10.0
"""Seconds after which a connection counts as good, and the next loss is met with a short wait again."""


@dataclass(frozen=True, slots=True)
class Due:
    """The time to try has come."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The connection stands."""


@dataclass(frozen=True, slots=True)
class Identified:
    """The node has said which chain it serves."""

    chain_id: int


@dataclass(frozen=True, slots=True)
class Subscribed:
    """Heads will come."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """The connection failed, or could not be made."""

    reason: str


@dataclass(frozen=True, slots=True)
class Limited:
    """The node turned us away for a while."""

    reason: str
    retry_after: float | None
    """Seconds, where it said."""


Event = Due | Opened | Identified | Subscribed | Dropped | Limited


@dataclass(frozen=True, slots=True)
class Open:
    """Connect."""


@dataclass(frozen=True, slots=True)
class Identify:
    """Ask for the chain id."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Subscribe to heads, then read the latest block."""


@dataclass(frozen=True, slots=True)
class Serve:
    """Nothing to do: requests and heads flow until the connection fails."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Close what is open, and be back in so many seconds."""

    seconds: float


Action = Open | Identify | Subscribe | Serve | Wait


class Link:
    """One endpoint's connection. `receive` takes what happened and says what to do."""

    def __init__(self, chain_id: int, random: Random) -> None:
        self._chain_id = chain_id
        self._random = random
        self._failures = 0
        self._since = 0.0
        self.state = "waiting"
        """`waiting`, `connecting`, `ready`, `limited` or `refused` (another chain)."""
        self.reason: str | None = None
        """Why it is not ready."""

    @property
    def ready(self) -> bool:
        return self.state == "ready"

    def receive(self, event: Event, now: float) -> Action:
        match event:
            case Due():
                self.state = "connecting"
                return Open()
            case Opened():
                return Identify()
            case Identified(chain_id) if chain_id != self._chain_id:
                self.state = "refused"
                self.reason = f"it serves chain id {chain_id}, not {self._chain_id}"
                return Wait(WRONG_CHAIN_WAIT)
            case Identified():
                return Subscribe()
            case Subscribed():
                self.state, self.reason, self._since = "ready", None, now
                return Serve()
            case Limited(reason, retry_after):
                wait = self._back_off(now)
                self.state, self.reason = "limited", reason
                return Wait(max(wait, min(retry_after or 0.0, LONGEST_ASKED)))
            case Dropped(reason):
                wait = self._back_off(now)
                self.state, self.reason = "waiting", reason
                return Wait(wait)

    def _back_off(self, now: float) -> float:
        """Doubling, with jitter over its upper half. A connection that held starts over."""
        if self.ready and now - self._since >= HELD:
            self._failures = 0
        wait = min(FIRST_WAIT * 2.0**self._failures, LONGEST_WAIT)
        self._failures = min(self._failures + 1, 16)
        return wait * self._random.uniform(0.5, 1.0)


# --- which of several ---------------------------------------------------------------------------------------------

SLACK = 1
"""Blocks that a preferred endpoint may be behind the best."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one endpoint stands, in the order of preference."""

    ready: bool
    """Connected, and not told to leave it alone for a while."""
    head: int | None
    behind_since: float | None
    """Since when, by the monotonic clock, its head is lower than the best one by more than `SLACK`."""
    benched_until: float
    """It failed us (no answer, wrong answers, too many requests): rather not before then."""
    ready_since: float


def choose(standings: Sequence[Standing], now: float, *, grace: float, current: int | None = None) -> int | None:
    """
    The endpoint to use: the first that is ready, not benched and not behind for longer than `grace` seconds. One
    that has just come back does not take over from a good one before it has held for `grace`.

    Where none is good, the least bad that is ready is used: the last is never disabled. None where none is ready.
    """
    good = [
        index
        for index, one in enumerate(standings)
        if one.ready
        and one.head is not None
        and one.benched_until <= now
        and (one.behind_since is None or now - one.behind_since < grace)
    ]
    if good:
        if current in good:
            steady = [index for index in good if index >= current or now - standings[index].ready_since >= grace]
            return steady[0]
        return good[0]
    ready = [index for index, one in enumerate(standings) if one.ready]
    return min(ready, key=lambda index: (standings[index].benched_until, index), default=None)
