"""Which schedules make their results out of an artifact: those lose their source when it is deleted."""

from webapp.catalog.uses import Use
from webapp.schedules.models import Schedule


def losing(artifact_id: int) -> list[Use]:
    """What would be left without a source, by name."""
    rows = Schedule.objects.filter(artifact=artifact_id, repo="").select_related("host").order_by("name", "pk")
    return [Use(row.name, row.team_id, f"makes results out of it on {row.host.name}") for row in rows]
