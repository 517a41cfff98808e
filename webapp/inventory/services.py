"""Every change of hosts, accelerators and their ledger."""

import ipaddress
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from webapp.accounts.models import User
from webapp.accounts.roles import require_installation_admin
from webapp.accounts.services import audit
from webapp.control.kinds import Kind
from webapp.control.moves import States
from webapp.foundation.errors import Conflict, Invalid
from webapp.foundation.events import services as events
from webapp.inventory.models import (
    Accelerator,
    EngineAddress,
    Host,
    HostEvent,
    HostLane,
    Installation,
    Reservation,
)
from webapp.inventory.states import MOVES, HostState

PROBE = "inventory.probe_host"
HOST_LANE = Kind(HostLane, "inventory.work_host")
HOST = Kind(Host, PROBE, lane=HOST_LANE, lane_field="pk")
MIB = 1024 * 1024
GIB = 1024 * MIB


class _Hosts(States[Host]):
    model = Host
    moves = MOVES

    def columns(self, row: Host, old: HostState, new: HostState) -> dict[str, Any]:
        """When contact broke and came back; a look at a host that has just gone silent is due at once."""
        now = timezone.now()
        if new == HostState.UNREACHABLE:
            return {"lost_at": now, "next_due_at": now}
        return {"seen_at": now, **({"back_at": now} if old == HostState.UNREACHABLE else {})}

    def moved(self, row: Host, old: HostState, new: HostState, reason: str) -> None:
        events.publish("hosts", f"host:{row.pk}")


STATES = _Hosts()


@dataclass(frozen=True)
class AcceleratorFacts:
    index: int
    uuid: str
    vendor: str
    name: str
    memory_bytes: int
    parent_uuid: str = ""
    compute_capability: str = ""


@dataclass(frozen=True)
class HostFacts:
    """What Docker tells of a host. Sizes in bytes."""

    daemon_id: str
    cpu_count: int
    memory_bytes: int
    disk_total_bytes: int = 0
    disk_free_bytes: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    # None: not asked this time, what was found before stays.
    accelerators: tuple[AcceleratorFacts, ...] | None = ()


def installation() -> Installation:
    """This installation's row, made at the first call."""
    row, _created = Installation.objects.get_or_create(only=True)
    return row


def adopt_installation(found: uuid.UUID | None, hold: bool) -> Installation:
    """The installation's row. A database without one takes over the id that was found in a Docker engine.

    `hold`: the engine runs containers of that id, which a new database cannot know; they are then kept until a person
    lets go of the hold. Raises Conflict when the engine belongs to another installation.
    """
    row = Installation.objects.first()
    if row is None:
        return Installation.objects.create(pk=found or uuid.uuid4(), is_on_hold=hold and found is not None)
    if found is not None and found != row.pk:
        raise Conflict(
            f"This Docker engine belongs to the Modelyard installation {found}, and this database to {row.pk}.",
            "Use that installation's MODELYARD_STATE_DIR, or remove the volume modelyard-installation from the engine.",
        )
    return row


def register_host(by: User | None, name: str, endpoint: str) -> Host:
    """Add a Docker endpoint. Registering the same endpoint again returns the host that is there."""
    if endpoint.startswith("tcp://"):
        raise Invalid(
            "A plain tcp:// endpoint hands the whole machine to anybody who can reach its port.",
            "Use the local socket: unix:///var/run/docker.sock.",
            fields={"endpoint": "plain tcp:// is refused"},
        )
    if not endpoint.startswith("unix:///"):
        raise Invalid(
            f"{endpoint!r} is not a Docker endpoint that works here.",
            "Use the local socket: unix:///var/run/docker.sock.",
            fields={"endpoint": "must start with unix:///"},
        )
    with transaction.atomic():
        host, created = Host.objects.get_or_create(endpoint=endpoint, defaults={"name": name})
        if created:
            audit(by, None, "host.register", host.name, {"endpoint": endpoint})
            record_event(host.pk, f"registered as {endpoint}", by)
            events.publish("hosts")
        Host.objects.filter(pk=host.pk).update(next_due_at=Now())
        HOST.wake(host.pk)
    return host


