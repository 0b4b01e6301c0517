"""
Everything at once: value, tokens, exchanges, prices, failures, games with the mempool, reorganisations, kills, cut
clients. What a client folds is what the node says in the end; and the same chain, read again from its first block into
another log, tells the same events by the same ids.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import contracts
import pytest
from anvil import ACCOUNTS, Anvil, NodeError, word
from bazaar import Bazaar, built
from contracts import NATIVE, OWNER, PERMIT2, approve, send, transfer
from daemon import Daemon
from eth_abi import decode
from eth_utils import keccak
from fold import Fold
from purse import Pair, Purse
from scene import follows, played
from test_feeds import Feed, call

pytestmark = pytest.mark.long

RICH, ALICE, BOB, CAROL, DAVE = ACCOUNTS
THRESHOLDS = (1, 3, 6)
FOLDER = Path(__file__).parent / "data" / "contracts"
WALLETS = json.loads((FOLDER / "Wallets.json").read_text())["contracts"]
OF_BLOCKS = {
    "block_new", "transaction_confirmed", "transaction_failed", "balance_changed", "wallet_incoming",
    "wallet_outgoing", "token_transfer", "token_approval", "token_swap", "price_update",
}  # fmt: skip
"""What blocks tell, whoever reads them, and whenever."""


def topic(signature: str) -> str:
    return "0x" + keccak(text=signature).hex()


TRANSFER = topic("Transfer(address,address,uint256)")
SINGLE = topic("TransferSingle(address,address,address,uint256,uint256)")
BATCH = topic("TransferBatch(address,address,address,uint256[],uint256[])")
APPROVALS = {
    topic("Approval(address,address,uint256)"), topic("ApprovalForAll(address,address,bool)"),
    topic("Approval(address,address,address,uint160,uint48)"),
}  # fmt: skip
SWAPS = {
    topic("Swap(address,uint256,uint256,uint256,uint256,address)"): "uniswap_v2",
    topic("Swap(address,address,int256,int256,uint160,uint128,int24)"): "uniswap_v3",
    topic("Swap(bytes32,address,int128,int128,uint160,uint128,int24,uint24)"): "uniswap_v4",
    topic("Swap(address,address,int256,int256,uint160,uint128,int24,uint128,uint128)"): "pancakeswap_v3",
}
ANSWER = topic("AnswerUpdated(int256,uint256,uint256)")


class Fair(Bazaar):
    feed: Feed
    payer: str
    failing: str
    floor: int
    """Below that height nothing is reorganised."""

    async def some_transaction(self, chance: random.Random) -> None:
        """Whatever people do with their money."""
        node, tokens, markets = self.node, self.tokens, self.markets
        someone, other = chance.sample([ALICE, BOB, CAROL, RICH], 2)
        name = chance.choice(["gold", "silver", "usdc", "scam", "hostile"])
        gold, usdc = tokens["gold"], tokens["usdc"]
        match chance.randrange(16):
            case 0 | 1:
                await node.send(someone, other, value=chance.randrange(10**16))
            case 2 | 3:
                await transfer(node, tokens[name], OWNER, other, chance.randrange(10**9))
            case 4:
                await transfer(node, usdc, ALICE, other, chance.randrange(10**6))
            case 5:
                one = next(self.titles)
                await send(node, OWNER, tokens[chance.choice(["title", "deed"])], "mint(address,uint256)", other, one)
            case 6:
                parts = [(chance.randrange(9), chance.randrange(10**6)) for _ in range(chance.randrange(1, 4))]
                mint = "mintBatch(address,uint256[],uint256[])"
                await send(node, OWNER, tokens["pack"], mint, other, *zip(*parts, strict=True))
            case 7:
                await approve(node, tokens[name], someone, other, chance.choice([0, 5, 2**256 - 1]))
            case 8:
                signature, amount = "approve(address,address,uint160,uint48)", chance.randrange(2**160)
                await send(node, someone, PERMIT2, signature, tokens[name], other, amount, 2**48 - 1)
            case 9:
                await contracts.swap_v2(node, markets["v2"], ALICE, gold, chance.randrange(1, 10**18), other)
            case 10:
                into = chance.choice([gold, tokens["silver"]])
                await contracts.swap_v3(node, markets["v3"], someone, into, chance.randrange(1, 10**18), other)
            case 11:
                await contracts.swap_pancake(
                    node, markets["pancake"], ALICE, gold, chance.randrange(1, 10**9), 3, other
                )
                await contracts.swap_v4(node, markets["v4"], someone, NATIVE, chance.randrange(1, 10**9), 2)
            case 12:
                wrapper = chance.choice([ALICE, BOB])
                await contracts.wrap(node, tokens["weth"], wrapper, chance.randrange(1, 10**12))
                await contracts.unwrap(node, tokens["weth"], wrapper, chance.randrange(10**12))  # may be too much
            case 13:
                way = chance.choice(["text()", "custom()", "silent()", "burn()"])
                data = "0x" + WALLETS["Failing"]["selectors"][way]
                await node.send(someone, self.failing, data, value=chance.randrange(9), gas=90_000)
            case 14:
                pay = "0x" + WALLETS["Payer"]["selectors"]["pay(address)"] + word(other)
                await node.send(someone, self.payer, pay, value=chance.randrange(1, 10**9))
            case 15:
                answer = chance.randrange(1, 10**13)
                await node.send(
                    OWNER, self.feed.aggregator, call("Aggregator", "transmit", answer, await self.feed.now())
                )

    async def some_game(self, chance: random.Random) -> None:
        """DAVE waits, pays more, or takes it back; he has one transaction at a time, so that nothing waits for ever."""
        node = self.node
        mined, waiting = [
            int(await node.call("eth_getTransactionCount", DAVE, tag), 16) for tag in ("latest", "pending")
        ]
        price = {"maxFeePerGas": hex(200 * 10**9), "maxPriorityFeePerGas": hex(chance.randrange(1, 90) * 10**9)}
        offer = {"from": DAVE, "to": chance.choice([ALICE, CAROL, DAVE]), "gas": hex(21_000), "nonce": hex(mined)}
        with contextlib.suppress(NodeError):  # it pays too little to replace the other
            sent = await node.call("eth_sendTransaction", offer | price | {"value": hex(chance.randrange(2))})
            if waiting == mined and chance.random() < 0.3:
                await node.call("anvil_dropTransaction", sent)

    async def some_reorganisation(self, chance: random.Random) -> None:
        """The newest blocks become others; of each sender some of the first transactions are in them."""
        node = self.node
        head = await node.head()
        depth = min(chance.randint(1, 5), head - self.floor)
        if depth <= 0:
            return
        lost: list[tuple[str, str]] = []
        for number in range(head - depth + 1, head + 1):
            block = await node.call("eth_getBlockByNumber", hex(number), True)
            lost += [(one["from"], one["hash"]) for one in block["transactions"]]
        kept = {sender: chance.randrange(9) for sender, _ in lost}
        again = []
        for sender, tx_hash in lost:
            if kept[sender] > 0:
                kept[sender] -= 1
                again.append(await node.call("eth_getRawTransactionByHash", tx_hash))
        places = sorted(chance.randrange(depth) for _ in again)
        await node.call("anvil_reorg", depth, [list(pair) for pair in zip(again, places, strict=True)])
        node.forget_nonces()

    # --- what must be so ---

    async def truth(self) -> dict[Pair, int]:
        found = {}
        listed = [self.tokens[name] for name in ("usdc", "weth", "deed")]
        for wallet in (ALICE, BOB):
            found[wallet, ""] = int(await self.node.call("eth_getBalance", wallet, "latest"), 16)
            for token in listed:
                found[wallet, token] = await contracts.balance(self.node, token, wallet)
        return found

    async def agrees(self) -> None:
        """What stands is what the node has: blocks, logs, balances, transactions."""
        await self.settled()
        fold = self.client.fold
        assert fold.blocks == await self.node.canonical()
        self._agree_on_logs(await self.node.logs())
        await self._agree_on_transactions()
        purse = Purse()
        for event in self.client.events:
            purse.apply(event)
        assert purse.held == await self.truth()
        self._agree_on_waiting()

    def _agree_on_logs(self, logs: list[dict[str, Any]]) -> None:
        def where(log: dict[str, Any]) -> tuple[str, int]:
            return log["blockHash"], int(log["logIndex"], 16)

        def to(log: dict[str, Any], at: int) -> str:
            return "0x" + log["topics"][at][-40:]

        moved: Counter[Any] = Counter()
        for log in logs:
            first, data = log["topics"][0], bytes.fromhex(log["data"][2:])
            if first == TRANSFER:
                erc20 = len(log["topics"]) == 3
                amount, one = (decode(["uint256"], data)[0], None) if erc20 else (1, int(log["topics"][3], 16))
                moved[where(log), to(log, 1), to(log, 2), amount, one] += 1
            elif first == SINGLE:
                one, amount = decode(["uint256", "uint256"], data)
                moved[where(log), to(log, 2), to(log, 3), amount, one] += 1
            elif first == BATCH:
                for one, amount in zip(*decode(["uint256[]", "uint256[]"], data), strict=True):
                    moved[where(log), to(log, 2), to(log, 3), amount, one] += 1
        assert moved == Counter(
            (
                (data["block_hash"], data["log_index"]), data["from"].lower(), data["to"].lower(), int(data["amount"]),
                None if data["token_id"] is None else int(data["token_id"]),
            )
            for data in self.standing("token_transfer")
        )  # fmt: skip
        told = [(data["block_hash"], data["log_index"]) for data in self.standing("token_approval")]
        assert sorted(told) == sorted(where(log) for log in logs if log["topics"][0] in APPROVALS)
        swaps = [(data["block_hash"], data["log_index"], data["protocol"]) for data in self.standing("token_swap")]
        assert sorted(swaps) == sorted(
            (*where(log), SWAPS[log["topics"][0]]) for log in logs if log["topics"][0] in SWAPS
        )
        assert all(data["price"] for data in self.standing("token_swap"))
        rounds = [log["transactionHash"] for log in logs if log["topics"][0] == ANSWER]
        assert [data["tx_hash"] for data in self.standing("price_update")] == rounds

    async def _agree_on_transactions(self) -> None:
        confirmed, failed = set(), set()
        head = await self.node.head()
        for number in range(head + 1):
            for receipt in await self.node.call("eth_getBlockReceipts", hex(number)):
                fee = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
                row = (receipt["transactionHash"], receipt["blockHash"], str(fee))
                if int(receipt["status"], 16):
                    confirmed |= {(*row, depth) for depth in THRESHOLDS if depth <= head - number + 1}
                else:
                    failed.add(row)

        def row(data: dict[str, Any]) -> tuple[str, str, str]:
            return data["tx_hash"], data["block_hash"], data["fee"]

        assert {(*row(data), data["confirmations"]) for data in self.standing("transaction_confirmed")} == confirmed
        assert {row(data) for data in self.standing("transaction_failed")} == failed

    def _agree_on_waiting(self) -> None:
        pending = [data["tx_hash"] for data in self.standing("transaction_pending")]
        assert len(pending) == len(set(pending)), "told as pending once"

    def all_ended(self) -> bool:
        """Whether nothing waits any more."""
        ends = {
            data["tx_hash"]
            for kind in ("confirmed", "failed", "replaced", "dropped")
            for data in self.standing(f"transaction_{kind}")
        }
        return {data["tx_hash"] for data in self.standing("transaction_pending")} <= ends

    async def says_the_same_again(self, folder: Path) -> None:
        """Another daemon reads the chain from its beginning, into another log."""
        tables = json.loads((self.daemon.folder / "tables.json").read_text())
        head = await self.node.call("eth_getBlockByNumber", "latest", False)
        async with Daemon(folder, **tables) as again:
            await again.reached(head["hash"])
            fold = Fold()
            for event in await again.history():
                fold.apply(event)
        orphaned = {
            event["data"]["block_hash"]
            for event in self.client.events
            if event.get("removed") and event["type"] == "block_new"
        }

        def of_blocks(one: Fold) -> list[tuple[str, str]]:
            # A block that was orphaned and is back was told under other ids before.
            return sorted(
                ("" if event["data"]["block_hash"] in orphaned else event["id"], json.dumps(event["data"]))
                for event in one.open.values()
                if event["type"] in OF_BLOCKS
            )

        first, second = of_blocks(self.client.fold), of_blocks(fold)
        assert len(first) > 100
        assert sorted(set(first) - set(second)) == sorted(set(second) - set(first)) == []
        assert first == second


@contextlib.asynccontextmanager
async def fair(node: Anvil, folder: Path, *, traces: bool) -> AsyncIterator[Fair]:
    stalls = Fair.__new__(Fair)
    await built(node, stalls)
    feed = await Feed.deploy(node)
    await node.mine(5)  # it is known before its first round, so each is told by its log
    await feed.transmit(3_000_00000000)
    payer = await node.deploy(WALLETS["Payer"]["bytecode"])
    failing = await node.deploy(WALLETS["Failing"]["bytecode"])
    listed = [("USDC", "usdc", 6), ("WETH", "weth", 18), ("DEED", "deed", 0)]
    tables = {
        "chains": [
            follows(
                "anvil", node, transactions="all", pending="all", tokens="all", confirmations=THRESHOLDS,
                dropped_after="1s", internal_transfers=traces,
            )
        ],
        "wallets": [{"name": "alice", "address": ALICE}, {"name": "bob", "address": BOB}],
        "tokens": [
            {"chain": "anvil", "symbol": symbol, "address": stalls.tokens[name], "decimals": decimals}
            for symbol, name, decimals in listed
        ],
        "prices": [{"symbol": "ETH", "source": "chainlink", "chain": "anvil", "feed": feed.proxy}],
    }  # fmt: skip
    async with played(node, folder, kind=Fair, **tables) as scene:
        (folder / "tables.json").write_text(json.dumps(tables))
        scene.tokens, scene.markets, scene.titles = stalls.tokens, stalls.markets, itertools.count(100)
        scene.feed, scene.payer, scene.failing = feed, payer, failing
        scene.floor = await node.head()
        yield scene


async def happens(scene: Fair, chance: random.Random, rounds: int, *, kills: int) -> None:
    """So many blocks and more, with all that people, miners and machines do."""
    node = scene.node
    restarts = set(chance.sample(range(rounds), kills))
    for turn in range(rounds):
        for _ in range(chance.randrange(6)):
            await scene.some_transaction(chance)
        if chance.random() < 0.4:
            await scene.some_game(chance)
        await node.mine(chance.choice([1, 1, 1, 2]))
        if chance.random() < 0.25:
            await scene.some_reorganisation(chance)
        if chance.random() < 0.2:
            scene.client.cut()
        if turn in restarts:
            await scene.daemon.kill()
            if chance.random() < 0.5:
                await scene.some_reorganisation(chance)
            await scene.daemon.start()
            scene.client.url = scene.daemon.url
    await node.mine(2)
    await scene.settled()
    await scene.until(scene.all_ended)


async def whole(node: Anvil, folder: Path, seed: int, rounds: int, kills: int) -> None:
    chance = random.Random(seed)
    async with fair(node, folder / "daemon", traces=chance.random() < 0.5) as scene:
        await happens(scene, chance, rounds, kills=kills)
        await scene.agrees()
        await scene.says_the_same_again(folder / "again")


@pytest.mark.parametrize("seed", [1, 2])
async def test_what_a_client_folds_is_what_the_node_says_and_is_said_again(anvil, tmp_path, seed):
    await whole(anvil, tmp_path, seed, rounds=20, kills=1)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(100, 130))
async def test_so_it_is_after_long_and_eventful_histories(anvil, tmp_path, seed):
    await whole(anvil, tmp_path, seed, rounds=150, kills=8)
