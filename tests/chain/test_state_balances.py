"""Many balances at once, on real nodes: always what the node says one by one, in as few requests as it allows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from anvil import ACCOUNTS, Anvil, free_port, word
from asking import Poor, block_at, connected, refused
from eth_abi import encode

from chainwatch.chain.evm import at, reader
from chainwatch.chain.evm.balances import balances
from chainwatch.chain.evm.endpoint import CallFailed
from chainwatch.chain.evm.fetch import Setback, header_at
from chainwatch.chain.evm.reads import Metadata, Reads
from chainwatch.chain.evm.state import answer
from chainwatch.chain.evm.ways import CHUNK

pytestmark = pytest.mark.long

DATA = Path(__file__).parent.parent / "data" / "contracts"
RICH = 10**22


@pytest.fixture(scope="session")
def state() -> dict[str, dict]:
    return json.loads((DATA / "State.json").read_text())["contracts"]


def strangers(count: int) -> list[str]:
    return [f"0x{number:040x}" for number in range(10**9, 10**9 + count)]


def by_hash(_method: str, params: list) -> bool:
    return any(isinstance(param, dict) and "blockHash" in param for param in params)


async def read(url: str, holdings: list[tuple[str, str]], number: int | str = "latest"):
    """What is read at a block, over a connection of its own; and what that connection found out."""
    async with connected(url) as endpoint:
        readings = await answer(endpoint, await block_at(endpoint, number), Reads(balances=tuple(holdings)))
        return readings, endpoint.ways


def test_the_reader_is_what_its_source_says(node_modules):
    source = Path(reader.__file__).parent / "reader.yul"
    done = subprocess.run(
        ["node", str(DATA / "build_reader.mjs"), str(source)],
        cwd=node_modules.parent, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == reader.code()


async def test_balances_are_those_of_the_block_that_was_meant_and_not_of_the_newest(anvil: Anvil, contracts):
    coin = await anvil.deploy(contracts["Coin"]["bytecode"])
    before = await anvil.head()
    await anvil.send(ACCOUNTS[0], ACCOUNTS[1], value=5)
    send = contracts["Coin"]["selectors"]["transfer(address,uint256)"]
    await anvil.send(ACCOUNTS[0], coin, f"0x{send}{word(ACCOUNTS[2])}{word(11)}")
    await anvil.mine()
    holdings = [("", ACCOUNTS[1]), (coin, ACCOUNTS[2]), (coin, ACCOUNTS[0]), ("", ACCOUNTS[3])]
    old, _ = await read(anvil.ws, holdings, before)
    new, ways = await read(anvil.ws, holdings)
    assert list(old.balances.values()) == [RICH, 0, 2**256 - 1, RICH]
    assert list(new.balances.values()) == [RICH + 5, 11, 2**256 - 12, RICH]
    assert (ways.by_hash, ways.reader, ways.proven) == (True, "override", True)


async def test_a_hostile_token_spoils_nobody_elses_answer(anvil: Anvil, contracts, state):
    coin = await anvil.deploy(contracts["Coin"]["bytecode"])
    me = ACCOUNTS[0]
    burner, flood, reverting, short = [
        await anvil.deploy(state[name]["bytecode"]) for name in ("Burner", "Flood", "Reverting", "Short")
    ]
    sha256 = f"0x{2:040x}"  # answers 32 bytes to everybody, and is no contract
    holdings = [
        (burner, me), (coin, me), (flood, me), ("", ACCOUNTS[1]), (reverting, me), (short, me), (sha256, me),
        (ACCOUNTS[4], me), (at.ZERO, me), ("", strangers(1)[0]), (coin, ACCOUNTS[3]),
    ]  # fmt: skip
    truth = [None, 2**256 - 1, 5, RICH, None, None, None, None, None, 0, 0]
    readings, ways = await read(anvil.ws, holdings)
    assert [readings.balances[holding] for holding in holdings] == truth
    assert ways.reader == "override"

    def tamper(method, params):
        return refused("too many arguments, want at most 2", -32602) if len(params) > 2 else None

    async with Poor(anvil.http, tamper).serving() as url:
        readings, ways = await read(url, holdings)
    assert [readings.balances[holding] for holding in holdings] == truth
    assert ways.reader == "deployless"


async def test_tokens_that_burn_all_their_gas_cost_more_calls_and_no_answers(anvil: Anvil, contracts, state):
    coin = await anvil.deploy(contracts["Coin"]["bytecode"])
    burner = await anvil.deploy(state["Burner"]["bytecode"])
    holdings = [(burner, wallet) for wallet in strangers(150)] + [(coin, ACCOUNTS[0])]
    readings, ways = await read(anvil.ws, holdings)
    assert [readings.balances[holding] for holding in holdings] == [None] * 150 + [2**256 - 1]
    assert ways.reader == "override"


async def test_a_thousand_wallets_are_one_request(anvil: Anvil):
    holdings = [("", wallet) for wallet in strangers(CHUNK - 1)] + [("", ACCOUNTS[0])]
    poor = Poor(anvil.http, lambda _method, _params: None)
    async with poor.serving() as url, connected(url) as endpoint:
        block = await block_at(endpoint)
        for _ in range(3):
            poor.asked.clear()
            readings = await answer(endpoint, block, Reads(balances=tuple(holdings)))
            assert sum(readings.balances.values()) == RICH
        assert [method for method, _ in poor.asked] == ["eth_call"]


def no_overrides(_method, params):
    return refused("too many arguments, want at most 2", -32602) if len(params) > 2 else None


def deaf_to_overrides(method, params):
    """Takes an override, and does not heed it: there is no code at the address."""
    return {"result": "0x"} if method == "eth_call" and len(params) > 2 else None


def garbage_for_overrides(method, params):
    return {"result": "0x" + "00" * 31 + "01"} if method == "eth_call" and len(params) > 2 else None


def wrong_for_overrides(method, params):
    """An answer in the right shape, of another state."""
    if method != "eth_call" or len(params) < 3:
        return None
    pairs = (len(params[0]["data"]) - 2) // 80
    return {"result": f"{reader._TAG}{pairs:08x}" + ("01" + "00" * 32) * pairs}


def no_calls_without_a_contract(method, params):
    if method == "eth_call" and (len(params) > 2 or "to" not in params[0]):
        return refused("execution reverted" if len(params) > 2 else "max initcode size exceeded")
    return None


@pytest.mark.parametrize(
    ("tamper", "way"),
    [
        (no_overrides, "deployless"),
        (deaf_to_overrides, "deployless"),
        (garbage_for_overrides, "deployless"),
        (wrong_for_overrides, "deployless"),
        (no_calls_without_a_contract, "plain"),
    ],
)
async def test_what_a_provider_does_not_give_is_had_in_another_way(anvil: Anvil, contracts, tamper, way):
    coin = await anvil.deploy(contracts["Coin"]["bytecode"])
    holdings = [("", wallet) for wallet in strangers(400)] + [(coin, wallet) for wallet in strangers(400)]
    holdings += [("", ACCOUNTS[1]), (coin, ACCOUNTS[0])]
    poor = Poor(anvil.http, tamper)
    async with poor.serving() as url, connected(url) as endpoint:
        block = await block_at(endpoint)
        readings = await answer(endpoint, block, Reads(balances=tuple(holdings)))
        assert endpoint.ways.reader == way
        tried = poor.count("eth_call")
        await answer(endpoint, block, Reads(balances=tuple(holdings[-3:])))
        assert poor.count("eth_call") - tried <= 3  # what was found out is remembered
    assert list(readings.balances.values()) == [0] * 800 + [RICH, 2**256 - 1]


async def test_a_call_that_is_too_large_is_made_in_halves(anvil: Anvil):
    def tamper(method, params):
        return refused("out of gas") if method == "eth_call" and len(params[0]["data"]) > 2 + 300 * 80 else None

    holdings = [("", wallet) for wallet in strangers(900)] + [("", ACCOUNTS[0])]
    async with Poor(anvil.http, tamper).serving() as url:
        readings, ways = await read(url, holdings)
    assert list(readings.balances.values()) == [0] * 900 + [RICH]
    assert (ways.reader, ways.chunk) == ("override", 225)


async def test_a_reader_that_fails_once_is_asked_again_before_it_is_left(anvil: Anvil):
    failing: list[str] = []

    def tamper(method, _params):
        return refused(failing[0]) if method == "eth_call" and failing else None

    async with Poor(anvil.http, tamper).serving() as url, connected(url) as endpoint:
        block, asked = await block_at(endpoint), Reads(balances=tuple(("", wallet) for wallet in ACCOUNTS))
        await answer(endpoint, block, asked)
        failing.append("internal error")
        for _ in range(2):
            with pytest.raises(CallFailed, match="internal error"):
                await answer(endpoint, block, asked)
        failing.clear()
        await answer(endpoint, block, asked)
        assert (endpoint.ways.reader, endpoint.ways.stumbles) == ("override", 0)


async def test_a_node_that_ignores_the_hash_of_a_block_is_asked_by_its_number(anvil: Anvil):
    await anvil.mine()
    await anvil.send(ACCOUNTS[0], ACCOUNTS[1], value=5)
    await anvil.mine()

    def tamper(method, params):
        if method == "eth_getBalance" and isinstance(params[1], dict):
            return {"result": "0x1"}  # of who knows what
        return None

    async with Poor(anvil.http, tamper).serving() as url, connected(url) as endpoint:
        for number, told in ((1, RICH), (2, RICH + 5)):
            readings = await answer(endpoint, await block_at(endpoint, number), Reads(balances=(("", ACCOUNTS[1]),)))
            assert readings.balances == {("", ACCOUNTS[1]): told}
        assert endpoint.ways.by_hash is False


async def test_where_only_numbers_are_taken_a_block_that_was_replaced_meanwhile_is_noticed(anvil: Anvil):
    def tamper(method, params):
        return refused("invalid argument 1: json: cannot unmarshal object") if by_hash(method, params) else None

    await anvil.mine(2)
    async with Poor(anvil.http, tamper).serving() as url, connected(url) as endpoint:
        block = await block_at(endpoint)
        asked = Reads(balances=(("", ACCOUNTS[1]),))
        await answer(endpoint, block, asked)
        await anvil.call("anvil_reorg", 1, [])
        with pytest.raises(Setback, match="replaced"):
            await answer(endpoint, block, asked)


async def test_a_block_that_comes_while_the_newest_state_is_read_spoils_no_number(anvil: Anvil):
    # anvil may read the newest state, or the next one, when it has found out that the newest is meant.
    asked = Reads(balances=(("", ACCOUNTS[1]),))
    async with connected(anvil.http) as endpoint:
        block = await block_at(endpoint)
        await anvil.send(ACCOUNTS[0], ACCOUNTS[1], value=7)
        await anvil.mine()
        endpoint.head = block.header
        with pytest.raises(Setback, match="followed"):
            await answer(endpoint, block, asked)
        assert (await answer(endpoint, block, asked)).balances["", ACCOUNTS[1]] == RICH


async def test_the_state_of_an_orphan_is_a_setback_and_no_number(anvil: Anvil):
    await anvil.mine(2)
    async with connected(anvil.ws) as endpoint:
        block = await block_at(endpoint)
        await anvil.call("anvil_reorg", 1, [])
        for holdings in ([("", ACCOUNTS[1])], [("", wallet) for wallet in ACCOUNTS]):
            with pytest.raises(CallFailed) as failed:
                await answer(endpoint, block, Reads(balances=tuple(holdings)))
            assert failed.value.kind == "unknown"


@pytest.mark.parametrize(
    "message",
    [
        "missing trie node 1a3bddc494098bac19ef26e6506812caa12ca5cf036a13ef0eabde38beab5d21 (path )",
        "state 0x669c5301b4a7abb7d1cd82d98f1c8a0d39e4dc0c3f807086c73e3172eb0c256f is not available",
        "old data not available due to pruning",
    ],
)
async def test_an_old_state_that_is_gone_is_unreadable_and_a_fresh_one_is_asked_for_again(
    anvil: Anvil, contracts, message
):
    coin = await anvil.deploy(contracts["Coin"]["bytecode"])
    await anvil.mine(at.OLD)

    def tamper(method, params):
        gone = method in ("eth_getBalance", "eth_call") and params[1] != "latest"
        return refused(message) if gone else None

    asked = Reads(balances=(("", ACCOUNTS[1]), (coin, ACCOUNTS[1]), ("", ACCOUNTS[2])), tokens=(coin,), feeds=(coin,))
    async with Poor(anvil.http, tamper).serving() as url, connected(url) as endpoint:
        readings = await answer(endpoint, await block_at(endpoint, 1), asked)
        assert readings.unreadable
        assert readings.balances == {}
        assert readings.feeds == {}
        assert readings.tokens[coin].decimals == 6  # that does not change
        with pytest.raises(CallFailed) as failed:
            await answer(endpoint, await block_at(endpoint, 2), asked)
        assert failed.value.kind == "pruned"


async def test_anvil_without_its_old_states_says_so(anvil_binary, tmp_path):
    async with Anvil(anvil_binary, tmp_path / "anvil", "--prune-history", "1", durable=False) as node:
        for _ in range(at.OLD + 6):
            await node.send(ACCOUNTS[0], ACCOUNTS[1], value=1)
            await node.mine()
        asked = [("", wallet) for wallet in ACCOUNTS]
        readings, _ = await read(node.ws, asked, 2)
        assert readings.unreadable
        now, _ = await read(node.ws, asked)
        assert now.balances["", ACCOUNTS[1]] == RICH + at.OLD + 6


async def test_a_node_without_any_state_is_unreadable(anvil: Anvil):
    def tamper(method, _params):
        return (
            refused("the method eth_getBalance is not supported", -32601)
            if method != "eth_chainId" and not (method.startswith("eth_getBlock"))
            else None
        )

    async with Poor(anvil.http, tamper).serving() as url:
        readings, _ = await read(url, [("", ACCOUNTS[1])])
    assert readings.unreadable


async def test_the_default_fork_of_anvil_is_read_alike(anvil_binary, tmp_path, contracts):
    """Without `--hardfork`: the newest rules, with a limit of gas for each transaction."""
    async with ordinary(anvil_binary, tmp_path) as url, connected(url) as endpoint:
        holdings = tuple(("", wallet) for wallet in [*strangers(900), ACCOUNTS[0]])
        readings = await answer(endpoint, await block_at(endpoint), Reads(balances=holdings))
        assert sum(readings.balances.values()) == RICH
        endpoint.ways.reader = "deployless"
        again = await answer(endpoint, await block_at(endpoint), Reads(balances=holdings))
        assert again.balances == readings.balances
        assert endpoint.ways.reader == "deployless"


@contextlib.asynccontextmanager
async def ordinary(binary: Path, folder: Path) -> AsyncIterator[str]:
    """anvil as it comes."""
    async with started([str(binary), "--port", "{port}", "--quiet", "--cache-path", str(folder)]) as url:
        yield url


@contextlib.asynccontextmanager
async def started(command: list[str]) -> AsyncIterator[str]:
    """A node's URL, once it answers."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *[part.format(port=port) for part in command],
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(40), aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.post(url, json={"id": 1, "jsonrpc": "2.0", "method": "eth_chainId"}):
                        break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)  # it has no other way to say that it is up
        yield url
    finally:
        process.terminate()
        await process.wait()


