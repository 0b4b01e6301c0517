"""What a client of `/events` gets."""

from __future__ import annotations

import asyncio
import json
import re
import time
from urllib.parse import quote

import pytest
from server.house import ALICE, BOB, USDC, block, transfer

from chainwatch.event import encode, rfc3339


async def test_connect_comes_at_once_and_says_where_the_stream_begins(house):
    await house.tell(block(1), block(2))
    answer = await house.ask("/events")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    about = await answer.expect("connect")
    assert about == {"stream": about["stream"], "cursor": answer.messages[0].id, "filters": {}, "replay_from": None}
    assert answer.messages[0].id == f"{house.log.identity}-2"
    assert 1000 <= answer.parser.retry < 10_000


async def test_events_arrive_unnamed_and_in_the_log_s_own_bytes(house):
    answer = await house.stream()
    told = block(1)
    await house.tell(told)
    message = await answer.next()
    assert (message.event, message.data, message.id) == ("message", encode(told).decode(), f"{house.log.identity}-1")


async def test_what_is_committed_in_one_turn_goes_out_as_one_chunk(house):
    answer = await house.stream()
    await house.tell(*(block(number) for number in range(100)))
    data = await answer.piece()
    assert data.count(b"\n\n") == 100


async def test_a_route_of_a_type_has_named_events(house):
    answer = await house.stream("/events/token_transfer")
    await house.tell(block(1), transfer(2))
    assert (await answer.expect("token_transfer"))["data"]["number"] == 2


async def test_a_route_of_a_category_has_all_its_types(house):
    answer = await house.stream("/events/blocks")
    await house.tell(transfer(1), block(2))
    assert (await answer.expect("block_new"))["data"]["number"] == 2


async def test_named_overrides_the_route(house):
    plain = await house.stream("/events/block?named=false")
    named = await house.stream("/events?named=true")
    await house.tell(block(1))
    assert (await plain.next()).event == "message"
    assert (await named.next()).event == "block_new"


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("types=block_new", [4]),
        ("filters=blocks,tokens", [1, 2, 3, 4]),
        ("filters=token&chains=base", [2]),
        (f"address={BOB}", [1]),
        (f"address={BOB.upper().replace('0X', '0x')}&address={ALICE}", [1, 2, 3]),
        (f"token={USDC}&min_amount=50", [3]),
        ("token=usdc", [1, 3]),
        ("min_amount=2", [3]),
        ("chains=base,ethereum", [1, 2, 3, 4]),
    ],
)
async def test_a_filter_holds_live_and_in_replay(house, query, numbers):
    live = await house.stream(f"/events?{query}")
    other = "0x" + "0d" * 20
    await house.tell(transfer(1), transfer(2, to=other, chain="base"), transfer(3, to=other, amount=50), block(4))
    replayed = await house.stream(f"/events?{query}&since=earliest")
    assert await live.numbers(len(numbers)) == numbers
    assert await replayed.numbers(len(numbers)) == numbers
    await house.tell(transfer(9, amount=99))
    assert live.messages[0].data != replayed.messages[0].data  # two streams
    if "types" not in query and "base" not in query:
        assert await live.numbers(1) == await replayed.numbers(1) == [9]


async def test_last_event_id_goes_on_exactly_behind_it(house):
    await house.tell(*(block(number) for number in range(1, 21)))
    for place in range(21):
        answer = await house.stream("/events", {"Last-Event-ID": f"{house.log.identity}-{place}"})
        assert await answer.numbers(20 - place) == list(range(place + 1, 21))
    await house.tell(block(21))
    for number, answer in enumerate(house.answers):
        assert await answer.numbers(1) == [21], number


async def test_connect_tells_that_there_is_a_replay(house):
    await house.tell(block(1), block(2))
    answer = await house.ask("/events?since=earliest")
    about = await answer.expect("connect")
    assert about["replay_from"] == about["cursor"] == f"{house.log.identity}-0"


async def test_a_client_that_is_cut_behind_connect_resumes_there(house):
    await house.tell(block(1))
    first = await house.stream()
    first.cut()
    await house.tell(block(2))
    again = await house.stream(headers={"Last-Event-ID": first.messages[0].id})
    assert await again.numbers(1) == [2]


async def test_the_header_goes_before_the_parameter_and_both_before_since(house):
    await house.tell(*(block(number) for number in range(1, 6)))
    cursor = house.log.identity
    answer = await house.stream(f"/events?last_event_id={cursor}-1&since=earliest", {"Last-Event-ID": f"{cursor}-3"})
    assert await answer.numbers(2) == [4, 5]
    answer = await house.stream(f"/events?last_event_id={cursor}-1&since=now")
    assert await answer.numbers(4) == [2, 3, 4, 5]


