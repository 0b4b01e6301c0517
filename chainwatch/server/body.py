"""The body of a request: read whole before its handler runs, within a size and a time, of those who may send one."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web
from aiohttp.http import HttpVersion11

from chainwatch.server.problem import Problem

MOST: Final = 65_536
"""Bytes, after decompression."""
SECONDS: Final = 15.0
"""From the head to the end of the body."""


async def receive(request: web.Request) -> None:
    """
    Read it; `request.read()` has it at once then. `Problem` 400 where it is broken, 408 where it comes too slowly, 413
    where it is too large, 417 where the client expects what is not known (RFC 9110, section 10.1.1).
    """
    expected = request.headers.get("Expect", "") if request.version >= HttpVersion11 else ""
    if expected and expected.lower() != "100-continue":
        raise Problem(417, "nothing but 100-continue can be expected here", close=True)
    if not request.body_exists:
        return
    if (request.content_length or 0) > MOST:
        raise _too_large()
    try:
        if expected:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # the answer has not begun
        async with asyncio.timeout(SECONDS):
            await request.read()
    except TimeoutError:
        raise Problem(408, f"the body did not come within {SECONDS:g} seconds", close=True) from None
    except web.HTTPRequestEntityTooLarge:
        raise _too_large() from None
    except web.RequestPayloadError:
        raise Problem(400, "the body cannot be read: its chunks or its compression are broken", close=True) from None


def _too_large() -> Problem:
    return Problem(413, f"a body has at most {MOST} bytes here", close=True)


async def later(_: web.Request) -> None:
    """For aiohttp, which would ask for the body at once: `receive` does it, when it is known who sends it."""
