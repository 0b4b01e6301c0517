"""An ASGI application behind a route of aiohttp, with clients that leave, stall and stay: on both loops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from server.house import Answer

from chainwatch.config import ServerSettings
from chainwatch.server import asgi
from chainwatch.server.asgi import Bridge, Call
from chainwatch.server.edge import Runner

Application = Callable[[Any, Any, Any], Awaitable[None]]
STREAM = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
GET = b"GET /?a=%20b HTTP/1.1\r\nHost: localhost\r\nX-One: \xe9\r\n\r\n"


def part(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


class Place:
    """Where the application is served, and ways in."""

    def __init__(self, bridge: Bridge, port: int) -> None:
        self.bridge = bridge
        self.port = port

    async def open(self, request: bytes = GET, *, receive_buffer: int = 0) -> Answer:
        """Send a request; nothing of the answer is read."""
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=receive_buffer or 2**16)
        writer.write(request)
        return Answer(reader, writer)

    async def ask(self, request: bytes = GET) -> Answer:
        """The answer with its head read."""
        answer = await self.open(request)
        await answer.head()
        return answer


@asynccontextmanager
async def served(application: Application) -> AsyncIterator[Place]:
    """That application at every path, until the body ends; no call of it is left then."""
    bridge = Bridge(application)

    async def handle(request: web.Request) -> web.StreamResponse:
        return await bridge.answer(request, Call(request, await request.read()), headers={"X-Two": "2"}, user="me")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = Runner(app, ServerSettings, streams=lambda: 0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield Place(bridge, site.port)
    finally:
        async with asyncio.timeout(5):
            await bridge.close()
            await runner.cleanup()
    assert not bridge._calls


async def break_off(answer: Answer) -> None:
    """Read on until it is cut; EOFError where it has an end as it should."""
    try:
        while await answer.piece():
            pass
    except (ConnectionError, asyncio.IncompleteReadError):
        return
    raise EOFError


async def test_a_request_is_told_as_asgi_has_it_and_the_answer_comes_as_it_was_given():
    told: list[Any] = []

    async def application(scope, receive, send):
        told.append((scope, await receive()))
        headers = [(b"content-type", b"text/plain"), (b"X-A", b"1"), (b"x-a", b"2"), (b"Content-Length", b"99")]
        await send({"type": "http.response.start", "status": 418, "headers": headers})
        await send(part(b"half "))
        await send(part(b"whole", more=False))

    async with served(application) as place:
        answer = await place.ask(GET.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\nhi"))
        assert (answer.status, await answer.body()) == (418, b"half whole")
        assert (answer.headers["content-type"], answer.headers["content-length"]) == ("text/plain", "10")
        answer.close()
    ((scope, body),) = told
    assert body == {"type": "http.request", "body": b"hi", "more_body": False}
    assert (scope["method"], scope["path"], scope["query_string"], scope["user"]) == ("POST", "/", b"a=%20b", "me")
    assert scope["client"][0] == scope["server"][0] == "127.0.0.1"
    assert {(b"host", b"localhost"), (b"x-two", b"2")} <= set(scope["headers"])


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_stream_arrives_part_by_part(version):
    read = asyncio.Event()

    async def application(scope, receive, send):
        await send(STREAM)
        await send(part(b"data: 1\n\n"))
        await read.wait()
        await send(part(b"data: 2\n\n"))
        await send(part(b"", more=False))

    async with served(application) as place:
        answer = await place.ask(GET.replace(b"1.1", version))
        assert (await answer.next()).data == "1"
        read.set()
        assert [message.data for message in await answer.rest()] == ["2"]
        answer.close()


async def test_whoever_leaves_is_told_and_what_is_sent_then_goes_nowhere():
    left, finished = asyncio.Event(), asyncio.Event()

    async def application(scope, receive, send):
        assert (await receive())["type"] == "http.request"
        both = asyncio.gather(receive(), receive())
        await send(STREAM)
        await send(part(b"data: 1\n\n"))
        assert await both == [{"type": "http.disconnect"}] * 2
        left.set()
        for _ in range(100):
            await send(part(b"x" * 100_000))
        await send(part(b"", more=False))
        finished.set()

    async with served(application) as place, asyncio.timeout(10):
        answer = await place.ask()
        await answer.next()
        answer.cut()
        await left.wait()
        await finished.wait()


async def test_what_a_client_began_is_finished_when_it_is_gone_before_the_answer():
    begun, gone, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def application(scope, receive, send):
        begun.set()
        await gone.wait()
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"mcp-session-id", b"s")]})
        await send(part(b"{}", more=False))
        finished.set()

    async with served(application) as place, asyncio.timeout(10):
        answer = await place.open()
        await begun.wait()
        (call,) = place.bridge._calls.values()
        answer.cut()
        while not call.left:
            await asyncio.sleep(0.005)
        gone.set()
        await finished.wait()
        assert call.header("mcp-session-id") == "s"


async def test_a_connection_that_goes_on_belongs_to_the_next_request():
    calls: list[asyncio.Event] = []

    async def application(scope, receive, send):
        calls.append(asyncio.Event())
        await receive()
        await send({"type": "http.response.start", "status": 200})
        await send(part(b"done", more=False))

    async with served(application) as place:
        answer = await place.open(GET * 3)
        for _ in range(3):
            again = Answer(answer.reader, answer.writer)
            await again.head()
            assert await again.body() == b"done"
        answer.close()
    assert len(calls) == 3


async def test_a_reader_that_stalls_is_cut(monkeypatch):
    monkeypatch.setattr(asgi, "STALL", 0.2)
    told = asyncio.Event()

    async def application(scope, receive, send):
        await receive()
        await send(STREAM)
        waiting = asyncio.create_task(receive())
        while not waiting.done():
            await send(part(b"x" * 65_536))
        told.set()

    async with served(application) as place, asyncio.timeout(20):
        answer = await place.open(receive_buffer=4096)
        await told.wait()
        await answer.head()
        await break_off(answer)
        answer.cut()


async def test_an_application_that_fails_answers_nothing_or_breaks_off():
    async def application(scope, receive, send):
        if scope["path"] == "/begun":
            await send(STREAM)
            await send(part(b"data: 1\n\n"))
        raise ValueError("on purpose")

    async with served(application) as place, asyncio.timeout(10):
        answer = await place.ask()
        assert answer.status == 500
        assert b"on purpose" not in await answer.body()
        broken = await place.ask(GET.replace(b"/?", b"/begun?"))
        await break_off(broken)
        for one in (answer, broken):
            one.cut()


async def test_the_end_waits_for_nobody_who_does_not_listen():
    begun = asyncio.Event()

    async def application(scope, receive, send):
        begun.set()
        await asyncio.Event().wait()

    async with served(application) as place:
        answer = await place.open()
        await begun.wait()
    answer.cut()
