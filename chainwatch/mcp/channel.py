"""
Events that are pushed into the session of a host which has channels: `notifications/claude/channel`.

A host takes such a notification as text from outside, in an element whose attributes are the `meta`. What it says was
written by strangers; so it is bounded, nothing in it can end that element, and the instructions say what it is.

The stream goes on where it was, whatever becomes of the daemon; and where cursors are kept, whatever becomes of the
host: a cursor is kept behind what was written, so nothing is left out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
import mcp_types as types
import msgspec
from mcp.server.lowlevel.server import Server
from mcp.server.models import InitializationOptions

from chainwatch import client
from chainwatch.client.subscription import Backoff, OnNote
from chainwatch.errors import ChainwatchError, Unreachable
from chainwatch.lines import line_of
from chainwatch.mcp import told
from chainwatch.text import printable

CAPABILITY: Final = "claude/channel"
METHOD: Final = f"notifications/{CAPABILITY}"
INSTRUCTIONS: Final = (
    "Events that the user asked for are pushed into this session as <channel> elements of this server, without being "
    "asked for: `type`, `chain` and `event_id` are attributes, the text is a line about the event and then its JSON. "
    'One with removed="true" takes back the event that `retracts` names: the chain was reorganised. A channel is one '
    "way: there is nothing to answer. To look further, use the tools."
)
AGAIN: Final = 30.0
"""Seconds until a daemon is asked again that turned this stream away."""

_LINE: Final = 300
_PLAIN: Final = re.compile(r"[^\w.:+/ -]")
_ESCAPES: Final = {ord(char): f"\\u{ord(char):04x}" for char in "<>&"}  # in a text of JSON they mean the same

Push = Callable[[str, dict[str, Any]], Awaitable[None]]
Open = Callable[[str, OnNote], client.Stream]
"""The stream behind a cursor; from now on where there is none."""


def declare(server: Server[Any]) -> InitializationOptions:
    """Let it say, in both eras of the protocol, that it is a channel; what it is to be run with."""
    experimental: dict[str, dict[str, Any]] = {CAPABILITY: {}}
    server.instructions = f"{server.instructions} {INSTRUCTIONS}"
    entry = server.get_request_handler("server/discover")

    async def discover(ctx: Any, params: Any) -> Any:
        found = await entry.handler(ctx, params) if entry else None
        if isinstance(found, types.DiscoverResult):
            found.capabilities.experimental = experimental
        return found

    server.add_request_handler("server/discover", types.RequestParams, discover)
    return server.create_initialization_options(experimental_capabilities=experimental)


def message(event: dict[str, Any]) -> dict[str, Any]:
    """An event as the parameters of a notification: `content`, and `meta` with names that a host takes."""
    shown = told.event(event)
    word, _, tell = line_of(str(event["type"]))
    data = shown["data"] if isinstance(shown["data"], dict) else {}
    meta = {"type": event["type"], "chain": event["chain"], "event_id": event["id"], "timestamp": event["timestamp"]}
    if event.get("removed"):
        meta |= {"removed": "true", "retracts": event.get("retracts")}
    line = " ".join(filter(None, ("retracted:" if event.get("removed") else "", word, tell(data))))
    text = f"{printable(line, _LINE)}\n{msgspec.json.encode(shown).decode()}"
    return {"content": text.translate(_ESCAPES), "meta": _attributes(meta)}


def trouble(kind: str, text: str) -> dict[str, Any]:
    """What an agent that relies on the channel has to know of it. `kind`: `gap`, `refused`."""
    return {"content": printable(text, 1000).translate(_ESCAPES), "meta": {"trouble": kind}}


def _attributes(meta: dict[str, Any]) -> dict[str, str]:
    texts = {name: printable(str(value), 100) for name, value in meta.items() if value is not None}
    return {name: _PLAIN.sub("_", text) for name, text in texts.items()}


class Channel:
    """One stream on its way to a host."""

    def __init__(self, push: Push, open_stream: Open, cursor: str, keep: Callable[[str], None], hear: OnNote) -> None:
        """`keep` writes a cursor down; `hear` is told what people may like to know."""
        self._push = push
        self._open = open_stream
        self._cursor = cursor
        self._keep = keep
        self._hear = hear
        self._kept = cursor
        self._gaps: list[client.Gap] = []
        self._turn = asyncio.Lock()  # a gap is told before the event behind it
        self._news = asyncio.Event()
        self._refusal = ""
        self._backoff = Backoff()

    async def run(self) -> None:
        """Push until this is cancelled."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._attend)
                await self._follow()
        finally:
            if not self._gaps and self._cursor != self._kept:
                self._keep(self._cursor)

    async def _follow(self) -> None:
        while True:
            try:
                async with self._open(self._cursor, self._note) as stream:
                    async for _ in stream:
                        async with self._turn:
                            await self._tell_gaps()
                            await self._push(METHOD, message(msgspec.json.decode(stream.line)))
                        self._moved(stream.cursor)
            except Unreachable as error:
                seconds = self._backoff.failed()
                self._hear(client.Waiting(f"{error.what}: {error.why}", seconds))
            except ChainwatchError as error:  # a key or a filter that the daemon does not take; both may change
                seconds = AGAIN
                await self._tell_refusal(" ".join(str(error).split("\n")))
            await asyncio.sleep(seconds)

    def _note(self, note: client.Note) -> None:
        match note:
            case client.Connected():
                self._backoff.succeeded()
                self._refusal = ""
            case client.Moved(cursor=cursor):
                self._moved(cursor)
            case client.Gap():
                self._gaps.append(note)
                self._news.set()
        self._hear(note)

    def _moved(self, cursor: str) -> None:
        self._cursor = cursor
        self._news.set()

    async def _attend(self) -> None:
        """What has to be done beside the events, also where none come."""
        while True:
            await self._news.wait()
            self._news.clear()
            async with self._turn:
                await self._tell_gaps()
            if (cursor := self._cursor) != self._kept:
                with anyio.CancelScope(shield=True):  # `run` may write a newer one when this has ended
                    await asyncio.to_thread(self._keep, cursor)
                self._kept = cursor

    async def _tell_gaps(self) -> None:
        while self._gaps:
            await self._push(METHOD, trouble("gap", f"{self._gaps[0]}".capitalize()))
            del self._gaps[0]  # only now: until it was told, no cursor behind it is kept

    async def _tell_refusal(self, why: str) -> None:
        """Once, until it is another one, or is over."""
        if why != self._refusal:
            self._refusal = why
            await self._push(METHOD, trouble("refused", f"No events can be pushed: {why}"))
