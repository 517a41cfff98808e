"""What people ask of deployments and downloads, walked once undisturbed and then once for every death on the way.

A `Scene` is one host and what happens on it; the one in memory and Docker's own share every walk.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from tests.parts import dying, invariants
from tests.parts.images import allow
from webapp.deployments import services
from webapp.deployments.models import Deployment, Replica
from webapp.deployments.spec import DeploymentSpec
from webapp.deployments.states import ReplicaState
from webapp.inventory.models import Host
from webapp.jobs import services as jobs
from webapp.jobs.models import Job
from webapp.jobs.states import ENDED

CONVERGED_S = 60
# What a worker left that died between its last commit and the removal of a container goes with the orphans.
ORPHANS_GONE_S = 360


class Scene(ABC):
    """The cast, a host, and the process that works there."""

    image: str
    # Of the file that is downloaded.
    path, size_bytes = "/srv/good.gguf", 1024

    def __init__(self, ada: Any, team: Any, host: Any, artifact: Any) -> None:
        self.ada, self.team, self.host, self.artifact = ada, team, host, artifact
        self.clock = dying.Clock(passes=self.pass_time)
        self.deployment: Any = None

    @abstractmethod
    def pass_time(self, seconds: float) -> None:
        """Engines come up and end, the watcher looks, fetches go on."""

    @abstractmethod
    def containers(self) -> list[tuple[str, str, str]]:
        """Those of replicas, jobs and helpers that are there: id, name and kind."""

    @abstractmethod
    def begin(self, walk: "Walk", life: dying.Life) -> None:
        """All is as it was before the request, and this is the process from now on."""

    def create(self) -> None:
        spec = DeploymentSpec("chat", artifact=self.artifact, image=self.image)
        self.deployment = services.create(self.ada, self.team, spec)

    def serve(self, replicas: int = 1) -> None:
        """What was there before: a deployment that serves."""
        allow(self.image)
        Host.objects.update(next_due_at=timezone.now() + timedelta(minutes=5))
        self.clock.act(self.create)
        if replicas > 1:
            self.clock.act(lambda: services.scale(self.ada, self.deployment, replicas))
        self.clock.run(CONVERGED_S, self.waits)

    def download(self) -> None:
        files = [{"name": self.path.rpartition("/")[2], "sha256": None, "size": self.size_bytes}]
        jobs.queue_fetch(
            self.ada, self.team, self.artifact, self.host, {"source_path": self.path, "member": None, "files": files}
        )

    def waits(self) -> list[str]:
        """What is not as the database says that it is wanted."""
        going = Job.objects.exclude(state__in=[state.value for state in ENDED])
        deleted = Deployment.objects.filter(desired_state="deleted")
        return [
            *invariants.unsettled(),
            *(f"{row} is {row.state}" for row in going),
            *(f"{row} is to be deleted" for row in deleted),
        ]

    def leftovers(self) -> list[str]:
        """Containers that nobody serves with."""
        serving = set(Replica.objects.filter(state=ReplicaState.READY).values_list("container_id", flat=True))
        return [name for container_id, name, _kind in self.containers() if container_id not in serving]

    def doubles(self) -> int:
        """Replicas' containers beyond one each."""
        there = [kind for _id, _name, kind in self.containers() if kind == "replica"]
        return len(there) - Replica.objects.filter(state=ReplicaState.READY).count()


@dataclass(frozen=True)
class Walk:
    """Something that is asked for: what is there before, the request, and what is true once it has come to pass."""

    before: Callable[[Any], Any]
    ask: Callable[[Any], Any]
    is_done: Callable[[Any], bool]


def _empty(scene: Scene) -> None:
    """A deployment has been there: rows that are written once in an installation's life are written."""
    scene.serve()
    scene.clock.act(lambda: services.delete(scene.ada, scene.deployment))
    scene.clock.run(CONVERGED_S, scene.waits)


def _without_files(scene: Scene) -> None:
    _empty(scene)
    scene.artifact.copies.update(state="fetching")


def _serves_with(replicas: int) -> Callable[[Scene], bool]:
    return lambda scene: (
        Replica.objects.filter(state=ReplicaState.READY).count() == replicas and len(scene.containers()) == replicas
    )


def _is_gone(scene: Scene) -> bool:
    return not Deployment.objects.exists() and scene.containers() == []


def _is_downloaded(scene: Scene) -> bool:
    return (Job.objects.get().state, scene.artifact.copies.get().state) == ("succeeded", "present")


WALKS = {
    "launch": Walk(_empty, Scene.create, _serves_with(1)),
    "stop": Walk(Scene.serve, lambda scene: services.stop(scene.ada, scene.deployment), _serves_with(0)),
    "scale up": Walk(Scene.serve, lambda scene: services.scale(scene.ada, scene.deployment, 2), _serves_with(2)),
    "scale down": Walk(
        lambda scene: scene.serve(2), lambda scene: services.scale(scene.ada, scene.deployment, 1), _serves_with(1)
    ),
    "delete": Walk(Scene.serve, lambda scene: services.delete(scene.ada, scene.deployment), _is_gone),
    "download": Walk(_without_files, Scene.download, _is_downloaded),
}


def die_everywhere(
    scene: Scene, name: str, counts_looks: bool, is_chosen: Callable[[str], bool] = lambda deed: True
) -> None:
    """Walk once for each death: after each chosen deed, which is before the next; with looks, before and after all.

    After each everything that is wanted is there within a minute, once, and nothing else.
    """
    walk, whole = WALKS[name], dying.Life(counts_looks=counts_looks)
    scene.begin(walk, whole)
    _go(scene, walk)
    assert walk.is_done(scene), scene.containers()
    moments = [
        2 * number + after
        for number, deed in enumerate(whole.deeds)
        for after in ((0, 1) if counts_looks else (1,))
        if is_chosen(deed)
    ]
    slowest_s = 0.0
    for moment in moments:
        life = dying.Life(moment, counts_looks)
        scene.begin(walk, life)
        _go(scene, walk)
        at = f"{name}: dies {('before', 'after')[moment % 2]} {moment // 2} of {whole.deeds}"
        print(at)
        assert life.is_over, at
        scene.clock.life = dying.Life()
        slowest_s = max(slowest_s, scene.clock.run(CONVERGED_S, scene.waits))
        assert scene.doubles() == 0, at
        scene.clock.run(ORPHANS_GONE_S, scene.leftovers, step_s=60)
        # Who dies before the first commit has asked for nothing.
        assert moment == 0 or walk.is_done(scene), at
        assert invariants.breaks([]) == [], at
    print(f"{name}: {len(moments)} deaths, settled {slowest_s:.0f} s later at most")


def _go(scene: Scene, walk: Walk) -> None:
    """Until it is done or the process has died."""
    scene.clock.act(lambda: walk.ask(scene))
    scene.clock.run(CONVERGED_S, scene.waits)
