"""Who is at an endpoint: what a probe finds, and what it says of nodes that are silent, rude or of another kind."""

from __future__ import annotations

import pytest

from chainwatch.chain.evm.probe import Found, probe
from chainwatch.chain.simulated import HANG, Honest, Refusal, SimulatedNode, World
from chainwatch.chain.simulated.answers import RpcError

EVERYTHING = ["subscriptions", "receipts", "finality", "mempool", "state", "old state", "traces"]


class Node(Honest):
    """A node that lacks methods, or answers them in another way."""

    def __init__(self, **answers: RpcError | bytes | None) -> None:
        self.answers = answers

    def answer(self, request, view, reply):
        return self.answers.get(request.method, reply)


class Closed(Honest):
    def __init__(self, refusal) -> None:
        self.refusal = refusal

    def admit(self, *, websocket):
        return self.refusal


MISSING = RpcError(-32601, "the method does not exist/is not available")
PRUNED = RpcError(-32000, "missing trie node")


async def found(conduct: Honest, *, http: bool = False, patience: float = 5.0) -> Found:
    world = World(1)
    for _ in range(3):
        world.mine()
    async with SimulatedNode(world, conduct=conduct) as node:
        return await probe(f"{node.http_url if http else node.url}/v3/0123456789abcdef0123", patience)


def there(one: Found) -> list[str]:
    return [ability.name for ability in one.abilities if ability.there]


async def test_a_good_node_has_everything():
    one = await found(Honest())
    assert (one.problem, one.chain_id, one.client, one.head) == ("", 1337, "chainwatch-simulated/v1", 3)
    assert there(one) == EVERYTHING
    assert 0 < one.latency < 5
    assert "0123456789abcdef" not in repr(one)


async def test_over_http_heads_are_asked_for_and_there_is_nothing_to_subscribe_to():
    one = await found(Honest(), http=True)
    assert there(one) == [name for name in EVERYTHING if name not in ("subscriptions", "mempool")]


async def test_what_a_node_lacks_is_said_with_its_own_reason():
    lacking = Node(eth_getBlockReceipts=MISSING, trace_block=MISSING)
    one = await found(lacking)
    assert there(one) == ["subscriptions", "finality", "mempool", "state", "old state"]
    (receipts,) = (ability for ability in one.abilities if ability.name == "receipts")
    assert "does not exist" in receipts.why


async def test_what_a_node_calls_itself_moves_no_cursor():
    one = await found(Node(web3_clientVersion=rb'"Geth\u001b[2J\u202e' + b"x" * 100 + b'"'))
    assert one.client.startswith(r"Geth\u001b[2J\u202ex")
    assert len(one.client) == 60
    broken = await found(Node(web3_clientVersion=b"7", eth_getBlockReceipts=RpcError(-32000, "\x1b[2J" + "x" * 1000)))
    assert (broken.client, broken.problem) == ("", "")
    (receipts,) = (ability for ability in broken.abilities if ability.name == "receipts")
    assert receipts.why.startswith(r"\u001b[2Jx")
    assert len(receipts.why) <= 200


async def test_a_node_that_traces_and_has_forgotten_the_first_block_traces():
    assert "traces" in there(await found(Node(trace_block=PRUNED)))
    # geth's words of a block that it does not have.
    geth = Node(trace_block=MISSING, debug_traceBlockByHash=RpcError(-32000, f"block 0x{0:064x} not found"))
    assert "traces" in there(await found(geth))


async def test_a_node_without_old_state_is_no_archive():
    class Full(Honest):
        def answer(self, request, view, reply):
            old = request.method == "eth_getBalance" and request.params[1] != "latest"
            return PRUNED if old else reply

    assert there(await found(Full())) == [name for name in EVERYTHING if name != "old state"]


async def test_no_block_that_is_final_is_no_finality():
    class Young(Honest):
        def answer(self, request, view, reply):
            return b"null" if request.params and request.params[0] == "finalized" else reply

    assert "finality" not in there(await found(Young()))


@pytest.mark.parametrize(
    ("conduct", "http", "problem"),
    [
        (Node(eth_chainId=None), False, "no answer within 0.2 s"),
        (Node(eth_chainId=None), True, "no answer within 0.2 s"),
        (Node(eth_chainId=MISSING), False, "the method does not exist/is not available"),
        (Node(eth_chainId=b'"one"'), False, "it answers what is no JSON-RPC"),
        (Node(eth_getBlockByNumber=b"null"), False, "the node has no latest block"),
        (Closed(Refusal(401)), False, "HTTP 401 instead of a WebSocket"),
        (Closed(Refusal(403)), True, "HTTP 403"),
        (Closed(Refusal(429, {"Retry-After": "30"})), False, "HTTP 429 instead of a WebSocket"),
        (Closed(Refusal(429)), True, "HTTP 429"),
        (Closed(Refusal(200, {}, b"<html>Welcome</html>")), True, "it answered what is no JSON-RPC"),
        (Closed(HANG), False, "no answer within 0.2 s"),
        (Closed(HANG), True, "no answer within 0.2 s"),
    ],
)
async def test_what_cannot_be_used_is_said_in_plain_words(conduct, http, problem):
    one = await found(conduct, http=http, patience=0.2)
    assert one.problem.startswith(problem)
    assert one.abilities == ()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ws://127.0.0.1:1/secret", "cannot connect: Connection refused"),
        ("http://127.0.0.1:1/secret", "cannot connect: no answer"),
        ("wss://nowhere.invalid/secret", "cannot connect: "),
        ("https://nowhere.invalid/secret", "cannot connect: "),
    ],
)
async def test_nobody_is_there(url, problem):
    one = await probe(url, 5.0)
    assert one.problem.startswith(problem)
    assert "secret" not in repr(one)


async def test_a_real_node_is_found(anvil):
    await anvil.mine(2)
    for url in (anvil.ws, anvil.http):
        one = await probe(url, 5.0)
        assert (one.problem, one.chain_id, one.head) == ("", 31337, 2)
        assert one.client.startswith("anvil/")
        assert {"receipts", "finality", "mempool", "state", "traces"} <= {*there(one)}
    anvil.freeze()
    assert (await probe(anvil.ws, 0.2)).problem == "no answer within 0.2 s"
    anvil.thaw()
