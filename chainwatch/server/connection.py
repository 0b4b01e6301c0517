"""
One client's WebSocket: `websockets`' protocol, which knows frames and no sockets, on the connection that aiohttp's
handshake was made on.

What the client says becomes ops, which are obeyed one after another. What the log has for it is written by its
subscriptions, a piece at a time; there is no queue. A transport that takes no more holds them, and stops reading what
the client says: a client that does not listen is not listened to. Nothing is compressed: a compressor for each client
costs 300 KiB of memory, and the same event a hundred times.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import structlog
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from chainwatch.errors import LogError, UsageError
from chainwatch.server import ops, problem
from chainwatch.server.ops import Op, Wrong
from chainwatch.server.orders import obey
from chainwatch.server.principal import Principal
from chainwatch.server.problem import Problem
from chainwatch.stream import kernel

if TYPE_CHECKING:
    from chainwatch.server.sockets import Sockets
    from chainwatch.server.subscription import Subscription

LARGEST: Final = 128 * 1024
"""Bytes of a client's message."""
CODES: Final = {"shutdown": 1001, "rotation": 1001, "revoked": 4401}
"""The close codes of RFC 6455, section 7.4.1, and one of the private range for what it has no word for."""
WORDS: Final = {
    "shutdown": "the daemon is stopping",
    "rotation": "it is time to connect anew",
    "revoked": "the key has ended",
}
"""What a close says beside its code."""

_PORTION: Final = 4096  # bytes that are looked at in one turn of the loop: a thousand frames would fit into 8 KiB
_INBOX: Final = 32  # ops that wait for those before them
_RATE: Final = 500.0
"""Messages a second that are read in the long run; others wait in the client's own buffers. 4 KiB count as one more."""
_BURST: Final = 1000.0
_GRACE: Final = 2.0
"""Seconds that a client has to answer a close."""

_log = structlog.get_logger("chainwatch.access")


