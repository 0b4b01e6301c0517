"""Deliveries to real receivers: in order, at least once, whatever they do and whatever happens to us."""

from __future__ import annotations

import asyncio
import json

import pytest
from server.house import BOB, block, transfer
from webhooks.conftest import Office, Opened
from webhooks.receiver import SECRET, Receiver, cuts, drips, floods, respond, says, stalls, well

from chainwatch.event import Event, encode, retraction
from chainwatch.webhooks import courier, delivery, kept, place_of


def numbers(events: list) -> list[int]:
    return [event["data"]["number"] for event in events]


async def test_an_event_arrives_as_streams_have_it_signed_and_with_its_id(office: Office, receiver: Receiver):
    await office.operators(receiver)
    event = transfer(1)
    await office.log.append([event])
    await receiver.events(1)
    delivery = receiver.came[0]
    assert delivery.body == encode(event)
    assert delivery.id == event.id
    assert delivery.verify()["id"] == event.id
    assert delivery.path == "/hook"
    assert delivery.headers["content-type"] == "application/json"
    assert delivery.headers["host"] == f"localhost:{receiver.port}"
    assert delivery.headers["user-agent"].startswith("chainwatch/")


async def test_many_arrive_in_order_one_at_a_time_over_few_connections(office: Office, receiver: Receiver):
    await office.log.append([transfer(number, padding="x" * 2000) for number in range(100)])  # several pieces
    await office.operators(receiver)
    await office.log.append([transfer(number) for number in range(100, 200)])
    assert numbers(await receiver.events(200)) == list(range(200))
    assert (receiver.most_at_once, receiver.connections, len(receiver.came)) == (1, 1, 200)


async def test_only_what_its_words_ask_for_arrives(office: Office, receiver: Receiver):
    await office.operators(receiver, words={"types": ["token_transfer"], "address": [BOB]})
    await office.log.append([transfer(1), block(2), transfer(3, to="0x" + "cc" * 20), transfer(4)])
    assert numbers(await receiver.events(2)) == [1, 4]


@pytest.mark.parametrize(
    ("behave", "fault"),
    [
        (says(500), "http_5xx"), (says(404), "http_4xx"), (says(302, Location="https://127.0.0.1/"), "http_3xx"),
        (stalls, "timeout"), (cuts, "bad_answer"), (drips, "timeout"), (says(500, bytes(100_000)), "http_5xx"),
    ],
)  # fmt: skip
async def test_a_receiver_that_does_not_accept_is_asked_again_and_nothing_is_lost(
    opened: Opened, receiver, behave, fault
):
    office = await opened(patience=0.2 if fault == "timeout" else 15)
    receiver.behave = behave
    hook = await office.operators(receiver)
    await office.log.append([transfer(1), transfer(2)])
    await receiver.until(lambda: len(receiver.came) >= 3)
    assert {one.id for one in receiver.came} == {transfer(1).id}  # the order is kept
    await office.until(lambda: hook.status == "failing")
    assert hook.standing.trouble is not None
    assert hook.standing.trouble.fault == fault
    receiver.behave = well
    assert numbers(await receiver.events(2)) == [1, 2]
    await office.until(lambda: hook.status == "live")


async def test_a_receiver_that_accepts_and_sends_for_ever_is_left(office: Office, receiver: Receiver):
    receiver.behave = floods
    await office.operators(receiver)
    await office.log.append([transfer(1), transfer(2)])
    assert numbers(await receiver.events(2)) == [1, 2]
    await receiver.until(lambda: receiver.connections == 2)


async def test_a_receiver_that_is_not_there_gets_everything_when_it_is(office: Office, receiver: Receiver):
    await receiver.__aexit__()
    hook = await office.operators(receiver)
    await office.log.append([transfer(1)])
    await office.until(lambda: hook.standing.trouble is not None and hook.standing.trouble.attempts > 1)
    assert hook.standing.trouble.fault == "connection_refused"
    async with receiver:
        assert numbers(await receiver.events(1)) == [1]


async def test_what_a_receiver_asks_for_is_waited(office: Office, receiver: Receiver):
    receiver.behave = says(503, Retry_After="3600")
    hook = await office.operators(receiver)
    await office.log.append([transfer(1)])
    await office.until(lambda: hook.standing.trouble is not None)
    wait = hook.standing.trouble.again - office.hooks.now()
    assert 3_590_000 < wait <= 3_600_000
    receiver.behave = well
    assert (await office.hooks.test(hook)).fault is None  # and a test that is accepted ends the wait
    assert numbers(await receiver.events(1)) == [1]
    assert receiver.came[1].json["type"] == "test"
    assert receiver.came[1].verify()


