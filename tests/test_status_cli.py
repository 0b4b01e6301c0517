"""`chainwatch status`: how a daemon is, drawn for people; and the same as JSON."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import msgspec
import pytest
from served import serving

from chainwatch.cli import run
from chainwatch.cli.standing import Snapshot, lines
from chainwatch.client import Wallet

HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202e\n"


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("CHAINWATCH_", "XDG_", "NO_COLOR")):
            monkeypatch.delenv(name)


def drawn(stats: dict, wallets: list[dict] | None = None, columns: int | None = None) -> str:
    found = lines(
        msgspec.convert(stats, Snapshot),
        msgspec.convert(wallets or [], list[Wallet]),
        "http://127.0.0.1:8080",
        lambda text, code: text,
        columns,
    )
    return "\n".join(found)


STATS = {
    "version": "1.2.3",
    "uptime_seconds": 7300,
    "chains": [
        {
            "name": "ethereum", "state": "connected", "head": 18_500_000, "node_head": 18_500_000, "lag_seconds": 4.2,
            "reorgs": 3, "endpoint": "wss://node.example/…",
            "endpoints": [
                {"endpoint": "wss://node.example/…", "state": "ready", "head": 18_500_000, "rtt_p50_seconds": 0.0012,
                 "rtt_p95_seconds": 0.0345, "connects": 1},
            ],
        },
        {
            "name": "base", "state": "stalled", "reason": "no new head for 30s", "head": 99, "node_head": 101,
            "lag_seconds": 250, "endpoints": [{"endpoint": "https://b.example", "state": "connecting"}],
        },
    ],
    "sources": [{"name": "coingecko", "state": "limited", "price": "3052.1", "reason": "429"}],
    "streams": {
        "open": 30, "max": 10_000,
        "list": [
            {"stream": "s", "kind": "sse", "peer": "10.0.0.1:5000", "key": "desk", "state": "live", "lag": 12,
             "sent": 3400, "seconds": 61.0, "filters": {"types": ["block_new"], "chains": ["base"]}},
        ],
    },
    "log": {"identity": "log1", "oldest": 11, "head": 1_010, "bytes": 5 * 2**20, "wal_bytes": 2**19},
    "rates": {"events": 21.25},
    "totals": {"events": 1_000},
    "latencies_ms": {"arrival_to_socket": {"p50": 7.1, "p99": 79.4}},
}  # fmt: skip

SCREEN = """\
chainwatch 1.2.3 at http://127.0.0.1:8080, up 2h

CHAIN     STATE              HEAD  BEHIND   AGE  REORGS  ENDPOINT              WHY
ethereum  ● connected  18,500,000       0  4.2s       3  wss://node.example/…
base      ▲ stalled            99       2    4m       0  -                     no new head for 30s

CHAIN     STATE               HEAD     RTT    P95  CONNECTS  ENDPOINT
ethereum  ● ready       18,500,000  1.2 ms  34 ms         1  wss://node.example/…
base      ◌ connecting           -       -      -         0  https://b.example

SOURCE     STATE        PRICE  WHY
coingecko  ▲ limited  3,052.1  429

WALLET  CHAIN     ADDRESS      STATE       HOLDS
desk    ethereum  0xa1a1…a1a1  ● watching  1.5 ETH, 0.1234… WBTC, 7 0xc0c0…c0c0, 1 more

LISTENER       KIND  KEY   STATE   LAG   SENT  OPEN  FILTER
10.0.0.1:5000  sse   desk  ● live   12  3,400   61s  types=block_new chains=base
and 29 more

