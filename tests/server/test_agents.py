"""Durable streams: at least once, across cuts, changes, restarts and retention; each owner's are their own."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct

import pytest
from hypothesis import given, strategies as st
from server.house import ALICE, BOB, VOCABULARY, Answer, House, block, transfer
from server.sending import acked, made, post, send
from server.test_access import holding, key

from chainwatch.keys import Keyring
from chainwatch.server import durable, leaving
from chainwatch.server.agents import DEPARTURES, REGISTER
from chainwatch.server.durable import Leaving


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Streams that acknowledge by themselves are looked at often."""
    monkeypatch.setattr(leaving, "EACH", 0.02)


def cursor(house: House, sequence: int) -> str:
    return f"{house.log.identity}-{sequence}"


async def about(house: House, name: str) -> dict[str, object]:
    answer = await house.ask(f"/agents/{name}")
    assert answer.status == 200
    return await answer.json()


async def moved_to(house: House, name: str, sequence: int) -> None:
    agent = house.runner.app[REGISTER].get("", name)
    assert agent is not None
    await house.until(lambda: agent.saved.sequence >= sequence)
    assert agent.saved.sequence == sequence


# --- what an agent is ---


async def test_a_new_agent_is_201_and_says_what_it_is(house):
    await house.tell(transfer(1))
    answer = await send(house, "PUT", "/agents/a.B-c_9", {"filters": "token", "address": [ALICE, BOB], "limit": 7})
    told = await answer.json()
    assert answer.status == 201
    assert told == await about(house, "a.B-c_9")
    assert told["parameters"] == {"filters": ["token"], "address": [ALICE, BOB], "limit": ["7"]}
    assert told["filters"]["address"] == sorted([ALICE, BOB])
    assert (told["cursor"], told["lag"], told["gap"], told["connected"]) == (cursor(house, 1), 0, False, False)
    await house.tell(transfer(2), block(3))
    assert (await about(house, "a.B-c_9"))["lag"] == 2
    listed = await (await house.ask("/agents")).json()
    assert [one["agent"] for one in listed["agents"]] == ["a.B-c_9"]
    assert (await send(house, "DELETE", "/agents/a.B-c_9")).status == 204
    assert (await house.ask("/agents/a.B-c_9")).status == 404
    assert (await (await house.ask("/agents")).json())["agents"] == []


@pytest.mark.parametrize(
    ("start", "at"),
    [({}, 3), ({"since": "now"}, 3), ({"since": "earliest"}, 0), ({"last": 2}, 1), ({"last_event_id": "{log}-2"}, 2)],
)
async def test_where_a_new_agent_starts(house, start, at):
    await house.tell(*(transfer(number) for number in (1, 2, 3)))
    words = {name: str(value).replace("{log}", house.log.identity) for name, value in start.items()}
    assert (await made(house, "a", words))["cursor"] == cursor(house, at)
    assert (await made(house, "a", words | {"types": "block"}))["cursor"] == cursor(house, at)


async def test_a_change_is_200_the_cursor_stays_and_the_open_stream_ends(house):
    await house.tell(transfer(1), block(2))
    await made(house, "a", {"types": "token_transfer", "since": "earliest"})
    stream = await house.stream("/stream/a")
    assert await stream.numbers(1) == [1]
    same = await send(house, "PUT", "/agents/a", {"types": "token_transfer", "since": "now"})
    assert (same.status, (await same.json())["connected"]) == (200, True)
    await house.tell(transfer(3))
    assert await stream.numbers(1) == [3]  # it was the same: the stream went on
    changed = await send(house, "PUT", "/agents/a", {"types": "block"})
    assert (changed.status, (await changed.json())["cursor"]) == (200, cursor(house, 0))
    assert await stream.expect("complete") == "[DONE]"
    stream = await house.stream("/stream/a")
    assert await stream.numbers(1) == [2]


