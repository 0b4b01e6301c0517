"""
What a watched wallet is told, on a real node: balances to the wei, with their causes; value that comes and goes; and
over reorganisations, restarts and whatever else moves a balance, books that agree with the node's own state.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from anvil import ACCOUNTS, Anvil, word
from daemon import Daemon
from purse import Pair, Purse
from scene import Scene, follows, played

pytestmark = pytest.mark.long

ALICE, BOB, CAROL, DAVE, RICH = (ACCOUNTS[index] for index in (1, 2, 3, 4, 0))
STRANGER = "0x00000000000000000000000000000000000000aa"


def load(name: str) -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "data" / "contracts" / f"{name}.json").read_text())["contracts"]


class House(Scene):
    """A node, the daemon that watches ALICE and BOB on it, and a client that keeps their books."""

    tokens: dict[str, str]
    floor: int
    """Below that height nothing is reorganised."""

    def __init__(self, node: Anvil, daemon: Daemon) -> None:
        super().__init__(node, daemon)
        self.wallets = load("Wallets")
        self.coins = load("Tokens")
        self.checked = 0
        self.purse = Purse()

    def read(self) -> None:
        """Bring the books up to what the client has."""
        for event in self.client.events[self.checked :]:
            self.purse.apply(event)
        self.checked = len(self.client.events)

    async def until(self, true: Callable[[], bool], *, seconds: float = 20) -> None:
        """Wait until it is so, by the books too."""

        def so() -> bool:
            self.read()
            return true()

        await super().until(so, seconds=seconds)

    async def told(self, kind: str, count: int, block_hash: str) -> list[dict[str, Any]]:
        """The events of a type in that block: so many."""
        found = self.standing(kind, block_hash)
        assert len(found) == count, found
        return found

    async def truth(self) -> dict[Pair, int]:
        """What the node's state says at its head."""
        found = {}
        for wallet in (ALICE, BOB):
            found[wallet, ""] = int(await self.node.call("eth_getBalance", wallet, "latest"), 16)
            for token in self.tokens.values():
                call = {"to": token, "data": "0x70a08231" + word(wallet)}
                found[wallet, token.lower()] = int(await self.node.call("eth_call", call, "latest"), 16)
        return found

    async def agrees(self) -> None:
        """The books become the truth."""
        truth = await self.truth()
        await self.until(lambda: self.purse.held == truth)


@contextlib.asynccontextmanager
async def opened(node: Anvil, folder: Path, **chain: Any) -> AsyncIterator[House]:
    coin = await node.deploy(load("Tokens")["Coin"]["bytecode"])
    fee = await node.deploy(load("Wallets")["FeeCoin"]["bytecode"])
    tokens = {"COIN": coin, "FEE": fee}
    async with played(
        node,
        folder / "daemon",
        kind=House,
        chains=[follows("anvil", node, start="latest", balance_sweep="1s") | chain],
        wallets=[{"name": "alice", "address": ALICE}, {"name": "bob", "address": BOB}],
        tokens=[
            {"chain": "anvil", "symbol": name, "address": address, "decimals": 6} for name, address in tokens.items()
        ],
    ) as house:
        house.tokens = tokens
        await house.until(lambda: len(house.purse.held) == 6)
        yield house


@pytest.fixture
async def house(anvil: Anvil, tmp_path: Path) -> AsyncIterator[House]:
    async with opened(anvil, tmp_path) as house:
        yield house


def causes(data: dict[str, Any]) -> list[tuple[str, int]]:
    return [(cause["kind"], int(cause["amount"])) for cause in data["causes"]]


# --- the first reading --------------------------------------------------------------------------------------------


async def test_a_wallet_is_new_then_read_and_its_first_balances_are_its_status(house):
    await house.agrees()
    states = [
        (event["data"]["name"], event["data"]["state"])
        for event in house.client.events
        if event["type"] == "wallet_status"
    ]
    assert [state for state in states if state[0] == "alice"] == [("alice", "syncing"), ("alice", "watching")]
    watching = next(data for data in house.standing("wallet_status") if data["state"] == "watching")
    assert [(balance["token"], balance["decimals"]) for balance in watching["balances"]] == [
        ("ETH", 18), *sorted([("COIN", 6), ("FEE", 6)], key=lambda one: house.tokens[one[0]].lower()),
    ]  # fmt: skip
    assert not house.standing("balance_changed")


