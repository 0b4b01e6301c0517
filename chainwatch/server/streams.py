"""`GET /events`, `/events/stream`, `/events/{type or category}`: a request becomes a stream of the hub."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from typing import Final

import msgspec
import structlog
from aiohttp import web
from aiohttp.http import HttpVersion11

from chainwatch import sse
from chainwatch.log import Cursor
from chainwatch.server import asking, encoding
from chainwatch.server.asking import PRINCIPAL
from chainwatch.server.context import CONTEXT, Context
from chainwatch.server.limits import Full, Seat, retry_after
from chainwatch.server.parameters import Asked
from chainwatch.server.problem import Problem
from chainwatch.server.takeover import Head, take
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
    return await answer(request, asking.stream(request))


async def named(request: web.Request) -> web.StreamResponse:
    """Events of one type or category, named by their type."""
    return await answer(request, asking.stream(request, request.match_info["type"]))


def closed(stream: Stream) -> None:
    """A stream is over: its seat is free, and the access log has one line."""
    if isinstance(stream.seat, Seat):
        stream.seat.forget(stream.wanted.where)
        stream.seat.leave()
    hub = stream.hub
    _log.info(
        "stream closed",
        stream=stream.id,
        key_id=stream.owner or None,
        peer=stream.peer,
        filters=stream.wanted.describe(),
        reason=stream.reason,
        seconds=round(hub.now() - stream.opened, 3),
        events=stream.events_sent,
        bytes=stream.bytes_sent,
        position=stream.position,
    )


async def answer(
    request: web.Request, asked: Asked, *, over: Callable[[Stream], None] = closed, begun: Begun | None = None
) -> web.StreamResponse:
    """
    The stream that was asked for, where there is room for it. `begun` is called with it before its first byte; `over`
    when its connection is gone, and calls `closed`.
    """
    context = request.app[CONTEXT]
    comes_back = _comes_back(context, asked)
    seat = enter(request, comes_back=comes_back)
    if isinstance(seat, Full):
        return _no_room(asked, seat, comes_back=comes_back)
    if (full := seat.ask(asked.wanted.where)) is not None:
        seat.leave()
        return _no_room(asked, full, comes_back=comes_back)
    head = None
    try:
        response, stream, first = await _prepare(request, context, asked, seat, over)
        # From here on nothing is waited for: the handler returns, and aiohttp is done with this connection.
        head = take(request, stream)
    finally:
        if head is None:
            seat.forget(asked.wanted.where)
            seat.leave()
    if head is not None:
        if begun is not None:
            begun(stream)
        context.hub.open(stream, first, head=head, duration=asked.duration)
        if (age := context.settings().max_connection_age) is not None:
            # Those that came together, after a restart, shall not all go together.
            context.hub.watch.rotate(stream, age * random.uniform(0.9, 1.1))  # noqa: S311 - jitter is no secret
        if not context.sessions.access.holds(request[PRINCIPAL]):  # revoked while the log was asked
            context.hub.finish(stream, "revoked")
    return response


Begun = Callable[[Stream], None]


def enter(request: web.Request, *, comes_back: bool = False) -> Seat | Full:
    """A seat for whoever sends this request."""
    context = request.app[CONTEXT]
    if context.hub.closing:
        return Full(503, "the daemon is stopping", None)
    principal = request[PRINCIPAL]
    seat = context.gate.enter(principal.id, asking.address(request), context.hub.now(), comes_back=comes_back)
    if isinstance(seat, Seat):
        context.sessions.welcome(principal)
    return seat


def turned_away(full: Full) -> Problem:
    """The answer to a new client that gets no seat."""
    wait = _wait() if full.wait is None else full.wait
    return Problem(full.status, full.why, headers={"Retry-After": retry_after(wait)})


def _wait() -> float:
    """Seconds."""
    return random.uniform(15, 60)  # noqa: S311 - jitter is no secret


def _comes_back(context: Context, asked: Asked) -> bool:
    """Whether the client has a cursor that it can go on from."""
    log, cursor = context.log, asked.start.resume
    return bool(cursor) and resume(cursor, identity=log.identity, oldest=log.oldest, head=log.head).gap is None


def _no_room(asked: Asked, full: Full, *, comes_back: bool) -> web.Response:
    """
    New clients get 429 or 503. One that comes back with a cursor that it can go on from is never turned away, since any
    answer but 200 stops an `EventSource` for good: it gets a stream that ends at once, and a longer wait.
    """
    if not comes_back:
        raise turned_away(full)
    body = sse.control("complete", b"[DONE]", cursor=asked.start.resume, retry_ms=int(_wait() * 1000))
    return web.Response(body=body, headers=HEADERS)


async def _prepare(
    request: web.Request, context: Context, asked: Asked, seat: Seat, over: Callable[[Stream], None]
) -> tuple[web.StreamResponse, Stream, bytes]:
    """The response with its head made, the stream, and what it begins with."""
    if asked.start.last is None or asked.start.resume:
        start = await begin(context.log, asked.start, asked.wanted)
    else:  # looking for the newest of what is rare takes a while
        async with asking.turn(request):
            start = await begin(context.log, asked.start, asked.wanted)
    if start.gap is not None and asked.gap_fails:
        raise Problem(410, "events that were asked for are gone", more=msgspec.structs.asdict(start.gap))
    # In one step with the decision where the stream begins: what is committed from here on, the stream itself tells.
    present = context.present.frames(asked.wanted, named=asked.named)[: asked.limit] if asked.start == NOW else []
    coding = encoding.for_request(request, context.settings().compression)
    response = Head(headers=HEADERS | encoding.headers(coding))
    response.force_close()  # a stream is the last thing on its connection
    await response.prepare(request)
    stream = Stream(
        context.hub,
        name=f"str_{secrets.token_hex(8)}",
        peer=asking.peer(request),
        owner=request[PRINCIPAL].id,
        seat=seat,
        wanted=asked.wanted,
        after=start.after,
        named=asked.named,
        chunked=request.version >= HttpVersion11,
        coding=coding,
        limit=None if asked.limit is None else asked.limit - len(present),
        heartbeat=asked.heartbeat,
        closed=over,
    )
    return response, stream, b"".join([_first(stream, start, context), *present])


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
