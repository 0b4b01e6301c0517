"""Questions that are asked at once: which error comes out, and that a cancellation always does."""

from __future__ import annotations

import asyncio

import pytest

from chainwatch.chain.evm.at import together


async def test_the_first_error_ends_the_others_and_comes_as_it_is():
    ended = asyncio.Event()

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def fails() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await together(waits(), fails())
    assert ended.is_set()


@pytest.mark.parametrize("first", ["the error", "the cancellation"])
async def test_who_is_cancelled_while_a_part_fails_is_cancelled(first):
    """As when the daemon stops: connections fail what they were asked, and tasks are cancelled, in the same moment."""
    answer = asyncio.get_running_loop().create_future()

    async def asks() -> None:
        await answer

    async def loop() -> None:
        try:
            await together(asks(), asyncio.sleep(60))
        except LookupError:
            await asyncio.sleep(60)  # look again later

    task = asyncio.create_task(loop())
    await asyncio.sleep(0.01)
    if first == "the error":
        answer.set_exception(LookupError("stopping"))
        for _ in range(2):  # the part has failed, and the others are about to end
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
    else:
        task.cancel()
        answer.set_exception(LookupError("stopping"))
    await asyncio.wait((task,), timeout=5)
    assert task.cancelled()
