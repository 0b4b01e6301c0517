"""
Every error of the command line: what was typed, the exit code, and the block that people read, word for word.

`$OPEN` is a daemon without keys, `$LOCKED` one with keys: `$READER` may see blocks, `$SENDER` may only send. `$ODD` is
a web server that is no daemon, `$TLS` the same as if it spoke TLS, `$TMP` a folder.
"""

from __future__ import annotations

import http.server
import os
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path
from string import Template

import pytest
from served import serving

from chainwatch import keys
from chainwatch.cli import COMMANDS, run

NOBODY = "http://127.0.0.1:1"

USAGE = [
    ("sreve", "no command 'sreve'\ndid you mean 'serve'?"),
    ("keys crate", "no command 'keys crate'\ndid you mean 'keys create'?"),
    ("config chek", "no command 'config chek'\ndid you mean 'config check'?"),
    ("--vesion", "no option '--vesion'\ndid you mean '--version'?"),
    (
        "--color blue tail",
        "Invalid value for '--color': 'blue' is not one of 'auto', 'always', 'never'\nsee chainwatch --help",
    ),
    ("serve --port 70000", "Invalid value for '--port': it is 65535 or less\nsee chainwatch serve --help"),
    ("serve --port http", "Invalid value for '--port': it is a number\nsee chainwatch serve --help"),
    ("tail extra", "there is no place for: extra\nsee chainwatch tail --help"),
    ("tail --jsn", "no option '--jsn'\ndid you mean '--json'?"),
    ("tail --url", "Option '--url' requires an argument\nsee chainwatch --help"),
    ("tail -n -1", "Invalid value for '-n': it is 0 or more\nsee chainwatch tail --help"),
    (
        "tail -o yaml",
        (
            "Invalid value for '--output' / '-o': "
            "'yaml' is not one of 'human', 'json', 'template'\nsee chainwatch tail --help"
        ),
    ),
    ("tail --json --format x", "json and template are both asked for\na line has one form"),
    ("tail -o template", "-o template needs a template\nsuch as --format '{type} {data.amount}'"),
    ("tail --format {typo}", "no event asked for has the field 'typo'\ndid you mean 'type'?"),
    ("tail --format {type", "a single '{' in the template\na brace is {{ or }}"),
    ("tail --last-event-id a --since 1h", "--last-event-id and --since both say where to begin\ngive one of them"),
    *(
        (f"tail --agent desk {option}", f"--agent and {name} do not go together\nthe daemon keeps the agent's place")
        for option, name in (
            ("--no-follow", "--no-follow"),
            ("--cursor-file x", "--cursor-file"),
            ("--last-event-id x", "--last-event-id"),
        )
    ),
    (
        "tail --url $OPEN --agent 'a b'",
        ("'a b' is no name for an agent\nup to 64 letters, digits, dots, - and _, the first a letter or a digit"),
    ),
    (
        "tail --url 127.0.0.1:8080",
        "'127.0.0.1:8080' is no address of a daemon\nsuch as http://127.0.0.1:8080, without a query",
    ),
    (
        "tail --url ftp://user:secret@example/x",
        "'ftp://example/…' is no address of a daemon\nsuch as http://127.0.0.1:8080, without a query",
    ),
    ("tail --key ü", "the key has characters that no key has"),
    ("tail --url $OPEN -t blok", "unknown event type or category 'blok'\ndid you mean 'block'?"),
    ("tail --url $OPEN --chain nope", "unknown chain 'nope'\nno chain is configured"),
    ("tail --url $OPEN --token NOPE", "unknown configured token 'NOPE'\nno token is configured"),
    ("tail --url $OPEN --address 0x12", "'0x12' is no address\nan address is 0x and 40 hexadecimal digits"),
    (
        "tail --url $OPEN --min-amount 1.5",
        "'1.5' is no amount\nmin_amount is one whole number of base units, such as 1000000000000000000 for 1 ETH",
    ),
    (
        "tail --url $OPEN --where 'data.amount >'",
        "where, column 14: the expression ends here; expected a value\n  data.amount >\n               ^",
    ),
    (
        "tail --url $OPEN --since yesterday",
        "'yesterday' is no time\nsince is earliest, now, an age such as 15m, or a time such as 2025-06-24T07:00:00Z",
    ),
    (
        "tail --url $OPEN --no-follow --last-event-id x",
        "'x' is no cursor\na cursor is the id of an event in a stream, or `next` of a page",
    ),
    ("status extra", "there is no place for: extra\nsee chainwatch status --help"),
    (
        "history --url $OPEN --until soon",
        "'soon' is no time\nuntil is earliest, now, an age such as 15m, or a time such as 2025-06-24T07:00:00Z",
    ),
    ("history -n 3 --until 1h", "-n and --until do not go together\nthe newest N are those before now"),
    ("history --json --csv", "json and csv are both asked for\na line has one form"),
    ("history --csv --format x", "csv and template are both asked for\na line has one form"),
    (
        "history --columns data.amuont -t token",
        "no event asked for has the field 'data.amuont'\ndid you mean 'data.amount'?",
    ),
    ("history --columns id,id", "the column id is named twice"),
    ("history --columns id -o json", "json has no columns\nleave --columns out, or give --csv"),
    ("history --limit 0", "Invalid value for '--limit': it is 1 or more\nsee chainwatch history --help"),
    ("wait --timeout soon", "'soon' is no timeout\nsuch as 30s, 5m or 2h; a bare number is seconds"),
    ("wait --timeout 0", "'0' is no timeout\nsuch as 30s, 5m or 2h; a bare number is seconds"),
    (
        "wait --last-event-id a --cursor-file b",
        "--last-event-id and --cursor-file both say where to begin\ngive one of them",
    ),
    ("send", "Missing argument 'TYPE'\nsee chainwatch send --help"),
    (
        "send Deploy --url $OPEN",
        "'Deploy' is no name for a type\na type is a small letter, then small letters, digits and _: at most 64",
    ),
    ("send deploy [1]", 'the data are no JSON object\nsuch as \'{"app": "web"}\''),
    ("send deploy '{\"a\":'", "'{\"a\":' is no JSON\nit ends too early"),
    (
        "send deploy web",
        "'web' is no JSON\nsuch as name=text, or name:=5 for a number, true, null, a list or an object",
    ),
    ("send deploy a=b a=c", "a is given twice"),
    (
        "send deploy a=b c",
        "'c' is no pair\nsuch as name=text, or name:=5 for a number, true, null, a list or an object",
    ),
    ("send deploy {} x", "'x' is more than one JSON object\nquote it: '{…}'"),
    (
        "send deploy --url $OPEN --idempotency-key 'a b'",
        "this is no Idempotency-Key\n1 to 255 visible ASCII characters",
    ),
    ("replay", "Missing option '--block'\nsee chainwatch replay --help"),
    ("replay --block 7 -t blok", "unknown event type or category 'blok'\ndid you mean 'block'?"),
    ("replay --block 7 --chain nope", "unknown chain 'nope'\nthere is: ethereum"),
    ("keys create", "Missing argument 'NAME'\nsee chainwatch keys create --help"),
    (
        "keys create 'a b'",
        "'a b' is no name for a key\nup to 64 letters, digits, dots, - and _, the first a letter or a digit",
    ),
    (
        "keys create x --types tokn",
        "unknown event type or category 'tokn'\ndid you mean 'token'?\na custom type is written custom:NAME",
    ),
    ("keys revoke x", "there are no keys\nthey would be in $TMP/.local/state/chainwatch/keys.toml"),
    (
        "init",
        (
            "init asks questions, and stdin is no terminal\n"
            "say what you want, such as --chain ethereum --wallet 0x…, or --yes for the defaults"
        ),
    ),
    ("mcp --url ftp://x", "'ftp://x' is no address of a daemon\nsuch as http://127.0.0.1:8080, without a query"),
    ("webhooks lst", "no command 'webhooks lst'\ndid you mean 'webhooks list'?"),
    ("webhooks add", "Missing argument 'NAME'\nsee chainwatch webhooks add --help"),
    ("schema blok", "unknown event type or category 'blok'\ndid you mean 'block'?"),
    (
        "completion tcsh",
        "Invalid value for 'SHELL': 'tcsh' is not one of 'bash', 'zsh', 'fish'\nsee chainwatch completion --help",
    ),
]

