"""`chainwatch history`: what a real daemon keeps, as JSON lines and as CSV; and the bar, number by number."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import time

import pytest
from served import serving, tell
from sse_server import an_event
from terminal import Terminal

from chainwatch.cli import run
from chainwatch.cli.columns import Csv
from chainwatch.cli.gauge import Gauge, done_by
from chainwatch.errors import UsageError
from chainwatch.event import decode, rfc3339
from chainwatch.payloads import PAYLOADS


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """A daemon with five events of its own, told at two times; the moment between."""
    with serving(tmp_path_factory.mktemp("daemon")) as url:
        for number in range(3):
            tell(url, number=number, note='a,b "c"\n=1+1')
        border = int(time.time() * 1000) + 1
        time.sleep(max(0.0, border / 1000 - time.time()))
        for number in range(3, 5):
            tell(url, "alert", number=number)
        yield url, rfc3339(border)


@pytest.fixture(autouse=True)
def there(monkeypatch, daemon):
    for name in list(os.environ):
        if name.startswith(("CHAINWATCH_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CHAINWATCH_URL", daemon[0])


def told(capfdbinary, *arguments: str) -> str:
    assert run(["history", *arguments]) == 0
    return capfdbinary.readouterr().out.decode()


def numbers(capfdbinary, *arguments: str) -> list[int]:
    return [json.loads(line)["data"]["number"] for line in told(capfdbinary, *arguments).splitlines()]


# --- which events ---------------------------------------------------------------------------------------------------


def test_all_that_is_kept_is_told_oldest_first(capfdbinary):
    assert numbers(capfdbinary) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["-t", "alert"], [3, 4]),
        (["--filter", "deploy"], [0, 1, 2]),
        (["--where", "data.number > 1 && data.number < 4"], [2, 3]),
        (["--limit", "2"], [0, 1]),
        (["-n", "2"], [3, 4]),
        (["-n", "3", "--limit", "2"], [2, 3]),
        (["--since", "1h", "--limit", "1"], [0]),
        (["--since", "now"], []),
        (["--until", "1h"], []),
        (["--until", "now"], [0, 1, 2, 3, 4]),
    ],
)
def test_what_is_asked_for_is_told(capfdbinary, arguments, found):
    assert numbers(capfdbinary, *arguments) == found


def test_until_and_since_the_same_moment_make_the_whole(daemon, capfdbinary):
    _, border = daemon
    assert numbers(capfdbinary, "--until", border) == [0, 1, 2]
    assert numbers(capfdbinary, "--since", border) == [3, 4]


def test_nothing_found_is_a_note_and_no_error(capfd):
    assert run(["history", "--until", "1h"]) == 0
    assert capfd.readouterr() == ("", "chainwatch: no such event is kept\n")
    assert run(["history", "--until", "1h", "-q"]) == 0
    assert capfd.readouterr() == ("", "")


def test_the_json_is_that_of_tail(capfdbinary):
    lines = told(capfdbinary)
    assert run(["tail", "--no-follow", "--json"]) == 0
    assert capfdbinary.readouterr().out.decode() == lines


def test_a_cursor_file_goes_on_behind_the_run_before(tmp_path, capfdbinary):
    kept = ["--cursor-file", str(tmp_path / "cursor"), "--csv", "--columns", "data.number"]
    assert told(capfdbinary, *kept, "--limit", "2") == "data.number\n0\n1\n"
    assert told(capfdbinary, *kept, "--limit", "2") == "2\n3\n"
    assert told(capfdbinary, *kept) == "4\n"
    assert told(capfdbinary, *kept) == ""


def test_a_template_and_lines_for_people(capfdbinary):
    assert told(capfdbinary, "--format", "{type} {data.number}", "-n", "1") == "alert 4\n"
    assert told(capfdbinary, "-o", "human", "-n", "1").endswith("  -         alert      number=4\n")


# --- CSV ------------------------------------------------------------------------------------------------------------


def rows(text: str | bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text if isinstance(text, str) else text.decode())))


def test_csv_of_any_type_has_the_data_as_json(capfdbinary):
    names, first, *_ = rows(told(capfdbinary, "--csv"))
    assert names == ["id", "type", "timestamp", "observed_at", "chain", "removed", "retracts", "data"]
    row = dict(zip(names, first, strict=True))
    assert (row["type"], row["chain"], row["removed"]) == ("deploy", "", "")
    assert json.loads(row["data"]) == {"number": 0, "note": 'a,b "c"\n=1+1'}


def test_csv_of_types_of_the_catalogue_has_a_column_for_each_field(capfdbinary):
    (names,) = rows(told(capfdbinary, "--csv", "-t", "token_transfer,block_new"))
    fields = {name for kind in ("token_transfer", "block_new") for name in PAYLOADS[kind].__struct_encode_fields__}
    assert [name for name in names if name.startswith("data.")] == [*dict.fromkeys(n for n in names if "data." in n)]
    assert {name.removeprefix("data.") for name in names if name.startswith("data.")} == fields


def test_columns_that_are_named_make_it_csv(capfdbinary):
    found = rows(told(capfdbinary, "--columns", "data.number,type", "--columns", "data.none", "-n", "1"))
    assert found == [["data.number", "type", "data.none"], ["4", "alert", ""]]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("＝HYPERLINK(1)", "'＝HYPERLINK(1)"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+1-1", "'+1-1"),
        ("-5", "-5"),
        ("-0.5", "-0.5"),
        (str(2**256 - 1), str(2**256 - 1)),
        ("a\r\nb\x1b[2J\u202e", "a\\u000d\\u000ab\\u001b[2J\\u202e"),
        ("x" * 50_000, "x" * 50_000),
        (True, "true"),
        (None, ""),
        ([1, {"a": "=1"}], '[1,{"a":"=1"}]'),
    ],
)
def test_no_cell_is_a_formula_or_moves_a_cursor(value, cell):
    table = Csv(["data.token"], None)
    assert rows(table(decode(json.dumps(an_event(1, token=value))), b"", "")) == [[cell]]


def test_a_column_that_no_event_can_have_is_an_error():
    with pytest.raises(UsageError, match="did you mean 'data\\.amount'"):
        Csv(["data.amuont"], frozenset({"token_transfer"}))
    assert Csv(["data.app"], None).doubts == ["only a custom event may have the field data.app"]


# --- the bar --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("newest", "end", "count", "most", "done"),
    [
        (150, 200, 5, None, 0.5),
        (150, 200, 9, 10, 0.9),  # the limit will come first
        (199, 200, 1, 10, 0.99),
        (300, 200, 1, None, 1.0),  # told while it was read
        (100, 100, 1, None, 1.0),
        (50, 200, 0, None, 0.0),
    ],
)
def test_how_far_it_is_goes_by_time_or_by_number(newest, end, count, most, done):
    assert done_by(newest, 100, end, count, most) == pytest.approx(done)


def test_a_terminal_sees_a_bar_once_it_takes_long_and_nothing_of_it_stays(monkeypatch, daemon):
    script = (
        "import sys; from chainwatch.cli import gauge, run; gauge._LONG = 0.0; "
        "sys.exit(run(['history', '--columns', 'data.number']))"
    )
    command = f'{sys.executable} -c "{script}" | cat >/dev/null; echo done'
    with Terminal(["bash", "-c", command], CHAINWATCH_URL=daemon[0]) as screen:
        seen = screen.until("done")
    assert "5 events" in seen
    assert seen.rstrip().endswith("\x1b[2Kdone")


def test_where_nobody_looks_nothing_is_drawn(capfd):
    with Gauge(None, None, shown=False) as gauge:
        gauge.saw([decode(json.dumps(an_event(1)))])
    assert gauge.count == 1
    assert capfd.readouterr() == ("", "")
