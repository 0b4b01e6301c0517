"""
`GET /metrics`: how the daemon does, for Prometheus; text, or OpenMetrics for whoever accepts that.

Made from what is counted anyway, at the moment of the question. A series is never named by an address, a key, a URL or
a host: only by chains, types of the catalogue, numbers of endpoints, and words of ours. So there are never more series
than the configuration has chains and endpoints for, whatever clients send.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import Any, Final, get_args

from aiohttp import web
from prometheus_client import PlatformCollector, ProcessCollector, exposition
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from chainwatch.log import Entry, Log
from chainwatch.payloads import PAYLOADS
from chainwatch.server import edge, posted
from chainwatch.server.asking import PRINCIPAL
from chainwatch.server.context import CONTEXT, Context
from chainwatch.server.principal import Principal
from chainwatch.stream.follow import State
from chainwatch.stream.meter import Meter
from chainwatch.stream.stream import Place
from chainwatch.webhooks import Fault, Status

CHAIN_STATES: Final = ("connecting", "connected", "syncing", "degraded", "stalled", "disconnected", "halted")
SOURCE_STATES: Final = ("starting", "ok", "limited", "failing")
REFUSALS: Final = ("total", "key", "address", "rate", "where")
DROPS: Final = ("descriptors", "address")
CUSTOM: Final = "custom"
"""The type of whatever clients publish: its name is theirs, and there may be very many."""

_Labels = Sequence[str]
_Row = tuple[_Labels, float | None]
_PROCESS: Final = (ProcessCollector(registry=None), PlatformCollector(registry=None))


class Counted:
    """What only metrics want to know, counted as it happens."""

    def __init__(self, log: Log) -> None:
        self.events: Counter[tuple[str, str, bool]] = Counter()
        """By chain (empty: of none), type, and whether it is a retraction."""
        self.answers: Counter[tuple[str, int]] = Counter()
        """By route and status."""
        log.listen(self._committed)

    def _committed(self, entries: Sequence[Entry]) -> None:
        self.events.update([_kind(entry) for entry in entries])

    def answered(self, request: web.Request, response: web.StreamResponse) -> None:
        """An answer begins. What is at no route has no name of its own: clients choose it."""
        resource = request.match_info.route.resource
        self.answers[resource.canonical if resource is not None else "", response.status] += 1


COUNTED = web.AppKey("counted", Counted)


def _kind(entry: Entry) -> tuple[str, str, bool]:
    event = entry.event
    return event.chain or "", event.type if event.type in PAYLOADS else CUSTOM, event.removed


async def metrics(request: web.Request) -> web.Response:
    """All series; of a key that is limited to some chains, types or addresses, those of its chains and types alone."""
    posted.nothing_asked(request)
    collector = Everything(request.app[CONTEXT], request.app[COUNTED], request[PRINCIPAL], _server(request))
    if "application/openmetrics-text" in request.headers.get("Accept", ""):
        body, kind = openmetrics.generate_latest(collector), openmetrics.CONTENT_TYPE_LATEST  # type: ignore[no-untyped-call]
    else:
        body, kind = exposition.generate_latest(collector), exposition.CONTENT_TYPE_PLAIN_0_0_4
    return web.Response(body=body, headers={"Content-Type": kind, "Cache-Control": "no-store"})


def _server(request: web.Request) -> edge.Server | None:
    """What holds the connection of this request."""
    protocol = request.protocol
    return protocol.server if isinstance(protocol, edge.Handler) else None


class Everything(Collector):
    """The snapshot that `principal` may see."""

    def __init__(self, context: Context, counted: Counted, principal: Principal, server: edge.Server | None) -> None:
        self._context = context
        self._counted = counted
        self._principal = principal
        self._server = server

    def collect(self) -> Iterator[Metric]:
        """Families in the order of the way of an event: from the nodes through the log to the clients."""
        context = self._context
        told = InfoMetricFamily("chainwatch_build", "The version that runs.")
        told.add_metric([], {"version": context.version})
        yield told
        yield gauge("start_time_seconds", "When the daemon was started, in Unix time.", [], [([], context.started)])
        sees = self._principal.sees_chain
        yield from _of_chains([one for one in context.chains() if sees(one["name"])])
        yield from _of_sources([one for one in context.sources() if sees(one.get("chain"))])
        yield from self._of_events()
        if self._principal.limited:
            return
        yield from self._of_log()
        yield from self._of_streams()
        yield from _of_webhooks(context.webhooks.stats())
        yield from self._of_connections()
        for collector in _PROCESS:
            yield from collector.collect()

    def _of_events(self) -> Iterator[Metric]:
        key = self._principal.key
        if key is not None and key.addresses:
            return  # how much happens to other addresses is not theirs to know
        allowed = self._principal.types(self._context.vocabulary())
        told, retracted = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        for (chain, kind, removed), count in self._counted.events.items():
            # A custom type that the key may see is hidden among those that it may not.
            if self._principal.sees_chain(chain or None) and (not allowed or kind in allowed):
                told[chain, kind] += count
                if removed:
                    retracted[chain, kind] += count
        yield counter("events", "Events committed to the log, retractions too.", ["chain", "type"], told.items())
        yield counter("retractions", "Retractions among them.", ["chain", "type"], retracted.items())

    def _of_log(self) -> Iterator[Metric]:
        context = self._context
        log: Mapping[str, float] = context.log.stats()
        yield single("log_events", "Events that the log keeps.", log["events"])
        yield single("log_bytes", "Size of the log's database.", log["bytes"])
        yield single("log_wal_bytes", "Size of the log's write-ahead log.", log["wal_bytes"])
        yield single("log_memory_bytes", "The newest events, kept in memory too.", log["memory_bytes"])
        yield single("log_oldest_sequence", "Sequence of the oldest event that is kept.", log["oldest"])
        yield single("log_head_sequence", "Sequence of the newest event.", log["head"])
        yield single("log_flushed_sequence", "Sequence up to which live streams were written to.", context.hub.flushed)
        yield total("log_commits", "Transactions of the log.", log["commits"])
        yield single("log_last_commit_seconds", "How long the newest transaction took.", log["commit_seconds"])
        yield single("log_waiting_appends", "Batches of events that wait to be committed.", log["waiting"])
        yield total("log_forgotten_events", "Events that retention removed.", log["forgotten"])

    def _of_streams(self) -> Iterator[Metric]:
        context = self._context
        meter = context.hub.meter
        places = dict.fromkeys([place.value for place in (*Place, *State)], 0)
        places |= Counter([stream.place.value for stream in context.hub.streams.values()])
        for follower in context.followers.open.values():
            places[follower.state.value] += 1
        rows = [([place.replace(" ", "_")], count) for place, count in places.items() if place != Place.CLOSED.value]
        yield gauge("streams", "Open streams, by what they do.", ["state"], rows)
        yield total("deliveries", "Events given to streams.", meter.deliveries)
        yield total("delivered_bytes", "Bytes of events given to streams, as they went out.", meter.bytes)
        yield histogram("arrival_to_commit", "From the arrival of an event to its commit.", meter)
        yield histogram("commit_to_socket", "From the commit of an event to the sockets of all live streams.", meter)
        yield histogram("arrival_to_socket", "From the arrival of an event to the sockets of all live streams.", meter)

    def _of_connections(self) -> Iterator[Metric]:
        context, server, gate = self._context, self._server, self._context.gate
        yield single("connections", "Connections that stay open: streams, WebSockets, statistics.", gate.taken)
        yield single("connections_max", "server.max_connections.", context.settings().max_connections)
        yield counter("refusals", "Clients turned away, by limit.", ["limit"], _all(REFUSALS, gate.refusals))
        yield single("keys", "API keys that there are.", len(context.sessions.access.ring.keys))
        yield total("key_failures", "Requests with a key that is none.", context.sessions.access.failures)
        answers = Counter({(route, str(status)): count for (route, status), count in self._counted.answers.items()})
        if server is not None:
            yield single("http_connections", "Connections that speak HTTP and are no streams.", len(server.connections))
            yield total("http_accepted_connections", "Connections that were accepted.", server.accepted)
            dropped = _all(DROPS, server.dropped)
            yield counter("http_dropped_connections", "Connections closed unheard, by reason.", ["reason"], dropped)
            answers.update({("", str(status)): count for status, count in server.unreadable.items()})
        told = "Answers begun, by route and status; no route: nothing is there, or the request could not be read."
        yield counter("http_answers", told, ["route", "code"], answers.items())


def _of_webhooks(found: Mapping[str, Any]) -> Iterator[Metric]:
    yield gauge("webhooks", "Webhooks, by how they stand.", ["state"], _all(get_args(Status), found["states"]))
    yield single("webhook_lag_events", "Events of the log behind which the last of them is.", found["lag"])
    told = "Requests of webhooks with events, by what came of them."
    results = [(["accepted"], found["accepted"]), (["failed"], found["failed"])]
    yield counter("webhook_deliveries", told, ["result"], results)
    told = "Requests of webhooks that were not accepted, challenges and tests too, by reason."
    yield counter("webhook_faults", told, ["reason"], _all(get_args(Fault), found["faults"]))
    yield total("webhook_dead_letters", "Events that were given up.", found["dead_letters"])


def _of_chains(chains: list[dict[str, Any]]) -> Iterator[Metric]:
    names = ["chain"]

    def rows(field: str) -> list[_Row]:
        return [([chain["name"]], chain.get(field)) for chain in chains]

    yield states("chain_state", "How a chain stands: its state is 1, the others 0.", names, CHAIN_STATES, [
        ([chain["name"]], chain["state"]) for chain in chains
    ])  # fmt: skip
    yield gauge("chain_ready", "Whether a chain gives events.", names, rows("ready"))
    yield gauge("chain_head_block", "Number of the newest block in the log.", names, rows("head"))
    yield gauge("chain_node_head_block", "Number of the newest block that a node told of.", names, rows("node_head"))
    yield gauge("chain_finalized_block", "Number of the newest finalized block.", names, rows("finalized"))
    yield gauge("chain_lag_seconds", "Age of the newest block in the log.", names, rows("lag_seconds"))
    yield counter("chain_blocks", "Blocks ingested.", names, rows("blocks"))
    yield counter("chain_reorgs", "Reorganisations.", names, rows("reorgs"))
    yield from _of_endpoints([
        ([chain["name"], str(number)], endpoint)
        for chain in chains
        for number, endpoint in enumerate(chain.get("endpoints", ()), start=1)
    ])  # fmt: skip
    pools = [([chain["name"]], chain["mempool"]) for chain in chains if "mempool" in chain]

    def pool(field: str) -> list[_Row]:
        return [(labels, vitals.get(field)) for labels, vitals in pools]

    yield gauge("mempool_waiting", "Transactions that wait to be included.", names, pool("waiting"))
    yield gauge("mempool_to_look_up", "Hashes whose transactions are to be asked for.", names, pool("to_look_up"))
    yield counter("mempool_pushed", "Pending transactions that nodes told of.", names, pool("pushed"))
    yield counter("mempool_left_out", "Those among them that were too many.", names, pool("left_out"))
    yield counter("mempool_malformed", "Those among them that cannot be read.", names, pool("malformed"))
    yield counter("mempool_turned_away", "Those that there was no room for.", names, pool("turned_away"))


def _of_endpoints(endpoints: list[tuple[list[str], Mapping[str, Any]]]) -> Iterator[Metric]:
    """By their numbers in the configuration, from 1: a host may have a key in its name."""
    names = ["chain", "endpoint"]

    def rows(field: str) -> list[_Row]:
        return [(labels, vitals.get(field)) for labels, vitals in endpoints]

    up = [(labels, vitals.get("state") == "ready") for labels, vitals in endpoints]
    yield gauge("endpoint_up", "Whether an endpoint (its number in the configuration) can be used.", names, up)
    yield gauge("endpoint_head_block", "Number of the newest block that it told of.", names, rows("head"))
    yield counter("endpoint_connects", "Connections made to it.", names, rows("connects"))
    yield counter("endpoint_failures", "Times that it failed.", names, rows("failures"))
    yield counter("endpoint_requests", "Requests sent to it.", names, rows("requests"))
    trips = [
        ([*labels, percentile], vitals.get(f"rtt_{name}_seconds"))
        for labels, vitals in endpoints
        for percentile, name in (("50", "p50"), ("95", "p95"))
    ]
    told = "Time from a request to its answer, of the newest requests."
    yield gauge("endpoint_round_trip_seconds", told, [*names, "percentile"], trips)


def _of_sources(sources: list[dict[str, Any]]) -> Iterator[Metric]:
    names = ["source", "chain"]
    found = [([source["name"], source.get("chain") or ""], source) for source in sources]
    told = "How a source of prices stands: its state is 1, the others 0."
    yield states("source_state", told, names, SOURCE_STATES, [(labels, one["state"]) for labels, one in found])
    ready: list[_Row] = [(labels, one.get("ready")) for labels, one in found]
    yield gauge("source_ready", "Whether a source of prices gives them.", names, ready)
    spent: list[_Row] = [(labels, one.get("requests")) for labels, one in found]
    yield gauge("source_month_requests", "Requests to a price API in this calendar month.", names, spent)


# --- families ---------------------------------------------------------------------------------------------------------


def gauge(name: str, told: str, labels: _Labels, rows: Iterable[_Row]) -> Metric:
    """A value of now for each row that has one."""
    return _filled(GaugeMetricFamily(f"chainwatch_{name}", told, labels=labels), rows)


def counter(name: str, told: str, labels: _Labels, rows: Iterable[_Row]) -> Metric:
    """A count since the start for each row; its series end in `_total`."""
    return _filled(CounterMetricFamily(f"chainwatch_{name}", told, labels=labels), rows)


def single(name: str, told: str, value: float) -> Metric:
    """A value of now, without labels."""
    return gauge(name, told, [], [([], value)])


def total(name: str, told: str, value: float) -> Metric:
    """A count since the start, without labels."""
    return counter(name, told, [], [([], value)])


def states(name: str, told: str, labels: _Labels, known: Sequence[str], rows: Iterable[tuple[_Labels, str]]) -> Metric:
    """1 for the state that something is in, 0 for all others that it may be in."""
    spread = [([*given, state], state == now) for given, now in rows for state in known]
    return gauge(name, told, [*labels, "state"], spread)


def histogram(name: str, told: str, meter: Meter) -> Metric:
    """One of the meter's, in seconds."""
    found = meter.histograms[name]
    family = HistogramMetricFamily(f"chainwatch_{name}_seconds", told)
    family.add_metric(
        [], [("+Inf" if bound == inf else str(bound), count) for bound, count in found.cumulative()], found.total
    )
    return family


def _filled(family: GaugeMetricFamily | CounterMetricFamily, rows: Iterable[_Row]) -> Metric:
    for labels, value in rows:
        if value is not None:
            family.add_metric(labels, float(value))
    return family


def _all(known: Iterable[str], counts: Mapping[str, int]) -> list[_Row]:
    """A row for each word, so that a series is there before the first count."""
    return [([word], counts.get(word, 0)) for word in known]
