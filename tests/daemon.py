"""The daemon as a user has it: a process with a configuration file, started, stopped and killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import aiohttp


def toml(value: Any) -> str:
    """A value as TOML; JSON's way of writing text, numbers and lists is TOML's too."""
    return json.dumps(value)


class Daemon:
    """One `chainwatch serve`. `async with` starts it and stops it."""

    def __init__(self, folder: Path, *, server: Mapping[str, Any] | None = None, **tables: Any) -> None:
        """`tables`: `log` (a table), `chains`, `wallets`, `tokens` (lists of tables)."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.log_path = folder / "events.db"
        self.config = folder / "chainwatch.toml"
        self.stderr = folder / "stderr"
        self.process: asyncio.subprocess.Process | None = None
        self.url = ""
        self.configure(server=server or {}, **tables)

    def configure(self, *, server: Mapping[str, Any], **tables: Any) -> None:
        """Write the configuration, for the next start or the next SIGHUP."""
        tables = {"server": {"port": 0} | dict(server), "log": {}, **tables}
        tables["log"] = {"path": str(self.log_path)} | dict(tables["log"])
        lines = []
        for name, table in tables.items():
            for one in table if isinstance(table, list) else [table]:
                lines.append(f"[[{name}]]" if isinstance(table, list) else f"[{name}]")
                lines += [f"{key} = {toml(value)}" for key, value in one.items()]
        self.config.write_text("\n".join(lines) + "\n")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self.process is not None:
            await self.kill()

    async def start(self, *arguments: str) -> None:
        with self.stderr.open("ab") as stderr:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "chainwatch", "-c", str(self.config), "serve", *arguments),
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, "HOME": str(self.folder)},
            )
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            line = (await self.process.stdout.readline()).decode()
        assert line.startswith("listening on "), f"it did not start:\n{self.stderr.read_text()}"
        self.url = line.removeprefix("listening on ").strip()

    async def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        self.process = None

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            code = await self.process.wait()
        self.process = None
        return code

    async def get(self, path: str) -> Any:
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
            assert answer.status == 200, await answer.text()
            return json.loads(await answer.read())

    async def history(self, **parameters: str) -> list[dict[str, Any]]:
        """Everything that `GET /events/history` holds."""
        events: list[dict[str, Any]] = []
        query = {"limit": "1000", "since": "earliest"} | parameters
        async with aiohttp.ClientSession() as session:
            while True:
                async with session.get(f"{self.url}/events/history", params=query) as answer:
                    assert answer.status == 200, await answer.text()
                    page = json.loads(await answer.read())
                assert not page["truncated"]
                events += page["events"]
                if not page["has_more"]:
                    return events
                query["cursor"] = page["next"]
                query.pop("since", None)

    async def chain(self, index: int = 0) -> dict[str, Any]:
        return (await self.get("/v1/stats"))["chains"][index]

    async def reached(self, block_hash: str, *, seconds: float = 60, index: int = 0) -> None:
        """Wait until that block is the newest told one, of the chain with that index."""
        seen: Any = None
        try:
            async with asyncio.timeout(seconds):
                while seen is None or seen["head_hash"] != block_hash:
                    seen = await self.chain(index)
                    await asyncio.sleep(0.02)
        except TimeoutError:
            tail = "\n".join(self.stderr.read_text().splitlines()[-30:])
            raise AssertionError(f"it does not get to {block_hash}: {json.dumps(seen, indent=1)}\n{tail}") from None
