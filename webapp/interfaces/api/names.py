"""Readable names of operations, from method and path alone: `deployments_create`, `deployments_start`. Pure."""

import re
from collections.abc import Mapping, Set

VERBS = {"GET": "get", "POST": "create", "PUT": "replace", "PATCH": "update", "DELETE": "delete"}


def operation_names(methods: Mapping[str, Set[str]], lists: Set[str] = frozenset()) -> dict[tuple[str, str], str]:
    """A unique name for every (method, path).

    `methods` are the methods of each path, written `/deployments/{id}/start`; `lists` the paths whose GET answers
    with many things. A path that ends in a parameter is one thing: get, update, delete. A path that ends in a word
    is a collection when it can be read and added to (list, create); otherwise the word itself is the verb or the view.
    """
    return {
        (method, path): _name(
            method, path, set(methods[path]), any(_is_item_of(path, other) for other in methods), lists
        )
        for path in methods
        for method in methods[path]
    }


def _name(method: str, path: str, siblings: Set[str], has_items: bool, lists: Set[str]) -> str:
    parts = [part for part in path.split("/") if part]
    words = [re.sub(r"\W", "_", part.replace("-", "_")) for part in parts if not part.startswith("{")]
    noun = "_".join(words)
    if parts[-1].startswith("{"):
        return f"{noun}_{VERBS[method]}"
    is_top = len(parts) == 1
    is_collection = has_items or {"GET", "POST"} <= siblings
    if method == "GET":
        if path in lists and (is_top or is_collection):
            return f"{noun}_list"
        return f"{noun}_get" if is_top or len(siblings) > 1 else noun
    if method == "POST":
        return f"{noun}_create" if is_top or is_collection else noun
    return f"{noun}_{VERBS[method]}"


def _is_item_of(path: str, other: str) -> bool:
    head, _, last = other.rpartition("/")
    return head == path and last.startswith("{")
