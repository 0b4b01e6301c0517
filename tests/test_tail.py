"""`chainwatch tail` as people run it: a process with pipes, a terminal and signals; and its lines, one by one."""

import asyncio
import fcntl
import json
import os
import pty
import random
import signal
import sys
import termios
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import web
from sse_server import SseServer, an_event, connect, frame, frames, gap, line, problem

from chainwatch import event as events, sse
from chainwatch.cli import run
from chainwatch.cli.render import Human, Template, catalogue_types, ndjson
from chainwatch.errors import UsageError
from chainwatch.payloads import CATEGORIES, PAYLOADS

FULL = Path("/dev/full")


@asynccontextmanager
async def running(*arguments, stdout=asyncio.subprocess.PIPE, **environ):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "chainwatch",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONWARNINGS": "error", **environ},
        # A shell starts what runs in its background with ^C ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        async with asyncio.timeout(20):
            yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def done(*arguments, **environ):
    """Exit code, stdout and stderr of a run that ends by itself."""
    async with running(*arguments, **environ) as process:
        out, err = await process.communicate()
        return process.returncode, out, err.decode()


def streaming(*parts, **options):
    server = SseServer()
    server.script = [server.said(*parts, **options)]
    return server


def page(first, last, *, truncated=False):
    body = b",".join(line(number) for number in range(first, last + 1))
    told = b'{"events":[%b],"next":"log1-%d","has_more":false,"truncated":%b}'
    answer = told % (body, last, b"true" if truncated else b"false")

    async def step(_):
        return web.Response(body=answer, content_type="application/json")

    return step


# --- stdout ---------------------------------------------------------------------------------------------------------


async def test_json_lines_are_the_bytes_of_the_stream_each_written_at_once():
    odd = line(2, note="ü \\u202e", nested={"a": [1.50, 1e3]}).replace(b'"chain":', b'"later":true,"chain": ')
    server = streaming(connect(0), frame(1), sse.frame("log1-2", odd))
    async with server, running("tail", "--json", "--url", server.url) as tail:
        assert await tail.stdout.readline() == line(1) + b"\n"
        assert await tail.stdout.readline() == odd + b"\n"
        assert tail.returncode is None


async def test_stdout_has_events_alone_and_notes_go_to_stderr():
    server = SseServer()
    server.script = [
        server.said(connect(0), frame(1), then="cut"),
        server.said(connect(1), gap(7), frame(8), sse.heartbeat()),
    ]
    async with server, running("tail", "--json", CHAINWATCH_URL=server.url) as tail:
        assert await tail.stdout.readline() == line(1) + b"\n"
        assert await tail.stdout.readline() == line(8) + b"\n"
        tail.send_signal(signal.SIGINT)
        assert await tail.stdout.read() == b""
        notes = (await tail.stderr.read()).decode().splitlines()
    assert [note.partition(": ")[0] for note in notes] == ["chainwatch"] * 3
    assert "trying again in" in notes[0]
    assert "connected again" in notes[1]
    assert "events are missing here" in notes[2]


@pytest.mark.parametrize(("flag", "count"), [("-v", 4), ("-q", 1), ("-qq", 0)])
async def test_more_or_less_is_said(flag, count):
    server = SseServer()
    server.script = [server.said(connect(0), then="cut"), server.said(connect(0), gap(7), frame(8))]
    async with server, running("tail", flag, "--json", "--url", server.url) as tail:
        await tail.stdout.readline()
        tail.send_signal(signal.SIGINT)
        notes = (await tail.stderr.read()).decode().splitlines()
    assert len(notes) == count


async def test_a_thousand_events_that_come_together_go_out_together_and_complete():
    server = streaming(connect(0), frames(1, 5000))
    async with server, running("tail", "--json", "--url", server.url) as tail:
        found = [json.loads(await tail.stdout.readline())["data"]["log_index"] for _ in range(5000)]
    assert found == list(range(1, 5001))


