"""
What stands in the panes: the model as columns and rows, each row in the order that was asked for. Pure.

A column has a title, a width and a rank: where a screen is narrow, columns of a high rank are left out first. What is
left over goes to those that may be wider, the first one first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from chainwatch.client import Wallet
from chainwatch.text import age, amount, glance, short
from chainwatch.tui.drawing import Cell, Tone, drawable, sparkline, state
from chainwatch.tui.model import Model
from chainwatch.tui.prices import Price
from chainwatch.tui.vitals import Chain, Endpoint, Listener

SPARK: Final = 16
"""Columns of a sparkline."""
UNKNOWN: Final = "nothing is known yet"


class Column(NamedTuple):
    title: str
    width: int
    align: str = "<"
    rank: int = 0
    most: int = 0
    shorter: Callable[[str], str] = str
    """What is left of a text that does not fit, before it is cut."""


class Row(NamedTuple):
    cells: tuple[Cell, ...]
    text: str
    """What is copied, and shown in full by the detail view."""


class Table(NamedTuple):
    """A pane at one moment."""

    about: str
    """A few words beside its title."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    empty: str
    """What is said where there is no row."""


Draw = Callable[[Model, str, float], Table]
"""The model, the name of an order, the time."""


def _row(*cells: Cell, about: dict[str, Any] | None = None) -> Row:
    """`about`: what a copy has, where that is more than what is drawn."""
    drawn = tuple(Cell(drawable(text), tone) for text, tone in cells)
    told = "  ".join(text.strip() for text, _ in drawn if text.strip())
    if about is not None:
        told = "\n".join(f"{name}: {drawable(str(value))}" for name, value in about.items() if value not in (None, ""))
    return Row(drawn, told)


def _number(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:,.0f}{unit}"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else milliseconds(seconds * 1000)


def milliseconds(value: float | None) -> str:
    """Three digits of it: `0.74 ms`, `6.5 ms`, `87 ms`, `1.2 s`."""
    if value is None:
        return "-"
    if value >= 1000:
        return f"{value / 1000:.1f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms" if value >= 1 else f"{value:.2f} ms"


def _both(less: float | None, more: float | None) -> str:
    """Two times in one unit: `24/81 ms`."""
    if less is None or more is None:
        return _milliseconds(less)
    if more >= 1:
        return f"{less:.1f}/{more:.1f} s"
    return "/".join(milliseconds(one * 1000).removesuffix(" ms") for one in (less, more)) + " ms"


