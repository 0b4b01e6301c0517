"""Text into cells: always as wide as it has to be, and never more than text."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from rich.cells import cell_len
from tui.stage import HOSTILE

from chainwatch.tui.drawing import Cell, drawable, fit, sparkline, state, strip
from chainwatch.tui.tables import milliseconds, rate, size

TEXT = st.text(max_size=40) | st.sampled_from([HOSTILE, "名前" * 9, "🏳️‍🌈" * 3, "a\u0301" * 20])


@given(TEXT, st.integers(0, 30), st.sampled_from("<>"))
def test_a_cell_is_as_wide_as_its_column(text, width, align):
    assert cell_len(fit(drawable(text), width, align)) == width


@given(st.lists(TEXT, max_size=5), st.integers(0, 60))
def test_a_line_is_as_wide_as_the_screen(texts, width):
    drawn = strip([Cell(drawable(text)) for text in texts], width)
    assert cell_len(drawn.text) == width == drawn.cell_length


@given(TEXT)
def test_nothing_that_is_drawn_can_move_a_cursor(text):
    assert all(char.isprintable() for char in drawable(text))


def test_hostile_text_is_written_out():
    assert drawable("\x1b[31m[red]a\u202eb\r\n") == "\\u001b[31m[red]a\\u202eb\\u000d\\u000a"
    assert drawable("e" + "\u0301" * 50) == "e\u0301\u0301"
    assert drawable("🇩🇪👍🏽1️⃣") == "··👍·1··"
    assert drawable("हिन्दी ☰㉈\u3164") == "ह·न्द· ···"


@pytest.mark.parametrize(
    ("text", "shown"), [("abcdef", "abc…"), ("名前名", "名 …"), ("a名前名", "a名…"), ("ab", "ab  ")]
)
def test_what_does_not_fit_says_so(text, shown):
    assert fit(text, 4) == shown


def test_a_sparkline_goes_from_nothing_to_the_highest():
    assert sparkline([0, 1, 2, 4, 8], 6) == " ▁▂▃▅█"
    assert sparkline([100, 101, 102], 3, bottom=None) == "▁▅█"
    assert (sparkline([], 3), sparkline([0, 0], 3), sparkline([5, 5], 2)) == ("   ", " ▁▁", "██")


@pytest.mark.parametrize(
    ("word", "shown"),
    [("connected", "● connected"), ("syncing", "◌ syncing"), ("stalled", "▲ stalled"), ("halted", "✖ halted")],
)
def test_a_state_has_a_shape_and_a_word(word, shown):
    assert state(word).text == shown
    assert state(word, "base").text == shown.replace(" ", " base ")


def test_numbers_have_the_digits_that_somebody_reads():
    assert [milliseconds(one) for one in (None, 0.0741, 4.9, 86.7, 1234)] == [
        "-",
        "0.07 ms",
        "4.9 ms",
        "87 ms",
        "1.2 s",
    ]
    assert [size(one) for one in (0, 999, 2048, 2_068_480, 5 * 2**30)] == [
        "0 B",
        "999 B",
        "2.0 KiB",
        "2.0 MiB",
        "5.0 GiB",
    ]
    assert [rate(one) for one in (None, 0, 0.42, 12.4, 5000)] == ["-", "0/s", "0.4/s", "12/s", "5,000/s"]
