"""Whatever stands where a key belongs: refused by one look at one index, and never an error of the server."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.parts.hostile_headers import hostile_headers
from webapp.accounts import keys
from webapp.accounts.models import ApiKey

SHORT, LONG = 400, 10_000


@pytest.mark.django_db
@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)])
def test_no_header_opens_anything_or_costs_more_than_a_lookup(client, ada, team, count):
    key, text = keys.create_key(ada, team, "laptop")
    answers: dict[int, int] = {}
    most = 0
    for name, value in hostile_headers(count, text):
        client.cookies.clear()
        with CaptureQueriesContext(
            connection,
        ) as asked:
            status = client.get("/api/v1/me", headers={name: value}).status_code
        answers[status] = answers.get(status, 0) + 1
        assert status in (400, 401, 403, 431), (status, name, value)
        most = max(most, len([query for query in asked.captured_queries if "SAVEPOINT" not in query["sql"]]))
    print(f"{count} headers: {answers}, at most {most} queries each")
    assert most <= 2, "a session and a key are one lookup each"
    assert ApiKey.objects.get(pk=key.pk).last_used_at is None
    assert client.get("/api/v1/me", headers={"X-API-Key": text}).json()["username"] == "ada"


@pytest.mark.django_db
def test_a_key_is_found_through_an_index(ada, team):
    _key, text = keys.create_key(ada, team, "laptop")
    with CaptureQueriesContext(connection) as asked:
        assert keys.find_key(text)
    (lookup,) = asked.captured_queries
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(("EXPLAIN " if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN ") + lookup["sql"])
        plan = " ".join(str(row) for row in cursor.fetchall())
    assert "INDEX" in plan.upper(), plan
