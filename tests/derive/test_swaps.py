"""Swaps out of real mainnet logs, with web3's decoder and the tokens' own transfers as witnesses; and hostile ones."""

from collections import Counter
from fractions import Fraction
from functools import cache

import pytest
from eth_abi import encode
from eth_utils import keccak
from mainnet import POOL_MANAGER, USDC, WETH, Witness, block, block_of, log, place, raw_logs, word

from chainwatch.chain.evm.block import RpcTransaction
from chainwatch.chain.evm.reads import Metadata, Pool
from chainwatch.derive.known import Known, pool_key
from chainwatch.derive.rules import Rules, Token
from chainwatch.derive.swaps import (
    INITIALIZE_V4,
    SWAP_PANCAKE_V3,
    SWAP_V2,
    SWAP_V3,
    SWAP_V4,
    candidates,
    initialized,
    swaps,
)
from chainwatch.derive.transfers import TRANSFER
from chainwatch.eip55 import checksum

ALL = Rules(chain="ethereum", native="ETH", transfers="all")
USDC_TOKEN = {USDC: Token("USDC", 6)}
USDT = "0xdac17f958d2ee523a2206206994597c13d831ec7"
ETH_USDC = "0x21c67e77068de97969ba93d4aab21826d33ca12bb9f565d8496e8fda8a82ca27"
"""The pool of mainnet's PoolManager with 0.05 % and no hooks."""
ETH_USDT = "0x72331fcb696b0151904c03584b66dc8365bc63f8a144d89a773384e3a579ca73"

V2 = Witness(
    "Swap(address indexed sender, uint256 in0, uint256 in1, uint256 out0, uint256 out1, address indexed recipient)"
)
_V3 = "address indexed sender, address indexed recipient, int256 amount0, int256 amount1, uint160 price"
V3 = Witness(f"Swap({_V3}, uint128 liquidity, int24 tick)")
PANCAKE = Witness(f"Swap({_V3}, uint128 liquidity, int24 tick, uint128 fees0, uint128 fees1)")
V4 = Witness(
    "Swap(bytes32 indexed id, address indexed sender, int128 amount0, int128 amount1, uint160 price, uint128 liquidity,"
    " int24 tick, uint24 fee)"
)
INITIALIZE = Witness(
    "Initialize(bytes32 indexed id, address indexed currency0, address indexed currency1, uint24 fee,"
    " int24 tickSpacing, address hooks, uint160 price, int24 tick)"
)
MOVED = Witness("Transfer(address indexed from, address indexed to, uint256 value)")


@cache
def moved_in(name):
    return [(raw["address"], raw["transactionHash"], args) for raw, args in MOVED(raw_logs(name))]


def test_the_topics_are_those_of_the_declarations():
    assert [one.topic for one in (V2, V3, PANCAKE, V4, INITIALIZE)] == [
        SWAP_V2, SWAP_V3, SWAP_PANCAKE_V3, SWAP_V4, INITIALIZE_V4,
    ]  # fmt: skip


@cache
def as_web3_decodes(name):
    """(protocol, pool, sender, recipient, what the pool took of its tokens) of every swap, by its place."""
    logs = raw_logs(name)
    found = {}
    for raw, args in V2(logs):
        taken = args["in0"] - args["out0"], args["in1"] - args["out1"]
        found[place(raw)] = ("uniswap_v2", raw["address"], args["sender"], args["recipient"], taken)
    for protocol, witness in (("uniswap_v3", V3), ("pancakeswap_v3", PANCAKE)):
        for raw, args in witness(logs):
            taken = args["amount0"], args["amount1"]
            found[place(raw)] = (protocol, raw["address"], args["sender"], args["recipient"], taken)
    for raw, args in V4(logs):
        taken = -args["amount0"], -args["amount1"]
        found[place(raw)] = ("uniswap_v4", "0x" + args["id"].hex(), args["sender"], None, taken)
    return found


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("helios", {"uniswap_v2": 24, "uniswap_v3": 13, "uniswap_v4": 2}),
        ("shovel", {"uniswap_v2": 27, "uniswap_v3": 2}),
    ],
)
def test_every_swap_of_a_real_block_is_told_as_web3_decodes_it(name, counts):
    expected = as_web3_decodes(name)
    events = list(swaps(block(name), ALL, Known({}), 0))
    told = {(event.data.tx_hash, event.data.log_index): event.data for event in events}
    assert told.keys() == expected.keys()
    assert Counter(data.protocol for data in told.values()) == counts
    assert len({event.id for event in events}) == len(events)
    for key, (protocol, pool, sender, recipient, taken) in expected.items():
        data = told[key]
        assert (data.protocol, data.pool.lower()) == (protocol, pool)
        assert (data.sender, data.recipient) == (sender, recipient)
        assert (int(data.amount_in), -int(data.amount_out)) == (max(taken), min(taken))
        assert data.manager == (checksum(POOL_MANAGER) if protocol == "uniswap_v4" else None)


