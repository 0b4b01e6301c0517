"""`chainwatch webhooks` as people use it, and `[[webhooks]]` of a daemon as operators do."""

from __future__ import annotations

import asyncio
import io
import json
import resource
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from daemon import Daemon
from fold import Fold
from scene import follows, played
from server import house as houses
from webhooks.fixtures import authority, receiving, trusting  # noqa: F401 - fixtures
from webhooks.receiver import SECRET, Delivery, Receiver, says, well

from chainwatch.cli import run
from chainwatch.cli.deliveries import FAULTS, PAUSES, standing, table
from chainwatch.config import load
from chainwatch.errors import ConfigError
from chainwatch.webhooks import delivery
from chainwatch.webhooks.delivery import Fault, Pause

pytestmark = pytest.mark.long

Command = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def command(house: houses.House, capfd, monkeypatch) -> Command:
    """Runs `chainwatch webhooks`: exit code, stdout and stderr."""
    monkeypatch.setenv("CHAINWATCH_URL", f"http://127.0.0.1:{house.port}")

    async def started(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = await asyncio.to_thread(run, ["webhooks", *arguments])
        told = capfd.readouterr()
        return code, told.out, told.err

    return started


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[houses.House]:
    found = await houses.serve(tmp_path / "events.db")
    yield found
    await found.close()


# --- the commands ---


async def test_a_webhook_is_added_listed_tested_and_removed(command, house, receiver: Receiver, trusted):
    code, secret, err = await command("add", "shop", receiver.url, "--type", "token_transfer")
    assert (code, secret[:6], secret[-1]) == (0, "whsec_", "\n")
    assert "shop is live" in err
    await house.tell(houses.transfer(1), houses.block(2), houses.transfer(3))
    assert [event["data"]["number"] for event in await receiver.events(2)] == [1, 3]
    receiver.came[1].verify(secret.strip())
    code, out, err = await command("list")
    assert (code, err) == (0, "")
    assert out.splitlines()[1].split()[:2] == ["shop", "live"]
    assert "/hook?" not in out  # its path may be a secret
    assert json.loads((await command("list", "--json"))[1])[0]["webhook"] == "shop"
    code, out, _ = await command("test", "shop")
    assert (code, out.split()[:2]) == (0, ["accepted:", "200"])
    receiver.behave = says(503)
    code, out, err = await command("test", "shop")
    assert (code, out) == (1, "")
    assert "it fails (503)" in err
    assert (await command("remove", "shop"))[0] == 0
    code, _, err = await command("remove", "shop")
    assert (code, "there is no webhook 'shop'" in err) == (1, True)
    assert "there are no webhooks" in (await command("list"))[2]


async def test_a_secret_of_ones_own_is_not_repeated(command, receiver: Receiver, trusted, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(SECRET.encode() + b"\n")))
    receiver.behave = says(500)
    code, out, err = await command("add", "shop", receiver.url, "--secret-file", "-")
    assert (code, out) == (0, "")
    assert "gets nothing yet: it fails (500)" in err
    assert SECRET not in err
    receiver.came[0].verify(SECRET)


async def test_dead_letters_are_shown_sent_again_and_discarded(
    command, house, receiver: Receiver, trusted, monkeypatch
):
    for name, value in {"GIVE_UP": 0, "TRIES": 1, "PROBATION": 0, "PROBES": 1}.items():
        monkeypatch.setattr(delivery, name, value)
    assert (await command("add", "shop", receiver.url, "--type", "token_transfer"))[0] == 0
    code, out, err = await command("show", "shop")
    assert (code, out.splitlines()[0], err) == (0, "shop: live", "")
    receiver.behave = says(422)
    first, second = houses.transfer(1), houses.transfer(2)
    await house.tell(first, second)
    hook = house.context.webhooks.get("", "shop")
    await house.until(lambda: hook.status == "paused")
    code, out, err = await command("show", "shop")
    lines = out.splitlines()
    assert (code, lines[0]) == (0, "shop: paused")
    assert "it took nothing for days" in lines[1]
    assert "it refuses (422); 1 attempt since" in lines[2]
    assert lines[-1].split()[1:] == ["token_transfer", first.id, "it", "refuses", "(422)", *lines[-1].split()[6:]]
    assert "/hook?" not in out
    assert "chainwatch webhooks redeliver shop" in err
    assert "chainwatch webhooks test shop" in err
    told = json.loads((await command("show", "shop", "--json"))[1])
    assert told["webhook"]["state"] == "paused"
    assert [letter["event"]["id"] for letter in told["dead_letters"]] == [first.id]
    code, out, err = await command("redeliver", "shop")
    assert (code, out, "it refuses (422)" in err) == (1, "0 accepted, 1 left\n", True)
    receiver.behave = well
    receiver.came.clear()
    assert (await command("redeliver", "shop"))[:2] == (0, "1 accepted, 0 left\n")
    assert [event["data"]["number"] for event in await receiver.events(2)] == [1, 2]  # the pause is over, too
    assert (await command("redeliver", "shop"))[:2] == (0, "0 accepted, 0 left\n")
    receiver.behave = says(422)
    await house.tell(houses.transfer(3), houses.transfer(4))
    await house.until(lambda: hook.status == "paused" and hook.letters == 1)
    assert (await command("discard", "shop"))[0] == 0
    assert "dead letters  0" in (await command("show", "shop"))[1]
    receiver.behave = well
    code, out, err = await command("resume", "shop")
    assert (code, out) == (0, "")
    assert "shop is live" in err
    await receiver.until(lambda: any(one.id == houses.transfer(4).id for one in receiver.came))
    for name in ("show", "resume", "redeliver", "discard"):
        code, _, err = await command(name, "shob")
        assert (code, "did you mean 'shop'?" in err) == (1, True), name


