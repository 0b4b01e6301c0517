"""
The HTTP edge: what a connection may send before anybody knows whose it is, how long that may take, and how many there
are.

    connect ─ room? ─ head within HEAD_SECONDS ─ request ─ answer ─ idle for IDLE_SECONDS at most ─ the next head

aiohttp reads HTTP, strictly (llhttp refuses what two readers could understand differently, RFC 9112 section 11.2). What
it does not do is here: a time for the first head, a size of the whole head and of what is pipelined behind a request,
answers to what cannot be read as problem documents, answers for clients that close their half, and a bound on sockets.

This leans on parts of `RequestHandler` that are not documented; tests/server/test_edge.py pins each of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, cast

import structlog
from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.http_exceptions import BadHttpMethod, ContentEncodingError, InvalidHeader, InvalidURLError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError, _ErrInfo

from chainwatch.config import ServerSettings
from chainwatch.server import descriptors, problem
from chainwatch.server.limits import client_address, is_trusted
from chainwatch.server.problem import Problem
from chainwatch.text import printable

HEAD_SECONDS: Final = 15.0
"""From the connection to the end of its first request's head."""
IDLE_SECONDS: Final = 75.0
"""From an answer to the end of the next request's head. Proxies keep connections for 60 s, and must be the first to
let go: a request that crosses a close is lost."""
LINGER_SECONDS: Final = 5.0
"""How long what a client still sends is read and thrown away, so that it gets to read why."""
LINE: Final = 16_384
"""Bytes of a request's target: some 350 addresses."""
FIELD: Final = 8190
"""Bytes of one header."""
FIELDS: Final = 100
"""Headers."""
HEAD: Final = 65_536
"""Bytes of a head, and of everything that is sent behind a request before it is answered."""

_SPARE: Final = 64
"""Connections of one address beyond those that may stay open: for requests that are answered and gone."""
_TELL_EVERY: Final = 60.0  # seconds between two warnings of the same kind

_log = structlog.get_logger("chainwatch.server")
Settings = Callable[[], ServerSettings]


class HeadTooLarge(HttpProcessingError):
    """All headers together are more than `HEAD`."""


class Runner(web.AppRunner):
    """aiohttp's, with the connections of this module."""

    def __init__(
        self, app: web.Application, settings: Callable[[], ServerSettings], streams: Callable[[], int]
    ) -> None:
        """`streams`: how many sockets are in use that are not HTTP's any more."""
        logger = logging.getLogger("chainwatch.http")
        logger.addFilter(_is_ours)
        super().__init__(
            app,
            access_log=None,  # streams write their own line when they are over
            keepalive_timeout=IDLE_SECONDS,
            lingering_time=LINGER_SECONDS,
            logger=logger,
            max_field_size=FIELD,
            max_headers=FIELDS,
            max_line_size=LINE,
            shutdown_timeout=2.0,  # streams end before anything is waited for, so a stop is quick
        )
        self._settings = settings
        self._streams = streams

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return Server(made, self._settings, self._streams)


