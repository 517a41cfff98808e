"""Keep the newest results of a schedule, and take older ones off the disks unless something needs them."""

import logging

from webapp.catalog.models import Artifact
from webapp.foundation.errors import ServiceError
from webapp.jobs import deleting
from webapp.schedules.models import Schedule

logger = logging.getLogger(__name__)


def keep_last(schedule: Schedule) -> list[Artifact]:
    """Delete what is beyond the newest `keep_last` results of each recipe; what is served or in use stays.

    Answers what was asked to go. Only what this schedule's own runs have made is touched.
    """
    keep = schedule.keep_last
    if not keep:
        return []
    by_recipe: dict[str, list[int]] = {}
    for results in schedule.runs.order_by("-id").values_list("results", flat=True):
        for result in results:
            made = by_recipe.setdefault(str(result["recipe"]), [])
            if result.get("artifact") and result["artifact"] not in made:
                made.append(result["artifact"])
    surplus = [key for made in by_recipe.values() for key in made[keep:]]
    leaving = []
    # One that was given to another team is that team's to keep.
    own = Artifact.objects.filter(team=schedule.team)
    rows = own.filter(pk__in=surplus, is_leaving=False, source__kind="made")
    for artifact in rows.select_related("catalog_model"):
        try:
            deleting.delete_artifact(None, schedule.team, artifact)
        except ServiceError as refusal:
            logger.info("schedule %s keeps %s: %s", schedule.pk, artifact, refusal)
        else:
            leaving.append(artifact)
    return leaving
