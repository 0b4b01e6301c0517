"""`chainwatch config`: what is wrong, what is in force and by what, and which file that is."""

from __future__ import annotations

import base64
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from beside import beside

from chainwatch.chain.simulated import FEED, TOKENS, Honest, SimulatedNode, World
from chainwatch.chain.simulated.answers import RpcError
from chainwatch.cli import run
from chainwatch.config import Settings
from chainwatch.config.model import TABLES

SECRET = "0123456789abcdef0123456789abcdef"
VITALIK = "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"


class Poor(Honest):
    """A node without mempool and traces."""

    def answer(self, request, view, reply):
        lacks = request.params[:1] == ["newPendingTransactions"] or "trace" in request.method
        return RpcError(-32601, "method not found") if lacks else reply


@pytest.fixture(scope="module")
def poor() -> Iterator[SimulatedNode]:
    with beside(SimulatedNode(World(1), conduct=Poor())) as node:
        yield node


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)

    def write(text: str, name: str = "my.toml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        return path

    return write


def chain(*endpoints: str, chain_id: int = 1337, more: str = "") -> str:
    return f'[[chains]]\nname = "here"\nchain_id = {chain_id}\nendpoints = {json.dumps(endpoints)}\n{more}\n'


# --- check ----------------------------------------------------------------------------------------------------------


def test_a_good_file_is_said_to_be_good(write, capsys):
    path = write(chain(f"wss://node.example/{SECRET}") + f'[[wallets]]\nname = "w"\naddress = "{VITALIK}"\n')
    assert run(["-c", str(path), "config", "check"]) == 0
    streams = capsys.readouterr()
    assert streams.out == f"{path}: good; 1 chain, 1 wallet, 0 tokens, 0 prices\n"
    assert streams.err == ""


def test_everything_wrong_is_told_with_its_line_and_what_would_be_right(write, capsys):
    path = write(
        '[server]\nprot = 1\n\n[[wallets]]\nname = "w"\naddress = "0x1"\nchains = ["her"]\n' + chain("wss://x")
    )
    assert run(["config", "check", "-c", str(path)]) == 3
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.splitlines() == [
        f"chainwatch: 3 problems in {path}",
        "  line 2, server.prot: unknown key (did you mean 'port'?)",
        "  line 6, wallets[0].address: is no address (an address is 0x and 40 hexadecimal digits)",
        "  line 7, wallets[0].chains[0]: no chain is called 'her' (did you mean 'here'?)",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there are no chains"),
        ('[server]\nhost = "0.0.0.0"\n', "0.0.0.0 is no loopback address and there are no keys"),
    ],
)
def test_what_may_not_be_meant_is_said_and_is_no_error(write, text, told, capsys):
    assert run(["-c", str(write(text)), "config", "check"]) == 0
    assert told in capsys.readouterr().err


def test_secrets_that_everybody_can_read_are_said(write, capsys):
    path = write(chain(f"wss://node.example/{SECRET}"))
    path.chmod(0o644)
    assert run(["-c", str(path), "config", "check"]) == 0
    streams = capsys.readouterr()
    assert f"every user of this machine can read {path}" in streams.err
    assert SECRET not in streams.out + streams.err


def test_a_file_that_everybody_may_read_is_none_to_worry_about_where_the_secrets_are_in_another(write, capsys):
    path = write('[[chains]]\nname = "here"\nchain_id = 5\nendpoints_file = "here"\n')
    path.with_name("here").write_text(f"wss://node.example/{SECRET}\n")
    path.chmod(0o644)
    assert run(["-c", str(path), "config", "check"]) == 0
    assert "every user" not in capsys.readouterr().err


def test_online_each_endpoint_is_asked(write, poor, capsys):
    path = write(chain(f"{poor.url}/{SECRET}", poor.http_url))
    assert run(["-c", str(path), "config", "check", "--online"]) == 0
    _, title, first, has, second, has_too = capsys.readouterr().out.splitlines()
    assert title == "here, chain id 1337"
    assert first.startswith(f"  ✓ ok     {poor.url}/…  ")
    assert "chainwatch-simulated/v1" in first
    assert has.strip() == "has subscriptions, receipts, finality, state, old state; has no mempool, no traces"
    assert second.startswith(f"  ✓ ok     {poor.http_url}  ")
    assert has_too.strip().startswith("has receipts")


