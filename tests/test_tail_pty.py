"""`chainwatch tail` in front of somebody: a real terminal, a real daemon, keys, pipes, a window that changes."""

from __future__ import annotations

import os
import re
import signal
import sys

import pytest
from served import serving, tell
from terminal import Terminal

TAIL = [sys.executable, "-m", "chainwatch", "tail"]
COLOR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("daemon")) as url:
        yield url


def tail(url: str, *arguments: str, nohup: bool = False, **environ: str) -> Terminal:
    """tail with a note when it is connected."""
    environ = {"CHAINWATCH_URL": url, "NO_COLOR": ""} | environ
    return Terminal([*TAIL, "-v", *arguments], nohup=nohup, **environ)


def shell(url: str, command: str) -> Terminal:
    """What a person types at a prompt of bash, `$TAIL` being tail, and the exit codes of its parts at the end."""
    script = f'{command}; echo "codes ${{PIPESTATUS[*]}}"'
    return Terminal(["bash", "-c", script], CHAINWATCH_URL=url, TAIL=" ".join([*TAIL, "-v"]), NO_COLOR="")


def test_a_terminal_gets_colours_one_line_an_event_and_the_cursor_stays_where_it_is(daemon):
    with tail(daemon) as screen:
        screen.until("connected as")
        screen.until("\n")
        tell(daemon, app="web", note="\x1b[2J\x1b]0;owned\x07\r\n")
        tell(daemon, app="api")
        screen.until("app=web")
        seen = screen.until("app=api")
    assert COLOR.search(seen)
    assert "\x1b" not in COLOR.sub("", seen)
    assert seen.count("\n") == 1
    assert "note=\\u001b[2J\\u001b]0;owned\\u0007\\u000d\\u000a" in seen


@pytest.mark.parametrize(
    ("arguments", "environ"), [(["--color", "never"], {}), ([], {"NO_COLOR": "1"}), ([], {"TERM": "dumb"})]
)
def test_a_terminal_that_wants_none_gets_no_colours(daemon, arguments, environ):
    with tail(daemon, "--type", "custom", "-n", "1", *arguments, **environ) as screen:
        tell(daemon, app="web")
        assert "\x1b" not in screen.until("app=web")


def test_a_pipe_gets_no_colours_though_a_person_watches(daemon):
    tell(daemon, app="piped")
    with shell(daemon, "$TAIL --type custom -n 1 | { read line; echo seen $line; }") as screen:
        seen = screen.until("app=piped")
        assert "\x1b" not in seen
        assert "seen" in seen


def test_a_pipe_that_is_closed_ends_it_with_141_and_no_word(daemon):
    tell(daemon, app="one")
    with shell(daemon, "$TAIL -q --type custom -n 1 | head -1") as screen:
        seen = screen.rest()
    assert seen.splitlines()[1:] == ["codes 141 0"]


def test_control_c_ends_it_with_130_and_the_prompt_on_a_line_of_its_own(daemon):
    with tail(daemon) as screen:
        screen.until("connected as")
        screen.until("\n")
        screen.type("\x03")
        assert screen.rest() == "^C\n"
        assert screen.code() == 130


def test_control_c_in_a_pipeline_ends_all_of_it(daemon):
    with shell(daemon, "trap : INT; $TAIL --type custom | cat") as screen:
        screen.until("connected as")
        screen.until("\n")
        screen.type("\x03")
        assert re.search(r"codes (130|141) 130", screen.rest())  # its own ^C, or the end of cat by it


def test_a_window_that_changes_its_size_does_no_harm(daemon):
    with tail(daemon) as screen:
        screen.until("connected as")
        screen.until("\n")
        for number, (rows, columns) in enumerate([(50, 200), (5, 20), (1, 1), (24, 80)]):
            screen.resize(rows, columns)
            tell(daemon, size=number)
            screen.until(f"size={number}\n")


def test_a_terminal_that_is_closed_ends_it(daemon):
    with tail(daemon) as screen:
        screen.until("connected as")
        screen.until("\n")
        screen.hang_up()
        assert screen.code() == -signal.SIGHUP


def test_one_that_ignores_the_end_of_its_terminal_ends_with_the_next_line(daemon):
    with tail(daemon, nohup=True) as screen:
        screen.until("connected as")
        screen.until("\n")
        screen.hang_up()
        tell(daemon, app="nobody")
        assert screen.code() == 1


def test_stopped_and_continued_it_goes_on_where_it_was(daemon):
    with tail(daemon, "--type", "custom") as screen:
        screen.until("connected as")
        screen.until("\n")
        os.kill(screen.pid, signal.SIGSTOP)
        for number in range(3):
            tell(daemon, late=number)
        os.kill(screen.pid, signal.SIGCONT)
        seen = screen.until("late=2\n")
    assert re.findall(r"late=(\d)", seen) == ["0", "1", "2"]
