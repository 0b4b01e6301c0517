"""WebSocket clients that read slowly or not at all, break the framing, or talk without end; and what others notice."""

from __future__ import annotations

import asyncio
import json
import random

import pytest
from hypothesis import HealthCheck, given, settings, strategies as some
from server import house as houses
from server.house import BOB, House, block, transfer
from server.talk import Raw, Talk, frame
from server.test_slow_readers import resident, write
from structlog.testing import capture_logs
from websockets.frames import Opcode

from chainwatch.server.connection import LARGEST
from chainwatch.server.sockets import SOCKETS
from chainwatch.stream.follow import State

pytestmark = pytest.mark.long


async def stalled(house: House, count: int, receive_buffer: int = 2048) -> list[Raw]:
    """Clients that subscribe, and read no more."""
    found = []
    for _ in range(count):
        raw = await Raw.open(house, receive_buffer=receive_buffer)
        raw.say("subscribe", "a")
        assert (await raw.next())["op"] == "connect"
        found.append(raw)
    return found


# --- slow readers -------------------------------------------------------------------------------------------------


async def test_a_slow_reader_falls_back_to_the_log_and_others_do_not_notice(house):
    (slow,) = await stalled(house, 1, receive_buffer=4096)
    (follower,) = house.context.followers.open.values()
    async with Talk(house) as fast:
        await fast.subscribe()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write(house, 1, 4000))
            assert await fast.numbers(4000) == list(range(1, 4001))
        assert follower.state is State.HELD
        assert house.log.head - follower.position > 1000
        assert [(await slow.next())["event"]["data"]["number"] for _ in range(4000)] == list(range(1, 4001))
        await house.until(lambda: follower.state is State.WAITING)
        await house.tell(block(9000))
        assert (await slow.next())["event"]["data"]["number"] == 9000
        assert await fast.numbers(1) == [9000]
    slow.cut()


async def test_dead_readers_hold_no_memory_and_nobody_up(serve):
    """200 clients that never read, 5 MB of events: queues would hold 1 GB."""
    house = await serve(memory=2**20)
    dead = await stalled(house, 200)
    before = resident()
    async with Talk(house) as alive:
        await alive.subscribe()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write(house, 1, 4000))
            assert await alive.numbers(4000) == list(range(1, 4001))
        states = {follower.state for follower in house.context.followers.open.values()}
        assert State.HELD in states
        assert resident() - before < 60 * 2**20
    for raw in dead:
        raw.cut()


async def test_a_client_that_takes_nothing_is_closed_and_one_that_takes_little_is_not(house):
    house.runner.app[SOCKETS].stall = 1.0
    dead, slow = await stalled(house, 2, receive_buffer=4096)
    with capture_logs() as logs:
        writing = asyncio.create_task(write(house, 1, 6000), name="write")
        for _ in range(200):
            assert await slow.reader.read(4096)
            await asyncio.sleep(0.01)
        await house.until(lambda: len(house.runner.app[SOCKETS].connections) == 1)
        await writing
    assert [line["reason"] for line in logs if line["event"] == "websocket closed"] == ["stalled"]
    for raw in (dead, slow):
        raw.cut()


async def test_a_client_that_answers_no_ping_is_closed(serve):
    house = await serve(heartbeat=0.1)
    house.runner.app[SOCKETS].stall = 0.4
    with capture_logs() as logs:
        raw = await Raw.open(house)
        async with Talk(house) as there:
            assert (await raw.frame()).opcode is Opcode.PING
            with pytest.raises(EOFError):
                await raw.next()
            await there.answers()
    assert [line["reason"] for line in logs if line["event"] == "websocket closed"] == ["silent", "left"]
    raw.cut()


async def test_a_client_that_does_not_listen_is_not_listened_to(house, monkeypatch):
    """Pings whose pongs nobody reads stay in the client's own buffers."""
    monkeypatch.setattr("chainwatch.server.connection._BURST", 1e9)
    monkeypatch.setattr("chainwatch.server.connection._RATE", 1e9)
    raw = await Raw.open(house, receive_buffer=4096)
    (connection,) = house.runner.app[SOCKETS].connections
    message = frame(json.dumps({"op": "ping", "id": "x" * 64}).encode()) * 1000
    for _ in range(60):
        raw.send(message)
    await house.until(lambda: connection.paused and not connection._reading)
    async with Talk(house) as other:
        for _ in range(300):
            await other.answers()
    assert len(connection._unheard) <= 2**19
    assert len(connection._inbox) <= 100
    assert connection.transport.get_write_buffer_size() < 2**17
    raw.cut()


async def test_many_who_are_behind_share_what_is_read_and_written(house):
    await write(house, 1, 300)
    talks = [await Talk(house).__aenter__() for _ in range(20)]
    for ws in talks:
        await ws.say("subscribe", "a", since="earliest")
    for ws in talks:
        await ws.expect("connect", "a")
        assert await ws.numbers(300) == list(range(1, 301))
    counted = house.runner.app[SOCKETS].spliced.cache_info()
    assert counted.misses <= 10
    assert counted.hits >= 50
    for ws in talks:
        await ws.socket.close()


