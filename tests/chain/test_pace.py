"""How much is asked for at once: doubling, halving, and what memory has room for."""

from chainwatch.chain.evm.pace import HELD, Pace


def test_it_doubles_with_each_good_round_up_to_a_limit():
    pace = Pace(first=4, most=20)
    for expected in (8, 16, 20):
        for _ in range(pace.blocks):
            pace.succeeded(1000)
        assert pace.blocks == expected


def test_after_a_refusal_it_halves_and_grows_slowly():
    pace = Pace(first=64)
    pace.limited()
    assert pace.blocks == 32
    for _ in range(32):
        pace.succeeded(1000)
    assert 35 <= pace.blocks <= 36


def test_a_node_that_refuses_everything_is_still_asked_for_one():
    pace = Pace()
    for _ in range(20):
        pace.limited()
    assert pace.blocks == 1


def test_large_blocks_are_asked_for_a_few_at_a_time():
    pace = Pace(first=128)
    pace.succeeded(HELD // 8)
    assert pace.blocks == 8
    pace.succeeded(2 * HELD)
    assert pace.blocks == 1
    for _ in range(1000):
        pace.succeeded(1000)
    assert pace.blocks == 128