async def test_every_option_reaches_the_server():
    server = streaming(connect(0), frame(1))
    options = "-t block_new --type price --filter wallet --chain base --address 0xab --token USDC -n 5 --since 1h"
    async with server, running("tail", *options.split(), "--url", server.url, CHAINWATCH_KEY="cw_k") as tail:
        await tail.stdout.readline()
        request = server.requests[0]
    assert list(request.query.items()) == [
        ("types", "block_new"),
        ("types", "price"),
        ("filters", "wallet"),
        ("address", "0xab"),
        ("token", "USDC"),
        ("chains", "base"),
        ("heartbeat", "15"),
        ("since", "1h"),
        ("last", "5"),
    ]
    assert request.headers["X-API-Key"] == "cw_k"


async def test_the_template_draws_fields():
    server = streaming(connect(0), frame(1))
    async with server, running("tail", "--format", "{cursor} {type} {data.amount}", "--url", server.url) as tail:
        assert await tail.stdout.readline() == b"log1-1 token_transfer 1\n"


# --- without following ----------------------------------------------------------------------------------------------


async def test_no_follow_prints_what_there_is_and_is_done():
    async with SseServer() as server:
        server.history = page(1, 3)
        code, out, err = await done("tail", "--no-follow", "--json", "-n", "3", "--url", server.url)
        assert dict(server.requests[0].query) == {"limit": "1000", "last": "3"}
    assert (code, out, err) == (0, b"".join(line(number) + b"\n" for number in (1, 2, 3)), "")


async def test_no_follow_says_what_is_gone_and_strictly_fails():
    async with SseServer() as server:
        server.history = page(5, 6, truncated=True)
        code, out, err = await done("tail", "--no-follow", "--json", "--url", server.url)
        assert (code, len(out.splitlines())) == (0, 2)
        assert "no longer kept" in err
        code, out, err = await done("tail", "--no-follow", "--strict", "--json", "--url", server.url)
        assert (code, out) == (5, b"")


# --- exit codes -----------------------------------------------------------------------------------------------------


async def test_nobody_there_is_4():
    code, out, err = await done("tail", "--url", "http://127.0.0.1:1")
    assert (code, out) == (4, b"")
    assert "cannot reach a chainwatch daemon at http://127.0.0.1:1" in err
    assert "Traceback" not in err


async def test_a_filter_that_the_server_refuses_is_2():
    async with SseServer(problem(400, detail="unknown chain 'x'", nearest="base")) as server:
        code, _, err = await done("tail", "--chain", "x", "--url", server.url)
    assert code == 2
    assert "unknown chain 'x'\ndid you mean 'base'?" in err


async def test_a_gap_under_strict_is_5_with_what_came_before_it_printed():
    server = streaming(connect(0), frame(1) + gap(7) + frame(8))
    async with server:
        code, out, err = await done("tail", "--strict", "--json", "--url", server.url)
    assert (code, out) == (5, line(1) + b"\n")
    assert "events are missing" in err


async def test_a_missing_key_is_1():
    async with SseServer(problem(401, detail="a key is needed")) as server:
        code, _, err = await done("tail", "--url", server.url)
    assert code == 1
    assert "a key is needed" in err


@pytest.mark.parametrize("parts", [(), (connect(0), frame(1))])
async def test_interrupted_is_130_without_a_word(parts):
    server = streaming(*parts)
    async with server, running("tail", "--url", server.url) as tail:
        await server.asked.acquire()
        if parts:
            await tail.stdout.readline()
        tail.send_signal(signal.SIGINT)
        out, err = await tail.communicate()
    assert (tail.returncode, out, err) == (130, b"", b"")


