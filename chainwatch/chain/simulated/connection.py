"""One client's WebSocket: its subscriptions, what is written to it, and the ways in which it can end."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from chainwatch.chain.simulated import logs, rpc
from chainwatch.chain.simulated.answers import Params, RpcError, log_filter
from chainwatch.chain.simulated.block import included, removed
from chainwatch.chain.simulated.primitives import digest
from chainwatch.chain.simulated.world import Change

if TYPE_CHECKING:
    from chainwatch.chain.simulated.node import SimulatedNode

TEXT: Final = 0x1
CLOSE: Final = 0x8
PONG: Final = 0xA

PAUSE: Final = 4 * 1024 * 1024
"""Bytes not yet taken by a client, above which no further request of it is read."""
GIVE_UP: Final = 64 * 1024 * 1024
"""Bytes not yet taken by a subscriber, above which it is dropped, as geth does."""


class Subscription(NamedTuple):
    kind: str
    filter: logs.Filter | None = None
    objects: bool = False
    """Of pending transactions: whole ones rather than hashes."""


def frame(opcode: int, payload: bytes) -> bytes:
    """An unmasked, final frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65_536:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + payload


class Connection:
    """
    What leaves the node on one socket. Frames are written by hand, so that several answers are one write, and so that
    a frame can be cut anywhere. Everything of one turn of the event loop goes out together.
    """

    def __init__(self, node: SimulatedNode, transport: asyncio.Transport, number: int) -> None:
        self.number = number
        """The how-manieth connection of its node, from 1."""
        self.subscriptions: dict[str, Subscription] = {}
        self.silent = False
        """Set it, and the socket stays open, reads everything and says nothing more, not even a pong."""
        self._node = node
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self.gone = self._loop.create_future()
        """Done when the socket has ended."""
        self._frames: list[bytes] = []
        self._ended = False
        self._subscribed = 0

    def __repr__(self) -> str:
        return f"<Connection {self.number}>"

    # --- answers and pushes -------------------------------------------------------------------------------------

    def receive(self, message: bytes) -> None:
        """Answer one message, now or when its answer is due."""
        response = rpc.respond(message, self._dispatch)
        if response.payload is None:
            return
        if response.delay:
            self._loop.call_later(response.delay, self.send, TEXT, response.payload)
        else:
            self.send(TEXT, response.payload)

    def tell(self, change: Change) -> None:
        """Push what happened to each subscription. A chain that only became shorter is not told: no node does."""
        if not change.added and (change.removed or not change.pending):
            return
        for identity, subscription in tuple(self.subscriptions.items()):
            results = self._results(subscription, change)
            for result in self._node.conduct.push(self, subscription.kind, results):
                self.send(TEXT, rpc.notification(identity, result))
        if self._transport.get_write_buffer_size() > GIVE_UP:
            self.abort()

    def _results(self, subscription: Subscription, change: Change) -> list[bytes]:
        if subscription.kind == "newHeads":
            return [block.wire.header for block in change.added]
        if subscription.filter is not None:
            # Orphaned logs come oldest first, and before the new ones: geth's order.
            wanted = subscription.filter
            gone = [log for block in reversed(change.removed) for log in logs.matching(block, wanted)]
            return [*map(removed, gone), *(log for block in change.added for log in logs.matching(block, wanted))]
        if subscription.objects:
            return [included(transaction, self._node.world.chain_id) for transaction in change.pending]
        return [b'"%s"' % transaction.hash.encode() for transaction in change.pending]

    def _dispatch(self, method: str, params: Params) -> rpc.Reply:
        return self._node.dispatch(method, params, self)

    def subscribe(self, params: Params) -> bytes:
        kind = params[0] if params else None
        detail = params[1] if len(params) > 1 else None
        if kind == "newHeads":
            subscription = Subscription(kind)
        elif kind == "logs":
            subscription = Subscription(kind, log_filter(detail))
        elif kind == "newPendingTransactions":
            subscription = Subscription(kind, objects=detail is True)
        else:
            raise RpcError(-32601, f'no "{kind}" subscription in eth namespace')
        self._subscribed += 1
        identity = digest("subscription", self.number, self._subscribed)[:34]
        self.subscriptions[identity] = subscription
        return msgspec.json.encode(identity)

    def unsubscribe(self, params: Params) -> bytes:
        if not params or self.subscriptions.pop(params[0], None) is None:
            raise RpcError(-32000, "subscription not found")
        return b"true"

    # --- the socket ---------------------------------------------------------------------------------------------

    def send(self, opcode: int, payload: bytes) -> None:
        if self.silent or self._ended:
            return
        if not self._frames:
            self._loop.call_soon(self._flush)
        self._frames.append(frame(opcode, payload))

    def _flush(self) -> None:
        frames, self._frames = self._frames, []
        if frames and not self._transport.is_closing():
            self._transport.write(b"".join(frames))

    async def room(self) -> None:
        """Wait until the client has taken enough of what it asked for."""
        # The callbacks that would say so belong to aiohttp, hence the polling.
        while self._transport.get_write_buffer_size() > PAUSE and not self._transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    def close(self, code: int, reason: str = "") -> None:
        """Say good-bye with this code (1001 going away, 1013 try again later); the client has a second to answer."""
        if self.silent:  # says nothing, not even this
            self.abort()
            return
        self.send(CLOSE, struct.pack("!H", code) + reason.encode())
        self._flush()
        self._ended = True
        self._loop.call_later(1, self._transport.abort)

    def abort(self) -> None:
        """End the socket without a word: what a client calls 1006."""
        self._ended = True
        self._transport.abort()

    def cut(self, payload: bytes) -> None:
        """Begin to send a message, and end the socket in the middle of its frame."""
        self._flush()
        whole = frame(TEXT, payload)
        self._transport.write(whole[: max(3, len(whole) // 2)])
        self._ended = True
        self._transport.close()
