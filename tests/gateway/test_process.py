"""The process itself: its port, its siblings, its end."""

import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gateway.stack import Stack, chat_body, eventually, post, read_all
from tests.parts.memory import pss_bytes


def streaming(stack: Stack) -> socket.socket:
    """A stream of a hundred tokens that has begun; the engine goes on when it is told."""
    line = socket.create_connection(("127.0.0.1", stack.port), timeout=60)
    line.sendall(post(json.dumps(chat_body("smol", {"tokens": 100, "holds": True}, stream=True)).encode()))
    assert line.recv(10)
    return line


def test_a_drain_finishes_streams_refuses_newcomers_and_ends_idle_connections(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(MODELYARD_HEADER_TIMEOUT_S="3600").start()
    lines = [streaming(stack) for _ in range(5)]
    idle = socket.create_connection(("127.0.0.1", stack.port), timeout=60)
    eventually(lambda: stack.metric("connections") == 6)
    (gateway,) = stack.processes
    gateway.send_signal(signal.SIGTERM)
    assert idle.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", stack.port))
    assert gateway.poll() is None
    stack.engine.go_on(5 * 100)
    for line in lines:
        answer = read_all(line)
        assert b"[DONE]" in answer
        assert answer.endswith(b"0\r\n\r\n")
        line.close()
    assert gateway.wait(60) == 0
    idle.close()


def test_a_second_signal_cuts_the_drain_short(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    line = streaming(stack)
    (gateway,) = stack.processes
    gateway.send_signal(signal.SIGTERM)
    eventually(lambda: not stack._listens())
    gateway.send_signal(signal.SIGTERM)
    assert gateway.wait(60) == 0
    assert not read_all(line).endswith(b"0\r\n\r\n")
    line.close()


def test_the_drain_has_an_end(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(MODELYARD_DRAIN_S="0.3").start()
    line = streaming(stack)
    assert stack.end() == 0
    line.close()


def test_a_port_that_somebody_else_holds_is_a_clear_refusal(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    with socket.socket() as other:
        other.bind(("127.0.0.1", stack.port))
        other.listen()
        process = stack.launch(wait=False)
        assert process.wait(60) == 1
    assert f"127.0.0.1 port {stack.port} cannot be used" in stack.log()
    assert "MODELYARD_PORT" in stack.log()
    assert "Traceback" not in stack.log()


def test_a_port_shared_with_another_installation_is_refused_too(make_stack: Callable[..., Stack]) -> None:
    """The trap of SO_REUSEPORT: the kernel would let both listen and give each half of the connections."""
    first, second = make_stack().start(), make_stack()
    process = second.launch(wait=False, MODELYARD_PORT=str(first.port))
    assert process.wait(60) == 1
    assert "another program listens there" in second.log()


def test_siblings_share_the_port_the_load_table_and_the_snapshot(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(MODELYARD_GATEWAY_PROCESSES="2").start()
    stack.launch(1)
    eventually(lambda: "serves" in stack.log(1))
    asked_with = f"/internal/gateway/snapshot?{stack.web.up_to_date}"
    eventually(lambda: len({a.connection for a in stack.web.server.asked if a.target == asked_with}) == 2)
    lines = []
    for number in range(40):
        body = chat_body("pair", {"tokens": 1000, "holds": True}, stream=True)
        line = socket.create_connection(("127.0.0.1", stack.port), timeout=60)
        line.sendall(post(json.dumps(body).encode()))
        eventually(lambda: sum(e.running for e in stack.engines) == number + 1)  # noqa: B023
        lines.append(line)
    assert [engine.running for engine in stack.engines] == [20, 20]
    assert all(stack.metric_of(index, "connections") > 0 for index in (0, 1))
    for line in lines:
        line.close()


def test_a_process_that_was_killed_leaves_no_load_behind(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    eventually(lambda: (stack.folder / "gateway" / "routes.sealed").exists())
    lines = [streaming(stack) for _ in range(3)]
    table = stack.folder / "run" / "gateway-load.table"
    assert sum(table.read_bytes()) == 3
    stack.processes[-1].kill()
    stack.processes[-1].wait()
    stack.launch()
    eventually(lambda: sum(table.read_bytes()) == 0)
    for line in lines:
        line.close()


def test_load_returns_to_zero_after_every_kind_of_end(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    stack.web.snapshot["deployments"][0]["first_byte_timeout_s"] = 1
    stack.start()
    for fake in ({}, {"die": "at once"}, {"status": 500}, {"hang": 600}, {"raw": "nonsense\r\n"}):
        stack.chat(fake=fake)
        stack.chat(fake=fake, stream=True)
    streaming(stack).close()
    eventually(lambda: sum((stack.folder / "run" / "gateway-load.table").read_bytes()) == 0)
    assert stack.metric("requests_in_flight") == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODELYARD_PORT", "eighty"),
        ("MODELYARD_PORT", "70000"),
        ("MODELYARD_GATEWAY_PROCESSES", "0"),
        ("MODELYARD_TLS_CERT", "/only/one"),
        ("MODELYARD_DRAIN_S", "soon"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(make_stack: Callable[..., Stack], name: str, value: str) -> None:
    stack = make_stack()
    assert stack.launch(wait=False, **{name: value}).wait(60) == 1
    assert name in stack.log()
    assert "Traceback" not in stack.log()


def test_tls_is_spoken_when_there_is_a_certificate(make_stack: Callable[..., Stack], tmp_path: Path) -> None:
    certificate, secret = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run(
        [*command, "-days", "2", "-keyout", secret, "-out", certificate, *subject], check=True, capture_output=True
    )
    stack = make_stack(MODELYARD_TLS_CERT=str(certificate), MODELYARD_TLS_KEY=str(secret)).start()
    context = ssl.create_default_context(cafile=str(certificate))
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as plain:
        line = context.wrap_socket(plain, server_hostname="localhost")
        line.sendall(post(json.dumps(chat_body("smol", {"tokens": 200}, stream=True)).encode()))
        answer = b""
        while not answer.endswith(b"0\r\n\r\n"):
            answer += line.recv(65536)
        line.sendall(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n")
        page = b""
        while not page.endswith(b"}"):
            page += line.recv(65536)
        assert b'["x-forwarded-proto", "https"]' in page
        line.sendall(post(b"x" * 100, extra="Content-Length: 7\r\n"))
        assert line.recv(65536).startswith(b"HTTP/1.1 400 ")
        line.close()


def test_a_broken_certificate_is_named(make_stack: Callable[..., Stack], tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    stack = make_stack()
    process = stack.launch(wait=False, MODELYARD_TLS_CERT=str(bad), MODELYARD_TLS_KEY=str(bad))
    assert process.wait(60) == 1
    assert "MODELYARD_TLS_CERT" in stack.log()
    assert "Traceback" not in stack.log()


def test_no_request_fails_while_everything_else_is_down(make_stack: Callable[..., Stack]) -> None:
    """Web goes away in the middle of steady traffic and comes back; nobody notices, every token is accounted for."""
    stack = make_stack().start()
    eventually(lambda: (stack.folder / "gateway" / "routes.sealed").exists())
    statuses: list[int] = []
    stop = threading.Event()

    def traffic() -> None:
        while not stop.is_set():
            statuses.append(stack.chat(stream=len(statuses) % 2 == 0).status)

    threads = [threading.Thread(target=traffic) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        eventually(lambda: len(statuses) > 50)
        stack.web.stop()
        before = len(statuses)
        eventually(lambda: len(statuses) > before + 50)  # noqa: B023
        stack.web.start()
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}
    eventually(lambda: len({record["id"] for record in stack.web.records}) == len(statuses))


def test_an_idle_gateway_wakes_up_to_ask_web_and_for_nothing_else(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(MODELYARD_POLL_S="1").start()
    (gateway,) = stack.processes
    eventually(lambda: stack.web.polls >= 4)
    before, polls = wakeups(gateway.pid), stack.web.polls
    eventually(lambda: stack.web.polls >= polls + 3)
    per_poll = (wakeups(gateway.pid) - before) / (stack.web.polls - polls)
    assert per_poll < 20, f"{per_poll:.1f} for each question"
    assert pss_bytes(gateway.pid) < 60_000_000


def wakeups(pid: int) -> int:
    """How often the threads of a process were waited for something and were given it."""
    texts = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0]) for text in texts)


def cpu_ns(pid: int) -> int:
    """CPU time of all threads of a process."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


def test_the_gateway_imports_neither_django_nor_an_orm() -> None:
    code = (
        "import sys, webapp.gateway.process.main, webapp.gateway.__main__\n"
        "heavy = ('django', 'celery', 'docker', 'redis', 'channels', 'sqlite3')\n"
        "print([name for name in sys.modules if name.split('.')[0] in heavy])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
