"""The query of a request -> what was asked for."""

from __future__ import annotations

import pytest

from chainwatch.errors import UsageError
from chainwatch.filter import Vocabulary
from chainwatch.server import parameters
from chainwatch.stream.begin import EARLIEST, Start

NOW = 1_750_748_400_000  # 2025-06-24T07:00:00Z


def stream(*query: tuple[str, str], **more: str) -> parameters.Asked:
    return parameters.stream(query, Vocabulary(chains=("ethereum",)), now=NOW, **more)


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("now", None),
        ("NOW", None),
        ("earliest", EARLIEST),
        ("15m", NOW - 900_000),
        ("1.5h", NOW - 5_400_000),
        ("500ms", NOW - 500),
        ("99999w", 1),
        ("2025-06-24T07:00:00Z", NOW),
        ("2025-06-24t07:00:00.250z", NOW + 250),
        ("2025-06-24T09:00:00+02:00", NOW),
        ("2025-06-24T09:00:00 02:00", NOW),  # a + that was not escaped
        ("2025-06-24 07:00:00", NOW),
        ("2025-06-24", NOW - 25_200_000),
        ("1066-10-14T00:00:00Z", 1),
    ],
)
def test_since_is_a_word_an_age_or_a_time(text, since):
    assert stream(("since", text)).start == Start(since=since)


@pytest.mark.parametrize("text", ["", "900", "yesterday", "-5m", "15 m ago", "2025-13-01", "inf", "nan", "1e9s"])
def test_any_other_since_is_refused(text):
    with pytest.raises(UsageError) as error:
        stream(("since", text))
    assert (error.value.parameter, error.value.value) == ("since", text)
    assert "earliest" in error.value.hint


@pytest.mark.parametrize(("text", "seconds"), [("30", 30), ("0.5", 0.5), ("1m", 60), ("250ms", 0.25), ("1H", 3600)])
def test_durations_are_seconds_or_have_a_unit(text, seconds):
    assert stream(("heartbeat", text)).heartbeat == pytest.approx(seconds)
    assert stream(("duration", text)).duration == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["0", "0.01", "2h", "-1", "1 m", "", "m", "٣"])
def test_a_heartbeat_out_of_bounds_is_refused(text):
    with pytest.raises(UsageError):
        stream(("heartbeat", text))


def test_the_header_goes_before_the_parameter_and_an_empty_one_is_none():
    assert stream(("last_event_id", "a"), last_event_id="b").start.resume == "b"
    assert stream(("last_event_id", "a")).start.resume == "a"
    assert stream(("last_event_id", "")).start.resume == ""


def test_a_route_of_a_type_narrows_and_names():
    asked = stream(("types", "block_new,chain_reorg"), only="blocks")
    assert asked.wanted.types == {"block_new", "chain_reorg"}
    assert asked.named
    assert not stream(("named", "false"), only="blocks").named
    with pytest.raises(UsageError, match="none in common"):
        stream(("types", "token_transfer"), only="blocks")


def test_history_begins_with_the_earliest_unless_told_otherwise():
    def page(*query: tuple[str, str]) -> parameters.Page:
        return parameters.history(query, Vocabulary(), now=NOW)

    assert page().start == Start(since=EARLIEST)
    assert page(("last", "5")).start == Start(last=5)
    assert page(("since", "now")).start == Start()
    assert page().limit == 100
    cursor = page(("cursor", "abc-7")).cursor
    assert cursor is not None
    assert cursor.sequence == 7