@pytest.mark.parametrize("name", ["helios", "shovel"])
def test_what_a_pool_takes_and_gives_is_what_its_tokens_say_of_it(name):
    """The tokens' own transfers from and to the pool, in a transaction in which it swaps once."""
    told = [event.data for event in swaps(block(name), ALL, Known({}, pools=pools_of(name)), 0)]
    times = Counter((data.tx_hash, data.pool) for data in told)
    checked = 0
    for data in told:
        if times[data.tx_hash, data.pool] > 1:
            continue
        pool = data.manager or data.pool
        taken, given = (
            sum(
                args["value"]
                for token, tx_hash, args in moved_in(name)
                if tx_hash == data.tx_hash and args[side] == pool and checksum(token) == address
            )
            for side, address in (("to", data.token_in_address), ("from", data.token_out_address))
        )
        assert abs(taken - int(data.amount_in)) <= 1, "one token rounds"
        if data.token_out != "ETH":  # that moves without a log
            assert given == int(data.amount_out)
        checked += 1
    assert checked >= 20


@cache
def pools_of(name: str) -> dict[str, Pool]:
    """The tokens of the block's pools: those that moved from or to them, in the order of their addresses."""
    found = {pool_key(POOL_MANAGER, ETH_USDC): Pool(token0="", token1=USDC)}
    found[pool_key(POOL_MANAGER, ETH_USDT)] = Pool(token0="", token1=USDT)
    for _, pool, *_ in as_web3_decodes(name).values():
        tokens = {token for token, _, args in moved_in(name) if pool in (args["from"].lower(), args["to"].lower())}
        if len(tokens) == 2:
            first, second = sorted(tokens)
            found[pool] = Pool(token0=first, token1=second)
    return found


def test_a_real_swap_of_uniswap_v4_has_the_native_currency_and_a_price():
    known = Known(USDC_TOKEN, pools=pools_of("helios"))
    data = next(event.data for event in swaps(block("helios"), ALL, known, 0) if event.data.pool == ETH_USDC)
    assert (data.token_in, data.token_in_address, data.decimals_in) == ("USDC", checksum(USDC), 6)
    assert (data.token_out, data.token_out_address, data.decimals_out) == ("ETH", None, 18)
    assert (data.amount_in, data.amount_out) == ("2549977984", "1059623499715010074")
    assert data.recipient is None
    # 1.059623499715010074 ETH for 2549.977984 USDC.
    exact = Fraction(1059623499715010074, 10**18) / Fraction(2549977984, 10**6)
    assert abs(Fraction(data.price) - exact) < Fraction(1, 10**21)
    assert data.price == "0.000415542215016633679"


def test_without_decimals_there_is_no_price_and_without_a_pool_no_token():
    known = Known({}, pools=pools_of("helios"))
    told = {event.data.pool: event.data for event in swaps(block("helios"), ALL, known, 0)}
    assert (told[ETH_USDC].token_out, told[ETH_USDC].token_in, told[ETH_USDC].price) == ("ETH", None, None)
    blind = next(event.data for event in swaps(block("helios"), ALL, Known({}), 0) if event.data.pool == ETH_USDC)
    assert (blind.token_in, blind.token_in_address, blind.token_out, blind.price) == (None, None, None, None)


# --- which are told -----------------------------------------------------------------------------------------------


def told_by(rules: Rules, known: Known, name: str = "helios") -> list[str]:
    return [event.id for event in swaps(block(name), rules, known, 0)]


def test_all_pools_are_candidates_where_all_is_told():
    swapped = as_web3_decodes("helios").values()
    keys = {pool_key(POOL_MANAGER, pool) if protocol == "uniswap_v4" else pool for protocol, pool, *_ in swapped}
    assert candidates(block("helios"), ALL) == keys


