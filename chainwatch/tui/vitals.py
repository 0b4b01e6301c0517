"""What a daemon says of itself, as far as it is drawn: `/v1/stats`. What is not there is nothing, or zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec


class Endpoint(msgspec.Struct, frozen=True):
    """A node, or a provider's."""

    endpoint: str = "?"
    state: str = ""
    reason: str | None = None
    head: int | None = None
    rtt_p50_seconds: float | None = None
    rtt_p95_seconds: float | None = None
    connects: int = 0


class Chain(msgspec.Struct, frozen=True):
    name: str = "?"
    state: str = ""
    reason: str | None = None
    endpoint: str | None = None
    """The one in use."""
    head: int | None = None
    node_head: int | None = None
    lag_seconds: float | None = None
    """Since the newest block that was told."""
    reorgs: int = 0
    endpoints: tuple[Endpoint, ...] = ()


class Source(msgspec.Struct, frozen=True):
    """A source of prices."""

    name: str = "?"
    chain: str | None = None
    state: str = ""
    reason: str | None = None
    price: str | None = None


class Listener(msgspec.Struct, frozen=True):
    """An open stream."""

    stream: str = "?"
    kind: str = ""
    key: str | None = None
    peer: str | None = None
    filters: Mapping[str, tuple[str, ...]] = {}
    state: str = ""
    lag: int = 0
    """Events that it has not been given yet."""
    sent: int = 0
    buffered: int = 0
    """Bytes that its machine does not have yet."""
    seconds: float = 0.0


class Streams(msgspec.Struct, frozen=True):
    open: int = 0
    max: int = 0
    list: tuple[Listener, ...] = ()


class Log(msgspec.Struct, frozen=True):
    identity: str = ""
    oldest: int = 0
    head: int = 0
    bytes: int = 0
    wal_bytes: int = 0
    memory_bytes: int = 0
    commits: int = 0
    commit_seconds: float = 0.0
    waiting: int = 0
    forgotten: int = 0


class Totals(msgspec.Struct, frozen=True):
    events: int = 0


class Vitals(msgspec.Struct, frozen=True):
    """One snapshot."""

    version: str = ""
    time: float = 0.0
    uptime_seconds: float = 0.0
    chains: tuple[Chain, ...] = ()
    sources: tuple[Source, ...] = ()
    streams: Streams = Streams()
    log: Log = Log()
    totals: Totals = Totals()
    latencies_ms: Mapping[str, Mapping[str, float]] = {}

    def latency(self, way: str, share: str) -> float | None:
        """Milliseconds: of `arrival_to_commit` or `arrival_to_socket` the `p50` or `p99`."""
        return self.latencies_ms.get(way, {}).get(share)


_DECODER: Final = msgspec.json.Decoder(Vitals)


def read(text: bytes) -> Vitals:
    """The snapshot of that JSON. `msgspec.MsgspecError` where it is none."""
    return _DECODER.decode(text)
