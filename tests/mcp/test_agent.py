"""An agent as a program of its own, `agents/deposit.py`: whatever happens to the chain, the daemon or to itself."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any, Self

import pytest
from anvil import ACCOUNTS, free_port
from hosts import ERAS
from scene import follows, played

pytestmark = pytest.mark.long

PROGRAM = Path(__file__).parents[1] / "agents" / "deposit.py"
RICH, ALICE = ACCOUNTS[0], ACCOUNTS[1]


class Agent:
    """The program, and its journal as anybody can read it."""

    def __init__(self, url: str, folder: Path, era: str) -> None:
        self.path = folder / f"journal-{era}"
        self.stderr = folder / f"stderr-{era}"
        self.arguments = (url, ALICE, str(self.path), era)
        self.process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.kill()

    async def start(self) -> None:
        with self.stderr.open("ab") as stderr:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, str(PROGRAM), *self.arguments, stderr=stderr
            )

    async def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    def entries(self) -> list[dict[str, Any]]:
        whole = self.path.read_bytes() if self.path.exists() else b""
        return [json.loads(line) for line in whole[: whole.rfind(b"\n") + 1].splitlines()]

    def deeds(self) -> tuple[list[int], list[int]]:
        """The amounts that were acted on, in order, and those that stand."""
        acts: list[int] = []
        standing: dict[str, int] = {}
        for entry in self.entries():
            assert standing.keys().isdisjoint(entry.get("acts", {})), "it acted twice on one event"
            standing |= entry.get("acts", {})
            acts += entry.get("acts", {}).values()
            for name in entry.get("undoes", ()):
                del standing[name]
        return acts, sorted(standing.values())

    async def until(self, acts: list[int], standing: list[int]) -> None:
        """Wait until it did all of this, and nothing else."""
        try:
            async with asyncio.timeout(60):
                while self.deeds() != (acts, standing):
                    assert self.process is not None
                    assert self.process.returncode is None
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{self.deeds()}\n{self.entries()}\n{self.stderr.read_text()}") from None


@pytest.mark.timeout(300)  # four starts of agents, three of daemons: each has a minute on a busy machine
async def test_an_agent_acts_exactly_once_over_a_reorganisation_and_restarts_of_all(anvil, tmp_path):
    """One agent in each era of the protocol, of the same daemon."""
    tables = {"chains": [follows("ethereum", anvil)], "wallets": [{"name": "treasury", "address": ALICE}]}
    url = f"http://127.0.0.1:{(port := free_port())}"
    async with (
        played(anvil, tmp_path / "daemon", server={"port": port}, **tables) as scene,
        Agent(url, tmp_path, ERAS[0]) as first,
        Agent(url, tmp_path, ERAS[1]) as second,
    ):
        agents = first, second
        for agent in agents:
            await agent.until([], [])
            await scene.until(lambda agent=agent: bool(agent.entries()), seconds=60)

        # A deposit; its block is orphaned, and the transaction does not come again for now.
        await anvil.send(RICH, ALICE, value=1000)
        deposit = await scene.raw(await scene.mine())
        for agent in agents:
            await agent.until([1000], [1000])
        await scene.reorganise()
        for agent in agents:
            await agent.until([1000], [])

        # The daemon is killed; while it is away, the deposit is included again, and another one comes.
        await scene.daemon.kill()
        await anvil.call("anvil_reorg", 1, [[one, 0] for one in deposit])
        anvil.forget_nonces()
        await anvil.send(RICH, ALICE, value=20)
        await anvil.mine()
        await scene.daemon.start()
        scene.client.url = scene.daemon.url
        await scene.settled()
        for agent in agents:
            await agent.until([1000, 1000, 20], [20, 1000])

        # The agents are killed, and miss a deposit and its reorganisation; and the daemon once more.
        for agent in agents:
            await agent.kill()
        await anvil.send(RICH, ALICE, value=300)
        lost = await scene.raw(await scene.mine())
        await scene.reorganise(again=lost)
        await scene.restart()
        for agent in agents:
            await agent.start()
        for agent in agents:
            await agent.until([1000, 1000, 20, 300], [20, 300, 1000])
        await scene.settled()
        held = int(await anvil.call("eth_getBalance", ALICE, "latest"), 16) - 10_000 * 10**18
        assert held == sum(agents[0].deeds()[1]) == sum(agents[1].deeds()[1])
        told = [int(data["amount"]) for data in scene.standing("wallet_incoming")]
        assert sorted(told) == [20, 300, 1000]
