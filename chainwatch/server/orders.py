"""What a client of a WebSocket asks for is done: subscriptions begin and end, events are published."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Final

import msgspec

from chainwatch.filter import Vocabulary
from chainwatch.server import body, ops, parameters, posted
from chainwatch.server.ops import Op, Wrong
from chainwatch.server.parameters import Asked
from chainwatch.server.problem import Problem
from chainwatch.server.publish import PUBLISHER
from chainwatch.server.subscription import Subscription
from chainwatch.stream.begin import begin

if TYPE_CHECKING:
    from chainwatch.server.connection import Connection

SUBSCRIPTIONS: Final = 64
"""Subscriptions of one connection."""
ADDRESSES: Final = 10_000
"""Addresses that they name together."""


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
            _subscription(connection, op.id)
            hint = "only what is read for an agent is acknowledged: subscribe with the name of one as `agent`"
            raise _wrong(f"the subscription {op.id!r} is no agent's", "id", op.id, hint=hint)
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
        raise _wrong(f"there is no agent {op.agent!r}", "agent", op.agent, status=404)
    asked = _asked(connection, op)
    named = sum(len(one.follower.wanted.addresses) for one in subscriptions.values())
    if named + len(asked.wanted.addresses) > ADDRESSES:
        raise _wrong(f"the subscriptions of a connection name at most {ADDRESSES} addresses", "address")
    start = await begin(connection.context.log, asked.start, asked.wanted)
    if start.gap is not None and asked.gap_fails:
        raise Problem(410, "events that were asked for are gone", more=msgspec.structs.asdict(start.gap))
    if not connection.over:
        Subscription(connection, op.id, f"str_{secrets.token_hex(8)}", asked, start)


def _asked(connection: Connection, op: ops.Subscribe) -> Asked:
    """What it asks for, with the asker's scope laid over it."""
    vocabulary, principal, now = connection.context.vocabulary(), connection.principal, int(time.time() * 1000)

    def ask(words: Vocabulary) -> Asked:
        return parameters.stream(op.query, words, now=now, known=parameters.SOCKET)

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