class Connection(asyncio.Protocol):
    """A socket, its protocol, and its subscriptions."""

    __slots__ = (
        "_allowance", "_close_by", "_heard", "_hearing", "_held", "_inbox", "_opened", "_partial", "_pinged",
        "_protocol", "_reading", "_rotates", "_stack", "_stalled", "_timer", "_unheard", "_working", "bytes",
        "client", "context", "events", "over", "paused", "peer", "principal", "reason", "sockets", "subscriptions",
        "transport",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(
        self, sockets: Sockets, protocol: ServerProtocol, principal: Principal, *, peer: str, address: str
    ) -> None:
        """`peer` and `address`: see `asking`."""
        self.sockets = sockets
        self.context = sockets.context
        self.principal = principal
        self.peer = peer
        self.client = principal.id or address  # whose questions wait for one another
        self.subscriptions: dict[str, Subscription] = {}
        self.paused = False  # the transport takes no more
        self.over = False  # nothing is said any more but what ends it
        self.reason = "left"  # why it ended, for the log line
        self.events = 0  # written
        self.bytes = 0
        self._protocol = protocol
        self._stack = ExitStack()  # what is given back when the connection is gone
        self._unheard = bytearray()  # what came and was not looked at
        self._hearing = False  # the next turn looks at it
        self._reading = True  # the transport reads
        self._partial: tuple[Opcode, bytearray] | None = None  # a message of which more frames come
        self._inbox: deque[Op | Wrong] = deque()
        self._working = False  # the ops are being obeyed
        self._opened = self._heard = self.now()  # heard: when something came last
        self._allowance = (_BURST, self._opened)
        self._pinged = False
        self._stalled, self._held = 0.0, 0  # since when it took nothing, and the bytes that it held then
        self._rotates: float | None = None  # when it has lived long enough
        self._close_by: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """Seconds of the loop's clock."""
        return self.context.followers.now()

    def open(self, stack: ExitStack, early: bytes) -> None:
        """The handshake is made. `stack` is closed when the connection is gone; `early` came behind the request."""
        self._stack = stack
        self.sockets.add(self)
        if (age := self.context.settings().max_connection_age) is not None:
            self._rotates = self.now() + age * random.uniform(0.9, 1.1)  # noqa: S311 - jitter is no secret
        self.look_at(self._due(self.now()))
        if early:
            self.data_received(early)

    # --- asyncio.Protocol: what the transport says. `connection_made` went to aiohttp (see takeover) ------------------

    def data_received(self, data: bytes) -> None:
        self._heard = self.now()
        self._pinged = False
        self._unheard += data
        if not self._hearing:
            self._hear()

    def eof_received(self) -> bool:
        self._protocol.receive_eof()
        self._protocol.data_to_send()
        return False

    def pause_writing(self) -> None:
        self.paused = True
        self._stalled = self.now()
        self._held = kernel.held(self.transport)
        for subscription in self.subscriptions.values():
            subscription.follower.hold()
        self.look_at(self._stalled + self.sockets.stall / 4)

    def resume_writing(self) -> None:
        self.paused = False
        self._hear_later()  # first: the next piece of a replay pauses it again
        for subscription in self.subscriptions.values():
            subscription.follower.resume()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol wants it
        self._end()
        if self._timer is not None:
            self._timer.cancel()
        self._unheard.clear()
        self._stack.close()
        self.sockets.discard(self)
        _log.info(
            "websocket closed",
            key_id=self.principal.id or None,
            peer=self.peer,
            reason=self.reason,
            seconds=round(self.now() - self._opened, 3),
            events=self.events,
            bytes=self.bytes,
        )

    # --- what the client says -----------------------------------------------------------------------------------------

    def _hear_later(self) -> None:
        if self._unheard and not self._hearing:
            self._hearing = True
            asyncio.get_running_loop().call_soon(self._hear)

    def _hear(self) -> None:
        """Look at some of what came; the rest waits for a later turn, and meanwhile nothing more is read."""
        self._hearing = False
        if self.transport.is_closing():
            return
        wait = self._wait()
        if self._unheard and wait == 0:
            portion = bytes(self._unheard[:_PORTION])
            del self._unheard[:_PORTION]
            self._protocol.receive_data(portion)
            for frame in self._protocol.events_received():
                if isinstance(frame, Frame):
                    self._frame(frame)
            self._flush()
            if self._protocol.state is not State.OPEN:
                self._end()
            wait = self._wait()
        if bool(self._unheard) is self._reading:
            self._reading = not self._unheard
            (self.transport.resume_reading if self._reading else self.transport.pause_reading)()
        if self._unheard and wait == 0:
            self._hear_later()
        elif self._unheard and wait is not None:
            self._hearing = True
            asyncio.get_running_loop().call_later(wait, self._hear)

    def _wait(self) -> float | None:
        """Seconds until more may be looked at; None: until something else has happened, which looks again."""
        if self.over:
            return 0  # it is thrown away
        if self.paused or len(self._inbox) >= _INBOX:
            return None
        left, then = self._allowance
        now = self.now()
        left = min(_BURST, left + (now - then) * _RATE)
        self._allowance = (left, now)
        return 0 if left > 0 else (1 - left) / _RATE

    def _frame(self, frame: Frame) -> None:
        left, then = self._allowance
        self._allowance = (left - 1 - len(frame.data) // 4096, then)
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if not frame.fin or self._partial is not None:
                kind, data = self._partial or (frame.opcode, bytearray())
                data += frame.data
                self._partial = (kind, data) if not frame.fin else None
                if frame.fin:
                    self._message(kind, bytes(data))
            else:
                self._message(frame.opcode, bytes(frame.data))

    def _message(self, kind: Opcode, data: bytes) -> None:
        if self.over:
            return
        op: Op | Wrong
        if kind is not Opcode.TEXT:
            hint = "send the JSON as text"
            op = Wrong(None, None, Problem(400, "a message is text, not binary", more={"hint": hint}))
        else:
            try:
                data.decode()
            except UnicodeDecodeError:
                self._protocol.fail(1007, "a text that is no UTF-8")  # RFC 6455, section 8.1
                return
            op = ops.parse(data)
        self._inbox.append(op)
        if not self._working:
            self._working = True
            self.sockets.spawn(self._obey_all(), "ws:ops")

    async def _obey_all(self) -> None:
        try:
            while self._inbox and not self.over:
                op = self._inbox.popleft()
                try:
                    await obey(self, op)
                except Problem as wrong:
                    self._refuse(op, wrong)
                except UsageError as error:
                    self._refuse(op, problem.of_usage(error))
                except LogError as error:
                    _log.error("the log cannot be asked", problem=str(error))
                    self._refuse(op, Problem(503, "the event log cannot be asked now"))
                except Exception:  # noqa: BLE001 - the client gets an answer, the log the traceback
                    _log.exception("an op of a websocket failed", op=op.op)
                    self._refuse(op, Problem(500, "the daemon failed; its log has more"))
                self._hear_later()
        finally:
            self._working = False

    def _refuse(self, op: Op | Wrong, wrong: Problem) -> None:
        self.write(ops.error(wrong, op.op, op.id))

    # --- what it is told ----------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Whole frames."""
        if not self.transport.is_closing():
            self.bytes += len(data)
            self.transport.write(data)

    def _flush(self) -> None:
        """What the protocol has to say by itself: pongs, and what ends it."""
        for data in self._protocol.data_to_send():
            if data:
                self.write(data)
            elif self._protocol.close_rcvd is not None:
                self.transport.close()
            elif not self.transport.is_closing():
                # It was broken: what the client still sends would reset the connection, and take the reason with it.
                self.transport.write_eof()
                self._cut_by(self.now() + _GRACE)

    # --- the end ------------------------------------------------------------------------------------------------------

    def revoked(self, reason: str) -> None:
        """Its key has ended."""
        self.finish(reason)

    def finish(self, reason: str) -> None:
        """`complete` for each subscription, and a close with the code of `CODES`; cut where it is not answered."""
        if self.over:
            return
        for subscription in list(self.subscriptions.values()):
            subscription.complete(reason)
        self._end()
        self.reason = reason
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(CODES[reason], WORDS[reason])
            self._flush()
        self._cut_by(self.now() + _GRACE)
        self._hear_later()

    def broken(self) -> None:
        """A fault of ours: the client must not go on without knowing that it misses something."""
        self.reason = "broken"
        self._end()
        self._protocol.fail(1011)
        self._flush()

    def _end(self) -> None:
        """Nothing is written for it any more."""
        self.over = True
        self._inbox.clear()
        for subscription in list(self.subscriptions.values()):
            subscription.close()

    def _cut_by(self, at: float) -> None:
        self._close_by = at if self._close_by is None else min(self._close_by, at)
        self.look_at(self._close_by)

    # --- time ---------------------------------------------------------------------------------------------------------

    def look_at(self, at: float) -> None:
        """Look at it all at that time of the loop's clock, at the latest."""
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self.now()
        if self._close_by is not None:
            if now >= self._close_by:
                self.transport.abort()
                return
        elif not self._is_there(now):
            self.transport.abort()
            return
        elif self._rotates is not None and now >= self._rotates:
            self.finish("rotation")
            return
        for subscription in list(self.subscriptions.values()):
            subscription.look(now)
        self.look_at(max(self._due(now), now + 0.001))

    def _due(self, now: float) -> float:
        if self._close_by is not None:
            return self._close_by
        at = now + self.sockets.stall / 4 if self.paused else self._heard + self.context.hub.heartbeat
        if self._pinged:
            at = max(at, now + self.sockets.stall / 4)
        at = at if self._rotates is None else min(at, self._rotates)
        return min([at, *(subscription.due() for subscription in self.subscriptions.values())])

    def _is_there(self, now: float) -> bool:
        """Whether the client takes what is written, and answers pings; `reason` is set where it does not."""
        if self.paused:
            size = kernel.held(self.transport)
            if size < self._held:
                self._held, self._stalled = size, now
            elif now - self._stalled >= self.sockets.stall:
                self.reason = "stalled"
                return False
        elif now - self._heard >= self.context.hub.heartbeat + self.sockets.stall:
            self.reason = "silent"
            return False
        elif now - self._heard >= self.context.hub.heartbeat and not self._pinged:
            self._pinged = True
            self._protocol.send_ping(b"")
            self._flush()
        return True
