"""Files that a team may not use any more: what runs goes on, nothing new is launched, and the replica says why."""

from typing import Any

import pytest

from tests.deployments.test_fit import make_files
from webapp.accounts import ownership
from webapp.catalog.models import Artifact
from webapp.control.steps import GO_ON
from webapp.deployments import decide, lifecycle, services
from webapp.deployments.models import Replica
from webapp.deployments.spec import DeploymentSpec
from webapp.deployments.states import ReplicaState
from workers.controllers.replica import act, placing

pytestmark = pytest.mark.django_db


@pytest.fixture
def files(team: Any, host: Any) -> Any:
    """Real files of the team, which it has alone."""
    made = make_files(1, host)
    Artifact.objects.filter(pk=made.pk).update(team=team)
    return Artifact.objects.get(pk=made.pk)


@pytest.fixture
def claimed(ada: Any, eve: Any, files: Any) -> Any:
    """The strangers' replica with files that were granted to them, as its worker holds it."""
    ownership.grant(ada, files, "strangers")
    made = services.create(eve, eve.teams.get(), DeploymentSpec("evening", artifact=files))
    held = lifecycle.REPLICA.claim(made.replicas.get().pk)
    assert held is not None
    return held


@pytest.fixture
def starting(claimed: Any) -> Any:
    """It has its place and its image; the next thing is its container."""
    assert placing.place(claimed) == GO_ON
    why = lifecycle.Reason("", "image is on the host")
    assert lifecycle.move(claimed, ReplicaState.PLACING, ReplicaState.STARTING, why, image="x")
    return claimed


def told(replica: Any) -> tuple[str, str, str]:
    row = Replica.objects.get(pk=replica.pk)
    return row.state, row.reason_code, row.reason


def refused(files: Any) -> tuple[str, str, str]:
    return "failed", "not_shared", f"{files} is not shared with team Strangers."


def test_a_launch_is_refused_after_the_grant_was_withdrawn(claimed: Any, ada: Any, eve: Any, files: Any) -> None:
    ownership.withdraw(ada, files, eve.teams.get())
    assert placing.place(claimed) is None
    assert told(claimed) == refused(files)
    row = Replica.objects.get(pk=claimed.pk)
    # Nothing ran, so nothing crashed.
    assert (row.next_due_at, row.crash_count, row.failed_starts) == (None, 0, 1)


def test_what_was_refused_before_anything_ran_is_no_crash(claimed: Any, ada: Any, eve: Any, files: Any) -> None:
    ownership.withdraw(ada, files, eve.teams.get())
    placing.place(claimed)
    row = Replica.objects.get(pk=claimed.pk)
    assert (row.crash_count, row.failed_starts) == (0, 1)


def test_so_is_one_that_has_its_place_already(starting: Any, ada: Any, eve: Any, files: Any, host: Any) -> None:
    ownership.withdraw(ada, files, eve.teams.get())
    act.carry_out(decide.Create(), starting)
    assert told(starting) == refused(files)
    host.refresh_from_db()
    assert host.reserved_bytes == 0


def test_what_runs_goes_on(starting: Any, ada: Any, eve: Any, files: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its engine answers by itself, so nothing is asked of Docker.
    monkeypatch.setattr(act, "_runtime", lambda _replica: None)
    ownership.withdraw(ada, files, eve.teams.get())
    act.carry_out(decide.MoveLoading("container"), starting)
    assert told(starting)[0] == "loading"


def test_once_they_are_shared_again_a_start_launches_it(claimed: Any, ada: Any, eve: Any, files: Any) -> None:
    ownership.withdraw(ada, files, eve.teams.get())
    placing.place(claimed)
    ownership.share(ada, files)
    services.start(eve, claimed.deployment)
    assert Replica.objects.get(pk=claimed.pk).next_due_at is not None
    assert placing.forbidden(claimed) is None
