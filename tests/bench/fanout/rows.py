"""
What is measured: each function is a stage, and yields rows of the table.

Servers stand side by side, and take their turns round by round, so that a noisy minute hits all of them. Every stage
asserts that each stream got each event once and in order; only then do its times mean anything.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Final, NamedTuple

from fanout import servers
from fanout.load import Load, Seen
from fanout.servers import LIMIT, NCHAN, OURS, PLAIN, Server

KIB: Final = 1024
MIB: Final = 1024 * 1024


class Scale(NamedTuple):
    """How long a run is."""

    rounds: int
    few: int
    """Rounds of a stage in which somebody takes half a minute."""
    seconds: int
    """Of a stage with a pace."""
    burst: int
    """Events to 100 streams; a tenth of it to 1,000."""
    flood: int
    """Events past dead readers."""
    patience: float
    """Seconds that the living may wait for them, then it is `not done`."""
    unjudged: frozenset[int] = frozenset()
    """Rows whose bar is for more events than there are here: they only show that everything arrives."""


FULL: Final = Scale(rounds=3, few=2, seconds=5, burst=10_000, flood=30_000, patience=60)
QUICK: Final = Scale(rounds=1, few=1, seconds=2, burst=2_000, flood=6_000, patience=12, unjudged=frozenset({3, 5, 9}))


class Row(NamedTuple):
    """One line: a measure, against whom, what it may be at most (or at least), what it is."""

    number: int
    measure: str
    yardstick: str
    bar: str
    got: str
    met: bool | None
    """None where nothing is asked."""
    detail: str = ""


def at_most(number: int, measure: str, yardstick: str, ratio: float, bar: float, detail: str) -> Row:
    return Row(number, measure, yardstick, f"≤ {bar:.3g}×", f"{ratio:.3g}×", ratio <= bar, detail)


def at_least(number: int, measure: str, yardstick: str, ratio: float, bar: float, detail: str) -> Row:
    return Row(number, measure, yardstick, f"≥ {bar:.3g}×", f"{ratio:.3g}×", ratio >= bar, detail)


class Run(NamedTuple):
    """One server's turn at a pace."""

    cpu: float
    """Seconds of the server, from the first event to the last delivery."""
    seen: Seen
    held: float
    """Share of the deliveries that were done when the last event was due."""
    took: float
    """Seconds from the first event to the last delivery."""
    client: float
    """CPU of the load client, of one core."""


def at_pace(
    server: Server, load: Load, count: int, rate: int, *, batch: int = 1, addresses: int = 0, each: int = 0
) -> Run:
    """Publish, and wait until every stream has all."""
    each = each or count
    client = load.reset().cpu
    cpu, began = server.cpu(), time.monotonic()
    load.expect(each)
    server.pace(count, rate, batch=batch, addresses=addresses)
    held = 1.0
    if rate:
        time.sleep(count / rate)
        # The client answers `expect` once; a snapshot asked for meanwhile may come before or behind it.
        held = load.peek().events / (each * load.living)
    seen = load.wait(each)
    server.paced()
    took = seen.last - began
    return Run(server.cpu() - cpu, seen, held, took, (seen.cpu - client) / max(took, 1e-9))


def _microseconds(runs: list[Run]) -> float:
    """CPU per delivery: the median of the rounds."""
    return median(run.cpu / run.seen.events for run in runs) * 1e6


def _opened(stack: contextlib.ExitStack, server: Server, streams: int, path: str, **more: bool | int) -> Load:
    load = stack.enter_context(Load(server.port, streams, path, **more))  # type: ignore[arg-type]
    return load.open()


def _append_cost(server: Server, rate: int, *, batch: int = 1, addresses: int = 0) -> float:
    """Microseconds of CPU of an event that nobody listens to: made, encoded, committed to disk. `rate` 0: a burst."""
    server.publish(20 * batch, batch=batch, addresses=addresses)
    count = 2 * rate or 40 * batch
    cpu = server.cpu()
    server.pace(count, rate, batch=batch, addresses=addresses)
    server.paced()
    return (server.cpu() - cpu) / count * 1e6


# --- the stages ---------------------------------------------------------------------------------------------------


