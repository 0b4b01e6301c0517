"""Filters: what their words mean, what means nothing, and that index keys never leave a match out."""

from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from chainwatch.errors import UsageError
from chainwatch.event import NATIVE, Interest, address_key, interest, keys, pair_key
from chainwatch.examples import EXAMPLES
from chainwatch.filter import OPEN, PARAMETERS, Filter, Vocabulary, and_where, parse
from chainwatch.payloads import CATEGORIES, PAYLOADS
from chainwatch.where import View, quoted

USDC, OTHER = "0x" + "a0" * 20, "0x" + "b1" * 20
PRICE = EXAMPLES["price_update"]
SOMEONE, ANYONE = "0x" + "11" * 20, "0x" + "22" * 20

KNOWN = Vocabulary(
    chains=("ethereum", "base", "Main-Net"),
    tokens={"USDC": (("ethereum", USDC), ("base", OTHER)), "ETH": (("ethereum", NATIVE),)},
    custom=frozenset({"deploy"}),
)


def parsed(vocabulary=KNOWN, **given):
    return parse({name: [value] if isinstance(value, str) else value for name, value in given.items()}, vocabulary)


def about(kind="token_transfer", chain="ethereum", addresses=(SOMEONE, USDC), tokens=(USDC,), amount="100"):
    return Interest(kind, chain, tuple(addresses), tuple(tokens), amount)


# --- words ----------------------------------------------------------------------------------------------------------


def test_nothing_asked_is_everything():
    assert parsed() == OPEN
    assert OPEN.is_open
    assert OPEN.matches(about())
    assert OPEN.matches(Interest("deploy", None, (), (), None))


@pytest.mark.parametrize("kind", PAYLOADS)
def test_types_are_known_in_singular_plural_any_case_and_with_hyphens(kind):
    for word in (kind, kind + "s", kind.upper(), kind.replace("_", "-"), f" {kind} ", f"custom:{kind}"):
        assert parsed(types=word).types == {kind}


@pytest.mark.parametrize("category", CATEGORIES)
def test_categories_are_their_types(category):
    for word in (category, category + "s", category.title()):
        assert parsed(filters=word).types == CATEGORIES[category]


def test_balances_are_what_wallets_have_and_statuses_a_plural():
    for word in ("balance", "Balances", "wallet"):
        assert parsed(filters=word).types == {"balance_changed", "wallet_incoming", "wallet_outgoing"}
    assert parsed(filters="prices").types == {"price_update"}
    assert parsed(types="wallet-statuses").types == {"wallet_status"}


def test_custom_types_are_known_once_published_and_always_with_their_prefix():
    assert parsed(types="deploy").types == {"deploy"}
    assert parsed(types="custom:later").types == {"later"}
    with pytest.raises(UsageError, match="'later'"):
        parsed(types="later")


def test_custom_means_every_custom_type_those_too_that_nobody_published_yet():
    for word in ("custom", "Customs"):
        wanted = parsed(types=word)
        assert wanted.matches(about(kind="deploy"))
        assert wanted.matches(about(kind="never_seen"))
        assert not wanted.matches(about(kind="token_transfer"))
        assert wanted.describe() == {"types": ["custom"]}
    assert parsed(types="custom,deploy,custom:later,block_new").types == {"custom", "block_new"}
    assert hash(parsed(types="custom")) == hash(parsed(types="custom,deploy"))
    assert parsed(filters="custom,block", types="deploy,price").types == {"deploy"}
    assert parsed(filters="custom", types="customs").types == {"custom"}
    with pytest.raises(UsageError, match="no type in common"):
        parsed(filters="custom", types="block_new")
    assert parsed(types="custom").pair_keys([(None, "deploy"), ("base", "block_new")]) == {pair_key(None, "deploy")}


def test_commas_and_repeats_are_or_and_parameters_are_and():
    one = parsed(types="block_new,token_transfer", chains=["ethereum", "base"])
    assert one == parsed(types=["token_transfer", "block_new"], chains="base , ethereum")
    assert one.matches(about())
    assert not one.matches(about(kind="chain_reorg"))
    assert not one.matches(about(chain=None))
    assert hash(one) == hash(parsed(types=["token_transfer", "block_new"], chains="base,ethereum"))


def test_filters_and_types_narrow_one_another():
    assert parsed(filters="block", types="block_new,token_transfer").types == {"block_new"}
    with pytest.raises(UsageError, match="nothing can match"):
        parsed(filters="block", types="token_transfer")


def test_addresses_are_any_case_and_any_of_them():
    wanted = parsed(address=f"{SOMEONE.upper().replace('X', 'x')},{ANYONE}")
    assert wanted.addresses == {SOMEONE, ANYONE}
    assert wanted.matches(about())
    assert not wanted.matches(about(addresses=(USDC,)))


