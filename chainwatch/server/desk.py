"""
One caller of the MCP server in the daemon, by the key of one request: see `chainwatch.mcp.desk`.

Nothing here goes around what holds for other clients: words are understood and narrowed by the key's scope, pages wait
for their turn at the log, what is waited for is a follower of the log, and a key that ends, ends it.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from chainwatch.errors import LogError, UsageError
from chainwatch.filter import CUSTOM, Filter, has_type
from chainwatch.log import Cursor, Drop, Log, Put, parse_cursor
from chainwatch.mcp.desk import Page, Receipt, Standing, Turned, Words
from chainwatch.payloads import PAYLOADS
from chainwatch.server import asking, history, posted, stats, wallets
from chainwatch.server.context import Context
from chainwatch.server.limits import Seat
from chainwatch.server.principal import NOTHING, Principal
from chainwatch.server.problem import Problem
from chainwatch.server.publish import Publisher
from chainwatch.server.streams import turned_away
from chainwatch.server.writing import durably
from chainwatch.stream.begin import resume
from chainwatch.stream.follow import Given

WAITS: Final = 1000
"""Waits of one caller at a time, watched resources among them."""

_KEPT: Final = ("mcp/", "mcp0")  # "0" is the character behind "/"


class Shelf:
    """The subscriptions of all callers: in memory as they are on disk, and on disk first."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.time) -> None:
        """`clock`: Unix seconds."""
        self._log = log
        self._clock = clock
        self.waits: Counter[str] = Counter()
        """Under way, by their callers. One of the handshake era goes on when its connection and its seat are gone."""
        self._kept: dict[tuple[str, str], Standing] = {}

    async def load(self) -> None:
        """Read what is kept."""
        for key, value in await self._log.scan(*_KEPT):
            _, owner, name = key.split("/")
            self._kept[owner, name] = msgspec.json.decode(value, type=Standing)

    async def put(self, owner: str, standing: Standing) -> None:
        """Keep it; those that have expired go, of whoever does not come back too: their key may be revoked."""
        now = self._clock()
        gone = [whose for whose, one in self._kept.items() if one.expires <= now and whose != (owner, standing.id)]
        put = Put(_key(owner, standing.id), msgspec.json.encode(standing))
        with durably():
            await self._log.append((), [put, *(_drop(*whose) for whose in gone)])
        self._kept[owner, standing.id] = standing
        for whose in gone:
            self._kept.pop(whose, None)

    async def drop(self, owner: str, name: str) -> None:
        with durably():
            await self._log.append((), [_drop(owner, name)])
        self._kept.pop((owner, name), None)

    def of(self, owner: str) -> list[Standing]:
        return [standing for (whose, _), standing in self._kept.items() if whose == owner]


def _key(owner: str, name: str) -> str:
    return f"mcp/{owner}/{name}"


def _drop(owner: str, name: str) -> Drop:
    key = _key(owner, name)
    return Drop(key, f"{key}\0")


