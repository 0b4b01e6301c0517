"""
`POST /events/{type}`: what a client has to say becomes an event of the log, durable before it is answered.

An `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07) makes one event of a request and its repetitions.
What was answered is kept in the commit of the event itself, so this holds across a kill as well. Repetitions at the
same time share the first one's commit and its answer; the draft would have them refused by 409, and come again for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import web

from chainwatch import sse
from chainwatch.event import PART, Event, event_id, interest, rfc3339
from chainwatch.filter import Vocabulary, has_type
from chainwatch.log import Change, Cursor, Drop, Log, Put
from chainwatch.payloads import meant_by
from chainwatch.server import posted
from chainwatch.server.asking import PRINCIPAL
from chainwatch.server.context import CONTEXT
from chainwatch.server.principal import Principal
from chainwatch.server.problem import Problem
from chainwatch.server.writing import AGAIN, durably

TYPE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
RESERVED: Final = sse.CONTROL | {"message", "custom", "customs"}
"""Beside the words of the catalogue: what streams name that is no event, and what filters mean."""
MOST_TYPES: Final = 1000
"""Custom types of one log, which remembers each for ever."""
REMEMBERED: Final = 24 * 3600.0
"""Seconds that the answer to an `Idempotency-Key` is kept."""

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_PREFIX: Final = "published/"
_SLOTS: Final = 4096  # parts of what is remembered, one of which is tidied up at a time
_EACH: Final = 16  # publications between two of them
_KEPT: Final = 256  # of each part, the newest: a million in all, however fast somebody publishes


class Receipt(NamedTuple):
    """An event is durable."""

    id: str
    cursor: str
    replayed: bool
    """It was published before, with the same `Idempotency-Key`."""


class _Told(msgspec.Struct, frozen=True):
    """What was answered; kept behind the event's sequence."""

    id: str
    at: float
    """Unix seconds."""
    body: str
    """A digest of what was published."""


