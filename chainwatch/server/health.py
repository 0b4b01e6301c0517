"""`GET /health/live`, `/health/ready`, `/health`: for supervisors and balancers."""

from __future__ import annotations

import msgspec
from aiohttp import web

from chainwatch.server.context import CONTEXT


async def live(_: web.Request) -> web.Response:
    """The process answers."""
    return _json({"status": "ok"}, 200)


async def ready(request: web.Request) -> web.Response:
    """Every source gives events; else 503, and which one does not, and why."""
    context = request.app[CONTEXT]
    chains = [
        {"name": chain.get("name"), "ready": bool(chain.get("ready")), "state": chain.get("state")}
        | ({} if chain.get("ready") else {"reason": chain.get("reason")})
        for chain in context.chains()
    ]
    waiting = [chain["name"] for chain in chains if not chain["ready"]]
    if context.hub.closing:
        return _json({"status": "stopping", "not_ready": waiting, "chains": chains}, 503)
    status = "waiting" if waiting else "ok"
    return _json({"status": status, "not_ready": waiting, "chains": chains}, 503 if waiting else 200)


def _json(body: object, status: int) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
