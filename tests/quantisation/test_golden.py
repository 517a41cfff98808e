"""Golden prompts: written by people, kept by a team, asked of results, demanded by gates."""

import pytest

from tests.browser.markup import faults
from webapp.accounts.models import Team
from webapp.catalog.models import Artifact
from webapp.foundation.errors import Conflict, NotAllowed
from webapp.quantisation import golden, plan, services
from webapp.quantisation.models import Measurement, PromptSet
from webapp.quantisation.provenance import provenance
from webapp.quantisation.recipes import Measure, Recipe

from .test_quantisation_views import browser, program, typed  # noqa: F401  fixtures
from .test_services import Q4, end, half, published  # noqa: F401  fixtures

TWO = """What is the capital of France?
contains: Paris

Two lines
of one prompt: yes or no?
matches: ^(yes|no)$
"""
PARIS = [{"prompt": "What is the capital of France?", "way": "contains", "expected": "Paris"}]


def test_prompts_are_read_as_people_write_them():
    first, second = golden.parse(TWO.replace("\n", "\r\n"))
    assert first == PARIS[0]
    assert second == {"prompt": "Two lines\nof one prompt: yes or no?", "way": "matches", "expected": "^(yes|no)$"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1 to 100"),
        ("Only a prompt", "Prompt 1 does not end"),
        ("contains: Paris", "Prompt 1 does not end"),
        ("Good\ncontains: x\n\nBad\nholds: x", "Prompt 2 does not end"),
        ("Ask\ncontains:", "1 to 500"),
        ("Ask\nmatches: (", "regular expression"),
        ("x" * 4001 + "\ncontains: x", "1 to 4000"),
        ("Ask\ncontains: \0", "no character"),
        ("\n\n".join(["a\ncontains: b"] * 101), "these are 101"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_its_number(text, why):
    with pytest.raises(golden.BadPrompts, match=why):
        golden.parse(text)


@pytest.mark.parametrize(
    ("way", "expected", "answer", "is_met"),
    [
        ("contains", "paris", "It is PARIS.", True),
        ("contains", "paris", "It is Rome.", False),
        ("equals", "4", " 4\n", True),
        ("equals", "4", "It is 4", False),
        ("matches", r"\b4\b", "It is 4.", True),
        ("matches", r"^4", "It is 4.", False),
    ],
)
def test_an_answer_is_judged_as_was_said(way, expected, answer, is_met):
    assert golden.is_met({"way": way, "expected": expected}, answer) is is_met


def test_an_expression_that_never_ends_is_one_that_does_not_match(monkeypatch):
    monkeypatch.setattr(golden, "PATIENCE_S", 0.05)
    # By itself it would end after the sun.
    assert not golden.is_met({"way": "matches", "expected": "(a+)+$"}, "a" * 60 + "b")


def test_a_summary_counts_and_shows_what_was_missed():
    prompts = [*PARIS, {"prompt": "2+2?", "way": "equals", "expected": "4"}]
    found = golden.summary(prompts, ["Paris!", "five"])
    assert (found["passed"], found["total"], found["passed_percent"]) == (1, 2, 50.0)
    assert found["missed"] == [{"prompt": "2+2?", "wanted": "equals: 4", "answer": "five"}]


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(method="fp8")])
def test_prompts_are_asked_before_anything_is_published(recipe):
    found = plan.steps(recipe, "safetensors", None, has_prompts=True)
    assert found[-2:] == ["prompts", "publish"]
    params = {"recipe": recipe.full(), "source": {"format": "safetensors", "folder": "/models/1", "main": ""},
              "file": "x.gguf", "steps": found}  # fmt: skip
    order = plan.order(params, "prompts")
    assert order["model"].startswith("/job/out") and order["prompts"] == "/job/prompts.json"


@pytest.fixture
def prompts(ada, team):
    return services.add_prompts(ada, team, "capitals", PARIS)


@pytest.mark.django_db
def test_prompts_are_the_teams_own(bob, eve, team, prompts):
    assert PromptSet.objects.visible_to(bob).get() == prompts
    assert not PromptSet.objects.visible_to(eve).exists()
    with pytest.raises(NotAllowed):
        services.add_prompts(eve, team, "x", PARIS)
    with pytest.raises(NotAllowed):
        services.delete_prompts(eve, prompts)
    with pytest.raises(Conflict):
        services.add_prompts(bob, team, "capitals", PARIS)
    services.delete_prompts(bob, prompts)


@pytest.mark.django_db
def test_another_teams_prompts_are_not_asked(eve, half, host, prompts):  # noqa: F811
    with pytest.raises(Conflict, match="capitals is not shared with team Strangers"):
        services.queue(eve, eve.teams.get(), half, Q4, host, prompts=prompts)


