"""
An endpoint over WebSocket: one socket, one reader that never waits for work, heads by subscription.

A subscription may die while its socket lives, so a silence is met with a question: what is your latest block? Where the
answers run ahead of the heads that were pushed, the subscription is dead, and the connection is made anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from chainwatch import __version__
from chainwatch.chain.evm import pushes, rpc
from chainwatch.chain.evm.block import MALFORMED, RpcHeader, header_of
from chainwatch.chain.evm.endpoint import CallFailed, Endpoint, Refused, retry_after

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes of one answer. The receipts of a full block of mainnet are 1 to 5 MB; the library's 1 MiB is too small."""
MISSED = 3
"""Blocks found by asking, one after another, that the subscription should have pushed."""

SILENT = 3
"""So many connections may end while the mempool is asked for; then it is left alone."""
FEW = 8
"""Requests under way up to which an answer is waited for, and not one of many."""

_header = msgspec.json.Decoder(RpcHeader)


class WebSocketEndpoint(Endpoint):
    _socket: ClientConnection | None = None
    _reader: asyncio.Task[None] | None = None
    _writer: asyncio.Task[None] | None = None
    _listener: asyncio.Task[None] | None = None
    _pushed = 0
    """Heads that the subscription brought."""
    _mempool_silent = 0
    """Connections, one after another, that ended before the subscription to the mempool was answered."""

    async def _open(self) -> None:
        try:
            self._socket = await connect(
                self.url,
                max_size=MAX_MESSAGE,
                open_timeout=self._timeout,
                # A busy node answers pings late: short time-outs kill it just when it works for us.
                ping_interval=self._timeout,
                ping_timeout=self._timeout,
                close_timeout=0.5,
                compression=None,
                user_agent_header=f"chainwatch/{__version__}",
            )
        except InvalidStatus as error:
            status = error.response.status_code
            reason = f"HTTP {status} instead of a WebSocket"
            if status in (429, 503):
                raise Refused(reason, retry_after(error.response.headers.get("Retry-After"))) from None
            raise ConnectionError(reason) from None
        except WebSocketException as error:
            raise ConnectionError(self.explain(error)) from None
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._subscription: str | None = None
        self._mempool: str | None = None
        self._reader = asyncio.create_task(self._read(self._socket), name=f"read {self.name}")
        self._writer = asyncio.create_task(self._write(self._socket), name=f"write {self.name}")

    async def _close(self) -> None:
        self._lose("closed")
        tasks = [task for task in (self._reader, self._writer, self._listener) if task is not None]
        self._reader = self._writer = self._listener = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        connection, self._socket = self._socket, None
        if connection is not None:
            await connection.close()

    async def _subscribe(self) -> None:
        if not self.heads:
            return
        told = await self.start("eth_subscribe", ["newHeads"])
        self._subscription = msgspec.json.decode(told, type=str)
        await self.latest()  # after the subscription: what came between is not lost
        if self.wants_pending and self._mempool_silent < SILENT:
            self._listener = asyncio.create_task(self._listen(), name=f"mempool {self.name}")

    async def _listen(self) -> None:
        """Subscribe to the mempool, else look at it by a filter. Whatever fails, heads go on."""
        try:
            self._mempool = await pushes.subscribe(self)
            self._mempool_silent = 0
        except CallFailed as failed:
            if failed.kind == "lost":
                self._mempool_silent += 1
                if self._mempool_silent == SILENT:
                    self._refuse_mempool("it does not answer eth_subscribe")
                return
            try:
                await pushes.poll(self)
            except CallFailed:
                self._refuse_mempool(failed.reason)
        except MALFORMED as error:
            self._refuse_mempool(self.explain(error))

    async def _serve(self) -> str:
        assert self._lost is not None  # noqa: S101 - set before anything is opened
        missed, pushed = 0, self._pushed
        while not self._lost.done():
            await asyncio.wait((self._lost,), timeout=min(self.profile.quiet, self._timeout) / 2)
            now = time.monotonic()
            if (overdue := self.overdue(now)) is not None:
                return overdue
            if pushed != self._pushed:
                missed, pushed = 0, self._pushed
            if now - self.heard < self.profile.quiet or now < self.resting_until or self._lost.done() or not self.heads:
                continue
            before = self.head.number if self.head else 0
            try:
                # While we wait here, nobody else looks for requests that are never answered.
                async with asyncio.timeout(self._timeout):
                    head = await self.latest()
            except CallFailed as failed:
                if failed.kind == "limited":
                    raise
                continue  # a lost connection ends the loop; any other error is asked again
            missed = missed + 1 if head.number > before else 0
            if missed >= MISSED:
                return "its subscription to heads went silent"
        return self._lost.result()

    def _transmit(self, number: int, method: str, params: list[Any]) -> None:
        self._outgoing.put_nowait(rpc.request(number, method, params))

    async def _write(self, connection: ClientConnection) -> None:
        try:
            while True:
                await connection.send(await self._outgoing.get(), text=True)
                if len(self._pending) <= FEW:
                    _acknowledge_quickly(connection)
        except ConnectionClosed as error:
            self._lose(self.explain(error))

    async def _read(self, connection: ClientConnection) -> None:
        try:
            while True:
                message = rpc.message(await connection.recv(decode=False))
                if message.method is None:
                    self._received(message)
                    if self._pending:  # many small answers are held back as well, for 40 ms at their end
                        _acknowledge_quickly(connection)
                elif message.method == "eth_subscription":
                    self._notified(rpc.notification(message.params))
        except ConnectionClosed as error:
            self._lose(self.explain(error))
        except MALFORMED as error:
            self._lose(f"it sent what is no JSON-RPC: {self.explain(error)}")

    def _notified(self, told: rpc.Notification) -> None:
        # Either may be pushed before the answer that names its subscription.
        unnamed = self.wants_pending and told.subscription not in (self._subscription, self._mempool)
        if told.subscription == self._mempool or (unnamed and pushes.looks_pending(told)):
            if (pending := pushes.pushed(told.result)) is not None:
                self.heard_pending(pending, time.time_ns() // 1_000_000)
            return
        self._pushed += 1
        self._saw(header_of(_header.decode(told.result)))


def _acknowledge_quickly(connection: ClientConnection) -> None:
    """
    Ask the kernel not to hold back acknowledgements for what comes next: a node that leaves Nagle's algorithm on
    sends the second of two small answers only when the first is acknowledged, and Linux may take 40 ms for that. The
    option does not last (tcp(7)), so it is set with each request.
    """
    if (raw := connection.transport.get_extra_info("socket")) is not None and hasattr(socket, "TCP_QUICKACK"):
        with contextlib.suppress(OSError):  # it may be closed by now
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
