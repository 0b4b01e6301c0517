"""
What the steps of a chain tell, as dialogues: a step in, events and changes of the journal out. No node, no disk.

Blocks are made of names, `b7`: branch and height.
"""

from __future__ import annotations

import json
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import msgspec
from fold import Fold
from purse import Purse

from chainwatch.chain.evm.block import Block, Header, RpcLog, RpcReceipt, RpcTransaction
from chainwatch.chain.evm.reads import Holding, Readings, Reads
from chainwatch.chain.evm.step import Step
from chainwatch.derive.balances import Holdings
from chainwatch.derive.feeds import Feeds
from chainwatch.derive.known import Known
from chainwatch.derive.mempool import Pool
from chainwatch.derive.rules import Rules
from chainwatch.derive.transfers import TRANSFER
from chainwatch.event import Event, encode
from chainwatch.journal import Journal
from chainwatch.log import Change
from chainwatch.log.batch import net
from chainwatch.teller import Memory, Teller

ALICE, BOB, COIN = ("0x" + digit * 40 for digit in "abc")
T = TypeVar("T")


def hash_of(name: str) -> str:
    """A hash that is made of a name, `b7`: branch and height."""
    return "0x" + name.encode().hex().rjust(64, "0")


def header(name: str, below: str | None = None) -> Header:
    number = int(name[1:])
    return Header(number, hash_of(name), hash_of(below or f"{name[0]}{number - 1}"), 1_700_000_000 + number)


def block(name: str, below: str | None = None, *, transactions: int = 1, value: str = "0x1") -> Block:
    """A block with transactions of one transfer each, from ALICE to BOB."""
    place = header(name, below)
    hashes = [hash_of(f"{name}/{index}") for index in range(transactions)]
    parties = ["0x" + party[2:].rjust(64, "0") for party in (ALICE, BOB)]
    logs = [
        RpcLog(COIN, [TRANSFER, *parties], "0x" + "1".rjust(64, "0"), hex(index), each, hex(index), place.hash)
        for index, each in enumerate(hashes)
    ]
    return Block(
        header=place,
        transaction_count=transactions,
        gas_used=21_000 * transactions,
        gas_limit=30_000_000,
        base_fee_per_gas=7,
        transactions=[RpcTransaction(each, ALICE, value, hex(index), BOB, "0x7") for index, each in enumerate(hashes)],
        receipts=[
            RpcReceipt(each, hex(index), place.hash, "0x5208", [logs[index]], status="0x1")
            for index, each in enumerate(hashes)
        ],
        logs=logs,
        arrived=1_700_000_000_000,
    )


RULES = Rules(chain="sim", native="ETH", transactions="all", transfers="all")


class Daemon:
    """A teller, and what stands in for the log beside it: the journal's keys, and readers who fold what is told."""

    identity = "log"

    def __init__(self, rules: Rules = RULES, *, confirmations: tuple[int, ...] = (1,), max_depth: int = 8) -> None:
        self.rules = msgspec.structs.replace(rules, confirmations=confirmations)
        self.max_depth = max_depth
        self.journal = Journal("sim")
        self.state: dict[str, bytes] = {}
        self.fold = Fold()
        self.purse = Purse()
        self.told: list[Event] = []
        self.restart()

    def restart(self) -> None:
        """Another teller, which knows what the journal knows."""
        journal, rules = self.journal, self.rules
        self.teller = Teller(
            rules,
            at_once(journal.read_checkpoint(self, 1)),
            Memory(
                waiting=at_once(journal.read_waiting(self)),
                orphaned=at_once(journal.read_orphaned(self)),
                holdings=Holdings(rules, at_once(journal.read_holdings(self))),
                known=Known(rules.tokens),
                feeds=Feeds(rules, at_once(journal.read_feeds(self)), depth=self.max_depth),
                pool=Pool(rules, at_once(journal.read_pending(self)), dropped_after=30, max_depth=self.max_depth),
            ),
            max_depth=self.max_depth,
            log=self.identity,
        )

    async def get(self, key: str) -> bytes | None:
        return self.state.get(key)

    async def scan(self, first: str, beyond: str) -> list[tuple[str, bytes]]:
        return [(key, row) for key, row in sorted(self.state.items()) if first <= key < beyond]

    def asked(self, one: Block, truth: Mapping[Holding, int] | None) -> Block:
        """The block with what has to be read of it by now. No truth: the node has lost the state behind it."""
        for again in (False, True):
            reads: Reads = self.teller.questions(one, again=again)
            if reads.balances and truth is None:
                one = msgspec.structs.replace(one, readings=Readings(unreadable=True))
            elif reads.balances and truth is not None:
                found = Readings(balances={pair: truth.get(pair) for pair in reads.balances})
                one = msgspec.structs.replace(one, readings=one.readings.with_more(found))
        return one

    def adopt(self, *blocks: Block, upon: Header | None = None) -> list[str]:
        """A step that puts these blocks upon `upon`, by default the tip; the events in short."""
        window = self.teller.window
        ancestor = upon or window.tip
        orphaned = window.above(upon) if upon else []
        told = {one.number: at_once(self.journal.read_open(self, one.number)) for one in orphaned}
        events, changes, headers = self.teller.step(Step(ancestor, orphaned, list(blocks)), told, 1_700_000_000_000)
        window.replace(headers)
        return self._commit(events, changes)

    def finality(self, **marks: Header) -> list[str]:
        return self._commit(*self.teller.finality(marks, 1_700_000_000_000))

    def pushed(self, transaction: RpcTransaction) -> list[str]:
        """A node pushes that transaction of its mempool."""
        told = self.teller.pool.seen(transaction, 1_700_000_000_000)
        return self._commit(told.events, self.journal.pending(told))

    def audit(self, truth: Mapping[Holding, int]) -> list[str]:
        """All balances are read at the tip."""
        found = Readings(balances={pair: truth.get(pair) for pair in self.teller.holdings.wanted})
        tip = self.teller.window.tip
        assert tip is not None
        return self._commit(*self.teller.audit(tip, found, 1_700_000_000_000))

    def _commit(self, events: list[Event], changes: list[Change]) -> list[str]:
        drops, puts = net(changes)
        self.state = {
            key: row for key, row in self.state.items() if not any(first <= key < beyond for first, beyond in drops)
        } | puts
        self.told += events
        shown = [json.loads(encode(event)) for event in events]
        for event in shown:
            self.fold.apply(event)
            self.purse.apply(event)
        return [short(event) for event in shown]


def at_once(asked: Coroutine[Any, Any, T]) -> T:
    """The result of what never has to wait here."""
    try:
        asked.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def short(event: dict[str, Any]) -> str:
    """`-transfer b7`, `confirmed(3) a5`, `reorg 2`: what an event says, at a glance."""
    data = event["data"]
    kind = {
        "block_new": "block", "token_transfer": "transfer", "transaction_confirmed": "confirmed",
        "block_finalized": data.get("tag"), "chain_reorg": "reorg", "wallet_status": "first",
        "balance_changed": "balance", "wallet_incoming": "incoming", "wallet_outgoing": "outgoing",
    }.get(event["type"], event["type"])  # fmt: skip
    if kind == "reorg":
        return f"reorg {data['depth']}"
    depth = f"({data['confirmations']})" if kind == "confirmed" else ""
    if data.get("block_hash") is None:
        return str(kind)
    name = bytes.fromhex(data["block_hash"][2:]).lstrip(b"\0").decode()
    return f"{'-' if event.get('removed') else ''}{kind}{depth} {name}"
