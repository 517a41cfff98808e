"""The API's words for hosts. Sizes are bytes."""

from datetime import datetime
from decimal import Decimal

from ninja import Field, Schema


class AcceleratorOut(Schema):
    id: int
    index: int
    uuid: str
    vendor: str
    name: str
    memory_bytes: int
    usable_bytes: int
    reserved_bytes: int
    is_present: bool


class HostOut(Schema):
    id: int
    name: str
    endpoint: str
    state: str
    reason: str
    is_drained: bool
    labels: list[str]
    price_per_hour: Decimal | None = Field(description="in the currency that the installation counts in")
    system_reserved_bytes: int | None = Field(
        description="left to the system; null: a tenth, between 512 MiB and 8 GiB"
    )
    is_shared: bool = Field(description="whether every team may use it")
    teams: list[str] = Field(description="slugs of the teams that may use it while it is not shared")
    isolation: str = Field(
        description='what engines that are started here can reach: "closed": nothing, they have no network; "open": '
        "an internal network, and what listens on all addresses of the host; empty while nobody has looked"
    )
    open_because: str = Field(description="why engines have a network here; empty when they have none")
    cpu_count: int
    cpu_name: str = Field(alias="processor.name", description="empty while nobody has looked")
    cpu_features: list[str] = Field(alias="processor.features", description="what decides whether models run there")
    cpu_flags: list[str] = Field(
        alias="processor.sorted_flags", description="as the kernel names them; empty while nobody has looked"
    )
    memory_bytes: int
    usable_bytes: int = Field(description="what placements may reserve")
    reserved_bytes: int
    disk_total_bytes: int
    disk_free_bytes: int
    seen_at: datetime | None
    accelerators: list[AcceleratorOut]

    @staticmethod
    def resolve_teams(host):  # type: ignore[no-untyped-def]
        return sorted(grant.team.slug for grant in host.grants.all())

    @staticmethod
    def resolve_accelerators(host):  # type: ignore[no-untyped-def]
        return list(host.accelerators.all())


class HoldOut(Schema):
    is_on_hold: bool = Field(description="containers that no deployment knows are kept on every host")


class HostIn(Schema):
    """What to change; what is left out stays."""

    is_drained: bool | None = Field(None, description="true: nothing new is placed here; what runs keeps running")
    labels: list[str] | None = Field(
        None, max_length=20, description="key or key=value, to find it by and for deployments to ask for"
    )
    price_per_hour: Decimal | None = Field(None, ge=0, max_digits=10, decimal_places=4, description="null: not told")
    system_reserved_bytes: int | None = Field(None, ge=0, le=2**62, description="null: the default")
    is_shared: bool | None = Field(None, description="false: only `teams` see it and place things here")
    teams: list[str] | None = Field(None, max_length=500, description="slugs; they replace those there are")


class HostEventOut(Schema):
    at: datetime
    text: str
    actor: str = Field(description="who did it; empty for Modelyard itself")
