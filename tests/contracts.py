"""
Tokens and exchanges on a test node: the real WETH9, Uniswap v2 and v3 out of npm, and of what npm does not have
compiled (Uniswap v4's PoolManager, PancakeSwap v3, Permit2) a contract of ours that writes the same logs.

Every function that sends leaves the transaction in the pool and gives its hash: mine when all of the block is there.
Functions that deploy mine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from anvil import ACCOUNTS, Anvil
from eth_abi import decode, encode
from eth_utils import keccak
from packages import installed_packages

from chainwatch.chain.evm.block import Block, RpcBlock, RpcReceipt
from chainwatch.chain.evm.fetch import assemble
from chainwatch.chain.evm.verify import receipts_problem

FOLDER = Path(__file__).parent / "data" / "contracts"
PERMIT2 = "0x000000000022d473030f116ddee9f6b43ac78ba3"
POOL_MANAGER = "0x000000000004444c5dc75cb358380d2e3de08a90"
NATIVE = "0x" + "0" * 40
"""How Uniswap v4 writes the native currency."""
OWNER = ACCOUNTS[0]
"""Deploys, and holds the supply of every token."""
MUCH = 10**30


_PUBLISHED = {
    "UniswapV2Factory": "@uniswap/v2-core/build/UniswapV2Factory.json",
    "UniswapV3Factory": "@uniswap/v3-core/artifacts/contracts/UniswapV3Factory.sol/UniswapV3Factory.json",
    "WETH9": "canonical-weth/build/contracts/WETH9.json",
}
"""Contracts of others: taken from their packages when a test deploys them, since their licences are not ours."""


@cache
def bytecode(name: str) -> str:
    if name in _PUBLISHED:
        code = json.loads((installed_packages() / _PUBLISHED[name]).read_text())["bytecode"]
        return code if code.startswith("0x") else f"0x{code}"
    for file in ("Markets.json", "Tokens.json"):
        contracts = json.loads((FOLDER / file).read_text())["contracts"]
        if name in contracts:
            return contracts[name]["bytecode"]
    raise KeyError(name)


# --- calls --------------------------------------------------------------------------------------------------------


def calldata(signature: str, *values: Any) -> str:
    """`transfer(address,uint256)` and its arguments as the data of a transaction."""
    return "0x" + keccak(text=signature)[:4].hex() + arguments(signature, *values)


def arguments(signature: str, *values: Any) -> str:
    """The arguments alone, without 0x."""
    kinds = signature[signature.index("(") + 1 : -1]
    return encode(split(kinds), values).hex()


def split(kinds: str) -> list[str]:
    """`address,(uint24,int24)[]` at its outer commas."""
    found, depth = [""], 0
    for char in kinds:
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            found.append("")
        else:
            found[-1] += char
    return [kind for kind in found if kind]


async def send(node: Anvil, sender: str, to: str, signature: str, *values: Any, value: int = 0) -> str:
    return await node.send(sender, to, calldata(signature, *values), value)


async def read(node: Anvil, to: str, signature: str, kind: str, *values: Any) -> Any:
    """What a contract answers at the newest block."""
    told = await node.call("eth_call", {"to": to, "data": calldata(signature, *values)}, "latest")
    return decode([kind], bytes.fromhex(told[2:]))[0]


async def balance(node: Anvil, token: str, wallet: str) -> int:
    return await read(node, token, "balanceOf(address)", "uint256", wallet)


async def deploy(node: Anvil, name: str, signature: str = "()", *values: Any) -> str:
    """A new contract; `signature` has the types of its constructor."""
    return await node.deploy(bytecode(name) + arguments(signature, *values))


async def place(node: Anvil, name: str, address: str) -> str:
    """A contract without a constructor of its own, at that address."""
    code = await node.call("eth_getCode", await deploy(node, name), "latest")
    await node.call("anvil_setCode", address, code)
    return address


async def block_at(node: Anvil, tag: str = "latest") -> Block:
    """A block of the node, whole and checked, as chainwatch has it."""
    told = await node.call("eth_getBlockByNumber", tag, True)
    receipts = msgspec.convert(await node.call("eth_getBlockReceipts", told["number"]), list[RpcReceipt])
    block = msgspec.convert(told, RpcBlock)
    assert receipts_problem(block, receipts, bloom=True) is None
    failed = [receipt.transaction_hash for receipt in receipts if receipt.status != "0x1"]
    assert not failed, f"transactions that failed: {failed}"
    return assemble(block, receipts, [log for receipt in receipts for log in receipt.logs])


# --- tokens -------------------------------------------------------------------------------------------------------


async def token(node: Anvil, symbol: str, decimals: int = 18, supply: int = MUCH) -> str:
    """An ERC-20 with approvals; `OWNER` holds all of it."""
    return await deploy(node, "Token", "(string,string,uint8,uint256)", symbol, f"{symbol} token", decimals, supply)


async def approve(node: Anvil, contract: str, owner: str, spender: str, amount: int) -> str:
    return await send(node, owner, contract, "approve(address,uint256)", spender, amount)


async def transfer(node: Anvil, contract: str, sender: str, to: str, amount: int) -> str:
    return await send(node, sender, contract, "transfer(address,uint256)", to, amount)


async def weth(node: Anvil) -> str:
    """The real WETH9."""
    return await deploy(node, "WETH9")


async def wrap(node: Anvil, contract: str, wallet: str, amount: int) -> str:
    return await send(node, wallet, contract, "deposit()", value=amount)


async def unwrap(node: Anvil, contract: str, wallet: str, amount: int) -> str:
    return await send(node, wallet, contract, "withdraw(uint256)", amount)


async def permit2(node: Anvil) -> str:
    """What stands for Permit2, at its address; it believes every signature."""
    return await place(node, "Allowances", PERMIT2)


# --- exchanges ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Market:
    """A pool, its tokens in the pool's order, and who trades there for others."""

    address: str
    token0: str
    token1: str
    trader: str
    pool_id: str = ""
    """Of Uniswap v4, where `address` is the manager."""
    key: tuple[str, str, int, int, str] | None = None


