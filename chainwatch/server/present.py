"""
How things stand now: the newest status of each chain, wallet and source. A stream that begins now and asks for `system`
is told them first, since a status is told only when it changes.

They are events of the log that were told before, so they carry no `id:` of their own on the wire: a client that is cut
goes on from where its stream began.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from chainwatch import sse
from chainwatch.event import Event, encode, interest
from chainwatch.filter import Filter
from chainwatch.log import Entry, Log
from chainwatch.payloads import CATEGORIES
from chainwatch.where import View

_SYSTEM: Final = CATEGORIES["system"]
_OF_ITSELF: Final = "chain_status"
_Key = tuple[str | None, str, str]


class Present:
    """Listens to a log, so that it is exactly as new as the log's head."""

    def __init__(self, log: Log) -> None:
        self._events: dict[_Key, Event] = {}
        log.listen(self._committed)

    def seed(self, events: Iterable[Event]) -> None:
        """What was told before the daemon was started, and still holds."""
        for event in events:
            self._note(event)

    def restate(self, chain: str | None, events: Iterable[Event]) -> None:
        """
        The wallets and feeds of a chain, or (None) the sources that are asked over HTTP, are these now and no others:
        they may be watched no more, or again. How the chain itself stands it will tell.
        """
        self._events = {key: one for key, one in self._events.items() if key[0] != chain or key[1] == _OF_ITSELF}
        self.seed(events)

    def forget(self, chain: str) -> None:
        """Nobody follows that chain any more."""
        self._events = {key: one for key, one in self._events.items() if key[0] != chain}

    def _committed(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.event.type in _SYSTEM:
                self._note(entry.event)

    def _note(self, event: Event) -> None:
        data: Mapping[str, object] = msgspec.to_builtins(event.data)
        key = (event.chain, event.type, str(data.get("address") or data.get("source") or "").lower())
        if data.get("state") == "removed":
            self._events.pop(key, None)
        elif not event.removed:
            self._events[key] = event

    def frames(self, wanted: Filter, *, named: bool) -> list[bytes]:
        """
        The statuses that the filter lets pass, chains first, a frame each; none where it does not ask for any by its
        type.
        """
        frames: list[bytes] = []
        if not wanted.types & _SYSTEM:
            return frames
        for _, event in sorted(self._events.items(), key=lambda item: (item[0][1], item[0][0] or "", item[0][2])):
            if wanted.matches(interest(event), View(event)):
                framed = b"data: %b\n\n" % encode(event)
                frames.append(sse.named(event.type, framed) if named else framed)
        return frames
