"""
Approvals out of logs: ERC-20, ERC-721 for one token, `setApprovalForAll` (ERC-721, ERC-1155), and Permit2.

Permit2 keeps allowances for all tokens in one contract, at one address on every chain: only its logs are read so, and
the token of the event is the one that it may move. As strict as transfers: what does not fit is no approval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from chainwatch.chain.evm.block import Block, RpcLog
from chainwatch.derive.known import Known
from chainwatch.derive.rules import Rules
from chainwatch.derive.words import ZERO, Party, party
from chainwatch.eip55 import checksum
from chainwatch.event import PART, Event, identify, rfc3339
from chainwatch.payloads import TokenApproval

APPROVAL: Final = "0x8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c0f7b2291e5b200ac8c7c3b925"
"""Approval(address,address,uint256)"""
APPROVAL_FOR_ALL: Final = "0x17307eab39ab6107e8899845ad3d59bd9653f200f220920489ca2b5937696c31"
"""ApprovalForAll(address,address,bool)"""

PERMIT2: Final = "0x000000000022d473030f116ddee9f6b43ac78ba3"
"""The canonical Permit2, in lower case."""
PERMIT2_APPROVAL: Final = "0xda9fa7c1b00402c17d0161b249b1ab8bbec047c5a52207b9c112deffd817036b"
"""Approval(address,address,address,uint160,uint48): owner, token, spender, amount, expiration"""
PERMIT2_PERMIT: Final = "0xc6a377bfc4eb120024a8ac08eef205be16b817020812c73223e81d1bdb9708ec"
"""Permit(address,address,address,uint160,uint48,uint48): the same, by a signature, and its nonce"""
PERMIT2_LOCKDOWN: Final = "0x89b1add15eff56b3dfe299ad94e01f2b52fbcb80ae1a3baea6ae8c04cb2b98a4"
"""Lockdown(address,address,address): owner, token, spender"""

_HUGE: Final = 1 << 255
"""Nobody counts so many: some wallets approve 2^256-1, some a little less."""
_MAX_96: Final = (1 << 96) - 1
"""All that tokens such as UNI can count."""
_MAX_160: Final = (1 << 160) - 1
"""All that Permit2 can count, and it does not count this one down."""
_MAX_48: Final = (1 << 48) - 1


class Grant(NamedTuple):
    """What an approval log says."""

    standard: str | None
    token: str
    owner: Party
    spender: Party
    amount: int | None = None
    token_id: int | None = None
    everything: bool | None = None
    """Of `setApprovalForAll`."""
    expiration: int | None = None
    """Of Permit2, Unix seconds; None where the approval does not end. 0: it ends with its own block."""


def approvals(block: Block, rules: Rules, known: Known, retracted: int) -> Iterator[Event]:
    """The approvals of a block that the rules want, in the order of their logs."""
    if not rules.tells_transfers:
        return
    everything = rules.transfers == "all"
    wallets, tokens = rules.wallets, rules.tokens
    header = block.header
    timestamp, observed = rfc3339(header.timestamp * 1000), rfc3339(block.arrived)
    block_parts = PART.join([rules.chain, header.hash, "token_approval", ""])
    readers = _READERS
    for log in block.logs:
        topics = log.topics
        if not topics or (read := readers.get(topics[0])) is None or (grant := read(log)) is None:
            continue
        standard, token, owner, spender, amount, token_id, for_all, expiration = grant
        if not everything and token not in tokens and owner[0] not in wallets and spender[0] not in wallets:
            continue
        symbol, _, decimals = known.describe(token, amount is not None)
        index, tx_hash = int(log.log_index, 16), log.transaction_hash.lower()
        yield Event(
            # As `event_id` joins them: no subject and no threshold.
            id=identify(f"{block_parts}{tx_hash}{PART}{index}{PART}{PART}{PART}{retracted}"),
            type="token_approval",
            timestamp=timestamp,
            observed_at=observed,
            chain=rules.chain,
            data=TokenApproval(
                standard=known.standard(token) if for_all is not None else standard,
                token=symbol,
                token_address=checksum(token),
                decimals=decimals,
                owner=owner[1],
                spender=spender[1],
                amount=None if amount is None else str(amount),
                unlimited=for_all is True or (amount is not None and _unlimited(amount, standard)),
                revoked=for_all is False or amount == 0 or (token_id is not None and spender[0] == ZERO),
                token_id=None if token_id is None else str(token_id),
                approved_for_all=for_all,
                expiration=None if expiration is None else rfc3339((expiration or header.timestamp) * 1000),
                tx_hash=tx_hash,
                transaction_index=int(log.transaction_index, 16),
                log_index=index,
                block_number=header.number,
                block_hash=header.hash,
            ),
        )


def token_of(log: RpcLog) -> str | None:
    """The token that an approval is about, in lower case; None where the log is no approval."""
    read = _READERS.get(log.topics[0]) if log.topics else None
    grant = None if read is None else read(log)
    return None if grant is None else grant.token


def _unlimited(amount: int, standard: str | None) -> bool:
    return amount >= _HUGE or amount == _MAX_96 or (amount == _MAX_160 and standard == "permit2")


def _erc20_or_721(log: RpcLog) -> Grant | None:
    topics, data = log.topics, log.data
    count = len(topics)
    if count not in (3, 4) or (owner := party(topics[1])) is None or (spender := party(topics[2])) is None:
        return None
    if count == 4:
        # A 721 has nothing left for the data; with data it is some other Approval.
        if data not in ("0x", ""):
            return None
        return Grant("erc721", log.address.lower(), owner, spender, token_id=int(topics[3], 16))
    return None if len(data) < 66 else Grant("erc20", log.address.lower(), owner, spender, int(data[2:66], 16))


def _for_all(log: RpcLog) -> Grant | None:
    topics, data = log.topics, log.data
    if len(topics) != 3 or len(data) < 66 or (owner := party(topics[1])) is None:
        return None
    spender, said = party(topics[2]), int(data[2:66], 16)
    if spender is None or said > 1:
        return None
    return Grant(None, log.address.lower(), owner, spender, everything=said == 1)


def _permit2(log: RpcLog) -> Grant | None:
    """`Approval`; and `Permit`, which only has a nonce more at its end."""
    topics, data = log.topics, log.data
    if log.address.lower() != PERMIT2 or len(topics) != 4 or len(data) < 130:
        return None
    owner, token, spender = party(topics[1]), party(topics[2]), party(topics[3])
    amount, expiration = int(data[2:66], 16), int(data[66:130], 16)
    if owner is None or token is None or spender is None or amount > _MAX_160 or expiration > _MAX_48:
        return None
    return Grant(
        "permit2", token[0], owner, spender, amount, expiration=None if expiration == _MAX_48 else expiration
    )  # fmt: skip


def _lockdown(log: RpcLog) -> Grant | None:
    topics, data = log.topics, log.data
    if log.address.lower() != PERMIT2 or len(topics) != 2 or len(data) < 130:
        return None
    owner, token, spender = party(topics[1]), party("0x" + data[2:66]), party("0x" + data[66:130])
    return None if owner is None or token is None or spender is None else Grant("permit2", token[0], owner, spender, 0)


_READERS: Final[dict[str, Callable[[RpcLog], Grant | None]]] = {
    APPROVAL: _erc20_or_721,
    APPROVAL_FOR_ALL: _for_all,
    PERMIT2_APPROVAL: _permit2,
    PERMIT2_PERMIT: _permit2,
    PERMIT2_LOCKDOWN: _lockdown,
}