class Publisher:
    """The way into the log for events of clients."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.time) -> None:
        """`clock`: Unix seconds."""
        self._log = log
        self._clock = clock
        self._running: dict[str, asyncio.Task[tuple[int, _Told]]] = {}  # by the name under which it is remembered
        self._slot = secrets.randbelow(_SLOTS)
        self._count = 0
        self._touched: set[str] | None = None  # names that came up while a part is tidied up

    async def publish(
        self, principal: Principal, vocabulary: Vocabulary, kind: str, data: dict[str, Any], key: str | None = None
    ) -> Receipt:
        """
        Commit `data` (see `posted.parse`) as an event of the type `kind`. `key`: an `Idempotency-Key` of theirs.
        `Problem` where it may not be, or cannot be now: then nothing was told.
        """
        check(kind, vocabulary)
        at = self._clock()
        event = _event(self._log.identity, principal, kind, data, at)
        permit(principal, event, vocabulary)
        if key is None:
            return Receipt(event.id, self._cursor(await self._append(event, ())), replayed=False)
        if not _KEY.fullmatch(key):
            hint = "1 to 255 visible ASCII characters"
            raise Problem(400, "this is no Idempotency-Key", more={"value": key or "(empty)", "hint": hint})
        name = _PREFIX + _digest(principal.id, key)
        told = _Told(event.id, at, _digest(kind, msgspec.json.encode(data, order="sorted").decode()))
        if (first := self._running.get(name)) is None:
            # A task of its own: a client that goes away does not end what others wait for.
            first = asyncio.get_running_loop().create_task(self._once(name, told, event), name="publish:once")
            self._running[name] = first
            first.add_done_callback(partial(self._done, name))
            if self._touched is not None:
                self._touched.add(name)
        sequence, answered = await asyncio.shield(first)
        if answered.body != told.body:
            raise Problem(422, "this Idempotency-Key was used for another type or body", more={"value": key, **_OTHER})
        return Receipt(answered.id, self._cursor(sequence), replayed=answered.id != told.id)

    async def _once(self, name: str, told: _Told, event: Event) -> tuple[int, _Told]:
        """The sequence, and what was answered, of the one publication with that name; now or before."""
        kept = await self._log.get(name)
        if kept is not None and (before := _read(kept))[1].at > told.at - REMEMBERED:
            return before
        changes = await self._tidy(told.at)
        sequence = await self._append(event, [*changes, Put(name, msgspec.json.encode(told), stamped=True)])
        return sequence, told

    def _done(self, name: str, task: asyncio.Task[tuple[int, _Told]]) -> None:
        del self._running[name]
        if not task.cancelled():
            task.exception()  # whoever waited has it; where all of them left, nobody has to

    async def _append(self, event: Event, changes: Iterable[Change]) -> int:
        with durably():
            [entry] = await self._log.append([event], [*changes])
        return entry.sequence

    async def _tidy(self, now: float) -> list[Change]:
        """
        Forget what is past its time, a small part of it now and then: digests are spread evenly, so each part is a
        share of all that is remembered. Nothing that is being published again is touched.
        """
        self._count += 1
        if self._count % _EACH or self._touched is not None:
            return []
        self._slot = (self._slot + 1) % _SLOTS
        first = f"{_PREFIX}{self._slot:03x}"
        self._touched = set(self._running)
        try:
            kept = await self._log.scan(first, f"{first}g")  # behind all hexadecimal digits
            told = sorted(((_read(value)[1].at, name) for name, value in kept), reverse=True)
            gone = [name for place, (at, name) in enumerate(told) if place >= _KEPT or at <= now - REMEMBERED]
            return [Drop(name, f"{name}\0") for name in gone if name not in self._touched]
        finally:
            self._touched = None

    def _cursor(self, sequence: int) -> str:
        return str(Cursor(self._log.identity, sequence))

    async def close(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)


PUBLISHER = web.AppKey("publisher", Publisher)


def install(app: web.Application) -> None:
    """Events can be published while `app` runs."""
    publisher = app[PUBLISHER] = Publisher(app[CONTEXT].log)

    async def close(_: web.Application) -> None:
        await publisher.close()

    app.on_cleanup.append(close)


_OTHER: Final = {"hint": "a key belongs to one request and its repetitions, for 24 hours: make a new one"}


def check(kind: str, vocabulary: Vocabulary) -> None:
    """`Problem` 400 where `kind` is no name for a custom type, 409 where the name is taken."""
    if not TYPE.fullmatch(kind):
        raise Problem(
            400,
            f"{kind!r} is no name for a type",
            more={"value": kind, "hint": "a type is a small letter, then small letters, digits and _: at most 64"},
        )
    if kind in RESERVED or meant_by(kind) is not None:
        more = {"value": kind, "hint": f"it means something already; choose another, such as my_{kind}"[:200]}
        raise Problem(409, f"the type {kind!r} is reserved", more=more)
    if kind not in vocabulary.custom and len(vocabulary.custom) >= MOST_TYPES:
        raise Problem(
            409,
            f"there are {len(vocabulary.custom)} custom types, as many as there may be",
            more={"value": kind, "hint": "publish under one of them; what differs from event to event belongs into it"},
        )


def permit(principal: Principal, event: Event, vocabulary: Vocabulary) -> None:
    """`Problem` 403 where the event is outside of what their key is for."""
    key = principal.key
    if key is None:
        return
    if key.chains:
        raise Problem(
            403,
            f"the key {key.name} is limited to chains, and what is published belongs to none",
            more={"hint": "publish with a key without --chains"},
        )
    types = principal.types(vocabulary)
    if types and not has_type(types, event.type):
        raise Problem(
            403,
            f"the key {key.name} may not publish {event.type}",
            more={"value": event.type, "hint": f"it is for: {', '.join(key.types)}"},
        )
    allowed = {address.lower() for address in key.addresses}
    if allowed and allowed.isdisjoint(interest(event).addresses):
        raise Problem(
            403,
            f"the key {key.name} may only publish what touches one of its addresses",
            more={"hint": f"put one of them into `address`, `from`, `to`, `owner` or `spender`: {', '.join(allowed)}"},
        )


async def publish(request: web.Request) -> web.Response:
    """201 with `id` and `cursor`, once the event is durable."""
    context = request.app[CONTEXT]
    kind, vocabulary = request.match_info["type"], context.vocabulary()
    posted.nothing_asked(request)
    check(kind, vocabulary)
    data = await posted.read(request)
    keys = request.headers.getall("Idempotency-Key", [])
    if len(keys) > 1:
        raise Problem(400, f"there are {len(keys)} Idempotency-Key headers", more={"hint": "send one"})
    key = keys[0] if keys else None
    if context.hub.closing:
        raise Problem(503, "the daemon is stopping", headers={"Retry-After": AGAIN})
    receipt = await request.app[PUBLISHER].publish(request[PRINCIPAL], vocabulary, kind, data, key)
    return web.Response(
        status=201,
        body=msgspec.json.encode({"id": receipt.id, "cursor": receipt.cursor}),
        content_type="application/json",
        headers={"Cache-Control": "no-store"} | ({"Idempotent-Replayed": "true"} if receipt.replayed else {}),
    )


def _event(log: str, principal: Principal, kind: str, data: dict[str, Any], at: float) -> Event:
    now = rfc3339(int(at * 1000))
    return Event(
        # Nothing outside of this log can tell it from another: what makes it one occurrence is that it was sent.
        id=event_id(None, None, kind, None, log, principal.id, secrets.token_hex(16)),
        type=kind,
        timestamp=now,
        observed_at=now,
        chain=None,
        data=data,
    )


def _digest(*parts: str) -> str:
    return hashlib.blake2b(PART.join(parts).encode(), digest_size=16).hexdigest()


def _read(kept: bytes) -> tuple[int, _Told]:
    return int.from_bytes(kept[:8], "big"), msgspec.json.decode(kept[8:], type=_Told)