@pytest.mark.parametrize("more", [True, False])
async def test_a_closed_pipe_is_141_without_a_word_and_without_waiting_for_the_next_event(more):
    release = asyncio.Event()

    async def answer(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(connect(0) + frame(1))
        while more:
            await response.write(frames(2, 100))
        await release.wait()
        return response

    async with SseServer(answer) as server:
        reading, writing = os.pipe()
        async with running("tail", "--json", "--url", server.url, stdout=writing) as tail:
            os.close(writing)
            loop = asyncio.get_running_loop()
            assert await loop.run_in_executor(None, os.read, reading, 10)
            os.close(reading)
            _, err = await tail.communicate()
        release.set()
    assert (tail.returncode, err) == (141, b"")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
async def test_a_full_disk_is_one_block():
    server = streaming(connect(0), frame(1))
    full = os.open(FULL, os.O_WRONLY)
    async with server, running("tail", "--url", server.url, stdout=full) as tail:
        os.close(full)
        _, err = await tail.communicate()
    assert tail.returncode == 1
    assert err == b"chainwatch: cannot write to stdout\nno space left on device\n"


async def test_closed_descriptors_are_not_written_to():
    server = SseServer()
    server.script = [server.said(connect(0), frame(1), then="end"), server.said(connect(1), frame(2)), problem(404)]
    shell = '"$0" -m chainwatch tail --json --url "$1"'
    async with server:
        for closed in (">&-", "2>&-"):
            process = await asyncio.create_subprocess_exec(
                "sh", "-c", f"exec {shell} {closed}", sys.executable, server.url, stdout=-1, stderr=-1
            )
            try:
                async with asyncio.timeout(10):
                    if closed == ">&-":
                        assert (
                            await process.stderr.read() == b"chainwatch: stdout is closed\ngive it a file or a pipe\n"
                        )
                        assert await process.wait() == 1
                    else:
                        assert await process.stdout.readline() == line(1) + b"\n"
                        assert await process.stdout.readline() == line(2) + b"\n"
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.communicate()


# --- the cursor file ------------------------------------------------------------------------------------------------


async def test_the_cursor_file_is_behind_what_was_printed_and_is_gone_on_from(tmp_path):
    kept = tmp_path / "cursor"
    arguments = ("tail", "--json", "--cursor-file", str(kept), "--since", "earliest")
    server = SseServer()
    server.script = [
        server.said(connect(0), frames(1, 2) + sse.cursor_only("log1-9"), then="end"),
        problem(404),
        server.said(connect(9), frame(10), then="end"),
        problem(404),
    ]
    async with server:
        code, out, _ = await done(*arguments, "--url", server.url)
        assert (code, len(out.splitlines()), kept.read_text()) == (1, 2, "log1-9\n")
        code, out, _ = await done(*arguments, "--url", server.url)
        assert (code, out, kept.read_text()) == (1, line(10) + b"\n", "log1-10\n")
        assert server.requests[0].query["since"] == "earliest"
        assert server.requests[2].headers["Last-Event-ID"] == "log1-9"
        assert "since" not in server.requests[2].query
        server.history = page(11, 12)
        code, _, _ = await done(*arguments, "--no-follow", "--url", server.url)
        assert dict(server.requests[-1].query) == {"limit": "1000", "cursor": "log1-10"}
        assert (code, kept.read_text()) == (0, "log1-12\n")
    assert [file.name for file in tmp_path.iterdir()] == ["cursor"]


@pytest.mark.long
async def test_killed_at_any_moment_the_cursor_file_is_never_ahead_of_stdout(tmp_path):
    """Whatever was printed by then, the next run tells all that was not; at worst a few again, never one too few."""
    kept, printed = tmp_path / "cursor", tmp_path / "out"
    every = [frame(number) for number in range(1, 20_001)]
    dice = random.Random(7)
    kill_at = asyncio.Event()

    async def answer(request):
        after = int(request.headers.get("Last-Event-ID", "log1-0").removeprefix("log1-"))
        until = after + dice.randrange(2000)  # the moment: between two events, with those before it on their way
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(connect(after))
        for number in range(after, len(every)):
            if number == until:
                kill_at.set()
            await response.write(every[number])
        return response

    seen: set[int] = set()
    async with SseServer(answer) as server:
        for _ in range(5):
            kill_at.clear()
            with printed.open("wb") as out:
                arguments = ("tail", "--json", "--cursor-file", str(kept), "--url", server.url)
                async with running(*arguments, stdout=out) as tail:
                    await kill_at.wait()
                    tail.kill()
                    await tail.wait()
            whole = printed.read_bytes().rpartition(b"\n")[0].splitlines()
            seen |= {json.loads(text)["data"]["log_index"] for text in whole}
            behind = int(kept.read_text().removeprefix("log1-")) if kept.exists() else 0
            assert behind <= max(seen, default=0)
            assert seen == set(range(1, max(seen, default=0) + 1))


@pytest.mark.long
async def test_ended_by_sigterm_the_cursor_file_is_exactly_behind_what_was_printed(tmp_path):
    kept = tmp_path / "cursor"

    async def answer(request):
        after = int(request.headers.get("Last-Event-ID", "log1-0").removeprefix("log1-"))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(connect(after))
        for number in range(after + 1, after + 1000):
            await response.write(frame(number))
            await asyncio.sleep(0)
        return response

    async with SseServer(answer) as server:
        for _ in range(5):
            async with running("tail", "--json", "--cursor-file", str(kept), "--url", server.url) as tail:
                printed = await tail.stdout.readline()
                tail.terminate()
                printed += await tail.stdout.read()
                assert await tail.wait() == -signal.SIGTERM
            assert kept.read_text() == f"log1-{json.loads(printed.splitlines()[-1])['data']['log_index']}\n"


async def test_sigterm_does_not_wait_for_a_reader_that_takes_nothing():
    async with streaming(connect(0), frames(1, 10_000)) as server:
        read_end, write_end = os.pipe()
        try:
            async with running("tail", "--json", "--url", server.url, stdout=write_end) as tail:
                size = fcntl.fcntl(read_end, fcntl.F_GETPIPE_SZ)
                while int.from_bytes(fcntl.ioctl(read_end, termios.FIONREAD, b"\0" * 4), "little") < size - 4096:
                    await asyncio.sleep(0.01)
                tail.terminate()
                assert await asyncio.wait_for(tail.wait(), 10) == -signal.SIGTERM
        finally:
            os.close(read_end)
            os.close(write_end)


async def test_a_linked_or_empty_cursor_file_is_fine(tmp_path):
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    async with SseServer() as server:
        server.history = page(1, 2)
        code, _, _ = await done(
            "tail", "--no-follow", "--cursor-file", str(tmp_path / "link"), "-n", "2", "--url", server.url
        )
    assert code == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "log1-2\n"


async def test_a_cursor_file_that_cannot_be_written_is_said_before_the_first_event(tmp_path):
    server = streaming(connect(0))
    async with server:
        code, out, err = await done("tail", "--cursor-file", str(tmp_path / "no" / "cursor"), "--url", server.url)
    assert (code, out) == (1, b"")
    assert "cannot write the cursor file" in err


# --- the terminal ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "environ", "colored"),
    [
        ((), {}, True),
        ((), {"NO_COLOR": "1"}, False),
        (("--color", "never"), {}, False),
        (("--color", "always"), {"NO_COLOR": "1"}, True),
    ],
)
async def test_a_terminal_gets_colours_unless_it_wants_none(arguments, environ, colored):
    server = streaming(connect(0), frame(1))
    ours, theirs = pty.openpty()
    try:
        async with (
            server,
            running(
                "tail", *arguments, "--url", server.url, stdout=theirs, **({"TERM": "xterm", "NO_COLOR": ""} | environ)
            ),
        ):
            shown = await asyncio.get_running_loop().run_in_executor(None, os.read, ours, 4096)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (b"\x1b[" in shown) is colored
    assert b"0.000001 USDC" in shown


