"""Hosts and accelerators with their memory ledger."""

import uuid
from collections.abc import Iterable
from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from webapp.accounts.models import Team, User
from webapp.control.lease import Leased
from webapp.control.moves import known_words
from webapp.inventory.probes.processor import Processor
from webapp.inventory.states import HostState

# Where in a host's facts its processors stand.
PROCESSOR_FACT = "processor"
# Where in a host's facts stands why engines must have a network there; nothing, or no text: they need none.
OPEN_FACT = "open_because"
# Docker's word for the network of containers that have none.
NO_NETWORK = "none"


class Installation(models.Model):
    """This Modelyard: one row. Its id labels every container, so that nobody else's is ever touched."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    only = models.BooleanField(default=True, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    # After a restore or a lost database, containers that no row knows are kept until a person has looked.
    is_on_hold = models.BooleanField(default=False)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(only=True), name="installation_one_row")]


class HostQuerySet(models.QuerySet["Host"]):
    def online(self) -> "HostQuerySet":
        return self.filter(state=HostState.ONLINE)

    def visible_to(self, user: User) -> "HostQuerySet":
        """Shared hosts, and those granted to one of the person's teams; all of them for an administrator."""
        if user.is_superuser:
            return self
        return self.filter(Q(is_shared=True) | Q(pk__in=HostGrant.objects.filter(team__members=user).values("host")))

    def open_to(self, teams: Iterable[Team]) -> "HostQuerySet":
        """Hosts on which things of any of these teams may be placed."""
        granted = HostGrant.objects.filter(team__in=[team.pk for team in teams]).values("host")
        return self.filter(Q(is_shared=True) | Q(pk__in=granted))

    def for_list(self) -> "HostQuerySet":
        return self.prefetch_related("accelerators").order_by("name")


class Host(Leased):
    """A Docker endpoint and what is on it. Sizes are bytes; `usable` is what placements may reserve."""

    name = models.CharField(max_length=80, unique=True)
    endpoint = models.CharField(max_length=300, unique=True)
    daemon_id = models.CharField(max_length=100, blank=True)
    state = models.CharField(max_length=12, choices=[(s.value, s.value) for s in HostState], default=HostState.NEW)
    reason = models.CharField(max_length=500, blank=True)
    is_drained = models.BooleanField(default=False)
    # What people sort their machines by, and what a deployment may ask for: "rack-3", "gpu=a100". See labels.RULE.
    labels = models.JSONField(default=list, blank=True)
    # In whatever currency the installation counts; nothing is converted.
    price_per_hour = models.DecimalField(max_digits=10, decimal_places=4, null=True, blank=True)
    # What placements leave to the system; empty: a tenth of the memory, see services.system_reserve_bytes.
    system_reserved_bytes = models.BigIntegerField(null=True, blank=True)
    # False: only teams with a HostGrant place things here or see it.
    is_shared = models.BooleanField(default=True)
    facts = models.JSONField(default=dict)
    cpu_count = models.PositiveIntegerField(default=0)
    memory_bytes = models.BigIntegerField(default=0)
    usable_bytes = models.BigIntegerField(default=0)
    reserved_bytes = models.BigIntegerField(default=0)
    disk_total_bytes = models.BigIntegerField(default=0)
    disk_free_bytes = models.BigIntegerField(default=0)
    # What engines are given here: NO_NETWORK or an internal one. Empty: the host is not prepared for engines yet.
    engine_network = models.CharField(max_length=80, blank=True)
    # Of the internal network; it stays for as long as an engine from before the host was isolated uses it.
    engine_subnet = models.CharField(max_length=50, blank=True)
    seen_at = models.DateTimeField(null=True, blank=True)
    # The last time contact broke and came back: exits between the two are the daemon's doing, not the engine's.
    lost_at = models.DateTimeField(null=True, blank=True)
    back_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    search_columns: ClassVar[tuple[str, ...]] = ("name", "endpoint", "state", "labels")
    objects: ClassVar[models.Manager["Host"]] = HostQuerySet.as_manager()

    class Meta:
        constraints = [
            known_words(HostState, "host_state_known"),
            models.CheckConstraint(
                condition=Q(reserved_bytes__gte=0) & Q(reserved_bytes__lte=F("usable_bytes")),
                name="host_memory_not_overcommitted",
                violation_error_message="More memory is reserved on this host than it has.",
            ),
            models.CheckConstraint(
                condition=Q(price_per_hour=None) | Q(price_per_hour__gte=0),
                name="host_price_not_negative",
                violation_error_message="A price is not negative.",
            ),
            models.CheckConstraint(
                condition=Q(system_reserved_bytes=None) | Q(system_reserved_bytes__gte=0),
                name="host_reserve_not_negative",
                violation_error_message="Reserved memory is not negative.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def free_bytes(self) -> int:
        return self.usable_bytes - self.reserved_bytes

    @property
    def is_prepared(self) -> bool:
        """Whether it has what engines need there."""
        return self.is_isolated or bool(self.engine_subnet)

    @property
    def is_isolated(self) -> bool:
        """Engines that are started here have no network: they reach nothing, and nobody but us reaches them."""
        return self.engine_network == NO_NETWORK

    @property
    def is_open(self) -> bool:
        """Engines that are started here have a network."""
        return self.is_prepared and not self.is_isolated

    @property
    def isolation(self) -> str:
        """The same in a word; empty while nobody has looked."""
        return "closed" if self.is_isolated else "open" if self.is_open else ""

    @property
    def open_because(self) -> str:
        """Why engines have a network here; empty when they have none, and while nobody has looked."""
        return str(self.facts.get(OPEN_FACT) or "") if self.is_open else ""

    @property
    def processor(self) -> Processor:
        return Processor.from_json(self.facts.get(PROCESSOR_FACT))


class HostLane(Leased):
    """The turn on a host: whose lease this is, works there. One task at a time, so a dead host takes one at most."""

    host = models.OneToOneField(Host, primary_key=True, on_delete=models.CASCADE, related_name="lane")


class HostGrant(models.Model):
    """A team that may use a host which is not shared with everybody."""

    # It ends with the team, and keeps nobody from deleting that: the host stays closed to the others.
    ends_with_team: ClassVar[bool] = True

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="grants")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="host_grants")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["host", "team"],
                name="host_grant_once",
                violation_error_message="The team may use this host already.",
            )
        ]