async def test_what_a_daemon_refuses_is_said_in_its_words(command):
    code, out, err = await command("add", "shop", "https://127.0.0.1/")
    assert (code, out) == (2, "")
    assert "the address is not public" in err
    assert (await command("add", "shop", "https://example.com/", "--type", "blok"))[0] == 2
    assert (await command("list", "--url", "http://127.0.0.1:1"))[0] == 4


def test_every_word_of_a_fault_has_words_for_people():
    from typing import get_args

    assert set(FAULTS) == set(get_args(Fault))
    assert set(PAUSES) == set(get_args(Pause))


def test_no_text_of_a_daemon_moves_the_cursor_of_a_terminal():
    hostile = "\x1b[2J\u202e"
    told = dict.fromkeys(("webhook", "state", "lag", "accepted", "dead_letters", "reason", "url"), hostile)
    told["failing"] = {"fault": hostile, "since": hostile, "next": hostile, "attempts": hostile}
    assert all(line.isprintable() for line in table([told]).splitlines())
    letter = told["failing"] | {"given_up": hostile, "event": {"type": hostile, "id": hostile}}
    told |= {"webhook": hostile, "parameters": {hostile: [hostile]}, "cursor": hostile, "accepted_at": hostile}
    assert all(line.isprintable() for line in standing(told, [letter, {}]).splitlines())


# --- the daemon ---


def of_config(folder: Path, receiver: Receiver, **more: Any) -> dict[str, Any]:
    (folder / "shop.secret").write_text(SECRET)
    return {
        "name": "shop", "url": receiver.local, "secret_file": "shop.secret", "allow_private": True,
        "ca_file": receiver.ca_file, **more,
    }  # fmt: skip


async def publish(daemon: Daemon, numbers: range) -> None:
    async with aiohttp.ClientSession() as session:
        for number in numbers:
            async with session.post(f"{daemon.url}/events/tick", json={"number": number}) as answer:
                assert answer.status == 201, await answer.text()


async def test_kill_9_in_the_middle_loses_nothing_and_keeps_the_order(tmp_path: Path, receiver: Receiver):
    slow = asyncio.Event()

    async def at_its_pace(one: Delivery, writer: asyncio.StreamWriter) -> None:
        if len(receiver.came) % 20 == 0:
            slow.set()
            await asyncio.wait([asyncio.ensure_future(writer.wait_closed())], timeout=0.2)
        await well(one, writer)

    receiver.behave = at_its_pace
    async with Daemon(tmp_path, webhooks=[of_config(tmp_path, receiver, types=["custom:tick"])]) as daemon:
        await publish(daemon, range(60))
        for _ in range(2):
            slow.clear()
            await slow.wait()
            await daemon.kill()
            await daemon.start()
        events = await receiver.events(60)
    assert [event["data"]["number"] for event in events] == list(range(60))
    ids = [one.id for one in receiver.came]
    assert len(ids) <= 60 + 2 * 2  # what was under way, and what was answered and not yet kept
    assert all(one.verify() for one in receiver.came)
    firsts = [ids.index(one) for one in dict.fromkeys(ids)]
    assert firsts == sorted(firsts)


