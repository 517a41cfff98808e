"""Every address of the site: pages from Django's patterns, the API from its own description."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from tests.api.samples import SAMPLES, Sample, Side
from webapp.interfaces.api import openapi

API = "api/v1/"
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
# Words in front of a route that say nothing about what its parameter is.
_PLAIN = {"accounts", "api", "v1"}
_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>|\{(\w+)\}")


@dataclass(frozen=True)
class Route:
    """`template` as it stands in the patterns, without the slash in front."""

    template: str
    methods: tuple[str, ...]
    body: Any = None

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(one or other for one, other in _PARAMETER.findall(self.template))

    @property
    def is_api(self) -> bool:
        return self.template.startswith(API)

    def sample(self, parameter: str) -> Sample:
        """What the parameter stands for; the test fails where nobody has said."""
        parts = [part for part in self.template.split("/") if part not in _PLAIN]
        names = (f"{parts[0]}/{parts[1]} {parameter}", f"{parts[0]} {parameter}", parameter)
        found = next((SAMPLES[name] for name in names if name in SAMPLES), None)
        if found is None:
            pytest.fail(f"What is {parameter!r} in /{self.template}? Say it in tests/api/samples.py (SAMPLES).")
        return found

    def scoped(self) -> list[str]:
        """Parameters that belong to a team."""
        return [name for name in self.parameters if self.sample(name).is_scoped]

    def path(self, own: Side, replaced: dict[str, Any] | None = None) -> str:
        """The address with every parameter filled from one side, but for those in `replaced`."""
        values = {name: self.sample(name).value(own) for name in self.parameters} | (replaced or {})
        return "/" + _PARAMETER.sub(lambda found: str(values[found[1] or found[2]]), self.template)


def pages() -> list[Route]:
    """All but the REST API; which methods a page takes is not written anywhere, so both are tried."""
    return [Route(template, ("GET", "POST")) for template in _walk(get_resolver().url_patterns, "")]


def operations() -> list[Route]:
    """The REST API with a body for each operation that wants one, plus its own pages of documentation."""
    document = json.loads(openapi.current())
    schemas = document["components"]["schemas"]
    return [
        Route(path.removeprefix("/"), (method.upper(),), _body(what, schemas))
        for path, methods in document["paths"].items()
        for method, what in methods.items()
    ]


def _walk(patterns: list[Any], prefix: str) -> Iterator[str]:
    for pattern in patterns:
        route = prefix + str(getattr(pattern.pattern, "_route", pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern) and not _is_operation(route, pattern):
            yield route


def _is_operation(route: str, pattern: URLPattern) -> bool:
    """Operations come from the description; the views of ninja that describe them are pages."""
    return route.startswith(API) and pattern.name not in ("openapi-json", "openapi-view")


def _body(operation: dict[str, Any], schemas: dict[str, Any]) -> Any:
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema")
    return None if schema is None else _example(schema, schemas)


def _example(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """The least that a schema accepts."""
    if "$ref" in schema:
        return _example(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    for word in ("allOf", "anyOf", "oneOf"):
        if word in schema:
            return _example(schema[word][0], schemas)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    kind = schema.get("type")
    if kind == "object":
        wanted = schema.get("required", [])
        return {name: _example(schema["properties"][name], schemas) for name in wanted}
    if kind == "array":
        return [_example(schema["items"], schemas)] * schema.get("minItems", 0)
    if kind == "string":
        return (
            "2099-01-01T00:00:00Z" if schema.get("format") == "date-time" else "x" * max(1, schema.get("minLength", 1))
        )
    return {"integer": schema.get("minimum", 1), "number": schema.get("minimum", 1), "boolean": True}.get(kind)
