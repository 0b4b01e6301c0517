"""anvil as the tests' node: started, stopped, frozen, killed and restarted like a real one.

`--hardfork cancun`: with the default hardfork the cost of a block grows with the height.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import socket
import time
from pathlib import Path
from typing import Any, Self

import aiohttp

ACCOUNTS = [
    "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266",
    "0x70997970c51812dc3a010c7d01b50e0d17dc79c8",
    "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc",
    "0x90f79bf6eb2c4f870365e785982e1f101e93b906",
    "0x15d34aaf54267db7d7c367839aaf71a00a2c6a65",
]
"""anvil's first accounts: unlocked, and rich."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class NodeError(Exception):
    """The node answered with an error."""


class Anvil:
    """One anvil process on a fixed port. `async with` starts and stops it."""

    def __init__(
        self, binary: Path, folder: Path, *options: str, port: int | None = None, durable: bool = True
    ) -> None:
        """`durable`: keeps its chain over a restart; that makes blocks dearer, the more there are."""
        self.durable = durable
        self.binary = binary
        self.folder = folder
        self.options = options
        self.port = port or free_port()
        # A restarted anvil makes its genesis anew; with the time of the first start it is the same one.
        self.born = int(time.time())
        self.process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self._ids = itertools.count(1)
        self._nonces: dict[str, int] = {}

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = await asyncio.create_subprocess_exec(
            str(self.binary),
            *("--port", str(self.port), "--no-mining", "--hardfork", "cancun", "--quiet"),
            *("--cache-path", str(self.folder), "--order", "fifo"),
            *(("--state", str(self.folder / "state.json"), "--preserve-historical-states") if self.durable else ()),
            *("--timestamp", str(self.born)),
            *self.options,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={"HOME": str(self.folder), "PATH": "/usr/bin:/bin"},
        )
        self._session = aiohttp.ClientSession()
        async with asyncio.timeout(20):
            while True:
                try:
                    await self.call("eth_chainId")
                except (aiohttp.ClientError, OSError):
                    await asyncio.sleep(0.02)  # it has no other way to say that it is up
                else:
                    return

    async def stop(self) -> None:
        """End it as a user would; it writes its state."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGINT)
            try:
                async with asyncio.timeout(20):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
                await self.process.wait()
        self.process = None

    async def restart(self) -> None:
        """Stop it, and start it again with the chain that it had."""
        await self.stop()
        self._nonces.clear()
        await self.start()

    def freeze(self) -> None:
        """Half-open: the sockets stay, and nothing answers. It waits for the last of its threads."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        while self._runs():
            time.sleep(0.001)

    def _runs(self) -> bool:
        """Whether any of its threads is not stopped."""
        assert self.process is not None
        for thread in Path(f"/proc/{self.process.pid}/task").glob("*/stat"):
            with contextlib.suppress(OSError):  # it has ended
                if thread.read_text().rpartition(") ")[2][0] not in "TXZ":
                    return True
        return False

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    async def call(self, method: str, *params: Any) -> Any:
        assert self._session is not None
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}
        async with self._session.post(self.http, json=body) as answer:
            told = json.loads(await answer.read())
        if "error" in told:
            raise NodeError(f"{method}: {told['error']}")
        return told["result"]

    async def send(self, sender: str, to: str | None, data: str = "0x", value: int = 0, gas: int = 10_000_000) -> str:
        """Put a transaction into the pool; the nonce is ours to count, since pipelined ones replace each other else."""
        nonce = self._nonces.get(sender)
        if nonce is None:
            nonce = int(await self.call("eth_getTransactionCount", sender, "pending"), 16)
        transaction = {"from": sender, "data": data, "value": hex(value), "gas": hex(gas), "nonce": hex(nonce)}
        if to is not None:
            transaction["to"] = to
        found = await self.call("eth_sendTransaction", transaction)
        self._nonces[sender] = nonce + 1
        return found

    def forget_nonces(self) -> None:
        """After a reorganisation, whose orphaned transactions do not come back."""
        self._nonces.clear()

    async def mine(self, blocks: int = 1) -> None:
        await self.call("anvil_mine", hex(blocks))

    async def deploy(self, bytecode: str) -> str:
        """The address of a new contract, mined."""
        transaction = await self.send(ACCOUNTS[0], None, bytecode)
        await self.mine()
        return (await self.call("eth_getTransactionReceipt", transaction))["contractAddress"]

    async def head(self) -> int:
        return int(await self.call("eth_blockNumber"), 16)

    async def canonical(self) -> dict[int, str]:
        """Height -> hash of every block."""
        found = {}
        for number in range(await self.head() + 1):
            found[number] = (await self.call("eth_getBlockByNumber", hex(number), False))["hash"]
        return found

    async def logs(self) -> list[dict[str, Any]]:
        """Every log of the chain, as the node tells it."""
        return await self.call("eth_getLogs", {"fromBlock": "0x0", "toBlock": hex(await self.head())})


def word(value: int | str) -> str:
    """32 bytes of ABI data, without 0x."""
    return f"{int(value, 16) if isinstance(value, str) else value:064x}"
