"""What a client of a WebSocket asks for is done: subscriptions begin and end, events are published."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from chainwatch.filter import Vocabulary
from chainwatch.log import Cursor
from chainwatch.server import agents, body, durable, ops, parameters, posted
from chainwatch.server.ops import Op, Wrong
from chainwatch.server.parameters import Asked
from chainwatch.server.problem import Problem
from chainwatch.server.publish import PUBLISHER
from chainwatch.server.subscription import Subscription
from chainwatch.server.writing import durably
from chainwatch.stream.begin import Begin, begin

if TYPE_CHECKING:
    from chainwatch.server.connection import Connection

SUBSCRIPTIONS: Final = 64
"""Subscriptions of one connection."""
ADDRESSES: Final = 10_000
"""Addresses that they name together."""

_CONNECT: Final = tuple(name for name in agents.CONNECT if name not in ("named", "ack"))
"""What can be given beside an agent's own words: events of a WebSocket are always named, and `ack` acknowledges."""


async def obey(connection: Connection, op: Op | Wrong) -> None:
    """Do it, and answer. `Problem`, `UsageError` or `LogError` where it cannot be done: then nothing was answered."""
    match op:
        case Wrong():
            raise op.problem
        case ops.Ping():
            connection.write(ops.message("pong", op.id))
        case ops.Subscribe():
            await _subscribe(connection, op)
        case ops.Unsubscribe():
            _subscription(connection, op.id).complete("unsubscribed")
        case ops.Ack():
            await _ack(connection, op)
        case ops.Send():
            await _send(connection, op)


async def _subscribe(connection: Connection, op: ops.Subscribe) -> None:
    _permit(connection, "read")
    subscriptions = connection.subscriptions
    if op.id in subscriptions:
        hint = "unsubscribe first, or choose another id"
        raise _wrong(f"there is a subscription {op.id!r} already", "id", op.id, status=409, hint=hint)
    if len(subscriptions) >= SUBSCRIPTIONS:
        raise Problem(
            429,
            f"there are {SUBSCRIPTIONS} subscriptions, as many as a connection may have",
            more={"hint": "one subscription can ask for several types, addresses and chains"},
        )
    if op.agent is not None:
        await _subscribe_agent(connection, op, op.agent)
        return
    asked = _asked(connection, op.query)
    start = await _start(connection, asked)
    if not connection.over:
        Subscription(connection, op.id, _name(), asked, start)


async def _subscribe_agent(connection: Connection, op: ops.Subscribe, name: str) -> None:
    """As `GET /stream/{agent}`; whoever listened for it is told that this one does now."""
    app, context = connection.sockets.app, connection.context
    register = app[agents.REGISTER]
    agent = agents.find(register, connection.principal.id, name)
    purpose = agent.purpose
    agents.check_names(op.query, agent.name, _CONNECT)
    with agents.its_own(agent):
        _asked(connection, _pairs(purpose.words), parameters.STREAM)
    given = {name for name, _ in op.query}
    kept = {name: texts for name, texts in purpose.words.items() if name not in given}
    asked = _asked(connection, [*_pairs(kept), *op.query], parameters.STREAM)
    await app[agents.DEPARTURES].settled(agent)
    asked = await agents.from_its_place(register, agent, context.log, asked)
    start = await _start(connection, asked)
    if agent.gone or agent.purpose is not purpose:
        raise _wrong(f"the agent {agent.name} was changed at this moment", "agent", agent.name, status=409)
    if not connection.over:
        agents.end(context, agent, "taken over")
        Subscription(connection, op.id, _name(), asked, start, agent)


def _pairs(words: Mapping[str, Iterable[str]]) -> list[tuple[str, str]]:
    return [(name, text) for name, texts in words.items() for text in texts]


def _name() -> str:
    return f"str_{secrets.token_hex(8)}"


async def _start(connection: Connection, asked: Asked) -> Begin:
    """Where it begins; `Problem` where it cannot."""
    subscriptions = connection.subscriptions
    named = sum(len(one.follower.wanted.addresses) for one in subscriptions.values())
    if named + len(asked.wanted.addresses) > ADDRESSES:
        raise _wrong(f"the subscriptions of a connection name at most {ADDRESSES} addresses", "address")
    context = connection.context
    if asked.start.last is None or asked.start.resume:
        start = await begin(context.log, asked.start, asked.wanted)
    else:
        async with context.turns.of(connection.client):
            start = await begin(context.log, asked.start, asked.wanted)
    if start.gap is not None and asked.gap_fails:
        raise Problem(410, "events that were asked for are gone", more=msgspec.structs.asdict(start.gap))
    return start


async def _ack(connection: Connection, op: ops.Ack) -> None:
    """Everything up to the cursor was dealt with; answered when that is durable."""
    agent = _subscription(connection, op.id).agent
    if agent is None:
        hint = "only what is read for an agent is acknowledged: subscribe with the name of one as `agent`"
        raise _wrong(f"the subscription {op.id!r} is no agent's", "id", op.id, hint=hint)
    log = connection.context.log
    sequence = durable.place_of(op.cursor, "cursor", log=log.identity, head=log.head)
    with durably():
        await connection.sockets.app[agents.REGISTER].move(agent, sequence)
    connection.write(ops.message("acked", op.id, cursor=str(Cursor(log.identity, agent.saved.sequence))))


def _asked(
    connection: Connection, query: Sequence[tuple[str, str]], known: tuple[str, ...] = parameters.SOCKET
) -> Asked:
    """What it asks for, with the asker's scope laid over it."""
    vocabulary, principal, now = connection.context.vocabulary(), connection.principal, int(time.time() * 1000)

    def ask(words: Vocabulary) -> Asked:
        return parameters.stream(query, words, now=now, known=known)

    asked = principal.understand(ask, vocabulary)
    return msgspec.structs.replace(asked, wanted=principal.narrow(asked.wanted, vocabulary))


def _subscription(connection: Connection, name: str) -> Subscription:
    found = connection.subscriptions.get(name)
    if found is None:
        raise _wrong(f"there is no subscription {name!r}", "id", name, status=404)
    return found


async def _send(connection: Connection, op: ops.Send) -> None:
    _permit(connection, "send")
    if len(op.data) > body.MOST:
        raise Problem(413, f"data is larger than {body.MOST} bytes", more={"parameter": "data"})
    data = posted.parse(op.data)
    publisher, vocabulary = connection.sockets.app[PUBLISHER], connection.context.vocabulary()
    receipt = await publisher.publish(connection.principal, vocabulary, op.type, data, op.idempotency_key)
    about = {"event_id": receipt.id, "cursor": receipt.cursor, "replayed": receipt.replayed}
    connection.write(ops.message("sent", op.id, **about))


def _permit(connection: Connection, permission: str) -> None:
    principal = connection.principal
    if not principal.may(permission):
        hint = f"chainwatch keys create NAME --can {permission} makes one that may"
        raise Problem(403, f"the key {principal.name} may not {permission}", more={"hint": hint})


def _wrong(detail: str, parameter: str, value: str = "", *, status: int = 400, hint: str = "") -> Problem:
    return Problem(status, detail, more={"parameter": parameter, "value": value, "hint": hint})
