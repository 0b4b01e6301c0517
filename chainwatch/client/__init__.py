"""
The Python client: every event, once, in order, whatever happens to the connection.

    async for event in chainwatch.client.stream("http://127.0.0.1:8080", types=["token_transfer"]):
        print(event.type, event.data["amount"])

A stream connects again by itself, for ever, and goes on exactly behind the last event that it gave. Only the very first
connection may fail with an error, and requests that a daemon turns away: asking again would not help. What is worth
telling on the way (a wait, a gap) goes to `on_note`.

`Subscription` and `Backoff` decide, without a socket or a clock; the rest reads and waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple, Self, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from chainwatch import sse
from chainwatch.client.agents import Acknowledger, Agent, ask_agent, ensure_agent
from chainwatch.client.publishing import Receipt, send
from chainwatch.client.request import (
    Words,
    answer,
    base_url,
    body,
    chunk,
    filter_query,
    key_headers,
    limit_of,
    open_session,
    start_query,
)
from chainwatch.client.snapshot import stats
from chainwatch.client.subscription import (
    EVENT,
    HEARTBEAT,
    Backoff,
    Connected,
    Ended,
    Gap,
    Moved,
    Note,
    OnNote,
    Subscription,
    Trouble,
    Waiting,
    decoded,
)
from chainwatch.client.watching import Wallet, snapshots, wallets
from chainwatch.errors import BadAnswer, ChainwatchError, Refused
from chainwatch.event import Event
from chainwatch.text import printable, redact_url

__all__ = [
    "Acknowledger",
    "Agent",
    "Connected",
    "Gap",
    "Moved",
    "Note",
    "Page",
    "Receipt",
    "Stream",
    "Waiting",
    "Wallet",
    "ensure_agent",
    "follow_agent",
    "history",
    "send",
    "snapshots",
    "stats",
    "stream",
    "wallets",
]

T = TypeVar("T")

_MAX_PAGE: Final = 128 * 1024 * 1024  # bytes: 1,000 custom events of 64 KiB, and room


def _no_one(_: Note) -> None:
    """Hears the notes that nobody asked for."""


class Stream(AsyncIterator[Event]):
    """Events as they come: `async for event in stream`. Leaving the loop, or `aclose`, ends the connection."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._events = _read(subscription, _one_by_one)

    @property
    def cursor(self) -> str:
        """Just behind the event that was given last, for `last_event_id`; empty before the first connection."""
        return self._subscription.cursor

    @property
    def line(self) -> bytes:
        """The JSON of the event that was given last, byte for byte as it came."""
        return self._subscription.line

    @property
    def buffered(self) -> int:
        """How many more events have arrived and wait to be given: 0 is the moment to flush."""
        return self._subscription.buffered

    def batches(self) -> AsyncGenerator[list[bytes]]:
        """
        Instead of the events their JSON, as it came, and all that came together at once: for whoever looks at few of
        many. Nothing is decoded, so what is no event is not noticed either. The cursor is behind the whole batch.
        """
        return _read(self._subscription, _together)

    async def __anext__(self) -> Event:
        return await self._events.__anext__()

    async def aclose(self) -> None:
        """End the connection. The cursor stays."""
        await self._events.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def stream(
    url: str,
    *,
    types: Words = (),
    filters: Words = (),
    address: Words = (),
    token: Words = (),
    chains: Words = (),
    min_amount: int | str | None = None,
    where: str | None = None,
    since: str | None = None,
    last: int | None = None,
    last_event_id: str | None = None,
    limit: int | None = None,
    duration: float | None = None,
    heartbeat: float = HEARTBEAT,
    key: str | None = None,
    strict: bool = False,
    on_note: OnNote | None = None,
) -> Stream:
    """
    The events of the daemon at `url` that pass, from now on; or from `since` (`earliest`, `15m`, RFC 3339), from the
    newest `last` ones, from behind the cursor `last_event_id`. `where` is an expression, such as
    `data.amount > 1e18 && data.token == "ETH"`, in the language that chainwatch-events(7) has. It ends after `limit`
    events or `duration` seconds.

    While it is read it raises: `Unreachable` where the first connection fails, `UsageError` for parameters that the
    daemon does not take, `Refused` where it turns the request away, `GapError` where events are gone and it is
    `strict`, `BadAnswer` for what no daemon sends.
    """
    return Stream(
        Subscription(
            base=base_url(url),
            query=filter_query(types, filters, address, token, chains, min_amount, where),
            start=start_query(since, last),
            headers=key_headers(key, last_event_id),
            cursor=last_event_id or "",
            limit=limit_of(limit),
            ends_at=None if duration is None else time.monotonic() + duration,
            heartbeat=heartbeat,
            strict=strict,
            note=on_note or _no_one,
        )
    )


def follow_agent(
    url: str,
    name: str,
    *,
    limit: int | None = None,
    heartbeat: float = HEARTBEAT,
    key: str | None = None,
    strict: bool = False,
    on_note: OnNote | None = None,
) -> Stream:
    """
    The events of an agent (see `ensure_agent`), from behind what it acknowledged. It acknowledges nothing by itself but
    what was given before a connection was lost: `Acknowledger` does. Raises what `stream` raises, and `ChainwatchError`
    where somebody else has taken the stream over.
    """
    return Stream(
        Subscription(
            base=base_url(url),
            query=[],
            start=[],
            headers=key_headers(key),
            cursor="",
            limit=limit_of(limit),
            ends_at=None,
            heartbeat=heartbeat,
            strict=strict,
            note=on_note or _no_one,
            path=f"/stream/{quote(name, safe='')}",
            agent=name,
        )
    )


