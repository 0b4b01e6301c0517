"""Counts, rates, percentiles."""

from __future__ import annotations

from math import inf

import pytest

from chainwatch.event import rfc3339
from chainwatch.stream.meter import BOUNDS, Meter


def test_rates_are_of_whole_seconds_since_the_first_count_up_to_a_minute():
    meter = Meter()
    assert meter.rates(1000.0) == {"events": 0, "deliveries": 0, "bytes": 0}
    meter.count(1000.2, events=5)
    meter.count(1000.9, deliveries=50, size=100)
    meter.count(1002.1, events=1000)
    assert meter.rates(1002.5) == {"events": 2.5, "deliveries": 25, "bytes": 50}
    assert meter.rates(1062.0)["events"] == round(1000 / 60, 2)
    assert meter.rates(1063.0)["events"] == 0
    assert (meter.events, meter.deliveries, meter.bytes) == (1005, 50, 100)


def test_latencies_are_milliseconds_of_each_part_of_the_way():
    meter = Meter()
    for number in range(100):
        start = 1_700_000_000 + number
        meter.batch(rfc3339(start * 1000), start + 0.002, start + 0.002 + number / 1000)
    told = meter.latencies()
    assert told["arrival_to_commit"]["p50"] == 2
    assert told["commit_to_socket"] == {"p50": 50, "p90": 90, "p99": 99, "max": 99}
    assert told["arrival_to_socket"]["max"] == 101


def test_a_time_that_cannot_be_read_is_no_sample():
    meter = Meter()
    meter.batch("", 1, 2)
    assert meter.latencies()["arrival_to_socket"] == {}


def test_histograms_count_everything_since_the_start_and_never_below_zero():
    meter = Meter()
    start = 1_700_000_000
    for number in range(5000):
        meter.batch(rfc3339(start * 1000), start - 5, start + number / 1000)
    counted = dict(meter.histograms["arrival_to_socket"].cumulative())
    assert list(counted) == [*BOUNDS, inf]
    assert (counted[0.01], counted[1.0], counted[5.0], counted[inf]) == (11, 1001, 5000, 5000)
    assert meter.histograms["arrival_to_socket"].total == pytest.approx(sum(range(5000)) / 1000)
    assert meter.histograms["arrival_to_commit"].total == 0
