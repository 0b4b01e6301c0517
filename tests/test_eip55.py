"""Addresses as people read them, against the reference library."""

from eth_utils.address import to_checksum_address
from hypothesis import given, strategies as st

from chainwatch.eip55 import checksum


@given(st.binary(min_size=20, max_size=20))
def test_an_address_is_written_as_eip_55_has_it(raw):
    assert checksum("0x" + raw.hex()) == to_checksum_address(raw)
