"""Where requests may go: addresses are judged by number, and it is the judged one that is connected to."""

import ipaddress
import socket
import threading
from contextlib import contextmanager

import pytest

from tests.parts.hub import running_hub
from tests.parts.trickle import trickling
from webapp.catalog import outbound
from webapp.catalog.outbound import OutboundError, Policy
from webapp.foundation.deadline import Deadline

OPEN = Policy(networks=("127.0.0.0/8",), allows_http=True)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "240.0.0.1", "255.255.255.255", "192.0.2.1", "::1", "::", "fe80::1", "fd00::1", "ff02::1", "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe", "2002:0a00:0001::", "2001:db8::1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_not_admitted(address):
    assert not Policy().admits(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "151.101.1.1", "2606:4700::1111", "64:ff9b::101:101"])
def test_a_public_address_is_admitted(address):
    assert Policy().admits(ipaddress.ip_address(address))


def test_a_network_that_an_admin_allowed_is_admitted_and_no_more():
    policy = Policy(networks=("10.0.0.0/8", "nonsense", "fd00::/8"))
    assert policy.admits(ipaddress.ip_address("10.9.9.9")) and policy.admits(ipaddress.ip_address("fd00::1"))
    assert not policy.admits(ipaddress.ip_address("192.168.0.1"))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/x", "//example.org", "example.org", "https://", "https://a b.example/", "https://x.example:0x/",
        "https://x.example:99999/", "https://user@x.example/", "http://x.example/", "https://x.example/\r\nHost: y",
        "https://[::1/x", "https://[x]/",
    ],
)  # fmt: skip
def test_what_is_no_address_or_not_allowed_is_refused_before_a_name_is_resolved(url, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **more: pytest.fail("resolved"))
    with pytest.raises(OutboundError) as refused:
        outbound.get(url, Policy())
    assert refused.value.code == "not_allowed" and refused.value.advice


def test_a_name_that_changes_its_address_after_the_check_is_still_asked_where_it_was_checked(monkeypatch):
    """A second answer of the name service (rebinding) is never asked for."""
    real, asked = socket.getaddrinfo, []

    def resolve(host, port, *words, **more):
        if host == "rebinds.example":
            asked.append(host)
            assert len(asked) == 1
        return real("127.0.0.1", port, *words, **more)

    with running_hub() as hub:
        hub.add("plain/files", {"x": b"hello"})
        monkeypatch.setattr(outbound.socket, "getaddrinfo", resolve)
        with outbound.get(f"http://rebinds.example:{hub.port}/plain/x", OPEN) as response:
            assert response.read(100) == b"hello"
        assert hub.asked[0][1]["Host"] == f"rebinds.example:{hub.port}"


def test_of_several_addresses_only_the_allowed_are_tried(monkeypatch):
    with running_hub() as hub:
        hub.add("plain/files", {"x": b"hello"})
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, hub.port)) for a in ("10.255.255.1", "127.0.0.1")]
        monkeypatch.setattr(outbound.socket, "getaddrinfo", lambda *words, **more: found)
        with outbound.get(f"http://two.example:{hub.port}/plain/x", OPEN) as response:
            assert response.status == 200


def test_a_circle_of_redirects_ends():
    with running_hub() as hub:
        hub.add("o/m", {"f": b"x" * 5000})
        hub.redirect_to = f"{hub.url}/o/m/resolve/main/f"
        with pytest.raises(OutboundError, match="too many redirects"):
            outbound.get(f"{hub.url}/o/m/resolve/main/f", OPEN)


def test_a_redirect_to_what_is_no_address_is_refused():
    with running_hub() as hub:
        hub.add("o/m", {"f": b"x" * 5000})
        hub.redirect_to = "https://[::1/f"
        with pytest.raises(OutboundError, match="is not a URL"):
            outbound.get(f"{hub.url}/o/m/resolve/main/f", OPEN)


def test_a_certificate_that_nobody_vouches_for_is_refused():
    with running_hub() as hub, pytest.raises(OutboundError) as refused:
        outbound.get(f"https://127.0.0.1:{hub.port}/plain/x", OPEN)
    assert refused.value.code in ("tls", "unreachable")