# --- broken frames ------------------------------------------------------------------------------------------------


BROKEN = (
    (b"\x81\x04ping", 1002),  # not masked
    (b"\xc1\x80\0\0\0\0", 1002),  # a reserved bit: nothing is compressed
    (b"\x83\x80\0\0\0\0", 1002),  # an unknown opcode
    (b"\x09\x80\0\0\0\0", 1002),  # a ping in parts
    (b"\x89\xfe\x00\x80\0\0\0\0", 1002),  # a ping of 128 bytes
    (b"\x80\x80\0\0\0\0", 1002),  # goes on with nothing
    (frame(b"{", fin=False) + frame(b"}"), 1002),
    (frame(b"\xff\xfe"), 1007),
    (frame(b"\xe2\x82", fin=False) + frame(b"\x28", Opcode.CONT), 1007),
    (b"\x81\xff\x00\x00\x00\x00\x40\x00\x00\x00\0\0\0\0", 1009),  # 1 GiB is to come
    (b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 1009),
    (frame(b" " * (LARGEST + 1)), 1009),
    (frame(b" " * (LARGEST - 9), fin=False) + frame(b" " * 10, Opcode.CONT), 1009),
    (b"\x88\x82\0\0\0\0\x00\x00", 1002),  # a close with a code that is none
    (b"\x88\x81\0\0\0\0\x03", 1002),
)


async def test_broken_frames_end_the_connection_with_the_reason(house):
    for sent, code in BROKEN:
        raw = await Raw.open(house)
        raw.say("subscribe", "a")
        await raw.next()
        with capture_logs() as logs:
            raw.send(sent)
            await asyncio.sleep(0)
            raw.send(frame(b'{"op": "ping"}') * 1000)
            assert await raw.closed() == code, sent
            raw.writer.close()
            await house.until(lambda: not house.runner.app[SOCKETS].connections)
        assert [line["event"] for line in logs] == ["websocket closed"]
        assert not house.context.followers.open


async def test_whoever_goes_on_behind_a_broken_frame_is_cut(house):
    raw = await Raw.open(house)
    raw.send(b"\x83\x80\0\0\0\0")
    assert await raw.closed() == 1002

    async def go_on() -> None:
        while True:
            raw.send(b"x" * 1000)
            await raw.writer.drain()
            await asyncio.sleep(0.01)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(go_on(), 10)
    raw.cut()


async def test_messages_in_parts_are_put_together(house):
    raw = await Raw.open(house)
    text = json.dumps({"op": "ping", "id": "é" * 60}).encode()
    raw.send(frame(b"", fin=False))
    for place in range(len(text)):
        raw.send(frame(text[place : place + 1], Opcode.CONT, fin=False) + frame(b"p", Opcode.PING))
    raw.send(frame(b"", Opcode.CONT))
    pongs = 0
    while (got := await raw.frame()).opcode is Opcode.PONG:
        pongs += 1
    assert (pongs, json.loads(got.data)) == (len(text), {"op": "pong", "id": "é" * 60})
    raw.cut()


async def test_a_message_of_endless_empty_parts_costs_nothing(house):
    raw = await Raw.open(house)
    (connection,) = house.runner.app[SOCKETS].connections
    raw.send(frame(b"", fin=False) + frame(b"", Opcode.CONT, fin=False) * 500)
    raw.send(frame(b'{"op":"ping"}', Opcode.CONT))
    assert await raw.next() == {"op": "pong"}
    assert connection._partial is None
    raw.cut()


async def test_a_client_that_leaves_in_the_middle_of_a_frame_leaves_nothing(house):
    for sent in (b"x", b"\x81", b"\x81\xfe", frame(b'{"op": "ping"}')[:-1], frame(b"x", fin=False)):
        raw = await Raw.open(house)
        raw.say("subscribe", "a")
        await raw.next()
        with capture_logs() as logs:
            raw.send(sent)
            raw.writer.write_eof()
            await house.until(lambda: not house.runner.app[SOCKETS].connections)
        assert [line["event"] for line in logs] == ["websocket closed"]
        assert not house.context.followers.open
        raw.cut()


async def test_binary_messages_and_nonsense_are_answered_and_the_connection_goes_on(house):
    async with Talk(house) as ws:
        for message in (b"\x00\xff", '{"op"', "[" * 100_000, "{}", '{"op": "ping", "id": ["\\ud800"]}', "\x00", ""):
            await ws.socket.send(message)
            assert (await ws.expect("error"))["status"] == 400
        await ws.answers()


# --- floods -------------------------------------------------------------------------------------------------------


async def test_a_flood_of_messages_waits_its_turn_and_none_is_lost(house, monkeypatch):
    monkeypatch.setattr("chainwatch.server.connection._BURST", 100.0)
    monkeypatch.setattr("chainwatch.server.connection._RATE", 1000.0)
    raw = await Raw.open(house)
    for number in range(1000):
        raw.say("ping", str(number))
    async with Talk(house) as other:
        await other.subscribe()
        await house.tell(block(1))
        assert await other.numbers(1) == [1]
    assert [(await raw.next())["id"] for _ in range(1000)] == [str(number) for number in range(1000)]
    raw.cut()


