"""Words of logs: an indexed argument, or 32 bytes of the data, as hexadecimal text."""

from __future__ import annotations

import re
from functools import lru_cache

from chainwatch.eip55 import checksum

Party = tuple[str, str]
"""An address in lower case, and as EIP-55 writes it."""

ZERO = "0x" + "0" * 40

_address = re.compile(r"0x0{24}[0-9a-fA-F]{40}").fullmatch


# The same parties come again and again: exchanges, pools, routers.
@lru_cache(maxsize=16_384)
def party(topic: str) -> Party | None:
    """The address in a word (0x and 64 digits); None where its padding says that it is none."""
    if not _address(topic):
        return None
    address = "0x" + topic[26:].lower()
    return address, checksum(address)
