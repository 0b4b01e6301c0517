"""
Durable streams: `/agents`, `/agents/{agent}`, `/agents/{agent}/ack`, `/stream/{agent}`.

An agent is a filter and a cursor that the daemon keeps for a client, which is told each event at least once: the cursor
moves when the client says so, by an acknowledgement or by the `Last-Event-ID` it comes back with, or, with `?ack=auto`,
as bytes leave. One connection at a time: a second one takes over, as in MQTT, so that a client which lost its network
need not wait until the daemon noticed. Retention waits for no agent; what it took is told by `gap`.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator
from typing import Any, Final, NoReturn

import msgspec
from aiohttp import web

from chainwatch.errors import LogError, UsageError
from chainwatch.event import rfc3339
from chainwatch.log import Cursor, Log, parse_cursor
from chainwatch.server import asking, durable, posted, streams
from chainwatch.server.asking import PRINCIPAL
from chainwatch.server.context import CONTEXT, Context
from chainwatch.server.leaving import Departures
from chainwatch.server.parameters import STREAM, Asked
from chainwatch.server.problem import Problem
from chainwatch.server.register import Agent, Register
from chainwatch.server.writing import durably
from chainwatch.stream.begin import begin
from chainwatch.stream.stream import Stream

CONNECT: Final = ("last_event_id", "limit", "duration", "heartbeat", "named", "gap", "ack")
"""Parameters of `GET /stream/{agent}`; they go before the agent's own."""

REGISTER = web.AppKey("agents", Register)
DEPARTURES = web.AppKey("departures", Departures)


def install(app: web.Application) -> None:
    """There are agents while `app` runs. To be called when streams are ended before, at its shutdown."""
    context = app[CONTEXT]
    register = app[REGISTER] = Register(context.log)
    departures = app[DEPARTURES] = Departures(context.hub, register)

    async def start(_: web.Application) -> None:
        await register.load()
        departures.start()

    async def close(_: web.Application) -> None:
        await departures.close()

    app.on_startup.append(start)
    app.on_shutdown.append(close)


async def listed(request: web.Request) -> web.Response:
    """`GET /agents`: one's own."""
    posted.nothing_asked(request)
    found = request.app[REGISTER].of(request[PRINCIPAL].id)
    return _json({"agents": [_about(request, agent) for agent in found], "max": durable.MOST})


async def put(request: web.Request) -> web.Response:
    """`PUT /agents/{agent}`: 201 where it is new, 200 where it was there; then its cursor stays."""
    posted.nothing_asked(request)
    context, register, principal = request.app[CONTEXT], request.app[REGISTER], request[PRINCIPAL]
    name, log = _name(request), context.log
    given = durable.words(await posted.read(request))
    asked = _parsed(request, given)
    for text in given.get("last_event_id", ()):
        durable.place_of(text, "last_event_id", log=log.identity, head=log.head)

    async def start() -> int:
        if len(register.of(principal.id)) >= durable.MOST:
            hint = "DELETE one that is not needed; GET /agents lists them"
            raise Problem(409, f"there are {durable.MOST} agents, as many as one may have", more={"hint": hint})
        # Before a gap, where there is one: the first connect tells it.
        cursor = parse_cursor((await begin(log, asked.start, asked.wanted)).cursor)
        return log.head if cursor is None else cursor.sequence

    words = {name: texts for name, texts in given.items() if name not in durable.START}
    before = register.get(principal.id, name)
    changes = before is not None and before.purpose.words != words
    with durably():
        agent, new = await register.put(principal.id, name, words, start)
    if changes:  # who listens has the old filter, and comes back for the new one
        end(context, agent, "changed")
    return _json(_about(request, agent), status=201 if new else 200)


async def get(request: web.Request) -> web.Response:
    """`GET /agents/{agent}`."""
    posted.nothing_asked(request)
    return _json(_about(request, _agent(request)))


