"""Behind a proxy that was named the client is the one it speaks for; nobody else's word on that counts."""

import json
import socket
from collections.abc import Callable
from ipaddress import ip_network

import pytest

from tests.gateway.stack import ADA, Stack, eventually, post
from webapp.gateway import settings
from webapp.gateway.http.proxies import client_of

PROXY = "10.1.1.1"
TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "told", "client"),
    [
        (PROXY, [b"203.0.113.9"], "203.0.113.9"),
        (PROXY, [b"6.6.6.6, 203.0.113.9"], "203.0.113.9"),
        (PROXY, [b"6.6.6.6, 203.0.113.9, 10.2.2.2"], "203.0.113.9"),
        (PROXY, [b"6.6.6.6", b"203.0.113.9"], "203.0.113.9"),
        (PROXY, [b"10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        (PROXY, [], PROXY),
        (PROXY, [b""], PROXY),
        (PROXY, [b"203.0.113.9, "], PROXY),
        (PROXY, [b"6.6.6.6, unknown"], PROXY),
        (PROXY, [b"6.6.6.6, nonsense, 10.2.2.2"], "10.2.2.2"),
        (PROXY, [b"203.0.113.9:4711"], "203.0.113.9"),
        (PROXY, [b"[2001:db8::9]:4711"], "2001:db8::9"),
        (PROXY, [b"2001:DB8:0::9"], "2001:db8::9"),
        (PROXY, [b'fe80::1%"evil\\n'], "fe80::1"),
        (PROXY, [b"::ffff:203.0.113.9"], "203.0.113.9"),
        (PROXY, [b"\xff\xfe"], PROXY),
        ("::ffff:10.1.1.1", [b"203.0.113.9"], "203.0.113.9"),
        ("fd00::1", [b"203.0.113.9"], "203.0.113.9"),
        ("203.0.113.1", [b"6.6.6.6"], "203.0.113.1"),
        ("2001:db8::1", [b"6.6.6.6"], "2001:db8::1"),
        ("", [b"6.6.6.6"], ""),
    ],
)
def test_the_rightmost_stranger_is_the_client(peer: str, told: list[bytes], client: str) -> None:
    assert client_of(peer, told, TRUSTED) == client


@pytest.mark.parametrize(
    "text", ["10.0.0.0/33", "proxy.example", "10.0.0.1 10.0.0.2", "0.0.0.0/0", "::/0", "127.0.0.1,0/0"]
)
def test_a_list_that_makes_no_sense_stops_the_start(text: str) -> None:
    with pytest.raises(settings.SettingError, match="MODELYARD_TRUSTED_PROXIES"):
        settings.from_environment(0, {"MODELYARD_TRUSTED_PROXIES": text})


def test_the_list_is_read_with_and_without_prefix_lengths() -> None:
    found = settings.from_environment(0, {"MODELYARD_TRUSTED_PROXIES": " 127.0.0.1, 10.1.2.3/8,,fd00::/8 "})
    assert [str(network) for network in found.trusted_proxies] == ["127.0.0.1/32", "10.0.0.0/8", "fd00::/8"]
    assert settings.from_environment(0, {}).trusted_proxies == ()


def seen_by_web(stack: Stack, **headers: str) -> dict[str, str]:
    return dict(stack.ask("GET", "/page", **headers).json()["headers"])


def test_web_hears_of_the_client_behind_a_trusted_proxy(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(MODELYARD_TRUSTED_PROXIES="127.0.0.0/8").start()
    forged = {"X_Forwarded_For": "6.6.6.6, 203.0.113.9", "X_Forwarded_Proto": "gopher", "X_Real_IP": "7.7.7.7"}
    seen = seen_by_web(stack, **forged)
    assert seen["x-forwarded-for"] == "203.0.113.9"
    assert seen["x-forwarded-proto"] == "http" and "x-real-ip" not in seen
    assert seen_by_web(stack)["x-forwarded-for"] == "127.0.0.1"


def test_somebody_beside_the_list_is_not_believed(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(MODELYARD_TRUSTED_PROXIES="10.0.0.0/8").start()
    assert seen_by_web(stack, X_Forwarded_For="6.6.6.6")["x-forwarded-for"] == "127.0.0.1"


def test_each_request_of_a_kept_connection_has_its_own_client(make_stack: Callable[..., Stack]) -> None:
    """A proxy keeps its connections and sends everybody's requests over them: pages, inference, and what is refused."""
    stack = make_stack(MODELYARD_TRUSTED_PROXIES="127.0.0.1").start()
    line = stack.connect()
    body = json.dumps({"model": "smol", "messages": [{"role": "user", "content": "hello"}]})
    asked = [("GET", "/page", None), *[("POST", "/v1/chat/completions", body)] * 3, ("GET", "/v1/nothing", None)]
    for number, (method, path, data) in enumerate(asked):
        headers = {"Authorization": f"Bearer {ADA}", "X-Forwarded-For": f"203.0.113.{number}"}
        line.request(method, path, data, headers)
        line.getresponse().read()
    line.close()
    assert clients(stack, len(asked)) == [f"203.0.113.{number}" for number in range(len(asked))]


def test_what_cannot_be_read_is_nobody_elses(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(MODELYARD_TRUSTED_PROXIES="127.0.0.1").start()
    body = b'{"model": "smol", "messages": []}'
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as line:
        line.sendall(post(body, extra="X-Forwarded-For: 203.0.113.9\r\n"))
        assert line.recv(65536)
        line.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nbroken\r\n\r\n")
        while line.recv(65536):
            pass
    assert clients(stack, 2) == ["203.0.113.9", "127.0.0.1"]


def clients(stack: Stack, number: int) -> list[str]:
    """The first addresses in the access log, in the order of the requests."""
    log = stack.folder / "log" / "gateway-0.access.jsonl"

    def read() -> list[dict[str, object]] | None:
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return lines if len(lines) >= number else None

    return [str(line["client"]) for line in sorted(eventually(read), key=lambda line: line["at"])]
