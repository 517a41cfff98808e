"""The audit log: one row per change, with where it came from, without secrets, for ever as it was."""

import csv
import io
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.urls import reverse
from django.utils import timezone

from webapp.accounts import audit_triggers, keys
from webapp.accounts.auditing import HIDDEN, audit, difference
from webapp.accounts.models import AuditEntry, AuditRetention, Team

pytestmark = pytest.mark.django_db


@pytest.fixture
def triggers(db):
    """The database's refusal, as the migration puts it there; gone again with the test's transaction."""

    class Editor:
        pass

    editor = Editor()
    editor.connection = connection
    audit_triggers.install(editor)


def test_a_request_leaves_address_request_id_and_key(client, ada, team):
    key, text = keys.create_key(ada, team, "laptop")
    headers = {"X-API-Key": text, "X-Request-ID": "abc-123"}
    made = client.post("/api/v1/keys", {"name": "x"}, "application/json", headers=headers, REMOTE_ADDR="192.0.2.7")
    assert made.status_code == 201
    entry = AuditEntry.objects.first()
    assert (entry.verb, entry.username, entry.team_name) == ("key.create", "ada", "Research")
    assert (entry.address, entry.request_id, entry.key_prefix) == ("192.0.2.7", "abc-123", key.prefix)


def test_the_next_request_does_not_inherit_the_key_of_the_one_before(client, ada, team):
    _key, text = keys.create_key(ada, team, "laptop")
    client.get("/api/v1/me", headers={"X-API-Key": text})
    audit(None, None, "test.verb", "after")
    assert (AuditEntry.objects.first().key_prefix, AuditEntry.objects.first().username) == ("", "Modelyard")


@pytest.mark.parametrize(
    "detail",
    [
        {"password": "hunter2"},
        {"hub_token": "hunter2"},
        {"nested": {"client_secret": "hunter2"}},
        {"client_secret": {"before": "hunter2", "after": "hunter2"}},
        {"list": ["hf_hunter2hunter2hunter2hunter2"]},
        {"text": "called with myp_hunter2.hunter2"},
        {"text": "my_0123abcd_hunter2hunter2hunter2hunter2hunter2"},
    ],
)
def test_what_looks_like_a_secret_is_not_written_down(detail):
    audit(None, None, "test.verb", "x my_0123abcd_hunter2hunter2hunter2hunter2hunter2", detail)
    entry = AuditEntry.objects.get()
    assert "hunter2" not in str(entry.detail) + entry.subject
    assert HIDDEN in str(entry.detail) or "my_0123abcd_…" in str(entry.detail)


def test_what_only_sounds_like_one_stays():
    audit(None, None, "test.verb", "x", difference({"max_tokens": 1, "same": 2}, {"max_tokens": 5, "same": 2}))
    assert AuditEntry.objects.get().detail == {"max_tokens": {"before": 1, "after": 5}}


def test_python_refuses_to_change_or_remove_a_row():
    audit(None, None, "test.verb", "x")
    entry = AuditEntry.objects.get()
    entry.verb = "other"
    for attempt in (
        entry.save,
        entry.delete,
        AuditEntry.objects.all().delete,
        lambda: AuditEntry.objects.update(verb="other"),
        lambda: AuditEntry.objects.bulk_update([entry], ["verb"]),
    ):
        with pytest.raises(TypeError, match="not changed"), transaction.atomic():
            attempt()
    assert AuditEntry.objects.get().verb == "test.verb"


