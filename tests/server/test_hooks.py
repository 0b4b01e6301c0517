"""Webhooks by HTTP: each key's are its own, see what it sees, and end when it does."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from server.house import ALICE, BOB, House, block, transfer
from server.sending import post, send
from server.test_access import holding, key
from webhooks.fixtures import authority, receiving, trusting  # noqa: F401 - fixtures
from webhooks.receiver import SECRET, Receiver, respond, says, stalls, well

from chainwatch import asyncapi
from chainwatch.config import target
from chainwatch.examples import CUSTOM, EXAMPLES
from chainwatch.keys import Keyring
from chainwatch.stream.begin import Gap
from chainwatch.webhooks import Purpose, Trust, delivery, kept
from chainwatch.webhooks.caller import Resolver
from chainwatch.webhooks.courier import gap_body

READER, OTHER, ADMIN = key("reader"), key("other"), key("admin", can="admin")


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """What failed is tried again soon."""
    monkeypatch.setattr(delivery, "wait_of", lambda failed, chance: 20)


async def put(house: House, name: str, body: dict[str, Any], who: Any = None) -> Any:
    answer = await send(house, "PUT", f"/webhooks/{name}", body, holding(who) if who else None)
    return answer.status, await answer.json()


async def about(house: House, name: str, who: Any = None) -> Any:
    return await (await house.ask(f"/webhooks/{name}", holding(who) if who else None)).json()


def numbers(events: list) -> list[int]:
    return [event["data"]["number"] for event in events]


# --- what a webhook is ---


async def test_a_new_webhook_is_challenged_and_its_secret_is_shown_once(house, receiver: Receiver, trusted):
    status, told = await put(house, "shop", {"url": receiver.url, "types": "token_transfer", "address": [ALICE, BOB]})
    secret = told.pop("secret")
    assert status == 201
    assert told == await about(house, "shop")
    assert (told["state"], told["reason"], told["failing"]) == ("live", None, None)
    assert told["parameters"] == {"types": ["token_transfer"], "address": [ALICE, BOB]}
    assert told["filters"]["address"] == sorted([ALICE, BOB])
    challenge = receiver.came[0]
    assert challenge.verify(secret)["type"] == "verification"
    assert (challenge.path, challenge.id[:17]) == ("/hook?a=b", "msg_verification_")
    await house.tell(block(1), transfer(2))
    (event,) = await receiver.events(1)
    assert receiver.came[1].verify(secret) == event
    assert (event["data"]["number"], receiver.came[1].id) == (2, event["id"])
    listed = await (await house.ask("/webhooks")).json()
    assert [one["webhook"] for one in listed["webhooks"]] == ["shop"]
    assert secret not in str(listed)
    assert (await send(house, "DELETE", "/webhooks/shop")).status == 204
    assert (await house.ask("/webhooks/shop")).status == 404


async def test_a_change_keeps_the_cursor_and_both_secrets_sign_for_a_while(house, receiver: Receiver, trusted):
    first = "whsec_" + "Zmlyc3Q" * 6 + "Zg=="
    assert "secret" not in (await put(house, "shop", {"url": receiver.url, "secret": first}))[1]
    await house.tell(transfer(1))
    await receiver.events(1)
    status, told = await put(house, "shop", {"url": receiver.url, "types": "block", "secret": SECRET})
    assert (status, told["parameters"], "secret" in told) == (200, {"types": ["block"]}, False)
    await house.tell(transfer(2), block(3))
    assert numbers(await receiver.events(2)) == [1, 3]
    for secret in (first, SECRET):
        receiver.came[-1].verify(secret)
    assert len([one for one in receiver.came if one.id.startswith("msg_")]) == 1  # the address was verified already


@pytest.mark.parametrize("answer", [b"", b"no", b'{"challenge": 7}', b'{"challenge": "other"}', b"[" * 5000])
async def test_whoever_does_not_answer_the_challenge_is_sent_nothing_more(house, receiver: Receiver, trusted, answer):
    receiver.behave = says(200, answer)
    status, told = await put(house, "shop", {"url": receiver.url})
    assert (status, told["state"], told["failing"]["fault"]) == (201, "unverified", "challenge_failed")
    await house.tell(transfer(1))
    receiver.behave = well
    tested = await (await post(house, "/webhooks/shop/test")).json()
    assert (tested["accepted"], tested["webhook"]["state"]) == (True, "live")
    assert numbers(await receiver.events(1)) == [1]  # nothing was lost meanwhile
    assert len(receiver.came) == 3


async def test_the_challenge_may_be_answered_as_text_too(house, receiver: Receiver, trusted):
    async def as_text(one, writer):
        writer.write(respond(200, one.json["challenge"].encode() + b"\n"))

    receiver.behave = as_text
    assert (await put(house, "shop", {"url": receiver.url}))[1]["state"] == "live"


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({}, "url"), ({"url": 7}, "url"), ({"url": "http://example.com/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"), ({"url": "https://[::ffff:10.1.1.1]/"}, "url"),
        ({"url": "https://user:pw@example.com/"}, "url"), ({"url": "https://example.com:25/"}, "url"),
        ({"url": "https://example.com/", "secret": "hunter2hunter2"}, "secret"),
        ({"url": "https://example.com/", "tipes": "block"}, "tipes"),
        ({"url": "https://example.com/", "types": "blok"}, "types"),
        ({"url": "https://example.com/", "limit": 7}, "limit"),
    ],
)  # fmt: skip
async def test_what_cannot_be_meant_is_400_and_makes_nothing(house, body, parameter):
    status, told = await put(house, "shop", body)
    assert (status, told["parameter"]) == (400, parameter)
    assert "hunter2" not in str(told)
    assert (await put(house, "-shop", {"url": "https://example.com/"}))[0] == 400
    assert (await (await house.ask("/webhooks")).json())["webhooks"] == []


async def test_a_name_that_comes_to_mean_a_private_address_is_not_called_and_loses_nothing(
    house, receiver: Receiver, trusted, monkeypatch
):
    await put(house, "shop", {"url": receiver.url})
    monkeypatch.setattr(target, "is_public", lambda address: address == "8.8.8.8")
    for addresses in (["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["169.254.169.254"], ["::ffff:127.0.0.1"]):

        async def rebound(_self, _host, _port, found=addresses):
            return found

        monkeypatch.setattr(Resolver, "addresses", rebound)
        await house.tell(transfer(len(addresses)))
        told = await (await post(house, "/webhooks/shop/test")).json()
        assert (told["accepted"], told["fault"]) == (False, "address_refused")
    assert len(receiver.came) == 1
    monkeypatch.setattr(target, "is_public", lambda address: True)
    monkeypatch.setattr(Resolver, "addresses", lambda self, host, port: asyncio.sleep(0, ["127.0.0.1"]))
    assert numbers(await receiver.events(2)) == [1, 2]


async def test_a_certificate_of_another_name_or_of_nobody_is_refused(house, receiver: Receiver, trusted, monkeypatch):
    status, told = await put(house, "shop", {"url": receiver.url.replace("hooks.example.com", "other.example.com")})
    assert (status, told["failing"]["fault"]) == (201, "tls_error")
    from chainwatch.webhooks import caller

    monkeypatch.setattr(caller, "_trusting", lambda ca_file: caller._context(None, 0))
    assert (await put(house, "own", {"url": receiver.url}))[1]["failing"]["fault"] == "tls_error"
    assert receiver.came == []


async def test_the_same_again_breaks_nothing_off_that_is_under_way(house, receiver: Receiver, trusted):
    await put(house, "shop", {"url": receiver.url, "types": "token_transfer"})
    answered = asyncio.Event()

    async def slowly(one, writer):
        await answered.wait()
        await well(one, writer)

    receiver.behave = slowly
    await house.tell(transfer(1))
    await receiver.until(lambda: receiver.under_way == 1)
    status, told = await put(house, "shop", {"url": receiver.url, "types": "token_transfer", "secret": SECRET})
    assert (status, told["state"]) == (200, "live")
    answered.set()
    await house.tell(transfer(2))
    assert numbers(await receiver.events(2)) == [1, 2]
    assert len(receiver.came) == 3
    receiver.came[2].verify(SECRET)
    await put(house, "shop", {"url": receiver.url, "types": "block"})
    await house.tell(transfer(3), block(4))
    assert numbers(await receiver.events(3)) == [1, 2, 4]


async def test_one_that_expires_is_removed_unless_it_is_renewed(house, receiver: Receiver, trusted):
    hooks = house.context.webhooks
    for name, seconds in (("short", 0.2), ("renewed", 0.2), ("renewed", 3600)):
        soon = hooks.now() + int(seconds * 1000)
        await hooks.add("", name, receiver.url, {}, start=lambda: asyncio.sleep(0, 0), expires=soon)
    await house.until(lambda: hooks.get("", "short") is None)
    assert (await about(house, "renewed"))["expires"] > "2026"
    await asyncio.sleep(0.2)
    assert hooks.get("", "renewed") is not None


# --- whose they are ---


async def test_another_keys_webhook_is_not_there(serve, receiver: Receiver, trusted):
    house = await serve(ring=Keyring([READER, OTHER]))
    assert (await put(house, "shop", {"url": receiver.url}, READER))[0] == 201
    unknown = await about(house, "nothing", OTHER)
    for method, path in [
        ("GET", ""), ("DELETE", ""), ("POST", "/test"), ("POST", "/resume"), ("GET", "/dead-letters"),
        ("POST", "/dead-letters"), ("DELETE", "/dead-letters"),
    ]:  # fmt: skip
        answer = await send(house, method, f"/webhooks/shop{path}", None, holding(OTHER))
        told = await answer.json()
        assert (answer.status, told["detail"]) == (404, unknown["detail"].replace("nothing", "shop"))
        assert "did you mean" not in told["hint"]
    assert (await (await house.ask("/webhooks", holding(OTHER))).json())["webhooks"] == []
    assert (await put(house, "shop", {"url": receiver.url, "types": "block"}, OTHER))[0] == 201  # one of their own
    assert (await about(house, "shop", READER))["parameters"] == {}


async def test_a_key_sees_by_a_webhook_what_it_sees(serve, receiver: Receiver, trusted):
    narrow = key("narrow", types=("block",))
    house = await serve(ring=Keyring([narrow, key("sender", can="send")]))
    assert (await put(house, "shop", {"url": receiver.url, "types": "token_transfer"}, narrow))[0] == 403
    assert (await put(house, "shop", {"url": receiver.url}, key("sender", can="send")))[0] == 403
    await put(house, "shop", {"url": receiver.url}, narrow)
    await house.tell(transfer(1), block(2), transfer(3), block(4))
    assert numbers(await receiver.events(2)) == [2, 4]


async def test_a_revoked_key_is_the_end_of_its_webhooks_even_in_the_middle_of_a_request(
    serve, receiver: Receiver, trusted
):
    house = await serve(ring=Keyring([READER, ADMIN]))
    await put(house, "shop", {"url": receiver.url}, READER)
    receiver.behave = stalls
    await house.tell(transfer(1))
    await receiver.until(lambda: len(receiver.came) == 2)
    house.context.sessions.change(Keyring([ADMIN]))
    await receiver.until(lambda: len(receiver.came) == 2)
    await house.until(lambda: not receiver.under_way)
    hook = house.context.webhooks.get(READER.id, "shop")
    await house.until(lambda: hook.status == "halted" and hook.courier is None)
    receiver.behave = well
    await house.tell(transfer(2))
    house.context.sessions.change(Keyring([READER, ADMIN]))  # it was a mistake
    assert numbers(await receiver.events(2)) == [1, 2]


async def test_a_key_that_is_narrowed_narrows_its_webhooks(serve, receiver: Receiver, trusted):
    house = await serve(ring=Keyring([READER]))
    await put(house, "shop", {"url": receiver.url}, READER)
    await put(house, "transfers", {"url": receiver.url, "types": "token_transfer"}, READER)
    await house.tell(transfer(1))
    await receiver.events(1)
    house.context.sessions.change(Keyring([key("reader", types=("block",))]))
    await house.tell(transfer(2), block(3))
    assert numbers(await receiver.events(2)) == [1, 3]
    assert {one.json["data"]["number"] for one in receiver.came if one.id.startswith("evt_")} == {1, 3}
    told = await about(house, "transfers", READER)
    assert (told["state"], "may not see" in told["reason"]) == ("halted", True)


async def test_a_key_that_expires_ends_its_webhooks(serve, receiver: Receiver, trusted):
    import time

    short = key("short", expires=int(time.time() * 1000) + 700)
    house = await serve(ring=Keyring([short, ADMIN]))
    await put(house, "shop", {"url": receiver.url}, short)
    hook = house.context.webhooks.get(short.id, "shop")
    await house.until(lambda: hook.status == "halted")
    assert hook.courier is None


async def test_what_the_configuration_names_is_the_operators(serve, receiver: Receiver, trusted):
    house = await serve(ring=Keyring([READER, ADMIN]))
    purpose = Purpose(
        url=receiver.url, words={}, secret=SECRET, created=1, changed=1, trust=Trust(private=True, ca_file=None)
    )
    await house.context.webhooks.configure({"shop": (purpose, lambda: asyncio.sleep(0, 0))})
    assert (await house.ask("/webhooks/shop", holding(READER))).status == 404
    told = await about(house, "shop", ADMIN)
    assert (told["configured"], told["url"]) == (True, receiver.url.replace("/hook?a=b", "/…"))
    assert (await put(house, "shop", {"url": receiver.url}, ADMIN))[0] == 409
    assert (await send(house, "DELETE", "/webhooks/shop", None, holding(ADMIN))).status == 409
    tested = await (await post(house, "/webhooks/shop/test", None, holding(ADMIN))).json()
    assert (tested["accepted"], receiver.came[0].json["type"]) == (True, "test")
    await house.context.webhooks.configure({})
    assert (await house.ask("/webhooks/shop", holding(ADMIN))).status == 404


# --- limits, and what is given up ---


async def test_there_are_only_so_many_webhooks_and_tests(house, receiver: Receiver, trusted, monkeypatch):
    monkeypatch.setattr(kept, "MOST", 2)
    for name in ("a", "b"):
        await put(house, name, {"url": receiver.url})
    status, told = await put(house, "c", {"url": receiver.url})
    assert (status, "as many as one may have" in told["detail"]) == (409, True)
    answers = await asyncio.gather(*(post(house, "/webhooks/a/test") for _ in range(40)))
    assert {answer.status for answer in answers} == {200, 429}
    assert all("retry-after" in answer.headers for answer in answers if answer.status == 429)


async def test_dead_letters_are_there_to_be_read_and_to_be_thrown_away(house, receiver: Receiver, trusted, monkeypatch):
    for name, value in {"GIVE_UP": 0, "TRIES": 1}.items():
        monkeypatch.setattr(delivery, name, value)
    await put(house, "shop", {"url": receiver.url})
    receiver.behave = says(400)
    await house.tell(transfer(1))
    await house.until(lambda: house.context.webhooks.stats()["dead_letters"] == 1)
    (letter,) = (await (await house.ask("/webhooks/shop/dead-letters")).json())["dead_letters"]
    assert (letter["event"]["id"], letter["fault"], letter["status"]) == (transfer(1).id, "http_4xx", 400)
    assert (await about(house, "shop"))["dead_letters"] == 1
    metrics = (await (await house.ask("/metrics")).body()).decode()
    assert "chainwatch_webhook_dead_letters_total 1.0" in metrics
    assert 'chainwatch_webhooks{state="live"} 1.0' in metrics
    assert 'chainwatch_webhook_faults_total{reason="http_4xx"} 1.0' in metrics
    assert (await send(house, "DELETE", "/webhooks/shop/dead-letters")).status == 204
    assert (await about(house, "shop"))["dead_letters"] == 0


async def given_up(house: House, receiver: Receiver, monkeypatch, who: Any = None) -> Any:
    """A webhook with the dead letters of transfer 1, block 2, transfer 3, that goes on."""
    for name, value in {"GIVE_UP": 0, "TRIES": 1, "PROBATION": 60_000, "PROBES": 5}.items():
        monkeypatch.setattr(delivery, name, value)
    await put(house, "shop", {"url": receiver.url}, who)

    async def refuses(one, writer):
        writer.write(respond(400 if one.json["data"]["number"] in (1, 2, 3) else 200))

    receiver.behave = refuses
    hook = house.context.webhooks.get(who.id if who else "", "shop")
    for place, events in enumerate([(transfer(1), block(11)), (block(2), block(12)), (transfer(3), block(13))], 1):
        await house.tell(*events)
        await house.until(lambda place=place: (hook.letters, hook.standing.accepted) == (place, place))
    receiver.came.clear()
    return hook


async def test_dead_letters_are_sent_again_oldest_first_until_one_is_not_accepted(
    house, receiver: Receiver, trusted, monkeypatch
):
    hook = await given_up(house, receiver, monkeypatch)

    async def refuses_one(one, writer):
        writer.write(respond(500 if one.json["data"]["number"] == 2 else 200))

    receiver.behave = refuses_one
    told = await (await post(house, "/webhooks/shop/dead-letters")).json()
    assert (told["accepted"], told["left"], told["fault"], told["status"]) == (1, 2, "http_5xx", 500)
    assert [one.id for one in receiver.came] == [transfer(1).id, block(2).id]
    receiver.behave = well
    told = await (await post(house, "/webhooks/shop/dead-letters")).json()
    assert (told["accepted"], told["left"], told["fault"], told["webhook"]["dead_letters"]) == (2, 0, None, 0)
    assert [one.id for one in receiver.came[2:]] == [block(2).id, transfer(3).id]
    assert (await (await house.ask("/webhooks/shop/dead-letters")).json())["dead_letters"] == []
    assert (hook.letter_bytes, hook.standing.accepted) == (0, 3)


async def test_dead_letters_are_sent_again_once_by_however_many_ask_at_a_time(
    house, receiver: Receiver, trusted, monkeypatch
):
    await given_up(house, receiver, monkeypatch)
    answered = asyncio.Event()

    async def slowly(one, writer):
        await answered.wait()
        await well(one, writer)

    receiver.behave = slowly
    first = asyncio.create_task(post(house, "/webhooks/shop/dead-letters"))
    await receiver.until(lambda: receiver.under_way == 1)
    assert (await post(house, "/webhooks/shop/dead-letters")).status == 429
    answered.set()
    assert (await (await first).json())["accepted"] == 3
    assert len(receiver.came) == 3


async def test_dead_letters_are_not_sent_to_another_address_that_has_not_agreed(
    house, receiver: Receiver, trusted, monkeypatch
):
    hook = await given_up(house, receiver, monkeypatch)
    receiver.behave = says(200)
    assert (await put(house, "shop", {"url": receiver.url + "2"}))[1]["state"] == "unverified"
    receiver.came.clear()
    told = await (await post(house, "/webhooks/shop/dead-letters")).json()
    assert (told["accepted"], told["left"], told["fault"]) == (0, 3, "challenge_failed")
    assert receiver.came == []
    assert hook.letters == 3


async def test_what_a_key_may_not_see_any_more_is_neither_shown_nor_sent_again(
    serve, receiver: Receiver, trusted, monkeypatch
):
    house = await serve(ring=Keyring([READER]))
    hook = await given_up(house, receiver, monkeypatch, READER)
    narrowed = key("reader", types=("block",))
    house.context.sessions.change(Keyring([narrowed]))
    letters = (await (await house.ask("/webhooks/shop/dead-letters", holding(narrowed))).json())["dead_letters"]
    assert [letter["event"]["id"] for letter in letters] == [block(2).id]
    receiver.behave = well
    told = await (await post(house, "/webhooks/shop/dead-letters", None, holding(narrowed))).json()
    assert (told["accepted"], told["left"], told["fault"]) == (1, 2, None)
    assert [one.id for one in receiver.came] == [block(2).id]
    house.context.sessions.change(Keyring([ADMIN]))
    await house.until(lambda: hook.status == "halted")
    assert (await post(house, "/webhooks/shop/dead-letters", None, holding(ADMIN))).status == 404


async def test_a_pause_ends_without_a_test_where_its_owner_says_so(house, receiver: Receiver, trusted):
    await put(house, "shop", {"url": receiver.url})
    receiver.behave = says(410)
    await house.tell(transfer(1))
    hook = house.context.webhooks.get("", "shop")
    await house.until(lambda: hook.status == "paused")
    receiver.behave = well
    answer = await post(house, "/webhooks/shop/resume")
    assert (answer.status, (await answer.json())["state"]) == (200, "live")
    await house.until(lambda: hook.standing.accepted == 1)
    assert [one.json.get("type") for one in receiver.came] == ["verification", "token_transfer", "token_transfer"]
    answers = await asyncio.gather(*(post(house, "/webhooks/shop/resume") for _ in range(40)))
    assert {answer.status for answer in answers} == {200, 429}  # each may call the receiver


async def test_what_is_sent_is_what_the_documents_say(house, receiver: Receiver, trusted):
    schemas = asyncapi.document()["components"]

    def check(name: str, said: Any) -> None:
        Draft202012Validator(schemas["schemas"][name] | {"components": schemas}).validate(said)

    await put(house, "shop", {"url": receiver.url})
    await post(house, "/webhooks/shop/test")
    await house.tell(EXAMPLES["token_transfer"], CUSTOM)
    await receiver.events(2)
    names = ["webhook_verification", "webhook_test", "webhook_event", "webhook_event"]
    for name, came in zip(names, receiver.came, strict=True):
        check(name, came.json)
        check("webhook_headers", came.headers)
    check("webhook_challenge", {"challenge": receiver.came[0].json["challenge"]})
    check("webhook_gap", json.loads(gap_body(Gap("log-0", "log-7", "log-6", "expired"))))


async def test_statistics_show_it_as_a_reader_of_the_log(house, receiver: Receiver, trusted):
    await put(house, "shop", {"url": receiver.url, "types": "block"})
    await house.tell(block(1))
    await receiver.events(1)
    told = await (await house.ask("/v1/stats")).json()
    (stream,) = told["streams"]["list"]
    assert (stream["kind"], stream["peer"], stream["sent"]) == ("webhook", "shop", 1)
    assert told["webhooks"]["states"] == {"live": 1}


async def test_what_happens_to_other_keys_breaks_nothing_off(serve, receiver: Receiver, trusted):
    house = await serve(ring=Keyring([READER, OTHER]))
    await put(house, "shop", {"url": receiver.url}, READER)
    await put(house, "shop", {"url": receiver.url}, OTHER)
    answered = asyncio.Event()

    async def slowly(one, writer):
        await asyncio.wait(
            [asyncio.ensure_future(answered.wait()), asyncio.ensure_future(writer.wait_closed())],
            return_when=asyncio.FIRST_COMPLETED,
        )
        await well(one, writer)

    receiver.behave = slowly
    await house.tell(transfer(1))
    await receiver.until(lambda: receiver.under_way == 2)
    house.context.sessions.change(Keyring([READER]))
    await house.until(lambda: receiver.under_way == 1)
    answered.set()
    hook = house.context.webhooks.get(READER.id, "shop")
    await house.until(lambda: hook.standing.accepted == 1)
    assert len(receiver.came) == 4
