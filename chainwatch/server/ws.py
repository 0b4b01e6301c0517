"""`GET /ws`: a request becomes a WebSocket, which subscribes, publishes, and is told."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import Final

from aiohttp import web
from aiohttp.http import HttpVersion11
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from chainwatch.errors import UsageError
from chainwatch.server import asking
from chainwatch.server.asking import PRINCIPAL
from chainwatch.server.connection import LARGEST, Connection
from chainwatch.server.context import CONTEXT
from chainwatch.server.limits import Full
from chainwatch.server.problem import Problem
from chainwatch.server.sockets import SOCKETS
from chainwatch.server.streams import enter, turned_away
from chainwatch.server.takeover import take

_quiet: Final = logging.getLogger("chainwatch.websockets")
_quiet.setLevel(logging.WARNING)  # of each connection that ends; the access log has a line with more in it


async def websocket(request: web.Request) -> web.StreamResponse:
    """The handshake; everything else is said in messages."""
    context, sockets, principal = request.app[CONTEXT], request.app[SOCKETS], request[PRINCIPAL]
    for name, value in asking.query(request):
        hint = 'a WebSocket is asked in its messages, such as {"op": "subscribe", "id": "mine", "filters": "block"}'
        raise UsageError(f"unknown parameter {name!r}", parameter=name, value=value, hint=hint)
    response = web.StreamResponse(status=101, headers=_accept(request))
    seat = enter(request)
    if isinstance(seat, Full):
        raise turned_away(seat)
    with ExitStack() as stack:
        stack.callback(seat.leave)
        await response.prepare(request)
        # From here on nothing is waited for: the handler returns, and aiohttp is done with this connection.
        early = _Early()
        request.protocol.set_parser(early)  # type: ignore[arg-type] # it gets what is behind the request
        protocol = ServerProtocol(state=State.OPEN, max_size=LARGEST, logger=_quiet)
        peer, address = asking.peer(request), asking.address(request)
        connection = Connection(sockets, protocol, principal, peer=peer, address=address)
        if take(request, connection) is not None:
            stack.enter_context(context.sessions.open(principal, connection.revoked))
            connection.open(stack.pop_all(), early.data)
            if context.hub.closing:  # it was let in just before
                connection.finish("shutdown")
            elif not context.sessions.access.holds(principal):
                connection.finish("revoked")
    return response


def _accept(request: web.Request) -> dict[str, str]:
    """The headers of the answer; `Problem` 400 or 426 where the request is no handshake (RFC 6455, section 4.2.1)."""
    if request.version < HttpVersion11:
        raise Problem(426, "a WebSocket begins with HTTP/1.1", headers={"Upgrade": "websocket"})
    protocol = ServerProtocol(logger=_quiet)
    answer = protocol.accept(Request(request.path, Headers(list(request.headers.items()))))
    if answer.status_code == 101:
        return {name: answer.headers[name] for name in ("Upgrade", "Connection", "Sec-WebSocket-Accept")}
    if answer.status_code == 426:
        raise Problem(
            426,
            "this is a WebSocket; the request does not ask for one",
            headers={"Upgrade": "websocket", "Connection": "Upgrade"},
            more={"hint": "GET /events/stream gives the same events by Server-Sent Events"},
        )
    raise Problem(400, f"this is no WebSocket handshake: {protocol.handshake_exc}")


class _Early:
    """Takes what a client sent behind its request, before it had the answer."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """The connection went over to us."""