def record_facts(host_id: int, facts: HostFacts) -> bool:
    """Store what is on the host and that it answers. What is reserved stays reserved, even when memory shrank.

    False: another engine than before answers at this address while the old one's containers are still reserved here, or
    one that is another host's. Then nothing is taken over, because "not there" would be a lie; see accept_engine.
    """
    with transaction.atomic():
        host = Host.objects.get(pk=host_id)
        was = host.state
        if (refusal := _why_not_its_engine(host, facts.daemon_id)) is not None:
            _refuse_engine(host, refusal)
            return False
        host.daemon_id = facts.daemon_id
        host.cpu_count = facts.cpu_count
        host.memory_bytes = facts.memory_bytes
        host.disk_total_bytes, host.disk_free_bytes = facts.disk_total_bytes, facts.disk_free_bytes
        host.facts, host.seen_at = dict(facts.facts), timezone.now()
        host.usable_bytes = usable_bytes(host)
        host.save(
            update_fields=[
                "daemon_id", "cpu_count", "memory_bytes", "disk_total_bytes", "disk_free_bytes", "facts", "seen_at",
                "usable_bytes",
            ]
        )  # fmt: skip
        if was != HostState.ONLINE:
            STATES.move(host, HostState(was), HostState.ONLINE)
        if facts.accelerators is not None:
            _record_accelerators(host, facts.accelerators)
        if was != HostState.ONLINE:
            record_event(host_id, f"answers: {facts.cpu_count} CPUs, {facts.memory_bytes / GIB:.1f} GiB of memory")
        events.publish("hosts", f"host:{host_id}")
    return True


def _is_in_use(host_id: int) -> bool:
    return (
        Reservation.objects.filter(host_id=host_id).exists() or EngineAddress.objects.filter(host_id=host_id).exists()
    )


def _why_not_its_engine(host: Host, daemon_id: str) -> str | None:
    """Why the engine that answers there is not taken for the host's; None when it is."""
    if host.daemon_id == daemon_id:
        return None
    # With two names its memory would be promised twice, and each name's containers be orphans to the other.
    owner = Host.objects.filter(daemon_id=daemon_id).exclude(pk=host.pk).exclude(daemon_id="").first()
    if owner is not None:
        # Who sees this host may not be meant to learn the other one's name.
        return f"The Docker engine that answers here is another host's already (host {owner.pk}). Use that one."
    if host.daemon_id and _is_in_use(host.pk):
        return (
            f"Another Docker engine answers here ({daemon_id[:40]}) than before ({host.daemon_id[:40]}). "
            "Bring the old one back, or accept the new one: its containers count from then on."
        )
    return None


def sharing_engine(host: Host) -> Host | None:
    """Another host with the same Docker engine, as there may be from before that was refused."""
    return Host.objects.filter(daemon_id=host.daemon_id).exclude(pk=host.pk).exclude(daemon_id="").first()


def _refuse_engine(host: Host, reason: str) -> None:
    if _lose(host.pk, reason):
        record_event(host.pk, reason)
    elif (
        Host.objects.filter(pk=host.pk).exclude(reason=reason[:500]).update(reason=reason[:500], lost_at=timezone.now())
    ):
        # It was silent before.
        record_event(host.pk, reason)
        events.publish("hosts", f"host:{host.pk}")


def _lose(host_id: int, reason: str) -> bool:
    return _become(host_id, HostState.UNREACHABLE, (HostState.NEW, HostState.ONLINE), reason)


def _become(host_id: int, new: HostState, olds: tuple[HostState, ...], reason: str = "") -> bool:
    """Move from whichever of these states it is in. Those who notice hold no claim, and a claim that is taken between
    their look and their move is not somebody who was first: they look once more."""
    for _look in range(3):
        host = Host.objects.filter(pk=host_id, state__in=olds).first()
        if host is None:
            return False
        if STATES.move(host, HostState(host.state), new, reason):
            return True
    return False


