"""`GET /metrics`: what Prometheus reads, and what it must never be told."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus
from server.house import ALICE, House, block, transfer
from server.test_access import holding, key

from chainwatch.event import retraction
from chainwatch.keys import Keyring
from chainwatch.server import metrics

CHAINS: list[dict[str, Any]] = [
    {
        "name": name,
        "state": state,
        "ready": state == "connected",
        "reason": "wss://SECRETHOST.example did not answer",
        "endpoint": "wss://SECRETHOST.example",
        "head": 7,
        "node_head": 9,
        "finalized": None,
        "lag_seconds": 1.5,
        "blocks": 3,
        "reorgs": 1,
        "endpoints": [
            {
                "endpoint": "wss://SECRETHOST.example",
                "state": "ready",
                "head": 9,
                "rtt_p50_seconds": 0.25,
                "rtt_p95_seconds": None,
                "connects": 2,
                "failures": 1,
                "requests": 40,
            },
            {"endpoint": "https://SECRETHOST.example", "state": "refused", "head": None, "connects": 0},
        ],
        "mempool": {"pushed": 5, "left_out": 0, "malformed": 0, "to_look_up": 1, "waiting": 2, "turned_away": 0},
    }
    for name, state in (("ethereum", "connected"), ("base", "stalled"))
]
SOURCES = [
    {"name": "coingecko", "chain": None, "state": "limited", "ready": True, "requests": 12},
    {"name": "chainlink:ETH/USD", "chain": "base", "state": "ok", "ready": True},
]
Series = dict[tuple[str, ...], float]


async def scraped(house: House, headers: dict[str, str] | None = None) -> Series:
    """Every series: its name and the values of its labels, in order; and its value. The text is strictly read."""
    answer = await house.ask("/metrics", headers)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    return _series(prometheus((await answer.body()).decode()))


def _series(families: Any) -> Series:
    found: Series = {}
    for family in families:
        assert family.documentation
        for sample in family.samples:
            name = (sample.name, *(sample.labels[label] for label in sorted(sample.labels)))
            assert name not in found
            found[name] = sample.value
    return found


async def test_all_that_is_counted_is_there(serve):
    house = await serve(chains=lambda: CHAINS, sources=lambda: SOURCES)
    stream = await house.stream()
    told = transfer(1)
    await house.tell(block(1), told, block(2, chain="base"), retraction(told, told.observed_at))
    await stream.numbers(4)
    found = await scraped(house)
    assert found["chainwatch_events_total", "ethereum", "token_transfer"] == 2
    assert found["chainwatch_events_total", "base", "block_new"] == 1
    assert found["chainwatch_retractions_total", "ethereum", "token_transfer"] == 1
    assert found["chainwatch_deliveries_total",] == 4
    assert found["chainwatch_delivered_bytes_total",] > 400
    assert found["chainwatch_streams", "live"] == 1
    assert found["chainwatch_streams", "catching_up"] == 0
    assert found["chainwatch_connections",] == 1
    assert found["chainwatch_log_head_sequence",] == found["chainwatch_log_flushed_sequence",] == 4
    assert found["chainwatch_log_commits_total",] == 1
    assert found["chainwatch_chain_state", "base", "stalled"] == 1
    assert found["chainwatch_chain_state", "base", "connected"] == 0
    assert sum(value for name, value in found.items() if name[0] == "chainwatch_chain_state") == 2
    assert found["chainwatch_chain_lag_seconds", "base"] == 1.5
    assert ("chainwatch_chain_finalized_block", "base") not in found
    assert found["chainwatch_chain_reorgs_total", "base"] == 1
    assert found["chainwatch_endpoint_up", "base", "1"] == 1
    assert found["chainwatch_endpoint_up", "base", "2"] == 0
    assert found["chainwatch_endpoint_requests_total", "base", "1"] == 40
    assert found["chainwatch_endpoint_round_trip_seconds", "base", "1", "50"] == 0.25
    assert found["chainwatch_mempool_waiting", "base"] == 2
    assert found["chainwatch_source_state", "", "coingecko", "limited"] == 1
    assert found["chainwatch_source_ready", "base", "chainlink:ETH/USD"] == 1
    assert found["chainwatch_build_info", "0"] == 1
    assert found["chainwatch_http_accepted_connections_total",] == 2
    assert found["chainwatch_http_answers_total", "200", "/events"] == 1
    assert found["process_resident_memory_bytes",] > 10**7


async def test_latencies_are_histograms_of_what_was_delivered(house):
    stream = await house.stream()
    for number in range(3):
        await house.tell(block(number))
        await stream.numbers(1)
    found = await scraped(house)
    for way in ("arrival_to_commit", "commit_to_socket", "arrival_to_socket"):
        name = f"chainwatch_{way}_seconds"
        assert found[f"{name}_bucket", "+Inf"] == found[f"{name}_count",] == 3
        assert 0 <= found[f"{name}_sum",] < 30
        counts = [count for label, count in found.items() if label[0] == f"{name}_bucket"]
        assert counts == sorted(counts)


async def test_whoever_accepts_openmetrics_gets_it(house):
    await house.tell(block(1))
    answer = await house.ask("/metrics", {"Accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain"})
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    body = (await answer.body()).decode()
    assert body.endswith("# EOF\n")
    assert _series(openmetrics(body))["chainwatch_events_total", "ethereum", "block_new"] == 1
    for accept in ("application/openmetrics-text;version=x;escaping=\xff", "*/*", "text/plain;version=,;"):
        assert (await house.ask("/metrics", {"Accept": accept})).status == 200


async def test_names_are_prometheus_s(serve):
    """https://prometheus.io/docs/practices/naming/: base units, `_total`, a help for each."""
    house = await serve(chains=lambda: CHAINS, sources=lambda: SOURCES)
    text = (await (await house.ask("/metrics")).body()).decode()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    assert kinds.keys() == helps.keys()
    for name, kind in kinds.items():
        assert re.fullmatch(r"(chainwatch|process|python)_[a-z0-9_]+", name)
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search(r"_(ms|millis|milliseconds|kb|mb|percent|minutes)(_|$)", name)
        if name.startswith("chainwatch_"):
            assert helps[name].endswith("."), name