async def test_a_retraction_comes_behind_what_it_retracts(office: Office, receiver: Receiver):
    await office.operators(receiver)
    event = transfer(1)
    await office.log.append([event, retraction(event, event.observed_at)])
    first, second = await receiver.events(2)
    assert (second["removed"], second["retracts"]) == (True, first["id"])


async def test_after_a_restart_it_goes_on_behind_what_was_accepted(opened: Opened, receiver: Receiver):
    office = await opened()
    await office.operators(receiver)
    await office.log.append([transfer(1), transfer(2)])
    await receiver.events(2)
    receiver.behave = says(500)
    await office.log.append([transfer(3)])
    await receiver.until(lambda: len(receiver.came) >= 3)
    office = await opened()
    receiver.behave = well
    hook = await office.operators(receiver)
    await office.log.append([transfer(4)])
    assert numbers(await receiver.events(4)) == [1, 2, 3, 4]
    assert [one.id for one in receiver.came].count(transfer(1).id) == 1
    await office.until(lambda: hook.standing.accepted == 4)


async def test_attempts_are_remembered_across_a_restart(opened: Opened, receiver: Receiver):
    office = await opened()
    receiver.behave = says(503, Retry_After="3600")
    await office.operators(receiver)
    await office.log.append([transfer(1)])
    await receiver.until(lambda: len(receiver.came) == 1)
    office = await opened()
    hook = await office.operators(receiver)
    assert hook.status == "failing"
    await office.log.append([transfer(2)])
    assert len(receiver.came) == 1


async def test_one_that_had_nothing_to_deliver_need_not_look_at_it_again(opened: Opened, receiver: Receiver):
    office = await opened()
    hook = await office.operators(receiver, words={"types": ["price"]})
    await office.log.append([transfer(number) for number in range(100)])
    await office.until(lambda: place_of(hook) == 100)
    assert hook.standing.sequence == 0
    office = await opened()
    assert (await office.operators(receiver, words={"types": ["price"]})).standing.sequence == 100


async def test_a_gap_is_told_to_the_receiver_and_waits_for_it(opened: Opened, receiver: Receiver):
    office = await opened(max_events=10, memory=2**20)
    receiver.behave = says(500)
    hook = await office.operators(receiver)
    for number in range(40):
        await office.log.append([transfer(number, padding="x" * 30_000)])
    await office.until(lambda: office.log.oldest > 20)
    await receiver.until(lambda: any(one.id.startswith("msg_gap_") for one in receiver.came))
    assert hook.standing.sequence == 0
    receiver.behave = well
    await receiver.until(lambda: any(one.id == transfer(39).id for one in receiver.came))
    accepted = receiver.came[[one.id for one in receiver.came].index(transfer(39).id) - 1]
    assert accepted.id == transfer(38).id
    gap = next(one for one in receiver.came if one.id.startswith("msg_gap_")).verify()
    assert (gap["type"], gap["reason"], gap["requested"]) == ("gap", "expired", f"{office.log.identity}-0")
    assert gap["cursor"] == gap["resumed_at"]
    assert "id" not in gap


async def test_a_gap_has_patience_of_its_own_whatever_was_tried_before_it(opened: Opened, receiver, monkeypatch):
    for name, value in {"GIVE_UP": 0, "TRIES": 8}.items():
        monkeypatch.setattr(delivery, name, value)
    office = await opened(max_events=10, memory=2**20)
    waits, gone = asyncio.Event(), asyncio.Event()
    gaps = 0

    async def refuses(one, writer):
        nonlocal gaps
        if one.id.startswith("msg_gap_"):
            gaps += 1
            writer.write(respond(200 if gaps == 7 else 500))
            return
        if len(receiver.came) == 7:
            waits.set()
            await gone.wait()
        writer.write(respond(200 if gaps == 7 else 500))

    receiver.behave = refuses
    hook = await office.operators(receiver)
    await office.log.append([transfer(0)])
    await waits.wait()
    for number in range(1, 40):
        await office.log.append([transfer(number, padding="x" * 30_000)])
    await office.until(lambda: office.log.oldest > 20)
    gone.set()
    await receiver.until(lambda: any(one.id == transfer(39).id for one in receiver.came))
    await office.until(lambda: hook.status == "live")
    assert (gaps, hook.letters) == (7, 0)


