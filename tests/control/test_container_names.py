"""A container is called by team, deployment and replica, and told by its labels: whatever it is called, it is known."""

import re
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from tests.parts.images import allow
from tests.parts.memory_runtime import MemoryRuntime
from webapp.accounts import keys
from webapp.deployments import services, sharing
from webapp.deployments.containers import container_name
from webapp.deployments.models import Replica
from webapp.deployments.spec import DeploymentSpec
from webapp.inventory import services as inventory
from workers import controllers
from workers.controllers.host import processors
from workers.runtime import specs
from workers.runtime.base import ContainerSpec

RECONCILE = "deployments.reconcile"


@pytest.fixture
def runtime(cast: Any) -> MemoryRuntime:
    found: MemoryRuntime = cast.runtime
    found.daemon = cast.host.daemon_id.split("@")[0]
    return found


@pytest.fixture
def replica(cast: Any, runtime: MemoryRuntime) -> Replica:
    """A replica that nobody has looked at yet."""
    allow("engine:1")
    wanted = DeploymentSpec("chat.v2", artifact=cast.artifact, image="engine:1")
    made: Replica = services.create(cast.ada, cast.team, wanted).replicas.get()
    return made


def worked(replica: Replica) -> Replica:
    controllers.work(RECONCILE, replica.pk)
    replica.refresh_from_db()
    return replica


def test_names_are_dockers_and_tell_every_two_apart() -> None:
    teams = ["a", "a-b", "a-b-c", "job", "t" * 40, "t" * 39 + "u"]
    deployments = ["a", "b-c", "c", "b_c", "x.y", "12-a1", "d" * 63, "d" * 62 + "e", "a-1", "a-1-g1-a1"]
    cases = list(product(teams, deployments, [1, 11], [1, 2], [1, 12]))
    names = {container_name(*case) for case in cases}
    assert len(names) == len(cases)
    assert all(re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", name) and len(name) <= 120 for name in names)
    assert container_name("research", "chat", 1, 2, 1) == "modelyard-research-chat-1-g2-a1"


def test_docker_and_the_pages_say_the_same(
    cast: Any, client: Any, runtime: MemoryRuntime, replica: Replica, eve: Any
) -> None:
    assert worked(replica).state == "loading"
    [container] = runtime.containers.values()
    assert container.name == replica.container == "modelyard-research-chat.v2-1-g1-a1"
    told = {name: container.labels[f"modelyard.{name}"] for name in ("team", "deployment", "replica", "id")}
    assert told == {"team": "research", "deployment": "chat.v2", "replica": "1", "id": str(replica.pk)}
    client.force_login(cast.ada)
    page = client.get(f"/deployments/{replica.deployment_id}/").content.decode()
    assert f'<code id="container-{replica.pk}">{container.name}</code>' in page
    assert f'data-copy="container-{replica.pk}"' in page
    path = f"/api/v1/deployments/{replica.deployment_id}"
    assert client.get(path).json()["replicas"][0]["container"] == container.name
    # Another team that may ask it is not told what runs where.
    sharing.grant(cast.ada, replica.deployment, eve.teams.get().slug)
    _key, text = keys.create_key(eve, eve.teams.get(), "program")
    client.logout()
    assert client.get(path, headers={"X-API-Key": text}).json()["replicas"][0]["container"] == ""


def test_a_container_of_the_old_name_is_kept_and_shown_by_it(runtime: MemoryRuntime, replica: Replica) -> None:
    worked(replica)
    [made] = runtime.containers
    runtime.containers[made] = replace(runtime.containers[made], name=f"modelyard-{replica.pk}-g1-a1")
    Replica.objects.update(container="")
    assert worked(replica).container == f"modelyard-{replica.pk}-g1-a1"
    assert (list(runtime.containers), replica.state, replica.attempt) == ([made], "loading", 1)


def test_a_renamed_team_changes_no_containers_name(cast: Any, runtime: MemoryRuntime, replica: Replica) -> None:
    worked(replica)
    cast.team.slug = "other"
    cast.team.save()
    assert worked(replica).container == replica.container_name == "modelyard-research-chat.v2-1-g1-a1"
    assert len(runtime.containers) == 1


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_name_that_is_taken_is_gone_round_when_it_was_ours_and_refused_when_not(
    runtime: MemoryRuntime, replica: Replica, is_ours: bool
) -> None:
    installation = str(inventory.installation().pk) if is_ours else "another"
    who = specs.labels(installation, "replica", 4711, 1, 1)
    left = runtime.create(ContainerSpec(name="modelyard-research-chat.v2-1-g1-a1", image="i", labels=who))
    worked(replica)
    assert left in runtime.containers
    if is_ours:
        assert (replica.state, replica.container) == ("loading", f"modelyard-research-chat.v2-1-g1-a1-r{replica.pk}")
        [mine] = [one for one in runtime.containers.values() if one.id != left]
        assert mine.name == replica.container
    else:
        assert replica.state == "failed" and "not managed by Modelyard" in replica.reason


def test_failed_starts_are_over_once_something_runs(runtime: MemoryRuntime, replica: Replica) -> None:
    Replica.objects.update(failed_starts=2)
    assert (worked(replica).state, replica.failed_starts) == ("loading", 0)


def test_the_next_attempt_has_a_name_of_its_own(cast: Any, runtime: MemoryRuntime, replica: Replica) -> None:
    worked(replica)
    services.stop(cast.ada, replica.deployment)
    worked(replica)
    runtime.end(replica.container_id, 0)
    worked(replica)
    assert (worked(replica).state, replica.container) == ("stopped", "")
    services.start(cast.ada, replica.deployment)
    assert worked(replica).container == "modelyard-research-chat.v2-1-g1-a2"


def test_probes_of_two_installations_on_one_docker_engine_have_names_of_their_own():
    one, other = "0f3c1a2b-1111", "9d8e7f60-2222"
    assert specs.probe_name(one, "nvidia") == "modelyard-probe-nvidia-0f3c1a2b"
    asked = []

    class Noting(MemoryRuntime):
        def run(self, spec: ContainerSpec, limit_s: float) -> tuple[int, str]:
            asked.append(spec.name)
            return 1, ""

    for installation in (one, other):
        processors.find(Noting(), installation)
    assert len(set(asked)) == 2
