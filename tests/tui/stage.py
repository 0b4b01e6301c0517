"""What tests of the screen share: a model in which every number is written down, and ways to wait for a text."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec

from chainwatch.client import Wallet
from chainwatch.event import Event, encode, event_id, rfc3339
from chainwatch.examples import EXAMPLES
from chainwatch.tui import vitals
from chainwatch.tui.app import Monitor
from chainwatch.tui.model import Link, Model

NOW = 1_750_748_400.0
"""2025-06-24T07:00:00Z."""

HOSTILE = "[bold red]\x1b]0;owned\x07\x1b[2J\u202egnp.exe\u200b名前🏳️‍🌈e" + "\u0301" * 50 + "\n\r\t[/]"
"""Markup, a window's title, a cleared screen, text turned around, wide characters, a flag, marks without end."""

ALICE, BOB = "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045", "0x28C6c06298d514Db089934071355E5743bf21d60"


class Still:
    """A daemon that says nothing."""

    async def run(self) -> None:
        return

    async def choose(self, text: str) -> None:
        return


def endpoint(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "endpoint": name, "state": "ready", "reason": None, "head": 22_771_040, "rtt_p50_seconds": 0.0243,
        "rtt_p95_seconds": 0.081, "connects": 1, "failures": 0, "requests": 1946,
    } | changes  # fmt: skip


def listener(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "stream": f"str_{number}", "kind": "sse", "key": "payments", "peer": f"10.0.0.{number}:51{number:03}",
        "filters": {}, "state": "live", "lag": 0, "sent": 81_234, "bytes": 1, "buffered": 0, "seconds": 7300.0,
    } | changes  # fmt: skip


def statistics(second: int = 0, text: str = "") -> dict[str, Any]:
    """A snapshot, `second` seconds before now. `text` stands wherever a stranger could have put one."""
    near, far = "wss://ethereum-rpc.publicnode.com", "https://eth.drpc.org"
    wanted = {"types": ["token_transfer", "wallet_incoming"], "address": [ALICE.lower()]}
    return {
        "version": "0.1.0", "time": NOW - second, "uptime_seconds": 93_600.0 - second,
        "chains": [
            {
                "name": text or "ethereum", "chain_id": 1, "state": "connected", "ready": True, "reason": None,
                "endpoint": near, "head": 22_771_040, "node_head": 22_771_040, "lag_seconds": float(13 - second % 12),
                "reorgs": 2, "endpoints": [
                    endpoint(text or near, rtt_p50_seconds=0.02 + 0.004 * (second % 5)),
                    endpoint(far, head=22_771_039, connects=4, rtt_p50_seconds=0.112, rtt_p95_seconds=0.348),
                ],
            },
            {
                "name": "base", "chain_id": 8453, "state": "degraded", "ready": True, "reason": text or "one endpoint",
                "endpoint": "wss://base-rpc.publicnode.com", "head": 31_984_011, "lag_seconds": 3.1, "reorgs": 0,
                "endpoints": [
                    endpoint("wss://base-rpc.publicnode.com", head=31_984_011, rtt_p50_seconds=0.0311),
                    endpoint("wss://mainnet.base.org", state="waiting", head=None, rtt_p50_seconds=None,
                             rtt_p95_seconds=None, connects=9, reason="HTTP 429"),
                ],
            },
        ],
        "sources": [
            {"name": "chainlink:ETH/USD", "chain": "ethereum", "state": "ok", "price": "2411.37"},
            {"name": text or "coingecko:bitcoin", "state": "limited", "reason": "HTTP 429", "price": None},
        ],
        "streams": {
            "open": 4, "max": 10_000, "list": [
                listener(1, filters=wanted, sent=81_234 - 3 * second),
                listener(2, key=text or "dashboard", peer="192.168.1.20:40112", sent=912_001 - 41 * second),
                listener(3, key=None, peer="127.0.0.1:33444", state="catching up", lag=128_311, buffered=262_144,
                         filters={"where": [text or "data.amount > 1e18"]}, sent=5_100_000 - 90_000 * second),
                listener(4, key="agent", kind="ws", state="paused", lag=42, buffered=4096,
                         filters={"chains": ["base"]}),
            ],
        },
        "log": {
            "identity": "yp9jxr29l", "oldest": 1_204_001, "head": 4_811_960, "bytes": 2_411_724_800,
            "wal_bytes": 3_658_592, "memory_bytes": 67_000_000, "commits": 61_230 - 2 * second,
            "commit_seconds": 0.00074, "waiting": 3, "forgotten": 1_204_000,
        },
        "totals": {"events": 611_204 - second * (40 + second % 7), "deliveries": 1, "bytes": 1},
        "latencies_ms": {
            "arrival_to_commit": {"p50": 4.1, "p99": 19.2}, "arrival_to_socket": {"p50": 4.9, "p99": 23.7},
        },
    }  # fmt: skip


