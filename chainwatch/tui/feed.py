"""
What the model hears: four conversations with the daemon, each of which goes on by itself whatever happens to it. The
statistics; the events that pass the filter; prices and changes of balances; and, when those say so, the wallets.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

import msgspec

from chainwatch import client
from chainwatch.errors import ChainwatchError, Refused, UsageError
from chainwatch.tui import vitals
from chainwatch.tui.model import Link, Model
from chainwatch.tui.words import parameters

FIRST: Final = 1000
"""Events of the past that a list begins with."""
_HELD: Final = ("price_update", "balance_changed", "wallet_status")
_PATIENCE: Final = 5.0
"""Seconds until a daemon is asked again that turned a request away: a key may have been changed there meanwhile."""
_LOOK: Final = 30.0
"""Seconds at least between two looks at the oldest event of the log."""


class Feed:
    """The daemon at an address, heard by one model."""

    def __init__(self, url: str, key: str | None, model: Model) -> None:
        self._url = url
        self._key = key
        self._model = model
        self._reading: asyncio.Task[None] | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._holdings = asyncio.Event()  # wallets may hold something else now
        self._looked = 0.0

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            self._tasks.create_task(self._for_ever(self._vitals, self._linked), name="monitor: statistics")
            self._tasks.create_task(self._for_ever(self._prices, lambda _: None), name="monitor: prices")
            self._tasks.create_task(self._for_ever(self._wallets, lambda _: None), name="monitor: wallets")
            self._reading = self._tasks.create_task(self._events({}, "", None), name="monitor: events")

    async def choose(self, text: str) -> None:
        """
        Another filter, once the daemon has taken it. Until then, and where it does not (`ChainwatchError`), all stays
        as it is.
        """
        wanted = parameters(text)
        if self._tasks is None:
            raise ChainwatchError("the monitor is not connected yet")
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        reading = self._tasks.create_task(self._events(wanted, text, taken), name="monitor: events")
        try:
            await taken
        except BaseException:
            if self._reading is not reading:  # given up just when the daemon had taken it: it holds
                reading.cancel()
            raise

    # --- events -----------------------------------------------------------------------------------------------------

    async def _events(self, wanted: dict[str, Any], text: str, taken: asyncio.Future[None] | None) -> None:
        """Read for ever. `taken`: told once the daemon has taken the filter, or why it does not."""
        model, cursor = self._model, ""

        def hear(note: client.Note) -> None:
            nonlocal taken
            self._own(note)
            if isinstance(note, client.Connected) and taken is not None:
                if taken.done():  # given up: this task is about to be cancelled
                    return
                self._replace(text)
                taken.set_result(None)
                taken = None
            elif isinstance(note, client.Gap):
                model.say(str(note))
            if taken is None and (link := _link(note)) is not None:
                model.stream = link

        while True:
            start = {"last_event_id": cursor} if cursor else {"last": FIRST}
            stream = client.stream(self._url, **wanted, **start, key=self._key, on_note=hear)
            try:
                async with contextlib.aclosing(stream.batches()) as batches:
                    async for lines in batches:
                        model.take(lines, stream.cursor)
                        await asyncio.sleep(0)  # a daemon that has much to say must not keep the screen from moving
            except ChainwatchError as error:
                if taken is not None:
                    if not taken.done():
                        taken.set_exception(error)
                    return
                model.stream = _refused(error)
            cursor = stream.cursor or cursor
            await asyncio.sleep(_PATIENCE)

    def _own(self, note: client.Note) -> None:
        """Who looks at the listeners wants to know which of them he is."""
        if isinstance(note, client.Connected):
            self._model.own.append(note.stream)

    def _replace(self, text: str) -> None:
        """The filter holds: whoever read before reads no more, and what was read is gone."""
        if self._reading is not None:
            self._reading.cancel()
        self._reading = asyncio.current_task()
        self._model.view.clear()
        self._model.filter = text

    # --- the rest ---------------------------------------------------------------------------------------------------

    async def _for_ever(self, ask: Callable[[], Any], tell: Callable[[Link], None]) -> None:
        while True:
            try:
                await ask()
            except ChainwatchError as error:
                tell(_refused(error))
            await asyncio.sleep(_PATIENCE)

    def _linked(self, link: Link) -> None:
        self._model.link = link

    async def _vitals(self) -> None:
        def hear(note: client.Note) -> None:
            if isinstance(note, client.Connected):
                self._holdings.set()  # it may be another daemon, with other wallets
                self._looked = 0.0
            elif (link := _link(note)) is not None:
                self._linked(link)

        snapshots: AsyncGenerator[bytes] = client.snapshots(self._url, key=self._key, on_note=hear)
        async with contextlib.aclosing(snapshots):
            async for text in snapshots:
                try:
                    self._model.hear(vitals.read(text))
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                    self._linked(Link("refused", "its statistics are none that this monitor knows"))
                await self._oldest()

    async def _oldest(self) -> None:
        """When the oldest event was told: only the event itself says so."""
        if time.monotonic() - self._looked < _LOOK and self._looked:
            return
        self._looked = time.monotonic()
        with contextlib.suppress(ChainwatchError):
            async with contextlib.aclosing(client.history(self._url, limit=1, key=self._key)) as pages:
                async for page in pages:
                    self._model.oldest = page.events[0].observed_at if page.events else ""

    async def _prices(self) -> None:
        try:
            await self._hear_prices(_HELD)
        except (Refused, UsageError):  # its key does not see all of these: then whatever it sees
            await self._hear_prices(())

    async def _hear_prices(self, types: tuple[str, ...]) -> None:
        stream = client.stream(self._url, types=types, last=FIRST, key=self._key, on_note=self._own)
        async with contextlib.aclosing(stream.batches()) as batches:
            async for lines in batches:
                for line in lines:
                    if self._model.prices.take(line):
                        self._holdings.set()
                await asyncio.sleep(0)

    async def _wallets(self) -> None:
        while True:
            await self._holdings.wait()
            self._holdings.clear()
            self._model.wallets = await client.wallets(self._url, key=self._key)
            await asyncio.sleep(1)


def _link(note: client.Note) -> Link | None:
    match note:
        case client.Connected():
            return Link("live")
        case client.Waiting(reason, seconds):
            return Link("lost", reason, time.time() + seconds)
    return None


def _refused(error: ChainwatchError) -> Link:
    return Link("refused", "; ".join(str(error).split("\n")), time.time() + _PATIENCE)