UNKNOWN_KEY = (
    "$LOCKED answers 401: this key is not known here: it is mistyped, was revoked, or has expired\n"
    "chainwatch keys list shows the keys that there are, keys create makes one"
)
NO_KEY = (
    "$LOCKED answers 401: a key is needed here\n"
    "give it with --key or in CHAINWATCH_KEY; `chainwatch keys create NAME` on its machine makes one"
)
MAY_NOT_READ = (
    "$LOCKED answers 403: the key sender may not read\nchainwatch keys create NAME --can read makes one that may"
)
NO_DAEMON = "$ODD answers text/html, not application/json\nis it a chainwatch daemon?"

FAILURE = [
    ("tail --url $ODD", "$ODD answers text/html, not text/event-stream\nis it a chainwatch daemon?"),
    *((f"{command} --url $ODD", NO_DAEMON) for command in ("status", "history", "tail --no-follow", "send deploy")),
    *(
        (f"{command} --url $LOCKED", NO_KEY)
        for command in ("tail", "tail --agent desk", "status", "history", "wait", "send x", "webhooks list")
    ),
    *((f"{command} --url $LOCKED --key cw_wrong", UNKNOWN_KEY) for command in ("tail", "status", "send deploy")),
    *((f"{command} --url $LOCKED --key $SENDER", MAY_NOT_READ) for command in ("tail", "status", "history", "wait")),
    (
        "tail --url $LOCKED --key $READER -t price",
        (
            "$LOCKED answers 403: this key may not see type price_update\n"
            "it may see: block_finalized, block_new, chain_reorg"
        ),
    ),
    (
        "send deploy --url $LOCKED --key $READER",
        "$LOCKED answers 403: the key reader may not send\nchainwatch keys create NAME --can send makes one that may",
    ),
    (
        "send block --url $OPEN",
        "$OPEN answers 409: the type 'block' is reserved\nit means something already; choose another, such as my_block",
    ),
    ("tail --url $OPEN --cursor-file $TMP", "cannot read the cursor file $TMP\nis a directory\nname another one"),
    *(
        (f"{command} --url $ODD/busy", "$ODD/… answers 503: Service Unavailable\ntry again in 3s")
        for command in ("status", "webhooks list")
    ),
    (
        "wait --url $OPEN --timeout 1m --cursor-file $TMP/none/cursor",
        "cannot write the cursor file $TMP/none/cursor\nno such file or directory\nname another one",
    ),
    (
        "monitor --url $OPEN",
        (
            "the monitor needs a terminal, and stdin is none\n"
            "`chainwatch tail` prints events as lines, `chainwatch status` how things stand"
        ),
    ),
]

