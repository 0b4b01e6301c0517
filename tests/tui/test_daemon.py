"""The monitor and its daemon: lost, found, lost again; and the command, on a terminal and without one."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time

import pytest
from daemon import Daemon
from tui.stage import screen, shows, until

from chainwatch import client
from chainwatch.client import subscription
from chainwatch.tui import feed
from chainwatch.tui.app import Monitor
from chainwatch.tui.feed import Feed
from chainwatch.tui.model import Model

pytestmark = pytest.mark.long


def numbers(app):
    """What the events of the list are numbered with."""
    return [json.loads(line)["data"]["number"] for line in app.model.view.shown_lines()]


async def publish(url, first, last, key=None):
    for number in range(first, last + 1):
        await client.send(url, "deploy", {"number": number}, key=key)


@pytest.fixture
def impatient(monkeypatch):
    """Nobody waits before he tries again, not even if he is asked to."""
    monkeypatch.setattr(subscription, "_FIRST_WAIT", 0.05)
    monkeypatch.setattr(subscription, "_LONGEST_WAIT", 0.2)
    monkeypatch.setattr(subscription, "_LONGEST_ASKED", 0.2)
    monkeypatch.setattr(feed, "_PATIENCE", 0.1)


@pytest.mark.usefixtures("impatient")
async def test_a_daemon_that_goes_away_is_waited_for_and_no_event_is_lost_or_told_twice(tmp_path):
    async with Daemon(tmp_path) as daemon:
        await publish(daemon.url, 1, 3)
        model = Model(daemon.url)
        app = Monitor(model, Feed(daemon.url, None, model))
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: numbers(app) == [1, 2, 3])
            await daemon.kill()
            await shows(pilot, "✖ lost", "again in", "✖ waiting for the daemon")
            pulse = screen(app)[1]
            await until(pilot, lambda: screen(app)[1] != pulse)
            daemon.configure(server={"port": int(daemon.url.rpartition(":")[2])})
            await daemon.start()
            await publish(daemon.url, 4, 9)
            await until(pilot, lambda: numbers(app) == list(range(1, 10)), "all nine")
            await shows(pilot, "● live", "↓ following")

            await daemon.kill()
            for path in tmp_path.glob("events.db*"):
                path.unlink()
            await daemon.start()
            await publish(daemon.url, 10, 10)
            await until(pilot, lambda: numbers(app) == list(range(1, 11)), "the tenth, of another log")
            await shows(pilot, "▲ events are missing here, the cursor is of another log")


@pytest.mark.usefixtures("impatient")
async def test_a_key_that_is_revoked_is_said(tmp_path):
    made = [sys.executable, "-m", "chainwatch", "-c", str(tmp_path / "chainwatch.toml"), "keys"]
    async with Daemon(tmp_path) as daemon:

        def keys(*arguments):
            environ = {**os.environ, "HOME": str(tmp_path)}
            return subprocess.run([*made, *arguments], capture_output=True, text=True, check=True, env=environ).stdout

        key = (await asyncio.to_thread(keys, "create", "screen", "--can", "read,send")).strip()
        await until_wanted(daemon.url)
        await publish(daemon.url, 1, 1, key)
        model = Model(daemon.url)
        app = Monitor(model, Feed(daemon.url, key, model))
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: numbers(app) == [1], "the first")
            await asyncio.to_thread(keys, "revoke", "screen")
            await shows(pilot, "✖ refused")
            assert key not in screen(app)


async def until_wanted(url):
    """The daemon has seen that there is a key."""
    from chainwatch.errors import Refused

    async with asyncio.timeout(10):
        while True:
            try:
                await client.stats(url)
            except Refused:
                return
            await asyncio.sleep(0.05)


# --- the command ------------------------------------------------------------------------------------------------------

COMMAND = [sys.executable, "-m", "chainwatch", "monitor"]


class Terminal:
    """The command on a terminal of its own: what it draws, what it is told."""

    def __init__(self, *arguments, **environ):
        self.drawn = b""
        self.fd, theirs = pty.openpty()
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        self.process = subprocess.Popen(
            [*COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env=inherited | {"TERM": "xterm-256color", "COLORTERM": "truecolor"} | environ,
        )  # fmt: skip
        os.close(theirs)

    def until(self, text, seconds=60):
        """Read until it was drawn."""
        ends = time.monotonic() + seconds
        while text.encode() not in self.drawn:
            assert time.monotonic() < ends, f"no {text!r} in {self.drawn[-2000:]!r}"
            self.read()

    def read(self):
        if select.select([self.fd], [], [], 0.1)[0]:
            try:
                self.drawn += os.read(self.fd, 65536)
            except OSError:
                return False
        return True

    def press(self, keys):
        os.write(self.fd, keys.encode())

    def end(self):
        """Its exit code, once it has ended."""
        while self.read():
            pass
        os.close(self.fd)
        return self.process.wait()


ALTERNATE, LEFT = "\x1b[?1049h", b"\x1b[?1049l"


async def test_the_terminal_is_left_as_it_was_however_it_is_left(tmp_path):
    def look(url, how):
        terminal = Terminal("--url", url, NO_COLOR="1")
        terminal.until(ALTERNATE)
        terminal.until("live")
        terminal.press(how) if isinstance(how, str) else terminal.process.send_signal(how)
        return terminal.end(), terminal.drawn

    ways = {"q": 0, "\x03": 130, signal.SIGTERM: 143}
    async with Daemon(tmp_path) as daemon:
        looked = await asyncio.gather(*(asyncio.to_thread(look, daemon.url, how) for how in ways))
    assert [code for code, _ in looked] == list(ways.values())
    for _, drawn in looked:
        assert LEFT in drawn
        assert not re.search(rb"\x1b\[[0-9;]*[34]8;[25];", drawn)  # NO_COLOR


def run(*arguments, **environ):
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, check=False, env=os.environ | environ, timeout=60
    )
    return done.returncode, done.stderr


def test_without_a_terminal_it_names_what_there_is_instead():
    code, said = run()
    assert code == 1
    assert said.splitlines()[0] == "chainwatch: the monitor needs a terminal, and stdin is none"
    assert "chainwatch tail" in said


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--url", "http://127.0.0.1:9"], 4, "cannot reach a chainwatch daemon at http://127.0.0.1:9"),
        (["--url", "127.0.0.1"], 2, "'127.0.0.1' is no address of a daemon"),
        (["--colour", "never"], 2, "no option '--colour'"),
    ],
)
def test_what_is_wrong_is_said_before_the_screen_is_taken(arguments, code, said):
    terminal = Terminal(*arguments)
    assert terminal.end() == code
    assert said.encode() in terminal.drawn
    assert ALTERNATE.encode() not in terminal.drawn


def test_help_costs_no_textual():
    loaded = "print(*{'textual', 'aiohttp', 'rich.segment'} & {*sys.modules})"
    script = f"import sys; from chainwatch.cli import run; run(['monitor', '--help']); {loaded}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""
    assert "Example: chainwatch monitor" in done.stdout


def test_a_daemon_that_takes_its_time_is_waited_for_aloud():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        terminal = Terminal("--url", url)
        terminal.until(f"chainwatch: waiting for an answer of {url}")
        # The runner may have it ignore ^C, which a terminal of its own would not.
        terminal.process.terminate()
        assert terminal.end() == -signal.SIGTERM
    assert ALTERNATE.encode() not in terminal.drawn
