"""
The lying node: each lie is a small class that changes one thing a good node does (see `simulated.Honest`).

    node = SimulatedNode(world, conduct=Liar(EmptyLogs(seed), StaleBackend(seed, one_in=3)))

A lie hangs on its seed and on the order of requests, and on nothing else. `one_in` is how often it is told, `times`
how often at most. `liar.lies.clear()` makes an honest node of it, so that a test can end in the truth.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from chainwatch.chain.simulated import (
    HANG,
    Block,
    Change,
    Connection,
    Honest,
    Late,
    Refusal,
    Request,
    RpcError,
    View,
    World,
)
from chainwatch.chain.simulated.primitives import Dice

BLOCKS = frozenset({"eth_getBlockByNumber", "eth_getBlockByHash"})
RECEIPTS = frozenset({"eth_getBlockReceipts"})
LOGS = frozenset({"eth_getLogs"})
READS = BLOCKS | RECEIPTS | LOGS
EVERYTHING: frozenset[str] = frozenset()
"""Stands for every method."""


class Liar(Honest):
    """A node that tells all of `lies`, one after another: each gets what the one before it made of the truth."""

    def __init__(self, *lies: Honest) -> None:
        self.lies = list(lies)

    def admit(self, *, websocket):
        answers = [lie.admit(websocket=websocket) for lie in self.lies]
        return next((answer for answer in answers if answer is not None), None)

    def observe(self, change):
        changes: Sequence[Change] = (change,)
        for lie in self.lies:
            changes = [noticed for one in changes for noticed in lie.observe(one)]
        return changes

    def view(self, request, view):
        for lie in self.lies:
            view = lie.view(request, view)
        return view

    def answer(self, request, view, reply):
        for lie in self.lies:
            if not isinstance(reply, bytes | RpcError):  # late or never: nothing is left to change
                break
            reply = lie.answer(request, view, reply)
        return reply

    def push(self, connection, kind, results):
        for lie in self.lies:
            results = lie.push(connection, kind, results)
        return results

    def pong(self, connection):
        answers = [lie.pong(connection) for lie in self.lies]  # each is asked, also after a no
        return all(answers)


class Lie(Honest):
    """What all lies have: dice of their own, and a count."""

    def __init__(self, seed: int = 0, *, one_in: int = 1, times: int | None = None) -> None:
        self.dice = Dice(type(self).__name__, seed)
        self.one_in = one_in
        self.times = times
        self.told = 0
        """How often it was told."""

    def due(self) -> bool:
        """Whether this is an occasion for it."""
        if self.told == self.times or not self.dice.one_in(self.one_in):
            return False
        self.told += 1
        return True


class Falsehood(Lie):
    """Changes the results of some methods. `about` takes the decoded result, and gives another one."""

    methods: frozenset[str] = READS

    def answer(self, request, view, reply):
        if isinstance(reply, RpcError) or (self.methods and request.method not in self.methods):
            return reply
        truth = json.loads(reply)
        if not self.applies(request, view, truth) or not self.due():
            return reply
        return json.dumps(self.falsify(request, view, truth)).encode()

    def applies(self, request: Request, view: View, truth: Any) -> bool:
        return bool(truth)

    def falsify(self, request: Request, view: View, truth: Any) -> Any:
        raise NotImplementedError


def asked_block(request: Request, view: View) -> Block | None:
    """The one block that a request is about; None where it is about many, or about none that is known."""
    selector = request.params[0] if request.params else None
    if isinstance(selector, dict):
        selector = selector.get("blockHash")
    if not isinstance(selector, str):
        return None
    if len(selector) == 66:
        return view.hash(selector)
    return view.tag(selector) or (view.number(int(selector, 16)) if selector.startswith("0x") else None)


# --- not yet there ------------------------------------------------------------------------------------------------


class Fresh(Falsehood):
    """About blocks that are new: the first `answers` answers about each block of the newest three are wrong."""

    def __init__(self, seed: int = 0, *, answers: int = 2, one_in: int = 1, times: int | None = None) -> None:
        super().__init__(seed, one_in=one_in, times=times)
        self.answers = answers
        self._asked: dict[str, int] = {}

    def applies(self, request, view, truth):
        block = asked_block(request, view)
        if not truth or block is None or block.number < view.tip.number - 2:
            return False
        count = self._asked[block.hash] = self._asked.get(block.hash, 0) + 1
        return count <= self.answers


class EmptyLogs(Fresh):
    """A fresh block has no logs yet, and no receipts, and that is no error (geth 26098)."""

    methods = RECEIPTS | LOGS

    def falsify(self, request, view, truth):
        return []


class NullBlock(Fresh):
    """A block whose head was just pushed is not known yet."""

    def falsify(self, request, view, truth):
        return None


# --- another view of the chain ------------------------------------------------------------------------------------


class StaleBackend(Lie):
    """A balancer: now and then the next node answers, which is up to `behind` blocks late (geth 24078)."""

    def __init__(self, seed: int = 0, *, behind: int = 3, one_in: int = 2, times: int | None = None) -> None:
        super().__init__(seed, one_in=one_in, times=times)
        self.behind = behind

    def view(self, request, view):
        return view.behind(self.dice.between(1, self.behind)) if self.due() else view


class OtherBranch(Lie):
    """A balancer whose next node has not seen the last reorganisation: it answers from the orphaned branch."""

    def __init__(self, seed: int = 0, *, one_in: int = 2, times: int | None = None) -> None:
        super().__init__(seed, one_in=one_in, times=times)
        self._orphaned: str | None = None

    def observe(self, change):
        if change.removed:
            self._orphaned = change.removed[0].hash
        return (change,)

    def view(self, request, view):
        orphan = view.world.blocks.get(self._orphaned)
        return View(view.world, orphan) if orphan is not None and self.due() else view


class Lagging(Lie):
    """A node that notices everything `changes` changes late, heads and answers alike."""

    def __init__(self, changes: int = 3) -> None:
        super().__init__()
        self._changes = changes
        self._unseen: deque[Change] = deque()
        self._tip: str | None = None

    def observe(self, change):
        if self._tip is None and (change.removed or change.added):  # where it was when it fell behind
            self._tip = change.removed[0].hash if change.removed else change.added[0].parent_hash
        self._unseen.append(change)
        if len(self._unseen) <= self._changes:
            return ()
        seen = self._unseen.popleft()
        if seen.added or seen.removed:
            self._tip = seen.added[-1].hash if seen.added else seen.removed[-1].parent_hash
        return (seen,)

    def view(self, request, view):
        tip = view.world.blocks.get(self._tip)
        return view if tip is None else View(view.world, tip)


class Syncing(Lie):
    """A node that is still hundreds of blocks from the head, and says so when asked (ponder 2221)."""

    def __init__(self, behind: int = 300) -> None:
        super().__init__()
        self.behind = behind

    def observe(self, change):
        return ()

    def view(self, request, view):
        return view.behind(self.behind)

    def answer(self, request, view, reply):
        if request.method != "eth_syncing":
            return reply
        highest = hex(view.world.head.number)
        return json.dumps({
            "startingBlock": "0x0", "currentBlock": hex(view.tip.number), "highestBlock": highest,
        }).encode()  # fmt: skip


class WrongChain(Lie):
    """Another chain altogether."""

    def __init__(self, chain_id: int = 1) -> None:
        super().__init__()
        self.chain_id = chain_id

    def answer(self, request, view, reply):
        if request.method == "eth_chainId":
            return json.dumps(hex(self.chain_id)).encode()
        return json.dumps(str(self.chain_id)).encode() if request.method == "net_version" else reply


# --- heads --------------------------------------------------------------------------------------------------------


class Heads(Lie):
    """About what `newHeads` pushes."""

    def push(self, connection, kind, results):
        return self.heads(results) if kind == "newHeads" else results

    def heads(self, results: list[bytes]) -> list[bytes]:
        raise NotImplementedError


class SkippedHeads(Heads):
    """Heads that are never pushed (geth 31323)."""

    def heads(self, results):
        return [head for head in results if not self.due()]


class DoubledHeads(Heads):
    """Heads that are pushed twice."""

    def heads(self, results):
        return [head for result in results for head in ([result, result] if self.due() else [result])]


class HeadsOutOfOrder(Heads):
    """A head is held back and pushed after the next one. Meant for one subscriber."""

    def __init__(self, seed: int = 0, *, one_in: int = 2, times: int | None = None) -> None:
        super().__init__(seed, one_in=one_in, times=times)
        self._held: list[bytes] = []

    def heads(self, results):
        pushed = []
        for head in results:
            if not self._held and self.due():
                self._held.append(head)
            else:
                pushed += [head, *self._held]
                self._held.clear()
        return pushed


class UnknownHeads(Heads):
    """Heads of blocks that nobody has, of a node that is on its own."""

    def heads(self, results):
        return [self._invented(head) if self.due() else head for head in results]

    def _invented(self, head: bytes) -> bytes:
        header = json.loads(head)
        header["number"] = hex(int(header["number"], 16) + self.dice.between(0, 3))
        header["hash"] = f"0x{self.dice.bits():064x}"
        return json.dumps(header).encode()


class NoRemovedLogs(Lie):
    """A reorganisation sends no `removed` logs (bor 741, anvil)."""

    def push(self, connection, kind, results):
        return [result for result in results if kind != "logs" or not result.endswith(b'"removed":true}')]


# --- contents -----------------------------------------------------------------------------------------------------


class WrongBlock(Falsehood):
    """What is answered is the block before, whatever was asked for."""

    methods = BLOCKS

    def falsify(self, request, view, truth):
        other = view.hash(truth["parentHash"])
        return truth if other is None else json.loads(other.wire.full if request.params[1] else other.wire.hashes)


class WrongHash(Falsehood):
    """The block says that it has another hash."""

    methods = BLOCKS

    def falsify(self, request, view, truth):
        return {**truth, "hash": f"0x{self.dice.bits():064x}"}


class ReceiptsOfAnother(Falsehood):
    """The receipts are those of the block before."""

    methods = RECEIPTS

    def falsify(self, request, view, truth):
        block = asked_block(request, view)
        other = None if block is None else view.hash(block.parent_hash)
        return truth if other is None else [json.loads(receipt) for receipt in other.wire.receipts]


class MissingReceipt(Falsehood):
    """One receipt is left out."""

    methods = RECEIPTS

    def falsify(self, request, view, truth):
        del truth[self.dice.below(len(truth))]
        return truth


class AboutLogs(Falsehood):
    """Changes one log, in receipts or in an answer to `eth_getLogs`."""

    methods = RECEIPTS | LOGS

    def applies(self, request, view, truth):
        return any(self._lists(request, truth))

    def falsify(self, request, view, truth):
        logs = self.dice.pick([logs for logs in self._lists(request, truth) if logs])
        self.change(logs, self.dice.below(len(logs)))
        return truth

    def _lists(self, request: Request, truth: Any) -> list[list[Any]]:
        if not truth:
            return []
        return [truth] if request.method in LOGS else [receipt["logs"] for receipt in truth]

    def change(self, logs: list[Any], index: int) -> None:
        raise NotImplementedError


class LogsWithAHole(AboutLogs):
    """One log is left out; the indices of the others stay."""

    def change(self, logs, index):
        del logs[index]


class LogOfAnother(AboutLogs):
    """One log says that it is of another block."""

    def change(self, logs, index):
        logs[index]["blockHash"] = f"0x{self.dice.bits():064x}"


class LogAltered(AboutLogs):
    """One log says that another contract wrote it: only the bloom can tell."""

    def change(self, logs, index):
        logs[index]["address"] = f"0x{self.dice.bits():040x}"


class Oversize(Lie):
    """The answer is right, and larger than any client takes: `size` bytes of white space before it."""

    def __init__(self, seed: int = 0, *, size: int = 64 * 2**20, one_in: int = 1, times: int | None = None) -> None:
        super().__init__(seed, one_in=one_in, times=times)
        self.size = size

    def answer(self, request, view, reply):
        if isinstance(reply, RpcError) or request.method not in READS or not self.due():
            return reply
        return b" " * self.size + reply


# --- errors and time ----------------------------------------------------------------------------------------------


class Fails(Lie):
    """An error instead of an answer."""

    def __init__(self, error: RpcError, seed: int = 0, *, methods=READS, one_in: int = 1, times=None) -> None:
        super().__init__(seed, one_in=one_in, times=times)
        self.error = error
        self.methods = methods

    def answer(self, request, view, reply):
        applies = not self.methods or request.method in self.methods
        return self.error if applies and self.due() else reply


def rate_limited(seed: int = 0, *, one_in: int = 1, times: int | None = None, told: bool = True, **options: Any) -> Lie:
    """What providers answer where HTTP has 429: `told` says for how many seconds to wait."""
    data = {"rate": {"backoff_seconds": 1, "allowed_rps": 10, "current_rps": 20}} if told else None
    return Fails(RpcError(-32005, "daily request count exceeded", data), seed, one_in=one_in, times=times, **options)


def internal_error(seed: int = 0, *, one_in: int = 1, times: int | None = None, **options: Any) -> Lie:
    return Fails(RpcError(-32603, "Internal error"), seed, one_in=one_in, times=times, **options)


def lacks(*methods: str) -> Lie:
    """A provider that does not have these methods."""
    return Fails(RpcError(-32601, "the method does not exist/is not available"), methods=frozenset(methods))


class Busy(Lie):
    """HTTP says no: 429 or 503 with `Retry-After`, to handshakes and requests alike."""

    def __init__(self, seed: int = 0, *, status=429, retry_after: str | None = "1", one_in=1, times=None) -> None:
        super().__init__(seed, one_in=one_in, times=times)
        self._refusal = Refusal(status, {} if retry_after is None else {"Retry-After": retry_after}, b"slow down")

    def admit(self, *, websocket):
        return self._refusal if self.due() else None


class NoHandshake(Lie):
    """The connection is taken, and its first request is never answered."""

    def admit(self, *, websocket):
        return HANG if self.due() else None


class Slow(Lie):
    """Right, and late, by up to `seconds`; others overtake."""

    def __init__(self, seed: int = 0, *, seconds: float = 0.05, one_in: int = 2, times: int | None = None) -> None:
        super().__init__(seed, one_in=one_in, times=times)
        self.seconds = seconds

    def answer(self, request, view, reply):
        return Late(self.seconds * self.dice.between(1, 100) / 100, reply) if self.due() else reply


class Unanswered(Lie):
    """Some requests are never answered; everything else is as ever."""

    def answer(self, request, view, reply):
        return None if self.due() else reply


# --- the socket ---------------------------------------------------------------------------------------------------


class Rude(Lie):
    """Ends a WebSocket instead of answering. `ending` takes the connection and the answer that was due."""

    def __init__(self, ending: Callable[[Connection, bytes], None], seed: int = 0, *, one_in=1, times=None) -> None:
        super().__init__(seed, one_in=one_in, times=times)
        self.ending = ending

    def answer(self, request, view, reply):
        if request.connection is None or isinstance(reply, RpcError) or not self.due():
            return reply
        self.ending(request.connection, reply)
        return None


def half_open(seed: int = 0, **options: Any) -> Lie:
    """The socket stays open, and nothing comes any more: no answer, no push, no pong."""

    def ending(connection: Connection, _reply: bytes) -> None:
        connection.silent = True

    return Rude(ending, seed, **options)


def cut_in_a_frame(seed: int = 0, **options: Any) -> Lie:
    """The socket ends in the middle of the answer."""
    return Rude(lambda connection, reply: connection.cut(reply), seed, **options)


def dropped(seed: int = 0, **options: Any) -> Lie:
    """The socket ends without a word (1006)."""
    return Rude(lambda connection, _reply: connection.abort(), seed, **options)


def closed(code: int, seed: int = 0, **options: Any) -> Lie:
    """The socket is closed with this code: 1001 going away, 1013 try again later."""
    return Rude(lambda connection, _reply: connection.close(code), seed, **options)


class NoPong(Lie):
    """Pings are not answered; requests are."""

    def pong(self, connection):
        return not self.due()


# --- all of them --------------------------------------------------------------------------------------------------

LIES: dict[str, Callable[[int], Honest]] = {
    "empty logs": EmptyLogs,
    "null block": NullBlock,
    "stale backend": lambda seed: StaleBackend(seed, one_in=3),
    "other branch": lambda seed: OtherBranch(seed, one_in=3),
    "lagging": lambda seed: Lagging(1 + seed % 4),
    "syncing": lambda seed: Syncing(300),
    "skipped heads": lambda seed: SkippedHeads(seed, one_in=2),
    "doubled heads": lambda seed: DoubledHeads(seed, one_in=2),
    "heads out of order": HeadsOutOfOrder,
    "unknown heads": lambda seed: UnknownHeads(seed, one_in=4),
    "no removed logs": lambda seed: NoRemovedLogs(),
    "wrong block": lambda seed: WrongBlock(seed, one_in=4),
    "wrong hash": lambda seed: WrongHash(seed, one_in=4),
    "receipts of another": lambda seed: ReceiptsOfAnother(seed, one_in=3),
    "missing receipt": lambda seed: MissingReceipt(seed, one_in=3),
    "logs with a hole": lambda seed: LogsWithAHole(seed, one_in=3),
    "log of another": lambda seed: LogOfAnother(seed, one_in=3),
    "log altered": lambda seed: LogAltered(seed, one_in=3),
    "oversize": lambda seed: Oversize(seed, one_in=8, times=3),
    "rate limited": lambda seed: rate_limited(seed, one_in=6, times=4),
    "rate limited, untold": lambda seed: rate_limited(seed, one_in=6, times=4, told=False),
    "internal error": lambda seed: internal_error(seed, one_in=4),
    "no block receipts": lambda seed: lacks("eth_getBlockReceipts"),
    "busy": lambda seed: Busy(seed, one_in=2, times=3),
    "no handshake": lambda seed: NoHandshake(seed, one_in=3, times=1),
    "slow": Slow,
    "unanswered": lambda seed: Unanswered(seed, one_in=10, times=2),
    "half open": lambda seed: half_open(seed, one_in=10, times=2),
    "cut in a frame": lambda seed: cut_in_a_frame(seed, one_in=10, times=4),
    "dropped": lambda seed: dropped(seed, one_in=10, times=4),
    "closed 1001": lambda seed: closed(1001, seed, one_in=10, times=4),
    "closed 1013": lambda seed: closed(1013, seed, one_in=10, times=4),
    "no pong": lambda seed: NoPong(seed, times=2),
}
"""Each lie by name, told seldom enough that a patient client comes to the truth, save `syncing` and `lagging`, which
tell old truths for as long as they are there."""


def liar(seed: int, *names: str) -> Liar:
    """A node that tells these lies."""
    return Liar(*(LIES[name](seed) for name in names))


def truth(world: World) -> list[tuple[int, str, tuple[Any, ...]]]:
    """The canonical chain as a fold of any stream has to give it: number, hash, logs."""
    return [(block.number, block.hash, block.logs) for _number, block in sorted(world.canonical.items())]