async def test_ganache_is_read_by_number(node_modules):
    """No EIP-1898, no traces; overrides it has."""
    cli = node_modules / "ganache" / "dist" / "node" / "cli.js"
    options = ["--server.port", "{port}", "--chain.chainId", "31337", "--wallet.deterministic", "--logging.quiet"]
    rich = "0x90f8bf6a479f320ead074411a4b0e7944ea8c9c1"
    async with started(["node", str(cli), *options]) as url, connected(url) as endpoint:
        block = await block_at(endpoint)
        asked = Reads(balances=(("", rich), ("", ACCOUNTS[4]), (rich, rich)), tokens=(rich,), moves=True)
        readings = await answer(endpoint, block, asked)
        assert readings.balances == {("", rich): 1000 * 10**18, ("", ACCOUNTS[4]): 0, (rich, rich): None}
        assert (endpoint.ways.by_hash, endpoint.ways.reader) == (False, "override")


def test_an_answer_that_is_none_of_the_readers_is_told():
    holding = ("", ACCOUNTS[0])
    good = f"{reader._TAG}00000001" + "01" + word(5)
    assert reader.answers(good, 1) == [5]
    assert reader.answers(f"{reader._TAG}00000000", 1) == []
    assert reader.question([holding, (ACCOUNTS[1], ACCOUNTS[2])]) == "0" * 40 + "".join(
        account[2:] for account in ACCOUNTS[:3]
    )
    for bad in ("", "0x", good[:-2], good + "00", good.replace("00000001", "0000000z"), "0x" + "00" * 65, "ß" * 132):
        assert reader.answers(bad, 1) is None
    assert reader.answers(good, 0) is None
    assert encode(["uint256"], [5]).hex() == good[-64:]


