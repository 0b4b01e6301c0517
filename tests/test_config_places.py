"""Where in a file each setting stands."""

from __future__ import annotations

import pytest

from chainwatch.config import load
from chainwatch.config.places import line_of, lines
from chainwatch.errors import ConfigError

TEXT = """\
# [not] = "a table"
[server]
port = 80
"a b" = '''x
[[nor.this]]
'''
allowed_origins = [
  "a", # not ] the end
  "b",
]

[[chains]]
name = "x]"
endpoints = ["a",
 "b"]
[chains.below]
k = 1
[[chains]]
name.b = 1979-05-27 07:32:00
t = { a = [1, {b=2}],
c = \"\"\"q\\"\"\"\" }
[[chains.more]]
k = 2
"""


def test_each_key_table_and_item_has_its_line():
    assert lines(TEXT) == {
        "server": 2, "server.port": 3, "server.a b": 4,
        "server.allowed_origins": 7, "server.allowed_origins[0]": 8, "server.allowed_origins[1]": 9,
        "chains[0]": 12, "chains[0].name": 13,
        "chains[0].endpoints": 14, "chains[0].endpoints[0]": 14, "chains[0].endpoints[1]": 15,
        "chains[0].below": 16, "chains[0].below.k": 17,
        "chains[1]": 18, "chains[1].name": 19, "chains[1].name.b": 19,
        "chains[1].t": 20, "chains[1].t.a": 20, "chains[1].t.a[0]": 20, "chains[1].t.a[1]": 20,
        "chains[1].t.a[1].b": 20, "chains[1].t.c": 21,
        "chains[1].more[0]": 22, "chains[1].more[0].k": 23,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("place", "line"),
    [("chains[1].chain_id", 18), ("chains[0].endpoints[1]", 15), ("chains[0].below.x[3].y", 16), ("tokens[0]", None)],
)
def test_what_is_not_there_is_missing_where_it_should_be(place, line):
    assert line_of(place, lines(TEXT)) == line


def test_problems_are_told_from_the_top_of_the_file_with_their_lines(tmp_path):
    path = tmp_path / "chainwatch.toml"
    path.write_text('[[tokens]]\nsymbol = "A"\nchain = "x"\n\n[server]\n\nprot = 1\n')
    with pytest.raises(ConfigError) as caught:
        load(path, {"CHAINWATCH_LOG_TTL": "x"}, {"server.host": ""})
    assert [(problem.line, problem.key) for problem in caught.value.problems] == [
        (None, "server.host on the command line"),
        (None, "CHAINWATCH_LOG_TTL"),
        (1, "tokens[0].address"),
        (1, "tokens[0].decimals"),
        (3, "tokens[0].chain"),
        (7, "server.prot"),
    ]
    assert "  line 7, server.prot: unknown key (did you mean 'port'?)" in str(caught.value).splitlines()
