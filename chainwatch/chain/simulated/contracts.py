"""
Who lives on the simulated chain: its accounts, its contracts, what they own at the start, and what they answer to
`eth_call`. Addresses do not hang on the seed, so a configuration that names them fits every world.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from chainwatch.chain.simulated.primitives import Log, address, indexed, padded, selector, text, topic, word

Key = tuple[str, str]
"""One number of the chain's state: (what, whose). What: `NATIVE`, `NONCE`, a token's address, or `item(...)`."""
Read = Callable[[Key], int]
"""How to read the state at some block; 0 where nothing was ever written."""

NATIVE: Final = "native"
NONCE: Final = "nonce"
ZERO: Final = "0x" + "00" * 20
NATIVE_SYMBOL: Final = "ETH"


class Token(NamedTuple):
    symbol: str
    name: str
    address: str
    decimals: int
    standard: str
    """`erc20`, `erc721` or `erc1155`."""


class Wallet(NamedTuple):
    name: str
    address: str


USDC: Final = Token("USDC", "Simulated Dollar", address("USDC"), 6, "erc20")
WETH: Final = Token("WETH", "Simulated Wrapped Ether", address("WETH"), 18, "erc20")
WBTC: Final = Token("WBTC", "Simulated Wrapped Bitcoin", address("WBTC"), 8, "erc20")
CATS: Final = Token("CATS", "Simulated Cats", address("CATS"), 0, "erc721")
LOOT: Final = Token("LOOT", "Simulated Loot", address("LOOT"), 0, "erc1155")
TOKENS: Final = (USDC, WETH, WBTC, CATS, LOOT)
"""What an honest list of this chain's tokens holds."""

# An airdrop that calls itself USDC, rings the bell, clears the screen and turns the line around: what strangers do.
SCAM: Final = Token("USDC\x07\x1b[2J\u202e", "USDC \u200bclaim at <b>evil.example</b>", address("scam"), 6, "erc20")

PAIR: Final = address("USDC-WETH pair")
"""A Uniswap v2 pair; token 0 is USDC."""
ROUTER: Final = address("router")
SPLITTER: Final = address("splitter")
"""Hands on the ether that it gets, half and half, without a log."""

FEED: Final = address("ETH/USD feed")
"""The proxy of a Chainlink price feed; see `oracle`."""
PHASE: Final[Key] = (FEED, "phase")
FEED_DECIMALS: Final = 8

ACCOUNTS: Final = tuple(address(f"account {number}") for number in range(24))
MINERS: Final = tuple(address(f"miner {number}") for number in range(3))
WALLETS: Final = (Wallet("alice", ACCOUNTS[0]), Wallet("bob", ACCOUNTS[1]), Wallet("carol", ACCOUNTS[2]))
"""The busiest accounts: each takes part in between a sixth and a third of all transactions."""

CATS_LIMIT: Final = 512
LOOT_IDS: Final = (1, 2, 3, 4, 5)

TRANSFER: Final = topic("Transfer(address,address,uint256)")
TRANSFER_SINGLE: Final = topic("TransferSingle(address,address,address,uint256,uint256)")
TRANSFER_BATCH: Final = topic("TransferBatch(address,address,address,uint256[],uint256[])")
APPROVAL: Final = topic("Approval(address,address,uint256)")
SWAP: Final = topic("Swap(address,uint256,uint256,uint256,uint256,address)")
SYNC: Final = topic("Sync(uint112,uint112)")


class Revert(Exception):
    """A call failed and changed nothing; `reason` is what `require` said, empty where it said nothing."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason

    @property
    def data(self) -> str:
        """`Error(string)` of that reason, as `eth_call` returns it."""
        return selector("Error(string)") + text(self.reason)[2:] if self.reason else "0x"


def item(token: Token, number: int) -> str:
    """The first part of the key of one id of an ERC-1155."""
    return f"{token.address}/{number}"


def cat(number: int) -> Key:
    """The key under which the owner of one ERC-721 stands, as a number."""
    return (CATS.address, f"#{number}")


@lru_cache(maxsize=64)
def aggregator(phase: int) -> str:
    """The contract behind the feed's proxy in its phase."""
    return address(f"ETH/USD aggregator {phase}")


CATS_MINTED: Final[Key] = (CATS.address, "minted")


def genesis() -> dict[Key, int]:
    """What everybody owns at block 0."""
    state: dict[Key, int] = {PHASE: 1}
    for owner in ACCOUNTS:
        state[NATIVE, owner] = 10_000 * 10**18
        state[USDC.address, owner] = 5_000_000 * 10**6
        state[WETH.address, owner] = 2_000 * 10**18
        state[WBTC.address, owner] = 100 * 10**8
        for number in LOOT_IDS:
            state[item(LOOT, number), owner] = 10_000
    state[USDC.address, PAIR] = 30_000_000 * 10**6
    state[WETH.address, PAIR] = 10_000 * 10**18
    return state


