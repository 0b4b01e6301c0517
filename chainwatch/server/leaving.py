"""
`?ack=auto`: an agent moves as bytes leave, by what the kernel says that the machine of its client has acknowledged.

All such streams are looked at once a second, and what moved is one commit. When a stream ends, the last look decides
what its agent has, so whoever asks for `limit=100` again and again gets the next hundred each time. What is not known
to have left is sent again: a kill repeats about a second, and nothing is ever skipped.

The machine of the client is whatever ends its TCP connection: behind a proxy, the proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from functools import partial
from typing import Final

import structlog

from chainwatch.errors import LogError
from chainwatch.server.durable import Leaving
from chainwatch.server.register import Agent, Register
from chainwatch.stream import kernel
from chainwatch.stream.hub import Hub
from chainwatch.stream.stream import Place, Stream

EACH: Final = 1.0
"""Seconds from one look at all streams to the next."""
_TURN: Final = 1000  # streams looked at in one turn of the loop
_IDLE: Final = 15  # looks until an agent is saved that was sent nothing: only the log went on
_CUT: Final = frozenset({"left", "stalled", "talked", "broken"})
"""Reasons of streams that we did not end: what was written last may have gone nowhere."""
_END: Final = 16
"""`complete` is longer than so many bytes, in any coding: when no more are under way, all events have left."""
_LINGER: Final = 2.0
"""Seconds that the client's machine has for its last acknowledgement; it comes within 40 ms, as a rule."""
_ESTABLISHED: Final = frozenset({1, 8})  # TCP_ESTABLISHED, TCP_CLOSE_WAIT of the kernel: nothing has failed yet

_log = structlog.get_logger("chainwatch.agents")


class _Watched:
    """A stream that acknowledges by itself."""

    __slots__ = ("agent", "idle", "leaving", "sent")

    def __init__(self, agent: Agent, position: int) -> None:
        self.agent = agent
        self.leaving = Leaving(position)
        self.sent = 0  # bytes of events when all of them had left
        self.idle = 0  # looks since it was noted last


class Departures:
    """Looks after the streams that acknowledge by themselves."""

    def __init__(self, hub: Hub, register: Register) -> None:
        self._hub = hub
        self._register = register
        self._streams: dict[Stream, _Watched] = {}
        self._moved: dict[Agent, None] = {}  # further than on disk
        self._endings: set[asyncio.Task[None]] = set()
        self._some = asyncio.Event()  # there is something to do
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """From now on."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="agents:leaving")

    async def close(self) -> None:
        """All streams are over: save what they came to."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*self._endings, return_exceptions=True)
        await self._save()

    def begin(self, stream: Stream, agent: Agent) -> None:
        """`stream` is about to begin, and moves `agent`."""
        self._streams[stream] = _Watched(agent, stream.position)
        self._some.set()

    def over(self, stream: Stream) -> None:
        """The connection of `stream` is gone, or is going: its socket is still there."""
        watched = self._streams.pop(stream, None)
        if watched is None or stream.paused:  # what the transport held is dropped, and nobody knows how much
            return
        ours = stream.reason not in _CUT
        if self._hub.in_round and not ours:  # it counts as having what the round did not come to
            return
        sock = _copy(stream.transport)
        if sock is None:
            return
        if not _is_sound(sock):
            sock.close()
            return
        if self._look(stream, watched, under_way=_under_way(sock)) or not ours:
            sock.close()
            return
        # The last bytes are under way. The copy keeps the socket, so the end has to be said here.
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        task = asyncio.get_running_loop().create_task(self._linger(stream, watched, sock), name="agents:linger")
        watched.agent.ending = task
        self._endings.add(task)
        task.add_done_callback(partial(self._ended, watched.agent))

    def _ended(self, agent: Agent, task: asyncio.Task[None]) -> None:
        self._endings.discard(task)
        if agent.ending is task:
            agent.ending = None

    async def _linger(self, stream: Stream, watched: _Watched, sock: socket.socket) -> None:
        """Ask until all has arrived; the kernel has no event for that."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _LINGER
        with sock:
            while loop.time() < until and not self._look(stream, watched, under_way=_under_way(sock)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    def _look(self, stream: Stream, watched: _Watched, *, under_way: int) -> bool:
        """A look at a stream that is over; whether all of it has left."""
        if stream.reason not in _CUT and under_way <= _END:
            under_way = 0
        self._note(watched, watched.leaving.look(stream.bytes_sent, stream.position, under_way))
        return under_way == 0

    def _note(self, watched: _Watched, left: int) -> None:
        agent = watched.agent
        if left > agent.asked:
            agent.asked = left
            self._moved[agent] = None
            self._some.set()

    async def settled(self, agent: Agent) -> None:
        """What left of the stream before this one is known, if it can be known soon."""
        if agent.ending is not None:
            await asyncio.wait([agent.ending], timeout=0.25)

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            await asyncio.sleep(EACH)
            await self._look_at_all()
            await self._save()
            if not self._streams and not self._moved:
                self._some.clear()

    async def _look_at_all(self) -> None:
        for number, (stream, watched) in enumerate(list(self._streams.items())):
            if number % _TURN == 0:
                await asyncio.sleep(0)
                # In a round, a stream counts as having what it will be given before the round ends.
                await self._hub.quiet()
            if stream.place in (Place.CLOSING, Place.CLOSED) or stream.transport.is_closing():
                continue  # `over` has the last look
            under_way = kernel.held(stream.transport)
            left = watched.leaving.look(stream.bytes_sent, stream.position, under_way)
            busy = stream.bytes_sent > watched.sent
            watched.idle += 1
            if busy or watched.idle >= _IDLE:
                watched.idle = 0
                self._note(watched, left)
            if under_way == 0:
                watched.sent = stream.bytes_sent

    async def _save(self) -> None:
        moved = [agent for agent in self._moved if not agent.gone and agent.asked > agent.saved.sequence]
        if moved:
            try:
                await self._register.save(moved)
            except LogError as error:  # the next look tries again
                _log.warning("the places of agents are not saved", agents=len(moved), problem=error.what)
                return
        for agent in list(self._moved):
            if agent.gone or agent.asked <= agent.saved.sequence:
                del self._moved[agent]


def _copy(transport: asyncio.Transport) -> socket.socket | None:
    """The socket of a transport that is about to close its own."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return None
    try:
        return socket.socket(fileno=socket.dup(sock.fileno()))
    except OSError:  # no descriptor is left
        return None


def _is_sound(sock: socket.socket) -> bool:
    """Whether every write so far went into the connection. One that failed is in no count of the kernel."""
    if sys.platform != "linux":
        return True
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _ESTABLISHED
    except OSError:
        return False


def _under_way(sock: socket.socket) -> int:
    """Bytes that the other machine has not acknowledged."""
    if sys.platform != "linux":
        return 0
    import fcntl
    import struct
    import termios

    try:
        found: int = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
    except OSError:
        return sys.maxsize
    return found
