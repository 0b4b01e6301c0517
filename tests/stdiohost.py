"""A host that starts `chainwatch mcp`: the process, and what goes over its stdin and stdout, line by line."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import defaultdict
from contextlib import suppress
from typing import Any, Self

COMMAND = (sys.executable, "-m", "chainwatch", "mcp")
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a host", "version": "1"}}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "a host", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def line(message: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"


async def done(*arguments: str, given: bytes = b"", command: tuple[str, ...] = COMMAND, **environ: str) -> Any:
    """Exit code, the messages on stdout, and stderr of a run whose stdin is `given` and then ends."""
    process = await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environ},
    )
    try:
        async with asyncio.timeout(30):
            out, err = await process.communicate(given)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    return process.returncode, [json.loads(text) for text in out.splitlines()], err.decode()


class Host:
    """One session. `async with` starts it, says hello as hosts of the handshake do, and ends it by ending stdin."""

    def __init__(self, *arguments: str, **environ: str) -> None:
        self._arguments = arguments
        self._environ = environ
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._told: dict[str, asyncio.Queue[dict[str, Any]]] = defaultdict(asyncio.Queue)
        self._count = 0
        self.hello: dict[str, Any] = {}
        self.code: int | None = None
        """The exit code, once it has ended; 0 unless a test ended it by a signal."""

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **self._environ},
            limit=2**24,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self._reading = asyncio.create_task(self._read())
        self.hello = await self.request("initialize", **HELLO)
        self.send({"method": "notifications/initialized"})
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if kind is None and self.code is None:
            assert await self.end() == 0, await self.stderr()
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        self.process.stdin.close()
        await asyncio.gather(self._reading, return_exceptions=kind is not None)

    def send(self, message: dict[str, Any]) -> None:
        self.process.stdin.write(line(message))

    def ask(self, method: str, **params: Any) -> asyncio.Future[dict[str, Any]]:
        """The answer to come, whole."""
        self._count += 1
        answer = self._answers[self._count] = asyncio.get_running_loop().create_future()
        self.send({"id": self._count, "method": method, "params": params})
        return answer

    async def request(self, method: str, **params: Any) -> dict[str, Any]:
        """The result."""
        async with asyncio.timeout(30):
            answer = await self.ask(method, **params)
        assert "result" in answer, answer
        return answer["result"]

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structured result of a tool."""
        result = await self.request("tools/call", name=tool, arguments=arguments)
        assert not result.get("isError"), result
        return result["structuredContent"]

    async def fails(self, tool: str, **arguments: Any) -> str:
        """What a tool says that cannot do it."""
        result = await self.request("tools/call", name=tool, arguments=arguments)
        assert result["isError"], result
        return result["content"][0]["text"]

    async def told(self, method: str) -> dict[str, Any]:
        """What the next notification of that kind says."""
        async with asyncio.timeout(30):
            return (await self._told[f"notifications/{method}"].get())["params"]

    async def pushed(self) -> dict[str, Any]:
        """The next that was pushed into the channel."""
        return await self.told("claude/channel")

    def silent(self) -> bool:
        """Nothing was told that no test has taken."""
        return all(kind.empty() for kind in self._told.values())

    async def end(self, number: int | None = None) -> int:
        """End it by this signal, or by ending stdin; the exit code."""
        if number is None:
            self.process.stdin.close()
        else:
            self.process.send_signal(number)
        async with asyncio.timeout(20):
            self.code = await self.process.wait()
        return self.code

    async def stderr(self) -> str:
        """All of it, of a session that has ended."""
        return (await self.process.stderr.read()).decode()

    async def _read(self) -> None:
        while text := await self.process.stdout.readline():
            message = json.loads(text)
            assert message["jsonrpc"] == "2.0"
            if "method" in message:
                self._told[message["method"]].put_nowait(message)
            else:
                self._answers.pop(message["id"]).set_result(message)
