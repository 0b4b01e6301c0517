# ruff: noqa: ARG002 - a good node needs few of the facts that a bad one asks for
"""
How a node behaves: `Honest` is what a good one does, and the seam where tests make others.

Every decision that a node takes passes through one method here. A test overrides it to lie, to lag, to be rude; it
gets the connection too, and may silence it, cut it in the middle of a frame, or close it with some code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from chainwatch.chain.simulated.answers import Params, RpcError
from chainwatch.chain.simulated.rpc import Reply
from chainwatch.chain.simulated.view import View
from chainwatch.chain.simulated.world import Change

if TYPE_CHECKING:
    from chainwatch.chain.simulated.connection import Connection


class Request(NamedTuple):
    method: str
    params: Params
    connection: Connection | None
    """None over HTTP."""


class Refusal(NamedTuple):
    """An HTTP answer instead of a WebSocket, or instead of JSON-RPC."""

    status: int
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes = b""


class Hang(NamedTuple):
    """Take the request, and never answer it."""


HANG: Final = Hang()


class Honest:
    """A good node. Each method is asked once for each thing that happens, in order."""

    def admit(self, *, websocket: bool) -> Refusal | Hang | None:
        """A handshake of a WebSocket, or an HTTP request, has come. None: let it in."""
        return None

    def observe(self, change: Change) -> Sequence[Change]:
        """The world changed: what the node notices now, oldest first, and tells its subscribers."""
        return (change,)

    def view(self, request: Request, view: View) -> View:
        """The chain from which this request is answered."""
        return view

    def answer(self, request: Request, view: View, reply: bytes | RpcError) -> Reply:
        """What is said instead of the true reply. None: nothing, ever."""
        return reply

    def push(self, connection: Connection, kind: str, results: list[bytes]) -> list[bytes]:
        """What one subscription (`newHeads`, `logs`, `newPendingTransactions`) is told of a change, in order."""
        return results

    def pong(self, connection: Connection) -> bool:
        """Whether a ping is answered."""
        return True
