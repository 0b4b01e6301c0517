"""What is remembered of tokens and pools, and what is forgotten first."""

from __future__ import annotations

from chainwatch.chain.evm.reads import Metadata, Pool
from chainwatch.derive import known as module
from chainwatch.derive.known import Known
from chainwatch.derive.rules import Token


def test_what_a_block_was_asked_about_with_is_there_when_it_is_told(monkeypatch):
    monkeypatch.setattr(module, "MOST", 8)
    known = Known({})
    tokens = [f"0x{index:040x}" for index in range(20)]
    for each in tokens[:8]:
        known.learn({each: Metadata(symbol=each[-2:])}, {each: Pool(token0=each, token1=each)})
    # A block needs the oldest ones, so nobody reads them again; blocks that are read meanwhile bring others.
    assert known.has_token(tokens[0])
    assert known.has_pool(tokens[1])
    for each in tokens[8:10]:
        known.learn({each: Metadata()}, {each: Pool()})
    assert known.symbol(tokens[0]) == "00"
    assert known.pools[tokens[1]].token0 == tokens[1]
    assert not known.has_token(tokens[1]), "what nobody needed is forgotten"
    assert not known.has_pool(tokens[0])


def test_a_listed_token_is_known_without_being_read():
    known = Known({"0xaa": Token("USDC", 6)})
    assert known.has_token("0xaa")
    assert (known.describe("0xaa"), known.describe("0xbb")) == (("USDC", None, 6), (None, None, None))