# --- what cannot be meant -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ("--json --format {type}", "json and template are both asked for"),
        ("-o human --json", "human and json are both asked for"),
        ("-o template", "-o template needs a template"),
        ("-o yaml", "yaml"),
        ("-n -1", "Invalid value for '-n'"),
        ("--last-event-id a --cursor-file b", "--last-event-id and --cursor-file both say where to begin"),
        ("--last-event-id a -n 3", "--last-event-id and -n both say where to begin"),
        ("--last-event-id a\tb", "is no cursor"),
        ("--format {typo}", "did you mean 'type'?"),
        ("--url 127.0.0.1:8080", "no address of a daemon"),
    ],
)
def test_what_cannot_be_meant_is_2(arguments, what, capfd):
    assert run(["tail", *arguments.split(" ")]) == 2
    assert what in capfd.readouterr().err


# --- lines ----------------------------------------------------------------------------------------------------------


def drawn(event, *, color=False, human=None):
    return (human or Human(color=color))(events.decode(json.dumps(event)), b"", "log1-1").decode()


HASH = "0x" + "ab" * 32
E = "0." + "0" * 17  # before the last of 18 decimals
FROM, TO = "0x" + "11" * 20, "0x" + "22" * 20
TRANSFER = {
    "standard": "erc20",
    "token": "USDC",
    "token_address": TO,
    "decimals": 6,
    "from": FROM,
    "to": TO,
    "amount": "1500000",
    "token_id": None,
    "tx_hash": HASH,
}
TRANSACTION = {"tx_hash": HASH, "from": FROM, "to": None, "amount": "1", "token": "ETH", "decimals": 18, "fee": "2"}


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        (
            "block_new",
            {
                "block_number": 7,
                "block_hash": HASH,
                "transaction_count": 1,
                "gas_used": "12",
                "gas_limit": "30",
                "base_fee_per_gas": "1500000001",
            },
            "block      #7 0xabab…abab  1 transaction, 40% full, base fee 1.500000001 gwei",
        ),
        (
            "block_finalized",
            {"block_number": 7, "block_hash": HASH, "tag": "safe"},
            "finality   #7 0xabab…abab  safe",
        ),
        (
            "chain_reorg",
            {
                "depth": 2,
                "common_ancestor": {"block_number": 5, "block_hash": HASH},
                "old_blocks": [],
                "new_blocks": [{}],
            },
            "reorg      2 blocks orphaned above #5 0xabab…abab, 1 new",
        ),
        (
            "transaction_confirmed",
            TRANSACTION | {"confirmations": 6, "fee": None},
            "confirmed  0x1111…1111 → (creation)   0xabab…abab  0.000000000000000001 ETH, 6 confirmations",
        ),
        (
            "transaction_failed",
            TRANSACTION | {"revert_reason": "no\nluck"},
            f"failed     0x1111…1111 → (creation)   0xabab…abab  {E}1 ETH, reverted: no\\u000aluck, fee {E}2 ETH",
        ),
        ("token_transfer", TRANSFER, "transfer   0x1111…1111 → 0x2222…2222  0xabab…abab  1.5 USDC"),
        (
            "token_transfer",
            TRANSFER | {"token": None, "decimals": None, "amount": str(2**256 - 1)},
            f"transfer   0x1111…1111 → 0x2222…2222  0xabab…abab  {2**256 - 1} base units of 0x2222…2222",
        ),
        (
            "token_transfer",
            TRANSFER | {"standard": "erc1155", "token_id": "9", "amount": "3"},
            "transfer   0x1111…1111 → 0x2222…2222  0xabab…abab  USDC no. 9 × 3",
        ),
        (
            "chain_status",
            {"state": "stalled", "endpoint": "wss://x", "head": 7, "lag_seconds": 150, "reason": "no new head"},
            "status     stalled, wss://x, head #7, 2m old, no new head",
        ),
        ("deploy", {"app": "web", "ok": True, "n": {"a": 1}}, 'deploy     app=web ok=true n={"a":1}'),
    ],
)
def test_an_event_is_one_line_for_people(kind, data, said):
    event = an_event(1, kind) | {"data": data}
    assert drawn(event) == f"06-24 07:00:00  ethereum  {said}\n"


