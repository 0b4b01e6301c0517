"""The client against a server on a real socket: cuts, refusals, silences, gaps, and answers that no daemon gives."""

import asyncio
import contextlib
import random
import socket
import time

import pytest
from aiohttp import web
from sse_server import LOG, SseServer, connect, frame, frames, gap, line, problem

from chainwatch import client, sse
from chainwatch.client import subscription
from chainwatch.client.request import _retry_after
from chainwatch.client.subscription import Backoff
from chainwatch.errors import BadAnswer, GapError, Refused, Unreachable, UsageError


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch):
    monkeypatch.setattr(subscription, "_FIRST_WAIT", 0.001)


async def collected(url, count, **options):
    """The first `count` events as (number, cursor), and the notes until then."""
    notes = []
    found = []
    async with asyncio.timeout(10), client.stream(url, on_note=notes.append, **options) as stream:
        async for event in stream:
            found.append((event.data["log_index"], stream.cursor))
            if len(found) == count:
                break
    return found, notes


def numbered(first, last):
    return [(number, f"{LOG}-{number}") for number in range(first, last + 1)]


# --- what is asked, what is given -----------------------------------------------------------------------------------


async def test_events_come_with_their_cursor_and_their_line():
    server = SseServer()
    server.script = [server.said(connect(0), frame(1), sse.HEARTBEAT, frame(2))]
    async with server, client.stream(server.url) as stream:
        assert (stream.cursor, stream.line) == ("", b"")
        first = await anext(stream)
        assert (first.type, first.data["amount"], stream.cursor, stream.line) == (
            "token_transfer",
            "1",
            "log1-1",
            line(1),
        )
        assert (await anext(stream)).data["amount"] == "2"


async def test_every_option_is_a_parameter_of_the_request():
    server = SseServer()
    server.script = [server.said(connect(0), frame(1))]
    async with server:
        await collected(
            server.url + "/",
            1,
            types=["block_new", "token_transfer"],
            filters="price",
            address="0xAb",
            token=("USDC",),
            chains="base",
            min_amount=2**200,
            where='data.token == "A,B" && data.amount + 1 > 5',
            since="2025-06-24T07:00:00+02:00",
            last=5,
            limit=9,
            duration=60,
            heartbeat=2.5,
            key="cw_secret",
        )
        request = server.requests[0]
    assert list(request.query.items()) == [
        ("types", "block_new"),
        ("types", "token_transfer"),
        ("filters", "price"),
        ("address", "0xAb"),
        ("token", "USDC"),
        ("chains", "base"),
        ("min_amount", str(2**200)),
        ("where", 'data.token == "A,B" && data.amount + 1 > 5'),
        ("heartbeat", "2.5"),
        ("limit", "9"),
        ("duration", "60"),
        ("since", "2025-06-24T07:00:00+02:00"),
        ("last", "5"),
    ]
    assert request.headers["X-API-Key"] == "cw_secret"
    assert request.headers["Accept"] == "text/event-stream"
    assert "Last-Event-ID" not in request.headers


