"""
The README as a newcomer follows it: its commands and programs are taken out of its text and run, in a home that is
new, against `chainwatch serve --demo`. A command that nobody said how to run, here in `HOW`, fails.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import csv
import json
import re
import shlex
import sqlite3
import sys
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
import typer
from debian import program
from newcomer import Newcomer
from server.test_page import opened
from terminal import Terminal

from chainwatch import cli
from chainwatch.lines import LINES

pytestmark = pytest.mark.long

beside_the_daemon = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
LINE = re.compile(r"\d\d-\d\d \d\d:\d\d:\d\d  demo      (\w+) ")
"""An event for people."""
SENT = re.compile(r"data: (\{\"id\":\"evt_.*)\n")
"""An event in a stream of Server-Sent Events, whole."""
KEY = re.compile(r"cw_[\w-]+")


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCKS if found == language]


def commands(block: str) -> Iterator[str]:
    """What is entered at once, without the comment: a line, one that goes on behind a backslash, or a loop."""
    entered = ""
    for line in block.splitlines():
        entered += re.sub(r"\s+# .*", "", line) + "\n"
        if line.endswith("\\") or (entered.startswith("while ") and line != "done"):
            continue
        whole = re.sub(r"\\\n\s*", "", entered.strip())
        yield from re.split(r" && (?=(?:[^']*'[^']*')*[^']*$)", whole)
        entered = ""


Check = Callable[[Newcomer, str], Awaitable[None]]
"""Runs a command, where it does not run already, and looks at what comes of it."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def me(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Newcomer]:
    for name in ("curl", "jq"):
        program(name, name)
    me = Newcomer(tmp_path_factory.mktemp("home"))
    daemon = await me.open("exec .venv/bin/chainwatch serve --demo --port 0")
    said = (await daemon.stdout.readline()).decode()
    assert said.startswith("listening on http://127.0.0.1:"), (await daemon.stderr.read()).decode()
    url = said.removeprefix("listening on ").strip()
    me.words = {"http://127.0.0.1:8080": url, "127.0.0.1:8080": url.removeprefix("http://")}
    me.words["/opt/chainwatch/bin/chainwatch"] = f"{me.home}/.venv/bin/chainwatch"
    me.words |= {"-0.5'": "-0.01'", ">= 0.5 ": ">= 0.01 "}  # the demo's price moves less in that time
    me.environ["CHAINWATCH_URL"] = url
    reading = asyncio.create_task(daemon.stderr.read())  # a pipe that is full would hold it up
    # What waits for events of the demo waits in terminals of its own, while the rest goes on.
    for command, how in HOW.items():
        if isinstance(how, Listening):
            me.waiting[command] = asyncio.create_task(me.run(command, until=how.until))
    room = asyncio.Semaphore(2)
    for block in blocks("sh"):
        if "chainwatch keys create" not in block:
            me.following[block] = asyncio.create_task(follow(me.another(), block, room))
    yield me
    for task in (tasks := [*me.waiting.values(), *me.following.values()]):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    daemon.terminate()
    await reading
    assert await daemon.wait() == 0


# --- try it, and a wallet on mainnet ---------------------------------------------------------------------------------


async def tails(me: Newcomer, command: str) -> None:
    done = await me.waiting[command]
    assert {LINE.match(line)[1] for line in done.lines} <= {line.word for line in LINES.values()}
    assert done.code == 130


async def monitors(me: Newcomer, command: str) -> None:
    path, *arguments = command.split()

    def look() -> int:
        with Terminal([f"{me.home}/{path}", *arguments], rows=40, columns=120, **me.environ) as screen:
            screen.until("live")
            screen.until("demo")
            screen.type("q")
            screen.rest()
            return screen.code()

    assert await asyncio.to_thread(look) == 0


async def changes_the_shell(me: Newcomer, command: str) -> None:
    me.entered.append(me.read(command))


async def activates(me: Newcomer, command: str) -> None:
    me.entered.append(command)
    assert (await me.good('echo "$VIRTUAL_ENV"; command -v chainwatch')).lines == [
        sys.prefix,
        f"{sys.prefix}/bin/chainwatch",
    ]


