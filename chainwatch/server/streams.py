"""`GET /events`, `/events/stream`, `/events/{type or category}`: a request becomes a stream of the hub."""

from __future__ import annotations

import random
import secrets
import time
from typing import Final

import msgspec
import structlog
from aiohttp import web
from aiohttp.http import HttpVersion11

from chainwatch import sse
from chainwatch.log import Cursor
from chainwatch.server import parameters
from chainwatch.server.context import CONTEXT, SEATS, Context, Seats
from chainwatch.server.parameters import Asked
from chainwatch.server.problem import Problem
from chainwatch.server.takeover import take
from chainwatch.stream.begin import NOW, Begin, begin, resume
from chainwatch.stream.stream import Stream

HEADERS: Final = {
    "Content-Type": sse.MEDIA_TYPE,
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold events back until its buffer is full
}

_log = structlog.get_logger("chainwatch.access")


async def unnamed(request: web.Request) -> web.StreamResponse:
    """Events without an `event:` field, so that a browser's `onmessage` gets them."""
    return await _answer(request, None)


async def named(request: web.Request) -> web.StreamResponse:
    """Events of one type or category, named by their type."""
    return await _answer(request, request.match_info["type"])


async def _answer(request: web.Request, only: str | None) -> web.StreamResponse:
    context = request.app[CONTEXT]
    asked = parameters.stream(
        request.query.items(),
        context.vocabulary(),
        now=int(time.time() * 1000),
        last_event_id=request.headers.get("Last-Event-ID", ""),
        only=only,
    )
    seats = request.app[SEATS]
    if is_full(context, seats):
        return _no_room(context, asked)
    seats.taken += 1
    try:
        return await _open(request, context, asked)
    finally:
        seats.taken -= 1


def is_full(context: Context, seats: Seats) -> bool:
    """Whether one more stream cannot be let in."""
    return context.hub.closing or len(context.hub.streams) + seats.taken >= context.max_connections


def turned_away(context: Context) -> Problem:
    """The answer to a new client where `is_full`."""
    why = "the daemon is stopping" if context.hub.closing else f"all {context.max_connections} streams are taken"
    return Problem(503, why, headers={"Retry-After": str(int(_wait()))})


def _wait() -> float:
    """Seconds."""
    return random.uniform(15, 60)  # noqa: S311 - jitter is no secret


async def _open(request: web.Request, context: Context, asked: Asked) -> web.StreamResponse:
    hub = context.hub
    start = await begin(context.log, asked.start, asked.wanted)
    if start.gap is not None and asked.gap_fails:
        raise Problem(410, "events that were asked for are gone", more=msgspec.structs.asdict(start.gap))
    # In one step with the decision where the stream begins: what is committed from here on, the stream itself tells.
    present = context.present.frames(asked.wanted, named=asked.named)[: asked.limit] if asked.start == NOW else []
    response = web.StreamResponse(headers=HEADERS)
    response.force_close()  # a stream is the last thing on its connection
    await response.prepare(request)
    stream = Stream(
        hub,
        name=f"str_{secrets.token_hex(8)}",
        peer=_peer(request),
        wanted=asked.wanted,
        after=start.after,
        named=asked.named,
        chunked=request.version >= HttpVersion11,
        limit=None if asked.limit is None else asked.limit - len(present),
        heartbeat=asked.heartbeat,
        closed=_closed,
    )
    if take(request, stream):
        hub.open(stream, b"".join([_first(stream, start, context), *present]), duration=asked.duration)
    return response


def _first(stream: Stream, start: Begin, context: Context) -> bytes:
    """`connect`, and `gap` where there is one, in one piece."""
    replays = start.after < context.log.head
    about = {
        "stream": stream.id,
        "cursor": start.cursor,
        "filters": stream.wanted.describe(),
        "replay_from": str(Cursor(context.log.identity, start.after)) if replays else None,
    }
    first = sse.connect(start.cursor, msgspec.json.encode(about), retry_ms=context.hub.retry())
    if start.gap is not None:
        first += sse.gap(start.gap.resumed_at, msgspec.json.encode(start.gap))
    return first


def _no_room(context: Context, asked: Asked) -> web.StreamResponse:
    """
    New clients get 503. One that comes back with a cursor that it can go on from is never turned away, since any answer
    but 200 stops an `EventSource` for good: it gets a stream that ends at once, and a longer wait.
    """
    log = context.log
    if asked.start.resume:
        start = resume(asked.start.resume, identity=log.identity, oldest=log.oldest, head=log.head)
        if start.gap is None:
            body = sse.control("complete", b"[DONE]", cursor=start.cursor, retry_ms=int(_wait() * 1000))
            return web.Response(body=body, headers=HEADERS)
    raise turned_away(context)


def _peer(request: web.Request) -> str:
    name = request.get_extra_info("peername")
    if not isinstance(name, tuple) or len(name) < 2:
        return "unix"
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


def _closed(stream: Stream) -> None:
    """The access log: one line when a stream is over."""
    hub = stream.hub
    _log.info(
        "stream closed",
        stream=stream.id,
        peer=stream.peer,
        filters=stream.wanted.describe(),
        reason=stream.reason,
        seconds=round(hub.now() - stream.opened, 3),
        events=stream.events_sent,
        bytes=stream.bytes_sent,
        position=stream.position,
    )
