"""What contracts say of themselves, and why transactions fail: real contracts, honest and hostile ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from anvil import ACCOUNTS, Anvil, word
from asking import Poor, block_at, connected, refused
from eth_abi import encode
from eth_hash.auto import keccak

from chainwatch.chain.evm import at
from chainwatch.chain.evm.endpoint import CallFailed
from chainwatch.chain.evm.profile import Profile
from chainwatch.chain.evm.reads import Feed, Metadata, Pool, Reads, Revert
from chainwatch.chain.evm.reverts import LONGEST, revert
from chainwatch.chain.evm.state import answer

DATA = Path(__file__).parent.parent / "data" / "contracts"
USDC, WETH = "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48", "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2"


@pytest.fixture(scope="session")
def state() -> dict[str, dict]:
    return json.loads((DATA / "State.json").read_text())["contracts"]


async def ask(url: str, reads: Reads, number: int | str = "latest", **more):
    async with connected(url, **more) as endpoint:
        return await answer(endpoint, await block_at(endpoint, number), reads)


async def test_tokens_say_what_they_are(anvil: Anvil, contracts, state):
    made = {name: await anvil.deploy(contracts[name]["bytecode"]) for name in ("Coin", "Deed")}
    for name in ("Old", "Hostile", "Burner", "Flood", "Reverting", "Short"):
        made[name] = await anvil.deploy(state[name]["bytecode"])
    for name, kind in (("Cats", "80ac58cd"), ("Loot", "d9b67a26")):
        made[name] = await anvil.deploy(state["Collection"]["bytecode"] + kind + "0" * 56)
    readings = await ask(anvil.ws, Reads(tokens=(*made.values(), ACCOUNTS[4])))
    told = {name: readings.tokens[contract] for name, contract in made.items()}
    assert told["Coin"] == Metadata(symbol="COIN", decimals=6)
    assert told["Old"] == Metadata(symbol="MKR", name="Maker", decimals=18)
    assert told["Hostile"] == Metadata(symbol="US\\u202eDC\\u001b[2J", name="x" * 255 + "…")
    assert told["Cats"] == Metadata(standard="erc721")
    assert told["Loot"] == Metadata(standard="erc1155")
    for name in ("Deed", "Burner", "Reverting", "Short"):
        assert told[name] == Metadata(), name
    assert told["Flood"].standard is None
    assert readings.tokens[ACCOUNTS[4]] == Metadata()  # no contract at all


async def test_contracts_are_read_as_they_were_at_the_block(anvil: Anvil, contracts):
    before = await anvil.head()
    coin = await anvil.deploy(contracts["Coin"]["bytecode"])
    asked = Reads(tokens=(coin,))
    assert (await ask(anvil.ws, asked, before)).tokens[coin] == Metadata()
    assert (await ask(anvil.ws, asked)).tokens[coin].symbol == "COIN"


async def test_a_node_that_fails_is_no_contract_that_does(anvil: Anvil, contracts):
    coin = await anvil.deploy(contracts["Coin"]["bytecode"])

    def tamper(method, _params):
        return refused("internal error", -32603) if method == "eth_call" else None

    async with Poor(anvil.http, tamper).serving() as url, connected(url) as endpoint:
        block, asked = await block_at(endpoint), Reads(tokens=(coin,))
        for _ in range(at.ODD - 1):
            with pytest.raises(CallFailed, match="internal error"):
                await answer(endpoint, block, asked)
        # It is asked again and again, and not for ever: no contract may stop a chain.
        assert (await answer(endpoint, block, asked)).tokens[coin] == Metadata()


def v4_key(currency0: str, currency1: str) -> tuple[str, str]:
    """A pool's key as ABI data without 0x, and its id."""
    key = encode(["address", "address", "uint24", "int24", "address"], [currency0, currency1, 3000, -60, at.ZERO])
    return key.hex(), keccak(key).hex()


async def test_pools_name_their_tokens(anvil: Anvil, contracts, state):
    pair = await anvil.deploy(state["Pair"]["bytecode"])
    coin = await anvil.deploy(contracts["Coin"]["bytecode"])
    positions = await anvil.deploy(state["Positions"]["bytecode"])
    (native, native_id), (_, other_id), (_, unknown_id) = (
        v4_key(at.ZERO, USDC),
        v4_key(USDC, WETH),
        v4_key(WETH, USDC),
    )
    selectors = state["Positions"]["selectors"]
    add = selectors["add((address,address,uint24,int24,address))"]
    lie = selectors["lie(bytes25,(address,address,uint24,int24,address))"]
    await anvil.send(ACCOUNTS[0], positions, f"0x{add}{native}")
    await anvil.send(ACCOUNTS[0], positions, f"0x{lie}{other_id[:50]:0<64}{native}")
    await anvil.mine()
    manager = "0x000000000004444c5dc75cb358380d2e3de08a90"
    keys = {name: f"{manager}:0x{pool_id}" for name, pool_id in
            (("native", native_id), ("lie", other_id), ("unknown", unknown_id))}  # fmt: skip
    asked = Reads(pools=(pair, coin, ACCOUNTS[4], *keys.values(), "nonsense:0x12"))
    profile = Profile(development=True, position_manager=positions.lower())
    found = (await ask(anvil.ws, asked, profile=profile)).pools
    assert found[pair] == Pool(token0=USDC, token1=WETH)
    assert found[coin] == found[ACCOUNTS[4]] == found["nonsense:0x12"] == Pool()
    assert found[keys["native"]] == Pool(token0="", token1=USDC)
    assert found[keys["lie"]] == Pool()  # its hash is another
    assert found[keys["unknown"]] == Pool()
    without = (await ask(anvil.ws, asked)).pools
    assert without[keys["native"]] == Pool()
    assert without[pair] == found[pair]


