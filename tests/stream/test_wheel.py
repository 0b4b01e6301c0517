"""One timer for all."""

from __future__ import annotations

from hypothesis import given, strategies as st

from chainwatch.stream.wheel import Wheel


def test_what_is_due_comes_in_the_order_of_time_and_once():
    wheel: Wheel[str] = Wheel(0.5)
    wheel.put("late", 9.0)
    wheel.put("early", 1.2)
    wheel.put("also early", 1.4)
    assert wheel.next() == 1.5
    assert wheel.due(1.49) == []
    assert wheel.due(1.5) == ["early", "also early"]
    assert wheel.due(100) == ["late"]
    assert wheel.next() is None


def test_what_was_taken_out_is_never_due_and_wakes_nobody():
    wheel: Wheel[str] = Wheel(0.5)
    slot = wheel.put("gone", 1)
    wheel.put("stays", 5)
    wheel.discard("gone", slot)
    assert wheel.next() == 5
    wheel.discard("gone", slot)
    assert wheel.due(10) == ["stays"]


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans())), st.lists(st.floats(0, 5), max_size=5))
def test_nothing_is_early_and_nothing_is_later_than_a_slot(things, times):
    wheel: Wheel[int] = Wheel(0.25)
    at = {}
    for thing, (tenths, stays) in enumerate(things):
        slot = wheel.put(thing, tenths / 10)
        if stays:
            at[thing] = tenths / 10
        else:
            wheel.discard(thing, slot)
    assert len(wheel) == len(at)
    for now in sorted(times):
        due = wheel.due(now)
        assert all(at[thing] <= now for thing in due)
        for thing in due:
            del at[thing]
        assert all(when > now - 0.25 for when in at.values())
        following = wheel.next()
        assert (following is None) == (not at)
        assert following is None or following > now