BUILT_IN = "name another one with -c; without any, public Ethereum endpoints are used"
NO_FILE = "cannot read the configuration $TMP/none.toml: No such file or directory"

CONFIGURATION = [
    *(
        (
            f"{command} -c $TMP/none.toml",
            f"{NO_FILE}\nname another one with -c; without any, public Ethereum endpoints are used",
        )
        for command in ("serve", "replay --block 7", "keys list")
    ),
    *((f"config {command} -c $TMP/none.toml", NO_FILE) for command in ("check", "show")),
    (
        "serve -c $TMP/two.toml",
        (
            "2 problems in $TMP/two.toml\n"
            "  line 2, server.prot: unknown key (did you mean 'port'?)\n"
            '  line 4, log.ttl: is no duration (write it as "15s", "1m", "12h" or "7d"; a bare number is seconds)\n'
            "nothing was started"
        ),
    ),
    (
        "serve --host 0.0.0.0",
        (
            "0.0.0.0 is not a loopback address, so others could read everything without a key\n"
            'make a key with `chainwatch keys create NAME`, or listen on "127.0.0.1"; '
            "give --insecure if everyone who can reach the address may read and publish"
        ),
    ),
    ("serve --log /dev/null/x.db", "cannot read the API keys in /dev/null/keys.toml: Not a directory"),
]

NOBODY_THERE = [
    *(
        (
            f"{command} --url {NOBODY}",
            f"cannot reach a chainwatch daemon at {NOBODY}\nconnection refused\nis `chainwatch serve` running there?",
        )
        for command in (
            "tail",
            "tail --no-follow",
            "status",
            "history",
            "wait --timeout 1m",
            "send deploy",
            "webhooks list",
            "tail --agent desk",
        )
    ),
    (
        "status --url http://no.such.host.invalid",
        (
            "cannot reach a chainwatch daemon at http://no.such.host.invalid\n"
            "its name is not known\nis `chainwatch serve` running there?"
        ),
    ),
    *(
        (
            f"{command} --url $TLS",
            (
                "cannot reach a chainwatch daemon at $TLS\n"
                "it does not speak TLS: is it http:// instead?\nis `chainwatch serve` running there?"
            ),
        )
        for command in ("status", "tail")
    ),
]

