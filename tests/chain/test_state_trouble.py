"""
A node whose blocks are good and whose state is not to be had: the chain goes on, and what it could not tell of wallets
is told when the state is there again, to the wei and with its causes.
"""

from __future__ import annotations

import asyncio

import pytest
from ingestion import chain_settings, followed, opened_log, reached, told
from lies import Fails, Liar
from purse import Purse

from chainwatch.chain import simulated
from chainwatch.chain.evm import catchup, follow
from chainwatch.chain.simulated import RpcError, SimulatedNode, World
from chainwatch.chain.simulated.contracts import NATIVE
from chainwatch.config import TokenSettings, WalletSettings

pytestmark = pytest.mark.long

STATE = ("eth_getBalance", "eth_call")
WALLETS = tuple(WalletSettings(name=one.name, address=one.address) for one in simulated.WALLETS)
TOKENS = tuple(
    TokenSettings(chain="sim", symbol=one.symbol, address=one.address, decimals=one.decimals)
    for one in simulated.TOKENS
    if one.standard != "erc1155"
)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(catchup, "PATIENCE", 0.3)
    monkeypatch.setattr(follow, "AUDIT_AGAIN", 0.2)


@pytest.mark.parametrize(
    "error",
    [
        RpcError(-32603, "internal error"),
        RpcError(-32000, "missing trie node 1a3bdd (path )"),
        RpcError(-32000, "header not found"),
        RpcError(-32005, "daily request limit reached"),
        None,
    ],
    ids=["failed", "pruned", "unknown", "limited", "silent"],
)
async def test_a_chain_whose_state_cannot_be_read_goes_on_and_catches_up_on_balances(tmp_path, error):
    world = World(5, transactions=(2, 4))
    world.mine(3)
    lie = Fails(error, methods=STATE)  # None: it does not answer at all
    async with SimulatedNode(world, conduct=(liar := Liar())) as node, opened_log(tmp_path) as log:
        settings = chain_settings(node.url, tokens="watched", pending="none")
        async with followed(log, settings, wallets=WALLETS, tokens=TOKENS) as chain:
            await reached(chain, world.head.hash)
            await balanced(log, world)
            liar.lies.append(lie)
            for _ in range(2 if error else 1):
                world.mine(1)
                await reached(chain, world.head.hash)
            assert chain.follower.endpoints[0].benched_until == 0
            liar.lies.clear()
            world.mine(1)
            await reached(chain, world.head.hash)
            await balanced(log, world)
            assert not chain.ingest._teller.holdings.unsettled


async def balanced(log, world: World) -> None:
    """Wait until the books are the world's."""
    view = world.view()
    truth = {
        (wallet.address.lower(), token): view.value((token or NATIVE, wallet.address.lower()))
        for wallet in simulated.WALLETS
        for token in ("", *(one.address.lower() for one in TOKENS))
    }
    held = {}
    try:
        async with asyncio.timeout(10):
            while held != truth:
                purse = Purse()
                for event in await told(log):
                    purse.apply(event)
                held = purse.held
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"the books never agree: {held} {truth}") from None