async def test_no_series_is_named_by_what_clients_or_nodes_say(serve):
    house = await serve(chains=lambda: CHAINS, sources=lambda: SOURCES)
    for number in range(30):
        await house.tell(msgspec.structs.replace(block(number), type=f"mine{number}"))
        await house.ask(f"/nowhere/{number}")
        await house.ask(f"/events/custom:mine{number}?limit=1&since=earliest")
    await house.stream(f"/events?address={ALICE}")
    body = (await (await house.ask("/metrics")).body()).decode()
    for word in ("SECRETHOST", "://", "nowhere", "mine1", ALICE, "127.0.0.1", "localhost"):
        assert word not in body
    found = _series(prometheus(body))
    assert found["chainwatch_events_total", "ethereum", "custom"] == 30
    assert found["chainwatch_http_answers_total", "404", ""] == 30
    assert found["chainwatch_http_answers_total", "200", "/events/{type}"] == 30


async def test_who_is_turned_away_or_not_understood_is_counted(serve):
    house = await serve(max_connections=1, ring=Keyring([key("reader")]))
    mine = holding(key("reader"))
    await house.stream(headers=mine)
    assert (await house.ask("/events", mine)).status == 503
    assert (await house.ask("/events", {"X-API-Key": "nonsense"})).status == 401
    assert (await house.ask("/events", version="9.9")).status == 400
    found = await scraped(house, mine)
    assert found["chainwatch_refusals_total", "total"] == 1
    assert found["chainwatch_refusals_total", "rate"] == 0
    assert found["chainwatch_key_failures_total",] == 1
    assert found["chainwatch_keys",] == 1
    assert found["chainwatch_http_answers_total", "401", "/events"] == 1
    assert found["chainwatch_http_answers_total", "400", ""] == 1


@pytest.mark.parametrize("path", ["/metrics"])
async def test_where_there_are_keys_one_that_reads_is_needed(serve, path):
    house = await serve(ring=Keyring([key("reader"), key("sender", can="send")]))
    assert (await house.ask(path)).status == 401
    assert (await house.ask(path, holding(key("sender", can="send")))).status == 403
    assert (await house.ask(path, holding(key("reader")))).status == 200


async def test_a_key_of_some_chains_sees_their_series_alone(serve):
    one = key("one", chains=("base",))
    typed = key("typed", types=("block",))
    walled = key("walled", addresses=(ALICE,))
    house = await serve(chains=lambda: CHAINS, sources=lambda: SOURCES, ring=Keyring([one, typed, walled]))
    await house.tell(block(1), block(2, chain="base"), transfer(3, chain="base"))
    found = await scraped(house, holding(one))
    assert {name[1] for name in found if name[0] == "chainwatch_events_total"} == {"base"}
    assert "ethereum" not in json.dumps([*found])
    assert ("chainwatch_source_ready", "", "coingecko") not in found
    assert ("chainwatch_source_ready", "base", "chainlink:ETH/USD") in found
    assert {name[0].split("_")[1] for name in found} == {
        "build", "chain", "endpoint", "events", "mempool", "source", "start"
    }  # fmt: skip
    found = await scraped(house, holding(typed))
    assert {name[2] for name in found if name[0] == "chainwatch_events_total"} == {"block_new"}
    found = await scraped(house, holding(walled))
    assert not [name for name in found if name[0] == "chainwatch_events_total"]


async def test_every_state_has_a_series_before_it_comes(house):
    found = await scraped(house)
    assert {name[1] for name in found if name[0] == "chainwatch_streams"} == {
        "catching_up", "reading", "waiting", "live", "paused", "closing"
    }  # fmt: skip
    assert {name[1] for name in found if name[0] == "chainwatch_refusals_total"} == set(metrics.REFUSALS)
    assert {name[1] for name in found if name[0] == "chainwatch_http_dropped_connections_total"} == set(metrics.DROPS)
