"""
The hub beside nginx with nchan, sse-starlette on uvicorn, and a C epoll server as the limit, in one run.

    .venv/bin/python tests/bench/bench_hub.py              about 10 minutes
    .venv/bin/python tests/bench/bench_hub.py --quick      shorter phases, one round: under 2 minutes
    .venv/bin/python tests/bench/bench_hub.py --rows 1,8   some rows alone (a stage gives all its rows)

chainwatch is the real thing: log on disk, hub, HTTP server, each event appended as ingest would, and its CPU is that of
the whole process, the log's thread too; nchan stores nothing on disk, and its CPU has the HTTP requests that publish.
Events are about 400 bytes, everything is on loopback, a C client (fanout/load.c) is at the other end. Ratios are what
counts: absolute numbers are of this machine in this minute. Exit code 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from fanout.rows import FULL, QUICK, STAGES, Row


def show(row: Row) -> None:
    verdict = {True: "ok", False: "MISSED", None: ""}[row.met]
    print(f"{row.number:>3} {row.measure:<66} {row.yardstick:<16} {row.bar:>8} {row.got:>9} {verdict}")
    if row.detail:
        print(f"      {row.detail}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="The hub beside others: see the top of this file.")
    parser.add_argument("--quick", action="store_true", help="shorter phases, one round")
    parser.add_argument("--rows", default="", help="numbers of rows, with commas; default: all")
    arguments = parser.parse_args()
    wanted = {int(number) for number in arguments.rows.split(",") if number}
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if limit < 12_000:
        print(f"10,000 streams need 12,000 descriptors a process, here are {limit}: ulimit -n 20000", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers and folders are cleaned up
    began = time.monotonic()
    scale = QUICK if arguments.quick else FULL
    rows: list[Row] = []
    try:
        for stage, numbers in STAGES.items():
            if not wanted or wanted & {*numbers}:
                print(f"{time.monotonic() - began:4.0f} s  {stage.__doc__}", file=sys.stderr, flush=True)
                rows += [row._replace(met=None) if row.number in scale.unjudged else row for row in stage(scale)]
    finally:
        print(f"{'':>3} {'measure':<66} {'yardstick':<16} {'bar':>8} {'got':>9}")
        for row in sorted(rows, key=lambda row: row.number):
            show(row)
        missed = sum(row.met is False for row in rows)
        print(f"{len(rows)} rows, {missed} missed, {time.monotonic() - began:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
