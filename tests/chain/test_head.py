"""What a head means, and how the common ancestor is found: dialogues, without a node."""

import pytest

from chainwatch.chain.evm.block import Header
from chainwatch.chain.evm.head import Ask, Found, Patience, TooDeep, Walk, Window, judge


def chain(first: int, last: int, branch: str = "a", below: str = "") -> list[Header]:
    """Blocks whose hashes read as `a7`: branch and height."""
    blocks = []
    for number in range(first, last + 1):
        parent = below or f"{branch}{number - 1}"
        blocks.append(Header(number, f"{branch}{number}", parent, number))
        below = ""
    return blocks


@pytest.fixture
def window() -> Window:
    return Window(9, chain(1, 10))


def test_a_window_keeps_the_newest(window):
    assert (window.oldest, window.tip.number, len(window)) == (2, 10, 9)


@pytest.mark.parametrize(
    ("head", "verdict"),
    [
        (Header(11, "a11", "a10", 11), "child"),
        (Header(11, "b11", "b10", 11), "ahead"),
        (Header(14, "a14", "a13", 14), "ahead"),
        (Header(10, "a10", "a9", 10), "known"),
        (Header(7, "a7", "a6", 7), "known"),
        (Header(10, "b10", "a9", 10), "fork"),
        (Header(8, "b8", "b7", 8), "fork"),
        (Header(1, "z1", "z0", 1), "behind"),
    ],
)
def test_a_head_is_judged_by_what_was_told(window, head, verdict):
    assert judge(window, head) == verdict


def test_the_first_head_of_all_is_the_first():
    assert judge(Window(9), Header(5, "a5", "a4", 5)) == "first"


def walk_of(window: Window, **limits: int | None) -> Walk:
    return Walk(window, **{"max_depth": 8, "finalized": None, "first": None} | limits)


def test_a_walk_asks_for_parents_until_one_is_known(window):
    b8, b9, b10 = chain(8, 10, "b", below="a7")
    walk = walk_of(window)
    assert walk.receive(b10) == Ask("b9")
    assert walk.receive(b9) == Ask("b8")
    assert walk.receive(b8) == Found(window.at(7))
    assert [header.number for header in window.above(window.at(7))] == [8, 9, 10]


def test_a_block_that_was_told_is_itself_the_ancestor(window):
    assert walk_of(window).receive(window.tip) == Found(window.tip)


def test_depth_counts_what_is_retracted_and_not_what_is_read(window):
    # The node is a million blocks ahead; at our height it still has our block.
    assert walk_of(window, max_depth=1).receive(window.at(10)) == Found(window.at(10))


def test_a_walk_beyond_the_allowed_depth_stops_before_it_asks_for_more(window):
    walk = walk_of(window, max_depth=2)
    assert isinstance(walk.receive(Header(10, "b10", "b9", 10)), Ask)
    told = walk.receive(Header(9, "b9", "b8", 9))
    assert isinstance(told, TooDeep)
    assert "max_reorg_depth = 2" in told.reason


def test_what_is_final_stays(window):
    walk = walk_of(window, finalized=9)
    told = walk.receive(Header(9, "b9", "a8", 9))
    assert isinstance(told, TooDeep)
    assert "finalized" in told.reason


def test_a_chain_that_shares_nothing_with_the_window_is_too_deep(window):
    walk = walk_of(window)
    assert isinstance(walk.receive(Header(2, "b2", "b1", 2)), TooDeep)


def test_all_that_was_ever_told_may_be_orphaned_when_it_is_little():
    window = Window(9, chain(5, 6))
    walk = walk_of(window, first=5)
    assert walk.receive(Header(6, "b6", "b5", 6)) == Ask("b5")
    assert walk.receive(Header(5, "b5", "b4", 5)) == Found(Header(4, "b4", "", 5))


def test_a_rollback_needs_the_same_answer_several_times_and_some_time(window):
    patience, tip, head = Patience(answers=3, seconds=1.0), window.tip, window.at(8)
    assert not patience.missing(tip, head, 0.0)
    assert not patience.missing(tip, head, 0.5)
    assert not patience.missing(tip, head, 0.9)
    assert patience.missing(tip, head, 1.1)


def test_a_node_that_has_the_tip_after_all_resets_the_patience(window):
    patience, tip, head = Patience(answers=2, seconds=0.0), window.tip, window.at(8)
    assert not patience.missing(tip, head, 0.0)
    patience.present()
    assert not patience.missing(tip, head, 1.0)
    assert patience.missing(tip, head, 2.0)


def test_another_lower_head_starts_the_count_anew(window):
    patience = Patience(answers=2, seconds=0.0)
    assert not patience.missing(window.tip, window.at(8), 0.0)
    assert not patience.missing(window.tip, window.at(7), 1.0)


def test_a_rollback_below_where_telling_began_orphans_all_that_was_told():
    window = Window(9, chain(5, 6))
    assert walk_of(window, first=5).receive(Header(3, "a3", "a2", 3)) == Found(Header(4, "a4", "", 5))
    # Below the window is not below all that was told.
    assert isinstance(walk_of(window, first=2).receive(Header(3, "a3", "a2", 3)), TooDeep)
