"""Requests refused before a deployment was known: counted once, shown to their team with the reason."""

import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.api.conftest import as_caller
from webapp.accounts import services as accounts
from webapp.usage import ranges, refusals, services
from webapp.usage.models import RefusalCount, UsageRecord

__all__ = ["as_caller"]

pytestmark = pytest.mark.django_db


def count(**more: Any) -> dict[str, Any]:
    """One told count: two requests without a known key, unless told otherwise."""
    now = time.time()
    usual = {"id": uuid.uuid4().hex, "kind": "refused", "at": int(now) // 60 * 60, "last_at": now, "key": None}
    usual |= {"user": None, "team": None, "endpoint": "chat/completions", "status": 404, "code": "model_not_found"}
    return {**usual, "message": "There is no <b>nosuch</b>.", "request_id": "r-1", "count": 2, **more}


@pytest.fixture
def key(ada: Any, team: Any) -> Any:
    made, _text = accounts.create_key(ada, team, "laptop")
    return made


@pytest.fixture
def refused(key: Any, ada: Any, team: Any) -> Any:
    whose = {"key": key.pk, "user": ada.pk, "team": team.pk}
    later = {"at": int(time.time()) // 60 * 60 - 60, "last_at": time.time() - 60}
    services.accept([
        count(**whose, count=3),
        count(**whose, count=4, message="said before", request_id="r-0", **later),
        count(**whose, count=90, status=429, code="too_many_requests", message="Wait for one to end."),
        count(count=5, status=401, code="invalid_key", message="This API key is unknown."),
    ])  # fmt: skip
    return key


def test_a_count_told_again_replaces_what_was_told_before_in_whatever_order() -> None:
    one = count()
    assert services.accept([{**one, "count": 7, "message": "newer"}, one]) == 1
    assert services.accept([{**one, "count": 9, "message": "newest"}]) == 1
    assert services.accept([{**one, "count": 8, "message": "held up on its way"}]) == 1
    row = RefusalCount.objects.get()
    assert (row.count, row.message) == (9, "newest")


def test_hundreds_of_counts_are_stored_with_a_few_questions(django_assert_max_num_queries: Any) -> None:
    told = [count() for _ in range(250)]
    with django_assert_max_num_queries(12):
        services.accept(told)
    services.accept([{**one, "count": 3} for one in told])
    assert set(RefusalCount.objects.values_list("count", flat=True)) == {3}


def test_counts_come_among_records_and_are_no_usage(make_record: Any) -> None:
    assert services.accept([count(), make_record(), count()]) == 3
    assert (RefusalCount.objects.count(), UsageRecord.objects.count()) == (2, 1)


@pytest.mark.parametrize(
    "wrong",
    [{"id": "x"}, {"id": None}, {"at": "soon"}, {"at": 1e30}, {"status": 1000}, {"status": "x"}, {"count": 0},
     {"count": 2**31}, {"count": None}, {"last_at": None}],
)  # fmt: skip
def test_what_is_no_count_is_left_out_and_the_others_are_stored(wrong: dict[str, Any]) -> None:
    assert services.accept([count(**wrong), count()]) == 1
    assert RefusalCount.objects.count() == 1


def test_text_of_strangers_is_stored_without_control_characters() -> None:
    services.accept([count(message="a\0b\x1b[31mc" * 100, request_id="\n", key="1", user=True, team=-1)])
    row = RefusalCount.objects.get()
    assert not set("\0\x1b\n") & set(row.message + row.request_id)
    assert (row.key_id, row.user_id, row.team_id, len(row.message) <= 300) == (None, None, None, True)


def test_the_usage_page_tells_a_team_what_was_refused_and_why(client: Any, ada: Any, bob: Any, refused: Any) -> None:
    for person in (ada, bob):
        client.force_login(person)
        text = client.get("/usage/").content.decode()
        assert "Refused before a model was known" in text and "97 requests" in text
        assert "429 too many requests" in text and "Wait for one to end." in text and "laptop" in text
        assert "&lt;b&gt;nosuch" in text and "said before" not in text
        assert "invalid key" not in text  # nobody's key: for admins


def test_the_page_asks_the_same_few_questions_whatever_was_refused(
    client: Any, ada: Any, team: Any, refused: Any, django_assert_max_num_queries: Any
) -> None:
    client.force_login(ada)
    services.accept([count(user=ada.pk, team=team.pk, key=number, code=f"code_{number}") for number in range(1, 80)])
    with django_assert_max_num_queries(30):
        text = client.get("/usage/").content.decode()
    assert text.count('data-label="Reason"') == refusals.MOST_ROWS


def test_strangers_see_nothing_and_admins_see_unknown_keys(as_caller: Any, eve: Any, root: Any, refused: Any) -> None:
    assert as_caller(eve).get("/api/v1/refusals").json() == {"items": [], "total": 0}
    today = timezone.now().date()
    found = refusals.find(root, ranges.between("7d", today), {})
    assert found.total == 102
    unknown = next(row for row in found.rows if row.code == "invalid_key")
    assert (unknown.team.key, unknown.person.key, unknown.key.text) == (None, None, "no known key")


def test_the_api_tells_the_same_by_key_and_day(as_caller: Any, ada: Any, team: Any, refused: Any) -> None:
    caller = as_caller(ada)
    said = caller.get(f"/api/v1/refusals?key={refused.pk}&team={team.slug}&range=7d").json()
    assert [(item["code"], item["count"]) for item in said["items"]] == [
        ("too_many_requests", 90),
        ("model_not_found", 7),
    ]
    item = said["items"][1]
    assert (item["message"], item["request_id"]) == ("There is no <b>nosuch</b>.", "r-1")
    assert (item["username"], item["key_name"], item["team"], item["status"]) == ("ada", "laptop", team.pk, 404)
    first = caller.get("/api/v1/refusals?limit=1").json()
    assert ([item["code"] for item in first["items"]], first["total"]) == (["too_many_requests"], 97)
    assert caller.get("/api/v1/refusals?key=4711").json()["items"] == []
    assert caller.get("/api/v1/refusals?from=2026-01-01&to=2026-01-02").json()["total"] == 0
    assert caller.get("/api/v1/refusals?team=elsewhere").status_code == 422


def test_old_counts_go_with_the_old_records(refused: Any) -> None:
    old = timezone.now() - timedelta(days=services.RECORDS_KEPT_DAYS, minutes=1)
    RefusalCount.objects.filter(code="invalid_key").update(at=old)
    assert services.expire() == 1
    assert not RefusalCount.objects.filter(code="invalid_key").exists()
