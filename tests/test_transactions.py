"""
Every event of a transaction's life, from a real node to a client: in the mempool, in blocks, in blocks that are
orphaned, and while the daemon is killed. One node is followed as two chains: `all` tells everything, `own` what wallets
do.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from anvil import ACCOUNTS, Anvil, word
from contracts import calldata, token
from eth_utils import keccak, to_checksum_address
from scene import Scene, follows, played

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

RICH, ALICE, BOB, CAROL, DAVE = ACCOUNTS
GWEI = 10**9
FAILING: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "contracts" / "Wallets.json").read_text())[
    "contracts"
]["Failing"]
UNKNOWN = "0x" + "ab" * 20
"""A contract to nobody's knowledge: plain value goes there."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(anvil_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    folder = tmp_path_factory.mktemp("transactions")
    async with Anvil(anvil_binary, folder / "anvil") as node:
        vault = await node.deploy(FAILING["bytecode"])
        wallets = {"alice": ALICE, "bob": BOB, "vault": vault}
        async with played(
            node,
            folder / "daemon",
            chains=[
                follows("all", node, transactions="all", pending="all", confirmations=[1, 3, 6], dropped_after="1s"),
                follows("own", node, dropped_after="1s"),
            ],
            wallets=[{"name": name, "address": address} for name, address in wallets.items()],
        ) as scene:
            scene.vault = vault
            yield scene


async def offer(scene: Scene, sender: str, to: str, value: int = 0, *, tip: int = 1, nonce: int | None = None) -> str:
    """Put a transaction into the pool, which pays that many gwei of tip, and 20 + twice that at most."""
    call = await drafted(scene, sender, to, value, tip=tip, nonce=nonce)
    return await scene.node.call("eth_sendTransaction", call)


async def drafted(scene: Scene, sender: str, to: str, value: int, *, tip: int, nonce: int | None) -> dict[str, str]:
    if nonce is None:
        nonce = await next_nonce(scene, sender)
    return {
        "from": sender, "to": to, "value": hex(value), "gas": hex(21_000), "nonce": hex(nonce), "chainId": hex(31337),
        "maxFeePerGas": hex((20 + 2 * tip) * GWEI), "maxPriorityFeePerGas": hex(tip * GWEI),
    }  # fmt: skip


async def next_nonce(scene: Scene, sender: str, tag: str = "pending") -> int:
    return int(await scene.node.call("eth_getTransactionCount", sender, tag), 16)


def told_of(tx_hash: str, sender: str, to: str, value: int, nonce: int, direction: str | None) -> dict[str, Any]:
    """What every event of a transaction says."""
    return {
        "tx_hash": tx_hash, "from": to_checksum_address(sender), "to": to_checksum_address(to), "amount": str(value),
        "token": "ETH", "decimals": 18, "nonce": nonce, "direction": direction,
    }  # fmt: skip


def offered(tip: int) -> dict[str, str]:
    return {"max_fee_per_gas": str((20 + 2 * tip) * GWEI), "max_priority_fee_per_gas": str(tip * GWEI)}


def kinds(scene: Scene, tx_hash: str, chain: str) -> list[str]:
    """All that was ever told of a transaction, retractions too."""
    return [
        event["type"].removeprefix("transaction_") + ("!" if event.get("removed") else "")
        for event in scene.client.events
        if event["type"].startswith("transaction_") and event["chain"] == chain and event["data"]["tx_hash"] == tx_hash
    ]


# --- from the mempool into a block ----------------------------------------------------------------------------------


