"""
The screen as a picture, at three sizes: empty, live, paused, disconnected, and with hostile text in every cell.

The pictures are SVG, as Textual draws them, without its fonts. Where a change is meant, draw them anew and look at
them: `RENEW_PICTURES=1 .venv/bin/pytest -n 0 tests/tui/test_pictures.py`, then open tests/tui/pictures/*.svg.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from tui.stage import HOSTILE, NOW, model, monitor, told

from chainwatch.tui.model import Link, Model

PICTURES = Path(__file__).parent / "pictures"
SIZES = [(80, 24), (120, 40), (200, 50)]


def empty():
    return Model("http://127.0.0.1:8080")


def paused():
    known = model()
    known.view.pause(10)
    known.take(told()[:12] * 26, "yp9jxr29l-4812272")
    return known


def disconnected():
    known = model()
    known.link = Link("lost", "lost http://127.0.0.1:8080: the connection was closed", NOW + 7)
    known.stream = known.link
    known.say("events are missing here, they are older than what is kept: asked for a-1, went on at a-9")
    return known


def hostile():
    known = model(HOSTILE)
    known.filter = HOSTILE
    known.take([HOSTILE.encode(), b'{"id":1}', b"[" * 5000, "\udc80".encode(errors="surrogatepass")], HOSTILE)
    known.say(HOSTILE)
    return known


STATES = {"empty": empty, "live": model, "paused": paused, "disconnected": disconnected, "hostile": hostile}


def drawn(svg: str) -> str:
    """The picture without what says nothing: fonts, and the names that rich makes up for each drawing."""
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return re.sub(r"terminal-\d+", "t", svg)


def text_of(app) -> list[str]:
    """The lines of the screen."""
    return [strip.text for strip in app.screen._compositor.render_strips()]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("state", STATES)
async def test_the_screen_looks_as_it_did(state, size, tmp_path):
    app = monitor(STATES[state]())
    async with app.run_test(size=size) as pilot:
        app.paint_panes()
        await pilot.pause()
        svg, lines = drawn(app.export_screenshot(title="chainwatch monitor", simplify=True)), text_of(app)
    assert [cell_len(line) for line in lines] == [size[0]] * size[1]
    assert all(char.isprintable() for line in lines for char in line)
    name = f"{state}-{size[0]}x{size[1]}"
    picture, words = PICTURES / f"{name}.svg", PICTURES / f"{name}.txt"
    text = "".join(line.rstrip() + "\n" for line in lines)
    if os.environ.get("RENEW_PICTURES"):
        picture.write_text(svg)
        words.write_text(text)
    told_apart = "".join(difflib.unified_diff(words.read_text().splitlines(True), text.splitlines(True), "was", "is"))
    assert not told_apart, told_apart
    if picture.read_text() != svg:
        (tmp_path / picture.name).write_text(svg)
        raise AssertionError(f"the words are the same, the colours are not: compare {picture} and {tmp_path}")
