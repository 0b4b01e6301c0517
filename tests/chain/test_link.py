"""The life of a connection as a dialogue: what happened, what to do; and which endpoint to use."""

from random import Random

import pytest

from chainwatch.chain.evm.link import (
    HELD,
    LONGEST_ASKED,
    LONGEST_WAIT,
    WRONG_CHAIN_WAIT,
    Dropped,
    Due,
    Identified,
    Identify,
    Limited,
    Link,
    Open,
    Opened,
    Serve,
    Standing,
    Subscribe,
    Subscribed,
    Wait,
    choose,
)


@pytest.fixture
def link() -> Link:
    return Link(1, Random(1))


def bring_up(link: Link, now: float) -> None:
    assert link.receive(Due(), now) == Open()
    assert link.receive(Opened(), now) == Identify()
    assert link.receive(Identified(1), now) == Subscribe()
    assert link.receive(Subscribed(), now) == Serve()
    assert link.ready


def test_a_connection_is_opened_identified_subscribed_and_serves(link):
    bring_up(link, 0.0)


def test_an_endpoint_of_another_chain_is_never_used_and_looked_at_again(link):
    link.receive(Due(), 0.0)
    link.receive(Opened(), 0.0)
    assert link.receive(Identified(56), 0.0) == Wait(WRONG_CHAIN_WAIT)
    assert (link.state, link.reason) == ("refused", "it serves chain id 56, not 1")
    assert link.receive(Due(), 60.0) == Open()


def test_waits_double_with_jitter_up_to_a_limit_and_never_end(link):
    waits = []
    for _ in range(40):
        assert link.receive(Due(), 0.0) == Open()
        action = link.receive(Dropped("refused"), 0.0)
        assert isinstance(action, Wait)
        waits.append(action.seconds)
    for index, seconds in enumerate(waits):
        full = min(0.25 * 2**index, LONGEST_WAIT)
        assert full / 2 <= seconds <= full


def test_a_connection_that_held_starts_over_with_a_short_wait(link):
    for _ in range(6):
        link.receive(Due(), 0.0)
        link.receive(Dropped("refused"), 0.0)
    bring_up(link, 100.0)
    assert link.receive(Dropped("gone"), 100.0 + HELD).seconds <= 0.25


def test_a_connection_that_flaps_does_not_start_over(link):
    for _ in range(6):
        link.receive(Due(), 0.0)
        link.receive(Dropped("refused"), 0.0)
    bring_up(link, 100.0)
    assert link.receive(Dropped("gone"), 101.0).seconds > 1.0


def test_retry_after_is_the_least_wait(link):
    link.receive(Due(), 0.0)
    assert link.receive(Limited("HTTP 429", 17.0), 0.0) == Wait(17.0)
    assert link.state == "limited"


def standing(*, ready=True, head=100, behind_since=None, benched_until=0.0, ready_since=0.0) -> Standing:
    return Standing(ready, head, behind_since, benched_until, ready_since)


def test_the_first_good_endpoint_is_used():
    assert choose([standing(), standing()], 50.0, grace=3.0) == 0


def test_the_next_one_is_used_while_the_first_is_not_ready():
    assert choose([standing(ready=False), standing()], 50.0, grace=3.0, current=0) == 1


def test_a_node_that_is_behind_is_left_after_a_grace():
    behind = standing(head=90, behind_since=49.0)
    assert choose([behind, standing()], 50.0, grace=3.0, current=0) == 0
    assert choose([behind, standing()], 53.0, grace=3.0, current=0) == 1


def test_a_preferred_endpoint_that_comes_back_must_hold_before_it_is_used_again():
    back = standing(ready_since=49.0)
    assert choose([back, standing()], 50.0, grace=3.0, current=1) == 1
    assert choose([back, standing()], 52.5, grace=3.0, current=1) == 0


def test_the_last_endpoint_is_never_disabled():
    bad = standing(head=10, behind_since=0.0, benched_until=99.0)
    assert choose([bad, standing(ready=False)], 50.0, grace=3.0, current=0) == 0


def test_of_bad_ones_the_least_bad_is_used():
    assert choose([standing(benched_until=99.0), standing(benched_until=60.0)], 50.0, grace=3.0) == 1


def test_none_is_used_where_none_is_ready():
    assert choose([standing(ready=False)], 50.0, grace=3.0) is None


def test_an_endpoint_that_asks_for_a_year_is_tried_again_before(link):
    link.receive(Due(), 0.0)
    assert link.receive(Limited("HTTP 429", float("inf")), 0.0) == Wait(LONGEST_ASKED)