def test_online_it_is_said_what_the_configuration_wants_and_nobody_has(write, poor, capsys):
    text = chain(poor.url, more="internal_transfers = true") + f'[[wallets]]\nname = "w"\naddress = "{VITALIK}"\n'
    assert run(["-c", str(write(text)), "config", "check", "--online"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "chainwatch: here: no endpoint shows its mempool: pending transactions are not told",
        "chainwatch: here: no endpoint has traces: internal transfers are not told",
    ]


def test_an_endpoint_of_another_chain_is_a_wrong_configuration(write, poor, capsys):
    path = write(chain(poor.url, "http://127.0.0.1:1", chain_id=5))
    assert run(["-c", str(path), "config", "check", "--online"]) == 3
    streams = capsys.readouterr()
    assert "✗ wrong" in streams.out
    assert "it serves chain id 1337" in streams.out
    assert streams.err.splitlines() == [
        "chainwatch: here: no endpoint can be used",
        f"chainwatch: 1 problem in {path}",
        "  line 4, chains[0].endpoints[0]: it serves chain id 1337",
    ]


def test_an_endpoint_that_does_not_answer_cannot_be_reached(write, poor, capsys):
    path = write(chain(poor.url, f"http://127.0.0.1:1/{SECRET}"))
    assert run(["-c", str(path), "config", "check", "--online"]) == 4
    streams = capsys.readouterr()
    assert "✗ down   http://127.0.0.1:1/…" in streams.out
    assert "1 of 2 endpoints cannot be used now" in streams.err
    assert SECRET not in streams.out + streams.err


def test_contracts_are_asked_what_they_are(write, poor, capsys):
    def token(symbol: str, address: str, decimals: int) -> str:
        return f'[[tokens]]\nchain = "here"\nsymbol = "{symbol}"\naddress = "{address}"\ndecimals = {decimals}\n'

    def price(symbol: str, feed: str) -> str:
        return f'[[prices]]\nsymbol = "{symbol}"\nsource = "chainlink"\nchain = "here"\nfeed = "{feed}"\n'

    good = (
        chain(poor.url) + "".join(token(one.symbol, one.address, one.decimals) for one in TOKENS) + price("ETH", FEED)
    )
    path = write(good)
    assert run(["-c", str(path), "config", "check", "--online"]) == 0
    assert (
        capsys.readouterr().out.splitlines()[-1] == f"  {len(TOKENS) + 1} of {len(TOKENS) + 1} contracts as configured"
    )
    usdc = TOKENS[0].address
    path = write(chain(poor.url) + token("USDC", usdc, 18) + token("X", VITALIK, 18) + price("ETH", usdc))
    assert run(["-c", str(path), "config", "check", "--online"]) == 3
    streams = capsys.readouterr()
    assert streams.out.splitlines()[-1] == "  0 of 3 contracts as configured"
    assert streams.err.splitlines() == [
        f"chainwatch: 3 problems in {path}",
        "  line 10, tokens[0].decimals: its contract says 6",
        "  line 14, tokens[1].address: no token answers there (is it a contract of here?)",
        "  line 20, prices[0].feed: no feed answers there (its proxy's address is at data.chain.link)",
    ]


SHOP = """[[webhooks]]
name = "{name}"
url = "{url}"
secret_file = "shop.secret"
"""


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "shop.secret").write_text(f"whsec_{base64.b64encode(bytes(32)).decode()}")

    def one(url: str, name: str = "shop", *, more: str = "") -> str:
        return SHOP.format(name=name, url=url) + more + "\n"

    return one


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://10.1.2.3/secret-path", "the address is not public"), ("https://[::1]/", "the address is not public"),
        ("https://[::ffff:192.168.0.1]/", "the address is not public"), ("https://shop.example:25/", "port 25"),
    ],
)  # fmt: skip
def test_a_receiver_that_would_never_be_called_is_an_error_with_its_line(write, shop, capsys, url, why):
    assert run(["-c", str(write(shop(url))), "config", "check"]) == 3
    err = capsys.readouterr().err
    assert "line 3" in err
    assert why in err
    assert "allow_private = true" in err
    assert "secret-path" not in err
    assert run(["-c", str(write(shop(url, more="allow_private = true"))), "config", "check"]) == 0
    for number in ("https://2130706433/", "https://127.1/"):
        assert run(["-c", str(write(shop(number, more="allow_private = true"))), "config", "check"]) == 3
        assert "the host is no name and no address" in capsys.readouterr().err


def test_online_it_is_said_what_the_names_of_receivers_mean(write, shop, capsys):
    path = write(
        shop("https://localhost:8443/secret-path")
        + shop("https://localhost/", "mine", more="allow_private = true")
        + shop("https://8.8.8.8/", "far")
    )
    assert run(["-c", str(path), "config", "check"]) == 0
    capsys.readouterr()
    assert run(["-c", str(path), "config", "check", "--online"]) == 3
    told = capsys.readouterr()
    lines = [line.split() for line in told.out.splitlines()]
    assert ["webhooks"] in lines
    assert [line[1:3] for line in lines[-3:]] == [["wrong", "shop"], ["ok", "mine"], ["ok", "far"]]
    assert "its name means an address that is not public (" in told.err
    assert "127.0.0.1" in told.err
    assert "allow_private = true" in told.err
    assert "secret-path" not in told.out + told.err


def test_online_a_name_that_nobody_knows_is_said_and_waited_for(write, shop, capsys):
    assert run(["-c", str(write(shop("https://nobody.invalid/"))), "config", "check", "--online"]) == 4
    told = capsys.readouterr()
    assert "✗ down   shop  https://nobody.invalid  " in told.out
    assert "the names of 1 of 1 receiver are not known now" in told.err


