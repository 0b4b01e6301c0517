"""A consumer that believes the promise: applying events and undoing retractions gives the canonical chain, always."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import aiohttp

from chainwatch.sse import Parser

TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"


class Fold:
    """The state of the chain by its events. Every broken promise is an `AssertionError` at the event that breaks it."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.open: dict[str, dict[str, Any]] = {}
        self.chains: dict[str, dict[int, str]] = {}
        """Of each chain, height -> hash of the blocks that stand."""
        self.retracting = False
        self.count = 0

    @property
    def blocks(self) -> dict[int, str]:
        """Those of the one chain that there is."""
        assert len(self.chains) < 2, self.chains.keys()
        return next(iter(self.chains.values()), {})

    def apply(self, event: dict[str, Any]) -> None:
        self.count += 1
        assert event["id"] not in self.ids, f"told twice: {event}"
        self.ids.add(event["id"])
        if event.get("removed"):
            undone = self.open.pop(event["retracts"], None)
            assert undone is not None, f"retracts what is not open: {event}"
            assert (undone["type"], undone["data"]) == (event["type"], event["data"])
            if event["type"] == "block_new":
                number = event["data"]["block_number"]
                blocks = self.chains[event["chain"]]
                assert blocks.pop(number) == event["data"]["block_hash"]
                assert not any(other > number for other in blocks), "retractions go newest block first"
            return
        if event["type"] == "block_new":
            data = event["data"]
            number = data["block_number"]
            blocks = self.chains.setdefault(event["chain"], {})
            assert number not in blocks, f"two blocks at height {number}"
            if blocks:
                assert blocks[number - 1] == data["parent_hash"], f"block {number} is no child of the one below"
            blocks[number] = data["block_hash"]
        self.open[event["id"]] = event

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [event["data"] for event in self.open.values() if event["type"] == kind]

    def transfers(self) -> Counter[tuple[str, int]]:
        """(block hash, log index) of each transfer that stands."""
        return Counter((data["block_hash"], data["log_index"]) for data in self.of_type("token_transfer"))


def expected_transfers(logs: list[dict[str, Any]]) -> Counter[tuple[str, int]]:
    """The same, by the node's own logs."""
    return Counter(
        (log["blockHash"], int(log["logIndex"], 16))
        for log in logs
        if log["topics"][0] == TRANSFER and len(log["topics"]) in (3, 4)
    )


class Client:
    """Reads a stream from the earliest event on, is cut at random, resumes by its cursor, and folds what it gets."""

    def __init__(self, url: str, query: str = "since=earliest") -> None:
        self.url = url
        self.query = query
        self.fold = Fold()
        self.events: list[dict[str, Any]] = []
        self.cursor = ""
        self.connects = 0
        self._moved = asyncio.Event()
        self._response: aiohttp.ClientResponse | None = None
        self._task = asyncio.create_task(self._run(), name="client")

    @property
    def failed(self) -> BaseException | None:
        """Why it reads no more."""
        return self._task.exception() if self._task.done() and not self._task.cancelled() else None

    def cut(self) -> None:
        """Drop the connection, wherever it is."""
        if self._response is not None:
            self._response.close()

    async def _run(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_read=30)) as session:
            while True:
                try:
                    headers = {"Last-Event-ID": self.cursor} if self.cursor else {}
                    async with session.get(f"{self.url}/events?{self.query}", headers=headers) as response:
                        if response.status == 503 and not self.cursor:
                            continue  # a new client may be turned away; one with a cursor never
                        assert response.status == 200, await response.text()
                        self._response = response
                        self.connects += 1
                        await self._read(response)
                except (aiohttp.ClientError, ConnectionError, TimeoutError, OSError):
                    pass
                self._response = None
                await asyncio.sleep(0.02)

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        parser = Parser()
        async for data in response.content.iter_any():
            for message in parser.feed(data):
                assert message.event != "gap", message.data
                if message.event == "message":
                    event = json.loads(message.data)
                    self.events.append(event)
                    self.fold.apply(event)
                self.cursor = message.id or self.cursor
            self.cursor = parser.last_event_id or self.cursor
            self._moved.set()

    async def has(self, event_id: str, *, seconds: float = 30) -> None:
        """Wait until it has that event. An error of the reader is raised here."""
        async with asyncio.timeout(seconds):
            while event_id not in self.fold.ids:
                self._moved.clear()
                moved = asyncio.create_task(self._moved.wait())
                await asyncio.wait((moved, self._task), return_when=asyncio.FIRST_COMPLETED)
                moved.cancel()
                if self._task.done():
                    self._task.result()

    async def close(self) -> None:
        self._task.cancel()
        done = await asyncio.gather(self._task, return_exceptions=True)
        if isinstance(done[0], AssertionError):
            raise done[0]
