"""Real blocks of Ethereum mainnet, served by a node that knows nothing else: every transfer in them is told, once."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from ingestion import chain_settings, folded, followed, opened_log, reached
from websockets.asyncio.server import ServerConnection, serve

from chainwatch.derive.transfers import TRANSFER, TRANSFER_BATCH, TRANSFER_SINGLE

DATA = Path(__file__).parent / "data" / "mainnet"


def load(name: str) -> Any:
    return json.loads(gzip.decompress((DATA / name).read_bytes()))


@contextlib.asynccontextmanager
async def scripted(block: dict, *, receipts: list | None, logs: list | None) -> AsyncIterator[str]:
    """A node whose only block is this one. Without `receipts` it has no `eth_getBlockReceipts`, without `logs` no
    `eth_getLogs`: its URL."""
    whole = block
    hashes = {**block, "transactions": [one if isinstance(one, str) else one["hash"] for one in block["transactions"]]}

    def answer(method: str, params: list) -> dict[str, Any]:
        match method, params:
            case "eth_chainId", _:
                return {"result": "0x1"}
            case "eth_subscribe", ["newHeads"]:
                return {"result": "0x5"}
            case "eth_getBlockByNumber", ["safe" | "finalized", _]:
                return {"result": None}
            case (("eth_getBlockByNumber" | "eth_getBlockByHash"), [which, full]):
                found = which in ("latest", block["number"], block["hash"])
                return {"result": (whole if full else hashes) if found else None}
            case "eth_getBlockReceipts", [which] if receipts is not None:
                return {"result": receipts if which in (block["number"], block["hash"]) else None}
            case "eth_getLogs", [query] if logs is not None:
                assert query in (
                    {"blockHash": block["hash"]},
                    {"fromBlock": block["number"], "toBlock": block["number"]},
                )
                return {"result": logs}
            case "eth_getTransactionReceipt", _:
                return {"error": {"code": -32000, "message": "this node is only a script"}}
        return {"error": {"code": -32601, "message": f"the method {method} does not exist/is not available"}}

    async def talk(connection: ServerConnection) -> None:
        async for message in connection:
            asked = json.loads(message)
            await connection.send(
                json.dumps({"jsonrpc": "2.0", "id": asked["id"], **answer(asked["method"], asked["params"])})
            )

    async with serve(talk, "127.0.0.1", 0, max_size=None) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


def moves(logs: list[dict]) -> Counter[tuple[str, int]]:
    """(transaction, log index) of every transfer, as often as it moves something: by raw topics and lengths."""
    found: Counter[tuple[str, int]] = Counter()
    for log in logs:
        key = log["transactionHash"], int(log["logIndex"], 16)
        topics = log["topics"]
        if (topics[:1] == [TRANSFER] and len(topics) in (3, 4)) or topics[:1] == [TRANSFER_SINGLE]:
            found[key] += 1
        elif topics[:1] == [TRANSFER_BATCH]:
            found[key] += int(log["data"][2 + 128 : 2 + 192], 16)
    return found


@pytest.mark.parametrize("name", ["receipts of 21925176", "logs of 18000000"])
async def test_every_transfer_of_a_real_block_reaches_the_log_once(name, tmp_path):
    if name.startswith("receipts"):
        block, receipts = load("header_21925176.json.gz"), load("receipts_21925176.json.gz")
        logs, given = [log for receipt in receipts for log in receipt["logs"]], None
    else:
        block, receipts = load("block_18000000.json.gz"), None
        logs = given = load("logs_18000000.json.gz")
    async with scripted(block, receipts=receipts, logs=given) as url, opened_log(tmp_path) as log:
        number = int(block["number"], 16)
        settings = chain_settings(
            url, name="ethereum", chain_id=1, start=number, transactions="none", request_timeout=5
        )
        async with followed(log, settings) as chain:
            await reached(chain, block["hash"])
        fold = await folded(log)
    told = fold.of_type("token_transfer")
    assert Counter((data["tx_hash"], data["log_index"]) for data in told) == moves(logs)
    (new,) = fold.of_type("block_new")
    assert new["transaction_count"] == len(block["transactions"])
    assert new["base_fee_per_gas"] == str(int(block["baseFeePerGas"], 16))
    by_place = {(one["transactionHash"], int(one["logIndex"], 16)): one for one in logs}
    for data in told:
        log = by_place[data["tx_hash"], data["log_index"]]
        assert data["token_address"].lower() == log["address"]
        if data["standard"] == "erc20":
            assert int(data["amount"]) == int(log["data"][:66], 16)
            assert data["from"].lower() == "0x" + log["topics"][1][26:]
            assert data["to"].lower() == "0x" + log["topics"][2][26:]
        elif data["standard"] == "erc721":
            assert (data["amount"], int(data["token_id"])) == ("1", int(log["topics"][3], 16))


async def test_a_wallet_of_a_real_block_gets_its_transactions_and_transfers_only(tmp_path):
    """Where receipts of single transactions are all that a node has, only those that matter are asked for."""
    block, logs = load("block_18000000.json.gz"), load("logs_18000000.json.gz")
    number = int(block["number"], 16)
    transfer = next(log for log in logs if log["topics"][0] == TRANSFER and len(log["topics"]) == 3)
    wallet = "0x" + transfer["topics"][2][26:]
    senders = {one["from"] for one in block["transactions"]} | {one["to"] for one in block["transactions"]}
    assert wallet not in senders, "the script has no receipts to give"
    async with scripted(block, receipts=None, logs=logs) as url, opened_log(tmp_path) as log:
        settings = chain_settings(url, name="ethereum", chain_id=1, start=number, tokens="watched", request_timeout=5)
        settings = settings.model_copy(update={"transactions": "watched"})
        async with followed(log, settings, wallets=({"name": "w", "address": wallet},)) as chain:
            await reached(chain, block["hash"])
        fold = await folded(log)
    told = fold.of_type("token_transfer")
    assert told
    assert all(wallet in (data["from"].lower(), data["to"].lower()) for data in told)
    touched = sum(
        1
        for one in logs
        if one["topics"][0] == TRANSFER and len(one["topics"]) in (3, 4) and wallet[2:] in "".join(one["topics"][1:3])
    )
    assert len(told) == touched
