"""The whole daemon from outside, as its users and its enemies have it: processes, files, signals, terminals, disks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from anvil import free_port
from daemon import Daemon
from fold import Client, Fold
from ingestion import agrees

from chainwatch.chain.simulated import CHAIN_ID, Honest, Late, Refusal, Request, RpcError, SimulatedNode, View, World

pytestmark = pytest.mark.long

COMMAND = (sys.executable, "-m", "chainwatch")


def follows(*endpoints: str, **more: Any) -> dict[str, Any]:
    """A chain that tells everything of a simulated world."""
    told = {"start": 0, "tokens": "all", "transactions": "all", "confirmations": [1, 3], "request_timeout": "1s"}
    return {"name": "sim", "chain_id": CHAIN_ID, "endpoints": list(endpoints)} | told | more


@contextlib.asynccontextmanager
async def following(folder: Path, world: World, **more: Any) -> AsyncIterator[tuple[Daemon, SimulatedNode]]:
    """A daemon that follows a node of this world. `more`: tables of the configuration."""
    async with (
        SimulatedNode(world) as node,
        Daemon(folder / "daemon", chains=[follows(node.url)], **more) as daemon,
    ):
        yield daemon, node


def ended(*arguments: str, folder: Path, timeout: float = 30) -> tuple[int, str, str]:
    """Run a command to its end: exit code, stdout, stderr."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        env={**os.environ, "HOME": str(folder)},
    )
    return done.returncode, done.stdout, done.stderr


async def run(*arguments: str, folder: Path) -> tuple[int, str, str]:
    """The same, while the loop goes on."""
    return await asyncio.to_thread(ended, *arguments, folder=folder)


async def until(true: Callable[[], Awaitable[Any]], what: str, seconds: float = 20) -> Any:
    """Ask until the answer is true; the answer."""
    answer: Any = None
    try:
        async with asyncio.timeout(seconds):
            while not (answer := await true()):
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}") from None
    return answer


async def becomes(daemon: Daemon, state: str, *, seconds: float = 20) -> dict[str, Any]:
    """Wait until the chain is in that state; what `/v1/stats` says of it then."""

    async def there() -> Any:
        told = await daemon.chain()
        return told if told["state"] == state else None

    return await until(there, f"the chain becomes {state}\n{daemon.stderr.read_text()[-3000:]}", seconds)


def lines(daemon: Daemon) -> list[dict[str, Any]]:
    """What it said on stderr; every line of it is JSON."""
    return [json.loads(line) for line in daemon.stderr.read_text().splitlines()]


def states(events: list[dict[str, Any]]) -> list[str]:
    return [event["data"]["state"] for event in events if event["type"] == "chain_status"]


async def holds_everything(client: Client, daemon: Daemon, world: World) -> None:
    """The client's events are the history, and their fold is the chain."""
    await daemon.reached(world.head.hash)
    await until(lambda: _same(client, daemon), "the client has what the history has")
    agrees(client.fold, world)


async def _same(client: Client, daemon: Daemon) -> bool:
    return client.events == await daemon.history()


# --- a full disk --------------------------------------------------------------------------------------------------


