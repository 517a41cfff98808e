"""Many processes that write into one database through the real services, as web, worker, watcher and gateway do.

`python -m tests.operations.writer PROCESSES WRITES SECONDS` makes the database of MODELYARD_STATE_DIR, lets each
process write until it has done WRITES or SECONDS have gone, and prints what they saw and what is there then, as JSON.
"""

import contextlib
import json
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")


def verbs(number: int) -> list[Callable[[], Any]]:
    """What this process does, over and over."""
    from webapp.accounts.models import Team, User
    from webapp.control import lease
    from webapp.deployments import lifecycle, services
    from webapp.deployments.models import Deployment, Replica
    from webapp.foundation.errors import ServiceError
    from webapp.inventory import services as inventory
    from webapp.inventory.models import Host
    from webapp.usage import services as usage

    user, team, host = User.objects.get(username="ada"), Team.objects.get(), Host.objects.get()
    deployment = Deployment.objects.order_by("pk")[number]
    seen = {"scale": 0}

    def scale() -> None:
        seen["scale"] = (seen["scale"] + 1) % 3
        services.scale(user, deployment, 1 + seen["scale"])

    def look() -> None:
        held = lifecycle.REPLICA.claim(
            Replica.objects.filter(deployment=deployment).order_by("?").values_list("pk")[0][0]
        )
        if held is not None:
            lifecycle.append_log(held.pk, held.generation, held.attempt, "a line\n", str(time.time()))
            lease.release(held, 60)

    def reserve() -> None:
        with contextlib.suppress(ServiceError):  # a host that is full is an answer, too
            inventory.reserve(f"test:{number}", host.pk, 1 << 30)
        inventory.release(f"test:{number}")

    def count() -> None:
        usage.accept(_record(user.pk, team.pk, deployment.pk) for _ in range(20))

    return [scale, look, reserve, count]


def _record(user: int, team: int, deployment: int) -> dict[str, Any]:
    import uuid

    return {
        "id": uuid.uuid4().hex, "at": time.time(), "key": None, "user": user, "team": team, "deployment": deployment,
        "replica_id": None, "endpoint": "chat/completions", "request_id": "", "status": 200, "outcome": "ok",
        "stream": True, "prompt_tokens": 11, "completion_tokens": 7, "counted_by": "engine", "ttft_ms": 12.5,
        "duration_ms": 80.0, "max_gap_ms": 3.0, "bytes_out": 100,
    }  # fmt: skip


def stage(processes: int) -> None:
    """A team, a host, a model and one deployment per process."""
    from webapp.accounts.models import Membership, Team, User
    from webapp.catalog.models import Artifact, ArtifactCopy, CatalogModel
    from webapp.deployments import services
    from webapp.inventory.models import Host

    team, user = Team.objects.create(name="Research", slug="research"), User.objects.create_user("ada")
    Membership.objects.create(team=team, user=user, role="admin")
    host = Host.objects.create(name="h", endpoint="unix:///h", state="online", usable_bytes=1 << 40)
    model = CatalogModel.objects.create(name="m", slug="m")
    artifact = Artifact.objects.create(catalog_model=model, format="gguf", main_file="m.gguf")
    ArtifactCopy.objects.create(artifact=artifact, host=host, state="present")
    for number in range(processes):
        services.create(user, team, services.DeploymentSpec(f"d{number}", artifact=artifact))


def write(task: tuple[int, int, float]) -> tuple[list[float], list[str]]:
    """One process: how long each write took in ms, and those that the database refused."""
    from django.db import OperationalError

    number, writes, seconds = task
    chance, doing = random.Random(number), verbs(number)
    took_ms: list[float] = []
    locked: list[str] = []
    GATE.wait()
    until = time.monotonic() + seconds
    while len(took_ms) < writes and time.monotonic() < until:
        verb = chance.choice(doing)
        began = time.perf_counter()
        try:
            verb()
        except OperationalError as error:
            locked.append(f"{verb.__name__}: {error}")
        took_ms.append(round((time.perf_counter() - began) * 1000, 1))
    return took_ms, locked


def found() -> dict[str, Any]:
    """What must add up afterwards."""
    from webapp.deployments.models import Deployment
    from webapp.inventory.models import Host, Reservation
    from webapp.usage.models import Rollup, UsageRecord

    return {
        "reserved": [Host.objects.get().reserved_bytes, Reservation.objects.count()],
        "records": UsageRecord.objects.count(),
        "counted": sum(Rollup.objects.filter(period="total").values_list("requests", flat=True)),
        "replicas": [
            [row.desired_replicas, row.replicas.filter(retired_at=None).count()] for row in Deployment.objects.all()
        ],
    }


def main(processes: int, writes: int, seconds: float) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections

    from webapp.foundation import work_queue
    from webapp.foundation.events import services as events

    # There is no broker here; what is measured is the database.
    work_queue.send = lambda task, row_id, in_s=None: None
    events.wake = lambda *names: None
    call_command("migrate", verbosity=0)
    stage(processes)
    connections.close_all()
    with multiprocessing.get_context("fork").Pool(processes, _begin, (multiprocessing.Barrier(processes),)) as pool:
        said = pool.map(write, [(number, writes, seconds) for number in range(processes)], chunksize=1)
    took_ms = sorted(ms for one, _locked in said for ms in one)
    print(json.dumps({"took_ms": took_ms, "locked": [line for _ms, one in said for line in one], **found()}))


GATE: Any = None


def _begin(gate: Any) -> None:
    global GATE
    GATE = gate


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
