"""
The request to a receiver, and nothing more than that: bounded in time and bytes, to an address that was looked at.

The name is looked up here, once for each request, and the connection goes to the very address that was checked: a
second look-up by the HTTP client could find another one (DNS rebinding). SNI, the certificate and `Host` are the
name's. Redirections are answers like any other: nobody is followed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import random
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from chainwatch import __version__
from chainwatch.config import target as targets
from chainwatch.config.target import Target
from chainwatch.webhooks.delivery import Fault, Reply, of_status, retry_after
from chainwatch.webhooks.room import Room

TIMEOUT: Final = 10.0
"""Seconds for the look-up, the connection, and the head of the answer, together."""
_REST: Final = 1.0
"""Seconds for the body of an answer, which counts for nothing but a challenge: to use the connection again."""
_BODY: Final = 16 * 1024
"""Bytes of it."""
_HEARD: Final = 256 * 1024
"""Bytes of all that comes by a connection from one request to the next; the rest is not heard."""
_KEPT: Final = 4.0
"""Seconds that a connection is kept: less than most servers keep theirs, so that none is used that they are closing."""
_LOOKUPS: Final = 16
"""At once. A name whose servers do not answer takes a thread for half a minute, longer than anybody waits for it;"""
_THEIRS: Final = 4
"""so whoever names many of those has no more threads than this, and the others have theirs (see `Room`)."""

Lookup = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host, for a port; `OSError` where it has none."""


class Trust(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the operator allows one webhook beyond what any may."""

    private: bool = False
    """Its receiver may be on a network of ours."""
    ca_file: str | None = None
    """Certificates that it is checked against, instead of the system's."""


NOBODY: Final = Trust()


class Caller:
    """Calls receivers. `close` ends its connections."""

    def __init__(self, lookup: Lookup | None = None, timeout: float = TIMEOUT) -> None:
        """To be made on the event loop."""
        self._lookup = lookup or Resolver().addresses
        self._timeout = timeout
        self._lookups = Room(_LOOKUPS, _THEIRS)
        self._looking: dict[tuple[str, str, int], asyncio.Task[list[str]]] = {}  # by owner, name and port
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT)
        bounded: type[ResponseHandler] = _Connection
        connector._factory = partial(bounded, asyncio.get_running_loop())  # noqa: SLF001 - pinned by a test
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None),  # it is ours: the look-up counts
            headers={
                "User-Agent": f"chainwatch/{__version__}",
                "Accept": "*/*",
                "Accept-Encoding": "identity",
                "Content-Type": "application/json",
            },
            auto_decompress=False,  # a body that is thrown away cannot be a bomb
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # a proxy would look the name up by itself
        )

    async def close(self) -> None:
        for task in self._looking.values():
            task.cancel()
        await asyncio.gather(*self._looking.values(), return_exceptions=True)
        await self._session.close()

    async def call(
        self,
        target: Target,
        headers: Mapping[str, str],
        body: bytes,
        *,
        trust: Trust = NOBODY,
        attempt: int = 0,
        challenge: str | None = None,
        owner: str = "",
    ) -> Reply:
        """
        POST `body`. `attempt`: of many addresses another one each time. `challenge`: a text that the answer has to
        repeat. `owner`: whose share of the look-ups is used. It never fails but by saying so.
        """
        begun = time.monotonic()
        status: int | None = None
        fault: Fault | None
        wish: float | None = None
        try:
            async with asyncio.timeout(self._timeout) as limit:
                answer = await self._send(target, headers, body, trust, attempt, owner)
                try:
                    status, fault = answer.status, of_status(answer.status)
                    wish = retry_after(answer.headers.get("Retry-After"), time.time())
                    if challenge is None:
                        # By now it is known what it is: no receiver holds it up by what it sends behind that.
                        limit.reschedule(None)
                        async with asyncio.timeout(_REST):
                            await _body(answer)
                    elif fault is None and not _repeats(await _body(answer), challenge):
                        fault = "challenge_failed"
                except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
                    if challenge is not None:
                        raise
                finally:
                    answer.release() if answer.content.at_eof() else answer.close()
        except _Refused:
            fault = "address_refused"
        except (TimeoutError, aiohttp.ServerTimeoutError):
            fault = "timeout"
        except (aiohttp.ClientSSLError, ssl.SSLError):
            fault = "tls_error"
        except (aiohttp.ClientConnectorError, socket.gaierror) as error:
            found = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
            fault = "connection_refused" if isinstance(found, ConnectionRefusedError) else "unreachable"
        except (aiohttp.ClientError, OSError, ValueError):  # closed without an answer, or one that is no HTTP
            fault = "bad_answer"
        return Reply(
            fault=fault,
            status=status,
            milliseconds=int((time.monotonic() - begun) * 1000),
            retry_after=None if fault is None else wish,
        )

    async def _send(
        self, target: Target, headers: Mapping[str, str], body: bytes, trust: Trust, attempt: int, owner: str
    ) -> aiohttp.ClientResponse:
        address = targets.choose(await self._addresses(target, owner), attempt, private=trust.private)
        if address is None:
            raise _Refused
        host = f"[{address}]" if ":" in address else address
        # The connection is found again by address, name and context: never that of another check.
        return await self._session.post(
            URL(f"https://{host}:{target.port}{target.path}", encoded=True),
            data=body,
            headers={"Host": target.authority, **headers},
            server_hostname=target.host.rstrip("."),
            ssl=_trusting(trust.ca_file),
            allow_redirects=False,
            max_line_size=_BODY,
            max_field_size=_BODY,
        )

    async def _addresses(self, target: Target, owner: str) -> list[str]:
        """
        Those of its name. A look-up that nobody waits for any more counts until it is over; whoever wants the same
        meanwhile waits for that one, so that many webhooks at one name that nobody answers for are one look-up.
        """
        key = (owner, target.host, target.port)
        if (task := self._looking.get(key)) is None:
            await self._lookups.take(owner)
            if (task := self._looking.get(key)) is not None:  # somebody has begun it meanwhile
                self._lookups.leave(owner)
            else:
                task = self._looking[key] = asyncio.create_task(self._look(key), name="webhooks:lookup")
                task.add_done_callback(_told)
        return await asyncio.shield(task)

    async def _look(self, key: tuple[str, str, int]) -> list[str]:
        owner, host, port = key
        try:
            return await self._lookup(host, port)
        finally:
            del self._looking[key]
            self._lookups.leave(owner)


