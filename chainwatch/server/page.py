"""
`GET /`: one page that shows the stream at work, and a few lines of text for whoever does not read HTML.

The page is whole in itself, and asks this daemon alone. Its policy names its script and its style by their digests: of
what an event carries nothing can run, whatever a mistake in the page lets through. It holds nothing of the daemon, and
so needs no key; the streams that it opens do.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources
from typing import Final

from aiohttp import ETag, web

HTML: Final = "text/html"
TEXT: Final = """\
chainwatch: every event of your chains, once and in order.

  /events/stream     the events, as Server-Sent Events; ?types=, ?address=, ?where=, ?since=15m, ...
  /events/history    those that are kept, by pages
  /v1/stats          how the daemon is
  /health            whether it is ready
  /asyncapi.json     all there is, for programs
  /schema.json       what an event looks like

curl -N 'HERE/events/stream?since=15m'; in a browser this address is a page.
"""


async def page(request: web.Request) -> web.Response:
    """The page, text, or 304."""
    if HTML in request.headers.get("Accept", "").lower():
        body, tag, policy = _made()
    else:
        here = f"http://{request.headers.get('Host', '127.0.0.1:8080')}"
        body, tag, policy = TEXT.replace("HERE", here).encode(), "", ""
    known = {given.value for given in request.if_none_match or ()}
    if tag and not known.isdisjoint({tag, "*"}):
        response = web.Response(status=304)
    else:
        response = web.Response(body=body, content_type=HTML if tag else "text/plain", charset="utf-8")
    if tag:
        response.etag = ETag(tag)
        response.headers["Content-Security-Policy"] = policy
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["X-Frame-Options"] = "DENY"
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Vary"] = "Accept"
    return response


@cache
def _made() -> tuple[bytes, str, str]:
    """The page, its tag, and what it may do."""
    body = resources.files("chainwatch.server").joinpath("page.html").read_bytes()
    script, style = (_digest(body, name) for name in (b"script", b"style"))
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return body, hashlib.blake2b(body, digest_size=12).hexdigest(), policy


def _digest(body: bytes, name: bytes) -> str:
    """The one element of that name as a source of a policy (CSP 3, section 2.3.1)."""
    [text] = re.findall(rb"<%b>(.*?)</%b>" % (name, name), body, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"