def thousand(scale: Scale) -> Iterator[Row]:
    """1,000 streams × 20 events/s."""
    runs: dict[str, list[Run]] = {name: [] for name in servers.ALL}
    with contextlib.ExitStack() as stack:
        all_of_them = {name: stack.enter_context(start()) for name, start in servers.ALL.items()}
        append = _append_cost(all_of_them[OURS], 20)
        loads = {name: _opened(stack, server, 1000, server.live) for name, server in all_of_them.items()}
        for server in all_of_them.values():
            at_pace(server, loads[server.name], 5, 20)  # what happens once is behind it
        for _ in range(scale.rounds):
            for name, server in all_of_them.items():
                runs[name].append(at_pace(server, loads[name], 20 * scale.seconds, 20))
    cost = {name: _microseconds(found) for name, found in runs.items()}
    told = " ".join(f"{name} {value:.2f}" for name, value in cost.items())
    without = cost[OURS] - append / 1000
    what = "CPU per delivery, 1,000 streams × 20/s"
    detail = f"µs: {told}; without the append {without:.2f}"
    yield at_most(1, what, NCHAN, cost[OURS] / cost[NCHAN], 0.85, detail)
    yield at_most(1, what, PLAIN, cost[OURS] / cost[PLAIN], 0.25, "")
    busy = max(run.client for found in runs.values() for run in found)
    yield at_most(1, what, LIMIT, cost[OURS] / cost[LIMIT], 1.4, f"load client at most {busy:.0%} of a core")
    p99 = {name: median(run.seen.p99 for run in found) for name, found in runs.items()}
    detail = "ms: " + " ".join(f"{name} {value:.1f}" for name, value in p99.items())
    yield at_most(7, "p99 latency, 1,000 × 20/s", NCHAN, p99[OURS] / p99[NCHAN], 1.0, detail)


def ten_thousand(scale: Scale) -> Iterator[Row]:
    """10,000 streams × 20 events/s; and what they cost while they are idle."""
    names = (OURS, NCHAN, LIMIT)
    runs: dict[str, list[Run]] = {name: [] for name in (*names, PLAIN)}
    idle: dict[str, float] = {}
    streams = 10_000

    def opened(server: Server, stack: contextlib.ExitStack) -> Load:
        with Load(server.port, 500, server.live) as first:
            first.open()
            at_pace(server, first, 5, 20)
            first.close()
        time.sleep(0.5)
        before = server.memory()
        load = _opened(stack, server, streams, server.live)
        time.sleep(0.5)
        idle[server.name] = (server.memory() - before) / streams
        return load

    with contextlib.ExitStack() as stack:
        some = {name: stack.enter_context(servers.ALL[name]()) for name in names}
        append = _append_cost(some[OURS], 20)
        loads = {name: opened(server, stack) for name, server in some.items()}
        for _ in range(scale.few):
            for name, server in some.items():
                runs[name].append(at_pace(server, loads[name], 20 * scale.seconds, 20))
    with contextlib.ExitStack() as stack:  # alone, few events: it is ten times slower than the pace
        server = stack.enter_context(servers.plain())
        runs[PLAIN].append(at_pace(server, opened(server, stack), 20, 20))
    cost = {name: _microseconds(found) for name, found in runs.items()}
    told = " ".join(f"{name} {value:.2f}" for name, value in cost.items())
    what = "CPU per delivery, 10,000 streams × 20/s"
    without = cost[OURS] - append / streams
    yield at_most(2, what, NCHAN, cost[OURS] / cost[NCHAN], 0.45, f"µs: {told}; without the append {without:.2f}")
    yield at_most(2, what, PLAIN, cost[OURS] / cost[PLAIN], 0.15, "")
    busy = max(run.client for found in runs.values() for run in found)
    yield at_most(2, what, LIMIT, cost[OURS] / cost[LIMIT], 1.4, f"load client at most {busy:.0%} of a core")
    held = {name: median(run.held for run in found) for name, found in runs.items() if name != PLAIN}
    detail = " ".join(f"{name} {share:.0%}" for name, share in held.items())
    yield at_least(4, "share of the full pace, 10,000 × 20/s", NCHAN, held[OURS] / held[NCHAN], 2.5, detail)
    p99 = {name: median(run.seen.p99 for run in found) for name, found in runs.items() if name != PLAIN}
    detail = "ms: " + " ".join(f"{name} {value:.0f}" for name, value in p99.items())
    yield at_most(4, "p99 latency, 10,000 × 20/s", NCHAN, p99[OURS] / p99[NCHAN], 1 / 20, detail)
    own = idle[OURS] / KIB
    detail = "KiB: " + " ".join(f"{name} {size / KIB:.1f}" for name, size in idle.items())
    yield Row(6, "memory per idle stream", "goal 3 KiB", "≤ 12 KiB", f"{own:.1f} KiB", own <= 12, detail)


