"""The command line: what is typed, what is told, and the exit code that a script sees."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chainwatch import __version__
from chainwatch.cli import COMMANDS, run, use_color

PROGRAM = [sys.executable, "-m", "chainwatch"]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("CHAINWATCH_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")


def test_help_names_every_command_with_an_example(capsys):
    assert run(["--help"]) == 0
    told = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.summary)}$", told, re.MULTILINE)
    assert "Example: chainwatch serve --demo" in told
    assert "╭" not in told, "no wall of panels"


def test_without_a_command_help_goes_to_stderr(capsys):
    assert run([]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "Commands:" in told.err


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_an_example_and_the_options_of_the_frame(name, capsys):
    assert run([name, "--help"]) == 0
    told = capsys.readouterr().out
    assert f"\n  Example: {COMMANDS[name].example}\n" in told  # on one line: it is copied
    for option in ("-c, --config", "-v, --verbose", "-q, --quiet", "--color"):
        assert option in told


def test_the_version_is_told(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"chainwatch {__version__} ")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["sreve"], 2, "chainwatch: no command 'sreve'\ndid you mean 'serve'?\n"),
        (["xyzzy"], 2, f"chainwatch: no command 'xyzzy'\nthere is: {', '.join(COMMANDS)}\n"),
        (["\x1b[2J"], 2, f"chainwatch: no command '\\\\u001b[2J'\nthere is: {', '.join(COMMANDS)}\n"),
        (["serve", "--prot", "1"], 2, "--prot"),
        (["serve", "--port", "http"], 2, "'--port'"),
        (["serve", "--port", "65536"], 2, "'--port'"),
        (["serve", "--seed"], 2, "--seed"),
        (["serve", "extra"], 2, "no place for: extra"),
        (["--color", "blue", "serve"], 2, "'--color'"),
        (["-c", "missing.toml", "serve"], 3, "cannot read the configuration missing.toml: No such file"),
        (["serve", "-c", "missing.toml"], 3, "cannot read the configuration missing.toml: No such file"),
        (["-c", "other.toml", "serve", "-c", "missing.toml"], 3, "missing.toml"),
        (["serve", "--host", "0.0.0.0"], 3, "not a loopback address"),
        (["serve", "--host", ""], 3, "server.host on the command line: must not be empty"),
    ],
)
def test_each_mistake_is_one_block_and_its_exit_code(arguments, code, told, capsys):
    assert run(arguments) == code
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith("chainwatch: ")
    assert told in streams.err
    assert "Traceback" not in streams.err


def test_every_problem_of_a_file_is_told(tmp_path, capsys):
    (tmp_path / "bad.toml").write_text('[server]\nprot = 1\n[log]\nttl = "x"\n')
    assert run(["-c", str(tmp_path / "bad.toml"), "serve"]) == 3
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"chainwatch: 2 problems in {tmp_path / 'bad.toml'}"
    assert told[1] == "  line 2, server.prot: unknown key (did you mean 'port'?)"
    assert told[2].startswith("  line 4, log.ttl: is no duration")


def test_the_file_is_found_by_its_variable(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CHAINWATCH_CONFIG", str(tmp_path / "named.toml"))
    assert run(["serve"]) == 3
    assert "named.toml" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["-vv", "serve"], ["serve", "-vv"], ["-v", "serve", "-v"], ["-qvvv", "serve"]])
def test_vv_shows_a_traceback(arguments, capsys):
    assert run([*arguments, "-c", "missing.toml"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_is_told_in_a_line(monkeypatch, capsys):
    def broken(*_: object) -> None:
        raise KeyError("wss://node.example/s3cret")

    monkeypatch.setattr("chainwatch.config.find", broken)
    assert run(["serve"]) == 1
    told = capsys.readouterr().err
    assert "KeyError" in told
    assert "-vv" in told
    assert run(["serve", "-vv"]) == 1
    told += capsys.readouterr().err
    assert "Traceback" in told
    assert "s3cret" not in told


def test_an_interrupt_is_130(monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("chainwatch.config.find", interrupted)
    assert run(["serve"]) == 130


def test_a_closed_pipe_is_141_and_silent():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*PROGRAM, "--help"], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_pipe_closed_in_the_middle_of_a_command_is_141(monkeypatch):
    def cut(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("chainwatch.config.find", cut)
    monkeypatch.setattr("chainwatch.cli.close_stdout", lambda: None)  # this process still needs it
    assert run(["serve"]) == 141


class Stream(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("choice", "terminal", "environ", "colored"),
    [
        ("auto", True, {}, True),
        ("auto", False, {}, False),
        ("auto", True, {"NO_COLOR": "1"}, False),
        ("auto", True, {"NO_COLOR": ""}, True),
        ("auto", True, {"TERM": "dumb"}, False),
        ("always", False, {"NO_COLOR": "1"}, True),
        ("never", True, {}, False),
    ],
)
def test_colours_are_for_terminals_unless_said_otherwise(choice, terminal, environ, colored):
    assert use_color(Stream(terminal=terminal), choice, environ) is colored


def test_help_imports_typer_and_next_to_nothing_of_ours():
    """What it costs is in tests/bench/bench_startup.py: at most twice an import of typer. This is what makes it so."""

    def imported(code: str) -> set[str]:
        told = f"import sys; {code}; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
        return set(done.stdout.splitlines()[-1].split())

    with_help = imported("from chainwatch.cli import run; run(['--help'])")
    more = {name for name in with_help - imported("import typer") if not name.startswith(("encodings", "typer"))}
    ours = {name for name in more if name.partition(".")[0] == "chainwatch"}
    assert ours <= {"chainwatch", "chainwatch.cli", "chainwatch.errors", "chainwatch.text"}
    heavy = {"aiohttp", "pydantic", "web3", "textual", "rich.console", "asyncio", "msgspec", "structlog", "mcp"}
    assert more.isdisjoint(heavy)


def test_python_m_is_the_program():
    done = subprocess.run([*PROGRAM, "--version"], capture_output=True, check=True, cwd=Path(__file__).parent)
    assert done.stdout.startswith(b"chainwatch ")
