"""The inverted index finds what a filter over every group would find."""

from __future__ import annotations

from hypothesis import given, strategies as st

from chainwatch.event import NATIVE, Event, Interest, keys
from chainwatch.filter import CUSTOM, Filter
from chainwatch.log import Entry
from chainwatch.stream.index import Group, Index
from chainwatch.stream.wire import Form
from chainwatch.where import View, Where, compile_where

FORM = Form(named=False, chunked=True)

ADDRESSES = ["0x" + digit * 40 for digit in "abc"]
# Shares its index key with the first one: only the last 63 bits are looked at.
ADDRESSES.append("0x" + "d" * 24 + ADDRESSES[0][-16:])
TYPES = ["block_new", "token_transfer", "transaction_confirmed"]
CHAINS = ["ethereum", "base"]


def some(values):
    return st.frozensets(st.sampled_from(values), max_size=2)


filters = st.builds(
    Filter,
    types=some([*TYPES, "deploy", CUSTOM]),
    chains=some(CHAINS),
    addresses=some(ADDRESSES),
    tokens=some([("ethereum", ADDRESSES[0]), ("", ADDRESSES[1]), ("ethereum", NATIVE)]),
    min_amount=st.none() | st.integers(0, 3),
    where=st.none() | st.sampled_from(["data.amount > 0", "data.amount == null", "chain == 'base'"]).map(compile_where),
)
interests = st.builds(
    Interest,
    type=st.sampled_from([*TYPES, "deploy", "later"]),
    chain=st.sampled_from([*CHAINS, None]),
    addresses=st.lists(st.sampled_from(ADDRESSES), unique=True).map(tuple),
    tokens=st.lists(st.sampled_from([NATIVE, *ADDRESSES[:2]]), unique=True, max_size=1).map(tuple),
    amount=st.none() | st.integers(-5, 5).map(str),
)


def entry(sequence: int, about: Interest) -> Entry:
    # A token is an address that the event touches.
    touched = tuple(dict.fromkeys([*about.addresses, *(token for token in about.tokens if token != NATIVE)]))
    about = about._replace(addresses=touched)
    data = {"amount": about.amount}
    event = Event(id=f"evt_{sequence}", type=about.type, timestamp="", observed_at="", chain=about.chain, data=data)
    return Entry(sequence, event, about, keys(about), b"")


@given(st.lists(filters, max_size=8), st.lists(interests, max_size=8), st.data())
def test_each_group_gets_exactly_its_matches_in_order_and_once(wanted, abouts, data):
    index = Index()
    groups = [Group(one, FORM) for one in wanted]
    for group in groups:
        index.add(group)
    gone = data.draw(st.sets(st.sampled_from(groups))) if groups else set()
    for group in gone:
        index.remove(group)
    entries = [entry(sequence, about) for sequence, about in enumerate(abouts, start=1)]
    dirty = index.route(entries)
    for group in groups:
        matches = [] if group in gone else [one for one in entries if group.wanted.matches(one.about, View(one.event))]
        assert group.pending == matches
        assert dirty.count(group) == bool(matches)
    assert len(index) == len(groups) - len(gone)


def test_nothing_is_left_of_a_group_that_was_removed():
    index = Index()
    kinds = [
        Filter(addresses=frozenset(ADDRESSES)),
        Filter(types=frozenset(TYPES), chains=frozenset(CHAINS)),
        Filter(chains=frozenset(CHAINS)),
        Filter(),
        Filter(tokens=frozenset({("ethereum", ADDRESSES[0])})),
        Filter(tokens=frozenset({("ethereum", NATIVE)})),
    ]
    groups = [Group(kind, FORM) for kind in kinds]
    for group in groups:
        index.add(group)
    for group in groups:
        index.remove(group)
    assert not any((index._by_address, index._by_type, index._by_chain, index._others))


def test_an_expression_is_held_against_an_event_once_however_many_groups_have_it(monkeypatch):
    decided: list[str] = []
    decide = Where.decide
    monkeypatch.setattr(Where, "decide", lambda self, *given: decided.append(self.text) or decide(self, *given))
    index = Index()
    texts = ["data.amount > 1", "data.amount>1", "(data.amount > 1)", "data.amount > 2"]
    groups = [Group(Filter(where=compile_where(text)), FORM) for text in texts for _ in range(10)]
    for group in groups:
        index.add(group)
    entries = [entry(sequence, Interest("note", None, (), (), "2")) for sequence in (1, 2)]
    assert index.route(entries) == groups[:30]
    assert sorted(decided) == sorted(2 * ["data.amount > 1", "data.amount > 2"])
