"""The usage page, its CSV and the list of requests: right sums, only one's own teams, a fixed number of queries."""

import csv
import io
import json
import re
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from webapp.accounts import services as accounts
from webapp.accounts.models import Team
from webapp.usage import services
from webapp.usage.models import UsageRecord

pytestmark = pytest.mark.django_db

INDEX, CSV, REQUESTS = "/usage/", "/usage/usage.csv", "/usage/requests/"


@pytest.fixture
def used(make_record, ada, bob, team, deployment):
    """ada's key asked three times, bob in the playground once; one request failed."""
    key, _text = accounts.create_key(ada, team, "laptop")
    ours = {"team": team.pk, "deployment": deployment.pk}
    services.accept(
        [
            *(make_record(user=ada.pk, key=key.pk, **ours) for _ in range(3)),
            make_record(user=bob.pk, status=502, outcome="engine_failed", request_id="find-me", **ours),
        ]
    )
    return key


def shown(client, person, url):
    client.force_login(person)
    answer = client.get(url)
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.parametrize("person", ["ada", "bob"])
def test_the_team_sees_what_it_used(client, request, used, person):
    text = shown(client, request.getfixturevalue(person), INDEX)
    assert "smollm2" in text
    assert "<dt>Total tokens</dt><dd><strong>72</strong>" in text


@pytest.mark.parametrize("url", [INDEX, REQUESTS, CSV])
def test_a_stranger_sees_nothing_of_it(client, eve, used, url):
    text = shown(client, eve, url)
    assert "smollm2" not in text
    assert "laptop" not in text
    assert "<strong>72</strong>" not in text and "44" not in text.partition("<main")[2]


@pytest.mark.parametrize("url", [INDEX, REQUESTS])
def test_a_stranger_learns_no_name_by_its_number(client, eve, bob, team, used, deployment, url):
    Team.objects.filter(pk=team.pk).update(name="Secret Research")
    asked = {"team": team.pk, "person": bob.pk, "key": used.pk, "deployment": deployment.pk}
    for name, number in asked.items():
        text = shown(client, eve, f"{url}?{name}={number}")
        assert f"#{number}" in text
        for word in ("Secret Research", "bob", "laptop", "smollm2"):
            assert word not in text
    assert "laptop" in shown(client, bob, f"{url}?key={used.pk}")


@pytest.mark.parametrize("url", [INDEX, REQUESTS, CSV])
def test_nobody_sees_usage_without_signing_in(client, url):
    assert client.get(url).status_code == 302


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("team", ["Research"]),
        ("person", ["ada", "bob"]),
        ("key", ["laptop", "playground"]),
        ("deployment", ["smollm2"]),
        ("endpoint", ["chat/completions"]),
        ("day", [timezone.now().date().isoformat()]),
    ],
)
def test_every_group_has_its_rows(client, ada, used, group, names):
    rows = list(csv.reader(io.StringIO(shown(client, ada, f"{CSV}?group={group}"))))
    assert sorted(row[0] for row in rows[1:-1]) == sorted(names)
    assert rows[-1] == ["Total", "", "4", "1", "44", "28", "72"]


def test_deleted_things_keep_a_name(client, ada, used, deployment):
    number = used.pk
    used.delete()
    deployment.delete()
    assert f"deleted key #{number}" in shown(client, ada, f"{INDEX}?group=key")
    assert f"deleted deployment #{deployment.pk or ''}".rstrip("#") in shown(client, ada, INDEX)
    assert f"deleted key #{number}" in shown(client, ada, REQUESTS)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["bob", "ada", "Total"]),
        ("sort=name", ["ada", "bob", "Total"]),
        ("sort=-name", ["bob", "ada", "Total"]),
        ("sort=-failed", ["bob", "ada", "Total"]),
        ("sort=requests", ["bob", "ada", "Total"]),
        ("q=AD", ["ada", "Total"]),
        ("q=nobody", ["Total"]),
    ],
)
def test_the_csv_is_sorted_and_searched_like_the_page(client, ada, bob, used, make_record, team, query, expected):
    services.accept([make_record(user=bob.pk, team=team.pk, prompt_tokens=1000)])
    rows = list(csv.reader(io.StringIO(shown(client, ada, f"{CSV}?group=person&{query}"))))
    assert [row[0] for row in rows[1:]] == expected


@pytest.mark.parametrize("name", ["=1+1", "+cmd", "-2", "@SUM(A1)", "\tx"])
def test_no_cell_of_the_csv_is_a_formula(client, ada, team, make_record, name):
    key, _text = accounts.create_key(ada, team, "k")
    type(key).objects.filter(pk=key.pk).update(name=name)
    services.accept([make_record(team=team.pk, key=key.pk)])
    rows = list(csv.reader(io.StringIO(shown(client, ada, f"{CSV}?group=key"))))
    assert rows[1][0] == f"'{name}"


def test_only_the_days_that_were_asked_for(client, ada, team, make_record):
    now = timezone.now()
    for days in (0, 6, 7, 29, 30, 400):
        services.accept([make_record(team=team.pk, at=(now - timedelta(days=days)).timestamp())])

    def requests(query):
        return int(list(csv.reader(io.StringIO(shown(client, ada, f"{CSV}?{query}"))))[-1][2])

    assert [requests(f"range={name}") for name in ("today", "7d", "30d")] == [1, 2, 4]
    first, last = (now - timedelta(days=30)).date(), (now - timedelta(days=29)).date()
    assert requests(f"from={first}&to={last}") == 2
    assert requests(f"range=custom&from={now.date() - timedelta(days=400)}") == 6