async def test_since_takes_times_and_ages(house):
    await house.tell(block(1))
    await asyncio.sleep(0.01)
    middle = rfc3339(int(time.time() * 1000))
    await house.tell(block(2))
    assert await (await house.stream(f"/events?since={middle}")).numbers(1) == [2]
    assert await (await house.stream("/events?since=15m")).numbers(2) == [1, 2]
    now = await house.stream("/events?since=now")
    await house.tell(block(3))
    assert await now.numbers(1) == [3]


async def test_last_begins_before_the_newest_matching_events(house):
    await house.tell(*(event for number in range(1, 11) for event in (block(number), transfer(100 + number))))
    answer = await house.stream("/events?last=3&types=block_new")
    assert await answer.numbers(3) == [8, 9, 10]
    none = await house.stream("/events?last=0")
    all_of_them = await house.stream("/events?last=1000")
    assert (await all_of_them.numbers(20))[:2] == [1, 101]
    await house.tell(block(11))
    assert await none.numbers(1) == await answer.numbers(1) == [11]


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [("{log}-99", "future"), ("abc123-1", "other_log"), ("nonsense", "malformed"), ("{log}--1", "malformed")],
)
async def test_a_cursor_that_cannot_be_continued_is_told_as_a_gap(house, cursor, reason):
    await house.tell(block(1), block(2))
    requested = cursor.format(log=house.log.identity)
    answer = await house.stream("/events", {"Last-Event-ID": requested})
    gap = await answer.expect("gap")
    log = house.log.identity
    assert gap == {"requested": requested, "oldest": f"{log}-1", "resumed_at": f"{log}-0", "reason": reason}
    assert answer.messages[-1].id == gap["resumed_at"]
    assert await answer.numbers(2) == [1, 2]


async def test_a_cursor_older_than_what_is_kept_is_a_gap_until_the_client_knows(serve):
    house = await serve(max_events=100)
    for start in range(0, 1000, 100):
        await house.tell(*(block(number) for number in range(start + 1, start + 101)))
    await house.until(lambda: house.log.oldest > 900)  # there is no more to forget
    requested = f"{house.log.identity}-5"
    answer = await house.stream("/events", {"Last-Event-ID": requested})
    # Cut here, it must be told again: connect's id does not stand behind the gap.
    assert answer.messages[0].id == requested
    gap = await answer.expect("gap")
    assert (gap["reason"], gap["requested"]) == ("expired", requested)
    oldest = int(gap["resumed_at"].rpartition("-")[2]) + 1
    assert await answer.numbers(1000 - oldest + 1) == list(range(oldest, 1001))
    again = await house.stream("/events", {"Last-Event-ID": gap["resumed_at"]})
    assert (await again.next()).event in ("message", "gap")


async def test_gap_fail_is_410(house):
    answer = await house.ask("/events?gap=fail", {"Last-Event-ID": "nonsense"})
    assert answer.status == 410
    problem = await answer.json()
    assert (problem["status"], problem["requested"], problem["reason"]) == (410, "nonsense", "malformed")


async def test_hostile_text_in_a_cursor_injects_nothing(house):
    hostile = quote("a\nevent: token_transfer\ndata: x\n\n\u202e")
    answer = await house.stream(f"/events?last_event_id={hostile}")
    gap = await answer.expect("gap")
    assert "\\u000a" in gap["requested"]
    assert [message.event for message in answer.messages] == ["connect", "gap"]


async def test_limit_counts_exactly_in_replay(house):
    await house.tell(*(block(number) for number in range(1, 11)))
    answer = await house.stream("/events?since=earliest&limit=4")
    assert await answer.numbers(4) == [1, 2, 3, 4]
    assert (await answer.next()).data == "[DONE]"
    assert await answer.rest() == []


async def test_limit_counts_exactly_live_and_across_both(house):
    await house.tell(block(1), block(2))
    answer = await house.stream("/events?since=earliest&limit=5")
    assert await answer.numbers(2) == [1, 2]
    await house.tell(block(3))
    assert await answer.numbers(1) == [3]
    await house.tell(*(block(number) for number in range(4, 100)))
    assert await answer.numbers(2) == [4, 5]
    assert await answer.expect("complete") == "[DONE]"
    assert answer.messages[-1].id == f"{house.log.identity}-5"  # where to go on, not where the log is
    assert await answer.rest() == []
    assert answer.ended
    await house.until(lambda: not house.hub.streams)


async def test_a_limit_of_one_named_stream_leaves_others_alone(house):
    limited = await house.stream("/events/block?limit=1")
    other = await house.stream("/events/block")
    await house.tell(block(1), block(2))
    await house.tell(block(3))
    assert [message.event for message in await limited.rest()] == ["block_new", "complete"]
    assert await other.numbers(3) == [1, 2, 3]


async def test_duration_ends_with_complete(house):
    answer = await house.stream("/events?duration=100ms")
    started = time.monotonic()
    assert await answer.expect("complete") == "[DONE]"
    assert 0.05 < time.monotonic() - started < 2
    assert await answer.body()
    assert re.search(rb"retry: \d+\nevent: complete\n", answer.raw)


