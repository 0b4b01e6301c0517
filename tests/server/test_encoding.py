"""What `Accept-Encoding` gets."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from chainwatch.server.encoding import choose, is_local
from chainwatch.stream.coding import Coding

PLAIN, GZIP, ZSTD = Coding.IDENTITY, Coding.GZIP, Coding.ZSTD
BROWSER = "gzip, deflate, br, zstd"


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (None, PLAIN),
        ("", PLAIN),
        (" , ,", PLAIN),
        ("identity", PLAIN),
        ("gzip", GZIP),
        ("GZip", GZIP),
        ("x-gzip", GZIP),
        ("zstd", ZSTD),
        ("br, deflate", PLAIN),
        ("gzip;q=0", PLAIN),
        ("gzip;q=0, zstd", ZSTD),
        ("gzip;q=0.000", PLAIN),
        ("gzip;q=0.001", GZIP),
        ("gzip ; q=1.000", GZIP),
        ("gzip;Q=0.5", GZIP),
        # The same liking: gzip, which every decoder reads to its end.
        (BROWSER, GZIP),
        ("zstd, gzip", GZIP),
        ("zstd;q=0.9, gzip;q=0.8", ZSTD),
        ("gzip;q=0.9, zstd;q=0.8", GZIP),
        # Compressed, unless the plain body is liked better.
        ("gzip, identity", GZIP),
        ("gzip;q=0.5, identity", PLAIN),
        ("gzip;q=0.5, identity;q=0.5", GZIP),
        ("gzip;q=0.5, zstd;q=0.9, identity;q=0.7", ZSTD),
        # The star: gzip and the plain body too, never zstd.
        ("*", GZIP),
        ("*;q=0", PLAIN),
        ("*;q=0, gzip", GZIP),
        ("gzip;q=0, *", PLAIN),
        ("gzip;q=0.3, *;q=0.5", PLAIN),
        ("identity;q=0", PLAIN),  # nothing is acceptable: sent all the same
        ("identity;q=0, *;q=0", PLAIN),
        ("identity;q=0, zstd", ZSTD),
        ("identity;q=0, *", GZIP),
        # Not what the grammar has.
        ("gzip;q=2", PLAIN),
        ("gzip;q=-1", PLAIN),
        ("gzip;q=0.1234", PLAIN),
        ("gzip;q", PLAIN),
        ("gzip;level=9", PLAIN),
        ("gzip gzip", PLAIN),
        ("gzip, b r", PLAIN),
        ("gzip\x00", PLAIN),
        ("gzíp", PLAIN),
    ],
)
def test_a_client_elsewhere_gets_what_it_likes_best(accepted, coding):
    assert choose(accepted, "auto", local=False) is coding
    assert choose(accepted, "always", local=True) is coding
    assert choose(accepted, "never", local=False) is PLAIN


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (BROWSER, PLAIN),
        ("gzip, deflate", PLAIN),
        ("gzip, zstd", PLAIN),
        ("*", PLAIN),
        ("br", PLAIN),
        (None, PLAIN),
        ("gzip", GZIP),
        ("zstd", ZSTD),
        ("gzip, identity;q=0.5", GZIP),
        ("gzip, br;q=0", GZIP),
        (BROWSER + ", identity;q=0", GZIP),
        ("gzip, deflate, *;q=0", GZIP),
    ],
)
def test_a_client_on_this_machine_gets_it_compressed_only_if_it_means_it(accepted, coding):
    assert choose(accepted, "auto", local=True) is coding


def test_what_python_was_built_without_is_not_offered():
    assert choose("zstd, gzip;q=0.1", "auto", local=False, known={PLAIN, GZIP}) is GZIP
    assert choose("zstd", "auto", local=False, known={PLAIN, GZIP}) is PLAIN


@given(st.text(st.sampled_from("gzipstdx*;q=01.,  \tidentybr-"), max_size=40), st.booleans())
def test_any_header_gets_an_answer(accepted, local):
    """And never a coding that it does not name."""
    coding = choose(accepted, "auto", local=local)
    if coding is ZSTD:
        assert "zstd" in accepted
    if coding is GZIP:
        assert "gzip" in accepted or "*" in accepted


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        (("127.0.0.1", 5), True),
        (("127.9.9.9", 5), True),
        (("::1", 5, 0, 0), True),
        (("::ffff:127.0.0.1", 5, 0, 0), True),
        (("fe80::1%lo", 5, 0, 1), False),
        (("192.0.2.7", 5), False),
        (("2001:db8::1", 5, 0, 0), False),
        (("somewhere", 5), False),
        ("", True),
        (None, True),
    ],
)
def test_a_client_is_on_this_machine_by_its_address(peer, local):
    assert is_local(peer, forwarded=False) is local
    assert not is_local(peer, forwarded=True)
