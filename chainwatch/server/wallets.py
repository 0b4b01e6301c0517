"""`GET /v1/wallets`: the watched wallets and what they hold, as events told it last."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from aiohttp import web

from chainwatch.server import posted
from chainwatch.server.asking import PRINCIPAL
from chainwatch.server.context import CONTEXT, Context
from chainwatch.server.principal import Principal

_TELLING: Final = frozenset({"balance_changed", "wallet_status"})


async def wallets(request: web.Request) -> web.Response:
    """`{"wallets": […]}`, see `Context.wallets`."""
    posted.nothing_asked(request)
    body = msgspec.json.encode({"wallets": seen(request.app[CONTEXT], request[PRINCIPAL])})
    return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-store"})


def seen(context: Context, principal: Principal) -> list[dict[str, Any]]:
    """Those that they may see: balances are what `balance_changed` and `wallet_status` tell."""
    types = principal.types(context.vocabulary())
    if types and not types >= _TELLING:
        return []
    allowed = {address.lower() for address in principal.key.addresses} if principal.key is not None else set()
    return [
        wallet
        for wallet in context.wallets()
        if principal.sees_chain(wallet["chain"]) and (not allowed or wallet["address"].lower() in allowed)
    ]