async def test_leaving_the_loop_ends_the_connection():
    """Without `aclose`, too; an unclosed session would be a warning, and a warning is an error here."""
    ended = asyncio.Event()

    async def answer(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(connect(0) + frames(1, 2))
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with SseServer(answer) as server, asyncio.timeout(5):
        async for _ in client.stream(server.url):
            break
        await ended.wait()


async def test_named_events_are_events_and_unknown_control_events_are_none():
    server = SseServer()
    named = sse.event_line("token_transfer") + frame(1)
    server.script = [server.said(connect(0), sse.heartbeat(), sse.control("open", b"?"), named, frame(2))]
    async with server:
        found, _ = await collected(server.url, 2)
    assert found == numbered(1, 2)


# --- connections that end -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("then", ["cut", "end"])
async def test_a_stream_that_is_cut_in_mid_frame_goes_on_behind_its_last_event(then):
    server = SseServer()
    server.script = [
        server.said(connect(0), frames(1, 3), frame(4)[:40], then=then),
        server.said(connect(3), frames(4, 6)),
    ]
    async with server:
        found, notes = await collected(server.url, 6, since="earliest", types="block_new")
        first, second = server.requests
    assert found == numbered(1, 6)
    assert second.headers["Last-Event-ID"] == "log1-3"
    assert first.query["since"] == "earliest"
    assert dict(second.query) == {"types": "block_new", "heartbeat": "15"}
    assert [type(note) for note in notes if not isinstance(note, client.Moved)] == [
        client.Connected,
        client.Waiting,
        client.Connected,
    ]
    assert (notes[0].again, notes[-1].again) == (False, True)


@pytest.mark.parametrize("seed", range(20))
async def test_a_client_that_is_cut_anywhere_holds_every_event_once(seed):
    dice = random.Random(seed)
    last = 60

    async def answer(request):
        after = int(request.headers.get("Last-Event-ID", "log1-0").removeprefix("log1-"))
        body = connect(after)
        for number in range(after + 1, last + 1):
            if dice.random() < 0.2:
                body += dice.choice([sse.HEARTBEAT, sse.cursor_only(f"{LOG}-{number - 1}"), sse.heartbeat()])
            body += frame(number)
        if dice.random() < 0.8:
            body = body[: dice.randrange(min(len(body), 6000))]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while body:
            size = dice.randint(1, 2000)
            await response.write(body[:size])
            body = body[size:]
        if dice.random() < 0.5:
            request.transport.abort()
        return response

    ready = SseServer()
    ready.script = [ready.said(connect(0), then="cut"), answer]  # the very first connection may not fail
    async with ready:
        found, _ = await collected(ready.url, last)
    assert found == numbered(1, last)


async def test_a_cut_before_the_first_event_resumes_from_where_the_stream_began():
    server = SseServer()
    server.script = [server.said(connect(41), then="cut"), server.said(connect(41), frame(42))]
    async with server:
        found, notes = await collected(server.url, 1)
        assert server.requests[1].headers["Last-Event-ID"] == "log1-41"
    assert found == numbered(42, 42)
    assert client.Moved("log1-41") in notes


async def test_a_quiet_stream_moves_the_cursor_without_an_event():
    server = SseServer()
    server.script = [
        server.said(connect(0), frame(1), sse.cursor_only("log1-900"), then="cut"),
        server.said(connect(900), frame(901)),
    ]
    async with server:
        found, notes = await collected(server.url, 2)
        assert server.requests[1].headers["Last-Event-ID"] == "log1-900"
    assert found == [(1, "log1-1"), (901, "log1-901")]
    assert client.Moved("log1-900") in notes


async def test_a_server_that_goes_and_comes_back_is_waited_for():
    server = SseServer()
    server.script = [server.said(connect(0), frame(1))]
    async with server:
        stream = client.stream(server.url)
        await anext(stream)
    waiting = asyncio.ensure_future(anext(stream))
    again = SseServer(port=server._port)
    again.script = [again.said(connect(1), frame(2))]
    await asyncio.sleep(0.05)
    async with again, asyncio.timeout(5):
        assert (await waiting).data["log_index"] == 2
        assert again.requests[0].headers["Last-Event-ID"] == "log1-1"
        await stream.aclose()


async def test_a_silent_server_is_left():
    server = SseServer()
    server.script = [server.said(connect(0), frame(1)), server.said(connect(1), frame(2))]
    async with server:
        found, notes = await collected(server.url, 2, heartbeat=0.1)
    assert found == numbered(1, 2)
    waits = [note for note in notes if isinstance(note, client.Waiting)]
    assert "nothing came for 0.3s, not even a heartbeat" in waits[0].reason


async def test_heartbeats_are_no_silence():
    async def answer(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(connect(0))
        for _ in range(10):
            await asyncio.sleep(0.05)
            await response.write(sse.HEARTBEAT)
        await response.write(frame(1))
        return response

    async with SseServer(answer) as server:
        found, notes = await collected(server.url, 1, heartbeat=0.1)
    assert found == numbered(1, 1)
    assert not any(isinstance(note, client.Waiting) for note in notes)


async def test_the_end_of_a_stream_that_nobody_asked_for_is_a_reconnection_after_the_time_that_it_names():
    server = SseServer()
    server.script = [
        server.said(connect(0), frame(1), sse.complete(retry_ms=150), then="end"),
        server.said(connect(1), frame(2)),
    ]
    began = time.monotonic()
    async with server:
        found, notes = await collected(server.url, 2, limit=5)
        assert server.requests[1].query["limit"] == "4"
    assert found == numbered(1, 2)
    assert time.monotonic() - began >= 0.15
    assert [note.seconds for note in notes if isinstance(note, client.Waiting)] == [0.15]


async def test_where_there_is_no_room_the_client_comes_back_ever_later():
    server = SseServer()
    full = server.said(sse.complete(), then="end")
    server.script = [*[full] * 8, server.said(connect(0), frame(1))]
    async with server:
        found, notes = await collected(server.url, 1)
    assert found == numbered(1, 1)
    waits = [note.seconds for note in notes if isinstance(note, client.Waiting)]
    assert len(waits) == 8
    assert waits[-1] >= 0.064  # doubled seven times, and at most halved by jitter


# --- the end that was asked for -------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"", sse.complete()])
async def test_a_limit_ends_the_iteration(end):
    server = SseServer()
    server.script = [server.said(connect(0), frames(1, 3), end)]
    async with server, asyncio.timeout(5):
        found = [event.data["log_index"] async for event in client.stream(server.url, limit=3)]
        assert len(server.requests) == 1
    assert found == [1, 2, 3]


async def test_a_limit_counts_over_all_connections():
    server = SseServer()
    server.script = [server.said(connect(0), frames(1, 2), then="cut"), server.said(connect(2), frames(3, 9))]
    async with server, asyncio.timeout(5):
        found = [event.data["log_index"] async for event in client.stream(server.url, limit=3)]
        assert [request.query["limit"] for request in server.requests] == ["3", "1"]
    assert found == [1, 2, 3]


async def test_a_duration_ends_the_iteration():
    async def answer(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(connect(0) + frame(1))
        await asyncio.sleep(0.2)
        await response.write(sse.complete())
        return response

    async with SseServer(answer) as server, asyncio.timeout(5):
        found = [event.data["log_index"] async for event in client.stream(server.url, duration=0.2)]
        assert [request.query["duration"] for request in server.requests] == ["1"]
    assert found == [1]


async def test_a_duration_that_passes_while_nobody_answers_ends_the_iteration():
    server = SseServer()
    server.script = [server.said(connect(0), frame(1), then="cut"), problem(503)]
    async with server, asyncio.timeout(5):
        found = [event.data["log_index"] async for event in client.stream(server.url, duration=0.2)]
    assert found == [1]


# --- gaps -----------------------------------------------------------------------------------------------------------


async def test_a_gap_is_told_and_the_stream_goes_on():
    server = SseServer()
    server.script = [server.said(connect(0), gap(7), frame(8))]
    async with server:
        found, notes = await collected(server.url, 1, last_event_id="log1-1")
        assert server.requests[0].headers["Last-Event-ID"] == "log1-1"
    assert found == numbered(8, 8)
    told = next(note for note in notes if isinstance(note, client.Gap))
    assert told == client.Gap("log1-1", "log1-8", "log1-7", "expired")
    assert "older than what is kept" in str(told)


async def test_a_gap_is_an_error_for_the_strict():
    server = SseServer()
    server.script = [server.said(connect(0), gap(7, "other_log"), frame(8))]
    async with server:
        stream = client.stream(server.url, last_event_id="log1-1", strict=True)
        with pytest.raises(GapError, match="another log"):
            await anext(stream)
        assert stream.cursor == "log1-1"


async def test_a_cut_between_connect_and_gap_does_not_swallow_the_gap():
    server = SseServer()
    server.script = [server.said(connect(7), then="cut"), server.said(connect(7), gap(7), frame(8))]
    async with server:
        _, notes = await collected(server.url, 1, last_event_id="log1-1")
        assert server.requests[1].headers["Last-Event-ID"] == "log1-1"
    assert any(isinstance(note, client.Gap) for note in notes)


async def test_410_is_a_gap():
    async with SseServer(problem(410, detail="the oldest kept event is log1-8")) as server:
        with pytest.raises(GapError, match="log1-8"):
            await collected(server.url, 1)


# --- refusals -------------------------------------------------------------------------------------------------------


async def test_a_filter_that_the_server_refuses_is_a_usage_error_with_its_words():
    refusal = problem(
        400, detail="unknown chain 'etherium'", parameter="chains", value="etherium", nearest="ethereum\x1b[2J"
    )
    async with SseServer(refusal) as server:
        with pytest.raises(UsageError) as caught:
            await collected(server.url, 1, chains="etherium")
        assert len(server.requests) == 1
    assert caught.value.exit_code == 2
    assert str(caught.value) == "unknown chain 'etherium'\ndid you mean 'ethereum\\\\u001b[2J'?"


@pytest.mark.parametrize(("status", "hint"), [(401, "key"), (403, ""), (404, "chainwatch daemon"), (405, "")])
@pytest.mark.parametrize("again", [False, True])
async def test_a_request_that_is_turned_away_is_an_error_then_and_later(status, hint, again):
    server = SseServer(problem(status, detail="not for you"))
    if again:
        server.script.insert(0, server.said(connect(0), then="cut"))
    async with server:
        with pytest.raises(Refused, match="not for you") as caught:
            await collected(server.url, 1)
    assert caught.value.status == status
    assert hint in caught.value.hint
    assert ("until now" in caught.value.why) is (again and status in (401, 403))


async def test_a_redirect_is_not_followed_with_the_key():
    moved = problem(307, {"Location": "http://elsewhere.example/events?token=secret"})
    async with SseServer(moved) as server:
        with pytest.raises(Refused) as caught:
            await collected(server.url, 1, key="cw_secret")
    assert "http://elsewhere.example/…" in caught.value.hint
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_heeded_from_the_first_connection_on(status):
    server = SseServer()
    server.script = [problem(status, {"Retry-After": "1"}, detail="too many"), server.said(connect(0), frame(1))]
    async with server:
        began = time.monotonic()
        found, notes = await collected(server.url, 1)
    assert found == numbered(1, 1)
    assert time.monotonic() - began >= 1
    assert "too many" in notes[0].reason


async def test_nobody_there_at_first_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Unreachable) as caught:
        await collected(f"http://127.0.0.1:{port}", 1)
    assert caught.value.exit_code == 4
    assert caught.value.why == "connection refused"


@pytest.mark.parametrize("url", ["http://no.such.host.invalid", "http://a..b", "http://" + "x" * 70 + ".example"])
async def test_a_host_without_a_name_is_an_error(url):
    with pytest.raises(Unreachable):
        await collected(url, 1)


async def test_a_gateway_with_nothing_behind_it_is_nobody_at_first_and_waited_for_later():
    async with SseServer(problem(502)) as server:
        with pytest.raises(Unreachable, match="502"):
            await collected(server.url, 1)
    server = SseServer()
    server.script = [server.said(connect(0), then="cut"), problem(502), server.said(connect(0), frame(1))]
    async with server:
        found, _ = await collected(server.url, 1)
    assert found == numbered(1, 1)


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://x", "http://", "http://x:99999", "http://x?a=b"])
async def test_what_is_no_address_is_a_usage_error(url):
    with pytest.raises(UsageError, match="no address"):
        client.stream(url)


def test_text_that_would_inject_a_header_is_a_usage_error():
    for options in ({"key": "a\r\nX: y"}, {"last_event_id": "a\nb"}, {"key": "ключ"}, {"limit": 0}):
        with pytest.raises(UsageError):
            client.stream("http://127.0.0.1:1", **options)


# --- answers that no daemon gives -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        b"data: hello\n\n",
        b"data: {}\n\n",
        b"data: " + b"[" * 100_000 + b"]" * 100_000 + b"\n\n",
        b"event: connect\ndata: [DONE]\n\n",
        b"event: gap\ndata: 7\n\n",
        b"id: \x1b[2J\ndata: " + line(1) + b"\n\n",
        b"id: " + b"9" * 5000 + b"\n\n",
    ],
)
async def test_what_is_no_event_is_an_error_that_shows_it_harmlessly(said):
    server = SseServer()
    server.script = [server.said(connect(0), frame(1), said)]
    async with server:
        stream = client.stream(server.url)
        assert (await anext(stream)).data["log_index"] == 1
        with pytest.raises(BadAnswer) as caught:
            await anext(stream)
    assert stream.cursor == "log1-1"
    assert str(caught.value).replace("\n", "").isprintable()
    assert len(str(caught.value)) < 1000