def ordered(one: str, other: str) -> tuple[str, str]:
    first, second = sorted((one.lower(), other.lower()))
    return first, second


async def deploy_v2_pair(node: Anvil, one: str, other: str, amount: int = 10**24) -> Market:
    """A real pair that `OWNER` gave `amount` of both; the trader is its router."""
    factory = await deploy(node, "UniswapV2Factory", "(address)", OWNER)
    await send(node, OWNER, factory, "createPair(address,address)", one, other)
    await node.mine()
    pair = await read(node, factory, "getPair(address,address)", "address", one, other)
    for contract in (one, other):
        await transfer(node, contract, OWNER, pair, amount)
    await send(node, OWNER, pair, "mint(address)", OWNER)
    return Market(pair, *ordered(one, other), await deploy(node, "Trader"))


async def swap_v2(node: Anvil, pair: Market, sender: str, token_in: str, amount_in: int, to: str) -> str:
    """`sender` has approved the trader. All that the pair gives for it, less its fee of 0.3 %."""
    held = [await balance(node, contract, pair.address) for contract in (pair.token0, pair.token1)]
    first = token_in.lower() == pair.token0
    into, out = held if first else reversed(held)
    amount_out = amount_in * 997 * out // (into * 1000 + amount_in * 997)
    given = (0, amount_out) if first else (amount_out, 0)
    signature = "swapV2(address,address,uint256,uint256,uint256,address)"
    return await send(node, sender, pair.trader, signature, pair.address, token_in, amount_in, *given, to)


async def deploy_v3_pool(node: Anvil, one: str, other: str, liquidity: int = 10**24) -> Market:
    """A real pool (0.3 %) at the price 1, with liquidity at every price; the trader holds tokens and pays with them."""
    factory, trader = await deploy(node, "UniswapV3Factory"), await deploy(node, "Trader")
    await send(node, OWNER, factory, "createPool(address,address,uint24)", one, other, 3000)
    await node.mine()
    pool = await read(node, factory, "getPool(address,address,uint24)", "address", one, other, 3000)
    for contract in (one, other):
        await transfer(node, contract, OWNER, trader, 10 * liquidity)
    await send(node, OWNER, pool, "initialize(uint160)", 2**96)
    await send(node, OWNER, trader, "mint(address,int24,int24,uint128)", pool, -887220, 887220, liquidity)
    await node.mine()
    return Market(pool, *ordered(one, other), trader)


async def swap_v3(node: Anvil, pool: Market, sender: str, token_in: str, amount: int, to: str) -> str:
    """The trader pays; a negative amount is what shall come out."""
    first = token_in.lower() == pool.token0
    return await send(node, sender, pool.trader, "swap(address,address,bool,int256)", pool.address, to, first, amount)


async def deploy_pancake_pool(node: Anvil, one: str, other: str, amount: int = 10**24) -> Market:
    """What stands for a pool of PancakeSwap v3: it trades at any price."""
    pool = await deploy(node, "PancakePool", "(address,address)", one, other)
    for contract in (one, other):
        await transfer(node, contract, OWNER, pool, amount)
    await node.mine()
    return Market(pool, *ordered(one, other), pool)


async def swap_pancake(
    node: Anvil, pool: Market, sender: str, token_in: str, amount_in: int, amount_out: int, to: str
) -> str:
    """`sender` has approved the pool."""
    first = token_in.lower() == pool.token0
    signature = "swap(address,bool,uint256,uint256)"
    return await send(node, sender, pool.address, signature, to, first, amount_in, amount_out)


_KEY = "(address,address,uint24,int24,address)"


async def deploy_v4_manager(node: Anvil, address: str = POOL_MANAGER) -> str:
    """What stands for the PoolManager of Uniswap v4, with native currency to give."""
    await place(node, "Manager", address)
    await node.call("anvil_setBalance", address, hex(MUCH))
    return address


async def make_v4_pool(node: Anvil, manager: str, one: str, other: str, amount: int = 10**24) -> Market:
    """A pool (0.05 %) of that manager, not mined yet: its `Initialize` is in the block that comes."""
    token0, token1 = ordered(one, other)
    key = (token0, token1, 500, 10, NATIVE)
    for contract in (token0, token1):
        if contract != NATIVE:
            await transfer(node, contract, OWNER, manager, amount)
    await send(node, OWNER, manager, f"initialize({_KEY},uint160)", key, 2**96)
    return Market(manager, token0, token1, manager, "0x" + keccak(encode([_KEY], [key])).hex(), key)


async def swap_v4(node: Anvil, pool: Market, sender: str, token_in: str, amount_in: int, amount_out: int) -> str:
    """`sender` has approved the manager, or pays with native currency."""
    first = token_in.lower() == pool.token0
    signature = f"swap({_KEY},bool,uint256,uint256)"
    value = amount_in if token_in == NATIVE else 0
    return await send(node, sender, pool.address, signature, pool.key, first, amount_in, amount_out, value=value)
