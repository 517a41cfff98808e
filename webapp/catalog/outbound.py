"""HTTP to places that policy allows. The name is resolved once, the addresses are checked, and the connection goes to
exactly the address that was checked; every redirect starts over.

Standard library alone: the same file works in the web process and in the image that jobs run in.

A proxy (HTTPS_PROXY, HTTP_PROXY, NO_PROXY) is the admin's word and not checked itself. It resolves names for us, so
behind one a name is refused when it leads to a private address here, and believed when it cannot be resolved here.
"""

import base64
import contextlib
import http.client
import ipaddress
import os
import socket
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from webapp.foundation import addresses
from webapp.foundation.addresses import Address
from webapp.foundation.deadline import Deadline, connect_any, encrypt, release, resolve
from webapp.foundation.iri import IriError, from_header, to_uri
from webapp.foundation.text import one_line

CONNECT_S = 10.0
SILENCE_S = 30.0
MAX_REDIRECTS = 8
REDIRECTS = (301, 302, 303, 307, 308)
AGENT = "modelyard"


class OutboundError(Exception):
    """No answer was had. `code`: not_allowed (never will be), unreachable or tls (may work later)."""

    def __init__(self, code: Literal["not_allowed", "unreachable", "tls"], message: str, advice: str) -> None:
        super().__init__(message)
        self.code, self.advice = code, advice


