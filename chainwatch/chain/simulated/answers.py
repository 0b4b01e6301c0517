"""
What a node answers to each JSON-RPC method: pure functions of a view of the chain.

Results are bytes of JSON, mostly spliced from what the blocks hold ready. Errors are those of geth, with the numbers
of the Ethereum JSON-RPC specification; where nodes differ the strictest is followed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from chainwatch.chain.simulated import contracts, logs, traces
from chainwatch.chain.simulated.block import Block, included
from chainwatch.chain.simulated.contracts import NATIVE, NONCE, Revert
from chainwatch.chain.simulated.view import View

VERSION: Final = "chainwatch-simulated/v1"

_encode: Final = msgspec.json.encode


class RpcError(Exception):
    """An error object of JSON-RPC 2.0; `data` is left out where it is None."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def encode(self) -> bytes:
        error = {"code": self.code, "message": self.message}
        return _encode(error if self.data is None else {**error, "data": self.data})


class Limits(NamedTuple):
    """What a provider allows in one `eth_getLogs`."""

    blocks: int = 10_000
    logs: int = 10_000


Params = list[Any]


def answer(view: View, limits: Limits, method: str, params: Params) -> bytes:
    """The result, as JSON. RpcError where a node answers with an error."""
    function = METHODS.get(method)
    if function is None:
        raise RpcError(-32601, f"the method {method} does not exist/is not available")
    return function(view, limits, params)


# --- parameters ---------------------------------------------------------------------------------------------------


def _argument(params: Params, index: int) -> Any:
    if index >= len(params) or params[index] is None:
        raise RpcError(-32602, f"missing value for required argument {index}")
    return params[index]


def _hex(params: Params, index: int, size: int) -> str:
    """An argument of so many bytes, lower case."""
    found = _argument(params, index)
    if not logs.is_hex(found, size):
        raise RpcError(-32602, f"invalid argument {index}: want {size} bytes of hex with 0x prefix")
    return str(found).lower()


def _quantity(found: Any, index: int) -> int:
    if not isinstance(found, str) or not found.startswith("0x"):
        raise RpcError(-32602, f"invalid argument {index}: hex string without 0x prefix")
    try:
        return int(found, 16)
    except ValueError:
        raise RpcError(-32602, f"invalid argument {index}: invalid hex string") from None


def _find(view: View, selector: Any, index: int) -> Block | None:
    """The block that a number, a tag, a hash, or an object of EIP-1898 means."""
    if isinstance(selector, dict):
        if (identity := selector.get("blockHash")) is not None:
            block = view.hash(_hex([identity], 0, 32))
            if block is not None and selector.get("requireCanonical") and not view.canonical(block):
                raise RpcError(-32000, "hash is not currently canonical")
            return block
        selector = selector.get("blockNumber")
    if not isinstance(selector, str):
        raise RpcError(-32602, f"invalid argument {index}: want a block number, tag or hash")
    if selector in ("latest", "pending", "safe", "finalized", "earliest"):
        return view.tag(selector)
    if logs.is_hex(selector, 32):
        return view.hash(selector.lower())
    return view.number(_quantity(selector, index))


def _state(view: View, params: Params, index: int) -> View:
    """The chain at the block that an argument means; `latest` where it is left out."""
    selector = params[index] if index < len(params) and params[index] is not None else "latest"
    block = _find(view, selector, index)
    if block is None:
        raise RpcError(-32000, "header not found")
    return view.at(block)


# --- methods ------------------------------------------------------------------------------------------------------


def _block(block: Block | None, params: Params) -> bytes:
    if block is None:
        return b"null"
    full = len(params) > 1 and params[1]
    return block.wire.full if full else block.wire.hashes


def _by_number(view: View, _limits: Limits, params: Params) -> bytes:
    return _block(_find(view, _argument(params, 0), 0), params)


def _by_hash(view: View, _limits: Limits, params: Params) -> bytes:
    return _block(view.hash(_hex(params, 0, 32)), params)


def _block_receipts(view: View, _limits: Limits, params: Params) -> bytes:
    block = _find(view, _argument(params, 0), 0)
    return b"null" if block is None else b"[" + b",".join(block.wire.receipts) + b"]"


def _receipt(view: View, _limits: Limits, params: Params) -> bytes:
    found = view.included(_hex(params, 0, 32))
    return b"null" if found is None else found[0].wire.receipts[found[1]]


def _transaction(view: View, _limits: Limits, params: Params) -> bytes:
    identity = _hex(params, 0, 32)
    found = view.included(identity)
    if found is not None:
        return found[0].wire.transactions[found[1]]
    for transaction in view.world.pool:
        if transaction.hash == identity:
            return included(transaction, view.world.chain_id)
    return b"null"