async def test_everything_of_a_stream_can_be_given_with_put_and_the_connect_goes_before_it(house):
    await house.tell(*(transfer(number) for number in range(1, 6)))
    await made(house, "a", {"since": "earliest", "limit": 2, "named": False, "heartbeat": 0.5, "gap": "fail"})
    stream = await house.stream("/stream/a")
    assert [message.event for message in await stream.rest()] == ["message", "message", "complete"]
    stream = await house.stream("/stream/a?limit=3&named=true")
    assert [message.event for message in await stream.rest()] == [*["token_transfer"] * 3, "complete"]


BAD = [
    ("PUT", "/agents/a", [], 400, "a list"),
    ("PUT", "/agents/a", {"tpyes": "block"}, 400, "unknown parameter 'tpyes'"),
    ("PUT", "/agents/a", {"types": "blcok"}, 400, "blcok"),
    ("PUT", "/agents/a", {"types": None}, 400, "types is null"),
    ("PUT", "/agents/a", {"types": {"a": 1}}, 400, "types is an object"),
    ("PUT", "/agents/a", {"types": []}, 400, "empty list"),
    ("PUT", "/agents/a", {"types": [["block"]]}, 400, "a list in a list"),
    ("PUT", "/agents/a", {"limit": 0}, 400, "no limit"),
    ("PUT", "/agents/a", {"ack": "auto"}, 400, "unknown parameter 'ack'"),
    ("PUT", "/agents/a", {"last_event_id": "nonsense"}, 400, "is no cursor"),
    ("PUT", "/agents/a", {"last_event_id": "other-1"}, 400, "another log"),
    ("PUT", "/agents/a", {"last_event_id": "{log}-9"}, 400, "beyond the end"),
    ("PUT", "/agents/a?types=block", {}, 400, "unknown parameter 'types'"),
    ("PUT", "/agents/-a", {}, 400, "no name for an agent"),
    ("PUT", "/agents/" + "a" * 65, {}, 400, "no name for an agent"),
    ("PUT", "/agents/a%2Fb", {}, 400, "no name for an agent"),
    ("PUT", "/agents/a", {"types": "." * 65_536}, 413, "65536"),
    ("POST", "/agents/there/ack", {"cursor": "nonsense"}, 400, "is no cursor"),
    ("POST", "/agents/there/ack", {"cursor": "other-1"}, 400, "another log"),
    ("POST", "/agents/there/ack", {"cursor": "{log}-9"}, 400, "beyond the end"),
    ("POST", "/agents/there/ack", {"cursor": 7}, 400, "cursor is no text"),
    ("POST", "/agents/there/ack", {}, 400, "cursor is missing"),
    ("POST", "/agents/there/ack", {"cursor": "{log}-1", "more": 1}, 400, "unknown field 'more'"),
    ("POST", "/agents/ther/ack", {"cursor": "{log}-1"}, 404, "no agent 'ther'"),
    ("GET", "/agents/ther", None, 404, "no agent 'ther'"),
    ("GET", "/agents/there?x=1", None, 400, "unknown parameter 'x'"),
    ("GET", "/agents?x=1", None, 400, "unknown parameter 'x'"),
    ("DELETE", "/agents/ther", None, 404, "no agent 'ther'"),
    ("GET", "/stream/ther", None, 404, "no agent 'ther'"),
    ("GET", "/stream/-", None, 400, "no name for an agent"),
    ("GET", "/stream/there?types=block", None, 400, "types cannot be given here"),
    ("GET", "/stream/there?lim=1", None, 400, "unknown parameter 'lim'"),
    ("GET", "/stream/there?ack=maybe", None, 400, "'maybe' is no value of ack"),
    ("GET", "/stream/there?ack=auto&ack=auto", None, 400, "no value of ack"),
    ("GET", "/stream/there?limit=none", None, 400, "no limit"),
    ("POST", "/agents/there", {}, 405, "POST is not possible"),
]


async def test_what_cannot_be_meant_is_refused_with_its_reason(house):
    await made(house, "there", {"since": "earliest"})
    for method, path, body, status, words in BAD:
        meant = json.loads(json.dumps(body).replace("{log}", house.log.identity))
        answer = await send(house, method, path, meant)
        told = await answer.json()
        row = (method, path, body, told)
        assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json"), row
        assert words in told["detail"], row
    assert len(house.runner.app[REGISTER].of("")) == 1


