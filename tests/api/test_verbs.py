"""Pages, REST API and command line have the same verbs: what one of them can do, the others can."""

import json

import typer.main
from django.urls import URLPattern, URLResolver, get_resolver

from tests.api.verbs import COMMANDS_ALONE, MACHINES, PAGES_ALONE, QUESTIONS, SIGNING_IN, VERBS
from webapp.interfaces.api import openapi
from webapp.interfaces.cli.description import Description
from webapp.interfaces.cli.main import build

UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}


def forms() -> set[str]:
    """The names of all addresses outside the API that take something else than GET; allauth's do not say, so they
    count."""
    return {name for name, view in _walk(get_resolver().url_patterns, "") if _takes_forms(view)}


def _walk(patterns, space):
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            # The API has a description of its own; the gateways' endpoints are for no person.
            if str(pattern.pattern) not in ("api/v1/", "internal/"):
                inner = f"{space}{pattern.namespace}:" if pattern.namespace else space
                yield from _walk(pattern.url_patterns, inner)
        elif isinstance(pattern, URLPattern):
            yield f"{space}{pattern.name or pattern.pattern}", pattern.callback


def _takes_forms(view) -> bool:
    methods = getattr(view, "methods", None)
    return methods is None or bool(UNSAFE & set(methods))


def operations() -> dict[str, dict]:
    """Every operation that is not a GET, with the fields of its body."""
    document = json.loads(openapi.current())
    schemas = document["components"]["schemas"]
    found = {}
    for methods in document["paths"].values():
        for method, what in methods.items():
            if method.upper() in UNSAFE:
                schema = what.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
                schema = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
                found[what["operationId"]] = schema.get("properties", {})
    return found


def test_every_page_that_changes_something_is_a_verb_or_has_a_reason():
    verbs = {page for _verb, page, _operation in VERBS}
    found = {name for name in forms() if not name.startswith((*SIGNING_IN, *MACHINES))}
    known = verbs | set(PAGES_ALONE)
    assert found - known == set(), "give it an operation of the API in tests/api/verbs.py"
    assert known - found == set(), "there is no such page any more"


def test_every_operation_that_changes_something_is_a_verb_or_a_question():
    verbs = {operation.partition(":")[0] for _verb, _page, operation in VERBS}
    found = set(operations())
    assert found - verbs - set(QUESTIONS) == set(), "give it a page in tests/api/verbs.py"
    assert (verbs | set(QUESTIONS)) - found == set(), "there is no such operation any more"


def test_every_field_that_an_operation_changes_stands_on_a_page():
    named: dict[str, set[str]] = {}
    for _verb, _page, operation in VERBS:
        name, _, fields = operation.partition(":")
        named.setdefault(name, set()).update(fields.split())
    for name, fields in operations().items():
        if name.endswith("_update") and named[name] != {"*"}:
            assert named[name] == set(fields), name


def test_every_operation_is_a_command_and_every_other_command_has_a_reason():
    description = Description(json.loads(openapi.current()))
    root = typer.main.get_command(build(list(description.groups), description))
    found = set()
    for name, command in root.commands.items():
        inner = getattr(command, "commands", None)
        found |= {name} if inner is None else {f"{name} {word}" for word in inner}
    wanted = {f"{operation.group} {operation.command}" for operation in description.operations}
    assert wanted - found == set()
    assert found - wanted == set(COMMANDS_ALONE)


def test_a_verb_stands_there_once_and_exceptions_do_not_grow_unseen():
    assert len({verb for verb, _page, _operation in VERBS}) == len(VERBS)
    assert all(reason for table in (PAGES_ALONE, QUESTIONS, COMMANDS_ALONE) for reason in table.values())
    # Whoever adds one changes this line, too, and says why in the table.
    assert (len(PAGES_ALONE), len(QUESTIONS), len(COMMANDS_ALONE)) == (9, 3, 9)
