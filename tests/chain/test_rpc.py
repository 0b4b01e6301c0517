"""Errors of providers as they word them, and the sizes that they suggest."""

import pytest

from chainwatch.chain.evm.rpc import RpcError, Span, message, notification, request, suggested_span


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (-32601, "the method eth_getBlockReceipts does not exist/is not available", "unsupported"),
        (-32601, "Method not found", "unsupported"),
        (-32000, "unknown block", "unknown"),
        (-32000, "header not found", "unknown"),
        (429, "Your app has exceeded its compute units per second capacity", "limited"),
        (-32005, "daily request count exceeded, request rate limited", "limited"),
        (-32005, "limit exceeded", "limited"),
        (-32005, "query returned more than 10000 results", "too_large"),
        (-32602, "eth_getLogs is limited to a 10,000 blocks range", "too_large"),
        (-32600, "exceed maximum block range: 50000", "too_large"),
        (-32603, "internal error", "failed"),
        (3, "execution reverted: rate limit exceeded", "reverted"),
        (-32000, "execution reverted: too many requests", "reverted"),
        (-32000, "Execution reverted", "reverted"),
        (-32015, "VM execution error.", "reverted"),
        (-32000, "VM Exception while processing transaction: revert", "reverted"),
        (-32603, "Error: VM Exception while processing transaction: reverted with a custom error", "reverted"),
        (-32603, "EVM error OutOfGas", "reverted"),
        (-32603, "EVM error InvalidFEOpcode", "reverted"),
        (-32000, "out of gas", "reverted"),
        (-32000, "err: out of gas (supplied gas 500000)", "reverted"),
        (-32000, "invalid opcode: INVALID", "reverted"),
        (-32000, "stack underflow (0 <=> 1)", "reverted"),
        (-32000, "missing trie node 1a3bddc4 (path )", "pruned"),
        (-32000, "missing trie node 1a3b (path ) state 0x1a3b is not available, not found", "pruned"),
        (-32000, "state 0x669c5301b4a7abb7d1cd82d98f1c8a0d is not available", "pruned"),
        (-32000, "historical state not available in path scheme yet", "pruned"),
        (-32000, "required historical state unavailable (reexec=128)", "pruned"),
        (-32000, "state histories haven't been fully indexed yet", "pruned"),
        (-32000, "old data not available due to pruning", "pruned"),
        (-32603, "State at block #11052984 is pruned", "pruned"),
        (-32002, "No state available for block 0x1a3b", "pruned"),
        (-32000, "World state unavailable", "pruned"),
        (-32000, "This request is not supported because your node is running with state pruning.", "pruned"),
        (-32602, "BlockOutOfRangeError: block height is 212 but requested was 5", "pruned"),
        (-32000, "the state of the market is unknown", "failed"),
    ],
)
def test_an_error_is_told_by_its_code_and_by_its_words(code, text, kind):
    assert RpcError(code, text).kind == kind


@pytest.mark.parametrize(
    ("text", "span", "suggestion"),
    [
        ("this block range should work: [0x112a880, 0x112ac67]", 5000, 1000),
        ("query returned more than 10000 results. Try with this block range [0x1, 0x7d0].", 10_000, 2000),
        ("exceed maximum block range: 50000", 100_000, 50_000),
        ("eth_getLogs is limited to a 10,000 blocks range", 20_000, 10_000),
        ("You can make eth_getLogs requests with up to a 2K block range", 5000, 2000),
        ("block range is too wide", 5000, None),
        ("Block range limit exceeded", 5000, None),
        ("ranges over 799 blocks are not supported", 2048, 799),
        ("exceed maximum block range: 50000", 1000, None),
    ],
)
def test_the_suggestion_of_a_provider_is_found_in_its_words(text, span, suggestion):
    assert suggested_span(text, span) == suggestion


def test_some_put_the_truth_into_the_data_of_an_error():
    told = RpcError(
        -32603, "Internal error", "Nethermind.Trie.MissingTrieNodeException: Node A: P:2 is missing from the DB"
    )
    assert told.kind == "pruned"


def test_a_span_takes_the_suggestion_then_halves_then_tries_more_again():
    span = Span(2048)
    span.too_large("exceed maximum block range: 1000")
    assert span.blocks == 1000
    span.too_large("response size exceeded")
    assert span.blocks == 500
    for _ in range(16):
        span.succeeded()
    assert span.blocks == 750


def test_a_span_never_gets_smaller_than_one_block():
    span = Span(2)
    for _ in range(5):
        span.too_large("too many results")
    assert span.blocks == 1


def test_a_wait_is_read_where_the_error_has_one():
    told = message(
        b'{"jsonrpc":"2.0","id":3,"error":{"code":-32005,"message":"x","data":{"rate":{"backoff_seconds":30}}}}'
    )
    assert told.error.retry_after == 30.0
    assert RpcError(-32005, "x", {"rate": None}).retry_after is None


def test_a_request_and_a_notification_are_what_the_wire_says():
    assert request(7, "eth_chainId", []) == b'{"jsonrpc":"2.0","id":7,"method":"eth_chainId","params":[]}'
    told = message(b'{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":"0x1","result":{"a":1}}}')
    assert told.method == "eth_subscription"
    assert bytes(notification(told.params).result) == b'{"a":1}'


@pytest.mark.parametrize("seconds", ["9" * 400, '"soon"', "null", "[]", "{}"])
def test_a_wait_that_is_no_number_of_seconds_is_none(seconds):
    told = '{"id":1,"error":{"code":-32005,"message":"x","data":{"rate":{"backoff_seconds":%s}}}}' % seconds  # noqa: UP031
    assert message(told).error.retry_after is None
