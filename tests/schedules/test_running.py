"""A run from its beginning to each of its ends."""

from datetime import timedelta

import pytest
from django.utils import timezone

from webapp.catalog.models import Artifact
from webapp.deployments import services as deployments
from webapp.deployments.models import Deployment, Rollout
from webapp.deployments.spec import DeploymentPatch
from webapp.foundation.errors import Conflict
from webapp.jobs import ending
from webapp.jobs.models import Job
from webapp.quantisation.recipes import Recipe
from webapp.schedules import firing, services
from webapp.schedules.decide import AGAIN_S
from webapp.schedules.gates import Gate
from webapp.schedules.lifecycle import RUN
from webapp.schedules.models import Schedule, ScheduleRun
from webapp.schedules.states import ENDED, MOVES, RunState
from workers import controllers

pytestmark = pytest.mark.django_db
TWO = (Recipe(options={"type": "Q4_K_M"}), Recipe(options={"type": "Q8_0"}))
BAD = {"kl_divergence": 0.5, "top1_agreement_percent": 60.0, "perplexity": 20.0, "base_perplexity": 10.0}


def begun(schedule, go):
    return go(firing.begin(schedule, timezone.now()), 2)


def test_every_state_is_reached_and_ends_are_ends():
    reached = {new for news in MOVES.values() for new in news} | {RunState.WAITING}
    assert reached == set(RunState)
    assert all(not MOVES[state] for state in ENDED)


def test_a_good_result_ends_well_with_what_it_cost(schedule, go, end_job, host):
    host.price_per_hour = "3.60"
    host.save()
    run = begun(schedule, go)
    job = run.jobs.get()
    assert (run.state, job.kind, job.params["recipe"]["options"]["type"]) == ("running", "quantise", "Q4_K_M")
    end_job(job)
    Job.objects.filter(pk=job.pk).update(started_at=timezone.now() - timedelta(seconds=100), ended_at=timezone.now())
    run = go(run)
    assert run.state == "succeeded", run.reason
    assert run.results[0]["checks"][0]["measured"] == 0.01
    assert run.cost_seconds == pytest.approx(100, abs=1)
    assert float(run.cost) == pytest.approx(0.1, abs=0.002)


def test_a_step_that_is_carried_out_twice_queues_nothing_twice(schedule, go):
    run = begun(schedule, go)
    go(run, 3)
    assert run.jobs.count() == 1 == Job.objects.count()


def test_a_run_at_work_is_looked_at_again_before_a_sweep_would(schedule, monkeypatch):
    sent = []
    monkeypatch.setattr(
        "webapp.foundation.work_queue.send", lambda task, row_id, in_s=None: sent.append((task, row_id, in_s))
    )
    run = firing.begin(schedule, timezone.now())
    sent.clear()
    controllers.work(firing.ADVANCE, run.pk)
    assert [message for message in sent if message[2]] == [(firing.ADVANCE, run.pk, AGAIN_S)]
    sent.clear()
    controllers.work(firing.ADVANCE, run.pk, only_when_due=True)
    assert sent == [], "it came before its time"


def test_two_workers_at_once_are_one_and_nobody(schedule):
    run = firing.begin(schedule, timezone.now())
    assert RUN.claim(run.pk) is not None
    assert RUN.claim(run.pk) is None


def test_a_recipe_matrix_is_one_job_each_and_the_first_that_passes_counts(make_schedule, go, end_job, deployment):
    schedule = make_schedule(recipes=TWO, deployment=deployment)
    run = begun(schedule, go)
    small, large = run.jobs.order_by("id")
    end_job(small, BAD)
    assert go(run).state == "running"
    best = end_job(large)
    run = go(run, 2)
    deployment.refresh_from_db()
    assert deployment.artifact_id == best.pk
    assert "Q4_K_M: KL divergence is 0.5, above the limit 0.05" in go(run, 2).reason or run.state == "running"


def test_a_result_that_is_not_good_enough_changes_nothing_and_says_why(make_schedule, go, end_job, deployment, source):
    schedule = make_schedule(deployment=deployment)
    run = begun(schedule, go)
    end_job(run.jobs.get(), BAD)
    run = go(run)
    deployment.refresh_from_db()
    assert (run.state, deployment.artifact_id) == ("rejected", source.pk)
    assert "above the limit 0.05" in run.reason
    assert not Rollout.objects.exists()


