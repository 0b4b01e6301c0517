"""
A real JSON-RPC node over a simulated chain: WebSocket and HTTP POST on one port of the loopback.

Several nodes can serve the same world; each tells its own subscribers of every change, as its conduct has it.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

from aiohttp import WSMsgType, web

from chainwatch.chain.simulated import answers, rpc
from chainwatch.chain.simulated.answers import Limits, Params, RpcError
from chainwatch.chain.simulated.conduct import Hang, Honest, Refusal, Request
from chainwatch.chain.simulated.connection import PONG, Connection
from chainwatch.chain.simulated.world import Change, World

_JSON: Final = "application/json"


class SimulatedNode:
    """
    `async with SimulatedNode(world) as node`: listens, and tells its address by `url` and `http_url`.

    `port` 0 means any that is free; it stays the same over `refuse` and `listen`. `limits` are those of
    `eth_getLogs`.
    """

    def __init__(
        self,
        world: World,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        conduct: Honest | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.world = world
        self.host = host
        self.port = port
        self.conduct = Honest() if conduct is None else conduct
        self.limits = Limits() if limits is None else limits
        self.connections: set[Connection] = set()
        """The WebSockets that are open."""
        self._connected = 0
        self._http: web.Server | None = None
        self._listener: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"ws://{self.host}:{self.port}"

    @property
    def http_url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def chain_id(self) -> int:
        return self.world.chain_id

    async def __aenter__(self) -> Self:
        self._http = web.Server(self._serve, handler_cancellation=True, access_log=None)
        await self.listen()
        self._unfollow = self.world.follow(self._changed)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unfollow()
        self.refuse()
        for connection in self.connections:
            connection.close(1001)
        if self.connections:
            # Before aiohttp shuts down: from then on it reads nothing, and would not see that a client said good-bye.
            await asyncio.wait([connection.gone for connection in self.connections], timeout=0.2)
        if self._http is not None:
            await self._http.shutdown(0.05)

    async def listen(self) -> None:
        """Take connections again."""
        if self._listener is not None or self._http is None:
            return
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._http, self.host, self.port, backlog=1024)
        self.port = self._listener.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Refuse new connections; those that are open stay."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def mine(self, count: int = 1) -> Change:
        """So many blocks, told to all subscribers of all nodes of this world."""
        return self.world.mine(count)

    def dispatch(self, method: str, params: Params, connection: Connection | None) -> rpc.Reply:
        """The reply to one call, as the conduct has it."""
        request = Request(method, params, connection)
        view = self.conduct.view(request, self.world.view())
        reply: bytes | RpcError
        try:
            if method in ("eth_subscribe", "eth_unsubscribe"):
                if connection is None:
                    raise RpcError(-32601, "notifications not supported")  # noqa: TRY301 - errors are values below
                subscribe = connection.subscribe if method == "eth_subscribe" else connection.unsubscribe
                reply = subscribe(params)
            else:
                reply = answers.answer(view, self.limits, method, params)
        except RpcError as error:
            reply = error
        return self.conduct.answer(request, view, reply)

    def _changed(self, change: Change) -> None:
        for noticed in self.conduct.observe(change):
            for connection in tuple(self.connections):
                connection.tell(noticed)

    # --- HTTP ---------------------------------------------------------------------------------------------------

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        websocket = web.WebSocketResponse(autoping=False, autoclose=False, compress=False, decode_text=False)
        upgrade = websocket.can_prepare(request).ok
        refusal = self.conduct.admit(websocket=upgrade)
        if isinstance(refusal, Refusal):
            return web.Response(status=refusal.status, headers=refusal.headers, body=refusal.body)
        if isinstance(refusal, Hang):
            await _for_ever()
        if upgrade:
            return await self._talk(websocket, request)
        if request.method != "POST":
            return web.Response(status=405, headers={"Allow": "POST"})
        response = rpc.respond(await request.read(), lambda method, params: self.dispatch(method, params, None))
        if response.delay:
            await asyncio.sleep(response.delay)
        if response.withheld:
            await _for_ever()
        return web.Response(body=response.payload, content_type=_JSON)

    async def _talk(self, websocket: web.WebSocketResponse[bool], request: web.BaseRequest) -> web.StreamResponse:
        await websocket.prepare(request)
        transport = request.transport
        if transport is None:  # gone while we shook hands
            return websocket
        self._connected += 1
        connection = Connection(self, transport, self._connected)
        self.connections.add(connection)
        try:
            while True:
                message = await websocket.receive()
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    connection.receive(message.data)
                    await connection.room()
                elif message.type is WSMsgType.PING:
                    if self.conduct.pong(connection):
                        connection.send(PONG, message.data)
                elif message.type is not WSMsgType.PONG:
                    break
            if connection.silent:
                await _for_ever()
        finally:
            self.connections.discard(connection)
            connection.gone.set_result(None)
        return websocket


async def _for_ever() -> None:
    """Say nothing until the client leaves: that cancels us."""
    await asyncio.Event().wait()
