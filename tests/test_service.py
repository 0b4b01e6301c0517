"""`chainwatch service`: the unit that it prints is one that systemd takes, and it never replaces another in silence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from debian import program

from chainwatch.cli import run, service
from chainwatch.config import load
from chainwatch.errors import ConfigError
from chainwatch.systemd import unit

CONFIG = """
[[chains]]
name = "main"
chain_id = 1
endpoints_file = "${CREDENTIALS_DIRECTORY}/main"

[[prices]]
symbol = "ETH"
source = "coingecko"
id = "ethereum"
api_key_file = "${CREDENTIALS_DIRECTORY}/coingecko"
"""


@pytest.fixture(scope="session")
def analyze() -> str:
    return program("systemd", "systemd-analyze")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "chainwatch.toml"
    path.write_text(CONFIG)
    path.chmod(0o644)
    (tmp_path / "main").write_text("wss://node.example/secret\n")
    (tmp_path / "coingecko").write_text("a-key\n")
    return path


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user's units are."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "systemd" / "user"


def printed(capsys, *arguments: str) -> str:
    assert run([*arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("who", "exposure"), [("--system", 20), ("--user", 65)])
def test_systemd_takes_the_unit_and_finds_it_closed(analyze, config, capsys, tmp_path, who, exposure):
    text = printed(capsys, "-c", str(config), "service", who)
    file = tmp_path / unit.NAME
    file.write_text(text)
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    for command in (
        [analyze, who, "--man=no", "verify", file],
        [analyze, "--no-pager", "--offline=yes", f"--threshold={exposure}", "security", file],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Unknown" not in done.stderr


def test_the_credentials_are_those_that_the_configuration_names(config, capsys, tmp_path):
    text = printed(capsys, "-c", str(config), "service")
    loaded = [line for line in text.splitlines() if line.startswith("LoadCredential=")]
    assert loaded == [f"LoadCredential=coingecko:{tmp_path}/coingecko", f"LoadCredential=main:{tmp_path}/main"]
    assert "secret" not in text


def test_credentials_are_read_where_systemd_puts_them_and_by_hand_beside_the_configuration(config, tmp_path):
    assert load(config, {}, {}).chains[0].endpoints == ("wss://node.example/secret",)
    given = tmp_path / "given"
    given.mkdir()
    (given / "main").write_text("wss://other.example\n")
    (given / "coingecko").write_text("another\n")
    settings = load(config, {"CREDENTIALS_DIRECTORY": str(given)}, {})
    assert settings.chains[0].endpoints == ("wss://other.example",)
    assert settings.prices[0].api_key_file == str(given / "coingecko")
    (given / "main").unlink()
    with pytest.raises(ConfigError, match="endpoints_file: cannot be read"):
        load(config, {"CREDENTIALS_DIRECTORY": str(given)}, {})


def test_what_will_not_work_is_said(config, capsys, tmp_path):
    config.chmod(0o600)
    (tmp_path / "main").unlink()
    assert run(["-c", str(config), "service"]) == 0
    said = capsys.readouterr().err
    assert f"{tmp_path}/main is not there" in said
    assert "chmod 644" in said


def test_nothing_is_in_front_of_a_reload(config, capsys):
    """systemd 257 shows an `ExecReload` none of the credentials: a check there fails whatever is right."""
    reloads = [line for line in printed(capsys, "-c", str(config), "service").splitlines() if "ExecReload" in line]
    assert reloads == ["ExecReload=/bin/kill -HUP $MAINPID"]


@pytest.mark.parametrize(
    ("pages", "line"),
    [
        (["man:chainwatch(1)"], "Documentation=man:chainwatch(1)\n"),
        (["file:///a%20b/x.1", "file:///a/y.5"], "Documentation=file:///a%%20b/x.1 file:///a/y.5\n"),
        ([], ""),
    ],
)
def test_the_manual_is_named_where_it_is(pages, line):
    made = unit.Service(user=True, command=["/x"], config=None, credentials={}, pages=pages)
    assert f"your chains\n{line}\n[Service]" in unit.write(made)


def test_the_service_of_the_machine_is_known_by_the_configuration_that_it_reads(config, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(service, "SYSTEM_UNITS", tmp_path)
    place = tmp_path / unit.NAME
    assert service.keeps(config) is None
    place.write_text(printed(capsys, "-c", str(config), "service"))
    assert service.keeps(config) == unit.STATE
    assert service.keeps(tmp_path / "other.toml") is None
    assert service.keeps(None) is None
    place.write_text(unit.write(unit.Service(user=False, command=["/x"], config=None, credentials={}, pages=())))
    assert service.keeps(None) == unit.STATE
    assert service.keeps(config) is None


def test_a_configuration_that_cannot_be_read_makes_no_unit(capsys, tmp_path):
    assert run(["-c", str(tmp_path / "none.toml"), "service"]) == 3
    told = capsys.readouterr()
    assert not told.out
    assert "cannot read the configuration" in told.err


def test_a_unit_is_installed_once_and_not_replaced_in_silence(config, capsys, units):
    command = ["-c", str(config), "service", "--user", "--install"]
    assert "written\nnext: systemctl --user daemon-reload" in printed(capsys, *command)
    place = units / unit.NAME
    made = place.read_text()
    assert made == printed(capsys, "-c", str(config), "service", "--user")
    assert "as it should be" in printed(capsys, *command)
    place.write_text(made + "# mine\n")
    assert run(command) == 1
    told = capsys.readouterr()
    assert not told.out
    assert "is there, and differs" in told.err
    assert place.read_text() == made + "# mine\n"
    assert "replaced" in printed(capsys, *command, "--force")
    assert place.read_text() == made
    assert place.with_suffix(".service.old").read_text() == made + "# mine\n"


def test_a_service_of_the_system_takes_root(config):
    """As another user in a process of its own; nothing is written."""
    code = "import os\nfrom chainwatch.cli.service import *\nos.geteuid() or os.setuid(65534)\n"
    code += "try: put(SYSTEM_UNITS / 'chainwatch-test.service', '', force=False)\nexcept ChainwatchError as e: print(e)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "cannot write" in done.stdout, done.stderr
    assert "sudo" in done.stdout


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("/usr/bin/chainwatch", "/usr/bin/chainwatch"),
        ("/opt/my folder/100%", '"/opt/my folder/100%%"'),
        ("/a/$HOME", "/a/$$HOME"),
        ('/a/"b\\', '"/a/\\"b\\\\"'),
    ],
)
def test_what_systemd_would_expand_is_written_as_it_is_meant(text, word):
    assert unit.word(text) == word


@pytest.mark.parametrize(
    ("path", "hidden"), [("/root/.venv/bin/chainwatch", True), ("/home/a/x", True), ("/opt/x", False)]
)
def test_homes_are_hidden_from_a_service_of_the_system(path, hidden):
    assert unit.hidden(Path(path)) is hidden


@pytest.mark.parametrize("journal", [True, False])
def test_why_a_service_ended_is_an_error_in_its_journal(tmp_path, journal):
    with (tmp_path / "journal").open("w+") as stderr:
        status = os.fstat(stderr.fileno())
        environ = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + (not journal)}"}
        command = [sys.executable, "-m", "chainwatch", "-c", str(tmp_path / "none.toml"), "serve"]
        assert subprocess.run(command, stderr=stderr, env=environ, check=False).returncode == 3
        stderr.seek(0)
        first, second = stderr.read().splitlines()
    mark = "<3>" if journal else ""
    assert first.startswith(f"{mark}chainwatch: cannot read the configuration")
    assert second.startswith(f"{mark}name another one with -c")
