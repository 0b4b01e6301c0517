"""The application: routes, who may ask for them, and what holds for all of them (hosts, origins, keys, problems)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final, NamedTuple

import structlog
from aiohttp import web
from aiohttp.http import HttpVersion10, HttpVersion11
from aiohttp.typedefs import Handler

from chainwatch.errors import UsageError
from chainwatch.server import (
    agents,
    body,
    channels,
    contract,
    edge,
    health,
    history,
    hooks,
    mcp,
    metrics,
    origins,
    page,
    problem,
    publish,
    stats,
    streams,
    wallets,
    ws,
)
from chainwatch.server.access import ANYBODY, Access
from chainwatch.server.asking import PRINCIPAL
from chainwatch.server.context import CONTEXT, Context
from chainwatch.server.principal import Principal
from chainwatch.server.problem import Problem
from chainwatch.server.sockets import SOCKETS, Sockets

_METHODS: Final = "GET, HEAD, OPTIONS"
_EXPOSED: Final = "ETag, Idempotent-Replayed, Mcp-Session-Id, Retry-After, WWW-Authenticate"
_log = structlog.get_logger("chainwatch.server")


class Route(NamedTuple):
    """What is asked, who answers, and the permission that it takes."""

    method: str
    path: str
    handler: Handler
    needs: str | None = "read"
    """`read`, `send` or `admin`; empty: whoever has a key; None: anyone may ask."""


ROUTES: Final = (
    Route("GET", "/", page.page, needs=None),
    Route("GET", "/events", streams.unnamed),
    Route("GET", "/events/stream", streams.unnamed),
    Route("GET", "/events/history", history.history),
    Route("GET", "/events/{type}", streams.named),
    Route("POST", "/events/{type}", publish.publish, needs="send"),
    Route("GET", "/stream/{agent}", agents.stream),
    Route("GET", "/agents", agents.listed),
    Route("GET", "/agents/{agent}", agents.get),
    Route("PUT", "/agents/{agent}", agents.put),
    Route("DELETE", "/agents/{agent}", agents.delete),
    Route("POST", "/agents/{agent}/ack", agents.ack),
    Route("GET", "/webhooks", hooks.listed),
    Route("GET", "/webhooks/{webhook}", hooks.get),
    Route("PUT", "/webhooks/{webhook}", hooks.put),
    Route("DELETE", "/webhooks/{webhook}", hooks.delete),
    Route("POST", "/webhooks/{webhook}/test", hooks.test),
    Route("POST", "/webhooks/{webhook}/resume", hooks.resume),
    Route("GET", "/webhooks/{webhook}/dead-letters", hooks.dead_letters),
    Route("POST", "/webhooks/{webhook}/dead-letters", hooks.redeliver),
    Route("DELETE", "/webhooks/{webhook}/dead-letters", hooks.forget_dead_letters),
    Route("GET", "/v1/{channel}/{resource}", channels.channel),
    Route("GET", "/ws", ws.websocket, needs=""),
    Route("GET", "/mcp", mcp.answer, needs=""),
    Route("POST", "/mcp", mcp.answer, needs=""),
    Route("DELETE", "/mcp", mcp.answer, needs=""),
    Route("GET", "/v1/stats", stats.stats),
    Route("GET", "/v1/wallets", wallets.wallets),
    Route("GET", "/metrics", metrics.metrics),
    Route("GET", "/schema.json", contract.schema, needs=None),
    Route("GET", "/asyncapi.json", contract.streams, needs=None),
    Route("GET", "/health", health.ready, needs=None),
    Route("GET", "/health/ready", health.ready, needs=None),
    Route("GET", "/health/live", health.live, needs=None),
)
_ENDLESS: Final = {
    streams.unnamed,
    streams.named,
    agents.stream,
    stats.stats,
    channels.channel,
    ws.websocket,
    mcp.answer,
}
"""A HEAD of these would never end."""
_HERE: Final = ", ".join(sorted({route.path for route in ROUTES}))


def build_app(context: Context) -> web.Application:
    """All routes. When the application shuts down, every stream is ended first."""
    app = web.Application(middlewares=[_problems, _guard], client_max_size=body.MOST)
    app[CONTEXT] = context
    app[stats.TICKER] = stats.Ticker(context)
    app[metrics.COUNTED] = metrics.Counted(context.log)
    app[SOCKETS] = Sockets(app)
    app.on_response_prepare.append(_dress)
    mcp.install(app)
    hooks.install(app)
    app.on_shutdown.append(_end_streams)
    agents.install(app)
    publish.install(app)
    needs: dict[Handler, str | None] = {}
    for route in ROUTES:
        needs[route.handler] = route.needs
        if route.method == "GET":
            head = route.handler not in _ENDLESS
            app.router.add_get(route.path, route.handler, allow_head=head, expect_handler=body.later)
        else:
            app.router.add_route(route.method, route.path, route.handler, expect_handler=body.later)
    app[_NEEDS] = needs
    return app


_NEEDS = web.AppKey("needs", dict[Handler, str | None])


def build_runner(app: web.Application) -> edge.Runner:
    """The runner of that application."""
    context = app[CONTEXT]
    return edge.Runner(app, context.settings, streams=lambda: len(context.hub.streams) + len(app[SOCKETS].connections))


async def _end_streams(app: web.Application) -> None:
    app[CONTEXT].sessions.close()
    await asyncio.gather(app[CONTEXT].hub.close(), app[SOCKETS].close())


async def _dress(request: web.Request, response: web.StreamResponse) -> None:
    """Headers of every answer, streams included, which are prepared before their handler returns."""
    request.app[metrics.COUNTED].answered(request, response)
    response.headers["Server"] = "chainwatch"
    response.headers["X-Content-Type-Options"] = "nosniff"
    origin = request.headers.get("Origin", "")
    if origin and origins.is_allowed(origin, request.app[CONTEXT].settings().allowed_origins):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = _EXPOSED
        vary = response.headers.get("Vary")
        response.headers["Vary"] = f"{vary}, Origin" if vary else "Origin"


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever goes wrong is `application/problem+json`."""
    try:
        return await handler(request)
    except Problem as wrong:
        return problem.answer(wrong)
    except UsageError as error:
        return problem.answer(problem.of_usage(error))
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted({*error.allowed_methods, "OPTIONS"}))
        return problem.answer(Problem(405, f"{request.method} is not possible here", headers={"Allow": allowed}))
    except web.HTTPNotFound:
        return problem.answer(Problem(404, f"there is nothing at {request.path}", more={"hint": f"there is: {_HERE}"}))
    except web.HTTPException as error:
        return problem.answer(Problem(error.status, error.reason))
    except ConnectionError:
        return web.Response()  # nobody is there to read it
    except Exception:  # noqa: BLE001 - the client gets an answer, the log the traceback
        _log.exception("a request failed", method=request.method, path=request.path)
        return problem.answer(Problem(500, "the daemon failed; its log has more", close=True))


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Host, origin and key before anything is looked at; preflights; requests that carry what none should."""
    context = request.app[CONTEXT]
    settings, access = context.settings(), context.sessions.access
    host = request.headers.get("Host", "")
    if request.version not in (HttpVersion10, HttpVersion11):
        raise Problem(505, "HTTP/1.0 and HTTP/1.1 are spoken here", close=True)
    # Without keys, a Host that is not this machine is a page that rebinds its name (with keys, it has none of them). A
    # client of HTTP/1.0 may name no host. A browser always does, and it is the browser that is tricked.
    if settings.loopback and not access.closed:
        for name in _hosts(request):
            if not origins.is_loopback(name):
                raise Problem(403, f"the Host {name!r} is not this machine", more={"value": name}, close=True)
    origin = request.headers.get("Origin", "")
    if origin and not origins.is_same_origin(origin, host) and not origins.is_allowed(origin, settings.allowed_origins):
        raise Problem(
            403, f"the origin {origin!r} is not in server.allowed_origins", more={"value": origin}, close=True
        )
    if not access.closed and "*" not in settings.allowed_origins:
        # One that is told an agent's events moves its cursor, or takes its stream from whom it belongs to.
        changes = request.match_info.handler is agents.stream
        if origins.is_of_another_site(request.headers, changes=changes):
            hint = "a page asks by fetch or EventSource, from an origin in server.allowed_origins"
            raise Problem(
                403, "a page of another site asks for this without its origin", more={"hint": hint}, close=True
            )
    if request.method == "OPTIONS":
        return _preflight(request)
    if request.method in ("GET", "HEAD") and request.body_exists:
        raise Problem(400, f"a {request.method} carries no body", close=True)
    needs = request.app[_NEEDS].get(request.match_info.handler)
    if needs is None:
        request[PRINCIPAL] = ANYBODY
    else:
        request[PRINCIPAL] = _who(request, access, needs)
        await body.receive(request)
        if not access.holds(request[PRINCIPAL]):  # the body took its time, and the key ended or changed meanwhile
            request[PRINCIPAL] = _who(request, access, needs)
    return await handler(request)


def _who(request: web.Request, access: Access, needs: str) -> Principal:
    """Whoever sends this, and may."""
    principal = access.identify(request.headers, request.query.items())
    if needs and not principal.may(needs):
        raise Problem(
            403,
            f"the key {principal.name} may not {needs}",
            more={"hint": f"chainwatch keys create NAME --can {needs} makes one that may"},
        )
    return principal


def _hosts(request: web.Request) -> Iterator[str]:
    """The hosts that a request names: a URL as its target names one too, and counts more (RFC 9112, section 3.2.2)."""
    if named := request.headers.get("Host", ""):  # without one, aiohttp would ask for this machine's own name
        yield named
        host = request.host  # of the target, where that is a URL, and without its brackets
        yield f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host


def _preflight(request: web.Request) -> web.Response:
    """What may be asked for here (CORS, Fetch section 3.3); of `*`, anywhere."""
    failed = request.match_info.http_exception
    if request.path == "*":
        methods = ", ".join(sorted({"HEAD", "OPTIONS", *(route.method for route in ROUTES)}))
        return web.Response(status=204, headers={"Allow": methods})
    if failed is not None and not isinstance(failed, web.HTTPMethodNotAllowed):
        raise failed
    methods = ", ".join(sorted({*failed.allowed_methods, "OPTIONS"})) if failed is not None else _METHODS
    return web.Response(
        status=204,
        headers={
            "Allow": methods,
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": (
                "Accept, Authorization, Cache-Control, Content-Type, Idempotency-Key, Last-Event-ID, Mcp-Method, "
                "Mcp-Name, Mcp-Protocol-Version, Mcp-Session-Id, X-API-Key"
            ),
            "Access-Control-Max-Age": "3600",
        },
    )
