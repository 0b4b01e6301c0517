"""The four servers, driven alike: a port, paths, events at a pace, and what the process costs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final, Protocol

from fanout.nchan import Nginx
from fanout.process import Process, compiled, cpu, descriptors, forget_peak, memory, python

OURS: Final = "chainwatch"
NCHAN: Final = "nchan"
PLAIN: Final = "sse-starlette"
LIMIT: Final = "C epoll"

TAIL: Final = 64 * 1024 * 1024
"""Bytes of the newest events in memory: the default of `log.memory`."""


class Server:
    """One of them. `live`, `stored` and `address` are paths: events from now on, all events, those of one address."""

    live = "/events"
    stored = "/events?since=earliest"
    address = "/events?address={x}"

    def __init__(self, name: str, pid: int, port: int) -> None:
        self.name = name
        self.pid = pid
        self.port = port

    def pace(self, count: int, rate: int = 0, *, batch: int = 1, addresses: int = 0) -> None:
        """
        Begin to publish `count` events, `batch` at a time, `rate` a second or as fast as it takes them: to all streams,
        or each to the next of so many addresses.
        """
        raise NotImplementedError

    def paced(self, timeout: float = 600.0) -> None:
        """Wait until the last one was published."""
        raise NotImplementedError

    def publish(self, count: int, *, batch: int = 1, addresses: int = 0) -> None:
        self.pace(count, 0, batch=batch, addresses=addresses)
        self.paced()

    def cpu(self) -> float:
        """Seconds, all threads."""
        return cpu(self.pid)

    def memory(self) -> int:
        """Resident bytes."""
        return memory(self.pid)

    def peak(self) -> int:
        """The most resident bytes since `forget_peak`."""
        return memory(self.pid, "VmHWM")

    def forget_peak(self) -> None:
        forget_peak(self.pid)

    def descriptors(self) -> int:
        return descriptors(self.pid)


class _Told(Server):
    """A server that is told by lines."""

    def __init__(self, name: str, process: Process) -> None:
        self.process = process
        super().__init__(name, process.pid, process.answer(30)["port"])

    def paced(self, timeout: float = 600.0) -> None:
        self.process.answer(timeout)


class Ours(_Told):
    """chainwatch."""

    def pace(self, count: int, rate: int = 0, *, batch: int = 1, addresses: int = 0) -> None:
        self.process.tell(f"pace {count} {rate} {batch} {addresses}")

    def about(self) -> dict[str, int]:
        """`tasks`, `streams`, `descriptors`; garbage is collected before."""
        return self.process.ask("about") | {"descriptors": self.descriptors()}


class _Simple(_Told):
    def pace(self, count: int, rate: int = 0, *, batch: int = 1, addresses: int = 0) -> None:
        assert not addresses, f"{self.name} has no channels"
        self.process.tell(f"pace {count} {rate}")


class _Nchan(Server):
    live = "/events/all"
    stored = "/all/all"
    address = "/events/{n}"

    def __init__(self, nginx: Nginx) -> None:
        super().__init__(NCHAN, nginx.pid, nginx.port)
        self._nginx = nginx

    def pace(self, count: int, rate: int = 0, *, batch: int = 1, addresses: int = 0) -> None:
        self._nginx.pace(count, rate, batch, addresses)

    def paced(self, timeout: float = 600.0) -> None:
        self._nginx.paced(timeout)


@contextlib.contextmanager
def ours(tail: int = TAIL) -> Iterator[Ours]:
    process = python("ours.py", str(tail))
    try:
        yield Ours(OURS, process)
    finally:
        process.end()


@contextlib.contextmanager
def nchan() -> Iterator[Server]:
    nginx = Nginx()
    try:
        yield _Nchan(nginx)
    finally:
        nginx.end()


@contextlib.contextmanager
def plain() -> Iterator[Server]:
    process = python("plain.py")
    try:
        yield _Simple(PLAIN, process)
    finally:
        process.end()


@contextlib.contextmanager
def limit() -> Iterator[Server]:
    process = Process([compiled("limit")])
    try:
        yield _Simple(LIMIT, process)
    finally:
        process.end()


class Start(Protocol):
    def __call__(self) -> contextlib.AbstractContextManager[Server]: ...


ALL: Final[dict[str, Start]] = {OURS: ours, NCHAN: nchan, PLAIN: plain, LIMIT: limit}
