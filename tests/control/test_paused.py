"""A container that somebody paused: its row says so, waits without end, and goes on when it is unpaused."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from tests.parts.images import allow
from tests.parts.memory_runtime import MemoryRuntime
from webapp.deployments import routes, services
from webapp.deployments.spec import DeploymentSpec
from webapp.jobs.models import Job
from workers import controllers, shut_down
from workers.runtime import specs
from workers.runtime.base import ContainerSpec


@pytest.fixture
def runtime(cast: Any) -> MemoryRuntime:
    found: MemoryRuntime = cast.runtime
    found.daemon = cast.host.daemon_id.split("@")[0]
    return found


def become(runtime: MemoryRuntime, container_id: str, status: str) -> None:
    runtime.containers[container_id] = replace(runtime.containers[container_id], status=status)


def look(task: str, row: Any) -> Any:
    type(row).objects.filter(pk=row.pk).update(next_due_at=timezone.now())
    controllers.work(task, row.pk)
    row.refresh_from_db()
    return row


def test_a_paused_replica_is_neither_asked_nor_replaced(cast: Any, runtime: MemoryRuntime) -> None:
    allow("engine:1")
    wanted = DeploymentSpec("chat", artifact=cast.artifact, image="engine:1")
    replica = services.create(cast.ada, cast.team, wanted).replicas.get()
    assert look("deployments.reconcile", replica).state == "loading", replica.reason
    become(runtime, replica.container_id, "paused")
    assert look("deployments.reconcile", replica).state == "paused"
    assert f"docker unpause {replica.container_name} (on {cast.host.name})" in replica.advice
    assert replica.deployment.state == "paused"
    [told] = routes.build(0)["deployments"]
    assert (told["status"], [each["state"] for each in told["replicas"]]) == ("paused", ["paused"])
    type(replica).objects.update(state_at=timezone.now() - timedelta(days=1))
    assert (look("deployments.reconcile", replica).state, replica.attempt) == ("paused", 1)
    become(runtime, replica.container_id, "running")
    assert look("deployments.reconcile", replica).state == "loading"
    assert runtime.made == 1


def test_a_replica_that_was_stopped_with_docker_is_told_so_by_the_signal(cast: Any, runtime: MemoryRuntime) -> None:
    allow("engine:1")
    wanted = DeploymentSpec("chat", artifact=cast.artifact, image="engine:1")
    replica = services.create(cast.ada, cast.team, wanted).replicas.get()
    look("deployments.reconcile", replica)
    # A server that handles SIGTERM ends with 0.
    runtime.signals[replica.container_id] = ("SIGHUP", "SIGTERM")
    runtime.end(replica.container_id, 0)
    assert look("deployments.reconcile", replica).reason_code == "killed"
    assert replica.reason.startswith(
        "The container was stopped externally (docker stop or similar: SIGTERM, exit code 0)"
    )


def test_a_replica_that_make_down_stopped_is_told_so_and_is_no_crash(cast: Any, runtime: MemoryRuntime) -> None:
    allow("engine:1")
    wanted = DeploymentSpec("chat", artifact=cast.artifact, image="engine:1")
    replica = services.create(cast.ada, cast.team, wanted).replicas.get()
    look("deployments.reconcile", replica)
    runtime.signals[replica.container_id] = ("SIGTERM",)
    runtime.end(replica.container_id, 0)
    shut_down.note([replica.container_id], still_there=[replica.container_id])
    assert look("deployments.reconcile", replica).reason_code == "shut_down"
    assert replica.reason == "Stopped with Modelyard itself, by `make down`."
    assert (replica.crash_count, replica.state) == (0, "failed")
    Path(shut_down.path()).unlink()


def test_a_paused_job_says_so_until_it_is_unpaused(cast: Any, runtime: MemoryRuntime) -> None:
    job = Job.objects.create(
        kind="fetch", team=cast.team, host=cast.host, state="running", step="fetch", done=3, total=9
    )
    who = specs.labels(str(_installation()), "job", job.pk, 1, 1)
    made = runtime.create(ContainerSpec(name=job.container_name, image="i", labels=who))
    type(job).objects.update(container_id=made)
    become(runtime, made, "paused")
    assert look("jobs.reconcile", job).message.startswith("paused from outside (docker pause)")
    assert (job.state, job.step, job.done, job.total) == ("running", "fetch", 3, 9)
    become(runtime, made, "running")
    assert (look("jobs.reconcile", job).message, job.state) == ("", "running")


def _installation() -> Any:
    from webapp.inventory import services as inventory

    return inventory.installation().pk
