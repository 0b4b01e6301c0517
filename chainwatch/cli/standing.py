"""How a daemon is, as tables for people. Every text in it was chosen by a stranger, or by a daemon that may lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from chainwatch.states import GLYPHS, Kind, kind
from chainwatch.text import age, amount, glance, printable, redact_url, short, wide
from chainwatch.tui.vitals import Chain, Vitals

if TYPE_CHECKING:
    from chainwatch.client import Wallet

_MOST: Final = 20  # rows of wallets and of streams; --json has them all
_FEW: Final = 3  # tokens of a wallet
_DECIMALS: Final = 8  # of a price, at a glance
_NARROWEST: Final = 12  # columns of a text that is cut
_MIB: Final = 1024 * 1024

Paint = Callable[[str, str], str]
"""A text and the number of its colour -> the text as the terminal takes it."""

_BOLD, _DIM, _RED, _GREEN, _YELLOW, _BLUE = "1", "2", "31", "32", "33", "34"

_COLORS: Final[Mapping[Kind, str]] = {"good": _GREEN, "coming": _BLUE, "doubtful": _YELLOW, "bad": _RED}


class Snapshot(Vitals, frozen=True):
    """What is told once. The monitor reckons rates itself, from one snapshot to the next."""

    rates: Mapping[str, float] = {}


def lines(
    vitals: Snapshot, wallets: Sequence[Wallet], url: str, paint: Paint, columns: int | None = None
) -> Iterator[str]:
    """What `chainwatch status` prints. `columns`: of the terminal; last columns of text are cut to fit it."""
    table = partial(_table, paint=paint, columns=columns)
    version, where = printable(vitals.version, 32), redact_url(url)
    yield f"{paint(f'chainwatch {version}', _BOLD)} at {where}, up {age(vitals.uptime_seconds)}"
    yield ""
    if vitals.chains:
        yield from table("CHAIN STATE >HEAD >BEHIND >AGE >REORGS ENDPOINT WHY", map(_chain, vitals.chains))
        yield from table("CHAIN STATE >HEAD >RTT >P95 >CONNECTS ENDPOINT WHY", _endpoints(vitals.chains))
    else:
        yield "no chains are followed: custom events only"
        yield ""
    prices = [(one.name, one.state, _thousands(one.price), printable(one.reason or "", 80)) for one in vitals.sources]
    yield from table("SOURCE STATE >PRICE WHY", prices)
    watched = ((one.name or "-", one.chain, short(one.address), one.state, _holds(one)) for one in wallets[:_MOST])
    yield from table("WALLET CHAIN ADDRESS STATE HOLDS", watched, more=len(wallets) - _MOST)
    titles = "LISTENER KIND KEY STATE >LAG >SENT >OPEN FILTER"
    yield from table(titles, _listeners(vitals), more=_hidden(vitals))
    for name, told in (
        ("events", f"{vitals.rates.get('events', 0.0):,.1f} a second, {vitals.totals.events:,} since it was started"),
        ("latency", _latency(vitals)),
        ("streams", f"{vitals.streams.open:,} open, of {vitals.streams.max:,} at most"),
        ("log", _log(vitals)),
    ):
        yield f"{paint(f'{name:8}', _DIM)} {told}"


# --- rows -----------------------------------------------------------------------------------------------------------


def _chain(chain: Chain) -> Sequence[str]:
    behind = None if chain.head is None or chain.node_head is None else max(0, chain.node_head - chain.head)
    lag = "-" if chain.lag_seconds is None else age(chain.lag_seconds)
    told = (_count(chain.head), _count(behind), lag, _count(chain.reorgs))
    return chain.name, chain.state, *told, _text(chain.endpoint), printable(chain.reason or "", 80)


def _endpoints(chains: Iterable[Chain]) -> Iterator[Sequence[str]]:
    for chain in chains:
        for one in chain.endpoints:
            trips = (_milliseconds(one.rtt_p50_seconds), _milliseconds(one.rtt_p95_seconds))
            why = printable(one.reason or "", 80)
            told = (_count(one.head), *trips, _count(one.connects), _text(one.endpoint), why)
            yield chain.name, one.state, *told


def _holds(wallet: Wallet) -> str:
    told = []
    held = [one for one in wallet.balances if one.balance != "0" or one.token_address is None]
    for one in held[:_FEW]:
        try:
            balance = amount(one.balance, one.decimals)
        except ValueError:
            balance = "?"
        told.append(f"{glance(balance)} {printable(one.token or short(one.token_address or '?'), 16)}")
    if len(held) > _FEW:
        told.append(f"{len(held) - _FEW} more")
    return ", ".join(told) or "-"


def _listeners(vitals: Vitals) -> Iterator[Sequence[str]]:
    for one in vitals.streams.list[:_MOST]:
        wanted = " ".join(f"{name}={','.join(values)}" for name, values in one.filters.items())
        told = (_count(one.lag), _count(one.sent), age(one.seconds), printable(wanted, 60) or "all")
        yield _text(one.peer), one.kind, _text(one.key), one.state, *told


def _hidden(vitals: Vitals) -> int:
    return vitals.streams.open - min(_MOST, len(vitals.streams.list))


def _latency(vitals: Vitals) -> str:
    p50, p99 = (vitals.latency("arrival_to_socket", share) for share in ("p50", "p99"))
    if p50 is None or p99 is None:
        return "none measured yet"
    return f"{_milliseconds(p50 / 1000)} from node to listener for half of them, {_milliseconds(p99 / 1000)} for 99%"


def _log(vitals: Vitals) -> str:
    log = vitals.log
    kept = max(0, log.head - log.oldest + 1)
    size = (log.bytes + log.wal_bytes) / _MIB
    return f"{_count(kept)} events kept in {size:,.1f} MiB, up to {_text(log.identity)}-{log.head}"


# --- words ----------------------------------------------------------------------------------------------------------


def _text(value: str | None) -> str:
    return printable(value, 64) if value else "-"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.{0 if seconds >= 0.01 else 1}f} ms"


def _thousands(price: str | None) -> str:
    return "-" if price is None else glance(printable(price, 40), _DECIMALS)


def _padding(text: str, width: int) -> str:
    return " " * (width - wide(text))


def _cut(text: str, width: int) -> str:
    """At most so many columns of it."""
    if wide(text) <= width:
        return text
    while wide(text) >= width:
        text = text[:-1]
    return f"{text}…"


# --- tables ---------------------------------------------------------------------------------------------------------


def _table(
    titles: str, given: Iterable[Sequence[Any]], *, paint: Paint, columns: int | None, more: int = 0
) -> Iterator[str]:
    """
    Titles, a line a row, and an empty line; nothing where there is no row. `>` before a title: its column ends at the
    right. A column STATE gets its glyph and its colour; WHY is left out where nobody says why.
    """
    rows = [[printable(str(cell), 120) for cell in row] for row in given]
    names = titles.split()
    if rows and names[-1] == "WHY" and not any(row[-1] for row in rows):
        names, rows = names[:-1], [row[:-1] for row in rows]
    if not rows:
        return
    heads = [name.removeprefix(">") for name in names]
    kinds = {place: [kind(row[place]) for row in rows] for place, name in enumerate(heads) if name == "STATE"}
    for place, told in kinds.items():
        for row, meant in zip(rows, told, strict=True):
            row[place] = f"{GLYPHS[meant]} {row[place] or '-'}"
    widths = [max(wide(row[place]) for row in [heads, *rows]) for place in range(len(heads))]
    if columns is not None and names[-1][0] != ">":
        widths[-1] = min(widths[-1], max(_NARROWEST, columns - sum(widths[:-1]) - 2 * len(widths[:-1])))
        for row in rows:
            row[-1] = _cut(row[-1], widths[-1])

    def fitted(row: Sequence[str]) -> list[str]:
        return [
            _padding(cell, width) + cell if name[0] == ">" else cell + _padding(cell, width)
            for cell, width, name in zip(row, widths, names, strict=True)
        ]

    yield paint("  ".join(fitted(heads)).rstrip(), _DIM)
    for number, row in enumerate(rows):
        cells = fitted(row)
        for place, told in kinds.items():
            cells[place] = paint(cells[place], _COLORS[told[number]])
        yield "  ".join(cells).rstrip()
    if more > 0:
        yield paint(f"and {more:,} more", _DIM)
    yield ""
