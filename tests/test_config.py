"""Settings: where they come from, what they become, and how everything wrong is told at once."""

from __future__ import annotations

import json
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from chainwatch.config import Settings, api_keys, find, load, values, vocabulary
from chainwatch.config.model import TABLES
from chainwatch.errors import ConfigError
from chainwatch.event import NATIVE

ROOT = Path(__file__).parent.parent
HOME = {"HOME": "/home/ada"}
USDC = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"

CHAIN = """
[[chains]]
name = "ethereum"
chain_id = 1
endpoints = ["wss://node.example/secret"]
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "chainwatch.toml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def problems(path: Path | None, environ=HOME, flags=None) -> dict[str, str]:
    """Place -> problem and hint, of a configuration that is wrong."""
    with pytest.raises(ConfigError) as caught:
        load(path, environ, flags or {})
    assert caught.value.exit_code == 3
    return {problem.key: f"{problem.problem} ({problem.hint})" for problem in caught.value.problems}


# --- where settings come from ---------------------------------------------------------------------------------------


def test_without_a_file_public_ethereum_is_watched():
    settings = load(None, HOME, {})
    (chain,) = settings.chains
    assert (chain.name, chain.chain_id, chain.native) == ("ethereum", 1, "ETH")
    assert chain.endpoints[0] == "wss://ethereum-rpc.publicnode.com"
    assert any(url.startswith("https://") for url in chain.endpoints)
    assert len({url.split("/")[2].split(".", 1)[-1] for url in chain.endpoints}) == len(chain.endpoints)
    assert {token.symbol for token in settings.tokens} == {"USDC", "USDT", "WETH", "DAI"}
    assert settings.log.path == Path("/home/ada/.local/state/chainwatch/events.db")


def test_a_file_without_chains_watches_none(write):
    settings = load(write("[server]\nport = 9000\n"), HOME, {})
    assert settings.chains == settings.tokens == ()
    assert settings.server.port == 9000


def test_flags_win_over_variables_over_the_file_over_the_defaults(write):
    path = write('[server]\nhost = "::1"\nport = 1\nheartbeat = "1s"\n')
    environ = HOME | {"CHAINWATCH_SERVER_PORT": "2", "CHAINWATCH_SERVER_HEARTBEAT": "2s"}
    server = load(path, environ, {"server.port": 3, "server.host": None}).server
    assert (server.host, server.port, server.heartbeat, server.max_connections) == ("::1", 3, 2.0, 10_000)


def test_variables_are_read_by_what_their_key_is():
    environ = HOME | {
        "CHAINWATCH_SERVER_ALLOWED_ORIGINS": "https://a.example, https://b.example:8443",
        "CHAINWATCH_LOG_MAX_EVENTS": "1000",
        "CHAINWATCH_LOG_MAX_BYTES": "2GiB",
        "CHAINWATCH_LOG_TTL": "3600",
        "CHAINWATCH_LOG_PATH": "~/events.db",
    }
    settings = load(None, environ, {})
    assert settings.server.allowed_origins == ("https://a.example", "https://b.example:8443")
    assert (settings.log.max_events, settings.log.max_bytes, settings.log.ttl) == (1000, 2 * 1024**3, 3600.0)
    assert settings.log.path == Path("/home/ada/events.db")


def test_a_wrong_variable_is_reported_by_its_name():
    found = problems(None, HOME | {"CHAINWATCH_SERVER_PORT": "http", "CHAINWATCH_LOG_PTAH": "x"})
    assert found == {
        "CHAINWATCH_SERVER_PORT": "must be a whole number ()",
        "CHAINWATCH_LOG_PTAH": "unknown variable (did you mean 'CHAINWATCH_LOG_PATH'?)",
    }


def test_variables_of_clients_are_no_settings():
    load(None, HOME | {"CHAINWATCH_URL": "http://x", "CHAINWATCH_KEY": "k", "CHAINWATCH_CONFIG": "y"}, {})


def test_a_file_is_searched_for_in_order(tmp_path):
    environ = {"HOME": str(tmp_path), "CHAINWATCH_CONFIG": "~/named.toml", "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert find(Path("given.toml"), environ) == Path("given.toml")
    assert find(None, environ) == tmp_path / "named.toml", "what is named is taken, there or not"
    del environ["CHAINWATCH_CONFIG"]
    assert find(None, environ) in (None, Path("/etc/chainwatch/chainwatch.toml"))
    for folder in (tmp_path / ".config" / "chainwatch", tmp_path / "xdg" / "chainwatch"):
        folder.mkdir(parents=True)
        (folder / "chainwatch.toml").touch()
    assert find(None, environ) == tmp_path / "xdg" / "chainwatch" / "chainwatch.toml"
    environ["XDG_CONFIG_HOME"] = "relative/does/not/count"
    assert find(None, environ) == tmp_path / ".config" / "chainwatch" / "chainwatch.toml"


def test_the_log_is_kept_under_the_state_home():
    environ = HOME | {"XDG_STATE_HOME": "/var/lib"}
    assert load(None, environ, {}).log.path == Path("/var/lib/chainwatch/events.db")


def test_paths_in_a_file_are_relative_to_it_and_flags_to_where_one_is(write, tmp_path):
    path = write('[log]\npath = "data/events.db"\n')
    assert load(path, HOME, {}).log.path == tmp_path / "data" / "events.db"
    assert load(path, HOME, {"log.path": Path("here.db")}).log.path == Path("here.db")


def test_only_a_log_path_that_somebody_named_counts_as_set():
    """A demonstration keeps its events in a temporary log unless one was named: never in the one of real chains."""
    assert "path" not in load(None, HOME, {}).log.model_fields_set
    assert "path" in load(None, HOME, {"log.path": Path("here.db")}).log.model_fields_set
    assert "path" in load(None, HOME | {"CHAINWATCH_LOG_PATH": "there.db"}, {}).log.model_fields_set


def test_endpoints_can_stand_in_a_file_of_their_own(write):
    write("# ours first\nwss://a.example/key\n\n  https://b.example  \n", "endpoints")
    chain = '[[chains]]\nname = "x"\nchain_id = 5\nendpoints_file = "endpoints"\n'
    (settings,) = load(write(chain), HOME, {}).chains
    assert settings.endpoints == ("wss://a.example/key", "https://b.example")


def test_a_wrong_line_of_an_endpoints_file_is_named(write):
    write("wss://a.example\n# note\nnode.example/s3cret\n", "endpoints")
    path = write('[[chains]]\nname = "x"\nchain_id = 5\nendpoints_file = "endpoints"\n')
    found = problems(path)
    assert list(found) == ["chains[0].endpoints_file, line 3"]
    assert "s3cret" not in str(found)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ('endpoints_file = "missing"', "cannot be read"),
        ('endpoints_file = "empty"', "holds no URL"),
        ('endpoints_file = "empty"\nendpoints = ["wss://x"]', "endpoints are given too"),
    ],
)
def test_an_endpoints_file_that_gives_nothing_is_one_problem(write, keys, problem):
    write("# none\n", "empty")
    found = problems(write(f'[[chains]]\nname = "x"\nchain_id = 5\n{keys}\n'))
    assert list(found) == ["chains[0].endpoints_file"]
    assert problem in found["chains[0].endpoints_file"]


# --- what values become ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("250ms", 0.25), ("15s", 15), ("1m", 60), ("1.5h", 5400), ("7d", 604_800), ("2w", 1_209_600), (3, 3), ("3", 3)],
)
def test_durations_become_seconds(written, seconds):
    assert values.duration(written) == seconds


@pytest.mark.parametrize(
    "written", ["", "s", "-1s", "1 fortnight", -1, True, None, float("nan"), float("inf"), "1h30m"]
)
def test_what_is_no_duration_is_refused(written):
    with pytest.raises(values.Wrong, match="no duration"):
        values.duration(written)


@pytest.mark.parametrize(
    ("written", "size"), [("64MiB", 64 * 2**20), ("4GiB", 2**32), ("1kB", 1000), ("1.5 KiB", 1536), ("7", 7), (9, 9)]
)
def test_sizes_become_bytes(written, size):
    assert values.size(written) == size


@given(st.integers(0, 2**63))
def test_a_size_in_bytes_is_exact(size):
    assert values.size(str(size)) == values.size(f"{size}B") == size


@pytest.mark.parametrize("written", ["", "MiB", "-1", 1.5, True, "1 acre"])
def test_what_is_no_size_is_refused(written):
    with pytest.raises(values.Wrong, match="no size"):
        values.size(written)


def test_an_address_is_kept_in_lower_case():
    for written in (USDC, USDC.lower(), "0x" + USDC[2:].upper(), "0X" + USDC[2:]):
        assert values.address(written) == USDC.lower()


def test_an_address_with_a_wrong_checksum_is_a_typing_error():
    with pytest.raises(values.Wrong, match="checksum"):
        values.address(USDC.replace("A0b8", "a0b8"))


@pytest.mark.parametrize("written", ["", "0x12", USDC + "0", USDC[2:], 12, None, "0x" + "g" * 40])
def test_what_is_no_address_is_refused(written):
    with pytest.raises(values.Wrong, match="no address"):
        values.address(written)


@pytest.mark.parametrize("written", ["wss://a", "ws://127.0.0.1:8546", "https://u:p@a.example/x?y=z", "http://[::1]:1"])
def test_an_endpoint_is_kept_as_it_is(written):
    assert values.endpoint(written) == written


@pytest.mark.parametrize(
    "written",
    [
        "node.example/s3cret",
        "ftp://a/s3cret",
        "wss:///s3cret",
        "wss://a:b/s3cret",
        "wss://[::1/s3cret",
        "wss://a/s3 cret",
        3,
    ],
)
def test_what_is_no_endpoint_is_refused_without_being_shown(written):
    with pytest.raises(values.Wrong) as caught:
        values.endpoint(written)
    assert "s3" not in str(caught.value) + caught.value.hint


def test_every_key_of_a_chain_has_its_default(write):
    (chain,) = load(write(CHAIN), HOME, {}).chains
    assert chain.model_dump() == {
        "name": "ethereum",
        "chain_id": 1,
        "endpoints": ("wss://node.example/secret",),
        "endpoints_file": None,
        "confirmations": (1, 6),
        "start": "latest",
        "native": "ETH",
        "request_timeout": 10.0,
        "stall_after": None,
        "max_reorg_depth": 64,
        "transactions": "watched",
        "pending": "watched",
        "dropped_after": 30.0,
        "balance_sweep": 300.0,
        "tokens": "watched",
        "internal_transfers": False,
    }


@pytest.mark.parametrize(("chain_id", "native"), [(1, "ETH"), (56, "BNB"), (137, "POL"), (8453, "ETH"), (31337, "ETH")])
def test_the_native_currency_is_known_by_the_chain_id(write, chain_id, native):
    (chain,) = load(write(CHAIN.replace("chain_id = 1", f"chain_id = {chain_id}")), HOME, {}).chains
    assert chain.native == native


def test_confirmations_are_told_in_order(write):
    (chain,) = load(write(CHAIN + "confirmations = [12, 1]\nstart = 0\n"), HOME, {}).chains
    assert (chain.confirmations, chain.start) == ((1, 12), 0)


def test_prices_are_read(write):
    price = f'symbol = "ETH"\nsource = "chainlink"\nchain = "ethereum"\nfeed = "{USDC}"\nmin_change = "0.5%"'
    settings = load(write(f"{CHAIN}[[prices]]\n{price}"), HOME, {})
    assert settings.prices[0].min_change == Decimal("0.5")


def test_settings_cannot_be_changed():
    settings = load(None, HOME, {})
    with pytest.raises(ValidationError):
        settings.server.port = 1


def test_settings_do_not_show_endpoints(write):
    assert "secret" not in repr(load(write(CHAIN), HOME, {}))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.1.1", False), ("my-host", False)],
)  # fmt: skip
def test_only_loopback_is_loopback(host, loopback):
    assert load(None, HOME, {"server.host": host}).server.loopback is loopback


# --- what is wrong --------------------------------------------------------------------------------------------------


def test_all_problems_are_told_at_once_with_their_places(write):
    path = write("""
        [server]
        prot = 1
        heartbeat = "2h"
        [log]
        ttl = "x"
        max_bytes = "1KiB"
        [[chains]]
        name = "Eth"
        chain_id = "1"
        endpoint = ["wss://x/SECRET"]
        start = -1
        pending = "al"
        confirmations = [6, 1, 1]
        [[chains]]
        name = "poly"
        chain_id = 137
        endpoints = ["wss://ok", "foo://h/SECRET", 3]
        stall_after = "0"
        [[wallets]]
        name = "a"
        address = "0xa0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"
        chains = ["ploy"]
        [[tokens]]
        symbol = "A,B"
        [[prices]]
        symbol = "ETH"
        source = "chainlink"
        feed = "0x1"
        min_change = 3
    """)
    found = problems(path)
    assert set(found) == {
        "server.prot", "server.heartbeat", "log.ttl", "log.max_bytes",
        "chains[0].name", "chains[0].chain_id", "chains[0].endpoint", "chains[0].start", "chains[0].pending",
        "chains[0].confirmations", "chains[1].endpoints[1]", "chains[1].endpoints[2]", "chains[1].stall_after",
        "wallets[0].address", "wallets[0].chains[0]",
        "tokens[0].chain", "tokens[0].symbol", "tokens[0].address", "tokens[0].decimals",
        "prices[0].chain", "prices[0].feed", "prices[0].min_change",
    }  # fmt: skip
    assert found["server.prot"] == "unknown key (did you mean 'port'?)"
    assert found["server.heartbeat"] == "must be at most 3_600 seconds ()"
    assert found["log.max_bytes"] == "must be at least 1024 KiB ()"
    assert found["chains[0].endpoint"] == "unknown key (did you mean 'endpoints'?)"
    assert found["chains[0].pending"] == "must be 'watched', 'all' or 'none' (did you mean 'all'?)"
    assert found["wallets[0].chains[0]"] == "no chain is called 'ploy' (did you mean 'poly'?)"
    assert "SECRET" not in str(found)


COINGECKO = '[[prices]]\nsymbol = "ETH"\nsource = "coingecko"\nid = "ethereum"\n'


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (None, "cannot be read: No such file or directory ()"),
        (b"", "holds no key (it is one line, the key)"),
        (b" \r\n\n", "holds no key (it is one line, the key)"),
        (b"CG-one\nCG-two\n", "holds more than one line (it is one line, the key)"),
        (b"x" * 5000, "holds more than one line (it is one line, the key)"),
        (b"CG one", "holds what is no key (a key has no spaces, and only ASCII letters, digits and signs)"),
        (b"CG-\xc3\xbc", "holds what is no key (a key has no spaces, and only ASCII letters, digits and signs)"),
        (b"\xff\xfe", "holds what is no key (a key has no spaces, and only ASCII letters, digits and signs)"),
    ],
)
def test_a_file_without_a_key_is_a_problem_that_shows_nothing_of_it(write, tmp_path, raw, problem):
    if raw is not None:
        (tmp_path / "key").write_bytes(raw)
    found = problems(write(COINGECKO + 'api_key_file = "key"\n'))
    assert found == {"prices[0].api_key_file": problem}


@pytest.mark.parametrize("raw", [b"CG-secret", b"CG-secret\r\n", b"\xef\xbb\xbfCG-secret\n", b"\n  CG-secret \n\n"])
def test_a_key_is_read_from_its_file_and_in_no_settings(write, tmp_path, raw):
    (tmp_path / "key").write_bytes(raw)
    settings = load(write(COINGECKO + 'api_key_file = "key"\n'), HOME, {})
    assert api_keys(settings) == {str(tmp_path / "key"): "CG-secret"}
    assert "secret" not in repr(settings) + settings.model_dump_json()


def test_a_key_that_is_gone_since_is_an_error(write, tmp_path):
    (tmp_path / "key").write_bytes(b"CG-secret")
    settings = load(write(COINGECKO + 'api_key_file = "key"\n'), HOME, {})
    (tmp_path / "key").unlink()
    with pytest.raises(ConfigError, match="an API key cannot be read"):
        api_keys(settings)


@pytest.mark.parametrize(
    "url",
    ["ws://api.example", "ftp://api.example", "api.example", "https://api.example/?key=SECRET", "https://a/#b", 3],
)
def test_a_price_is_asked_for_at_a_web_address(write, url):
    found = problems(write(COINGECKO + f"url = {json.dumps(url)}\n"))
    assert found == {"prices[0].url": "is no URL of an API (write it as https://host/path, without a query)"}


def test_keys_of_a_price_that_mean_nothing_for_its_source_are_problems(write):
    chainlink = f'symbol = "ETH"\nsource = "chainlink"\nchain = "ethereum"\nfeed = "{USDC}"\n'
    web = 'id = "x"\nurl = "https://a"\ninterval = "1m"\nmonthly_calls = 5\n'
    found = problems(write(f"{CHAIN}[[prices]]\n{chainlink}{web}{COINGECKO}heartbeat = '1h'\nchain = 'ethereum'\n"))
    assert found == {
        **{f"prices[0].{key}": "means nothing where source is 'chainlink' ()"
           for key in ("id", "url", "interval", "monthly_calls")},
        **{f"prices[1].{key}": "means nothing where source is 'coingecko' ()" for key in ("heartbeat", "chain")},
    }  # fmt: skip


def test_one_source_tells_one_price_of_a_thing(write):
    feed = f'[[prices]]\nsymbol = "ETH"\nsource = "chainlink"\nchain = "ethereum"\nfeed = "{USDC}"\n'
    other = COINGECKO.replace("ethereum", "other")
    found = problems(
        write(CHAIN + feed + feed.replace('"ETH"', '"WETH"') + COINGECKO + other + other + 'quote = "EUR"\n')
    )
    assert found == {
        "prices[1].feed": "is the same as that of prices[0] ()",
        "prices[3].symbol": "is told by that source for prices[2] already ()",
    }


def test_names_are_told_apart(write):
    token = f'[[tokens]]\nchain = "ethereum"\nsymbol = "S"\ndecimals = 6\naddress = "{USDC}"\n'
    wallet = f'[[wallets]]\nname = "w"\naddress = "{USDC}"\n'
    found = problems(write(CHAIN * 2 + token + token.replace(USDC, USDC.lower()) + wallet * 2))
    assert found == {
        "chains[1].name": "is the same as that of chains[0] ()",
        "tokens[1].address": "is the same as that of tokens[0] ()",
        "wallets[1].name": "is the same as that of wallets[0] ()",
    }


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("port = 1", "port", "unknown key (it belongs in [server])"),
        ("[chain]", "chain", "unknown key (did you mean 'chains'?)"),
        ("[chains]", "chains", "must be an array of tables (write [[chains]])"),
        ("server = 1", "server", "must be a table (write [server])"),
        ("chains = [1]", "chains[0]", "must be a table (write [[chains]])"),
        ("[server]\nport = true", "server.port", "must be a whole number ()"),
        ('[server]\nport = "80"', "server.port", "must be a whole number ()"),
        ("[server]\nport = 65536", "server.port", "must be at most 65535 ()"),
        ('[server]\nhost = ""', "server.host", "must not be empty ()"),
        ('[log]\npath = ""', "log.path", "is no path of a file ()"),
        ("[server]\nallowed_origins = 'x'", "server.allowed_origins", "must be a list ()"),
        ('[server]\n"a\\u001bb" = 1', "server.a\\u001bb", "unknown key ()"),
    ],
)
def test_each_mistake_has_its_words(write, text, key, problem):
    assert problems(write(text)) == {key: problem}


def test_a_syntax_error_has_its_line_and_column(write):
    path = write('[server]\nport = = 1\nhost = "s3cret"\n')
    found = problems(path)
    assert list(found) == ["line 2, column 8"]


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(ConfigError, match="cannot read"):
            load(path, HOME, {})
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "latin.toml", HOME, {})


def test_a_file_of_an_editor_of_windows_is_read(tmp_path):
    (tmp_path / "windows.toml").write_bytes(b"\xef\xbb\xbf[server]\r\nport = 9000\r\n")
    assert load(tmp_path / "windows.toml", HOME, {}).server.port == 9000


def test_a_file_that_nobody_wrote_is_an_error_and_no_fault(tmp_path):
    (tmp_path / "deep.toml").write_text("a = " + "[" * 5000)
    with pytest.raises(ConfigError, match="is no configuration"):
        load(tmp_path / "deep.toml", HOME, {})


# --- what follows from settings -------------------------------------------------------------------------------------


def test_filters_know_symbols_of_native_currencies_and_tokens(write):
    words = vocabulary(load(None, HOME, {}))
    assert words.chains == ("ethereum",)
    assert words.tokens["ETH"] == (("ethereum", NATIVE),)
    assert words.tokens["USDC"] == (("ethereum", USDC.lower()),)
    assert vocabulary(Settings()).tokens == {}


def test_every_key_is_described():
    schema = Settings.model_json_schema()
    for name, model in {"Settings": schema, **schema["$defs"]}.items():
        for key, field in model["properties"].items():
            assert field.get("description"), f"{name}.{key}"


def test_the_example_loads_without_a_problem():
    settings = load(ROOT / "chainwatch.example.toml", HOME, {})
    assert [chain.name for chain in settings.chains] == ["ethereum"]


def test_the_example_with_everything_switched_on_names_every_key():
    tables = everything_in_the_example()
    for name, model in TABLES.items():
        given = [tables[name]] if isinstance(tables[name], dict) else tables[name]
        assert {key for table in given for key in table} == set(model.model_fields), name


@pytest.mark.parametrize("name", ["server", "log", "chains", "wallets", "prices"])
def test_the_example_shows_the_defaults(name):
    tables = everything_in_the_example()
    table = tables[name] if isinstance(tables[name], dict) else tables[name][0]
    table.pop("endpoints_file", None)
    read = TABLES[name].model_validate(table)
    for key, field in TABLES[name].model_fields.items():
        if not field.is_required() and field.default_factory is None and field.default is not None:
            assert getattr(read, key) == field.default, key


def everything_in_the_example() -> dict:
    """The example with each `#key = value` and `#[table]` brought to life; `# prose` stays a comment."""
    lines = (ROOT / "chainwatch.example.toml").read_text("utf-8").splitlines()
    return tomllib.loads("\n".join(line if line.startswith("# ") else line.removeprefix("#") for line in lines))