def accept_engine(by: User, host: Host) -> None:
    """A person says that the engine now answering at this address is the host's; the next look records it."""
    require_installation_admin(by)
    with transaction.atomic():
        Host.objects.filter(pk=host.pk).update(daemon_id="")
        audit(by, None, "host.accept_engine", host.name, {"was": host.daemon_id})
        record_event(host.pk, "whatever engine answers next is accepted", by)
        HOST.wake(host.pk)
        events.publish("hosts", f"host:{host.pk}")


def release_hold(by: User) -> None:
    """A person has looked: containers of this installation that no row knows may be removed from now on."""
    require_installation_admin(by)
    with transaction.atomic():
        if Installation.objects.filter(is_on_hold=True).update(is_on_hold=False):
            audit(by, None, "installation.release_hold", "installation")
            events.publish("hosts", *(f"host:{pk}" for pk in Host.objects.values_list("pk", flat=True)))


def is_on_hold() -> bool:
    """Whether containers that no row knows are kept, because the database may be older than they are."""
    return Installation.objects.filter(is_on_hold=True).exists()


def system_reserve_bytes(memory_bytes: int) -> int:
    """What placements leave to the system: a tenth of host memory, between 512 MiB and 8 GiB."""
    return max(512 * MIB, min(8 * GIB, memory_bytes // 10))


def record_lost(host_id: int, reason: str) -> None:
    """The host does not answer. Nothing on it is touched: unreachable is not dead."""
    with transaction.atomic():
        if _lose(host_id, reason):
            record_event(host_id, f"unreachable: {reason}")
            HOST.wake(host_id)


def record_degraded(host_id: int, reason: str) -> None:
    """What a host that answers could not do; empty: nothing is wrong. Said once, until it changes."""
    with transaction.atomic():
        rows = Host.objects.filter(pk=host_id, state=HostState.ONLINE).exclude(reason=reason[:500])
        if rows.update(reason=reason[:500]):
            record_event(host_id, f"degraded: {reason}" if reason else "no longer degraded")
            events.publish("hosts", f"host:{host_id}")


def record_interruption(host_id: int, lost_at: datetime, back_at: datetime) -> None:
    """Contact broke and came back before anybody called the host unreachable: its engine may have been restarted."""
    Host.objects.filter(pk=host_id).exclude(state=HostState.UNREACHABLE).update(lost_at=lost_at, back_at=back_at)


def record_event(host_id: int, text: str, by: User | None = None) -> None:
    """One event of the host; in the transaction of what it tells."""
    HostEvent.objects.create(host_id=host_id, text=text[:500], actor=by.username if by else "")


def usable_bytes(host: Host) -> int:
    """Memory that placements may reserve: what the system does not keep, and never less than is reserved."""
    reserved = (
        system_reserve_bytes(host.memory_bytes) if host.system_reserved_bytes is None else host.system_reserved_bytes
    )
    return max(host.memory_bytes - reserved, host.reserved_bytes)


def record_engine_network(host_id: int, name: str, subnet: str) -> None:
    """What engines are given on this host from now on: NO_NETWORK, or the internal network of this name."""
    with transaction.atomic():
        host = Host.objects.get(pk=host_id)
        if (host.engine_network, host.engine_subnet) == (name, subnet):
            return
        had, host.engine_network, host.engine_subnet = host.isolation, name, subnet
        host.save(update_fields=["engine_network", "engine_subnet"])
        if host.is_isolated:
            record_event(host_id, "engines that are started here have no network")
        elif had == "closed":
            record_event(host_id, f"engines that are started here have a network: {host.open_because}")
        events.publish("hosts", f"host:{host_id}")


def has_addresses(host_id: int) -> bool:
    """Whether something on the host still holds an address of its engine network."""
    return EngineAddress.objects.filter(host_id=host_id).exists()


class NotEnoughMemory(Conflict):
    """Somebody else reserved the memory first."""


def reserve(owner: str, host_id: int, memory_bytes: int, accelerators: Mapping[int, int] | None = None) -> None:
    """Reserve host memory and accelerator memory in one transaction, or nothing at all.

    Reserving twice for the same owner and host changes nothing. Raises NotEnoughMemory when it does not fit any more.
    """
    with transaction.atomic():
        if Reservation.objects.filter(owner=owner, host_id=host_id).exists():
            return
        fits = Host.objects.filter(pk=host_id, usable_bytes__gte=F("reserved_bytes") + memory_bytes)
        if not fits.update(reserved_bytes=F("reserved_bytes") + memory_bytes):
            raise NotEnoughMemory("The host's memory was reserved by somebody else meanwhile.")
        Reservation.objects.create(owner=owner, host_id=host_id, accelerator=None, size_bytes=memory_bytes)
        # In id order, so that two placements never wait for each other crosswise.
        for accelerator_id, size in sorted((accelerators or {}).items()):
            free = Accelerator.objects.filter(pk=accelerator_id, usable_bytes__gte=F("reserved_bytes") + size)
            if not free.update(reserved_bytes=F("reserved_bytes") + size):
                raise NotEnoughMemory("The GPU's memory was reserved by somebody else meanwhile.")
            Reservation.objects.create(owner=owner, host_id=host_id, accelerator_id=accelerator_id, size_bytes=size)
        events.publish("hosts", f"host:{host_id}")


def release(owner: str) -> None:
    """Give back everything that the owner reserved, addresses included. Releasing twice changes nothing."""
    with transaction.atomic():
        for reservation in Reservation.objects.filter(owner=owner).order_by("accelerator_id"):
            deleted, _per_model = Reservation.objects.filter(pk=reservation.pk).delete()
            if not deleted:
                continue
            give_back = {"reserved_bytes": F("reserved_bytes") - reservation.size_bytes}
            if reservation.accelerator_id is None:
                Host.objects.filter(pk=reservation.host_id).update(**give_back)
            else:
                Accelerator.objects.filter(pk=reservation.accelerator_id).update(**give_back)
            events.publish("hosts", f"host:{reservation.host_id}")
        EngineAddress.objects.filter(owner=owner).delete()


def take_address(owner: str, host: Host, address: str) -> None:
    """The owner's container has this address already; it becomes the owner's unless somebody else holds it."""
    EngineAddress.objects.filter(owner=owner).exclude(host=host, address=address).delete()
    EngineAddress.objects.get_or_create(host=host, address=address, defaults={"owner": owner})


ADDRESS_TRIES = 10


def reserve_address(owner: str, host: Host) -> str:
    """A free address of the host's engine network; the owner's own when it has one already.

    Raises Conflict when the network is full.
    """
    mine = EngineAddress.objects.filter(owner=owner).first()
    if mine is not None:
        if mine.host_id == host.pk:
            return mine.address
        mine.delete()
    for _attempt in range(ADDRESS_TRIES):
        taken = set(EngineAddress.objects.filter(host=host).values_list("address", flat=True))
        # The first two hosts of the subnet are the bridge itself and a spare for a future guard.
        candidates = [str(address) for address in ipaddress.ip_network(host.engine_subnet).hosts()][2:]
        left = [address for address in candidates if address not in taken]
        if not left:
            break
        # Any of them, not the first: many who look at the same moment would all want that one.
        free = secrets.choice(left)
        try:
            with transaction.atomic():
                EngineAddress.objects.create(host=host, address=free, owner=owner)
        except IntegrityError:  # somebody took it between our look and our write
            continue
        return free
    raise Conflict(
        f"All addresses of {host.engine_subnet} on {host.name} are taken.", "Stop a deployment on this host."
    )


def _record_accelerators(host: Host, found: tuple[AcceleratorFacts, ...]) -> None:
    seen = []
    for facts in found:
        row, _created = Accelerator.objects.get_or_create(host=host, uuid=facts.uuid, defaults={"index": facts.index})
        row.index, row.vendor, row.name = facts.index, facts.vendor, facts.name
        row.parent_uuid, row.compute_capability = facts.parent_uuid, facts.compute_capability
        row.memory_bytes, row.is_present = facts.memory_bytes, True
        row.usable_bytes = max(facts.memory_bytes, row.reserved_bytes)
        row.save()
        seen.append(row.pk)
    Accelerator.objects.filter(host=host).exclude(pk__in=seen).update(is_present=False)
