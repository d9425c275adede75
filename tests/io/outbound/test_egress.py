"""Is every address that must not be dialled refused, whatever form it comes in?"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.io.outbound.egress import DENIED_V4, DENIED_V6, judge, judge_dial, networks

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "172.32.0.1",
    "100.128.0.1",
    "2606:4700::1111",
    "2a00:1450::1",
    "2620:fe::fe",
]
TRAPS = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "172.16.0.1",
    "192.168.1.1",
    "192.88.99.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "2001:0:53aa:64c::1",
    "2002:7f00:1::",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "5f00::1",
    "3fff::1",
    "ff02::1",
    "4000::1",
    "100::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_passes(address: str) -> None:
    assert judge(address) is None
    assert judge(ip_address(address)) is None


@pytest.mark.parametrize("address", TRAPS)
def test_a_trap_is_refused(address: str) -> None:
    assert judge(address) is not None


@pytest.mark.parametrize("text", ["", "localhost", "0x7f.1", "2130706433", "127.1", "①②⑦.⓪.⓪.①", "1.1.1.1\x00"])
def test_what_is_no_address_is_refused(text: str) -> None:
    assert judge(text) == "not_an_address"


@given(st.sampled_from(DENIED_V4), st.integers(min_value=0))
def test_every_address_of_a_denied_v4_network_is_refused_mapped_or_not(row: tuple[object, str], n: int) -> None:
    network = row[0]
    address = IPv4Address(int(network.network_address) + n % network.num_addresses)  # type: ignore[attr-defined]
    assert judge(address) is not None
    assert judge(IPv6Address(f"::ffff:{address}")) == judge(address)


@given(st.sampled_from(DENIED_V6), st.integers(min_value=0))
def test_every_address_of_a_denied_v6_network_is_refused(row: tuple[object, str], n: int) -> None:
    network = row[0]
    assert judge(IPv6Address(int(network.network_address) + n % network.num_addresses)) is not None  # type: ignore[attr-defined]


@given(st.ip_addresses(v=6))
def test_a_v6_address_that_passes_is_global_unicast(address: IPv6Address) -> None:
    if judge(address) is None:
        assert address.ipv4_mapped is not None or int(address) >> 125 == 1


def test_an_allowed_network_opens_only_itself() -> None:
    allow = networks(["10.1.0.0/16", "fd00:1::/32"])
    assert judge("10.1.2.3", allow) is None
    assert judge("::ffff:10.1.2.3", allow) is None
    assert judge("fd00:1::5", allow) is None
    assert judge("10.2.0.1", allow) == "private"
    assert judge("fd00:2::5", allow) == "private"


def test_an_allowed_translator_still_has_the_address_inside_it_judged() -> None:
    allow = networks(["64:ff9b::/96"])
    assert judge("64:ff9b::101:101", allow) is None
    assert judge("64:ff9b::a9fe:a9fe", allow) == "link_local"
    assert judge("64:ff9b::7f00:1", allow) == "loopback"


def test_a_bad_allow_list_names_the_entry() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/8"):
        networks(["10.0.0.1/8"])


@pytest.mark.parametrize(
    ("port", "verdict"),
    [(80, None), (443, None), (1024, None), (65_535, None), (25, "port"), (22, "port"), (0, "port"), (65_536, "port")],
)
def test_low_ports_are_closed_except_the_two_of_the_web(port: int, verdict: str | None) -> None:
    assert judge_dial("1.1.1.1", port) == verdict
    assert judge_dial("::ffff:1.1.1.1", port) == verdict


def test_an_allowed_network_is_open_on_every_port_and_a_denied_one_on_none() -> None:
    assert judge_dial("10.1.0.1", 25, networks(["10.1.0.0/16"])) is None
    assert judge_dial("10.1.0.1", 443) == "private"
