"""The application: routes, and what holds for all of them (hosts, origins, problems)."""

from __future__ import annotations

import logging
from typing import Final

import structlog
from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.typedefs import Handler

from chainwatch.errors import UsageError
from chainwatch.server import access, contract, health, history, problem, stats, streams
from chainwatch.server.context import CONTEXT, SEATS, Context, Seats
from chainwatch.server.problem import Problem

_METHODS: Final = "GET, HEAD, OPTIONS"
_log = structlog.get_logger("chainwatch.server")


def build_app(context: Context) -> web.Application:
    """All routes. When the application shuts down, every stream is ended first."""
    app = web.Application(middlewares=[_problems, _guard])
    app[CONTEXT] = context
    app[SEATS] = Seats()
    app[stats.TICKER] = stats.Ticker(context)
    app.on_response_prepare.append(_dress)
    app.on_shutdown.append(_end_streams)
    # A HEAD of a stream would never end; `allow_head` is for what has an end.
    app.router.add_get("/events", streams.unnamed, allow_head=False)
    app.router.add_get("/events/stream", streams.unnamed, allow_head=False)
    app.router.add_get("/events/history", history.history)
    app.router.add_get("/events/{type}", streams.named, allow_head=False)
    app.router.add_get("/v1/stats", stats.stats, allow_head=False)
    app.router.add_get("/schema.json", contract.schema)
    app.router.add_get("/asyncapi.json", contract.streams)
    app.router.add_get("/health", health.ready)
    app.router.add_get("/health/ready", health.ready)
    app.router.add_get("/health/live", health.live)
    return app


def build_runner(app: web.Application) -> web.AppRunner:
    """
    The runner of that application. Streams end before anything is waited for, so a stop is quick; streams write their
    own line when they are over, so aiohttp's access log is off.
    """
    logger = logging.getLogger("chainwatch.http")
    logger.addFilter(_is_ours)
    return web.AppRunner(app, access_log=None, logger=logger, shutdown_timeout=2.0)


def _is_ours(record: logging.LogRecord) -> bool:
    """Not a broken request of a stranger: it is answered with 400, and its traceback would let anyone fill the log."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


async def _end_streams(app: web.Application) -> None:
    await app[CONTEXT].hub.close()


async def _dress(request: web.Request, response: web.StreamResponse) -> None:
    """Headers of every answer, streams included, which are prepared before their handler returns."""
    response.headers["Server"] = "chainwatch"
    response.headers["X-Content-Type-Options"] = "nosniff"
    origin = request.headers.get("Origin", "")
    if origin and access.is_allowed(origin, request.app[CONTEXT].allowed_origins):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Vary"] = "Origin"


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
        there = (
            "there is: /events, /events/{type or category}, /events/history, /v1/stats, /health, /schema.json, "
            "/asyncapi.json"
        )
        return problem.answer(Problem(404, f"there is nothing at {request.path}", more={"hint": there}))
    except web.HTTPException as error:
        return problem.answer(Problem(error.status, error.reason))
    except ConnectionError:
        return web.Response()  # nobody is there to read it
    except Exception:  # noqa: BLE001 - the client gets an answer, the log the traceback
        _log.exception("a request failed", method=request.method, path=request.path)
        return problem.answer(Problem(500, "the daemon failed; its log has more", close=True))


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Host and origin before anything is looked at; preflights; requests that carry what none should."""
    context = request.app[CONTEXT]
    host = request.headers.get("Host", "")
    # A client of HTTP/1.0 may name no host. A browser always does, and it is the browser that is tricked.
    if context.loopback and host and not access.is_loopback(host):
        raise Problem(403, f"the Host {host!r} is not this machine", more={"value": host}, close=True)
    origin = request.headers.get("Origin", "")
    if origin and not access.is_same_origin(origin, host) and not access.is_allowed(origin, context.allowed_origins):
        raise Problem(
            403, f"the origin {origin!r} is not in server.allowed_origins", more={"value": origin}, close=True
        )
    if request.method == "OPTIONS":
        return _preflight(request)
    if request.method in ("GET", "HEAD") and request.body_exists:
        raise Problem(400, f"a {request.method} carries no body", close=True)
    return await handler(request)


def _preflight(request: web.Request) -> web.Response:
    """What may be asked for here (CORS, Fetch section 3.3)."""
    failed = request.match_info.http_exception
    if failed is not None and not isinstance(failed, web.HTTPMethodNotAllowed):
        raise failed
    methods = ", ".join(sorted({*failed.allowed_methods, "OPTIONS"})) if failed is not None else _METHODS
    return web.Response(
        status=204,
        headers={
            "Allow": methods,
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": "Accept, Cache-Control, Content-Type, Last-Event-ID",
            "Access-Control-Max-Age": "3600",
        },
    )