events   21.2 a second, 1,000 since it was started
latency  7.1 ms from node to listener for half of them, 79 ms for 99%
streams  30 open, of 10,000 at most
log      1,000 events kept in 5.5 MiB, up to log1-1010"""

WALLET = {
    "address": "0x" + "a1" * 20,
    "chain": "ethereum",
    "name": "desk",
    "state": "watching",
    "balances": [
        {"token": "ETH", "decimals": 18, "balance": "1500000000000000000"},
        {"token": "NONE", "token_address": "0x" + "d0" * 20, "decimals": 18, "balance": "0"},
        {"token": "WBTC", "token_address": "0x" + "b0" * 20, "decimals": 8, "balance": "12345678"},
        {"token": None, "token_address": "0x" + "c0" * 20, "decimals": None, "balance": "7"},
        {"token": "USDC", "token_address": "0x" + "e0" * 20, "decimals": 6, "balance": "1"},
    ],
}


def test_the_whole_is_seen_at_a_glance():
    assert drawn(STATS, [WALLET]) == SCREEN


def test_a_narrow_terminal_loses_the_end_of_texts_and_no_number():
    seen = drawn(STATS, [WALLET], 80)
    assert all(len(line) <= 80 for line in seen.splitlines() if "no new head" not in line and "WHY" not in line)
    assert "ethereum  ● ready       18,500,000  1.2 ms  34 ms         1  wss://node.example…" in seen
    assert "no new head…" in seen
    assert "1.5 ETH, 0.1234… WBTC, 7 0xc0c0…c0c0…" in seen


def test_a_daemon_without_chains_says_so():
    assert drawn({"version": "1", "uptime_seconds": 3}).splitlines()[:3] == [
        "chainwatch 1 at http://127.0.0.1:8080, up 3.0s",
        "",
        "no chains are followed: custom events only",
    ]


def test_no_text_moves_the_cursor_of_a_terminal():
    def spoilt(value: object) -> object:
        if isinstance(value, dict):
            return {key: spoilt(one) for key, one in value.items()}
        if isinstance(value, list):
            return [spoilt(one) for one in value]
        return HOSTILE if isinstance(value, str) else value

    seen = drawn(spoilt(STATS), [{**spoilt(WALLET), "balances": [{"token": HOSTILE, "balance": HOSTILE}]}])
    assert all(line.isprintable() for line in seen.split("\n"))


def test_wide_characters_move_no_column():
    seen = drawn(STATS, [WALLET | {"name": name} for name in ("金庫", "desk")])
    first, second = (line for line in seen.splitlines() if "watching" in line)
    assert first.index("ethereum") + 2 == second.index("ethereum")


def test_long_lists_are_cut_and_counted():
    seen = drawn({**STATS, "streams": {"open": 300, "list": STATS["streams"]["list"] * 256}}, [WALLET] * 25)
    assert "and 5 more" in seen
    assert "and 280 more" in seen


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    with serving(folder, "--demo") as url:
        yield url


def test_a_real_daemon_is_shown(demo, capfd):
    assert run(["status", "--url", demo]) == 0
    told = capfd.readouterr()
    assert re.match(r"chainwatch [0-9.]+ at http://127\.0\.0\.1:\d+, up ", told.out)
    assert re.search(r"^demo +[●◌] ", told.out, re.MULTILINE)
    assert re.search(r"^alice +demo +0x13D5…8d97 ", told.out, re.MULTILINE)
    assert ("\x1b" in told.out, told.err) == (False, "")
    assert run(["status", "--url", demo, "--color", "always"]) == 0
    assert "\x1b[32m●" in capfd.readouterr().out


def test_a_terminal_of_another_encoding_gets_question_marks(demo):
    command = [sys.executable, "-m", "chainwatch", "status", "--url", demo]
    done = subprocess.run(
        command, capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    )
    assert b"  ? ready " in done.stdout


def test_json_is_what_the_daemon_tells(demo, capfd):
    assert run(["status", "--url", demo, "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert {"version", "chains", "sources", "streams", "log", "latencies_ms", "wallets"} <= told.keys()
    assert [one["name"] for one in told["chains"]] == ["demo"]
    assert {one["name"] for one in told["wallets"]} == {"alice", "bob", "carol"}
