"""What lists are called: in the plural, or as one of them, as users of kubectl expect. Pure."""

from collections.abc import Iterable

_IRREGULAR = {"people": "person"}
# These name one thing, and no list.
_NO_PLURALS = ("disk", "me", "audit", "usage", "attention")


def singular(group: str) -> str:
    """`fetches` -> `fetch`, `schedule-runs` -> `schedule-run`; what is no plural stays as it is."""
    if group in _IRREGULAR:
        return _IRREGULAR[group]
    if group in _NO_PLURALS or group.endswith("ss") or not group.endswith("s"):
        return group
    return group[:-2] if group.endswith(("ches", "shes", "xes", "sses")) else group[:-1]


def group_of(word: str, groups: Iterable[str]) -> str | None:
    """The group that the word names, in the plural or the singular, whatever its case; None when there is none."""
    word = word.lower()
    return next((group for group in groups if word in (group, singular(group))), None)
