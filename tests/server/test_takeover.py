"""What the fan-out leans on in aiohttp and in both loops, and what it leaves behind: nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref

import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from server.house import block

from chainwatch.server import takeover
from chainwatch.stream.stream import Place


async def test_aiohttp_lets_the_request_and_its_own_protocol_go(serve, monkeypatch):
    seen = []
    take = takeover.take

    def taken(request, stream):
        seen.extend([weakref.ref(request), weakref.ref(request.task)])
        return take(request, stream)

    monkeypatch.setattr("chainwatch.server.streams.take", taken)
    house = await serve()
    gc.collect()
    others = [thing for thing in gc.get_objects() if isinstance(thing, RequestHandler)]
    answer = await house.stream()
    await house.tell(block(1))
    assert await answer.numbers(1) == [1]
    gc.collect()
    assert [ref() for ref in seen] == [None, None]
    assert house.runner.server.connections == []
    assert not [thing for thing in gc.get_objects() if isinstance(thing, RequestHandler) and thing not in others]


async def test_the_head_goes_out_with_the_first_event_in_one_write(house):
    """A write to a socket is a good part of what a connect costs."""
    request = f"GET /events HTTP/{{}}\r\nHost: localhost:{house.port}\r\n\r\n"
    for version in ("1.1", "1.0"):
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        writer.write(request.format(version).encode())
        first = await reader.read(65_536)
        assert first.startswith(b"HTTP/1.1 200" if version == "1.1" else b"HTTP/1.0 200"), first
        assert b"\r\n\r\n" in first
        assert b"event: connect\n" in first
        assert first.count(b"HTTP/") == 1
        writer.close()


async def test_a_stream_leaves_no_task(house):
    before = len(asyncio.all_tasks())
    answers = [await house.stream() for _ in range(20)]
    await house.tell(block(1))
    for answer in answers:
        await answer.numbers(1)
    await house.until(lambda: len(asyncio.all_tasks()) <= before)


async def test_a_disconnect_is_noticed_at_once_and_leaves_nothing(house):
    async def descriptors() -> int:
        await asyncio.sleep(0)
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - one number, not paths

    (await house.stream()).cut()
    await house.until(lambda: not house.hub.streams)
    before = await descriptors()
    for how in ("cut", "close"):
        answers = [await house.stream(query) for query in ("/events", "/events/block", "/events?limit=9") * 5]
        assert len(house.hub.streams) == 15
        for answer in answers:
            getattr(answer, how)()
        await house.until(lambda: not house.hub.streams, seconds=1)
    await house.tell(block(1))
    for _ in range(100):
        if await descriptors() <= before:
            break
        await asyncio.sleep(0.01)
    assert await descriptors() <= before
    assert not house.hub._groups
    assert not len(house.hub._index)
    assert not len(house.hub.watch)


async def test_a_client_that_half_closes_is_gone(house):
    answer = await house.stream()
    answer.writer.write_eof()
    await house.until(lambda: not house.hub.streams)


async def test_a_pipelined_request_harms_nothing(house):
    answer = await house.stream(after=b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
    await house.tell(block(1))
    assert await answer.numbers(1) == [1]
    assert len(house.hub.streams) == 1
    answer.cut()
    await house.until(lambda: not house.hub.streams)


async def test_a_client_that_talks_on_and_on_is_cut(house):
    answer = await house.stream()
    other = await house.stream()
    answer.writer.write(b"x" * 100_000)
    await house.until(lambda: len(house.hub.streams) == 1)
    await house.tell(block(1))
    assert await other.numbers(1) == [1]


async def test_junk_is_not_read(house):
    answer = await house.stream()
    answer.writer.write(b"\x00\xff junk\r\n\r\n")
    await house.tell(block(1))
    assert await answer.numbers(1) == [1]
    assert (await house.ask("/events", after=b"\x00\xff junk\r\n\r\n")).status == 400
    assert len(house.hub.streams) == 1


async def test_a_client_that_left_before_its_stream_began_is_no_stream(serve, monkeypatch):
    house = await serve()
    before = web.StreamResponse.prepare

    async def prepare(response, request):
        writer = await before(response, request)
        request.transport.abort()
        return writer

    monkeypatch.setattr(web.StreamResponse, "prepare", prepare)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await (await house.ask("/events")).next()
    assert not house.hub.streams


async def test_pause_comes_from_inside_of_the_write_that_the_kernel_does_not_take(house):
    """What makes `flushed` the cursor of a stream that stops being live, in both loops."""
    answer = await house.stream(receive_buffer=4096)
    (stream,) = house.hub.streams.values()
    await house.until(lambda: stream.place is Place.LIVE)
    paused = []
    stream.transport.write(b"1\r\n\n\r\n")
    assert not stream.paused
    for _ in range(1000):
        stream.transport.write(b"10000\r\n" + b"\n" * 65536 + b"\r\n")
        paused.append(stream.paused)
        if stream.paused:
            break
    assert paused[-1]
    assert stream.transport.get_write_buffer_size() > 0
    assert stream.place is Place.PAUSED
    while stream.paused:
        await answer.piece()
    await house.until(lambda: stream.place is Place.LIVE)
    assert stream.transport.get_write_buffer_size() == 0