class Server(web.Server):
    """All connections that speak HTTP: those that did not become streams."""

    def __init__(self, made: web.Server, settings: Settings, streams: Callable[[], int]) -> None:
        """`made`: aiohttp's own, whose place it takes."""
        super().__init__(made.request_handler, request_factory=made.request_factory, **made._kwargs)  # noqa: SLF001
        self.accepted = 0
        self.dropped: Counter[str] = Counter()
        """Connections that were closed before a word was heard, by reason: `descriptors`, `address`."""
        self.unreadable: Counter[int] = Counter()
        """Requests that could not be read, by the status of the answer."""
        self._settings = settings
        self._streams = streams
        self._of_address: Counter[str] = Counter()
        self._told: dict[str, float] = {}

    def __call__(self) -> RequestHandler:
        return Handler(self, loop=self._loop, **self._kwargs)

    def admit(self, transport: asyncio.BaseTransport) -> str | None:
        """
        Where this connection is counted; None where there is no room for it. It is closed without a word then: any
        answer but 200 would stop an `EventSource` for good, while after a broken connection it comes back.
        """
        self.accepted += 1
        settings = self._settings()
        if len(self._connections) + self._streams() >= descriptors.room():
            self._drop("descriptors", "no file descriptors are left for more connections")
            return None
        peer = transport.get_extra_info("peername")
        address = client_address(peer)
        if not address or is_trusted(peer, settings.trusted_proxies):
            return ""  # everybody's
        if self._of_address[address] >= settings.max_connections_per_address + _SPARE:
            self._drop("address", "one address has very many connections that are no streams")
            return None
        self._of_address[address] += 1
        return address

    def leave(self, address: str) -> None:
        """A connection that was counted there speaks HTTP no more."""
        if address:
            self._of_address[address] -= 1
            if not self._of_address[address]:
                del self._of_address[address]

    def _drop(self, reason: str, told: str) -> None:
        self.dropped[reason] += 1
        now = self._loop.time()
        if now - self._told.get(reason, -_TELL_EVERY) >= _TELL_EVERY:
            self._told[reason] = now
            _log.warning("connections are closed unheard", reason=told, so_far=self.dropped[reason])


class Handler(RequestHandler):
    """One connection while it speaks HTTP."""

    __slots__ = ("_address", "_answered", "_body", "_gone", "_unread", "ended", "when_gone")

    def __init__(self, manager: Server, **more: Any) -> None:
        super().__init__(manager, **more)
        self.ended = False
        """The client has closed its half, and waits for an answer."""
        self.when_gone: Callable[[], None] | None = None
        """Called once when the connection is lost."""
        self._address: str | None = None
        self._answered = 0  # requests
        self._body: StreamReader = EMPTY_PAYLOAD  # of the newest request
        self._unread = 0  # bytes behind it that are no body
        self._gone: asyncio.Event | None = None  # while what comes is thrown away

    @property
    def server(self) -> Server | None:
        """None once the connection is gone."""
        return cast("Server | None", self._manager)

    # --- the connection -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        server = self.server
        address = None if server is None else server.admit(transport)
        if address is None:
            cast("asyncio.Transport", transport).abort()
            return
        self._address = address
        # aiohttp's timer is that of an idle connection; the first head has less time.
        idle, self._keepalive_timeout = self._keepalive_timeout, HEAD_SECONDS
        super().connection_made(transport)
        self._keepalive_timeout = idle

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._address is not None and (server := self.server) is not None:
            server.leave(self._address)
            self._address = None
        if self._gone is not None:
            self._gone.set()
        if self.when_gone is not None:
            self.when_gone()
            self.when_gone = None
        if not self._body.is_eof():  # whoever still reads it, or throws it away, need not wait
            self._body.set_exception(ConnectionResetError("the client left"))
        super().connection_lost(exc)

    # --- what comes ---------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._gone is not None:
            return
        before, whole = self._request_count, self._body.is_eof()
        super().data_received(data)
        if self._payload_parser is not None or self._upgraded:
            return  # a WebSocket has limits of its own
        if self._request_count != before and self._messages:
            self._body = self._messages[-1][1]
            # All before it may be answered, and the loop not wait for it yet: it comes behind nothing all the same.
            self._unread = 0 if before <= self._answered else self._unread + len(data)
        elif whole:
            self._unread += len(data)
        if self._unread > HEAD:
            self._too_much()

    def _too_much(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            error = HeadTooLarge(code=400)
            self._messages.append((_ErrInfo(status=400, exc=error, message=""), EMPTY_PAYLOAD))
            self._waiter.set_result(None)
        elif not self._messages or not isinstance(self._messages[-1][0], _ErrInfo):
            self.close()  # behind the answer that is under way

    def eof_received(self) -> bool:  # type: ignore[override]
        """
        A client that closes its half behind a request (`nc -N`) gets the answer, where that has not begun. For a stream
        it means that the client leaves: nothing else tells. So it does where an answer takes long (`when_gone`).
        """
        if self._gone is not None:
            self._gone.set()
            return False
        request = self._current_request
        begun = request is not None and request.writer.output_size > 0
        owed = self._request_count > self._answered and not begun
        self.ended = owed and self._body.is_eof() and self._payload_parser is None
        self.ended = self.ended and self.when_gone is None
        return self.ended

    # --- what goes ----------------------------------------------------------------------------------------------------

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if isinstance(resp, web.HTTPException):  # aiohttp's own, from outside of the application's middlewares
            resp = problem.answer(Problem(resp.status, resp.reason))
        finished = await super().finish_response(request, resp, start_time)
        self._answered += 1
        if self.ended and not self._messages:
            self.close()
        if isinstance(resp, _Unreadable):
            await self._linger()
        return finished

    async def _linger(self) -> None:
        """Close our half, and wait for theirs: a close with bytes unread is a reset, which takes the answer with it."""
        transport = self.transport
        if transport is None or transport.is_closing() or self.ended:
            return
        self._gone = asyncio.Event()
        with contextlib.suppress(TimeoutError, OSError, RuntimeError):
            transport.write_eof()
            async with asyncio.timeout(LINGER_SECONDS):
                await self._gone.wait()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's, with what the client sent in it
    ) -> web.StreamResponse:
        """The answer where the application gives none: to what cannot be read, and to faults of ours outside of it."""
        self.log_exception("a request failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer is cut: a part of it was sent")
        wrong = of_error(exc) if isinstance(exc, HttpProcessingError) else Problem(status, "the daemon failed")
        if (server := self.server) is not None:
            server.unreadable[wrong.status] += 1
        answer = problem.answer(wrong)
        told = _Unreadable(status=answer.status, body=answer.body, headers=answer.headers)
        told.headers["Server"] = "chainwatch"
        told.headers["X-Content-Type-Options"] = "nosniff"
        told.force_close()
        return told


