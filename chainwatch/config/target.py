"""
Which URLs may be called, and which addresses. Pure.

Whoever registers a webhook has this machine send a request to where they like: to a database that trusts its network,
to the metadata of a cloud, to the daemon itself (CWE-918). So a client's webhook is HTTPS to a public address, and the
addresses of its name are looked at with each request, not once: a name can mean another machine a second later. The
operator, who owns this network, may allow private addresses in the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple, NoReturn

from yarl import URL

from chainwatch.errors import UsageError

LONGEST: Final = 2048
"""Characters of a URL."""
_HTTPS: Final = 443
_UNPRIVILEGED: Final = 1024

# IANA IPv4 Special-Purpose Address Registry, and multicast with all behind it.
_NO_PUBLIC_4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16",
            "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
        ),
    )
)  # fmt: skip
# What is public of IPv6 is 2000::/3, but for these (IANA IPv6 Special-Purpose Address Registry).
_PUBLIC_6: Final = IPv6Network("2000::/3")
_NO_PUBLIC_6: Final = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20")))
# What the C library, and browsers, take for an address: 2130706433, 0x7f.1, 127.1 (WHATWG URL, "ends in a number").
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_NAT64: Final = IPv6Network("64:ff9b::/96")


class Target(NamedTuple):
    """Where a webhook goes."""

    host: str
    """A name (IDNA), or an address; without brackets."""
    port: int
    path: str
    """And the query, as they are sent."""

    @property
    def authority(self) -> str:
        """As the header `Host` has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _HTTPS else f"{host}:{self.port}"


def parse(text: str, *, private: bool = False) -> Target:
    """
    The target of a URL. `UsageError`, which shows none of its path, where it is none that may be called. `private`: it
    may be on a network of ours, at any port.
    """
    if len(text) > LONGEST:
        _refuse(f"the URL is longer than {LONGEST} characters")
    if not text.isprintable() or " " in text:
        _refuse("the URL has characters that no URL has")
    try:
        url = URL(text)
        host, port = url.raw_host, url.port
    except ValueError:
        _refuse("this is no URL")
    if url.scheme != "https":
        _refuse("the URL is not https", "what a webhook carries is read by whoever it is meant for, and by nobody else")
    if not host or not port:
        _refuse("the URL names no host")
    if url.raw_user is not None or url.raw_password is not None:
        _refuse("the URL has a user or a password", "a receiver knows us by the signature of each request")
    if url.raw_fragment or "#" in text:
        _refuse("the URL has a fragment", "what stands behind # is never sent")
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]) and not _is_address(host):
        _refuse("the host is no name and no address", "an address is four numbers: https://192.0.2.7/path")
    if not private:
        if port != _HTTPS and port < _UNPRIVILEGED:
            _refuse(f"port {port} is not called", f"use {_HTTPS}, or one from {_UNPRIVILEGED} on")
        if _is_address(host) and not is_public(host):
            _refuse("the address is not public", "only the operator can name one of this network ([[webhooks]])")
    return Target(host, port, url.raw_path_qs)


def choose(addresses: Iterable[str], attempt: int, *, private: bool = False) -> str | None:
    """
    The address to call at the `attempt`th time out of all that the name has: each in turn. None where there is none, or
    where one of them may not be called: a name that mixes both is up to no good.
    """
    known = list(dict.fromkeys(addresses))
    if not known or not (private or all(map(is_public, known))):
        return None
    return known[attempt % len(known)]


def is_public(text: str) -> bool:
    """Whether anybody on the internet could call this address, so that we do no more than they can."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:  # `fe80::1%eth0`: it belongs to a link
            return False
        inner = _inside(address)
        if inner is None:
            return address in _PUBLIC_6 and not any(address in network for network in _NO_PUBLIC_6)
        address = inner
    return not any(address in network for network in _NO_PUBLIC_4)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _inside(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that is meant by one of IPv6: mapped, by NAT64 (RFC 6052), by 6to4 (RFC 3056)."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


def _refuse(what: str, hint: str = "a webhook is https://host/path at a public address") -> NoReturn:
    raise UsageError(what, parameter="url", hint=hint)
