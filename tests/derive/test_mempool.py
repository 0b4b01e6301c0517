"""The pool as a dialogue: what is pushed, included, orphaned, answered; and what that tells. No node, no clock."""

from __future__ import annotations

import msgspec
import pytest
from fold import Fold
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chainwatch.chain.evm.block import Block, Header, RpcTransaction
from chainwatch.derive.mempool import ASKED, Pool, Told, Waiting
from chainwatch.derive.rules import Rules
from chainwatch.event import Event, encode, retraction

ALICE, BOB, CAROL, SHOP = ("0x" + digit * 40 for digit in "abcd")
START = 1_700_000_000_000
SECOND = 1000
WATCHED = Rules(chain="sim", native="ETH", pending="watched", wallets=frozenset({ALICE}))
ALL = Rules(chain="sim", native="ETH", pending="all", wallets=frozenset({ALICE}))


def hash_of(name: str) -> str:
    return "0x" + name.encode().hex().rjust(64, "0")


def tx(
    name: str, nonce: int = 0, *, sender: str = ALICE, to: str | None = BOB, value: int = 5, fee: int = 10,
    data: str = "0x", mined: int | None = None,
) -> RpcTransaction:  # fmt: skip
    """A transaction; `mined`: in a block at that height, as the node says."""
    return RpcTransaction(
        hash=hash_of(name), from_=sender, value=hex(value), nonce=hex(nonce), to=to, max_fee_per_gas=hex(fee),
        max_priority_fee_per_gas="0x1", input=data, block_number=None if mined is None else hex(mined),
        block_hash=None if mined is None else hash_of("some block"),
    )  # fmt: skip