def when_gone(request: web.Request, call: Callable[[], None]) -> None:
    """Call this when the client of a long answer leaves, or now, where it has left already."""
    protocol = request.protocol
    if isinstance(protocol, Handler):
        if protocol.ended or protocol.transport is None:
            call()
        else:
            protocol.when_gone = call


class _Unreadable(web.Response):
    """An answer to what could not be read; more of that may follow."""


def _is_ours(record: logging.LogRecord) -> bool:
    """What strangers send is no news, and its traceback would let anyone fill the log."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | RequestPayloadError | ConnectionError)


def of_error(error: HttpProcessingError) -> Problem:
    """What cannot be read, in words. Nothing of what was sent is repeated but an unknown method."""
    match error:
        case LineTooLong() if error.args[1] == LINE:
            return Problem(414, f"the request's target is longer than {LINE} bytes")
        case LineTooLong():
            return Problem(431, f"a header is longer than {FIELD} bytes")
        case HeadTooLarge():
            return Problem(431, f"the headers are more than {HEAD} bytes")
        case InvalidURLError():
            return Problem(400, "the request's target is neither a path nor a URL")
        case InvalidHeader():
            return Problem(400, "a header cannot be read")
        case ContentEncodingError():
            return Problem(415, "a body may be in gzip or deflate, or as it is")
        case BadHttpMethod() if "HTTPS" in error.message:
            return Problem(400, "this port speaks HTTP, not HTTPS", more={"hint": "write http://, or ask the proxy"})
        case BadHttpMethod():
            return Problem(400, "the request does not begin with a method of HTTP")
    if error.message == "Too many headers received":
        return Problem(431, f"there are more than {FIELDS} headers")
    # llhttp says what is wrong, and shows the place behind an empty line.
    words = " ".join(error.message.partition("\n\n")[0].split()).rstrip(":")
    return Problem(400, f"the request cannot be read: {printable(words or 'it is no HTTP', 120)}")
