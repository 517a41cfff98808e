"""The committed OpenAPI description against the API itself: generated requests, three roles, in one process.

A case is one request, within its schema or beside it. What may not happen: a 5xx, or an answer with a status, a content
type, a header or a body that the description does not promise. MODELYARD_TEST_FUZZ_CASES is the number of all cases.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hypothesis
import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, Phase, Verbosity, given, settings, strategies
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode

from webapp import openapi
from webapp.rest.description import METHODS

CI_CASES = 5_000
SOAK_CASES = 50_000
SEED = 20261122
ROLES = ("viewer", "operator", "admin")
DESCRIPTION = json.loads(openapi.FILE.read_text())
OPERATIONS = {
    what["operationId"]: (method, path)
    for path, item in DESCRIPTION["paths"].items()
    for method, what in item.items()
    if method in METHODS
}
ran: Counter[str] = Counter()

load_all_checks()
PROMISES = CHECKS.get_by_names(
    [
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)


@pytest.fixture(scope="module")
def schema():
    loaded = schemathesis.openapi.from_dict(DESCRIPTION)
    # The doors are tested beside this; keys made up here would only close them.
    loaded.config.generation.update(with_security_parameters=False)
    loaded.app = get_wsgi_application()
    return loaded


@pytest.fixture
def yard(ada, bob, root, team, deployment, artifact):
    """A key of everybody, and rows of every kind for the requests to hit."""
    from webapp.accounts.services import create_key
    from webapp.deployments import lifecycle
    from webapp.inventory.models import Host
    from webapp.jobs.models import Job

    bob.memberships.update(role="viewer")
    root.memberships.create(team=team, role="admin")
    lifecycle.append_log(deployment.replicas.get().pk, 1, 1, "loading\n", "t")
    Job.objects.create(kind="fetch", team=team, requested_by=ada, host=Host.objects.get(), artifact=artifact)
    people = {"viewer": bob, "operator": ada, "admin": root}
    ada.memberships.update(role="operator")
    return {role: create_key(person, team, "fuzz")[1] for role, person in people.items()}


@pytest.fixture(scope="module", autouse=True)
def count(request):
    yield
    print(f"\n{sum(ran.values())} cases: " + ", ".join(f"{n} x {status}" for status, n in sorted(ran.items())))


def cases_each(total: int) -> int:
    """Operations that take nothing have one case; the others share the rest, and some more than there may be of it."""
    takers = sum(1 for method, path in OPERATIONS.values() if _takes_something(DESCRIPTION["paths"][path][method]))
    return max(4, -(-total * 11 // (takers * len(ROLES) * 10)))


def _takes_something(what: dict[str, Any]) -> bool:
    return bool(what["parameters"]) or "requestBody" in what


@pytest.mark.fuzz
@pytest.mark.django_db
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_keeps_what_its_description_promises(schema, yard, name, role):
    fuzz(schema, yard[role], name, role, int(os.environ.get("MODELYARD_TEST_FUZZ_CASES", CI_CASES)))


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_keeps_its_promises_for_long(schema, yard, name, role):
    fuzz(schema, yard[role], name, role, SOAK_CASES)


def fuzz(schema: Any, key: str, name: str, role: str, total: int) -> None:
    """Send generated requests, each in a savepoint that is rolled back, and hold the answers against the promises."""
    method, path = OPERATIONS[name]
    operation = schema[path][method.upper()]
    samples = real_values(schema.app, key)
    within = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    beside = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    for strategy, share in ((within, 0.6), (beside, 0.4)):

        @hypothesis.seed(SEED + ROLES.index(role))
        @settings(
            max_examples=max(2, round(cases_each(total) * share)),
            deadline=None,
            database=None,
            phases=[Phase.generate],
            verbosity=Verbosity.quiet,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy, hit=strategies.sampled_from([True, True, False]))
        def send(case: Any, hit: bool) -> None:
            if hit:
                aim(case, samples)
            point = transaction.savepoint()
            try:
                answer = case.call(headers={"Authorization": f"Bearer {key}"})
                ran[str(answer.status_code)] += 1
                # 503 is an answer of ours: something that Modelyard needs, such as a hub, is not to be had.
                assert answer.status_code < 500 or answer.status_code == 503, answer.content[:500]
                case.validate_response(answer, checks=PROMISES)
            finally:
                transaction.savepoint_rollback(point)

        try:
            with one_connection():
                send()
        except Unsatisfiable:  # nothing can be sent beside the schema of an operation that takes nothing
            continue
        except FailureGroup as failures:
            raise AssertionError("\n\n".join(f"{f.title}\n{f.message}" for f in failures.exceptions)) from None


@contextmanager
def one_connection() -> Iterator[None]:
    """The handler closes connections around each request; the test's transaction lives in one of them."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    try:
        yield
    finally:
        for signal in signals:
            signal.connect(close_old_connections)


def aim(case: Any, samples: dict[str, list[Any]]) -> None:
    """Let the path and the body name things that exist, so that what lies behind a 404 is reached too."""
    for name in case.path_parameters or {}:
        found = samples.get(name.removesuffix("_id"))
        if found:
            case.path_parameters[name] = found[0]
    if isinstance(case.body, dict):
        for name in case.body:
            found = samples.get(name.removesuffix("_id"))
            if found and not isinstance(case.body[name], dict | list):
                case.body[name] = found[0]


def real_values(app: Any, key: str) -> dict[str, list[Any]]:
    """Ids and names of what this caller sees, by each list's singular: {"deployment": [7], "team": ["research"]}."""
    from django.test import Client

    client = Client(headers={"Authorization": f"Bearer {key}"})
    found: dict[str, list[Any]] = {"number": [1]}
    for path, item in DESCRIPTION["paths"].items():
        last = path.rpartition("/")[2]
        if "get" in item and "{" not in path and last.endswith("s"):
            answer = client.get(path)
            rows = answer.json() if answer.status_code == 200 and "json" in answer.headers["Content-Type"] else []
            rows = rows.get("items", []) if isinstance(rows, dict) else rows
            if rows and isinstance(rows[0], dict):
                found[last.removesuffix("s").replace("-", "_")] = [row.get("id", row.get("name")) for row in rows]
                found.setdefault("slug", [row["slug"] for row in rows if row.get("slug")])
    me = client.get("/api/v1/me").json()
    found["team"] = [team["slug"] for team in me["teams"]]
    return {name: values for name, values in found.items() if values}
