"""A change that is sent twice under one key is made once."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from webapp.accounts.models import ApiKey
from webapp.idempotency import services
from webapp.idempotency.models import Exchange

ASKED = {"name": "ci", "scopes": ["inference"]}


def post(client, path="/api/v1/keys", data=None, key="k1"):
    return client.post(
        path,
        json.dumps(ASKED if data is None else data),
        content_type="application/json",
        headers={"Idempotency-Key": key},
    )


@pytest.mark.django_db
def test_the_same_key_and_request_give_the_same_answer_and_one_change(as_caller, ada):
    client = as_caller(ada)
    first, second = post(client), post(client)
    assert first.status_code == second.status_code == 201
    assert second.json() == first.json()
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.headers["Content-Type"] == first.headers["Content-Type"]
    assert ApiKey.objects.filter(name="ci").count() == 1


@pytest.mark.django_db
def test_an_answer_with_a_secret_is_kept_sealed(as_caller, ada):
    secret = post(as_caller(ada)).json()["key"]
    kept = Exchange.objects.get()
    assert kept.sealed_answer.startswith("s2:")
    assert secret not in kept.sealed_answer


@pytest.mark.django_db
@pytest.mark.parametrize("data", [{"name": "other", "scopes": ["inference"]}, {}])
def test_the_same_key_with_another_body_is_refused(as_caller, ada, data):
    client = as_caller(ada)
    post(client)
    answer = post(client, data=data)
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["errors"]
    assert not ApiKey.objects.filter(name="other").exists()


@pytest.mark.django_db
def test_the_same_key_for_another_address_is_refused(as_caller, ada, deployment):
    client = as_caller(ada)
    assert post(client, f"/api/v1/deployments/{deployment.pk}/stop", {}).status_code == 202
    assert post(client, f"/api/v1/deployments/{deployment.pk}/start", {}).status_code == 422
    deployment.refresh_from_db()
    assert deployment.desired_state == "stopped"


@pytest.mark.django_db
def test_an_empty_answer_is_given_again(as_caller, ada):
    client = as_caller(ada)
    made = post(client).json()["id"]
    for replayed in (None, "true"):
        answer = client.delete(f"/api/v1/keys/{made}", headers={"Idempotency-Key": "k2"})
        assert (answer.status_code, answer.headers.get("Idempotency-Replayed")) == (204, replayed)


@pytest.mark.django_db
def test_a_refusal_is_not_kept(as_caller, ada, deployment, artifact):
    client = as_caller(ada)
    asked = {"name": deployment.name, "artifact": artifact.pk}
    assert post(client, "/api/v1/deployments", asked).status_code == 409
    assert not Exchange.objects.exists()
    deployment.delete()
    assert post(client, "/api/v1/deployments", asked).status_code == 202


@pytest.mark.django_db
def test_keys_of_two_callers_have_nothing_to_do_with_each_other(as_caller, ada, bob):
    first, second = post(as_caller(ada)), post(as_caller(bob))
    assert first.status_code == second.status_code == 201
    assert first.json()["key"] != second.json()["key"]


@pytest.mark.django_db
def test_nobody_without_a_valid_key_gets_an_answer_again(as_caller, ada):
    client = as_caller(ada)
    post(client)
    ApiKey.objects.filter(name="test").update(revoked_at=timezone.now())
    answer = post(client)
    assert answer.status_code == 401
    assert b"my_" not in answer.content


@pytest.mark.django_db
def test_a_twin_that_is_still_running_is_a_conflict_and_a_dead_one_is_said_to_be(as_caller, ada):
    client = as_caller(ada)
    caller = f"key:{ApiKey.objects.get(name='test').pk}"
    print_ = services.fingerprint("POST", "/api/v1/keys", json.dumps(ASKED).encode())
    exchange, is_mine = services.claim(caller, "k1", print_)
    assert is_mine
    running = post(client)
    assert (running.status_code, "still running" in running.json()["title"]) == (409, True)
    Exchange.objects.filter(pk=exchange.pk).update(created_at=timezone.now() - timedelta(minutes=3))
    dead = post(client)
    assert (dead.status_code, "was cut off" in dead.json()["title"]) == (409, True)
    assert not ApiKey.objects.filter(name="ci").exists()


@pytest.mark.django_db
def test_after_a_day_the_key_is_new_again(as_caller, ada):
    client = as_caller(ada)
    first = post(client)
    Exchange.objects.update(created_at=timezone.now() - timedelta(hours=25))
    second = post(client)
    assert second.status_code == 201
    assert second.json()["id"] != first.json()["id"]


@pytest.mark.django_db
def test_a_failure_is_given_again_because_nobody_knows_what_it_changed(as_caller, ada, deployment, monkeypatch):
    from webapp.deployments import services as deployments

    def break_down(*_words, **_more):
        raise RuntimeError("the disk is gone")

    client = as_caller(ada)
    monkeypatch.setattr(deployments, "start", break_down)
    first, second = (post(client, f"/api/v1/deployments/{deployment.pk}/start", {}) for _ in range(2))
    assert (first.status_code, second.status_code) == (500, 500)
    assert second.json() == first.json()
    assert second.headers["Content-Type"] == "application/problem+json"


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
def test_an_unusable_key_is_refused(as_caller, ada, key):
    answer = post(as_caller(ada), key=key)
    assert answer.status_code == 422
    assert not ApiKey.objects.filter(name="ci").exists()


@pytest.mark.django_db
def test_reading_ignores_the_key(as_caller, ada):
    assert as_caller(ada).get("/api/v1/me", headers={"Idempotency-Key": "k"}).status_code == 200
    assert not Exchange.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_of_eight_at_once_one_makes_the_change(as_caller, ada):
    sender = as_caller(ada)
    headers = {name.removeprefix("HTTP_"): value for name, value in sender.defaults.items()}
    together = threading.Barrier(8)

    def send(_number):
        client = Client(headers=headers)
        together.wait(timeout=120)
        try:
            answer = post(client)
            return answer.status_code, answer.json().get("key")
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    assert ApiKey.objects.filter(name="ci").count() == 1
    assert {status for status, _key in answers} <= {201, 409}
    assert len({key for status, key in answers if status == 201}) == 1