@pytest.mark.parametrize("statement", ["UPDATE accounts_auditentry SET verb = 'x'", "DELETE FROM accounts_auditentry"])
def test_the_database_refuses_too(triggers, statement):
    audit(None, None, "test.verb", "x")
    with pytest.raises(DatabaseError, match="not changed"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert AuditEntry.objects.get().verb == "test.verb"


def test_a_person_or_team_may_go_and_the_rows_stay(triggers, root, bob):
    team = Team.objects.create(name="Gone", slug="gone")
    audit(bob, team, "test.verb", "x")
    bob.delete()
    team.delete()
    entry = AuditEntry.objects.get(verb="test.verb")
    assert (entry.username, entry.team_name) == ("bob", "Gone")


def test_trimming_removes_what_is_old_and_nothing_else_and_says_so(triggers):
    audit(None, None, "test.old", "x")
    audit(None, None, "test.new", "x")
    with connection.cursor() as cursor:  # the only way to age a row is around the triggers
        audit_triggers.remove(type("Editor", (), {"connection": connection}))
        old = timezone.now() - timedelta(days=400)
        cursor.execute("UPDATE accounts_auditentry SET at = %s WHERE verb = 'test.old'", [old])
        audit_triggers.install(type("Editor", (), {"connection": connection}))
    call_command("trim_audit", "--days", "365")
    entries = list(AuditEntry.objects.order_by("id").values_list("verb", flat=True))
    assert entries == ["test.new", "audit.trim"]
    assert not AuditRetention.objects.exists()
    with pytest.raises(CommandError):
        call_command("trim_audit", "--days", "3")


def test_a_new_database_has_the_triggers(tmp_path):
    """In a process of its own: this one's test database has had them taken away."""
    import os

    environment = {**os.environ, "MODELYARD_STATE_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "webapp.settings"}
    environment["MODELYARD_DATABASE_URL"] = f"sqlite://{tmp_path}/fresh.sqlite3"
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "manage.py", "upgrade", "--no-backup"], cwd=root, env=environment, check=True)
    with sqlite3.connect(tmp_path / "fresh.sqlite3") as database:
        names = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")}
    database.close()
    assert {"accounts_audit_no_update", "accounts_audit_no_delete"} <= names


@pytest.fixture
def entries(ada, eve, team):
    audit(ada, team, "deployment.stop", "ours", difference({"state": "running"}, {"state": "stopped"}))
    audit(eve, eve.teams.get(), "deployment.stop", "theirs")
    audit(None, None, "host.add", "everybodys")


@pytest.mark.parametrize(
    ("who", "sees", "sees_not"),
    [("ada", ["ours"], ["theirs", "everybodys"]), ("root", ["ours", "theirs", "everybodys"], [])],
)
def test_admins_see_their_teams_rows_and_the_installations_admin_all(client, request, entries, who, sees, sees_not):
    client.force_login(request.getfixturevalue(who))
    for url in ("/audit/", "/audit/?format=csv", "/api/v1/audit"):
        reply = client.get(url)
        text = (b"".join(reply.streaming_content) if reply.streaming else reply.content).decode()
        assert all(word in text for word in sees)
        assert not any(word in text for word in sees_not)


def test_who_administers_no_team_has_no_such_page(client, bob, entries):
    client.force_login(bob)
    assert client.get("/audit/").status_code == 404
    assert client.get("/api/v1/audit").json()["count"] == 0


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=ours", 1),
        ("verb=deployment.stop", 2),
        ("person=ada", 1),
        ("person=nobody", 0),
        ("person=a%00da", 0),
        ("verb=%00", 3),
        ("since=2020-01-01", 3),
        ("until=2020-01-01", 0),
        ("since=nonsense", 3),
        ("since=2020-13-41", 3),
        ("until=9999-12-31", 3),
    ],
)
def test_filters(client, root, entries, query, found):
    client.force_login(root)
    reply = client.get(f"/audit/?{query}&format=csv") if "q=" not in query else client.get(f"/audit/?{query}")
    if "q=" in query:
        assert reply.content.decode().count("<code>deployment.stop</code>") == found
    else:
        rows = list(csv.DictReader(io.StringIO(b"".join(reply.streaming_content).decode())))
        assert len(rows) == found


def test_the_api_filters_too(client, root, entries):
    client.force_login(root)
    assert client.get("/api/v1/audit?person=ada&verb=deployment.stop").json()["count"] == 1
    assert client.get("/api/v1/audit?until=2020-01-01T00:00:00").json()["count"] == 0
    assert client.get("/api/v1/audit?team=research").json()["count"] == 1


def test_a_spreadsheet_finds_no_formula_in_the_file(client, root):
    audit(None, None, "test.verb", '=HYPERLINK("http://evil.example")')
    client.force_login(root)
    text = b"".join(client.get("/audit/?format=csv").streaming_content).decode()
    assert "'=HYPERLINK" in text


def test_pages_keep_the_filters_and_cost_the_same_however_many_rows(client, root, count_queries):
    client.force_login(root)
    audit(None, None, "test.verb", "x")
    few = count_queries(client, "/audit/?verb=test.verb")
    for _ in range(60):
        audit(None, None, "test.verb", "x")
    assert count_queries(client, "/audit/?verb=test.verb") == few
    assert "?verb=test.verb&amp;page=2" in client.get("/audit/?verb=test.verb").content.decode()


def test_the_page_says_how_to_get_it_by_curl(client, root):
    client.force_login(root)
    assert "/api/v1/audit" in client.get(reverse("audit:index")).content.decode()
