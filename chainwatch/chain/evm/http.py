"""An endpoint over HTTP: requests by POST, heads by asking again and again."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp

from chainwatch import __version__
from chainwatch.chain.evm import pushes, rpc
from chainwatch.chain.evm.block import MALFORMED
from chainwatch.chain.evm.endpoint import CallFailed, Endpoint, fail, retry_after

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of one answer."""
FAILED_POLLS = 3
"""Questions for the latest block, one after another, without an answer: the endpoint is left."""


class HttpEndpoint(Endpoint):
    _session: aiohttp.ClientSession | None = None
    _listener: asyncio.Task[None] | None = None

    @property
    def _interval(self) -> float:
        """Seconds between two questions for the latest block."""
        return 0.25 if self.profile.development else min(max(self.profile.block_time / 2, 0.5), 4.0)

    async def _open(self) -> None:
        self._calls: set[asyncio.Task[None]] = set()
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            connector=aiohttp.TCPConnector(limit=64),
            headers={"User-Agent": f"chainwatch/{__version__}", "Content-Type": "application/json"},
        )

    async def _close(self) -> None:
        self._lose("closed")
        session, self._session = self._session, None
        if session is None:
            return
        calls = [*self._calls, *([self._listener] if self._listener is not None else [])]
        self._listener = None
        for call in calls:
            call.cancel()
        try:
            await asyncio.gather(*calls, return_exceptions=True)
        finally:  # who gives up while this waits has no other way to the session
            await session.close()

    async def _subscribe(self) -> None:
        if self.heads:
            await self.latest()
        if self.wants_pending:
            self._listener = asyncio.create_task(self._listen(), name=f"mempool {self.name}")

    async def _listen(self) -> None:
        """Look at the mempool by a filter. Whatever fails, heads go on."""
        try:
            await pushes.poll(self)
        except CallFailed as failed:
            self._refuse_mempool(failed.reason)

    async def _serve(self) -> str:
        assert self._lost is not None  # noqa: S101 - set before anything is opened
        if not self.heads:
            return await self._lost
        failed = 0
        while not self._lost.done():
            await asyncio.wait((self._lost,), timeout=self._interval)
            if time.monotonic() < self.resting_until:
                continue
            try:
                await self.latest()
                failed = 0
            except CallFailed as error:
                if error.kind == "limited":
                    raise
                failed += 1
                if failed >= FAILED_POLLS:
                    return error.reason
        return self._lost.result()

    def _transmit(self, number: int, method: str, params: list[Any]) -> None:
        call = asyncio.create_task(self._post(number, method, params), name=f"{method} {self.name}")
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _post(self, number: int, method: str, params: list[Any]) -> None:
        assert self._session is not None  # noqa: S101 - `start` refuses before that
        try:
            async with self._session.post(self.url, data=rpc.request(number, method, params)) as answer:
                body = await _body(answer)
                if body is None:
                    self._failed(number, "too_large", f"an answer of more than {MAX_ANSWER} bytes")
                    return
                if answer.status in (429, 503):
                    wait = retry_after(answer.headers.get("Retry-After"))
                    self._failed(number, "limited", f"HTTP {answer.status}", wait)
                    return
                try:
                    message = rpc.message(body)
                except MALFORMED:
                    if answer.status == 200:
                        raise
                    message = rpc.Message()  # a page for people; the status says it all
                if message.error is None and answer.status != 200:
                    self._failed(number, "failed", f"HTTP {answer.status}")
                    return
                message.id = number  # an error may come back without one
                self._received(message)
        except TimeoutError:
            self._failed(number, "lost", f"no answer within {self._timeout:g} s")
        except (aiohttp.ClientError, OSError) as error:
            self._failed(number, "lost", self.explain(error))
        except MALFORMED as error:
            self._failed(number, "failed", f"it answered what is no JSON-RPC: {self.explain(error)}")

    def _failed(self, number: int, kind: str, reason: str, wait: float | None = None) -> None:
        waiting = self._pending.pop(number, None)
        if waiting is not None and not waiting[0].done():
            fail(waiting[0], CallFailed(waiting[1], kind, reason, wait))
            self.round_trips.append(time.monotonic() - waiting[2])


async def _body(answer: aiohttp.ClientResponse) -> bytes | None:
    """The whole answer; None where it is too large, whatever its header said."""
    parts, size = [], 0
    async for part in answer.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER:
            return None
    return b"".join(parts)
