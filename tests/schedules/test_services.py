"""What people may ask of schedules, and what is refused before anything runs."""

from dataclasses import replace
from datetime import time

import pytest

from webapp.accounts.models import AuditEntry
from webapp.catalog.models import Hub
from webapp.foundation.errors import Conflict, Invalid, NotAllowed
from webapp.quantisation.recipes import Recipe
from webapp.schedules import services
from webapp.schedules.gates import Gate
from webapp.schedules.models import Schedule

pytestmark = pytest.mark.django_db


def test_a_schedule_knows_its_next_time(schedule):
    assert (schedule.next_due_at.hour, schedule.next_due_at.minute) == (2, 0)
    assert AuditEntry.objects.filter(verb="schedule.create", subject="nightly").exists()


@pytest.mark.parametrize(
    ("change", "field", "word"),
    [
        ({"cron": "0 0 31 2 *"}, "cron", "never comes"),
        ({"cron": "often"}, "cron", "Five fields"),
        ({"zone": "Europe/Atlantis"}, "zone", "no time zone"),
        ({"zone": "../../etc/passwd"}, "zone", "no time zone"),
        ({"trigger": "sometimes"}, "trigger", "none of"),
        ({"trigger": "interval", "interval_minutes": 1}, "interval_minutes", "5 minutes"),
        ({"trigger": "new_commit"}, "trigger", "repository"),
        ({"window_start": time(22)}, "window_end", "both ends"),
        ({"window_start": time(22), "window_end": time(22)}, "window_end", "ends when"),
        ({"recipes": ()}, "recipes", "1 to 12"),
        ({"recipes": (Recipe(options={"type": "Q99"}),)}, "recipes", "type"),
        ({"recipes": (Recipe(method="awq"),)}, "recipes", "AWQ"),
        ({"recipes": (Recipe(), Recipe(options={"type": "Q4_K_M"}))}, "recipes", "twice"),
        ({"gate": Gate(max_kl_divergence=1), "measure": None}, "gate", "not evaluated"),
        ({"gate": Gate(min_prompts_passed_percent=90)}, "min_prompts_passed_percent", "none are chosen"),
        ({"keep_last": 0}, "keep_last", "1000"),
        ({"idle_minutes": 0}, "idle_minutes", "Idle time"),
        ({"name": "  "}, "name", "name"),
        ({"artifact": None}, "artifact", "one source"),
    ],
)
def test_what_cannot_work_is_refused_with_its_field_and_nothing_is_kept(spec, ada, team, change, field, word):
    with pytest.raises(Invalid, match=word) as refusal:
        services.create(ada, team, replace(spec, **change))
    assert field in refusal.value.fields
    assert not Schedule.objects.exists()


def test_a_name_that_is_taken_is_a_conflict(schedule, spec, ada, team):
    with pytest.raises(Conflict, match="named nightly"):
        services.create(ada, team, spec)


def test_a_deployment_of_another_team_is_refused(spec, ada, team, eve, make_deployment):
    foreign = make_deployment("theirs", team=eve.teams.get())
    with pytest.raises(Invalid, match="another team"):
        services.create(ada, team, replace(spec, deployment=foreign))


def test_a_deployment_whose_engine_loads_none_of_the_results_is_refused(spec, ada, team, source, make_deployment):
    deployment = make_deployment()
    type(deployment).objects.filter(pk=deployment.pk).update(engine="vllm")
    deployment.refresh_from_db()
    with pytest.raises(Invalid, match="does not load gguf"):
        services.create(ada, team, replace(spec, deployment=deployment))


def test_a_window_that_no_time_meets_is_a_warning_and_is_kept(spec, ada, team):
    odd = replace(spec, window_start=time(10), window_end=time(11))
    assert any("never fires inside" in said for said in services.check(ada, team, odd))
    assert services.create(ada, team, odd).pk


def test_serving_without_a_gate_is_a_warning(spec, ada, team, deployment):
    said = services.check(ada, team, replace(spec, gate=Gate(), deployment=deployment))
    assert any("no quality gate" in one for one in said)


def test_a_teammate_may_and_a_stranger_and_a_viewer_may_not(schedule, bob, eve, team, spec):
    services.pause(bob, schedule)
    with pytest.raises(NotAllowed):
        services.resume(eve, schedule)
    with pytest.raises(NotAllowed):
        services.create(eve, team, replace(spec, name="other"))


def test_a_changed_source_forgets_the_commit_that_was_seen(spec, ada, team):
    hub = Hub.objects.create(name="Hub", endpoint="https://hub.example")
    new = replace(spec, artifact=None, hub=hub, repo="a/b", variant="x.gguf", trigger="new_commit")
    schedule = services.create(ada, team, new)
    Schedule.objects.filter(pk=schedule.pk).update(seen_commit="abc")
    schedule.refresh_from_db()
    assert services.edit(ada, schedule, replace(services.spec_of(schedule), keep_last=3)).seen_commit == "abc"
    assert services.edit(ada, schedule, replace(services.spec_of(schedule), revision="v2")).seen_commit == ""


def test_a_schedule_that_runs_is_not_deleted(schedule, ada):
    services.run_now(ada, schedule)
    with pytest.raises(Conflict, match="already running"):
        services.run_now(ada, schedule)
    assert AuditEntry.objects.filter(verb="schedule.run").count() == 1  # what was refused was not done
    with pytest.raises(Conflict, match="is running"):
        services.delete(ada, schedule)
    assert Schedule.objects.exists()


def test_what_is_read_back_is_what_was_asked_for(schedule, spec):
    schedule.refresh_from_db()
    assert services.spec_of(schedule) == replace(spec, name="nightly")


def test_the_migration_writes_down_what_sources_are_called(schedule):
    from importlib import import_module

    from django.apps import apps

    Schedule.objects.update(source_name="")
    import_module("webapp.schedules.migrations.0003_source_name").fill(apps, None)
    schedule.refresh_from_db()
    assert schedule.source_name == str(schedule.artifact)


def test_results_must_be_made_where_the_placement_labels_allow_them(make_schedule, deployment, host):
    deployment.placement_labels = ["gpu=a100", "rack-3"]
    host.labels = ["rack-3"]
    with pytest.raises(Invalid) as refused:
        make_schedule(host=host, deployment=deployment)
    assert "lacks the label gpu=a100" in refused.value.fields["deployment"]
    host.labels = ["rack-3", "gpu=a100"]
    assert make_schedule(host=host, deployment=deployment)
