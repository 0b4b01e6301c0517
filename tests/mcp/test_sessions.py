"""Which MCP sessions there are, and which goes when there are too many."""

from __future__ import annotations

from chainwatch.server.mcp_sessions import Book, Session

A1, A2, A3, B1 = Session("a", "1"), Session("a", "2"), Session("a", "3"), Session("b", "4")


def book(most: int, *sessions: Session) -> Book:
    made = Book(most)
    for session in sessions:
        made.add(session)
    return made


def test_where_there_is_room_nobody_goes():
    assert book(3, A1, A2, A3).too_many() is None


def test_whoever_has_the_most_loses_the_one_that_was_idle_the_longest():
    full = book(3, B1, A1, A2, A3)
    full.enter(A1)
    full.leave(A1)  # so it was there last
    assert full.too_many() == A2
    full.drop(A2)
    assert (full.too_many(), len(full)) == (None, 3)


def test_one_that_has_a_request_under_way_stays():
    full = book(1, A1, A2, B1)
    for session in (A1, A2):
        full.enter(session)
    assert full.too_many() == B1
    full.drop(B1)
    assert full.too_many() is None
    full.leave(A2)
    assert full.too_many() == A2


def test_what_is_another_keys_or_over_counts_for_nothing():
    full = book(1, A1, B1)
    for session in (Session("b", "1"), Session("c", "1"), Session("a", "")):
        full.enter(session)
        full.leave(session)
        full.drop(session)
    assert len(full) == 2
    full.drop(A1)
    full.leave(A1)  # the request that ended it is over
    assert (len(full), full.too_many()) == (1, None)


def test_all_of_them_are_found_one_after_the_other():
    found, left = set(), book(9, A1, A2, B1)
    while (session := left.any()) is not None:
        left.drop(session)
        found.add(session)
    assert (found, len(left)) == ({A1, A2, B1}, 0)
