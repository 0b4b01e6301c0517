"""The load client from Python: see load.c."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

from fanout.process import Process, Silent, compiled


class Seen(NamedTuple):
    """What the client counted. Times in seconds of the monotonic clock, latencies in milliseconds."""

    events: int
    bytes: int
    wire: int
    first: float
    last: float
    asked: float
    now: float
    p50: float
    p99: float
    slowest: float
    cpu: float
    """Seconds of CPU of the client, since it began."""
    gzip: int
    """Streams that are compressed."""


def _seen(told: dict[str, Any]) -> Seen:
    return Seen(
        events=told["events"],
        bytes=told["bytes"],
        wire=told["wire"],
        first=told["first"] / 1e6,
        last=told["last"] / 1e6,
        asked=told["asked"] / 1e6,
        now=told["now"] / 1e6,
        p50=told["p50"] / 1e3,
        p99=told["p99"] / 1e3,
        slowest=told["slowest"] / 1e3,
        cpu=told["cpu"] / 1e6,
        gzip=told["gzip"],
    )


class Load:
    """So many streams of one server."""

    def __init__(self, port: int, streams: int, path: str, *, dead: int = 0, gzip: bool = False) -> None:
        self.streams = streams
        self.living = streams - dead
        program = compiled("load", "-lz")
        self._early: dict[str, Any] | None = None
        self._process = Process([program, str(port), str(streams), str(dead), path, str(int(gzip))])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self._process.end()

    def open(self, window: int = 100) -> Self:
        """Open all streams, at most `window` at a time without an answer."""
        self._open(f"open {window}")
        return self

    def connect(self) -> None:
        """Open the connections; nothing is asked for yet."""
        self._process.ask("connect")

    def request(self) -> None:
        """Ask for all streams at once, on connections that are open."""
        self._open("request")

    def _open(self, command: str) -> None:
        told = self._process.ask(command)
        self._whole(told)
        assert told["opened"] == self.streams, told

    def replay(self, each: int, patience: float = 20.0) -> Seen:
        """Ask for all streams at once, which have `each` stored events to tell; they are connected already."""
        self.reset()
        self._process.tell(f"expect {each} 0 {int(patience * 1000)}")
        self.request()
        return self._all(each, self._process.answer(600))

    def expect(self, each: int, patience: float = 20.0) -> None:
        """Begin to wait for `each` events on every living stream, counted from `reset`."""
        self._process.tell(f"expect {each} 0 {int(patience * 1000)}")

    def peek(self) -> Seen:
        """What was counted up to now, while it waits; `wait` still gives the end."""
        told = self._process.ask("snapshot")
        if told["reply"] == "expect":  # all came before it was asked
            self._early = told
            self._process.answer()
        return _seen(told)

    def wait(self, each: int, timeout: float = 600.0) -> Seen:
        """All streams have them, each once and in order: asserted."""
        told, self._early = self._early or self._process.answer(timeout), None
        return self._all(each, told)

    def until(self, each: int, patience: float) -> Seen:
        """All of them, or what came within so many seconds."""
        self.expect(each, patience)
        try:
            told = self._process.answer(patience)
        except Silent:
            return self.peek()
        if told["silent"]:
            return _seen(told)
        return self._all(each, told)

    def snapshot(self) -> Seen:
        return _seen(self._process.ask("snapshot"))

    def reset(self) -> Seen:
        return _seen(self._process.ask("reset"))

    def close(self) -> None:
        self._process.ask("close")

    def _all(self, each: int, told: dict[str, Any]) -> Seen:
        self._whole(told)
        assert told["min"] == told["max"] == each, f"{each} events a stream were sent: {told}"
        assert told["events"] == each * self.living, told
        return _seen(told)

    @staticmethod
    def _whole(told: dict[str, Any]) -> None:
        assert not told["lost"], f"streams broke: {told}"
        assert not told["disorder"], f"events came twice, or out of order: {told}"
