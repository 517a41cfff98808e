"""Who the client is when somebody's proxy stands between: only a proxy that was named is believed about it."""

import asyncio
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from webapp.gateway.http.connection import Connection
from webapp.gateway.http.errors import Problem
from webapp.gateway.http.json_text import json_text
from webapp.gateway.http.request import Request, lower_name
from webapp.gateway.http.service import Service

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def is_trusted(address: Address | None, trusted: Iterable[Network]) -> bool:
    return address is not None and any(address in network for network in trusted)


def read_address(text: str) -> Address | None:
    """An address as X-Forwarded-For holds it, with or without brackets and port; None when it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        # A zone may hold any text, and it would mean an interface of somebody else's machine.
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A socket for both families shows IPv4 peers in IPv6 clothes.
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def client_of(peer: str, told: Iterable[bytes], trusted: tuple[Network, ...]) -> str:
    """The client's address: the rightmost one that no trusted proxy owns. `told` are the values of X-Forwarded-For.

    Each proxy adds on the right whom it saw, so what stands left of the first stranger is the stranger's own claim.
    What is no address ends the search at the proxy that passed it on.
    """
    client = read_address(peer)
    if not is_trusted(client, trusted):
        return peer
    for entry in reversed(b",".join(told).decode("latin-1").split(",")):
        found = read_address(entry)
        if found is None:
            break
        client = found
        if not is_trusted(found, trusted):
            break
    return str(client)


class ProxiedConnection(Connection):
    """A connection where trusted proxies are known: each request may come from another client.

    A class of its own, so that without such proxies no request pays for the question.
    """

    def __init__(self, service: Service[Connection], trusted: tuple[Network, ...]) -> None:
        super().__init__(service)
        self._trusted = trusted
        self._peer = ""
        self._is_proxy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        self._is_proxy = is_trusted(read_address(self._peer), self._trusted)
        super().connection_made(transport)

    def _begin(self, request: Request) -> None:
        self._name_client(request)
        super()._begin(request)

    def _fail(self, problem: Problem) -> None:
        if self._handler is None:
            # A head that never became readable names nobody: not the client of the request before it.
            self._name_client(self._reader.incoming or Request())
        super()._fail(problem)

    def _name_client(self, request: Request) -> None:
        if not self._is_proxy:
            return
        told = [value for name, value in request.headers if lower_name(name) == b"x-forwarded-for"]
        client = client_of(self._peer, told, self._trusted)
        if client != self.client:
            self.client = client
            self.client_json = json_text(client)