async def test_a_line_without_end_is_an_error_not_memory(monkeypatch):
    monkeypatch.setattr(sse.Parser.__init__, "__kwdefaults__", {"max_bytes": 100_000})
    server = SseServer()
    server.script = [server.said(connect(0), *[b"data: " + b"x" * 60_000] * 3)]
    async with server:
        with pytest.raises(BadAnswer, match="more than 100000 bytes"):
            await collected(server.url, 1)


async def test_a_page_for_people_is_no_stream():
    async def answer(_):
        return web.Response(text="<h1>Welcome to the hotel</h1>", content_type="text/html")

    async with SseServer(answer) as server:
        with pytest.raises(BadAnswer, match="text/html"):
            await collected(server.url, 1)


async def test_a_port_that_speaks_something_else_is_no_daemon():
    async def speak(reader, writer):
        writer.write(b"-ERR unknown command\r\n")
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable):
            await collected(f"http://127.0.0.1:{port}", 1)


async def test_json_over_several_data_lines_is_still_one_line():
    server = SseServer()
    spread = line(1).replace(b',"type"', b'\ndata:,"type"')
    server.script = [server.said(connect(0), b"id: log1-1\ndata: " + spread + b"\n\n")]
    async with server, client.stream(server.url) as stream:
        assert (await anext(stream)).data["log_index"] == 1
        assert b"\n" not in stream.line