async def test_an_owner_has_a_hundred_and_one_more_is_409(house, monkeypatch):
    monkeypatch.setattr(durable, "MOST", 3)
    for number in range(3):
        await made(house, f"a{number}", {})
    answer = await send(house, "PUT", "/agents/a3", {})
    assert (answer.status, "3 agents" in (await answer.json())["detail"]) == (409, True)
    assert (await send(house, "PUT", "/agents/a1", {"types": "block"})).status == 200
    await send(house, "DELETE", "/agents/a0")
    assert (await send(house, "PUT", "/agents/a3", {})).status == 201


async def test_a_filter_that_means_nothing_any_more_is_said_and_nothing_is_sent(serve):
    now = [VOCABULARY]
    house = await serve(vocabulary=lambda: now[0])
    await house.tell(transfer(1, chain="base"))
    await made(house, "a", {"chains": "base", "since": "earliest"})
    now[0] = type(VOCABULARY)(chains=("ethereum",))
    answer = await house.ask("/stream/a")
    told = await answer.json()
    assert (answer.status, told["parameter"], told["value"]) == (409, "chains", "base")
    assert "PUT /agents/a" in told["hint"]
    said = await about(house, "a")
    assert (said["filters"], "base" in said["problem"]) == (None, True)
    now[0] = VOCABULARY
    assert await (await house.stream("/stream/a")).numbers(1) == [1]


# --- whose it is ---


async def test_agents_of_another_key_are_not_there(serve):
    one, two = key("one"), key("two")
    house = await serve(ring=Keyring([one, two]))
    await house.tell(transfer(1), block(2))
    mine = await made(house, "same", {"types": "block", "since": "earliest"}, holding(one))
    for method, path, body in (
        ("GET", "/agents/same", None),
        ("DELETE", "/agents/same", None),
        ("GET", "/stream/same", None),
        ("POST", "/agents/same/ack", {"cursor": mine["cursor"]}),
    ):
        assert (await send(house, method, path, body, holding(two))).status == 404
    assert (await (await house.ask("/agents", holding(two))).json())["agents"] == []
    await made(house, "same", {"types": "token", "since": "earliest"}, holding(two))
    for owner, number in ((one, 2), (two, 1)):
        stream = await house.stream("/stream/same", holding(owner))
        assert await stream.numbers(1) == [number]
    await acked(house, "same", cursor(house, 1), holding(two))
    assert (await (await house.ask("/agents/same", holding(one))).json())["cursor"] == cursor(house, 0)
    assert (await send(house, "PUT", "/agents/same", {})).status == 401


async def test_the_scope_of_the_key_narrows_what_an_agent_sees(serve):
    limited = key("limited", chains=("base",))
    house = await serve(ring=Keyring([limited]))
    await house.tell(transfer(1), transfer(2, chain="base"))
    refused = await send(house, "PUT", "/agents/a", {"chains": "ethereum"}, holding(limited))
    assert (refused.status, (await refused.json())["value"]) == (403, "ethereum")
    told = await made(house, "a", {"since": "earliest"}, holding(limited))
    assert told["filters"] == {"chains": ["base"]}
    stream = await house.stream("/stream/a", holding(limited))
    await house.tell(transfer(3), transfer(4, chain="base"))
    assert await stream.numbers(2) == [2, 4]


async def test_a_revoked_key_ends_its_stream_and_its_agents_stay(serve):
    one, two = key("one"), key("two")
    house = await serve(ring=Keyring([one, two]))
    await made(house, "a", {}, holding(one))
    stream = await house.stream("/stream/a", holding(one))
    house.context.sessions.change(Keyring([two]))
    assert await stream.expect("complete") == "[DONE]"
    house.context.sessions.change(Keyring([one, two]))
    assert (await (await house.ask("/agents/a", holding(one))).json())["connected"] is False


# --- how it moves ---