async def makes_a_configuration(me: Newcomer, command: str) -> None:
    written = Path((await me.good(f"{command} --offline")).out.strip())
    assert written == me.home / ".config/chainwatch/chainwatch.toml"
    assert f"`~/{written.relative_to(me.home)}`" in README
    assert re.search(r"^address = \"0xd8dA6BF", (await me.good(f"cat {written}")).out, re.MULTILINE)
    assert (await me.good(f"find {written} -perm 600")).out


async def finds_it_good(me: Newcomer, command: str) -> None:
    done = await me.good(command.removesuffix(" --online"))
    assert ": good; 1 chain, 1 wallet" in done.out + done.err


async def shows_how_it_is(me: Newcomer, command: str) -> None:
    told = (await me.good(command)).out
    assert re.search(r"^demo +● connected +\d+", told, re.MULTILINE)
    assert re.search(r"^alice +demo .* ETH", told, re.MULTILINE)


async def tails_wallets(me: Newcomer, command: str) -> None:
    done = await me.waiting[command]
    assert {LINE.match(line)[1] for line in done.lines} <= {"incoming", "outgoing", "balance"}


async def has_its_place_kept(me: Newcomer, command: str) -> None:
    before = await me.waiting[command]
    assert "agent desk is new" in before.err
    after = await me.run(f"{command} --json", until="evt_")
    assert "agent desk goes on" in after.err
    told = [json.loads(line)["id"] for line in after.lines]
    every = [event["id"] for event in await me.history(types="wallet")]
    begin = every.index(told[0])
    assert told == every[begin : begin + len(told)]


async def waits(me: Newcomer, command: str) -> None:
    done = await me.waiting[command]
    [line] = done.lines
    assert (done.code, json.loads(line)["type"]) == (0, "wallet_incoming")
    assert re.search(r"cursor \w+-\d+$", done.err)


# --- a terminal -----------------------------------------------------------------------------------------------------


async def tails_balances(me: Newcomer, command: str) -> None:
    assert {LINE.match(line)[1] for line in (await me.waiting[command]).lines} == {"balance"}


async def tails_into_jq(me: Newcomer, command: str) -> None:
    done = await me.waiting[command]
    first, _ = json.JSONDecoder().raw_decode(done.out)
    assert first in [event["data"] for event in await me.history()]


async def goes_on_where_it_stopped(me: Newcomer, command: str) -> None:
    before = await me.waiting[command]
    after = await me.run(command, until="evt_")
    told = [json.loads(line)["id"] for line in [*before.lines, *after.lines]]
    every = [event["id"] for event in await me.history()]
    begin = every.index(told[0])
    assert told == every[begin : begin + len(told)]