@pytest.mark.parametrize(
    "query",
    ["range=century", "group=colour", "from=yesterday", "from=2026-02-01&to=2026-01-01", "key=mine", "team=elsewhere",
     "from=0001-01-01", "from=1999-01-01&to=2026-01-01"],
)  # fmt: skip
def test_what_makes_no_sense_is_said(client, ada, used, query):
    assert "alert-warning" in shown(client, ada, f"{INDEX}?{query}")
    answer = client.get(f"{CSV}?{query}")
    assert answer.status_code == 422


def test_the_chart_adds_up_to_the_table(client, ada, team, make_record, make_deployment):
    for number in range(8):
        made = make_deployment(f"d{number}")
        services.accept([make_record(team=team.pk, deployment=made.pk, prompt_tokens=10 * number, completion_tokens=1)])
    text = shown(client, ada, INDEX)
    data = re.search(r'<script id="usage-chart-data" type="application/json">(.*?)</script>', text)
    chart = json.loads(data.group(1))["charts"][0]
    assert [series["label"] for series in chart["series"]] == ["d7", "d6", "d5", "d4", "d3", "others"]
    assert sum(sum(series["values"]) for series in chart["series"]) == 10 * 28 + 8
    assert "Show data table" in text


def test_today_is_charted_by_the_hour(client, ada, used):
    text = shown(client, ada, f"{INDEX}?range=today&group=day")
    data = json.loads(re.search(r"application/json\">(.*?)</script>", text).group(1))
    assert data["charts"][0]["step_s"] == 3600
    assert len(data["charts"][0]["at"]) == 24
    assert [sum(series["values"]) for series in data["charts"][0]["series"]] == [44, 28]


@pytest.mark.parametrize("group", ["team", "person", "key", "deployment", "endpoint", "day"])
def test_the_page_costs_the_same_for_many_rows(client, ada, team, make_record, make_deployment, count_queries, group):
    def use(first, last):
        for number in range(first, last):
            made = make_deployment(f"d{number}")
            key, _text = accounts.create_key(ada, team, f"key {number}")
            services.accept([make_record(team=team.pk, user=ada.pk, deployment=made.pk, key=key.pk)])

    client.force_login(ada)
    url = f"{INDEX}?group={group}"
    use(0, 7)
    few = count_queries(client, url)
    use(7, 40)
    assert count_queries(client, url) == few <= 9


def test_requests_are_listed_newest_first_and_turned_over(client, ada, team, make_record, count_queries):
    now = timezone.now().timestamp()
    names = {number: f"r{number:03}" for number in range(120)}
    services.accept([make_record(team=team.pk, at=now - n // 2, request_id=name) for n, name in names.items()])
    client.force_login(ada)
    assert count_queries(client, REQUESTS) <= 6
    seen, url = [], REQUESTS
    while url:
        text = client.get(url).content.decode()
        seen += re.findall(r"<code class=\"hash\">(r\d+)</code>", text)
        older = re.search(r'rel="next" href="([^"]+)"', text)
        url = REQUESTS + older.group(1).replace("&amp;", "&") if older else ""
    assert len(seen) == len(set(seen)) == 120


def test_a_request_is_found_by_its_id(client, ada, bob, used):
    text = shown(client, ada, f"{REQUESTS}?q=find-me")
    assert text.count('<tr id="request-') == 1
    assert "502 engine failed" in text
    assert "playground" in text
    assert text.count('<tr id="request-') == shown(client, ada, f"{REQUESTS}?outcome=failed").count('<tr id="request-')
    assert shown(client, ada, f"{REQUESTS}?outcome=ok").count('<tr id="request-') == 3
    assert shown(client, ada, f"{REQUESTS}?key={used.pk}").count('<tr id="request-') == 3
    assert shown(client, ada, f"{REQUESTS}?person={bob.pk}").count('<tr id="request-') == 1
    assert "No matching requests" in shown(client, ada, f"{REQUESTS}?q=find")


@pytest.mark.parametrize("query", ["outcome=fine", "status=abc", "key=x"])
def test_requests_say_what_makes_no_sense(client, ada, used, query):
    assert "alert-warning" in shown(client, ada, f"{REQUESTS}?{query}")


def test_a_broken_place_in_the_list_shows_its_beginning(client, ada, used):
    for place in ("x", f"0001-01-01T00:00:00+00:00_{'0' * 32}", "2026-01-01_zz", "2026-01-01T00:00:00_" + "0" * 32):
        assert shown(client, ada, f"{REQUESTS}?behind={place}").count('<tr id="request-') == 4


@pytest.mark.parametrize(
    ("status", "outcome", "failed"),
    [
        (200, "ok", False),
        (499, "client_gone", False),
        (200, "engine_failed", True),
        (429, "refused", True),
        (400, "ok", True),
    ],
)
def test_failed_is_what_got_no_answer(make_record, status, outcome, failed):
    services.accept([make_record(status=status, outcome=outcome)])
    assert UsageRecord.objects.failed().exists() is failed
    assert UsageRecord.objects.served().exists() is not failed


def test_requests_whose_client_left_are_found_by_their_status(client, ada, team, make_record):
    services.accept([make_record(status=499, outcome="client_gone", user=ada.pk, team=team.pk)])
    assert shown(client, ada, f"{REQUESTS}?status=499").count('<tr id="request-') == 1


def test_the_page_links_to_the_csv_of_the_same_rows(client, ada, used):
    text = shown(client, ada, f"{INDEX}?group=key&range=30d&q=lap")
    assert f'href="{reverse("usage:csv")}?range=30d&amp;group=key&amp;q=lap"' in text