def _told(task: asyncio.Task[list[str]]) -> None:
    if not task.cancelled():
        task.exception()  # where nobody waits any more, it is nobody's error


class _Connection(ResponseHandler):
    """
    Ends where more comes than any answer needs. aiohttp reads interim answers (1xx), and whatever comes while nothing
    is asked, as fast as they are sent: that would take the turns, and the memory, of everybody. And it forgets the head
    of an answer where nonsense comes with it in one packet: they are read one after the other.
    """

    _heard = 0

    def set_response_params(self, **given: Any) -> None:
        self._heard = 0
        super().set_response_params(**given)

    def data_received(self, data: bytes) -> None:
        self._heard += len(data)
        if self._heard <= _HEARD:
            end = data.find(b"\r\n\r\n") + 4
            if 4 <= end < len(data):
                super().data_received(data[:end])
                super().data_received(data[end:])
            else:
                super().data_received(data)
        elif self.transport is not None:
            self.transport.abort()


class _Refused(Exception):
    """The name has an address that may not be called, or none."""


def _trusting(ca_file: str | None) -> ssl.SSLContext:
    """`ssl.SSLError` where the file cannot be read (any more)."""
    try:
        return _context(ca_file, Path(ca_file).stat().st_mtime_ns if ca_file is not None else 0)
    except OSError as error:
        raise ssl.SSLError("the certificates to check against cannot be read") from error


@lru_cache(maxsize=64)
def _context(ca_file: str | None, _changed: int) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    """The body. `ValueError` where it is long."""
    parts, size = [], 0
    async for part in answer.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > _BODY:
            raise ValueError("long")
    return b"".join(parts)


def _repeats(body: bytes, challenge: str) -> bool:
    """Whether it is the challenge, as text or as `{"challenge": "…"}`."""
    told = body.strip()
    try:
        found = msgspec.json.decode(told, type=dict[str, object]).get("challenge")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = told.decode("ascii", "replace")
    return isinstance(found, str) and hmac.compare_digest(found.encode("utf-8", "replace"), challenge.encode())


class Resolver:
    """Looks names up by what the system has for it, each in a thread of its own: one that hangs keeps nothing up."""

    async def addresses(self, host: str, port: int) -> list[str]:
        """All addresses of the name, the best first. `OSError` where there is none."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[str]] = loop.create_future()

        def tell(result: list[str] | OSError) -> None:
            if found.done():  # nobody waits any more
                return
            if isinstance(result, OSError):
                found.set_exception(result)
            else:
                found.set_result(result)

        def look() -> None:
            try:
                infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
                result: list[str] | OSError = [str(info[4][0]) for info in infos]
            except OSError as error:
                result = error
            except (UnicodeError, ValueError):
                result = socket.gaierror(socket.EAI_NONAME, "no name of a host")
            with contextlib.suppress(RuntimeError):  # the daemon has ended
                loop.call_soon_threadsafe(tell, result)

        try:
            # The daemon ends when it likes, whatever a server of names still thinks about.
            threading.Thread(target=look, name="webhooks:lookup", daemon=True).start()
        except RuntimeError:
            raise OSError("no thread is left") from None
        return await found


def chance() -> float:
    """From 0 to 1."""
    return random.random()  # noqa: S311 - it spreads attempts, and keeps nothing secret
