"""What a request asks for, of whom it comes: the query with the asker's scope laid over it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web

from chainwatch.filter import Vocabulary
from chainwatch.server import parameters
from chainwatch.server.access import without_key
from chainwatch.server.context import CONTEXT, Context
from chainwatch.server.limits import behind, client_address
from chainwatch.server.parameters import Asked, Page
from chainwatch.server.principal import Principal

PRINCIPAL = web.RequestKey("principal", Principal)
"""Set by the middleware of `app` before any handler runs."""


def query(request: web.Request) -> list[tuple[str, str]]:
    """The parameters as they were sent, without the key."""
    return without_key(request.query.items())


def stream(request: web.Request, only: str | None = None) -> Asked:
    """The stream that is asked for; 400 and 403 are said here. `only`: the type or category of a route of its own."""
    return parsed(request, query(request), request.headers.get("Last-Event-ID", ""), only=only)


def parsed(
    request: web.Request,
    pairs: Sequence[tuple[str, str]],
    last_event_id: str = "",
    *,
    only: str | None = None,
    names: bool = False,
) -> Asked:
    """What these parameters ask for now, in the words that the asker knows, narrowed to what they may see."""
    return understood(request.app[CONTEXT], request[PRINCIPAL], pairs, last_event_id, only=only, names=names)


def understood(
    context: Context,
    principal: Principal,
    pairs: Sequence[tuple[str, str]],
    last_event_id: str = "",
    *,
    only: str | None = None,
    names: bool = False,
) -> Asked:
    """The same for whoever is no request."""
    vocabulary, now = context.vocabulary(), int(time.time() * 1000)

    def ask(words: Vocabulary) -> Asked:
        return parameters.stream(pairs, words, now=now, last_event_id=last_event_id, only=only, names=names)

    asked = principal.understand(ask, vocabulary)
    narrowed = principal.narrow(asked.wanted, vocabulary)
    return asked if narrowed is asked.wanted else msgspec.structs.replace(asked, wanted=narrowed)


def page(context: Context, principal: Principal, pairs: Sequence[tuple[str, str]]) -> Page:
    """The page of history that is asked for."""
    vocabulary, now = context.vocabulary(), int(time.time() * 1000)
    found = principal.understand(lambda words: parameters.history(pairs, words, now=now), vocabulary)
    return msgspec.structs.replace(found, wanted=principal.narrow(found.wanted, vocabulary))


@asynccontextmanager
async def turn(request: web.Request) -> AsyncIterator[None]:
    """Much of the log may be read for this request inside; nothing is for a client that left while it waited."""
    async with request.app[CONTEXT].turns.of(request[PRINCIPAL].id or address(request)):
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError("the client left")
        yield


def address(request: web.Request) -> str:
    """What counts as the address of this client."""
    return client_address(_peer(request))


def peer(request: web.Request) -> str:
    """The same for people: host and port; of a client behind a proxy of ours the host alone."""
    name = _peer(request)
    if not isinstance(name, tuple) or len(name) < 2:
        return "unix"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{host}:{name[1]}" if name[1] else host


def _peer(request: web.Request) -> object:
    trusted = request.app[CONTEXT].settings().trusted_proxies
    forwarded = ",".join(request.headers.getall("X-Forwarded-For", ())) if trusted else ""
    return behind(request.get_extra_info("peername"), trusted, forwarded)
