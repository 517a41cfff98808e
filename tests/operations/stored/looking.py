"""Looks at all that somebody can look at, in this process: pages by their links, lists of the API with their rows."""

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from django.test import Client
from django.urls import resolve

from webapp.interfaces.api import openapi

# Not pages; and those that ask a hub.
_NOT_OPENED = ("/static/", "/api/", "/accounts/logout", "/models/hubs/")


def pages(client: Client) -> Iterator[tuple[str, int]]:
    """The address and status of what one gets to from Home by links: three pages of a kind, of the help one."""
    left, seen, kinds = ["/"], {"/"}, dict[str, int]()
    while left:
        path = left.pop()
        answer = client.get(path)
        yield path, answer.status_code
        text = "" if answer.streaming else answer.content.decode(errors="replace")
        for link in re.findall(r'href="(/[^"#?]*)', text):
            if link in seen or link.startswith(_NOT_OPENED):
                continue
            seen.add(link)
            kind = resolve(link).view_name or link
            kinds[kind] = kinds.get(kind, 0) + 1
            if kinds[kind] <= (1 if kind == "dashboard:help_page" else 3):
                left.append(link)


def rows(client: Client, closed: Collection[str] = ()) -> Iterator[tuple[str, int]]:
    """The address and status of every list and of each row in it; those of `closed` have to be closed."""
    paths = json.loads(openapi.current())["paths"]
    for path in (each for each, methods in paths.items() if "{" not in each and _asks_nothing(methods)):
        answer = client.get(path)
        if path in closed:
            assert answer.status_code in (403, 404), path
            continue
        yield path, answer.status_code
        found = answer.json() if "json" in answer["Content-Type"] else None
        one = next((each for each in paths if re.fullmatch(re.escape(path) + r"/\{\w+\}", each)), None)
        for row in found["items"] if one and isinstance(found, dict) and "items" in found else []:
            if "get" in paths[one]:
                its = f"{path}/{row['slug' if one.endswith('{slug}') else 'id']}"
                yield its, client.get(its).status_code


def _asks_nothing(methods: dict[str, Any]) -> bool:
    """Whether it is read without a question of one's own."""
    return "get" in methods and not any(one.get("required") for one in methods["get"].get("parameters", []))
