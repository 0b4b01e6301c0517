"""
An ASGI application behind a route of ours: one request, one call of the application.

The application runs in a task of its own and is never cancelled with the request: a client that hangs up right behind
its first request must not take the session with it that this request began. It is told instead (`http.disconnect`), at
once when the client leaves, when its key ends, or when the daemon stops; what it sends from then on goes nowhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

import structlog
from aiohttp import web

from chainwatch.server import edge

Message = MutableMapping[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

HALF: Final = 1.0
"""Seconds that a call has whose client closed its half right behind it, as `nc -N` does: nobody waits for more."""
STALL: Final = 60.0
"""Seconds that a client may take nothing of an answer that is under way."""

_OURS: Final = {"connection", "content-length", "date", "server", "transfer-encoding"}
"""Headers that the HTTP server writes."""

_log = structlog.get_logger("chainwatch.server")


class Bridge:
    """The way to one application; whoever owns it calls `close`."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._calls: dict[asyncio.Task[None], Call] = {}

    async def answer(
        self, request: web.Request, call: Call, *, headers: Mapping[str, str] | None = None, **scope: Any
    ) -> web.StreamResponse:
        """
        What the application answers. `headers` replace some of the request's own, `scope` is laid over the
        connection's. `ConnectionError` where the client leaves, or has to go, before the answer begins.
        """
        told: Message = {**_scope(request, headers or {}), **scope}
        task = asyncio.create_task(self._run(told, call), name="asgi:call")
        self._calls[task] = call
        task.add_done_callback(self._over)
        if isinstance(request.protocol, edge.Handler) and request.protocol.ended:
            asyncio.get_running_loop().call_later(HALF, call.leave)
        else:
            edge.when_gone(request, call.leave)
        try:
            await asyncio.shield(task)
        except Exception:
            if not call.begun:
                raise
            _log.exception("an answer failed that had begun", path=request.path)
            call.cut()  # nothing else tells its client that this was not all
        finally:
            if isinstance(request.protocol, edge.Handler):  # the connection may carry other requests
                request.protocol.when_gone = None
        return call.response()

    async def _run(self, scope: Message, call: Call) -> None:
        try:
            await self._application(scope, call.receive, call.send)
        except Exception:
            if not call.left:
                raise
            _log.debug("an answer that nobody waits for failed", path=scope["path"], exc_info=True)

    def _over(self, task: asyncio.Task[None]) -> None:
        del self._calls[task]
        if not task.cancelled():
            task.exception()  # whoever waited for it has it; nobody has to

    def disconnect(self) -> None:
        """Tell every call that its client is gone."""
        for call in list(self._calls.values()):
            call.leave()

    async def close(self) -> None:
        """End every call."""
        self.disconnect()
        tasks = list(self._calls)
        if tasks:
            await asyncio.wait(tasks, timeout=1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Call:
    """One request and its answer, from the application's side."""

    def __init__(self, request: web.Request, body: bytes, when_begun: Callable[[], None] | None = None) -> None:
        """`when_begun` is called when a stream begins."""
        self._request = request
        self._when_begun = when_begun
        self._body: bytes | None = body
        self._gone = asyncio.Event()
        self._status = 0
        self._headers: list[tuple[str, str]] = []
        self._parts: list[bytes] = []
        self._stream: web.StreamResponse | None = None

    @property
    def left(self) -> bool:
        """Nobody waits for the answer."""
        return self._gone.is_set()

    @property
    def begun(self) -> bool:
        """A part of the answer may be sent, which cannot be taken back."""
        return self._stream is not None

    @property
    def granted(self) -> bool:
        """The answer, where it has come that far, is no error. It says what was done even where nobody waits."""
        return 200 <= self._status < 300

    def leave(self) -> None:
        """The client is gone, or has to go."""
        self._gone.set()

    def cut(self) -> None:
        """End the connection, with whatever is under way."""
        self.leave()
        if self._request.transport is not None:
            self._request.transport.abort()

    def header(self, name: str) -> str | None:
        """Of the answer, where it has come that far."""
        return next((value for known, value in self._headers if known.lower() == name), None)

    async def receive(self) -> Message:
        """ASGI's `receive`."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """ASGI's `send`; nothing is sent once nobody waits."""
        if message["type"] == "http.response.start":
            self._begin(message)
        if self.left:
            await asyncio.sleep(0)  # an application that sends until it is told must get to be told
            return
        try:
            async with asyncio.timeout(STALL):
                await self._send(message)
        except ConnectionError:
            self.leave()
        except TimeoutError:  # it takes nothing any more
            self.cut()

    def _begin(self, message: Message) -> None:
        self._status = message["status"]
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message.get("headers", ())]
        self._headers = [(name, value) for name, value in pairs if name.lower() not in _OURS]

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if (self.header("content-type") or "").startswith("text/event-stream"):
                self._stream = web.StreamResponse(status=self._status)
                self._dress(self._stream)
                await self._stream.prepare(self._request)
                if self._when_begun is not None:
                    self._when_begun()
        elif message["type"] == "http.response.body":
            body = message.get("body", b"")
            if self._stream is None:
                self._parts.append(body)
            elif body:
                await self._stream.write(body)

    def response(self) -> web.StreamResponse:
        """What is left to do for the server. `ConnectionError` where there is no answer because nobody waited."""
        if self._stream is not None:
            if self.left:  # it was cut: a client must not take it for the whole
                self._stream.force_close()
            return self._stream
        if self.left:
            raise ConnectionResetError("nobody waits for the answer")
        if not self._status:
            raise RuntimeError("an ASGI application returned without an answer")
        # An answer of the SDK that names no type is a line of text.
        response = web.Response(status=self._status, body=b"".join(self._parts), content_type="text/plain")
        self._dress(response)
        return response

    def _dress(self, response: web.StreamResponse) -> None:
        for name, value in self._headers:
            if name.lower() == "content-type":
                response.headers[name] = value
            else:
                response.headers.add(name, value)


def _scope(request: web.Request, replaced: Mapping[str, str]) -> Message:
    """The connection as ASGI describes it (HTTP connection scope, version 2.3)."""
    instead = {name.lower(): value for name, value in replaced.items()}
    headers = [(name.lower(), value) for name, value in request.headers.items() if name.lower() not in instead]
    peer = request.get_extra_info("peername")
    here = request.get_extra_info("sockname")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": f"{request.version.major}.{request.version.minor}",
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.raw_path.partition("?")[0].encode(),
        "root_path": "",
        "query_string": request.rel_url.raw_query_string.encode(),
        "headers": [
            (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
            for name, value in [*headers, *instead.items()]
        ],
        "client": peer[:2] if isinstance(peer, tuple) else None,
        "server": here[:2] if isinstance(here, tuple) else None,
        "state": {},
    }