# --- history --------------------------------------------------------------------------------------------------------


def paged(last, size, **more):
    """An answer for each page of the events up to `last`."""

    async def answer(request):
        after = int(request.query.get("cursor", "log1-0").removeprefix("log1-"))
        until = min(last, after + size)
        body = b",".join(line(number) for number in range(after + 1, until + 1))
        told = b'{"events":[%b],"next":"log1-%d","has_more":%b,"truncated":false}' % (
            body,
            until,
            b"true" if until < last else b"false",
        )
        return web.Response(body=told, content_type="application/json")

    return answer


async def test_history_is_read_to_its_end_page_by_page():
    async with SseServer() as server:
        server.history = paged(7, 3)
        pages = [page async for page in client.history(server.url, since="earliest", types=["block_new"], page_size=3)]
        asked = [dict(request.query) for request in server.requests]
    assert [[event.data["log_index"] for event in page.events] for page in pages] == [[1, 2, 3], [4, 5, 6], [7]]
    assert [page.next for page in pages] == ["log1-3", "log1-6", "log1-7"]
    assert pages[0].lines[0] == line(1)
    assert asked[0] == {"types": "block_new", "limit": "3", "since": "earliest"}
    assert asked[1] == {"types": "block_new", "limit": "3", "cursor": "log1-3"}


