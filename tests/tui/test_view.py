"""Which events are kept, and which of them are on the screen: without a screen."""

from __future__ import annotations

from hypothesis import given, strategies as st

from chainwatch.tui.ring import Ring
from chainwatch.tui.view import View

HEIGHT = 5


def lines(first, last):
    return [str(number).encode() for number in range(first, last + 1)]


def a_view(count=20, most=10**6):
    view = View(Ring(most))
    view.ring.extend(lines(1, count))
    return view


def seen(view, height=HEIGHT):
    """The lines on the screen, the selected one in brackets."""
    top, shown = view.top(height), view.shown
    return [
        f"[{shown[number].decode()}]" if number == view.selected else shown[number].decode()
        for number in range(top, min(shown.end, top + height))
    ]


def test_old_entries_go_and_numbers_stay():
    ring = Ring(1000)
    for number in range(1000):
        ring.extend([f"{number:08}".encode()])
        assert ring.size <= 1000
    assert (ring.first, ring.end, ring[999]) == (991, 1000, b"00000999")


def test_the_newest_entry_is_kept_however_large_it_is():
    ring = Ring(1000)
    ring.extend([b"a", b"b" * 5000])
    assert (ring.first, ring.end) == (1, 2)


def test_it_follows_at_the_end():
    view = a_view()
    assert seen(view) == ["16", "17", "18", "19", "[20]"]
    view.ring.extend(lines(21, 22))
    assert seen(view) == ["18", "19", "20", "21", "[22]"]
    assert (view.follows, view.new) == (True, 0)


def test_fewer_entries_than_lines_stand_at_the_top():
    assert seen(a_view(2)) == ["1", "[2]"]
    assert seen(a_view(0)) == []


def test_whoever_moves_away_from_the_end_sees_nothing_move():
    view = a_view()
    view.move(-1, HEIGHT)
    view.ring.extend(lines(21, 40))
    assert seen(view) == ["16", "17", "18", "[19]", "20"]
    assert (view.follows, view.new) == (False, 20)


def test_what_is_looked_at_stays_when_the_ring_lets_go_of_it():
    view = a_view(20, most=3000)
    view.move(-1, HEIGHT)
    view.ring.extend(lines(21, 2000))
    assert view.ring.first > 1900
    assert seen(view) == ["16", "17", "18", "[19]", "20"]


def test_moving_below_the_last_one_shows_what_came_and_then_follows():
    view = a_view()
    view.move(-1, HEIGHT)
    view.ring.extend(lines(21, 21))
    view.move(1, HEIGHT)
    assert seen(view)[-1] == "[20]"
    view.move(1, HEIGHT)
    assert (seen(view)[-1], view.follows) == ("[21]", False)
    view.move(1, HEIGHT)
    assert view.follows


def test_the_end_key_follows():
    view = a_view()
    view.to_first(HEIGHT)
    assert seen(view) == ["[1]", "2", "3", "4", "5"]
    view.to_last(HEIGHT)
    assert (seen(view)[-1], view.follows) == ("[20]", True)


def test_a_pause_ends_by_the_same_key_and_by_no_other():
    view = a_view()
    view.pause(HEIGHT)
    view.ring.extend(lines(21, 332))
    assert view.new == 312
    view.move(3, HEIGHT)
    view.scroll(30, HEIGHT)
    view.to_last(HEIGHT)
    assert (seen(view)[-1], view.paused, view.new) == ("[20]", True, 312)
    view.pause(HEIGHT)
    assert (seen(view)[-1], view.paused, view.follows) == ("[332]", False, True)


def test_a_wheel_scrolls_and_follows_again_at_the_end():
    view = a_view()
    view.scroll(-3, HEIGHT)
    assert seen(view) == ["13", "14", "15", "16", "[17]"]
    view.scroll(3, HEIGHT)
    assert view.follows


def test_another_filter_begins_anew():
    view = a_view()
    view.pause(HEIGHT)
    view.clear()
    view.ring.extend(lines(7, 7))
    assert (seen(view), view.paused) == (["[7]"], False)


def test_notes_are_not_saved():
    view = a_view(1)
    view.ring.extend(["a gap", b"2"])
    assert view.shown_lines() == [b"1", b"2"]


KEYS = st.one_of(
    st.tuples(st.sampled_from(["move", "scroll"]), st.integers(-30, 30), st.integers(1, 12)),
    st.tuples(st.sampled_from(["pause", "to_first", "to_last"]), st.integers(1, 12)),
    st.tuples(st.just("come"), st.integers(0, 30)),
    st.tuples(st.just("select"), st.integers(-5, 90), st.integers(1, 12)),
    st.tuples(st.just("clear")),
)


@given(st.lists(KEYS, max_size=40))
def test_whatever_is_pressed_the_selection_is_on_the_screen_and_the_screen_on_the_list(keys):
    view = View(Ring(2000))
    for name, *arguments in keys:
        if name == "come":
            view.ring.extend(lines(1, *arguments))
        else:
            getattr(view, name)(*arguments)
        height = arguments[-1] if arguments and name not in ("come", "clear") else HEIGHT
        top, shown = view.top(height), view.shown
        assert shown.first <= top <= max(shown.first, shown.end - height)
        if view.selected is None:
            assert shown.first == shown.end
        else:
            assert shown.first <= view.selected < shown.end
            assert top <= view.selected < top + height
