"""Schedules over the REST API."""

import json

import pytest
from django.test import Client

from webapp.accounts import services as accounts
from webapp.schedules.models import Schedule, ScheduleRun

pytestmark = pytest.mark.django_db


@pytest.fixture
def caller(team):
    def make(user):
        _key, text = accounts.create_key(user, user.teams.first(), "test", accounts.SCOPES)
        return Client(headers={"Authorization": f"Bearer {text}"})

    return make


def send(client, method, path, data=None):
    return client.generic(method, f"/api/v1{path}", json.dumps(data or {}), content_type="application/json")


@pytest.fixture
def said(host, source):
    return {
        "name": "nightly", "host": host.pk, "artifact": source.pk, "cron": "0 2 * * *", "zone": "Europe/Berlin",
        "recipes": [{"method": "gguf", "options": {"type": "Q4_K_M"}}, {"method": "gguf", "options": {"type": "Q8_0"}}],
        "gate": {"max_kl_divergence": 0.05}, "keep_last": 3,
    }  # fmt: skip


def test_a_schedule_lives_from_post_to_delete(caller, ada, said, deployment):
    client = caller(ada)
    made = send(client, "POST", "/schedules", {**said, "deployment": deployment.pk})
    assert made.status_code == 201, made.content
    one = made.json()
    assert (one["deployment"], one["gate"], len(one["recipes"])) == ("smollm2", {"max_kl_divergence": 0.05}, 2)
    path = f"/schedules/{one['id']}"
    changed = send(client, "PATCH", path, {"keep_last": None, "deployment": None, "cron": "0 3 * * *"}).json()
    assert (changed["keep_last"], changed["deployment_id"], changed["cron"]) == (None, None, "0 3 * * *")
    assert changed["recipes"] == one["recipes"]
    assert send(client, "POST", f"{path}/pause").json()["is_paused"] is True
    assert send(client, "POST", f"{path}/resume").json()["is_paused"] is False
    run = send(client, "POST", f"{path}/runs")
    assert (run.status_code, run.json()["state"]) == (202, "waiting")
    assert send(client, "POST", f"{path}/runs").status_code == 409
    assert send(client, "DELETE", f"{path}?dry_run=true").status_code == 409
    assert send(client, "POST", f"/schedule-runs/{run.json()['id']}/cancel").status_code == 202
    assert client.get(f"/api/v1{path}/runs").json()["count"] == 1
    ScheduleRun.objects.update(state="cancelled")
    assert send(client, "PATCH", f"{path}?dry_run=true", {"keep_last": 9}).json()["keep_last"] == 9
    assert send(client, "DELETE", f"{path}?dry_run=true").status_code == 204
    assert client.get(f"/api/v1{path}").json()["keep_last"] is None
    assert send(client, "DELETE", path).status_code == 204
    assert not Schedule.objects.exists()


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"cron": "0 0 31 2 *"}, 422, "never comes"),
        ({"recipes": [{"method": "abacus"}]}, 422, "recipes"),
        ({"recipes": [{"options": {"type": "Q99"}}]}, 422, "type"),
        ({"recipes": []}, 422, "recipes"),
        ({"gate": {"max_kl_divergence": -1}}, 422, "gate"),
        ({"gate": {"golden": 1}}, 422, "golden"),
        ({"measure": None}, 422, "not evaluated"),
        ({"artifact": 987654}, 404, "no artifact 987654 that you may use"),
        ({"zone": "X/Y"}, 422, "time zone"),
        ({"window_start": "22:00"}, 422, "both ends"),
        ({"window_start": "25:00"}, 422, "window_start"),
        ({"team": "strangers"}, 422, "no team"),
    ],
)
def test_bad_words_are_refused_with_the_reason_and_nothing_is_kept(caller, ada, eve, said, change, status, words):
    answer = send(caller(ada), "POST", "/schedules", {**said, **change})
    assert (answer.status_code, words in answer.content.decode()) == (status, True), answer.content
    assert not Schedule.objects.exists()


def test_every_fault_is_told_at_once(caller, ada, said, schedule):
    wrong = {
        "name": "nightly", "cron": "often", "zone": "X/Y", "window_start": "22:00", "measure": None, "hub": None,
        "recipes": [{"options": {"type": "Q99"}}, {"method": "awq"}],
    }  # fmt: skip
    for method, path in (("POST", "/schedules"), ("POST", "/schedules/check"), ("PATCH", f"/schedules/{schedule.pk}")):
        own = {} if method == "PATCH" else {"name"}
        answer = send(caller(ada), method, path, {**said, **wrong})
        assert answer.status_code == 422, answer.content
        told = answer.json()
        assert set(told["errors"]) == {"cron", "zone", "window_end", "gate", "recipes", *own}
        assert ("type" in told["errors"]["recipes"], "AWQ" in told["errors"]["recipes"]) == (True, True)
        assert "zone: There is no time zone 'X/Y'. Write it like" in told["detail"]


def test_checking_keeps_nothing_and_says_what_is_odd(caller, ada, said):
    odd = {**said, "window_start": "10:00", "window_end": "11:00"}
    answer = send(caller(ada), "POST", "/schedules/check", odd)
    assert "never fires inside" in answer.json()["warnings"][0]
    assert not Schedule.objects.exists()


def test_a_stranger_sees_none_and_a_foreign_deployment_is_none(caller, ada, eve, said, schedule, make_deployment):
    stranger = caller(eve)
    assert stranger.get("/api/v1/schedules").json()["count"] == 0
    assert stranger.get(f"/api/v1/schedules/{schedule.pk}").status_code == 404
    foreign = make_deployment("theirs", team=eve.teams.get())
    answer = send(caller(ada), "POST", "/schedules", {**said, "name": "other", "deployment": foreign.pk})
    assert answer.status_code == 404
