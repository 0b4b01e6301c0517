"""Which URLs and addresses may be called."""

from __future__ import annotations

import pytest

from chainwatch.config import target
from chainwatch.config.target import Target
from chainwatch.errors import UsageError

PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808"]
NOT_PUBLIC = [
    "0.0.0.0", "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1",
    "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "fe80::1",
    "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1",
    "2002:7f00:1::1", "2002:a9fe:a9fe::", "2002:c0a8:101::", "2001::1", "2001:db8::1", "3fff::1", "100::1", "4000::1",
    "2606:4700::1111%eth0", "no address",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_called(address):
    assert target.is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_of_a_network_of_ours_may_not(address):
    assert not target.is_public(address)


def test_a_url_is_taken_as_it_is():
    assert target.parse("https://Example.com/a%2Fb?x=%20&y") == Target("example.com", 443, "/a%2Fb?x=%20&y")
    assert target.parse("https://bücher.example:8443") == Target("xn--bcher-kva.example", 8443, "/")
    assert target.parse("https://[2606:4700::1111]/").authority == "[2606:4700::1111]"
    assert target.parse("https://example.com:8443/").authority == "example.com:8443"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/", "not https"), ("ftp://example.com/", "not https"), ("example.com", "not https"),
        ("https:///path", "host"), ("https://", "host"), ("https://user@example.com/", "user"),
        ("https://:secret@example.com/", "user"), ("https://example.com/#x", "fragment"),
        ("https://example.com/#", "fragment"), ("https://example.com:0/", "host"),
        ("https://example.com:22/", "port 22"), ("https://example.com:99999/", "no URL"),
        ("https://127.0.0.1/", "not public"), ("https://[::1]/", "not public"),
        ("https://[::ffff:10.0.0.1]/", "not public"), ("https://169.254.169.254/latest", "not public"),
        ("https://[2606:4700::1111%25eth0]/", "not public"), ("https://127.0.0.1./", "no name"),
        ("https://2130706433/", "no name"), ("https://0x7f000001/", "no name"), ("https://0177.0.0.1/", "no name"),
        ("https://127.1/", "no name"), ("https://0/", "no name"), ("https://a.0x/", "no name"),
        ("https://①②⑦.0.0.1/", "not public"), ("https://1.2.3.4.5/", "no name"),
        ("https://exa mple.com/", "characters"), ("https://example.com/\r\nX: y", "characters"),
        ("https://example.com/" + "a" * 2048, "longer"), ("", "not https"), ("https://[::1/", "no URL"),
    ],
)  # fmt: skip
def test_a_url_that_may_not_be_called_is_refused_with_the_reason(url, why):
    with pytest.raises(UsageError, match=why) as refused:
        target.parse(url)
    assert refused.value.parameter == "url"


def test_the_operator_may_name_a_private_address_and_any_port_and_still_https():
    assert target.parse("https://127.0.0.1:22/", private=True).host == "127.0.0.1"
    with pytest.raises(UsageError):
        target.parse("http://127.0.0.1/", private=True)


def test_addresses_take_turns_and_one_that_may_not_be_called_spoils_them_all():
    both = ["8.8.8.8", "1.1.1.1", "8.8.8.8"]
    assert [target.choose(both, attempt) for attempt in range(3)] == ["8.8.8.8", "1.1.1.1", "8.8.8.8"]
    assert target.choose([*both, "10.0.0.1"], 0) is None
    assert target.choose([], 0) is None
    assert target.choose(["10.0.0.1"], 5, private=True) == "10.0.0.1"