NOT_THERE = [
    ("wait --url $OPEN -t custom:never --timeout 0.1 --cursor-file $TMP/cursor", "no such event within 0.1s"),
    (
        "history --url $OPEN --strict --last-event-id other-3",
        "events that were asked for are no longer kept\nwithout --strict, what is kept is printed",
    ),
    (
        "tail --no-follow --url $OPEN --strict --last-event-id other-3",
        "events that were asked for are no longer kept\nwithout --strict, what is kept is printed",
    ),
]

TABLE = [
    *((line, 2, block) for line, block in USAGE),
    *((line, 1, block) for line, block in FAILURE),
    *((line, 3, block) for line, block in CONFIGURATION),
    *((line, 4, block) for line, block in NOBODY_THERE),
    *((line, 5, block) for line, block in NOT_THERE),
]


class Odd(http.server.BaseHTTPRequestHandler):
    """Somebody else's web server."""

    def do_GET(self) -> None:
        if self.command == "POST":
            self.rfile.read(int(self.headers["Content-Length"]))
        busy = self.path.startswith("/busy")
        self.send_response(503 if busy else 200)
        if busy:
            self.send_header("Retry-After", "3")
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    do_POST = do_GET  # noqa: N815  # the base class calls them so

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """What the words with a dollar mean."""
    folder, locked, odd = (tmp_path_factory.mktemp(name) for name in ("errors", "locked", "odd"))
    now = int(time.time() * 1000)
    every = {"chains": [], "addresses": [], "expires": None, "now": now}
    _, reader = keys.create(locked / "keys.toml", name="reader", can=["read"], types=["block"], **every)
    _, sender = keys.create(locked / "keys.toml", name="sender", can=["send"], types=[], **every)
    (folder / "two.toml").write_text('[server]\nprot = 1\n[log]\nttl = "x"\n')
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    with serving(locked) as locked_url, serving(odd) as open_url:
        yield {
            "OPEN": open_url,
            "LOCKED": locked_url,
            "ODD": f"http://127.0.0.1:{server.server_port}",
            "TLS": f"https://127.0.0.1:{server.server_port}",
            "TMP": str(folder),
            "READER": reader,
            "SENDER": sender,
        }
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def home(monkeypatch, places):
    for name in list(os.environ):
        if name.startswith(("CHAINWATCH_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", places["TMP"])


@pytest.mark.parametrize(("line", "code", "block"), TABLE, ids=[f"{line} -> {code}" for line, code, _ in TABLE])
def test_each_mistake_has_its_block_and_its_exit_code(places, capfd, line, code, block):
    arguments = shlex.split(Template(line).safe_substitute(places))
    assert run(arguments) == code
    told = capfd.readouterr()
    assert told.err == f"chainwatch: {Template(block).safe_substitute(places)}\n"
    assert told.out == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_an_option_that_it_does_not_have(command, capfd):
    assert run([command, "--xyzzy=https://user:secret@node.example/key"]) == 2
    assert capfd.readouterr().err == f"chainwatch: no option '--xyzzy'\nsee chainwatch {command} --help\n"


def test_every_client_among_the_commands_is_in_the_table():
    lines = " ".join(line for line, _, _ in TABLE).split()
    assert COMMANDS.keys() - set(lines) <= {"service"}  # which has a table of its own


# --- where a process of its own matters -------------------------------------------------------------------------------


def ended(places: dict[str, str], shell: str) -> tuple[int, str]:
    """Exit code and stderr of what a shell runs; `cw` is the program, asking the open daemon."""
    script = f'cw() {{ "{sys.executable}" -m chainwatch "$@"; }}; {shell}'
    environ = {**os.environ, "CHAINWATCH_URL": places["OPEN"]}
    done = subprocess.run(["bash", "-c", script], capture_output=True, env=environ, check=False, timeout=60)
    return done.returncode, done.stderr.decode()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("line", ["status", "schema"])
def test_a_full_disk_is_1_and_one_block(places, line):
    assert ended(places, f"cw {line} >/dev/full") == (
        1,
        "chainwatch: cannot write to stdout\nno space left on device\n",
    )


@pytest.mark.parametrize("line", ["wait", "schema"])
def test_a_closed_stdout_is_1_and_nothing_is_asked(places, line):
    assert ended(places, f"cw {line} >&-") == (1, "chainwatch: stdout is closed\ngive it a file or a pipe\n")


@pytest.mark.parametrize("line", ["status", "schema"])
def test_a_closed_pipe_is_141_without_a_word(places, line):
    assert ended(places, f"set -o pipefail; cw {line} | true; exit ${{PIPESTATUS[0]}}") == (141, "")