def test_a_listed_token_is_told_of_every_pool_that_trades_it():
    known = Known(USDC_TOKEN, pools=pools_of("helios"))
    rules = Rules(chain="ethereum", native="ETH", tokens=USDC_TOKEN)
    expected = [
        event.id
        for event in swaps(block("helios"), ALL, known, 0)
        if checksum(USDC) in (event.data.token_in_address, event.data.token_out_address)
    ]
    assert told_by(rules, known) == expected
    assert 0 < len(expected) < 39


def test_the_tokens_of_a_pool_are_asked_for_where_a_listed_one_moved():
    rules = Rules(chain="ethereum", native="ETH", tokens=USDC_TOKEN)
    asked = candidates(block("helios"), rules)
    trading = {key for key, pool in pools_of("helios").items() if USDC in (pool.token0, pool.token1)}
    assert trading <= asked
    assert len(asked) < len(candidates(block("helios"), ALL)) / 2
    # Every swap of a listed token is told when what was asked for is known, and nothing else.
    only = {key: pool for key, pool in pools_of("helios").items() if key in asked}
    assert told_by(rules, Known(USDC_TOKEN, pools=only)) == told_by(rules, Known(USDC_TOKEN, pools=pools_of("helios")))


def test_a_wallet_swaps_as_sender_as_recipient_or_through_a_router():
    everything = {event.id: event.data for event in swaps(block("helios"), ALL, Known({}), 0)}
    some = list(everything.values())
    router, recipient = some[0].sender.lower(), next(data.recipient for data in some[20:] if data.recipient).lower()
    transaction = block("helios").transactions[some[-1].transaction_index]
    for wallet in (router, recipient, transaction.from_):
        rules = Rules(chain="ethereum", native="ETH", wallets=frozenset({wallet}))
        sent = {one.hash for one in block("helios").transactions if one.from_ == wallet}
        expected = [
            key
            for key, data in everything.items()
            if wallet in (data.sender.lower(), (data.recipient or "").lower()) or data.tx_hash in sent
        ]
        assert told_by(rules, Known({})) == expected
        assert 0 < len(expected) < len(everything)
        assert len(candidates(block("helios"), rules)) == len(
            {(everything[key].manager, everything[key].pool) for key in expected}
        )


def test_nothing_is_told_and_nothing_asked_for_where_nothing_is_watched():
    for rules in (
        Rules(chain="ethereum", native="ETH"),
        Rules(chain="ethereum", native="ETH", transfers="none", tokens=USDC_TOKEN, wallets=frozenset({USDC})),
    ):
        assert told_by(rules, Known({}, pools=pools_of("helios"))) == []
        assert candidates(block("helios"), rules) == set()


# --- made up ------------------------------------------------------------------------------------------------------

A, B = ("0x" + word(number) for number in (0xA, 0xB))
ALICE = "0x" + "0" * 39 + "a"
PAIR, X, Y = "0x" + "11" * 20, "0x" + "aa" * 20, "0x" + "bb" * 20
KNOWN = Known(
    {}, {X: Metadata(symbol="X", decimals=2), Y: Metadata(symbol="Y", decimals=0)}, {PAIR: Pool(token0=X, token1=Y)}
)


def told(*logs, known=KNOWN, rules=ALL):
    return [event.data for event in swaps(block_of(*logs), rules, known, 0)]


def v2(in0, in1, out0, out1):
    return log([SWAP_V2, A, B], "0x" + "".join(map(word, (in0, in1, out0, out1))), PAIR)


def v3(amount0, amount1, topic=SWAP_V3, more=3):
    return log([topic, A, B], "0x" + word(amount0) + word(amount1) + word(1) * more, PAIR)


def v4(pool_id, amount0, amount1, address=POOL_MANAGER):
    return log([SWAP_V4, pool_id, A], "0x" + word(amount0) + word(amount1) + word(1) * 4, address)


def test_a_pair_is_seen_from_both_sides():
    (data,) = told(v2(100, 0, 0, 40))
    assert (data.token_in, data.amount_in, data.token_out, data.amount_out) == ("X", "100", "Y", "40")
    assert data.price == "40"
    (data,) = told(v2(0, 40, 200, 0))
    assert (data.token_in, data.amount_in, data.token_out, data.amount_out) == ("Y", "40", "X", "200")
    assert data.price == "0.05"


def test_what_went_out_and_came_back_is_not_traded():
    """A flash swap, and a fee on the transfer, have amounts in and out of the same token."""
    (data,) = told(v2(100, 7, 30, 40))
    assert (data.amount_in, data.amount_out) == ("70", "33")
    assert told(v2(0, 103, 0, 100)) == []
    assert told(v2(5, 5, 0, 0)) == []
    assert told(v2(0, 0, 5, 5)) == []


