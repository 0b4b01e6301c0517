"""Value that moves inside transactions: real traces of mainnet, both formats, and a node that makes all kinds of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest
from anvil import ACCOUNTS, Anvil, word
from asking import Poor, block_at, connected, refused

from chainwatch.chain.evm import traces
from chainwatch.chain.evm.block import Block
from chainwatch.chain.evm.endpoint import CallFailed
from chainwatch.chain.evm.fetch import Setback
from chainwatch.chain.evm.reads import Move, Reads
from chainwatch.chain.evm.rpc import deeply, message
from chainwatch.chain.evm.state import answer
from chainwatch.chain.evm.traces import Frame, Trace, Traced, of_frames, of_traces

DATA = Path(__file__).parent.parent / "data"
RECORDED = json.loads((DATA / "traces" / "ethereum_etl.json").read_text())
MOVES = Reads(moves=True)
TO = "0x00000000000000000000000000000000000beef0"


def transaction(number: int) -> str:
    return f"0x{number:064x}"


def move(path: str, sender: str, to: str, amount: int, tx: int = 1) -> Move:
    return Move(tx_hash=transaction(tx), path=path, sender=sender, to=to, amount=amount)


@pytest.mark.parametrize("name", [name for name in RECORDED if name.startswith("trace_block/")])
def test_real_traces_give_the_transfers_that_are_expected_of_them(name):
    recorded = RECORDED[name]
    found = list(of_traces(msgspec.convert(recorded["answer"], list[Trace])))
    expected = [
        (row["transaction_hash"], str(row["trace_address"]), row["from_address"], row["to_address"], int(row["value"]))
        for row in recorded["expected"]
        if row["trace_address"] and int(row["status"]) == 1 and int(row["value"])  # inside, done, of some value
        if row["trace_type"] != "call" or row["call_type"] == "call"
        if row["trace_type"] != "reward"
    ]
    assert [(one.tx_hash, one.path, one.sender, one.to, one.amount) for one in found] == expected


def test_the_recorded_traces_hold_a_self_destruct():
    found = list(of_traces(msgspec.convert(RECORDED["trace_block/block_with_suicide"]["answer"], list[Trace])))
    assert [(one.path, one.amount) for one in found] == [("0", 5 * 10**16)]


@pytest.mark.parametrize("name", [name for name in RECORDED if name.startswith("callTracer/")])
def test_real_call_trees_move_nothing_where_nothing_is_known_to_move(name):
    """A `callcode` with a value, a self-destruct of which the node of then says nothing, creations without value."""
    told = msgspec.convert(RECORDED[name]["answer"], list[Traced])
    assert list(of_frames([(transaction(index), one.result) for index, one in enumerate(told)])) == []


def entry(path: list[int], *, kind: str = "call", tx: int = 1, error: str | None = None, **action) -> Trace:
    return msgspec.convert(
        {
            "type": kind,
            "action": {"from": "0xAA", "to": "0xBB", "value": "0x5", "callType": "call"} | action,
            "blockHash": transaction(0),
            "traceAddress": path,
            "transactionHash": transaction(tx),
            "error": error,
            "result": {"address": "0xCC"} if kind == "create" else {},
        },
        Trace,
    )


def test_below_what_is_reverted_nothing_moved():
    found = of_traces(
        [
            entry([]), entry([0], error="Reverted"), entry([0, 0]), entry([0, 0, 1], kind="create"), entry([1]),
            entry([10]), entry([], tx=2), entry([0], tx=2), entry([], tx=3, error="out of gas"), entry([0], tx=3),
        ]
    )  # fmt: skip
    assert list(found) == [
        move("1", "0xaa", "0xbb", 5), move("10", "0xaa", "0xbb", 5), move("0", "0xaa", "0xbb", 5, tx=2),
    ]  # fmt: skip


def test_each_kind_of_entry_moves_what_it_moves():
    found = of_traces(
        [
            entry([]),
            entry([0], value="0x0"),
            entry([1], callType="delegatecall"),
            entry([2], callType="staticcall"),
            entry([3], callType="callcode"),
            entry([4], kind="create", to=None),
            entry([5], kind="create", error="contract address collision"),
            entry([6], kind="suicide", address="0xDD", refundAddress="0xEE", balance="0x9"),
            entry([7], kind="reward"),
            entry([8], kind="nobody-knows"),
            entry([9], value=hex(2**256 - 1)),
        ]
    )
    assert list(found) == [
        move("4", "0xaa", "0xcc", 5), move("6", "0xdd", "0xee", 9), move("9", "0xaa", "0xbb", 2**256 - 1),
    ]  # fmt: skip


def frame(kind: str, *calls: Frame, value: str | None = "0x5", error: str | None = None) -> Frame:
    return Frame(type=kind, from_="0xAA", to="0xBB", value=value, error=error, calls=list(calls))


def test_each_kind_of_frame_moves_what_it_moves():
    top = frame(
        "CALL",
        frame("DELEGATECALL", frame("CALL")),
        frame("STATICCALL", value=None),
        frame("CALL", frame("CALL"), frame("CREATE2"), error="execution reverted"),
        frame("CREATE", frame("CALL", value="0x0"), frame("SELFDESTRUCT", value="0x7")),
        frame("CALLCODE"),
        frame("SELFDESTRUCT", value=None),
    )
    found = of_frames([(transaction(1), top), (transaction(2), frame("CALL", frame("CALL"), error="out of gas"))])
    assert list(found) == [
        move("0.0", "0xaa", "0xbb", 5), move("3", "0xaa", "0xbb", 5), move("3.1", "0xaa", "0xbb", 7),
    ]  # fmt: skip


def test_a_tree_as_deep_as_a_chain_allows_is_read():
    depth = 1024
    node = b'{"type":"CALL","from":"0xaa","to":"0xbb","value":"0x1","calls":['
    tree = b'[{"result":' + node * depth + b"]}" * depth + b"}]"
    assert bytes(message(b'{"id":1,"result":' + tree + b"}").result) == tree
    told = deeply(traces.traced_decoder.decode, tree)
    assert sum(one.amount for one in of_frames([(transaction(1), told[0].result)])) == depth - 1
    with pytest.raises(RecursionError):
        message(b'{"id":1,"result":' + b"[" * 10**5 + b"]" * 10**5 + b"}")


@pytest.fixture(scope="session")
def state() -> dict[str, dict]:
    return json.loads((DATA / "contracts" / "State.json").read_text())["contracts"]


async def commotion(anvil: Anvil, state: dict[str, dict]) -> str:
    """The mover; its block, the newest, has all kinds of moves, and plain transactions round about."""
    transaction = await anvil.send(ACCOUNTS[0], None, state["Mover"]["bytecode"], value=1000)
    await anvil.mine()
    mover = (await anvil.call("eth_getTransactionReceipt", transaction))["contractAddress"]
    selectors = state["Mover"]["selectors"]
    await anvil.send(ACCOUNTS[1], ACCOUNTS[2], value=99)
    await anvil.send(ACCOUNTS[0], mover, f"0x{selectors['everything(address)']}{word(TO)}", value=20)
    await anvil.send(ACCOUNTS[0], mover, f"0x{selectors['deep(uint256,address)']}{word(3)}{word(TO)}")
    await anvil.mine()
    return mover.lower()


def trace_block_only(method, _params):
    return refused("the method debug_traceBlockByHash does not exist", -32601) if method.startswith("debug") else None


def debug_only(method, _params):
    return (
        refused("the method trace_block does not exist/is not available", -32601) if method == "trace_block" else None
    )


@pytest.mark.parametrize("tamper", [trace_block_only, debug_only])
async def test_all_kinds_of_moves_on_a_real_node(anvil: Anvil, state, tamper):
    mover = await commotion(anvil, state)
    poor = Poor(anvil.http, tamper)
    async with poor.serving() as url, connected(url) as endpoint:
        block = await block_at(endpoint)
        found = (await answer(endpoint, block, MOVES)).moves
        again = (await answer(endpoint, block, MOVES)).moves
    assert found is not None
    assert found == again
    first, second, deep = found[0].to, found[3 - 1 + 0].to, block.transactions[2].hash
    assert [(one.path, one.sender, one.amount) for one in found if one.tx_hash != deep] == [
        ("0", mover, 100), ("1.0", first, 30), ("3", mover, 7), ("4.0", second, 7), ("7", mover, 5),
    ]  # fmt: skip
    assert [(one.path, one.to, one.amount) for one in found if one.tx_hash == deep] == [("0.0.0.0", TO, 3)]
    moved = sum(one.amount for one in found if one.to == TO)
    assert moved == int(await anvil.call("eth_getBalance", TO, "latest"), 16) == 30 + 7 + 5 + 3
    refusals = poor.count("trace_block" if tamper is debug_only else "debug_traceBlockByHash")
    assert refusals == (1 if tamper is debug_only else 0)  # what was found out is remembered


async def test_a_node_without_traces_is_asked_once_and_says_none(anvil: Anvil):
    poor = Poor(anvil.http, lambda method, _: refused("no such method", -32601) if "trace" in method else None)
    await anvil.send(ACCOUNTS[0], ACCOUNTS[1], value=1)
    await anvil.mine()
    async with poor.serving() as url, connected(url) as endpoint:
        for _ in range(3):
            assert (await answer(endpoint, await block_at(endpoint), MOVES)).moves is None
    assert poor.count("trace_block") == poor.count("debug_traceBlockByHash") == 1


async def test_an_empty_block_needs_no_traces(anvil: Anvil):
    await anvil.mine()
    poor = Poor(anvil.http, lambda method, _: refused("no such method", -32601) if "trace" in method else None)
    async with poor.serving() as url, connected(url) as endpoint:
        assert (await answer(endpoint, await block_at(endpoint), MOVES)).moves == []


async def test_traces_of_another_block_are_a_setback(anvil: Anvil, state):
    await commotion(anvil, state)
    async with connected(anvil.ws) as endpoint:
        block = await block_at(endpoint)
        await anvil.call("anvil_reorg", 1, [])
        with pytest.raises(Setback):
            await answer(endpoint, block, MOVES)


async def test_missing_traces_hold_a_block_up_for_a_while_only(anvil: Anvil, state):
    await commotion(anvil, state)
    lacking = [{"result": []}]

    def tamper(method, _params):
        return lacking[0] if method == "trace_block" and lacking else None

    async with Poor(anvil.http, tamper).serving() as url, connected(url) as endpoint:
        block = await block_at(endpoint)
        for _ in range(traces.TRIES - 1):
            with pytest.raises(Setback, match="traces of 0 transactions"):
                await answer(endpoint, block, MOVES)
        assert (await answer(endpoint, block, MOVES)).moves is None
        lacking.clear()
        assert len((await answer(endpoint, block, MOVES)).moves) == 6


async def test_what_fails_for_many_blocks_at_once_is_one_failure_of_each(anvil: Anvil, state):
    for _ in range(5):
        await commotion(anvil, state)
    broken = [{"result": []}]

    def tamper(method, _params):
        return broken[0] if method == "trace_block" and broken else None

    async with Poor(anvil.http, tamper).serving() as url, connected(url) as endpoint:
        head = await anvil.head()
        blocks = [await block_at(endpoint, number) for number in range(head - 4, head + 1)]
        at_once = [answer(endpoint, block, MOVES) for block in blocks]
        told = await asyncio.gather(*at_once, return_exceptions=True)
        assert [type(one) for one in told] == [Setback] * 5
        broken.clear()
        assert None not in [(await answer(endpoint, block, MOVES)).moves for block in blocks]


async def test_a_node_that_is_asked_too_much_is_left_alone(anvil: Anvil, state):
    await commotion(anvil, state)
    poor = Poor(anvil.http, lambda method, _: refused("too many requests", 429) if "trace" in method else None)
    async with poor.serving() as url, connected(url) as endpoint:
        block = await block_at(endpoint)
        for _ in range(traces.TRIES + 1):
            with pytest.raises(CallFailed) as failed:
                await answer(endpoint, block, MOVES)
            assert failed.value.kind == "limited"


async def test_traces_are_asked_for_on_a_connection_of_their_own(anvil: Anvil, state):
    """While the node works on them, or does not answer at all, everything else goes on."""
    await commotion(anvil, state)
    async with connected(anvil.ws) as endpoint:
        block: Block = await block_at(endpoint)
        companion = await endpoint.companion()
        before = endpoint.requests
        await answer(endpoint, block, MOVES)
        assert endpoint.requests == before
        assert companion.requests >= 2  # the chain's id, the traces
        assert companion is await endpoint.companion()
        assert companion.head is None  # it follows nothing
    assert not companion.ready or companion._socket is None
    assert not [task for task in asyncio.all_tasks() if "companion" in task.get_name()]


async def test_a_block_does_not_wait_for_its_traces_for_ever(anvil: Anvil, state, monkeypatch):
    await commotion(anvil, state)
    monkeypatch.setattr(traces, "PATIENCE", 0.05)
    async with connected(anvil.ws) as endpoint:
        block = await block_at(endpoint)
        companion = await endpoint.companion()
        companion._transmit = lambda *_: None  # a socket that takes requests, and nothing comes back
        for _ in range(traces.TRIES - 1):
            with pytest.raises(Setback, match="no traces within"):
                await answer(endpoint, block, MOVES)
        assert (await answer(endpoint, block, MOVES)).moves is None