async def test_where_dead_letters_are_full_a_gap_needs_no_room_among_them(opened: Opened, receiver, monkeypatch):
    for name, value in {"GIVE_UP": 0, "TRIES": 2}.items():
        monkeypatch.setattr(delivery, name, value)
    monkeypatch.setattr(kept, "LETTERS", 0)
    office = await opened(max_events=10, memory=2**20)
    for number in range(40):
        await office.log.append([transfer(number, padding="x" * 30_000)])
    await office.until(lambda: office.log.oldest > 20)

    async def refuses_gaps(one, writer):
        writer.write(respond(500 if one.id.startswith("msg_gap_") else 200))

    receiver.behave = refuses_gaps
    hook = await office.operators(receiver)
    await receiver.until(lambda: any(one.id == transfer(39).id for one in receiver.came))
    events = len({one.id for one in receiver.came if one.id.startswith("evt_")})
    await office.until(lambda: hook.standing.accepted == events)  # and no gap is counted as one


async def test_a_full_disk_is_no_reason_to_ask_a_receiver_the_faster(office: Office, receiver: Receiver, monkeypatch):
    from chainwatch.errors import LogFull

    monkeypatch.setattr(courier, "AGAIN", 0.01)
    receiver.behave = says(503, Retry_After="3600")
    hook = await office.operators(receiver)
    real, refused = office.log.append, asyncio.Event()

    async def append(events, changes=()):
        if not events:
            refused.set()
            raise LogFull("no room")
        return await real(events, changes)

    monkeypatch.setattr(office.log, "append", append)
    await office.log.append([transfer(1)])
    await refused.wait()
    await office.until(lambda: hook.status == "failing")
    wait = hook.standing.trouble.again - office.hooks.now()
    assert 3_500_000 < wait <= 3_600_000


async def test_an_event_that_is_never_taken_becomes_a_dead_letter_and_the_others_go_on(
    office: Office, receiver: Receiver, monkeypatch
):
    monkeypatch.setattr(delivery, "GIVE_UP", 50)
    monkeypatch.setattr(delivery, "TRIES", 3)
    poison = transfer(2)

    async def refuses_one(one, writer):
        writer.write(respond(400 if one.id == poison.id else 200))

    receiver.behave = refuses_one
    hook = await office.operators(receiver)
    await office.log.append([transfer(1), poison, transfer(3)])
    await office.until(lambda: hook.standing.accepted == 2)
    (letter,) = await office.hooks.letters(hook)
    assert json.loads(bytes(letter.event))["id"] == poison.id
    assert (letter.sequence, letter.fault, letter.status) == (2, "http_4xx", 400)
    assert letter.attempts >= 3
    assert (hook.letters, hook.status, hook.standing.sequence) == (1, "live", 3)
    assert office.hooks.stats()["dead_letters"] == 1
    await office.hooks.burn(hook)
    assert (hook.letters, await office.hooks.letters(hook)) == (0, [])


async def test_a_receiver_that_takes_nothing_for_days_is_paused_and_loses_one_place_to_a_letter(
    opened: Opened, receiver: Receiver, monkeypatch
):
    for name, value in {"GIVE_UP": 50, "TRIES": 3, "PROBATION": 50, "PROBES": 3}.items():
        monkeypatch.setattr(delivery, name, value)
    office = await opened()
    receiver.behave = says(500)
    hook = await office.operators(receiver)
    await office.log.append([transfer(number) for number in range(1, 6)])
    await office.until(lambda: hook.status == "paused")
    assert (hook.standing.pause, hook.letters, hook.standing.sequence) == ("failing", 1, 1)
    office = await opened()  # a restart does not wake it
    hook = await office.operators(receiver)
    assert (hook.status, hook.letters) == ("paused", 1)
    receiver.came.clear()
    assert (await office.hooks.test(hook)).fault == "http_5xx"
    assert hook.status == "paused"
    receiver.behave = well
    assert (await office.hooks.test(hook)).fault is None
    assert numbers(await receiver.events(4)) == [2, 3, 4, 5]


async def test_where_there_is_no_room_for_a_dead_letter_it_stands_still(office, receiver: Receiver, monkeypatch):
    for name, value in {"GIVE_UP": 0, "TRIES": 1}.items():
        monkeypatch.setattr(delivery, name, value)
    monkeypatch.setattr(kept, "LETTERS", 0)
    receiver.behave = says(500)
    hook = await office.operators(receiver)
    await office.log.append([transfer(1)])
    await office.until(lambda: hook.standing.pause == "full")
    assert hook.standing.sequence == 0


