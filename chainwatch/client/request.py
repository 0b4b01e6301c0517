"""Requests to a daemon: what is sent, and what each answer and each broken connection means."""

from __future__ import annotations

import asyncio
import email.utils
import os
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urljoin, urlsplit

import aiohttp
import msgspec

from chainwatch import __version__
from chainwatch.client.subscription import HEARTBEAT, Trouble
from chainwatch.errors import BadAnswer, GapError, Refused, Unreachable, UsageError
from chainwatch.text import printable, redact_url

_ANSWER_SECONDS: Final = 15.0  # until an answer begins
_MAX_PROBLEM: Final = 64 * 1024
_MAX_LINES: Final = 4  # of a hint: one for `where` shows the expression, and a caret below the character

JSON: Final = "application/json"

Words = str | Iterable[str]
"""One value, or several; a value may hold several with commas between. Several are OR."""


def base_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment
        _ = parts.port  # raises where it is no port
    except ValueError:
        good = False
    if not good or not url.isprintable():
        shown = redact_url(url) if "//" in url or "@" in url else url
        raise UsageError(
            f"{printable(shown, 80)!r} is no address of a daemon",
            parameter="url",
            hint="such as http://127.0.0.1:8080, without a query",
        )
    return url.rstrip("/")


def key_headers(key: str | None, last_event_id: str | None = None) -> dict[str, str]:
    if key and not (key.isascii() and key.isprintable()):
        raise UsageError("the key has characters that no key has", parameter="key")
    if last_event_id and not (last_event_id.isascii() and last_event_id.isprintable()):
        raise UsageError(f"{printable(last_event_id, 80)!r} is no cursor", parameter="last_event_id")
    # Not as a bearer: the user part of a URL, for a proxy before the daemon, is the Authorization header.
    return {"X-API-Key": key} if key else {}


def filter_query(
    types: Words,
    filters: Words,
    address: Words,
    token: Words,
    chains: Words,
    min_amount: int | str | None,
    where: str | None,
) -> list[tuple[str, str]]:
    given = {"types": types, "filters": filters, "address": address, "token": token, "chains": chains}
    query = [(name, word) for name, words in given.items() for word in ([words] if isinstance(words, str) else words)]
    single = {"min_amount": min_amount, "where": where}
    return query + [(name, str(value)) for name, value in single.items() if value is not None]


def start_query(since: str | None, last: int | None) -> list[tuple[str, str]]:
    """Where to begin where there is no cursor."""
    given = {"since": since, "last": last}
    return [(name, str(value)) for name, value in given.items() if value is not None]


def limit_of(count: int | None) -> int | None:
    if count is not None and count < 1:
        raise UsageError(f"a limit of {count} events", parameter="limit", value=str(count), hint="it is 1 at least")
    return count


def open_session(silence: float) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        # No answer is compressed: one stream is read once, and a bomb needs a fuse.
        headers={"User-Agent": f"chainwatch/{__version__}", "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_ANSWER_SECONDS, sock_read=silence),
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=256 * 1024,
    )


_NETWORK: Final = (aiohttp.ClientError, OSError, UnicodeError)  # a host's name may not fit IDNA
_NOT_CONNECTED: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL, UnicodeError)


@asynccontextmanager
async def answer(
    session: aiohttp.ClientSession,
    base: str,
    path: str,
    query: Sequence[tuple[str, str]],
    headers: dict[str, str],
    *,
    wanted: str = JSON,
    posted: bytes | None = None,
    method: str = "",
) -> AsyncIterator[aiohttp.ClientResponse]:
    """
    The answer to a GET, or to a POST of the JSON that is `posted`, or to another `method` with or without that;
    `wanted` is the media type that it has to be of, where it has a body.
    `Trouble` is only fatal where nothing can have come of the request: what was posted may have arrived.
    """
    given = headers | {"Accept": wanted} | ({} if posted is None else {"Content-Type": JSON})
    method = method or ("GET" if posted is None else "POST")
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            # A redirect could take the key to another host.
            response = await session.request(
                method, base + path, params=query, headers=given, data=posted, allow_redirects=False
            )
    except _NETWORK as error:
        why = _why(error, f"no answer within {_ANSWER_SECONDS:g}s")
        harmless = method == "GET" or isinstance(error, _NOT_CONNECTED)
        fatal = _unreachable(base, why) if harmless else None
        raise Trouble(f"cannot reach {redact_url(base)}: {why}", fatal=fatal) from None
    async with response:
        if response.status not in (200, 201, 204):
            refusal = await _refusal(response, base)
            if method != "GET" and isinstance(refusal, Trouble):
                refusal.fatal = None
            raise refusal
        if response.status != 204 and response.content_type != wanted:
            what = f"{redact_url(base)} answers {printable(response.content_type, 80)}, not {wanted}"
            raise Trouble(what, fatal=BadAnswer(what, hint="is it a chainwatch daemon?"))
        yield response


