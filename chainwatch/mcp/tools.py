"""
The tools: what an agent can do with a daemon, and how each is told to a model.

A tool is a function of the caller's desk and of its arguments. What it cannot do is said as `Turned`, in words that a
model can act on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from pydantic import BaseModel

from chainwatch.event import rfc3339
from chainwatch.mcp import arguments as given, told
from chainwatch.mcp.desk import Desk, Page, Standing, Turned, Words
from chainwatch.mcp.subscriptions import Subscriptions
from chainwatch.text import printable

Progress = Callable[[int, int, str], Awaitable[None]]
"""Tells the host how far a call is: events so far, of how many, and a line of text."""

_LONGEST_LINE: Final = 2000  # characters of an event in a progress notification


class Call(NamedTuple):
    """What a tool works with."""

    desk: Desk
    subscriptions: Subscriptions
    progress: Progress


class Tool(NamedTuple):
    """A tool as hosts and models know it."""

    name: str
    title: str
    description: str
    takes: type[given.Arguments]
    gives: type[BaseModel]
    run: Callable[[Call, Any], Awaitable[BaseModel]]
    needs: str = "read"
    """The permission that the caller's key must have."""
    changes: bool = False
    """Whether anything is other afterwards than before."""


async def subscribe(call: Call, asked: given.Subscribe) -> given.Subscribed:
    standing = await call.subscriptions.open(call.desk, asked.words(), asked.ttl_s)
    return given.Subscribed(
        subscription_id=standing.id,
        cursor=standing.cursor,
        resource_uri=resource_of(standing.id),
        expires_at=_time(standing.expires),
    )


async def unsubscribe(call: Call, asked: given.Named) -> given.Unsubscribed:
    await call.subscriptions.close(call.desk, asked.subscription_id)
    return given.Unsubscribed(subscription_id=asked.subscription_id, removed=True)


async def listed(call: Call, _: given.Nothing) -> given.Subscriptions:
    found = [_listed(one) for one in await call.subscriptions.all(call.desk)]
    kept = told.fitting([one.model_dump() for one in found])
    return given.Subscriptions(subscriptions=found[:kept], omitted=len(found) - kept)


async def wait(call: Call, asked: given.Wait) -> given.Waited:
    standing = await call.subscriptions.get(call.desk, asked.subscription_id)
    cursor = asked.cursor or standing.cursor
    page, timed_out = await wait_for(call.desk, standing.words, cursor, asked.timeout_s, asked.max_events)
    return given.Waited(**page._asdict(), timed_out=timed_out)


async def stream(call: Call, asked: given.Streamed) -> given.Events:
    words, clock = asked.words(), asyncio.get_running_loop().time
    cursor = asked.cursor or await call.desk.cursor(words)
    # The first word at once: a host that sees progress does not give up, and a proxy does not close the connection.
    await call.progress(0, asked.max_events, f"listening for {asked.duration_s:g} seconds")
    until, events, truncated, more = clock() + asked.duration_s, list[dict[str, Any]](), False, False
    while len(events) < asked.max_events:
        page, timed_out = await wait_for(
            call.desk, words, cursor, max(0.0, until - clock()), asked.max_events - len(events)
        )
        fitting = told.fitting([*events, *page.events]) - len(events)
        if fitting < len(page.events):  # what does not fit comes with the next call
            if fitting <= 0:
                more = True
                break
            page = await take(call.desk, words, fitting, cursor=cursor)
        cursor, truncated, more = page.cursor, truncated or page.truncated, page.has_more
        for event in page.events:
            events.append(event)
            line = msgspec.json.encode(event).decode()
            await call.progress(len(events), asked.max_events, printable(line, _LONGEST_LINE))
        if timed_out or (clock() >= until and not more):
            break
    return given.Events(events=events, cursor=cursor, has_more=more, truncated=truncated)


async def recent(call: Call, asked: given.Recent) -> given.Events:
    if asked.since:
        return given.Events(**(await take(call.desk, asked.words(), asked.limit, since=asked.since))._asdict())
    return given.Events(**(await newest(call.desk, asked.words(), asked.limit))._asdict())


async def send(call: Call, asked: given.Send) -> given.Sent:
    return given.Sent(**(await call.desk.send(asked.type, asked.data, asked.idempotency_key))._asdict())


async def status(call: Call, _: given.Nothing) -> given.Status:
    found = await call.desk.status()
    chains = [told.event(chain) for chain in found["chains"]]
    return given.Status(
        version=str(found["version"]),
        chains=chains,
        sources=[told.event(source) for source in found.get("sources", [])],
        ready=all(bool(chain.get("ready")) for chain in chains),
    )


async def balances(call: Call, asked: given.Whose) -> given.Balances:
    found, whose = await call.desk.wallets(), (asked.address or "").lower()
    known = [wallet for wallet in found if not asked.chains or wallet["chain"] in asked.chains]
    chosen = [wallet for wallet in known if whose in ("", wallet["address"].lower(), str(wallet["name"]).lower())]
    if not chosen and (asked.chains or whose):
        names = sorted({f"{wallet['name'] or wallet['address']} on {wallet['chain']}" for wallet in found})
        raise Turned(
            f"No watched wallet is {printable(asked.address or 'any', 80)}"
            + (f" on {printable(', '.join(asked.chains), 80)}" if asked.chains else ""),
            f"There is: {', '.join(names[:20])}." if names else "No wallet is watched: the configuration names them.",
        )
    shown, omitted = _fitting([told.event(wallet) for wallet in chosen])
    return given.Balances(wallets=shown, omitted=omitted)


