"""A server on a real socket that does, connection by connection, what a test has written down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Self

from aiohttp import web

from chainwatch import sse

Step = Callable[[web.Request], Awaitable[web.StreamResponse]]

LOG = "log1"


def an_event(number: int, type_: str = "token_transfer", **data: object) -> dict:
    about = {"amount": str(number), "token": "USDC", "decimals": 6, "log_index": number} | data
    return {
        "id": f"evt_{number:026d}",
        "type": type_,
        "timestamp": "2025-06-24T07:00:00.000Z",
        "observed_at": "2025-06-24T07:00:01.312Z",
        "chain": "ethereum",
        "data": about,
    }


def line(number: int, **data: object) -> bytes:
    return json.dumps(an_event(number, **data), separators=(",", ":")).encode()


def frame(number: int, **data: object) -> bytes:
    return sse.frame(f"{LOG}-{number}", line(number, **data))


def frames(first: int, last: int) -> bytes:
    return b"".join(frame(number) for number in range(first, last + 1))


def connect(number: int) -> bytes:
    return sse.connect(f"{LOG}-{number}", b'{"stream":"str_1","cursor":"x","filters":{},"replay_from":null}')


def gap(resumed_at: int, reason: str = "expired") -> bytes:
    about = {"requested": "log1-1", "oldest": "log1-8", "resumed_at": f"log1-{resumed_at}", "reason": reason}
    return sse.gap(f"{LOG}-{resumed_at}", json.dumps(about).encode())


def problem(status: int, headers: dict[str, str] | None = None, **members: str) -> Step:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(
            {"type": "about:blank", "status": status} | members,
            status=status,
            headers=headers,
            content_type="application/problem+json",
        )

    return answer


class SseServer:
    """
    Each connection to a stream takes the next step of `script`; the last one stays. `requests` are those that came,
    `asked` is released once for each.
    """

    def __init__(self, *script: Step, port: int = 0) -> None:
        self.script = list(script)
        self.requests: list[web.Request] = []
        self.asked = asyncio.Semaphore(0)
        self.history: Step = problem(404)
        self._port = port
        self._over = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def said(self, *parts: bytes, then: str = "hold", **headers: str) -> Step:
        """A stream of these bytes; then it is held open, `cut` in the middle of its body, or its body `end`s."""

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"} | headers)
            await response.prepare(request)
            for part in parts:
                await response.write(part)
            if then == "hold":
                await self._over.wait()
            elif then == "cut":
                request.transport.abort()
            return response

        return answer

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/events/stream", self._stream)
        app.router.add_get("/events/history", self._history)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        await self._runner.cleanup()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.asked.release()
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return await step(request)

    async def _history(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.asked.release()
        return await self.history(request)