async def test_gone_means_gone(office: Office, receiver: Receiver):
    receiver.behave = says(410)
    hook = await office.operators(receiver)
    await office.log.append([transfer(1)])
    await office.until(lambda: hook.standing.pause == "gone")
    await office.log.append([transfer(2)])
    assert len(receiver.came) == 1


async def test_a_broken_log_is_waited_for(office: Office, receiver: Receiver, monkeypatch):
    from chainwatch.errors import LogFull

    monkeypatch.setattr(courier, "AGAIN", 0.02)
    hook = await office.operators(receiver)
    real, fails = office.log.append, 3

    async def append(events, changes=()):
        nonlocal fails
        if not events and fails:
            fails -= 1
            raise LogFull("no room")
        return await real(events, changes)

    monkeypatch.setattr(office.log, "append", append)
    await office.log.append([transfer(1), transfer(2)])
    assert numbers(await receiver.events(2)) == [1, 2]
    await office.until(lambda: hook.standing.sequence == 2)
    assert len(receiver.came) == 2  # it was not sent again for that


async def test_a_stalled_receiver_holds_nobody_else_up(office: Office, receiver: Receiver, tmp_path, ca):
    receiver.behave = stalls
    (tmp_path / "other").mkdir()
    async with Receiver(tmp_path / "other", ca) as other:
        first = await office.operators(receiver, "first")

        async def begin() -> int:
            return 0

        from chainwatch.webhooks import Purpose

        second = Purpose(
            url=other.local, words={}, secret=first.purpose.secret, created=1, changed=1, trust=first.purpose.trust
        )
        await office.hooks.configure({"first": (first.purpose, begin), "second": (second, begin)})
        await office.log.append([transfer(number) for number in range(50)])
        assert numbers(await other.events(50)) == list(range(50))
        assert len(receiver.came) == 1


async def test_custom_events_of_any_text_arrive_as_they_are(office: Office, receiver: Receiver):
    await office.operators(receiver)
    now = "2026-01-01T00:00:00.000Z"
    data = {"text": "a\n\ndata: b\r\n\u2028", "id": "other"}
    event = Event(id="evt_x", type="note", timestamp=now, observed_at=now, chain=None, data=data)
    await office.log.append([event])
    assert (await receiver.events(1))[0]["data"] == data


async def test_stopping_does_not_wait_for_a_receiver(opened: Opened, receiver: Receiver):
    receiver.behave = stalls
    office = await opened()
    await office.operators(receiver)
    await office.log.append([transfer(1)])
    await receiver.until(lambda: len(receiver.came) == 1)
    async with asyncio.timeout(5):
        await opened()


async def test_receivers_that_stall_take_their_owners_shares_and_keep_nobody_else_out(
    opened: Opened, receiver: Receiver, trusted
):
    office = await opened(patience=600)
    receiver.behave = stalls

    async def begin() -> int:
        return 0

    async def add(owner: str, name: str) -> None:
        await office.hooks.add(owner, name, receiver.url, {}, start=begin)

    adding = [asyncio.create_task(add(f"bad{number % 5}", f"w{number}")) for number in range(100)]
    await receiver.until(lambda: receiver.under_way == 64)  # nothing is left, and one owner more is there
    receiver.behave = well
    async with asyncio.timeout(20):
        await add("good", "own")
    await office.log.append([transfer(1)])
    assert numbers(await receiver.events(1)) == [1]
    assert receiver.most_at_once <= 65
    for task in adding:
        task.cancel()
    await asyncio.gather(*adding, return_exceptions=True)


async def test_what_a_client_added_outlives_a_restart_and_is_not_challenged_again(opened: Opened, receiver, trusted):
    async def begin() -> int:
        return 0

    office = await opened()
    await office.hooks.add("key", "shop", receiver.url, {"types": ["token_transfer"]}, start=begin, secret=SECRET)
    await office.log.append([transfer(1)])
    await receiver.events(1)
    office = await opened()
    hook = office.hooks.get("key", "shop")
    assert hook is not None
    assert (hook.status, hook.purpose.words) == ("live", {"types": ["token_transfer"]})
    await office.log.append([block(2), transfer(3)])
    assert numbers(await receiver.events(2)) == [1, 3]
    assert receiver.came[-1].verify()
    await office.hooks.remove(hook)
    office = await opened()
    assert office.hooks.of("key") == []
    assert len([one for one in receiver.came if one.id.startswith("msg_")]) == 1
