"""
How much goes through and how late: counts per second, and the way of a batch from the node to the sockets.

Cheap on purpose: one sample a flush, never one an event or a stream. Pure: clocks are arguments.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from datetime import datetime
from itertools import accumulate
from math import inf
from typing import Final

WINDOW: Final = 60
"""Seconds that rates are taken over."""
SAMPLES: Final = 1024
"""Batches that percentiles are taken over."""
BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds, in seconds, of what histograms count together: from a commit of its own to a log that is in trouble."""


class Histogram:
    """How many samples took how long, since the start."""

    def __init__(self) -> None:
        self.total = 0.0
        """Seconds, of all samples."""
        self._counts = [0] * (len(BOUNDS) + 1)  # the last one: beyond the last bound

    def observe(self, seconds: float) -> None:
        """One sample."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> list[tuple[float, int]]:
        """Each bound, and the samples up to it; the last bound is infinite, and has them all."""
        return list(zip((*BOUNDS, inf), accumulate(self._counts), strict=True))


class Meter:
    """Counts since the start, rates of the last minute, percentiles of the newest batches."""

    def __init__(self) -> None:
        self.events = 0
        self.deliveries = 0
        self.bytes = 0
        self.histograms = {name: Histogram() for name in ("arrival_to_commit", "commit_to_socket", "arrival_to_socket")}
        self._began = 0  # the second of the first count
        self._seconds: deque[list[int]] = deque(maxlen=WINDOW + 1)  # [second, events, deliveries, bytes]
        self._batches: deque[tuple[float, float, float]] = deque(maxlen=SAMPLES)  # Unix seconds

    def count(self, now: float, *, events: int = 0, deliveries: int = 0, size: int = 0) -> None:
        """Events committed; events given to streams, and their bytes."""
        self.events += events
        self.deliveries += deliveries
        self.bytes += size
        second = int(now)
        self._began = self._began or second
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0, 0, 0])
        newest = self._seconds[-1]
        newest[1] += events
        newest[2] += deliveries
        newest[3] += size

    def batch(self, observed_at: str, committed: float, written: float) -> None:
        """The newest event of a batch came at `observed_at` (RFC 3339); when it was committed, when written to all."""
        try:
            observed = datetime.fromisoformat(observed_at).timestamp()
        except ValueError:
            return
        self._batches.append((observed, committed, written))
        for histogram, taken in zip(
            self.histograms.values(), (committed - observed, written - committed, written - observed), strict=True
        ):
            histogram.observe(max(taken, 0.0))  # a clock of wall time may have been set

    def rates(self, now: float) -> dict[str, float]:
        """Per second, over the whole seconds of the last minute, or since the first count."""
        last = int(now)
        span = max(1, min(WINDOW, last - self._began))
        whole = [row for row in self._seconds if last - WINDOW <= row[0] < last]
        return {
            name: round(sum(row[column] for row in whole) / span, 2)
            for column, name in enumerate(("events", "deliveries", "bytes"), start=1)
        }

    def latencies(self) -> dict[str, dict[str, float]]:
        """Milliseconds, of the newest batches: arrival to commit, commit to socket, arrival to socket."""
        batches = list(self._batches)
        return {
            "arrival_to_commit": _percentiles([committed - observed for observed, committed, _ in batches]),
            "commit_to_socket": _percentiles([written - committed for _, committed, written in batches]),
            "arrival_to_socket": _percentiles([written - observed for observed, _, written in batches]),
        }


def _percentiles(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    # Clocks of wall time are set now and then, and `observed_at` is cut to milliseconds: never below zero.
    ordered = [max(second, 0.0) * 1000 for second in sorted(seconds)]
    count = len(ordered)
    return {
        name: round(ordered[min(count - 1, int(count * share))], 3)
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
    }