class Disk:
    """Where a log is that can run out of room."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, daemon: Daemon) -> None:
        """The daemon runs: from here on room is scarce."""

    def make_room(self, daemon: Daemon) -> None:
        (self.folder / "filler").unlink()


class Limited(Disk):
    """A limit on the size of each file: what anybody may do, and SQLite calls it an I/O error as it does a quota."""

    def begin(self, daemon: Daemon) -> None:
        assert daemon.process is not None
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (700_000, resource.RLIM_INFINITY))

    def make_room(self, daemon: Daemon) -> None:
        assert daemon.process is not None
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.fixture(params=["disk", "limit"])
def disk(request, tmp_path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param == "limit":
        yield Limited(folder)
        return
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=5m", "none", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk; the limit on file sizes is tested instead")
    (folder / "filler").write_bytes(bytes(4_000_000))
    yield Disk(folder)
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("transactions", [(0, 0), (0, 9)], ids=["small-steps", "large-steps"])
async def test_a_full_disk_stops_ingestion_says_so_and_loses_nothing(tmp_path, disk, transactions):
    world = World(5, transactions=transactions)
    log = {"path": str(disk.folder / "events.db")}
    async with following(tmp_path, world, log=log) as (daemon, _):
        disk.begin(daemon)
        client = Client(daemon.url)
        await daemon.reached(world.head.hash)
        while (told := await daemon.chain())["state"] != "halted":
            world.mine(3)
            await asyncio.sleep(0.01)
        assert "no room" in told["reason"]
        assert not told["ready"]
        async with aiohttp.ClientSession() as session, session.get(daemon.url + "/health/ready") as answer:
            assert answer.status == 503
            health = json.loads(await answer.read())
        assert health["not_ready"] == ["sim"]
        assert "no room" in health["chains"][0]["reason"]
        assert [line for line in lines(daemon) if line["level"] == "error" and "no room" in line["event"]]

        world.mine(2)
        world.reorg(4)
        before = await daemon.history()  # it still answers
        assert daemon.process is not None
        assert daemon.process.returncode is None

        disk.make_room(daemon)
        await daemon.reached(world.head.hash)
        await becomes(daemon, "connected")
        world.mine(2)
        await holds_everything(client, daemon, world)
        assert client.connects == 1
        history = await daemon.history()
        assert history[: len(before)] == before
        seen = states(history)
        assert "halted" in seen, seen
        assert seen[-1] == "connected"
        await client.close()
        assert await daemon.stop() == 0


@pytest.mark.parametrize("disk", ["disk"], indirect=True)  # a limit goes with its process
async def test_killed_on_a_full_disk_and_started_on_it_again(tmp_path, disk):
    world = World(5)
    async with following(tmp_path, world, log={"path": str(disk.folder / "events.db")}) as (daemon, _):
        client = Client(daemon.url)
        while (await daemon.chain())["state"] != "halted":
            world.mine(3)
            await asyncio.sleep(0.01)
        await daemon.kill()
        await daemon.start()
        client.url = daemon.url
        await becomes(daemon, "halted")
        disk.make_room(daemon)
        world.mine(2)
        await becomes(daemon, "connected")
        await holds_everything(client, daemon, world)
        await client.close()


# --- the log's file -----------------------------------------------------------------------------------------------


async def test_a_second_daemon_on_the_same_log_is_refused_and_the_first_is_unhurt(tmp_path):
    world = World(1)
    world.mine(5)
    async with following(tmp_path, world) as (daemon, _):
        await daemon.reached(world.head.hash)
        began = time.monotonic()
        code, out, error = await run("-c", str(daemon.config), "serve", folder=tmp_path)
        assert time.monotonic() - began < 10
        assert (code, out) == (1, "")
        assert f"{daemon.log_path} is in use" in error
        assert f"process {daemon.process.pid}" in error
        assert "Traceback" not in error
        world.mine(3)
        client = Client(daemon.url)
        await holds_everything(client, daemon, world)
        await client.close()


@pytest.mark.parametrize(
    "contents",
    [b"a shopping list\n" * 500, b"SQLite format 3\0" + bytes(8176), None],
    ids=["text", "broken-sqlite", "another-program"],
)
async def test_a_foreign_log_file_is_refused_and_left_untouched(tmp_path, contents):
    path = tmp_path / "events.db"
    if contents is None:
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE recipes(name TEXT)")
            db.commit()
        contents = path.read_bytes()
    else:
        path.write_bytes(contents)
    code, out, error = await run("serve", "--demo", "--port", "0", "--log", str(path), folder=tmp_path)
    assert (code, out) == (1, "")
    assert f"{path} cannot be used as the event log" in error
    assert "Traceback" not in error
    assert path.read_bytes() == contents
    assert [file.name for file in tmp_path.iterdir()] == ["events.db"]


async def test_a_log_with_a_damaged_middle_is_refused_and_left_untouched(tmp_path):
    world = World(1)
    world.mine(30)
    async with following(tmp_path, world) as (daemon, _):
        await daemon.reached(world.head.hash)
        assert await daemon.stop() == 0
        whole = daemon.log_path.read_bytes()
        cut = whole[: len(whole) // 2]
        daemon.log_path.write_bytes(cut)
        code, out, error = await run("-c", str(daemon.config), "serve", folder=tmp_path)
        assert (code, out) == (1, "")
        assert f"{daemon.log_path} cannot be used as the event log" in error
        assert daemon.log_path.read_bytes() == cut
        daemon.log_path.write_bytes(whole)  # as from a backup
        await daemon.start()
        await daemon.reached(world.head.hash)


async def test_the_log_of_another_chain_under_the_same_name_is_a_configuration_error(tmp_path):
    world = World(1)
    world.mine(3)
    async with following(tmp_path, world) as (daemon, _):
        await daemon.reached(world.head.hash)
        assert await daemon.stop() == 0
        kept = daemon.log_path.read_bytes()
        other = daemon.config.read_text().replace(f"chain_id = {CHAIN_ID}", "chain_id = 5")
        changed = tmp_path / "other.toml"
        changed.write_text(other)
        code, out, error = await run("-c", str(changed), "serve", folder=tmp_path)
        assert (code, out) == (3, "")
        assert "sim" in error
        assert str(CHAIN_ID) in error
        assert "5" in error
        assert daemon.log_path.read_bytes() == kept


async def test_a_restart_goes_on_from_the_checkpoint_and_tells_nothing_again(tmp_path):
    world = World(3)
    world.mine(20)
    async with following(tmp_path, world) as (daemon, node):
        await daemon.reached(world.head.hash)
        await becomes(daemon, "connected")
        before = await daemon.history()
        assert await daemon.stop() == 0
        await daemon.start()
        await daemon.reached(world.head.hash)
        await becomes(daemon, "connected")
        after = await daemon.history()
        assert after[: len(before)] == before
        assert {event["type"] for event in after[len(before) :]} <= {"chain_status", "block_finalized"}
        assert (await daemon.chain())["blocks"] == 0
        await daemon.kill()
        world.mine(3)
        world.reorg(5)
        await daemon.start()
        await daemon.reached(world.head.hash)
        fold = Fold()
        for event in await daemon.history():
            fold.apply(event)
        agrees(fold, world)
        assert node.connections


# --- signals ------------------------------------------------------------------------------------------------------


async def read_to_the_end(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 200
        return (await answer.read()).decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_a_signal_ends_every_stream_in_order_and_the_daemon_at_once(tmp_path, number):
    world = World(2)
    world.mine(10)
    async with following(tmp_path, world) as (daemon, _):
        await daemon.reached(world.head.hash)
        client = Client(daemon.url)
        routes = ["/events", "/events/stream?since=earliest", "/events/block_new", "/events?types=chain_reorg"]
        readers = [asyncio.create_task(read_to_the_end(daemon.url + route)) for route in routes * 3]

        async def open_streams() -> bool:
            return (await daemon.get("/v1/stats"))["streams"]["open"] == len(readers) + 1

        await until(open_streams, "all streams are open")
        assert daemon.process is not None
        began = time.monotonic()
        daemon.process.send_signal(number)
        code = await daemon.process.wait()
        took = time.monotonic() - began
        assert (code, took < 2) == (0, True), f"exit code {code} after {took:.1f} s\n{daemon.stderr.read_text()}"
        for body in await asyncio.gather(*readers):
            end = body[body.rindex("retry:") :].strip().splitlines()
            assert end[0].removeprefix("retry: ").isdigit()
            assert end[1] == "event: complete"
            assert end[-1] == "data: [DONE]"
        assert [file.name for file in daemon.folder.glob("events.db*")] == ["events.db"]
        world.mine(4)
        await daemon.start()
        client.url = daemon.url
        await holds_everything(client, daemon, world)
        await client.close()


async def test_a_second_signal_while_it_stops_does_no_harm(tmp_path):
    async with following(tmp_path, World(2)) as (daemon, _):
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGTERM)
        daemon.process.send_signal(signal.SIGINT)
        assert await daemon.process.wait() == 0
        assert all(line["level"] != "error" for line in lines(daemon))


# --- what cannot be meant -----------------------------------------------------------------------------------------


def test_a_port_in_use_is_a_failure_with_a_way_out(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, error = ended("serve", "--demo", "--port", str(port), folder=tmp_path)
    assert (code, out) == (1, "")
    assert f"cannot listen on 127.0.0.1, port {port}" in error
    assert "--port" in error
    assert "Traceback" not in error


def test_a_configuration_that_is_not_there_is_exit_code_3(tmp_path):
    code, out, error = ended("-c", str(tmp_path / "no.toml"), "serve", folder=tmp_path)
    assert (code, out) == (3, "")
    assert str(tmp_path / "no.toml") in error
    code, out, error = ended("-c", str(tmp_path), "serve", folder=tmp_path)
    assert (code, out) == (3, "")
    assert "Traceback" not in error


def test_every_problem_of_a_configuration_is_told_at_once(tmp_path):
    file = tmp_path / "chainwatch.toml"
    file.write_text(
        '[server]\nport = 99999\nhots = "x"\n[[chains]]\nname = "a"\nchain_id = 1\n'
        'endpoints = ["ftp://user:pw@x.example/SECRETKEY0123"]\nconfirmations = [0]\n'
        '[[wallets]]\nname = "w"\naddress = "0x12"\nchains = ["b"]\n'
    )
    code, out, error = ended("-c", str(file), "serve", folder=tmp_path)
    assert (code, out) == (3, "")
    for place in ("server.port", "server.hots", "chains[0].endpoints", "chains[0].confirmations", "wallets[0].address"):
        assert place in error
    assert "did you mean 'host'?" in error
    assert "SECRETKEY0123" not in error
    assert "pw@" not in error


def test_an_unknown_command_or_option_is_exit_code_2(tmp_path):
    code, out, error = ended("sevre", folder=tmp_path)
    assert (code, out) == (2, "")
    assert "did you mean 'serve'?" in error
    code, _, error = ended("serve", "--sed", "7", folder=tmp_path)
    assert code == 2
    assert "--seed" in error


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org"])
def test_others_are_served_only_where_insecure_is_given(tmp_path, host):
    code, out, error = ended("serve", "--demo", "--port", "0", "--host", host, folder=tmp_path)
    assert (code, out) == (3, "")
    assert "--insecure" in error


async def test_insecure_serves_others_and_says_so(tmp_path):
    daemon = Daemon(tmp_path / "daemon", server={"host": "0.0.0.0"})
    await daemon.start("--insecure")
    try:
        daemon.url = daemon.url.replace("0.0.0.0", "127.0.0.1")
        assert (await daemon.get("/v1/stats"))["chains"] == []
        assert any("everyone" in line["event"] for line in lines(daemon))
        assert await daemon.stop() == 0
    finally:
        if daemon.process is not None:
            await daemon.kill()


# --- secrets ------------------------------------------------------------------------------------------------------

SECRETS = ("SECRETUSER01", "SECRETPASS02", "SECRETKEY0123456789", "SECRETQUERY04")
SHORT = "/v3/SECRETKEY0123456789?apikey=SECRETQUERY04"


class Unauthorized(Honest):
    def admit(self, *, websocket: bool) -> Refusal:
        return Refusal(401, {"WWW-Authenticate": "Basic"}, b"no such key: SECRETKEY0123456789")


class Distant(Honest):
    """A node behind a slow line."""

    def answer(self, request: Request, view: View, reply: bytes | RpcError) -> Late:
        return Late(0.05, reply)


class Tattler(Honest):
    """It names the key in its errors, as some providers do."""

    def answer(self, request: Request, view: View, reply: bytes | RpcError) -> bytes | RpcError:
        return RpcError(-32000, "invalid project id SECRETKEY0123456789 of SECRETUSER01 (apikey=SECRETQUERY04)")


@pytest.mark.parametrize("verbosity", ["", "-vv"])
async def test_no_secret_of_an_endpoint_is_told_anywhere(tmp_path, verbosity):
    world = World(1)
    world.mine(3)
    async with contextlib.AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(SimulatedNode(world, conduct=conduct))
            for conduct in (Unauthorized(), Tattler(), Honest())
        ]
        ports = [node.port for node in nodes] + [free_port()]
        hosts = [f"://SECRETUSER01:SECRETPASS02@127.0.0.1:{port}" for port in ports]
        chains = [
            follows(*(f"{scheme}{host}{SHORT}" for host in hosts), name=scheme, request_timeout="0.5s")
            for scheme in ("ws", "http")
        ]
        # One more of each for which nothing works at all.
        bad = [hosts[0], hosts[1], hosts[3]]
        chains += [
            follows(*(f"{one['name']}{host}{SHORT}" for host in bad), name=f"no-{one['name']}") for one in chains
        ]
        daemon = Daemon(tmp_path / "daemon", chains=chains)
        await daemon.start(*([verbosity] if verbosity else []))
        stack.push_async_callback(daemon.kill)

        async def settled() -> bool:
            found = (await daemon.get("/v1/stats"))["chains"]
            connected = all(chain["head"] == 3 for chain in found[:2])
            return connected and all(
                endpoint["failures"] >= 2 or endpoint["state"] == "ready"
                for chain in found
                for endpoint in chain["endpoints"]
            )

        await until(settled, "every endpoint was tried", 25)
        told = [json.dumps(await daemon.get("/v1/stats")), json.dumps(await daemon.history())]
        async with aiohttp.ClientSession() as session:
            for route in ("/health", "/health/live", "/events?since=earliest&limit=4"):
                async with session.get(daemon.url + route) as answer:
                    told.append(await answer.text())
        told.append(daemon.stderr.read_text())
        for text in told:
            for secret in SECRETS:
                assert secret not in text, [line for line in text.splitlines() if secret in line][:3]
        assert "no-ws" in told[1]
        assert "401" in told[0]


# --- strangers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS to a port that speaks none
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /events?since=\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\nA\x00: b\r\n\r\n",
        b"GET /events?types=%00%1b[2J%e2%80%ae HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"",
    ],
    ids=["tls", "version", "huge", "zero", "escapes", "nothing"],
)
async def test_a_broken_request_is_turned_away_and_leaves_no_trace(tmp_path, request_bytes):
    async with Daemon(tmp_path / "daemon") as daemon:
        before = daemon.stderr.read_bytes()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(daemon.url.rsplit(":", 1)[1]))
        writer.write(request_bytes)
        writer.write_eof()
        answer = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(10):
                answer = await reader.read()
        writer.close()
        assert not answer or answer.split()[1].startswith(b"4"), answer
        assert b"\x1b" not in answer
        assert (await daemon.get("/health"))["status"] == "ok"
        assert daemon.stderr.read_bytes() == before


async def test_whoever_opens_the_address_it_printed_is_told_what_there_is(tmp_path):
    async with (
        Daemon(tmp_path / "daemon") as daemon,
        aiohttp.ClientSession() as session,
        session.get(daemon.url + "/") as answer,
    ):
        assert answer.status == 200
        told = await answer.text()
        for path in ("/events", "/events/history", "/v1/stats", "/health"):
            assert path in told


async def test_whoever_reads_its_log_may_leave(tmp_path):
    """`serve 2>&1 >/dev/null | head -1`: no reason to stop ingesting."""
    world = World(1)
    async with SimulatedNode(world) as node:
        daemon = Daemon(tmp_path / "daemon", chains=[follows(node.url)])
        process = await asyncio.create_subprocess_exec(
            *(*COMMAND, "-c", str(daemon.config), "serve"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        try:
            assert process.stdout is not None
            daemon.url = (await process.stdout.readline()).decode().removeprefix("listening on ").strip()
            for number in (1, 2):
                process._transport.get_pipe_transport(number).close()
            world.mine(5)
            daemon.stderr.touch()
            await daemon.reached(world.head.hash)
            world.reorg(2)  # it would say so
            await daemon.reached(world.head.hash)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


# --- nodes --------------------------------------------------------------------------------------------------------


async def test_a_node_of_another_chain_is_refused_and_the_next_one_used(tmp_path):
    world, other = World(1), World(2, chain_id=99)
    other.mine(9)
    world.mine(3)
    async with (
        SimulatedNode(other) as wrong,
        SimulatedNode(world) as right,
        Daemon(tmp_path / "daemon", chains=[follows(wrong.url, right.url)]) as daemon,
    ):
        await daemon.reached(world.head.hash)
        told = await becomes(daemon, "degraded")
        first, second = told["endpoints"]
        assert (first["state"], second["state"]) == ("refused", "ready")
        assert "99" in first["reason"]
        assert str(CHAIN_ID) in first["reason"]
        assert [line for line in lines(daemon) if line["level"] == "error" and line.get("reason") == first["reason"]]


async def test_only_nodes_of_another_chain_leave_the_daemon_disconnected_and_nothing_told(tmp_path):
    other = World(2, chain_id=99)
    other.mine(9)
    async with (
        SimulatedNode(other) as wrong,
        Daemon(tmp_path / "daemon", chains=[follows(wrong.url)]) as daemon,
    ):
        told = await becomes(daemon, "disconnected")
        assert "99" in told["reason"]

        async def is_told() -> bool:
            return "disconnected" in states(await daemon.history())

        await until(is_told, "a chain_status tells it")
        assert {event["type"] for event in await daemon.history()} == {"chain_status"}


async def test_a_daemon_without_its_nodes_serves_and_recovers_when_one_comes(tmp_path):
    world = World(1)
    world.mine(3)
    port = free_port()
    endpoints = [f"ws://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"]
    async with Daemon(tmp_path / "daemon", chains=[follows(*endpoints)]) as daemon:
        client = Client(daemon.url)
        told = await becomes(daemon, "disconnected")
        assert not told["ready"]
        assert f"ws://127.0.0.1:{port}" in told["reason"]
        async with aiohttp.ClientSession() as session, session.get(daemon.url + "/health/live") as answer:
            assert answer.status == 200
        async with SimulatedNode(world, port=port):
            await becomes(daemon, "connected")
            await holds_everything(client, daemon, world)
        await becomes(daemon, "disconnected")
        async with SimulatedNode(world, port=port):
            world.mine(2)
            await becomes(daemon, "connected")
            await holds_everything(client, daemon, world)
        assert client.connects == 1
        assert states(client.events)[:2] == ["connecting", "disconnected"]
        await client.close()


# --- what it says -------------------------------------------------------------------------------------------------


async def test_what_is_no_terminal_gets_json_and_progress_in_lines(tmp_path):
    world = World(1, transactions=(0, 1))
    world.mine(2000)
    async with (
        SimulatedNode(world, conduct=Distant()) as node,
        Daemon(tmp_path / "daemon", chains=[follows(node.url)]) as daemon,
    ):
        await daemon.reached(world.head.hash)

        async def read() -> bool:
            return any(line["event"] == "history read" for line in lines(daemon))

        await until(read, "the end of the history is told")
        assert await daemon.stop() == 0
    told = lines(daemon)
    assert all({"timestamp", "level", "event"} <= set(line) for line in told)
    progress = [line for line in told if line["event"] == "reading history"]
    assert progress[0]["of"] == 2000
    assert 0 <= progress[0]["block"] < 2000


class Terminal:
    """A pseudo terminal, and everything that was written to it."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        self.seen = b""
        os.set_blocking(self.ours, False)
        asyncio.get_running_loop().add_reader(self.ours, self._read)

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            self.seen += os.read(self.ours, 65_536)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.ours)
        os.close(self.ours)
        os.close(self.theirs)


