"""Approvals out of real mainnet logs, with web3's decoder as the witness, and out of hostile ones."""

from datetime import UTC, datetime

import pytest
from mainnet import USDC, Witness, block, block_of, log, place, raw_logs, word

from chainwatch.chain.evm.reads import Metadata
from chainwatch.derive.approvals import (
    APPROVAL,
    APPROVAL_FOR_ALL,
    PERMIT2,
    PERMIT2_APPROVAL,
    PERMIT2_LOCKDOWN,
    PERMIT2_PERMIT,
    approvals,
    token_of,
)
from chainwatch.derive.known import Known
from chainwatch.derive.rules import Rules, Token
from chainwatch.eip55 import checksum

ALL = Rules(chain="ethereum", native="ETH", transfers="all", tokens={USDC: Token("USDC", 6)})
NOTHING_ELSE = Known(ALL.tokens)

ERC20 = Witness("Approval(address indexed owner, address indexed spender, uint256 amount)")
ERC721 = Witness("Approval(address indexed owner, address indexed spender, uint256 indexed token_id)")
FOR_ALL = Witness("ApprovalForAll(address indexed owner, address indexed spender, bool approved)")
P2_APPROVAL = Witness(
    "Approval(address indexed owner, address indexed token, address indexed spender, uint160 amount, uint48 expiration)"
)
P2_PERMIT = Witness(
    "Permit(address indexed owner, address indexed token, address indexed spender, uint160 amount, uint48 expiration,"
    " uint48 nonce)"
)
P2_LOCKDOWN = Witness("Lockdown(address indexed owner, address token, address spender)")


def test_the_topics_are_those_of_the_declarations():
    assert (ERC20.topic, ERC721.topic, FOR_ALL.topic) == (APPROVAL, APPROVAL, APPROVAL_FOR_ALL)
    assert (P2_APPROVAL.topic, P2_PERMIT.topic, P2_LOCKDOWN.topic) == (
        PERMIT2_APPROVAL,
        PERMIT2_PERMIT,
        PERMIT2_LOCKDOWN,
    )


@pytest.mark.parametrize("name", ["helios", "shovel"])
def test_every_approval_of_a_real_block_is_told_as_web3_decodes_it(name):
    logs = raw_logs(name)
    expected = {}
    for raw, args in ERC20(logs):
        amount = args["amount"]
        unlimited = amount >= 2**255 or amount == 2**96 - 1
        expected[place(raw)] = ("erc20", raw["address"], args, str(amount), None, None, unlimited, amount == 0, None)
    for raw, args in ERC721(logs):
        revoked = int(args["spender"], 16) == 0
        expected[place(raw)] = (
            "erc721", raw["address"], args, None, str(args["token_id"]), None, False, revoked, None,
        )  # fmt: skip
    for raw, args in FOR_ALL(logs):
        given = args["approved"]
        expected[place(raw)] = (None, raw["address"], args, None, None, given, given, not given, None)
    for raw, args in P2_PERMIT(logs, PERMIT2):
        amount, ends = args["amount"], datetime.fromtimestamp(args["expiration"], UTC)
        expected[place(raw)] = (
            "permit2", args["token"], args, str(amount), None, None, amount == 2**160 - 1, amount == 0,
            ends.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        )  # fmt: skip
    told = {
        (event.data.tx_hash, event.data.log_index): event.data for event in approvals(block(name), ALL, NOTHING_ELSE, 0)
    }
    assert told.keys() == expected.keys()
    for key, (standard, token, args, amount, token_id, for_all, unlimited, revoked, expiration) in expected.items():
        data = told[key]
        assert data.standard == standard
        assert data.token_address == checksum(token.lower())
        assert (data.owner, data.spender) == (args["owner"], args["spender"])
        assert (data.amount, data.token_id, data.approved_for_all) == (amount, token_id, for_all)
        assert (data.unlimited, data.revoked) == (unlimited, revoked)
        assert data.expiration == expiration
        assert (data.token, data.decimals) == (("USDC", 6) if token.lower() == USDC else (None, None))


def test_the_real_blocks_hold_every_kind_but_two():
    """What they do not hold is below, and on anvil: Permit2's own `approve` and `lockdown`."""
    kinds = {
        (event.data.standard, event.data.approved_for_all)
        for name in ("helios", "shovel")
        for event in approvals(block(name), ALL, NOTHING_ELSE, 0)
    }
    assert kinds == {("erc20", None), ("erc721", None), ("permit2", None), (None, True)}


def test_ids_are_told_once_and_say_which_time():
    first = [event.id for event in approvals(block("helios"), ALL, NOTHING_ELSE, 0)]
    again = [event.id for event in approvals(block("helios"), ALL, NOTHING_ELSE, 1)]
    assert len(first) == len(set(first))
    assert not set(first) & set(again)


def test_only_owners_spenders_and_listed_tokens_that_are_watched_are_told():
    everything = list(approvals(block("helios"), ALL, NOTHING_ELSE, 0))
    owner, spender = everything[3].data.owner, everything[7].data.spender
    rules = Rules(
        chain="ethereum", native="ETH", tokens=ALL.tokens, wallets=frozenset({owner.lower(), spender.lower()})
    )
    told = [event.id for event in approvals(block("helios"), rules, NOTHING_ELSE, 0)]
    assert told == [
        event.id
        for event in everything
        if event.data.owner in (owner, spender) or event.data.spender in (owner, spender) or event.data.token == "USDC"
    ]
    assert 2 <= len(told) < len(everything)
    assert not list(approvals(block("helios"), Rules(chain="ethereum", native="ETH"), NOTHING_ELSE, 0))
    none = Rules(chain="ethereum", native="ETH", transfers="none", wallets=rules.wallets, tokens=ALL.tokens)
    assert not list(approvals(block("helios"), none, NOTHING_ELSE, 0))