async def test_history_is_read_on_after_trouble():
    good = paged(6, 3)

    async def answer(request):
        if len(server.requests) in (2, 3):
            return await problem(503, {"Retry-After": "0"})(request)
        return await good(request)

    notes = []
    async with SseServer() as server:
        server.history = answer
        pages = [page async for page in client.history(server.url, on_note=notes.append)]
    assert [event.data["log_index"] for page in pages for event in page.events] == [1, 2, 3, 4, 5, 6]
    assert len(notes) == 2


async def test_a_history_that_does_not_go_on_is_an_error_not_a_loop():
    async def answer(_):
        return web.json_response({"events": [], "next": "log1-1", "has_more": True})

    async with SseServer() as server:
        server.history = answer
        with pytest.raises(BadAnswer, match="does not go on"):
            async with contextlib.aclosing(client.history(server.url, cursor="log1-1")) as pages:
                _ = [page async for page in pages]


# --- decisions ------------------------------------------------------------------------------------------------------


def test_waits_double_with_jitter_up_to_half_a_minute(monkeypatch):
    monkeypatch.undo()
    low, high = Backoff(lambda: 0.0), Backoff(lambda: 1.0)
    assert [high.failed() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert [low.failed() for _ in range(8)] == [0.25, 0.5, 1, 2, 4, 8, 15, 15]
    high.succeeded()
    assert high.failed() == 0.5
    assert Backoff().failed() <= 0.5


def test_a_wait_is_never_shorter_than_the_server_asks(monkeypatch):
    monkeypatch.undo()
    backoff = Backoff(lambda: 1.0)
    backoff.asked = 3.0
    assert backoff.failed() == 3.0
    assert backoff.failed(retry_after=20) == 21
    backoff.asked = 1e9
    assert backoff.failed() == 3600
    assert backoff.failed(retry_after=1e12) == 3604


def test_retry_after_is_seconds_or_a_date():
    assert _retry_after("7", 0) == 7
    assert _retry_after("Wed, 21 Oct 2015 07:28:00 GMT", 1445412470) == 10
    assert _retry_after("Wed, 21 Oct 2015 07:28:00 GMT", 2e9) == 0
    for nonsense in ("", "soon", "-5", "٣", "9" * 400 + "x"):
        assert _retry_after(nonsense, 0) is None
