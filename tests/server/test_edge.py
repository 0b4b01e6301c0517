"""What a connection may send, how long it may take, how many there may be: bytes over sockets, no client library."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import resource

import pytest
from server.house import House, block
from server.test_access import READER, holding, key, text
from structlog.testing import capture_logs

from chainwatch.keys import Keyring
from chainwatch.server import body, descriptors, edge, stats

HOST = b"Host: localhost\r\n"
LIVE = b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n"
LAST = b"GET /health/live HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"


class Peer:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer, read by its Content-Length."""
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            return int(status.split()[1]), headers, await self.reader.readexactly(int(headers.get("content-length", 0)))

    async def problem(self) -> tuple[int, str]:
        """Status and detail of the next answer, which is a problem document in all its parts."""
        status, headers, content = await self.answer()
        assert headers["content-type"] == "application/problem+json"
        assert (headers["server"], headers["x-content-type-options"]) == ("chainwatch", "nosniff")
        told = json.loads(content)
        assert told["status"] == status
        return status, told["detail"]

    async def rest(self) -> bytes:
        """Everything up to the end of the connection, which comes."""
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionResetError):
                return await self.reader.read()
            return b""

    async def reset(self) -> None:
        """The connection ends without a word."""
        assert await self.rest() == b""


_opened: list[Peer] = []


@pytest.fixture(autouse=True)
async def _left():
    """Peers leave behind their test."""
    yield
    for peer in _opened:
        peer.writer.transport.abort()
    _opened.clear()
    await asyncio.sleep(0)


async def connect(port: int) -> Peer:
    _opened.append(Peer(*await asyncio.open_connection("127.0.0.1", port)))
    return _opened[-1]


async def spoken(house: House, *pieces: bytes) -> Peer:
    peer = await connect(house.port)
    for piece in pieces:
        peer.send(piece)
    return peer


async def empties(house: House) -> None:
    """Nothing of any connection is left."""
    server = house.runner.server
    await house.until(lambda: not server.connections and not server._of_address and not house.hub.streams)


# --- what cannot be read ------------------------------------------------------------------------------------------


