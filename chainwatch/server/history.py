"""`GET /events/history`: the log in pages of JSON, from the earliest event on."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

import msgspec
from aiohttp import web

from chainwatch.event import Event
from chainwatch.log import Cursor, Log
from chainwatch.server import asking, encoding
from chainwatch.server.asking import PRINCIPAL
from chainwatch.server.context import CONTEXT
from chainwatch.server.parameters import Page
from chainwatch.stream import coding
from chainwatch.stream.begin import begin, resume

_WORTH_IT: Final = 1024
"""Bytes: a smaller page is one packet either way."""


class Found(NamedTuple):
    """A page of the log."""

    events: list[tuple[int, Event]]
    """With their sequences, oldest first."""
    next: str
    """A cursor to go on from."""
    has_more: bool
    truncated: bool
    """Older events than were asked for are gone."""


async def history(request: web.Request) -> web.Response:
    """
    `events`, `next` (a cursor to go on from, there at the end too), `has_more`, and `truncated`: older events than were
    asked for are gone.
    """
    context = request.app[CONTEXT]
    page = asking.page(context, request[PRINCIPAL], asking.query(request))
    async with asking.turn(request):
        found = await read(context.log, page)
        body = msgspec.json.encode(found._asdict() | {"events": [event for _, event in found.events]})
        kind = encoding.for_request(request, context.settings().compression)
        if len(body) <= _WORTH_IT:
            kind = coding.Coding.IDENTITY
        if kind is not coding.Coding.IDENTITY:
            # A large page takes milliseconds, which are the streams'.
            body = await asyncio.to_thread(coding.whole, body, kind)
    headers = {"Cache-Control": "no-store"} | encoding.headers(kind)
    return web.Response(body=body, content_type="application/json", headers=headers)


async def read(log: Log, page: Page) -> Found:
    """The page that is asked for."""
    if page.cursor is not None:
        start = resume(str(page.cursor), identity=log.identity, oldest=log.oldest, head=log.head)
    else:
        start = await begin(log, page.start, page.wanted)
    # What stood behind a cursor that this log cannot go on from (another log's, say) is not here.
    truncated = start.gap is not None and (page.cursor is not None or log.oldest > 1)
    truncated |= page.cursor is None and page.start.last is None and log.oldest > max(1, start.after)
    end = log.head
    if page.until is not None:
        end = max(start.after, min(end, await log.since(page.until)))
    # One event more than asked for tells whether there are more.
    found, seen = await log.page(start.after, page.wanted, page.limit + 1)
    if seen > end:
        found, seen = [one for one in found if one[0] <= end], end
    following = found[page.limit - 1][0] if len(found) > page.limit else seen
    # A filter that few events pass may end a page before its limit and before the end: the next page goes on there.
    more = len(found) > page.limit or seen < end
    del found[page.limit :]
    truncated = truncated or start.after < log.oldest - 1  # retention may have been faster
    return Found(found, str(Cursor(log.identity, following)), more, truncated)
