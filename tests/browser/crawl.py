"""Which pages there are: every address pattern that a GET may have, and what their links lead to."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.urls import Resolver404, URLPattern, URLResolver, get_resolver, resolve

# Not pages: JSON endpoints and what machines ask. The API's own documentation is one.
NOT_PAGES = ("api/v1/", "internal/", "healthz", "metrics")
# Pages that are there in a state that the filled site is not in: a factor set up, a link just made, a provider's
# answer, a hub that can be reached. Tests of their own open them (test_passkeys, test_catalog_pages, tests/accounts).
ELSEWHERE = (
    "accounts/2fa/totp/deactivate/",
    "accounts/2fa/recovery-codes/",
    "accounts/2fa/webauthn/keys/",
    "accounts/link/",
    "accounts/sso/callback/",
    "deployments/<int:pk>/share/<int:team>/",
    "models/hubs/<int:pk>/repo/",
)
# How many addresses of one kind (same view, same names in the query) are followed from links.
OF_A_KIND = 2
# Pages that are all different although one view shows them.
ALL_OF = {"dashboard:help_page"}


@dataclass(frozen=True)
class Pattern:
    room: str
    route: str
    parameters: tuple[str, ...]

    def fill(self, samples: dict[str, dict[str, Any]]) -> str:
        """The address with one sample per parameter. Raises KeyError with what is missing."""
        path = self.route
        for parameter in self.parameters:
            known = {**samples.get("", {}), **samples.get(self.room, {})}
            if parameter not in known:
                raise KeyError(
                    f"/{self.route}: nothing to put in for {parameter!r} of room {self.room!r}; "
                    "make one in tests/browser/filled.py and name it in fill()'s answer"
                )
            path = _put(path, parameter, str(known[parameter]))
        return "/" + path


def patterns() -> list[Pattern]:
    """All patterns of the site that may be pages."""
    return [each for each in _walk(get_resolver(), "", "") if not each.route.startswith((*NOT_PAGES, *ELSEWHERE))]


def _walk(resolver: URLResolver, prefix: str, room: str) -> Iterator[Pattern]:
    for each in resolver.url_patterns:
        route = prefix + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from _walk(each, route, str(each.app_name or room))
        elif isinstance(each, URLPattern) and "^" not in route:
            yield Pattern(room, route, tuple(each.pattern.converters))


def _put(route: str, parameter: str, value: str) -> str:
    for part in route.split("<")[1:]:
        inside = part.split(">")[0]
        if inside.rpartition(":")[2] == parameter:
            return route.replace(f"<{inside}>", value, 1)
    raise KeyError(f"{route} has no {parameter}")


@dataclass
class Frontier:
    """Addresses found in links: each once, at most two of a kind."""

    waiting: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    kinds: dict[tuple[str, tuple[str, ...]], int] = field(default_factory=dict)

    def add(self, path: str) -> None:
        parts = urlsplit(path)
        address = parts.path + (f"?{parts.query}" if parts.query else "")
        if address in self.seen or parts.path.lstrip("/").startswith((*NOT_PAGES, "static/")):
            return
        try:
            view = resolve(parts.path).view_name
        except Resolver404:
            view = parts.path  # visited all the same: a link to nothing is a fault
        if view == "catalog:repo":  # asks a hub, and none can be reached
            return
        kind = (view, tuple(sorted(parse_qs(parts.query, keep_blank_values=True))))
        if self.kinds.get(kind, 0) >= OF_A_KIND and view not in ALL_OF:
            return
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        self.seen.add(address)
        self.waiting.append(address)

    def __iter__(self) -> Iterator[str]:
        while self.waiting:
            yield self.waiting.pop(0)
