"""When a source is asked, how long it rests, and how it is told to stand: no clock, no socket."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest

from chainwatch.price.quote import rest_of
from chainwatch.price.source import LONGEST_REST, LONGEST_WAIT, Memory, Outcome, Source

JUNE = datetime(2025, 6, 1, tzinfo=UTC).timestamp()
JULY = datetime(2025, 7, 1, tzinfo=UTC).timestamp()
DAY = 86_400.0
GOOD = Outcome()


def source(
    memory: Memory | None = None, *, interval: float = 60, requests: int = 1, monthly: int | None = None
) -> Source:
    return Source(
        "coingecko", interval=interval, requests=requests, monthly=monthly, memory=memory or Memory(), random=Random(1)
    )


def ask(one: Source, now: float, outcome: Outcome = GOOD) -> float:
    """A round; the seconds until the next."""
    assert one.delay(now) == 0
    one.asking(now)
    one.receive(outcome, now)
    return one.delay(now)


def test_rounds_are_an_interval_apart():
    one = source()
    assert ask(one, JUNE) == 60
    assert one.delay(JUNE + 59) == 1
    assert ask(one, JUNE + 60) == 60


def test_an_interval_counts_from_where_the_round_began():
    one = source()
    one.asking(JUNE)
    one.receive(GOOD, JUNE + 8)
    assert one.delay(JUNE + 8) == 52


def test_a_state_is_told_when_it_changes_and_not_again():
    one = source()
    told = []
    down, limited = Outcome(trouble="down"), Outcome(trouble="slow", limited=True)
    partly = Outcome(problems=("x in USD: it has no price",))
    for outcome in (GOOD, GOOD, down, down, Outcome(trouble="key"), GOOD, partly, limited, GOOD):
        one.asking(JUNE)
        if one.receive(outcome, JUNE):
            told.append((one.memory.state, one.memory.reason))
    assert told == [
        ("ok", None),
        ("failing", "down"),
        ("failing", "key"),
        ("ok", None),
        ("failing", "x in USD: it has no price"),
        ("limited", "slow"),
        ("ok", None),
    ]


def test_failures_wait_longer_each_time_up_to_a_quarter_of_an_hour():
    one, now, waits = source(), JUNE, []
    for _ in range(14):
        now += one.delay(now)
        waits.append(ask(one, now, Outcome(trouble="down")))
    ceilings = [min(5 * 2**failures, LONGEST_WAIT) for failures in range(14)]
    assert all(ceiling / 2 <= wait <= ceiling + 1e-5 for wait, ceiling in zip(waits, ceilings, strict=True)), waits
    assert len(set(waits)) == len(waits), "jitter keeps many daemons apart"
    assert ask(one, now + waits[-1]) == 60, "one good answer starts over"
    assert ask(one, now + waits[-1] + 60, Outcome(trouble="down")) <= 5


@pytest.mark.parametrize(("asked", "waits"), [(30, 30), (300, 300), (1e9, LONGEST_REST)])
def test_too_many_requests_rest_as_long_as_the_source_wants(asked, waits):
    one = source()
    assert ask(one, JUNE, Outcome(trouble="too many requests", limited=True, rest=asked)) == waits
    assert one.memory.state == "limited"
    assert one.vitals(JUNE)["ready"], "it is known to be there"


def test_a_restart_does_not_ask_a_source_that_wants_rest():
    memory = Memory()
    ask(source(memory), JUNE, Outcome(trouble="too many requests", limited=True, rest=600))
    again = source(memory)
    again.resume()
    assert again.delay(JUNE + 10) == 590


def test_a_restart_asks_soon_but_not_at_once_again_and_again():
    memory = Memory()
    assert ask(source(memory, interval=3600), JUNE) == 3600
    for later in (1, 30):
        again = source(memory, interval=3600)
        again.resume()
        assert again.delay(JUNE + later) == 60 - later


def test_a_free_plan_lasts_the_month():
    one, now, rounds = source(monthly=10_000), JUNE, 0
    while now < JULY:
        if delay := one.delay(now):
            now += delay
            continue
        # Every tenth answer is an error: it counts.
        one.asking(now)
        one.receive(Outcome(trouble="down") if rounds % 10 == 9 else GOOD, now)
        assert one.memory.state != "limited"
        rounds += 1
    assert 9_900 <= rounds <= 10_000


def test_a_round_of_several_requests_costs_several():
    one = source(monthly=10_000, requests=4)
    assert ask(one, JUNE) == pytest.approx(30 * DAY / 2499)
    assert one.memory.calls == 4


def test_an_interval_that_the_budget_allows_is_kept():
    one = source(monthly=10_000, interval=600)
    assert ask(one, JUNE) == 600
    assert one.memory.state == "ok"


def test_a_nearly_spent_budget_is_stretched_and_told():
    one = source(Memory(month="2025-06", calls=9_900), monthly=10_000)
    assert ask(one, JUNE + DAY) == pytest.approx(29 * DAY / 99)
    assert (one.memory.state, one.memory.reason) == ("limited", "the 10000 requests of this month are nearly used up")


def test_a_spent_budget_waits_for_the_next_month_and_then_goes_on():
    one = source(Memory(month="2025-06", calls=9_999), monthly=10_000)
    now = JULY - 3600
    assert ask(one, now) == 3600
    assert (one.memory.state, one.memory.reason) == ("limited", "the 10000 requests of this month are used up")
    assert not one.review(now + 1), "it is told once"
    ask(one, JULY)
    assert (one.memory.state, one.memory.month, one.memory.calls) == ("ok", "2025-07", 1)


def test_a_budget_that_was_spent_before_the_start_is_told():
    one = source(Memory(month="2025-06", calls=10_000, state="ok"), monthly=10_000)
    one.resume()
    assert one.delay(JUNE + DAY) == 29 * DAY
    assert one.review(JUNE + DAY)
    assert one.memory.state == "limited"


def test_the_first_month_has_the_whole_budget_for_what_is_left_of_it():
    one = source(monthly=10_000)
    assert ask(one, JULY - DAY) == 60


def test_a_clock_that_was_ahead_silences_nobody():
    memory = Memory()
    ask(source(memory), JULY + 400 * DAY)
    again = source(memory)
    again.resume()
    assert again.delay(JUNE) == 0
    assert ask(again, JUNE) == 60
    assert memory.month == "2025-06"


def test_december_ends_in_january():
    one = source(Memory(month="2025-12", calls=10), monthly=10)
    new_year = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    assert one.delay(new_year - 5) == 5
    assert one.delay(new_year) == 0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("", None), ("7", 7), (" 120 ", 120), ("Sun, 01 Jun 2025 00:01:00 GMT", 60),
     ("Sat, 31 May 2025 00:00:00 GMT", 0), ("soon", None), ("-5", None), ("9" * 400, 999_999_999_999)],
)  # fmt: skip
def test_a_retry_after_is_seconds_or_a_date(header, seconds):
    assert rest_of(header, JUNE) == seconds
