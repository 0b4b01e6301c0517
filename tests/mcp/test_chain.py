"""Who watches a resource hears of what happens on a real chain."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from anvil import ACCOUNTS
from daemon import Daemon
from hosts import ERAS, connected
from scene import follows

# The handshake era has what the stateless one does without, and is served for as long as hosts speak it.
pytestmark = [pytest.mark.filterwarnings("ignore:resources/(un)?subscribe is removed"), pytest.mark.long]


async def test_what_happens_on_a_chain_is_told_in_both_eras(anvil, tmp_path):
    tables = {
        "chains": [follows("ethereum", anvil)],
        "wallets": [{"name": "treasury", "address": ACCOUNTS[1]}],
    }
    async with Daemon(tmp_path / "daemon", **tables) as daemon:
        await anvil.mine()
        await daemon.reached((await anvil.call("eth_getBlockByNumber", "latest", False))["hash"])
        async with AsyncExitStack() as stack:
            hosts = [await stack.enter_async_context(connected(daemon.url, era)) for era in ERAS]
            wallet = f"wallets://{ACCOUNTS[1]}"
            incoming = f"events://stream?address={ACCOUNTS[1]}&filters=wallet_incoming"
            for host in hosts:
                await stack.enter_async_context(host.watching(wallet, incoming))
            before = await hosts[0].read(wallet)
            while (await daemon.get("/v1/stats"))["streams"]["open"] < 4:
                await asyncio.sleep(0.02)
            await anvil.send(ACCOUNTS[0], ACCOUNTS[1], value=7)
            await anvil.mine()
            for host in hosts:
                assert {await host.updated.get(), await host.updated.get()} == {wallet, incoming}
                (event,) = (await host.read(incoming))["events"]
                assert (event["type"], event["data"]["amount"]) == ("wallet_incoming", "7")
                (held,) = (await host.read(wallet))["wallets"]
                (was,) = before["wallets"]
                assert int(held["balances"][0]["balance"]) == int(was["balances"][0]["balance"]) + 7
                status = await host.read("chains://status")
                assert (status["ready"], status["chains"][0]["head"]) == (True, 2)
