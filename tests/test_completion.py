"""Completion as people have it: in bash, zsh and fish; and what is known without asking anybody."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from debian import program
from terminal import Terminal

from chainwatch.cli import COMMANDS, _app, run
from chainwatch.cli.completing import FILES, Candidate, candidates, shown
from chainwatch.cli.known import Names, known
from chainwatch.config import find
from chainwatch.log.schema import TABLES
from chainwatch.payloads import CATEGORIES, PAYLOADS

ALICE = "0x" + "a1" * 20
CONFIGURATION = f"""
[[chains]]
name = "base"
[[chains]]
name = "sepolia"
[[chains]]
name = "a chain; rm -rf ~"
[[tokens]]
chain = "base"
symbol = "USDC"
address = "0x{"c0" * 20}"
[[wallets]]
name = "treasury"
address = "{ALICE}"
"""


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("CHAINWATCH_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    there = tmp_path / ".config" / "chainwatch" / "chainwatch.toml"
    there.parent.mkdir(parents=True)
    there.write_text(CONFIGURATION)
    return tmp_path


def words(*typed: str) -> list[str]:
    return [one.word for one in candidates(typer.main.get_command(_app), typed, known)]


# --- what may stand where -------------------------------------------------------------------------------------------


def test_commands_are_completed_with_what_they_are_for():
    assert words("") == list(COMMANDS)
    assert candidates(typer.main.get_command(_app), ["ta"], known) == [Candidate("tail", COMMANDS["tail"].summary)]
    assert words("-v", "keys", "") == ["create", "list", "revoke"]
    assert words("keys", "re") == ["revoke"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_options_and_those_of_the_frame(command):
    arguments = [command, "create"] if command == "keys" else [command]
    assert {"--config", "--verbose", "--quiet", "--color", "--help"} <= {*words(*arguments, "-")}


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("tail --ty", ["--type"]),
        ("tail --no-f", ["--no-follow"]),
        ("tail -t token_s", ["token_swap"]),
        ("tail -t block,token_s", ["block,token_swap"]),
        ("tail --type=token_s", ["--type=token_swap"]),
        ("tail --type = token_s", ["token_swap"]),  # as bash cuts it
        ("tail -v --json -t token_s", ["token_swap"]),
        ("tail --filter pri", ["price", "price_update"]),
        ("tail --chain s", ["sepolia"]),
        ("tail --token U", ["USDC"]),
        ("tail --address 0x", [ALICE]),
        ("tail -o ", ["human", "json", "template"]),
        ("tail --since e", ["earliest"]),
        ("tail --url h", []),
        ("serve --host 0", []),
        ("tail --json=x", []),
        ("tail --unknown x", []),
        ("--color n", ["never"]),
        ("schema block_n", ["block_new"]),
        ("schema block_new price_u", ["price_update"]),
        ("keys create phone --types wallet,token_s", ["wallet,token_swap"]),
        ("history --columns id,data.amount_i", ["id,data.amount_in"]),
        ("completion z", ["zsh"]),
        ("xyzzy x", []),
        ("keys xyzzy x", []),
        ("", list(COMMANDS)),
    ],
)
def test_what_may_stand_there(typed, found):
    assert words(*typed.split(" ")) == found


@pytest.mark.parametrize("typed", ["-c ", "tail --config ", "tail --cursor-file x", "serve --log "])
def test_files_are_left_to_the_shell(typed):
    assert candidates(typer.main.get_command(_app), typed.split(" "), known) is FILES


def test_c_names_the_configuration_whose_names_are_meant(home):
    (home / "other.toml").write_text('[[chains]]\nname = "gnosis"\n')
    assert words("-c", str(home / "other.toml"), "tail", "--chain", "") == ["gnosis"]
    assert words("tail", f"--config={home}/other.toml", "--chain", "") == ["gnosis"]
    assert words("-c", str(home / "none.toml"), "tail", "--chain", "") == ["ethereum"]


@pytest.mark.parametrize(
    "text", ["[[chains", "chains = 7", "chains = [7]", "[[chains]]\nname = 7", "\x00", "a.b = 1\na = 2"]
)
def test_a_broken_configuration_is_no_error(home, text):
    (home / "broken.toml").write_text(text)
    for option in ("--chain", "--token", "--address", "-t"):
        words("-c", str(home / "broken.toml"), "tail", option, "")


def test_the_configuration_is_found_as_by_every_command(home, monkeypatch):
    def both() -> None:
        assert Names(None, os.environ).file() == (find(None, os.environ) or Path("/etc/chainwatch/chainwatch.toml"))

    both()
    monkeypatch.setenv("CHAINWATCH_CONFIG", "~/named.toml")
    both()
    monkeypatch.delenv("CHAINWATCH_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "elsewhere"))
    both()


def test_custom_types_webhooks_and_keys_of_this_machine_are_known(home, capsys):
    state = home / ".local" / "state" / "chainwatch"
    state.mkdir(parents=True)
    with sqlite3.connect(state / "events.db") as log:
        for table in TABLES:
            log.execute(table)
        log.execute("INSERT INTO state VALUES ('webhook//shop', ''), ('webhook-at//shop', ''), ('webhook/k/till', '')")
        log.execute("INSERT INTO state VALUES ('agent//desk', ''), ('agent-at//desk', ''), ('agent/k/billing', '')")
        log.execute("INSERT INTO pairs VALUES (1, NULL, 'deploy'), (2, 'base', 'block_new')")
    log.close()
    assert words("send", "") == ["deploy"]
    assert words("tail", "-t", "d") == ["deploy"]
    for command in ("show", "test", "resume", "redeliver", "discard", "remove"):
        assert words("webhooks", command, "") == ["shop", "till"]
    assert words("tail", "--agent", "") == ["desk", "billing"]
    assert run(["keys", "create", "phone", "--log", str(state / "events.db"), "--config", "/dev/null"]) == 0
    assert words("keys", "revoke", "") == ["phone"]
    capsys.readouterr()


def test_every_type_and_category_of_the_catalogue_is_known():
    assert {*CATEGORIES, *PAYLOADS} <= {*words("tail", "-t", "")}


def test_a_word_that_a_shell_would_take_for_something_else_is_left_out():
    odd = [
        Candidate("good", "a\nb\tc"),
        Candidate("$(rm -rf ~)"),
        Candidate("a b"),
        Candidate("\x1b[2J"),
        Candidate("a:b"),
    ]
    assert shown(odd, "bash") == ["good", "a:b"]
    assert shown(odd, "zsh") == ["good:a b c", "a\\:b"]
    assert shown(odd, "fish") == ["good\ta b c", "a:b"]


# --- the shells -----------------------------------------------------------------------------------------------------


def test_no_shell_in_sight_is_said(monkeypatch, capsys):
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert run(["completion"]) == 2
    assert capsys.readouterr().err == "chainwatch: there is no completion for 'tcsh'\nthere is: bash, zsh, fish\n"
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert run(["completion"]) == 0
    assert "complete -c chainwatch" in capsys.readouterr().out


BASH = """
source <(chainwatch completion bash)
ask() { COMP_WORDS=(chainwatch "$@"); COMP_CWORD=$#; _chainwatch chainwatch; echo "${COMPREPLY[*]}"; }
ask tail --no-f
ask tail -t token_s
ask tail --type = token_s
ask tail --chain ""
ask -c ""
"""


def test_bash_completes():
    done = subprocess.run(["bash", "-c", BASH], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["--no-follow", "token_swap", "token_swap", "base sepolia", ""]
    assert done.stderr == ""


FISH = """
chainwatch completion fish | source
for line in 'chainwatch tail --no-f' 'chainwatch tail -t token_s' 'chainwatch tail --type=token_s' \
    'chainwatch tail --chain '
    complete -C $line
end
"""


def test_fish_completes_with_meanings():
    done = subprocess.run(
        [program("fish", "fish"), "--no-config", "-c", FISH], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "--no-follow\tWait for more, or print what there is and exit.",
        "token_swap\ttoken",
        "--type=token_swap\ttoken",
        "base",
        "sepolia",
    ]


def test_zsh_completes(home):
    (home / ".zshrc").write_text("PS1='> '; autoload -U compinit; compinit -u\nsource <(chainwatch completion zsh)\n")
    with Terminal([program("zsh", "zsh"), "-i"], HOME=str(home)) as shell:
        shell.until("> ")
        shell.type("chainwatch tail --no-f\t")
        shell.until("--no-follow")
        shell.type("-t token_s\t")
        shell.until("token_swap")
        shell.type("--chain \t")
        seen = shell.until("sepolia")
        assert re.search(r"base.*sepolia", seen, re.DOTALL)
        assert "rm" not in seen
