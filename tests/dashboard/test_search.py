"""One box that finds things of every room: only what the person may see, at a cost that does not grow."""

import pytest

from webapp.accounts import services as accounts
from webapp.interfaces.pages.dashboard import search
from webapp.jobs.models import Job


def titles(user, text):
    return {group.title: [hit.title for hit in group.hits] for group in search.find(user, text)}


@pytest.fixture
def things(ada, team, host, deployment, artifact):
    accounts.create_key(ada, team, "laptop of smollm2")
    Job.objects.create(kind="fetch", team=team, requested_by=ada, host=host, artifact=artifact)


def test_a_name_is_found_in_every_room(ada, things):
    found = titles(ada, "smollm2")
    assert found["Deployments"] == ["smollm2"]
    assert found["Models"] == ["SmolLM2 135M Instruct"]
    assert found["API keys"] == ["laptop of smollm2"]
    assert len(found["Jobs"]) == 1
    assert "The first hour" in found["Help"]


def test_a_teammate_finds_the_teams_things_but_not_anothers_keys(bob, things):
    found = titles(bob, "smollm2")
    assert found["Deployments"] == ["smollm2"]
    assert "API keys" not in found


def test_a_stranger_finds_nothing_of_the_team(eve, things):
    found = titles(eve, "smollm2")
    assert "Deployments" not in found and "Jobs" not in found and "API keys" not in found


def test_a_job_is_found_by_its_number(ada, things):
    job = Job.objects.get()
    assert titles(ada, f"#{job.pk}")["Jobs"] == [f"Download #{job.pk}"]


@pytest.mark.parametrize(
    "text", ["", "   ", "%", "'; drop table", "²", "#99999999999999999999", "9" * 19, "\x00", "x" * 500]
)
def test_nonsense_is_answered(client, ada, things, text):
    client.force_login(ada)
    assert client.get("/search/", {"q": text}).status_code == 200


def test_the_page_shows_state_and_what_else_matches(client, ada, make_deployment):
    for number in range(20):
        make_deployment(f"needle-{number}")
    client.force_login(ada)
    text = client.get("/search/?q=needle").content.decode()
    assert text.count("needle-") >= search.MOST
    assert "/deployments/?q=needle" in text and "More deployments" in text


def test_many_rows_cost_as_many_queries_as_few(client, ada, make_deployment, count_queries):
    client.force_login(ada)
    make_deployment("needle")
    few = count_queries(client, "/search/?q=needle")
    for number in range(40):
        make_deployment(f"needle-{number}")
    assert count_queries(client, "/search/?q=needle") == few


def test_the_way_to_everything_keeps_the_words_as_they_were_typed(client, ada, make_deployment):
    for number in range(10):
        make_deployment(f"r-d-{number}")
    from webapp.catalog.models import CatalogModel

    CatalogModel.objects.update(name="R&D #1")
    assert [group.more for group in search.find(ada, "R&D #1") if group.title == "Deployments"] == [
        "/deployments/?q=R%26D+%231"
    ]


def test_words_are_all_wanted(ada, make_deployment):
    make_deployment("alpha-one")
    make_deployment("alpha-two")
    assert titles(ada, "alpha two")["Deployments"] == ["alpha-two"]