# --- show -----------------------------------------------------------------------------------------------------------

EVERYTHING = f"""
[server]
heartbeat = "20s"
port = 1

{chain(f"wss://user:{SECRET}@node.example/v3/{SECRET}")}
[[chains]]
name = "filed"
chain_id = 10
endpoints_file = "urls"

[[prices]]
symbol = "ETH"
source = "coingecko"
id = "ethereum"
url = "https://api.example/{SECRET}"
api_key_file = "key"

[[webhooks]]
name = "shop"
url = "https://shop.example/{SECRET}"
secret_file = "hook"
"""


@pytest.fixture
def everything(write) -> Path:
    write(f"wss://other.example/{SECRET}\n", "urls")
    write(SECRET, "key")
    write("whsec_" + base64.b64encode(SECRET.encode()).decode(), "hook")
    return write(EVERYTHING)


def shown(path: Path, capsys, *options: str) -> dict:
    assert run(["-c", str(path), "config", "show", "--json", *options]) == 0
    text = capsys.readouterr().out
    assert SECRET not in text
    return json.loads(text)


def test_each_value_has_its_origin(everything, monkeypatch, capsys):
    monkeypatch.setenv("CHAINWATCH_LOG_TTL", "1d")
    told = shown(everything, capsys, "--port", "9")["settings"]
    lines = everything.read_text().splitlines()

    def line(text: str) -> str:
        return f"{everything}:{lines.index(text) + 1}"

    assert told["server"]["port"] == {"value": 9, "origin": "option", "where": "--port"}
    assert told["server"]["host"] == {"value": "127.0.0.1", "origin": "default", "where": None}
    assert told["server"]["heartbeat"] == {"value": "20s", "origin": "file", "where": line('heartbeat = "20s"')}
    assert told["log"]["ttl"] == {"value": "1d", "origin": "variable", "where": "CHAINWATCH_LOG_TTL"}
    assert told["log"]["path"]["origin"] == "default"
    first, second = told["chains"]
    assert first["endpoints"]["value"] == ["wss://node.example/…"]
    assert first["native"] == {"value": "ETH", "origin": "default", "where": None}
    at_the_file = line('endpoints_file = "urls"')
    assert second["endpoints"] == {"value": ["wss://other.example/…"], "origin": "file", "where": at_the_file}
    (price,) = told["prices"]
    assert price["url"]["value"] == "https://api.example/…"
    assert told["webhooks"][0]["url"]["value"] == "https://shop.example/…"
    assert "feed" not in price


def test_every_key_is_shown(everything, capsys):
    told = shown(everything, capsys)
    assert told["file"] == str(everything)
    assert {*told["settings"]} == {*Settings.model_fields}
    for name in ("server", "log"):
        assert {*told["settings"][name]} == {*TABLES[name].model_fields}
    assert {*told["settings"]["chains"][0]} == {*TABLES["chains"].model_fields}


def test_what_is_shown_to_people_is_a_file_of_its_own(everything, capsys):
    assert run(["-c", str(everything), "config", "show"]) == 0
    text = capsys.readouterr().out
    assert SECRET not in text
    assert "\x1b" not in text
    read = tomllib.loads(text)
    assert read["server"]["port"] == 1
    assert [one["name"] for one in read["chains"]] == ["here", "filed"]
    (line,) = (line for line in text.splitlines() if line.startswith("heartbeat"))
    assert line.endswith(f"# {everything}:3")


def test_without_a_file_what_is_built_in_is_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert run(["config", "show", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["file"] is None
    assert told["settings"]["chains"][0]["chain_id"] == {"value": 1, "origin": "built in", "where": None}
    assert told["settings"]["server"]["port"]["origin"] == "default"


# --- path -----------------------------------------------------------------------------------------------------------


def test_the_file_that_wins_is_named_with_the_reason(write, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))

    def path(*arguments: str) -> tuple[int, str, str]:
        code = run([*arguments, "config", "path"])
        streams = capsys.readouterr()
        return code, streams.out.strip(), streams.err

    users = tmp_path / ".config" / "chainwatch" / "chainwatch.toml"
    code, out, err = path()
    assert (code, out) == (1, "")
    assert f"there is no file, neither {users} nor /etc/chainwatch/chainwatch.toml" in err
    assert "`chainwatch init` writes one" in err
    write("", ".config/chainwatch/chainwatch.toml")
    code, out, err = path()
    assert (code, out) == (0, str(users))
    assert "the first that exists" in err
    named = write("", "named.toml")
    monkeypatch.setenv("CHAINWATCH_CONFIG", str(named))
    code, out, err = path()
    assert (code, out, err) == (0, str(named), "chainwatch: it is named by CHAINWATCH_CONFIG\n")
    code, out, err = path("-c", "missing.toml")
    assert (code, out) == (0, "missing.toml")
    assert err.splitlines() == ["chainwatch: it is named by -c", "chainwatch: it is not there"]
