"""JSON-RPC 2.0 as a server speaks it: a message in, one answer or a batch of them out. No socket, no chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from chainwatch.chain.simulated.answers import Params, RpcError


class Late(NamedTuple):
    """An answer that is held back for so many seconds."""

    seconds: float
    reply: bytes | RpcError


Reply = bytes | RpcError | Late | None
"""A result as JSON, an error, either of them late, or nothing at all, ever."""
Dispatch = Callable[[str, Params], Reply]


class Response(NamedTuple):
    payload: bytes | None
    """None where nothing is to be sent."""
    delay: float = 0
    """Seconds to wait before sending: those of the latest answer in a batch."""
    withheld: bool = False
    """Nothing is sent because an answer is never to come, and not because none was asked for."""


class _Call(msgspec.Struct):
    method: str
    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    params: Any = None


_call: Final = msgspec.json.Decoder(_Call)
_batch: Final = msgspec.json.Decoder(list[msgspec.Raw])
_NO_ID: Final = b"null"


def respond(message: bytes, dispatch: Dispatch) -> Response:
    """Answer a message; `dispatch` is called once for each call in it, in order."""
    if message.lstrip()[:1] != b"[":
        return _one(message, dispatch)
    try:
        calls = _batch.decode(message)
    except msgspec.DecodeError as error:
        return Response(_error(_NO_ID, RpcError(-32700, str(error))))
    if not calls:
        return Response(_error(_NO_ID, RpcError(-32600, "empty batch")))
    responses = [_one(bytes(call), dispatch) for call in calls]
    payloads = [response.payload for response in responses if response.payload is not None]
    if not payloads:
        return Response(None, withheld=any(response.withheld for response in responses))
    return Response(b"[" + b",".join(payloads) + b"]", max(response.delay for response in responses))


def notification(subscription: str, result: bytes) -> bytes:
    """What `eth_subscribe` sends from then on."""
    return b'{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":"%s","result":%s}}' % (
        subscription.encode(), result,
    )  # fmt: skip


def _one(message: bytes, dispatch: Dispatch) -> Response:
    try:
        call = _call.decode(message)
    except msgspec.ValidationError as error:
        return Response(_error(_NO_ID, RpcError(-32600, f"invalid request: {error}")))
    except msgspec.DecodeError as error:
        return Response(_error(_NO_ID, RpcError(-32700, str(error))))
    identity = b"" if isinstance(call.id, msgspec.UnsetType) else bytes(call.id)
    if call.params is None or isinstance(call.params, list):
        reply = dispatch(call.method, call.params or [])
    else:
        reply = RpcError(-32602, "non-array args")
    delay = 0.0
    if isinstance(reply, Late):
        delay, reply = reply
    if reply is None or not identity:
        return Response(None, withheld=reply is None)
    if isinstance(reply, RpcError):
        return Response(_error(identity, reply), delay)
    return Response(b'{"jsonrpc":"2.0","id":%s,"result":%s}' % (identity, reply), delay)


def _error(identity: bytes, error: RpcError) -> bytes:
    return b'{"jsonrpc":"2.0","id":%s,"error":%s}' % (identity, error.encode())