def test_a_symbol_is_the_configured_contracts_and_a_namesake_is_not():
    wanted = parsed(token="usdc")
    assert wanted.matches(about())
    assert wanted.matches(about(chain="base", tokens=(OTHER,)))
    assert not wanted.matches(about(chain="ethereum", tokens=(OTHER,)))
    assert parsed(token=OTHER.upper().replace("X", "x")).matches(about(chain="ethereum", tokens=(OTHER,)))


def test_the_native_currency_is_a_token_of_its_chain():
    wanted = parsed(token="ETH")
    assert wanted.matches(about(kind="transaction_confirmed", tokens=(NATIVE,)))
    assert not wanted.matches(about(kind="transaction_confirmed", chain="base", tokens=(NATIVE,)))


def test_an_amount_is_compared_by_its_size_and_no_amount_is_too_little():
    wanted = parsed(min_amount="100")
    assert wanted.matches(about(amount="100"))
    assert wanted.matches(about(amount="-100"))
    assert not wanted.matches(about(amount="99"))
    assert not wanted.matches(about(amount=None))
    assert not wanted.matches(about(amount="lots"))
    assert parsed(min_amount="0").matches(about(amount="0"))
    assert parsed(min_amount=str(2**256 - 1)).matches(about(amount=str(2**256 - 1)))


def test_an_expression_asks_about_the_event_itself():
    wanted = parsed(types="price_update", where="data.price > 1 && data.symbol != 'BTC,ETH'")
    about, view = interest(PRICE), View(PRICE)
    assert wanted.matches(about, view)
    assert not parsed(where="data.price < 0").matches(about, view)
    assert not parsed(types="block", where="!removed").matches(about, view)
    assert not wanted.is_open
    assert not wanted.by_pairs
    with pytest.raises(TypeError):  # and nobody forgets to give it
        wanted.matches(about)


def test_equal_expressions_make_equal_filters():
    one, other = parsed(types="price", where="data.price>1"), parsed(types="price", where="( data.price > 1 )")
    assert one == other
    assert hash(one) == hash(other)
    assert one != parsed(types="price", where="data.price > 2")
    assert one != parsed(types="price")


def test_an_expression_is_checked_against_the_types_that_are_asked_for():
    with pytest.raises(UsageError, match="column 6: unknown field 'prise'") as caught:
        parsed(types="price", where="data.prise > 1")
    assert (caught.value.parameter, caught.value.nearest) == ("where", "price")
    with pytest.raises(UsageError, match="unknown field 'prise'"):
        parse({"where": ["data.prise > 1"]}, KNOWN, frozenset({"price_update"}))
    assert parsed(types=["price", "deploy"], where="data.prise > 1")


def test_what_a_route_is_about_narrows_what_is_asked():
    only = frozenset({"price_update"})
    assert parse({}, KNOWN, only).types == only
    assert parse({"types": ["price,block"]}, KNOWN, only).types == only
    with pytest.raises(UsageError, match="none in common"):
        parse({"types": ["block"]}, KNOWN, only)


def test_a_server_s_own_expression_is_joined_with_the_client_s():
    wanted = and_where(parsed(types="price", where="data.price > 1 || removed"), f"data.symbol == {quoted('ETH')}")
    assert wanted.describe()["where"] == ['data.symbol == "ETH" && (data.price > 1 || removed)']
    assert wanted == and_where(parsed(types="price", where="data.price > 1||removed"), "data.symbol == 'ETH'")
    assert wanted.matches(interest(PRICE), View(PRICE))
    other = and_where(wanted, "data.symbol == " + quoted('" || true || "'))  # whatever stands in a route
    assert not other.matches(interest(PRICE), View(PRICE))
    assert and_where(OPEN, "removed") == parsed(where="removed")
    with pytest.raises(UsageError, match="unknown field 'sybmol'"):
        and_where(wanted, "data.sybmol == 'ETH'")