async def test_what_waits_is_told_whole_of_wallets_or_of_all_and_then_confirmed_with_its_direction(scene):
    ways = [(ALICE, CAROL, "outgoing"), (CAROL, BOB, "incoming"), (BOB, ALICE, "self"), (DAVE, UNKNOWN, None)]
    sent, offers = {}, {}
    for tip, (sender, to, direction) in enumerate(ways, 1):
        nonce, value = await next_nonce(scene, sender), 10**18 + tip
        tx_hash = await offer(scene, sender, to, value, tip=tip)
        sent[tx_hash] = told_of(tx_hash, sender, to, value, nonce, direction)
        offers[tx_hash] = offered(tip)
    for tx_hash, data in sent.items():
        for chain in ("all", "own") if data["direction"] else ("all",):
            waiting = await scene.comes("transaction_pending", chain=chain, tx_hash=tx_hash)
            assert waiting == data | offers[tx_hash]

    async def told(block: str) -> None:
        included = (await scene.node.call("eth_getBlockByHash", block, False))["transactions"]
        assert set(included) == set(sent)
        for chain in ("all", "own"):
            found = {data["tx_hash"]: data for data in scene.standing("transaction_confirmed", block, chain=chain)}
            assert found.keys() == {
                tx_hash for tx_hash, data in sent.items() if chain == "all" or data["direction"] is not None
            }
            for tx_hash, data in found.items():
                receipt = await scene.receipt(tx_hash)
                assert data == sent[tx_hash] | {
                    "block_number": int(receipt["blockNumber"], 16), "block_hash": block, "confirmations": 1,
                    "transaction_index": included.index(tx_hash), "gas_used": "21000",
                    "fee": str(21_000 * int(receipt["effectiveGasPrice"], 16)),
                }  # fmt: skip
        assert not scene.standing("transaction_failed", block)

    await scene.over_a_reorganisation(told)
    for tx_hash, data in sent.items():
        assert kinds(scene, tx_hash, "all") == ["pending", "confirmed", "confirmed!", "confirmed"]
        own = ["pending", "confirmed", "confirmed!", "confirmed"] if data["direction"] else []
        assert kinds(scene, tx_hash, "own") == own


async def test_the_sender_s_balance_says_the_same_fee_as_the_transaction(scene):
    value, before = 3 * 10**15 + 1, int(await scene.node.call("eth_getBalance", ALICE, "latest"), 16)
    price = 50 * GWEI
    legacy = {"from": ALICE, "to": DAVE, "value": hex(value), "gas": hex(30_000), "gasPrice": hex(price)}
    tx_hash = await scene.node.call("eth_sendTransaction", legacy)
    waiting = await scene.comes("transaction_pending", chain="own", tx_hash=tx_hash)
    assert (waiting["max_fee_per_gas"], waiting["max_priority_fee_per_gas"]) == (str(price), None)
    block = await scene.mine()
    (data,) = scene.standing("transaction_confirmed", block, chain="own")
    assert (data["fee"], data["gas_used"]) == (str(21_000 * price), "21000")
    after = int(await scene.node.call("eth_getBalance", ALICE, "latest"), 16)
    assert before - after == value + int(data["fee"])
    (changed,) = scene.standing("balance_changed", block, chain="own", address=to_checksum_address(ALICE))
    assert (changed["delta"], changed["unattributed"]) == (str(after - before), "0")


async def test_a_new_contract_has_no_recipient(scene):
    tx_hash = await scene.node.send(BOB, None, FAILING["bytecode"])
    block = await scene.mine()
    (data,) = scene.standing("transaction_confirmed", block, chain="own")
    assert (data["tx_hash"], data["to"], data["direction"]) == (tx_hash, None, "outgoing")
    assert data["fee"] == str(await scene.fee(tx_hash))


# --- confirmations --------------------------------------------------------------------------------------------------


async def test_each_threshold_is_told_once_and_goes_only_with_the_transaction_s_own_block(scene):
    tx_hash = await offer(scene, CAROL, DAVE, 1)
    block = await scene.mine()
    again = await scene.raw(block)

    def at() -> list[int]:
        return [data["confirmations"] for data in scene.standing("transaction_confirmed", chain="all", tx_hash=tx_hash)]

    assert at() == [1]
    await scene.mine()
    assert at() == [1]
    await scene.mine()
    assert at() == [1, 3]
    await scene.reorganise(2)
    assert at() == [1, 3], "its own block still stands"
    await scene.mine(2)
    assert at() == [1, 3]
    await scene.mine()
    assert at() == [1, 3, 6]
    await scene.restart()
    await scene.mine(3)
    assert at() == [1, 3, 6]
    told = scene.standing("transaction_confirmed", block, chain="all")
    assert [data | {"confirmations": 0} for data in told] == [told[0] | {"confirmations": 0}] * 3
    assert kinds(scene, tx_hash, "all").count("confirmed") == 3
    await scene.reorganise(9)
    assert at() == []
    assert kinds(scene, tx_hash, "all").count("confirmed!") == 3
    await scene.node.call("anvil_reorg", 1, [[again[0], 0]])
    await scene.settled()
    assert at() == [1]
    await scene.mine(9)
    assert at() == [1, 3, 6]


