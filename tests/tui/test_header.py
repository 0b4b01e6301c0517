"""The two lines at the top: what is left out first where there is no room for all, and why a daemon cannot be seen."""

from __future__ import annotations

import json

import pytest
from rich.cells import cell_len
from tui.stage import NOW, model, monitor, screen, statistics

from chainwatch.tui import vitals
from chainwatch.tui.drawing import Cell
from chainwatch.tui.header import Part, fitting
from chainwatch.tui.model import Link

PARTS = (
    Part((Cell("state"),)),
    Part((Cell(" reason"),), 1),
    Part((Cell(" address"),), 3),
    Part((Cell(" rate"),), 2, right=True),
)


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (30, "state reason address      rate"), (25, "state reason address rate"), (24, "state reason        rate"),
        (16, "state reason    "), (8, "state   "), (3, "st…"), (0, ""),
    ],
)  # fmt: skip
def test_what_matters_least_is_left_out_whole(width, line):
    drawn = fitting(PARTS, width)
    assert (drawn.text, drawn.cell_length) == (line, cell_len(line)) == (line, width)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("state", ["lost", "refused"])
async def test_why_a_daemon_cannot_be_seen_is_said_at_any_width(state, width):
    known = model()
    reason = "It was good until now: the key was revoked"
    known.link = Link(state, f"http://127.0.0.1:8080 answers 401: {reason}", NOW + 3)
    app = monitor(known)
    async with app.run_test(size=(width, 24)):
        first, second, *_ = screen(app).split("\n")
    assert f"✖ {state}" in first
    assert second.lstrip().startswith(("the daemon answers", "cursor"))
    assert reason in second or width < 80


async def test_the_chain_that_stands_worst_is_named_and_the_others_are_counted():
    told = statistics()
    ethereum, base = told["chains"]
    told["chains"] = [ethereum, base, base | {"name": "gnosis", "state": "halted"}, base | {"name": "bnb"}]
    known = model()
    known.hear(vitals.read(json.dumps(told).encode()))
    app = monitor(known)
    async with app.run_test(size=(120, 24)):
        assert "● live  ✖ gnosis halted and 2 more" in screen(app)
    known.hear(vitals.read(json.dumps(told | {"chains": [ethereum]}).encode()))
    async with monitor(known).run_test(size=(120, 24)) as pilot:
        assert "● live  http" in screen(pilot.app)