@pytest.mark.django_db
def test_how_many_were_met_is_kept_as_a_measurement_and_in_the_provenance(ada, team, half, host, prompts):  # noqa: F811
    job = services.queue(ada, team, half, Q4, host, measure=Measure(chunks=3), prompts=prompts)
    assert job.params["prompts"] == prompts.reference and "prompts" in job.params["steps"]
    asked = {"passed": 8, "total": 10, "passed_percent": 80.0, "missed": []}
    made = end(job, {**published(), "prompts": asked})
    values = Measurement.objects.get(artifact=made).values
    assert (values["prompts_passed"], values["prompts_total"], values["prompts_passed_percent"]) == (8, 10, 80.0)
    assert values["prompts_name"] == "capitals"
    assert provenance(made, ada)["made"]["prompts"]["sha256"] == prompts.sha256
    assert services.again(ada, team, made, host).params["prompts"] == prompts.reference


@pytest.mark.django_db
def test_prompts_alone_are_a_measurement_too(ada, team, half, host, prompts):  # noqa: F811
    job = services.queue(ada, team, half, Q4, host, prompts=prompts)
    said = published()
    said = {"publish": said["publish"], "prompts": {"passed": 1, "total": 1, "passed_percent": 100.0, "tool": "x"}}
    made = end(job, said)
    assert Measurement.objects.get(artifact=made).values["prompts_passed"] == 1


@pytest.mark.django_db
def test_a_team_that_is_deleted_takes_its_prompts_along(team, prompts):
    Team.objects.filter(pk=team.pk).delete()
    assert not PromptSet.objects.exists()


@pytest.mark.django_db
def test_prompts_are_kept_and_forgotten_on_their_page(browser, team):  # noqa: F811
    text = browser.post("/quantise/prompts/", {"name": "x", "team": team.pk, "prompts": "Ask"}).content.decode()
    assert "Prompt 1 does not end with a line like" in text and not PromptSet.objects.exists()
    browser.post("/quantise/prompts/", {"name": "capitals", "team": team.pk, "prompts": TWO})
    row = PromptSet.objects.get()
    assert "What is the capital of France?" in browser.get("/quantise/prompts/").content.decode()
    browser.post(f"/quantise/prompts/{row.pk}/delete/")
    assert not PromptSet.objects.exists()


@pytest.mark.django_db
def test_the_form_asks_the_chosen_prompts(browser, half, host, team, prompts):  # noqa: F811
    body = typed(half, host, team, prompts=prompts.pk)
    text = browser.post(f"/quantise/artifacts/{half.pk}/preview/", body).content.decode()
    assert "speed, baseline, prompts, publish" in text
    browser.post(f"/quantise/artifacts/{half.pk}/", body)
    assert half.jobs.get().params["prompts"]["name"] == "capitals"


@pytest.mark.django_db
def test_a_program_keeps_prompts_and_has_them_asked(program, half, host, eve):  # noqa: F811
    made = program("POST", "/golden-prompts", {"name": "capitals", "prompts": PARIS})
    assert made.status_code == 201, made.content
    body = {"artifact": half.pk, "host": host.pk, "recipe": {}, "prompts": made.json()["id"]}
    assert program("POST", "/quantisations", body).json()["steps"][-2]["name"] == "prompts"
    odd = {**PARIS[0], "way": "matches", "expected": "("}
    bad = program("POST", "/golden-prompts", {"name": "y", "prompts": [odd]})
    assert bad.status_code == 422 and "regular expression" in bad.content.decode()
    theirs = services.add_prompts(eve, eve.teams.get(), "theirs", PARIS)
    assert program("POST", "/quantisations", {**body, "prompts": theirs.pk}).status_code == 404
    assert program("DELETE", f"/golden-prompts/{theirs.pk}").status_code == 404
    assert program("DELETE", f"/golden-prompts/{made.json()['id']}").status_code == 204


@pytest.mark.django_db
def test_the_model_page_shows_how_many_were_met(browser, ada, team, half, host, prompts):  # noqa: F811
    job = services.queue(ada, team, half, Q4, host, measure=Measure(chunks=3), prompts=prompts)
    missed = [{"prompt": "2+2?", "wanted": "equals: 4", "answer": "<b>five</b>"}]
    end(job, {**published(), "prompts": {"passed": 9, "total": 10, "passed_percent": 90.0, "missed": missed}})
    assert Artifact.objects.filter(parent=half).exists()
    assert "9 of 10" in browser.get(f"/models/{half.catalog_model.slug}/").content.decode()
    page = browser.get(f"/jobs/{job.pk}/").content.decode()
    assert all(faults(text) == [] for text in (page, browser.get("/quantise/prompts/").content.decode()))
    assert "9 of 10 were answered as expected" in page and "&lt;b&gt;five" in page


@pytest.mark.django_db
def test_of_other_teams_schedules_that_ask_them_only_the_number_is_told(ada, eve, half, host, prompts):  # noqa: F811
    from webapp.accounts import ownership
    from webapp.schedules.models import Schedule

    strangers = eve.teams.get()
    ownership.grant(ada, prompts, "strangers")
    about = {"artifact": half, "host": host, "recipes": [], "trigger": "interval", "interval_minutes": 600}
    Schedule.objects.create(team=strangers, name="secret nightly", prompts=prompts, **about)
    with pytest.raises(Conflict, match="1 schedule of other teams") as refused:
        services.delete_prompts(ada, prompts)
    assert "secret" not in str(refused.value)