@pytest.mark.parametrize(
    ("given", "parameter", "value", "nearest"),
    [
        ({"types": ["failed"]}, "types", "failed", "transaction_failed"),
        ({"types": ["Swaps"]}, "types", "Swaps", "token_swap"),
        ({"types": "token_transfr"}, "types", "token_transfr", "token_transfer"),
        ({"filters": "blocc"}, "filters", "blocc", "block"),
        ({"filters": "balanse"}, "filters", "balanse", "balance"),
        ({"types": "price_updat"}, "types", "price_updat", "price_update"),
        ({"types": "zzzz"}, "types", "zzzz", ""),
        ({"types": "custom:No!"}, "types", "custom:No!", ""),
        ({"types": ""}, "types", "", ""),
        ({"types": ["block", "a,,b"]}, "types", "block,a,,b", ""),
        ({"chains": "etherium"}, "chains", "etherium", "ethereum"),
        ({"chains": "main-net"}, "chains", "main-net", "Main-Net"),
        ({"address": "0x12"}, "address", "0x12", ""),
        ({"address": "vitalik.eth"}, "address", "vitalik.eth", ""),
        ({"token": "UDSC"}, "token", "UDSC", "USDC"),
        ({"token": "0xzz"}, "token", "0xzz", ""),
        ({"min_amount": "1.5"}, "min_amount", "1.5", ""),
        ({"min_amount": "-1"}, "min_amount", "-1", ""),
        ({"min_amount": "١"}, "min_amount", "١", ""),
        ({"min_amount": "1,2"}, "min_amount", "1,2", ""),
        ({"where": "data.amount > 1e18 &&"}, "where", "data.amount > 1e18 &&", ""),
        ({"where": "dat.amount > 1e18"}, "where", "dat.amount > 1e18", "data"),
        ({"where": ""}, "where", "", ""),
        ({"where": ["removed", "!removed"]}, "where", "!removed", ""),
    ],
)
def test_a_word_that_means_nothing_is_an_error_that_names_it_and_the_nearest(given, parameter, value, nearest):
    with pytest.raises(UsageError) as caught:
        parsed(**given)
    assert (caught.value.parameter, caught.value.value, caught.value.nearest) == (parameter, value, nearest)
    assert caught.value.hint or not value.strip(", ") or "empty" in caught.value.what


def test_where_nothing_is_configured_the_error_says_so():
    with pytest.raises(UsageError) as caught:
        parsed(Vocabulary(), chains="ethereum")
    assert caught.value.hint == "no chain is configured"


@given(st.dictionaries(st.sampled_from(PARAMETERS), st.lists(st.text(max_size=30), max_size=3), max_size=3))
def test_any_text_is_a_filter_or_a_usage_error(given):
    with suppress(UsageError):
        assert isinstance(parse(given, KNOWN), Filter)


def test_a_filter_is_described_in_its_own_words():
    wanted = parsed(
        types="block", chains="base", address=SOMEONE, token="usdc", min_amount="7", where="removed||  data.depth<1e18"
    )
    told = wanted.describe()
    assert told == {
        "types": sorted(CATEGORIES["block"]),
        "chains": ["base"],
        "address": [SOMEONE],
        "token": [USDC, OTHER],
        "min_amount": ["7"],
        "where": ["removed || data.depth < 1e18"],
    }
    assert OPEN.describe() == {}


# --- index keys -----------------------------------------------------------------------------------------------------

addresses = st.sampled_from([SOMEONE, ANYONE, USDC, OTHER])
interests = st.builds(
    Interest,
    st.sampled_from([*PAYLOADS, "deploy"]),
    st.sampled_from(["ethereum", "base", None]),
    st.lists(addresses, unique=True).map(tuple),
    st.just(()),
    st.sampled_from([None, "0", "-5", "100"]),
).flatmap(
    # A token is one of the addresses that an event touches, or the native currency.
    lambda made: st.sampled_from([(), (NATIVE,), made.addresses[:1]]).map(lambda tokens: made._replace(tokens=tokens))
)
filters = st.builds(
    Filter,
    types=st.frozensets(st.sampled_from([*PAYLOADS, "deploy"]), max_size=2),
    chains=st.frozensets(st.sampled_from(["ethereum", "base"]), max_size=1),
    addresses=st.frozensets(addresses, max_size=2),
    tokens=st.frozensets(
        st.tuples(st.sampled_from(["", "ethereum", "base"]), st.sampled_from([USDC, NATIVE])), max_size=2
    ),
    min_amount=st.sampled_from([None, 0, 50]),
)


@given(filters, interests)
def test_the_index_never_leaves_a_match_out(wanted, told):
    if not wanted.matches(told):
        return
    indexed = set(keys(told))
    assert wanted.pair_keys([(told.chain, told.type)]) <= indexed
    assert wanted.pair_keys([(told.chain, told.type)])
    narrowed = wanted.address_keys()
    assert narrowed is None or narrowed & indexed


@given(filters, interests)
def test_where_pairs_decide_alone_they_are_right(wanted, told):
    if wanted.by_pairs:
        chosen = wanted.pair_keys([(told.chain, told.type)])
        assert wanted.matches(told) == (chosen == {pair_key(told.chain, told.type)})


def test_an_address_narrows_by_its_key_and_the_native_currency_does_not():
    assert parsed(address=SOMEONE).address_keys() == {address_key(SOMEONE)}
    assert parsed(token=USDC).address_keys() == {address_key(USDC)}
    assert parsed(address=SOMEONE, token=USDC).address_keys() == {address_key(SOMEONE)}
    assert parsed(token="ETH").address_keys() is None
    assert parsed(types="block").address_keys() is None
