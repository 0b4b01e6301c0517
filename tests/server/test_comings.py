"""Clients come and go, in every way there is: what they leave behind is nothing."""

from __future__ import annotations

import asyncio
import gc
import os

import pytest
from server.house import House, block
from server.test_access import key, text

from chainwatch.keys import Keyring

MINE = f"Host: localhost\r\nX-API-Key: {text(key('mine', can='read,send'))}\r\n"
SOCKET = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
SUBSCRIBE = b"\x81\xa1\0\0\0\0" + b'{"op": "subscribe", "id": "mine"}'

KINDS: list[tuple[bytes, bytes]] = [
    (f"GET /health HTTP/1.1\r\n{MINE}\r\n".encode(), b"HTTP/1.1 200"),
    (f"GET /v1/stats HTTP/1.1\r\n{MINE}\r\n".encode(), b"HTTP/1.1 200"),
    (f"GET /v1/stats HTTP/1.1\r\n{MINE}Accept: text/event-stream\r\n\r\n".encode(), b"data: "),
    (f"GET /events HTTP/1.1\r\n{MINE}\r\n".encode(), b"event: connect"),
    (f"GET /events/block?limit=9&since=earliest HTTP/1.1\r\n{MINE}Accept-Encoding: gzip\r\n\r\n".encode(), b"chunked"),
    (f"GET /events?duration=1&heartbeat=0.1 HTTP/1.0\r\n{MINE}\r\n".encode(), b"event: connect"),
    (f"GET /v1/chain/ethereum HTTP/1.1\r\n{MINE}\r\n".encode(), b"event: connect"),
    (f"GET /events/history HTTP/1.1\r\n{MINE}\r\n".encode(), b'"events"'),
    (f"GET /metrics HTTP/1.1\r\n{MINE}\r\n".encode(), b"chainwatch_"),
    (f"GET /ws HTTP/1.1\r\n{MINE}{SOCKET}\r\n".encode(), b"HTTP/1.1 101"),
    (f"GET /ws HTTP/1.1\r\n{MINE}{SOCKET}\r\n".encode() + SUBSCRIBE, b'"op":"connect"'),
    (f"POST /events/deploy HTTP/1.1\r\n{MINE}Content-Length: 2\r\n\r\n{{}}".encode(), b"HTTP/1.1 201"),
    (f"POST /events/deploy HTTP/1.1\r\n{MINE}Content-Length: 9\r\n\r\n{{".encode(), b""),
    (b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 401"),
    (b"GET /events HTTP/1.1\r\nHo", b""),
    (b"NONSENSE\r\n\r\n", b"HTTP/1.0 400"),
    (b"", b""),
]
"""What a client sends, and what it waits for before it goes."""


async def visit(house: House, number: int) -> None:
    """One client: it comes, waits for the beginning of its answer, and goes: cut, in order, or by closing its half."""
    said, awaited = KINDS[number % len(KINDS)]
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(said)
    if awaited:
        async with asyncio.timeout(30):
            await reader.readuntil(awaited)
    match number // len(KINDS) % 3:
        case 0:
            writer.transport.abort()
        case 1:
            writer.close()
        case 2:
            writer.write_eof()
            async with asyncio.timeout(30):
                while await reader.read(65_536):
                    pass
            writer.close()


async def visits(house: House, count: int) -> None:
    for start in range(0, count, 50):
        await asyncio.gather(*(visit(house, number) for number in range(start, min(start + 50, count))))
        await house.tell(block(start))


async def settled(house: House) -> tuple[set[str], int]:
    """Nobody is there; the tasks, by name, and the descriptors."""
    context, server = house.context, house.runner.server
    await house.until(
        lambda: not (server.connections or house.hub.streams or context.followers.open or context.gate.taken),
        seconds=30,
    )
    for held in (context.gate._seats, context.gate._of_address, context.gate._of_key, server._of_address):
        assert not held
    for held in (house.hub._groups, house.hub._index, house.hub.watch, context.sessions._ends, context.turns):
        assert not len(held)
    for _ in range(5):  # transports let go of their sockets a turn later, the test's own too
        await asyncio.sleep(0.01)
    tasks = {task.get_name().rstrip("0123456789") for task in asyncio.all_tasks()}
    return tasks, len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - one number, not paths


def resident() -> int:
    with open("/proc/self/statm") as statm:  # noqa: PTH123 - a file of the kernel
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    "count", [len(KINDS) * 12, pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.timeout(600)])]
)
async def test_who_comes_and_goes_leaves_nothing(serve, count):
    house = await serve(ring=Keyring([key("mine", can="read,send")]), max_connections_per_key=10_000)
    await visits(house, len(KINDS) * 6)
    before = await settled(house)
    objects, memory = _objects(), resident()
    await visits(house, count)
    assert await settled(house) == before
    # Events that were told stay in memory, as many as `log.memory` says; and what is published is remembered.
    grown = _objects() - objects
    assert grown < count // 2 + 500
    print(f"{grown} objects and {resident() - memory} bytes more after {count} visits")
    if count >= 10_000:
        assert resident() - memory < 40 * 2**20


def _objects() -> int:
    gc.collect()
    return len(gc.get_objects())
