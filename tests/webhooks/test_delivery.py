"""What follows from an attempt: days of failure in no time."""

from __future__ import annotations

import random

import pytest

from chainwatch.webhooks import delivery
from chainwatch.webhooks.delivery import Allowance, Reply, Trouble, decide, decide_challenge

DAY = 86_400_000
EVENT = "evt_1"
GOOD = Reply(status=204)
BAD = Reply(fault="http_5xx", status=500)


def fail_on(reply: Reply = BAD, *, after_dead: bool = False) -> tuple[str, Trouble, str | None]:
    """Fails until something else than another attempt follows."""
    now, trouble, chance = 1_000_000, None, random.Random(1)
    while True:
        found = decide(reply, trouble, of=EVENT, now=now, chance=chance.random(), after_dead=after_dead)
        assert found.trouble is not None
        if found.next != "again":
            return found.next, found.trouble, found.pause
        assert found.trouble.again > now
        now, trouble = found.trouble.again, found.trouble


def test_what_is_accepted_is_done():
    assert decide(GOOD, None, of=EVENT, now=0, chance=0.5, after_dead=False) is delivery.ACCEPTED
    assert decide(GOOD, fail_on()[1], of=EVENT, now=0, chance=0.5, after_dead=True) is delivery.ACCEPTED


def test_attempts_come_later_and_later_up_to_a_quarter_of_an_hour():
    waits = [delivery.wait_of(failed, 0.5) for failed in range(13)]
    assert waits[:5] == [1000, 2000, 4000, 8000, 16000]
    assert waits[-3:] == [900_000] * 3
    assert (delivery.wait_of(0, 0), delivery.wait_of(0, 1)) == (800, 1200)


def test_an_event_is_given_up_after_three_days_of_attempts():
    following, trouble, _ = fail_on()
    assert following == "dead"
    assert DAY * 3 <= trouble.again - trouble.since < DAY * 3 + 2 * 1_100_000
    assert 280 < trouble.attempts < 400


def test_a_daemon_that_was_off_for_a_week_has_not_tried_for_a_week():
    first = decide(BAD, None, of=EVENT, now=0, chance=0.5, after_dead=False)
    assert decide(BAD, first.trouble, of=EVENT, now=7 * DAY, chance=0.5, after_dead=False).next == "again"


def test_where_the_event_behind_a_dead_letter_fails_too_it_is_the_receiver_and_all_stops():
    following, trouble, pause = fail_on(after_dead=True)
    assert (following, pause) == ("pause", "failing")
    assert 3_600_000 <= trouble.again - trouble.since < 3_600_000 + 2 * 1_100_000


def test_what_comes_in_the_place_of_an_event_has_all_patience_and_is_not_tried_the_faster():
    first = fail_on()[1]
    found = decide(BAD, first, of="gap", now=4 * DAY, chance=0.5, after_dead=False)
    assert found.next == "again"
    assert found.trouble is not None
    assert (found.trouble.attempts, found.trouble.since, found.trouble.again) == (1, 4 * DAY, 4 * DAY + 900_000)


def test_a_receiver_that_says_gone_is_left_alone_at_once():
    found = decide(Reply(fault="http_4xx", status=410), None, of=EVENT, now=0, chance=0.5, after_dead=False)
    assert (found.next, found.pause) == ("pause", "gone")


def test_what_the_receiver_asks_for_is_heeded_up_to_a_day():
    def again(seconds: float) -> int:
        wish = Reply(fault="http_5xx", status=503, retry_after=seconds)
        found = decide(wish, None, of=EVENT, now=0, chance=0.5, after_dead=False).trouble
        assert found is not None
        return found.again

    assert [again(0.1), again(120), again(10**8)] == [1000, 120_000, DAY]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120), (" 5 ", 5), ("Thu, 01 Jan 1970 00:01:40 GMT", 90), ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        (None, None), ("soon", None), ("-1", None), ("1e9", None), ("", None), ("9" * 30, None),
        ("Thu, 01 Jan 99999 00:00:00 GMT", None),
    ],
)  # fmt: skip
def test_retry_after_is_a_number_or_a_date(text, seconds):
    assert delivery.retry_after(text, 10.0) == seconds


def test_a_challenge_is_tried_a_few_times_and_then_no_more():
    no = Reply(fault="challenge_failed", status=200)
    now, trouble, waits = 0, None, []
    while (found := decide_challenge(no, trouble, now=now)).next == "again":
        trouble = found.trouble
        assert trouble is not None
        waits.append(trouble.again - now)
        now = trouble.again
    assert tuple(waits) == delivery.CHALLENGES
    assert (found.next, found.pause) == ("pause", "unverified")
    assert decide_challenge(GOOD, trouble, now=now) is delivery.ACCEPTED


@pytest.mark.parametrize(
    ("status", "fault"),
    [(200, None), (299, None), (301, "http_3xx"), (404, "http_4xx"), (503, "http_5xx"), (101, "bad_answer")],
)
def test_only_2xx_is_good(status, fault):
    assert delivery.of_status(status) == fault


def test_a_clock_that_is_set_back_loses_no_patience():
    trouble = Trouble(attempts=5, since=10 * DAY, again=10 * DAY, fault="timeout", of=EVENT)
    found = decide(BAD, trouble, of=EVENT, now=DAY, chance=0.5, after_dead=False)
    assert found.next == "again"
    assert found.trouble is not None
    assert found.trouble.since == DAY


def test_calls_to_others_are_rationed_by_owner():
    allowance = Allowance(most=3)
    assert [allowance.take("a", 0) for _ in range(4)] == [0, 0, 0, 1]
    assert allowance.take("b", 0) == 0
    assert allowance.take("a", 1) == 0
    assert allowance.take("a", 1.5) == 0.5


def test_a_clock_that_is_set_back_refuses_nobody_for_as_long():
    allowance = Allowance(most=1)
    assert [allowance.take("a", now) for now in (1000, 1000, 10, 11)] == [0, 1, 1, 0]
