"""What the documents say is so: their configuration loads, their code is code, their options exist."""

from __future__ import annotations

import importlib
import json
import re
import runpy
import subprocess
import tomllib
from pathlib import Path

import pytest
import typer
from debian import program

from chainwatch.cli import CLOSED_PIPE, COMMANDS, INTERRUPTED, run
from chainwatch.config import load
from chainwatch.errors import ChainwatchError
from chainwatch.payloads import CATEGORIES, PAYLOADS
from chainwatch.server import parameters

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
MANUAL = (ROOT / "man" / "chainwatch.1").read_text("utf-8")
MADE = runpy.run_path(str(ROOT / "man" / "build.py"))["made"]()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def options(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> set[str]:
    assert run([*arguments, "--help"]) == 0
    listed = re.search(r"^Options:\n(.*?)\n\n", capsys.readouterr().out, re.MULTILINE | re.DOTALL)
    return {
        option
        for line in listed[1].splitlines()
        if line.startswith("  -")
        for option in re.findall(r"--?[a-z][a-z-]*", line.strip().split("  ")[0])
    }


def commands() -> list[list[str]]:
    """Every command, and the commands of those that are groups."""
    found: list[list[str]] = []
    for name, command in COMMANDS.items():
        module, _, function = command.target.partition(":")
        app = getattr(importlib.import_module(module), function)
        inner = app.registered_commands if isinstance(app, typer.Typer) else ()
        found += [[name], *([name, one.name] for one in inner)]
    return found


@pytest.mark.parametrize("path", MADE, ids=lambda path: path.name)
def test_what_is_made_is_as_it_would_be_made_now(path):
    """If not: `python man/build.py`."""
    assert path.read_text("utf-8") == MADE[path]


def test_the_configuration_in_the_readme_loads(tmp_path):
    (text,) = blocks("toml")
    (tmp_path / "chainwatch.toml").write_text(text)
    assert load(tmp_path / "chainwatch.toml", {"HOME": str(tmp_path)}, {}).wallets


def test_the_python_in_the_readme_is_python():
    (text,) = blocks("python")
    compile(text, "README.md", "exec")


def test_the_readme_names_every_type_in_its_category():
    for category, types in CATEGORIES.items():
        rows = re.findall(rf"^\| `{category}`(?:, `balance`)? \|.*$", README, re.MULTILINE)
        assert {word for row in rows for word in re.findall(r"`(\w+)`", row) if word in PAYLOADS} == types


def test_the_event_in_the_readme_adds_up():
    (text,) = blocks("json")
    event = json.loads(text)
    data = event["data"]
    assert [*data] == [*PAYLOADS[event["type"]].__struct_encode_fields__]
    assert int(data["balance"]) - int(data["previous_balance"]) == int(data["delta"])
    causes = sum(int(cause["amount"]) for cause in data["causes"])
    assert causes + int(data["unattributed"]) == int(data["delta"])


def test_the_manual_has_the_parameters_of_streams_and_history():
    section = re.search(r"^\.Sh STREAMS\n(.*?)^\.Sh ", MANUAL, re.MULTILINE | re.DOTALL)[1]
    items = re.findall(r"^(?:\.It Cm|go on with the parameter\n\.Cm) ([\w ,]+)", section, re.MULTILINE)
    written = {name for item in items for name in re.findall(r"\w+", item)}
    assert written == {*parameters.STREAM, *parameters.HISTORY}


@pytest.mark.parametrize("arguments", [[], *commands()])
def test_the_manual_has_every_option(arguments, capsys):
    written = {"-" + name for name in re.findall(r"\bFl ([\w-]+)", MANUAL)}
    assert options(arguments, capsys) <= written


def test_the_manual_has_no_option_that_is_not_there(capsys):
    items = [line for line in MANUAL.splitlines() if line.startswith(".It Fl")]
    written = {"-" + name for line in items for name in re.findall(r"Fl ([\w-]+)", line)}
    real = options([], capsys).union(*(options(name, capsys) for name in commands()))
    assert written <= real


def test_every_page_is_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    pages = {
        f"man/{path.name}": f"share/man/man{path.suffix[1:]}/{path.name}" for path in (ROOT / "man").glob("*.[1-9]")
    }
    assert pages.items() <= shared.items()


def test_the_manual_has_every_exit_code():
    section = re.search(r"^\.Sh EXIT STATUS\n(.*?)^\.Sh ", MANUAL, re.MULTILINE | re.DOTALL)[1]
    raised = {error.exit_code for error in errors_of(ChainwatchError)}
    assert {int(code) for code in re.findall(r"^\.It (\d+)", section, re.MULTILINE)} == {
        0,
        INTERRUPTED,
        CLOSED_PIPE,
        *raised,
    }


def errors_of(kind: type[ChainwatchError]) -> list[type[ChainwatchError]]:
    return [kind, *(inner for one in kind.__subclasses__() for inner in errors_of(one))]


@pytest.fixture(scope="session")
def mandoc() -> str:
    return program("mandoc", "mandoc")


@pytest.mark.parametrize("page", ["chainwatch.1", "chainwatch.toml.5", "chainwatch-events.7"])
def test_the_manual_is_good_mdoc(mandoc, page):
    done = subprocess.run(
        [mandoc, "-T", "lint", "-W", "warning", f"man/{page}"], cwd=ROOT, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"")
