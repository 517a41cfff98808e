"""The OpenAPI description: what ninja knows of the routes, plus what holds for all of them."""

import json
from typing import Any

from webapp.interfaces.api import problems
from webapp.interfaces.api.names import operation_names

METHODS = ("get", "post", "put", "patch", "delete")
IDEMPOTENCY_KEY: dict[str, Any] = {
    "in": "header",
    "name": "Idempotency-Key",
    "required": False,
    "description": "Send the same key again (within 24 hours) and a request that was carried out is not carried out "
    "twice: you get its answer again, with the header `Idempotency-Replayed`.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
    "example": "6f1d2f0c-5a0e-4b39-8c54-0e2f6a3b9d10",
}
REF = {"$ref": "#/components/schemas/Problem"}


def complete(description: dict[str, Any], prefix: str, tags: list[dict[str, str]]) -> None:
    """Add names, errors, headers and texts to every operation in place. Raises ValueError when two share a name."""
    paths: dict[str, Any] = description["paths"]
    description["components"]["schemas"]["Problem"] = problems.SCHEMA
    _name_all(paths, prefix, description["components"]["schemas"])
    for path, item in paths.items():
        for method in METHODS:
            if method in item:
                # ninja gives one and the same dict to all methods of an operation.
                item[method] = json.loads(json.dumps(item[method]))
                _complete_one(item[method], method, path)
    used = {tag for item in paths.values() for what in item.values() for tag in what.get("tags", [])}
    described = {tag["name"] for tag in tags}
    description["tags"] = [tag for tag in tags if tag["name"] in used]
    description["tags"] += [{"name": name} for name in sorted(used - described)]


def _name_all(paths: dict[str, Any], prefix: str, schemas: dict[str, Any]) -> None:
    methods = {
        path.removeprefix(prefix.rstrip("/")): {method.upper() for method in METHODS if method in item}
        for path, item in paths.items()
    }
    lists = {
        path for path in methods
        if "GET" in methods[path] and answers_many(paths[prefix.rstrip("/") + path]["get"], schemas)
    }  # fmt: skip
    names = operation_names(methods, lists)
    twice = sorted({name for name in names.values() if list(names.values()).count(name) > 1})
    if twice:
        raise ValueError(f"two operations are named {', '.join(twice)}: change a path")
    for (method, path), name in names.items():
        paths[prefix.rstrip("/") + path][method.lower()]["operationId"] = name


def answers_many(operation: dict[str, Any], schemas: dict[str, Any]) -> bool:
    """Whether the operation answers with a list or with a page of one."""
    content = operation.get("responses", {})
    answer = content.get(200, content.get("200", {})).get("content", {}).get("application/json", {}).get("schema", {})
    answer = schemas.get(answer.get("$ref", "").rpartition("/")[2], answer)
    return answer.get("type") == "array" or {"items", "count"} <= set(answer.get("properties", ()))


def _complete_one(operation: dict[str, Any], method: str, path: str) -> None:
    changes = method != "get"
    if changes and not any(p["name"] == "Idempotency-Key" for p in operation["parameters"]):
        operation["parameters"].append(IDEMPOTENCY_KEY)
    operation["security"] = [dict(one) for one in dict.fromkeys(tuple(s.items()) for s in _schemes(operation))]
    for status in _errors(operation, method, path):
        operation["responses"].setdefault(
            str(status),
            {"description": problems.MEANINGS[status], "content": {problems.PROBLEM: {"schema": REF}}},
        )
    for status, answer in operation["responses"].items():
        if changes and str(status).startswith("2"):
            answer.setdefault("headers", {})["Idempotency-Replayed"] = {
                "description": "`true` when this answer was given before",
                "schema": {"type": "string", "enum": ["true"]},
            }


def _schemes(operation: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: tuple(scopes) for name, scopes in one.items()} for one in operation.get("security", [])]


def _errors(operation: dict[str, Any], method: str, path: str) -> list[int]:
    """The statuses that this operation may refuse with. 404 also hides what is not yours."""
    found = [401, 403, 404, 422, 500, 503]
    if method != "get":
        found += [409, 413, 429]
    if "requestBody" in operation:
        found.append(400)
    return sorted(found)
