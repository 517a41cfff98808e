"""Which addresses are on the public internet: our own list, the same on every Python. Pure, standard library alone.

Python's `ipaddress` answers the same question by the registries as they were when it was released: two installations
of one Modelyard would admit different places.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

# When the registries that the lists below are taken from were last changed: IANA's special-purpose address registries
# for IPv4 and IPv6. What they list is refused even where they call it globally reachable: those are anycast services
# (AS112, AMT, PCP, TURN, DNS-SD), and nobody serves a model or takes a webhook there.
REGISTRIES_OF = "2025-10-09"

SPECIAL_IPV4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private use
            "100.64.0.0/10",  # shared address space
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link local, and most clouds' metadata
            "172.16.0.0/12",  # private use
            "192.0.0.0/24",  # IETF protocol assignments; 192.0.0.192 is Oracle's metadata
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # 6to4 relay anycast, deprecated
            "192.168.0.0/16",  # private use
            "192.175.48.0/24",  # AS112, direct delegation
            "198.18.0.0/15",  # benchmarking
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and the limited broadcast
            # In no registry: Azure's agent for its virtual machines, a public address that is answered from inside.
            "168.63.129.16/32",
        ),
    )
)
# IPv6 the other way round: nothing outside 2000::/3 has been given to anybody as global unicast. Loopback, unique
# local, link local, site local (fec0::/10), multicast, 64:ff9b:1::/48, 100::/64, 5f00::/16 and ::a.b.c.d lie there.
GLOBAL_UNICAST = IPv6Network("2000::/3")
SPECIAL_IPV6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # IETF protocol assignments: Teredo, benchmarking, AMT, AS112, ORCHID, DRIP
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "2620:4f:8000::/48",  # AS112, direct delegation
            "3fff::/20",  # documentation
        ),
    )
)
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")

Address = IPv4Address | IPv6Address


def is_public(address: Address) -> bool:
    """Whether it is a place on the public internet. Forms that another address is written in are judged by that one."""
    address = plain(address)
    if address.version == 4:
        return not any(address in network for network in SPECIAL_IPV4)
    return address in GLOBAL_UNICAST and not any(address in network for network in SPECIAL_IPV6)


def plain(address: Address) -> Address:
    """The IPv4 address that is connected to when an IPv6 one only spells it (mapped, NAT64); else the same."""
    if address.version == 6 and (address in _MAPPED or address in _NAT64):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def tunnelled(address: Address) -> IPv4Address | None:
    """The IPv4 address that packets for this one are sent to in a tunnel (6to4; for Teredo the client behind it)."""
    if address.version == 4:
        return None
    teredo = address.teredo
    return address.sixtofour or (teredo[1] if teredo else None)
