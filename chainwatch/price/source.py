"""
When a source of prices is asked, and how it stands with it: decisions only, with time as an argument.

One round is all the requests that its prices need; as a rule that is one. Rounds are `interval` apart. Where the
source has a budget for the month (a free plan), rounds are so far apart that what is left of it lasts for what is left
of the month; each request counts, whatever came of it, as both APIs count. After a failure the next try comes after a
wait that doubles, with jitter; after «too many requests» not before the source allows it.

    ok         every price was told
    limited    too many requests; or the month's are used up, or so nearly that rounds are more than twice as far apart
               as an even use of the budget would have them
    failing    no answer, an answer that cannot be used, or one without some of the prices
"""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

FIRST_WAIT: Final = 5.0
LONGEST_WAIT: Final = 900.0
LONGEST_REST: Final = 86_400.0
"""Seconds at most that a `Retry-After` is heeded."""
SOON: Final = 60.0
"""Seconds since the last round after which a restarted daemon may ask: it does not know what it missed, and one that
is restarted again and again must not use up the budget."""
OVERSPENT: Final = 2


class Memory(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a restart has to know; changed in place."""

    state: str | None = None
    """None: nothing was told yet."""
    reason: str | None = None
    month: str = ""
    """`2025-06`, UTC."""
    calls: int = 0
    """Requests in that month."""
    asked_at: float = 0.0
    due: float = 0.0
    resting: bool = False
    """It was too many requests: `due` holds for a restart too."""


class Outcome(NamedTuple):
    """What came of a round."""

    problems: tuple[str, ...] = ()
    """What is wrong with single prices."""
    trouble: str | None = None
    """Why there is no answer, or not all of it."""
    limited: bool = False
    """Too many requests."""
    rest: float | None = None
    """Seconds for which the source wants to be left alone."""


class Source:
    """One source: an API, at one address, with one key."""

    def __init__(
        self, name: str, *, interval: float, requests: int, monthly: int | None, memory: Memory, random: Random
    ) -> None:
        """`requests`: how many a round has. `monthly`: how many of them a month has at most; None: any number."""
        self.name = name
        self.memory = memory
        self._interval = interval
        self._requests = requests
        self._monthly = monthly
        self._random = random
        self._failures = 0

    def resume(self) -> None:
        """The daemon starts."""
        memory = self.memory
        if not memory.resting:
            memory.due = min(memory.due, memory.asked_at + SOON)

    def delay(self, now: float) -> float:
        """Seconds until the next round; 0: ask now."""
        self._turn_page(now)
        if self.memory.due > now + max(self.pace(now), LONGEST_REST):
            self.memory.due = now  # the clock was wrong when that was decided
        due = self.memory.due
        if self._spent():
            due = max(due, _month(now)[2])
        return max(0.0, due - now)

    def asking(self, now: float) -> None:
        """A round begins: it counts."""
        self._turn_page(now)
        self.memory.calls += self._requests
        self.memory.asked_at = now
        self.memory.resting = False
        self.memory.due = now + self.pace(now)

    def receive(self, outcome: Outcome, now: float) -> bool:
        """What came of the round; whether the state, or its reason, is another than before."""
        memory, pace = self.memory, self.pace(now)
        if outcome.trouble is not None:
            wait = max(self._back_off(), pace if self._monthly is not None else 0.0)
            memory.due = now + max(wait, min(outcome.rest or 0.0, LONGEST_REST))
            memory.resting = outcome.limited
            return self._become("limited" if outcome.limited else "failing", outcome.trouble)
        self._failures = 0
        if outcome.problems:
            return self._become("failing", "; ".join(outcome.problems))
        return self._become(*self._budget(now))

    def review(self, now: float) -> bool:
        """Before a long wait: whether the state changes because the budget is spent."""
        return self._spent() and self._become(*self._budget(now))

    def _become(self, state: str, reason: str | None) -> bool:
        before = self.memory.state, self.memory.reason
        self.memory.state, self.memory.reason = state, reason
        return before != (state, reason)

    # --- the budget ---

    def pace(self, now: float) -> float:
        """Seconds from one round to the next."""
        if self._monthly is None:
            return self._interval
        _, _, end = _month(now)
        rounds = (self._monthly - self.memory.calls) // self._requests
        return max(self._interval, (end - now) / rounds if rounds > 0 else end - now)

    def _spent(self) -> bool:
        return self._monthly is not None and self._monthly - self.memory.calls < self._requests

    def _budget(self, now: float) -> tuple[str, str | None]:
        if self._monthly is None:
            return "ok", None
        if self._spent():
            return "limited", f"the {self._monthly} requests of this month are used up"
        _, start, end = _month(now)
        even = (end - start) * self._requests / self._monthly
        if self.pace(now) > OVERSPENT * max(self._interval, even):
            return "limited", f"the {self._monthly} requests of this month are nearly used up"
        return "ok", None

    def _turn_page(self, now: float) -> None:
        label = _month(now)[0]
        if self.memory.month != label:
            self.memory.month, self.memory.calls = label, 0

    def _back_off(self) -> float:
        """Doubling, with jitter over its upper half."""
        wait = min(min(FIRST_WAIT, self._interval) * 2.0**self._failures, LONGEST_WAIT)
        self._failures = min(self._failures + 1, 16)
        return wait * self._random.uniform(0.5, 1.0)

    def vitals(self, now: float) -> dict[str, Any]:
        """What `/v1/stats` and `/health` tell of it."""
        memory = self.memory
        return {
            "name": self.name,
            "chain": None,
            "state": memory.state or "starting",
            "ready": memory.state in ("ok", "limited"),
            "reason": memory.reason,
            "interval_seconds": round(self.pace(now), 3),
            "next_seconds": round(self.delay(now), 3),
            "month": memory.month,
            "requests": memory.calls,
            "monthly_requests": self._monthly,
        }


def _month(now: float) -> tuple[str, float, float]:
    """The calendar month of a Unix time, UTC: what it is called, and where it begins and ends."""
    at = datetime.fromtimestamp(now, UTC)
    start = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    after = start.replace(year=at.year + at.month // 12, month=at.month % 12 + 1)
    return f"{at:%Y-%m}", start.timestamp(), after.timestamp()