async def test_what_is_not_acknowledged_comes_again_and_an_acknowledgement_is_for_ever(house):
    await made(house, "a", {"types": "token_transfer"})
    await house.tell(*(transfer(number) for number in range(1, 6)))
    for _ in range(2):
        stream = await house.stream("/stream/a")
        assert await stream.numbers(5) == [1, 2, 3, 4, 5]
        assert {message.event for message in stream.messages[1:]} == {"token_transfer"}
        stream.cut()
    assert (await acked(house, "a", stream.messages[3].id))["cursor"] == cursor(house, 3)
    stream = await house.stream("/stream/a")
    assert await stream.numbers(2) == [4, 5]
    assert (await acked(house, "a", cursor(house, 2)))["cursor"] == cursor(house, 3)  # it was further
    assert (await about(house, "a"))["lag"] == 2


async def test_a_last_event_id_acknowledges_and_an_older_one_only_repeats(house):
    await made(house, "a", {})
    await house.tell(*(transfer(number) for number in range(1, 6)))
    stream = await house.stream("/stream/a", {"Last-Event-ID": cursor(house, 3)})
    assert await stream.numbers(2) == [4, 5]
    assert (await about(house, "a"))["cursor"] == cursor(house, 3)
    stream = await house.stream("/stream/a", {"Last-Event-ID": cursor(house, 1)})
    assert await stream.numbers(4) == [2, 3, 4, 5]
    assert (await about(house, "a"))["cursor"] == cursor(house, 3)
    stream = await house.stream(f"/stream/a?last_event_id={cursor(house, 4)}")
    assert await stream.numbers(1) == [5]
    assert (await about(house, "a"))["cursor"] == cursor(house, 4)


@pytest.mark.parametrize(("given", "reason"), [("nonsense", "malformed"), ("other-3", "other_log"), ("9", "future")])
async def test_a_last_event_id_that_is_none_is_a_gap_and_acknowledges_nothing(house, given, reason):
    await made(house, "a", {})
    await house.tell(*(transfer(number) for number in range(1, 3)))
    given = cursor(house, 9) if given == "9" else given
    stream = await house.stream("/stream/a", {"Last-Event-ID": given})
    assert (await stream.expect("gap"))["reason"] == reason
    assert await stream.numbers(2) == [1, 2]
    assert (await about(house, "a"))["cursor"] == cursor(house, 0)


async def test_retention_waits_for_no_agent_and_what_it_took_is_a_gap(serve):
    house = await serve(max_events=50)
    await made(house, "a", {"types": "token_transfer"})
    for number in range(1, 400, 20):
        await house.tell(*(transfer(n) for n in range(number, number + 20)))
    await house.until(lambda: house.log.oldest == 351)  # there is no more to forget
    told = await about(house, "a")
    assert (told["cursor"], told["gap"], told["oldest"]) == (cursor(house, 0), True, cursor(house, house.log.oldest))
    assert (await house.ask("/stream/a?gap=fail")).status == 410
    stream = await house.stream("/stream/a")
    gap = await stream.expect("gap")
    assert (gap["reason"], gap["requested"]) == ("expired", cursor(house, 0))
    assert await stream.numbers(1) == [house.log.oldest]
    await acked(house, "a", gap["resumed_at"])
    assert (await about(house, "a"))["gap"] is False


async def test_a_start_that_is_older_than_what_is_kept_is_a_gap_at_the_first_connect(serve):
    house = await serve(max_events=50)
    for number in range(1, 400, 20):
        await house.tell(*(transfer(n) for n in range(number, number + 20)))
    await house.until(lambda: house.log.oldest > 350)
    assert (await made(house, "a", {"since": "1h"}))["gap"] is True
    assert (await (await house.stream("/stream/a")).expect("gap"))["reason"] == "expired"


async def test_a_second_connection_takes_over(house):
    await made(house, "a", {})
    first = await house.stream("/stream/a")
    second = await house.stream("/stream/a")
    assert await first.expect("complete") == "[DONE]"
    await house.tell(transfer(1))
    assert await second.numbers(1) == [1]
    assert (await about(house, "a"))["connected"] is True
    assert await first.rest() == []
    second.cut()
    await house.until(lambda: house.runner.app[REGISTER].get("", "a").stream is None)


