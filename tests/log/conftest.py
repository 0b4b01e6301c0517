"""Events to append, and logs to append them to."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from chainwatch.event import Event, event_id, rfc3339
from chainwatch.log.store import SqliteLog, open_log
from chainwatch.payloads import BlockNew, TokenTransfer

TIME = 1_750_000_000_000


def block(number: int, chain: str = "ethereum") -> Event:
    return Event(
        id=event_id("test", chain, "block", number),
        type="block_new",
        timestamp=rfc3339(TIME + number),
        observed_at=rfc3339(TIME + number),
        chain=chain,
        data=BlockNew(
            block_number=number,
            block_hash=f"0x{number:064x}",
            parent_hash=f"0x{number - 1:064x}",
            transaction_count=1,
            gas_used="21000",
            gas_limit="30000000",
            base_fee_per_gas="7",
        ),
    )


def transfer(
    number: int,
    *,
    chain: str = "ethereum",
    source: str = "0x" + "a1" * 20,
    to: str = "0x" + "b2" * 20,
    token: str = "0x" + "c3" * 20,
    amount: int = 1,
) -> Event:
    return Event(
        id=event_id("test", chain, "transfer", number),
        type="token_transfer",
        timestamp=rfc3339(TIME + number),
        observed_at=rfc3339(TIME + number),
        chain=chain,
        data=TokenTransfer(
            standard="erc20",
            token="TOK",
            token_name=None,
            token_address=token,
            decimals=18,
            from_=source,
            to=to,
            amount=str(amount),
            token_id=None,
            batch_index=None,
            tx_hash=f"0x{number:064x}",
            transaction_index=0,
            log_index=number % 100,
            block_number=number,
            block_hash=f"0x{number:064x}",
        ),
    )


def custom(number: int, size: int = 10, kind: str = "note", **fields: str) -> Event:
    """An event of a chosen size, with chosen fields."""
    return Event(
        id=event_id("test", "custom", number),
        type=kind,
        timestamp=rfc3339(TIME + number),
        observed_at=rfc3339(TIME + number),
        chain=None,
        data={"number": number, "text": "x" * size, **fields},
    )


class Made:
    """The events of this file, for tests to make."""

    block = staticmethod(block)
    transfer = staticmethod(transfer)
    custom = staticmethod(custom)

    @staticmethod
    def random(count: int, seed: int = 0) -> list[Event]:
        """Blocks, transfers among few addresses, and custom events, small and now and then large."""
        chance = random.Random(seed)
        address = [f"0x{digit * 40}" for digit in "123456789"]
        events: list[Event] = []
        for number in range(count):
            chain = chance.choice(["ethereum", "base"])
            match chance.randrange(10):
                case 0:
                    events.append(block(number, chain))
                case 1:
                    events.append(custom(number, chance.choice([1, 50, 5000]), to=chance.choice(address)))
                case _:
                    events.append(
                        transfer(
                            number,
                            chain=chain,
                            source=chance.choice(address),
                            to=chance.choice(address),
                            token=chance.choice(address[:3]),
                            amount=chance.randrange(1000),
                        )
                    )
        return events


@pytest.fixture
def made() -> type[Made]:
    return Made


Opener = Callable[..., object]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Callable[..., object]]:
    """Opens logs at `events.db` in the test's folder; whatever is open at the end is closed."""
    logs: list[SqliteLog] = []

    async def open_one(path: Path = tmp_path / "events.db", **options: object) -> SqliteLog:
        settings = {"ttl": 1e6, "max_events": 10**6, "max_bytes": 1 << 32, "memory": 1 << 20} | options
        log = await open_log(path, **settings)
        logs.append(log)
        return log

    yield open_one
    for log in logs:
        await log.close()