async def delete(request: web.Request) -> web.Response:
    """`DELETE /agents/{agent}`: its open stream ends."""
    posted.nothing_asked(request)
    agent = _agent(request)
    with durably():
        await request.app[REGISTER].delete(agent)
    end(request.app[CONTEXT], agent, "deleted")
    return web.Response(status=204)


async def ack(request: web.Request) -> web.Response:
    """`POST /agents/{agent}/ack`: everything up to a cursor was handled; 200 with where the agent is, durably."""
    posted.nothing_asked(request)
    agent, log = _agent(request), request.app[CONTEXT].log
    body = await posted.read(request)
    for name in body:
        if name != "cursor":
            raise UsageError(f"unknown field {name!r}", parameter=name, value=name, hint="there is: cursor")
    text = body.get("cursor")
    if not isinstance(text, str):
        wrong = "cursor is missing" if "cursor" not in body else "cursor is no text"
        raise UsageError(wrong, parameter="cursor", hint='{"cursor": "…"}, with the id of an event of the stream')
    sequence = durable.place_of(text, "cursor", log=log.identity, head=log.head)
    with durably():
        await request.app[REGISTER].move(agent, sequence)
    return _json({"agent": agent.name, "cursor": str(Cursor(log.identity, agent.saved.sequence))})


async def stream(request: web.Request) -> web.StreamResponse:
    """`GET /stream/{agent}`: its events from its cursor on, named."""
    context, register, departures = request.app[CONTEXT], request.app[REGISTER], request.app[DEPARTURES]
    agent = _agent(request)
    purpose = agent.purpose
    query = asking.query(request)
    check_names(query, agent.name)
    with its_own(agent):
        _parsed(request, purpose.words)
    # What is wrong from here on is the query's.
    automatic = _acknowledges([text for name, text in query if name == "ack"])
    given: dict[str, list[str]] = {}
    for name, text in query:
        if name != "ack":
            given.setdefault(name, []).append(text)
    asked = _parsed(request, purpose.words | given, request.headers.get("Last-Event-ID", ""))
    await departures.settled(agent)
    asked = await from_its_place(register, agent, context.log, asked)
    opened: list[Stream] = []

    def begun(stream: Stream) -> None:
        end(context, agent, "taken over")
        agent.stream = stream
        opened.append(stream)
        if automatic:
            departures.begin(stream, agent)

    def over(stream: Stream) -> None:
        departures.over(stream)
        if agent.stream is stream:
            agent.stream = None
        streams.closed(stream)

    response = await streams.answer(request, asked, begun=begun, over=over)
    for late in opened:
        if agent.gone or agent.purpose is not purpose:  # while the log was asked
            context.hub.finish(late, "deleted" if agent.gone else "changed")
    return response


def end(context: Context, agent: Agent, reason: str) -> None:
    """End whatever is open of it."""
    if agent.stream is not None:
        context.hub.finish(agent.stream, reason)
    if agent.socket is not None:
        agent.socket.complete(reason)


@contextlib.contextmanager
def its_own(agent: Agent) -> Iterator[None]:
    """While the agent's own words are looked at: what is wrong with them is not the fault of whoever connects."""
    try:
        yield
    except UsageError as error:
        raise Problem(
            409,
            f"the filter of the agent {agent.name} means nothing any more: {error.what}",
            more={
                "parameter": error.parameter,
                "value": error.value,
                "hint": f"PUT /agents/{agent.name} gives it another; its cursor stays",
            },
        ) from None


async def from_its_place(register: Register, agent: Agent, log: Log, asked: Asked) -> Asked:
    """It goes on where it is; or where its client says that it is, which acknowledges what is before that."""
    came_to = parse_cursor(asked.start.resume)
    if came_to is None and not asked.start.resume:
        start = msgspec.structs.replace(asked.start, resume=str(Cursor(log.identity, agent.asked)))
        return msgspec.structs.replace(asked, start=start)
    if came_to is not None and came_to.log == log.identity and came_to.sequence <= log.head:
        with contextlib.suppress(LogError):  # no reason to turn it away: it goes on from there, and acknowledges again
            await register.move(agent, came_to.sequence)
    return asked