class HostEvent(models.Model):
    """The events of a host: what was found, lost or changed. Appended, never changed."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField(auto_now_add=True)
    text = models.CharField(max_length=500)
    actor = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering = ["-id"]


class Accelerator(models.Model):
    """One GPU, or one MIG slice of a GPU, that a replica can be given."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="accelerators")
    index = models.PositiveIntegerField()
    uuid = models.CharField(max_length=100)
    vendor = models.CharField(max_length=10)
    name = models.CharField(max_length=100)
    parent_uuid = models.CharField(max_length=100, blank=True)
    compute_capability = models.CharField(max_length=10, blank=True)
    memory_bytes = models.BigIntegerField(default=0)
    usable_bytes = models.BigIntegerField(default=0)
    reserved_bytes = models.BigIntegerField(default=0)
    is_present = models.BooleanField(default=True)

    class Meta:
        ordering = ["host_id", "index", "id"]
        constraints = [
            models.UniqueConstraint(fields=["host", "uuid"], name="accelerator_once_per_host"),
            models.CheckConstraint(
                condition=Q(reserved_bytes__gte=0) & Q(reserved_bytes__lte=F("usable_bytes")),
                name="accelerator_memory_not_overcommitted",
                violation_error_message="More memory is reserved on this GPU than it has.",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Reservation(models.Model):
    """Memory held by somebody: `owner` is `replica:12` or `job:3`; no accelerator means host memory."""

    owner = models.CharField(max_length=60)
    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="reservations")
    accelerator = models.ForeignKey(Accelerator, null=True, on_delete=models.CASCADE, related_name="reservations")
    size_bytes = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            # Two constraints, because SQLite cannot take two empty accelerators for the same.
            models.UniqueConstraint(
                fields=["owner", "host"], condition=Q(accelerator=None), name="reservation_of_memory_once"
            ),
            models.UniqueConstraint(fields=["owner", "host", "accelerator"], name="reservation_of_accelerator_once"),
            models.CheckConstraint(condition=Q(size_bytes__gte=0), name="reservation_not_negative"),
        ]


class EngineAddress(models.Model):
    """A fixed address on a host's engine network, held by one container's row."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="engine_addresses")
    address = models.GenericIPAddressField(protocol="IPv4")
    owner = models.CharField(max_length=60, unique=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["host", "address"], name="engine_address_once_per_host")]
