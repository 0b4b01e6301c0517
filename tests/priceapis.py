"""A web server that answers as CoinGecko and CoinMarketCap publish that they do, or as badly as a test wants it to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Self

from aiohttp import web

Answer = web.StreamResponse | None
Conduct = Callable[[web.Request], Awaitable[Answer]]


class PriceApis:
    """`async with` starts it. `prices[id, quote]` are (number as JSON text, Unix seconds); both in lower case."""

    def __init__(self) -> None:
        self.prices: dict[tuple[str, str], tuple[str, int]] = {}
        self.key: str | None = None
        """What clients must send; None: anything."""
        self.seen: list[web.Request] = []
        self.conduct: Conduct | None = None
        """Asked first; where it has no answer, the honest one follows."""
        self._asked = asyncio.Condition()

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._watched])
        app.router.add_get("/api/v3/simple/price", self._coingecko)
        app.router.add_get("/v2/cryptocurrency/quotes/latest", self._coinmarketcap)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.root = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._runner.cleanup()

    async def asked(self, times: int) -> None:
        """Wait until it was asked so often."""
        async with asyncio.timeout(20), self._asked:
            await self._asked.wait_for(lambda: len(self.seen) >= times)

    @web.middleware
    async def _watched(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.seen.append(request)
        try:
            badly = None if self.conduct is None else await self.conduct(request)
            return await handler(request) if badly is None else badly
        finally:
            async with self._asked:
                self._asked.notify_all()

    async def _coingecko(self, request: web.Request) -> web.Response:
        if self.key is not None and request.headers.get("x-cg-demo-api-key") != self.key:
            given = request.headers.get("x-cg-demo-api-key")
            return error(401, {"status": {"error_code": 10010, "error_message": f"Invalid API Key {given}"}})
        coins: dict[str, dict[str, str]] = {}
        for name in request.query["ids"].split(","):
            for quote in request.query["vs_currencies"].split(","):
                if (name, quote) in self.prices:
                    number, at = self.prices[name, quote]
                    coins.setdefault(name, {})[quote] = number
                    coins[name]["last_updated_at"] = str(at)
        # Put together by hand: the numbers are text, so that none of their digits is lost here.
        inner = ",".join(
            f"{json.dumps(name)}:{{{','.join(f'{json.dumps(field)}:{value}' for field, value in coin.items())}}}"
            for name, coin in coins.items()
        )
        return web.Response(text=f"{{{inner}}}", content_type="application/json")

    async def _coinmarketcap(self, request: web.Request) -> web.Response:
        if self.key is not None and request.headers.get("X-CMC_PRO_API_KEY") != self.key:
            return error(401, {"status": {"error_code": 1001, "error_message": "This API Key is invalid."}})
        kind = "id" if "id" in request.query else "slug"
        quote = request.query["convert"]
        assert "," not in quote, "the free plan has one currency a request"
        coins = []
        for name in request.query[kind].split(","):
            if (name, quote.lower()) in self.prices:
                number, at = self.prices[name, quote.lower()]
                when = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
                key = name if kind == "id" else str(5000 + len(coins))
                slug = name if kind == "slug" else f"coin-{name}"
                told = f'{{"{quote}":{{"price":{number},"volume_24h":1.5,"last_updated":"{when}"}}}}'
                coins.append(f'"{key}":{{"id":{key},"slug":"{slug}","last_updated":"{when}","quote":{told}}}')
        status = '{"error_code":0,"error_message":null,"credit_count":1}'
        return web.Response(text=f'{{"status":{status},"data":{{{",".join(coins)}}}}}', content_type="application/json")


def error(status: int, body: Any, **headers: str) -> web.Response:
    return web.json_response(body, status=status, headers=headers)
