"""
The protocol over stdin and stdout, a message a line, for a process that a host starts and ends.

The SDK has such a transport, too. Here a request that came before the end of stdin is answered all the same (`printf …
| chainwatch mcp`), whoever pushes knows when it was written, no line can fill the memory, and the end does not wait for
a line that will not come: what may block, blocks a thread of its own that nobody waits for.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

import anyio
import mcp_types as types
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from chainwatch.errors import ChainwatchError

LONGEST: Final = 4 * 1024 * 1024
"""Bytes of a line."""
GRACE: Final = 1.5
"""Seconds that stdin's end waits for answers that are due: hosts lose their patience after 2."""

_PIECE: Final = 64 * 1024
_FIRST: Final = ("initialize", "ping")  # whoever sends one has not said yet that it is ready
_STANDING: Final = "subscriptions/listen"  # is never answered but at its end

T = TypeVar("T")
Incoming = MemoryObjectReceiveStream[SessionMessage | Exception]
Outgoing = MemoryObjectSendStream[SessionMessage]


class Pushed(SessionMessage):
    """A notification that somebody waits for until it is written."""

    def __init__(self, message: types.JSONRPCNotification, written: asyncio.Future[None]) -> None:
        super().__init__(message)
        self.written = written


class Wire:
    """The two descriptors."""

    def __init__(self, stdin: int, stdout: int) -> None:
        self.ready = asyncio.Event()
        """The host takes notifications."""
        self._stdin = stdin
        self._stdout = stdout
        self._due: dict[types.RequestId, str] = {}  # the methods of requests that are not answered
        self._answered = asyncio.Event()
        self._answered.set()
        self._answers: Outgoing | None = None
        self._lost: OSError | None = None

    async def carry(self, serve: Callable[[Incoming, Outgoing], Awaitable[None]]) -> None:
        """
        Give a server its messages until stdin ends. `BrokenPipeError` where nobody reads stdout any more,
        `ChainwatchError` where it cannot be written.
        """
        to_server, requests = anyio.create_memory_object_stream[SessionMessage | Exception]()
        answers, from_server = anyio.create_memory_object_stream[SessionMessage]()
        self._answers = answers.clone()
        async with anyio.create_task_group() as group:
            written = anyio.Event()
            group.start_soon(self._read, to_server)
            group.start_soon(self._write, from_server, written, group.cancel_scope)
            try:
                await serve(requests, answers)
            finally:
                answers.close()
                self._answers.close()
            with anyio.move_on_after(GRACE):
                await written.wait()
            group.cancel_scope.cancel()
        if isinstance(self._lost, ConnectionError):
            raise BrokenPipeError
        if self._lost is not None:
            raise ChainwatchError("cannot write to stdout", why=(self._lost.strerror or "").lower())

    async def push(self, method: str, params: dict[str, Any]) -> None:
        """Send a notification that nobody asked for; it is written when this returns."""
        await self.ready.wait()
        if self._answers is None:
            raise RuntimeError("nothing is carried yet")
        written = asyncio.get_running_loop().create_future()
        await self._answers.send(
            Pushed(types.JSONRPCNotification(jsonrpc="2.0", method=method, params=params), written)
        )
        await written

    async def _read(self, to_server: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # the server has ended
            async with to_server:
                async for line in _lines(self._stdin):
                    try:
                        message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
                    except ValidationError:
                        await self._refuse(line)
                        continue
                    self._came(message)
                    await to_server.send(SessionMessage(message))
                with anyio.move_on_after(GRACE):
                    await self._answered.wait()

    async def _write(self, answers: Any, written: anyio.Event, scope: anyio.CancelScope) -> None:
        try:
            async with answers:
                async for one in answers:
                    line = one.message.model_dump_json(by_alias=True, exclude_unset=True).encode()
                    await _aside(partial(_put, self._stdout, line + b"\n"))
                    self._went(one.message)
                    if isinstance(one, Pushed) and not one.written.done():
                        one.written.set_result(None)
        except OSError as error:
            self._lost = error
            scope.cancel()
        finally:
            written.set()

    def _came(self, message: types.JSONRPCMessage) -> None:
        match message:
            case types.JSONRPCRequest(id=name, method=method) if method != _STANDING:
                self._due[name] = method
                self._answered.clear()
            case types.JSONRPCNotification(method="notifications/initialized"):
                self.ready.set()
            case types.JSONRPCNotification(method="notifications/cancelled", params={"requestId": name}):
                self._settle(name)  # is never answered

    def _went(self, message: types.JSONRPCMessage) -> None:
        match message:
            case types.JSONRPCResponse(id=name) | types.JSONRPCError(id=name):
                if self._settle(name) not in (None, *_FIRST):
                    self.ready.set()

    def _settle(self, name: types.RequestId | None) -> str | None:
        method = self._due.pop(name, None) if isinstance(name, str | int) else None
        if not self._due:
            self._answered.set()
        return method

    async def _refuse(self, line: bytes) -> None:
        """Say that a line is no message: a host that is made by hand wants to know."""
        try:
            msgspec.json.decode(line)
        except (ValueError, RecursionError):  # no JSON, or no UTF-8
            error = types.ErrorData(code=types.PARSE_ERROR, message="this line is no JSON")
        else:
            error = types.ErrorData(code=types.INVALID_REQUEST, message="this line is no message of JSON-RPC 2.0")
        if self._answers is not None:
            await self._answers.send(SessionMessage(types.JSONRPCError(jsonrpc="2.0", id=None, error=error)))


async def _lines(descriptor: int) -> AsyncIterator[bytes]:
    """Those that are not empty. Of one that is too long only the beginning, which is no JSON."""
    rest, skipping = bytearray(), False
    while piece := await _aside(partial(_get, descriptor)):
        *whole, last = piece.split(b"\n")
        for end in whole:
            if not skipping and (line := bytes(rest + end).strip()):
                yield line
            rest.clear()
            skipping = False
        rest += b"" if skipping else last
        if len(rest) > LONGEST:
            yield bytes(rest[:_PIECE])
            rest.clear()
            skipping = True
    if line := bytes(rest).strip():
        yield line


def _get(descriptor: int) -> bytes:
    while True:
        try:
            return os.read(descriptor, _PIECE)
        except BlockingIOError:  # whoever shares it with us made it so
            select.select([descriptor], [], [])
        except ConnectionResetError:  # a host that was killed
            return b""


def _put(descriptor: int, line: bytes) -> None:
    rest = memoryview(line)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


async def _aside(work: Callable[[], T]) -> T:
    """Do it in a thread. One that is blocked is left behind when this is cancelled, and the process can end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def finish(result: T | None, error: BaseException | None) -> None:
        if not done.done():
            done.set_exception(error) if error is not None else done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        try:
            told = partial(finish, work(), None)
        except BaseException as error:  # noqa: BLE001 - is raised over there
            told = partial(finish, None, error)
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(told)

    threading.Thread(target=run, name="mcp:stdio", daemon=True).start()
    return await done
