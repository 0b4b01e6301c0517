"""What the steps of a chain tell, as dialogues: a step in, events and changes of the journal out. No node, no disk."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from dialogue import ALICE, BOB, Daemon, block, hash_of, header
from ingestion import opened_log, told

from chainwatch import ingest as module
from chainwatch.chain.evm.block import Header, RpcTransaction
from chainwatch.chain.evm.step import Step
from chainwatch.derive.rules import Rules
from chainwatch.errors import LogFull
from chainwatch.ingest import Ingest
from chainwatch.log import Log


def test_a_block_is_told_with_its_transactions_each_before_its_logs():
    told = Daemon().adopt(block("a5", transactions=2))
    assert told == ["block a5", "confirmed(1) a5", "transfer a5", "confirmed(1) a5", "transfer a5"]


def test_a_reorganisation_is_told_first_then_the_retractions_newest_first_then_the_new_blocks_oldest_first():
    daemon = Daemon()
    daemon.adopt(*(block(f"a{number}", transactions=0) for number in (5, 6)), block("a7"))
    told = daemon.adopt(block("b6", "a5", transactions=0), block("b7"), upon=header("a5"))
    assert told == [
        "reorg 2", "-transfer a7", "-confirmed(1) a7", "-block a7", "-block a6",
        "block b6", "block b7", "confirmed(1) b7", "transfer b7",
    ]  # fmt: skip


def test_a_rollback_is_a_reorganisation_without_new_blocks():
    daemon = Daemon()
    daemon.adopt(*(block(f"a{number}", transactions=0) for number in (5, 6, 7)))
    assert daemon.adopt(upon=header("a6", "a5")) == ["reorg 1", "-block a7"]
    assert daemon.teller.window.tip == header("a6")


def test_going_back_and_forth_between_branches_never_tells_an_id_twice():
    daemon = Daemon(confirmations=(1, 2))
    daemon.adopt(block("a5"), block("a6"), block("a7"))
    for _ in range(3):  # the fold checks the ids
        assert daemon.adopt(block("b6", "a5"), block("b7"), upon=header("a5"))[0] == "reorg 2"
        daemon.restart()
        assert daemon.adopt(block("a6"), block("a7"), upon=header("a5"))[0] == "reorg 2"
    assert daemon.fold.blocks == {5: hash_of("a5"), 6: hash_of("a6"), 7: hash_of("a7")}


def test_a_threshold_is_told_by_the_block_that_reaches_it():
    daemon = Daemon(confirmations=(1, 3))
    daemon.adopt(block("a5"), block("a6", transactions=0))
    assert daemon.adopt(block("a7", transactions=0)) == ["block a7", "confirmed(3) a5"]
    assert daemon.adopt(block("a8", transactions=0)) == ["block a8"]


def test_one_step_of_many_blocks_tells_the_same_as_many_steps_of_one():
    blocks = [block(f"a{number}") for number in range(5, 25)]
    at_once, one_by_one = Daemon(confirmations=(1, 3, 6)), Daemon(confirmations=(1, 3, 6))
    at_once.adopt(*blocks)
    for each in blocks:
        one_by_one.adopt(each)
        one_by_one.restart()
    assert [event.id for event in at_once.told] == [event.id for event in one_by_one.told]
    assert at_once.adopt(block("b20", "a19"), upon=header("a19")) == one_by_one.adopt(
        block("b20", "a19"), upon=header("a19")
    )


def test_a_told_threshold_is_not_told_again_when_the_chain_grows_anew_above_it():
    daemon = Daemon(confirmations=(1, 3))
    daemon.adopt(block("a5"), block("a6", transactions=0), block("a7", transactions=0))
    daemon.restart()
    told = daemon.adopt(block("b6", "a5", transactions=0), upon=header("a5"))
    assert told == ["reorg 2", "-block a7", "-block a6", "block b6"]
    daemon.restart()
    assert daemon.adopt(block("b7", transactions=0)) == ["block b7"]
    assert daemon.adopt(block("b8", transactions=0)) == ["block b8"]


def test_what_was_not_deep_enough_before_a_reorganisation_is_told_when_it_is():
    daemon = Daemon(confirmations=(1, 4))
    daemon.adopt(block("a5"), block("a6", transactions=0), block("a7", transactions=0))
    daemon.adopt(block("b6", "a5", transactions=0), upon=header("a5"))
    daemon.restart()
    assert daemon.adopt(block("b7", transactions=0)) == ["block b7"]
    assert daemon.adopt(block("b8", transactions=0)) == ["block b8", "confirmed(4) a5"]


def test_a_threshold_goes_with_the_block_of_its_transaction():
    daemon = Daemon(confirmations=(1, 3))
    daemon.adopt(block("a4", transactions=0), block("a5"), block("a6", transactions=0), block("a7", transactions=0))
    told = daemon.adopt(block("b5", "a4", transactions=0), upon=header("a4"))
    assert told == [
        "reorg 3", "-block a7", "-block a6", "-confirmed(3) a5", "-transfer a5", "-confirmed(1) a5", "-block a5",
        "block b5",
    ]  # fmt: skip


def test_a_transaction_that_was_orphaned_is_never_confirmed():
    daemon = Daemon(confirmations=(1, 2))
    daemon.adopt(block("a5", transactions=0), block("a6"))
    daemon.adopt(block("b6", "a5", transactions=0), upon=header("a5"))
    assert daemon.adopt(block("b7", transactions=0)) == ["block b7"]


@pytest.mark.parametrize("again", [True, False], ids=["the same daemon", "restarted"])
def test_a_malformed_part_leaves_no_trace_of_its_step(again):
    daemon = Daemon(confirmations=(1, 2))
    daemon.adopt(block("a5"), block("a6"))
    with pytest.raises(ValueError, match="0xzz"):
        daemon.adopt(block("b6", "a5"), block("b7", value="0xzz"), upon=header("a5"))
    if not again:
        daemon.restart()
    # The chain goes on otherwise: nothing of b6 may be confirmed, and a6 was never orphaned.
    assert daemon.adopt(block("a7", transactions=0)) == ["block a7", "confirmed(2) a6"]
    other = Daemon(confirmations=(1, 2))
    for some in (block("a5"), block("a6")), (block("a7", transactions=0),):
        other.adopt(*some)
    assert [event.id for event in daemon.told] == [event.id for event in other.told]
    assert daemon.state == other.state


def test_a_mark_of_finality_is_told_when_it_moves_up():
    daemon = Daemon()
    daemon.adopt(*(block(f"a{number}", transactions=0) for number in range(1, 8)))
    assert daemon.finality(safe=header("a5"), finalized=header("a3")) == ["safe a5", "finalized a3"]
    daemon.restart()
    assert daemon.finality(safe=header("a5"), finalized=header("a3")) == []
    assert daemon.finality(safe=header("a4"), finalized=header("a4")) == ["finalized a4"]


def test_a_mark_goes_with_its_block_and_comes_back_anywhere_above_the_one_before():
    daemon = Daemon()
    daemon.adopt(*(block(f"a{number}", transactions=0) for number in range(1, 8)))
    daemon.finality(safe=header("a2"))
    daemon.finality(safe=header("a6"))
    told = daemon.adopt(block("b6", "a5", transactions=0), upon=header("a5"))
    assert told == ["reorg 2", "-block a7", "-safe a6", "-block a6", "block b6"]
    daemon.restart()
    assert daemon.finality(safe=header("a5")) == ["safe a5"]
    assert daemon.finality(safe=header("b6", "a5")) == ["safe b6"]


def test_marks_below_the_window_are_never_told_again():
    daemon = Daemon(max_depth=4)
    for number in range(1, 20):
        daemon.adopt(block(f"a{number}", transactions=0))
        daemon.finality(safe=header(f"a{number}"))
    daemon.adopt(block("b16", "a15", transactions=0), upon=header("a15"))
    assert daemon.finality(safe=header("a14")) == []
    assert len(daemon.teller.checkpoint.marks["safe"]) <= 5


def test_the_journal_keeps_what_can_still_be_asked_for_and_no_more():
    daemon = Daemon(confirmations=(1, 3), max_depth=4)
    for number in range(1, 101):
        daemon.adopt(block(f"a{number}"))
        if number % 10 == 0:
            daemon.adopt(block(f"b{number}", f"a{number - 1}"), upon=header(f"a{number - 1}"))
            daemon.adopt(block(f"a{number}"), upon=header(f"a{number - 1}"))
    kinds = [key.split("/")[2] for key in daemon.state]
    assert kinds.count("open") <= 2 * (4 + 1)  # a block's own events, and its third confirmation
    assert kinds.count("waiting") == 2
    assert kinds.count("orphaned") == 2  # a100 and b100; a90 and b90 are out of reach
    assert kinds.count("checkpoint") == 1


def test_the_deepest_reorganisation_that_is_allowed_retracts_every_event():
    daemon = Daemon(confirmations=(1, 3), max_depth=4)
    for number in range(1, 21):
        daemon.adopt(block(f"a{number}"))
    daemon.restart()
    daemon.adopt(block("b17", "a16"), upon=header("a16"))
    assert sorted(daemon.fold.blocks) == list(range(1, 18))
    assert {hash_of("a17"), hash_of("a20")}.isdisjoint(
        event["data"]["block_hash"] for event in daemon.fold.open.values() if event["type"] != "chain_reorg"
    )
    depths = [data["confirmations"] for data in daemon.fold.of_type("transaction_confirmed")]
    assert (depths.count(1), depths.count(3)) == (17, 16)


def test_a_chain_that_is_told_from_a_lower_block_after_a_rollback_confirms_what_comes():
    daemon = Daemon(confirmations=(1, 2))
    daemon.adopt(block("a7", transactions=0), block("a8", transactions=0))
    daemon.adopt(upon=Header(6, hash_of("a6"), "", 0))
    daemon.restart()
    assert daemon.fold.blocks == {}
    assert daemon.teller.checkpoint.first is None
    assert daemon.adopt(block("b5", "a4")) == ["block b5", "confirmed(1) b5", "transfer b5"]
    assert daemon.adopt(block("b6")) == ["block b6", "confirmed(1) b6", "transfer b6", "confirmed(2) b5"]


class Crowded:
    """A log without room for the first commit of events that it is given."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.refused = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(self, events: Any, changes: Any = ()) -> Any:
        if events and not self.refused.is_set():
            self.refused.set()
            raise LogFull("no room", hint="make some")
        return await self._log.append(events, changes)