def test_a_retraction_cannot_be_overlooked():
    event = an_event(1) | {"data": TRANSFER, "removed": True, "retracts": "evt_1"}
    assert "transfer   ⟲ retracted  0x1111…1111 → 0x2222" in drawn(event)
    assert "\x1b[2;9m0x1111" in drawn(event, color=True)


def test_columns_stay_aligned_with_chains_of_any_name():
    human = Human(color=False)
    chains = ["base", "polygon-amoy", None, "a" * 99]
    lines = [drawn(an_event(1) | {"chain": chain}, human=human) for chain in chains]
    assert [text.index("transfer") for text in lines] == [26, 30, 30, 34]


@pytest.mark.parametrize("kind", [*PAYLOADS, "custom"])
@pytest.mark.parametrize(
    "value", ["\x1b]0;owned\x07\u202e\n", -1, 10**400, 1.5, True, None, [1], {"a": "\x1b[2J"}, "9" * 5000, "x" * 5000]
)
def test_no_event_breaks_a_line_or_moves_the_cursor_of_a_terminal(kind, value):
    names = {name for payload in PAYLOADS.values() for name in payload.__struct_encode_fields__}
    for data in (dict.fromkeys(names, value), value, {}, {"decimals": 255, "amount": "1", "token": value}):
        event = events.Event(id="e", type=kind, timestamp="\x1b[2J", observed_at="", chain="\x07", data=data)
        text = Human(color=False)(event, b"", "").decode()
        assert text.endswith("\n")
        assert text[:-1].isprintable()
        assert len(text) < 8000


