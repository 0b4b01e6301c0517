"""`GET /schema.json`, `GET /asyncapi.json`: the contract for machines, made from the catalogue once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
from aiohttp import ETag, web

from chainwatch import asyncapi, schema as schemas


async def schema(request: web.Request) -> web.Response:
    """The JSON Schema of every event."""
    return _answer(request, schemas.document, "application/schema+json")


async def streams(request: web.Request) -> web.Response:
    """The AsyncAPI document."""
    return _answer(request, asyncapi.document, "application/json")


@cache
def _made(document: Callable[[], dict[str, Any]]) -> tuple[bytes, str]:
    body = msgspec.json.encode(document())
    return body, hashlib.blake2b(body, digest_size=12).hexdigest()


def _answer(request: web.Request, document: Callable[[], dict[str, Any]], media_type: str) -> web.Response:
    """The document, or 304 where the client has it. It changes with a release, so it is asked for each time."""
    body, tag = _made(document)
    known = {given.value for given in request.if_none_match or ()}
    same = not known.isdisjoint({tag, "*"})
    response = web.Response(status=304) if same else web.Response(body=body, content_type=media_type)
    response.etag = ETag(tag)
    response.headers["Cache-Control"] = "no-cache"
    return response
