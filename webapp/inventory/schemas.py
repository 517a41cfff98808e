"""The API's words for hosts. Sizes are bytes."""

from datetime import datetime

from ninja import Field, Schema


class AcceleratorOut(Schema):
    id: int
    index: int
    uuid: str
    vendor: str
    name: str
    memory_bytes: int
    usable_bytes: int
    booked_bytes: int
    is_present: bool


class HostOut(Schema):
    id: int
    name: str
    endpoint: str
    state: str
    reason: str
    is_drained: bool
    cpu_count: int
    memory_bytes: int
    usable_bytes: int = Field(description="what placements may book")
    booked_bytes: int
    disk_total_bytes: int
    disk_free_bytes: int
    seen_at: datetime | None
    accelerators: list[AcceleratorOut]

    @staticmethod
    def resolve_accelerators(host):  # type: ignore[no-untyped-def]
        return list(host.accelerators.all())


class DrainIn(Schema):
    is_drained: bool = Field(description="true takes the host out of placement; what runs there goes on")
