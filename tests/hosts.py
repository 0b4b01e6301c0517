"""A host of the Model Context Protocol, for tests: the SDK's own client, in one of the two eras of the protocol."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import mcp
import mcp_types as types
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ResourceUpdated
from mcp.shared._httpx_utils import create_mcp_http_client
from server.house import ALICE

ERAS = ("legacy", "2026-07-28")
"""The handshake with its sessions, and the stateless era."""

WALLETS = [
    {
        "chain": chain,
        "address": ALICE,
        "name": "treasury",
        "state": "watching",
        "block_number": 7,
        "block_hash": "0x" + "77" * 32,
        "balances": [{"token": "ETH", "token_address": None, "decimals": 18, "balance": str(2**256 - 1)}],
    }
    for chain in ("ethereum", "base")
]
"""A watched wallet on two chains, as the daemon has it."""

Progress = Callable[[float, float | None, str | None], Awaitable[None]]


class Host:
    """One connected client."""

    def __init__(self, client: mcp.Client, era: str, updated: asyncio.Queue[str]) -> None:
        self.client = client
        self.era = era
        self.updated = updated
        """Addresses of resources that it was told of."""

    async def result(self, tool: str, *, progress: Progress | None = None, **arguments: Any) -> types.CallToolResult:
        """Call a tool. The SDK checks what comes against the tool's output schema."""
        return await self.client.call_tool(tool, arguments, progress_callback=progress)

    async def call(self, tool: str, *, progress: Progress | None = None, **arguments: Any) -> dict[str, Any]:
        """What the tool gives, which is the same as structure and as text."""
        found = await self.result(tool, progress=progress, **arguments)
        (text,) = [part.text for part in found.content]
        assert not found.is_error, text
        assert json.loads(text) == found.structured_content
        return found.structured_content

    async def refused(self, tool: str, **arguments: Any) -> str:
        """What the tool says is wrong with this call."""
        found = await self.result(tool, **arguments)
        assert found.is_error, found.structured_content
        (text,) = [part.text for part in found.content]
        return text

    async def read(self, uri: str) -> dict[str, Any]:
        """A resource, as it is now."""
        (found,) = (await self.client.read_resource(uri, cache_mode="bypass")).contents
        assert (found.uri, found.mime_type) == (uri, "application/json")
        return json.loads(found.text)

    @asynccontextmanager
    async def watching(self, *uris: str) -> AsyncIterator[list[str]]:
        """While inside, what changes of these resources is told to `updated`; those that the daemon tells of."""
        if self.era == "legacy":
            for uri in uris:
                await self.client.session.subscribe_resource(uri)
            yield list(uris)
            for uri in uris:
                await self.client.session.unsubscribe_resource(uri)
            return
        async with self.client.listen(resource_subscriptions=uris) as subscription:

            async def hear() -> None:
                async for event in subscription:
                    assert isinstance(event, ResourceUpdated)
                    await self.updated.put(event.uri)

            hearing = asyncio.create_task(hear())
            yield list(subscription.honored.resource_subscriptions or ())
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)


@asynccontextmanager
async def connected(url: str, era: str, key: str = "") -> AsyncIterator[Host]:
    """A host at the daemon with this address, with the key."""
    updated: asyncio.Queue[str] = asyncio.Queue()

    async def hear(message: object) -> None:
        if era == "legacy" and isinstance(message, types.ResourceUpdatedNotification):
            await updated.put(str(message.params.uri))

    headers = {"X-API-Key": key} if key else {}
    async with create_mcp_http_client(headers) as http:
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        async with mcp.Client(transport, mode=era, message_handler=hear) as client:
            yield Host(client, era, updated)


async def drained(host: Host, subscription: str, cursor: str, **arguments: Any) -> tuple[list[int], str]:
    """What a subscription gives from a cursor on until nothing is left, call after call."""
    found: list[int] = []
    while True:
        page = await host.call(
            "wait_for_event", subscription_id=subscription, cursor=cursor, **{"timeout_s": 0} | arguments
        )
        found += numbers(page)
        cursor = page["cursor"]
        if page["timed_out"]:
            return found, cursor


def numbers(page: dict[str, Any]) -> list[int]:
    """`data.number` of the events of an answer."""
    return [event["data"]["number"] for event in page["events"]]


def place(cursor: str) -> int:
    """The sequence in a cursor."""
    found = re.fullmatch(r"[A-Za-z0-9_]+-([0-9]+)", cursor)
    assert found, cursor
    return int(found[1])