def test_a_limit_on_what_was_not_measured_is_not_passed(make_schedule, go, end_job, deployment):
    schedule = make_schedule(deployment=deployment, gate=Gate(min_top1_agreement_percent=90))
    run = begun(schedule, go)
    end_job(run.jobs.get(), {"perplexity": 10.0})
    run = go(run)
    assert run.state == "rejected"
    assert "Top-1 agreement was not measured" in run.reason


def test_a_job_that_fails_fails_the_run_with_its_reason(schedule, go, end_job):
    run = begun(schedule, go)
    end_job(run.jobs.get(), failed="The disk is full.")
    run = go(run)
    assert (run.state, "The disk is full." in run.reason) == ("failed", True)


@pytest.fixture
def rolled(make_schedule, go, end_job, deployment):
    """A run whose good result is being rolled out to a deployment that runs."""
    schedule = make_schedule(deployment=deployment)
    run = begun(schedule, go)
    end_job(run.jobs.get())
    run = go(run)
    assert (run.state, run.rollout is not None) == ("running", True), run.reason
    return run


def test_a_rollout_is_watched_to_its_end(rolled, go, deployment):
    assert go(rolled).state == "running"
    Rollout.objects.filter(deployment=deployment, number=rolled.rollout).update(state="done")
    run = go(rolled)
    assert run.state == "succeeded"
    assert "serves SmolLM2 135M Instruct Q4_K_M" in run.reason


def test_a_result_whose_replicas_do_not_live_is_a_failed_run(rolled, go, deployment):
    Rollout.objects.filter(deployment=deployment, number=rolled.rollout).update(state="failed", reason="It crashed.")
    run = go(rolled)
    assert (run.state, "was rolled back: It crashed." in run.reason) == ("failed", True)


def test_a_result_for_a_stopped_deployment_is_written_down_and_not_waited_for(make_schedule, go, end_job, deployment):
    Deployment.objects.filter(pk=deployment.pk).update(desired_state="stopped")
    run = begun(make_schedule(deployment=deployment), go)
    made = end_job(run.jobs.get())
    run = go(run, 2)
    deployment.refresh_from_db()
    assert (run.state, deployment.artifact_id) == ("succeeded", made.pk)


def test_a_result_is_served_where_the_placement_labels_say(make_schedule, go, end_job, deployment, source, host):
    host.labels = ["rack-3"]
    host.save()
    deployments.edit(None, deployment, DeploymentPatch({"placement_labels": ("rack-3",)}))
    run = begun(make_schedule(host=host, deployment=deployment), go)
    end_job(run.jobs.get())
    go(run, 3)
    deployment.refresh_from_db()
    assert deployment.artifact_id != source.pk
    assert deployment.placement_labels == deployment.revision.placement_labels == ["rack-3"]


def test_a_deployment_that_was_deleted_fails_the_run(make_schedule, go, end_job, deployment):
    schedule = make_schedule(deployment=deployment)
    run = begun(schedule, go)
    made = end_job(run.jobs.get())
    deployment.delete()
    run = go(run)
    assert (run.state, "has been deleted" in run.reason) == ("failed", True)
    assert Artifact.objects.filter(pk=made.pk).exists()


def test_a_cancelled_run_cancels_its_jobs_and_ends_when_they_have(schedule, go, ada):
    from webapp.jobs import services as jobs
    from webapp.jobs.states import JobState

    run = begun(schedule, go)
    services.cancel(ada, run)
    run = go(run)
    job = run.jobs.get()
    assert (run.state, job.is_cancel_wanted) == ("running", True)
    jobs.move(job, JobState.QUEUED, JobState.CANCELLED)
    assert go(run).state == "cancelled"


