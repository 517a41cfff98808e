"""What the REST API can do, read from its committed description. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

FILE = Path(__file__).resolve().parents[1] / "api" / "openapi.json"
PREFIX = "/api/v1"
Kind = Literal["str", "int", "float", "bool", "list", "json"]
Answers = Literal["page", "list", "item", "text", "nothing"]
_METHODS = ("get", "post", "put", "patch", "delete")
_KINDS: dict[str, Kind] = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}


@dataclass(frozen=True)
class Field:
    """One thing that an operation can be told, wherever it is sent: path, query or body."""

    name: str
    place: Literal["path", "query", "body"]
    kind: Kind
    is_required: bool
    help: str = ""
    default: Any = None
    choices: tuple[str, ...] = ()
    # The path of the list that a name is looked up in, where people may write a name instead of an id.
    names_in: str = ""


@dataclass(frozen=True)
class Operation:
    """One method of one path, and the two words that call it: `deployments` `start`."""

    id: str
    method: str
    path: str
    group: str
    command: str
    summary: str
    help: str
    tag: str
    fields: tuple[Field, ...]
    answers: Answers
    has_body: bool

    @property
    def is_change(self) -> bool:
        return self.method != "GET"


class Description:
    """All operations of the OpenAPI file."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self.tags = [tag["name"] for tag in document.get("tags", ())]

    @classmethod
    def read(cls, file: Path = FILE) -> "Description":
        return cls(json.loads(file.read_text()))

    @cached_property
    def operations(self) -> list[Operation]:
        return [
            self._operation(method, path, item[method])
            for path, item in self._document["paths"].items()
            for method in _METHODS
            if method in item
        ]

    @cached_property
    def groups(self) -> dict[str, str]:
        """The first word of every path, with the tag it stands under, in the order of the tags."""
        found = {operation.group: operation.tag for operation in self.operations}
        order = {tag: number for number, tag in enumerate(self.tags)}
        return dict(sorted(found.items(), key=lambda pair: (order.get(pair[1], 99), pair[0])))

    @cached_property
    def lists(self) -> set[str]:
        """Paths that answer with many things."""
        return {o.path for o in self.operations if o.method == "GET" and o.answers in ("page", "list")}

    def of(self, group: str) -> list[Operation]:
        return [operation for operation in self.operations if operation.group == group]

    def find(self, method: str, path: str) -> Operation | None:
        """The operation at this path, written as in the description: `/deployments/{deployment_id}`."""
        return next((o for o in self.operations if o.method == method and o.path == path), None)

    def takes(self, method: str, path: str, field: str) -> bool:
        found = self.find(method, path)
        return found is not None and any(f.name == field for f in found.fields)

    def _operation(self, method: str, path: str, what: Mapping[str, Any]) -> Operation:
        short = path.removeprefix(PREFIX)
        group = short.split("/")[1].partition(".")[0]
        name = what["operationId"]
        command = name.removeprefix(group.replace("-", "_") + "_").replace("_", "-")
        return Operation(
            id=name,
            method=method.upper(),
            path=short,
            group=group,
            command=command,
            summary=what.get("summary", ""),
            help=what.get("description", ""),
            tag=(what.get("tags") or [""])[0],
            fields=tuple(self._fields(short, what)),
            answers=self._answers(what),
            has_body="requestBody" in what,
        )

    def _fields(self, path: str, what: Mapping[str, Any]) -> list[Field]:
        fields = [
            self._field(p["name"], p["in"], p["schema"], bool(p.get("required")), path, p.get("description", ""))
            for p in what.get("parameters", ())
            if p["in"] in ("path", "query")
        ]
        # In the order of the path, as people say it.
        order = re.findall(r"{(\w+)}", path)
        fields.sort(key=lambda field: order.index(field.name) if field.place == "path" else len(order))
        for content in what.get("requestBody", {}).get("content", {}).values():
            schema = self._resolve(content.get("schema", {}))
            required = set(schema.get("required", ()))
            fields += [
                self._field(name, "body", inner, name in required, path)
                for name, inner in schema.get("properties", {}).items()
            ]
            break
        return fields

    def _field(
        self,
        name: str,
        place: Literal["path", "query", "body"],
        schema: Mapping[str, Any],
        is_required: bool,
        path: str,
        help: str = "",
    ) -> Field:
        inner = self._not_null(schema)
        if inner.get("type") == "array":
            element = self._not_null(inner.get("items", {}))
            kind: Kind = "list" if element.get("type", "string") in _KINDS else "json"
            choices = tuple(str(choice) for choice in element.get("enum", ()))
        else:
            kind = _KINDS.get(inner.get("type", ""), "json" if place == "body" else "str")
            choices = tuple(str(choice) for choice in inner.get("enum", ())) if kind == "str" else ()
        text = help or schema.get("description") or inner.get("description") or ""
        # Text fields take names as they are; what wants a number can be looked up.
        names_in = self._names_in(name, place, path) if place == "path" or kind == "int" else ""
        return Field(name, place, kind, is_required, text, schema.get("default"), choices, names_in)

    def _names_in(self, name: str, place: str, path: str) -> str:
        if place == "path":
            before = path.partition("/{" + name + "}")[0]
            return before if name.endswith("_id") and self._is_list(before) else ""
        plural = "/" + name.removesuffix("_id").replace("_", "-") + "s"
        return plural if self._is_list(plural) else ""

    def _is_list(self, path: str) -> bool:
        what = self._document["paths"].get(PREFIX + path, {}).get("get")
        return what is not None and self._answers(what) in ("page", "list")

    def _answers(self, what: Mapping[str, Any]) -> Answers:
        for status, answer in what.get("responses", {}).items():
            if not status.startswith("2"):
                continue
            content = answer.get("content", {})
            if not content:
                return "nothing"
            if "application/json" not in content:
                return "text"
            schema = self._resolve(content["application/json"].get("schema", {}))
            if {"items", "count"} <= set(schema.get("properties", ())):
                return "page"
            return "list" if schema.get("type") == "array" else "item"
        return "nothing"

    def _not_null(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """The schema behind references and `or null`."""
        schema = self._resolve(schema)
        choices = [self._resolve(one) for one in schema.get("anyOf", ())]
        real = [one for one in choices if one.get("type") != "null"]
        return real[0] if len(real) == 1 else schema

    def _resolve(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in schema:
            schema = self._document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return schema
