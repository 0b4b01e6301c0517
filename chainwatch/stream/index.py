"""
Which streams an event is for, at the cost of its matches and not of the subscribers.

Streams that want the same are one group. A group stands in the index under the narrowest thing that each of its events
has: an address, else a type, else a chain; a group that asks for none of these is tried on every event. What the index
finds are candidates, `Filter.matches` decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from chainwatch.filter import CUSTOM, Filter
from chainwatch.log import Entry
from chainwatch.payloads import PAYLOADS
from chainwatch.stream.coding import NOTHING
from chainwatch.stream.wire import Form
from chainwatch.where import View

if TYPE_CHECKING:
    from chainwatch.stream.stream import Stream

_K = TypeVar("_K")


class Group:
    """Live streams that get the same bytes."""

    __slots__ = ("bytes", "form", "members", "pending", "seen", "sent", "tally", "told", "touched", "wanted")

    def __init__(self, wanted: Filter, form: Form) -> None:
        self.wanted = wanted
        self.form = form
        self.members: dict[Stream, None] = {}
        self.pending: list[Entry] = []  # matches of the present round
        self.seen = 0  # the sequence that was tried last: an event finds a group by several addresses
        self.sent = 0  # events sent to every member since the group began; a member's share is a difference
        self.bytes = 0  # the same in bytes
        self.tally = NOTHING  # the same for trailers of gzip
        self.told = 0  # the newest sequence whose id every member has
        self.touched = 0.0  # when something was last written to all


class Index:
    """Groups by what their events have."""

    def __init__(self) -> None:
        self._by_address: dict[int, dict[Group, None]] = {}
        self._by_type: dict[str, dict[Group, None]] = {}
        self._by_chain: dict[str | None, dict[Group, None]] = {}
        self._others: dict[Group, None] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, group: Group) -> None:
        """Route events to `group` from now on."""
        self._size += 1
        wanted = group.wanted
        if (keys := wanted.address_keys()) is not None:
            for key in keys:
                self._by_address.setdefault(key, {})[group] = None
        elif wanted.types:
            for kind in _places(wanted.types):
                self._by_type.setdefault(kind, {})[group] = None
        elif wanted.chains:
            for chain in wanted.chains:
                self._by_chain.setdefault(chain, {})[group] = None
        else:
            self._others[group] = None

    def remove(self, group: Group) -> None:
        """Forget `group`, which was added."""
        self._size -= 1
        wanted = group.wanted
        if (keys := wanted.address_keys()) is not None:
            for key in keys:
                _take(self._by_address, key, group)
        elif wanted.types:
            for kind in _places(wanted.types):
                _take(self._by_type, kind, group)
        elif wanted.chains:
            for chain in wanted.chains:
                _take(self._by_chain, chain, group)
        else:
            del self._others[group]

    def route(self, entries: Sequence[Entry]) -> list[Group]:
        """Put each entry into `pending` of the groups that it is for; those groups."""
        dirty: list[Group] = []
        by_address, by_type, by_chain, others = self._by_address, self._by_type, self._by_chain, self._others
        customs = by_type.get(CUSTOM)
        for entry in entries:
            about = entry.about
            view = View(entry.event)
            for group in others:
                _offer(entry, view, group, dirty)
            if found := by_type.get(about.type):
                for group in found:
                    _offer(entry, view, group, dirty)
            if customs and about.type not in PAYLOADS:
                for group in customs:
                    _offer(entry, view, group, dirty)
            if found := by_chain.get(about.chain):
                for group in found:
                    _offer(entry, view, group, dirty)
            if by_address:
                sequence = entry.sequence
                for key in entry.keys:
                    if found := by_address.get(key):
                        for group in found:
                            if group.seen != sequence:
                                group.seen = sequence
                                _offer(entry, view, group, dirty)
        return dirty


def _offer(entry: Entry, view: View, group: Group, dirty: list[Group]) -> None:
    if group.wanted.matches(entry.about, view):
        if not group.pending:
            dirty.append(group)
        group.pending.append(entry)


def _places(types: frozenset[str]) -> set[str]:
    """Where a group that asks for these types stands: once for each event."""
    return {CUSTOM if CUSTOM in types and kind not in PAYLOADS else kind for kind in types}


def _take(groups: dict[_K, dict[Group, None]], key: _K, group: Group) -> None:
    found = groups[key]
    del found[group]
    if not found:
        del groups[key]
