"""
What tokens and exchanges tell, from real contracts on a real node to a client: transfers, approvals, swaps, wrapped
currency, and what watched wallets see of them; in blocks, in blocks that are orphaned, and while the daemon is killed.

One node is followed as two chains: `plain` tells what touches wallets and listed tokens; `traced` tells all, and looks
into transactions.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import unicodedata
from collections.abc import AsyncIterator
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import contracts
import pytest
import pytest_asyncio
from anvil import Anvil
from bazaar import ALICE, BOB, CAROL, DAVE, SHOWN, Bazaar, built, in_place
from contracts import NATIVE, OWNER, PERMIT2, POOL_MANAGER, send, transfer
from eth_utils import to_checksum_address
from fold import TRANSFER
from scene import Told, follows, played

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

CHAINS = ("plain", "traced")
ETH = 10**18


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bazaar(anvil_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bazaar]:
    folder = tmp_path_factory.mktemp("tokens")
    async with Anvil(anvil_binary, folder / "anvil") as node:
        stalls = Bazaar.__new__(Bazaar)
        await built(node, stalls)
        listed = [("USDC", "usdc", 6), ("WETH", "weth", 18), ("DEED", "deed", 0)]
        async with played(
            node,
            folder / "daemon",
            chains=[
                follows("plain", node, pending="none"),
                follows("traced", node, pending="none", tokens="all", internal_transfers=True),
            ],
            wallets=[{"name": "alice", "address": ALICE}, {"name": "bob", "address": BOB}],
            tokens=[
                {"chain": chain, "symbol": symbol, "address": stalls.tokens[name], "decimals": decimals}
                for chain in CHAINS
                for symbol, name, decimals in listed
            ],
            kind=Bazaar,
        ) as scene:
            scene.tokens, scene.markets, scene.titles = stalls.tokens, stalls.markets, itertools.count(1)
            yield scene


# --- transfers ------------------------------------------------------------------------------------------------------


async def moves(bazaar: Bazaar) -> Told:
    """Transfers of every standard go into the pool; what must be told of them."""
    node, tokens = bazaar.node, bazaar.tokens
    own, fresh = next(bazaar.titles), next(bazaar.titles)
    huge = 2**255 + fresh
    out = await transfer(node, tokens["gold"], ALICE, CAROL, 12345)
    into = await transfer(node, tokens["silver"], OWNER, BOB, 1)
    listed = await transfer(node, tokens["usdc"], OWNER, CAROL, 2_000_000)
    foreign = await transfer(node, tokens["silver"], OWNER, CAROL, 3)
    scam = await transfer(node, tokens["scam"], OWNER, ALICE, 10**12)
    hostile = await transfer(node, tokens["hostile"], OWNER, ALICE, 5)
    nothing = await transfer(node, tokens["gold"], CAROL, ALICE, 0)
    minted = await send(node, OWNER, tokens["title"], "mint(address,uint256)", BOB, huge)
    given = await send(node, ALICE, tokens["title"], "transferFrom(address,address,uint256)", ALICE, CAROL, own)
    deed = await send(node, OWNER, tokens["deed"], "mint(address,uint256)", ALICE, fresh)
    single = await send(node, OWNER, tokens["pack"], "mint(address,uint256,uint256)", BOB, huge, 2**256 - 1)
    mint = "mintBatch(address,uint256[],uint256[])"
    parts = [(5, 50), (6, 60), (5, 0)]
    batch = await send(node, OWNER, tokens["pack"], mint, ALICE, *zip(*parts, strict=True))

    def moved(
        tx: str, name: str, sender: str, to: str, amount: int, token_id: int | None = None, batch: int | None = None
    ) -> tuple[str, dict[str, Any]]:
        standard = {"title": "erc721", "deed": "erc721", "pack": "erc1155"}.get(name, "erc20")
        return tx, {
            "standard": standard, "from": to_checksum_address(sender), "to": to_checksum_address(to),
            "amount": str(amount), "token_id": None if token_id is None else str(token_id), "batch_index": batch,
            **bazaar.about(name, **({"decimals": None} if name == "pack" else {})),
        }  # fmt: skip

    expected = [
        moved(out, "gold", ALICE, CAROL, 12345),
        moved(into, "silver", OWNER, BOB, 1),
        moved(listed, "usdc", OWNER, CAROL, 2_000_000),
        moved(foreign, "silver", OWNER, CAROL, 3),
        moved(scam, "scam", OWNER, ALICE, 10**12),
        moved(hostile, "hostile", OWNER, ALICE, 5),
        moved(nothing, "gold", CAROL, ALICE, 0),
        moved(minted, "title", NATIVE, BOB, 1, huge),
        moved(given, "title", ALICE, CAROL, 1, own),
        moved(deed, "deed", NATIVE, ALICE, 1, fresh),
        moved(single, "pack", NATIVE, BOB, 2**256 - 1, huge),
        *(moved(batch, "pack", NATIVE, ALICE, amount, one, place) for place, (one, amount) in enumerate(parts)),
    ]
    sent = {tx for tx, _ in expected}

    async def told(block: str) -> None:
        rows = [data | await bazaar.place(tx, 0) for tx, data in expected]
        rows.sort(key=in_place)
        for chain in CHAINS:
            # Nobody's silver is told only where everything is.
            wanted = [data for data in rows if chain == "traced" or data["tx_hash"] != foreign]
            assert bazaar.told_by("token_transfer", block, chain, sent) == wanted
            for kind, side, other in (("wallet_incoming", "to", "from"), ("wallet_outgoing", "from", "to")):
                seen = [
                    {
                        "address": data[side], "counterparty": data[other], "kind": "token",
                        "known_token": data["token"] in ("USDC", "DEED") and data["token_name"] is None,
                        **{
                            name: data[name]
                            for name in (
                                "token", "token_address", "decimals", "amount", "token_id", "tx_hash",
                                "transaction_index", "log_index", "block_number", "block_hash",
                            )
                        },
                    }
                    for data in rows
                    if data[side].lower() in (ALICE, BOB) and data["amount"] != "0"
                ]  # fmt: skip
                assert bazaar.told_by(kind, block, chain, sent) == seen
            # An ERC-721 that is configured has a balance: one more.
            (held,) = bazaar.standing("balance_changed", block, chain=chain, token="DEED")
            assert (held["delta"], held["causes"], held["unattributed"]) == (
                "1", [{"kind": "transfer", "amount": "1", "tx_hash": deed}], "0",
            )  # fmt: skip

    return told


async def test_transfers_of_every_standard_are_told_exactly_and_as_wallets_see_them(bazaar):
    await bazaar.over_a_reorganisation(await moves(bazaar))


# --- who a token says that it is ------------------------------------------------------------------------------------


async def tail(bazaar: Bazaar, *arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chainwatch", "tail", "--url", bazaar.daemon.url, "--no-follow", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TERM": "xterm"},
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_a_scam_that_calls_itself_usdc_never_matches_usdc(bazaar):
    scam = await transfer(bazaar.node, bazaar.tokens["scam"], OWNER, ALICE, 10**12)
    honest = await transfer(bazaar.node, bazaar.tokens["usdc"], OWNER, ALICE, 10**6)
    await bazaar.mine()
    found = {event["data"].get("tx_hash") for event in await bazaar.daemon.history(token="USDC")}
    assert honest in found
    assert scam not in found
    by_contract = await bazaar.daemon.history(token=bazaar.tokens["scam"], types="token_transfer")
    assert scam in {event["data"]["tx_hash"] for event in by_contract}
    code, out, _ = await tail(bazaar, "--since", "earliest", "--json", "--token", "usdc", "-t", "wallet_incoming")
    assert code == 0
    told = [json.loads(line)["data"] for line in out.splitlines()]
    assert {data["token_address"].lower() for data in told} == {bazaar.tokens["usdc"]}
    assert {data["known_token"] for data in told} == {True}
    (faked,) = (data for data in bazaar.standing("wallet_incoming", chain="plain") if data["tx_hash"] == scam)
    assert (faked["token"], faked["known_token"]) == ("USDC", False), "it may say so, and is marked"


async def test_a_hostile_symbol_does_nothing_in_a_stream_or_a_terminal(bazaar):
    sent = await transfer(bazaar.node, bazaar.tokens["hostile"], OWNER, BOB, 6)
    await bazaar.mine()
    for chain in CHAINS:
        (data,) = bazaar.standing("token_transfer", chain=chain, tx_hash=sent)
        assert (data["token"], data["token_name"]) == (SHOWN, f"{SHOWN} token")
    wanted = ("--since", "earliest", "--address", bazaar.tokens["hostile"])
    for form in ((), ("--json",), ("--format", "{data.token} {data.token_name}")):
        code, out, _ = await tail(bazaar, *wanted, *form)
        assert code == 0
        assert len(out.splitlines()) >= 4, "a transfer and what came in, twice"
        assert {unicodedata.category(char) for char in out.replace("\n", "")} & {"Cc", "Cf", "Zl", "Zp", "Cs"} == set()
        assert "\\u202eDC\\u001b[2J" in out.replace("\\\\", "\\")


# --- approvals ------------------------------------------------------------------------------------------------------


async def grants(bazaar: Bazaar) -> Told:
    """Approvals of every kind go into the pool; what must be told of them."""
    node, tokens = bazaar.node, bazaar.tokens
    gold, crate = tokens["gold"], tokens["crate"]
    own = next(bazaar.titles)
    expected: list[tuple[str, dict[str, Any]]] = []

    async def grant(name: str, to: str, signature: str, *values: Any, contract: str | None = None, **says: Any) -> None:
        tx = await send(node, ALICE, contract or tokens[name], signature, *values)
        about = {"token": "CRATE", "token_address": to_checksum_address(crate), "decimals": None}
        if name != "crate":
            about = bazaar.about(name)
            about.pop("token_name")
        usual = {
            "owner": to_checksum_address(ALICE), "spender": to_checksum_address(to), "amount": None, "token_id": None,
            "unlimited": False, "revoked": False, "approved_for_all": None, "expiration": None,
        }  # fmt: skip
        expected.append((tx, usual | about | says))

    erc20 = "approve(address,uint256)"
    every = "setApprovalForAll(address,bool)"
    await grant("gold", CAROL, erc20, CAROL, 2**256 - 1, standard="erc20", amount=str(2**256 - 1), unlimited=True)
    await grant("gold", CAROL, erc20, CAROL, 5, standard="erc20", amount="5")
    await grant("gold", CAROL, erc20, CAROL, 0, standard="erc20", amount="0", revoked=True)
    await grant("usdc", DAVE, erc20, DAVE, 2**96 - 1, standard="erc20", amount=str(2**96 - 1), unlimited=True)
    await grant("title", CAROL, erc20, CAROL, own, standard="erc721", token_id=str(own))
    await grant("title", NATIVE, erc20, NATIVE, own, standard="erc721", token_id=str(own), revoked=True)
    await grant("title", CAROL, every, CAROL, True, standard="erc721", unlimited=True, approved_for_all=True)
    await grant("title", CAROL, every, CAROL, False, standard="erc721", revoked=True, approved_for_all=False)
    await grant("crate", CAROL, every, CAROL, True, standard="erc1155", unlimited=True, approved_for_all=True)
    allow = "approve(address,address,uint160,uint48)"
    at_permit2: dict[str, Any] = {"contract": PERMIT2, "standard": "permit2"}
    await grant(
        "gold", CAROL, allow, gold, CAROL, 2**160 - 1, 2**48 - 1, amount=str(2**160 - 1), unlimited=True, **at_permit2
    )  # fmt: skip
    await grant(
        "gold", CAROL, allow, gold, CAROL, 9, 1_900_000_000, amount="9", expiration="2030-03-17T17:46:40.000Z",
        **at_permit2,
    )  # fmt: skip
    permit = "permit(address,((address,uint160,uint48,uint48),address,uint256),bytes)"
    single = ((tokens["usdc"], 8, 1_900_000_000, 0), DAVE, 2_000_000_000)
    await grant(
        "usdc", DAVE, permit, ALICE, single, b"\x01" * 65, amount="8", expiration="2030-03-17T17:46:40.000Z",
        **at_permit2,
    )  # fmt: skip
    lockdown = "lockdown((address,address)[])"
    await grant("gold", CAROL, lockdown, [(gold, CAROL)], amount="0", revoked=True, **at_permit2)
    sent = {tx for tx, _ in expected}

    async def told(block: str) -> None:
        rows = sorted([data | await bazaar.place(tx, 0) for tx, data in expected], key=in_place)
        for chain in CHAINS:
            assert bazaar.told_by("token_approval", block, chain, sent) == rows

    return told


async def test_approvals_of_every_kind_are_told_exactly(bazaar):
    await bazaar.over_a_reorganisation(await grants(bazaar))


# --- swaps ----------------------------------------------------------------------------------------------------------


def quotient(amount_in: int, decimals_in: int, amount_out: int, decimals_out: int) -> str:
    """Whole units out for one in, by arithmetic of the tests' own: exact, then rounded once to 18 digits."""
    exact = Fraction(amount_out, 10**decimals_out) / Fraction(amount_in, 10**decimals_in)
    places = 0
    while exact * Fraction(10) ** places < 10**17:
        places += 1
    while exact * Fraction(10) ** places >= 10**18:
        places -= 1
    scaled = exact * Fraction(10) ** places
    digits = scaled.numerator // scaled.denominator
    digits += (scaled - digits) >= Fraction(1, 2)
    with localcontext(prec=200):
        text = f"{Decimal(digits).scaleb(-places):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


