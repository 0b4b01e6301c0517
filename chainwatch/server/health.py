"""`GET /health/live`, `/health/ready`, `/health`: for supervisors and balancers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from chainwatch.server.context import CONTEXT


async def live(_: web.Request) -> web.Response:
    """The process answers."""
    return _json({"status": "ok"}, 200)


async def ready(request: web.Request) -> web.Response:
    """Every source gives events; else 503, and which one does not, and why."""
    context = request.app[CONTEXT]
    chains = [_standing(vitals) for vitals in context.chains()]
    sources = [_standing(vitals) for vitals in context.sources()]
    waiting = [one["name"] for one in (*chains, *sources) if not one["ready"]]
    status = "stopping" if context.hub.closing else "waiting" if waiting else "ok"
    body = {"status": status, "not_ready": waiting, "chains": chains, "sources": sources}
    return _json(body, 200 if status == "ok" else 503)


def _standing(vitals: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of a chain, or of a source of prices."""
    ready = bool(vitals.get("ready"))
    shown = {"name": vitals.get("name"), "ready": ready, "state": vitals.get("state")}
    return shown if ready else {**shown, "reason": vitals.get("reason")}


def _json(body: object, status: int) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
