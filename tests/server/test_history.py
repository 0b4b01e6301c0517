"""The log in pages."""

from __future__ import annotations

import time

from server.house import block, transfer

from chainwatch.event import rfc3339


async def pages(house, path: str) -> list[dict]:
    """Every page from `path` on, by `next`, until there is no more."""
    told = [await (await house.ask(path)).json()]
    while told[-1]["has_more"]:
        told.append(await (await house.ask(f"{path}&cursor={told[-1]['next']}")).json())
    return told


async def test_pages_from_the_earliest_on_hold_every_event_once(house):
    await house.tell(*(block(number) for number in range(1, 251)))
    told = await pages(house, "/events/history?limit=100")
    assert [len(page["events"]) for page in told] == [100, 100, 50]
    assert [event["data"]["number"] for page in told for event in page["events"]] == list(range(1, 251))
    assert not any(page["truncated"] for page in told)


async def test_a_full_last_page_has_no_more(house):
    await house.tell(*(block(number) for number in range(100)))
    page = await (await house.ask("/events/history")).json()
    assert (len(page["events"]), page["has_more"]) == (100, False)


async def test_next_is_there_at_the_end_to_poll_with(house):
    page = await (await house.ask("/events/history")).json()
    assert page == {"events": [], "next": f"{house.log.identity}-0", "has_more": False, "truncated": False}
    await house.tell(transfer(1), block(2), transfer(3))
    page = await (await house.ask(f"/events/history?types=block_new&cursor={page['next']}")).json()
    assert [event["data"]["number"] for event in page["events"]] == [2]
    assert page["next"] == f"{house.log.identity}-3"


async def test_next_is_a_cursor_of_streams_too(house):
    await house.tell(*(block(number) for number in range(1, 11)))
    page = await (await house.ask("/events/history?limit=4")).json()
    answer = await house.stream(headers={"Last-Event-ID": page["next"]})
    assert await answer.numbers(6) == [5, 6, 7, 8, 9, 10]


async def test_last_and_since_choose_where_it_begins(house):
    await house.tell(*(event for number in range(1, 11) for event in (block(number), transfer(100 + number))))
    page = await (await house.ask("/events/history?last=2&types=block_new")).json()
    assert [event["data"]["number"] for event in page["events"]] == [9, 10]
    page = await (await house.ask("/events/history?since=now")).json()
    assert page["events"] == []
    page = await (await house.ask("/events/history?since=1h&limit=1")).json()
    assert (len(page["events"]), page["has_more"], page["truncated"]) == (1, True, False)


async def test_until_ends_before_what_was_told_then_and_since_begins_with_it(house):
    await house.tell(*(block(number) for number in range(1, 6)))
    border = int(time.time() * 1000) + 1
    await house.until(lambda: time.time() * 1000 >= border)
    await house.tell(*(block(number) for number in range(6, 9)))
    told = await pages(house, f"/events/history?limit=2&until={rfc3339(border)}")
    assert [[event["data"]["number"] for event in page["events"]] for page in told] == [[1, 2], [3, 4], [5]]
    assert told[-1]["next"] == f"{house.log.identity}-5"
    (rest,) = await pages(house, f"/events/history?since={rfc3339(border)}")
    assert [event["data"]["number"] for event in rest["events"]] == [6, 7, 8]
    (behind,) = await pages(house, f"/events/history?until={rfc3339(border)}&cursor={house.log.identity}-7")
    assert (behind["events"], behind["next"]) == ([], f"{house.log.identity}-7")
    answer = await house.ask("/events/history?until=1h&last=2")
    assert (answer.status, (await answer.json())["parameter"]) == (400, "until")


async def test_what_retention_took_is_told_as_truncated(serve):
    house = await serve(max_events=100)
    for start in range(0, 1000, 100):
        await house.tell(*(block(number) for number in range(start + 1, start + 101)))
    await house.until(lambda: house.log.oldest > 800)
    cursor = f"{house.log.identity}-5"
    for query in ("", "since=earliest", "since=1h", f"cursor={cursor}"):
        page = await (await house.ask(f"/events/history?{query}")).json()
        assert page["truncated"], query
        assert page["events"][0]["data"]["number"] >= 800
    page = await (await house.ask("/events/history?last=3")).json()
    assert not page["truncated"]