UNREADABLE = [
    (b"GET /events?" + b"a" * edge.LINE + b" HTTP/1.1\r\n", 414, "target is longer than 16384 bytes"),
    (b"GET / HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n", 431, "a header is longer than 8190 bytes"),
    (b"GET / HTTP/1.1\r\n" + b"a" * 9000 + b": x\r\n", 431, "a header is longer than 8190 bytes"),
    (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 101 + b"\r\n", 431, "more than 100 headers"),
    (b"GET / HTTP/1.1\r\n" + (b"X: " + b"a" * 8000 + b"\r\n") * 9, 431, "headers are more than 65536 bytes"),
    (b"GET / HTTP/1.1\r\n" + HOST + b"Host: evil\r\n\r\n", 400, "Duplicate 'Host'"),
    (b"GET / HTTP/1.1\r\n\r\n", 400, "Missing 'Host'"),
    (b"GET / HTTP/1.1\r\nX Y: z\r\n\r\n", 400, "Invalid header"),
    (b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n", 400, "Invalid header"),
    (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n", 400, "whitespace"),
    (b"GET / HTTP/1.1\n" + HOST, 400, "Expected CRLF"),
    (b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n", 400, "neither a path nor a URL"),
    (b"GET ftp://x:y@z:99999999/ HTTP/1.1\r\n" + HOST + b"\r\n", 400, "neither a path nor a URL"),
    (b"GET * HTTP/1.1\r\n" + HOST + b"\r\n", 400, "neither a path nor a URL"),
    (b"FETCH / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "method"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "not HTTPS"),
    (b"GET / HTTP/9.9\r\n" + HOST + b"\r\n", 400, "version"),
    (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505, "HTTP/1.1"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "PRI"),
    (b"GET /\r\n\r\n", 505, "HTTP/1.1"),
    (b"GET / HTTP/1.1\r\n" + HOST + b"Sec-WebSocket-Key1: cw_secret\r\n\r\n", 400, "a header cannot be read"),
    (b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Encoding: br\r\nContent-Length: 1\r\n\r\nx", 415, "gzip"),
]


async def test_what_cannot_be_read_is_a_problem_and_the_end(house, caplog):
    for request_bytes, status, words in UNREADABLE:
        peer = await spoken(house, request_bytes)
        told, detail = await peer.problem()
        assert told == status, request_bytes[:80]
        assert words in detail
        assert "secret" not in detail
        peer.send(b"GET / HTTP/1.1\r\n" * 1000)  # nobody listens any more, and the answer was not lost for it
        with contextlib.suppress(OSError):
            peer.writer.write_eof()
        await peer.reset()
    assert not caplog.records
    await empties(house)


SMUGGLED = [
    b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    b"Content-Length: 4\r\nContent-Length: 5\r\n",
    b"Content-Length: 4, 4\r\n",
    b"Content-Length: +4\r\n",
    b"Content-Length: 0x4\r\n",
    b"Content-Length: 99999999999999999999999\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding: chunked, identity\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Transfer-Encoding: chunked\r\n\x20foo: bar\r\n",
    b"Content-Length: 4\rTransfer-Encoding: chunked\r\n",
]


async def test_who_still_talks_gets_to_read_what_was_wrong(house):
    """A close with bytes unread is a reset, and a reset takes the answer with it where it is not there yet."""
    peer = await spoken(house, b"GET / HTTP/1.1\r\nX Y: z\r\n\r\n")
    assert (await peer.problem())[0] == 400
    for _ in range(20):
        peer.send(b"." * 100_000)
        await peer.writer.drain()
    peer.writer.write_eof()
    async with asyncio.timeout(10):
        assert await peer.reader.read() == b""
    await empties(house)


async def test_what_two_readers_could_understand_differently_is_refused(house):
    """RFC 9112, section 11.2: a proxy may have seen one request, where this would see two."""
    for framing in SMUGGLED:
        peer = await spoken(house, b"POST /events/x HTTP/1.1\r\n" + HOST + framing + b"\r\n0\r\n\r\n" + LIVE)
        assert (await peer.problem())[0] == 400, framing
        peer.writer.write_eof()
        await peer.reset()


async def test_a_chunk_that_is_none_ends_the_connection(house, caplog):
    head = b"POST /events/x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    for chunk in (b"5;a\nb\r\nabcde\r\n", b"5\nabcde\r\n", b"-1\r\n", b"5\r\nabcdefgh\r\n", b"g\r\n"):
        peer = await spoken(house, head + chunk + LIVE)
        assert (await peer.problem())[0] == 400, chunk
        peer.writer.write_eof()
        await peer.reset()
    assert not caplog.records


# --- what can -----------------------------------------------------------------------------------------------------


async def test_pipelined_requests_are_answered_in_order(house):
    peer = await spoken(house, LIVE * 50, b"GET /nothing HTTP/1.1\r\n" + HOST + b"\r\n", LAST)
    assert [(await peer.answer())[0] for _ in range(52)] == [200] * 50 + [404, 200]
    await peer.reset()


async def test_more_than_can_wait_behind_a_request_ends_with_its_answer(house):
    """One handler is busy, and its client sends on: 64 KiB are kept for later, no more."""
    waits = b"POST /events/x HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\n"
    peer = await spoken(house, waits)
    await house.until(lambda: any(one._current_request for one in house.runner.server.connections))
    [connection] = house.runner.server.connections
    peer.send(b"{" + LIVE * 5000)
    assert (await peer.answer())[0] == 400
    await peer.rest()
    assert connection._unread <= edge.HEAD + 2**18  # one read of the socket further
    await empties(house)


async def test_http_1_0_is_spoken(house):
    peer = await spoken(house, b"GET /health/live HTTP/1.0\r\n\r\n")
    assert (await peer.answer())[0] == 200
    await peer.reset()
    peer = await spoken(house, b"GET /health/live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2)
    assert [(await peer.answer())[0] for _ in range(2)] == [200, 200]


TARGETS = [
    (b"http://localhost/health/live", 200),
    (b"http://127.0.0.1:1234/health/live?", 200),
    (b"http://[::1]:8080/health/live", 200),
    (b"HTTP://LOCALHOST/health/live", 200),
    (b"http://evil.example/health/live", 403),
    (b"http://localhost@evil.example/health/live", 403),
    (b"//evil.example/health/live", 404),
    (b"/health/live#fragment", 200),
    (b"/../health/live", 404),
]


async def test_a_target_may_be_a_url_of_this_machine(house):
    for target, status in TARGETS:
        peer = await spoken(house, b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await peer.answer())[0] == status, target


async def test_options_of_everything(house):
    peer = await spoken(house, b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n")
    status, headers, _ = await peer.answer()
    assert status == 204
    assert {"GET", "HEAD", "OPTIONS", "POST"} <= set(headers["allow"].split(", "))


async def test_a_page_that_may_is_told_what_it_may_send_and_read(serve):
    house = await serve(allowed_origins=("https://app.example",))
    allowed = {"Origin": "https://app.example", "Access-Control-Request-Method": "PUT"}
    for path, methods in (
        ("/agents/mine", {"GET", "PUT", "DELETE"}),
        ("/agents/mine/ack", {"POST"}),
        ("/events/deploy", {"GET", "POST"}),
        ("/v1/chain/ethereum", {"GET"}),
    ):
        answer = await house.ask(path, allowed, method="OPTIONS")
        assert answer.status == 204
        assert methods <= set(answer.headers["access-control-allow-methods"].split(", "))
        sent = {"Content-Type", "Idempotency-Key", "Last-Event-ID", "X-API-Key"}
        assert sent <= set(answer.headers["access-control-allow-headers"].split(", "))
    foreign = await house.ask("/agents/mine", {**allowed, "Origin": "https://evil.example"}, method="OPTIONS")
    assert foreign.status == 403
    assert "access-control-allow-origin" not in foreign.headers
    wrong = await house.ask("/agents/none", {"Origin": "https://app.example"})
    assert (wrong.status, wrong.headers["access-control-allow-origin"]) == (404, "https://app.example")
    assert {"Retry-After", "ETag"} <= set(wrong.headers["access-control-expose-headers"].split(", "))


# --- a client that closes its half --------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [True, False])
async def test_a_client_that_closes_its_half_gets_its_answers(house, together):
    """`nc -N`, and whatever else shuts down its writing side behind the request."""
    for count in (1, 3):
        peer = await spoken(house, LIVE * count)
        if not together:
            await asyncio.sleep(0)
        peer.writer.write_eof()
        assert (await peer.rest()).count(b"HTTP/1.1 200") == count
    await empties(house)


async def test_who_closes_in_the_middle_of_a_request_is_gone(house):
    post = b"POST /events/x HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\n{"
    for half in (b"", LIVE[:20], post):
        peer = await spoken(house, half)
        peer.writer.write_eof()
        await peer.reset()
    await empties(house)


async def test_for_a_stream_a_closed_half_is_a_client_that_leaves(house):
    peer = await spoken(house, b"GET /events HTTP/1.1\r\n" + HOST + b"\r\n")
    peer.writer.write_eof()
    await peer.rest()
    await empties(house)
    assert house.context.gate.taken == 0


async def test_who_leaves_the_statistics_gives_the_seat_back_at_once(house):
    ask = b"GET /v1/stats HTTP/1.1\r\n" + HOST + b"Accept: text/event-stream\r\n\r\n"
    watching = await spoken(house, ask)
    await watching.reader.readuntil(b"data: ")
    leaving = await spoken(house, ask)
    leaving.writer.write_eof()
    await leaving.rest()
    await house.until(lambda: house.context.gate.taken == 1, seconds=0.9)
    watching.writer.transport.abort()
    await house.until(lambda: house.context.gate.taken == 0, seconds=0.9)
    await empties(house)


async def test_who_takes_no_statistics_is_closed(house, monkeypatch):
    monkeypatch.setattr(stats, "STALL", 0.2)
    told = b"data: " + b"." * 8_000_000 + b"\n\n"
    monkeypatch.setattr(stats.Ticker, "frame", lambda *_: told)
    peer = await spoken(house, b"GET /v1/stats HTTP/1.1\r\n" + HOST + b"Accept: text/event-stream\r\n\r\n")
    peer.writer.transport.pause_reading()
    await house.until(lambda: house.context.gate.taken == 1)
    await empties(house)
    assert house.context.gate.taken == 0


# --- time ---------------------------------------------------------------------------------------------------------


async def test_who_says_nothing_or_never_ends_a_head_is_closed(house, monkeypatch):
    monkeypatch.setattr(edge, "HEAD_SECONDS", 0.3)
    silent = await connect(house.port)
    slow = await connect(house.port)

    async def dribble() -> None:
        with contextlib.suppress(ConnectionError):
            for number in range(10_000):
                slow.send(b"GET / HTTP/1.1\r\nX: "[number : number + 1] or b"a")
                await slow.writer.drain()
                await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(dribble())
        await silent.reset()
        await slow.reset()
        writing.cancel()
    await empties(house)


async def test_the_time_of_the_head_does_not_run_for_what_comes_later(house, monkeypatch):
    monkeypatch.setattr(edge, "HEAD_SECONDS", 0.2)
    stream = await house.stream()
    peer = await spoken(house, LIVE)
    assert (await peer.answer())[0] == 200
    ended = await connect(house.port)
    await ended.reset()  # so much time is over
    peer.send(LAST)
    assert (await peer.answer())[0] == 200
    await house.tell(block(1))
    assert await stream.numbers(1) == [1]


async def test_an_idle_connection_is_closed_after_a_while(serve, monkeypatch):
    monkeypatch.setattr(edge, "HEAD_SECONDS", 0.1)
    monkeypatch.setattr(edge, "IDLE_SECONDS", 0.2)
    house = await serve()
    peer = await spoken(house, LIVE)
    assert (await peer.answer())[0] == 200
    await peer.reset()


# --- bodies -------------------------------------------------------------------------------------------------------


def post(content: bytes, *headers: bytes, length: int | None = None) -> bytes:
    size = b"Content-Length: %d" % (len(content) if length is None else length)
    lines = [b"POST /events/deploy HTTP/1.1", HOST.strip(), size, *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + content


def chunked(content: bytes, *headers: bytes) -> bytes:
    lines = [b"POST /events/deploy HTTP/1.1", HOST.strip(), b"Transfer-Encoding: chunked", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)


LARGEST = b'{"a":"' + b"x" * (body.MOST - 8) + b'"}'


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (post(LARGEST), 201),
        (chunked(LARGEST), 201),
        (post(gzip.compress(LARGEST), b"Content-Encoding: gzip"), 201),
        (post(b" " + LARGEST), 413),
        (chunked(b" " + LARGEST), 413),
        (post(gzip.compress(b"0" * 100_000_000), b"Content-Encoding: gzip"), 413),
        (post(b"", length=10**12), 413),
        (post(b"not gzip", b"Content-Encoding: gzip"), 400),
        (post(b"{}", b"Expect: 200-ok"), 417),
    ],
    ids=["largest", "chunks", "gzip", "larger", "larger chunks", "bomb", "announced", "broken", "expects"],
)
async def test_a_body_has_a_size(house, request_bytes, status, caplog):
    peer = await spoken(house, request_bytes)
    if status == 201:
        assert (await peer.answer())[0] == 201
        assert house.log.head == 1
    else:
        assert (await peer.problem())[0] == status
        assert house.log.head == 0
    assert not caplog.records


@pytest.mark.parametrize(("content", "status"), [(LARGEST, 201), (b" " * 2 * body.MOST, 413)])
async def test_a_large_body_right_behind_the_answer_before_is_answered_too(house, content, status):
    """That answer is out, and the connection does not wait for the next request yet."""
    peer = await spoken(house, LIVE)
    await house.until(lambda: house.runner.server.connections)
    [connection] = house.runner.server.connections
    while not connection._answered:
        await asyncio.sleep(0)
    assert connection._waiter is None
    connection.data_received(post(content))
    assert [(await peer.answer())[0] for _ in range(2)] == [200, status]


async def test_a_body_that_does_not_come_is_not_waited_for(house, monkeypatch):
    monkeypatch.setattr(body, "SECONDS", 0.1)
    peer = await spoken(house, post(b"{", length=2))
    assert (await peer.problem())[0] == 408


async def test_who_may_not_send_is_not_asked_for_the_body(serve):
    house = await serve(ring=Keyring([READER, key("sender", can="send")]))
    peer = await spoken(house, post(b"", b"Expect: 100-continue", b"X-API-Key: " + text(READER).encode(), length=2))
    assert (await peer.problem())[0] == 403
    allowed = text(key("sender", can="send")).encode()
    peer = await spoken(house, post(b"", b"Expect: 100-continue", b"X-API-Key: " + allowed, length=2))
    assert await peer.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    peer.send(b"{}")
    assert (await peer.answer())[0] == 201


# --- how many -----------------------------------------------------------------------------------------------------


async def test_connections_never_get_the_last_descriptors(house, monkeypatch):
    with capture_logs() as told:
        await _connections_never_get_the_last_descriptors(house, monkeypatch)
    assert [line["event"] for line in told].count("connections are closed unheard") == 1


async def _connections_never_get_the_last_descriptors(house, monkeypatch):
    streams = [await house.stream() for _ in range(3)]
    monkeypatch.setattr(descriptors, "room", lambda: 5)
    inside = [await connect(house.port) for _ in range(2)]
    await house.until(lambda: len(house.runner.server.connections) == 2)
    for _ in range(20):
        await (await connect(house.port)).reset()
    inside[0].send(LIVE)
    assert (await inside[0].answer())[0] == 200
    await house.tell(block(1))
    for stream in streams:
        assert await stream.numbers(1) == [1]
    assert house.runner.server.dropped == {"descriptors": 20}
    inside[0].writer.close()
    await house.until(lambda: len(house.runner.server.connections) == 1)
    assert (await (await spoken(house, LIVE)).answer())[0] == 200


async def test_one_address_has_so_many_connections_and_those_of_a_proxy_are_everybodys(serve, monkeypatch):
    monkeypatch.setattr(edge, "_SPARE", 1)
    house = await serve(max_connections_per_address=2)
    inside = [await connect(house.port) for _ in range(3)]
    await (await connect(house.port)).reset()
    inside[0].send(LIVE)
    assert (await inside[0].answer())[0] == 200
    for peer in inside:
        peer.writer.close()
    await empties(house)
    house = await serve("behind.db", max_connections_per_address=2, trusted_proxies=("127.0.0.1",))
    peers = [await spoken(house, LIVE) for _ in range(6)]
    assert [(await peer.answer())[0] for peer in peers] == [200] * 6


async def test_clients_behind_a_proxy_of_ours_are_told_apart(serve):
    house = await serve(max_connections_per_address=1, trusted_proxies=("127.0.0.0/8",))
    for client in ("192.0.2.1", "192.0.2.2"):
        await house.stream(headers={"X-Forwarded-For": f"10.1.1.1, {client}"})
    assert (await house.ask("/events", {"X-Forwarded-For": "192.0.2.2"})).status == 429
    listed = (await (await house.ask("/v1/stats")).json())["streams"]["list"]
    assert [stream["peer"] for stream in listed] == ["192.0.2.1", "192.0.2.2"]


async def test_x_forwarded_for_of_a_stranger_means_nothing(serve):
    house = await serve(max_connections_per_address=1)
    await house.stream(headers={"X-Forwarded-For": "192.0.2.1"})
    assert (await house.ask("/events", {"X-Forwarded-For": "192.0.2.2"})).status == 429


def test_what_does_not_fit_is_said(monkeypatch):
    monkeypatch.setattr(descriptors, "limit", lambda: 1024)
    with capture_logs() as told:
        descriptors.check(896)
        assert not told
        descriptors.check(10_000)
    assert told[0]["possible"] == 896
    assert "LimitNOFILE=) to 10128" in str(told[0])


def test_the_limit_of_descriptors_is_raised_as_far_as_it_goes():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        assert descriptors.room() == 192
        descriptors.take(1)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- what it leans on ---------------------------------------------------------------------------------------------


async def test_aiohttp_is_as_this_needs_it(house):
    """If one of these fails after an update of aiohttp: see what took its place, in `web_protocol`."""
    peer = await spoken(house, LIVE)
    await peer.answer()
    [connection] = house.runner.server.connections
    assert type(connection) is edge.Handler
    assert connection._waiter is not None
    assert connection._request_count == connection._answered == 1
    assert not connection._messages
    assert connection._current_request is None
    assert connection._keepalive_handle is not None
    assert connection._keepalive_timeout == edge.IDLE_SECONDS
    assert connection.max_line_size == edge.LINE
    assert (await house.ask("/health/live", holding(READER))).status == 200
