"""Streams in gzip and zstd: the same events at the same time, in a body that is valid to its last byte."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import zlib
from typing import Any

import pytest
from backports import zstd
from server.house import Answer, House, block, transfer

from chainwatch import sse
from chainwatch.stream import wire
from chainwatch.stream.stream import Place

BROWSER = {"Accept-Encoding": "gzip, deflate, br, zstd"}
WHOLE = {"": bytes, "gzip": gzip.decompress, "zstd": zstd.decompress}
CODED = ["gzip", "zstd"]


class Reader:
    """In the place of an answer's parser: it gives what can be read so far, and keeps the plain bytes."""

    def __init__(self, coding: str) -> None:
        self.plain = b""
        self.parser = sse.Parser()
        self._inflate = zlib.decompressobj(31) if coding == "gzip" else None
        self._frame = zstd.ZstdDecompressor()

    def feed(self, data: bytes) -> list[sse.Message]:
        plain = b""
        if self._inflate is not None:
            plain = self._inflate.decompress(data)
        else:
            while data:
                plain += self._frame.decompress(data)
                data = b""
                if self._frame.eof:
                    data, self._frame = self._frame.unused_data, zstd.ZstdDecompressor()
        self.plain += plain
        return self.parser.feed(plain)


async def coded(house: House, path: str, coding: str, **more: Any) -> Answer:
    """A stream in that coding behind its `connect`; "" is the plain one."""
    headers = more.pop("headers", {}) | ({"Accept-Encoding": coding} if coding else {})
    answer = await house.ask(path, headers, **more)
    assert answer.status == 200
    assert answer.headers.get("content-encoding", "") == coding
    assert answer.headers["vary"] == "Accept-Encoding"
    if coding:
        answer.parser = Reader(coding)
    await answer.expect("connect")
    return answer


def whole(answer: Answer) -> bytes:
    """The plain body of an answer that was read to its end, decoded by who insists on a valid one."""
    coding = answer.headers.get("content-encoding", "")
    plain = WHOLE[coding](answer.raw)
    if coding:
        assert plain == answer.parser.plain
    return plain


def noise(number: int) -> str:
    """What does not get smaller than half."""
    return random.Random(number).randbytes(1000).hex()


@pytest.mark.parametrize("coding", CODED)
async def test_the_body_is_that_of_the_plain_stream(house, coding):
    await house.tell(*(transfer(number) for number in range(500)))
    paths = ("/events?since=earliest&limit=620", "/events/token_transfer?since=earliest&limit=620")
    answers = [(await coded(house, path, ""), await coded(house, path, coding)) for path in paths]
    await house.until(lambda: {stream.place for stream in house.hub.streams.values()} == {Place.LIVE})
    for number in range(500, 600, 10):
        await house.tell(*(transfer(number + more) for more in range(10)))
    await house.tell(*(transfer(number) for number in range(600, 700)))
    for plain, other in answers:
        await plain.rest()
        assert await other.rest() == plain.messages[1:]
        # `connect` names the stream, `complete` has a wait of its own.
        of_both = [whole(answer).split(b"\n\n")[1:-2] for answer in (plain, other)]
        assert of_both[0] == of_both[1]
        assert len(of_both[0]) == 620
        assert len(other.raw) < len(plain.raw) / 2


@pytest.mark.parametrize("coding", CODED)
async def test_an_event_is_there_before_the_next_one(house, coding):
    answer = await coded(house, "/events", coding)
    for number in range(20):
        await house.tell(block(number))
        assert await answer.numbers(1) == [number]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("end", ["limit", "at once", "duration", "shutdown", "revoked"])
async def test_every_end_that_is_meant_is_the_end_of_a_valid_body(serve, version, end):
    house = await serve(heartbeat=0.1)
    await house.tell(*(transfer(number) for number in range(1, 8)))
    query = {"limit": "&limit=6", "at once": "&limit=3", "duration": "&duration=0.3"}.get(end, "")
    answers = [await coded(house, f"/events?since=earliest{query}", coding, version=version) for coding in CODED]
    streams = list(house.hub.streams.values())
    if end in ("limit", "shutdown", "revoked"):
        for answer in answers:
            await answer.numbers(5)
        await house.tell(block(8))
    if end == "shutdown":
        await house.hub.close()
    elif end == "revoked":
        for stream in streams:
            house.hub.finish(stream, end)
    for answer in answers:
        assert (await answer.rest())[-1].data == "[DONE]"
        plain = whole(answer)
        assert plain.startswith(b"retry: ")
        assert plain.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("coding", CODED)
@pytest.mark.parametrize("path", ["/events", "/events/block"])
async def test_heartbeats_between_events_are_part_of_the_body(serve, coding, path):
    """Of members of a group too, whose trailer is counted by the group."""
    house = await serve()
    beating = await coded(house, f"{path}?heartbeat=0.1", coding)
    steady = await coded(house, path, coding)
    for number in range(3):
        await house.tell(block(number), transfer(10 + number))
        while beating.parser.plain.count(b"\n:\n") <= number:
            await beating.piece_into_parser()
    await house.hub.close()
    for answer in (beating, steady):
        await answer.rest()
        assert whole(answer).count(b'"type":"block_new"') == 3


