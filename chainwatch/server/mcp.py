"""
`/mcp`: the MCP server of `chainwatch.mcp`, for agents that speak HTTP, in the daemon itself.

The SDK is imported when the first agent comes: it is an extra, and not small. Its session manager is entered and left
by one task. Host, origin and key are checked by the middleware of `app`, before any session is looked up; a session
belongs to the key that began it, and to anybody else it is not there.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, Final, cast

import structlog
from aiohttp import web

from chainwatch.server import asking, occurrences, posted
from chainwatch.server.access import CHALLENGE
from chainwatch.server.asgi import Bridge, Call, Message
from chainwatch.server.asking import PRINCIPAL
from chainwatch.server.context import CONTEXT
from chainwatch.server.desk import Desk, Shelf
from chainwatch.server.limits import Full, Seat
from chainwatch.server.mcp_sessions import Book, Session
from chainwatch.server.problem import Problem
from chainwatch.server.publish import PUBLISHER
from chainwatch.server.streams import enter, turned_away

IDLE: Final = 30 * 60.0
"""Seconds that a session lives without a request."""
SESSIONS: Final = 1000
"""How many there are at once, of everybody; beyond that, idle ones go. One takes about 35 KiB."""
PARTING: Final = 0.5
"""Seconds that a stream of events has for its last word, when its key ends."""

_SESSION: Final = "mcp-session-id"
_BOTH: Final = "application/json, text/event-stream"
_log = structlog.get_logger("chainwatch.server")


class Agents:
    """What serves `/mcp`, from the first request until the application ends."""

    def __init__(self, app: web.Application) -> None:
        self._app = app
        self._stopping = False
        self._news = asyncio.Event()  # keys have come or ended, or all of this ends
        app[CONTEXT].sessions.listen(self._news.set)
        self._ready: asyncio.Future[Bridge] | None = None
        self._bridge: Bridge | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._manager: Any = None
        self._users: Any = None
        self._watches: Any = None
        self.book = Book(SESSIONS)
        self.shelf = Shelf(app[CONTEXT].log)

    @property
    def stopping(self) -> bool:
        """Nobody is served any more."""
        return self._stopping

    async def bridge(self) -> Bridge:
        """The way to the SDK's application, which is there from now on."""
        if self._ready is None:
            self._ready = asyncio.get_running_loop().create_future()
            self._keeper = asyncio.create_task(self._keep(self._ready), name="mcp")
        return await asyncio.shield(self._ready)

    async def _keep(self, ready: asyncio.Future[Bridge]) -> None:
        try:
            # Importing takes most of a second, and streams do not wait for it.
            manager_module, app_module, events_module, hooks_module, self._users = await asyncio.to_thread(_sdk)
            logging.getLogger("mcp").setLevel(logging.ERROR)  # its warnings name sessions, and anybody can cause them
            await self.shelf.load()
            agents = app_module.Agents(_desk)
            server = agents.server(self._app[CONTEXT].version)
            if self._app[CONTEXT].mcp_events:
                events_module.add(server)
                hooks_module.add(server)
            manager = manager_module.StreamableHTTPSessionManager(
                server,
                session_idle_timeout=IDLE,
                max_sessions=2 * SESSIONS,  # the book holds fewer; this bounds what comes all at once
            )
        except Exception as error:  # noqa: BLE001 - whoever asks is told, and the next one may have better luck
            self._ready = None
            ready.set_exception(error)
            return
        self._manager, self._watches = manager, agents.watches
        async with manager.run():
            self._bridge = Bridge(manager.handle_request)
            ready.set_result(self._bridge)
            while not self._stopping:
                await self._news.wait()
                self._news.clear()
                try:
                    await self.tidy()
                except Exception:  # noqa: BLE001 - one session's trouble; the others are served on
                    _log.exception("a session could not be ended")
            await agents.watches.close()
            await self._bridge.close()
            # A session that is ended has nobody to write to; one that is cancelled tries to for a second.
            while (session := self.book.any()) is not None:
                await self._end(session)

    def user(self, key: str) -> Any:
        """Whoever holds the key with that id, as the SDK knows them."""
        return self._users.of(key)

    def listens(self, session: str) -> None:
        """A session's standing stream begins: behind this turn of the loop the SDK has it."""
        asyncio.get_running_loop().call_soon(self._watches.listened, session)

    async def tidy(self) -> None:
        """End sessions whose keys have ended, and others where there are too many."""
        while not self.stopping and (session := self.book.any(self._over) or self.book.too_many()) is not None:
            await self._end(session)

    def _over(self, key: str) -> bool:
        return not self._app[CONTEXT].sessions.access.stands(key)

    async def _end(self, session: Session) -> None:
        """As its own client would. One that is not there any more is as good."""
        self.book.drop(session)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(_: Message) -> None:
            pass

        scope: Message = {
            "type": "http",
            "method": "DELETE",
            "path": "/mcp",
            "query_string": b"",
            "headers": [(_SESSION.encode(), session.name.encode())],
            "user": self.user(session.key),
        }
        await self._manager.handle_request(scope, receive, send)

    def disconnect(self) -> None:
        """Everybody has to go: listeners would hold up the end."""
        if self._bridge is not None:
            self._bridge.disconnect()

    async def close(self) -> None:
        """End everything."""
        self._stopping = True
        self._news.set()
        self.disconnect()
        if self._keeper is not None:
            await asyncio.gather(self._keeper, return_exceptions=True)


