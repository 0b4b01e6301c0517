"""`chainwatch init` as somebody has it who starts: at a terminal, in a script, and where something is in the way."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from beside import beside
from eth_utils.address import to_checksum_address
from terminal import Terminal

from chainwatch.chain.simulated import SimulatedNode, World
from chainwatch.cli import run
from chainwatch.config import load, starter, values
from chainwatch.config.known import CHAINS
from chainwatch.errors import ChainwatchError

VITALIK = "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"
SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def node() -> Iterator[SimulatedNode]:
    with beside(SimulatedNode(World(1))) as node:
        yield node


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


@pytest.fixture
def path(home) -> Path:
    """Where the file comes."""
    return home / ".config" / "chainwatch" / "chainwatch.toml"


NOBODY = ("http://127.0.0.1:1/a", "http://127.0.0.1:1/b")
PROGRAM = f"""
from chainwatch.config import known
# A test asks nobody on the internet.
known.CHAINS["ethereum"] = known.CHAINS["ethereum"]._replace(endpoints={NOBODY})
from chainwatch.cli import main
main()
"""


@pytest.fixture
def terminal(home):
    def terminal(*arguments: str) -> Terminal:
        return Terminal([sys.executable, "-c", PROGRAM, "init", *arguments], columns=200, HOME=str(home))

    return terminal


def settings(path: Path):
    return load(path, {"HOME": str(path.parent)}, {})


# --- by options -----------------------------------------------------------------------------------------------------


def test_options_say_it_all(node, path, capsys):
    wallets = ["--wallet", f"treasury={VITALIK}", "--wallet", VITALIK.lower()]
    assert run(["init", "--chain", f"mine={node.url}/v3/{SECRET}", *wallets]) == 0
    streams = capsys.readouterr()
    assert streams.out == f"{path}\n"
    assert "chain id 1337" in streams.err
    assert "has subscriptions, receipts" in streams.err
    assert SECRET not in streams.err
    found = settings(path)
    assert [(chain.name, chain.chain_id, chain.endpoints) for chain in found.chains] == [
        ("mine", 1337, (f"{node.url}/v3/{SECRET}",))
    ]
    assert [wallet.name for wallet in found.wallets] == ["treasury", "wallet-2"]
    assert found.prices == ()
    assert run(["config", "check", "--online"]) == 0


def test_only_its_user_can_read_it(path, capsys):
    old = os.umask(0)
    try:
        assert run(["init", "--yes", "--offline"]) == 0
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == ["chainwatch.toml"]


def test_the_defaults_are_ethereum_and_its_price(path, capsys):
    assert run(["init", "--yes", "--offline"]) == 0
    found = settings(path)
    without = load(None, {"HOME": "/"}, {})
    assert (found.chains, found.tokens, found.wallets) == (without.chains, without.tokens, ())
    assert [(price.symbol, price.source, price.heartbeat) for price in found.prices] == [("ETH", "chainlink", 3600)]


def test_every_key_there_is_stands_in_the_file_with_its_meaning(path, capsys):
    assert run(["init", "--yes", "--offline"]) == 0
    text = path.read_text()
    for key in ("port", "stall_after", "address", "min_change"):
        assert re.search(rf"^# .+\n#?{key} = ", text, re.MULTILINE), key


def test_every_chain_that_is_known_here_is_a_good_configuration(path, capsys):
    chains = [argument for name in CHAINS for argument in ("--chain", name)]
    assert run(["init", "--offline", *chains]) == 0
    found = settings(path)
    assert [chain.name for chain in found.chains] == [*CHAINS]
    assert all(len(chain.endpoints) >= 2 for chain in found.chains)
    assert len({chain.chain_id for chain in found.chains}) == len(CHAINS)


def test_the_addresses_that_are_known_here_have_their_checksums():
    for chain in CHAINS.values():
        for address in (*(token[1] for token in chain.tokens), *(feed for feed, _ in chain.feeds.values())):
            assert values.address(address) == address.lower()
            assert address == to_checksum_address(address)


def test_several_nodes_of_a_chain_are_one_chain(node, path, capsys):
    assert run(["init", "--chain", f"{node.url},{node.http_url}"]) == 0
    (chain,) = settings(path).chains
    assert (chain.name, chain.endpoints) == ("chain-1337", (node.url, node.http_url))


def test_the_file_can_be_another_one(home, capsys):
    assert run(["-c", str(home / "my.toml"), "init", "--yes", "--offline"]) == 0
    streams = capsys.readouterr()
    assert streams.out == f"{home / 'my.toml'}\n"
    assert f"chainwatch -c {home / 'my.toml'} serve" in streams.err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ([], 2, "init asks questions, and stdin is no terminal"),
        (["--chain", "etherium"], 2, "did you mean 'ethereum'?"),
        (["--chain", "zork"], 2, "there is: ethereum, base"),
        (["--chain", "x=ftp://a"], 2, "the URL is no URL of a node"),
        (["--chain", "a,b"], 2, "no well-known chain is called 'a'"),
        (["--chain", "ethereum", "--offline", "--wallet", VITALIK[:-1] + "6"], 2, "has a wrong EIP-55 checksum"),
        (["--offline", "--wallet", f"a,b={VITALIK}"], 2, "'a,b' is no name"),
        (["--offline", "--wallet", f"a={VITALIK}", "--wallet", f"a={VITALIK}"], 2, "two wallets are called 'a'"),
        (["--offline", "--price", "DOGE"], 2, "there is: ETH, BTC, LINK"),
        (["--chain", f"http://127.0.0.1:1/{SECRET}"], 4, "nobody knows which chain http://127.0.0.1:1/… serves"),
        (["--chain", f"http://127.0.0.1:1/{SECRET}", "--offline"], 4, "nobody knows which chain the node serves"),
        (["-c", "/proc/nowhere/x.toml", "--yes", "--offline"], 1, "cannot write /proc/nowhere/x.toml"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_written(home, path, arguments, code, told, capsys):
    assert run(["init", *arguments]) == code
    streams = capsys.readouterr()
    assert told in streams.err
    assert streams.out == ""
    assert SECRET not in streams.err
    assert [*home.iterdir()] == []


def test_a_node_of_another_chain_is_not_taken_for_a_well_known_one(node, home, capsys):
    assert run(["init", "--chain", f"base={node.url}"]) == 3
    assert f"{node.url} serves chain id 1337, and base is 8453" in capsys.readouterr().err
    assert [*home.iterdir()] == []


def test_a_daemon_follows_what_was_written(node, home, path, capsys):
    assert run(["init", "--chain", f"mine={node.url}", "--wallet", VITALIK]) == 0
    command = [sys.executable, "-m", "chainwatch", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout.readline().startswith("listening on http://127.0.0.1:")
        ready = next(line for line in daemon.stderr if "endpoint ready" in line)
        assert "mine" in ready
        daemon.terminate()
        daemon.communicate(timeout=20)
    assert daemon.returncode == 0


# --- what is there already ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", ["file", "link"])
def test_a_file_that_is_there_stays_as_it_is(path, there, capsys):
    path.parent.mkdir(parents=True)
    if there == "file":
        path.write_text("# mine\n")
    else:
        path.symlink_to("nowhere")
    assert run(["init", "--yes", "--offline"]) == 1
    assert "is there already, and was left as it is" in capsys.readouterr().err
    assert path.is_symlink() or path.read_text() == "# mine\n"
    assert len([*path.parent.iterdir()]) == 1


def test_a_file_that_comes_meanwhile_stays_as_it_is(path):
    path.parent.mkdir(parents=True)
    path.write_text("# quicker\n")
    with pytest.raises(ChainwatchError, match="is there already"):
        starter.place(path, "# mine\n")
    assert path.read_text() == "# quicker\n"
    assert len([*path.parent.iterdir()]) == 1


# --- at a terminal --------------------------------------------------------------------------------------------------


def test_questions_are_asked_and_put_again_until_the_answer_is_good(node, path, terminal):
    with terminal() as screen:
        screen.until("Which chains [ethereum]: ")
        screen.type("etherium\n")
        screen.until("did you mean 'ethereum'?")
        screen.until("Which chains [ethereum]: ")
        screen.type(f"{node.url}/{SECRET}\n")
        assert "✓ ok" in screen.until("What do you call the chain with id 1337 [chain-1337]: ")
        screen.type("My Chain\n")
        screen.until("'My Chain' is no name for a chain")
        screen.until("[chain-1337]: ")
        screen.type("mine\n")
        screen.until("A wallet (empty for no more): ")
        screen.type(f"treasury={VITALIK[:-1]}6\n")
        screen.until("has a wrong EIP-55 checksum")
        screen.until("A wallet (empty for no more): ")
        screen.type(f"treasury={VITALIK}\n")
        screen.until("A wallet (empty for no more): ")
        screen.type("\n")
        assert str(path) in screen.rest()
        assert screen.code() == 0
    found = settings(path)
    assert [(chain.name, chain.endpoints) for chain in found.chains] == [("mine", (f"{node.url}/{SECRET}",))]
    assert [(wallet.name, wallet.address) for wallet in found.wallets] == [("treasury", VITALIK.lower())]


def test_a_node_of_ones_own_comes_first_and_has_to_be_of_the_chain(node, path, terminal):
    with terminal("--wallet", VITALIK, "--price", "BTC") as screen:
        screen.until("Which chains [ethereum]: ")
        screen.type("\n")
        screen.until("none of the endpoints of ethereum answers: they are kept as they are")
        screen.until("A node of yours for ethereum, to be preferred (a URL; empty for none): ")
        screen.type(f"{node.url}\n")
        screen.until("it serves chain id 1337, and ethereum is 1")
        screen.until("empty for none): ")
        screen.type("http://127.0.0.1:1/mine\n")
        screen.until("Take it all the same? [y/N]: ")
        screen.type("y\n")
        screen.rest()
        assert screen.code() == 0
    found = settings(path)
    assert found.chains[0].endpoints == ("http://127.0.0.1:1/mine", *NOBODY)
    assert [price.symbol for price in found.prices] == ["BTC"]


def test_ctrl_c_leaves_nothing_behind(home, terminal):
    with terminal("--offline") as screen:
        screen.until("Which chains [ethereum]: ")
        screen.type("\n")
        screen.until("empty for none): ")
        screen.type("\n")
        screen.until("A wallet (empty for no more): ")
        said = ""
        while "\n" not in said:  # a ^C that comes just before Python reads is heard with the next key
            screen.type("\x03")
            said += screen.rest(1)
        assert "Traceback" not in said
        assert screen.code() == 130
    assert [*home.iterdir()] == []