async def test_a_restart_tells_no_wallet_again_and_one_that_is_gone_is_removed(house):
    await house.mine()
    await house.daemon.stop()
    text = house.daemon.config.read_text()
    house.daemon.config.write_text(
        text.replace('[[wallets]]\nname = "bob"', '[[wallets]]\nname = "carol"').replace(BOB, CAROL)
    )
    await house.daemon.start()
    before = len(house.client.events)
    house.client.url = house.daemon.url
    head = await house.mine()
    assert head
    await house.until(lambda: (CAROL, "") in house.purse.held)
    states = [
        (event["data"]["name"], event["data"]["state"])
        for event in house.client.events[before:]
        if event["type"] == "wallet_status"
    ]
    assert sorted(states) == [("bob", "removed"), ("carol", "syncing"), ("carol", "watching")]


# --- balances, to the wei -----------------------------------------------------------------------------------------


async def test_value_and_gas_explain_a_payment_to_the_wei(house):
    paid = await house.node.send(ALICE, BOB, value=10**18 + 7, gas=21_000)
    block = await house.mine()
    changes = {data["address"].lower(): data for data in await house.told("balance_changed", 2, block)}
    gas = await house.fee(paid)
    assert gas > 0
    assert causes(changes[ALICE]) == [("value", -(10**18 + 7)), ("gas", -gas)]
    assert causes(changes[BOB]) == [("value", 10**18 + 7)]
    assert changes[ALICE]["delta"] == str(-(10**18 + 7) - gas)
    assert changes[ALICE]["unattributed"] == changes[BOB]["unattributed"] == "0"
    assert {cause["tx_hash"] for cause in changes[ALICE]["causes"]} == {paid}
    outgoing = (await house.told("wallet_outgoing", 1, block))[0]
    incoming = (await house.told("wallet_incoming", 1, block))[0]
    assert (outgoing["address"].lower(), outgoing["counterparty"].lower()) == (ALICE, BOB)
    assert (incoming["address"].lower(), incoming["counterparty"].lower()) == (BOB, ALICE)
    for moved in (outgoing, incoming):
        assert (moved["kind"], moved["token"], moved["amount"]) == ("native", "ETH", str(10**18 + 7))
        assert (moved["token_address"], moved["known_token"], moved["tx_hash"]) == (None, True, paid)
    confirmed = (await house.told("transaction_confirmed", 1, block))[0]
    assert (confirmed["direction"], confirmed["fee"]) == ("self", str(gas))
    await house.agrees()


async def test_a_failed_transaction_costs_gas_and_moves_nothing(house):
    failing = await house.node.deploy(house.wallets["Failing"]["bytecode"])
    sent = await house.node.send(ALICE, failing, "0x" + house.wallets["Failing"]["selectors"]["text()"], value=5)
    block = await house.mine()
    changed = (await house.told("balance_changed", 1, block))[0]
    assert causes(changed) == [("gas", -await house.fee(sent))]
    assert changed["unattributed"] == "0"
    assert not house.standing("wallet_outgoing", block)
    await house.agrees()


async def test_a_token_that_takes_a_fee_shows_what_did_not_arrive(house):
    fee, selectors = house.tokens["FEE"], house.wallets["FeeCoin"]["selectors"]
    await house.node.send(RICH, fee, "0x" + selectors["transfer(address,uint256)"] + word(ALICE) + word(1000))
    block = await house.mine()
    changed = (await house.told("balance_changed", 1, block))[0]
    assert (changed["token"], changed["token_address"].lower(), changed["decimals"]) == ("FEE", fee, 6)
    assert (changed["delta"], causes(changed), changed["unattributed"]) == ("990", [("transfer", 1000)], "-10")
    assert (await house.told("wallet_incoming", 1, block))[0]["amount"] == "1000", "what the token's log says"
    await house.agrees()


async def test_what_nothing_explains_is_found_by_the_sweep_and_is_unattributed(house):
    await house.node.call("anvil_setBalance", BOB, hex(12345))
    await house.until(lambda: house.purse.held[BOB, ""] == 12345)
    change = house.purse.changes[-1]["data"]
    assert (change["causes"], change["unattributed"]) == ([], change["delta"])
    selectors = house.wallets["FeeCoin"]["selectors"]
    fee = house.tokens["FEE"]
    await house.node.send(RICH, fee, "0x" + selectors["transfer(address,uint256)"] + word(ALICE) + word(10_000))
    await house.mine()
    await house.node.send(RICH, fee, "0x" + selectors["rebase(uint256)"] + word(2000))
    await house.mine()
    await house.until(lambda: house.purse.held[ALICE, fee] == 19_800)
    assert house.purse.changes[-1]["data"]["unattributed"] == "9900"
    await house.agrees()


