"""One thing that wants a person."""

from dataclasses import dataclass
from datetime import datetime, timedelta

# Of each kind; the apps' own lists have the rest.
MOST = 12
# What failed is news for a day.
NEWS = timedelta(days=1)


@dataclass(frozen=True)
class Concern:
    """Something that wants a person: what, why, what to do (`action` is the link's word), and where.

    `kind` is for programs; `since` is None where nobody wrote down when it began.
    """

    kind: str
    word: str
    title: str
    url: str
    reason: str
    advice: str = ""
    action: str = "Look"
    since: datetime | None = None