async def test_an_agent_that_is_deleted_ends_its_stream_and_one_of_its_name_is_new(house):
    await made(house, "a", {})
    await house.tell(transfer(1))
    stream = await house.stream("/stream/a?ack=auto")
    assert await stream.numbers(1) == [1]
    assert (await send(house, "DELETE", "/agents/a")).status == 204
    assert await stream.expect("complete") == "[DONE]"
    assert await house.log.scan("agent", "agenu") == []
    assert (await made(house, "a", {}))["cursor"] == cursor(house, 1)


async def test_agents_are_there_after_a_restart(serve):
    house = await serve()
    await made(house, "a", {"types": "token_transfer"})
    await made(house, "b", {"types": "block"})
    await house.tell(transfer(1), transfer(2), block(3))
    await acked(house, "a", cursor(house, 1))
    before = await (await house.ask("/agents")).json()
    await house.runner.cleanup()
    await house.log.close()
    house = await serve()
    assert await (await house.ask("/agents")).json() == before
    assert await (await house.stream("/stream/a")).numbers(1) == [2]
    assert await (await house.stream("/stream/b")).numbers(1) == [3]


async def test_acknowledgements_of_many_share_commits(house):
    names = [f"a{number}" for number in range(50)]
    for name in names:
        await made(house, name, {})
    await house.tell(*(transfer(number) for number in range(1, 11)))
    register, before = house.runner.app[REGISTER], house.log.stats()["commits"]
    agents = [register.get("", name) for name in names]
    order = [(agent, sequence) for agent in agents for sequence in (3, 10, 7)]
    random.Random(1).shuffle(order)
    await asyncio.gather(*(register.move(agent, sequence) for agent, sequence in order))
    assert house.log.stats()["commits"] - before < 10
    kept = [json.loads(value)["sequence"] for _, value in await house.log.scan(*durable.PLACES)]
    assert kept == [10] * 50


# --- by itself ---


@given(st.data())
def test_what_has_left_never_runs_ahead_and_comes_to_the_end(data):
    """A client that takes any number of bytes between any two looks; control frames come between the events."""
    wire: list[int] = []  # the sequence that each byte completes; a byte of a control frame completes what came before
    taken = sent = 0
    leaving = Leaving(0)
    position = 0
    for _ in range(data.draw(st.integers(1, 30))):
        for _ in range(data.draw(st.integers(0, 3))):
            if data.draw(st.booleans()):
                size = data.draw(st.integers(1, 5))
                sent += size
                wire += [position] * (size - 1) + [position + 1]
                position += 1
            else:
                wire += [position] * data.draw(st.integers(1, 5))
        taken = data.draw(st.integers(taken, len(wire)))
        left = leaving.look(sent, position, len(wire) - taken)
        assert left <= (wire[taken - 1] if taken else 0)
    assert leaving.look(sent, position, 0) == position


async def test_an_agent_moves_by_itself_as_bytes_leave(house):
    await made(house, "a", {"types": "token_transfer"})
    stream = await house.stream("/stream/a?ack=auto")
    await house.tell(*(transfer(number) for number in range(1, 6)))
    assert await stream.numbers(5) == [1, 2, 3, 4, 5]
    await moved_to(house, "a", 5)
    await house.tell(transfer(6))
    assert await stream.numbers(1) == [6]
    await moved_to(house, "a", 6)
    stream = await house.stream("/stream/a?ack=manual")
    await house.tell(transfer(7))
    assert await stream.numbers(1) == [7]
    stream.cut()
    assert await (await house.stream("/stream/a")).numbers(1) == [7]


@pytest.mark.parametrize("ends", ["cut", "ended"])
async def test_what_does_not_leave_is_not_acknowledged(house, monkeypatch, ends):
    monkeypatch.setattr("chainwatch.stream.hub._GRACE", 0.05)
    await made(house, "a", {})
    await house.tell(*(transfer(number, padding="." * 10_000) for number in range(1, 1001)))
    stream = await house.ask("/stream/a?ack=auto", receive_buffer=4096)
    agent = house.runner.app[REGISTER].get("", "a")
    await house.until(lambda: agent.stream is not None and agent.stream.paused)
    await asyncio.sleep(0.1)  # looks, at a client that reads nothing
    if ends == "cut":
        stream.cut()
    else:
        house.hub.finish(agent.stream, "rotated")
    await house.until(lambda: agent.stream is None)
    first = agent.asked + 1
    assert first < 6  # its buffers have room for one or two
    again = await house.stream("/stream/a?ack=auto")
    assert await again.numbers(1001 - first) == [*range(first, 1001)]
    await moved_to(house, "a", 1000)