def test_a_job_that_ends_while_its_run_is_cancelled_keeps_no_other_job_going(make_schedule, go, ada, monkeypatch):
    from webapp.jobs import services as jobs
    from webapp.jobs.states import JobState

    run = begun(make_schedule(recipes=TWO), go)
    first, second = run.jobs.order_by("id")
    real = jobs.cancel

    def ends_first(user, job):
        if job.pk == first.pk:
            jobs.move(first, JobState.QUEUED, JobState.FAILED, "The disk is full.")
        real(user, job)

    services.cancel(ada, run)
    monkeypatch.setattr(jobs, "cancel", ends_first)
    run = go(run)
    second.refresh_from_db()
    assert (run.state, second.is_cancel_wanted) == ("running", True), run.reason
    jobs.move(second, JobState.QUEUED, JobState.CANCELLED)
    assert go(run).state == "cancelled"


def test_a_run_waits_for_its_window_and_says_so(make_schedule, go):
    now = timezone.now()
    opens, shuts = ((now + timedelta(hours=hours)).time().replace(microsecond=0) for hours in (2, 4))
    schedule = make_schedule(window_start=opens, window_end=shuts)
    run = go(firing.begin(schedule, now))
    assert (run.state, "window opens" in run.reason) == ("waiting", True)
    assert run.next_due_at > now + timedelta(hours=1)


def test_a_run_that_a_person_asked_for_does_not_wait(make_schedule, go, ada):
    now = timezone.now()
    opens, shuts = ((now + timedelta(hours=hours)).time().replace(microsecond=0) for hours in (2, 4))
    run = services.run_now(ada, make_schedule(window_start=opens, window_end=shuts, idle_minutes=60))
    assert go(run).state == "running"


def test_a_run_waits_while_a_job_runs_or_the_host_was_asked(make_schedule, go, ask, host, source, team):
    schedule = make_schedule(idle_minutes=10)
    busy = Job.objects.create(kind="fetch", host=host, artifact=source, team=team, state="running")
    run = go(firing.begin(schedule, timezone.now()))
    assert (run.state, f"fetch job {busy.pk} runs" in run.reason) == ("waiting", True)
    Job.objects.filter(pk=busy.pk).update(state="succeeded")
    record = ask(minutes_ago=3)
    run = go(run)
    assert (run.state, "was asked 3 min ago" in run.reason) == ("waiting", True)
    record.delete()
    ask(minutes_ago=30)
    assert go(run).state == "running"


@pytest.fixture
def ask(deployment, host, team):
    """A request of a deployment on the host, so long ago."""
    import uuid

    from webapp.usage.models import UsageRecord

    deployment.replicas.update(host=host)

    def record(minutes_ago):
        return UsageRecord.objects.create(
            id=uuid.uuid4(), at=timezone.now() - timedelta(minutes=minutes_ago), deployment=deployment, team=team,
            endpoint="chat/completions", status=200, outcome="ok",
        )  # fmt: skip

    return record


def test_only_the_newest_results_are_kept_and_what_is_served_stays(
    make_schedule, go, end_job, deployment, django_capture_on_commit_callbacks
):
    schedule = make_schedule(keep_last=1)
    made = []
    for _night in range(3):
        run = begun(schedule, go)
        made.append(end_job(run.jobs.get(kind="quantise")))
        Deployment.objects.filter(pk=deployment.pk).update(artifact=made[0])
        assert go(run).state == "succeeded"
    leaving = set(Artifact.objects.filter(is_leaving=True).values_list("pk", flat=True))
    assert leaving == {made[1].pk}, "the first is served, the third is the newest"
    assert Job.objects.filter(kind="delete_copy", artifact=made[1]).exists()


def test_a_result_that_another_schedule_made_is_not_touched(make_schedule, go, end_job):
    other = make_schedule(name="other", keep_last=1)
    run = begun(make_schedule(name="mine"), go)
    end_job(run.jobs.get())
    go(run)
    from webapp.schedules import tidying

    assert tidying.keep_last(Schedule.objects.get(pk=other.pk)) == []


def test_a_result_that_was_given_to_another_team_is_that_teams_to_keep(make_schedule, go, end_job, eve):
    schedule = make_schedule(keep_last=1)
    for _night in range(2):
        run = begun(schedule, go)
        end_job(run.jobs.get(kind="quantise"))
        Artifact.objects.filter(made_by__isnull=False).update(team=eve.teams.get())
        assert go(run).state == "succeeded"
    assert not Artifact.objects.filter(is_leaving=True).exists()