@contextmanager
def proxy():
    """Takes one CONNECT or plain request, remembers its first lines and answers."""
    server = socket.create_server(("127.0.0.1", 0))
    heard = []

    def serve():
        connection, _from = server.accept()
        with connection:
            heard.append(connection.recv(4096).decode())
            is_plain = heard[0].startswith("GET")
            body = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
            connection.sendall(body if is_plain else b"HTTP/1.1 403 no\r\n\r\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with server:
        yield f"http://me:p%40ss@127.0.0.1:{server.getsockname()[1]}", heard
    thread.join(5)


def no_names(*_words, **_more):
    raise socket.gaierror("no such name")


def test_a_proxy_of_the_environment_is_used_with_its_password(monkeypatch):
    with proxy() as (url, heard):
        policy = Policy(allows_http=True, proxies=outbound.environment_proxies({"http_proxy": url}))
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda host, *w, **m: real(host, *w, **m) if host == "127.0.0.1" else no_names()
        )
        with outbound.get("http://hub.example/x", policy) as response:
            assert response.read(10) == b"ok"
    assert heard[0].startswith("GET http://hub.example/x HTTP/1.1")
    assert "Proxy-Authorization: Basic bWU6cEBzcw==" in heard[0]


def test_https_goes_through_a_tunnel_that_the_proxy_may_refuse(monkeypatch):
    with proxy() as (url, heard):
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda host, *w, **m: real(host, *w, **m) if host == "127.0.0.1" else no_names()
        )
        with pytest.raises(OutboundError) as refused:
            outbound.get("https://hub.example/x", Policy(proxies={"https": url}))
    assert refused.value.code == "unreachable"
    assert heard[0].startswith("CONNECT hub.example:443")


def test_a_proxy_is_no_way_around_the_policy():
    policy = Policy(allows_http=True, proxies={"http": "http://127.0.0.1:1"})
    with pytest.raises(OutboundError, match="private address"):
        outbound.get("http://10.0.0.1/x", policy)


def test_exceptions_from_the_proxy_are_asked_directly():
    with running_hub() as hub:
        hub.add("plain/files", {"x": b"hello"})
        policy = Policy(("127.0.0.0/8",), (), True, {"http": "http://127.0.0.1:1", "no": "127.0.0.1,.local"})
        with outbound.get(f"{hub.url}/plain/x", policy) as response:
            assert response.status == 200


def test_the_policy_of_the_environment(monkeypatch):
    found = outbound.environment_policy(
        {
            "MODELYARD_FETCH_PRIVATE": "10.0.0.0/8, 192.168.0.0/16",
            "MODELYARD_FETCH_HTTP": "1",
            "HTTPS_PROXY": "http://p",
        }
    )
    assert found == Policy(("10.0.0.0/8", "192.168.0.0/16"), (), True, {"https": "http://p"})
    assert "http://p" not in str(found.as_json())
    assert Policy.from_json(found.as_json(), {"https": "http://p"}) == found


def test_an_address_with_other_letters_is_asked_for_in_its_encoded_form():
    with running_hub() as hub:
        hub.add("plain/files", {"x": b"hello"})
        with outbound.get(f"{hub.url}/plain/modèle x.gguf?ü", OPEN) as response:
            assert response.status == 404
        assert [path for path, _headers in hub.asked] == ["/plain/mod%C3%A8le%20x.gguf?%C3%BC"]


@pytest.mark.parametrize(
    ("told", "asked"),
    [("größe".encode().decode("latin-1"), "gr%C3%B6%C3%9Fe"), ("gr\xf6\xdfe", "gr%F6%DFe"), ("a b", "a%20b")],
)
def test_a_redirect_to_other_letters_is_followed_to_what_its_bytes_say(told, asked):
    with running_hub() as hub:
        hub.add("plain/files", {"x": b"hello"})
        hub.add("o/m", {"f": b"x" * 5000})
        hub.redirect_to = f"{hub.url}/plain/{told}"
        with outbound.get(f"{hub.url}/o/m/resolve/main/f", OPEN):
            assert hub.asked[-1][0] == f"/plain/{asked}"


@pytest.mark.parametrize(
    "url", ["https://host.example/\u202efugg", "https://faß.example/x", "https://h.example/\ud800"]
)
def test_an_address_that_has_no_encoded_form_is_refused_in_words(url):
    with pytest.raises(OutboundError) as refused:
        outbound.get(url, Policy())
    assert refused.value.code == "not_allowed" and refused.value.advice


@pytest.mark.parametrize("at", [0, 40], ids=["headers", "body"])
def test_an_answer_that_trickles_ends_at_the_deadline(at):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100

    def read_all(url):
        with outbound.get(url, OPEN, deadline=Deadline(0.4)) as response:
            while response.read(1000):
                pass

    with trickling(answer, 0.02, after=at) as server, pytest.raises(OutboundError, match="took too long"):
        read_all(server.url)


def test_a_download_that_keeps_coming_is_not_cut(monkeypatch):
    """Its answer has begun in time; from then on silences alone count."""
    monkeypatch.setattr(outbound, "SILENCE_S", 0.3)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + b"x" * 20
    with trickling(answer, 0.03, after=len(answer) - 20) as server, outbound.get(server.url, OPEN) as response:
        got = b"".join(iter(lambda: response.read(1000), b""))
    assert got == b"x" * 20