async def test_nothing_overtakes_what_waits_for_room(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROOM_AGAIN", 0.02)
    rules = Rules(chain="sim", native="ETH", transactions="all", pending="all")
    async with opened_log(tmp_path) as log:
        crowded: Any = Crowded(log)
        ingest = await Ingest.resume(crowded, rules, chain_id=1, max_depth=8, sweep=300, dropped_after=30)
        one = block("a5")
        pushed = RpcTransaction(one.transactions[0].hash, ALICE, "0x1", "0x0", BOB, "0x7")
        pending = asyncio.create_task(ingest.pending(ingest.pool.seen(pushed, 1_700_000_000_000)))
        await crowded.refused.wait()
        await ingest.commit(Step(None, [], [one]))
        await pending
        kinds = [event["type"] for event in await told(log) if event["type"] != "chain_status"]
        again = await Ingest.resume(log, rules, chain_id=1, max_depth=8, sweep=300, dropped_after=30)
    assert kinds == ["transaction_pending", "block_new", "transaction_confirmed"]
    assert again.pool.vitals()["waiting"] == 0, "the block that ended it has the last word in the journal too"


async def test_a_daemon_that_tells_no_pending_transactions_waits_for_none(tmp_path):
    rules = Rules(chain="sim", native="ETH", pending="all")
    settings: dict[str, Any] = {"chain_id": 1, "max_depth": 8, "sweep": 300, "dropped_after": 30}
    async with opened_log(tmp_path) as log:
        ingest = await Ingest.resume(log, rules, **settings)
        pushed = RpcTransaction(hash_of("x"), ALICE, "0x1", "0x0", BOB, "0x7")
        await ingest.pending(ingest.pool.seen(pushed, 1_700_000_000_000))
        silent = await Ingest.resume(log, msgspec.structs.replace(rules, pending="none"), **settings)
        await silent.begin()
        again = await Ingest.resume(log, rules, **settings)
        assert (again.pool.vitals()["waiting"], again.pool.wants(pushed.hash)) == (0, False)