def burst(scale: Scale) -> Iterator[Row]:
    """Events that are stored already, to streams that want all of them."""
    for streams, events in ((100, scale.burst), (1000, scale.burst // 10)):
        rates: dict[str, list[float]] = {OURS: [], NCHAN: [], LIMIT: []}
        with contextlib.ExitStack() as stack:
            some = {name: stack.enter_context(servers.ALL[name]()) for name in rates}
            for server in some.values():
                server.publish(events, batch=16)
            for _ in range(scale.few):
                for name, server in some.items():
                    with Load(server.port, streams, server.stored) as load:
                        load.connect()
                        seen = load.replay(events)
                        rates[name].append(streams * events / (seen.last - seen.asked))
        got = {name: median(found) for name, found in rates.items()}
        detail = "deliveries/s: " + " ".join(f"{name} {rate:,.0f}" for name, rate in got.items())
        what = f"burst, {events:,} stored events to {streams:,}"
        yield at_least(3, what, f"{NCHAN} (goal 30×)", got[OURS] / got[NCHAN], 20, detail)


def dead_readers(scale: Scale) -> Iterator[Row]:
    """200 of 300 never read."""
    took: dict[str, float] = {}
    grown: dict[str, int] = {}
    shares: dict[str, float] = {}
    done: dict[str, bool] = {}
    for name in (OURS, NCHAN):
        with servers.ALL[name]() as server, Load(server.port, 300, server.live, dead=200) as load:
            load.open()
            server.publish(5)
            before = server.memory()
            server.forget_peak()
            load.reset()
            began = time.monotonic()
            server.pace(scale.flood, 0, batch=500 if name == OURS else 16)
            seen = load.until(scale.flood, scale.patience)
            done[name] = seen.events == scale.flood * load.living
            took[name] = (seen.last if done[name] else time.monotonic()) - began
            shares[name] = seen.events / (scale.flood * load.living)
            grown[name] = server.peak() - before
            if done[name]:
                server.paced()
    assert done[OURS], "the living did not get everything"
    late = "" if done[NCHAN] else f" (given up then, with {shares[NCHAN]:.0%} done)"
    what = f"200 of 300 readers dead, {scale.flood:,} events: "
    detail = "s: " + " ".join(f"{name} {seconds:.2f}" for name, seconds in took.items()) + late
    yield at_least(5, what + "time for the living", NCHAN, took[NCHAN] / took[OURS], 30, detail)
    detail = "MiB: " + " ".join(f"{name} {size / MIB:.1f}" for name, size in grown.items())
    yield at_most(5, what + "memory", NCHAN, grown[OURS] / grown[NCHAN], 0.1, detail)


def addresses(scale: Scale) -> Iterator[Row]:
    """10,000 streams, an address each."""
    streams, rate = 10_000, 2_000
    turns = {"2,000 events/s": (streams, rate, 100, 1.3), "a burst of 20,000": (2 * streams, 0, 500, 0.4)}
    costs: dict[tuple[str, str], list[float]] = {}
    appends: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        some = {name: stack.enter_context(servers.ALL[name]()) for name in (OURS, NCHAN)}
        for what, (_, pace, batch, _) in turns.items():
            appends[what] = _append_cost(some[OURS], pace, batch=batch, addresses=streams)
        loads = {name: _opened(stack, server, streams, server.address) for name, server in some.items()}
        for _ in range(scale.rounds):
            for what, (count, pace, batch, _) in turns.items():
                for name, server in some.items():
                    each = count // streams
                    run = at_pace(server, loads[name], count, pace, batch=batch, addresses=streams, each=each)
                    costs.setdefault((what, name), []).append(run.cpu / run.seen.events * 1e6)
    for what, (_, _, batch, bar) in turns.items():
        own, theirs, append = median(costs[what, OURS]), median(costs[what, NCHAN]), appends[what]
        detail = f"µs an event: {OURS} {own:.1f} {NCHAN} {theirs:.1f}; {batch} in an append"
        yield at_most(8, f"10,000 addresses, {what}", NCHAN, own / theirs, bar, detail)
        detail = f"µs an event: {own - append:.1f}; the append {append:.1f}"
        yield at_most(8, f"10,000 addresses, {what}, without the log", NCHAN, (own - append) / theirs, bar, detail)


def replay(scale: Scale) -> Iterator[Row]:
    """Stored events on one stream; ours from the disk."""
    rates: dict[str, list[float]] = {OURS: [], NCHAN: []}
    counts = {OURS: 10 * scale.burst, NCHAN: scale.burst}
    with contextlib.ExitStack() as stack:
        some: dict[str, Server] = {
            OURS: stack.enter_context(servers.ours(MIB)),
            NCHAN: stack.enter_context(servers.nchan()),
        }
        for name, server in some.items():
            server.publish(counts[name], batch=500 if name == OURS else 16)
        for _ in range(scale.rounds):
            for name, server in some.items():
                with Load(server.port, 1, server.stored) as load:
                    load.connect()
                    seen = load.replay(counts[name])
                    rates[name].append(counts[name] / (seen.last - seen.asked))
    got = {name: median(found) for name, found in rates.items()}
    detail = "events/s: " + " ".join(f"{name} {rate:,.0f} (of {counts[name]:,})" for name, rate in got.items())
    yield at_least(9, f"replay of {counts[OURS]:,} on one stream", NCHAN, got[OURS] / got[NCHAN], 15, detail)


def compressed(scale: Scale) -> Iterator[Row]:
    """gzip to 1,000 streams, beside the same without."""
    costs: dict[bool, list[float]] = {False: [], True: []}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(servers.ours())
        loads = {gzip: _opened(stack, server, 1000, server.live, gzip=gzip) for gzip in costs}
        if loads[True].snapshot().gzip == 0:
            yield Row(10, "gzip to 1,000 streams", "plain", "≤ 1.5×", "none", met=False, detail="not compressed at all")
            return
    sizes = {False: 0.0, True: 0.0}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(servers.ours())
        for _ in range(scale.rounds):
            for gzip, found in costs.items():
                with Load(server.port, 1000, server.live, gzip=gzip) as load:
                    load.open()
                    run = at_pace(server, load, 20 * scale.seconds, 20)
                    found.append(run.cpu / run.seen.events * 1e6)
                    sizes[gzip] = run.seen.wire / run.seen.events
                    load.close()
    plain, squeezed = median(costs[False]), median(costs[True])
    detail = f"µs: {plain:.2f} and {squeezed:.2f}; bytes a delivery: {sizes[False]:.0f} and {sizes[True]:.0f}"
    yield at_most(10, "gzip to 1,000 streams, CPU", "the same, plain", squeezed / plain, 1.5, detail)


def comings_and_goings(scale: Scale) -> Iterator[Row]:
    """10,000 connects and disconnects, 500 at a time; events all the while."""
    with servers.ours() as server, Load(server.port, 500, server.live) as load:

        def turns(count: int) -> dict[str, int]:
            for _ in range(count):
                load.open()
                at_pace(server, load, 2, 100)
                load.close()
            until = time.monotonic() + 20
            while (found := server.about())["streams"]:
                assert time.monotonic() < until, f"{found['streams']} streams stay"
                time.sleep(0.05)
            return found | {"memory": server.memory()}

        before, after = turns(6), turns(20)
        assert before["descriptors"] == after["descriptors"], (before, after)
        assert before["tasks"] == after["tasks"], (before, after)
    grown = (after["memory"] - before["memory"]) / MIB
    detail = f"descriptors {after['descriptors']}, tasks {after['tasks']}: as before; {after['memory'] / MIB:.0f} MiB"
    what = "10,000 connects and disconnects: memory grows by"
    yield Row(11, what, "itself", "≤ 4 MiB", f"{grown:.1f} MiB", grown <= 4, detail)


def stalled_readers(scale: Scale) -> Iterator[Row]:
    """100 that read nothing beside 900 that do: what they add to memory and to the others' latency."""
    flood, stalled = 3_000, 100
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(servers.ours())
        good = _opened(stack, server, 900, server.live)
        load_alone = at_pace(server, good, flood, 0, batch=100)
        assert load_alone.seen.events == 900 * flood
        alone = [at_pace(server, good, 20 * scale.seconds, 20).seen.p99 for _ in range(scale.rounds)]
        before = server.memory()
        server.forget_peak()
        _opened(stack, server, stalled, server.live, dead=stalled)
        at_pace(server, good, flood, 0, batch=100)  # 1.2 MB: more than a kernel holds for one of them
        held = (server.memory() - before) / stalled / KIB
        beside = [at_pace(server, good, 20 * scale.seconds, 20).seen.p99 for _ in range(scale.rounds)]
    detail = f"p99 of the others: {median(alone):.1f} ms alone, {median(beside):.1f} ms beside them"
    yield Row(12, "a stalled reader adds", "itself", "≤ 64 KiB", f"{held:.1f} KiB", held <= 64, detail)
    yield Row(
        12, "p99 of 900 beside 100 stalled", "without them", "≈ 1×", f"{median(beside) / median(alone):.2f}×", None, ""
    )


STAGES: Final[dict[Callable[[Scale], Iterator[Row]], tuple[int, ...]]] = {
    thousand: (1, 7),
    ten_thousand: (2, 4, 6),
    burst: (3,),
    dead_readers: (5,),
    addresses: (8,),
    replay: (9,),
    compressed: (10,),
    comings_and_goings: (11,),
    stalled_readers: (12,),
}
"""And the numbers of the rows that each gives."""
