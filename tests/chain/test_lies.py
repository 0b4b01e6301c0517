"""The lying node tells its lies: a client sees each as it was meant, and the same seed tells it in the same way."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import lies
import pytest
from bareclient import BareClient
from lies import LIES, Liar, liar, truth
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, PayloadTooBig

from chainwatch.chain.simulated import RpcError, SimulatedNode, World


@pytest.fixture
def world():
    made = World(21, transactions=(3, 6), mix={"erc20": 3, "swap": 1})
    made.mine(30)
    return made


@pytest.fixture
async def ask(world):
    """`await ask(lie, …)`: a client of a node that tells these lies."""
    open_ = []

    async def client(*told):
        node = await SimulatedNode(world, conduct=Liar(*told)).__aenter__()
        open_.append(node)
        return BareClient(await connect(node.url, max_size=2**22))

    yield client
    for node in open_:
        await node.__aexit__(None, None, None)


async def test_fresh_logs_are_empty_until_asked_often_enough(world, ask):
    client = await ask(lies.EmptyLogs(answers=2))
    wanted = {"blockHash": world.head.hash}
    assert await client.result("eth_getLogs", wanted) == []
    assert await client.result("eth_getBlockReceipts", world.head.hash) == []
    assert len(await client.result("eth_getLogs", wanted)) == len(world.head.logs) > 0
    assert await client.result("eth_getLogs", {"blockHash": world.canonical[9].hash})


async def test_a_fresh_block_is_null_at_first(world, ask):
    client = await ask(lies.NullBlock(answers=1))
    assert await client.result("eth_getBlockByHash", world.head.hash, False) is None
    assert await client.result("eth_getBlockByHash", world.head.hash, False)


async def test_a_stale_backend_answers_from_the_past(world, ask):
    client = await ask(lies.StaleBackend(4, behind=3, one_in=2))
    heights = [int(await client.result("eth_blockNumber"), 16) for _ in range(40)]
    assert set(heights) == {27, 28, 29, 30}
    again = await ask(lies.StaleBackend(4, behind=3, one_in=2))
    assert [int(await again.result("eth_blockNumber"), 16) for _ in range(40)] == heights


async def test_a_backend_on_the_other_branch_answers_from_orphans(world, ask):
    client = await ask(lies.OtherBranch(one_in=1))
    orphan = world.head.hash
    world.reorg(3, 5)
    assert (await client.result("eth_getBlockByNumber", "latest", False))["hash"] == orphan
    assert await client.result("eth_getBlockByHash", world.head.hash, False) is None


async def test_a_lagging_node_tells_heads_and_answers_late(world, ask):
    client = await ask(lies.Lagging(2))
    await client.result("eth_subscribe", "newHeads")
    world.mine()
    world.reorg(2)
    assert await client.pushes() == []
    assert await client.result("eth_blockNumber") == hex(30)
    old = world.canonical[29].hash
    world.mine()
    assert [head["result"]["number"] for head in await client.pushes()] == [hex(31)]
    assert await client.result("eth_blockNumber") == hex(31)
    assert (await client.result("eth_getBlockByNumber", hex(29), False))["hash"] == old


async def test_a_syncing_node_is_far_behind_and_pushes_nothing(world, ask):
    client = await ask(lies.Syncing(20))
    await client.result("eth_subscribe", "newHeads")
    world.mine(2)
    assert await client.pushes() == []
    assert await client.result("eth_blockNumber") == hex(12)
    assert (await client.result("eth_syncing"))["highestBlock"] == hex(32)


async def test_another_chain_is_announced(ask):
    assert await (await ask(lies.WrongChain(5))).result("eth_chainId") == "0x5"


@pytest.mark.parametrize(
    ("lie", "numbers"),
    [
        (lies.SkippedHeads(1, one_in=1, times=2), [33, 34]),
        (lies.DoubledHeads(1, one_in=1, times=1), [31, 31, 32, 33, 34]),
        (lies.HeadsOutOfOrder(1, one_in=1), [32, 31, 34, 33]),
    ],
)
async def test_heads_are_skipped_doubled_and_shuffled(world, ask, lie, numbers):
    client = await ask(lie)
    await client.result("eth_subscribe", "newHeads")
    for _ in range(4):
        world.mine()
    assert [int(head["result"]["number"], 16) for head in await client.pushes()] == numbers


async def test_heads_are_told_that_nobody_has(world, ask):
    client = await ask(lies.UnknownHeads(one_in=1))
    await client.result("eth_subscribe", "newHeads")
    world.mine()
    (head,) = await client.pushes()
    assert await client.result("eth_getBlockByHash", head["result"]["hash"], False) is None


async def test_removed_logs_never_come(world, ask):
    client = await ask(lies.NoRemovedLogs())
    await client.result("eth_subscribe", "logs", {})
    change = world.reorg(2)
    pushed = await client.pushes()
    assert len(pushed) == sum(len(block.logs) for block in change.added)
    assert not any(log["result"]["removed"] for log in pushed)


async def test_blocks_receipts_and_logs_are_of_another_block(world, ask):
    block, parent = world.head, world.canonical[29]
    client = await ask(lies.WrongBlock())
    assert (await client.result("eth_getBlockByHash", block.hash, True))["hash"] == parent.hash
    client = await ask(lies.WrongHash())
    assert (await client.result("eth_getBlockByHash", block.hash, True))["hash"] not in world.blocks
    client = await ask(lies.ReceiptsOfAnother())
    receipts = await client.result("eth_getBlockReceipts", block.hash)
    assert {receipt["blockHash"] for receipt in receipts} == {parent.hash}
    client = await ask(lies.LogOfAnother())
    logs = await client.result("eth_getLogs", {"blockHash": block.hash})
    assert sum(log["blockHash"] != block.hash for log in logs) == 1


async def test_receipts_and_logs_go_missing(world, ask):
    block = world.head
    client = await ask(lies.MissingReceipt())
    assert len(await client.result("eth_getBlockReceipts", block.hash)) == len(block.transactions) - 1
    client = await ask(lies.LogsWithAHole())
    receipts = await client.result("eth_getBlockReceipts", block.hash)
    assert len(receipts) == len(block.transactions)
    assert sum(len(receipt["logs"]) for receipt in receipts) == len(block.logs) - 1
    client = await ask(lies.LogAltered())
    logs = await client.result("eth_getLogs", {"blockHash": block.hash})
    assert sum(log["address"] != true.address for log, true in zip(logs, block.logs, strict=True)) == 1


async def test_an_answer_is_larger_than_the_client_takes(ask):
    client = await ask(lies.Oversize(size=2**23))
    with pytest.raises(ConnectionClosed) as caught:
        await client.result("eth_getBlockByNumber", "latest", False)
    assert isinstance(caught.value.__cause__, PayloadTooBig)


async def test_errors_come_instead_of_answers(ask):
    client = await ask(lies.rate_limited(times=1), lies.internal_error(times=1))
    error = (await client.answer("eth_getLogs", {}))["error"]
    assert error["code"] == -32603
    assert "result" in await client.answer("eth_getLogs", {})
    client = await ask(lies.rate_limited(times=1))
    error = (await client.answer("eth_getLogs", {}))["error"]
    assert (error["code"], error["data"]["rate"]["backoff_seconds"]) == (-32005, 1)
    client = await ask(lies.Fails(RpcError(-32000, "boom"), methods=lies.EVERYTHING))
    assert (await client.answer("eth_chainId"))["error"] == {"code": -32000, "message": "boom"}
    client = await ask(lies.lacks("eth_getBlockReceipts"))
    assert (await client.answer("eth_getBlockReceipts", "latest"))["error"]["code"] == -32601
    assert "result" in await client.answer("eth_getLogs", {})


async def test_http_says_too_many_to_handshakes_and_requests(world):
    async with SimulatedNode(world, conduct=Liar(lies.Busy(retry_after="7", times=2))) as node:
        with pytest.raises(InvalidStatus) as caught:
            await connect(node.url)
        assert caught.value.response.status_code == 429
        assert caught.value.response.headers["Retry-After"] == "7"
        async with aiohttp.ClientSession() as session:
            call = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}
            async with session.post(node.http_url, json=call) as response:
                assert (response.status, response.headers["Retry-After"]) == (429, "7")
            async with session.post(node.http_url, json=call) as response:
                assert (await response.json())["result"] == "0x539"


async def test_a_handshake_is_never_answered(world):
    async with SimulatedNode(world, conduct=Liar(lies.NoHandshake())) as node:
        with pytest.raises(TimeoutError):
            await connect(node.url, open_timeout=0.1)


async def test_a_slow_answer_is_overtaken(ask):
    client = await ask(lies.Slow(seconds=0.05, one_in=1, times=1))
    for number in (1, 2):
        await client.socket.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": "eth_chainId"}))
    assert [json.loads(await client.socket.recv())["id"] for _ in range(2)] == [2, 1]


async def test_a_half_open_socket_answers_no_ping_either(world, ask):
    client = await ask(lies.half_open(times=1))
    await client.socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}))
    pong = await client.socket.ping()
    world.mine()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(pong), 0.1)
    client.socket.transport.abort()
    with pytest.raises(ConnectionClosed):
        await pong


@pytest.mark.parametrize(
    ("lie", "code"),
    [
        (lies.cut_in_a_frame(times=1), 1006),
        (lies.dropped(times=1), 1006),
        (lies.closed(1001, times=1), 1001),
        (lies.closed(1013, times=1), 1013),
    ],
)
async def test_a_socket_ends_in_every_way(ask, lie, code):
    client = await ask(lie)
    with pytest.raises(ConnectionClosed):
        await client.result("eth_getBlockByNumber", "latest", True)
    assert client.socket.close_code == code


async def test_a_liar_that_comes_clean_is_an_honest_node(world):
    conduct = liar(3, *(name for name in LIES if name not in ("no handshake", "busy")))
    async with SimulatedNode(world, conduct=conduct) as node:
        conduct.lies.clear()
        client = BareClient(await connect(node.url, max_size=None))
        told = []
        for number in range(world.head.number + 1):
            block = await client.result("eth_getBlockByNumber", hex(number), False)
            logs = await client.result("eth_getLogs", {"blockHash": block["hash"]})
            told.append((number, block["hash"], [(log["address"], tuple(log["topics"]), log["data"]) for log in logs]))
    assert told == [(number, identity, list(logs)) for number, identity, logs in truth(world)]