async def test_the_reader_is_asked_for_more_than_one_call_takes(anvil: Anvil):
    await anvil.mine()
    async with connected(anvil.ws) as endpoint:
        header = await header_at(endpoint, "latest")
        assert header is not None
        state = await at.locate(endpoint, await block_at(endpoint))
        found = await balances(state, [("", wallet) for wallet in [*strangers(CHUNK * 2 + 5), ACCOUNTS[1]]])
        assert sum(value or 0 for value in found.values()) == RICH


async def test_a_node_without_calls_still_tells_what_is_held_of_the_currency(anvil: Anvil, contracts):
    coin = await anvil.deploy(contracts["Coin"]["bytecode"])

    def tamper(method, _params):
        return refused("the method eth_call does not exist", -32601) if method == "eth_call" else None

    poor = Poor(anvil.http, tamper)
    wallets = [("", wallet) for wallet in ACCOUNTS]
    asked = Reads(balances=(*wallets, (coin, ACCOUNTS[0])), tokens=(coin,), feeds=(coin,))
    async with poor.serving() as url, connected(url) as endpoint:
        block = await block_at(endpoint)
        for _ in range(2):
            readings = await answer(endpoint, block, asked)
            assert not readings.unreadable
            assert readings.balances == (await read(anvil.ws, wallets))[0].balances
            assert (readings.tokens, readings.feeds) == ({coin: Metadata()}, {})
            calls = poor.count("eth_call")
        readings = await answer(endpoint, block, Reads(tokens=(coin,)))
        assert readings.tokens == {coin: Metadata()}
    assert poor.count("eth_call") == calls, "it is not asked for what it does not have"
