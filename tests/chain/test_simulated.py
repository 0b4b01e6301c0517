"""The simulated chain and its node: the same on every machine, consistent in itself, and a real node to its clients."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import aiohttp
import pytest
from bareclient import BareClient
from eth_hash.auto import keccak
from hypothesis import given, settings, strategies as st
from websockets.asyncio.client import connect

from chainwatch.chain.simulated import ACCOUNTS, TOKENS, WALLETS, Limits, SimulatedNode, World, demo
from chainwatch.chain.simulated.contracts import NATIVE, SCAM, TRANSFER, call
from chainwatch.chain.simulated.demo import MIX, Bustle, Schedule
from chainwatch.chain.simulated.primitives import Dice, created_address, selector
from chainwatch.chain.simulated.transactions import BLOB_GAS, BLOB_PRICE

MAINNET = Path(__file__).parent.parent / "data" / "mainnet"
USDC, _WETH, _WBTC, CATS, LOOT = TOKENS


@pytest.fixture
def world():
    made = World(11)
    made.mine(60)
    return made


@pytest.fixture
async def node(world):
    async with SimulatedNode(world) as running:
        yield running


@pytest.fixture
async def client(node):
    async with connect(node.url, max_size=None) as socket:
        yield BareClient(socket)


def chain(world):
    return [block.hash for _number, block in sorted(world.canonical.items())]


def everything(world):
    """All that a world says, save the time."""
    blocks = [json.loads(block.wire.full) for block in world.canonical.values()]
    receipts = [json.loads(receipt) for block in world.canonical.values() for receipt in block.wire.receipts]
    for entry in [*blocks, *(log for receipt in receipts for log in receipt["logs"])]:
        entry.pop("timestamp", None)
        entry.pop("blockTimestamp", None)
    return blocks, receipts


# --- the world ----------------------------------------------------------------------------------------------------


def play(world):
    world.mine(30)
    world.reorg(3)
    world.mine(2)
    world.rollback(2)
    orphan = world.head.hash
    world.reorg(5, 4)
    world.mine(3)
    world.switch(orphan)
    world.mine(5)


def test_the_same_seed_gives_the_same_chain_whatever_the_clock_says():
    first, second, other = World(5), World(5, clock=iter(range(10**9, 10**9 + 999)).__next__), World(6)
    for world in (first, second, other):
        play(world)
    assert everything(first) == everything(second)
    assert first.head.timestamp != second.head.timestamp
    assert not set(chain(first)) & set(chain(other))


def test_a_seed_means_the_same_chain_in_every_version():
    """These come from the day the simulation was written; a change of them breaks every recorded expectation."""
    world = World(1)
    play(world)
    assert Dice("a seed").bits() == 0x75E2CFAF21051195
    assert world.head.number == 36
    assert world.head.hash == "0x7af0831de3cf8ccd3f35fceb3e1b7406f78cb83362e3900cce249a26a9321991"


def test_blooms_gas_and_log_indices_add_up(world):
    for block in world.canonical.values():
        receipts = [json.loads(receipt) for receipt in block.wire.receipts]
        logs = [log for receipt in receipts for log in receipt["logs"]]
        header = json.loads(block.wire.header)
        assert [int(log["logIndex"], 16) for log in logs] == list(range(len(logs)))
        assert int(header["logsBloom"], 16) == bloom_of(logs)
        gas = 0
        for receipt in receipts:
            gas += int(receipt["gasUsed"], 16)
            assert int(receipt["cumulativeGasUsed"], 16) == gas
            assert int(receipt["logsBloom"], 16) == bloom_of(receipt["logs"])
        assert int(header["gasUsed"], 16) == gas


def bloom_of(logs):
    """By the letter of the Yellow Paper, and not by the code under test."""
    bloom = bytearray(256)
    for item in (item for log in logs for item in (log["address"], *log["topics"])):
        digest = keccak(bytes.fromhex(item[2:]))
        for pair in (digest[0:2], digest[2:4], digest[4:6]):
            bit = int.from_bytes(pair, "big") % 2048
            bloom[255 - bit // 8] |= 1 << (bit % 8)
    return int.from_bytes(bloom, "big")


def test_every_kind_of_transaction_happens():
    world = World(3)
    world.mine(300)
    blocks = world.canonical.values()
    kinds = Counter(type(transaction.call).__name__ for block in blocks for transaction in block.transactions)
    assert set(kinds) >= {"Pay", "Send", "Trade", "Give", "Mint", "Hand", "Approve", "Split", "Airdrop", "Create"}
    assert any(not outcome.ok for block in blocks for outcome in block.outcomes)
    assert any(not block.transactions for block in blocks)
    assert {transaction.type for block in blocks for transaction in block.transactions} == {0, 2, 3}


def test_native_balances_are_explained_to_the_last_wei(world):
    """Value, fees, blobs, what the splitter hands on, and withdrawals: nothing else moves ether."""
    moved = Counter()
    for block in world.canonical.values():
        for transaction, outcome in zip(block.transactions, block.outcomes, strict=True):
            moved[transaction.sender] -= outcome.gas_used * outcome.price
            moved[transaction.sender] -= BLOB_GAS * BLOB_PRICE if transaction.type == 3 else 0
            moved[block.miner] += outcome.gas_used * (outcome.price - block.base_fee)
            moved[transaction.sender] -= transaction.call.value
            if type(transaction.call).__name__ == "Split":
                moved[transaction.call.left] += transaction.call.value // 2
                moved[transaction.call.right] += transaction.call.value - transaction.call.value // 2
            elif transaction.call.target:
                moved[transaction.call.target] += transaction.call.value
        for withdrawal in block.withdrawals:
            moved[withdrawal.address] += withdrawal.gwei * 10**9
    start, now = world.view().at(world.canonical[0]), world.view()
    for owner in (*ACCOUNTS, *moved):
        assert now.value((NATIVE, owner)) - start.value((NATIVE, owner)) == moved[owner]
    assert sum(map(abs, moved.values())) > 10**18


def test_token_balances_are_the_sum_of_the_transfers(world):
    held = Counter()
    for block in world.canonical.values():
        for log in block.logs:
            if log.topics[0] == TRANSFER and log.address == USDC.address:
                held[log.topics[1]] -= int(log.data, 16)
                held[log.topics[2]] += int(log.data, 16)
    start = world.view().at(world.canonical[0])
    for owner in ACCOUNTS:
        topic = "0x" + owner[2:].rjust(64, "0")
        grown = world.view().value((USDC.address, owner)) - start.value((USDC.address, owner))
        assert grown == held[topic]


def test_a_reorganisation_shows_the_same_transactions_in_other_blocks():
    world = World(2)
    world.mine(20)
    change = world.reorg(3)
    assert [block.number for block in change.removed] == [20, 19, 18]
    assert [block.number for block in change.added] == [18, 19, 20, 21]
    old, new = (
        {transaction.hash for block in blocks for transaction in block.transactions}
        for blocks in (change.removed, change.added)
    )
    assert old & new
    assert not {block.hash for block in change.removed} & {block.hash for block in change.added}
    assert change.added[0].parent_hash == change.removed[-1].parent_hash


def test_an_orphaned_branch_comes_back_as_it_was():
    world = World(4)
    world.mine(20)
    before, states = chain(world), [world.view().value((NATIVE, owner)) for owner in ACCOUNTS]
    a, b = world.head.hash, None
    world.reorg(4, 6)
    b = world.head.hash
    world.switch(a)
    assert chain(world) == before
    assert [world.view().value((NATIVE, owner)) for owner in ACCOUNTS] == states
    world.switch(b)
    assert world.head.hash == b
    world.switch(a)
    change = world.mine()
    assert change.added[0].parent_hash == a


def worked_out(world, block, key):
    """A number of the state at a block, from nothing but the changes of the blocks below it."""
    while key not in block.changes:
        if not block.number:
            return 0
        block = world.blocks[block.parent_hash]
    return block.changes[key]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.tuples(st.sampled_from("mrbs"), st.integers(1, 6)), max_size=12))
def test_whatever_happens_the_chain_hangs_together(seed, steps):
    world = World(seed, transactions=(0, 5))
    world.mine(8)
    tips = [world.head.hash]
    for kind, wanted in steps:
        count = min(wanted, world.head.number)
        if kind == "m":
            world.mine(count)
        elif kind == "r":
            world.reorg(count)
        elif kind == "b":
            world.rollback(count)
        else:
            world.switch(tips[count % len(tips)])
        tips.append(world.head.hash)
    blocks = [world.canonical[number] for number in range(world.head.number + 1)]
    assert len(world.canonical) == len(blocks)
    assert all(child.parent_hash == parent.hash for parent, child in pairwise(blocks))
    nonces = Counter()
    seen = set()
    for block in blocks:
        for transaction in block.transactions:
            assert transaction.nonce == nonces[transaction.sender]
            nonces[transaction.sender] += 1
            assert transaction.hash not in seen
            seen.add(transaction.hash)
    assert not seen & {transaction.hash for transaction in world.pool}
    for tip in tips:  # the state is right at every block of every branch
        block = world.blocks[tip]
        for key in ((NATIVE, ACCOUNTS[0]), (USDC.address, ACCOUNTS[1])):
            assert world.view().at(block).value(key) == worked_out(world, block, key)


def test_memory_is_bounded_and_old_blocks_are_gone():
    world = World(8, keep=300, transactions=(0, 3))
    for _ in range(60):
        world.mine(12)
        world.reorg(2)
    assert len(world.canonical) == 300
    assert world.oldest == world.head.number - 299
    assert len(world.blocks) < 300 + 60 * 2
    hashes = {transaction.hash for block in world.blocks.values() for transaction in block.transactions}
    assert set(world._including) == hashes
    assert max(map(len, world.state._values.values())) <= 301
    old = world.canonical[world.oldest]
    assert world.view().at(old).value((NATIVE, ACCOUNTS[0])) > 0
    with pytest.raises(ValueError, match="oldest kept"):
        world.reorg(300)


def test_a_contract_address_is_what_create_makes():
    """The first two contracts of a well-known deployer, and a nonce that needs a length byte."""
    deployer = "0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0"
    assert created_address(deployer, 0) == "0xcd234a471b72ba2f1ccf0a70fcaba648a5eecd8d"
    assert created_address(deployer, 1) == "0x343c43a37d37dff08ae8c4a11544c718abb4fcf8"
    assert len(created_address(deployer, 300)) == 42


def test_a_scam_has_a_name_that_tries_to_break_a_terminal():
    said = call(lambda _key: 0, ACCOUNTS[0], SCAM.address, selector("symbol()"))
    assert "USDC\x07\x1b[2J\u202e".encode().hex() in said


# --- the node -----------------------------------------------------------------------------------------------------


async def test_a_block_has_the_fields_of_a_real_one(world, client):
    real = json.loads(gzip.decompress((MAINNET / "header_21925176.json.gz").read_bytes()))
    ours = await client.result("eth_getBlockByNumber", "latest", False)
    assert set(real) <= set(ours)
    assert set(ours) - set(real) == {"requestsHash"}  # Prague
    receipts = json.loads(gzip.decompress((MAINNET / "receipts_21925176.json.gz").read_bytes()))
    busy = next(block for block in world.canonical.values() if len(block.transactions) > 2)
    ours = (await client.result("eth_getBlockReceipts", busy.hash))[0]
    assert set(ours) - {"logsBloom"} == set(receipts[0]) - {"logsBloom"}  # the recorded extract leaves the blooms out


async def test_a_block_is_found_in_every_way(world, client):
    block = world.canonical[50]
    by_number = await client.result("eth_getBlockByNumber", "0x32", True)
    assert by_number == await client.result("eth_getBlockByHash", block.hash, True)
    hashes = await client.result("eth_getBlockByHash", block.hash, False)
    assert hashes["transactions"] == [transaction["hash"] for transaction in by_number["transactions"]]
    receipts = await client.result("eth_getBlockReceipts", "0x32")
    assert receipts == await client.result("eth_getBlockReceipts", block.hash)
    assert receipts == await client.result("eth_getBlockReceipts", {"blockHash": block.hash})
    logs = [log for receipt in receipts for log in receipt["logs"]]
    assert logs == await client.result("eth_getLogs", {"blockHash": block.hash})
    assert logs == await client.result("eth_getLogs", {"fromBlock": "0x32", "toBlock": "0x32"})
    for transaction, receipt in zip(by_number["transactions"], receipts, strict=True):
        assert transaction == await client.result("eth_getTransactionByHash", transaction["hash"])
        assert receipt == await client.result("eth_getTransactionReceipt", transaction["hash"])
    tags = [int((await client.result("eth_getBlockByNumber", tag, False))["number"], 16) for tag in TAGS]
    assert tags == [60, 60, 52, 44, 0]


TAGS = ("latest", "pending", "safe", "finalized", "earliest")


async def test_what_is_unknown_is_null_and_what_is_wrong_is_an_error(client):
    nowhere = "0x" + "12" * 32
    assert await client.result("eth_getBlockByNumber", "0xffff", False) is None
    assert await client.result("eth_getBlockByHash", nowhere, False) is None
    assert await client.result("eth_getBlockReceipts", nowhere) is None
    assert await client.result("eth_getTransactionReceipt", nowhere) is None
    assert await client.result("eth_syncing") is False
    for code, method, *params in (
        (-32601, "eth_coinbase"),
        (-32602, "eth_getBlockByNumber"),
        (-32602, "eth_getBlockByNumber", 7, False),
        (-32602, "eth_getBlockByHash", "0x12", False),
        (-32602, "eth_getLogs", {"fromBlock": "0x9", "toBlock": "0x3"}),
        (-32602, "eth_getLogs", {"fromBlock": "0x9", "toBlock": "0xffff"}),
        (-32602, "eth_getLogs", {"blockHash": nowhere, "fromBlock": "0x1"}),
        (-32602, "eth_getLogs", {"address": "0x12"}),
        (-32000, "eth_getLogs", {"blockHash": nowhere}),
        (-32000, "eth_getBalance", ACCOUNTS[0], {"blockHash": nowhere}),
        (-32601, "eth_subscribe", "weather"),
        (-32000, "eth_unsubscribe", "0x1"),
    ):
        assert (await client.answer(method, *params))["error"]["code"] == code, (method, params)
    await client.socket.send("{")
    assert json.loads(await client.socket.recv())["error"]["code"] == -32700
    await client.socket.send('{"id": 1}')
    assert json.loads(await client.socket.recv())["error"]["code"] == -32600


async def test_logs_are_filtered_by_address_and_by_topics(world, client):
    every = await client.result("eth_getLogs", {"fromBlock": "0x0"})
    assert len(every) == sum(len(block.logs) for block in world.canonical.values())
    usdc = await client.result("eth_getLogs", {"fromBlock": "0x0", "address": USDC.address.upper().replace("X", "x")})
    assert usdc == [log for log in every if log["address"] == USDC.address]
    alice = "0x" + WALLETS[0].address[2:].rjust(64, "0")
    wanted = {"fromBlock": "0x0", "address": [USDC.address, CATS.address], "topics": [TRANSFER, None, [alice]]}
    assert await client.result("eth_getLogs", wanted) == [
        log
        for log in every
        if log["address"] in (USDC.address, CATS.address) and log["topics"][0] == TRANSFER and log["topics"][2] == alice
    ]
    cats = await client.result("eth_getLogs", {"fromBlock": "0x0", "topics": [TRANSFER, None, None, None]})
    assert {log["address"] for log in cats} == {CATS.address}


async def test_a_provider_limits_what_one_request_gets(world):
    async with SimulatedNode(world, limits=Limits(blocks=20, logs=30)) as node, connect(node.url) as socket:
        client = BareClient(socket)
        error = (await client.answer("eth_getLogs", {"fromBlock": "0x0", "toBlock": "0x14"}))["error"]
        assert error == {"code": -32005, "message": "exceed maximum block range: 20"}
        error = (await client.answer("eth_getLogs", {"fromBlock": "0x14", "toBlock": "0x27"}))["error"]
        assert "Try with this block range [0x14, 0x1d]" in error["message"]
        assert error["data"] == {"from": "0x14", "to": "0x1d", "limit": 30}
        assert await client.result("eth_getLogs", {"fromBlock": "0x14", "toBlock": "0x16"})


async def test_a_pruned_node_says_so_for_logs_and_null_for_blocks():
    world = World(1, keep=10)
    world.mine(40)
    async with SimulatedNode(world) as node, connect(node.url) as socket:
        client = BareClient(socket)
        assert await client.result("eth_getBlockByNumber", "0x5", False) is None
        error = (await client.answer("eth_getLogs", {"fromBlock": "0x5", "toBlock": "0x20"}))["error"]
        assert error == {"code": 4444, "message": "pruned history unavailable"}
        assert (await client.result("eth_getBlockByNumber", "earliest", False))["number"] == "0x1f"


async def test_tokens_answer_calls_and_a_failed_call_gives_its_reason(world, client):
    async def ask(token, signature, *words):
        data = selector(signature) + "".join(f"{word:064x}" for word in words)
        return await client.answer("eth_call", {"to": token, "data": data}, "latest")

    assert int((await ask(USDC.address, "decimals()"))["result"], 16) == 6
    owner = int(ACCOUNTS[0], 16)
    held = int((await ask(USDC.address, "balanceOf(address)", owner))["result"], 16)
    assert held == world.view().value((USDC.address, ACCOUNTS[0]))
    assert int((await ask(LOOT.address, "balanceOf(address,uint256)", owner, 3))["result"], 16) > 0
    assert (await ask(CATS.address, "decimals()"))["error"]["code"] == 3
    assert (await ask(ACCOUNTS[5], "decimals()"))["result"] == "0x"
    failed = next(
        transaction
        for block in world.canonical.values()
        for transaction, outcome in zip(block.transactions, block.outcomes, strict=True)
        if not outcome.ok
    )
    request = {"from": failed.sender, "to": failed.call.target, "data": failed.call.data()}
    error = (await client.answer("eth_call", request, "latest"))["error"]
    assert error["message"] == "execution reverted: ERC20: transfer amount exceeds balance"
    assert error["data"].startswith("0x08c379a0")


async def test_balances_are_read_at_any_block_of_any_branch(world, client):
    owner = ACCOUNTS[0]
    old = world.head
    before = await client.result("eth_getBalance", owner, "latest")
    world.reorg(3, 5)
    assert await client.result("eth_getBalance", owner, {"blockHash": old.hash}) == before
    answer = await client.answer("eth_getBalance", owner, {"blockHash": old.hash, "requireCanonical": True})
    assert answer["error"]["message"] == "hash is not currently canonical"
    at_start = await client.result("eth_getBalance", owner, "0x0")
    assert int(at_start, 16) == 10_000 * 10**18


async def test_a_subscriber_sees_a_reorganisation_as_geth_shows_it(world, client):
    heads = await client.result("eth_subscribe", "newHeads")
    logs = await client.result("eth_subscribe", "logs", {})
    change = world.reorg(3)
    pushed = await client.pushes()
    told = [push["result"]["hash"] for push in pushed if push["subscription"] == heads]
    assert told == [block.hash for block in change.added]
    seen = [push["result"] for push in pushed if push["subscription"] == logs]
    removed = [log for log in seen if log["removed"]]
    assert [log["blockHash"] for log in removed] == [b.hash for b in reversed(change.removed) for _ in b.logs]
    assert seen[: len(removed)] == removed
    assert [log["blockHash"] for log in seen[len(removed) :]] == [b.hash for b in change.added for _ in b.logs]
    header = json.loads(change.added[0].wire.header)
    assert "transactions" not in header


async def test_a_rollback_pushes_nothing_and_the_next_head_is_lower(world, client):
    await client.result("eth_subscribe", "newHeads")
    await client.result("eth_subscribe", "logs", {})
    world.rollback(4)
    assert await client.pushes() == []
    assert await client.result("eth_blockNumber") == hex(56)
    world.mine()
    assert (await client.pushes())[0]["result"]["number"] == hex(57)


async def test_pending_transactions_are_announced_before_they_are_mined(world, client):
    await client.result("eth_subscribe", "newPendingTransactions")
    world.mine(3)
    announced = [push["result"] for push in await client.pushes()]
    assert announced
    assert (await client.result("eth_getTransactionByHash", announced[-1]))["blockHash"] is None
    world.mine(6)
    assert (await client.result("eth_getTransactionByHash", announced[0]))["blockHash"]


async def test_a_subscription_ends(world, client):
    heads = await client.result("eth_subscribe", "newHeads")
    assert await client.result("eth_unsubscribe", heads) is True
    world.mine()
    assert await client.pushes() == []


async def test_orphans_stay_readable_by_hash_or_vanish(world, client):
    orphan = world.head
    world.reorg(2)
    assert (await client.result("eth_getBlockByHash", orphan.hash, False))["hash"] == orphan.hash
    assert (await client.result("eth_getBlockByNumber", "0x3c", False))["hash"] != orphan.hash
    assert len(await client.result("eth_getLogs", {"blockHash": orphan.hash})) == len(orphan.logs)
    world.readable_orphans = False
    assert await client.result("eth_getBlockByHash", orphan.hash, False) is None
    assert await client.result("eth_getBlockReceipts", orphan.hash) is None


async def test_http_and_batches_on_the_same_port(world, node):
    async with aiohttp.ClientSession() as session:
        calls = [
            {"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber"},
            {"jsonrpc": "2.0", "method": "eth_chainId"},
            {"jsonrpc": "2.0", "id": "b", "method": "eth_subscribe", "params": ["newHeads"]},
            {"jsonrpc": "2.0", "id": None, "method": "eth_chainId", "params": {}},
        ]
        async with session.post(node.http_url, json=calls) as response:
            assert response.status == 200
            answers = await response.json()
        assert [answer["id"] for answer in answers] == [1, "b", None]
        assert answers[0]["result"] == hex(world.head.number)
        assert [answer["error"]["code"] for answer in answers[1:]] == [-32601, -32602]
        async with session.get(node.http_url) as response:
            assert response.status == 405


async def test_two_nodes_serve_one_world(world):
    async with SimulatedNode(world) as one, SimulatedNode(world) as two:
        async with connect(one.url) as left, connect(two.url) as right:
            clients = [BareClient(left), BareClient(right)]
            for client in clients:
                await client.result("eth_subscribe", "newHeads")
            one.mine()
            told = [(await client.pushes())[0]["result"]["hash"] for client in clients]
        assert told == [world.head.hash] * 2


async def test_connections_are_refused_and_taken_again_on_the_same_port(world):
    async with SimulatedNode(world) as node:
        url = node.url
        node.refuse()
        with pytest.raises(ConnectionRefusedError):
            await connect(url)
        await node.listen()
        async with connect(url) as socket:
            assert await BareClient(socket).result("eth_chainId") == "0x539"
        assert node.url == url


async def test_a_node_that_stops_says_good_bye(world):
    async with SimulatedNode(world) as node:
        socket = await connect(node.url)
        await BareClient(socket).result("eth_chainId")
    await asyncio.wait_for(socket.wait_closed(), 5)
    assert socket.close_code == 1001


# --- web3 ---------------------------------------------------------------------------------------------------------


async def test_web3_reads_everything(world, node):
    from web3 import AsyncHTTPProvider, AsyncWeb3, WebSocketProvider

    abi = [
        {"type": "function", "name": name, "inputs": inputs, "outputs": [{"type": kind, "name": ""}],
         "stateMutability": "view"}
        for name, inputs, kind in (
            ("symbol", [], "string"), ("decimals", [], "uint8"),
            ("balanceOf", [{"type": "address", "name": "owner"}], "uint256"),
        )
    ]  # fmt: skip
    http = AsyncWeb3(AsyncHTTPProvider(node.http_url))
    try:
        async with AsyncWeb3(WebSocketProvider(node.url)) as socket:
            for w3 in (http, socket):
                assert await w3.eth.chain_id == 1337
                block = await w3.eth.get_block("latest", full_transactions=True)
                assert block["hash"].to_0x_hex() == world.head.hash
                receipts = await w3.eth.get_block_receipts(57)
                assert [receipt["transactionHash"].to_0x_hex() for receipt in receipts] == [
                    transaction.hash for transaction in world.canonical[57].transactions
                ]
                logs = await w3.eth.get_logs({"fromBlock": 0, "toBlock": "latest"})
                assert len(logs) == sum(len(block.logs) for block in world.canonical.values())
                wallet = w3.to_checksum_address(ACCOUNTS[0])
                assert await w3.eth.get_balance(wallet) == world.view().value((NATIVE, ACCOUNTS[0]))
                token = w3.eth.contract(address=w3.to_checksum_address(USDC.address), abi=abi)
                assert await token.functions.symbol().call() == "USDC"
                assert await token.functions.decimals().call() == 6
                held = world.view().value((USDC.address, ACCOUNTS[0]))
                assert await token.functions.balanceOf(wallet).call() == held
            await socket.eth.subscribe("newHeads")
            world.mine()
            async for message in socket.socket.process_subscriptions():
                assert message["result"]["hash"].to_0x_hex() == world.head.hash
                break
    finally:
        await http.provider.disconnect()


async def test_web3_decodes_the_transfers(world, node):
    from web3 import Web3

    swap_and_tokens = {
        "Transfer": [("address", True), ("address", True), ("uint256", False)],
        "TransferSingle": [("address", True)] * 3 + [("uint256", False)] * 2,
        "TransferBatch": [("address", True)] * 3 + [("uint256[]", False)] * 2,
        "Swap": [("address", True), *[("uint256", False)] * 4, ("address", True)],
    }
    abi = [
        {"type": "event", "name": name, "anonymous": False,
         "inputs": [{"name": f"f{at}", "type": kind, "indexed": indexed} for at, (kind, indexed) in enumerate(fields)]}
        for name, fields in swap_and_tokens.items()
    ]  # fmt: skip
    contract = Web3().eth.contract(abi=abi)
    topics = {contract.events[name]().topic: name for name in swap_and_tokens}
    decoded = Counter()
    world.mine(60)
    async with connect(node.url, max_size=None) as socket:
        logs = await BareClient(socket).result("eth_getLogs", {"fromBlock": "0x0"})
    for log in logs:
        name = topics.get(log["topics"][0])
        if name is None or (name == "Transfer" and len(log["topics"]) == 4):
            continue
        raw = {**log, "topics": [bytes.fromhex(topic[2:]) for topic in log["topics"]]}
        contract.events[name]().process_log(raw)
        decoded[name] += 1
    assert set(decoded) == set(swap_and_tokens)


# --- the pool -----------------------------------------------------------------------------------------------------


async def test_the_pool_is_pushed_as_it_fills_and_answers_for_itself(world, node):
    async with connect(node.url, max_size=None) as socket:
        client = BareClient(socket)
        whole = await client.result("eth_subscribe", "newPendingTransactions", True)
        hashes = await client.result("eth_subscribe", "newPendingTransactions")
        change = node.mine(5)
        pushed = await client.pushes()
        new = [transaction.hash for transaction in change.pending]
        assert new
        assert [push["result"]["hash"] for push in pushed if push["subscription"] == whole] == new
        assert [push["result"] for push in pushed if push["subscription"] == hashes] == new
        waiting = world.pool[0]
        told = await client.result("eth_getTransactionByHash", waiting.hash)
        assert (told["blockHash"], told["blockNumber"], told["transactionIndex"]) == (None, None, None)
        nonces = [int(await client.result("eth_getTransactionCount", waiting.sender, tag), 16)
                  for tag in ("latest", "pending")]  # fmt: skip
        assert nonces[0] == waiting.nonce < nonces[1]


async def test_a_replacement_pays_a_tenth_more_and_is_the_only_one_left(world, node):
    async with connect(node.url, max_size=None) as socket:
        client = BareClient(socket)
        await client.result("eth_subscribe", "newPendingTransactions", True)
        for cancel in (False, True):
            old = next(one for one in world.pool if one.type == 2)
            before = await client.result("eth_getTransactionByHash", old.hash)
            new = world.replace(old.hash, cancel=cancel)
            [push] = await client.pushes()
            told = push["result"]
            assert (told["hash"], told["nonce"], told["from"]) == (new.hash, before["nonce"], before["from"])
            for fee in ("maxFeePerGas", "maxPriorityFeePerGas"):
                assert int(told[fee], 16) * 10 >= int(before[fee], 16) * 11
            nothing = (told["to"], told["value"], told["input"]) == (told["from"], "0x0", "0x")
            assert nothing == cancel
            assert (told["input"] == before["input"]) or cancel
            assert await client.result("eth_getTransactionByHash", old.hash) is None
    with pytest.raises(KeyError):
        world.replace("0x" + "00" * 32)


def test_what_pays_too_little_waits_with_all_behind_it_until_it_is_forgotten():
    world = World(5)
    stuck = world.underpay(ACCOUNTS[0])
    world.mine(40)
    behind = [one for one in world.pool if one.sender == ACCOUNTS[0]]
    assert behind[0] == stuck
    assert len(behind) > 1
    world.evict(stuck.hash)
    assert not [one for one in world.pool if one.sender == ACCOUNTS[0]]
    world.mine(40)
    assert world.view().value(("nonce", ACCOUNTS[0])) > stuck.nonce


def test_orphaned_transactions_come_back_to_the_pool_and_are_pushed_again():
    world = World(4, transactions=(4, 9))
    world.mine(20)
    orphaned = {transaction.hash for transaction in world.head.transactions}
    change = world.reorg(1, 1)
    kept = {transaction.hash for transaction in change.added[0].transactions}
    assert orphaned - kept
    assert orphaned - kept <= {transaction.hash for transaction in change.pending}


# --- the demo -----------------------------------------------------------------------------------------------------


def test_a_schedule_has_reorganisations_silences_and_bursts():
    schedule = Schedule(42)
    steps = [schedule.step() for _ in range(2000)]
    other = Schedule(42)
    assert steps == [other.step() for _ in range(2000)]
    assert {step.depth for step in steps} == {0, 1, 2, 3}
    assert all(step.length >= step.depth for step in steps)
    assert max(step.wait for step in steps) >= 6
    assert Counter(step.wait for step in steps)[0.1] > 20


def test_the_pool_of_a_demo_bustles_and_never_chokes():
    """Hours of it: what pays too little is forgotten in time, so that the chain goes on as before."""
    world, bustle = World(42, keep=64), Bustle(42)
    for _ in range(1500):
        world.mine()
        bustle.step(world)
    assert len(world.pool) < 30
    assert len([one for one in world.pool if one.most < 10**9]) <= 2
    recent = [len(block.transactions) for block in world.canonical.values()]
    assert sum(recent) / len(recent) > 3


async def test_a_demo_has_a_past_and_goes_on_by_itself():
    async with demo(7, block_time=0.01) as node:
        world = node.world
        start = world.head
        assert start.number == 64
        assert world.canonical[1].timestamp < start.timestamp + 1
        grown = asyncio.Event()
        world.follow(lambda _change: grown.set() if world.head.number >= 80 else None)
        await asyncio.wait_for(grown.wait(), 10)
    height = world.head.number
    again = World(7, keep=10, mix=MIX)
    again.mine(64)
    assert again.head.hash == start.hash
    await asyncio.sleep(0)
    assert world.head.number == height