def header(name: str) -> Header:
    number = int(name[1:])
    return Header(number, hash_of(name), hash_of(f"{name[0]}{number - 1}"), START // 1000 + number)


def block(name: str, *transactions: RpcTransaction) -> Block:
    place = header(name)
    return Block(
        header=place, transaction_count=len(transactions), gas_used=0, gas_limit=0, base_fee_per_gas=None,
        transactions=list(transactions), receipts=[], logs=[], arrived=place.timestamp * 1000 + 300,
    )  # fmt: skip


class House:
    """A pool, and the journal and the reader beside it."""

    def __init__(self, rules: Rules = WATCHED, **more: float) -> None:
        self.rules = rules
        self.more = {"dropped_after": 30.0, "max_depth": 3} | more
        self.journal: dict[str, bytes] = {}
        self.fold = Fold()
        self.of_block: dict[str, list[Event]] = {}
        self.orphaned_before: dict[str, int] = {}
        self.now = START
        self.events: list[Event] = []
        self.restart()

    def restart(self) -> None:
        kept = [msgspec.json.decode(row, type=Waiting) for row in self.journal.values()]
        self.pool = Pool(self.rules, kept, **self.more)  # type: ignore[arg-type]

    def commit(self, told: Told) -> list[str]:
        for one in told.keep:
            self.journal[one.hash] = msgspec.json.encode(one)
        for tx_hash in told.forget:
            self.journal.pop(tx_hash, None)
        return self.tell(told.events)

    def tell(self, events: list[Event]) -> list[str]:
        for event in events:
            self.fold.apply(msgspec.json.decode(encode(event)))
        self.events += events
        return [in_short(event) for event in events]

    def sees(self, transaction: RpcTransaction) -> list[str]:
        return self.commit(self.pool.seen(transaction, self.now))

    def includes(self, told: Block) -> list[str]:
        self.now = max(self.now, told.arrived)
        found = self.pool.included(told, self.orphaned_before.get(told.header.hash, 0))
        self.of_block[told.header.hash] = found.events
        return self.commit(found)

    def orphans(self, *names: str) -> list[str]:
        """Newest first, as their events are retracted."""
        told = []
        for name in names:
            self.orphaned_before[hash_of(name)] = self.orphaned_before.get(hash_of(name), 0) + 1
            gone = self.of_block.pop(hash_of(name), [])
            told += self.tell([retraction(event, "2026-01-01T00:00:00.000Z") for event in reversed(gone)])
        return told + self.commit(self.pool.orphaned([header(name) for name in reversed(names)]))

    def waits(self, seconds: float, **known: RpcTransaction | None) -> list[str]:
        """Time goes by; whenever the pool asks, the node knows these transactions, and no others."""
        told, until = [], self.now + int(seconds * SECOND)
        answers = {hash_of(name): found for name, found in known.items()}
        while self.now < until:
            self.now = min(until, self.now + SECOND)
            for tx_hash in self.pool.due(self.now):
                told += self.commit(self.pool.answered(tx_hash, answers.get(tx_hash), self.now))
            told += self.commit(self.pool.expire(self.now))
        return told

    def end_of(self, name: str) -> list[str]:
        """What stands of a transaction but that it is pending."""
        kinds = ("transaction_replaced", "transaction_dropped")
        return [kind for kind in kinds for data in self.fold.of_type(kind) if data["tx_hash"] == hash_of(name)]


def in_short(event: Event) -> str:
    data = event.data
    name = bytes.fromhex(data.tx_hash[2:]).decode().strip("\0")
    minus = "-" if event.removed else ""
    match event.type:
        case "transaction_pending":
            return f"{minus}pending {name}"
        case "transaction_replaced":
            by = bytes.fromhex(data.replaced_by[2:]).decode().strip("\0")
            where = "" if data.block_number is None else f" in {data.block_number}"
            return f"{minus}{name} replaced by {by} ({data.kind}){where}"
    return f"{minus}{name} dropped ({data.reason})"


# --- told once ----------------------------------------------------------------------------------------------------


def test_a_pending_transaction_is_told_once_whoever_pushes_it_and_after_a_restart():
    house = House()
    assert house.sees(tx("one", 7)) == ["pending one"]
    assert house.sees(tx("one", 7)) == []
    house.restart()
    assert house.sees(tx("one", 7)) == []
    assert not house.pool.wants(hash_of("one"))
    data = house.events[0].data
    assert (data.amount, data.nonce, data.direction, data.max_fee_per_gas) == ("5", 7, "outgoing", "10")
    assert (data.from_, data.to) == (
        "0xaAaAaAaaAaAaAaaAaAAAAAAAAaaaAaAaAaaAaaAa",
        "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB",
    )
    assert house.events[0].observed_at == "2023-11-14T22:13:20.000Z"


def test_only_what_touches_a_wallet_is_told_where_wallets_are_watched():
    house = House()
    assert house.sees(tx("a stranger's", sender=BOB, to=CAROL)) == []
    assert house.sees(tx("to Alice", sender=BOB, to=ALICE)) == ["pending to Alice"]
    assert house.sees(tx("creates", 1, to=None)) == ["pending creates"]
    assert [event.data.direction for event in house.events] == ["incoming", "outgoing"]
    assert House(ALL).sees(tx("a stranger's", sender=BOB, to=CAROL)) == ["pending a stranger's"]
    none = House(msgspec.structs.replace(ALL, pending="none"))
    assert none.sees(tx("one")) == []
    assert not none.pool.wants(hash_of("one"))


def test_what_a_block_has_already_is_not_told_as_pending_even_after_a_restart():
    house = House()
    house.includes(block("a1", tx("one", 4)))
    assert house.sees(tx("one", 4)) == []
    house.restart()
    assert house.sees(tx("one", 4)) == []
    assert house.sees(tx("its rival, late", 4, fee=20)) == []
    assert house.sees(tx("next", 5)) == ["pending next"]


def test_a_lookup_that_finds_it_in_a_block_tells_nothing():
    assert House().sees(tx("one", mined=4)) == []


@pytest.mark.parametrize(
    "bad",
    [
        {"from_": ALICE[:-1]}, {"to": "0x<script>"}, {"value": "0x1" + "0" * 64}, {"nonce": "0x1" + "0" * 16},
        {"nonce": "one"}, {"hash": "0xabc"}, {"max_fee_per_gas": "-0x1"},
    ],
)  # fmt: skip
def test_a_malformed_transaction_is_an_error_and_leaves_nothing_behind(bad):
    house = House(ALL)
    told = msgspec.structs.replace(tx("one"), **bad)
    with pytest.raises(ValueError, match=r"."):
        house.sees(told)
    assert house.pool.vitals()["waiting"] == 0
    assert house.sees(tx("one")) == ["pending one"]


# --- ends ---------------------------------------------------------------------------------------------------------


def test_a_transaction_that_is_included_ends_quietly():
    house = House()
    house.sees(tx("one"))
    assert house.includes(block("a1", tx("one"))) == []
    assert house.waits(4 * 3600) == []


def test_one_that_pays_more_is_a_speed_up_and_one_that_does_nothing_a_cancel():
    house = House()
    house.sees(tx("one"))
    assert house.sees(tx("two", fee=12)) == ["pending two", "one replaced by two (speed_up)"]
    told = house.sees(tx("three", fee=14, to=ALICE, value=0))
    assert told == ["pending three", "two replaced by three (cancel)"]
    assert house.includes(block("a1", tx("three", fee=14, to=ALICE, value=0))) == []
    assert [event.data.block_number for event in house.events if event.type == "transaction_replaced"] == [None, None]


@pytest.mark.parametrize("other", [{"value": 1}, {"data": "0x01"}, {"to": BOB}, {"to": None}])
def test_only_what_does_nothing_cancels(other):
    house = House()
    house.sees(tx("one"))
    told = house.sees(tx("two", fee=12, **({"to": ALICE, "value": 0} | other)))
    assert told[-1] == "one replaced by two (speed_up)"


def test_a_stranger_takes_back_what_he_was_about_to_send():
    """The replacement touches no wallet: it is not told itself."""
    house = House()
    house.sees(tx("gift", sender=BOB, to=ALICE))
    assert house.sees(tx("no gift", sender=BOB, to=BOB, value=0, fee=20)) == ["gift replaced by no gift (cancel)"]


def test_what_was_replaced_before_it_was_seen_is_not_told():
    house = House()
    house.sees(tx("two", fee=12))
    assert house.sees(tx("one", fee=10)) == []
    assert house.waits(20, two=tx("two", fee=12)) == []


def test_a_replacement_that_nobody_saw_is_told_with_its_block():
    house = House()
    house.sees(tx("one"))
    assert house.includes(block("a1", tx("two"))) == ["one replaced by two (speed_up) in 1"]
    event = house.events[-1]
    assert event.data.block_hash == hash_of("a1")
    assert event.timestamp == "2023-11-14T22:13:21.000Z"
    assert house.waits(3600) == []


def test_the_older_one_can_be_mined_after_all_and_then_the_newer_one_is_replaced():
    house = House()
    house.sees(tx("one"))
    house.sees(tx("two", fee=12))
    assert house.includes(block("a1", tx("one"))) == ["two replaced by one (speed_up) in 1"]
    assert house.waits(3600) == []


def test_a_later_nonce_in_a_block_ends_what_nobody_will_include():
    house = House()
    house.sees(tx("one", 3))
    house.sees(tx("two", 4))
    assert house.includes(block("a1", tx("later", 5))) == ["one dropped (nonce_used)", "two dropped (nonce_used)"]


def test_what_the_node_does_not_know_any_more_is_dropped_after_a_while_and_not_before():
    house = House()
    house.sees(tx("one"))
    assert house.waits(25, one=tx("one")) == []
    assert house.waits(29) == []
    assert house.waits(30) == ["one dropped (gone)"]
    assert house.waits(3600) == []
    assert house.sees(tx("one")) == []


def test_a_node_that_knows_it_again_gives_it_a_new_time():
    house = House()
    house.sees(tx("one"))
    house.waits(35)
    assert house.waits(30, one=tx("one")) == []
    assert house.waits(29) == []
    assert house.waits(20) == ["one dropped (gone)"]


def test_a_nonce_that_was_used_by_what_nobody_saw_is_the_reason():
    house = House()
    house.sees(tx("one", 7))
    house.waits(15)
    house.pool.nonce(ALICE, 8)
    assert house.waits(40) == ["one dropped (nonce_used)"]


def test_what_a_node_has_in_a_block_that_is_yet_to_be_told_waits_for_it():
    house = House()
    house.includes(block("a1"))
    house.sees(tx("one"))
    assert house.waits(4 * 3600, one=tx("one", mined=2)) == []
    assert house.includes(block("a2", tx("one"))) == []
    assert house.waits(4 * 3600) == []


def test_what_a_node_has_in_a_block_that_nobody_will_tell_does_not_wait_for_ever():
    house = House()
    house.includes(block("a9"))
    house.sees(tx("one"))
    assert house.waits(60, one=tx("one", mined=5)) == ["one dropped (nonce_used)"]


def test_nothing_waits_for_ever():
    house = House(expires_after=600.0)
    house.sees(tx("one"))
    assert house.waits(599, one=tx("one")) == []
    assert house.waits(2, one=tx("one")) == ["one dropped (expired)"]


def test_a_restart_gives_what_waits_its_time_again():
    house = House()
    house.sees(tx("one"))
    house.waits(35)
    house.restart()
    assert house.waits(29) == []
    assert house.waits(12) == ["one dropped (gone)"]


# --- reorganisations ----------------------------------------------------------------------------------------------


def test_what_was_in_an_orphaned_block_waits_again_and_is_not_told_again():
    house = House()
    house.sees(tx("one"))
    house.includes(block("a1"))
    house.includes(block("a2", tx("one")))
    house.restart()
    assert house.orphans("a2") == []
    assert house.sees(tx("one")) == []
    assert house.waits(60, one=tx("one")) == []
    assert house.includes(block("b2")) == []
    assert house.waits(60) == ["one dropped (gone)"]


def test_what_an_orphaned_block_replaced_waits_again():
    house = House()
    house.sees(tx("one"))
    house.includes(block("a2", tx("two")))
    assert house.orphans("a2") == ["-one replaced by two (speed_up) in 2"]
    assert house.end_of("one") == []
    house.restart()
    assert house.includes(block("b2", tx("one"))) == []
    house.orphans("b2")
    assert house.includes(block("a2", tx("two"))) == ["one replaced by two (speed_up) in 2"]


def test_a_nonce_that_only_an_orphaned_block_used_is_free_again():
    house = House()
    house.sees(tx("one", 3))
    house.includes(block("a2", tx("later", 5)))
    assert house.orphans("a2") == ["-one dropped (nonce_used)"]
    assert house.includes(block("b2", tx("one", 3))) == []


def test_when_the_winner_of_an_orphaned_block_is_all_that_the_node_knows_the_loser_is_replaced():
    house = House()
    house.sees(tx("one"))
    house.sees(tx("two", sender=ALICE, fee=9, to=CAROL))  # pays less: not told
    house.includes(block("a2", tx("two", fee=9)))
    house.orphans("a2")
    house.sees(tx("two, too", fee=30))
    assert house.end_of("one") == ["transaction_replaced"]

    other = House()
    other.sees(tx("old"))
    other.sees(tx("new", fee=10))  # neither pays less
    assert other.events[-1].type == "transaction_replaced"


def test_both_wait_when_an_orphaned_block_had_decided_and_the_node_tells_which_is_left():
    house = House()
    house.sees(tx("kept"))
    house.includes(block("a2", tx("kept")))
    house.orphans("a2")
    house.sees(tx("rival", fee=10, to=CAROL))
    assert house.end_of("kept") == ["transaction_replaced"]
    assert house.includes(block("b2", tx("kept"))) == ["rival replaced by kept (speed_up) in 2"]


def test_what_was_never_told_as_pending_can_be_told_when_its_block_is_gone():
    house = House()
    house.includes(block("a1", tx("one")))
    assert house.sees(tx("one")) == []
    house.orphans("a1")
    assert house.sees(tx("one")) == ["pending one"]


def test_what_is_deep_enough_is_remembered_by_its_hash_alone():
    house = House(remembered=2)
    for nonce in range(5):
        house.sees(tx(f"t{nonce}", nonce))
    house.includes(block("a1", *(tx(f"t{nonce}", nonce) for nonce in range(5)), tx("private", 5)))
    assert len(house.journal) == 6
    for number in range(2, 6):
        house.includes(block(f"a{number}"))
    assert len(house.journal) == 2
    assert all(b"payload" not in row for row in house.journal.values())


# --- limits -------------------------------------------------------------------------------------------------------


def test_where_pending_transactions_are_told_no_more_nothing_waits_and_nothing_comes_back():
    house = House()
    house.sees(tx("x"))
    house.sees(tx("y", 1))
    house.includes(block("a7", tx("x"), tx("z", 0, sender=ALICE)))
    house.rules = msgspec.structs.replace(WATCHED, pending="none")
    house.restart()
    assert house.commit(house.pool.close()) == []
    assert house.pool.vitals()["waiting"] == 0
    assert hash_of("z") not in house.journal
    assert house.orphans("a7") == []
    # Told again: y went into a block that nobody looked at.
    house.rules = WATCHED
    house.restart()
    assert not house.pool.close()
    assert house.sees(tx("y", 1)) == []
    assert house.waits(120, y=tx("y", 1, mined=8)) == []


def test_when_there_is_no_room_only_what_touches_wallets_is_taken():
    house = House(ALL, most=3)
    for nonce in range(5):
        house.sees(tx(f"s{nonce}", nonce, sender=BOB, to=CAROL))
    assert house.pool.turned_away == 2
    assert house.sees(tx("mine")) == ["pending mine"]
    house.includes(block("a1", tx("s0", 0, sender=BOB, to=CAROL), tx("s1", 1, sender=BOB, to=CAROL)))
    assert house.sees(tx("s4", 4, sender=BOB, to=CAROL)) == ["pending s4"]


def test_a_node_is_asked_little_at_a_time_and_each_in_its_turn():
    house = House(ALL)
    for nonce in range(3 * ASKED):
        house.sees(tx(f"t{nonce}", nonce))
    assert house.pool.due(house.now + 9 * SECOND) == []
    rounds = [house.pool.due(house.now + 11 * SECOND) for _ in range(4)]
    assert [len(asked) for asked in rounds] == [ASKED, ASKED, ASKED, 0]
    assert len({tx_hash for asked in rounds for tx_hash in asked}) == 3 * ASKED


def test_a_clock_that_is_set_back_does_not_end_the_questions():
    house = House()
    house.sees(tx("one"))
    assert house.pool.due(house.now - 3600 * SECOND) == [hash_of("one")]


def test_a_block_of_nonsense_numbers_is_no_reason_to_stop():
    house = House(ALL)
    house.sees(tx("one"))
    strange = msgspec.structs.replace(tx("strange"), nonce="0xzz", value="?")
    assert house.includes(block("a1", strange)) == []
    assert house.includes(block("a2", msgspec.structs.replace(tx("two", to=ALICE), value="?"))) != []


def test_an_answer_about_another_transaction_is_none():
    house = House()
    house.sees(tx("one"))
    with pytest.raises(ValueError, match="another"):
        house.pool.answered(hash_of("one"), tx("two"), house.now)


# --- whatever happens ---------------------------------------------------------------------------------------------


class Anything(RuleBasedStateMachine):
    """
    Few senders, few nonces, several rivals for each, and a chain that is reorganised. The rest of the world is honest:
    a chain has one transaction for each nonce, in order.
    """

    @initialize(everything=st.booleans())
    def begin(self, everything: bool) -> None:
        self.house = House(ALL if everything else WATCHED, dropped_after=3.0, expires_after=60.0)
        self.chain: list[tuple[str, list[RpcTransaction]]] = []
        self.height = self.highest = 0
        self.branch = 0
        self.pending: set[str] = set()
        self.included: set[str] = set()
        self.known: dict[str, RpcTransaction] = {}

    def made(self, sender: int, nonce: int, rival: int) -> tuple[str, RpcTransaction]:
        name = f"{sender}.{nonce}.{rival}"
        return name, tx(
            name, nonce, sender=(ALICE, BOB)[sender], to=(BOB, ALICE)[rival % 2], value=rival % 2, fee=10 + rival
        )

    def note(self, told: list[str]) -> None:
        for line in told:
            if line.startswith("pending "):
                self.pending.add(line.removeprefix("pending "))

    place = st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(0, 2))

    @rule(place=place)
    def is_pushed(self, place: tuple[int, int, int]) -> None:
        name, transaction = self.made(*place)
        if any(one.hash == transaction.hash for _, whole in self.chain[: self.floor] for one in whole):
            return  # nobody pushes what is that old
        told = self.house.sees(transaction)
        self.note(told)
        if f"pending {name}" in told:
            assert name not in self.included, "told as pending while a told block has it"

    @property
    def floor(self) -> int:
        """Blocks up to that height can be orphaned no more."""
        return max(0, self.highest - 4)

    def next_nonce(self, sender: int) -> int:
        return sum(1 for _, names in self.chain for one in names if one.from_ == (ALICE, BOB)[sender])

    @rule(picks=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2)), max_size=3))
    def is_mined(self, picks: list[tuple[int, int]]) -> None:
        self.height += 1
        self.highest = max(self.highest, self.height)
        transactions: list[RpcTransaction] = []
        self.chain.append((f"{chr(97 + self.branch % 26)}{self.height}", transactions))
        for sender, rival in picks:
            if (nonce := self.next_nonce(sender)) < 4:
                name, transaction = self.made(sender, nonce, rival)
                transactions.append(transaction)
                self.included.add(name)
        self.note(self.house.includes(block(self.chain[-1][0], *transactions)))

    @precondition(lambda self: self.height > self.floor)
    @rule(depth=st.integers(1, 4))
    def is_reorganised(self, depth: int) -> None:
        depth = min(depth, self.height - self.floor)
        gone = [self.chain.pop() for _ in range(depth)]
        self.branch += 1
        self.height -= depth
        for _, transactions in gone:
            for one in transactions:
                self.included.discard(bytes.fromhex(one.hash[2:]).decode().strip("\0"))
        self.note(self.house.orphans(*(name for name, _ in gone)))

    @rule()
    def restarts(self) -> None:
        self.house.restart()

    @rule(seconds=st.integers(1, 8), known=st.booleans())
    def time_goes_by(self, seconds: int, known: bool) -> None:
        answers = {}
        if known:
            answers = {
                name: made
                for sender in (0, 1)
                for nonce in range(4)
                for rival in range(3)
                for name, made in [self.made(sender, nonce, rival)]
            }
        self.note(self.house.waits(seconds, **answers))

    @invariant()
    def each_has_at_most_one_end(self) -> None:
        if not hasattr(self, "house"):
            return
        for name in self.pending:
            assert len(self.house.end_of(name)) <= 1, name

    @invariant()
    def what_is_neither_included_nor_ended_waits(self) -> None:
        if not hasattr(self, "house"):
            return
        waiting = {name for name in self.pending if not self.house.end_of(name) and name not in self.included}
        assert self.house.pool.vitals()["waiting"] == len(waiting)

    def teardown(self) -> None:
        if not hasattr(self, "house"):
            return
        self.house.waits(61)
        for name in self.pending:
            assert self.house.end_of(name) or name in self.included, f"{name} waits for ever"
        for _ in range(self.highest - self.height + 5):
            self.is_mined([])
        assert all(b"block_hash" not in row for row in self.house.journal.values())


Anything.TestCase.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
TestAnything = Anything.TestCase
