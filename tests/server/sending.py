"""Requests with a body, for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from server.house import Answer, House


async def send(
    house: House, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """Ask with a JSON body, or with these very bytes."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    sent: dict[str, str] = {"Content-Length": str(len(raw))}
    if body is not None:
        sent["Content-Type"] = "application/json"
    sent |= headers or {}
    answer = await house.ask(path, {name: text for name, text in sent.items() if text}, method=method, after=raw)
    if method != "GET" and answer.status == 204:
        answer.close()
    return answer


async def post(house: House, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
    return await send(house, "POST", path, body, headers)


async def made(house: House, name: str, words: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Any:
    """A durable stream; what the daemon says of it."""
    answer = await send(house, "PUT", f"/agents/{name}", dict(words), headers)
    told = await answer.json()
    assert answer.status in (200, 201), told
    return told


async def acked(house: House, name: str, cursor: str, headers: Mapping[str, str] | None = None) -> Any:
    answer = await post(house, f"/agents/{name}/ack", {"cursor": cursor}, headers)
    told = await answer.json()
    assert answer.status == 200, told
    return told