async def test_a_client_that_is_gone_when_its_last_event_is_written_does_not_have_it(house):
    """A write that fails is in no count of bytes: neither the transport nor the kernel holds any of it."""
    await made(house, "a", {})
    agent, loop = house.runner.app[REGISTER].get("", "a"), asyncio.get_running_loop()
    for number in range(10):
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it closes by a reset
        await loop.sock_connect(sock, ("127.0.0.1", house.port))
        request = "GET /stream/a?ack=auto&limit=1 HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: "
        await loop.sock_sendall(sock, f"{request}{cursor(house, number)}\r\n\r\n".encode())
        await house.until(lambda: agent.stream is not None and agent.stream.place.value == "live")
        telling = asyncio.create_task(house.tell(transfer(number + 1)))
        await asyncio.sleep(0)
        while house.log._writer.head == number:  # the loop stands still: it hears of the commit, then of the reset
            pass
        sock.close()
        await telling
        await house.until(lambda: agent.stream is None)
        assert agent.asked == number


async def in_a_round(house: House, number: int) -> None:
    """Tell an event, and come back when some streams have it and some do not."""
    task = asyncio.create_task(house.tell(transfer(number)))
    while not house.hub.in_round:
        await asyncio.sleep(0)
    await task


async def test_in_a_round_a_stream_does_not_have_what_it_will_be_given(house, monkeypatch):
    monkeypatch.setattr("chainwatch.stream.hub._TURN", 1)
    monkeypatch.setattr(leaving, "EACH", 3600)
    for _ in range(50):
        await house.stream("/events?types=token_transfer")
    await made(house, "a", {"types": "token_transfer"})
    await house.stream("/stream/a?ack=auto")
    agent, departures = house.runner.app[REGISTER].get("", "a"), house.runner.app[DEPARTURES]
    await house.until(lambda: all(stream.group for stream in house.hub.streams.values()))
    await in_a_round(house, 1)
    look = asyncio.create_task(departures._look_at_all())
    while house.hub.in_round:
        assert agent.asked == 0
        await asyncio.sleep(0)
    await look
    assert agent.asked == 1
    await in_a_round(house, 2)
    agent.stream.transport.abort()
    while agent.stream is not None:
        await asyncio.sleep(0)
    assert house.hub.in_round
    assert agent.asked == 1


@pytest.mark.parametrize("turn", [1000, 1])
async def test_whoever_asks_for_ten_again_and_again_gets_the_next_ten(serve, monkeypatch, turn):
    monkeypatch.setattr("chainwatch.stream.hub._TURN", turn)
    house = await serve()
    await made(house, "a", {"types": "token_transfer"})
    await house.tell(*(one for n in range(1, 51) for one in (transfer(n), block(n))))
    numbers: list[int] = []
    for _ in range(5):
        stream = await house.stream("/stream/a?ack=auto&limit=10")
        messages = await stream.rest()
        assert messages.pop().event == "complete"
        numbers += [json.loads(message.data)["data"]["number"] for message in messages]
        stream.close()
    assert numbers == [*range(1, 51)]
    live = await house.stream("/stream/a?ack=auto&limit=2")  # its limit comes in the middle of a commit
    await house.tell(*(transfer(n) for n in range(51, 56)))
    assert await live.numbers(2) == [51, 52]
    await live.expect("complete")
    live.close()
    assert await (await house.stream("/stream/a?ack=auto")).numbers(3) == [53, 54, 55]


async def test_a_client_that_closes_has_what_it_was_sent(house, monkeypatch):
    monkeypatch.setattr(leaving, "EACH", 3600)
    await made(house, "a", {})
    stream = await house.stream("/stream/a?ack=auto")
    await house.tell(*(transfer(number) for number in range(1, 4)))
    assert await stream.numbers(3) == [1, 2, 3]
    stream.close()
    agent = house.runner.app[REGISTER].get("", "a")
    await house.until(lambda: agent.stream is None)
    assert agent.asked == 3


