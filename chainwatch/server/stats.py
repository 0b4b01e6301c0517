"""`GET /v1/stats`: the whole path at a glance, once as JSON, or once a second as a stream."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from typing import Any, Final

import msgspec
from aiohttp import web

from chainwatch import sse
from chainwatch.server.context import CONTEXT, SEATS, Context
from chainwatch.server.streams import HEADERS, is_full, turned_away
from chainwatch.stream import kernel
from chainwatch.stream.stream import Stream

LISTED: Final = 256
"""Streams that are told one by one; all are counted."""


def snapshot(context: Context) -> dict[str, Any]:
    """What is connected, how far behind, how late, and who listens."""
    hub, log = context.hub, context.log
    now = time.time()
    streams = list(hub.streams.values())
    places = Counter(stream.place.value for stream in streams)
    log_stats = getattr(log, "stats", None)
    return {
        "version": context.version,
        "time": now,
        "uptime_seconds": round(now - context.started, 3),
        "chains": context.chains(),
        "sources": context.sources(),
        "streams": {
            "open": len(streams),
            "max": context.max_connections,
            "live": places["live"],
            "places": dict(places),
            "list": [describe(stream, log.head) for stream in streams[:LISTED]],
        },
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


def describe(stream: Stream, head: int) -> dict[str, Any]:
    """One stream: who, what, and how far behind."""
    return {
        "stream": stream.id,
        "peer": stream.peer,
        "filters": stream.wanted.describe(),
        "state": stream.place.value,
        "lag": max(0, head - stream.position),
        "sent": stream.events_sent,
        "bytes": stream.bytes_sent,
        "buffered": kernel.held(stream.transport),
        "seconds": round(stream.hub.now() - stream.opened, 3),
    }


class Ticker:
    """Snapshots for all who watch the statistics: made once a second, however many they are."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._made = 0.0
        self._frame = b""

    def frame(self) -> bytes:
        """The newest snapshot as an event, at most a second old."""
        now = self._context.hub.now()
        if not self._frame or now - self._made >= 0.9:
            self._made = now
            self._frame = b"data: %b\n\n" % msgspec.json.encode(snapshot(self._context))
        return self._frame


TICKER = web.AppKey("ticker", Ticker)


async def stats(request: web.Request) -> web.StreamResponse:
    """JSON; for whoever accepts an event stream, one snapshot a second."""
    context = request.app[CONTEXT]
    if sse.MEDIA_TYPE not in request.headers.get("Accept", ""):
        return web.Response(
            body=msgspec.json.encode(snapshot(context)),
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )
    seats = request.app[SEATS]
    if is_full(context, seats):
        raise turned_away(context)
    response = web.StreamResponse(headers=HEADERS)
    response.force_close()
    seats.taken += 1
    try:
        await response.prepare(request)
        await _each_second(response, context, request.app[TICKER])
    except ConnectionError:
        pass  # the client left
    finally:
        seats.taken -= 1
    return response


async def _each_second(response: web.StreamResponse, context: Context, ticker: Ticker) -> None:
    await response.write(sse.retry(context.hub.retry()))
    while not context.hub.closing:
        await response.write(ticker.frame())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(context.hub.stopped.wait(), 1)
    await response.write(sse.complete(retry_ms=context.hub.retry()))
