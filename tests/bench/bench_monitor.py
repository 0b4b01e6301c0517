"""
What the monitor costs: `python tests/bench/bench_monitor.py`, about two minutes.

A real server commits and streams token transfers at 1,000 and at 5,000 a second. `chainwatch monitor` shows them on a
terminal of 200 by 50, and so do, after it, the two that one would reach for: a Textual app that writes each event into
a `RichLog`, and one that adds each to a `DataTable`, both with the 1,000 newest kept, both on the same client. CPU is
what the process took, user and system, as a share of one core; each also has to keep up, or its CPU says nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "server")]

RATES = (1000, 5000)
BAR = {5000: 35.0}
"""Percent of a core, at most."""
SIZE = (200, 50)
WARM, LOOK = 4.0, 8.0
"""Seconds until it is measured, and for how long."""
_TICK = os.sysconf("SC_CLK_TCK")


# --- the server, in a process of its own --------------------------------------------------------------------------


async def produce(rate: int, folder: Path) -> None:
    """Serve, and tell `rate` events a second in fifty batches, until nobody reads stdin's other end any more."""
    from house import serve

    from chainwatch.event import Event, event_id, rfc3339
    from chainwatch.examples import EXAMPLES

    house = await serve(folder / "events.db")
    print(f"http://127.0.0.1:{house.port}", flush=True)
    example, told, began = EXAMPLES["token_transfer"], 0, time.monotonic()
    while os.getppid() != 1:
        due = int((time.monotonic() - began) * rate)
        now = rfc3339(int(time.time() * 1000))
        events = [
            Event(
                id=event_id("bench", number), type=example.type, timestamp=now, observed_at=now,
                chain="ethereum", data=example.data,
            )
            for number in range(told, due)
        ]  # fmt: skip
        told = due
        await house.tell(*events)
        await asyncio.sleep(0.02)


@contextmanager
def server(rate: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--produce", str(rate), folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield process.stdout.readline().strip()
            finally:
                process.kill()


# --- what one would reach for -------------------------------------------------------------------------------------


def naive(kind: str, url: str) -> None:
    """A Textual app that shows each event by itself."""
    from textual.app import App, ComposeResult
    from textual.widgets import DataTable, RichLog

    from chainwatch import client
    from chainwatch.lines import line_of

    class Naive(App[None]):
        def compose(self) -> ComposeResult:
            if kind == "RichLog":
                yield RichLog(max_lines=1000)
            else:
                yield DataTable()

        def on_mount(self) -> None:
            if kind == "DataTable":
                self.query_one(DataTable).add_columns("time", "chain", "type", "data")
            self.run_worker(self.read())

        async def read(self) -> None:
            async with client.stream(url) as stream:
                async for event in stream:
                    columns = (
                        event.timestamp[11:19],
                        event.chain or "",
                        event.type,
                        line_of(event.type).tell(event.data),
                    )
                    if kind == "RichLog":
                        self.query_one(RichLog).write("  ".join(columns))
                    else:
                        table = self.query_one(DataTable)
                        table.add_row(*columns)
                        if table.row_count > 1000:
                            table.remove_row(next(iter(table.rows)))
                        table.scroll_end(animate=False)
                    if not stream.buffered:
                        await asyncio.sleep(0)

    Naive().run()


# --- measuring ----------------------------------------------------------------------------------------------------


class Cost(NamedTuple):
    percent: float
    """Of a core."""
    told: int
    """Events a second that the server did tell."""
    behind: int
    """Events that the server has and it has not been sent, at the end."""
    painted: int
    """Bytes a second that the terminal got."""


def cost(command: list[str], url: str) -> Cost:
    """Run it on a terminal, let it warm up, and look."""
    process_id, terminal = pty.fork()
    if process_id == 0:
        os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        os.environ.pop("NO_COLOR", None)
        os.execv(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
    painted = 0

    def drain() -> None:
        nonlocal painted
        try:
            while got := os.read(terminal, 65536):
                painted += len(got)
        except OSError:  # it has ended
            return

    reader = threading.Thread(target=drain)
    reader.start()
    try:
        time.sleep(WARM)
        first = _stats(url)
        before, bytes_before, began = _cpu(process_id), painted, time.monotonic()
        time.sleep(LOOK)
        seconds = time.monotonic() - began
        percent, drawn = 100 * (_cpu(process_id) - before) / seconds, int((painted - bytes_before) / seconds)
        last = _stats(url)
        told = last["totals"]["events"] - first["totals"]["events"]
        behind = max((one["lag"] for one in last["streams"]["list"]), default=0)
        return Cost(percent, int(told / (last["time"] - first["time"])), behind, drawn)
    finally:
        os.kill(process_id, 9)
        os.waitpid(process_id, 0)
        os.close(terminal)
        reader.join()


def _stats(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/v1/stats", timeout=10) as answer:
        return json.load(answer)


def _cpu(process_id: int) -> float:
    """Seconds, user and system."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def main() -> int:
    parser = argparse.ArgumentParser(description="The monitor beside RichLog and DataTable: see the top of this file.")
    parser.add_argument("--quick", action="store_true", help="the monitor alone")
    parser.add_argument("--produce", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--naive", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.produce:
        asyncio.run(produce(int(arguments.produce[0]), Path(arguments.produce[1])))
        return 0
    if arguments.naive:
        naive(*arguments.naive)
        return 0
    missed = 0
    print(
        f"{'events/s':>8}  {'shown by':<10} {'CPU':>7} {'of the monitor':>15} {'behind':>8} {'terminal':>11}  bar",
        flush=True,
    )
    for rate in RATES:
        own = 0.0
        for name in ("monitor",) if arguments.quick else ("monitor", "RichLog", "DataTable"):
            with server(rate) as url:
                if name == "monitor":
                    command = [sys.executable, "-m", "chainwatch", "monitor", "--url", url]
                else:
                    command = [sys.executable, __file__, "--naive", name, url]
                found = cost(command, url)
            own = own or found.percent
            verdict = ""
            if name == "monitor" and rate in BAR:
                good = found.percent < BAR[rate] and found.behind < rate and found.told > 0.9 * rate
                missed += not good
                verdict = f"{BAR[rate]:.0f} % {'ok' if good else 'MISSED'}"
            print(
                f"{found.told:>8,}  {name:<10} {found.percent:>5.1f} % {found.percent / max(own, 0.1):>13.1f} ×"
                f" {found.behind:>8,} {found.painted / 1024:>6.0f} KiB/s  {verdict}",
                flush=True,
            )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
