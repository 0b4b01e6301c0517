"""Keys as people use them: a daemon that runs, `chainwatch keys` beside it, `tail` with a key, without, and after."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from daemon import Daemon

from chainwatch.cli import run

pytestmark = pytest.mark.long

KEY = re.compile(r"cw_[0-9A-Za-z]{10}_[0-9A-Za-z]{43}")


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with Daemon(tmp_path / "daemon") as daemon:
        yield daemon


@pytest.fixture
def keys(daemon: Daemon, capsys):
    """`chainwatch keys` with the configuration of that daemon; what it prints on stdout."""

    def keys(*arguments: str) -> str:
        assert run(["-c", str(daemon.config), "keys", *arguments]) == 0
        return capsys.readouterr().out.strip()

    return keys


@asynccontextmanager
async def tailing(daemon: Daemon, *arguments: str, key: str = "") -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chainwatch", "-v", "tail", "--json", "--url", daemon.url, *arguments),
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, "CHAINWATCH_KEY": key},
    )
    try:
        async with asyncio.timeout(30):
            yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def connected(tail: Process) -> None:
    told = (await tail.stderr.readline()).decode()
    assert "connected as" in told, told + (await tail.stderr.read()).decode()


async def refused(tail: Process) -> str:
    """The last words of a `tail` that is turned away, without the notes on its way there."""
    out, err = await tail.communicate()
    assert (tail.returncode, out) == (1, b"")
    told = err.decode()
    assert not KEY.search(told)
    return told[told.index("chainwatch: http") :].replace("chainwatch: http://", "").partition(" ")[2]


async def until_taken(daemon: Daemon, key: str) -> None:
    """Wait until the daemon knows the key."""
    async with aiohttp.ClientSession(daemon.url, headers={"X-API-Key": key}) as session, asyncio.timeout(10):
        while True:
            async with session.get("/v1/stats") as answer:
                if answer.status != 401:
                    return
            await asyncio.sleep(0.02)


async def test_a_key_is_good_at_once_and_when_it_is_revoked_its_tail_ends_with_the_reason(daemon, keys):
    shop, other = keys("create", "shop"), keys("create", "other")
    await until_taken(daemon, other)
    async with tailing(daemon, key=shop) as tail, tailing(daemon, "--key", other) as stays:
        await asyncio.gather(connected(tail), connected(stays))
        keys("revoke", "shop")
        assert await refused(tail) == (
            "answers 401: this key is not known here: it is mistyped, was revoked, or has expired\n"
            "It was good until now: the key was revoked, or it has expired.\n"
            "chainwatch keys list shows the keys that there are, keys create makes one\n"
        )
        assert stays.returncode is None
        (daemon.folder / "keys.toml").unlink()  # which revokes the rest, and opens nothing
        assert "It was good until now" in await refused(stays)
    async with aiohttp.ClientSession() as session, session.get(f"{daemon.url}/events") as answer:
        assert answer.status == 401
    told = daemon.stderr.read_text()
    assert '"gone": ["shop"]' in told
    assert not KEY.search(told)


async def test_the_first_key_ends_the_tail_that_has_none_and_it_says_where_to_give_one(daemon, keys):
    async with tailing(daemon) as tail:
        await connected(tail)
        keys("create", "first")
        assert await refused(tail) == (
            "answers 401: a key is needed here\n"
            "give it with --key or in CHAINWATCH_KEY; `chainwatch keys create NAME` on its machine makes one\n"
        )


async def test_a_key_that_is_not_for_this_is_an_error_that_says_what_it_is_for(daemon, keys):
    sender, blocks = keys("create", "sender", "--can", "send"), keys("create", "blocks", "--types", "block_new,price")
    await until_taken(daemon, blocks)
    cases = {
        ("", "a key is needed here", "give it with --key or in CHAINWATCH_KEY"): (),
        (blocks[:-1], "this key is not known here", "chainwatch keys list"): (),
        (sender, "the key sender may not read", "--can read"): (),
        (blocks, "this key may not see type token_swap", "block_new, price_update"): ("--type", "token_swap"),
    }

    async def answer(key: str, *arguments: str) -> str:
        async with tailing(daemon, *arguments, key=key) as tail:
            return await refused(tail)

    told = await asyncio.gather(*(answer(case[0], *arguments) for case, arguments in cases.items()))
    for (_, problem, hint), words in zip(cases, told, strict=True):
        assert problem in words
        assert hint in words
    assert await answer("", "--no-follow") == told[0]


async def test_a_demonstration_asks_for_the_keys_that_were_made(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert run(["keys", "create", "mine"]) == 0
    key = capsys.readouterr().out.strip()
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chainwatch", "serve", "--demo", "--port", "0"), stdout=PIPE, stderr=PIPE
    )
    try:
        url = (await demo.stdout.readline()).decode().removeprefix("listening on ").strip()
        async with aiohttp.ClientSession(url) as session:
            async with session.get("/events/history") as answer:
                assert answer.status == 401
            async with session.get("/events/history", headers={"X-API-Key": key}) as answer:
                assert answer.status == 200
    finally:
        demo.terminate()
        await demo.communicate()


def test_what_was_made_for_another_log_opens_no_public_address(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert run(["keys", "create", "mine"]) == 0
    assert run(["serve", "--demo", "--log", str(tmp_path / "x.db"), "--host", "0.0.0.0", "--port", "0"]) == 3
    told = capsys.readouterr()
    assert "not a loopback address" in told.err
    assert "listening" not in told.out
