"""
Token transfers out of logs: ERC-20, ERC-721, ERC-1155 (EIP-20, EIP-721, EIP-1155).

Decoded by slices of the hexadecimal text, a hundred times cheaper than by a general ABI codec, and as strict: the
number of topics, the length of the data, and the padding of addresses must fit, or the log is no transfer. ERC-20 and
ERC-721 share a signature; the number of indexed arguments tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from chainwatch.chain.evm.block import Block, RpcLog
from chainwatch.derive.known import Known
from chainwatch.derive.rules import Rules
from chainwatch.derive.words import Party, party
from chainwatch.eip55 import checksum
from chainwatch.event import PART, Event, identify, rfc3339
from chainwatch.payloads import TokenTransfer

TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
"""Transfer(address,address,uint256)"""
TRANSFER_SINGLE = "0xc3d58168c5ae7397731d063d5bbf3d657854427343f4c083240f7aacaa2d0f62"
"""TransferSingle(address,address,address,uint256,uint256)"""
TRANSFER_BATCH = "0x4a39dc06d4c0dbc64b70af90fd698a233a518aa5d07e595d983b8c0526c8f7fb"
"""TransferBatch(address,address,address,uint256[],uint256[])"""

_BATCH_LIMIT = 4096
"""Ids that one batch can hold: a gas limit of 30 million ends far below."""


def transfers(block: Block, rules: Rules, retracted: int, known: Known | None = None) -> Iterator[Event]:
    """
    The transfers of a block that the rules want, in the order of their logs. Without `known` only the configured
    tokens have a symbol.
    """
    if not rules.tells_transfers:
        return
    describe = (known or Known(rules.tokens)).describe
    everything = rules.transfers == "all"
    wallets, tokens = rules.wallets, rules.tokens
    header = block.header
    timestamp, observed = rfc3339(header.timestamp * 1000), rfc3339(block.arrived)
    block_parts = PART.join([rules.chain, header.hash, "token_transfer", ""])
    readers = _READERS
    for log in block.logs:
        topics = log.topics
        if not topics or (read := readers.get(topics[0])) is None or (moves := read(log)) is None:
            continue
        standard, sender, to, parts = moves
        contract = log.address.lower()
        if not everything and contract not in tokens and sender[0] not in wallets and to[0] not in wallets:
            continue
        symbol, name, decimals = describe(contract, standard == "erc20")
        index, tx_hash = int(log.log_index, 16), log.transaction_hash.lower()
        batch = read is _batch
        for place, (token_id, amount) in enumerate(parts):
            position = f"{index}.{place}" if batch else index
            yield Event(
                # As `event_id` joins them: no subject and no threshold.
                id=identify(f"{block_parts}{tx_hash}{PART}{position}{PART}{PART}{PART}{retracted}"),
                type="token_transfer",
                timestamp=timestamp,
                observed_at=observed,
                chain=rules.chain,
                data=TokenTransfer(
                    standard=standard,
                    token=symbol,
                    token_name=name,
                    token_address=checksum(contract),
                    decimals=decimals,
                    from_=sender[1],
                    to=to[1],
                    amount=str(amount),
                    token_id=None if token_id is None else str(token_id),
                    batch_index=place if batch else None,
                    tx_hash=tx_hash,
                    transaction_index=int(log.transaction_index, 16),
                    log_index=index,
                    block_number=header.number,
                    block_hash=header.hash,
                ),
            )


Moves = tuple[str, Party, Party, list[tuple[int | None, int]]]
"""Standard, sender, recipient, and (token id, amount) of each part."""


def moves_of(log: RpcLog) -> Moves | None:
    """What a log moves, if it is a transfer of any standard."""
    read = _READERS.get(log.topics[0]) if log.topics else None
    return None if read is None else read(log)


def _erc20_or_721(log: RpcLog) -> Moves | None:
    topics = log.topics
    count = len(topics)
    if count not in (3, 4) or (sender := party(topics[1])) is None or (to := party(topics[2])) is None:
        return None
    if count == 4:
        # A 721 has nothing left for the data; with data it is some other Transfer.
        return ("erc721", sender, to, [(int(topics[3], 16), 1)]) if log.data in ("0x", "") else None
    if len(log.data) < 66:
        return None
    return "erc20", sender, to, [(None, int(log.data[2:66], 16))]


def _single(log: RpcLog) -> Moves | None:
    topics, data = log.topics, log.data
    if len(topics) != 4 or len(data) < 130:
        return None
    sender, to = party(topics[2]), party(topics[3])
    if sender is None or to is None:
        return None
    return "erc1155", sender, to, [(int(data[2:66], 16), int(data[66:130], 16))]


def _batch(log: RpcLog) -> Moves | None:
    topics, data = log.topics, log.data
    if len(topics) != 4 or len(data) < 130:
        return None
    sender, to = party(topics[2]), party(topics[3])
    ids, amounts = _words(data, int(data[2:66], 16)), _words(data, int(data[66:130], 16))
    if sender is None or to is None or ids is None or amounts is None or len(ids) != len(amounts):
        return None
    return "erc1155", sender, to, list(zip(ids, amounts, strict=True))


def _words(data: str, offset: int) -> list[int] | None:
    """The `uint256[]` at that byte of ABI data (0x and hexadecimal digits)."""
    start = 2 + offset * 2
    if offset > len(data) or start + 64 > len(data):
        return None
    count = int(data[start : start + 64], 16)
    if count > _BATCH_LIMIT or start + 64 * (count + 1) > len(data):
        return None
    return [int(data[at : at + 64], 16) for at in range(start + 64, start + 64 * (count + 1), 64)]


_READERS: Final = {TRANSFER: _erc20_or_721, TRANSFER_SINGLE: _single, TRANSFER_BATCH: _batch}
