"""
MCP Events (SEP-3415, `io.modelcontextprotocol/events`): `events/list`, `events/poll`, `events/stream`.

An event type of the extension is one of ours, or `custom`; its arguments are the stream parameters, its `data` the
whole event as a stream has it, so that `removed` and `retracts` reach whoever acts on it. A cursor is a place in the
log, the same that every other reader has. Subscribing by webhook is in `mcp_hooks`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from pydantic import ConfigDict, Field, ValidationError

from chainwatch import schema
from chainwatch.log import parse_cursor
from chainwatch.mcp import told, tools
from chainwatch.mcp.app import faults, schema_of
from chainwatch.mcp.arguments import Wanted
from chainwatch.mcp.desk import Page, Turned
from chainwatch.payloads import PAYLOADS
from chainwatch.server.desk import Desk
from chainwatch.server.occurrences import FORBIDDEN, STREAM, occurrence
from chainwatch.text import printable

Context = ServerRequestContext[Any, Any]

EXTENSION: Final = "io.modelcontextprotocol/events"
NOT_FOUND: Final = -32023
EXHAUSTED: Final = -32025
UNSUPPORTED: Final = -32026

CUSTOM: Final = "custom"
NAMES: Final = (*PAYLOADS, CUSTOM)
HEARTBEAT: Final = 15.0
"""Seconds; the extension asks for 30 at most."""
NEXT_POLL: Final = 2000
"""Milliseconds: blocks are seldom faster."""
PAGE: Final = 50


class Arguments(Wanted):
    """What narrows a subscription: all but the types, since its name is one."""

    filters: Annotated[list[str], Field(exclude=True, max_length=0, default_factory=list)]


class Asked(types.RequestParams):
    """What `events/poll` and `events/stream` share."""

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    cursor: str | None = None
    max_age_ms: int | None = Field(default=None, ge=0, alias="maxAgeMs")


class Polled(Asked):
    max_events: int = Field(default=PAGE, ge=1, alias="maxEvents")


class _Notification(types.Notification[dict[str, Any], str]):
    """One of `notifications/events/…`."""

    model_config = ConfigDict(extra="allow")


def add(server: Server[Any]) -> None:
    """The extension, and that the server has it."""
    server.add_request_handler("events/list", types.PaginatedRequestParams, listed)
    server.add_request_handler("events/poll", Polled, poll)
    server.add_request_handler(STREAM, Asked, stream)
    server.extensions[EXTENSION] = {"listChanged": False}
    server.middleware.append(_named_as_in_the_draft)


async def _named_as_in_the_draft(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Hosts that follow the draft of the extension look for `events` among the capabilities (SEP-3415's first form)."""
    result = await call_next(ctx)
    if ctx.method in ("initialize", "server/discover") and result is not None:
        shown = result if isinstance(result, dict) else result.model_dump(by_alias=True, mode="json", exclude_none=True)
        return shown | {"capabilities": {**shown.get("capabilities", {}), "events": {}}}
    return result


async def listed(ctx: Context, _: types.PaginatedRequestParams) -> dict[str, Any]:
    """The types that the caller may see, and how each can be delivered: a webhook needs somebody it belongs to."""
    desk = desk_of(ctx)
    delivery = ["poll", "push", *(["webhook"] if desk.caller else [])]
    arguments = _arguments()
    return {
        "resultType": "complete",
        "events": [
            {
                "name": name,
                "description": f"{_description(name)} {told.WARNING}",
                "delivery": delivery,
                "inputSchema": arguments,
                "payloadSchema": _payload(name),
            }
            for name in NAMES
            if desk.sees(name)
        ],
    }


async def poll(ctx: Context, asked: Polled) -> dict[str, Any]:
    """What came behind the cursor; without one, where to begin."""
    desk, words = desk_of(ctx), words_of(asked.name, asked.arguments)
    try:
        if asked.cursor is None:
            page = Page([], await desk.cursor(words), has_more=False, truncated=False)
        else:
            cursor, skipped = later(desk, asked.cursor, asked.max_age_ms, await bound(desk, asked.max_age_ms))
            page = await tools.take(desk, words, min(asked.max_events, PAGE), cursor=cursor)
            page = page._replace(truncated=page.truncated or skipped)
    except Turned as turned:
        raise refused(turned) from None
    return {
        "resultType": "complete",
        "events": [occurrence(asked.name, event) for event in page.events],
        "cursor": page.cursor,
        "truncated": page.truncated,
        "hasMore": page.has_more,
        "nextPollMs": NEXT_POLL,
    }


