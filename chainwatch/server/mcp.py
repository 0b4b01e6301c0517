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
from types import ModuleType
from typing import Any, Final, cast

from aiohttp import web

from chainwatch.server import asking, occurrences, posted
from chainwatch.server.asgi import Bridge, Call
from chainwatch.server.asking import PRINCIPAL
from chainwatch.server.context import CONTEXT
from chainwatch.server.desk import Desk, Shelf
from chainwatch.server.limits import Full
from chainwatch.server.problem import Problem
from chainwatch.server.publish import PUBLISHER
from chainwatch.server.streams import enter, turned_away

IDLE: Final = 30 * 60.0
"""Seconds that a session lives without a request."""
SESSIONS: Final = 1000

_BOTH: Final = "application/json, text/event-stream"


class Agents:
    """What serves `/mcp`, from the first request until the application ends."""

    def __init__(self, app: web.Application) -> None:
        self._app = app
        self._stop = asyncio.Event()
        self._ready: asyncio.Future[Bridge] | None = None
        self._bridge: Bridge | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.shelf = Shelf(app[CONTEXT].log)

    async def bridge(self) -> Bridge:
        """The way to the SDK's application, which is there from now on."""
        if self._ready is None:
            self._ready = asyncio.get_running_loop().create_future()
            self._keeper = asyncio.create_task(self._keep(self._ready), name="mcp")
        return await asyncio.shield(self._ready)

    async def _keep(self, ready: asyncio.Future[Bridge]) -> None:
        try:
            # Importing takes most of a second, and streams do not wait for it.
            manager_module, app_module, events_module, hooks_module, auth = await asyncio.to_thread(_sdk)
            await self.shelf.load()
            agents = app_module.Agents(_desk)
            server = agents.server(self._app[CONTEXT].version)
            if self._app[CONTEXT].mcp_events:
                events_module.add(server)
                hooks_module.add(server)
            manager = manager_module.StreamableHTTPSessionManager(
                server, session_idle_timeout=IDLE, max_sessions=SESSIONS
            )
        except BaseException as error:
            ready.set_exception(error)
            self._ready = None
            raise
        self.user = auth
        async with manager.run():
            self._bridge = Bridge(manager.handle_request)
            ready.set_result(self._bridge)
            await self._stop.wait()
            await agents.watches.close()
            await self._bridge.close()

    def disconnect(self) -> None:
        """Everybody has to go: listeners would hold up the end."""
        if self._bridge is not None:
            self._bridge.disconnect()

    async def close(self) -> None:
        """End everything."""
        self._stop.set()
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
    context, principal = request.app[CONTEXT], request[PRINCIPAL]
    if importlib.util.find_spec("mcp") is None:
        raise Problem(501, "this daemon was installed without MCP", more={"hint": "pip install 'chainwatch[mcp]'"})
    if context.hub.closing:
        raise Problem(503, "the daemon is stopping", headers={"Retry-After": "5"})
    # Each call is a request of its own, so it does not pay for coming; what stays open has a seat.
    seat = enter(request, comes_back=True)
    if isinstance(seat, Full):
        raise turned_away(seat)
    agents = request.app[AGENTS]
    try:
        bridge = await agents.bridge()
        call = Call(request, await request.read())
        with context.sessions.open(principal, lambda _: call.leave()):
            return await bridge.answer(
                request,
                call,
                headers=accepting(request),
                user=agents.user.of(principal.id),
                chainwatch=Desk(context, request.app[PUBLISHER], agents.shelf, principal, seat, asking.peer(request)),
            )
    finally:
        seat.leave()


def accepting(request: web.Request) -> dict[str, str]:
    """
    A POST has to accept both media types; clients that mean to read a stream often name that alone, and are refused by
    the SDK. One that names neither does not speak MCP.
    """
    accepted = request.headers.get("Accept", "")
    if request.method == "POST" and "text/event-stream" in accepted and "application/json" not in accepted:
        return {"Accept": _BOTH}
    return {}


def _desk(ctx: Any) -> Desk:
    """Whose request this is, in both eras: the SDK hands on the connection that a message came by."""
    return cast("Desk", ctx.request.scope["chainwatch"])