async def prints_by_a_template(me: Newcomer, command: str) -> None:
    told = (await me.good(command)).lines
    assert len(told) > 100
    assert all(re.match(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [a-z_]+ \d*$", line) for line in told)


async def writes_a_table(me: Newcomer, command: str) -> None:
    assert (await me.good(command)).out == ""
    rows = [*csv.DictReader((await me.good("cat transfers.csv")).lines)]
    every = {event["id"]: event["data"]["amount"] for event in await me.history(types="token_transfer")}
    assert rows
    assert {row["id"]: row["data.amount"] for row in rows}.items() <= every.items()


async def sends(me: Newcomer, command: str) -> None:
    [sent, cursor] = (await me.good(command)).out.split()
    assert [event["data"] for event in await me.history(types="custom:deploy") if event["id"] == sent] == [
        {"app": "web", "version": "1.4.2"}
    ]
    assert sent not in {event["id"] for event in await me.history(cursor=cursor)}


# --- curl -----------------------------------------------------------------------------------------------------------


async def streams(me: Newcomer, command: str) -> list[dict[str, Any]]:
    told = (await me.waiting[command]).out
    assert "event: connect\n" in told
    return [json.loads(line) for line in SENT.findall(told)]


async def streams_transfers(me: Newcomer, command: str) -> None:
    for event in await streams(me, command):
        assert event["type"] == "token_transfer"
        assert int(event["data"]["amount"]) >= 1_000_000


async def streams_blocks(me: Newcomer, command: str) -> None:
    assert {event["type"] for event in await streams(me, command)} == {"block_new"}
    assert "event: block_new\n" in (await me.waiting[command]).out


async def streams_what_is_so(me: Newcomer, command: str) -> None:
    for event in await streams(me, command):
        assert event["type"] == "balance_changed"
        assert int(event["data"]["delta"]) <= -(10**18)
        assert "removed" not in event


async def gets_a_page(me: Newcomer, command: str) -> None:
    page = json.loads((await me.good(command)).out)
    assert (len(page["events"]), page["has_more"]) == (5, True)
    assert page["events"] == (await me.history())[:5]


# --- recipes, events of one's own -----------------------------------------------------------------------------------


async def acts_on_prices(me: Newcomer, command: str) -> None:
    done = await me.waiting[command]
    assert all(re.fullmatch(r"ETH \d+\.\d+ \(-?\d+\.\d+%\)", line) for line in done.lines)


async def publishes_once(me: Newcomer, command: str) -> None:
    once, again = [json.loads((await me.good(command)).out) for _ in range(2)]
    assert once == again
    assert [*once] == ["id", "cursor"]
    [event] = [event for event in await me.history(types="custom:deploy") if event["id"] == once["id"]]
    assert event["data"]["version"] == "1.4"


async def makes_an_agent(me: Newcomer, command: str) -> None:
    assert json.loads((await me.good(command)).out)["agent"] == "billing"


async def streams_for_the_agent(me: Newcomer, command: str) -> None:
    told = (await me.run(command, until="evt_")).out
    me.words["k3f9a2-1041"] = re.findall(r"^id: (\S+)\n(?:event: .*\n)?data: {\"id\":\"evt_", told, re.MULTILINE)[0]


async def acknowledges(me: Newcomer, command: str) -> None:
    assert me.words["k3f9a2-1041"] == json.loads((await me.good(command)).out)["cursor"]


async def shows_the_agent(me: Newcomer, command: str) -> None:
    shown = json.loads((await me.good(command)).out)
    assert shown["cursor"] == me.words["k3f9a2-1041"]
    assert shown["lag"] > 0


async def removes_the_agent(me: Newcomer, command: str) -> None:
    assert (await me.good(command)).out == ""
    assert '"status":404' in (await me.good("curl $U/agents/billing")).out


# --- webhooks, keys, a service --------------------------------------------------------------------------------------


async def adds_a_webhook(me: Newcomer, command: str) -> None:
    """Nobody answers at an example's address; the webhook is there, and what is wrong is said."""
    done = await me.good(command)
    assert re.fullmatch(r"whsec_[\w+/=]+\n", done.out)
    assert "gets nothing yet" in done.err


async def asks_a_webhook(me: Newcomer, command: str) -> None:
    done = await me.run(command)
    assert (done.code, done.out) == (1, "")
    assert re.search("the receiver of (alarm|shop) did not accept", done.err)


async def lists_webhooks(me: Newcomer, command: str) -> None:
    told = (await me.good(command)).out
    assert re.search(r"^shop +unverified .*https://shop\.example\.com/", told, re.MULTILINE)


async def shows_a_webhook(me: Newcomer, command: str) -> None:
    told = (await me.good(command)).out
    assert told.startswith("shop: unverified\n")
    assert re.search(r"^  receiver +https://shop\.example\.com/…$", told, re.MULTILINE)


async def sends_dead_letters_again(me: Newcomer, command: str) -> None:
    assert (await me.good(command)).out == "0 accepted, 0 left\n"


async def resumes_a_webhook(me: Newcomer, command: str) -> None:
    assert "shop is unverified" in (await me.good(command)).err


async def makes_a_key(me: Newcomer, command: str) -> None:
    await asyncio.wait([*me.waiting.values(), *me.following.values()])  # the last ones that get in without it
    me.words["cw_…"] = KEY.fullmatch((await me.good(command)).out.strip())[0]


async def listens_with_the_key(me: Newcomer, command: str) -> None:
    while "is needed" not in (await me.good("curl -s $CHAINWATCH_URL/v1/stats")).out:  # within a second, it says
        await asyncio.sleep(0.05)
    connected = asyncio.Event()
    me.waiting[command] = asyncio.create_task(me.run(f"{command} -v 2>&1", heard=connected))
    await connected.wait()


async def lists_keys(me: Newcomer, command: str) -> None:
    assert re.search(r"^phone +\S+ +read +ethereum +wallet ", (await me.good(command)).out, re.MULTILINE)


async def revokes_the_key(me: Newcomer, command: str) -> None:
    await me.good(command)
    [listening] = [task for known, task in me.waiting.items() if "--key" in known]
    told = (await listening).out
    assert "connected as str_" in told
    assert "the key was revoked" in told


async def prints_a_unit(me: Newcomer, command: str) -> None:
    unit = (await me.good(command)).out
    assert f"\nExecStart={me.home}/.venv/bin/chainwatch serve\n" in unit


class Listening(NamedTuple):
    """It waits for what the demo does, in a terminal of its own from the beginning."""

    check: Check
    until: str | None
    """On a line of its output, after which it is ended; None: it ends by itself."""


HOW: dict[str, Check | Listening | str] = {
    "python3 -m venv .venv": "the tests run in an environment that is made",
    ".venv/bin/pip install .": "needs a package index, and minutes",
    ".venv/bin/pip install -e '.[test]'": "needs a package index, and minutes",
    ".venv/bin/pytest": "is what runs this",
    ".venv/bin/chainwatch serve --demo": "is the daemon of all these",
    ".venv/bin/chainwatch tail": Listening(tails, LINE.pattern),
    ".venv/bin/chainwatch monitor": monitors,
    ". .venv/bin/activate": activates,
    "chainwatch init --yes --chain ethereum --wallet treasury=0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045 --price ETH": (
        makes_a_configuration
    ),
    "chainwatch config check --online": finds_it_good,
    "chainwatch serve": "asks public endpoints",
    "chainwatch status": shows_how_it_is,
    "chainwatch tail --type wallet,balance": Listening(tails_wallets, LINE.pattern),
    "chainwatch wait --type wallet_incoming": Listening(waits, None),
    "chainwatch tail --type balance_changed": Listening(tails_balances, LINE.pattern),
    "chainwatch tail -n 10 --json | jq .data": Listening(tails_into_jq, "^}"),
    "chainwatch tail --json --cursor-file payments.cursor": Listening(goes_on_where_it_stopped, "evt_"),
    "chainwatch tail --agent desk --type wallet": Listening(has_its_place_kept, LINE.pattern),
    "chainwatch tail --since 15m --no-follow --format '{timestamp} {type} {data.amount}'": prints_by_a_template,
    "chainwatch history --type token_transfer --since 24h --csv > transfers.csv": writes_a_table,
    "chainwatch wait --type wallet_incoming --timeout 5m": Listening(waits, None),
    "chainwatch send deploy app=web version=1.4.2": sends,
    "curl -N 'http://127.0.0.1:8080/events/stream?types=token_transfer&min_amount=1000000'": Listening(
        streams_transfers, SENT.pattern
    ),
    "curl -N 'http://127.0.0.1:8080/events/block_new'": Listening(streams_blocks, SENT.pattern),
    (
        "curl -NG http://127.0.0.1:8080/events/balance_changed --data-urlencode 'where=data.delta <= -1e18 && !removed'"
    ): Listening(streams_what_is_so, SENT.pattern),
    "curl 'http://127.0.0.1:8080/events/history?since=1h&limit=5'": gets_a_page,
    (
        "while event=$(chainwatch wait --type price_update"
        " --where 'data.change_percent >= 0.5 || data.change_percent <= -0.5'"
        " --cursor-file eth.cursor); do\n"
        """  echo "$event" | jq -r '.data | "\\(.symbol) \\(.price) (\\(.change_percent)%)"'\n"""
        "done"
    ): Listening(acts_on_prices, "^ETH"),
    (
        "chainwatch webhooks add alarm https://chat.example.com/hooks/abc"
        " --type token_approval --where 'data.unlimited && !removed'"
    ): adds_a_webhook,
    "chainwatch webhooks test alarm": asks_a_webhook,
    "chainwatch replay --block 18000000 --type wallet --json": "asks public endpoints",
    "U=http://127.0.0.1:8080": changes_the_shell,
    (
        """curl --json '{"version": "1.4", "address": "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"}'"""
        " -H 'Idempotency-Key: deploy-1.4' $U/events/deploy"
    ): publishes_once,
    """curl -X PUT --json '{"filters": "custom,wallet", "since": "1h"}' $U/agents/billing""": makes_an_agent,
    "curl -N $U/stream/billing": streams_for_the_agent,
    """curl --json '{"cursor": "k3f9a2-1041"}' $U/agents/billing/ack""": acknowledges,
    "curl $U/agents/billing": shows_the_agent,
    "curl -X DELETE $U/agents/billing": removes_the_agent,
    "chainwatch webhooks add shop https://shop.example.com/hook --type wallet_incoming": adds_a_webhook,
    "chainwatch webhooks test shop": asks_a_webhook,
    "chainwatch webhooks list": lists_webhooks,
    "chainwatch webhooks show shop": shows_a_webhook,
    "chainwatch webhooks redeliver shop": sends_dead_letters_again,
    "chainwatch webhooks resume shop": resumes_a_webhook,
    "chainwatch keys create phone --types wallet --chains ethereum --expires 90d": makes_a_key,
    "chainwatch tail --key cw_…": listens_with_the_key,
    "chainwatch keys list": lists_keys,
    "chainwatch keys revoke phone": revokes_the_key,
    "sudo python3 -m venv /opt/chainwatch": "changes the machine",
    "sudo /opt/chainwatch/bin/pip install .": "changes the machine",
    "sudo install -D -m 644 ~/.config/chainwatch/chainwatch.toml /etc/chainwatch/chainwatch.toml": (
        "changes the machine"
    ),
    "/opt/chainwatch/bin/chainwatch service": prints_a_unit,
    "sudo /opt/chainwatch/bin/chainwatch service --install": "changes the machine",
    "sudo systemctl daemon-reload": "changes the machine",
    "sudo systemctl enable --now chainwatch": "changes the machine",
}
"""What is looked at of each command; or why it is not run here, and only understood."""


def understood(line: str) -> None:
    """The program would take that command line, where it is one for it."""
    name, *words = [word for word in shlex.split(line) if word != "sudo"]
    if Path(name).name != "chainwatch":
        return
    command = typer.main.get_command(cli._app)
    context = command.make_context("chainwatch", words, obj=cli.Frame())
    while rest := [*context._protected_args, *context.args]:
        name, command, rest = context.command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


def test_every_kind_of_block_is_known():
    """`json` and `toml` are held by tests/test_docs.py."""
    hosts = {"text", "jsonc", "ini", "py"}
    assert {language for language, _ in BLOCKS} == {"sh", "python", "js", "json", "toml", "nginx", "", *hosts}


def test_what_hosts_of_agents_are_given_names_this_daemon_and_its_commands():
    found = [json.loads(text) for text in blocks("jsonc")] + [tomllib.loads(text) for text in blocks("ini")]
    tables = {"mcpServers", "servers", "context_servers", "mcp_servers"}
    for server in [server for one in found for table in tables & {*one} for server in one[table].values()]:
        if "command" in server:
            understood(shlex.join([server["command"], *server["args"]]))
            assert {*server["env"]} == {"CHAINWATCH_KEY"}
        else:
            assert "http://127.0.0.1:8080/mcp" in server.values()
            assert server.get("headers", {}).keys() <= {"X-API-Key", "Authorization"}
    for line in [line for text in blocks("text") for line in text.splitlines()]:
        add, _, command = line.partition(" -- ")
        assert command or "http://127.0.0.1:8080/mcp" in shlex.split(add)
        understood(command or "none")
    for text in blocks("py"):
        compile(text, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_every_command_is_known_and_no_other():
    assert {command for block in blocks("sh") for command in commands(block)} == {*HOW}


def test_what_a_terminal_shows_in_the_readme_is_what_it_shows():
    [shown] = blocks("")
    assert {LINE.match(line)[1] for line in shown.splitlines()} <= {line.word for line in LINES.values()}


# --- programs -------------------------------------------------------------------------------------------------------


@beside_the_daemon
async def test_the_python_holds_what_is_so_even_when_it_is_killed(me):
    [text] = blocks("python")
    [(words, where)] = re.findall(r"\*\*A payments desk\.\*\*.*?`(types=[^`]*where=\"([^`]*)\")`", README, re.DOTALL)
    desk = text.replace('types=["wallet_incoming"]', words).replace('"counterparty"', '"from"')
    desk = desk.replace('elif event.data["known_token"]:', "else:")
    await asyncio.gather(
        holds(me, text, types="wallet_incoming", where="data.known_token || removed"),
        holds(me, desk, types="transaction_confirmed", where=where),
    )


async def holds(me: Newcomer, text: str, **parameters: str) -> None:
    folder = me.home / parameters["types"]
    folder.mkdir()
    (folder / "payments.py").write_text(me.read(text))
    running = await me.open(f"cd {folder} && exec python payments.py")
    try:
        async with asyncio.timeout(30):
            while not rows(folder, "SELECT * FROM held"):
                assert running.returncode is None, (await running.stderr.read()).decode()
                await asyncio.sleep(0.02)
    finally:
        running.kill()
        await running.wait()
    held = dict(rows(folder, "SELECT id, amount FROM held"))
    [(cursor,)] = rows(folder, "SELECT cursor FROM place")
    every = await me.history(**parameters)
    behind = {event["id"] for event in await me.history(cursor=cursor, **parameters)}
    assert held == folded([event for event in every if event["id"] not in behind])


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """Nothing as long as the program has not made its tables."""
    with (
        contextlib.suppress(sqlite3.OperationalError),
        contextlib.closing(sqlite3.connect(folder / "payments.db")) as db,
    ):
        return db.execute(query).fetchall()
    return []


def folded(events: list[dict[str, Any]]) -> dict[str, str]:
    """The amounts of those that no other took back, by id."""
    held = {}
    for event in events:
        if event.get("removed"):
            held.pop(event["retracts"], None)
        else:
            held[event["id"]] = event["data"]["amount"]
    return held


@beside_the_daemon
async def test_the_javascript_holds_what_is_so_in_a_browser(me, chromium, tmp_path):
    source, socket = blocks("js")
    async with opened(chromium, tmp_path, me.words["http://127.0.0.1:8080"] + "/") as tab:
        await tab.run(source)
        held = await tab.run(
            "new Promise(tell => { const look = () => held.size && tell([...held.keys()]);"
            "source.addEventListener('message', look); look(); })"
        )
        assert held == [event["id"] for event in await me.history(types="wallet_incoming")][: len(held)]
        taken_back = json.dumps(json.dumps({"removed": True, "retracts": held[0]}))
        assert not await tab.run(f"source.onmessage({{data: {taken_back}}}); held.has({json.dumps(held[0])})")

        await tab.run(me.read(socket))
        cursor = await tab.run("new Promise(tell => ws.addEventListener('message', () => cursor && tell(cursor)))")
        assert cursor.partition("-")[0] == (await me.page())["next"].partition("-")[0]


# --- commands, the keys as the last: they close the door ------------------------------------------------------------


@beside_the_daemon
@pytest.mark.parametrize("block", blocks("sh"), ids=lambda block: next(commands(block))[:50])
async def test_the_commands_do_what_is_said(me, block):
    await (me.following.get(block) or follow(me, block, asyncio.Semaphore()))


async def follow(me: Newcomer, block: str, room: asyncio.Semaphore) -> None:
    """Its commands, one after the other."""
    async with room:
        for command in commands(block):
            how = HOW.get(command)
            assert how, f"say in HOW how this is run: {command}"
            if isinstance(how, Listening):
                await how.check(me, command)
            elif not isinstance(how, str):
                await how(me, command)
            else:
                understood(command)
