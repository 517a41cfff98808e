"""Who gets into the REST API, and how errors look."""

import json

import pytest
from django.test import Client

from webapp.accounts import services as accounts
from webapp.interfaces.api import openapi

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key", "api-key"])
def test_a_key_works_in_each_of_three_headers(as_caller, ada, header):
    answer = as_caller(ada, header=header).get("/api/v1/me")
    assert answer.status_code == 200
    assert answer.json()["username"] == "ada"


def test_nobody_gets_in_without_a_key(client):
    answer = client.get("/api/v1/deployments")
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Bearer"
    assert answer.json()["title"] == "No valid API key."
    assert answer.json()["request_id"]


def test_a_revoked_key_is_refused(ada, team):
    key, text = accounts.create_key(ada, team, "lost")
    accounts.revoke_key(ada, key)
    assert Client(headers={"X-API-Key": text}).get("/api/v1/me").status_code == 401


def test_a_reading_key_changes_nothing(as_caller, ada, deployment):
    reader = as_caller(ada, scopes=("read",))
    assert reader.get("/api/v1/deployments").status_code == 200
    refused = reader.post(f"/api/v1/deployments/{deployment.pk}/stop")
    assert refused.status_code == 403
    assert "lacks the scope manage" in refused.json()["title"]


def test_an_inference_key_reads_nothing(as_caller, ada):
    assert as_caller(ada, scopes=("inference",)).get("/api/v1/deployments").status_code == 403


def test_a_browser_needs_its_csrf_token_to_change_something(ada, deployment):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(ada)
    assert browser.get("/api/v1/me").status_code == 200
    refused = browser.post(f"/api/v1/deployments/{deployment.pk}/stop")
    assert refused.status_code == 403
    assert "CSRF" in refused.json()["title"]
    deployment.refresh_from_db()
    assert deployment.desired_state == "running"


def test_errors_are_problem_documents(as_caller, ada):
    answer = as_caller(ada).post("/api/v1/deployments", "{", content_type="application/json")
    assert answer["Content-Type"].startswith("application/problem+json")
    assert answer.status_code in (400, 422)
    assert {"type", "title", "status", "detail", "request_id"} <= set(answer.json())


def test_every_operation_asks_who_is_calling():
    paths = json.loads(openapi.current())["paths"]
    unguarded = [
        (path, method)
        for path, methods in paths.items()
        for method, what in methods.items()
        if not what.get("security")
    ]
    assert not unguarded


def test_the_committed_openapi_file_is_current():
    assert openapi.FILE.read_text() == openapi.current(), "run `python -m webapp.interfaces.api.openapi`"


def test_the_documentation_is_for_people_who_are_signed_in(client, ada):
    for path in ("/api/v1/docs", "/api/v1/openapi.json"):
        assert client.get(path).status_code == 302
    client.force_login(ada)
    assert client.get("/api/v1/docs").status_code == 200
    assert client.get("/api/v1/openapi.json").json()["info"]["title"] == "Modelyard"