@dataclass(frozen=True)
class Policy:
    """Where requests may go beyond public addresses over https; all of it is an administrator's decision."""

    networks: tuple[str, ...] = ()  # private ranges that may be reached, as CIDR
    hosts: tuple[str, ...] = ()  # names that may be reached whatever they resolve to, over http too
    allows_http: bool = False
    proxies: Mapping[str, str] = field(default_factory=dict)  # "https", "http", "no" (the exceptions)

    def as_json(self) -> dict[str, Any]:
        """Without the proxies: their addresses may hold passwords."""
        return {"networks": list(self.networks), "hosts": list(self.hosts), "allows_http": self.allows_http}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], proxies: Mapping[str, str] | None = None) -> "Policy":
        return cls(
            tuple(data.get("networks", ())), tuple(data.get("hosts", ())), bool(data.get("allows_http")), proxies or {}
        )

    def admits(self, address: Address) -> bool:
        """Whether connections to this address may be made. One that carries another through a tunnel needs both."""
        address = addresses.plain(address)
        inner = addresses.tunnelled(address)
        if inner is not None and not self.admits(inner):
            return False
        if any(address in network for network in self._networks() if network.version == address.version):
            return True
        return addresses.is_public(address)

    def _networks(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        found = []
        for text in self.networks:
            with contextlib.suppress(ValueError):
                found.append(ipaddress.ip_network(text, strict=False))
        return found


def environment_policy(environment: Mapping[str, str] = os.environ) -> Policy:
    """The installation's policy: MODELYARD_FETCH_PRIVATE (CIDRs with commas), MODELYARD_FETCH_HTTP=1, proxies."""
    networks = tuple(part.strip() for part in environment.get("MODELYARD_FETCH_PRIVATE", "").split(",") if part.strip())
    return Policy(
        networks, allows_http=environment.get("MODELYARD_FETCH_HTTP") == "1", proxies=environment_proxies(environment)
    )


def environment_proxies(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """HTTPS_PROXY, HTTP_PROXY and NO_PROXY in either spelling."""
    names = {"https": "HTTPS_PROXY", "http": "HTTP_PROXY", "no": "NO_PROXY"}
    values = {key: environment.get(name.lower()) or environment.get(name) or "" for key, name in names.items()}
    return {key: value for key, value in values.items() if value}


@dataclass
class Response:
    """An answer whose body is still to be read. Use as a context manager."""

    status: int
    headers: http.client.HTTPMessage
    url: str
    _body: http.client.HTTPResponse
    _connection: http.client.HTTPConnection

    def read(self, size: int) -> bytes:
        """At least one byte and at most `size`; nothing at the end. Raises OutboundError when the line broke."""
        try:
            return self._body.read1(size)
        except (OSError, http.client.HTTPException) as error:
            raise OutboundError(
                "unreachable", f"Connection to {_host(self.url)} lost: {_plain(error)}.", "Try again."
            ) from error

    def close(self) -> None:
        self._body.close()
        self._connection.close()

    def __enter__(self) -> "Response":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def get(
    url: str,
    policy: Policy,
    headers: Mapping[str, str] | None = None,
    secret_headers: Mapping[str, str] | None = None,
    deadline: Deadline | None = None,
) -> Response:
    """GET with redirects followed. `secret_headers` go to the first address's origin and to no other.

    Any status is an answer. With a `deadline` all of it ends there, the body too; without one each answer must begin
    within SILENCE_S and its body may take as long as it keeps coming. Raises OutboundError.
    """
    url = _uri(url)
    origin = _origin(_split(url, policy))
    for _hop in range(MAX_REDIRECTS):
        secrets = secret_headers if secret_headers and _origin(parts_of(url)) == origin else {}
        response = ask(url, policy, {"User-Agent": AGENT, **(headers or {}), **(secrets or {})}, deadline=deadline)
        target = response.headers.get("Location")
        if response.status not in REDIRECTS or not target:
            return response
        response.close()
        try:
            url = urljoin(url, to_uri(from_header(target)))
        except ValueError as error:
            message = f"{_host(url)} redirects to something that is not a URL: {error}"
            raise OutboundError("not_allowed", message, "Check the URL.") from error
    raise OutboundError("unreachable", f"{_host(url)}: too many redirects.", "Check the URL.")


def check(url: str, policy: Policy) -> None:
    """Raise OutboundError when the address may not be asked, or its name leads nowhere."""
    parts = _split(_uri(url), policy)
    deadline = Deadline(CONNECT_S)
    if _proxy(parts, policy) is None:
        _addresses(parts, policy, deadline)
    else:
        _check_behind_proxy(parts, policy, deadline)


def ask(
    url: str,
    policy: Policy,
    headers: Mapping[str, str],
    body: bytes | None = None,
    deadline: Deadline | None = None,
) -> Response:
    """One GET, or a POST of `body`, without following redirects; `deadline` as for `get`. Raises OutboundError."""
    url = _uri(url)
    parts = _split(url, policy)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    proxy = _proxy(parts, policy)
    until = deadline or Deadline(SILENCE_S)
    try:
        if proxy is None:
            connection = _connect(parts, policy, until)
        else:
            _check_behind_proxy(parts, policy, until)
            connection, more = _connect_by_proxy(parts, proxy, until)
            path = url.partition("#")[0] if parts.scheme == "http" else path
            headers = {**headers, **more}
        try:
            line = connection.sock
            method = "GET" if body is None else "POST"
            connection.request(method, path, body, headers={"Accept-Encoding": "identity", **headers})
            answer = connection.getresponse()
            if deadline is None:
                release(line, SILENCE_S)
        except BaseException:
            connection.close()
            raise
    except ssl.SSLError as error:
        advice = "Check the address, and that this machine trusts the certificate's issuer."
        raise OutboundError(
            "tls", f"{parts.hostname} has no certificate that is trusted: {error.reason}.", advice
        ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        message = f"{parts.hostname} does not answer: {_plain(error)}."
        raise OutboundError("unreachable", message, "Check the network, the proxy and the address.") from error
    return Response(answer.status, answer.headers, url, answer, connection)


def parts_of(url: str) -> SplitResult:
    """The address in its parts; empty ones for what cannot be an address."""
    try:
        parts = urlsplit(url)
        _port(parts)
    except ValueError:
        return SplitResult("", "", "", "", "")
    return parts


def _uri(url: str) -> str:
    try:
        return to_uri(url)
    except IriError as error:
        raise OutboundError("not_allowed", str(error), "Give an address that begins with https://.") from error


def _split(url: str, policy: Policy) -> SplitResult:
    parts = parts_of(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or any(ord(char) <= 32 for char in url):
        raise OutboundError("not_allowed", f"{url!r} is not a URL.", "Give a URL that begins with https://.")
    if parts.scheme == "http" and not (policy.allows_http or parts.hostname in policy.hosts):
        advice = "Use https, or have an administrator allow http (MODELYARD_FETCH_HTTP=1)."
        raise OutboundError("not_allowed", f"Plain http is not allowed for {parts.hostname}.", advice)
    if parts.username or parts.password:
        message = "A URL must not contain a username or password."
        raise OutboundError("not_allowed", message, "Add the place as a hub with a token.")
    return parts


def _addresses(parts: SplitResult, policy: Policy, deadline: Deadline) -> list[str]:
    """The addresses of this name that may be connected to."""
    host = parts.hostname or ""
    found = _numbers(_resolve(host, _port(parts), deadline))
    if host in policy.hosts:
        return found
    allowed = [address for address in found if policy.admits(ipaddress.ip_address(address.partition("%")[0]))]
    if not allowed:
        advice = "Only public addresses are allowed. An administrator can allow a network: MODELYARD_FETCH_PRIVATE."
        raise OutboundError("not_allowed", f"{host} resolves to the private address {found[0]}.", advice)
    return allowed


def _numbers(found: list[Any]) -> list[str]:
    """The addresses in getaddrinfo's answer, once each."""
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def _resolve(host: str, port: int, deadline: Deadline) -> list[Any]:
    try:
        return resolve(host, port, deadline)
    except (OSError, UnicodeError) as error:
        advice = "Check the host name and this machine's DNS."
        raise OutboundError("unreachable", f"The host name {host} cannot be resolved.", advice) from error


def _connect(parts: SplitResult, policy: Policy, deadline: Deadline) -> http.client.HTTPConnection:
    return _dressed(parts, connect_any(_addresses(parts, policy, deadline), _port(parts), deadline), deadline)


def _dressed(parts: SplitResult, plain: socket.socket, deadline: Deadline) -> http.client.HTTPConnection:
    """A connection over this socket, encrypted when the scheme asks for it; the certificate is for the name."""
    host = parts.hostname or ""
    if parts.scheme == "http":
        connection = http.client.HTTPConnection(host, _port(parts))
        connection.sock = plain
        return connection
    context = ssl.create_default_context()
    secure = http.client.HTTPSConnection(host, _port(parts), context=context)
    secure.sock = encrypt(plain, context, host, deadline)
    return secure


def _proxy(parts: SplitResult, policy: Policy) -> str | None:
    host = parts.hostname or ""
    if policy.proxies.get("no") and urllib.request.proxy_bypass_environment(host, {"no": policy.proxies["no"]}):  # type: ignore[attr-defined]
        return None
    return policy.proxies.get(parts.scheme)


def _check_behind_proxy(parts: SplitResult, policy: Policy, deadline: Deadline) -> None:
    try:
        _addresses(parts, policy, deadline)
    except OutboundError as refused:
        if refused.code == "not_allowed":
            raise


class _Middle(http.client.HTTPConnection):
    """A connection to a proxy, under a deadline from its first moment on."""

    def __init__(self, proxy: str, deadline: Deadline) -> None:
        self.where = urlsplit(proxy if "//" in proxy else f"http://{proxy}")
        super().__init__(self.where.hostname or "", self.where.port or 3128)
        found = _numbers(resolve(self.host, self.port, deadline))
        self._create_connection = lambda *_words, **_more: connect_any(found, self.port, deadline)


def _connect_by_proxy(
    parts: SplitResult, proxy: str, deadline: Deadline
) -> tuple[http.client.HTTPConnection, dict[str, str]]:
    """A connection through the proxy, and the headers that plain http sends it with each request."""
    middle = _Middle(proxy, deadline)
    headers = {}
    if middle.where.username:
        credentials = f"{unquote(middle.where.username)}:{unquote(middle.where.password or '')}".encode()
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(credentials).decode()}"
    if parts.scheme == "http":
        middle.connect()
        return middle, headers
    middle.set_tunnel(parts.hostname or "", _port(parts), headers)
    middle.connect()
    return _dressed(parts, middle.sock, deadline), {}


def _port(parts: SplitResult) -> int:
    return parts.port if parts.port is not None else (443 if parts.scheme == "https" else 80)


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, parts.hostname or "", _port(parts)


def _host(url: str) -> str:
    return parts_of(url).hostname or url


def _plain(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    # Some quote what the other side sent.
    return one_line(getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")
