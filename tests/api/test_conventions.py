"""What holds for every route without the route doing anything for it."""

import json
import re
from collections import Counter

import pytest
from ninja import Schema

from webapp.interfaces.api import openapi
from webapp.interfaces.api.description import METHODS
from webapp.interfaces.api.pagination import Pages
from webapp.interfaces.api.problems import PROBLEM
from webapp.interfaces.api.root import api

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def description():
    return json.loads(openapi.FILE.read_text())


def operations(description):
    return [
        (method, path, what)
        for path, item in description["paths"].items()
        for method, what in item.items()
        if method in METHODS
    ]


def test_every_operation_has_a_readable_name_of_its_own_and_a_summary(description):
    names = [what["operationId"] for _method, _path, what in operations(description)]
    assert len(set(names)) == len(names) > 20
    assert all(re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", name) for name in names), names
    assert all(what["summary"] for _method, _path, what in operations(description))


def test_every_operation_belongs_to_a_room_and_every_room_says_what_it_is_about(description):
    used = {tag for _method, _path, what in operations(description) for tag in what["tags"]}
    described = {tag["name"]: tag.get("description") for tag in description["tags"]}
    assert used == set(described)
    assert all(described.values()), "write a line for the new tag in webapp/interfaces/api/root.py"


def test_every_operation_says_how_it_refuses(description):
    for method, path, what in operations(description):
        wanted = {"401", "403", "404", "422", "503"} | ({"409"} if method != "get" else set())
        assert wanted <= set(what["responses"]), (method, path)
        for status, answer in what["responses"].items():
            if status >= "400":
                assert list(answer["content"]) == [PROBLEM], (method, path, status)


def test_every_change_takes_an_idempotency_key(description):
    for method, path, what in operations(description):
        takes = any(parameter["name"] == "Idempotency-Key" for parameter in what["parameters"])
        assert takes == (method != "get"), (method, path)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("get", "/api/v1/nothing-here", 404), ("put", "/api/v1/me", 405), ("get", "/api/v1/deployments/x%00y", 422)],
)
def test_what_is_refused_beside_the_routes_has_the_same_shape(as_caller, ada, method, path, status):
    answer = getattr(as_caller(ada), method)(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, PROBLEM)
    assert {"type", "title", "status", "detail", "request_id"} <= set(answer.json())
    if status == 405:
        assert answer.headers["Allow"] == "GET"


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
def test_a_body_that_is_too_large_is_a_problem_too(as_caller, ada, settings, headers):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    answer = as_caller(ada).post(
        "/api/v1/keys", json.dumps({"name": "x" * 200}), content_type="application/json", headers=headers
    )
    assert (answer.status_code, answer.headers["Content-Type"]) == (413, PROBLEM)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ('{"name": "a\\u0000b"}', 422, "NUL"),
        ('{"name": "a\\ud800b"}', 422, "surrogate"),
        ('{"na\\u0000me": 1}', 422, "NUL"),
        ('{"name": "a", "x": NaN}', 400, "NaN is not JSON"),
        ('{"name": "a", "x": 9223372036854775808}', 422, "64 bits"),
        ('{"name": "a", "x": 1e999}', 422, "too large"),
        ('{"name": ' + "1" * 6000 + "}", 400, "not JSON"),
        ("[" * 100_000, 400, "not JSON"),
        ("{", 400, "not JSON"),
    ],
)
def test_what_no_database_can_hold_is_refused_at_the_door(as_caller, ada, body, status, words):
    answer = as_caller(ada).post("/api/v1/keys", body, content_type="application/json")
    assert answer.status_code == status, answer.content
    assert words in answer.content.decode()
    assert answer.headers["Content-Type"] == PROBLEM


def test_a_query_with_nul_is_refused(as_caller, ada):
    answer = as_caller(ada).get("/api/v1/deployments?name=%00")
    assert answer.status_code == 422
    assert "NUL" in answer.json()["detail"]


def test_an_id_beyond_64_bits_is_simply_not_there(as_caller, ada):
    assert as_caller(ada).get(f"/api/v1/deployments/{2**70}").status_code == 404


@pytest.mark.parametrize(
    ("moment", "status"),
    [
        ("2099-01-01T00:00:00+23:00", 201),
        ("9999-12-31T23:59:59-23:00", 422),
        ("0001-01-01T00:00:00+19:45", 422),
        ("2099-01-01T00:00:00", 422),
    ],
)
def test_times_need_an_offset_and_are_kept_where_every_database_can_hold_them(as_caller, ada, moment, status):
    asked = json.dumps({"name": "k", "expires_at": moment})
    assert as_caller(ada).post("/api/v1/keys", asked, content_type="application/json").status_code == status


@pytest.mark.parametrize("error", ["DataError", "OverflowError"])
def test_what_only_the_database_refuses_is_still_the_senders_mistake(as_caller, ada, monkeypatch, error):
    from django.db import DataError

    def refuse(*_words, **_more):
        raise {"DataError": DataError, "OverflowError": OverflowError}[error]("out of range")

    monkeypatch.setattr(Pages, "paginate_queryset", refuse)
    answer = as_caller(ada).get("/api/v1/deployments")
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, PROBLEM)


def test_no_two_schemas_share_a_name():
    """The description has one room for names: of two with the same, one would be described as the other."""

    def below(schema):
        return {schema}.union(*(below(child) for child in schema.__subclasses__()))

    assert api.urls  # with it everything that has a schema is loaded
    ours = [schema for schema in below(Schema) if schema.__module__.startswith("webapp.")]
    names = Counter(schema.__name__ for schema in ours)
    assert len(ours) > 100
    assert not [name for name, number in names.items() if number > 1]
