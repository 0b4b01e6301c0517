"""An endpoint without a follower, to ask a node by; and a provider that stands before a node and gives less than it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
from aiohttp import web

from chainwatch.chain.evm.block import Block
from chainwatch.chain.evm.endpoint import Endpoint
from chainwatch.chain.evm.fetch import Needs, Setback, block_by_hash, header_at
from chainwatch.chain.evm.http import HttpEndpoint
from chainwatch.chain.evm.profile import Profile
from chainwatch.chain.evm.websocket import WebSocketEndpoint

EVERYTHING = Needs(logs=True, transaction=lambda _: True)


@contextlib.asynccontextmanager
async def connected(url: str, *, chain_id: int = 31337, profile: Profile | None = None) -> AsyncIterator[Endpoint]:
    """An endpoint that is ready."""
    woken = asyncio.Event()
    kind = WebSocketEndpoint if url.startswith("ws") else HttpEndpoint
    endpoint = kind(
        url,
        chain="test",
        chain_id=chain_id,
        profile=profile or Profile(development=True),
        timeout=10,
        changed=woken.set,
    )
    task = asyncio.create_task(endpoint.run(), name="endpoint")
    try:
        async with asyncio.timeout(20):
            while not endpoint.ready:
                woken.clear()
                await woken.wait()
        yield endpoint
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def block_at(endpoint: Endpoint, number: int | str = "latest") -> Block:
    """The node's block, whole."""
    header = await header_at(endpoint, number)
    assert header is not None
    try:
        return await block_by_hash(endpoint, header, EVERYTHING)
    except Setback:  # it has no receipts of whole blocks, as is known from now on
        return await block_by_hash(endpoint, header, EVERYTHING)


class Poor:
    """
    A provider before a node: `tamper(method, params)` gives what is answered instead (`{"error": …}` or
    `{"result": …}`), or None where the node may answer. `asked` has every request.
    """

    def __init__(self, node: str, tamper: Callable[[str, list[Any]], dict[str, Any] | None]) -> None:
        self.node = node
        self.tamper = tamper
        self.asked: list[tuple[str, list[Any]]] = []

    def count(self, method: str) -> int:
        return sum(asked == method for asked, _ in self.asked)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Its URL."""
        async with aiohttp.ClientSession() as session:

            async def answer(request: web.Request) -> web.Response:
                body = await request.json()
                if body["method"] != "eth_getBlockByNumber":  # the endpoint's own polls are nobody's doing
                    self.asked.append((body["method"], body["params"]))
                instead = self.tamper(body["method"], body["params"])
                if instead is not None:
                    return web.json_response({"jsonrpc": "2.0", "id": body["id"], **instead})
                async with session.post(self.node, json=body) as told:
                    return web.Response(body=await told.read(), content_type="application/json")

            app = web.Application(client_max_size=64 * 2**20)
            app.router.add_post("/", answer)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            try:
                yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/"
            finally:
                await runner.cleanup()


def refused(message: str, code: int = -32000) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}
