"""`chainwatch send` and `chainwatch wait`, for scripts and agents that live in a shell: once, and without a hole."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import sys
from contextlib import asynccontextmanager

import pytest
from anvil import free_port
from daemon import Daemon
from proxy import Proxy
from served import serving, tell

from chainwatch.cli import run
from chainwatch.cli.send import read
from chainwatch.errors import UsageError


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("daemon")) as url:
        yield url


@pytest.fixture(autouse=True)
def there(monkeypatch, url):
    for name in list(os.environ):
        if name.startswith(("CHAINWATCH_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CHAINWATCH_URL", url)


def kept(capfd, kind: str) -> list[dict]:
    """The data of all events of that type."""
    assert run(["history", "-q", "-t", f"custom:{kind}"]) == 0
    return [json.loads(line)["data"] for line in capfd.readouterr().out.splitlines()]


@asynccontextmanager
async def program(*arguments: str):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chainwatch", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


# --- send -----------------------------------------------------------------------------------------------------------


def test_what_is_sent_is_told_with_its_id_and_its_cursor(capfd):
    assert run(["send", "told_one", "app=web", "ok:=true", "n:=5"]) == 0
    sent, cursor = capfd.readouterr().out.split()
    assert re.fullmatch(r"evt_[0-9a-z]{26}", sent)
    assert run(["history", "-t", "custom:told_one"]) == 0
    event = json.loads(capfd.readouterr().out)
    assert (event["id"], event["data"]) == (sent, {"app": "web", "ok": True, "n": 5})
    assert run(["history", "--last-event-id", cursor, "-t", "custom:told_one", "-q"]) == 0
    assert capfd.readouterr().out == ""


def test_json_gives_id_and_cursor_as_an_object(capfd):
    assert run(["send", "--json", "told_json"]) == 0
    assert {*json.loads(capfd.readouterr().out)} == {"id", "cursor"}


def test_the_object_may_come_from_stdin(capfd, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"from": "stdin"}\n')))
    assert run(["send", "told_stdin", "-"]) == 0
    capfd.readouterr()
    assert kept(capfd, "told_stdin") == [{"from": "stdin"}]


def test_the_same_idempotency_key_makes_one_event(capfd):
    for _ in range(2):
        assert run(["send", "told_once", "a=b", "--idempotency-key", "job-7"]) == 0
    told = capfd.readouterr()
    assert len({*told.out.splitlines()}) == 1
    assert told.err == "chainwatch: job-7 was sent before: it is that event, and no second one\n"
    assert kept(capfd, "told_once") == [{"a": "b"}]


@pytest.mark.long
async def test_an_answer_that_is_lost_makes_no_second_event(url):
    async with Proxy(int(url.rpartition(":")[2])) as proxy:
        proxy.cut_after(20)  # bytes of the answer, so the event is in the log
        async with program("send", "told_cut", "a=b", "--url", f"http://127.0.0.1:{proxy.port}") as sending:
            out, err = await sending.communicate()
    assert (sending.returncode, len(out.split())) == (0, 2)
    assert b"trying again in" in err
    async with program("history", "-t", "custom:told_cut") as reading:
        out, _ = await reading.communicate()
    assert len(out.splitlines()) == 1


async def test_a_daemon_that_stays_away_is_4_and_the_key_to_go_on_with(url):
    async with Proxy(int(url.rpartition(":")[2])) as proxy:
        proxy.cut_after(20)
        arguments = ("--timeout", "0.1", "--url", f"http://127.0.0.1:{proxy.port}", "--idempotency-key", "job-8")
        async with program("send", "told_lost", *arguments) as sending:
            out, err = await sending.communicate()
    assert (sending.returncode, out) == (4, b"")
    told = err.decode().splitlines()
    assert told[0].endswith("within 0.1s: told_lost may have been told, or not")
    assert told[2] == "send it again with the idempotency key job-8: that never makes two of it"


@pytest.mark.parametrize(
    ("words", "data"),
    [
        ([], {}),
        (["{}"], {}),
        ([' {"a": 1}'], {"a": 1}),
        (
            ["a=b", "c=", "d=e=f", "g:=[1]", "h:=null", "i j=k"],
            {"a": "b", "c": "", "d": "e=f", "g": [1], "h": None, "i j": "k"},
        ),
        (["url=http://x/?a=b"], {"url": "http://x/?a=b"}),
        (["n=5"], {"n": "5"}),
    ],
)
def test_data_are_an_object_or_pairs(words, data):
    assert read(words) == data


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["[1]"], "the data are no JSON object"),
        (["7"], "the data are no JSON object"),
        (['{"a":'], "'{\"a\":' is no JSON\nit ends too early"),
        (["web"], "'web' is no JSON\nsuch as name=text"),
        (["{}", "a=b"], "'a=b' is more than one JSON object"),
        (["a=b", "c"], "'c' is no pair"),
        (["a=b", "=c"], "'=c' is no pair"),
        (["a=b", "a=c"], "a is given twice"),
        (["a:=yes"], "'a:=yes' is no JSON"),
        (['{"a": "\udcff"}'], "is no JSON\n'utf-8' codec can't decode"),
        (["\x1b[2J"], "\\u001b[2J"),
    ],
)
def test_what_is_no_data_is_named(words, said):
    with pytest.raises(UsageError) as caught:
        read(words)
    assert said in str(caught.value)


# --- wait -----------------------------------------------------------------------------------------------------------


async def test_wait_prints_the_next_event_as_a_line_of_json_and_is_done(url):
    async with program("wait", "-v", "-t", "custom:waited") as waiting:
        assert b"connected" in await waiting.stderr.readline()
        await asyncio.to_thread(tell, url, "other", a=1)
        sent = await asyncio.to_thread(tell, url, "waited", a=2)
        await asyncio.to_thread(tell, url, "waited", a=3)
        out, err = await waiting.communicate()
    assert waiting.returncode == 0
    (line,) = out.splitlines()
    assert (json.loads(line)["id"], json.loads(line)["data"]) == (sent["id"], {"a": 2})
    assert err.decode() == f"chainwatch: cursor {sent['cursor']}\n"


def test_a_loop_of_waits_misses_nothing_that_happens_between_them(url, capfd):
    start = tell(url, "between", n=0)["cursor"]
    found = []
    for number in (1, 3):
        tell(url, "between", n=number)
        tell(url, "between", n=number + 1)
    for _ in range(4):
        assert run(["wait", "-t", "custom:between", "--last-event-id", start]) == 0
        told = capfd.readouterr()
        found.append(json.loads(told.out)["data"]["n"])
        start = told.err.split()[-1]
    assert found == [1, 2, 3, 4]


def test_a_time_out_is_5_and_says_where_to_go_on(url, capfd):
    assert run(["wait", "-t", "custom:late", "--timeout", "0.3s"]) == 5
    told = capfd.readouterr()
    assert told.out == ""
    assert re.fullmatch(r"chainwatch: no such event within 0\.3s\ncursor \w+-\d+\n", told.err)
    tell(url, "late", n=1)
    assert run(["wait", "-t", "custom:late", "--last-event-id", told.err.split()[-1], "--timeout", "10s"]) == 0
    assert json.loads(capfd.readouterr().out)["data"] == {"n": 1}


def test_a_cursor_file_does_the_same_without_a_word(url, capfd, tmp_path):
    waiting = ["wait", "-t", "custom:filed", "--cursor-file", str(tmp_path / "cursor"), "--timeout"]
    assert run([*waiting, "0.3"]) == 5
    assert capfd.readouterr().err == "chainwatch: no such event within 0.3s\n"
    for number in range(2):
        tell(url, "filed", n=number)
    for number in range(2):
        assert run([*waiting, "10"]) == 0
        told = capfd.readouterr()
        assert (json.loads(told.out)["data"], told.err) == ({"n": number}, "")


def test_since_finds_what_happened_already(url, capfd):
    tell(url, "before", n=1)
    assert run(["wait", "-q", "-t", "custom:before", "--since", "1m", "--timeout", "10s"]) == 0
    told = capfd.readouterr()
    assert (json.loads(told.out)["data"], told.err) == ({"n": 1}, "")


@pytest.mark.long
async def test_wait_goes_on_through_a_kill_of_the_daemon(tmp_path):
    daemon = Daemon(tmp_path, server={"port": free_port()})
    async with daemon, program("wait", "-v", "-t", "custom:after", "--url", daemon.url, "--timeout", "25s") as waiting:
        assert b"connected" in await waiting.stderr.readline()
        await daemon.kill()
        assert b"trying again" in await waiting.stderr.readline()
        await daemon.start()
        await asyncio.to_thread(tell, daemon.url, "after", n=1)
        out, _ = await waiting.communicate()
        assert (waiting.returncode, json.loads(out)["data"]) == (0, {"n": 1})
