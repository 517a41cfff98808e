"""Mail through a real server: what arrives, how it travels, and what becomes of a server's refusals."""

from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from tests.parts.mail import PASSWORD, USER, mail_server, make_certificate
from tests.parts.trickle import trickling
from webapp.foundation.deadline import Deadline
from webapp.schedules import firing, mailing, notifying, targets
from webapp.schedules.models import Notification

PAST = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("mail"))


@pytest.fixture
def trusted(certificate, monkeypatch):
    """The server's certificate, trusted as an installation would trust its own authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return certificate


@pytest.fixture
def through(monkeypatch):
    """Mail goes through this server: through(server, scheme="smtp", user="")."""

    def use(server, scheme="smtp", user="", password=PASSWORD):
        who = f"{user}:{quote(password)}@" if user else ""
        monkeypatch.setenv("MODELYARD_SMTP_URL", f"{scheme}://{who}localhost:{server.port}")

    return use


def test_a_message_arrives_as_it_was_written(through, monkeypatch):
    monkeypatch.setenv("MODELYARD_MAIL_FROM", "Modelyard <yard@example.org>")
    with mail_server() as server:
        through(server)
        assert (
            mailing.send("team@example.org", "two\nlines", "Größe: 3 €\n", Deadline(10)) == "taken by the mail server"
        )
    [message] = server.messages
    assert (message["From"], message["To"]) == ("Modelyard <yard@example.org>", "team@example.org")
    assert (message["Subject"], message.get_content().splitlines()) == ("two lines", ["Größe: 3 €"])
    assert (server.encrypted, server.logins) == ([False], [])


def test_what_the_server_can_encrypt_is_encrypted(through, trusted):
    with mail_server(trusted) as server:
        through(server)
        mailing.send("team@example.org", "s", "t", Deadline(10))
    assert server.encrypted == [True]


@pytest.mark.parametrize(("scheme", "is_tls_only"), [("smtp", False), ("smtps", True)])
def test_a_password_travels_encrypted(through, trusted, scheme, is_tls_only):
    with mail_server(trusted, is_tls_only=is_tls_only) as server:
        through(server, scheme, USER)
        mailing.send("team@example.org", "s", "t", Deadline(10))
    assert (server.logins, server.encrypted) == ([(USER, PASSWORD)], [True])


def test_a_password_is_not_sent_to_a_server_that_cannot_encrypt(through):
    with mail_server() as server:
        through(server, user=USER)
        with pytest.raises(mailing.MailError, match="STARTTLS"):
            mailing.send("team@example.org", "s", "t", Deadline(10))
    assert (server.logins, server.messages) == ([], [])


def test_a_wrong_password_is_said(through, trusted):
    with mail_server(trusted) as server:
        through(server, user=USER, password="wrong")
        with pytest.raises(mailing.MailError, match="Authentication"):
            mailing.send("team@example.org", "s", "t", Deadline(10))
    assert server.messages == []


def test_nothing_is_sent_to_a_server_whose_certificate_nobody_trusts(through, certificate):
    with mail_server(certificate) as server:
        through(server)
        with pytest.raises(mailing.MailError, match="certificate"):
            mailing.send("team@example.org", "s", "t", Deadline(10))
    assert server.messages == []


def test_a_server_that_is_away_is_said(through):
    with mail_server() as server:
        through(server)
    with pytest.raises(mailing.MailError, match="refused"):
        mailing.send("team@example.org", "s", "t", Deadline(10))


@pytest.fixture
def mailbox(through, ada, team):
    """A server and the team's mail address, which is told everything."""
    with mail_server() as server:
        through(server)
        targets.add(ada, team, "mail", "team@example.org", list(notifying.EVENTS))
        yield server


@pytest.mark.django_db
def test_the_end_of_a_run_is_mailed_once_with_its_reason_and_a_link(mailbox, schedule, go, end_job, deliver):
    run = go(firing.begin(schedule, datetime.now(UTC)), 2)
    end_job(run.jobs.get(), {"kl_divergence": 9.0})
    go(run)
    row = Notification.objects.get()
    for _time in range(3):
        deliver(row.pk)
    [message] = mailbox.messages
    assert message["Subject"].startswith("Modelyard: Schedule nightly: rejected.")
    assert "above the limit" in message.get_content() and f"/schedules/{schedule.pk}/" in message.get_content()
    row.refresh_from_db()
    assert (row.state, row.answer) == ("sent", "taken by the mail server")


@pytest.mark.django_db
def test_a_server_that_asks_for_patience_gets_the_message_again_later(mailbox, team, ada, deliver):
    mailbox.answers.append("451 try again in a minute")
    row = targets.test(ada, team.notification_targets.get())
    deliver(row.pk)
    row.refresh_from_db()
    assert (row.state, mailbox.messages, "try again in a minute" in row.answer) == ("pending", [], True)
    Notification.objects.update(next_due_at=PAST)
    deliver(row.pk)
    row.refresh_from_db()
    assert (row.state, len(mailbox.messages), row.attempts) == ("sent", 1, 2)


@pytest.mark.parametrize(
    "url", ["", "mail.example:25", "http://mail.example", "smtp://mail.example:99999", "smtp://[::1"]
)
def test_a_server_that_is_no_address_is_said(monkeypatch, url):
    monkeypatch.setenv("MODELYARD_SMTP_URL", url)
    with pytest.raises(mailing.MailError, match="no address like"):
        mailing.send("team@example.org", "s", "t", Deadline(10))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODELYARD_MAIL_FROM", "Yard\nBcc: <eve@example.org>"),
        ("MODELYARD_SMTP_URL", "smtp://m%C3%A9:pw@localhost:{port}"),
    ],
)
@pytest.mark.django_db
def test_whatever_goes_wrong_is_a_try_that_failed(mailbox, team, ada, deliver, monkeypatch, name, value):
    monkeypatch.setenv(name, value.format(port=mailbox.port))
    row = targets.test(ada, team.notification_targets.get())
    deliver(row.pk)
    row.refresh_from_db()
    assert (row.state, row.attempts, bool(row.answer), row.next_due_at is None) == ("pending", 1, True, False)


def test_a_server_that_says_a_byte_now_and_then_is_left_at_the_deadline(through):
    """A timeout of each silence would never end it; the greeting would be whole in the end."""
    greeting = b"220 " + b"x" * 60 + b"\r\n"
    with trickling(greeting, 0.05) as server:
        through(server)
        with pytest.raises(mailing.MailError, match="timed out"):
            mailing.send("team@example.org", "s", "t", Deadline(0.5))