async def chunk(response: aiohttp.ClientResponse, base: str, silence: float) -> bytes:
    """What has arrived, as soon as anything has. `Trouble` at the end, which nobody asked for."""
    try:
        if found := await response.content.readany():
            return found
        why = "the connection was closed"
    except _NETWORK as error:
        why = _why(error, f"nothing came for {silence:g}s, not even a heartbeat")
    raise Trouble(f"lost {redact_url(base)}: {why}", fatal=_unreachable(base, why))


async def body(response: aiohttp.ClientResponse, base: str, most: int) -> bytes:
    found = bytearray()
    try:
        while piece := await response.content.readany():
            found += piece
            if len(found) > most:
                raise BadAnswer(f"{redact_url(base)} sent an answer of more than {most} bytes")
    except _NETWORK as error:
        why = _why(error, f"nothing came for {3 * HEARTBEAT:g}s")
        raise Trouble(f"lost {redact_url(base)}: {why}", fatal=_unreachable(base, why)) from None
    return bytes(found)


def _unreachable(base: str, why: str) -> Unreachable:
    return Unreachable(
        f"cannot reach a chainwatch daemon at {redact_url(base)}", why=why, hint="is `chainwatch serve` running there?"
    )


def _why(error: Exception, late: str) -> str:
    match error:
        case TimeoutError():
            return late
        case aiohttp.ClientConnectorDNSError():
            return "its name is not known"
        case aiohttp.ClientConnectorCertificateError():
            told = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
            return f"its certificate cannot be trusted: {printable(told)}"
        case aiohttp.ClientConnectorSSLError():
            told = getattr(error.os_error, "reason", "") or str(error)
            plain = told in _NO_TLS
            return "it does not speak TLS: is it http:// instead?" if plain else f"no secure connection: {told.lower()}"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number).lower()
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError():
            return "the connection was cut"
    return printable(str(error)) or type(error).__name__


_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")  # how OpenSSL calls plain HTTP


class _Problem(msgspec.Struct):
    """RFC 9457, as far as it is shown."""

    title: str = ""
    detail: str = ""
    hint: str = ""
    parameter: str = ""
    value: str = ""
    nearest: str = ""


_PROBLEM: Final = msgspec.json.Decoder(_Problem, strict=False)


async def _refusal(response: aiohttp.ClientResponse, base: str) -> Exception:
    """What an answer other than 200 means: something that may be over soon, or an error for the caller."""
    status, where = response.status, redact_url(base)
    try:
        problem = _PROBLEM.decode(await body(response, base, _MAX_PROBLEM))
    except (ValueError, RecursionError, BadAnswer, Trouble):
        problem = _Problem()
    said = printable(problem.detail or problem.title or response.reason or "", 500)
    hint = "\n".join(printable(line, 500) for line in problem.hint.split("\n")[:_MAX_LINES])
    what = f"{where} answers {status}" + (f": {said}" if said else "")
    if status in (429, 500, 502, 503, 504):
        after = _retry_after(response.headers.get("Retry-After", ""), time.time())
        patient = status == 429 or after is not None  # a daemon is there, and asks for a moment
        later = f"try again in {after:.0f}s" if after is not None else "try again a little later"
        return Trouble(
            what, fatal=None if patient else Unreachable(what, hint=hint), retry_after=after, hint=hint or later
        )
    match status:
        case 400:
            return UsageError(
                said or what,
                parameter=printable(problem.parameter),
                value=printable(problem.value),
                nearest=printable(problem.nearest),
                hint=hint,
            )
        case 401:
            return Refused(what, status=status, hint=hint or "it wants a key, or another one")
        case 404:
            return Refused(what, status=status, hint=hint or "is it a chainwatch daemon?")
        case 410:
            return GapError(said or what, hint=hint)
        case _ if 300 <= status < 400:
            place = printable(redact_url(urljoin(base, response.headers.get("Location", ""))))
            return Refused(what, status=status, hint=f"redirects are not followed, a key could leak; it names {place}")
    return Refused(what, status=status, hint=hint)


def _retry_after(value: str, now: float) -> float | None:
    """Seconds of a `Retry-After` (RFC 9110, 10.2.3), which is a number or a date; None for neither."""
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None
