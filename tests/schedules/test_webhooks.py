"""Web calls to receivers that are not ours: signed as Standard Webhooks says, and over in time whatever they answer."""

import base64
import re
import socket
import threading
from datetime import UTC, datetime

import pytest
from django.utils import timezone

from tests.parts.trickle import trickling
from tests.parts.webhooks import verify
from webapp.foundation.text import has_unfit
from webapp.interfaces.pages.dashboard import help_pages
from webapp.schedules import delivering, notifying, targets
from webapp.schedules.models import TARGET_SECRET, Notification, Target

pytestmark = pytest.mark.django_db
PAST = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_message_is_signed_as_standard_webhooks_says(told, receiver, ada, deliver):
    target, secret = told
    row = targets.test(ada, target)
    deliver(row.pk)
    [(headers, body)] = receiver.got
    said = verify(secret, headers, body)
    assert (said["team"], said["event"]) == ("research", "test")
    assert not [name for name in headers if name.lower().startswith("x-modelyard")]
    row.refresh_from_db()
    assert (row.state, row.answer, row.next_due_at) == ("sent", "answered 200", None)
    assert secret not in target.sealed_secret
    for changed in (body + b" ", body.replace(b"research", b"reserach")):
        with pytest.raises(AssertionError, match="no signature"):
            verify(secret, headers, changed)


def test_the_check_that_the_help_shows_works(told, receiver, ada, deliver):
    deliver(targets.test(ada, told[0]).pk)
    [(headers, body)] = receiver.got
    [block] = re.findall(r"```python\n(.*?def is_genuine.*?)```", help_pages.pages()["schedules"].text, re.DOTALL)
    found = {}
    exec(block, found)
    assert found["is_genuine"](told[1], headers, body)
    assert not found["is_genuine"](told[1], {**headers, "webhook-id": "msg_2"}, body)


def test_a_message_keeps_its_id_over_its_tries(told, receiver, ada, deliver):
    receiver.status = 500
    row = targets.test(ada, told[0])
    deliver(row.pk)
    Notification.objects.update(next_due_at=PAST)
    deliver(row.pk)
    other = targets.test(ada, told[0])
    deliver(other.pk)
    first, again, another = (headers["webhook-id"] for headers, _body in receiver.got)
    assert first == again != another


def test_a_secret_from_before_signs_with_the_bytes_that_it_stands_for():
    """It was written in the alphabet for addresses, and without its padding."""
    key = bytes(range(220, 252))
    before = "whsec_" + base64.urlsafe_b64encode(key).decode().rstrip("=")
    now = "whsec_" + base64.b64encode(key).decode()
    assert before != now
    assert delivering.signed(before, "msg_1", 1, b"{}") == delivering.signed(now, "msg_1", 1, b"{}")


@pytest.fixture
def bound(monkeypatch, receiver, ada, team):
    """A message for whatever answers at an address: bound(url)."""

    def make(url):
        target = Target(team=team, kind="webhook", address=url, events=list(notifying.EVENTS))
        target.save()
        target.sealed_secret = TARGET_SECRET.encrypt(target, "whsec_" + base64.b64encode(bytes(32)).decode())
        target.save()
        return targets.test(ada, target)

    return make


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "pause_s"),
    [(OK, 0.03), (OK, 3600.0), (b"HTTP/1.1 100 Continue\r\n\r\n" * 20 + OK, 0.003)],
    ids=["a byte now and then", "nothing at all", "one interim answer after another"],
)
def test_a_receiver_that_does_not_come_to_an_end_is_a_try_that_failed(bound, deliver, monkeypatch, answer, pause_s):
    """Whoever waits for the slow ones sees a 200: a limit on each silence alone would."""
    monkeypatch.setattr(delivering, "LIMIT_S", 0.4)
    with trickling(answer, pause_s) as server:
        row = bound(server.url)
        deliver(row.pk)
    row.refresh_from_db()
    assert (row.state, row.attempts) == ("pending", 1) and row.next_due_at > timezone.now()
    assert "it took too long" in row.answer


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"\x16\x03\x01\x00\xff nonsense\r\n\r\n", "does not answer"),
        (b"HTTP/1.1 two hundred\r\n\r\n", "does not answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 500 + b"\r\n", "does not answer"),
        (b"HTTP/1.1 200 " + b"O" * 100_000 + b"\r\n\r\n", "does not answer"),
        (b"", "does not answer"),
        (b"HTTP/1.1 500 no\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 10_000_000, "answered 500"),
    ],
    ids=["garbage", "a status in words", "headers without end", "a line without end", "nothing", "ten megabytes"],
)
def test_whatever_a_receiver_answers_is_a_try_that_failed(bound, deliver, answer, said):
    with trickling(answer, 0.0, at_once=1 << 20) as server:
        row = bound(server.url)
        deliver(row.pk)
    row.refresh_from_db()
    assert (row.state, row.attempts) == ("pending", 1) and row.next_due_at > timezone.now()
    assert said in row.answer and not has_unfit(row.answer)


def test_a_long_answer_of_a_receiver_that_took_it_is_not_read(bound, deliver):
    with trickling(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 10_000_000, 0.0, 1 << 20) as server:
        row = bound(server.url)
        deliver(row.pk)
    row.refresh_from_db()
    assert (row.state, row.answer) == ("sent", "answered 200")


def test_an_address_with_other_letters_is_asked_in_its_encoded_form(receiver, ada, team, deliver):
    target, _secret = targets.add(ada, team, "webhook", f"{receiver.url}/größe x?ü", list(notifying.EVENTS))
    row = targets.test(ada, target)
    deliver(row.pk)
    row.refresh_from_db()
    assert (row.state, receiver.paths) == ("sent", ["/hook/gr%C3%B6%C3%9Fe%20x?%C3%BC"])


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/\u202ehook", "http://faß.example/", "http://127.0.0.1:1/\\x"])
def test_an_address_that_cannot_be_asked_is_tried_five_times_and_given_up(bound, deliver, address):
    """One that was stored before such addresses were refused."""
    row = bound(address)
    for _try in range(7):
        Notification.objects.filter(pk=row.pk).exclude(next_due_at=None).update(next_due_at=PAST)
        deliver(row.pk)
    row.refresh_from_db()
    assert (row.state, row.attempts, row.next_due_at) == ("failed", 5, None)
    assert "address" in row.answer or "host name" in row.answer


def test_a_name_service_that_is_silent_holds_nobody(bound, deliver, monkeypatch):
    answered = threading.Event()
    real = socket.getaddrinfo

    def resolve(host, *words, **more):
        if host == "silent.example":
            answered.wait()
        return real(host, *words, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(delivering, "LIMIT_S", 0.2)
    row = bound("http://silent.example/")
    deliver(row.pk)
    answered.set()
    row.refresh_from_db()
    assert (row.state, row.answer) == ("pending", "The host name silent.example cannot be resolved.")
