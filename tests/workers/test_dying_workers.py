"""A worker dies after anything that it told a real Docker engine: the next one ends with the containers that are
wanted, each once. tests/control/test_deaths_anywhere.py has the moments in between."""

import contextlib
from typing import Any

import pytest

from tests.parts import dying
from tests.parts.dockerd import FAKE_ENGINE
from tests.parts.walks import WALKS, Scene, Walk, die_everywhere
from tests.workers.acting import has_ended, prove, reload, wait_for
from webapp.deployments.models import Replica
from webapp.deployments.states import ReplicaState
from webapp.jobs.models import Job
from workers.controllers.host import orphans

pytestmark = pytest.mark.docker

S = ReplicaState


class OnDocker(Scene):
    """Rows are put back for every death, and what was there before is done again: containers have other ids then."""

    image = FAKE_ENGINE
    path = "/tmp/good.gguf"

    def __init__(self, engine: Any, *cast: Any) -> None:
        super().__init__(*cast)
        self.engine, self._tables = engine, dying.Tables()

    def begin(self, walk: Walk, life: dying.Life) -> None:
        self.engine.remove_containers()
        self._tables.put_back()
        self.clock = dying.Clock(passes=self.pass_time)
        walk.before(self)
        self.clock = dying.Clock(life, self.pass_time)

    def pass_time(self, seconds: float) -> None:
        """What was signalled ends, what runs is proven by the watcher's own code, what is fetched arrives."""
        ending = [row.container_name for row in Replica.objects.filter(state=S.STOPPING).exclude(container="")]
        ending += [job.container_name for job in Job.objects.filter(state="running")]
        wait_for(lambda: all(has_ended(self.engine, name) for name in ending))
        for row in Replica.objects.filter(state=S.LOADING):
            prove(reload(row))

    def containers(self) -> list[tuple[str, str, str]]:
        with contextlib.closing(self.engine.client()) as client:
            there = client.containers(all=True, filters={"label": "modelyard.kind"})
        return [(one["Id"], one["Names"][0], one["Labels"]["modelyard.kind"]) for one in there]


@pytest.fixture
def scene(
    engine: Any, machine: Any, weights: Any, ada: Any, team: Any, monkeypatch: pytest.MonkeyPatch
) -> OnDocker:  # fmt: skip
    engine.import_fake_tools()
    # Containers are as old as they are, however much time passes for the rows.
    monkeypatch.setattr(orphans, "ORPHAN_AFTER_S", 0)
    return OnDocker(engine, ada, team, machine, weights)


def is_no_write(deed: str) -> bool:
    """Something that Docker was told, or a folder."""
    return deed not in ("write", "commit")


# What the others tell Docker is told on these ways, too.
@pytest.mark.parametrize("name", ["launch", "delete", "download"])
def test_a_worker_that_dies_after_telling_docker_anything_is_followed_by_one_that_finishes(
    scene: OnDocker, name: str
) -> None:
    die_everywhere(scene, name, counts_looks=False, is_chosen=is_no_write)


@pytest.mark.slow
@pytest.mark.parametrize("name", WALKS)
def test_a_worker_that_dies_anywhere_at_all_is_followed_by_one_that_finishes(scene: OnDocker, name: str) -> None:
    die_everywhere(scene, name, counts_looks=True)
