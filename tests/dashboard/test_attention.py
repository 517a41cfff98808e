"""The list that home begins with: what wants a person, why, and where to go."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.schedules.conftest import make_schedule as make_schedule
from tests.schedules.conftest import source as source
from tests.schedules.conftest import spec as spec
from webapp.deployments import sharing
from webapp.deployments.states import ReplicaState
from webapp.interfaces.kit import attention
from webapp.inventory import services as inventory
from webapp.inventory.models import Host
from webapp.jobs import services as jobs
from webapp.jobs.models import Job


def words(user):
    return [(each.word, each.title) for each in attention.concerns(user)]


def test_an_unreachable_host_and_a_full_disk_are_named(ada, host, deployment):
    Host.objects.filter(pk=host.pk).update(disk_free_bytes=1)
    inventory.record_lost(host.pk, "connection refused")
    assert words(ada)[:2] == [("unreachable", "local"), ("disk nearly full", "Disk of local")]


def test_a_crash_loop_says_how_often(ada, deployment, advance):
    replica = advance(deployment.replicas.get(), "placing", "failed", text="It died.", crash_count=4)
    type(replica).objects.filter(pk=replica.pk).update(next_due_at=timezone.now())
    [concern] = [each for each in attention.concerns(ada) if each.title == "smollm2 #1"]
    assert concern.word == "restarting"
    assert concern.reason == "Crashed 4 times. It died."


def test_a_failed_job_is_news_for_a_day(ada, team, host, deployment):
    old = timezone.now() - timedelta(days=2)
    Job.objects.create(kind="fetch", team=team, host=host, state="failed", ended_at=old)
    new = Job.objects.create(kind="fetch", team=team, host=host, state="failed", ended_at=timezone.now())
    assert [title for word, title in words(ada) if word == "failed"] == [f"Fetch job {new.pk}"]


@pytest.mark.parametrize(("person", "sees"), [("root", True), ("ada", False)])
def test_containers_on_hold_are_for_who_may_let_go(request, host, deployment, person, sees):
    row = inventory.installation()
    type(row).objects.update(is_on_hold=True)
    assert (("on hold", "Unmanaged containers") in words(request.getfixturevalue(person))) is sees


def test_a_new_installation_is_led_one_step_at_a_time(root, team):
    from webapp.accounts import services as accounts
    from webapp.catalog.models import Artifact

    assert words(root) == [("to do", "No host")]
    host = inventory.register_host(None, "local", "unix:///var/run/docker.sock")
    inventory.record_facts(host.pk, inventory.HostFacts("d", 4, 8 * 1024**3))
    assert words(root) == [("to do", "No model")]
    from webapp.catalog.models import ArtifactCopy, CatalogModel

    model = CatalogModel.objects.create(name="m", slug="m")
    artifact = Artifact.objects.create(catalog_model=model, format="gguf", main_file="m.gguf")
    ArtifactCopy.objects.create(artifact=artifact, host=host, state="present")
    assert words(root) == [("to do", "No deployment")]
    from webapp.deployments import services as deployments

    deployments.create(root, team, deployments.DeploymentSpec(name="m", artifact=artifact))
    assert words(root) == [("to do", "No API key")]
    accounts.create_key(root, team, "k")
    assert words(root) == []


def test_every_concern_leads_to_a_page_that_is_there(client, ada, host, deployment, advance):
    advance(deployment.replicas.get(), "placing", "failed", text="It died.")
    Host.objects.filter(pk=host.pk).update(disk_free_bytes=1)
    client.force_login(ada)
    for concern in attention.concerns(ada):
        assert client.get(concern.url).status_code == 200


def test_home_shows_the_last_hour_where_usage_tells_it(client, ada, deployment, monkeypatch):
    from types import SimpleNamespace

    from webapp.usage import services as usage

    rates = SimpleNamespace(requests_per_min=12.5, tokens_per_min=3400, ttft_ms_p50=87.4, failed=2)
    monkeypatch.setattr(usage, "last_hour", lambda user: {deployment.pk: rates}, raising=False)
    client.force_login(ada)
    text = client.get("/").content.decode()
    assert "over the last hour" in text
    for shown in (">12<", ">3,400<", ">87<", ">2<"):
        assert shown in text


MINUTE = timedelta(minutes=1)


def as_old_as(row, age, **columns):
    """What a row looks like that has been as it is for so long."""
    then = timezone.now() - age
    type(row).objects.filter(pk=row.pk).update(**{"state_at": then, "next_due_at": then, **columns})


@pytest.mark.parametrize("state", [state for state in ReplicaState if state != ReplicaState.READY])
def test_a_replica_that_is_wanted_and_is_not_up_for_longer_than_usual_is_named_whatever_its_state(
    ada, host, deployment, state
):
    replica = deployment.replicas.get()
    as_old_as(replica, timedelta(hours=1), state=state, reason="the container is running")
    [found] = [each for each in attention.concerns(ada) if each.kind == "replica"]
    assert (found.word, found.title) == ("restarting" if state == "failed" else state, "smollm2 #1")
    assert found.advice and found.since < timezone.now() - 59 * MINUTE


@pytest.mark.parametrize("state", [state for state in ReplicaState if state != ReplicaState.STOPPED])
def test_a_replica_that_is_to_stop_and_does_not_is_named_whatever_its_state(ada, host, deployment, state):
    as_old_as(deployment.replicas.get(), timedelta(hours=1), state=state)
    type(deployment).objects.update(desired_state="stopped")
    found = [each for each in attention.concerns(ada) if each.kind == "replica"]
    assert len(found) == 1 and "It should be stopped" in found[0].reason


@pytest.mark.parametrize(("state", "wanted"), [("loading", "running"), ("ready", "running"), ("stopping", "stopped")])
def test_what_takes_as_long_as_usual_is_not_named(ada, host, deployment, state, wanted):
    as_old_as(deployment.replicas.get(), MINUTE / 2, state=state)
    type(deployment).objects.update(desired_state=wanted)
    assert "replica" not in {each.kind for each in attention.concerns(ada)}


@pytest.mark.parametrize(("state", "wanted"), [("ready", "stopped"), ("stopped", "running"), ("failed", "stopped")])
def test_a_desired_state_that_was_just_changed_is_given_time_however_long_the_state_has_lasted(
    ada, host, deployment, state, wanted
):
    as_old_as(deployment.replicas.get(), timedelta(days=3), state=state, next_due_at=timezone.now())
    type(deployment).objects.update(desired_state=wanted)
    assert "replica" not in {each.kind for each in attention.concerns(ada)}


def test_a_rollout_that_does_not_come_through_is_named(ada, host, deployment):
    from webapp.deployments.models import Revision, Rollout

    revision = Revision.objects.create(deployment=deployment, number=1)
    made = Rollout.objects.create(deployment=deployment, number=9, revision=revision, kind="edit", reason="no room")
    assert "rollout" not in {each.kind for each in attention.concerns(ada)}
    Rollout.objects.filter(pk=made.pk).update(started_at=timezone.now() - timedelta(hours=2))
    assert [(each.title, each.reason) for each in attention.concerns(ada) if each.kind == "rollout"] == [
        ("smollm2", "no room")
    ]


@pytest.mark.parametrize(("failed", "is_named"), [(49, True), (2, False), (4, False), (0, False)])
def test_failing_requests_are_named_when_they_are_more_than_noise(ada, eve, team, host, deployment, failed, is_named):
    from webapp.usage.models import Period, Rollup

    at = timezone.now().replace(second=0, microsecond=0)
    Rollup.objects.create(
        period=Period.MINUTE, at=at, team_id=team.pk, deployment_id=deployment.pk, requests=207, failed=failed
    )
    found = [each for each in attention.concerns(ada) if each.kind == "requests"]
    assert [each.reason for each in found] == (["49 of 207 requests failed in the last hour."] if is_named else [])
    sharing.grant(ada, deployment, "strangers")
    assert not [each for each in attention.concerns(eve) if each.kind == "requests"]


def test_jobs_that_do_not_begin_or_do_not_end_are_named(ada, team, host, deployment):
    waits = Job.objects.create(kind="fetch", team=team, host=host)
    asked = timezone.now() - timedelta(hours=1)
    stays = Job.objects.create(
        kind="fetch", team=team, host=host, state="running", is_cancel_wanted=True, cancel_asked_at=asked
    )
    usual = Job.objects.create(kind="fetch", team=team, host=host)
    paused = Job.objects.create(kind="fetch", team=team, host=host, state="running")
    jobs.record_paused(paused, "modelyard-job-4-a1")
    Job.objects.exclude(pk=usual.pk).update(created_at=timezone.now() - timedelta(hours=2))
    found = {each.title: each for each in attention.concerns(ada) if each.kind == "job"}
    assert set(found) == {f"Fetch job {job.pk}" for job in (waits, stays, paused)}
    assert "docker unpause modelyard-job-4-a1" in found[f"Fetch job {paused.pk}"].reason
    assert "was cancelled and is still" in found[f"Fetch job {stays.pk}"].reason


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_cancellation_is_late_when_it_was_asked_for_long_ago_however_old_the_job_is(ada, team, host, state):
    job = Job.objects.create(kind="fetch", team=team, host=host, state=state)
    Job.objects.update(created_at=timezone.now() - timedelta(days=2))
    jobs.cancel(ada, job)
    assert not [each for each in attention.concerns(ada) if each.kind == "job"]
    long_ago = timezone.now() - timedelta(hours=1)
    Job.objects.update(cancel_asked_at=long_ago)
    # Asking once more is no new beginning.
    jobs.cancel(ada, job)
    [found] = [each for each in attention.concerns(ada) if each.kind == "job"]
    assert (found.since, found.reason) == (long_ago, f"It was cancelled and is still {state}.")


@pytest.mark.parametrize("state", ["failed", "rejected"])
def test_a_run_that_failed_or_was_refused_is_named_until_a_later_one_is_better(ada, make_schedule, state):
    from webapp.schedules.models import ScheduleRun

    now, nightly = timezone.now(), make_schedule()
    ScheduleRun.objects.create(schedule=nightly, due_at=now, state=state, reason="too perplexed", ended_at=now)
    [found] = [each for each in attention.concerns(ada) if each.kind == "schedule"]
    assert (found.word, found.reason) == (state, "too perplexed") and found.advice
    ScheduleRun.objects.create(schedule=nightly, due_at=now, state="succeeded", ended_at=now)
    assert "schedule" not in {each.kind for each in attention.concerns(ada)}


def test_a_schedule_that_is_due_and_does_not_fire_is_named(ada, make_schedule):
    nightly = make_schedule()
    type(nightly).objects.update(next_due_at=timezone.now() - timedelta(hours=1))
    [found] = [each for each in attention.concerns(ada) if each.kind == "schedule"]
    assert found.word == "late"
    type(nightly).objects.update(is_paused=True)
    assert "schedule" not in {each.kind for each in attention.concerns(ada)}


def test_a_target_that_takes_no_message_is_named(ada, team, host, deployment):
    from webapp.schedules.models import Notification, Target

    target = Target.objects.create(team=team, kind="webhook", address="https://hooks.example.org/x")
    Notification.objects.create(target=target, event="job.failed", key="a", state="failed", answer="It said 410.")
    assert [each.reason for each in attention.concerns(ada) if each.kind == "notification"] == ["It said 410."]
    Notification.objects.create(target=target, event="job.failed", key="b", state="sent")
    assert "notification" not in {each.kind for each in attention.concerns(ada)}


@pytest.mark.parametrize(
    ("state", "age", "word"),
    [("failed", timedelta(0), "failed"), ("done", timedelta(days=2), "late"), ("running", timedelta(days=2), "late"),
     ("done", timedelta(hours=20), None)],
)  # fmt: skip
def test_the_daily_backup_that_is_not_there_is_named_to_the_admin(root, ada, host, deployment, state, age, word):
    from webapp.operations.models import Backup

    Backup.objects.create(is_scheduled=True, state=state, started_at=timezone.now() - age, reason="disk full")
    assert [each.word for each in attention.concerns(root) if each.kind == "backup"] == ([word] if word else [])
    assert "backup" not in {each.kind for each in attention.concerns(ada)}


@pytest.mark.parametrize(("days", "word"), [(90, None), (10, "ends soon"), (-1, "expired"), (None, "unreadable")])
def test_a_certificate_about_to_end_is_named(root, ada, host, tmp_path, monkeypatch, days, word):
    path = tmp_path / "tls.pem"
    if days is not None:
        path.write_bytes(certificate_for(timedelta(days=days)))
    monkeypatch.setenv("MODELYARD_TLS_CERT", str(path))
    assert [each.word for each in attention.concerns(root) if each.kind == "certificate"] == ([word] if word else [])
    assert "certificate" not in {each.kind for each in attention.concerns(ada)}


def certificate_for(left):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), timezone.now()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=400), now + left)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_a_full_disk_under_modelyard_itself_is_named(root, host, monkeypatch):
    from webapp.interfaces.kit import attention_upkeep

    assert "Disk of Modelyard itself" not in [title for _word, title in words(root)]
    # More than any disk has.
    monkeypatch.setattr(attention_upkeep, "OWN_DISK_LOW_BYTES", 2**80)
    assert ("disk nearly full", "Disk of Modelyard itself") in words(root)


def test_a_process_that_fell_silent_is_named_and_one_that_never_spoke_is_not(root, host):
    from webapp.operations import heartbeats
    from webapp.operations.models import Heartbeat

    heartbeats.beat("worker")
    assert "process" not in {each.kind for each in attention.concerns(root)}
    Heartbeat.objects.update(at=timezone.now() - timedelta(minutes=10))
    [found] = [each for each in attention.concerns(root) if each.kind == "process"]
    assert found.title == "The process worker" and "10 min" in found.reason


def test_a_key_in_use_that_ends_soon_is_named_to_its_owner(ada, team, bob, host, deployment):
    from webapp.accounts import services as accounts

    now = timezone.now()
    key, _text = accounts.create_key(ada, team, "ci")
    type(key).objects.filter(pk=key.pk).update(expires_at=now + timedelta(days=2), last_used_at=now)
    assert [each.title for each in attention.concerns(ada) if each.kind == "key"] == ["API key ci"]
    assert "key" not in {each.kind for each in attention.concerns(bob)}


def test_a_stranger_is_told_of_nothing_that_is_not_theirs(eve, ada, team, host, deployment, make_schedule):
    from webapp.schedules.models import Notification, ScheduleRun, Target

    now = timezone.now()
    as_old_as(deployment.replicas.get(), timedelta(hours=1), state="loading")
    Job.objects.create(kind="fetch", team=team, host=host, state="failed", ended_at=now)
    ScheduleRun.objects.create(schedule=make_schedule(), due_at=now, state="failed", ended_at=now)
    target = Target.objects.create(team=team, kind="webhook", address="https://hooks.example.org/x")
    Notification.objects.create(target=target, event="job.failed", key="a", state="failed")
    assert {each.kind for each in attention.concerns(ada)} >= {"replica", "job", "schedule", "notification"}
    assert {each.kind for each in attention.concerns(eve)} <= {"host", "disk", "first"}


def test_the_list_costs_the_same_for_one_row_and_for_ten(
    root, ada, team, host, deployment, make_schedule, django_assert_num_queries
):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from webapp.deployments.models import Replica
    from webapp.schedules.models import Notification, ScheduleRun, Target

    def bad(number):
        now = timezone.now()
        Job.objects.create(kind="fetch", team=team, host=host, state="failed", ended_at=now)
        schedule = make_schedule(name=f"nightly-{number}")
        ScheduleRun.objects.create(schedule=schedule, due_at=now, state="failed", ended_at=now)
        target = Target.objects.create(team=team, kind="webhook", address=f"https://hooks.example.org/{number}")
        Notification.objects.create(target=target, event="job.failed", key="a", state="failed")
        Replica.objects.create(deployment=deployment, number=number + 1, state="failed")

    bad(1)
    with CaptureQueriesContext(
        connection,
    ) as few:
        attention.concerns(root)
    for number in range(2, 11):
        bad(number)
    with django_assert_num_queries(len(few)):
        attention.concerns(root)


def test_home_api_and_page_tell_the_same(client, ada, host, deployment):
    as_old_as(deployment.replicas.get(), 7 * MINUTE, state="loading", reason="the container is running")
    client.force_login(ada)
    told = client.get("/api/v1/attention").json()
    assert [(one["kind"], one["word"], one["title"], one["reason"]) for one in told] == [
        (each.kind, each.word, each.title, each.reason) for each in attention.concerns(ada)
    ]
    page = client.get("/").content.decode()
    assert "the container is running" in page and "7 min ago" in page
    assert "All clear" not in page