# --- failures -------------------------------------------------------------------------------------------------------


async def test_every_way_to_fail_is_told_with_its_reason_to_the_wei_and_never_as_confirmed(scene):
    node, vault = scene.node, scene.vault
    selectors = FAILING["selectors"]
    refused = "custom error 0x" + keccak(text="NotEnough(address,uint256)")[:4].hex()
    ways = [
        (ALICE, "text()", "", "you shall not pass", "self"),
        (CAROL, "panic(uint256)", word(0), "panic 0x12: division or modulo by zero", "incoming"),
        (CAROL, "custom()", "", refused, "incoming"),
        (CAROL, "silent()", "", None, "incoming"),
        (CAROL, "burn()", "", "out of gas", "incoming"),
    ]
    sent = {}
    for value, (sender, name, arguments, reason, direction) in enumerate(ways, 1):
        nonce = await next_nonce(scene, sender)
        tx_hash = await node.send(sender, vault, "0x" + selectors[name] + arguments, value, gas=100_000)
        sent[tx_hash] = told_of(tx_hash, sender, vault, value, nonce, direction) | {"revert_reason": reason}

    async def told(block: str) -> None:
        included = (await node.call("eth_getBlockByHash", block, False))["transactions"]
        for chain in ("all", "own"):
            found = {data["tx_hash"]: data for data in scene.standing("transaction_failed", block, chain=chain)}
            assert found.keys() == sent.keys()
            for tx_hash, data in found.items():
                receipt = await scene.receipt(tx_hash)
                assert data == sent[tx_hash] | {
                    "block_number": int(receipt["blockNumber"], 16), "block_hash": block,
                    "transaction_index": included.index(tx_hash), "gas_used": str(int(receipt["gasUsed"], 16)),
                    "fee": str(await scene.fee(tx_hash)),
                }  # fmt: skip
                if data["revert_reason"] == "out of gas":
                    assert data["gas_used"] == "100000"
        assert not scene.standing("transaction_confirmed", block)
        assert not scene.standing("wallet_incoming", block), "a failed transaction moves nothing"
        (paid,) = scene.standing("balance_changed", block, chain="own")
        assert [cause["kind"] for cause in paid["causes"]] == ["gas"]

    await scene.over_a_reorganisation(told)
    await scene.mine(6)
    for tx_hash in sent:
        assert kinds(scene, tx_hash, "all") == ["pending", "failed", "failed!", "failed"]


async def test_an_error_that_is_widely_known_is_told_with_its_arguments(scene):
    gold = await token(scene.node, "GOLD")
    call = calldata("transfer(address,uint256)", CAROL, 12345)
    tx_hash = await scene.node.send(BOB, gold, call, gas=200_000)
    block = await scene.mine()
    (data,) = scene.standing("transaction_failed", block, chain="own")
    assert (data["tx_hash"], data["direction"]) == (tx_hash, "outgoing")
    assert data["revert_reason"] == f"ERC20InsufficientBalance({to_checksum_address(BOB)}, 0, 12345)"


# --- other ends of what waits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["speed_up", "cancel"])
async def test_what_replaces_another_in_the_mempool_is_told_at_once(scene, kind):
    nonce = await next_nonce(scene, ALICE)
    first = await offer(scene, ALICE, CAROL, 5, tip=1)
    for chain in ("all", "own"):
        await scene.comes("transaction_pending", chain=chain, tx_hash=first)
    second = await offer(scene, ALICE, *((CAROL, 5) if kind == "speed_up" else (ALICE, 0)), tip=10, nonce=nonce)
    assert second != first
    for chain in ("all", "own"):
        assert await scene.comes("transaction_replaced", chain=chain, tx_hash=first) == told_of(
            first, ALICE, CAROL, 5, nonce, "outgoing"
        ) | offered(1) | {"replaced_by": second, "kind": kind, "block_number": None, "block_hash": None}
    await scene.mine()
    for chain in ("all", "own"):
        assert kinds(scene, first, chain) == ["pending", "replaced"]
        assert kinds(scene, second, chain) == ["pending", "confirmed"]