def _logs(view: View, limits: Limits, params: Params) -> bytes:
    query = _argument(params, 0)
    if not isinstance(query, dict):
        raise RpcError(-32602, "invalid argument 0: want an object")
    blocks = _blocks_of_query(view, limits, query)
    wanted = log_filter(query)
    found = [log for block in blocks for log in logs.matching(block, wanted)]
    if len(found) > limits.logs:
        half = blocks[(len(blocks) - 1) // 2].number
        narrower = f"[{blocks[0].number:#x}, {half:#x}]"
        raise RpcError(
            -32005,
            f"query returned more than {limits.logs} results. Try with this block range {narrower}.",
            {"from": hex(blocks[0].number), "to": hex(half), "limit": limits.logs},
        )
    return b"[" + b",".join(found) + b"]"


def _blocks_of_query(view: View, limits: Limits, query: Mapping[str, Any]) -> list[Block]:
    if query.get("blockHash") is not None:
        if query.get("fromBlock") is not None or query.get("toBlock") is not None:
            raise RpcError(-32602, "cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other")
        block = view.hash(_hex([query["blockHash"]], 0, 32))
        if block is None:
            raise RpcError(-32000, "unknown block")
        return [block]
    first, last = (_bound(view, query.get(name) or "latest") for name in ("fromBlock", "toBlock"))
    if first > last:
        raise RpcError(-32602, "invalid block range params")
    if last > view.tip.number:
        raise RpcError(-32602, "block range extends beyond current head block")
    if first < view.oldest:
        raise RpcError(4444, "pruned history unavailable")
    if last - first >= limits.blocks:
        raise RpcError(-32005, f"exceed maximum block range: {limits.blocks}")
    return view.blocks(first, last)


def _bound(view: View, selector: Any) -> int:
    block = view.tag(selector) if isinstance(selector, str) else None
    return block.number if block is not None else _quantity(selector, 0)


def log_filter(query: Any) -> logs.Filter:
    """The address and topics part of a query, for `eth_getLogs` and for a subscription."""
    try:
        return logs.parse(query)
    except ValueError as error:
        raise RpcError(-32602, f"invalid argument 0: {error}") from None


def _balance(view: View, _limits: Limits, params: Params) -> bytes:
    owner = _hex(params, 0, 20)
    return _encode(hex(_state(view, params, 1).value((NATIVE, owner))))


def _nonce(view: View, _limits: Limits, params: Params) -> bytes:
    owner = _hex(params, 0, 20)
    nonce = _state(view, params, 1).value((NONCE, owner))
    if params[1:2] == ["pending"]:
        nonce = max([nonce, *(waiting.nonce + 1 for waiting in view.world.pool if waiting.sender == owner)])
    return _encode(hex(nonce))


def _call(view: View, _limits: Limits, params: Params) -> bytes:
    request = _argument(params, 0)
    if not isinstance(request, dict):
        raise RpcError(-32602, "invalid argument 0: want an object")
    if len(params) > 2 and params[2]:
        raise RpcError(-32602, "too many arguments, want at most 2")  # there is no machine to run other code
    if not request.get("to"):
        raise RpcError(-32000, "creating contracts by a call is not supported")
    data = request.get("input") or request.get("data") or "0x"
    if not logs.is_hex(data):
        raise RpcError(-32602, "invalid argument 0: invalid hex string")
    sender = str(request.get("from") or contracts.ZERO).lower()
    try:
        found = contracts.call(
            _state(view, params, 1).value, sender, str(request.get("to") or "").lower(), str(data).lower()
        )
    except Revert as revert:
        said = f": {revert.reason}" if revert.reason else ""
        raise RpcError(3, f"execution reverted{said}", revert.data) from None
    return _encode(found)


def _trace_block(view: View, _limits: Limits, params: Params) -> bytes:
    block = _find(view, _argument(params, 0), 0)
    return b"null" if block is None else traces.of_block(block)


Method = Callable[[View, Limits, Params], bytes]

METHODS: Final[Mapping[str, Method]] = MappingProxyType({
    "eth_chainId": lambda view, _limits, _params: _encode(hex(view.world.chain_id)),
    "net_version": lambda view, _limits, _params: _encode(str(view.world.chain_id)),
    "web3_clientVersion": lambda _view, _limits, _params: _encode(VERSION),
    "eth_syncing": lambda _view, _limits, _params: b"false",
    "eth_blockNumber": lambda view, _limits, _params: _encode(hex(view.tip.number)),
    "eth_getBlockByNumber": _by_number,
    "eth_getBlockByHash": _by_hash,
    "eth_getBlockReceipts": _block_receipts,
    "eth_getTransactionReceipt": _receipt,
    "eth_getTransactionByHash": _transaction,
    "eth_getTransactionCount": _nonce,
    "eth_getLogs": _logs,
    "eth_getBalance": _balance,
    "eth_call": _call,
    "trace_block": _trace_block,
})  # fmt: skip
"""Everything that is answered over HTTP too. Subscriptions belong to a connection: see `connection`."""
