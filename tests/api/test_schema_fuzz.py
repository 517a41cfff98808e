"""The committed OpenAPI description against the API itself: generated requests, three roles, in one process.

A case is one request, within its schema or beside it. What may not happen: a 5xx, or an answer with a status, a content
type, a header or a body that the description does not promise. MODELYARD_TEST_FUZZ_CASES is the number of all cases,
MODELYARD_TEST_FUZZ_SEED draws others.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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

from tests.api.routes import Route
from tests.api.samples import Side, side
from webapp.interfaces.api import openapi
from webapp.interfaces.api.description import METHODS

CI_CASES = 5_000
SOAK_CASES = 50_000
SEED = int(os.environ.get("MODELYARD_TEST_FUZZ_SEED", 20261122))
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
    # Those endpoints are tested beside this; keys made up here would only close them.
    loaded.config.generation.update(with_security_parameters=False)
    loaded.app = get_wsgi_application()
    return loaded


@dataclass(frozen=True)
class World:
    """A team with one thing of every kind, a key of everybody, and what the fields of requests may name of it."""

    side: Side
    keys: dict[str, str]
    named: dict[str, Any]


@pytest.fixture
def world(host, artifact, root):
    """Rows of every kind for the requests to hit; the admin runs the installation too."""
    from webapp.accounts.services import create_key

    own = side("fuzz", host)
    own.hub.endpoint = "https://127.0.0.1:9"  # refused before anything is sent
    own.hub.save()
    root.memberships.create(team=own.team, role="admin")
    people = {**own.people, "admin": root}
    keys = {role: create_key(people[role], own.team, "fuzz")[1] for role in ROLES}
    named = {
        "team": own.team.slug, "slug": own.team.slug, "person": own.member.username, "username": own.member.username,
        "calibration": own.text.pk, "judging": own.text.pk, "key": own.key.pk, "deployment": own.deployment.pk,
        "artifact": artifact.pk, "host": host.pk, "hub": own.hub.pk, "subject": f"deployment:{own.deployment.pk}",
    }  # fmt: skip
    return World(own, keys, named)


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
def test_an_operation_keeps_what_its_description_promises(schema, world, name, role):
    fuzz(schema, world, name, role, int(os.environ.get("MODELYARD_TEST_FUZZ_CASES", CI_CASES)))


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_keeps_its_promises_for_long(schema, world, name, role):
    fuzz(schema, world, name, role, SOAK_CASES)


def fuzz(schema: Any, world: World, name: str, role: str, total: int) -> None:
    """Send generated requests, each in a savepoint that is rolled back, and hold the answers against the promises."""
    method, path = OPERATIONS[name]
    operation = schema[path][method.upper()]
    route = Route(path.removeprefix("/"), (method,))
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
                aim(case, route, world)
            point = transaction.savepoint()
            try:
                answer = case.call(headers={"Authorization": f"Bearer {world.keys[role]}"})
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


def aim(case: Any, route: Route, world: World) -> None:
    """Let the request name things that exist, so that what lies behind a 404 is reached too."""
    for name in case.path_parameters or {}:
        case.path_parameters[name] = route.sample(name).value(world.side)
    for part in (case.query, case.body):
        if isinstance(part, dict):
            known = {name for name, value in part.items() if name in world.named and not isinstance(value, dict | list)}
            part.update({name: world.named[name] for name in known})
