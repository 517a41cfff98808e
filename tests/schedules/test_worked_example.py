"""The worked example of the help, from its own text to a deployment that serves the night's result."""

import json
import re
from typing import Any

import pytest

from webapp.accounts import keys
from webapp.catalog import hubs
from webapp.catalog.models import Hub
from webapp.deployments.models import Rollout
from webapp.foundation.paths import REPOSITORY
from webapp.quantisation.models import PromptSet
from webapp.schedules.models import Schedule, ScheduleRun

from .conftest import GOOD

pytestmark = pytest.mark.django_db
HELP = (REPOSITORY / "templates/help/schedules.md").read_text()
BODIES = re.findall(r"/api/v1/([a-z-]+)\".*?-d '(\{.*?\})'", HELP, re.DOTALL)


@pytest.fixture
def nightly(client, ada, team, host, source, deployment, monkeypatch):
    """The example's calls, sent as the help has them but for the ids of this test, and a hub that has the fine-tune."""
    hub = Hub.objects.create(name="Hub", endpoint="https://hub.example")
    _key, text = keys.create_key(ada, team, "program")
    ids = {"hub": hub.pk, "host": host.pk, "deployment": deployment.pk}
    for path, body in BODIES:
        said = json.loads(body)
        said |= {name: value for name, value in ids.items() if name in said}
        if "prompts" in said and path == "schedules":
            said["prompts"] = PromptSet.objects.get().pk
        made = client.post(f"/api/v1/{path}", said, content_type="application/json", headers={"X-API-Key": text})
        assert made.status_code == 201, made.content
    schedule = Schedule.objects.get()
    source.origin = f"hub:{hub.pk}:{schedule.repo}@c1:{schedule.variant}"
    source.save()
    monkeypatch.setattr(hubs, "repo", lambda _hub, name, revision="": hubs.Repo(name, "c1", "main", (), "", False, ""))
    run = client.post(f"/api/v1/schedules/{schedule.pk}/runs", headers={"X-API-Key": text})
    assert run.status_code == 202, run.content
    return ScheduleRun.objects.get(pk=run.json()["id"])


def asked(percent: float) -> dict[str, Any]:
    return {"passed": int(percent / 100), "total": 1, "passed_percent": percent, "missed": []}


def test_the_example_is_there():
    assert [path for path, _body in BODIES] == ["golden-prompts", "schedules"]


def test_the_smallest_that_is_good_enough_is_served(nightly, go, end_job, deployment):
    run = go(nightly, 3)
    small, _large = run.jobs.order_by("id")
    assert (small.params["recipe"]["options"]["type"], small.params["prompts"]["name"]) == ("Q4_K_M", "capitals")
    best = end_job(small, GOOD, prompts=asked(100.0))
    end_job(_large, GOOD, prompts=asked(100.0))
    run = go(run, 2)
    deployment.refresh_from_db()
    assert deployment.artifact_id == best.pk, run.reason
    Rollout.objects.filter(deployment=deployment, number=run.rollout).update(state="done")
    assert go(run).state == "succeeded"


def test_a_result_that_has_forgotten_the_answer_gives_way_to_the_larger_one(nightly, go, end_job, deployment):
    run = go(nightly, 3)
    small, large = run.jobs.order_by("id")
    end_job(small, GOOD, prompts=asked(0.0))
    best = end_job(large, GOOD, prompts=asked(100.0))
    run = go(run, 2)
    deployment.refresh_from_db()
    assert (deployment.artifact_id, best.quantisation) == (best.pk, "Q8_0"), run.reason


def test_when_neither_is_good_enough_everything_stays_and_says_by_how_much(nightly, go, end_job, deployment, source):
    run = go(nightly, 3)
    for job in run.jobs.all():
        end_job(job, GOOD, prompts=asked(0.0))
    run = go(run)
    deployment.refresh_from_db()
    assert (run.state, deployment.artifact_id) == ("rejected", source.pk)
    assert "Q8_0: Golden prompts passed (%) is 0, below the limit 100" in run.reason