@pytest.mark.parametrize(
    ("topic", "more", "protocol"), [(SWAP_V3, 3, "uniswap_v3"), (SWAP_PANCAKE_V3, 5, "pancakeswap_v3")]
)
def test_signed_amounts_are_the_pools(topic, more, protocol):
    (data,) = told(v3(-(2**200), 2**255 - 1, topic, more))
    assert data.protocol == protocol
    assert (data.token_in, data.amount_in) == ("Y", str(2**255 - 1))
    assert (data.token_out, data.amount_out) == ("X", str(2**200))
    assert told(v3(5, 0, topic, more)) == told(v3(5, 5, topic, more)) == told(v3(-5, -5, topic, more)) == []


def test_amounts_of_uniswap_v4_are_who_swaps():
    known = Known(
        {}, {Y: Metadata(symbol="Y", decimals=0)}, {pool_key(POOL_MANAGER, ETH_USDC): Pool(token0="", token1=Y)}
    )
    (data,) = told(v4(ETH_USDC, -(10**18), 3000), known=known)
    assert (data.token_in, data.amount_in, data.token_out, data.amount_out) == ("ETH", str(10**18), "Y", "3000")
    assert (data.token_in_address, data.decimals_in, data.price) == (None, 18, "3000")


def test_prices_of_hostile_tokens_are_exact_and_plain():
    known = Known({}, {X: Metadata(decimals=255), Y: Metadata(decimals=0)}, {PAIR: Pool(token0=X, token1=Y)})
    (data,) = told(v2(1, 0, 0, 2**256 - 1), known=known)
    assert data.price == "115792089237316195" + "0" * (78 - 18 + 255)
    (data,) = told(v2(0, 3, 1, 0), known=known)
    assert data.price == "0." + "0" * 255 + "333333333333333333"
    assert "e" not in data.price.lower()


@pytest.mark.parametrize(
    "hostile",
    [
        log([SWAP_V2, A], "0x" + word(1) * 4, PAIR),
        log([SWAP_V2, A, B], "0x" + word(1) * 3, PAIR),
        log([SWAP_V2, A, "0x" + "ff" * 32], "0x" + word(9) + word(0) * 2 + word(9), PAIR),
        log([SWAP_V2, A, B, A], "0x" + word(9) + word(0) * 2 + word(9), PAIR),
        log([SWAP_V3, A, B], "0x" + word(1) + word(-1) + word(1) * 2, PAIR),
        log([SWAP_V3, A], "0x" + word(1) + word(-1) + word(1) * 3, PAIR),
        log([SWAP_V3, "0x" + "01" * 32, B], "0x" + word(1) + word(-1) + word(1) * 3, PAIR),
        log([SWAP_PANCAKE_V3, A, B], "0x" + word(1) + word(-1) + word(1) * 3, PAIR),
        log([SWAP_V4, ETH_USDC, A], "0x" + word(1) + word(-1) + word(1) * 3, POOL_MANAGER),
        log([SWAP_V4, ETH_USDC, "0x" + "01" * 32], "0x" + word(1) + word(-1) + word(1) * 4, POOL_MANAGER),
        log([SWAP_V4, ETH_USDC, A], "0x" + word(2**128) + word(-1) + word(1) * 4, POOL_MANAGER),
        log([SWAP_V4, "0x1234", A], "0x" + word(1) + word(-1) + word(1) * 4, POOL_MANAGER),
        log([], "0x", PAIR),
    ],
)
def test_what_only_looks_like_a_swap_is_none(hostile):
    assert told(hostile) == []
    assert candidates(block_of(hostile), ALL) == set()


def test_a_stranger_with_the_id_of_a_real_pool_has_none_of_its_tokens():
    """Anybody can write a Swap log with any id: the pool is the contract's own, and named with it."""
    stranger = "0x" + "66" * 20
    known = Known(USDC_TOKEN, pools={pool_key(POOL_MANAGER, ETH_USDC): Pool(token0="", token1=USDC)})
    forged = v4(ETH_USDC, -(10**30), 1, address=stranger)
    (data,) = told(forged, known=known)
    assert (data.manager, data.token_in, data.token_out, data.price) == (checksum(stranger), None, None, None)
    assert told(forged, known=known, rules=Rules(chain="ethereum", native="ETH", tokens=USDC_TOKEN)) == []
    assert candidates(block_of(forged), ALL) == {pool_key(stranger, ETH_USDC)}