@pytest.mark.parametrize("coding", CODED)
async def test_a_slow_reader_falls_back_to_the_log_and_comes_back(house, coding):
    slow = await coded(house, "/events", coding, receive_buffer=4096)
    fast = await coded(house, "/events", coding)
    limited = await coded(house, "/events?limit=2950", coding, receive_buffer=4096)
    streams = list(house.hub.streams.values())
    reading = asyncio.create_task(fast.numbers(3000), name="the other reader")
    for start in range(1, 3001, 100):
        await house.tell(*(transfer(number, padding=noise(number)) for number in range(start, start + 100)))
    assert await reading == list(range(1, 3001))
    assert [streams[place].place for place in (0, 2)] == [Place.PAUSED] * 2
    assert house.log.head - streams[0].position > 100
    assert await slow.numbers(3000) == list(range(1, 3001))
    assert await limited.numbers(2950) == list(range(1, 2951))
    await house.until(lambda: streams[0].place is Place.LIVE)
    await house.tell(block(9000))
    assert await slow.numbers(1) == await fast.numbers(1) == [9000]
    await house.hub.close()
    for answer in (slow, fast, limited):
        assert (await answer.rest())[-1].data == "[DONE]"
        whole(answer)


async def test_a_gap_is_told_in_a_compressed_stream_too(serve):
    house = await serve(max_events=300, memory=2**20)
    slow = await coded(house, "/events", "gzip", receive_buffer=4096)
    (stream,) = house.hub.streams.values()
    for start in range(1, 4001, 100):
        await house.tell(*(transfer(number, padding=noise(number)) for number in range(start, start + 100)))
    await house.until(lambda: house.log.oldest > stream.position + 1)
    beyond = await coded(house, "/events?last_event_id=nonsense", "gzip")
    assert (await beyond.expect("gap"))["reason"] == "malformed"
    await house.tell(block(1))
    while (message := await slow.next()).event != "gap":
        pass
    assert json.loads(message.data)["reason"] == "expired"
    while json.loads((await slow.next()).data)["type"] != "block_new":
        pass
    await house.hub.close()
    for answer in (slow, beyond):
        await answer.rest()
        whole(answer)


async def test_a_piece_is_compressed_once_for_all_who_want_the_same(house, monkeypatch):
    answers = [await coded(house, "/events", coding) for coding in CODED * 10]
    named = await coded(house, "/events?named=true", "gzip")
    pieces = []
    before = wire.coded
    monkeypatch.setattr(wire, "coded", lambda data, coding: pieces.append(coding.value) or before(data, coding))
    await house.until(lambda: {stream.place for stream in house.hub.streams.values()} == {Place.LIVE})
    await house.tell(*(block(number) for number in range(50)))
    for answer in (*answers, named):
        assert await answer.numbers(50) == list(range(50))
    assert sorted(pieces) == ["gzip", "gzip", "zstd"]
    pieces.clear()
    behind = [await coded(house, "/events?since=earliest", "gzip") for _ in range(10)]
    for answer in behind:
        assert await answer.numbers(50) == list(range(50))
    assert pieces == ["gzip"] * 11  # one piece of the log, and the `connect` of each


async def test_bytes_are_those_of_the_wire(house):
    answer = await coded(house, "/events", "gzip")
    (stream,) = house.hub.streams.values()
    await house.until(lambda: stream.place is Place.LIVE)
    before = len(answer.raw)
    await house.tell(*(transfer(number) for number in range(100)))
    await answer.numbers(100)
    size = len(answer.raw) - before
    assert stream.bytes_sent == house.hub.meter.bytes == size + len(f"{size:x}\r\n\r\n")


@pytest.mark.parametrize(
    ("compression", "headers", "coding"),
    [
        ("auto", BROWSER, None),
        ("auto", BROWSER | {"X-Forwarded-For": "192.0.2.7"}, "gzip"),
        ("auto", BROWSER | {"Via": "1.1 proxy"}, "gzip"),
        ("auto", {"Accept-Encoding": "gzip"}, "gzip"),
        ("auto", {"Accept-Encoding": "br"}, None),
        ("auto", {}, None),
        ("always", BROWSER, "gzip"),
        ("always", {"Accept-Encoding": "gzip;q=0.5\r\nAccept-Encoding: zstd"}, "zstd"),
        ("always", {}, None),
        ("never", {"Accept-Encoding": "gzip"}, None),
    ],
)
async def test_who_gets_what(serve, compression, headers, coding):
    house = await serve(compression=compression)
    await house.tell(*(transfer(number) for number in range(20)))
    for path in ("/events?limit=1&since=earliest", "/events/history"):
        answer = await house.ask(path, headers)
        assert answer.status == 200
        assert answer.headers.get("content-encoding") == coding
        assert answer.headers["vary"] == "Accept-Encoding"
        WHOLE[coding or ""](await answer.body())


async def test_a_page_of_another_origin_varies_by_both(serve):
    house = await serve(allowed_origins=("https://site.example",))
    answer = await house.ask("/events", {"Origin": "https://site.example", "Accept-Encoding": "gzip"})
    assert answer.headers["access-control-allow-origin"] == "https://site.example"
    assert answer.headers["vary"] == "Accept-Encoding, Origin"


@pytest.mark.parametrize("coding", CODED)
async def test_history_is_compressed_where_it_is_worth_it(house, coding):
    await house.tell(block(1))
    small = await house.ask("/events/history", {"Accept-Encoding": coding})
    assert "content-encoding" not in small.headers
    assert len((await small.json())["events"]) == 1
    await house.tell(*(transfer(number) for number in range(900)))
    plain = await house.ask("/events/history?limit=1000")
    other = await house.ask("/events/history?limit=1000", {"Accept-Encoding": coding})
    assert other.headers["content-encoding"] == coding
    assert WHOLE[coding](await other.body()) == await plain.body()
    assert len(other.raw) < len(plain.raw) / 5
