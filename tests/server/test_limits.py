"""Seats and connects a minute, at the times that the tests say."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from chainwatch import filter as filters
from chainwatch.config import ServerSettings
from chainwatch.filter import Vocabulary
from chainwatch.server import limits
from chainwatch.server.limits import Full, Gate, Seat, behind, client_address, retry_after


def gate(**limits: int) -> Gate:
    settings = ServerSettings(**limits)
    return Gate(lambda: settings)


def enter(at: Gate, key: str = "k", address: str = "a", now: float = 0.0, **more: bool) -> Seat:
    seat = at.enter(key, address, now, **more)
    assert isinstance(seat, Seat), seat
    return seat


def refused(at: Gate, key: str = "k", address: str = "a", now: float = 0.0, **more: bool) -> Full:
    full = at.enter(key, address, now, **more)
    assert isinstance(full, Full)
    return full


def test_a_full_daemon_is_503_and_a_client_that_has_enough_is_429():
    at = gate(max_connections=3, max_connections_per_key=2, max_connections_per_address=2)
    enter(at, "k", "a")
    enter(at, "k", "b")
    assert refused(at, "k", "c").status == 429
    assert "this key" in refused(at, "k", "c").why
    enter(at, "other", "a")
    assert refused(at, "third", "d") == Full(503, "all 3 connections are taken", None, "total")


def test_an_address_has_its_own_limit_whatever_the_key():
    at = gate(max_connections_per_address=2)
    enter(at, "k", "a")
    enter(at, "l", "a")
    assert "this address has 2 connections" in refused(at, "m", "a").why
    enter(at, "m", "b")


def test_who_has_no_key_shares_no_key():
    at = gate(max_connections_per_key=1)
    for number in range(5):
        enter(at, "", f"address {number}")


def test_what_leaves_makes_room_and_leaves_nothing_behind():
    at = gate(max_connections=2, max_connections_per_key=2, max_connections_per_address=2)
    seats = [enter(at), enter(at)]
    assert seats[0] is seats[1]
    seats[0].leave()
    enter(at)
    for seat in seats:
        seat.leave()
    assert (at.taken, at._seats, at._of_key, at._of_address) == (0, {}, {}, {})


def test_as_many_at_once_as_a_minute_allows_then_one_for_each_share_of_it():
    at = gate(connects_per_minute=6)
    for _ in range(6):
        enter(at).leave()
    assert refused(at) == Full(429, "more than 6 new connections a minute from this address", 10.0, "rate")
    assert refused(at, now=4.0).wait == pytest.approx(6.0)
    enter(at, address="b").leave()
    enter(at, now=10.0).leave()
    assert refused(at, now=10.0).wait == pytest.approx(10.0)
    for _ in range(6):
        enter(at, now=100.0).leave()
    refused(at, now=100.0)


def test_who_comes_back_is_not_new_and_still_needs_a_seat():
    at = gate(connects_per_minute=1, max_connections_per_address=3)
    enter(at)
    enter(at, comes_back=True)
    enter(at, comes_back=True)
    assert refused(at, comes_back=True).status == 429


def test_a_limit_that_changes_holds_for_who_comes_next():
    now = ServerSettings(max_connections=1)
    at = Gate(lambda: now)
    enter(at)
    refused(at)
    now = ServerSettings(max_connections=2)
    enter(at)
    now = ServerSettings(max_connections=1)
    assert at.taken == 2
    refused(at)


def test_addresses_that_come_no_more_are_forgotten():
    at = gate(connects_per_minute=60)
    for number in range(5000):
        enter(at, address=str(number), now=number / 10).leave()
    assert len(at._spent) < 2500


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (("192.0.2.7", 5000), "192.0.2.7"),
        (("::1", 5000, 0, 0), "::1"),
        (("2001:db8:1:2:3:4:5:6", 5000, 0, 0), "2001:db8:1:2::/64"),
        (("2001:db8:1:2:ffff::", 5000, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 5000, 0, 2), "fe80::/64"),
        (("::ffff:192.0.2.7", 5000, 0, 0), "192.0.2.7"),
        ("", ""),
        (None, ""),
    ],
)
def test_one_client_is_one_address(peer, address):
    assert client_address(peer) == address


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("198.51.100.9", "192.0.2.7", "198.51.100.9"),  # no proxy of ours: it may say what it likes
        ("10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "1.1.1.1, 192.0.2.7", "192.0.2.7"),  # the first was made up by the client
        ("10.0.0.1", "192.0.2.7, 10.0.0.2,10.9.9.9", "192.0.2.7"),  # through three of ours
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),  # a client within
        ("10.0.0.1", "192.0.2.7:5000", "192.0.2.7"),
        ("10.0.0.1", "[2001:db8:1:2:3::]:5000", "2001:db8:1:2::/64"),
        ("10.0.0.1", "2001:db8:1:2:3::", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("fd00::1", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7, unknown", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.7, nonsense, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "\udcff", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
    ],
)
def test_the_client_behind_proxies_of_ours_is_the_last_that_none_of_them_is(peer, forwarded, address):
    trusted = ("10.0.0.0/8", "fd00::1/128")
    assert client_address(behind((peer, 5000), trusted, forwarded)) == address
    assert client_address(behind((peer, 5000), (), forwarded)) == client_address((peer, 5000))


def test_a_unix_socket_is_no_proxy():
    assert behind("", ("0.0.0.0/0",), "192.0.2.7") == ""


def test_who_is_turned_away_is_counted_by_the_limit():
    at = gate(max_connections=3, max_connections_per_key=1, max_connections_per_address=2, connects_per_minute=3)
    enter(at, "k", "a")
    refused(at, "k", "b")
    enter(at, "l", "a")
    refused(at, "m", "a")
    enter(at, "n", "b")
    refused(at, "o", "c")
    assert at.refusals == {"key": 1, "address": 1, "total": 1}
    assert at.refused == 3


def test_retry_after_is_whole_seconds_and_never_now():
    assert [retry_after(seconds) for seconds in (0, 0.2, 1.2, 15)] == ["1", "1", "2", "15"]


def where(text: str):
    return filters.parse({"where": [text]}, Vocabulary()).where


def test_the_expressions_of_a_key_weigh_so_much_at_most_and_each_counts_once():
    gate = Gate(ServerSettings)
    long = [where(f"data.causes.exists(c, c.amount > {number})") for number in range(80)]
    room = limits.WORK // long[0].weight
    assert room < len(long)
    for one in long[:room]:
        assert (gate.ask("key", one), gate.ask("key", one)) == (None, None)
    full = gate.ask("key", long[room])
    assert isinstance(full, Full)
    assert (full.status, full.reason, gate.refusals["where"]) == (429, "where", 1)
    assert gate.ask("key", where("data.amount > 5")) is None, "what is short has room"
    assert gate.ask("another", long[room]) is None
    gate.forget("key", long[0])
    assert gate.ask("key", long[room]) is not None, "another stream asks it still"
    gate.forget("key", long[0])
    assert gate.ask("key", long[room]) is None


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.booleans()), max_size=60))
def test_seats_and_expressions_are_exact_in_any_order_of_coming_and_going(steps):
    gate = Gate(lambda: ServerSettings(max_connections_per_key=4, max_connections_per_address=6))
    asks = [None, where("data.amount > 1"), where("data.amount > 2"), where("data.l.exists(x, x == 1)")]
    seats: list[tuple[limits.Seat, int]] = []
    for now, (name, number, comes) in enumerate(steps):
        if comes or not seats:
            seat = gate.enter(name, f"10.0.0.{number // 2}", now, comes_back=number == 3)
            if isinstance(seat, limits.Seat):
                assert seat.ask(asks[number]) is None
                seats.append((seat, number))
        else:
            leaving, asked = seats.pop(number % len(seats))
            leaving.forget(asks[asked])
            leaving.leave()
        assert gate.taken == len(seats) <= 8
        for key in "ab":
            distinct = {asks[number] for seat, number in seats if seat.key == key} - {None}
            assert gate._weighs.get(key, 0) == sum(one.weight for one in distinct)
    for seat, number in seats:
        seat.forget(asks[number])
        seat.leave()
    assert gate.taken == 0
    assert not any([gate._seats, gate._of_key, gate._of_address, gate._asked, gate._weighs])
