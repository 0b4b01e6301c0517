"""
A daemon over HTTP, for `chainwatch mcp`: an ordinary client with one key; see `chainwatch.mcp.desk`.

Each question is a request of its own, so a daemon that comes back is found by the next one. Whoever waits is patient: a
connection that is lost, or a daemon that is restarted, only makes the wait go on. Everything else says at once what is
wrong, for a model to act on.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import msgspec

from chainwatch import client
from chainwatch.client.request import answer, base_url, body, key_headers, open_session
from chainwatch.client.subscription import (
    HEARTBEAT,
    Backoff,
    Connected,
    Moved,
    Note,
    Subscription,
    Trouble,
    Waiting,
    decoded,
)
from chainwatch.errors import BadAnswer, ChainwatchError, GapError, Refused, Unreachable, UsageError
from chainwatch.mcp.desk import Page, Receipt, Standing, Turned, Words
from chainwatch.text import printable, redact_url

ASKING: Final = 8
"""Requests at a time; further ones wait for their turn."""
WAITING: Final = 200
"""Waits at a time, each of which holds a connection."""
PATIENCE: Final = 20.0
"""Seconds in which a publication is tried again: hosts give up on a call after 60."""

_TYPE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_NAME: Final = "a type is a small letter, then small letters, digits and _: at most 64"
_SILENCE: Final = 15.0
_MOST: Final = 32 * 1024 * 1024  # bytes of an answer: 100 custom events of 64 KiB, and room

T = TypeVar("T")


class _Page(msgspec.Struct):
    events: list[dict[str, Any]]
    next: str
    has_more: bool
    truncated: bool = False


class _Stats(msgspec.Struct):
    """What the tools rely on."""

    version: str
    chains: list[dict[str, Any]]
    sources: list[dict[str, Any]] = []


class _Wallet(msgspec.Struct):
    address: str
    chain: str
    name: str


class _Wallets(msgspec.Struct):
    wallets: list[_Wallet]


class Desk:
    """The daemon at `url`, as the bearer of `key` sees it. `UsageError` where either is none."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self._base = base_url(url)
        self._key = key
        self._headers = key_headers(key)
        self._asking = asyncio.Semaphore(ASKING)
        self._waiting = 0
        self._kept: dict[str, Standing] = {}

    @property
    def caller(self) -> str:
        return ""  # one process, one caller

    def may(self, permission: str) -> bool:  # noqa: ARG002 - the daemon knows, and says so when it is asked
        return True

    async def cursor(self, words: Words) -> str:
        return (await self._history([*_pairs(words), ("since", "now"), ("limit", "1")])).next

    async def page(
        self, words: Words, limit: int, *, cursor: str | None = None, since: str | None = None, last: int | None = None
    ) -> Page:
        place = {"cursor": cursor, "since": since, "last": last, "limit": limit}
        given = [(name, str(value)) for name, value in place.items() if value is not None]
        found = await self._history([*_pairs(words), *given])
        return Page(found.events, found.next, found.has_more, found.truncated)

    async def wait(self, words: Words, cursor: str, seconds: float) -> tuple[bool, str]:
        if seconds <= 0:
            return False, cursor
        if self._waiting >= WAITING:
            raise Turned(f"There are {WAITING} waits at this time, as many as there may be", "End some of them.")
        subscription, before, away = self._subscription(words, cursor), cursor, ""

        def heard(note: Note) -> None:
            nonlocal before, away
            match note:
                case Moved(cursor=moved):
                    before = moved
                case Waiting(reason=reason):
                    away = reason
                case Connected():
                    away = ""

        subscription.note = heard
        self._waiting += 1
        try:
            async with asyncio.timeout(seconds):
                await self._arrival(subscription)
        except TimeoutError:
            if away:
                raise Turned(_sentence(away), _LATER, passing=True) from None
            return False, before
        finally:
            self._waiting -= 1
        return True, before

    async def send(self, kind: str, data: dict[str, Any], key: str | None) -> Receipt:
        if not _TYPE.fullmatch(kind):  # it becomes a part of an address
            raise Turned(f"{printable(kind, 80)!r} is no name for a type", _NAME)
        with self._turned():
            told = await client.send(
                self._base, kind, data, idempotency_key=key, timeout=PATIENCE, key=self._key, on_note=None
            )
        return Receipt(told.id, told.cursor)

    async def status(self) -> dict[str, Any]:
        return await self._told("/v1/stats", _Stats)

    async def wallets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self._told("/v1/wallets", _Wallets))["wallets"]
        return found

    async def keep(self, standing: Standing) -> None:
        now = time.time()
        self._kept = {name: one for name, one in self._kept.items() if one.expires > now}
        self._kept[standing.id] = standing

    async def forget(self, name: str) -> None:
        self._kept.pop(name, None)

    async def kept(self) -> list[Standing]:
        return list(self._kept.values())

    # --- requests -----------------------------------------------------------------------------------------------------

    async def _history(self, query: Sequence[tuple[str, str]]) -> _Page:
        return self._read(await self._get("/events/history", query), _Page)

    async def _told(self, path: str, form: type[Any]) -> dict[str, Any]:
        """All of an answer of this form, what the form does not name as well."""
        text = await self._get(path)
        self._read(text, form)
        return self._read(text, dict[str, Any])

    def _read(self, text: bytes, form: type[T]) -> T:
        with self._turned():
            return decoded(text, msgspec.json.Decoder(form), self._base)

    async def _get(self, path: str, query: Sequence[tuple[str, str]] = ()) -> bytes:
        with self._turned():
            async with (
                self._asking,
                open_session(_SILENCE) as session,
                answer(session, self._base, path, query, self._headers) as response,
            ):
                return await body(response, self._base, _MOST)

    def _subscription(self, words: Words, cursor: str) -> Subscription:
        with self._turned():
            headers = key_headers(self._key, cursor)
        return Subscription(
            base=self._base, query=_pairs(words), start=[], headers=headers, cursor=cursor, limit=1, ends_at=None,
            heartbeat=HEARTBEAT, strict=True, note=lambda _: None,
        )  # fmt: skip

    async def _arrival(self, subscription: Subscription) -> None:
        """Return as soon as an event comes; or where events are gone, which the next page tells."""
        backoff = Backoff()
        with self._turned():
            while True:
                try:
                    async with client.Stream(subscription) as stream:
                        await anext(stream)
                except GapError:
                    return
                except Unreachable as error:
                    subscription.note(Waiting(_whole(error), seconds := backoff.failed()))
                    await asyncio.sleep(seconds)
                else:
                    return

    # --- what is wrong ------------------------------------------------------------------------------------------------

    @contextmanager
    def _turned(self) -> Iterator[None]:
        """What the client says to people, as a model is told it."""
        try:
            yield
        except Trouble as trouble:
            if trouble.fatal is not None:
                raise self._said(trouble.fatal) from None
            after = trouble.retry_after
            hint = _LATER if after is None else f"Try it again in {after:g} seconds."
            raise Turned(_sentence(trouble.reason), hint, passing=True) from None
        except ChainwatchError as error:
            raise self._said(error) from None

    def _said(self, error: ChainwatchError) -> Turned:
        match error:
            case UsageError():
                return Turned(error.what, error.hint)
            case Unreachable():
                return Turned(_sentence(_whole(error)), _sentence(error.hint or _LATER), passing=True)
            case Refused(status=401):
                whose = "does not take this key" if self._key else "wants a key"
                return Turned(f"The daemon at {redact_url(self._base)} {whose}", _KEY, forbidden=True)
            case Refused(status=403):
                return Turned(_sentence(error.what), error.hint, forbidden=True)  # a hint may be a command
            case BadAnswer():
                return Turned(_sentence(_whole(error)), error.hint)
        return Turned(_sentence(error.what), error.hint)


_LATER: Final = "Try it again in a while."
_KEY: Final = (
    "Whoever set this MCP server up gives it one, in CHAINWATCH_KEY or by --key; "
    "`chainwatch keys create NAME` makes one."
)


def _whole(error: ChainwatchError) -> str:
    return f"{error.what}: {error.why}" if error.why else error.what


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] if not text.startswith(("http:", "https:")) else text


def _pairs(words: Words) -> list[tuple[str, str]]:
    return [(name, text) for name, texts in words.items() for text in texts]
