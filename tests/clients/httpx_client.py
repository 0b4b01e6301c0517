"""httpx-sse, and the loop that it leaves to its users."""

from __future__ import annotations

import sys
import time

import httpx
from httpx_sse import connect_sse
from telling import tell

cursor, wait = "", 1.0
with httpx.Client(timeout=30) as http:
    while True:
        headers = {"Last-Event-ID": cursor} if cursor else {}
        try:
            with connect_sse(http, "GET", sys.argv[1], headers=headers) as source:
                source.response.raise_for_status()
                for event in source.iter_sse():
                    cursor, wait = event.id, wait if event.retry is None else event.retry / 1000
                    tell(event.event, data=event.data, cursor=event.id)
        except httpx.RequestError:
            tell("error", closed=False)
        time.sleep(wait)