async def test_who_makes_the_block_gets_tips(house):
    await house.node.call("anvil_setCoinbase", BOB)
    await house.node.send(RICH, STRANGER, value=1)
    block = await house.mine()
    changed = (await house.told("balance_changed", 1, block))[0]
    assert changed["address"].lower() == BOB
    assert [kind for kind, _ in causes(changed)] == ["tip"]
    assert changed["unattributed"] == "0"
    await house.agrees()


# --- inside of transactions ---------------------------------------------------------------------------------------


async def test_without_traces_what_a_contract_pays_is_seen_at_once_and_has_no_cause(house):
    payer = await house.node.deploy(house.wallets["Payer"]["bytecode"])
    pay = "0x" + house.wallets["Payer"]["selectors"]["pay(address)"] + word(BOB)
    await house.node.send(RICH, payer, pay, value=777)
    block = await house.mine()
    changed = (await house.told("balance_changed", 1, block))[0]
    assert (changed["delta"], changed["causes"], changed["unattributed"]) == ("777", [], "777")
    await house.agrees()


async def test_traces_show_what_contracts_pay_and_not_what_they_take_back(anvil, tmp_path):
    async with opened(anvil, tmp_path, internal_transfers=True) as house:
        payer = await anvil.deploy(house.wallets["Payer"]["bytecode"])
        twice = "0x" + house.wallets["Payer"]["selectors"]["payTwice(address,uint256)"] + word(BOB) + word(300)
        sent = await anvil.send(ALICE, payer, twice, value=1000)
        block = await house.mine()
        changes = {data["address"].lower(): data for data in await house.told("balance_changed", 2, block)}
        assert causes(changes[BOB]) == [("internal", 300)]
        assert changes[BOB]["unattributed"] == changes[ALICE]["unattributed"] == "0"
        assert causes(changes[ALICE]) == [("value", -1000), ("gas", -await house.fee(sent))]
        incoming = (await house.told("wallet_incoming", 1, block))[0]
        assert (incoming["kind"], incoming["amount"]) == ("internal", "300")
        assert incoming["counterparty"].lower() == payer.lower()
        await house.node.send(RICH, None, house.wallets["Kamikaze"]["bytecode"] + word(BOB), value=55)
        block = await house.mine()
        assert causes((await house.told("balance_changed", 1, block))[0]) == [("internal", 55)]
        await house.agrees()


# --- over everything ----------------------------------------------------------------------------------------------


async def act(house: House, chance: random.Random) -> None:
    """Something that moves a balance, or the chain."""
    node, fee = house.node, house.tokens["FEE"]
    spread = house.coins["Coin"]["selectors"]["transfer(address,uint256)"]
    selectors = house.wallets["FeeCoin"]["selectors"]
    someone, other = chance.sample([ALICE, BOB, CAROL, RICH], 2)
    match chance.randrange(9):
        case 0 | 1:
            await node.send(someone, other, value=chance.randrange(10**15))
        case 2 | 3:
            await node.send(RICH, house.tokens["COIN"], "0x" + spread + word(other) + word(chance.randrange(10**9)))
        case 4:
            transfer = selectors["transfer(address,uint256)"]
            await node.send(RICH, fee, "0x" + transfer + word(other) + word(chance.randrange(10**6)))
        case 5:
            await node.send(RICH, fee, "0x" + selectors["rebase(uint256)"] + word(chance.randrange(500, 2000)))
        case 6:
            pay = "0x" + house.wallets["Payer"]["selectors"]["pay(address)"] + word(other)
            await node.send(someone, house.tokens["payer"], pay, value=chance.randrange(10**6))
        case 7:
            await node.call("anvil_setBalance", other, hex(10**20 + chance.randrange(10**18)))
        case 8:
            depth = min(chance.randint(1, 4), await node.head() - house.floor)
            if depth > 0:
                await node.call("anvil_reorg", depth, [])
                node.forget_nonces()


@pytest.mark.parametrize(("seed", "traces"), [(1, False), (2, True), (3, False)])
async def test_the_books_agree_with_the_node_after_any_workload(anvil, tmp_path, seed, traces):
    chance = random.Random(seed)
    async with opened(anvil, tmp_path, internal_transfers=traces) as house:
        payer = await anvil.deploy(house.wallets["Payer"]["bytecode"])
        house.floor = await anvil.head()
        await workload(house, chance, payer, rounds=25)


async def workload(house: House, chance: random.Random, payer: str, rounds: int) -> None:
    tokens = dict(house.tokens)
    for _ in range(rounds):
        house.tokens = tokens | {"payer": payer}
        for _ in range(chance.randrange(4)):
            await act(house, chance)
        await house.node.mine()
        if chance.random() < 0.1:
            await house.daemon.kill()
            await house.daemon.start()
            house.client.url = house.daemon.url
    house.tokens = tokens
    await house.settled()
    await house.agrees()