async def test_an_idle_stream_gets_the_bare_comment_line(house):
    answer = await house.stream("/events?heartbeat=0.1")
    assert await answer.piece() == b":\n"
    assert await answer.piece() == b":\n"


async def test_a_busy_stream_gets_no_heartbeat(house):
    answer = await house.stream("/events?heartbeat=0.4")
    for number in range(12):
        await house.tell(block(number))
        await asyncio.sleep(0.05)
    await answer.numbers(12)
    assert b":\n" not in re.findall(rb"^:\n", answer.raw, re.MULTILINE)


async def test_named_routes_have_a_heartbeat_that_scripts_see(house):
    answer = await house.stream("/events/block?heartbeat=0.1")
    assert re.fullmatch(r"20.+Z", (await answer.expect("heartbeat"))["timestamp"])
    assert b":\nevent: heartbeat\n" in answer.raw


@pytest.mark.parametrize("route", ["/events?types=block_new&", "/events/block?"])
async def test_a_filter_that_matches_nothing_still_moves_the_cursor(house, route):
    answer = await house.stream(f"{route}heartbeat=0.1")
    await house.tell(*(transfer(number) for number in range(50)))
    while answer.parser.last_event_id != f"{house.log.identity}-50":
        await answer.piece_into_parser()
    # Once told, it is not told again.
    seen = answer.raw.count(b"id: ")
    await answer.piece_into_parser()
    await answer.piece_into_parser()
    assert answer.raw.count(b"id: ") == seen


async def test_shutdown_ends_every_stream_at_once(serve):
    house = await serve()
    answers = [await house.stream() for _ in range(5)]
    answers.append(await house.stream("/events/block?limit=3"))
    started = time.monotonic()
    stopping = asyncio.create_task(house.runner.cleanup())
    for answer in answers:
        assert await answer.expect("complete") == "[DONE]"
        assert answer.parser.retry >= 1000
        assert await answer.rest() == []
    await stopping
    assert time.monotonic() - started < 1.5
    assert len({answer.parser.retry for answer in answers}) > 1


async def test_http_1_0_gets_the_bare_stream(house):
    await house.tell(block(1))
    answer = await house.stream("/events?since=earliest&limit=2", version="1.0")
    assert "transfer-encoding" not in answer.headers
    assert await answer.numbers(1) == [1]
    await house.tell(block(2))
    assert [message.event for message in await answer.rest()] == ["message", "complete"]


async def test_statistics_know_every_stream(house):
    live = await house.stream(f"/events?address={BOB}")
    await house.tell(*(transfer(number) for number in range(10)), block(11))
    await live.numbers(10)
    stats = await (await house.ask("/v1/stats")).json()
    (told,) = stats["streams"]["list"]
    assert (told["state"], told["sent"], told["lag"], told["buffered"]) == ("live", 10, 0, 0)
    assert told["filters"] == {"address": [BOB]}
    assert told["peer"].startswith("127.0.0.1:")
    assert stats["streams"]["open"] == stats["streams"]["live"] == 1
    assert stats["log"]["head"] == stats["log"]["flushed"] == 11
    assert stats["totals"]["deliveries"] == 10
    assert stats["latencies_ms"]["arrival_to_socket"]["p50"] < 5000


async def test_a_closed_stream_leaves_one_line(house):
    from structlog.testing import capture_logs

    answer = await house.stream("/events?since=earliest")
    await house.tell(block(1))
    await answer.numbers(1)
    with capture_logs() as lines:
        answer.close()
        await house.until(lambda: not house.hub.streams)
    (line,) = [line for line in lines if line["event"] == "stream closed"]
    assert (line["events"], line["reason"], line["filters"]) == (1, "left", {})
    assert json.dumps(line)


async def test_a_stream_that_was_let_in_just_before_a_shutdown_is_ended_too(house, monkeypatch):
    before = house.log.since

    async def since(milliseconds: int) -> int:
        house.hub.stopped.set()
        return await before(milliseconds)

    monkeypatch.setattr(house.log, "since", since)
    answer = await house.stream("/events?since=1m")
    assert [message.event for message in await answer.rest()] == ["complete"]
    await house.until(lambda: not house.hub.streams)


async def test_a_stream_that_cannot_go_on_is_cut_and_stops_no_other(house, monkeypatch):
    await house.tell(block(1))
    join = house.hub.join

    def broken(stream):
        if stream.wanted.types == {"price_update"}:
            raise RuntimeError("a fault of ours")
        join(stream)

    monkeypatch.setattr(house.hub, "join", broken)
    cut = await house.ask("/events?types=price_update")
    others = [await house.stream("/events?since=earliest") for _ in range(3)]
    for other in others:
        assert await other.numbers(1) == [1]
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):  # no end in order
        await cut.body()
    await house.tell(block(2))
    for other in others:
        assert await other.numbers(1) == [2]