async def test_a_terminal_gets_text_and_a_progress_bar(tmp_path):
    world = World(1, transactions=(0, 1))
    world.mine(2000)
    terminal = Terminal()
    async with SimulatedNode(world, conduct=Distant()) as node:
        daemon = Daemon(tmp_path / "daemon", chains=[follows(node.url)])
        process = await asyncio.create_subprocess_exec(
            *(*COMMAND, "-c", str(daemon.config), "serve"),
            stdout=asyncio.subprocess.PIPE,
            stderr=terminal.theirs,
            env={**os.environ, "HOME": str(tmp_path), "TERM": "xterm-256color", "COLUMNS": "100"},
        )
        try:
            assert process.stdout is not None
            daemon.url = (await process.stdout.readline()).decode().removeprefix("listening on ").strip()
            await daemon.reached(world.head.hash)

            async def shown_again() -> bool:
                return b"\x1b[?25h" in terminal.seen

            await until(shown_again, "the bar goes when all is read")
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    text = terminal.seen.decode()
    terminal.close()
    assert "\x1b[?25l" in text, "a bar hides the cursor"
    assert re.search(r"sim .*━.*\d+/\d{3,4}", text)
    assert '{"' not in text
    assert "endpoint ready" in text
    assert "stopping" in text


# --- retention ----------------------------------------------------------------------------------------------------