async def trades(bazaar: Bazaar) -> Told:
    """A swap of each protocol, both ways where it makes a difference, goes into the pool; what must be told of them."""
    node, tokens, markets = bazaar.node, bazaar.tokens, bazaar.markets
    gold, usdc = tokens["gold"], tokens["usdc"]
    v2 = await contracts.swap_v2(node, markets["v2"], ALICE, gold, 3 * 10**20 + 7, BOB)
    exact_in = await contracts.swap_v3(node, markets["v3"], DAVE, gold, 10**20 + 3, BOB)
    exact_out = await contracts.swap_v3(node, markets["v3"], ALICE, tokens["silver"], -(10**19 + 1), CAROL)
    pancake = await contracts.swap_pancake(node, markets["pancake"], ALICE, gold, 3 * 10**18, 10**6 + 1, CAROL)
    into = await contracts.swap_v4(node, markets["v4"], ALICE, NATIVE, ETH + 1, 3_000_000_001)
    out = await contracts.swap_v4(node, markets["v4"], ALICE, usdc, 7, 2)
    foreign = await contracts.swap_pancake(node, markets["pancake"], DAVE, gold, 10**18, 1, CAROL)
    listed = await contracts.swap_v4(node, markets["v4"], DAVE, NATIVE, 5, 1)

    def traded(
        market: str, sender: str, to: str | None, taken: str, given: str, amounts: tuple[int, int] | None = None
    ) -> Any:
        pool = markets[market]
        v4 = market == "v4"
        protocol = {"v2": "uniswap_v2", "v3": "uniswap_v3", "v4": "uniswap_v4", "pancake": "pancakeswap_v3"}[market]
        says = {
            "protocol": protocol, "pool": pool.pool_id if v4 else to_checksum_address(pool.address),
            "manager": to_checksum_address(POOL_MANAGER) if v4 else None, "sender": to_checksum_address(sender),
            "recipient": None if to is None else to_checksum_address(to),
        }  # fmt: skip
        decimals = []
        for side, name in (("in", taken), ("out", given)):
            about = bazaar.about(name) if name else {"token": "ETH", "token_address": None, "decimals": 18}
            says |= {f"token_{side}": about["token"], f"token_{side}_address": about["token_address"]}
            says |= {f"decimals_{side}": about["decimals"]}
            decimals.append(about["decimals"])
        return says, amounts, decimals

    trader2, trader3 = markets["v2"].trader, markets["v3"].trader
    expected = {
        v2: traded("v2", trader2, BOB, "gold", "usdc"),
        exact_in: traded("v3", trader3, BOB, "gold", "silver"),
        exact_out: traded("v3", trader3, CAROL, "silver", "gold"),
        pancake: traded("pancake", ALICE, CAROL, "gold", "silver", (3 * 10**18, 10**6 + 1)),
        into: traded("v4", ALICE, None, "", "usdc", (ETH + 1, 3_000_000_001)),
        out: traded("v4", ALICE, None, "usdc", "", (7, 2)),
        foreign: traded("pancake", DAVE, CAROL, "gold", "silver", (10**18, 1)),
        listed: traded("v4", DAVE, None, "", "usdc", (5, 1)),
    }

    async def told(block: str) -> None:
        rows = []
        for tx, (says, amounts, (decimals_in, decimals_out)) in expected.items():
            logs = (await bazaar.receipt(tx))["logs"]
            if amounts is None:  # what the tokens themselves say that the pool took and gave
                pool = says["pool"].lower()[2:]
                moved = [log for log in logs if log["topics"][0] == TRANSFER]
                (took,) = (int(log["data"], 16) for log in moved if log["topics"][2].endswith(pool))
                (gave,) = (int(log["data"], 16) for log in moved if log["topics"][1].endswith(pool))
            else:
                took, gave = amounts
            says |= {"amount_in": str(took), "amount_out": str(gave)}
            says |= {"price": quotient(took, decimals_in, gave, decimals_out)}
            rows.append(says | await bazaar.place(tx, -1))
        rows.sort(key=in_place)
        assert {int(row["amount_in"]) for row in rows} >= {3 * 10**20 + 7, 10**20 + 3}
        for chain in CHAINS:
            wanted = [data for data in rows if chain == "traced" or data["tx_hash"] != foreign]
            assert bazaar.told_by("token_swap", block, chain, set(expected)) == wanted

    return told