A, B, TOKEN = ("0x" + word(number) for number in (0xA, 0xB, 0xC))
CONTRACT = "0x" + "11" * 20


def told(*logs, known=NOTHING_ELSE):
    return [event.data for event in approvals(block_of(*logs), ALL, known, 0)]


@pytest.mark.parametrize(
    ("amount", "unlimited"),
    [
        (2**256 - 1, True),
        (2**255, True),
        (2**255 - 1, False),
        (2**96 - 1, True),
        (2**96, False),
        (2**160 - 1, False),
        (0, False),
    ],
)
def test_the_largest_amounts_are_unlimited(amount, unlimited):
    (data,) = told(log([APPROVAL, A, B], "0x" + word(amount)))
    assert (data.amount, data.unlimited, data.revoked) == (str(amount), unlimited, amount == 0)


def test_an_approval_for_all_is_of_the_standard_that_the_contract_says():
    known = Known({}, {CONTRACT: Metadata(symbol="PACK", standard="erc1155", decimals=9)})
    given, taken = told(
        log([APPROVAL_FOR_ALL, A, B], "0x" + word(1)), log([APPROVAL_FOR_ALL, A, B], "0x" + word(0)), known=known
    )
    assert (given.standard, given.token, given.decimals) == ("erc1155", "PACK", None)
    assert (given.approved_for_all, given.unlimited, given.revoked) == (True, True, False)
    assert (taken.approved_for_all, taken.unlimited, taken.revoked) == (False, False, True)


def permit2(topics, *words, address=PERMIT2):
    return log([*topics], "0x" + "".join(map(word, words)), address=address)


def test_permit2_speaks_for_the_token_and_not_for_itself():
    known = Known({}, {"0x" + "0" * 39 + "c": Metadata(symbol="COIN", decimals=6)})
    (data,) = told(permit2([PERMIT2_APPROVAL, A, TOKEN, B], 2**160 - 1, 1_800_000_000), known=known)
    assert data.standard == "permit2"
    assert data.token_address == checksum("0x" + "0" * 39 + "c")
    assert (data.token, data.decimals) == ("COIN", 6)
    assert (data.owner, data.spender) == (checksum("0x" + "0" * 39 + "a"), checksum("0x" + "0" * 39 + "b"))
    assert (data.amount, data.unlimited, data.revoked) == (str(2**160 - 1), True, False)
    assert data.expiration == "2027-01-15T08:00:00.000Z"


def test_an_approval_of_permit2_may_end_never_or_with_its_block():
    never, at_once = told(
        permit2([PERMIT2_PERMIT, A, TOKEN, B], 5, 2**48 - 1, 0), permit2([PERMIT2_PERMIT, A, TOKEN, B], 5, 0, 1)
    )
    assert never.expiration is None
    assert at_once.expiration == "2023-11-14T22:13:20.000Z"
    assert not never.unlimited


def test_a_lockdown_revokes():
    (data,) = told(permit2([PERMIT2_LOCKDOWN, A], 0xC, 0xB))
    assert (data.standard, data.amount, data.revoked, data.unlimited) == ("permit2", "0", True, False)
    assert data.token_address == checksum("0x" + "0" * 39 + "c")
    assert data.spender == checksum("0x" + "0" * 39 + "b")


@pytest.mark.parametrize(
    "hostile",
    [
        permit2([PERMIT2_APPROVAL, A, TOKEN, B], 5, 1, address=CONTRACT),
        permit2([PERMIT2_PERMIT, A, TOKEN, B], 5, 1, 0, address=CONTRACT),
        permit2([PERMIT2_LOCKDOWN, A], 0xC, 0xB, address=CONTRACT),
        permit2([PERMIT2_APPROVAL, A, TOKEN], 5, 1),
        permit2([PERMIT2_APPROVAL, A, TOKEN, B], 5),
        permit2([PERMIT2_APPROVAL, A, TOKEN, B], 2**160, 1),
        permit2([PERMIT2_APPROVAL, A, TOKEN, B], 5, 2**48),
        permit2([PERMIT2_LOCKDOWN, A], 0xC),
        permit2([PERMIT2_LOCKDOWN, A], 2**255, 0xB),
        permit2([PERMIT2_LOCKDOWN, A, B], 0xC, 0xB),
        log([APPROVAL], "0x" + word(1)),
        log([APPROVAL, A], "0x" + word(1)),
        log([APPROVAL, A, B], "0x"),
        log([APPROVAL, A, B], "0x" + "00" * 31),
        log([APPROVAL, A, "0x" + "ff" * 32], "0x" + word(1)),
        log([APPROVAL, A, B, TOKEN], "0x" + word(1)),
        log([APPROVAL_FOR_ALL, A, B], "0x" + word(2)),
        log([APPROVAL_FOR_ALL, A, B], "0x"),
        log([APPROVAL_FOR_ALL, A, B, TOKEN], "0x" + word(1)),
        log([], "0x"),
    ],
)
def test_what_only_looks_like_an_approval_is_none(hostile):
    assert told(hostile) == []
    assert token_of(hostile) is None