def test_the_sender_of_the_transaction_is_a_wallet_that_swaps():
    rules = Rules(chain="ethereum", native="ETH", wallets=frozenset({PAIR[:-1] + "2"}))
    own = RpcTransaction(
        hash="0x" + "22" * 32, from_=(PAIR[:-1] + "2").upper().replace("X", "x"), value="0x0", nonce="0x0"
    )
    made = block_of(v2(100, 0, 0, 40), transactions=(own,))
    assert [event.data.pool for event in swaps(made, rules, KNOWN, 0)] == [checksum(PAIR)]
    assert list(swaps(block_of(v2(100, 0, 0, 40)), rules, KNOWN, 0)) == []


def test_a_listed_token_that_moves_elsewhere_makes_no_candidate():
    rules = Rules(chain="ethereum", native="ETH", tokens={X: Token("X", 2)})
    to_pool = log([TRANSFER, A, "0x" + "0" * 24 + PAIR[2:]], "0x" + word(100), X)
    assert candidates(block_of(to_pool, v2(100, 0, 0, 40)), rules) == {PAIR}
    assert candidates(block_of(log([TRANSFER, A, B], "0x" + word(100), X), v2(100, 0, 0, 40)), rules) == set()
    other = log([TRANSFER, A, "0x" + "0" * 24 + PAIR[2:]], "0x" + word(100), X, tx="23")
    assert candidates(block_of(other, v2(100, 0, 0, 40)), rules) == set()


# --- pools that are made ------------------------------------------------------------------------------------------


def initialize(currency0, currency1, fee, spacing, hooks, *, pool_id=None, address=POOL_MANAGER):
    key = encode(["address", "address", "uint24", "int24", "address"], [currency0, currency1, fee, spacing, hooks])
    data = encode(["uint24", "int24", "address", "uint160", "int24"], [fee, spacing, hooks, 2**96, 0])
    topics = ["0x" + "0" * 24 + currency[2:] for currency in (currency0, currency1)]
    return log([INITIALIZE_V4, pool_id or "0x" + keccak(key).hex(), *topics], "0x" + data.hex(), address)


NATIVE = "0x" + "0" * 40


def test_the_id_of_a_real_pool_is_the_hash_of_its_key():
    made = initialize(NATIVE, USDC, 500, 10, NATIVE)
    assert made.topics[1] == ETH_USDC
    assert initialized(block_of(made)) == {pool_key(POOL_MANAGER, ETH_USDC): Pool(token0="", token1=USDC)}


def test_pools_with_negative_numbers_and_hooks_are_learnt_too():
    found = initialized(block_of(initialize(USDC, WETH, 0x800000, -60, "0x" + "c0" * 20)))
    assert list(found.values()) == [Pool(token0=USDC, token1=WETH)]


def test_nobody_can_give_a_pool_other_tokens():
    """The id is a hash over the tokens; what is said of another contract's pool stays with who says it."""
    stranger = "0x" + "66" * 20
    assert initialized(block_of(initialize(NATIVE, X, 500, 10, NATIVE, pool_id=ETH_USDC))) == {}
    assert initialized(block_of(initialize(NATIVE, X, 500, 10, NATIVE, pool_id=ETH_USDC, address=stranger))) == {}
    copied = initialized(block_of(initialize(NATIVE, USDC, 500, 10, NATIVE, address=stranger)))
    assert list(copied) == [pool_key(stranger, ETH_USDC)]


@pytest.mark.parametrize(
    "hostile",
    [
        initialize(USDC, NATIVE, 500, 10, NATIVE),
        initialize(USDC, USDC, 500, 10, NATIVE),
        initialize(NATIVE, NATIVE, 500, 10, NATIVE),
        log([INITIALIZE_V4, ETH_USDC, A, B], "0x" + word(1) * 4, POOL_MANAGER),
        log([INITIALIZE_V4, ETH_USDC, A], "0x" + word(1) * 5, POOL_MANAGER),
        log([INITIALIZE_V4, ETH_USDC, "0x" + "ff" * 32, B], "0x" + word(1) * 5, POOL_MANAGER),
        log([], "0x"),
    ],
)
def test_what_only_looks_like_a_new_pool_is_none(hostile):
    assert initialized(block_of(hostile)) == {}