async def test_what_left_is_saved_when_the_daemon_stops(serve, monkeypatch):
    monkeypatch.setattr(leaving, "EACH", 3600)
    house = await serve()
    await made(house, "a", {})
    stream = await house.stream("/stream/a?ack=auto")
    await house.tell(*(transfer(number) for number in range(1, 4)))
    assert await stream.numbers(3) == [1, 2, 3]
    await house.runner.cleanup()
    await house.log.close()
    house = await serve()
    assert (await about(house, "a"))["lag"] == 0


async def test_an_agent_that_nothing_matches_moves_now_and_then(house, monkeypatch):
    monkeypatch.setattr(leaving, "_IDLE", 3)
    await made(house, "a", {"types": "price"})
    await house.stream("/stream/a?ack=auto")
    await house.tell(*(transfer(number) for number in range(1, 4)))
    await moved_to(house, "a", 3)


async def test_looks_fall_between_rounds(house, monkeypatch):
    """While events come without a pause and each round takes several turns, what has left is still looked at."""
    monkeypatch.setattr("chainwatch.stream.hub._TURN", 1)
    for name in ("a", "b", "c"):
        await made(house, name, {})
    streams = [await house.stream(f"/stream/{name}?ack=auto") for name in ("a", "b", "c")]
    agent = house.runner.app[REGISTER].get("", "b")
    number = 0

    async def read(stream: Answer) -> None:
        while True:
            await stream.next()

    readers = [asyncio.create_task(read(stream)) for stream in streams]
    async with asyncio.timeout(20):
        while agent.saved.sequence < 100:
            number += 1
            await house.tell(transfer(number))
    for reader in readers:
        reader.cancel()


# --- at least once, whatever happens ---

SEEDS = [*range(10), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(10, 100))]
"""Each on both loops."""


class Consumer:
    """Handles what an agent gives it; what it handled is what it acknowledged, or what it read where nobody asks."""

    def __init__(self, house: House, chance: random.Random, *, auto: bool) -> None:
        self.house = house
        self.chance = chance
        self.auto = auto
        self.seen: list[int] = []  # every event, in the order in which it came
        self.starts: list[int] = []  # where each connection's events begin in `seen`

    async def run(self, last: int) -> None:
        async with asyncio.timeout(60):
            while last not in self.seen:
                buffer = self.chance.choice([0, 0, 2048, 16_384])
                query = "?ack=auto" if self.auto else ""
                stream = await self.house.ask(f"/stream/a{query}", receive_buffer=buffer)
                assert stream.status == 200
                self.starts.append(len(self.seen))
                try:
                    await self.read(stream, self.chance.choice([1, 5, 50, 500]), last)
                except (EOFError, asyncio.IncompleteReadError):
                    continue
                self.chance.choice([stream.cut, stream.close])()

    async def read(self, stream: Answer, most: int, last: int) -> None:
        for _ in range(most):
            message = await stream.next()
            if message.event == "token_transfer":
                self.seen.append(json.loads(message.data)["data"]["number"])
                if not self.auto and self.chance.random() < 0.1:
                    await acked(self.house, "a", message.id)
                if self.seen[-1] == last:
                    return
            if self.auto:  # it reads all that its machine took, as a client that is stopped in order does
                continue

    def check(self, last: int) -> None:
        """All of it, in order; a connection begins at, or before, where the one before ended."""
        for start, end in zip(self.starts, [*self.starts[1:], len(self.seen)], strict=True):
            part = self.seen[start:end]
            assert part == [*range(part[0], part[-1] + 1)] if part else True
            assert not part or part[0] <= max(self.seen[:start], default=0) + 1
        assert {*self.seen} == {*range(1, last + 1)}


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_happens_to_a_client_every_event_comes_and_in_order(serve, monkeypatch, seed):
    chance = random.Random(seed)
    monkeypatch.setattr("chainwatch.stream.hub._TURN", chance.choice([1, 1000]))
    monkeypatch.setattr("chainwatch.stream.wire.PIECE", chance.choice([700, 2**18]))
    house = await serve(memory=chance.choice([20_000, 2**24]))
    await made(house, "a", {"types": "token_transfer"})
    consumer = Consumer(house, chance, auto=False)

    async def write() -> None:
        number = 1
        while number <= 400:
            batch = min(chance.choice([1, 3, 40]), 401 - number)
            padding = "." * chance.choice([0, 0, 2000])
            await house.tell(*(transfer(number + n, padding=padding) for n in range(batch)), block(number))
            number += batch

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        tasks.create_task(consumer.run(400))
    consumer.check(400)