# --- what they share ----------------------------------------------------------------------------------------------


async def wait_for(desk: Desk, words: Words, cursor: str, seconds: float, limit: int) -> tuple[Page, bool]:
    """The next events behind the cursor, waited for; and whether none came in time. So is a daemon that is away."""
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    page = Page([], cursor, has_more=False, truncated=False)
    while True:
        try:
            page = await take(desk, words, limit, cursor=page.cursor)
        except Turned as turned:
            if not turned.passing or clock() >= until:
                raise
        else:
            if page.events or page.truncated:  # what is gone is told at once
                return page, False
            if page.has_more:
                # Much of the log was looked at in vain, and that takes its time: the next call goes on from there.
                if clock() > until:
                    return page, True
                continue
        arrived, behind = await desk.wait(words, page.cursor, max(0.0, until - clock()))
        if not arrived:
            return page._replace(cursor=behind), True


async def take(desk: Desk, words: Words, limit: int, *, cursor: str | None = None, since: str | None = None) -> Page:
    """A page whose events are bounded, and all of them too: what does not fit comes with the next."""
    while True:
        page = await desk.page(words, limit, cursor=cursor, since=since)
        events = [told.event(event) for event in page.events]
        fitting = told.fitting(events)
        if fitting == len(events):
            return page._replace(events=events)
        limit = fitting  # its cursor is known by asking


async def newest(desk: Desk, words: Words, limit: int) -> Page:
    """The newest so many, as many of them as fit."""
    page = await desk.page(words, limit, last=limit)
    events = [told.event(event) for event in page.events]
    kept = told.fitting(events[::-1])
    return page._replace(events=events[len(events) - kept :], truncated=page.truncated or kept < len(events))


def _fitting(shown: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """As many of them as an answer holds, and how many are left out."""
    kept = told.fitting(shown)
    return shown[:kept], len(shown) - kept


def resource_of(subscription: str) -> str:
    """The address of a subscription as a resource."""
    return f"events://subscriptions/{subscription}"


def _listed(one: Standing) -> given.Listed:
    return given.Listed(
        subscription_id=one.id,
        filters=one.words,
        cursor=one.cursor,
        resource_uri=resource_of(one.id),
        created_at=_time(one.created),
        expires_at=_time(one.expires),
    )


def _time(seconds: float) -> str:
    return rfc3339(int(seconds * 1000))


TOOLS: Final[Mapping[str, Tool]] = {
    tool.name: tool
    for tool in (
        Tool(
            "subscribe_to_events",
            "Subscribe to events",
            "Begin to follow events of the watched chains: blocks, transactions, wallets and their balances, token "
            "transfers, approvals, swaps, prices. Nothing is missed from now on: call wait_for_event with the "
            "subscription_id and the cursor. All parameters narrow; values of one are OR.",
            given.Subscribe, given.Subscribed, subscribe, changes=True,
        ),
        Tool(
            "wait_for_event",
            "Wait for the next events",
            "Wait until events of a subscription come, and get them; at once where some are there already. Call it "
            "again with the cursor of its answer for those that follow, after a time-out too. An event with "
            f"`removed: true` takes back the one named in `retracts`: the chain was reorganised. {told.WARNING}",
            given.Wait, given.Waited, wait,
        ),
        Tool(
            "get_event_stream",
            "Listen for a while",
            "Listen to events for a number of seconds. Each is told as progress while the call runs, and all of them "
            f"in the answer, with a cursor for the next call. {told.WARNING}",
            given.Streamed, given.Events, stream,
        ),
        Tool(
            "get_recent_events",
            "Get recent events",
            f"Look at events that are past: the newest, or those since a time. {told.WARNING}",
            given.Recent, given.Events, recent,
        ),
        Tool(
            "get_chain_status",
            "Get the state of the chains",
            "How each chain is followed: connected or not, its newest block, how many seconds it lags behind; and each "
            f"source of prices. {told.REASON}",
            given.Nothing, given.Status, status,
        ),
        Tool(
            "get_balances",
            "Get balances of watched wallets",
            "What the watched wallets hold, in the native currency and in the configured tokens, as of the newest "
            f"block. Only wallets of the daemon's configuration are known. {told.WARNING}",
            given.Whose, given.Balances, balances,
        ),
        Tool(
            "list_subscriptions",
            "List subscriptions",
            "The subscriptions that were made with this key and live.",
            given.Nothing, given.Subscriptions, listed,
        ),
        Tool(
            "unsubscribe",
            "Unsubscribe",
            "End a subscription that is not needed any more.",
            given.Named, given.Unsubscribed, unsubscribe, changes=True,
        ),
        Tool(
            "send_event",
            "Publish an event",
            "Publish an event of a type of your own to everybody who follows this daemon. It is kept before this "
            "answers.",
            given.Send, given.Sent, send, needs="send", changes=True,
        ),
    )
}  # fmt: skip
