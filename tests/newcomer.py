"""Somebody who follows the README: a new home, shells in it, and what is printed there."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp


class Done(NamedTuple):
    code: int | None
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Newcomer:
    """Somebody with a new home and a daemon, in a shell. Whoever has two hands and no time opens another one."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / ".venv").symlink_to(sys.prefix)
        self.environ = {
            "HOME": str(home),
            "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
        }
        self.words = {}
        """What stands in the text for something that everybody has their own of."""
        self.waiting: dict[str, asyncio.Task[Done]] = {}
        self.following: dict[str, asyncio.Task[None]] = {}
        self.entered: list[str] = []
        """Commands that changed this shell: every later one is entered behind them."""

    def another(self) -> Newcomer:
        other = copy.copy(self)
        other.entered = []
        return other

    def read(self, text: str) -> str:
        for word, mine in self.words.items():
            text = text.replace(word, mine)
        return text

    async def open(self, command: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *("bash", "-c", "\n".join([*self.entered, self.read(command)])),
            cwd=self.home,
            env=self.environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 24,
            start_new_session=True,
            # A shell that runs the tests in the background ignores ^C, and they would too.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    async def run(self, command: str, *, until: str | None = None, heard: asyncio.Event | None = None) -> Done:
        """To its end; or `until` a line on stdout has that, and then ^C. `heard` is set with the first line."""
        process = await self.open(command)
        errors = asyncio.create_task(process.stderr.read())
        lines = []
        try:
            async with asyncio.timeout(60):
                async for line in process.stdout:
                    lines.append(line.decode())
                    if heard is not None:
                        heard.set()
                    if until and re.search(until, lines[-1]):
                        # A loop goes on where ^C comes while its last command is about to end well.
                        os.killpg(process.pid, signal.SIGTERM if "while" in command else signal.SIGINT)
                        until = None
                await process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            said = (await errors).decode()
        done = Done(process.returncode, "".join(lines), said)
        assert until is None, f"{command}\nprints no {until!r}: {done}"
        return done

    async def good(self, command: str) -> Done:
        """To its end, which is a good one."""
        done = await self.run(command)
        assert done.code == 0, f"{command}\n{done}"
        return done

    async def page(self, **parameters: str) -> Any:
        url = self.words["http://127.0.0.1:8080"] + "/events/history"
        async with aiohttp.ClientSession() as session, session.get(url, params=parameters) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def history(self, cursor: str = "", **parameters: str) -> list[dict[str, Any]]:
        """What the daemon keeps, from the earliest or from behind there on."""
        begin = {"cursor": cursor} if cursor else {"since": "earliest"}
        pages = [await self.page(limit="1000", **begin, **parameters)]
        while pages[-1]["has_more"]:
            pages.append(await self.page(limit="1000", cursor=pages[-1]["next"], **parameters))
        return [event for page in pages for event in page["events"]]
