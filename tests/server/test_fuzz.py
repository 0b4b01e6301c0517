"""
Whatever a client sends: an answer that is well formed, never a 500, never a hang, and nothing that is left behind.

The requests are made of `app.ROUTES`, so a new route is fuzzed when it is there. Each connection closes its half behind
what it says, so whatever it is answered comes to an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop
from backports import zstd
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy
from server import fuzzing, house as houses
from server.fuzzing import Said
from server.house import House, block, transfer
from server.test_access import key, text

from chainwatch.keys import Keyring

pytestmark = pytest.mark.long

STATUSES = {
    100,
    101,
    200,
    201,
    202,
    204,
    304,
    400,
    401,
    403,
    404,
    405,
    406,
    408,
    409,
    410,
    413,
    414,
    415,
    417,
    422,
    426,
    428,
    429,
    431,
    503,
    505,
}
_STATUS = re.compile(rb"HTTP/[0-9]\.[0-9] ([0-9]{3}) [ -~]+")
_HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+: ?[\t -~\x80-\xff]*")
DECODED = {b"identity": bytes, b"gzip": gzip.decompress, b"zstd": zstd.decompress}
LONGEST = 20.0
"""Seconds after which a connection hangs. The longest rule of the server is 15 s, and none should come to that."""


class Running:
    """A server on a loop in a thread of its own, and everything that it logs as an error."""

    def __init__(self, folder: Path, new_loop: Callable[[], asyncio.AbstractEventLoop], ring: Keyring | None) -> None:
        self.errors: list[dict[str, Any]] = []
        self.broken = ""  # what was left behind once stays, so all that comes later would fail for it too
        structlog.configure(processors=[self._note], cache_logger_on_first_use=False)
        self.loop = new_loop()
        self.loop.set_exception_handler(lambda _, about: self.errors.append(dict(about)))
        self._thread = threading.Thread(target=self.loop.run_forever, name="server", daemon=True)
        self._thread.start()
        self.house: House = self.run(self._start(folder, ring))
        self.tasks = self.run(self._tasks())

    def _note(self, _logger: object, method: str, event: dict[str, Any]) -> dict[str, Any]:
        if method in ("error", "critical", "exception"):
            self.errors.append(event)
        raise structlog.DropEvent

    async def _start(self, folder: Path, ring: Keyring | None) -> House:
        house = await houses.serve(folder / "events.db", ring=ring, max_connections_per_key=10_000)
        for number in range(60):
            await house.tell(transfer(number), block(number), block(number, chain="base"))
        return house

    async def _tasks(self) -> set[str]:
        return {task.get_name() for task in asyncio.all_tasks() if not task.get_name().startswith("Task-")}

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def settled(self, said: Said | None = None) -> None:
        """Nothing of any client is left, and no error was logged."""
        assert not self.broken, self.broken
        if left := self.run(self._left()):
            self.broken = f"left behind: {left}, by {said}"
        errors, self.errors = self.errors, []
        assert not errors, errors
        assert not self.broken, self.broken

    async def _left(self) -> dict[str, Any]:
        context, server = self.house.context, self.house.runner.server
        until = self.loop.time() + LONGEST
        while True:
            left = {
                "seats": context.gate.taken or context.gate._seats or context.gate._of_address or context.gate._of_key,
                "streams": context.hub.streams,
                "followers": context.followers.open,
                "connections": server.connections,
                "counted": server._of_address,
                "sessions": context.sessions._ends,
            }
            found = {name: str(thing) for name, thing in left.items() if thing}
            if not found or self.loop.time() > until:
                return found
            await asyncio.sleep(0.001)

    def works(self) -> None:
        """It answers, and has as many tasks as at its beginning."""
        self.settled()
        with socket.create_connection(("127.0.0.1", self.house.port)) as sock:
            sock.sendall(b"GET /health/live HTTP/1.0\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.0 200")
        self.settled()
        assert self.run(self._tasks()) <= self.tasks | {"agents:leaving", "mcp"}

    def stop(self) -> None:
        self.run(self.house.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        structlog.reset_defaults()


@pytest.fixture(params=["open", "keys"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    yield from _running(tmp_path, uvloop.new_event_loop, keys=request.param == "keys")


def _running(folder: Path, new_loop: Callable[[], asyncio.AbstractEventLoop], *, keys: bool) -> Iterator[Running]:
    mine = [key("reader"), key("sender", can="send"), key("both", can="read,send"), key("admin", can="admin")]
    mine += [key("base", can="read,send", chains=("base",)), key("blocks", types=("block",))]
    started = Running(folder, new_loop, Keyring(mine) if keys else None)
    fuzzing.KEYS[:] = [text(one) for one in mine] if keys else []
    fuzzing.CURSORS[:] = [f"{started.house.log.identity}-{number}" for number in (0, 1, 90, 180, 999)]
    try:
        yield started
        started.works()
    finally:
        started.stop()


# --- what comes back --------------------------------------------------------------------------------------------------


def exchange(running: Running, said: Said) -> bytes:
    """Everything that is answered, up to the end of the connection."""
    got = b""
    with socket.create_connection(("127.0.0.1", running.house.port), timeout=LONGEST) as sock:
        try:
            sock.sendall(said.data)
            if said.waits:
                sock.settimeout(0.02)
                with contextlib.suppress(TimeoutError):
                    got = sock.recv(65_536)
                sock.settimeout(LONGEST)
            sock.shutdown(socket.SHUT_WR)
            while data := sock.recv(65_536):
                got += data
        except TimeoutError:
            pytest.fail("it hangs")
        except ConnectionError:
            pass
    return got


def check(got: bytes) -> None:
    """Answers, one behind the other, each well formed; the last one may be cut, since the client left."""
    while got:
        head, ended, got = got.partition(b"\r\n\r\n")
        assert ended, head
        first, *lines = head.split(b"\r\n")
        found = _STATUS.fullmatch(first)
        assert found, first
        status = int(found[1])
        assert status in STATUSES, head
        for line in lines:
            assert _HEADER.fullmatch(line), line
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        assert len(headers) == len(lines), "a header twice"
        if status == 101:
            _check_frames(got)
            return
        if status < 200:
            continue
        got = _check_body(status, headers, got)


def _check_body(status: int, headers: dict[bytes, bytes], got: bytes) -> bytes:
    """What stands behind it."""
    kind = headers.get(b"content-type", b"")
    agents = status >= 400 and kind == b"application/json"  # an error of JSON-RPC, which /mcp speaks
    if status >= 400 and not agents:
        assert kind == b"application/problem+json"
    if headers.get(b"transfer-encoding") == b"chunked":
        assert kind.startswith(b"text/event-stream")
        while got:
            size, _, got = got.partition(b"\r\n")
            assert re.fullmatch(rb"[0-9a-fA-F]+", size)
            count = int(size, 16)
            assert got[count : count + 2] in (b"\r\n", b"\r", b"")
            got = got[count + 2 :]
            if count == 0:
                break
        assert not got  # a stream is the last thing on its connection
        return b""
    if b"content-length" not in headers:
        return b"" if status not in (204, 304) else got
    size = int(headers[b"content-length"])
    if got.startswith(b"HTTP/") or not got:  # HEAD
        return got
    body, got = got[:size], got[size:]
    assert len(body) == size
    body = DECODED[headers.get(b"content-encoding", b"identity")](body)
    if agents:
        assert json.loads(body)["error"]["message"]
    elif status >= 400:
        told = json.loads(body)
        assert told["status"] == status
        assert told["detail"]
        assert "Traceback" not in told["detail"]
    elif kind == b"application/json":
        json.loads(body)
    return got


def _check_frames(got: bytes) -> None:
    """Frames of a server (RFC 6455, section 5): whole, not masked, text that is JSON; the last one may be cut."""
    closed = False
    while got:
        assert not closed
        first, size = got[0], got[1] if len(got) > 1 else 0
        assert first & 0x70 == 0
        assert first & 0x80
        assert not size & 0x80
        start = 2
        if size == 126:
            size, start = int.from_bytes(got[2:4]), 4
        elif size == 127:
            size, start = int.from_bytes(got[2:10]), 10
        payload, got = got[start : start + size], got[start + size :]
        if len(payload) < size:
            return
        opcode = first & 0x0F
        assert opcode in (1, 8, 9, 10)
        if opcode == 1:
            told = json.loads(payload)
            assert told["op"] in (
                "event",
                "connect",
                "gap",
                "complete",
                "heartbeat",
                "sent",
                "pong",
                "error",
                "unsubscribed",
                "acked",
                "ack",
            ), told
            assert told.get("status") != 500
        elif opcode == 8:
            closed = True
            assert not payload or int.from_bytes(payload[:2]) in (1000, 1001, 1002, 1003, 1007, 1008, 1009), payload


QUICK = settings(
    max_examples=120,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@QUICK
@given(said=fuzzing.HTTP)
def test_requests(running: Running, said: Said):
    check(exchange(running, said))
    running.settled(said)


@QUICK
@given(said=fuzzing.sockets())
def test_websockets(running: Running, said: Said):
    check(exchange(running, said))
    running.settled(said)


def rounds(running: Running, strategy: SearchStrategy[Said], seconds: float) -> Iterator[int]:
    """Runs for so long, a seed after the other."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        number = random.randrange(2**32)
        yield number

        @seed(number)
        @settings(QUICK, max_examples=100)
        @given(said=strategy)
        def examples(said: Said) -> None:
            check(exchange(running, said))
            running.settled(said)

        examples()


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("keys", [False, True], ids=["open", "keys"])
@pytest.mark.parametrize("kind", ["http", "ws"])
def test_for_minutes(tmp_path: Path, loop: str, keys: bool, kind: str):
    """Each round has a seed of its own, which is printed."""
    made = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[loop]
    strategy = fuzzing.HTTP if kind == "http" else fuzzing.sockets()
    for running in _running(tmp_path, made, keys=keys):
        for number in rounds(running, strategy, seconds=60):
            print(f"{kind}, {loop}, {'keys' if keys else 'open'}: seed {number}", flush=True)
