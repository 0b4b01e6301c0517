"""
What follows from an attempt. Pure: time and chance are arguments.

accepted      2xx. The cursor moves behind the event
again         anything else: after 1 s, 2 s, 4 s and so on, up to a quarter of an hour, or when the receiver says
              (`Retry-After`). The order is kept, so the events behind it wait in the log
dead letter   an event that was not accepted for three days: it is kept with the reason, and the webhook goes on behind
              it. One event that a receiver cannot take does not stop the others for ever
pause         the event behind a dead letter is not accepted for an hour either: then it is the receiver, not the event.
              Nothing more is sent and nothing more is lost: the cursor stays. Also: 410 Gone, a challenge that nobody
              answers, more dead letters than are kept. A test that is accepted, or a new `PUT`, ends a pause
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Final, Literal

import msgspec

GIVE_UP: Final = 3 * 86_400_000
"""Milliseconds after which an event is a dead letter,"""
TRIES: Final = 20
"""and attempts: a daemon that was off for days has not tried for days."""
PROBATION: Final = 3_600_000
"""Milliseconds that the event behind a dead letter has,"""
PROBES: Final = 5
"""and attempts."""
LONGEST_WAIT: Final = 900_000
"""Milliseconds between two attempts."""
LONGEST_WISH: Final = 86_400_000
"""Milliseconds that a receiver may ask for."""
CHALLENGES: Final = (10_000, 60_000, 300_000, 1_800_000)
"""Milliseconds between attempts of a challenge. Few: whoever is called has not asked for it, as far as we know."""

Fault = Literal[
    "unreachable", "connection_refused", "timeout", "tls_error", "address_refused", "http_3xx", "http_4xx", "http_5xx",
    "bad_answer", "challenge_failed",
]  # fmt: skip
"""
What is told of an attempt that failed: a word of ours, never what the receiver said. That would be a way to read what
stands behind an address.
"""
Pause = Literal["gone", "failing", "unverified", "full"]
"""
Why a webhook stands still: 410; the receiver takes nothing; it answers no challenge; as many dead letters as are kept.
"""
Next = Literal["accepted", "again", "dead", "pause"]


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of one request."""

    fault: Fault | None = None
    """None: accepted (2xx, and a challenge was answered)."""
    status: int | None = None
    """Of the answer; None where there was none."""
    milliseconds: int = 0
    retry_after: float | None = None
    """Seconds that the receiver asks for."""


class Trouble(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is tried again. Times are Unix milliseconds."""

    attempts: int
    since: int
    """When the first attempt failed."""
    again: int
    """When the next one is due."""
    fault: Fault
    status: int | None = None
    of: str = ""
    """What is tried: patience with one event is none with another that comes in its place."""
    run: int = 0
    """Attempts that failed one after the other, whatever was tried: by it they come later and later."""


class Outcome(msgspec.Struct, frozen=True):
    """What follows."""

    next: Next
    trouble: Trouble | None = None
    """Of an event that is not accepted."""
    pause: Pause | None = None


ACCEPTED: Final = Outcome("accepted")


def decide(reply: Reply, before: Trouble | None, *, of: str, now: int, chance: float, after_dead: bool) -> Outcome:
    """
    What follows from the reply at `now` to an attempt with the event `of`; `before` is known of the attempts until
    then. `chance` is from 0 to 1; `after_dead`: nothing was accepted since the last dead letter.
    """
    if reply.fault is None:
        return ACCEPTED
    wait = wait_of(before.run if before else 0, chance)
    trouble = _trouble(reply, reply.fault, before, of=of, now=now, wait=wait)
    if reply.status == 410:
        return Outcome("pause", trouble, "gone")
    patience, tries = (PROBATION, PROBES) if after_dead else (GIVE_UP, TRIES)
    if now - trouble.since < patience or trouble.attempts < tries:
        return Outcome("again", trouble)
    return Outcome("pause", trouble, "failing") if after_dead else Outcome("dead", trouble)


def decide_challenge(reply: Reply, before: Trouble | None, *, now: int) -> Outcome:
    """The same of a challenge."""
    if reply.fault is None:
        return ACCEPTED
    tried = before.attempts if before else 0
    given_up = tried >= len(CHALLENGES)
    trouble = _trouble(reply, reply.fault, before, of="", now=now, wait=0 if given_up else CHALLENGES[tried])
    return Outcome("pause", trouble, "unverified") if given_up else Outcome("again", trouble)


def wait_of(failed: int, chance: float) -> int:
    """Milliseconds to wait when so many attempts had failed before this one; a fifth more or less, by chance."""
    return int(min(1000 * 2 ** min(failed, 20), LONGEST_WAIT) * (0.8 + 0.4 * chance))


def _trouble(reply: Reply, fault: Fault, before: Trouble | None, *, of: str, now: int, wait: int) -> Trouble:
    wish = min(int((reply.retry_after or 0) * 1000), LONGEST_WISH)
    same = before if before is not None and before.of == of else None
    return Trouble(
        attempts=1 if same is None else same.attempts + 1,
        since=now if same is None else min(same.since, now),
        again=now + max(wait, wish),
        fault=fault,
        status=reply.status,
        of=of,
        run=1 if before is None else before.run + 1,
    )


def of_status(status: int) -> Fault | None:
    """What an answer with this status is."""
    faults: dict[int, Fault | None] = {2: None, 3: "http_3xx", 4: "http_4xx", 5: "http_5xx"}
    return faults.get(status // 100, "bad_answer")


def retry_after(text: str | None, now: float) -> float | None:
    """Seconds from the Unix time `now` that the header asks for: a number, or a date (RFC 9110, section 10.2.3)."""
    if text is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}", text.strip()):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError, OSError):
        return None


class Allowance:
    """So many at once, then one a second, of each owner: tests and challenges, which call whom they name."""

    def __init__(self, most: int = 30) -> None:
        self._most = most
        self._spent: dict[str, tuple[float, float]] = {}  # owner -> spent, and when that was

    def take(self, owner: str, now: float) -> float:
        """0 where it may be at the time `now` in seconds; else the seconds after which it may."""
        spent, then = self._spent.get(owner, (0.0, now))
        spent = max(0.0, spent - max(0.0, now - then))
        wait = max(0.0, spent + 1 - self._most)
        self._spent[owner] = (spent if wait else spent + 1, now)  # the clock may have been set back
        return wait
