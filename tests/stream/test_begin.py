"""Where a stream begins."""

from __future__ import annotations

import pytest

from chainwatch.stream.begin import Begin, Gap, resume


def at(text: str, oldest: int = 1, head: int = 10) -> Begin:
    return resume(text, identity="log1", oldest=oldest, head=head)


@pytest.mark.parametrize("sequence", [0, 1, 9, 10])
def test_a_cursor_of_what_is_kept_goes_on_behind_it(sequence):
    assert at(f"log1-{sequence}") == Begin(sequence, f"log1-{sequence}")


def test_the_cursor_just_before_the_oldest_event_misses_nothing():
    assert at("log1-4", oldest=5) == Begin(4, "log1-4")


def test_an_older_cursor_is_a_gap_and_the_client_stands_before_it_until_it_was_told():
    gap = Gap(requested="log1-3", oldest="log1-5", resumed_at="log1-4", reason="expired")
    begin = at("log1-3", oldest=5)
    assert begin == Begin(4, "log1-3", gap)
    assert at(begin.cursor, oldest=5) == begin
    assert at(gap.resumed_at, oldest=5).gap is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("log1-11", "future"),
        ("log2-4", "other_log"),
        ("4", "malformed"),
        ("log1-", "malformed"),
        ("log1--4", "malformed"),
        ("log1-4 ", "malformed"),
        ("log1-٤", "malformed"),
        ("log1-" + "9" * 30, "malformed"),
        ("lo\u202eg-4", "malformed"),
    ],
)
def test_what_cannot_be_continued_goes_on_from_the_oldest_event(text, reason):
    begin = at(text, oldest=5)
    assert begin.after == 4
    assert begin.gap is not None
    assert (begin.gap.reason, begin.gap.resumed_at) == (reason, "log1-4")
    assert begin.gap.requested.isprintable()
    # Who is cut right behind `connect` is told again.
    assert at(begin.cursor, oldest=5).gap is not None


def test_where_nothing_is_kept_there_is_no_oldest_event():
    begin = at("log1-3", oldest=11, head=10)
    assert begin.after == 10
    assert begin.gap is not None
    assert (begin.gap.oldest, begin.gap.resumed_at) == (None, "log1-10")