@pytest.mark.parametrize("seed", SEEDS)
async def test_what_a_machine_took_is_never_skipped(serve, monkeypatch, seed):
    """
    With `ack=auto` what the client's machine took counts. So a client that is cut anywhere, and then reads what its
    machine has of the connection, has everything, in order.
    """
    chance = random.Random(seed)
    monkeypatch.setattr("chainwatch.stream.hub._TURN", chance.choice([1, 1000]))
    house = await serve(memory=chance.choice([20_000, 2**24]))
    await made(house, "a", {"types": "token_transfer"})
    departures, register = house.runner.app[DEPARTURES], house.runner.app[REGISTER]
    agent = register.get("", "a")
    seen: list[int] = []
    repeated = 0

    async def write() -> None:
        number = 1
        while number <= 600:
            batch = min(chance.choice([1, 3, 40]), 601 - number)
            padding = "." * chance.choice([0, 0, 2000, 20_000])
            await house.tell(*(transfer(number + n, padding=padding) for n in range(batch)))
            number += batch

    async def consume() -> None:
        nonlocal repeated
        while not seen or seen[-1] < 600:
            limit = chance.choice(["", "", "&limit=7"])
            before = agent.asked
            stream = await house.ask(f"/stream/a?ack=auto{limit}", receive_buffer=chance.choice([0, 2048]))
            part: list[int] = []
            try:
                for _ in range(chance.choice([1, 10, 200])):
                    message = await stream.next()
                    if message.event == "token_transfer":
                        part.append(json.loads(message.data)["data"]["number"])
                    if part and part[-1] == 600:
                        break
                if stream_of := agent.stream:
                    house.hub.finish(stream_of, "rotated")
                while True:  # what its machine has, and what is on its way
                    message = await stream.next()
                    if message.event == "token_transfer":
                        part.append(json.loads(message.data)["data"]["number"])
            except (EOFError, asyncio.IncompleteReadError):
                pass
            if part:
                assert part == [*range(part[0], part[-1] + 1)]
                assert before < part[0] <= (seen[-1] if seen else 0) + 1
                repeated += len({*part} & {*seen})
                seen.extend(part)
            assert agent.asked <= (seen[-1] if seen else 0)
            stream.close()

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        tasks.create_task(consume())
    assert {*seen} == {*range(1, 601)}
    await departures.settled(agent)
    assert repeated == 0  # it was always the daemon that ended, so all of it was known


async def test_an_acknowledgement_that_finds_no_room_is_503_and_can_be_sent_again(house):
    await made(house, "a", {})
    await house.tell(transfer(1), transfer(2))
    [(pages,)] = house.log._db.execute("PRAGMA page_count").fetchall()
    house.log._db.execute(f"PRAGMA max_page_count={pages}")
    words = {"address": [f"0x{number:040x}" for number in range(1300)]}
    statuses = []
    for number in range(50):
        answer = await send(house, "PUT", f"/agents/b{number}", words)
        statuses.append(answer.status)
        if answer.status != 201:
            break
    assert (statuses[-1], int(answer.headers["retry-after"]) > 0) == (503, True)
    assert house.runner.app[REGISTER].get("", f"b{number}") is None
    house.log._db.execute("PRAGMA max_page_count=100000")
    assert (await send(house, "PUT", f"/agents/b{number}", words)).status == 201
    answer = await post(house, "/agents/a/ack", {"cursor": cursor(house, 2)})
    assert answer.status == 200