def size(count: float) -> str:
    """Bytes for a glance: `829 KiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def rate(value: float | None) -> str:
    """A second: `107/s`, `0.4/s`."""
    if value is None:
        return "-"
    return f"{value:,.0f}/s" if value >= 10 or value == 0 else f"{value:.1f}/s"


def _without_scheme(text: str) -> str:
    """The host says more of an endpoint than how it is spoken to."""
    return _SCHEME.sub("", text)


_SCHEME: Final = re.compile(r"\b(?:ws|http)s?://")

# --- chains and endpoints -----------------------------------------------------------------------------------------

_CHAINS: Final = (
    Column("chain, endpoint", 14, most=48, shorter=_without_scheme),
    Column("state", 14),
    Column("head", 10, ">"),
    Column("lag", 6, ">"),
    Column("RTT p50/95", 10, ">", rank=2),
    Column("last minute", SPARK, rank=3),
    Column("", 10, ">", rank=1),
)
CHAIN_ORDERS: Final = ("name", "lag", "RTT")


def chains(model: Model, order: str, _now: float) -> Table:
    """Each chain, and its endpoints below it."""
    known = model.vitals.chains if model.vitals else ()
    keys: dict[str, Callable[[Chain], Any]] = {
        "name": lambda chain: chain.name,
        "lag": lambda chain: -(chain.lag_seconds or 0),
        "RTT": lambda chain: -max((one.rtt_p50_seconds or 0 for one in chain.endpoints), default=0),
    }
    rows: list[Row] = []
    for chain in sorted(known, key=keys[order]):
        rows.append(_chain(chain, model))
        newest = max((one.head for one in chain.endpoints if one.head is not None), default=None)
        ranked = sorted(chain.endpoints, key=lambda one: -(one.rtt_p50_seconds or 0) if order == "RTT" else 0)
        rows += [_endpoint(one, chain, newest, model, last=one is ranked[-1]) for one in ranked]
    return Table(
        str(len(known)), _CHAINS, tuple(rows), "no chain is followed: custom events only" if model.vitals else UNKNOWN
    )


def _chain(chain: Chain, model: Model) -> Row:
    lag = "-" if chain.lag_seconds is None else age(chain.lag_seconds)
    about = {"chain": chain.name, "state": chain.state, "reason": chain.reason, "endpoint": chain.endpoint}
    return _row(
        Cell(chain.name, "strong"),
        state(chain.state),
        Cell(_number(chain.head)),
        Cell(lag),
        Cell(""),
        Cell(sparkline(model.past.of(chain.name), SPARK), "dim"),
        Cell(f"{_number(chain.reorgs)} reorg{'' if chain.reorgs == 1 else 's'}", "warn" if chain.reorgs else "dim"),
        about=about | {"head": chain.head, "seconds behind": chain.lag_seconds, "reorgs": chain.reorgs},
    )


def _endpoint(one: Endpoint, chain: Chain, newest: int | None, model: Model, *, last: bool) -> Row:
    back = None if newest is None or one.head is None else newest - one.head
    reconnects = max(0, one.connects - 1)
    used = " in use" if one.endpoint == chain.endpoint and len(chain.endpoints) > 1 else ""
    return _row(
        Cell(f"{'└' if last else '├'} {one.endpoint}{used}", "plain"),
        state(one.state),
        Cell(_number(one.head)),
        Cell("-" if back is None else f"{back} bl"),
        Cell(_both(one.rtt_p50_seconds, one.rtt_p95_seconds)),
        Cell(sparkline(model.past.of(f"{chain.name} {one.endpoint}"), SPARK), "accent"),
        Cell(f"{_number(reconnects)} reconn.", "warn" if reconnects else "dim"),
        about={
            "endpoint": one.endpoint,
            "state": one.state,
            "reason": one.reason,
            "head": one.head,
            "RTT p50": _milliseconds(one.rtt_p50_seconds),
            "RTT p95": _milliseconds(one.rtt_p95_seconds),
            "reconnects": reconnects,
        },
    )


# --- streams ------------------------------------------------------------------------------------------------------

_STREAMS: Final = (
    Column("key", 10, rank=2),
    Column("peer", 15, rank=1, most=18),
    Column("filter", 14, most=90),
    Column("state", 13),
    Column("lag", 7, ">"),
    Column("rate", 8, ">"),
    Column("sent", 9, ">", rank=3),
    Column("buffered", 8, ">"),
)
STREAM_ORDERS: Final = ("lag", "rate", "sent", "key")


def streams(model: Model, order: str, _now: float) -> Table:
    """Who listens, whoever is furthest behind first."""
    open_, rates = model.vitals.streams if model.vitals else None, model.rates
    keys: dict[str, Callable[[Listener], Any]] = {
        "lag": lambda one: -one.lag,
        "rate": lambda one: -(rates.of(f"stream {one.stream}") or 0),
        "sent": lambda one: -one.sent,
        "key": lambda one: one.key or "",
    }
    rows = tuple(_stream(one, model) for one in sorted(open_.list if open_ else (), key=keys[order]))
    about = f"{open_.open:,} of {open_.max:,}" if open_ else ""
    return Table(about, _STREAMS, rows, "nobody listens" if open_ else UNKNOWN)


def _stream(one: Listener, model: Model) -> Row:
    wanted = " ".join(_words(name, words) for name, words in one.filters.items()) or "everything"
    return _row(
        Cell(one.key or "-"),
        Cell("this monitor", "dim") if one.stream in model.own else Cell(one.peer or "-"),
        Cell(wanted, "plain" if one.filters else "dim"),
        state(one.state),
        Cell(_number(one.lag), "warn" if one.lag > 1000 else "plain"),
        Cell(rate(model.rates.of(f"stream {one.stream}"))),
        Cell(_number(one.sent)),
        Cell(size(one.buffered)),
        about={
            "stream": one.stream,
            "kind": one.kind,
            "key": one.key,
            "peer": f"{one.peer}, this monitor" if one.stream in model.own else one.peer,
            "filter": " ".join(f"{name}={','.join(words)}" for name, words in one.filters.items()) or "everything",
            "state": one.state,
            "behind": f"{one.lag:,} events",
            "sent": f"{one.sent:,} events",
            "buffered": size(one.buffered),
            "open for": age(one.seconds),
        },
    )


def _words(name: str, words: Sequence[str]) -> str:
    """As somebody would type them into the filter, addresses short."""
    if name == "types":
        return " ".join(words)
    return f"{name}={','.join(map(short, words) if name in ('address', 'token') else words)}"


# --- prices and wallets -------------------------------------------------------------------------------------------

_HELD: Final = (
    Column("what", 10, most=18),
    Column("price, balance", 14, ">", most=34),
    Column("token", 6, most=10),
    Column("change", 9, ">", rank=1),
    Column("last minutes", SPARK, rank=4),
    Column("state, source", 13, rank=2),
    Column("age", 5, ">", rank=3),
)
_DIGITS: Final = 8  # behind the point of a price
HELD_ORDERS: Final = ("name", "age", "change")


def held(model: Model, order: str, now: float) -> Table:
    """Prices, then what the watched wallets hold."""
    keys: dict[str, Callable[[Price], Any]] = {
        "name": lambda one: (one.pair, one.source),
        "age": lambda one: -one.at,
        "change": lambda one: -abs(_float(one.change)),
    }
    rows = [_price(one, now) for one in sorted(model.prices, key=keys[order])]
    told = {one.source for one in model.prices} | {one.pair for one in model.prices}
    for source in model.vitals.sources if model.vitals else ():
        if source.state != "ok" or not any(word in source.name for word in told):
            cells = (
                Cell(source.name),
                Cell(glance(source.price or "-", _DIGITS)),
                Cell(""),
                Cell(""),
                Cell(""),
                state(source.state),
            )
            rows.append(_row(*cells, about={"source": source.name, "state": source.state, "reason": source.reason}))
    for wallet in sorted(model.wallets, key=lambda one: (not one.name, one.name, one.chain, one.address)):
        rows += _wallet(wallet, several=len({one.chain for one in model.wallets}) > 1)
    return Table("", _HELD, tuple(rows), "no wallet is watched, no price told" if model.vitals else UNKNOWN)


def _price(one: Price, now: float) -> Row:
    tone: Tone = "plain" if not one.change or _float(one.change) == 0 else "warn" if one.change[0] == "-" else "good"
    arrow = "" if tone == "plain" else "▼ " if one.change[0] == "-" else "▲ "
    return _row(
        Cell(one.pair, "strong"),
        Cell(glance(one.price, _DIGITS)),
        Cell(""),
        Cell(f"{arrow}{one.change.lstrip('+-')}%" if one.change else "", tone),
        Cell(sparkline(one.past, SPARK, bottom=None), "accent"),
        Cell(one.source, "dim"),
        Cell(age(max(0.0, now - one.at)) if one.at else "-", "dim"),
        about={"price": f"{one.price} {one.pair}", "change": one.change and f"{one.change}%", "source": one.source},
    )


def _wallet(wallet: Wallet, *, several: bool) -> list[Row]:
    name = (wallet.name or short(wallet.address)) + (f" on {wallet.chain}" if several else "")
    rows = []
    for index, holding in enumerate(wallet.balances):
        balance = _amount(holding.balance, holding.decimals)
        about = {"wallet": wallet.name, "address": wallet.address, "chain": wallet.chain, "balance": balance}
        cells = (
            Cell(name if not index else "", "strong"),
            Cell(glance(balance)),
            Cell(holding.token or short(holding.token_address or "?")),
            *(Cell(""), Cell("")),
            state(wallet.state) if not index else Cell(""),
        )
        rows.append(_row(*cells, about=about | {"token": holding.token, "contract": holding.token_address}))
    return rows or [_row(Cell(name, "strong"), Cell("-"), Cell(""), Cell(""), Cell(""), state(wallet.state))]


def _amount(base_units: str, decimals: int | None) -> str:
    try:
        return amount(base_units, decimals)
    except ValueError:
        return base_units


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


# --- the log ------------------------------------------------------------------------------------------------------

_LOG: Final = (Column("", 9), Column("", 24, most=90))


def log(model: Model, _order: str, now: float) -> Table:
    """How large, how old, how fast."""
    if (vitals := model.vitals) is None:
        return Table("", _LOG, (), UNKNOWN)
    kept = vitals.log
    old = _age_of(model.oldest, now)
    p50, p99 = (milliseconds(vitals.latency("arrival_to_commit", share)) for share in ("p50", "p99"))
    told = {
        "events": f"{max(0, kept.head - kept.oldest + 1):,} kept, {vitals.totals.events:,} since the start",
        "age": f"the oldest is {old}" if old else "-",
        "size": f"{size(kept.bytes)} + {size(kept.wal_bytes)} to be merged, {size(kept.memory_bytes)} in memory",
        "writes": f"{rate(model.rates.of('commits'))}, the last took {_milliseconds(kept.commit_seconds)}",
        "to disk": f"p50 {p50}, p99 {p99} from arrival",
        "waiting": f"{kept.waiting:,} to be written, {kept.forgotten:,} forgotten by age or size",
        "name": kept.identity,
    }
    rows = tuple(_row(Cell(name, "dim"), Cell(text)) for name, text in told.items())
    return Table(f"up {age(vitals.uptime_seconds)}", _LOG, rows, "")


def _age_of(timestamp: str, now: float) -> str:
    try:
        return age(max(0.0, now - datetime.fromisoformat(timestamp).timestamp())) + " old"
    except ValueError:
        return ""
