"""What must be true at every moment, whatever breaks: looked for in the database and on the Docker engines.

`breaks` looks once. What only a snapshot could tell (a container that was just being removed, say) is looked at again
before it is called a break. tests/workers/test_soak.py plants each break and sees it found.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

import docker
from django.db import transaction
from django.db.models import F, Min, Sum
from django.utils import timezone

from webapp.control.lease import is_due
from webapp.deployments.models import Replica, ReplicaEvent
from webapp.deployments.states import MOVES, Desired, ReplicaState
from webapp.inventory.models import Accelerator, EngineAddress, Host, Reservation
from webapp.jobs.models import Job
from webapp.jobs.states import ENDED
from webapp.usage.models import UsageRecord
from workers.runtime.base import LABEL_ID, LABEL_KIND


def breaks(engines: Iterable[docker.APIClient]) -> list[str]:
    """One sentence for each break; none when all is well."""
    found = []
    for engine in engines:
        found += _of_containers(engine)
    with transaction.atomic():
        found += [*_of_memory(), *_of_history()]
    return found


def unsettled() -> list[str]:
    """What has not yet become as it was asked for."""
    waits = [f"replica {row.pk} is {row.state}: {row.reason}" for row in Replica.objects.filter(is_due())]
    for row in Replica.objects.select_related("deployment"):
        wanted = ReplicaState.READY if row.desired == Desired.RUNNING else ReplicaState.STOPPED
        if row.state != wanted:
            waits.append(f"replica {row.pk} is {row.state}: {row.reason}")
    return waits


def oldest_proof_s() -> float:
    """Seconds since the ready replica of which that is longest was proven, by a probe or by a request it served."""
    ready = Replica.objects.filter(state=ReplicaState.READY)
    assert not ready.filter(proven_at=None).exists(), "ready without a proof"
    oldest = ready.aggregate(at=Min("proven_at"))["at"]
    return float((timezone.now() - oldest).total_seconds()) if oldest else 0.0


def outcomes(completed: Iterable[str], broken_off: Iterable[str] = ()) -> list[str]:
    """Requests by their id: a completed one has exactly one record, one that broke off at most one."""
    ids = Counter(UsageRecord.objects.values_list("request_id", flat=True))
    wrong = [f"request {one} has {ids[one]} records" for one in completed if ids[one] != 1]
    return wrong + [f"request {one} has {ids[one]} records" for one in broken_off if ids[one] > 1]


def _of_containers(engine: docker.APIClient) -> list[str]:
    by_replica: dict[int, list[str]] = defaultdict(list)
    for container in engine.containers(all=True, filters={"label": f"{LABEL_KIND}=replica"}):
        if container["State"] in ("running", "paused"):
            by_replica[int(container["Labels"][LABEL_ID])].append(container["Id"])
    found = []
    for replica, ids in sorted(by_replica.items()):
        if len(ids) > 1 and sum(_runs(engine, one) for one in ids) > 1:
            found.append(f"replica {replica} has {len(ids)} running containers")
        # The row is read first: a container that is gone by then was being removed.
        if _is_gone(replica) and any(_runs(engine, one) for one in ids) and _is_gone(replica):
            found.append(f"replica {replica} is gone, and its container runs")
    return found


def _runs(engine: docker.APIClient, container_id: str) -> bool:
    try:
        return bool(engine.inspect_container(container_id)["State"]["Running"])
    except docker.errors.NotFound:
        return False


def _is_gone(replica: int) -> bool:
    return not Replica.objects.filter(pk=replica).exclude(state=ReplicaState.STOPPED).exists()


def _of_memory() -> Iterator[str]:
    for row in Accelerator.objects.filter(reserved_bytes__gt=F("usable_bytes")):
        yield f"{row.reserved_bytes} bytes are reserved on {row.uuid}, which has {row.usable_bytes}"
    held: dict[tuple[int, int | None], int] = {
        (row["host"], row["accelerator"]): row["total"]
        for row in Reservation.objects.values("host", "accelerator").annotate(total=Sum("size_bytes"))
    }
    places: list[tuple[str, int, int]] = [
        (f"host {pk}", reserved, held.get((pk, None), 0))
        for pk, reserved in Host.objects.values_list("pk", "reserved_bytes")
    ]
    places += [
        (f"GPU {uuid}", reserved, held.get((host, pk), 0))
        for pk, host, uuid, reserved in Accelerator.objects.values_list("pk", "host", "uuid", "reserved_bytes")
    ]
    for name, reserved, total in places:
        if reserved != total:
            yield f"{name} says that {reserved} bytes are reserved, and the reservations are of {total}"
    owners = {
        row.reservation_owner for row in Replica.objects.exclude(state__in=[ReplicaState.PENDING, ReplicaState.STOPPED])
    }
    owners |= {row.reservation_owner for row in Job.objects.exclude(state__in=[state.value for state in ENDED])}
    for rows in (Reservation.objects.all(), EngineAddress.objects.all()):
        for owner in set(rows.values_list("owner", flat=True)) - owners:
            yield f"{owner} holds something, and is not there to use it"


def _of_history() -> Iterator[str]:
    """Each replica's events are a walk along the table of moves that ends where the replica is."""
    now = {(row.deployment_id, row.number): row.state for row in Replica.objects.all()}
    at: dict[tuple[int, int], str] = {}
    events = ReplicaEvent.objects.exclude(new_state="").exclude(replica_ordinal=None).order_by("id")
    for of, number, old, new in events.values_list("deployment", "replica_ordinal", "old_state", "new_state"):
        name = f"replica {number} of deployment {of}"
        if at.get((of, number), ReplicaState.PENDING) != old:
            yield f"the history of {name} goes from {at.get((of, number))} to {old} without a word"
        if ReplicaState(new) not in MOVES[ReplicaState(old)]:
            yield f"{name} went from {old} to {new}, which is no move"
        at[of, number] = new
    for (of, number), state in now.items():
        if at.get((of, number), ReplicaState.PENDING) != state:
            yield f"replica {number} of deployment {of} is {state}, and its history ends at {at.get((of, number))}"
