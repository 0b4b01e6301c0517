"""The request to a source of prices. What comes back is bounded in time and size, and errors hold no secret."""

from __future__ import annotations

import os
from typing import Final, NamedTuple, Self

import aiohttp

from chainwatch import __version__
from chainwatch.price.quote import Request, Unusable

TIMEOUT: Final = 10.0
"""Seconds for the whole of a request."""
MAX_BODY: Final = 1024 * 1024
"""Bytes of an answer."""


class Reply(NamedTuple):
    status: int
    body: bytes
    retry_after: str | None


class Fetcher:
    """Asks sources. `async with` opens and closes its connections."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            headers={
                "User-Agent": f"chainwatch/{__version__}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
            # Few kilobytes need no compression, and nobody can send us a bomb.
            auto_decompress=False,
            # What one answer sets must not identify the next request.
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._session.close()

    async def get(self, request: Request) -> Reply:
        """The answer, whatever its status. `Unusable` where there is none."""
        try:
            # A redirection would carry the key's header to whoever is named there.
            async with self._session.get(
                request.url, params=request.query, headers=request.headers, allow_redirects=False
            ) as answer:
                if 300 <= answer.status < 400:
                    raise Unusable(f"it sends us to another address (HTTP {answer.status})")
                return Reply(answer.status, await _body(answer), answer.headers.get("Retry-After"))
        except TimeoutError:
            raise Unusable(f"no answer within {self._timeout:g} s") from None
        except aiohttp.ClientConnectorError as error:
            raise Unusable(f"no connection: {_why(error.os_error)}") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Its text may hold the URL: the kind of error has to do.
            raise Unusable(f"the connection broke: {type(error).__name__}") from None


def _why(error: OSError) -> str:
    """Names of hosts that cannot be looked up have negative numbers, and words of their own."""
    number = error.errno or 0
    return os.strerror(number) if number > 0 else error.strerror or type(error).__name__


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in answer.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > MAX_BODY:
            raise Unusable(f"its answer is longer than {MAX_BODY // 1024} KiB")
    return b"".join(parts)