async def test_retention_works_while_it_runs_and_is_told(tmp_path):
    world = World(1)
    async with following(tmp_path, world, log={"max_events": 200}) as (daemon, _):
        world.mine(10)
        await daemon.reached(world.head.hash)
        early = await daemon.get("/events/history?limit=1")
        assert not early["truncated"]
        for _ in range(10):
            world.mine(10)
            await daemon.reached(world.head.hash)

        async def kept() -> bool:
            return (await daemon.get("/v1/stats"))["log"]["events"] <= 200

        await until(kept, "the oldest events are gone")
        page = await daemon.get(f"/events/history?cursor={early['next']}&limit=1000")
        assert page["truncated"]
        assert 0 < len(page["events"]) <= 200
        assert page["events"][-1]["id"] == (await daemon.get("/events/history?limit=1000"))["events"][-1]["id"]
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{daemon.url}/events?limit=3", headers={"Last-Event-ID": early["next"]}) as answer,
        ):
            assert answer.status == 200
            body = await answer.text()
        gap = json.loads(body.split("event: gap")[1].split("data: ")[1].splitlines()[0])
        assert gap["requested"] == early["next"]
        assert body.count('\ndata: {"id"') == 3
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{daemon.url}/events?gap=fail", headers={"Last-Event-ID": early["next"]}) as answer,
        ):
            assert answer.status == 410