def told(text: str = "") -> list[bytes]:
    """One event of each type, over and over; `text`: in each of their strings."""
    lines = []
    for number in range(60):
        example = list(EXAMPLES.values())[number % len(EXAMPLES)]
        moment = rfc3339(int(NOW * 1000) - 1000 * (60 - number))
        data = msgspec.to_builtins(example.data)
        if text:
            data = {name: text if isinstance(value, str) else value for name, value in data.items()}
        removed = number % 20 == 13
        event = Event(
            id=event_id("stage", number), type=example.type if number % 11 or not text else text, timestamp=moment,
            observed_at=moment, chain=text or example.chain or "ethereum", data=data, removed=removed,
            retracts=event_id("stage", 0) if removed else None,
        )  # fmt: skip
        lines.append(encode(event))
    return lines


def price(number: int, value: str, change: str | None, pair: str = "ETH", quote: str = "USD") -> bytes:
    moment = rfc3339(int(NOW * 1000) - 30_000 + 1000 * number)
    data = {"symbol": pair, "quote": quote, "price": value, "change_percent": change, "source": "chainlink"}
    return encode(
        Event(
            id=event_id(pair, number),
            type="price_update",
            timestamp=moment,
            observed_at=moment,
            chain="ethereum",
            data=data,
        )
    )


def wallets(text: str = "") -> tuple[Wallet, ...]:
    rows = [
        {"address": ALICE, "chain": "ethereum", "name": text or "treasury", "state": "watching", "balances": [
            {"token": "ETH", "token_address": None, "decimals": 18, "balance": "10449860871226071234567"},
            {"token": text or "USDC", "token_address": BOB, "decimals": 6, "balance": "4988609330594"},
        ]},
        {"address": BOB, "chain": "ethereum", "name": "", "state": "syncing", "balances": []},
    ]  # fmt: skip
    return msgspec.convert(rows, tuple[Wallet, ...])


def model(text: str = "") -> Model:
    """A daemon that has been watched for twenty seconds."""
    known = Model("http://127.0.0.1:8080")
    for second in range(20, -1, -1):
        known.hear(vitals.read(json.dumps(statistics(second, text)).encode()))
    known.stream = Link("live")
    known.take(told(text), "yp9jxr29l-4811960")
    for number in range(24):
        known.prices.take(price(number, str(2400 + 7 * (number * number % 11)), "-0.41" if number % 2 else "0.29"))
    known.prices.take(price(1, "104112.5", None, text or "BTC"))
    known.wallets = wallets(text)
    known.oldest = rfc3339(int((NOW - 6.5 * 86_400) * 1000))
    return known


def monitor(known: Model, **options: Any) -> Monitor:
    return Monitor(known, Still(), clock=lambda: NOW, **options)


# --- a screen ---------------------------------------------------------------------------------------------------------


def screen(app) -> str:
    return "\n".join(strip.text.rstrip() for strip in app.screen._compositor.render_strips())


async def until(pilot, holds, what="", seconds=20):
    """Wait until the screen shows what it has to."""
    try:
        async with asyncio.timeout(seconds):
            while not holds():
                await pilot.pause(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}\n{screen(pilot.app)}") from None


async def shows(pilot, *texts):
    await until(pilot, lambda: all(text in screen(pilot.app) for text in texts), f"{texts}")


async def hides(pilot, text):
    await until(pilot, lambda: text not in screen(pilot.app), f"no {text}")
