"""
What a node tells of its mempool without being asked for each transaction: by subscription, or by a filter.

A mempool is an extra. A node that has none to show is no worse for the rest, so nothing here ends a connection.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import msgspec

from chainwatch.chain.evm.block import MALFORMED, RpcTransaction, hash_
from chainwatch.chain.evm.endpoint import CallFailed, Endpoint
from chainwatch.chain.evm.rpc import Notification

AGAIN: Final = 30.0
"""Seconds until a node that failed to give a filter, or had too many requests, is asked again."""
POLL: Final = 1.0
"""Seconds between two looks at a filter."""

_transaction: Final = msgspec.json.Decoder(RpcTransaction)
_hash: Final = msgspec.json.Decoder(str)
_hashes: Final = msgspec.json.Decoder(list[str])

Pushed = RpcTransaction | str
"""A whole transaction, or its hash, as the node likes."""


def pushed(told: msgspec.Raw) -> Pushed | None:
    """What was pushed; None where it is neither. Nodes push hashes even where whole transactions were asked for."""
    try:
        if _is_text(told):
            return hash_(_hash.decode(told))
        return _transaction.decode(told)
    except MALFORMED:
        return None


def looks_pending(told: Notification) -> bool:
    """
    Whether a notification, of a subscription that was not named yet, is about the mempool: a node may push before it
    answers. Heads are objects that have a parent.
    """
    return _is_text(told.result) or b'"parentHash"' not in bytes(told.result)


def _is_text(told: msgspec.Raw) -> bool:
    return bytes(memoryview(told)[:1]) == b'"'


async def subscribe(endpoint: Endpoint) -> str:
    """The id of a subscription to the mempool; `CallFailed` where the node has none."""
    parameters = ["newPendingTransactions", True]
    while True:
        try:
            told = await endpoint.start("eth_subscribe", parameters)
            return str(_hash.decode(told))
        except CallFailed as failed:
            if failed.kind == "limited":
                await asyncio.sleep(failed.retry_after or AGAIN)
            elif failed.kind == "lost" or len(parameters) == 1:
                raise
            else:  # geth before 1.11 and others take no second parameter
                parameters = parameters[:1]


async def poll(endpoint: Endpoint) -> None:
    """
    Read the mempool by a filter, for ever; hashes come. `CallFailed` where the node has no such filter. Behind a
    balancer that does not keep to one node, filters are lost again and again, and what came between is missed.
    """
    identity: str | None = None
    while True:
        wait = POLL
        try:
            if identity is None:
                identity = _hash.decode(await endpoint.start("eth_newPendingTransactionFilter", []))
            told = _hashes.decode(await endpoint.start("eth_getFilterChanges", [identity]))
            now = time.time_ns() // 1_000_000
            for each in told:
                endpoint.heard_pending(hash_(each), now)
        except CallFailed as failed:
            if identity is None and failed.kind in ("unsupported", "failed"):
                raise
            identity = None
            wait = failed.retry_after or (POLL if failed.kind == "unknown" else AGAIN)
        except MALFORMED:
            identity, wait = None, AGAIN
        await asyncio.sleep(wait)
