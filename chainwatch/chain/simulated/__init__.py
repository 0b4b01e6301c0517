"""
A simulated chain and a real node over it: what `serve --demo` runs on, and what the fault tests make lie.

    world         the chain: a tree of blocks out of a seed; mine, reorg, rollback, switch        (pure)
    view          the chain as a node sees it whose newest block is some block of that tree       (pure)
    contracts     who lives there: accounts, tokens, what they answer to eth_call                 (pure)
    calls, oracle, transactions, state, block      what happens in a block, and its JSON          (pure)
    answers, logs, rpc                     what a node answers to a message                       (pure)
    conduct       how a node behaves, and the seam where tests make it lie
    connection, node                       the sockets
    demo          the schedule, and the clock

The simplest use: `world = World(seed)`, `async with SimulatedNode(world) as node:`, connect to `node.url`, and let
things happen by `world.mine()`.
"""

from __future__ import annotations

from chainwatch.chain.simulated.answers import Limits, RpcError
from chainwatch.chain.simulated.block import Block
from chainwatch.chain.simulated.conduct import HANG, Honest, Refusal, Request
from chainwatch.chain.simulated.connection import Connection
from chainwatch.chain.simulated.contracts import ACCOUNTS, FEED, NATIVE_SYMBOL, TOKENS, WALLETS, Token, Wallet
from chainwatch.chain.simulated.demo import demo
from chainwatch.chain.simulated.node import SimulatedNode
from chainwatch.chain.simulated.rpc import Late
from chainwatch.chain.simulated.view import View
from chainwatch.chain.simulated.world import CHAIN_ID, Change, World

__all__ = [
    "ACCOUNTS",
    "CHAIN_ID",
    "FEED",
    "HANG",
    "NATIVE_SYMBOL",
    "TOKENS",
    "WALLETS",
    "Block",
    "Change",
    "Connection",
    "Honest",
    "Late",
    "Limits",
    "Refusal",
    "Request",
    "RpcError",
    "SimulatedNode",
    "Token",
    "View",
    "Wallet",
    "World",
    "demo",
]