def test_json_is_the_line_itself():
    assert ndjson(events.decode(line(1)), line(1), "") == line(1) + b"\n"


# --- templates ------------------------------------------------------------------------------------------------------


def filled(template, event=None, types=None):
    return Template(template, types)(events.decode(json.dumps(event or an_event(1))), b"", "log1-1").decode()


def test_a_template_has_paths_braces_and_escapes():
    event = an_event(1, "chain_reorg", old_blocks=[{"block_hash": "0xa"}], ok=True, none=None, n=1.5)
    assert filled(r"{id}\t{{{type}}}\\ {data.old_blocks.0.block_hash}", event) == (
        f"evt_{1:026d}\t{{chain_reorg}}\\ 0xa\n"
    )
    assert filled("{data.ok},{data.none},{data.n},{data.old_blocks}", event) == 'true,,1.5,[{"block_hash":"0xa"}]\n'
    assert filled("{data.old_blocks.7.x}|{data.token.x}|{retracts}|{removed}|{ chain }|{cursor}", event) == (
        "||||ethereum|log1-1\n"
    )
    assert filled("{removed}", event | {"removed": True}) == "true\n"


def test_a_value_cannot_break_the_line():
    event = an_event(1, token="\x1b[2J\n\u202eUSDC")
    assert filled("{data.token}", event) == "\\u001b[2J\\u000a\\u202eUSDC\n"
    assert filled("{data}", event)[:-1].isprintable()


@pytest.mark.parametrize(
    ("template", "types", "said"),
    [
        ("{tipe}", None, "'tipe'\ndid you mean 'type'?"),
        ("{}", None, "''"),
        ("{data.}", None, "did you mean 'data'?"),
        ("{type.x}", None, "{type.x}"),
        ("{data.amuont}", {"token_transfer"}, "did you mean 'data.amount'?"),
        ("{data.depth}", {"token_transfer"}, "'data.depth'"),
        ("type{", None, "single '{'"),
        ("}", None, "single '}'"),
    ],
)
def test_a_field_that_cannot_exist_is_an_error_that_names_it(template, types, said):
    with pytest.raises(UsageError) as caught:
        Template(template, frozenset(types) if types else None)
    assert caught.value.parameter == "format"
    assert said in str(caught.value)


def test_a_field_that_only_a_custom_event_may_have_is_a_doubt():
    assert Template("{data.app} {data.amount}").doubts == ["only a custom event may have the field data.app"]
    assert "data.amount is near" in Template("{data.amuont}").doubts[0]


def test_the_types_of_the_command_line_are_those_of_the_catalogue():
    assert catalogue_types(["Token-Transfers", "block"]) == {"token_transfer", *CATEGORIES["block"]}
    assert catalogue_types([" balances"]) == CATEGORIES["wallet"]
    assert catalogue_types([]) is None
    assert catalogue_types(["block", "deploy"]) is None
