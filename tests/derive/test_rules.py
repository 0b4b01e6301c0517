"""What a chain's configuration asks to be told."""

from chainwatch.derive.rules import Rules


def test_nothing_is_told_of_nobody():
    rules = Rules(chain="ethereum", native="ETH")
    assert not rules.tells_transactions
    assert not rules.tells_transfers


def test_a_wallet_is_enough_to_tell_of_it():
    rules = Rules(chain="ethereum", native="ETH", wallets=frozenset({"0x" + "ab" * 20}))
    assert rules.tells_transactions
    assert rules.tells_transfers
    assert rules.tells_transaction("0x" + "AB" * 20, None)
    assert not rules.tells_transaction("0x" + "cd" * 20, None)
    assert rules.direction("0x" + "cd" * 20, "0x" + "AB" * 20) == "incoming"
