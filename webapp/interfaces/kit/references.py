"""The rows that a request names by their ids: all of them, or a refusal that says which field names nothing."""

from typing import Any

from django.db.models import QuerySet

from webapp.foundation.errors import NotFound

# What a field names, and the list that it is chosen from.
LISTS = {
    "artifact": ("artifact", "artifacts"), "host": ("host", "hosts"), "hub": ("hub", "hubs"),
    "calibration": ("text", "datasets"), "judging": ("text", "datasets"),
    "prompts": ("set of golden prompts", "golden-prompts"), "deployment": ("deployment", "deployments"),
    "model": ("model", "models"),
}  # fmt: skip


def resolve_references(**fields: tuple[QuerySet[Any], Any]) -> dict[str, Any]:
    """The row of each field, given the rows that the person may use and the id; None for no id.

    Raises NotFound for all fields that name nothing. What belongs to others is told like what does not exist.
    """
    found = {name: None if key is None else rows.filter(pk=key).first() for name, (rows, key) in fields.items()}
    missing = {name: key for name, (_rows, key) in fields.items() if key is not None and found[name] is None}
    if missing:
        raise absent(**missing)
    return found


def absent(**missing: Any) -> NotFound:
    """The refusal of fields whose value names nothing that the person may use."""
    said = {name: f"There is no {LISTS[name][0]} {key!r} that you may use." for name, key in missing.items()}
    lists = " and ".join(sorted({f"GET /api/v1/{LISTS[name][1]}" for name in missing}))
    return NotFound(" ".join(said.values()), f"{lists} says what there is.", fields=said)