async def test_feeds_are_resolved_to_who_writes_them(anvil: Anvil, contracts, state):
    proxy = await anvil.deploy(state["Proxy"]["bytecode"])
    coin = await anvil.deploy(contracts["Coin"]["bytecode"])
    block = await anvil.head()
    await anvil.send(ACCOUNTS[0], proxy, f"0x{state['Proxy']['selectors']['silence()']}")
    await anvil.mine()
    asked = Reads(feeds=(proxy, coin, ACCOUNTS[4]))
    found = (await ask(anvil.ws, asked, block)).feeds
    bare = Feed(aggregator="0x" + "11" * 20, decimals=8, phase=4)
    assert found[proxy] == Feed(
        aggregator=bare.aggregator, decimals=8, phase=4, answer=-12345, round_id=(4 << 64) | 77, updated_at=1700000001
    )
    assert found[coin] is None
    assert found[ACCOUNTS[4]] is None
    assert (await ask(anvil.ws, asked)).feeds[proxy] == bare  # it reverts now


# --- why transactions fail ----------------------------------------------------------------------------------------


async def failures(anvil: Anvil, state) -> dict[str, str]:
    """Name of what was called -> hash of its failed transaction, all in the newest block."""
    failing = await anvil.deploy(state["Failing"]["bytecode"])
    hashes = {}
    for index, (name, selector) in enumerate(state["Failing"]["selectors"].items()):
        if name == "calls()":
            continue
        data, gas = f"0x{selector}{word(0)}", 100_000 + index
        if name == "once()":
            await anvil.send(ACCOUNTS[1], failing, data, gas=gas)
        hashes[name] = await anvil.send(ACCOUNTS[0], failing, data, gas=gas)
    await anvil.mine()
    for transaction in hashes.values():
        assert int((await anvil.call("eth_getTransactionReceipt", transaction))["status"], 16) == 0
    return hashes


def no_debug(method, _params):
    return refused("the method debug_traceTransaction does not exist", -32601) if method.startswith("debug") else None


@pytest.mark.parametrize("tamper", [lambda _method, _params: None, no_debug])
async def test_why_a_transaction_failed_is_found_out(anvil: Anvil, state, tamper):
    hashes = await failures(anvil, state)
    poor = Poor(anvil.http, tamper)
    async with poor.serving() as url:
        readings = await ask(url, Reads(reverts=tuple(hashes.values())))
    told = {name: readings.reverts[transaction] for name, transaction in hashes.items()}
    assert told["reason()"].data == "0x08c379a0" + encode(["string"], ["no luck"]).hex()
    assert told["custom()"].data == "0x" + keccak(b"Unlucky(uint256)").hex()[:8] + word(13)
    assert told["panic(uint256)"].data == "0x4e487b71" + word(0x12)
    assert told["silent()"] == Revert()
    assert told["burn()"] == Revert(error="out of gas")
    assert len(told["long()"].data) == 2 + 2 * LONGEST
    if tamper is no_debug:
        assert told["once()"] == Revert()  # called at the parent block it succeeds: that says nothing
        assert poor.count("debug_traceTransaction") == 1
    else:
        assert told["once()"].data == "0x08c379a0" + encode(["string"], ["only once"]).hex()
        assert poor.count("eth_call") == 0


async def test_a_transaction_that_nobody_knows_has_no_reason(anvil: Anvil):
    await anvil.mine()
    nobody = "0x" + "12" * 32
    assert (await ask(anvil.ws, Reads(reverts=(nobody,)))).reverts == {nobody: Revert()}


@pytest.mark.parametrize(
    ("data", "error", "told"),
    [
        ("0x08c379a0", "execution reverted", Revert(data="0x08c379a0")),
        ("0x", "execution reverted", Revert()),
        ({"data": "0xAB12"}, "VM Exception while processing transaction: revert", Revert(data="0xab12")),
        ({"hash": "0x1", "result": "0xab12", "reason": "x"}, "VM Exception", Revert(data="0xab12")),
        ({"message": "x", "data": {"data": "0xab12"}}, "reverted", Revert(data="0xab12")),
        ("Reverted 0xab12", "VM execution error.", Revert(data="0xab12")),
        (None, "execution reverted: 0xab12", Revert(data="0xab12")),
        (None, "Reverted 0xab12", Revert(data="0xab12")),
        (None, "err: out of gas (supplied gas 500000)", Revert(error="out of gas")),
        (None, "EVM error OutOfGas", Revert(error="out of gas")),
        (None, "invalid opcode: INVALID", Revert(error="invalid opcode: INVALID")),
        (None, "execution reverted", Revert()),
        (None, "\x1b[2Jboom", Revert(error="\\u001b[2Jboom")),
        ({"data": {"data": {"data": {"data": "0xab12"}}}}, None, Revert()),
        ([1, 2], None, Revert()),
        ("0x" + "ab" * 10_000, None, Revert(data="0x" + "ab" * LONGEST)),
        ("0xzz", "execution reverted", Revert()),
    ],
)
def test_the_words_of_nodes_for_what_was_returned(data, error, told):
    assert revert(data, error) == told
