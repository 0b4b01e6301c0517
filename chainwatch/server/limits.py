"""
Who gets in when many come: seats in total, of one key, of one address; new connections a minute. Pure: time is an
argument.

A client that comes back with a cursor that it can go on from pays nothing for coming (a restart of the daemon is not
its fault) and is never answered by an error; where there is no seat for it, it is told to come later (see `streams`).
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Final, NamedTuple

from chainwatch.config import ServerSettings
from chainwatch.where import Where

WORK: Final = 32_768
"""
What the expressions of one key's streams may weigh together (see `Where.weight`), each counted once however many of
them ask it: about so many microseconds for an event that all of them look at. The streams of everybody wait for that.
"""

_MINUTE: Final = 60.0
_TIDY: Final = 1024  # addresses remembered before those that are as good as new are let go


class Full(NamedTuple):
    """No seat."""

    status: int
    """503 where the daemon is full, 429 where one client has all that one may have."""
    why: str
    wait: float | None
    """Seconds after which it may be tried again; None where nobody knows."""
    reason: str = ""
    """The limit in a word, for metrics: `total`, `key`, `address`, `rate`, `where`."""


class Seat:
    """What one client, a key at an address, has taken. Shared by all its connections: there are ten thousand."""

    __slots__ = ("_gate", "address", "key", "taken")

    def __init__(self, gate: Gate, key: str, address: str) -> None:
        self._gate = gate
        self.key = key
        self.address = address
        self.taken = 0

    def ask(self, where: Where | None) -> Full | None:
        """One of its connections asks this of each event, until `forget`; or why it cannot."""
        return self._gate.ask(self.key, where)

    def forget(self, where: Where | None) -> None:
        """It does so no more."""
        self._gate.forget(self.key, where)

    def leave(self) -> None:
        """One of its connections is over."""
        self._gate.leave(self)


class Gate:
    """The seats."""

    def __init__(self, settings: Callable[[], ServerSettings]) -> None:
        """`settings`: as they are now. Who is in when a limit is lowered stays in."""
        self._settings = settings
        self.taken = 0
        self.refusals: Counter[str] = Counter()
        """Clients that were turned away since the start, by the limit: see `Full.reason`."""
        self._seats: dict[tuple[str, str], Seat] = {}
        self._of_key: dict[str, int] = {}
        self._of_address: dict[str, int] = {}
        self._spent: dict[str, tuple[float, float]] = {}  # address -> connects on its account, and when that was
        self._tidy_at = _TIDY
        self._asked: dict[str, dict[Where, int]] = {}  # by key: what its streams ask, and how many of them
        self._weighs: dict[str, int] = {}

    @property
    def refused(self) -> int:
        """Clients that were turned away since the start."""
        return self.refusals.total()

    def enter(self, key: str, address: str, now: float, *, comes_back: bool = False) -> Seat | Full:
        """
        A seat for the key (empty: nobody's) at that address at the time `now` in seconds; its `leave` gives it back. Or
        why there is none. Who `comes_back` does not count as new.
        """
        full = self._full(key, address) or (None if comes_back else self._too_fast(address, now))
        if full is not None:
            self.refusals[full.reason] += 1
            return full
        if not comes_back:
            self._spent[address] = (self._account(address, now) + 1, now)
            if len(self._spent) >= self._tidy_at:
                self._tidy(now)
        seat = self._seats.get((key, address))
        if seat is None:
            seat = self._seats[key, address] = Seat(self, key, address)
        seat.taken += 1
        self.taken += 1
        self._of_key[key] = self._of_key.get(key, 0) + 1
        self._of_address[address] = self._of_address.get(address, 0) + 1
        return seat

    def leave(self, seat: Seat) -> None:
        """One connection of it is over."""
        seat.taken -= 1
        self.taken -= 1
        if not seat.taken:
            del self._seats[seat.key, seat.address]
        for counts, name in ((self._of_key, seat.key), (self._of_address, seat.address)):
            counts[name] -= 1
            if not counts[name]:
                del counts[name]

    def ask(self, key: str, where: Where | None) -> Full | None:
        """A stream of `key` asks this of each event, until `forget`. Or why that is too much."""
        if where is None:
            return None
        asked = self._asked.get(key, {})
        weighs = self._weighs.get(key, 0) + (0 if where in asked else where.weight)
        if weighs > WORK:
            self.refusals["where"] += 1
            why = "the expressions (where) of all streams of this key are too many, or too long"
            return Full(429, why, None, "where")
        asked[where] = asked.get(where, 0) + 1
        self._asked[key], self._weighs[key] = asked, weighs
        return None

    def forget(self, key: str, where: Where | None) -> None:
        """One stream less asks this."""
        if where is None:
            return
        asked = self._asked[key]
        asked[where] -= 1
        if not asked[where]:
            del asked[where]
            self._weighs[key] -= where.weight
        if not asked:
            del self._asked[key], self._weighs[key]

    def _full(self, key: str, address: str) -> Full | None:
        limits = self._settings()
        if self.taken >= limits.max_connections:
            return Full(503, f"all {limits.max_connections} connections are taken", None, "total")
        if key and self._of_key.get(key, 0) >= (most := limits.max_connections_per_key):
            return Full(429, f"this key has {most} connections, as many as one may have", None, "key")
        if self._of_address.get(address, 0) >= (most := limits.max_connections_per_address):
            return Full(429, f"this address has {most} connections, as many as one may have", None, "address")
        return None

    def _too_fast(self, address: str, now: float) -> Full | None:
        """A leaky bucket: as many at once as a minute allows, then one whenever its share of the minute is over."""
        rate = self._settings().connects_per_minute
        spent = self._account(address, now)
        if spent + 1 <= rate:
            return None
        wait = (spent + 1 - rate) * _MINUTE / rate
        return Full(429, f"more than {rate} new connections a minute from this address", wait, "rate")

    def _account(self, address: str, now: float) -> float:
        spent, then = self._spent.get(address, (0.0, now))
        return max(0.0, spent - (now - then) * self._settings().connects_per_minute / _MINUTE)

    def _tidy(self, now: float) -> None:
        for address in [address for address in self._spent if self._account(address, now) <= 0]:
            del self._spent[address]
        self._tidy_at = max(_TIDY, 2 * len(self._spent))


def client_address(peer: object) -> str:
    """
    What counts as one address: the host of a socket's peer name; of IPv6 the network of 64 bits, since that is what one
    client is given; empty for a Unix socket.
    """
    if not isinstance(peer, tuple) or not peer:
        return ""
    host = str(peer[0])
    if ":" not in host:
        return host
    try:
        address = ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address.is_loopback:
        return str(address)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))


def is_trusted(peer: object, trusted: tuple[str, ...]) -> bool:
    """Whether the socket's other end is a proxy of ours: one of these addresses or networks."""
    return bool(trusted) and isinstance(peer, tuple) and bool(peer) and _is_within(_address(str(peer[0])), trusted)


def behind(peer: object, trusted: tuple[str, ...], forwarded: str) -> object:
    """
    The peer name of the client behind our proxies: the last entry of `X-Forwarded-For` (all its lines, joined by
    commas) that is no proxy of ours. What stands before that one the client may have made up. Where no proxy is
    trusted, or the entry is no address, it is the socket's own.
    """
    if not is_trusted(peer, trusted):
        return peer
    for entry in reversed(forwarded.split(",")):
        if (address := _address(_without_port(entry.strip()))) is None:
            break
        peer = (str(address), 0)
        if not _is_within(address, trusted):
            break
    return peer


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_PORT: Final = re.compile(r"(?:\[(?P<six>[^\[\]]*)\]|(?P<four>[0-9.]+))(?::[0-9]{1,5})?")


def _without_port(entry: str) -> str:
    """Some proxies name the port too: `192.0.2.7:5000`, `[2001:db8::1]:5000`."""
    found = _PORT.fullmatch(entry)
    return entry if found is None else found["six"] or found["four"] or ""


def _address(host: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped if address.version == 6 else None) or address


def _is_within(address: _Address | None, networks: tuple[str, ...]) -> bool:
    return address is not None and any(address in network for network in _networks(networks))


@cache
def _networks(names: tuple[str, ...]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(name) for name in names)


def retry_after(seconds: float) -> str:
    """As a header: whole seconds, one at least."""
    return str(max(1, math.ceil(seconds)))