class Desk:
    """One caller, by the key of one request; see `chainwatch.mcp.desk`."""

    def __init__(
        self, context: Context, publisher: Publisher, shelf: Shelf, principal: Principal, seat: Seat, peer: str
    ) -> None:
        self._context = context
        self._publisher = publisher
        self._shelf = shelf
        self._principal = principal
        self._seat = seat
        self._peer = peer

    @property
    def caller(self) -> str:
        return self._principal.id

    def may(self, permission: str) -> bool:
        return self._principal.may(permission)

    def sees(self, kind: str) -> bool:
        """Whether events of that type, or of `custom` ones, are theirs to see."""
        types = self._principal.types(self._context.vocabulary())
        if kind == CUSTOM:
            return not types or any(one not in PAYLOADS for one in types - NOTHING)
        return not types or has_type(types, kind)

    @property
    def daemon(self) -> Context:
        """The daemon around it."""
        return self._context

    async def since(self, milliseconds: int) -> int:
        """The sequence after which the events stand that were told at that Unix time or later."""
        with _turned():
            return await self._context.log.since(milliseconds)

    async def cursor(self, words: Words) -> str:
        with _turned():
            self._hold()
            asking.understood(self._context, self._principal, _pairs(words))
        log = self._context.log
        return str(Cursor(log.identity, log.head))

    async def page(
        self, words: Words, limit: int, *, cursor: str | None = None, since: str | None = None, last: int | None = None
    ) -> Page:
        place = {"cursor": cursor, "since": since, "last": None if last is None else str(last), "limit": str(limit)}
        pairs = [*_pairs(words), *((name, text) for name, text in place.items() if text is not None)]
        with _turned():
            self._hold()
            asked = asking.page(self._context, self._principal, pairs)
            # One event may wake all who wait; each of them holds a seat, of which there are so many.
            most = self._context.settings().max_connections
            async with self._context.turns.of(self.caller or self._seat.address, most=most):
                found = await history.read(self._context.log, asked)
        events = [msgspec.to_builtins(event) for _, event in found.events]
        return Page(events, found.next, found.has_more, found.truncated)

    async def wait(self, words: Words, cursor: str, seconds: float) -> tuple[bool, str]:
        with _turned():
            self._hold()
            wanted = asking.understood(self._context, self._principal, _pairs(words)).wanted
            waits = self._shelf.waits
            if waits[self.caller] >= WAITS:
                raise Turned(
                    f"There are {WAITS} waits at this time, as many as one may have", "End some of them.", full=True
                )
            if (full := self._seat.ask(wanted.where)) is not None:
                raise turned_away(full)
            waits[self.caller] += 1
            try:
                return await self._wait(wanted, cursor, seconds)
            finally:
                waits[self.caller] -= 1
                if not waits[self.caller]:
                    del waits[self.caller]
                self._seat.forget(wanted.where)

    async def _wait(self, wanted: Filter, cursor: str, seconds: float) -> tuple[bool, str]:
        context, log = self._context, self._context.log
        if parse_cursor(cursor) is None:
            raise UsageError(f"{cursor!r} is no cursor", hint="A cursor is in the answer of every call.")
        start = resume(cursor, identity=log.identity, oldest=log.oldest, head=log.head)
        if start.gap is not None:
            return True, cursor
        arrived: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        came = False

        def take(given: Given) -> None:
            nonlocal came
            came = True
            if not arrived.done():
                arrived.set_exception(given) if isinstance(given, Exception) else arrived.set_result(True)

        def end(_: str) -> None:
            if not arrived.done():
                arrived.set_exception(_ended())

        follower = context.followers.follow(
            wanted, start.after, take, name=f"mcp_{secrets.token_hex(8)}", kind="mcp", owner=self.caller,
            peer=self._peer, limit=1,
        )  # fmt: skip
        try:
            with context.sessions.open(self._principal, end):
                async with asyncio.timeout(seconds):
                    await arrived
        except TimeoutError:
            # What came in the same moment as the end is not to be missed: the follower's cursor is behind it.
            return (True, cursor) if came else (False, follower.cursor)
        finally:
            follower.close()
        return True, cursor

    async def send(self, kind: str, data: dict[str, Any], key: str | None) -> Receipt:
        with _turned():
            self._hold("send")
            # As if it had been sent: what is no JSON is refused, and not made into something else.
            exact = posted.parse(json.dumps(data).encode())
            vocabulary = self._context.vocabulary()
            receipt = await self._publisher.publish(self._principal, vocabulary, kind, exact, key)
        return Receipt(receipt.id, receipt.cursor)

    async def status(self) -> dict[str, Any]:
        self._hold()
        return stats.snapshot(self._context, self._principal)

    async def wallets(self) -> list[dict[str, Any]]:
        self._hold()
        return wallets.seen(self._context, self._principal)

    async def keep(self, standing: Standing) -> None:
        with _turned():
            await self._shelf.put(self.caller, standing)

    async def forget(self, name: str) -> None:
        with _turned():
            await self._shelf.drop(self.caller, name)

    async def kept(self) -> list[Standing]:
        return self._shelf.of(self.caller)

    def _hold(self, permission: str = "read") -> None:
        """`Turned` where the key ended since this request began, or is not for this."""
        if not self._context.sessions.access.holds(self._principal):
            raise _ended()
        if not self._principal.may(permission):
            hint = "Ask whoever made it for another one."
            raise Turned(f"The key of this session may not {permission}", hint, forbidden=True)


@contextmanager
def _turned() -> Iterator[None]:
    """What the daemon says to whoever asks wrongly, as an agent is told it."""
    try:
        yield
    except UsageError as error:
        raise Turned(error.what, error.hint) from None
    except Problem as problem:
        raise Turned(
            problem.detail,
            problem.more.get("hint") or "",
            forbidden=problem.status == 403,
            full=problem.status in (429, 503),
        ) from None
    except LogError:
        raise Turned("The event log cannot be read or written now", "Try it again in a while.", passing=True) from None


def _ended() -> Turned:
    return Turned("The key of this session has ended", "Ask whoever made it for another one.", forbidden=True)


def _pairs(words: Words) -> list[tuple[str, str]]:
    return [(name, text) for name, texts in words.items() for text in texts]