def transfer_log(token: str, sender: str, to: str, amount: int) -> Log:
    """An ERC-20 transfer: the amount is data."""
    return Log(token, (TRANSFER, indexed(sender), indexed(to)), "0x" + word(amount))


_INTERFACES: Final = {"erc20": (), "erc721": ("80ac58cd",), "erc1155": ("d9b67a26",)}
_BY_ADDRESS: Final = {token.address: token for token in (*TOKENS, SCAM)}
_TRANSFER_CALL: Final = selector("transfer(address,uint256)")


def call(read: Read, sender: str, to: str, data: str) -> str:
    """What `eth_call` returns: `0x` from an address without code, Revert where the contract knows no such function."""
    if to == PAIR:
        return _pair(read, data)
    token = _BY_ADDRESS.get(to)
    if token is None and to in (FEED, aggregator(read(PHASE))):
        return _feed(read, to, data)
    if token is None:
        if to in (ROUTER, SPLITTER):
            raise Revert
        return "0x"
    function = _ANSWERS.get(data[:10])
    if function is None:
        raise Revert
    arguments = data[10:]
    if data[:10] == _TRANSFER_CALL:  # the one function here that asks who calls
        arguments += padded(sender)
    return function(token, read, arguments)


def _pair(read: Read, data: str) -> str:
    answers = {
        selector("token0()"): lambda: padded(USDC.address),
        selector("token1()"): lambda: padded(WETH.address),
        selector("getReserves()"): lambda: (
            word(read((USDC.address, PAIR))) + word(read((WETH.address, PAIR))) + word(0)
        ),
    }
    answer = answers.get(data[:10])
    if answer is None:
        raise Revert
    return "0x" + answer()


def _feed(read: Read, to: str, data: str) -> str:
    """The proxy, or the aggregator behind it, which counts its rounds without the phase."""
    phase = read(PHASE)
    behind = aggregator(phase)
    if data[:10] == selector("decimals()"):
        return "0x" + word(FEED_DECIMALS)
    if data[:10] == selector("latestRoundData()"):
        if not (round_ := read((behind, "round"))):
            raise Revert("No data present")
        told = word((phase << 64 if to == FEED else 0) | round_)
        updated = word(read((behind, "updated")))
        return "0x" + told + word(read((behind, "answer"))) + updated * 2 + told
    if to == FEED and data[:10] == selector("aggregator()"):
        return "0x" + padded(behind)
    if to == FEED and data[:10] == selector("phaseId()"):
        return "0x" + word(phase)
    raise Revert


def _number(arguments: str, index: int) -> int:
    found = arguments[64 * index : 64 * index + 64]
    if len(found) < 64:
        raise Revert
    return int(found, 16)


def _address(arguments: str, index: int) -> str:
    return f"0x{_number(arguments, index):040x}"


def _only(token: Token, standards: str, value: int) -> str:
    if token.standard not in standards.split():
        raise Revert
    return "0x" + word(value)


def _owner(token: Token, read: Read, number: int) -> str:
    if token is not CATS or not (owner := read(cat(number))):
        raise Revert("ERC721: invalid token ID" if token is CATS else "")
    return "0x" + word(owner)


def _held(token: Token, read: Read, arguments: str) -> str:
    if token is not LOOT:
        raise Revert
    return "0x" + word(read((item(LOOT, _number(arguments, 1)), _address(arguments, 0))))


def _supports(token: Token, interface: str) -> str:
    known = _INTERFACES[token.standard]
    if not known:  # ERC-20 has no ERC-165
        raise Revert
    return "0x" + word(int(interface in (*known, "01ffc9a7")))


def _transfer(token: Token, read: Read, arguments: str) -> str:
    if token.standard != "erc20":
        raise Revert
    if read((token.address, _address(arguments, 2))) < _number(arguments, 1):
        raise Revert("ERC20: transfer amount exceeds balance")
    return "0x" + word(1)


_ANSWERS: Final[dict[str, Callable[[Token, Read, str], str]]] = {
    selector("symbol()"): lambda token, _read, _args: text(token.symbol),
    selector("name()"): lambda token, _read, _args: text(token.name),
    selector("decimals()"): lambda token, _read, _args: _only(token, "erc20", token.decimals),
    selector("totalSupply()"): lambda token, _read, _args: _only(token, "erc20", 2**128),
    selector("balanceOf(address)"): lambda token, read, args: _only(
        token, "erc20 erc721", read((token.address, _address(args, 0)))
    ),
    selector("ownerOf(uint256)"): lambda token, read, args: _owner(token, read, _number(args, 0)),
    selector("balanceOf(address,uint256)"): _held,
    selector("supportsInterface(bytes4)"): lambda token, _read, args: _supports(token, args[:8]),
    selector("transfer(address,uint256)"): _transfer,
}