_Given = Callable[[Subscription, list[sse.Message]], Iterator[T]]


async def _read(subscription: Subscription, given: _Given[T]) -> AsyncGenerator[T]:
    """What is `given` of the messages of each chunk, over all connections."""
    silence = 3 * subscription.heartbeat
    async with open_session(silence) as session:
        while not (subscription.connected and subscription.is_over(time.monotonic())):
            query, headers = subscription.request(time.monotonic())
            try:
                async with answer(
                    session, subscription.base, subscription.path, query, headers, wanted=sse.MEDIA_TYPE
                ) as response:
                    parser = sse.Parser(subscription.cursor)
                    while True:
                        messages = parser.feed(await chunk(response, subscription.base, silence))
                        if parser.retry is not None:
                            subscription.backoff.asked = parser.retry / 1000
                        for found in given(subscription, messages):
                            yield found
                            if subscription.limit == 0:
                                return
                        subscription.settle(parser.last_event_id)
            except Refused as error:
                raise subscription.refused(error) from None
            except sse.Oversize as error:
                raise BadAnswer(f"{redact_url(subscription.base)} sent {error}") from None
            except Trouble as trouble:
                if subscription.connected and subscription.is_over(time.monotonic()):
                    return
                seconds, ended = subscription.failed(trouble), isinstance(trouble, Ended)
            await asyncio.sleep(seconds)
            if ended and subscription.agent:
                await _must_be_free(session, subscription)


async def _must_be_free(session: aiohttp.ClientSession, subscription: Subscription) -> None:
    """An agent has one stream, and the newest has it: two that took it from one another would never end."""
    with suppress(Trouble):
        found = await ask_agent(session, subscription.base, subscription.agent, subscription.headers)
        if found is not None and found.connected and found.stream != subscription.stream:
            name = printable(subscription.agent, 64)
            raise ChainwatchError(
                f"somebody else follows the agent {name} now", hint="an agent has one stream at a time"
            )


def _one_by_one(subscription: Subscription, messages: list[sse.Message]) -> Iterator[Event]:
    subscription.buffered = sum(message.event not in sse.CONTROL for message in messages)
    for message in messages:
        found = subscription.receive(message)
        if found is not None:
            subscription.buffered -= 1
            yield found


def _together(subscription: Subscription, messages: list[sse.Message]) -> Iterator[list[bytes]]:
    lines: list[bytes] = []
    try:
        for message in messages:
            if subscription.limit == 0:
                break
            if (line := subscription.take(message)) is not None:
                lines.append(line)
    except Trouble:  # the daemon ends the stream, behind these
        if lines:
            yield lines
        raise
    if lines:
        yield lines


# --- history ------------------------------------------------------------------------------------------------------


class Page(NamedTuple):
    """Some of the events that are kept, oldest first."""

    events: list[Event]
    lines: list[bytes]
    """The JSON of each, as it came."""
    next: str
    """The cursor behind this page: where the next one begins, and where a stream goes on."""
    truncated: bool
    """Older events than these were asked for, and are gone."""


class _History(msgspec.Struct):
    events: list[msgspec.Raw]
    next: str
    has_more: bool
    truncated: bool = False


_HISTORY: Final = msgspec.json.Decoder(_History)


async def history(
    url: str,
    *,
    types: Words = (),
    filters: Words = (),
    address: Words = (),
    token: Words = (),
    chains: Words = (),
    min_amount: int | str | None = None,
    where: str | None = None,
    since: str | None = None,
    until: str | None = None,
    last: int | None = None,
    cursor: str = "",
    limit: int | None = None,
    page_size: int = 1000,
    key: str | None = None,
    on_note: OnNote | None = None,
) -> AsyncGenerator[Page]:
    """
    The events that the daemon keeps, a page at a time, up to its present head, or until there were `limit` of them:
    from the earliest, from `since`, from the newest `last` ones, or from behind `cursor`; those that were told before
    `until`, if given. Raises what `stream` raises.
    """
    base, headers, start = base_url(url), key_headers(key, cursor), start_query(since, last)
    wanted = filter_query(types, filters, address, token, chains, min_amount, where)
    wanted += [] if until is None else [("until", until)]
    left = limit_of(limit)
    backoff, reached, more = Backoff(), False, True
    async with open_session(3 * HEARTBEAT) as session:
        while more and left != 0:
            place = [("cursor", cursor)] if cursor else start
            size = page_size if left is None else min(page_size, left)
            query = [*wanted, ("limit", str(size)), *place]
            try:
                async with answer(session, base, "/events/history", query, headers) as response:
                    found = decoded(await body(response, base, _MAX_PAGE), _HISTORY, base)
            except Trouble as trouble:
                if trouble.fatal is not None and not reached:
                    raise trouble.fatal from None
                seconds = backoff.failed(trouble.retry_after)
                (on_note or _no_one)(Waiting(trouble.reason, seconds))
                await asyncio.sleep(seconds)
                continue
            reached, more = True, found.has_more
            backoff.succeeded()
            if more and found.next in ("", cursor):
                raise BadAnswer(f"{redact_url(base)} says that there is more, and does not go on")
            cursor = found.next
            left = None if left is None else left - len(found.events)
            lines = [bytes(line) for line in found.events]
            yield Page([decoded(line, EVENT, base) for line in lines], lines, cursor, found.truncated)
