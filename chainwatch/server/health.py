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
    principal = context.sessions.access.recognise(request.headers, request.query.items())
    everything = [*context.chains(), *context.sources()]
    waiting = [vitals["name"] for vitals in everything if not vitals["ready"]]
    status = "stopping" if context.hub.closing else "waiting" if waiting else "ok"
    body: dict[str, Any] = {"status": status}
    if principal is not None:  # what is watched here is nobody else's business; a balancer needs the status alone
        chains = [_standing(vitals) for vitals in context.chains() if principal.sees_chain(vitals["name"])]
        sources = [_standing(vitals) for vitals in context.sources() if principal.sees_chain(vitals.get("chain"))]
        not_ready = [one["name"] for one in (*chains, *sources) if not one["ready"]]
        body |= {"not_ready": not_ready, "chains": chains, "sources": sources}
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
