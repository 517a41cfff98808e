"""Usage by the REST API: the same rows as the page, for the same people."""

import pytest

from tests.api.conftest import as_caller
from webapp.accounts import services as accounts
from webapp.usage import services

__all__ = ["as_caller"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def used(make_record, ada, team, deployment):
    key, _text = accounts.create_key(ada, team, "laptop")
    who = {"team": team.pk, "user": ada.pk, "deployment": deployment.pk, "key": key.pk}
    services.accept([make_record(request_id=f"r{number}", **who) for number in range(5)])
    services.accept([make_record(status=502, outcome="engine_failed", request_id="broken", **who)])
    return key


def test_usage_is_told_by_group(as_caller, ada, bob, eve, used, deployment):
    for person in (ada, bob):
        said = as_caller(person).get("/api/v1/usage?group=deployment&range=today").json()
        assert said["total"]["tokens"] == 6 * 18
        row = said["items"][0]
        assert (row["name"], row["number"], row["requests"], row["failed"]) == ("smollm2", deployment.pk, 6, 1)
    assert as_caller(eve).get("/api/v1/usage").json()["items"] == []


def test_usage_takes_filters_and_days_of_its_own(as_caller, ada, used, team):
    caller = as_caller(ada)
    assert caller.get(f"/api/v1/usage?group=key&key={used.pk}&team={team.slug}").json()["total"]["requests"] == 6
    assert caller.get("/api/v1/usage?group=key&key=4711").json()["items"] == []
    assert caller.get("/api/v1/usage?from=2026-01-01&to=2026-01-02").json()["first"] == "2026-01-01"
    for query in ("from=2026-02-01&to=2026-01-01", "group=colour", "range=century", "team=elsewhere", "key=x"):
        assert caller.get(f"/api/v1/usage?{query}").status_code == 422, query


def test_the_csv_comes_by_the_api_too(as_caller, ada, eve, used):
    answer = as_caller(ada).get("/api/v1/usage.csv?group=key")
    assert answer["Content-Type"].startswith("text/csv")
    assert answer.content.decode().splitlines()[1].startswith("laptop,")
    assert as_caller(eve).get("/api/v1/usage.csv?group=key").content.decode().splitlines()[1] == "Total,,0,0,0,0,0"


def test_requests_are_turned_over_without_counting(as_caller, ada, eve, used):
    caller, seen, behind = as_caller(ada), [], ""
    while behind is not None:
        said = caller.get("/api/v1/requests", {"limit": 4, "behind": behind}).json()
        seen += [item["request_id"] for item in said["items"]]
        behind = said["older"]
    assert sorted(seen) == ["broken", "r0", "r1", "r2", "r3", "r4"]
    assert as_caller(eve).get("/api/v1/requests").json() == {"items": [], "older": None}
    assert as_caller(eve).get("/api/v1/requests?request_id=broken").json()["items"] == []


def test_a_request_says_what_went_wrong_and_nothing_of_what_was_asked(as_caller, ada, used, deployment):
    item = as_caller(ada).get("/api/v1/requests?outcome=failed").json()["items"][0]
    assert (item["status"], item["outcome"], item["deployment_name"]) == (502, "engine_failed", "smollm2")
    assert item["key_prefix"] == used.prefix
    assert not {"prompt", "messages", "content"} & set(item)


@pytest.mark.parametrize("path", ["usage", "usage.csv", "requests", "samples?subject=host:1"])
def test_an_inference_key_reads_none_of_it(as_caller, ada, path):
    assert as_caller(ada, scopes=("inference",)).get(f"/api/v1/{path}").status_code == 403
