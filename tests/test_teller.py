"""
What wallets are told to hold, over everything that can happen to a step: asked about ahead of telling, orphaned, failed
half-way, read late or not at all. As dialogues: no node, no disk.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from dialogue import ALICE, BOB, COIN, RULES, Daemon, block, hash_of, header

from chainwatch.chain.evm.block import Block, Header, RpcTransaction
from chainwatch.chain.evm.reads import Holding, Metadata, Pool, Readings
from chainwatch.derive import balances
from chainwatch.derive.rules import Token

WATCHED = msgspec.structs.replace(
    RULES, transactions="none", transfers="none", wallets=frozenset({ALICE, BOB}), names={ALICE: "alice", BOB: "bob"}
)
FEE = 21_000 * 7
"""Wei that a transaction of a `block` costs ALICE, beside the one that she pays BOB."""


def after(payments: int, **moved: int) -> dict[Holding, int]:
    """What they hold after so many payments of 1 wei, and what moved beside."""
    return {
        ("", ALICE): 10**18 - payments * (1 + FEE) + moved.get("alice", 0),
        ("", BOB): 10**18 + payments + moved.get("bob", 0),
    }


def changes(daemon: Daemon) -> list[dict[str, Any]]:
    return [event["data"] for event in daemon.purse.changes]


def explained(change: dict[str, Any]) -> list[tuple[str, int]]:
    return [(cause["kind"], int(cause["amount"])) for cause in change["causes"]]


def test_a_wallet_is_first_read_and_then_told_when_it_changes():
    daemon = Daemon(WATCHED)
    assert daemon.adopt(daemon.asked(block("a5", transactions=0), after(0))) == ["block a5", "first a5", "first a5"]
    daemon.restart()
    told = daemon.adopt(daemon.asked(block("a6"), after(1)))
    # Value, then a token that nobody configured, each seen from both.
    assert told == ["block a6", *["outgoing a6", "incoming a6"] * 2, "balance a6", "balance a6"]
    assert daemon.purse.held == {(wallet, token): held for (token, wallet), held in after(1).items()}
    assert [change["unattributed"] for change in changes(daemon)] == ["0", "0"]


def test_what_moved_while_nobody_could_read_explains_the_next_reading():
    daemon = Daemon(WATCHED)
    daemon.adopt(daemon.asked(block("a29", transactions=0), after(0)))
    daemon.adopt(daemon.asked(block("a30"), None))
    # Asked about ahead: the node seems to have lost its states, so but for a probe nobody asks.
    ahead = [daemon.asked(block(f"a{number}"), after(number - 29)) for number in (31, 32, 33, 34)]
    assert [bool(one.readings.balances) for one in ahead] == [False, True, False, False]
    daemon.adopt(*ahead)
    assert daemon.teller.holdings.unsettled
    daemon.audit(after(5))
    assert daemon.purse.held[ALICE, ""] == after(5)["", ALICE]
    assert [change["unattributed"] for change in changes(daemon)] == ["0"] * 4
    late = [explained(change) for change in changes(daemon) if change["address"].lower() == BOB]
    assert late == [[("value", 1)] * 3, [("value", 1)] * 2]


def test_what_an_orphan_moved_unread_explains_nothing():
    daemon = Daemon(WATCHED)
    daemon.adopt(daemon.asked(block("a29", transactions=0), after(0)))
    daemon.adopt(daemon.asked(block("a30"), None), daemon.asked(block("a31", transactions=0), None))
    daemon.adopt(daemon.asked(block("b30", "a29"), None), upon=header("a29"))
    daemon.adopt(daemon.asked(block("b31", transactions=0), None))
    daemon.adopt(daemon.asked(block("b32"), after(2)))
    assert [explained(change) for change in changes(daemon) if change["address"].lower() == BOB] == [[("value", 1)] * 2]
    assert [change["unattributed"] for change in changes(daemon)] == ["0"] * 2


def test_a_step_that_fails_leaves_what_is_known_of_wallets_as_it_was():
    daemon = Daemon(WATCHED)
    daemon.adopt(daemon.asked(block("a29", transactions=0), after(0)))
    daemon.adopt(daemon.asked(block("a30"), None))
    broken = block("a33", value="0xzz")
    for _ in range(2):
        unread = daemon.asked(block("a31"), None)
        with pytest.raises(ValueError, match="0xzz"):
            daemon.adopt(unread, daemon.asked(block("a32"), after(3)), broken)
    daemon.adopt(daemon.asked(block("a31"), None), daemon.asked(block("a32"), after(3)))
    assert [explained(change) for change in changes(daemon) if change["address"].lower() == BOB] == [[("value", 1)] * 3]
    assert [change["unattributed"] for change in changes(daemon)] == ["0"] * 2
    assert not daemon.teller.holdings.unsettled


def test_where_a_contract_has_no_answer_the_next_one_is_explained_all_the_same():
    daemon = Daemon(msgspec.structs.replace(WATCHED, tokens={COIN: Token("COIN", 6)}))
    coins = {(COIN, ALICE): 10, (COIN, BOB): 0}
    daemon.adopt(daemon.asked(block("a5", transactions=0), after(0) | coins))
    daemon.adopt(daemon.asked(block("a6"), after(1)))
    assert not daemon.teller.holdings.unsettled, "a token that is broken for good is no reason to look at every block"
    daemon.adopt(daemon.asked(block("a7"), after(2) | {(COIN, ALICE): 8, (COIN, BOB): 2}))
    assert explained(changes(daemon)[-1]) == [("transfer", 1)] * 2
    assert [change["unattributed"] for change in changes(daemon)] == ["0"] * 6


def test_what_no_contract_said_is_not_kept_for_ever():
    daemon = Daemon(msgspec.structs.replace(WATCHED, transfers="watched"))
    one = block("a5")
    assert daemon.teller.questions(one, again=False).tokens == (COIN,)
    said = Readings(tokens={COIN: Metadata()}, pools={BOB: Pool()})
    daemon.teller.learn(said)
    daemon.adopt(msgspec.structs.replace(one, readings=said))
    assert daemon.teller.questions(block("a6"), again=False).tokens == ()
    daemon.restart()
    assert daemon.teller.questions(block("a6"), again=False).tokens == (COIN,)
    assert not [key for key in daemon.state if "/token/" in key or "/pool/" in key]


def test_a_first_reading_that_is_orphaned_is_told_anew_by_whoever_reads_next():
    daemon = Daemon(WATCHED)
    daemon.adopt(block("a4", transactions=0), daemon.asked(block("a5", transactions=0), after(0)))
    # Asked about before the retraction, when the wallets were known.
    daemon.adopt(daemon.asked(block("b5", "a4", transactions=0), after(0)), upon=header("a4"))
    assert daemon.purse.held == {}
    daemon.restart()
    assert daemon.teller.holdings.unsettled
    assert daemon.audit(after(0)) == ["first b5", "first b5"]


def test_what_an_audit_told_goes_with_the_block_at_which_it_looked():
    daemon = Daemon(WATCHED)
    daemon.adopt(daemon.asked(block("a4", transactions=0), after(0)), block("a5", transactions=0))
    assert daemon.audit(after(0, bob=7)) == ["balance a5"]
    daemon.restart()
    told = daemon.adopt(block("b5", "a4", transactions=0), upon=header("a4"))
    assert told == ["reorg 1", "-balance a5", "-block a5", "block b5"]
    assert daemon.purse.held[BOB, ""] == after(0)["", BOB]
    assert daemon.teller.holdings.unsettled
    assert daemon.audit(after(0, bob=7)) == ["balance b5"]


def test_balances_come_after_what_became_of_pending_transactions_and_both_go_with_their_block():
    daemon = Daemon(WATCHED)
    daemon.adopt(daemon.asked(block("a5", transactions=0), after(0)))
    assert daemon.pushed(RpcTransaction(hash_of("x"), ALICE, "0x5", "0x0", BOB, "0x7")) == ["transaction_pending"]
    told = daemon.adopt(daemon.asked(block("a6"), after(1)))
    assert told[-3:] == ["transaction_replaced a6", "balance a6", "balance a6"]
    told = daemon.adopt(block("b6", "a5", transactions=0), upon=header("a5"))
    assert told[:4] == ["reorg 1", "-balance a6", "-balance a6", "-transaction_replaced a6"]


def test_two_daemons_tell_the_same_however_far_they_ask_ahead():
    # Something moves in a6 that nothing in the block shows: a rebase, say.
    blocks = [block(f"a{number}", transactions=0) for number in range(5, 12)]
    truth = [after(0, bob=0 if one.header.number < 6 else 7) for one in blocks]
    ahead, one_by_one = Daemon(WATCHED), Daemon(WATCHED)
    ahead.adopt(*[ahead.asked(one, known) for one, known in zip(blocks, truth, strict=True)])
    for one, known in zip(blocks, truth, strict=True):
        one_by_one.adopt(one_by_one.asked(one, known))
    assert [event.id for event in ahead.told] == [event.id for event in one_by_one.told]
    assert ahead.audit(truth[-1]) == ["balance a11"]


@pytest.mark.parametrize("seed", range(12))
def test_the_books_agree_whatever_happens(seed, monkeypatch):
    monkeypatch.setattr(balances, "PROBE", 4)
    World(random.Random(seed)).run(80)


def height(name: str) -> int:
    return int(name[1:].split(".", maxsplit=1)[0])


class World:
    """A chain that does anything, and a daemon that is asked ahead, fails, and is restarted."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        rules = msgspec.structs.replace(WATCHED, tokens={COIN: Token("COIN", 6)})
        self.daemon = Daemon(rules, max_depth=8)
        self.truth: dict[str, dict[Holding, int]] = {}
        """What they hold behind each block, by its hash."""
        self.names: list[str] = []
        """The canonical chain as it is told."""
        self.branches = 0

    def run(self, steps: int) -> None:
        self.grow([])
        for _ in range(steps):
            match self.chance.randrange(8):
                case 0:
                    self.daemon.restart()
                case 1:
                    self.audit()
                case 2:
                    depth = min(self.chance.randint(1, 8), len(self.daemon.teller.window) - 1)
                    self.grow(self.names[: len(self.names) - depth])
                case _:
                    self.grow(self.names)
            self.agrees()
        self.audit()
        tip = self.truth[hash_of(self.names[-1])]
        assert self.daemon.purse.held == {(wallet, token): held for (token, wallet), held in tip.items()}

    def grow(self, kept: list[str]) -> None:
        """Some blocks upon these."""
        self.branches += 1
        names = list(kept)
        blocks: list[Block] = []
        for _ in range(self.chance.randint(1, 6)):
            below = names[-1] if names else None
            number = height(below) + 1 if below else 1
            one = self.block(f"a{number}.{self.branches}", number, below)
            truth = None if self.chance.random() < 0.2 else self.truth[one.header.hash]
            blocks.append(self.daemon.asked(one, truth))
            names.append(f"a{number}.{self.branches}")
        upon = self.place(kept[-1]) if len(kept) < len(self.names) else None
        if self.chance.random() < 0.2:
            broken = block("a1", value="0xzz")
            with pytest.raises(ValueError, match="0xzz"):
                self.daemon.adopt(*blocks, broken, upon=upon)
        self.daemon.adopt(*blocks, upon=upon)
        self.names = names

    def block(self, name: str, number: int, below: str | None) -> Block:
        place = Header(number, hash_of(name), hash_of(below or "none"), 1_700_000_000 + number)
        one = block(f"a{number}", transactions=self.chance.randrange(3))
        hashes = {told.hash: hash_of(f"{name}/{index}") for index, told in enumerate(one.transactions)}
        renamed = [msgspec.structs.replace(told, hash=hashes[told.hash]) for told in one.transactions]
        logs = [msgspec.structs.replace(log, transaction_hash=hashes[log.transaction_hash]) for log in one.logs]
        receipts = [
            msgspec.structs.replace(told, transaction_hash=hashes[told.transaction_hash]) for told in one.receipts
        ]
        held = dict(self.truth[hash_of(below)]) if below else after(0) | {(COIN, ALICE): 10**9, (COIN, BOB): 0}
        count = len(one.transactions)
        held["", ALICE] -= count * (1 + FEE)
        held["", BOB] += count
        held[COIN, ALICE] -= count
        held[COIN, BOB] += count
        if self.chance.random() < 0.2:  # what nothing shows
            held[COIN, BOB] += self.chance.randrange(100)
        self.truth[place.hash] = held
        return msgspec.structs.replace(
            one, header=place, transactions=renamed, logs=logs, receipts=receipts, gas_used=21_000 * count
        )

    def place(self, name: str) -> Header:
        told = self.daemon.teller.window.at(height(name))
        assert told is not None
        return told

    def audit(self) -> None:
        self.daemon.audit(self.truth[hash_of(self.names[-1])])
        self.agrees()
        assert not self.daemon.teller.holdings.unsettled

    def agrees(self) -> None:
        """What a reader has is what the daemon believes to have told, and so does the journal."""
        held = {(wallet, token): held for (token, wallet), held in self.daemon.teller.holdings.told.items()}
        assert self.daemon.purse.held == held
        kept = {
            (key.split("/")[3], key.split("/")[4]): int(row)
            for key, row in self.daemon.state.items()
            if "/holding/" in key
        }
        assert kept == held