AGENTS = web.AppKey("mcp", Agents)


def _sdk() -> list[ModuleType]:
    """What needs the SDK, which may not be installed."""
    here = ("mcp.app", "server.mcp_events", "server.mcp_hooks", "server.mcp_user")
    return [
        importlib.import_module(name)
        for name in ("mcp.server.streamable_http_manager", *(f"chainwatch.{name}" for name in here))
    ]


def install(app: web.Application) -> None:
    """Agents can come while `app` runs. To be called before whatever else ends at its shutdown."""
    agents = app[AGENTS] = Agents(app)
    app[CONTEXT].webhooks.forms[occurrences.NAME] = occurrences.FORM

    async def close(_: web.Application) -> None:
        await agents.close()

    app.on_shutdown.append(close)


async def answer(request: web.Request) -> web.StreamResponse:
    """`POST`, `GET` and `DELETE /mcp`: what the transport of the protocol needs."""
    posted.nothing_asked(request)
    if request.method == "POST":
        posted.check_type(request)
    context, principal = request.app[CONTEXT], request[PRINCIPAL]
    if importlib.util.find_spec("mcp") is None:
        raise Problem(501, "this daemon was installed without MCP", more={"hint": "pip install 'chainwatch[mcp]'"})
    if context.hub.closing:
        raise _stopping()
    # Each call is a request of its own, so it does not pay for coming; what stays open has a seat.
    seat = enter(request, comes_back=True)
    if isinstance(seat, Full):
        raise turned_away(seat)
    try:
        return await _answer(request, seat)
    except ConnectionError:  # nobody is there; or they are, and have to go
        if not context.sessions.access.holds(principal):
            raise Problem(401, "this key has ended", headers=CHALLENGE, close=True) from None
        if request.app[AGENTS].stopping:
            raise _stopping() from None
        raise
    finally:
        seat.leave()


async def _answer(request: web.Request, seat: Seat) -> web.StreamResponse:
    context, principal, agents = request.app[CONTEXT], request[PRINCIPAL], request.app[AGENTS]
    bridge = await agents.bridge()
    if agents.stopping:
        raise _stopping()
    session = Session(principal.id, request.headers.get(_SESSION, ""))
    listens = partial(agents.listens, session.name) if request.method == "GET" else None
    call = Call(request, await request.read(), listens)
    agents.book.enter(session)
    try:
        with context.sessions.open(principal, _parting(request, call)):
            return await bridge.answer(
                request,
                call,
                headers=accepting(request),
                user=agents.user(principal.id),
                chainwatch=Desk(context, request.app[PUBLISHER], agents.shelf, principal, seat, asking.peer(request)),
            )
    finally:
        agents.book.leave(session)
        if request.method == "DELETE":
            agents.book.drop(session)
        elif not session.name and call.granted and (name := call.header(_SESSION)):
            agents.book.add(Session(principal.id, name))
            await agents.tidy()


def _parting(request: web.Request, call: Call) -> Callable[[str], None]:
    """How a call ends with its key: at once; but a stream of the events extension tells its client why."""

    def end(_: str) -> None:
        if request.headers.get("Mcp-Method") == occurrences.STREAM:
            asyncio.get_running_loop().call_later(PARTING, call.leave)
        else:
            call.leave()

    return end


def _stopping() -> Problem:
    return Problem(503, "the daemon is stopping", headers={"Retry-After": "5"}, close=True)


def accepting(request: web.Request) -> dict[str, str]:
    """
    Headers as the SDK wants them. A POST has to accept both media types; clients that mean to read a stream often name
    that alone. One that names neither does not speak MCP. A body is JSON by now, whatever its type is called. There are
    no ids in a standing stream, so there is nothing to resume by one, and the SDK must not try.
    """
    if request.method != "POST":
        return {"Last-Event-ID": ""}
    given = {"Content-Type": "application/json"}
    accepted = request.headers.get("Accept", "").lower()
    if "text/event-stream" in accepted and "application/json" not in accepted:
        given["Accept"] = _BOTH
    return given


def _desk(ctx: Any) -> Desk:
    """Whose request this is, in both eras: the SDK hands on the connection that a message came by."""
    return cast("Desk", ctx.request.scope["chainwatch"])