def _parsed(request: web.Request, words: dict[str, list[str]], last_event_id: str = "") -> Asked:
    """What these words ask for now, narrowed to what their owner may see."""
    pairs = [(name, text) for name, texts in words.items() for text in texts]
    return asking.parsed(request, pairs, last_event_id, names=True)


def check_names(query: Iterable[tuple[str, str]], agent: str, known: tuple[str, ...] = CONNECT) -> None:
    """`UsageError` for what cannot be given when one connects; `known` can."""
    for name, _ in query:
        if name in known:
            continue
        if name in STREAM:
            hint = f"it belongs to the agent: PUT /agents/{agent} changes it"
            raise UsageError(f"{name} cannot be given here", parameter=name, value=name, hint=hint)
        _unknown(name, known)


def _unknown(name: str, known: Iterable[str]) -> NoReturn:
    close = difflib.get_close_matches(name.lower(), [*known], n=1, cutoff=0.5)
    hint = "" if close else f"there is: {', '.join(known)}"
    raise UsageError(
        f"unknown parameter {name!r}", parameter=name, value=name, nearest=close[0] if close else "", hint=hint
    )


def _acknowledges(given: list[str]) -> bool:
    """Whether the stream acknowledges by itself."""
    if len(given) > 1 or given[:1] not in ([], ["auto"], ["manual"]):
        shown = ",".join(given)
        raise UsageError(f"{shown!r} is no value of ack", parameter="ack", value=shown, hint="ack is auto or manual")
    return given == ["auto"]


def _name(request: web.Request) -> str:
    return _checked(request.match_info["agent"])


def _checked(name: str) -> str:
    if not durable.NAME.fullmatch(name):
        hint = "up to 64 letters, digits, dots, - and _, the first a letter or a digit"
        raise Problem(400, f"{name!r} is no name for an agent", more={"value": name, "hint": hint})
    return name


def _agent(request: web.Request) -> Agent:
    return find(request.app[REGISTER], request[PRINCIPAL].id, request.match_info["agent"])


def find(register: Register, owner: str, name: str) -> Agent:
    """Theirs of that name; `Problem` 404 where there is none: nobody learns whether somebody else has one."""
    agent = register.get(owner, _checked(name))
    if agent is None:
        close = difflib.get_close_matches(name, [one.name for one in register.of(owner)], n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"PUT /agents/{name} makes one"
        raise Problem(404, f"there is no agent {name!r}", more={"value": name, "hint": hint})
    return agent


def _about(request: web.Request, agent: Agent) -> dict[str, Any]:
    """An agent, as its owner sees it."""
    log, place = request.app[CONTEXT].log, agent.saved
    told: dict[str, Any] = {
        "agent": agent.name,
        "parameters": agent.purpose.words,
        "filters": None,
        "cursor": str(Cursor(log.identity, place.sequence)),
        "lag": log.head - place.sequence,
        "gap": place.sequence < log.oldest - 1,
        "oldest": str(Cursor(log.identity, log.oldest)) if log.oldest <= log.head else None,
        "created": rfc3339(agent.purpose.created),
        "changed": rfc3339(agent.purpose.changed),
        "moved": rfc3339(place.at),
        "connected": agent.stream is not None or agent.socket is not None,
        "stream": agent.stream.id if agent.stream is not None else agent.socket and agent.socket.follower.id,
    }
    try:
        told["filters"] = _parsed(request, agent.purpose.words).wanted.describe()
    except UsageError as error:
        told["problem"] = error.what
    except Problem as problem:
        told["problem"] = problem.detail
    return told


def _json(content: object, status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(content),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