async def test_a_flood_of_subscriptions_ends_at_their_limit(house):
    await write(house, 1, 200)
    raw = await Raw.open(house)
    for number in range(300):
        raw.say("subscribe", str(number), since="earliest")
    told = []
    while len(told) < 300:
        message = await raw.next()
        if message["op"] in ("connect", "error"):
            told.append((message["op"], message.get("status")))
    assert told == [("connect", None)] * 64 + [("error", 429)] * 236
    raw.cut()
    await house.until(lambda: not house.context.followers.open)


async def test_a_read_of_the_log_that_fails_ends_its_subscription(serve, monkeypatch):
    house = await serve(memory=1)
    await write(house, 1, 100)
    async with Talk(house) as ws:

        async def read(*given: object, **named: object) -> None:
            raise OSError("the disk is gone")

        monkeypatch.setattr(house.log, "read", read)
        await ws.subscribe(last_event_id=f"{house.log.identity}-50")
        told = await ws.expect("complete", "a")
        assert (told["reason"], told["cursor"]) == ("log", f"{house.log.identity}-50")
        monkeypatch.undo()
        await ws.subscribe(last_event_id=told["cursor"])
        assert await ws.numbers(50) == list(range(51, 101))


async def test_a_fault_of_ours_ends_the_connection_and_is_logged(house, monkeypatch):
    async with Talk(house) as ws, Talk(house) as other:
        await ws.subscribe("broken")
        await other.subscribe("whole")
        sockets = house.runner.app[SOCKETS]
        spliced = sockets.spliced

        def failing(frames: bytes, head: bytes) -> bytes:
            if b"broken" in head:
                raise RuntimeError("a fault")
            return spliced(frames, head)

        monkeypatch.setattr(sockets, "spliced", failing)
        with capture_logs() as logs:
            await house.tell(block(1))
            assert (await ws.ended())[0] == 1011
            assert await other.numbers(1, "whole") == [1]
        assert "a follower of the log failed" in [line["event"] for line in logs]
        monkeypatch.undo()


# --- anything -----------------------------------------------------------------------------------------------------


names = some.sampled_from(["a", "b", "c", "", 7, None])
values = some.sampled_from(
    ["block_new", "nonsense", 1, 0, -1, 2.5, True, None, [], ["block"], [1], {}, BOB, "now", "1h"]
)
fields = some.dictionaries(
    some.sampled_from(["types", "filters", "address", "limit", "last", "since", "heartbeat", "gap", "agent", "cursor",
                       "type", "data", "min_amount", "last_event_id", "named", "x"]),
    values, max_size=3,
)  # fmt: skip
messages = some.builds(
    lambda op, name, more: json.dumps({"op": op, "id": name} | more).encode(),
    some.sampled_from(["subscribe"] * 4 + ["unsubscribe", "ack", "send", "ping", "nothing", 7]),
    names,
    fields,
)
frames = some.one_of(
    messages.map(frame),
    messages.map(lambda text: frame(text[:5], fin=False) + frame(text[5:], Opcode.CONT)),
    some.binary(max_size=20).map(lambda data: frame(data, Opcode.BINARY)),
    some.text(max_size=20).map(lambda text: frame(text.encode())),
    some.binary(max_size=20).map(lambda data: frame(data, Opcode.PING)),
    some.binary(max_size=20).map(lambda data: frame(data, Opcode.PONG)),
)


def test_any_sequence_of_messages_leaves_the_server_answering(tmp_path):
    """Whatever was said, in whatever pieces: a ping behind it is answered, and nothing failed."""
    with asyncio.Runner() as runner:
        house = runner.run(houses.serve(tmp_path / "events.db"))
        runner.run(write(house, 1, 20))

        async def talk(said: list[bytes], cuts: random.Random) -> None:
            raw = await Raw.open(house)
            try:
                await tell(raw, b"".join(said) + frame(b'{"op":"ping","id":"the last"}'), cuts)
                await the_last_is_answered(raw)
            finally:
                raw.cut()
            await house.until(lambda: not house.runner.app[SOCKETS].connections)
            assert not house.context.followers.open

        async def tell(raw: Raw, data: bytes, cuts: random.Random) -> None:
            while data:
                size = cuts.choice([1, 7, 100, 10_000])
                raw.send(data[:size])
                data = data[size:]
                await asyncio.sleep(0)
            await house.tell(transfer(cuts.randrange(10**9)))

        async def the_last_is_answered(raw: Raw) -> None:
            while True:
                got = await raw.frame()
                assert got.opcode in (Opcode.TEXT, Opcode.PONG), got
                message = json.loads(got.data) if got.opcode is Opcode.TEXT else {}
                assert message.get("status") != 500, message
                if message == {"op": "pong", "id": "the last"}:
                    return

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(some.lists(frames, max_size=12), some.randoms(use_true_random=False))
        def check(said: list[bytes], cuts: random.Random) -> None:
            runner.run(talk(said, cuts))

        try:
            with capture_logs() as logs:
                check()
            assert {line["event"] for line in logs} == {"websocket closed"}
        finally:
            runner.run(house.close())
