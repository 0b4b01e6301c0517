"""`server.max_connection_age`: streams end in order and not all at once, and their clients go on."""

from __future__ import annotations

import asyncio

from server.house import block
from structlog.testing import capture_logs


async def test_a_stream_is_ended_at_its_age_and_its_client_goes_on(serve):
    house = await serve(max_connection_age=1)
    with capture_logs() as told:
        answers = [await house.stream() for _ in range(20)]
        await house.tell(block(1))
        for answer in answers:
            assert await answer.numbers(1) == [1]

        async def end(answer) -> None:
            message = (await answer.rest())[-1]
            assert (message.event, message.data) == ("complete", "[DONE]")
            assert answer.parser.retry >= 1000

        async with asyncio.TaskGroup() as tasks:
            for answer in answers:
                tasks.create_task(end(answer))
        await house.until(lambda: len(told) == 20)
    assert {line["reason"] for line in told} == {"rotation"}
    seconds = [line["seconds"] for line in told]
    assert min(seconds) >= 0.9
    assert len(set(seconds)) > 1
    await house.tell(block(2))
    again = await house.stream(headers={"Last-Event-ID": answers[0].messages[-1].id})
    assert await again.numbers(1) == [2]


async def test_what_the_client_asked_for_comes_first(serve):
    house = await serve(max_connection_age=3600)
    with capture_logs() as told:
        assert (await (await house.stream("/events?duration=0.1")).rest())[-1].data == "[DONE]"
        await house.until(lambda: bool(told))
    assert told[0]["reason"] == "duration"


async def test_without_an_age_no_stream_has_a_deadline(house):
    await house.stream()
    [stream] = house.hub.streams.values()
    assert stream.deadline is None