@pytest.mark.parametrize("kind", ["speed_up", "cancel"])
async def test_a_replacement_that_nobody_saw_before_its_block_is_told_by_it_and_goes_with_it(scene, kind):
    await scene.mine()
    nonce = await next_nonce(scene, ALICE)
    waits = await offer(scene, ALICE, CAROL, 5, tip=1)
    for chain in ("all", "own"):
        await scene.comes("transaction_pending", chain=chain, tx_hash=waits)
    to, value = (CAROL, 6) if kind == "speed_up" else (ALICE, 0)
    call = await drafted(scene, ALICE, to, value, tip=10, nonce=nonce)
    hidden = await scene.node.call("eth_signTransaction", call)
    for _ in range(2):  # it is orphaned, and comes again
        block = await scene.reorganise(again=[hidden])
        number = await scene.node.head()
        for chain in ("all", "own"):
            (confirmed,) = scene.standing("transaction_confirmed", block, chain=chain)
            assert scene.standing("transaction_replaced", chain=chain, tx_hash=waits) == [
                told_of(waits, ALICE, CAROL, 5, nonce, "outgoing")
                | offered(1)
                | {"replaced_by": confirmed["tx_hash"], "kind": kind, "block_number": number, "block_hash": block}
            ]
        await scene.reorganise()
        assert not scene.standing("transaction_replaced", tx_hash=waits)
    # It waits again, and is included after all: its place is free.
    block = await scene.mine()
    for chain in ("all", "own"):
        assert [data["tx_hash"] for data in scene.standing("transaction_confirmed", block, chain=chain)] == [waits]
        assert kinds(scene, waits, chain) == ["pending", *["replaced", "replaced!"] * 2, "confirmed"]


async def test_what_the_node_forgets_is_dropped_and_may_come_again_without_being_pending_twice(scene):
    nonce = await next_nonce(scene, BOB)
    tx_hash = await offer(scene, BOB, CAROL, 7, tip=1)
    for chain in ("all", "own"):
        await scene.comes("transaction_pending", chain=chain, tx_hash=tx_hash)
    raw = await scene.node.call("eth_getRawTransactionByHash", tx_hash)
    await scene.node.call("anvil_dropTransaction", tx_hash)
    for chain in ("all", "own"):
        assert await scene.comes("transaction_dropped", chain=chain, tx_hash=tx_hash) == told_of(
            tx_hash, BOB, CAROL, 7, nonce, "outgoing"
        ) | offered(1) | {"reason": "gone"}
    await scene.node.call("eth_sendRawTransaction", raw)
    block = await scene.mine()
    assert len(scene.standing("transaction_confirmed", block, chain="own", tx_hash=tx_hash)) == 1
    for chain in ("all", "own"):
        assert kinds(scene, tx_hash, chain) == ["pending", "dropped", "confirmed"]


async def test_what_lost_its_nonce_to_something_else_is_dropped_and_a_block_that_did_it_takes_that_back(scene):
    nonce = await next_nonce(scene, BOB)
    passed = await offer(scene, BOB, CAROL, 8)
    for chain in ("all", "own"):
        await scene.comes("transaction_pending", chain=chain, tx_hash=passed)
    await scene.node.call("anvil_setNonce", BOB, hex(nonce + 1))
    later = await offer(scene, BOB, CAROL, 9, nonce=nonce + 1)
    await scene.mine()
    for chain in ("all", "own"):
        assert scene.standing("transaction_dropped", chain=chain, tx_hash=passed) == [
            told_of(passed, BOB, CAROL, 8, nonce, "outgoing") | offered(1) | {"reason": "nonce_used"}
        ]
        assert kinds(scene, later, chain)[-1] == "confirmed"
    await scene.reorganise()
    assert not scene.standing("transaction_dropped", tx_hash=passed)


async def test_a_nonce_that_is_gone_without_any_transaction_is_found_by_asking(scene):
    nonce = await next_nonce(scene, DAVE)
    spent = await offer(scene, DAVE, ALICE, 8)
    for chain in ("all", "own"):
        await scene.comes("transaction_pending", chain=chain, tx_hash=spent)
    await scene.node.call("anvil_setNonce", DAVE, hex(nonce + 1))
    await scene.node.call("anvil_dropTransaction", spent)
    for chain in ("all", "own"):
        dropped = await scene.comes("transaction_dropped", chain=chain, tx_hash=spent)
        assert dropped == told_of(spent, DAVE, ALICE, 8, nonce, "incoming") | offered(1) | {"reason": "nonce_used"}


