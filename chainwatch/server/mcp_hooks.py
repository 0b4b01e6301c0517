"""
MCP Events by webhook (SEP-3415): `events/subscribe`, `events/unsubscribe`.

A subscription is a webhook of the key that asked for it (see `chainwatch.webhooks`), and outlives a restart. Its name
is made of the key, the address, the event and the arguments: whoever asks for the same again renews it. Its cursor is
the log's, and moves with what the receiver accepted, in order; that is stricter than the extension, which lets
deliveries overtake one another.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any, Final

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, Field

from chainwatch.errors import LogError, UsageError
from chainwatch.event import rfc3339
from chainwatch.log import Cursor
from chainwatch.mcp.desk import Turned
from chainwatch.server import mcp_events
from chainwatch.server.desk import Desk
from chainwatch.server.mcp_events import EXHAUSTED, NOT_FOUND, UNSUPPORTED, Asked
from chainwatch.server.occurrences import FORBIDDEN, NAME
from chainwatch.stream.begin import resume
from chainwatch.text import printable
from chainwatch.webhooks import MOST, Fault, TooMany, TooOften, Webhook, Withdrawn, place_of

Context = ServerRequestContext[Any, Any]

CALLBACK: Final = -32027
SHORTEST: Final = 5 * 60_000
DEFAULT: Final = 86_400_000
LONGEST: Final = 30 * 86_400_000
"""Milliseconds that a subscription is granted; whoever wants it for ever gets the longest, and renews it."""

_WORDS: Final[dict[Fault, str]] = {
    "unreachable": "connection_refused",
    "address_refused": "connection_refused",
    "http_3xx": "http_4xx",
    "bad_answer": "challenge_failed",
}
"""The extension has fewer words for what went wrong."""


class Receiver(BaseModel):
    """Where a subscription is delivered."""

    url: str = Field(max_length=2048)


class Delivery(Receiver):
    """And how."""

    mode: str = "webhook"
    secret: str = Field(repr=False, max_length=200)


class Subscribed(Asked):
    """What `events/subscribe` takes."""

    delivery: Delivery
    ttl_ms: int | None = Field(default=DEFAULT, ge=0, alias="ttlMs")
    """None: for ever."""


class Unsubscribed(types.RequestParams):
    """What `events/unsubscribe` takes."""

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    delivery: Receiver


def add(server: Server[Any]) -> None:
    """The two methods."""
    server.add_request_handler("events/subscribe", Subscribed, subscribe)
    server.add_request_handler("events/unsubscribe", Unsubscribed, unsubscribe)


async def subscribe(ctx: Context, asked: Subscribed) -> dict[str, Any]:
    """
    Deliver to an address from now on, or go on doing so; a new address is asked first whether it wants that. One that
    agreed has agreed to all that this key subscribes to: hosts have one address for many subscriptions.
    """
    desk = _owned(ctx)
    daemon, words = desk.daemon, mcp_events.words_of(asked.name, asked.arguments)
    if asked.delivery.mode != "webhook":
        value = printable(asked.delivery.mode, 80)
        raise MCPError(UNSUPPORTED, "Unsupported", {"feature": "deliveryMode", "value": value})
    name = name_of(desk.caller, asked.delivery.url, asked.name, asked.arguments)
    before = daemon.webhooks.get(desk.caller, name)
    status = None if before is None else _status(before)
    now = int(time.time() * 1000)
    granted = now + min(max(LONGEST if asked.ttl_ms is None else asked.ttl_ms, SHORTEST), LONGEST)
    try:
        await desk.cursor(words)
        after, truncated = await _start(desk, asked)

        async def start() -> int:
            return after

        hook, _, new = await daemon.webhooks.add(
            desk.caller,
            name,
            asked.delivery.url,
            words,
            start=start,
            secret=asked.delivery.secret,
            form=NAME,
            headers={"X-MCP-Subscription-Id": name},
            expires=granted,
            agreed=any(
                one.standing.verified and one.purpose.url == asked.delivery.url
                for one in daemon.webhooks.of(desk.caller)
            ),
        )
    except Turned as turned:
        raise mcp_events.refused(turned) from None
    except UsageError as error:
        raise mcp_events.refused(Turned(error.what, error.hint)) from None
    except Withdrawn as error:
        raise MCPError(FORBIDDEN, "Forbidden", {"reason": printable(str(error), 500)}) from None
    except TooMany:
        raise MCPError(EXHAUSTED, "ResourceExhausted", {"limit": "subscriptions", "max": MOST}) from None
    except TooOften as error:
        more = {"limit": "verifications", "retryAfterMs": int(error.wait * 1000) + 1}
        raise MCPError(EXHAUSTED, "ResourceExhausted", more) from None
    except LogError:
        raise MCPError(types.INTERNAL_ERROR, "the event log cannot be written now: nothing was changed") from None
    if not hook.standing.verified:
        fault = "challenge_failed" if hook.last is None else _word(hook.last.fault)
        await daemon.webhooks.remove(hook)
        raise MCPError(CALLBACK, "CallbackEndpointError", {"reason": fault})
    return {
        "resultType": "complete",
        "id": name,
        "refreshBefore": rfc3339(granted),
        "cursor": str(Cursor(daemon.log.identity, place_of(hook))),
        "truncated": truncated and new,
        **({} if status is None else {"deliveryStatus": status}),
    }


async def unsubscribe(ctx: Context, asked: Unsubscribed) -> dict[str, Any]:
    """Deliver no more."""
    desk = _owned(ctx)
    name = name_of(desk.caller, asked.delivery.url, asked.name, asked.arguments)
    hook = desk.daemon.webhooks.get(desk.caller, name)
    if hook is None:
        raise MCPError(NOT_FOUND, "NotFound", {"kind": "subscription"})
    try:
        await desk.daemon.webhooks.remove(hook)
    except LogError:
        raise MCPError(types.INTERNAL_ERROR, "the event log cannot be written now: nothing was changed") from None
    return {"resultType": "complete"}


def name_of(owner: str, url: str, event: str, arguments: dict[str, Any]) -> str:
    """The id of the one subscription of that key, address, event and arguments, whatever their order."""
    told = json.dumps([owner, url, event, arguments], sort_keys=True, separators=(",", ":"))
    return f"sub_{hashlib.sha256(told.encode()).hexdigest()[:24]}"


def _owned(ctx: Context) -> Desk:
    """Whose request this is: somebody's. Without keys anybody could take over, or end, what another subscribed to."""
    desk = mcp_events.desk_of(ctx)
    if not desk.caller:
        reason = "webhooks belong to a key, and this daemon has none: chainwatch keys create NAME"
        raise MCPError(FORBIDDEN, "Forbidden", {"reason": reason})
    return desk


async def _start(desk: Desk, asked: Subscribed) -> tuple[int, bool]:
    """The sequence behind which a new one begins, and whether that skips anything that was asked for."""
    log = desk.daemon.log
    if asked.cursor is None:
        return log.head, False
    floor = await mcp_events.bound(desk, asked.max_age_ms)
    cursor, skipped = mcp_events.later(desk, asked.cursor, asked.max_age_ms, floor)
    begin = resume(cursor, identity=log.identity, oldest=log.oldest, head=log.head)
    return begin.after, skipped or begin.gap is not None


def _status(hook: Webhook) -> dict[str, Any]:
    """How its deliveries went, before it was renewed."""
    standing = hook.standing
    trouble, accepted = standing.trouble, standing.accepted_at
    told: dict[str, Any] = {
        "active": standing.pause is None,
        "lastDeliveryAt": None if accepted is None else rfc3339(accepted),
        "lastError": None if trouble is None else _word(trouble.fault),
    }
    return told if trouble is None else told | {"failedSince": rfc3339(trouble.since)}


def _word(fault: Fault | None) -> str:
    return "challenge_failed" if fault is None else _WORDS.get(fault, fault)
