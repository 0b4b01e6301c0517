"""What stories of tokens play at: every kind of token and of pool on a node, and what must be told of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import contracts
from anvil import ACCOUNTS, Anvil
from contracts import MUCH, NATIVE, OWNER, approve, deploy, send, transfer
from eth_utils import to_checksum_address
from scene import Scene

ALICE, BOB, CAROL, DAVE = ACCOUNTS[1:]
HOSTILE = "US\u202eDC\x1b[2J\n"
SHOWN = "US\\u202eDC\\u001b[2J\\u000a"
"""What must be seen of it: nothing of it does anything."""


class Bazaar(Scene):
    """The contracts that the stories play at; all of them were there before the daemon."""

    tokens: dict[str, str]
    """Contracts by a name of ours, lower case."""
    markets: dict[str, contracts.Market]
    titles: Iterator[int]
    """Ids that nobody used yet; the first ones of TITLE are ALICE's."""

    def about(self, name: str, **also: Any) -> dict[str, Any]:
        """What is told of a token."""
        symbol, title, decimals = {
            "gold": ("GOLD", "GOLD token", 18),
            "silver": ("SILVER", "SILVER token", 6),
            "usdc": ("USDC", None, 6),  # a configured one: what it says of itself counts for nothing
            "scam": ("USDC", "USDC token", 6),
            "hostile": (SHOWN, f"{SHOWN} token", 18),
            "title": ("TITLE", "Titles", None),
            "deed": ("DEED", None, 0),
            "pack": (None, None, None),
            "weth": ("WETH", None, 18),
        }[name]
        return {
            "token": symbol, "token_name": title, "token_address": to_checksum_address(self.tokens[name]),
            "decimals": decimals,
        } | also  # fmt: skip

    async def place(self, tx_hash: str, log: int) -> dict[str, Any]:
        """Where the event of that log of a transaction stands."""
        receipt = await self.receipt(tx_hash)
        assert receipt["status"] == "0x1", f"the story went wrong: {receipt}"
        return {
            "tx_hash": tx_hash, "transaction_index": int(receipt["transactionIndex"], 16),
            "log_index": int(receipt["logs"][log]["logIndex"], 16), "block_hash": receipt["blockHash"],
            "block_number": int(receipt["blockNumber"], 16),
        }  # fmt: skip

    def told_by(self, kind: str, block: str, chain: str, sent: set[str]) -> list[dict[str, Any]]:
        """`data` of these transactions' events in a block, by their place."""
        found = [data for data in self.standing(kind, block, chain=chain) if data["tx_hash"] in sent]
        return sorted(found, key=in_place)


def in_place(data: dict[str, Any]) -> tuple[int, int, str]:
    index = data["log_index"]
    return data["transaction_index"], -1 if index is None else index, f"{data.get('batch_index')}{data.get('token_id')}"


async def built(node: Anvil, bazaar: Bazaar) -> None:
    tokens = {
        "gold": await contracts.token(node, "GOLD", 18),
        "silver": await contracts.token(node, "SILVER", 6),
        "usdc": await contracts.token(node, "FAKE", 7),
        "scam": await contracts.token(node, "USDC", 6),
        "hostile": await contracts.token(node, HOSTILE, 18),
        "title": await deploy(node, "Title"),
        "deed": await deploy(node, "Title"),
        "pack": await deploy(node, "Pack"),
        "crate": await deploy(node, "Crate"),
        "weth": await contracts.weth(node),
    }
    bazaar.tokens = tokens = {name: address.lower() for name, address in tokens.items()}
    manager = await contracts.deploy_v4_manager(node)
    gold, silver, usdc = (tokens[name] for name in ("gold", "silver", "usdc"))
    bazaar.markets = {
        "v2": await contracts.deploy_v2_pair(node, gold, usdc),
        "v3": await contracts.deploy_v3_pool(node, gold, silver),
        "pancake": await contracts.deploy_pancake_pool(node, gold, silver),
        "v4": await contracts.make_v4_pool(node, manager, NATIVE, usdc),
    }
    await contracts.permit2(node)
    for name in ("gold", "silver", "usdc"):
        for wallet in (ALICE, DAVE):
            await transfer(node, tokens[name], OWNER, wallet, 10**24)
    for name, spender in (
        ("gold", bazaar.markets["v2"].trader), ("gold", bazaar.markets["pancake"].address), ("usdc", manager),
    ):  # fmt: skip
        for wallet in (ALICE, DAVE):
            await approve(node, tokens[name], wallet, spender, MUCH)
    for one in range(1, 9):
        await send(node, OWNER, tokens["title"], "mint(address,uint256)", ALICE, one)
    await node.mine()
