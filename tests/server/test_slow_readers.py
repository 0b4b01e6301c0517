"""Clients that read slowly, stop reading, or never read: what they cost, and what the others notice."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest
from server.house import House, block, transfer

from chainwatch.stream.stream import Place

pytestmark = pytest.mark.long

PADDING = "." * 1000


async def write(house: House, first: int, last: int) -> None:
    for start in range(first, last + 1, 100):
        await house.tell(*(transfer(n, padding=PADDING) for n in range(start, min(start + 100, last + 1))))


async def test_a_slow_reader_falls_back_to_the_log_and_others_do_not_notice(house):
    slow = await house.stream(receive_buffer=4096)
    fast = await house.stream()
    (first, _) = house.hub.streams.values()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write(house, 1, 8000))
        assert await fast.numbers(8000) == list(range(1, 8001))
    assert first.place is Place.PAUSED
    assert first.position < 8000
    assert house.log.head - first.position > 1000
    assert await slow.numbers(8000) == list(range(1, 8001))
    await house.until(lambda: first.place is Place.LIVE)
    await house.tell(block(9000))
    assert await slow.numbers(1) == await fast.numbers(1) == [9000]


async def test_a_live_stream_that_pauses_within_a_burst_goes_on_behind_what_it_was_given(house):
    """One commit of many pieces: it leaves in the middle of a round, with the cursor of its own last piece."""
    answers = [await house.stream(receive_buffer=4096), await house.stream("/events?limit=3500", receive_buffer=4096)]
    streams = list(house.hub.streams.values())
    await house.until(lambda: {stream.place for stream in streams} == {Place.LIVE})
    await house.tell(*(transfer(n, padding=PADDING) for n in range(1, 4001)))
    await house.until(lambda: house.hub.flushed == 4000)
    for stream in streams:
        assert stream.place is Place.PAUSED
        assert 0 < stream.position < 3000
        assert stream.events_sent == stream.position
    for answer, stream, count in zip(answers, streams, (4000, 3500), strict=True):
        assert await answer.numbers(count) == list(range(1, count + 1))
        assert stream.events_sent == count
    assert await answers[1].expect("complete") == "[DONE]"


async def test_a_slow_reader_with_a_limit_gets_exactly_that_many(house):
    slow = await house.stream("/events?limit=6000", receive_buffer=4096)
    await write(house, 1, 8000)
    assert await slow.numbers(6000) == list(range(1, 6001))
    assert await slow.expect("complete") == "[DONE]"
    assert await slow.rest() == []


DEAD = """
import socket, sys
readers = []
for _ in range(int(sys.argv[2])):
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    reader.connect(("127.0.0.1", int(sys.argv[1])))
    reader.sendall(b"GET /events HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    readers.append(reader)
sys.stdin.read()
"""


async def test_dead_readers_hold_no_memory_and_move_nobody(serve):
    """1,000 clients of another process that never read, 6 MB of events: queues would hold 6 GB."""
    house, count = await serve(memory=2**20), 1000
    alive = await house.stream()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", DEAD, str(house.port), str(count)), stdin=asyncio.subprocess.PIPE
    )
    try:
        await house.until(lambda: len(house.hub.streams) == count + 1, seconds=60)
        before = resident()

        async def live() -> None:
            for start in range(1, 6000, 100):
                assert await alive.numbers(100) == list(range(start, start + 100))
                alive.messages.clear()  # it shares this process
                alive.raw = b""

        await asyncio.gather(write(house, 1, 6000), live())
        first, *dead = house.hub.streams.values()
        assert {stream.place for stream in dead} == {Place.PAUSED}
        await house.until(lambda: first.place is Place.LIVE)
        assert resident() - before < count * 64 * 1024
    finally:
        process.kill()
        await process.wait()


def resident() -> int:
    with open("/proc/self/statm") as statm:  # noqa: PTH123 - a file of the kernel
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_reader_that_takes_nothing_is_closed_and_can_resume(serve):
    house = await serve(stall=0.4)
    slow = await house.stream(receive_buffer=2048)
    other = asyncio.create_task((await house.stream()).numbers(6000), name="another reader")
    await write(house, 1, 6000)
    assert (await other)[-1] == 6000
    await house.until(lambda: len(house.hub.streams) == 1)
    seen = [json.loads(message.data)["data"]["number"] for message in await slow.rest()]
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) < 6000
    again = await house.stream(headers={"Last-Event-ID": slow.messages[-1].id})
    assert (await again.numbers(6000 - len(seen)))[-1] == 6000


async def test_a_reader_that_takes_little_is_left_alone(serve):
    """A few kilobytes at a time, long before the kernel calls the socket writable again."""
    house = await serve(stall=1.0)
    slow = await house.stream(receive_buffer=16_384)
    (stream,) = house.hub.streams.values()

    async def sip() -> None:
        for _ in range(50):
            assert await slow.reader.read(4096)
            await asyncio.sleep(0.04)

    # From the first event on: what it does not take is its own stall, however long the writing takes.
    await asyncio.gather(write(house, 1, 6000), sip())
    assert list(house.hub.streams.values()) == [stream]
    assert house.log.head - stream.position > 1000


async def test_a_paused_stream_is_ended_in_order_too(serve):
    house = await serve()
    slow = await house.stream(receive_buffer=4096)
    await write(house, 1, 6000)
    stopping = asyncio.create_task(house.hub.close())
    rest = await slow.rest()
    await stopping
    assert rest[-1].data == "[DONE]"
    assert rest[-1].id == rest[-2].id  # behind what it was given, not behind what it missed


async def test_shutdown_waits_for_no_dead_reader(serve):
    house = await serve()
    for _ in range(5):
        await house.stream(receive_buffer=2048)
    await write(house, 1, 6000)
    async with asyncio.timeout(3):
        await house.hub.close(grace=0.3)
    assert not house.hub.streams


async def test_retention_that_overtakes_a_reader_is_told_as_a_gap(serve):
    house = await serve(max_events=2000, memory=2**20)
    slow = await house.stream(receive_buffer=4096)
    await write(house, 1, 20_000)
    (stream,) = house.hub.streams.values()
    await house.until(lambda: house.log.oldest > stream.position + 1)
    seen: list[int] = []
    gaps = []
    while not seen or seen[-1] < 20_000:
        message = await slow.next()
        if message.event == "gap":
            gaps.append(json.loads(message.data))
            assert int(gaps[-1]["requested"].rpartition("-")[2]) == seen[-1]
            seen += range(seen[-1] + 1, int(gaps[-1]["resumed_at"].rpartition("-")[2]) + 1)
        else:
            seen.append(json.loads(message.data)["data"]["number"])
    assert seen == list(range(1, 20_001))
    assert gaps
    assert {gap["reason"] for gap in gaps} == {"expired"}
