"""`chainwatch keys` as people use it: what is typed, what is printed, and what a script sees."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chainwatch import config
from chainwatch.cli import run, service
from chainwatch.cli.keys import expiry, place, table
from chainwatch.errors import UsageError
from chainwatch.keys import SHAPE, Key, create, load
from chainwatch.systemd import unit

NOW = 1_780_000_000_123  # 2026-05-28T20:26:40.123Z
USDC = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"
BARE = r"cw_[0-9A-Za-z]{10}_[0-9A-Za-z]{43}\n"


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("CHAINWATCH_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(service, "SYSTEM_UNITS", tmp_path)  # root's keys here are none of a service of this machine
    return tmp_path


@pytest.fixture
def kept(home: Path) -> Path:
    """Where the keys are by default."""
    return home / ".local" / "state" / "chainwatch" / "keys.toml"


def made(capsys, *arguments: str) -> str:
    """A new key."""
    assert run(["keys", "create", *arguments]) == 0
    return capsys.readouterr().out.strip()


# --- create ---------------------------------------------------------------------------------------------------------


def test_the_key_alone_is_on_stdout_and_what_it_is_for_on_stderr(kept, capsys):
    assert run(["keys", "create", "phone", "--types", "wallet,custom:deposit", "--can", "read,send"]) == 0
    told = capsys.readouterr()
    assert re.fullmatch(BARE, told.out)
    key = load(kept).find(told.out.strip())
    assert (key.name, key.can, key.types) == ("phone", {"read", "send"}, ("wallet", "custom:deposit"))
    assert told.err.splitlines() == [
        f"chainwatch: phone ({key.id}) may read, send; types wallet, custom:deposit; never expires",
        f"chainwatch: this is shown once; its digest is kept in {kept}",
        "chainwatch: it is the first key: a daemon of this configuration wants a key from everybody now",
    ]


def test_without_options_a_key_reads_all(kept, capsys):
    made(capsys, "phone")
    (key,) = load(kept).keys
    assert (key.can, key.chains, key.types, key.addresses, key.expires) == ({"read"}, (), (), (), None)


def test_lists_are_given_with_commas_or_again(kept, capsys):
    made(capsys, "a", "--types", "block, token", "--types", "price", "--addresses", f"{USDC},0x{'b0' * 20}")
    (key,) = load(kept).keys
    assert key.types == ("block", "token", "price")
    assert key.addresses == (USDC.lower(), "0x" + "b0" * 20)


def test_only_the_first_key_is_told_to_close_the_door(capsys):
    for name, first in (("a", True), ("b", False)):
        assert run(["keys", "create", name]) == 0
        assert ("first key" in capsys.readouterr().err) is first


def test_q_says_nothing_but_the_key(capsys):
    assert run(["keys", "create", "-q", "phone"]) == 0
    told = capsys.readouterr()
    assert re.fullmatch(BARE, told.out)
    assert told.err == ""


BAD = [
    (["create"], 2, "Missing argument 'NAME'"),
    (["create", "a b"], 2, "'a b' is no name for a key\nup to 64 letters, digits, dots, - and _"),
    (["create", "there"], 2, "there is a key 'there' already\nchoose another name, or revoke that one first"),
    (["create", "x", "--can", "raed"], 2, "unknown permission 'raed'\ndid you mean 'read'?"),
    (["create", "x", "--can", "fly"], 2, "unknown permission 'fly'\nthere is: read, send, admin"),
    (["create", "x", "--can", ""], 2, "--can has an empty value"),
    (["create", "x", "--types", "wallet,"], 2, "--types has an empty value\nleave --types out to allow all"),
    (["create", "x", "--types", "tokn"], 2, "did you mean 'token'?\na custom type is written custom:NAME"),
    (["create", "x", "--types", "custom:No!"], 2, "'custom:No!' is no custom type\na custom type is a letter, then"),
    (["create", "x", "--chains", "etherum"], 2, "unknown chain 'etherum'\ndid you mean 'ethereum'?"),
    (["create", "x", "--chains", ""], 2, "chains has an empty value"),
    (["create", "x", "--addresses", "0x12"], 2, "'0x12' is no address\nan address is 0x and 40 hexadecimal digits"),
    (["create", "x", "--addresses", USDC.replace("A0b", "a0b")], 2, "has a wrong EIP-55 checksum"),
    (["create", "x", "--expires", "soon"], 2, "'soon' is no time for a key to end\nsuch as 12h or 90d from now"),
    (["create", "x", "--expires", "2020-01-01"], 2, "'2020-01-01' is over already\na key ends in the future"),
    (["create", "x", "--chain", "ethereum"], 2, "--chain"),
    (["create", "x", "y"], 2, "there is no place for: y"),
    (["-c", "missing.toml", "create", "x"], 3, "cannot read the configuration missing.toml"),
    (["create", "x", "-c", "missing.toml"], 3, "cannot read the configuration missing.toml"),
    (["create", "x", "--log", "/dev/null/events.db"], 3, "cannot read the API keys in /dev/null/keys.toml: Not a dir"),
    (["revoke"], 2, "Missing argument 'NAME|ID'"),
    (["revoke", "thre"], 2, "no key has the name or id 'thre'\ndid you mean 'there'?"),
    (["revoke", "\x1b[2J"], 2, "no key has the name or id '\\\\u001b[2J'\nthere is: there"),
    (["list", "x"], 2, "there is no place for: x"),
    (["list", "-c", "missing.toml"], 3, "cannot read the configuration missing.toml"),
    (["crate"], 2, "no command 'keys crate'\ndid you mean 'keys create'?"),
    (["xyzzy"], 2, "no command 'keys xyzzy'\nthere is: create, list, revoke"),
]


@pytest.mark.parametrize(("arguments", "code", "told"), BAD, ids=[" ".join(case[0]) for case in BAD])
def test_each_mistake_is_one_block_and_its_exit_code_and_changes_nothing(kept, capsys, arguments, code, told):
    made(capsys, "there")
    before = kept.read_bytes()
    assert run(["keys", *arguments]) == code
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith("chainwatch: ")
    assert told in streams.err
    assert "Traceback" not in streams.err
    assert kept.read_bytes() == before


def test_a_broken_file_is_3_and_is_not_written_over(kept, capsys):
    kept.parent.mkdir(parents=True)
    kept.write_text("[[keys]]\nnmae = 1\n")
    kept.chmod(0o600)
    for arguments in (["create", "x"], ["list"], ["list", "--json"], ["revoke", "x"]):
        assert run(["keys", *arguments]) == 3
        told = capsys.readouterr()
        assert (told.out, f"the API keys in {kept} cannot be used\n  keys[0]: " in told.err) == ("", True)
    assert kept.read_text() == "[[keys]]\nnmae = 1\n"


def test_a_file_that_others_can_read_is_told_even_with_q(kept, capsys):
    made(capsys, "phone")
    kept.chmod(0o644)
    assert run(["keys", "list", "-q"]) == 0
    assert f"chmod 600 {kept}" in capsys.readouterr().err


# --- when it ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("90d", NOW + 90 * 86_400_000),
        ("12h", NOW + 12 * 3_600_000),
        ("1.5 m", NOW + 90_000),
        ("2026-12-24", 1_798_070_400_000),
        ("2026-12-24T18:30:00Z", 1_798_137_000_000),
        ("2026-12-24 18:30:00z", 1_798_137_000_000),
        ("2026-12-24T18:30:00.250+02:00", 1_798_129_800_250),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ],
)
def test_a_key_ends_after_so_long_or_at_a_time(written, moment):
    assert expiry(written, NOW) == moment


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("", "no time"),
        ("90", "no time"),  # seconds? days?
        ("90 days", "no time"),
        ("-1d", "no time"),
        ("2026-13-01", "no time"),
        ("2026-W30", "no time"),
        ("20261224", "no time"),
        ("2026-12-24T18:30:00", "no time"),
        ("0d", "over already"),
        ("2026-05-28T20:26:40Z", "over already"),
        ("99999999999999999999d", "too far away"),
        ("9999-12-31T23:59:59-01:00", "too far away"),
    ],
)
def test_what_is_no_end_is_named(written, problem):
    with pytest.raises(UsageError, match=problem) as caught:
        expiry(written, NOW)
    assert repr(written) in str(caught.value)
    assert caught.value.hint


# --- list and revoke --------------------------------------------------------------------------------------------------


def test_a_list_is_a_table_with_expired_keys_marked(tmp_path):
    path = tmp_path / "keys.toml"
    wanted = {"can": ["send", "read"], "chains": ["ethereum", "base"], "types": ["wallet"], "addresses": [USDC]}
    one, _ = create(path, name="shop", expires=NOW + 1000, now=NOW, **wanted)
    two, _ = create(path, name="p", can=["admin"], chains=[], types=[], addresses=[], expires=None, now=NOW)
    ended = "2026-05-28T20:26:41Z"
    assert table(load(path).keys, NOW + 1000).splitlines() == [
        "NAME  ID          CAN        CHAINS          TYPES   ADDRESSES    CREATED               EXPIRES",
        f"shop  {one.id}  read,send  ethereum, base  wallet  0xA0b8…eB48  2026-05-28T20:26:40Z  {ended} expired",
        f"p     {two.id}  admin      all             all     all          2026-05-28T20:26:40Z  never",
    ]


def test_a_long_list_is_cut_and_a_hostile_one_is_harmless():
    words = ("a\x1b[2J", "b", "c", "d", "e")
    key = Key(name="x", id="0" * 10, digest="", created=0, expires=None, can=frozenset({"read"}), chains=words)
    (_, line) = table([key], 0).splitlines()
    assert "a\\u001b[2J, b, c and 2 more" in line


def test_a_list_as_json_is_all_there_is_and_no_secret(kept, capsys):
    text = made(capsys, "shop", "--types", "wallet", "--addresses", USDC.lower(), "--expires", "90d")
    made(capsys, "phone")
    assert run(["keys", "list", "--json"]) == 0
    told = capsys.readouterr()
    shop, phone = json.loads(told.out)
    assert [*shop] == ["name", "id", "can", "chains", "types", "addresses", "created", "expires", "expired"]
    assert (shop["id"], shop["addresses"], shop["expired"]) == (SHAPE.fullmatch(text)["id"], [USDC], False)
    assert (phone["can"], phone["types"], phone["expires"]) == (["read"], [], None)
    assert told.err == ""


def test_neither_the_secret_nor_its_digest_is_ever_told_again(kept, capsys):
    text = made(capsys, "phone")
    digest = load(kept).keys[0].digest
    commands = (["list"], ["list", "--json"], ["create", "phone"], ["create", text], ["revoke", text + "0"])
    for arguments in (*commands, ["revoke", text], ["revoke", text], ["list"]):
        run(["keys", "-vv", *arguments])
        told = capsys.readouterr()
        assert text[14:] not in told.out + told.err, arguments
        assert digest not in told.out + told.err, arguments
    assert text[14:] not in kept.read_text()


def test_where_there_are_no_keys_the_list_is_empty_and_makes_nothing(kept, capsys):
    assert run(["keys", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert run(["keys", "list"]) == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", f"chainwatch: there are no keys; they would be in {kept}\n")
    assert not kept.parent.exists()


@pytest.mark.parametrize("by", ["name", "id", "text"])
def test_a_key_is_revoked_and_the_last_one_opens_nothing(kept, capsys, by):
    text = made(capsys, "phone")
    (key,) = load(kept).keys
    assert run(["keys", "revoke", {"name": "phone", "id": key.id, "text": text}[by]]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines()[0] == f"chainwatch: phone ({key.id}) is revoked"
    assert f"nobody gets in until there is another. To do without keys, delete {kept}" in told.err
    assert load(kept).find(text) is None
    assert run(["keys", "list"]) == 0
    assert capsys.readouterr().err == f"chainwatch: no key is left in {kept}\n"


# --- where the keys are -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "environ", "options", "place"),
    [
        ("[log]\npath = 'data/events.db'", {}, [], "etc/data/keys.toml"),
        ("[log]\npath = 'data/events.db'\n[server]\nkeys_file = 'who.toml'", {}, [], "etc/who.toml"),
        ("[server]\nkeys_file = '~/who.toml'", {}, ["--log", "x/events.db"], "who.toml"),
        ("[log]\npath = 'data/events.db'", {}, ["--log", "x/events.db"], "x/keys.toml"),
        ("", {"CHAINWATCH_LOG_PATH": "y/events.db"}, [], "y/keys.toml"),
        ("", {"CHAINWATCH_SERVER_KEYS_FILE": "z.toml", "CHAINWATCH_LOG_PATH": "y/events.db"}, [], "z.toml"),
        ("", {"CHAINWATCH_SERVER_KEYS_FILE": "~/z.toml"}, [], "z.toml"),
        ("", {"XDG_STATE_HOME": "{home}/state"}, [], "state/chainwatch/keys.toml"),
    ],
)
def test_the_keys_are_beside_the_log_or_where_they_were_put(home, capsys, monkeypatch, config, environ, options, place):
    monkeypatch.chdir(home)
    (home / "etc").mkdir()
    (home / "etc" / "chainwatch.toml").write_text(config + "\n")
    monkeypatch.setenv("CHAINWATCH_CONFIG", str(home / "etc" / "chainwatch.toml"))
    for name, value in environ.items():
        monkeypatch.setenv(name, value.format(home=home))
    made(capsys, "phone", *options)
    assert load(home / place).named("phone")


@pytest.mark.parametrize(
    ("text", "environ", "service", "root", "where", "told"),
    [
        ("", {}, True, True, "/var/lib/chainwatch/keys.toml", ""),
        ("", {}, True, False, "{home}/.local/state/chainwatch/keys.toml", "those are for sudo"),
        ("", {}, False, True, "{home}/.local/state/chainwatch/keys.toml", ""),
        ("[log]\npath = '/x/events.db'", {}, True, True, "/x/keys.toml", ""),
        ("[server]\nkeys_file = '/x/who.toml'", {}, True, True, "/x/who.toml", ""),
        ("", {"XDG_STATE_HOME": "/x"}, True, True, "/x/chainwatch/keys.toml", ""),
    ],
)
def test_root_means_the_keys_of_the_service_where_nothing_else_is_named(
    home, text, environ, service, root, where, told
):
    file = home / "c.toml"
    file.write_text(text + "\n")
    settings = config.load(file, {"HOME": str(home), **environ}, {})
    path, doubt = place(settings, unit.STATE if service else None, environ=environ, root=root)
    assert str(path) == where.format(home=home)
    assert told in doubt
    assert bool(doubt) is bool(told)


def test_files_of_endpoints_and_of_other_keys_need_not_be_there(home, capsys):
    (home / "c.toml").write_text(
        '[[chains]]\nname = "x"\nchain_id = 5\nendpoints_file = "none"\n'
        '[[prices]]\nsymbol = "ETH"\nsource = "coingecko"\nid = "ethereum"\napi_key_file = "none"\n'
    )
    assert run(["-c", str(home / "c.toml"), "serve"]) == 3
    capsys.readouterr()
    made(capsys, "phone", "--chains", "x", "-c", str(home / "c.toml"))


# --- stdout that takes nothing ----------------------------------------------------------------------------------------


def program(*arguments: str, stdout: int) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "chainwatch", *arguments], stdout=stdout, stderr=subprocess.PIPE, check=False
    )


def test_a_key_that_nobody_could_see_is_taken_back(kept):
    full = os.open("/dev/full", os.O_WRONLY)
    done = program("keys", "create", "phone", stdout=full)
    os.close(full)
    assert done.returncode == 1
    assert done.stderr == (
        b"chainwatch: cannot write to stdout\nno space left on device\nthe key 'phone' was taken back\n"
    )
    reading, writing = os.pipe()
    os.close(reading)
    done = program("keys", "create", "phone", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")
    assert load(kept).keys == ()


def test_with_stdout_closed_no_key_is_made(kept):
    line = f'exec "{sys.executable}" -m chainwatch keys create phone >&-'
    done = subprocess.run(["sh", "-c", line], stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert b"stdout is closed" in done.stderr
    assert not kept.exists()


# --- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "example"),
    [
        ("create", "chainwatch keys create phone --types wallet --expires 90d"),
        ("list", "chainwatch keys list --json"),
        ("revoke", "chainwatch keys revoke phone"),
    ],
)
def test_each_command_has_help_with_an_example_that_works(capsys, command, example):
    assert run(["keys", command, "--help"]) == 0
    told = capsys.readouterr().out
    assert f"Example: {example}" in told
    assert "-c, --config" in told
    if command == "revoke":
        made(capsys, "phone")
    assert run(example.split()[1:]) == 0


def test_keys_alone_is_answered_with_its_commands(capsys):
    assert run(["keys"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert re.search(r"Commands:\n  create .*\n  list .*\n  revoke ", told.err)
