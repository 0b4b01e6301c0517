"""`GET /v1/stats`: the whole path at a glance, once as JSON, or once a second as a stream."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from chainwatch import sse
from chainwatch.server import edge, posted
from chainwatch.server.asking import PRINCIPAL
from chainwatch.server.context import CONTEXT, Context
from chainwatch.server.limits import Full
from chainwatch.server.principal import Principal
from chainwatch.server.streams import HEADERS, enter, turned_away
from chainwatch.stream import kernel
from chainwatch.stream.follow import Follower
from chainwatch.stream.stream import Stream

LISTED: Final = 256
"""Streams that are told one by one; all are counted."""
STALL: Final = 60.0
"""Seconds after which a client is closed that takes no snapshot."""


def snapshot(context: Context, principal: Principal) -> dict[str, Any]:
    """
    What is connected, how far behind, how late, and who listens: of chains and of streams, those that `principal` may
    know of.
    """
    hub, log, gate = context.hub, context.log, context.gate
    now = time.time()
    streams = [stream for stream in hub.streams.values() if principal.owns(stream.owner)]
    others = [one for one in context.followers.open.values() if principal.owns(one.owner)]
    all_of_them: list[Stream | Follower] = [*streams, *others]
    places = Counter([stream.place.value for stream in streams] + [one.state.value for one in others])
    log_stats = getattr(log, "stats", None)
    names = {key.id: key.name for key in context.sessions.access.ring.keys}
    return {
        "version": context.version,
        "time": now,
        "uptime_seconds": round(now - context.started, 3),
        "chains": [chain for chain in context.chains() if principal.sees_chain(chain["name"])],
        "sources": [source for source in context.sources() if principal.sees_chain(source.get("chain"))],
        "streams": {
            "open": len(all_of_them),
            "max": context.settings().max_connections,
            "live": places["live"],
            "places": dict(places),
            "list": [describe(one, log.head, hub.now(), names) for one in all_of_them[:LISTED]],
        },
        "connections": {"open": gate.taken, "refused": gate.refused} if principal.may("admin") else None,
        "webhooks": context.webhooks.stats() if principal.may("admin") else None,
        "log": {
            "identity": log.identity,
            "oldest": log.oldest,
            "head": log.head,
            "flushed": hub.flushed,
            **(log_stats() if callable(log_stats) else {}),
        },
        "rates": hub.meter.rates(now),
        "totals": {"events": hub.meter.events, "deliveries": hub.meter.deliveries, "bytes": hub.meter.bytes},
        "latencies_ms": hub.meter.latencies(),
        **context.extra_stats(),
    }


def describe(stream: Stream | Follower, head: int, now: float, names: Mapping[str, str]) -> dict[str, Any]:
    """One stream: who, what, and how far behind. `now`: of the loop's clock; `names`: of keys, by their ids."""
    kind, place = (stream.kind, stream.state) if isinstance(stream, Follower) else ("sse", stream.place)
    return {
        "stream": stream.id,
        "kind": kind,
        "key": names.get(stream.owner),
        "peer": stream.peer,
        "filters": stream.wanted.describe(),
        "state": place.value,
        "lag": max(0, head - stream.position),
        "sent": stream.events_sent,
        "bytes": stream.bytes_sent,
        "buffered": 0 if stream.transport is None else kernel.held(stream.transport),
        "seconds": round(now - stream.opened, 3),
    }


class Ticker:
    """Snapshots for all who watch the statistics: made once a second for each key, however many watch with it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._made: dict[Principal, tuple[float, bytes]] = {}

    def frame(self, principal: Principal) -> bytes:
        """The newest snapshot as an event, at most a second old."""
        now = self._context.hub.now()
        made, frame = self._made.get(principal, (now - 1, b""))
        if now - made >= 0.9:
            frame = b"data: %b\n\n" % msgspec.json.encode(snapshot(self._context, principal))
            self._made = {who: kept for who, kept in self._made.items() if now - kept[0] < 0.9}
            self._made[principal] = (now, frame)
        return frame


TICKER = web.AppKey("ticker", Ticker)


async def stats(request: web.Request) -> web.StreamResponse:
    """JSON; for whoever accepts an event stream, one snapshot a second."""
    posted.nothing_asked(request)
    context, principal = request.app[CONTEXT], request[PRINCIPAL]
    if sse.MEDIA_TYPE not in request.headers.get("Accept", ""):
        return web.Response(
            body=msgspec.json.encode(snapshot(context, principal)),
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )
    seat = enter(request)
    if isinstance(seat, Full):
        raise turned_away(seat)
    response = web.StreamResponse(headers=HEADERS)
    response.force_close()
    ended = asyncio.Event()
    with contextlib.ExitStack() as stack:
        stack.callback(seat.leave)
        stack.enter_context(context.sessions.open(principal, lambda _: ended.set()))
        stack.enter_context(contextlib.suppress(ConnectionError))  # the client left
        edge.when_gone(request, ended.set)
        await response.prepare(request)
        try:
            await _each_second(response, context, request.app[TICKER], principal, ended)
        except TimeoutError:  # it takes nothing any more
            if request.transport is not None:
                request.transport.abort()
    return response


async def _each_second(
    response: web.StreamResponse, context: Context, ticker: Ticker, principal: Principal, ended: asyncio.Event
) -> None:
    stopped = asyncio.ensure_future(context.hub.stopped.wait())
    revoked = asyncio.ensure_future(ended.wait())
    try:
        await response.write(sse.retry(context.hub.retry()))
        while not stopped.done() and not revoked.done():
            async with asyncio.timeout(STALL):
                await response.write(ticker.frame(principal))
            await asyncio.wait([stopped, revoked], timeout=1, return_when=asyncio.FIRST_COMPLETED)
        await response.write(sse.complete(retry_ms=context.hub.retry()))
    finally:
        stopped.cancel()
        revoked.cancel()