async def test_a_reorganisation_reaches_the_receiver_in_order(anvil, tmp_path: Path, receiver: Receiver):
    async with played(
        anvil, tmp_path, chains=[follows("anvil", anvil)], webhooks=[of_config(tmp_path, receiver, since="earliest")]
    ) as scene:
        await scene.mine(2)
        await scene.reorganise(depth=2)
        await scene.mine(1)
        events = await receiver.events(len(scene.client.events))
    fold = Fold()
    for event in events:
        fold.apply(event)
    assert fold.blocks == {
        height: block for height, block in (await anvil.canonical()).items() if height in fold.blocks
    }
    assert any(event.get("removed") for event in events)


async def test_sighup_adds_changes_and_removes(tmp_path: Path, receiver: Receiver):
    async with Daemon(tmp_path) as daemon:

        async def reload(**tables: Any) -> None:
            before = daemon.stderr.read_text().count("configuration reloaded")
            daemon.configure(server={}, **tables)
            assert daemon.process is not None
            daemon.process.send_signal(signal.SIGHUP)
            async with asyncio.timeout(10):
                while daemon.stderr.read_text().count("configuration reloaded") == before:
                    await asyncio.sleep(0.02)

        async def names() -> list[str]:
            return [one["webhook"] for one in (await daemon.get("/webhooks"))["webhooks"]]

        await reload(webhooks=[of_config(tmp_path, receiver)])
        while await names() != ["shop"]:
            await asyncio.sleep(0.02)
        await publish(daemon, range(1))
        await receiver.events(1)
        receiver.came[0].verify()
        fresh = "whsec_" + "ZnJlc2g" * 8 + "eA=="
        before = of_config(tmp_path, receiver)
        (tmp_path / "shop.secret").write_text(fresh)
        await reload(webhooks=[before])
        while True:  # it is taken up beside everything else
            count = len(receiver.came)
            await publish(daemon, range(1, 2))
            await receiver.until(lambda count=count: len(receiver.came) > count)
            if " " in receiver.came[-1].headers["webhook-signature"]:
                break
        receiver.came[-1].verify(fresh)
        receiver.came[-1].verify(SECRET)
        await reload(webhooks=[])
        while await names():
            await asyncio.sleep(0.02)
        assert SECRET not in daemon.stderr.read_text()
        assert "/hook" not in daemon.stderr.read_text()


async def test_a_daemon_that_starts_on_a_full_disk_takes_new_webhooks_up_when_there_is_room(tmp_path: Path, receiver):
    async with Daemon(tmp_path) as daemon:
        await publish(daemon, range(1))
        assert await daemon.stop() == 0
        shops = [of_config(tmp_path, receiver, since="earliest") | {"name": f"shop{number}"} for number in range(60)]
        daemon.configure(server={}, webhooks=shops)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # no file grows beyond that
        try:
            await daemon.start()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        there = (await daemon.get("/webhooks"))["webhooks"]
        assert 0 < len(there) < 60
        assert (await daemon.history())[0]["data"] == {"number": 0}
        assert daemon.process is not None
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, before)
        await receiver.until(lambda: len(receiver.came) == 60, seconds=60)


async def test_the_configuration_is_checked_before_anything_starts(tmp_path: Path, receiver: Receiver):
    (tmp_path / "bad.secret").write_text("hunter2-hunter2")
    (tmp_path / "no.pem").write_text("nothing")
    wrong = [
        {"name": "a b", "url": "http://example.com/", "secret_file": "bad.secret"},
        {
            "name": "c",
            "url": "https://u:p@example.com/",
            "secret_file": "missing",
            "since": "soon",
            "ca_file": "no.pem",
        },
    ]
    daemon = Daemon(tmp_path, webhooks=wrong)

    def check() -> str:
        with pytest.raises(ConfigError) as wrong:
            load(daemon.config, {"HOME": str(tmp_path)}, {})
        return str(wrong.value)

    told = check()
    for place in ("[0].name", "[0].url", "[0].secret_file", "[1].url", "[1].secret_file", "[1].since", "[1].ca_file"):
        assert f"webhooks{place}" in told, place
    assert "hunter2" not in told
    good = of_config(tmp_path, receiver)
    daemon.configure(server={}, webhooks=[good | {"types": "blok"}, good])
    assert "webhooks[1].name" in check()
    daemon.configure(server={}, webhooks=[good | {"types": "blok"}])
    assert "webhooks[0].types" in check()
