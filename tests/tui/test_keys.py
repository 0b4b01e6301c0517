"""Each key and each pane, by a pilot, on a real server: what is pressed, and what the screen shows then."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace
from server import house as houses
from server.house import ALICE, block, transfer
from tui.stage import NOW, Still, hides, model, monitor, screen, shows, until

from chainwatch.chain.simulated import WALLETS
from chainwatch.tui.app import Monitor
from chainwatch.tui.feed import Feed
from chainwatch.tui.model import Model

SIZE = (120, 40)


@asynccontextmanager
async def watching(house, folder, size=SIZE, key=None):
    known = Model(f"http://127.0.0.1:{house.port}")
    app = Monitor(known, Feed(known.url, key, known), folder=folder)
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(pilot, lambda: known.link.state == known.stream.state == "live", "connected")
        yield pilot


@pytest.fixture
async def house(tmp_path):
    chain = {
        "name": "ethereum", "state": "connected", "ready": True, "head": 7, "lag_seconds": 1.5, "endpoints": [
            {"endpoint": "wss://node", "state": "ready", "head": 7, "rtt_p50_seconds": 0.003, "connects": 2},
        ],
    }  # fmt: skip
    held = [{"token": "ETH", "token_address": None, "decimals": 18, "balance": "1500000000000000000"}]
    wallet = {
        "chain": "ethereum",
        "address": WALLETS[0].address,
        "name": "alice",
        "state": "watching",
        "balances": held,
    }
    house = await houses.serve(
        tmp_path / "events.db", chains=lambda: [chain], wallets=lambda: [wallet | {"balances": held}]
    )
    await house.tell(*(transfer(number, amount=number) for number in range(1, 51)))
    yield house
    await house.close()


@pytest.fixture
async def pilot(house, tmp_path):
    async with watching(house, tmp_path) as pilot:
        await shows(pilot, "50 base units")
        yield pilot


# --- events -----------------------------------------------------------------------------------------------------------


async def test_events_are_followed_at_the_end(pilot, house):
    await shows(pilot, "↓ following")
    await house.tell(*(transfer(number, amount=number) for number in range(51, 91)))
    await shows(pilot, "90 base units")
    assert " 51 base units" not in screen(pilot.app)


async def test_space_pauses_the_events_and_not_the_header(pilot, house):
    await pilot.press("space")
    await shows(pilot, "‖ paused, 0 new")
    pulse = screen(pilot.app)[1]
    await house.tell(*(transfer(number, amount=number) for number in range(51, 363)))
    await shows(pilot, "‖ paused, 312 new")
    await until(pilot, lambda: screen(pilot.app)[1] != pulse, "the pulse")
    assert "50 base units" in screen(pilot.app)
    await pilot.press("space")
    await shows(pilot, "362 base units", "↓ following")


async def test_whoever_scrolls_stops_and_the_end_key_follows(pilot, house):
    await pilot.press("up", "up")
    await house.tell(transfer(51, amount=51))
    await shows(pilot, "↑ scrolled, 1 new")
    assert "51 base units" not in screen(pilot.app)
    await pilot.press("home")
    await shows(pilot, "  1 base units of")
    await pilot.press("pagedown", "end")
    await shows(pilot, "51 base units", "↓ following")


async def test_the_wheel_scrolls_and_a_click_selects(pilot):
    events = pilot.app._events
    events.scroll(-3)
    await shows(pilot, "↑ scrolled, 0 new")
    await pilot.click("#events", offset=(20, 3))
    assert pilot.app.model.view.selected == pilot.app.model.view.top(events.lines) + 2
    await pilot.click("#events", offset=(20, 3), times=2)
    await shows(pilot, "esc closes")


async def test_enter_shows_the_event_in_full_and_escape_closes(pilot):
    await pilot.press("up", "enter")
    await shows(pilot, "esc closes, y copies", 'amount: "49"', f'from: "{ALICE}"')
    await pilot.press("down", "y")
    assert json.loads(pilot.app.clipboard)["data"]["amount"] == "49"
    await pilot.press("escape")
    await hides(pilot, "esc closes")


async def test_a_line_is_copied_as_json(pilot):
    await pilot.press("y")
    assert json.loads(pilot.app.clipboard)["data"]["amount"] == "50"
    await shows(pilot, "copied")
    await pilot.press("up", "c")
    assert json.loads(pilot.app.clipboard)["data"]["amount"] == "49"


async def test_events_are_saved_as_they_came_and_nothing_is_overwritten(pilot, house, tmp_path):
    history = [line async for line in lines_of(house)]
    await pilot.press("space")
    await house.tell(transfer(51))
    await pilot.press("ctrl+s", "ctrl+s")
    await shows(pilot, "saved 50 events")
    await until(pilot, lambda: len(list(tmp_path.glob("*.ndjson"))) == 2, "two files")
    for path in tmp_path.glob("*.ndjson"):
        assert path.read_bytes().splitlines() == history
        assert path.stat().st_mode & 0o777 == 0o600


async def lines_of(house):
    from chainwatch import client

    async for page in client.history(f"http://127.0.0.1:{house.port}"):
        for line in page.lines:
            yield line


async def test_where_nothing_can_be_saved_it_says_so(house, tmp_path):
    async with watching(house, tmp_path / "not there") as pilot:
        await pilot.press("ctrl+s")
        await shows(pilot, "cannot save: No such file or directory")


# --- the filter -----------------------------------------------------------------------------------------------------


async def test_a_filter_is_completed_asked_for_and_taken_away(pilot, house):
    await pilot.press("slash", *"block_n")
    await shows(pilot, "▸block_new")
    await pilot.press("tab", *"chains=", "tab", "enter")
    await shows(pilot, "matching block_new chains=ethereum", "no event passes the filter so far")
    await house.tell(block(8), transfer(51, amount=51), block(9))
    await until(pilot, lambda: pilot.app.model.view.ring.end - pilot.app.model.view.ring.first == 2, "two blocks")
    await pilot.press("slash")
    await shows(pilot, "block_new chains=ethereum")
    await pilot.press("ctrl+u", "enter")
    await shows(pilot, "51 base units", "↓ following")
    await hides(pilot, "matching")


WRONG = {
    "tokn_transfer": "did you mean 'token_transfer'?",
    "chians=base": "did you mean 'chains='?",
    "chains=bsae": "did you mean 'base'?",
    "where=data.amount >": "where",
    "address=0x12": "address",
}


async def test_what_is_wrong_with_a_filter_is_said_where_it_was_typed(pilot, house):
    await pilot.press("slash")
    for typed, said in WRONG.items():
        await pilot.press("ctrl+u", *typed, "enter")
        await shows(pilot, "✖ ", said)
        assert pilot.app.query_one("#prompt").is_open
    await pilot.press("escape")
    await house.tell(transfer(51, amount=51))
    await shows(pilot, "51 base units", "↓ following")


async def test_a_filter_that_is_given_up_just_when_it_was_taken_holds(house, monkeypatch):
    known = Model(f"http://127.0.0.1:{house.port}")
    hearing = Feed(known.url, None, known)
    running = asyncio.create_task(hearing.run())
    async with asyncio.timeout(10):
        while known.received < 50:
            await asyncio.sleep(0.01)
        replace = hearing._replace

        def replaced(text):
            replace(text)
            asyncio.get_running_loop().call_soon(choosing.cancel)

        monkeypatch.setattr(hearing, "_replace", replaced)
        choosing = asyncio.create_task(hearing.choose("block_new"))
        with pytest.raises(asyncio.CancelledError):
            await choosing
        assert known.filter == "block_new"
        await house.tell(transfer(51), block(8))
        while known.received < 51:
            await asyncio.sleep(0.01)
        running.cancel()
    assert [json.loads(line)["type"] for line in known.view.shown_lines()] == ["block_new"]


async def test_a_fault_of_a_task_is_told_by_what_happened(house, tmp_path, monkeypatch):
    monkeypatch.setattr(Feed, "_oldest", lambda _: 1 // 0)
    known = Model(f"http://127.0.0.1:{house.port}")
    app = Monitor(known, Feed(known.url, None, known), folder=tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.fault)
    assert isinstance(app.fault, ZeroDivisionError)


async def test_another_word_is_chosen_with_the_arrows(pilot):
    await pilot.press("slash", *"chain", "down", "up", "down", "tab")
    await shows(pilot, "chain_status")
    await pilot.press("escape")
    await hides(pilot, "chain_status ")


async def test_types_that_clients_published_are_completed(pilot, house):
    await house.tell(replace(transfer(51), type="deploy"))
    await shows(pilot, "deploy")
    await pilot.press("slash", *"depl")
    await shows(pilot, "▸deploy")


async def test_whoever_looks_at_the_listeners_knows_which_he_is(pilot, house):
    await pilot.resize_terminal(140, 40)
    other = await house.stream("/events/stream?types=block_new")
    await shows(pilot, "this monitor     balance_ch", "everything", "block_new   ")
    [listed] = (line for line in screen(pilot.app).split("\n") if "block_new   " in line)
    assert "127.0.0.1:" in listed
    assert "this monitor" not in listed
    other.close()


async def test_a_type_is_no_key_while_it_is_typed(pilot):
    await pilot.press("slash", *"q s?", "space")
    await shows(pilot, " q s?")
    assert not pilot.app.model.view.paused


# --- panes ----------------------------------------------------------------------------------------------------------


async def test_tab_goes_through_the_panes_and_back(pilot):
    app = pilot.app
    names = []
    for _ in range(6):
        names.append(app.focused.id)
        await pilot.press("tab")
    assert names == ["events", "chains", "held", "streams", "log", "events"]
    await pilot.press("shift+tab", "shift+tab")
    assert app.focused.id == "log"


async def test_every_pane_shows_what_it_is_for(pilot):
    await shows(
        pilot,
        *("ethereum", "● connected", "└ wss://node", "3.0 ms", "1.5s behind"),
        *("alice", "1.5 ETH"),
        *("streams 2 of", "this monitor    balance", "everything", "● live"),
        *("50 kept", "the last took", "the oldest is"),
    )


async def test_a_small_screen_shows_one_pane_at_a_time(house, tmp_path):
    async with watching(house, tmp_path, size=(80, 24)) as pilot:
        await shows(pilot, "chains 1   prices and wallets   streams   log", "└ wss://node")
        await pilot.press("tab", "tab")
        await shows(pilot, "▸ prices and wallets", "alice")
        await hides(pilot, "└ wss://node")
        await pilot.press("tab")
        await shows(pilot, "everything")
        await pilot.press("tab")
        await shows(pilot, "forgotten by age or size")
        await pilot.resize_terminal(200, 50)
        await shows(pilot, "└ wss://node", "alice", "everything", "forgotten by age or size")


async def test_s_sorts_what_has_several_orders(pilot):
    await pilot.press("s")
    await shows(pilot, "events stay in the order of the log")
    for order in ("chains 1  by lag", "prices and wallets  by age", "streams 2 of 10,000  by rate"):
        await pilot.press("tab", "s")
        await shows(pilot, order)
    await pilot.press("tab", "s")
    await shows(pilot, "here is nothing to sort")


async def test_a_row_of_each_pane_is_shown_in_full_and_copied(pilot):
    await shows(pilot, "alice", "50 kept", "everything", "wss://node")
    for copied in ("chain: ethereum", f"address: {WALLETS[0].address}", "filter: ", "events  50 kept"):
        await pilot.press("tab", "down", "up", "y")
        assert copied in pilot.app.clipboard
        await pilot.press("enter")
        await shows(pilot, "esc closes, y copies", copied)
        await pilot.press("escape")
        await hides(pilot, "esc closes")


# --- the rest -------------------------------------------------------------------------------------------------------


async def test_a_question_mark_shows_the_keys(house, tmp_path):
    async with watching(house, tmp_path, size=(80, 24)) as pilot:
        await pilot.press("question_mark")
        await shows(pilot, "space           pause the events, or go on")
        await shows(pilot, "│ Look ", "in UTC  ")  # all of it, at a glance, and no line is broken
        assert all(line.strip(" │▌") for line in screen(pilot.app).split("\n")[2:21])
        await pilot.press("q")
        await hides(pilot, "pause the events, or go on")
        assert pilot.app.is_running


@pytest.mark.parametrize(("key", "code"), [("q", 0), ("ctrl+c", 130)])
async def test_it_is_left_by_q_and_by_ctrl_c(key, code):
    app = monitor(model())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press(key)
    assert (app.return_code or 0) == code


async def test_keys_on_an_empty_screen_do_nothing():
    app = Monitor(Model("http://127.0.0.1:1"), Still(), clock=lambda: NOW)
    async with app.run_test(size=(80, 24)) as pilot:
        for _ in range(5):
            await pilot.press("up", "down", "home", "end", "pageup", "enter", "y", "s", "tab")
        await shows(pilot, "◌ connecting", "no event so far")


@pytest.mark.parametrize("height", [5, 9, 13, 15])
async def test_a_low_screen_has_room_for_events_and_for_a_pane_instead_of_them(height):
    app = monitor(model())
    async with app.run_test(size=(60, height)) as pilot:
        newest = "06:59:59 ethereum failed"
        await shows(pilot, "● live", "▸ events", newest)
        await pilot.press("tab")
        await shows(pilot, "▸ chains 2", "▌base")
        await (shows if height > 14 else hides)(pilot, newest)
        if height > 8:
            await pilot.press("slash")
            await shows(pilot, newest, "tab complete")
            await pilot.press("escape")
        else:
            await pilot.press("shift+tab")
        await shows(pilot, "▸ events", newest)
        await pilot.resize_terminal(200, 50)
        await shows(pilot, newest, "chains 2", "prices and wallets", "streams 4 of 10,000", "log up 26h")


async def test_the_last_line_has_the_keys_of_what_is_done_now(pilot):
    await shows(pilot, "space pause")
    await pilot.press("slash")
    await shows(pilot, "tab complete", "esc leave it")
    await pilot.press("escape")
    await shows(pilot, "space pause")


@pytest.mark.parametrize("size", [(1, 1), (20, 8), (400, 12)])
async def test_any_size_of_a_terminal_is_borne(size):
    app = monitor(model())
    async with app.run_test(size=size) as pilot:
        await pilot.press("tab", "down", "slash", "x", "escape", "question_mark", "escape", "enter")
        await pilot.pause()


async def test_without_colours_there_are_none(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    app = monitor(model())
    async with app.run_test(size=SIZE):
        styles = {part.style for strip in app.screen._compositor.render_strips() for part in strip if part.style}
    assert {one.color.is_default for one in styles if one.color} <= {True}
    assert {one.bgcolor.is_default for one in styles if one.bgcolor} <= {True}


async def test_a_fault_of_ours_is_told_without_the_values_of_variables(capsys):
    app = monitor(model())

    async def broken():
        async with app.run_test(size=SIZE) as pilot:
            app.model.view.top = lambda height: 1 // 0
            app.model.say("something new")
            await until(pilot, lambda: app.fault)

    with pytest.raises(ZeroDivisionError):
        await broken()
    assert isinstance(app.fault, ZeroDivisionError)
    assert capsys.readouterr() == ("", "")