async def test_a_node_that_is_asked_over_http_gives_hashes_alone_and_the_same_is_told(scene, tmp_path):
    chains = [follows("asked", scene.node, endpoints=[scene.node.http], start="latest", dropped_after="1s")]
    async with played(scene.node, tmp_path, chains=chains, wallets=[{"name": "alice", "address": ALICE}]) as asked:
        nonce = await next_nonce(scene, ALICE)
        first = await offer(scene, ALICE, CAROL, 5, tip=1)
        second = await offer(scene, DAVE, ALICE, 6, tip=2)
        for tx_hash in (first, second):
            told = await asked.comes("transaction_pending", tx_hash=tx_hash)
            assert told == await scene.comes("transaction_pending", chain="own", tx_hash=tx_hash)
        third = await offer(scene, ALICE, ALICE, 0, tip=10, nonce=nonce)
        replaced = await asked.comes("transaction_replaced", tx_hash=first)
        assert replaced == await scene.comes("transaction_replaced", chain="own", tx_hash=first)
        assert (replaced["replaced_by"], replaced["kind"]) == (third, "cancel")
        await scene.node.call("anvil_dropTransaction", second)
        assert (await asked.comes("transaction_dropped", tx_hash=second))["reason"] == "gone"
        await asked.mine()
        assert kinds(asked, third, "asked") == ["pending", "confirmed"]


# --- kills ----------------------------------------------------------------------------------------------------------


async def test_what_waited_through_a_kill_is_not_pending_again_and_what_became_of_it_is_told(scene):
    """Four wait; three of them come to an end while the daemon is dead."""
    node = scene.node
    nonce = await next_nonce(scene, ALICE)
    included = await offer(scene, RICH, ALICE, 1)
    replaced = await offer(scene, ALICE, CAROL, 2)
    dropped = await offer(scene, BOB, CAROL, 3)
    waits_on = await offer(scene, CAROL, ALICE, 4)
    four = (included, replaced, dropped, waits_on)
    for tx_hash in four:
        for chain in ("all", "own"):
            await scene.comes("transaction_pending", chain=chain, tx_hash=tx_hash)
    await scene.daemon.kill()
    waiting = await node.call("eth_getRawTransactionByHash", waits_on)
    for tx_hash in (dropped, waits_on):
        await node.call("anvil_dropTransaction", tx_hash)
    by = await offer(scene, ALICE, BOB, 5, tip=10, nonce=nonce)
    await node.mine()
    await node.call("eth_sendRawTransaction", waiting)
    await scene.daemon.start()
    scene.client.url = scene.daemon.url
    block = await scene.settled()
    for chain in ("all", "own"):
        end = await scene.comes("transaction_replaced", chain=chain, tx_hash=replaced)
        assert (end["replaced_by"], end["kind"], end["block_hash"]) == (by, "speed_up", block)
        assert (await scene.comes("transaction_dropped", chain=chain, tx_hash=dropped))["reason"] == "gone"
        assert kinds(scene, included, chain) == ["pending", "confirmed"]
        assert kinds(scene, by, chain) == ["confirmed"]
        assert kinds(scene, waits_on, chain) == ["pending"]
    await scene.mine()
    for chain in ("all", "own"):
        assert kinds(scene, waits_on, chain) == ["pending", "confirmed"]


async def test_confirmed_and_failed_survive_kills_at_every_turn(scene):
    node = scene.node
    paid = await offer(scene, ALICE, DAVE, 77)
    failed = await node.send(CAROL, scene.vault, "0x" + FAILING["selectors"]["text()"], 3, gas=100_000)

    async def told(block: str) -> None:
        for chain in ("all", "own"):
            (data,) = scene.standing("transaction_confirmed", block, chain=chain)
            assert (data["tx_hash"], data["amount"], data["fee"]) == (paid, "77", str(await scene.fee(paid)))
            (data,) = scene.standing("transaction_failed", block, chain=chain)
            assert (data["tx_hash"], data["revert_reason"]) == (failed, "you shall not pass")
            assert data["fee"] == str(await scene.fee(failed))

    await scene.over_kills(told)
