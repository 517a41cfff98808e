"""What a page tells its socket: the topics it follows and the number of the last change it shows."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from webapp.foundation.events.models import Topic

SOCKET = "/ws/live/"
# An admin of hundreds of teams follows the first ones; the lists themselves show all.
MAX_TOPICS = 60


class Following(NamedTuple):
    """Rendered into the page; the script connects to `url` and keeps `last` up to date."""

    url: str
    topics: str
    last: str


def follow(topics: Iterable[str], page: str = "", seen: Mapping[str, str] | None = None) -> Following:
    """Take down the versions *before* the page reads its rows: what changes in between is sent again, never missed.

    `page` names a page whose one panel follows several topics; `seen` overrides versions by a place in a log.
    """
    names = list(dict.fromkeys(topics))[:MAX_TOPICS]
    numbers = versions(names)
    last = [(seen or {}).get(name, str(numbers[name])) for name in names]
    query = {"topics": ",".join(names), "last": ",".join(last)}
    if page:
        query["page"] = page
    return Following(url=f"{SOCKET}?{urlencode(query, safe=':,')}", topics=query["topics"], last=query["last"])


def versions(names: Iterable[str]) -> dict[str, int]:
    """The number of each topic's last change, in one query; 0 where nothing has happened yet."""
    names = list(names)
    known = dict(Topic.objects.filter(name__in=names).values_list("name", "version"))
    return {name: known.get(name, 0) for name in names}
