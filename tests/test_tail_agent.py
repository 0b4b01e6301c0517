"""`chainwatch tail --agent`: the daemon keeps the place, and whoever follows prints each event at least once."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from daemon import Daemon

from chainwatch import client

pytestmark = pytest.mark.long


@pytest.fixture
async def daemon(tmp_path):
    async with Daemon(tmp_path) as daemon:
        yield daemon


@asynccontextmanager
async def tail(daemon, *arguments, agent="desk"):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chainwatch", "tail", "--url", daemon.url, "--agent", agent, "--json", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    try:
        async with asyncio.timeout(60):
            yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def publish(daemon, *numbers, kind="deploy"):
    for number in numbers:
        await client.send(daemon.url, kind, {"number": number})


async def numbers(process, count):
    return [json.loads(await process.stdout.readline())["data"]["number"] for _ in range(count)]


async def said(process, text):
    """The note that says so."""
    while text not in (line := (await process.stderr.readline()).decode()):
        assert line, f"it ended without {text!r}"
    return line


async def behind(daemon, agent="desk"):
    return (await daemon.get(f"/agents/{agent}"))["lag"]


async def ended(process):
    process.send_signal(signal.SIGTERM)
    rest, _ = await process.communicate()
    assert process.returncode == -signal.SIGTERM
    return rest


async def test_each_run_goes_on_behind_what_the_one_before_printed(daemon):
    async with tail(daemon, "-t", "custom") as first:
        assert "the agent desk is new" in await said(first, "desk")
        await publish(daemon, 1, 2, 3)
        assert await numbers(first, 3) == [1, 2, 3]
        assert await ended(first) == b""
    assert await behind(daemon) == 0
    await publish(daemon, 4, 5)
    async with tail(daemon) as second:
        assert "goes on, 2 events behind the newest" in await said(second, "desk")
        assert await numbers(second, 2) == [4, 5]
        await publish(daemon, 6)
        assert await numbers(second, 1) == [6]


async def test_a_new_agent_begins_where_it_is_told_and_keeps_its_filter(daemon):
    await publish(daemon, 1, 2)
    await publish(daemon, 3, kind="other")
    async with tail(daemon, "--since", "earliest", "-t", "custom:deploy") as first:
        assert await numbers(first, 2) == [1, 2]
        await ended(first)
    await publish(daemon, 4, kind="other")
    await publish(daemon, 5)
    async with tail(daemon) as second:
        assert await numbers(second, 1) == [5]
        await ended(second)
    await publish(daemon, 6, kind="other")
    async with tail(daemon, "-t", "custom") as third:  # another filter; the place stays
        assert await numbers(third, 1) == [6]


async def test_killed_at_any_moment_nothing_is_left_out(daemon):
    told = []
    async with tail(daemon, "-t", "custom") as first:
        await said(first, "new")
    for number in range(1, 31):
        await publish(daemon, number)
        if number % 6 == 0:
            async with tail(daemon) as process:
                told += await numbers(process, 1 + number // 6 % 3)
                process.kill()
                rest = await process.stdout.read()
                told += [json.loads(line)["data"]["number"] for line in rest.splitlines()]
    async with tail(daemon) as last:
        while not told or told[-1] != 30:
            told += await numbers(last, 1)
    assert set(told) == set(range(1, 31))
    assert all(after <= before + 1 for before, after in itertools.pairwise(told))  # again, and never ahead


async def test_a_second_one_takes_over_and_the_first_one_ends(daemon):
    async with tail(daemon, "-t", "custom") as first:
        await said(first, "new")
        await publish(daemon, 1)
        assert await numbers(first, 1) == [1]
        async with tail(daemon) as second:
            await said(second, "goes on")
            assert "somebody else follows the agent desk now" in await said(first, "somebody")
            assert await first.wait() == 1
            await publish(daemon, 2)
            assert await numbers(second, 1) == [2]


async def test_a_daemon_that_comes_back_is_gone_on_with(daemon):
    async with tail(daemon, "-t", "custom") as process:
        await said(process, "new")
        await publish(daemon, 1)
        assert await numbers(process, 1) == [1]
        for stop, number in ((daemon.stop, 2), (daemon.kill, 3)):
            daemon.configure(server={"port": int(daemon.url.rpartition(":")[2])})
            await stop()
            await daemon.start()
            await publish(daemon, number)
            assert await numbers(process, 1) == [number]


async def test_an_agent_that_is_deleted_ends_it(daemon):
    async with tail(daemon, "-t", "custom") as process:
        await said(process, "new")
        await publish(daemon, 1)
        assert await numbers(process, 1) == [1]
        async with aiohttp.request("DELETE", f"{daemon.url}/agents/desk") as answer:
            assert answer.status == 204
        assert "there is no agent 'desk'" in await said(process, "404")
        assert await process.wait() == 1