def test_jobs_of_a_run_that_goes_on_keep_their_records(schedule, go, end_job, ada, team):
    run = begun(schedule, go)
    made = run.jobs.get(kind="quantise")
    end_job(made)
    with pytest.raises(Conflict, match="A run of a schedule still waits"):
        ending.delete(ada, made)
    assert ending.delete_ended(ada, team) == 0
    assert ending.expire(timezone.now() + timedelta(days=ending.RECORDS_KEPT_DAYS + 1)) == 0
    assert go(run).state == "succeeded"
    assert ending.delete_ended(ada, team) == 1


def test_a_source_that_was_withdrawn_fails_the_run_and_says_so(schedule, go, source, eve):
    run = firing.begin(schedule, timezone.now())
    Artifact.objects.filter(pk=source.pk).update(team=eve.teams.get(), is_shared=False)
    run = go(run)
    assert (run.state, "is not shared with team" in run.reason) == ("failed", True)
    assert not Job.objects.exists()


def test_an_artifact_that_is_gone_fails_the_run(schedule, go, source):
    run = firing.begin(schedule, timezone.now())
    source.delete()
    run = go(run)
    assert (run.state, "was deleted" in run.reason) == ("failed", True)


def test_a_hub_that_is_away_is_waited_for_and_given_up_after_a_day(make_schedule, go, monkeypatch):
    from webapp.catalog import hubs
    from webapp.catalog.models import Hub
    from webapp.foundation.errors import Unavailable

    def away(*_args):
        raise Unavailable("Hub cannot be reached.")

    monkeypatch.setattr(hubs, "repo", away)
    hub = Hub.objects.create(name="Hub", endpoint="https://hub.example")
    run = go(firing.begin(make_schedule(artifact=None, hub=hub, repo="a/b", variant="x.gguf"), timezone.now()))
    assert (run.state, "cannot be reached" in run.reason) == ("waiting", True)
    ScheduleRun.objects.filter(pk=run.pk).update(created_at=timezone.now() - timedelta(days=2))
    assert go(run).state == "failed"


def test_a_source_that_lies_elsewhere_is_fetched_first(make_schedule, go, source):
    source.copies.all().delete()
    source.source = {"kind": "path", "path": "/srv/model.gguf"}
    source.save()
    run = go(firing.begin(make_schedule(), timezone.now()), 3)
    assert [job.kind for job in run.jobs.all()] == ["fetch"]
    source.copies.update(state="present")
    run.jobs.update(state="succeeded", ended_at=timezone.now())
    run = go(run, 2)
    assert sorted(job.kind for job in run.jobs.all()) == ["fetch", "quantise"]


@pytest.fixture
def prompts(ada, team):
    from webapp.quantisation import services as quantisation

    asked = [{"prompt": "What is the capital of France?", "way": "contains", "expected": "Paris"}]
    return quantisation.add_prompts(ada, team, "capitals", asked)


@pytest.mark.parametrize(("percent", "state"), [(100.0, "succeeded"), (50.0, "rejected")])
def test_golden_prompts_decide_without_any_other_measurement(make_schedule, go, end_job, prompts, percent, state):
    gate = Gate(min_prompts_passed_percent=90)
    schedule = make_schedule(prompts=prompts, gate=gate, measure=None)
    run = begun(schedule, go)
    job = run.jobs.get()
    assert job.params["steps"][-2] == "prompts"
    asked = {"passed": int(percent / 50), "total": 2, "passed_percent": percent, "missed": []}
    end_job(job, prompts=asked)
    run = go(run)
    assert run.state == state
    if state == "rejected":
        assert "Golden prompts passed (%) is 50, below the limit 90" in run.reason


def test_prompts_that_a_schedule_asks_are_not_deleted(make_schedule, ada, prompts):
    from webapp.foundation.errors import Conflict
    from webapp.quantisation import services as quantisation

    make_schedule(prompts=prompts, gate=Gate(min_prompts_passed_percent=90))
    with pytest.raises(Conflict, match="used by: nightly"):
        quantisation.delete_prompts(ada, prompts)
