"""What a service manager hears of a real daemon, on a real datagram socket."""

from __future__ import annotations

import asyncio
import signal
import socket
import time

import aiohttp
import pytest
from daemon import Daemon

from chainwatch.errors import LogError, LogFull
from chainwatch.systemd import notify


class Manager:
    """As systemd: a socket, and what came on it."""

    def __init__(self, monkeypatch, address: str, **environ: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)
        for name, value in {"NOTIFY_SOCKET": address, **environ}.items():
            monkeypatch.setenv(name, value)

    async def hear(self) -> list[str]:
        async with asyncio.timeout(20):
            return (await asyncio.get_running_loop().sock_recv(self.socket, 4096)).decode().split("\n")

    async def until(self, line: str) -> list[str]:
        """All lines up to the datagram with this one, and with its others."""
        heard: list[str] = []
        while not any(one.startswith(line) for one in heard):
            heard += await self.hear()
        return heard


@pytest.fixture
def manager(monkeypatch, tmp_path):
    made: list[Manager] = []

    def make(address: str | None = None, **environ: str) -> Manager:
        made.append(Manager(monkeypatch, address or str(tmp_path / "notify"), **environ))
        return made[-1]

    yield make
    for one in made:
        one.socket.close()


async def test_a_daemon_tells_that_it_is_ready_alive_reloading_and_stopping(manager, tmp_path):
    systemd = manager(WATCHDOG_USEC="600000")
    async with Daemon(tmp_path / "daemon") as daemon:
        first = await systemd.hear()
        assert first == ["READY=1", "STATUS=0 streams"]
        assert (await daemon.get("/health/live")) == {"status": "ok"}
        for _ in range(2):
            assert "WATCHDOG=1" in await systemd.until("WATCHDOG=1")
        async with aiohttp.ClientSession() as http, http.get(f"{daemon.url}/events"):
            assert (await systemd.until("STATUS="))[-1] == "STATUS=1 stream"
        before = time.monotonic_ns() // 1000
        daemon.process.send_signal(signal.SIGHUP)
        reloading = await systemd.until("RELOADING=1")
        moment = int(reloading[-1].removeprefix("MONOTONIC_USEC="))
        assert before <= moment <= time.monotonic_ns() // 1000
        await systemd.until("READY=1")
        daemon.process.send_signal(signal.SIGTERM)
        assert (await systemd.until("STOPPING=1"))[-1] == "STATUS=stopping"
        assert await daemon.stop() == 0


async def test_a_log_that_cannot_be_written_stops_the_watchdog_until_it_can(manager, tmp_path):
    systemd = manager(WATCHDOG_USEC="300000")
    async with Daemon(tmp_path / "daemon") as daemon:
        await systemd.until("WATCHDOG=1")
        away = daemon.log_path.with_name("away.db")
        daemon.log_path.rename(away)
        while (heard := await systemd.hear()) == ["WATCHDOG=1"]:
            pass
        assert heard == [f"STATUS=the event log {daemon.log_path} was moved or removed while it was in use"]
        away.rename(daemon.log_path)  # whatever comes next is alive again: nothing was fed meanwhile
        assert await systemd.hear() == ["WATCHDOG=1", "STATUS=0 streams"]


async def test_a_configuration_that_is_wrong_is_a_reload_that_ends_too(manager, tmp_path):
    systemd = manager()
    async with Daemon(tmp_path / "daemon") as daemon:
        assert (await systemd.hear())[0] == "READY=1"
        daemon.config.write_text("[nonsense]\n")
        daemon.process.send_signal(signal.SIGHUP)
        await systemd.until("RELOADING=1")
        await systemd.until("READY=1")


async def test_an_abstract_socket_is_one_too(manager, tmp_path):
    systemd = manager(f"@chainwatch-test-{tmp_path.name}-{time.monotonic_ns()}")
    notify.Notifier.here().tell("READY=1", notify.status("a\nREADY=0"))
    assert await systemd.hear() == ["READY=1", "STATUS=a\\u000aREADY=0"]


async def told(manager, prove):
    """The datagrams of a second look, with that answer of the log."""
    systemd = manager(WATCHDOG_USEC="30000")
    async with notify.Notifier.here().ready(prove, lambda: "fine"):
        assert await systemd.hear() == ["READY=1", "STATUS=fine"]
        return await systemd.hear()


async def test_a_full_disk_is_waited_for_and_said(manager):
    async def full() -> None:
        raise LogFull("no room left for the event log")

    assert await told(manager, full) == ["WATCHDOG=1", "STATUS=no room left for the event log"]


async def test_a_log_that_has_stopped_is_not_alive(manager):
    async def stopped() -> None:
        raise LogError("the event log has stopped")

    assert await told(manager, stopped) == ["STATUS=the event log has stopped"]


async def test_a_disk_that_hangs_is_not_alive(manager):
    hung, asked = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        asked.set()
        await hung.wait()

    systemd = manager(WATCHDOG_USEC="30000")
    async with notify.Notifier.here().ready(hang, lambda: "fine"):
        await asked.wait()
    assert await systemd.hear() == ["READY=1", "STATUS=fine"]
    assert await systemd.hear() == ["STOPPING=1", "STATUS=stopping"]


async def test_a_fault_of_ours_is_not_alive_and_does_not_end_the_looking(manager):
    systemd = manager(WATCHDOG_USEC="30000")
    faults = [ValueError("a fault"), None]

    async def prove() -> None:
        if (fault := faults.pop(0) if len(faults) > 1 else None) is not None:
            raise fault

    async with notify.Notifier.here().ready(prove, lambda: "well"):
        heard = await systemd.until("WATCHDOG=1")
    assert heard[:3] == ["READY=1", "STATUS=well", "STATUS=a fault of chainwatch"]


async def test_a_fault_in_how_things_stand_is_said_and_the_watchdog_goes_on(manager):
    systemd = manager(WATCHDOG_USEC="300000")
    faults = 3

    async def prove() -> None:
        pass

    def stand() -> str:
        nonlocal faults
        faults -= 1
        if faults >= 0:
            raise KeyError("head")
        return "well"

    async with notify.Notifier.here().ready(prove, stand):
        first = await systemd.hear()
        assert first == ["READY=1", "STATUS=how things stand cannot be told: a fault of chainwatch"]
        assert await systemd.hear() == ["WATCHDOG=1"]
        assert (await systemd.until("STATUS=well"))[-2:] == ["WATCHDOG=1", "STATUS=well"]


async def test_a_reload_that_the_end_overtakes_is_not_ready_again(manager):
    systemd = manager()
    notifier = notify.Notifier.here()

    async def prove() -> None:
        pass

    with notifier.reloading():
        async with notifier.ready(prove, lambda: "well"):
            pass
    await systemd.until("STOPPING=1")
    with pytest.raises(BlockingIOError):
        systemd.socket.recv(4096)


async def test_whoever_does_not_listen_is_no_reason_to_stop(monkeypatch, tmp_path):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify.Notifier.here().tell("READY=1")


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_for_one_process(environ, seconds):
    assert notify.watchdog(environ, 7) == seconds


@pytest.mark.parametrize(("named", "address"), [("/run/x", "/run/x"), ("@x", "\0x"), ("vsock:2:1", None), ("", None)])
def test_a_socket_has_a_path_or_an_abstract_name(named, address):
    assert notify.address({"NOTIFY_SOCKET": named}) == address
