"""
A price feed as Chainlink has it: a proxy that people know, behind it the aggregator that writes the answers, and now
and then another aggregator, of which no log tells.
"""

from __future__ import annotations

from typing import Final

import msgspec

from chainwatch.chain.simulated.contracts import ACCOUNTS, FEED, PHASE, Read, Revert, aggregator
from chainwatch.chain.simulated.primitives import Dice, Log, padded, selector, topic, word
from chainwatch.chain.simulated.state import Draft

ORACLE: Final = ACCOUNTS[-2]
"""Who reports prices."""
FIRST_ANSWER: Final = 3_000 * 10**8
ANSWER_UPDATED: Final = topic("AnswerUpdated(int256,uint256,uint256)")


class Report(msgspec.Struct, frozen=True):
    """A round: the aggregator gets an answer."""

    target: str
    answer: int
    value: int = 0
    gas: int = 92_000

    def data(self) -> str:
        return selector("transmit(int256)") + word(self.answer)

    def run(self, sender: str, draft: Draft) -> list[Log]:  # noqa: ARG002 - every kind of call has the same `run`
        draft.add((self.target, "round"), 1)
        draft.put((self.target, "answer"), self.answer)
        draft.put((self.target, "updated"), draft.time)
        topics = ANSWER_UPDATED, "0x" + word(self.answer), "0x" + word(draft.get((self.target, "round")))
        return [Log(self.target, topics, "0x" + word(draft.time))]


class Takeover(msgspec.Struct, frozen=True):
    """The proxy gets another aggregator, which has a round already."""

    new: str
    answer: int
    """What it has answered before it took over."""
    target: str = FEED
    value: int = 0
    gas: int = 61_000

    def data(self) -> str:
        return selector("confirmAggregator(address)") + padded(self.new)

    def run(self, sender: str, draft: Draft) -> list[Log]:  # noqa: ARG002
        if self.new != aggregator(draft.get(PHASE) + 1):
            raise Revert("Invalid proposed aggregator")
        draft.add(PHASE, 1)
        draft.put((self.new, "round"), 1)
        draft.put((self.new, "answer"), self.answer)
        draft.put((self.new, "updated"), draft.time)
        return []


def report(dice: Dice, read: Read) -> Report | Takeover:
    """The next answer: up to half a per cent up or down. One in thirty comes with a new aggregator."""
    current = aggregator(read(PHASE))
    answer = (read((current, "answer")) or FIRST_ANSWER) * dice.between(9_950, 10_050) // 10_000
    if dice.one_in(30):
        return Takeover(aggregator(read(PHASE) + 1), answer)
    return Report(current, answer)
