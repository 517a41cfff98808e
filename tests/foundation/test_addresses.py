"""What is public is our own list: the same answer on every Python."""

import ipaddress
from datetime import date

import pytest

from webapp.catalog.outbound import Policy
from webapp.foundation import addresses

REFUSED = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "169.254.169.254", "172.31.255.255",
    "192.0.0.1", "192.0.0.9", "192.0.0.170", "192.0.0.192", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1",
    "192.88.99.2", "192.168.0.1", "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::10.0.0.1", "::1.1.1.1", "::ffff:0:1.1.1.1", "::ffff:10.0.0.1", "::ffff:168.63.129.16",
    "::ffff:192.0.0.192", "64:ff9b::10.0.0.1", "64:ff9b::168.63.129.16", "64:ff9b::169.254.169.254", "64:ff9b:1::1",
    "64:ff9b:1::808:808", "100::1", "100:0:0:1::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:1::1",
    "2001:2::1", "2001:3::1", "2001:4:112::1", "2001:10::1", "2001:20::1", "2001:30::1", "2001:db8::1", "2002:a00:1::1",
    "2002:808:808::1", "2620:4f:8000::1", "3fff::1", "3fff:fff:ffff::1", "4000::1", "5f00::1", "fc00::1",
    "fd00:ec2::254", "fe80::1", "fec0::1", "feff::1", "ff02::1", "ff0e::1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "168.63.129.15",
    "168.63.129.17", "172.15.255.255", "172.32.0.0", "192.0.1.1", "192.88.98.255", "192.88.100.0", "198.17.255.255",
    "198.20.0.0", "223.255.255.255", "2001:200::1", "2001:4860:4860::8888", "2003::1", "2606:4700::1111", "3ffe::1",
    "3fff:1000::1", "64:ff9b::1.1.1.1", "::ffff:8.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
def test_a_special_address_is_not_public(address):
    assert not addresses.is_public(ipaddress.ip_address(address))
    assert not Policy().admits(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_every_other_address_is_public(address):
    assert addresses.is_public(ipaddress.ip_address(address))
    assert Policy().admits(ipaddress.ip_address(address))


def test_an_allowed_network_admits_its_addresses_in_every_spelling_and_no_tunnel_into_another():
    policy = Policy(networks=("10.0.0.0/8", "2002::/16"))
    for address in ("10.0.0.1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "2002:a00:1::1", "2002:808:808::1"):
        assert policy.admits(ipaddress.ip_address(address)), address
    for address in ("::ffff:192.168.0.1", "2002:c0a8:1::1", "2002:a9fe:a9fe::1"):
        assert not policy.admits(ipaddress.ip_address(address)), address


def test_nobody_asks_python_what_is_public(monkeypatch):
    """Its answer follows the registries of the day it was released."""
    for kind in (ipaddress.IPv4Address, ipaddress.IPv6Address):
        for name in ("is_global", "is_private", "is_reserved"):
            monkeypatch.setattr(kind, name, property(lambda _self: pytest.fail("asked")))
    for address in (*REFUSED, *PUBLIC):
        Policy().admits(ipaddress.ip_address(address))


def test_the_lists_say_of_which_day_the_registries_are():
    assert date.fromisoformat(addresses.REGISTRIES_OF) >= date(2025, 10, 9)
