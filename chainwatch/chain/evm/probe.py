"""
Who is at an endpoint: which chain it serves, where its head is, how far away it is, and what it can be asked for.

A few small questions, one after another, so that no endpoint takes them for an attack. Whether a node traces is asked
of the first block, or of one that is none, which costs nothing: who has no state of it, or no such block, says so
in other words than who has no such method.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from chainwatch.chain.evm import fetch, state
from chainwatch.chain.evm.block import MALFORMED, Header, header_decoder, quantity
from chainwatch.chain.evm.endpoint import CallFailed, Endpoint, Refused
from chainwatch.chain.evm.fetch import Setback
from chainwatch.chain.evm.http import HttpEndpoint
from chainwatch.chain.evm.profile import profile
from chainwatch.chain.evm.reads import Readings, Reads
from chainwatch.chain.evm.websocket import WebSocketEndpoint
from chainwatch.text import printable

Name = Literal["subscriptions", "receipts", "finality", "mempool", "state", "old state", "traces"]
"""What an endpoint may have, each for something that is told: heads at once instead of by asking; whole blocks in two
requests; `block_finalized`; pending transactions; balances; balances of history; internal transfers."""

OLD: Final = 100_000
"""Blocks back from the head, to where only an archive node has state: a full one keeps 128."""
_ZERO: Final = "0x" + "0" * 40
_NOWHERE: Final = "0x" + "0" * 64


class Ability(msgspec.Struct, frozen=True):
    """Whether it has something; `why` it is thought not to, or by which method it does."""

    name: Name
    there: bool
    why: str = ""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as it was found. Nothing in it is secret, or can move a cursor."""

    endpoint: str
    """Redacted."""
    problem: str = ""
    """Why it cannot be used; then the rest may be missing."""
    chain_id: int | None = None
    client: str = ""
    head: int | None = None
    age: float | None = None
    """Seconds since the time of its newest block."""
    latency: float | None = None
    """Seconds from a question to its answer, the median."""
    abilities: tuple[Ability, ...] = ()

    def has(self, name: Name) -> bool:
        return any(ability.there for ability in self.abilities if ability.name == name)


async def probe(url: str, patience: float) -> Found:
    """Ask the endpoint. Never raises for what it does; a question that is not answered within `patience` s ends it."""
    endpoint = _endpoint(url, patience)
    found = Found(endpoint=endpoint.name)
    try:
        async with endpoint.opened():
            found = msgspec.structs.replace(found, chain_id=await _chain_id(endpoint, patience))
            return await _asked(endpoint, found, patience)
    except CallFailed as failed:
        problem = _PLAIN.sub(r"cannot connect: \1", failed.reason).replace("Connect call failed", "no answer")
    except TimeoutError:
        problem = f"no answer within {patience:g} s"
    except (Refused, OSError, EOFError) as error:
        problem = _plain(endpoint, error)
    except MALFORMED as error:
        problem = f"it answers what is no JSON-RPC: {endpoint.explain(error)}"
    return msgspec.structs.replace(found, problem=problem)


_PLAIN: Final = re.compile(r"^Cannot connect to host .* \[(.*?)(?: \(.*\))?\]$")
"""aiohttp's words: «Cannot connect to host node.example:443 ssl:default [Name or service not known]»."""


async def contracts(url: str, patience: float, reads: Reads) -> Readings | None:
    """What contracts say of themselves at the newest block; None where this endpoint cannot be asked."""
    endpoint = _endpoint(url, patience)
    try:
        async with asyncio.timeout(patience * 4), endpoint.opened():
            return await state.answer(endpoint, fetch.bare(await endpoint.latest()), reads)
    except (CallFailed, Setback, Refused, OSError, EOFError, *MALFORMED):  # a time-out is an OSError
        return None


def _endpoint(url: str, patience: float) -> Endpoint:
    """One that is asked, and follows nothing."""
    kind = WebSocketEndpoint if urlsplit(url).scheme.lower() in ("ws", "wss") else HttpEndpoint
    return kind(url, chain="", chain_id=0, profile=profile(0), timeout=patience, changed=_nothing, heads=False)


def _plain(endpoint: Endpoint, error: BaseException) -> str:
    """Asyncio's words are «[Errno 111] Connect call failed ('192.0.2.7', 443)»: the system's say it better."""
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot connect: {os.strerror(error.errno) if error.errno > 0 else error.strerror}"
    return endpoint.explain(error)


def _nothing() -> None:
    """Nobody follows what a probe sees."""


async def _ask(endpoint: Endpoint, patience: float, method: str, *params: Any) -> msgspec.Raw:
    async with asyncio.timeout(patience):
        return await endpoint.start(method, list(params))


async def _chain_id(endpoint: Endpoint, patience: float) -> int:
    return quantity(msgspec.json.decode(await _ask(endpoint, patience, "eth_chainId"), type=str))


async def _asked(endpoint: Endpoint, found: Found, patience: float) -> Found:
    async with asyncio.timeout(patience):
        head = await endpoint.latest()
    abilities: list[Ability] = []
    for name, questions in _questions(endpoint, head):
        abilities.append(await _ability(endpoint, patience, name, questions))
    try:
        told = await _ask(endpoint, patience, "web3_clientVersion")
        client = printable(msgspec.json.decode(told, type=str), 60)
    except (CallFailed, TimeoutError, *MALFORMED):
        client = ""
    trips = sorted(endpoint.round_trips)
    return msgspec.structs.replace(
        found,
        client=client,
        head=head.number,
        age=max(time.time() - head.timestamp, 0.0),
        latency=trips[len(trips) // 2],
        abilities=tuple(abilities),
    )


_Question = tuple[str, list[Any]]


def _questions(endpoint: Endpoint, head: Header) -> Iterator[tuple[Name, list[_Question]]]:
    """What to ask for each ability: it is there as soon as one of these is answered."""
    pending: _Question = ("eth_newPendingTransactionFilter", [])
    if isinstance(endpoint, WebSocketEndpoint):
        yield "subscriptions", [("eth_subscribe", ["newHeads"])]
        pending = ("eth_subscribe", ["newPendingTransactions"])
    yield "receipts", [("eth_getBlockReceipts", [head.hash])]
    yield "finality", [("eth_getBlockByNumber", ["finalized", False])]
    yield "mempool", [pending]
    yield "state", [("eth_getBalance", [_ZERO, "latest"])]
    yield "old state", [("eth_getBalance", [_ZERO, hex(max(head.number - OLD, 0))])]
    yield "traces", [("trace_block", ["0x1"]), ("debug_traceBlockByHash", [_NOWHERE, {"tracer": "callTracer"}])]


async def _ability(endpoint: Endpoint, patience: float, name: Name, questions: list[_Question]) -> Ability:
    why = ""
    for method, params in questions:
        try:
            told = await _ask(endpoint, patience, method, *params)
        except CallFailed as failed:
            if failed.kind == "lost":
                raise
            # It has the method, and not what we asked it of.
            if name == "traces" and failed.kind in ("pruned", "unknown"):
                return Ability(name, there=True, why=method)
            why = failed.reason
            continue
        if name == "finality" and header_decoder.decode(told) is None:
            why = "no block is finalized"
            continue
        return Ability(name, there=True, why=method)
    return Ability(name, there=False, why=why)