async def stream(ctx: Context, asked: Asked) -> dict[str, Any]:
    """Each event as a notification, until the client leaves: the answer to this request is the stream."""
    desk, words = desk_of(ctx), words_of(asked.name, asked.arguments)
    meta = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}

    async def tell(kind: str, **params: Any) -> None:
        said = _Notification(method=f"notifications/events/{kind}", params={**params, "_meta": meta})
        await ctx.session.send_notification(said, related_request_id=ctx.request_id)  # type: ignore[arg-type]

    try:
        start, skipped = await desk.cursor(words), False
        if asked.cursor is not None:
            start, skipped = later(desk, asked.cursor, asked.max_age_ms, await bound(desk, asked.max_age_ms))
            _check(start)
    except Turned as turned:
        raise refused(turned) from None
    try:
        await _follow(desk, asked.name, words, start, skipped, tell)
    except Turned as turned:
        # The key ended, or means less than it did. Otherwise the client comes back with its cursor.
        kind = "error" if turned.passing or turned.full else "terminated"
        await tell(kind, error=refused(turned).error.model_dump(by_alias=True, exclude_none=True))
    return {"resultType": "complete", "_meta": meta}


async def _follow(desk: Desk, name: str, words: dict[str, list[str]], cursor: str, skipped: bool, tell: Any) -> None:
    # One at a time: so each comes with its own place.
    page = await tools.take(desk, words, 1, cursor=cursor)
    await tell("active", cursor=page.cursor if page.truncated else cursor, truncated=skipped or page.truncated)
    clock = asyncio.get_running_loop().time
    heard = clock()
    while True:
        for event in page.events:
            await tell("event", **occurrence(name, event), cursor=page.cursor)
            heard = clock()
        cursor = page.cursor
        if not page.has_more:
            _, cursor = await desk.wait(words, cursor, max(0.1, heard + HEARTBEAT - clock()))
        if clock() - heard >= HEARTBEAT:
            await tell("heartbeat", cursor=cursor)
            heard = clock()
        page = await tools.take(desk, words, 1, cursor=cursor)
        if page.truncated:
            await tell("active", cursor=page.cursor, truncated=True)


# --- words, places, errors ----------------------------------------------------------------------------------------


def desk_of(ctx: Context) -> Desk:
    """Whose request this is."""
    desk: Desk = ctx.request.scope["chainwatch"]  # type: ignore[union-attr]
    if not desk.may("read"):
        raise MCPError(FORBIDDEN, "Forbidden", {"reason": "the key may not read"})
    return desk


def words_of(name: str, arguments: Mapping[str, Any]) -> dict[str, list[str]]:
    """A subscription as stream parameters."""
    if name not in NAMES:
        raise MCPError(NOT_FOUND, "NotFound", {"kind": "event", "name": printable(name, 80)})
    try:
        words = Arguments.model_validate(arguments).words()
    except ValidationError as error:
        known = [name for name in Arguments.model_fields if name != "filters"]
        text = f"arguments: {'; '.join(faults(known, error))}. There is: {', '.join(known)}."
        raise MCPError(types.INVALID_PARAMS, printable(text, 1000)) from None
    return words | {"types": [name]}


async def bound(desk: Desk, max_age_ms: int | None) -> int:
    """The sequence before which nothing is to be replayed."""
    return 0 if max_age_ms is None else await desk.since(max(0, int(time.time() * 1000) - max_age_ms))


def later(desk: Desk, cursor: str, max_age_ms: int | None, floor: int) -> tuple[str, bool]:
    """The later of a cursor and the floor; whether that skips anything."""
    place = parse_cursor(cursor)
    if max_age_ms is None or place is None or place.log != desk.daemon.log.identity or place.sequence >= floor:
        return cursor, False
    return str(place._replace(sequence=floor)), True


def _check(cursor: str) -> None:
    if parse_cursor(cursor) is None:
        raise Turned(f"{printable(cursor, 80)!r} is no cursor", "Begin without one.")


def refused(turned: Turned) -> MCPError:
    """What cannot be had, as the extension's error."""
    if turned.forbidden:
        return MCPError(FORBIDDEN, "Forbidden", {"reason": printable(str(turned), 500)})
    if turned.full:
        return MCPError(EXHAUSTED, "ResourceExhausted", {"limit": printable(str(turned), 500)})
    return MCPError(types.INTERNAL_ERROR if turned.passing else types.INVALID_PARAMS, printable(str(turned), 1000))


def _description(name: str) -> str:
    if name == CUSTOM:
        return "Whatever a program published to this daemon; `type` in the data is the name it chose."
    return PAYLOADS[name].DESCRIPTION


@cache
def _arguments() -> dict[str, Any]:
    found: dict[str, Any] = schema_of(Arguments)
    del found["properties"]["filters"], found["description"]
    return found


@cache
def _payload(name: str) -> dict[str, Any]:
    """The whole event; without the examples, which a host has no use for."""
    document = schema.document([name])
    for definition in document["$defs"].values():
        definition.pop("examples", None)
    return document
