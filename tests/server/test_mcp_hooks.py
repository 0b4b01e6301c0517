"""Hosts that subscribe by webhook (SEP-3415): what they ask at `/mcp`, and what their receivers get."""

from __future__ import annotations

from typing import Any

import pytest
from server.house import ALICE, House, Serve, block, transfer
from server.test_access import key, text
from server.test_mcp_events import Host
from webhooks.fixtures import authority, receiving, trusting  # noqa: F401 - fixtures
from webhooks.receiver import SECRET, Receiver, says, stalls, well

from chainwatch.keys import Keyring
from chainwatch.server import mcp_events, mcp_hooks
from chainwatch.webhooks import delivery

READER, OTHER = key("reader"), key("other")
OTHER_SECRET = "whsec_" + "YW5vdGhlciBzZWNyZXQgb2YgdGhlIHNhbWUgdGVzdHM="


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again soon."""
    monkeypatch.setattr(delivery, "wait_of", lambda failed, chance: 20)


@pytest.fixture
async def house(serve: Serve) -> House:
    return await serve(mcp_events=True, ring=Keyring([READER, OTHER]))


@pytest.fixture
def host(house: House) -> Host:
    return Host(house, text(READER))


def wish(receiver: Receiver, **more: Any) -> dict[str, Any]:
    asked = {"name": "block_new", "delivery": {"mode": "webhook", "url": receiver.url, "secret": SECRET}}
    return asked | more


async def test_a_host_subscribes_and_its_receiver_is_told_each_event_signed(
    house: House, host: Host, receiver: Receiver, trusted: None
) -> None:
    await house.tell(block(1))
    told = await host.result("events/subscribe", **wish(receiver))
    assert told.keys() >= {"id", "refreshBefore", "cursor", "truncated"}
    assert "deliveryStatus" not in told
    challenge = receiver.came[0]
    assert challenge.verify()["type"] == "verification"
    assert challenge.headers["x-mcp-subscription-id"] == told["id"]
    assert challenge.id.startswith("msg_verification_")
    await house.tell(block(2), transfer(1), block(3))
    events = await receiver.events(2)
    assert [event["data"]["data"]["number"] for event in events] == [2, 3]
    for came, event in zip(receiver.came[1:], events, strict=True):
        assert came.verify() == event
        assert came.id == event["eventId"] == event["data"]["id"]
        assert came.headers["x-mcp-subscription-id"] == told["id"]
        assert (event["name"], event["timestamp"]) == ("block_new", event["data"]["timestamp"])
    assert events[0]["cursor"] == told["cursor"]  # all before the first one is done
    listed = {event["name"]: event["delivery"] for event in (await host.result("events/list"))["events"]}
    assert listed["block_new"] == ["poll", "push", "webhook"]


async def test_asking_again_renews_and_replaces_the_secret_and_challenges_nobody(
    house: House, host: Host, receiver: Receiver, trusted: None
) -> None:
    asked = wish(receiver, arguments={"chains": ["ethereum"], "where": "true"}, ttlMs=600_000)
    first = await host.result("events/subscribe", **asked)
    await house.tell(block(1))
    await receiver.events(1)
    await house.until(lambda: house.context.webhooks.of(READER.id)[0].standing.accepted == 1)
    asked |= {
        "arguments": {"where": "true", "chains": ["ethereum"]},  # in another order: the same
        "delivery": {"mode": "webhook", "url": receiver.url, "secret": OTHER_SECRET},
        "cursor": first["cursor"],  # behind where it is: nothing comes twice
    }
    again = await host.result("events/subscribe", **asked)
    assert again["id"] == first["id"]
    assert again["refreshBefore"] >= first["refreshBefore"]
    status = again["deliveryStatus"]
    assert (status["active"], status["lastError"]) == (True, None)
    assert status["lastDeliveryAt"]
    await house.tell(block(2))
    events = await receiver.events(2)
    assert [event["data"]["data"]["number"] for event in events] == [1, 2]
    for secret in (SECRET, OTHER_SECRET):
        receiver.came[-1].verify(secret)
    assert len(receiver.came) == 3  # one challenge, two events
    other = await host.result("events/subscribe", **(asked | {"arguments": {"chains": ["base"]}}))
    assert other["id"] != first["id"]


async def test_an_address_that_agreed_is_asked_once_for_all_that_a_key_subscribes_to(
    house: House, host: Host, receiver: Receiver, trusted: None
) -> None:
    names = (
        "block_new",
        "token_transfer",
        *(name for name in mcp_events.NAMES if name.startswith(("wallet", "trans"))),
    )
    told = [await host.result("events/subscribe", **wish(receiver, name=name)) for name in names]
    assert len({one["id"] for one in told}) == len(names)
    assert [one.verify()["type"] for one in receiver.came] == ["verification"]
    await house.tell(block(1), transfer(2))
    assert {event["name"] for event in await receiver.events(2)} == {"block_new", "token_transfer"}
    for name in names:
        await host.result("events/unsubscribe", name=name, delivery={"url": receiver.url})
    receiver.behave = says(200)
    error = await host.error("events/subscribe", **wish(receiver))
    assert error["data"] == {"reason": "challenge_failed"}, "with the last one, its agreement is forgotten"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(says(200), "challenge_failed"), (says(500), "http_5xx"), (says(404), "http_4xx"), (says(302), "http_4xx")],
)
async def test_a_receiver_that_does_not_answer_the_challenge_gets_nothing(
    house: House, host: Host, receiver: Receiver, trusted: None, answer: Any, reason: str
) -> None:
    receiver.behave = answer
    error = await host.error("events/subscribe", **wish(receiver))
    assert (error["code"], error["message"], error["data"]) == (-32027, "CallbackEndpointError", {"reason": reason})
    assert not house.context.webhooks.of(READER.id)
    await house.tell(block(1))
    assert len(receiver.came) == 1


@pytest.mark.parametrize(
    ("delivery", "code"),
    [
        ({"url": "http://hooks.example.com/", "secret": SECRET}, -32602),
        ({"url": "https://127.0.0.1/", "secret": SECRET}, -32602),
        ({"url": "https://user@hooks.example.com/", "secret": SECRET}, -32602),
        ({"url": "https://hooks.example.com/", "secret": "easy to guess"}, -32602),
        ({"url": "https://hooks.example.com/", "secret": "whsec_c2hvcnQ="}, -32602),
        ({"url": "https://hooks.example.com/"}, -32602),
        ({"mode": "carrier pigeon", "url": "https://hooks.example.com/", "secret": SECRET}, -32026),
    ],
)
async def test_a_delivery_that_cannot_be_is_refused(house: House, host: Host, delivery: Any, code: int) -> None:
    error = await host.error("events/subscribe", name="block_new", delivery=delivery)
    assert error["code"] == code, error
    assert SECRET not in str(error)
    assert "\\u" not in error["message"], "a line and its hint are one sentence after the other"
    assert not house.context.webhooks.of(READER.id)


async def test_only_its_own_key_ends_or_renews_a_subscription(
    house: House, host: Host, receiver: Receiver, trusted: None
) -> None:
    mine = await host.result("events/subscribe", **wish(receiver))
    stranger = Host(house, text(OTHER))
    gone = {"name": "block_new", "delivery": {"url": receiver.url}}
    error = await stranger.error("events/unsubscribe", **gone)
    assert (error["code"], error["data"]) == (-32023, {"kind": "subscription"})
    theirs = await stranger.result("events/subscribe", **wish(receiver))
    assert theirs["id"] != mine["id"]
    assert len([one for one in receiver.came if one.id.startswith("msg_verification")]) == 2
    assert (await host.result("events/unsubscribe", **gone))["resultType"] == "complete"
    assert not house.context.webhooks.of(READER.id)
    assert len(house.context.webhooks.of(OTHER.id)) == 1


async def test_without_keys_nobody_may_subscribe(serve: Serve) -> None:
    host = Host(await serve(mcp_events=True))
    delivery = {"url": "https://hooks.example.com/", "secret": SECRET}
    assert (await host.error("events/subscribe", name="block_new", delivery=delivery))["code"] == -32024
    assert (await host.error("events/unsubscribe", name="block_new", delivery=delivery))["code"] == -32024


@pytest.mark.parametrize("status", [410, 413])
async def test_a_receiver_refuses_one_event_and_goes_on(
    house: House, host: Host, receiver: Receiver, trusted: None, status: int
) -> None:
    await host.result("events/subscribe", **wish(receiver))
    receiver.behave = says(status)
    await house.tell(block(1))
    await receiver.events(1)
    [hook] = house.context.webhooks.of(READER.id)
    await house.until(lambda: hook.standing.sequence == house.log.head)
    assert hook.letters == 0  # it has said that it wants no more of it
    receiver.behave = well
    await house.tell(block(2))
    assert [event["data"]["data"]["number"] for event in await receiver.events(2)] == [1, 2]
    assert hook.standing.pause is None


async def test_replay_begins_behind_a_cursor_and_says_what_is_gone(
    serve: Serve, receiver: Receiver, trusted: None
) -> None:
    house = await serve(mcp_events=True, ring=Keyring([READER]), max_events=50)
    host = Host(house, text(READER))
    begin = (await host.result("events/poll", name="block_new"))["cursor"]
    await house.tell(block(1), block(2))
    told = await host.result("events/subscribe", **wish(receiver, cursor=begin))
    assert not told["truncated"]
    assert [event["data"]["data"]["number"] for event in await receiver.events(2)] == [1, 2]
    await host.result("events/unsubscribe", name="block_new", delivery={"url": receiver.url})
    await house.tell(*(block(number) for number in range(3, 300)))
    await house.until(lambda: house.log.oldest > 3)
    assert (await host.result("events/subscribe", **wish(receiver, cursor=begin)))["truncated"]


async def test_a_subscription_ends_when_it_was_granted_to(
    house: House, host: Host, receiver: Receiver, trusted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_hooks, "SHORTEST", 300)
    await host.result("events/subscribe", **wish(receiver, ttlMs=1))
    await house.until(lambda: not house.context.webhooks.of(READER.id))
    forever = await host.result("events/subscribe", **wish(receiver, ttlMs=None, arguments={"address": [ALICE]}))
    assert forever["refreshBefore"] is not None  # as long as one is granted, and no longer


@pytest.mark.parametrize("ring", [Keyring([OTHER]), Keyring([key("reader", types=("price",)), OTHER])])
async def test_a_key_that_ends_or_may_no_longer_ends_its_subscription_and_the_receiver_is_told(
    house: House, host: Host, receiver: Receiver, trusted: None, ring: Keyring
) -> None:
    mine = await host.result("events/subscribe", **wish(receiver))
    await Host(house, text(OTHER)).result("events/subscribe", **wish(receiver))
    receiver.behave = stalls  # it is in the middle of an event of which it does not say that it has it
    await house.tell(block(1))
    await receiver.until(lambda: receiver.under_way == 2)
    receiver.behave = well
    house.context.sessions.change(ring)
    await receiver.until(lambda: receiver.came[-1].id.startswith("msg_terminated_"))
    told = receiver.came[-1].verify()
    assert told["type"] == "terminated"
    assert (told["error"]["code"], told["error"]["message"]) == (-32024, "Forbidden")
    assert told["error"]["data"]["reason"]
    assert receiver.came[-1].headers["x-mcp-subscription-id"] == mine["id"]
    assert not house.context.webhooks.of(READER.id)  # the extension has it so
    house.context.sessions.change(Keyring([READER, OTHER]))
    await host.result("events/subscribe", **wish(receiver))
    assert len([one for one in receiver.came if "terminated" in one.id]) == 1


async def test_a_key_that_ended_while_the_daemon_was_off_ends_its_subscription(
    serve: Serve, receiver: Receiver, trusted: None
) -> None:
    house = await serve(mcp_events=True, ring=Keyring([READER]))
    await Host(house, text(READER)).result("events/subscribe", **wish(receiver))
    await house.close()
    house = await serve(mcp_events=True, ring=Keyring([OTHER]))
    await receiver.until(lambda: receiver.came[-1].id.startswith("msg_terminated_"))
    assert not house.context.webhooks.of(READER.id)


async def test_subscriptions_outlive_a_restart(serve: Serve, receiver: Receiver, trusted: None) -> None:
    house = await serve(mcp_events=True, ring=Keyring([READER]))
    told = await Host(house, text(READER)).result("events/subscribe", **wish(receiver))
    await house.close()
    house = await serve(mcp_events=True, ring=Keyring([READER]))
    await house.tell(block(1))
    [event] = await receiver.events(1)
    assert event["data"]["data"]["number"] == 1
    assert receiver.came[-1].headers["x-mcp-subscription-id"] == told["id"]