async def test_swaps_of_every_protocol_are_told_with_exact_amounts_and_prices(bazaar):
    await bazaar.over_a_reorganisation(await trades(bazaar))


# --- wrapped currency -----------------------------------------------------------------------------------------------


async def wraps(bazaar: Bazaar) -> Told:
    """Currency is wrapped, unwrapped and handed on; what must be told of it."""
    node, weth = bazaar.node, bazaar.tokens["weth"]
    wrapped = await contracts.wrap(node, weth, BOB, ETH + 1)
    unwrapped = await contracts.unwrap(node, weth, BOB, 7)
    handed = await transfer(node, weth, BOB, ALICE, 5)

    async def told(block: str) -> None:
        fees = {tx: await bazaar.fee(tx) for tx in (wrapped, unwrapped, handed)}
        token = [("wrap", ETH + 1, wrapped), ("unwrap", -7, unwrapped), ("transfer", -5, handed)]
        for chain, paid in zip(CHAINS, ("unwrap", "internal"), strict=True):
            # That the contract pays is what its log means, or what a trace shows.
            currency = [("value", -(ETH + 1), wrapped), (paid, 7, unwrapped)]
            currency += [("gas", -fee, tx) for tx, fee in fees.items()]
            for wallet, symbol, causes in (
                (BOB, "ETH", currency), (BOB, "WETH", token), (ALICE, "WETH", [("transfer", 5, handed)]),
            ):  # fmt: skip
                address = to_checksum_address(wallet)
                (data,) = bazaar.standing("balance_changed", block, chain=chain, address=address, token=symbol)
                found = [(one["kind"], int(one["amount"]), one["tx_hash"]) for one in data["causes"]]
                assert sorted(found) == sorted(causes)
                assert data["unattributed"] == "0"
                assert int(data["delta"]) == sum(amount for _, amount, _ in causes)
            contract = to_checksum_address(weth)
            moved = [
                ("wallet_outgoing", BOB, contract, "native", "ETH", ETH + 1, wrapped),
                ("wallet_incoming", BOB, contract, "token", "WETH", ETH + 1, wrapped),
                ("wallet_outgoing", BOB, contract, "token", "WETH", 7, unwrapped),
                ("wallet_incoming", BOB, contract, "internal", "ETH", 7, unwrapped),
                ("wallet_outgoing", BOB, to_checksum_address(ALICE), "token", "WETH", 5, handed),
                ("wallet_incoming", ALICE, to_checksum_address(BOB), "token", "WETH", 5, handed),
            ]
            seen = []
            for kind in ("wallet_outgoing", "wallet_incoming"):
                for data in bazaar.told_by(kind, block, chain, set(fees)):
                    assert data["known_token"]
                    who, what = data["address"].lower(), (data["kind"], data["token"], int(data["amount"]))
                    seen.append((kind, who, data["counterparty"], *what, data["tx_hash"]))
            assert sorted(seen) == sorted(moved)
            # WETH9 writes no Transfer for the first two: a transfer is told of the third alone.
            (transferred,) = bazaar.told_by("token_transfer", block, chain, set(fees))
            assert (transferred["tx_hash"], transferred["token"], transferred["amount"]) == (handed, "WETH", "5")

    return told


async def test_wraps_and_unwraps_are_value_and_explain_balances_with_traces_and_without(bazaar):
    await bazaar.over_a_reorganisation(await wraps(bazaar))


# --- kills ----------------------------------------------------------------------------------------------------------


async def test_all_of_it_survives_kills_at_every_turn(bazaar):
    parts = [await part(bazaar) for part in (moves, grants, trades, wraps)]

    async def told(block: str) -> None:
        for part in parts:
            await part(block)

    await bazaar.over_kills(told)
