"""Which schedules make their results out of an artifact: those lose their source when it is deleted."""

from dataclasses import dataclass

from webapp.schedules.models import Schedule


@dataclass(frozen=True)
class Losing:
    """One schedule. `why` goes on from its name."""

    name: str
    team: int
    why: str


def losing(artifact_id: int) -> list[Losing]:
    """What would be left without a source, by name."""
    rows = Schedule.objects.filter(artifact=artifact_id, repo="").select_related("host").order_by("name", "pk")
    return [Losing(row.name, row.team_id, f"makes results out of it on {row.host.name}") for row in rows]
