"""Pages of schedules: seen by ada, by bob of her team, and by eve who is a stranger."""

import re

import pytest
from django.test import Client
from django.utils import timezone

from webapp.inventory.models import Host
from webapp.schedules import firing
from webapp.schedules.models import Schedule, ScheduleRun

pytestmark = pytest.mark.django_db


def signed_in(user, htmx=False):
    client = Client(headers={"HX-Request": "true"} if htmx else {})
    client.force_login(user)
    return client


@pytest.fixture
def typed(host, team, source):
    return {
        "name": "weekly", "team": team.pk, "artifact": source.pk, "host": host.pk, "trigger": "cron",
        "cron": "0 3 * * sun", "zone": "Europe/Berlin", "chunks": "8", "max_kl_divergence": "0.05",
        "recipes": ['{"method": "gguf", "options": {"type": "Q8_0"}}'],
    }  # fmt: skip


def test_a_schedule_is_made_edited_and_deleted_by_plain_forms(typed, ada):
    client = signed_in(ada)
    assert "New schedule" in client.get("/schedules/new/").content.decode()
    answer = client.post("/schedules/new/", typed, follow=True)
    made = Schedule.objects.get()
    page = answer.content.decode()
    assert answer.status_code == 200, page
    assert ("weekly is saved" in page, "Max KL divergence 0.05" in page) == (True, True)
    assert made.measure == {"context": 512, "chunks": 8, "speed": False}
    changed = client.post(f"/schedules/{made.pk}/edit/", {**typed, "keep_last": "2", "cron": "0 4 * * *"})
    assert changed.status_code == 302
    made.refresh_from_db()
    assert (made.keep_last, made.cron) == (2, "0 4 * * *")
    assert client.get(f"/schedules/{made.pk}/delete/").status_code == 200
    assert client.post(f"/schedules/{made.pk}/delete/").status_code == 302
    assert not Schedule.objects.exists()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"cron": "0 0 31 2 *"}, "never comes"),
        ({"recipes": []}, "required"),
        ({"zone": "Nowhere"}, "no time zone"),
        ({"chunks": ""}, "Enable evaluation"),
        ({"recipes": ['{"method": "abacus"}']}, "not one of the available choices"),
        ({"trigger": "new_commit"}, "new commits"),
    ],
)
def test_a_wrong_form_comes_back_with_the_reason(typed, ada, change, word):
    answer = signed_in(ada).post("/schedules/new/", {**typed, **change})
    assert answer.status_code == 422
    assert word in answer.content.decode()
    assert not Schedule.objects.exists()


def test_a_thousand_hosts_are_fifty_and_a_search(typed, ada, host):
    rows = [Host(name=f"gpu-{number:04}", endpoint=f"unix:///{number}.sock", state="online") for number in range(1000)]
    Host.objects.bulk_create(rows)
    client = signed_in(ada)
    assert client.get("/schedules/new/").content.decode().count("gpu-") <= 50
    found = client.post("/schedules/new/", {**typed, "name": "", "search": "host", "host-q": "0777"})
    page = found.content.decode()
    assert (found.status_code, "gpu-0777" in page, "gpu-0778" in page) == (200, True, False)
    assert f'value="{host.pk}" selected' in page, "what was chosen stays"
    assert "field-error" not in page and not Schedule.objects.exists()
    far = Host.objects.get(name="gpu-0999")
    assert client.post("/schedules/new/", {**typed, "host": far.pk}).status_code == 302
    assert Schedule.objects.get().host == far


def shown_errors(answer):
    """Field names with the errors beside them; what stands at the top is under an empty name."""
    form = answer.context["form"]
    return {"" if name == "__all__" else name: " ".join(said) for name, said in form.errors.items()}


def test_every_fault_is_told_beside_its_field(typed, ada):
    wrong = {"cron": "often", "zone": "Nowhere", "window_start": "22:00", "chunks": "", "artifact": ""}
    answer = signed_in(ada).post("/schedules/new/", {**typed, **wrong})
    told = shown_errors(answer)
    assert set(told) == {"cron", "zone", "window_end", "chunks", "artifact"}
    assert "Write it like Europe/Berlin" in told["zone"]
    page = answer.content.decode()
    assert all(page.count(f'id="id_{name}_error"') == 1 for name in told)


def test_a_field_that_cannot_be_read_hides_no_other_fault(typed, ada):
    wrong = {"name": "", "recipes": [], "keep_last": "many", "window_start": "late", "cron": "often", "artifact": ""}
    told = shown_errors(signed_in(ada).post("/schedules/new/", {**typed, **wrong}))
    assert set(told) == {"name", "recipes", "keep_last", "window_start", "cron", "artifact"}


def test_the_list_shows_the_coming_week_and_the_last_run(schedule, ada):
    ScheduleRun.objects.create(schedule=schedule, due_at=timezone.now(), state="rejected", reason="not good enough")
    page = signed_in(ada).get("/schedules/").content.decode()
    assert page.count(">02:00</span>") in (6, 7), "today's may be over"
    assert "not good enough" in page


@pytest.mark.parametrize("verb", ["pause", "resume", "run"])
def test_owner_and_teammate_may_and_a_stranger_gets_404(schedule, ada, bob, eve, verb):
    address = f"/schedules/{schedule.pk}/{verb}/"
    assert signed_in(eve).post(address).status_code == 404
    assert signed_in(bob).post(address).status_code == 302
    assert signed_in(ada, htmx=True).post(address).status_code == 200
    assert signed_in(ada).get(address).status_code == 405


@pytest.mark.parametrize("page", ["", "edit/", "delete/"])
def test_a_stranger_finds_no_page_of_it(schedule, eve, bob, page):
    assert signed_in(eve).get(f"/schedules/{schedule.pk}/{page}").status_code == 404
    assert signed_in(bob).get(f"/schedules/{schedule.pk}/{page}").status_code == 200


def test_a_run_is_cancelled_from_the_page(schedule, ada, eve):
    run = firing.begin(schedule, timezone.now())
    assert signed_in(eve).post(f"/schedules/runs/{run.pk}/cancel/").status_code == 404
    assert signed_in(ada).post(f"/schedules/runs/{run.pk}/cancel/").status_code == 302
    assert ScheduleRun.objects.get().is_cancel_wanted


def test_the_list_costs_as_many_queries_for_five_as_for_one(make_schedule, ada, count_queries):
    client = signed_in(ada)
    make_schedule(name="first")
    one = count_queries(client, "/schedules/")
    for number in range(4):
        row = make_schedule(name=f"more {number}")
        ScheduleRun.objects.create(schedule=row, due_at=timezone.now(), state="failed")
    assert count_queries(client, "/schedules/") == one


def test_a_schedule_that_was_made_with_more_options_keeps_them_over_an_edit(make_schedule, ada, typed, source):
    from webapp.quantisation.recipes import Recipe

    fine = Recipe(options={"type": "Q4_K_M", "calibration_chunks": 50})
    made = make_schedule(recipes=(fine,))
    page = signed_in(ada).get(f"/schedules/{made.pk}/edit/").content.decode()
    assert "calibration_chunks 50" in page
    key = '{"method": "gguf", "options": {"calibration_chunks": 50, "type": "Q4_K_M"}}'
    assert signed_in(ada).post(f"/schedules/{made.pk}/edit/", {**typed, "recipes": [key]}).status_code == 302
    made.refresh_from_db()
    assert made.recipe_list == [fine]


def test_who_deletes_a_source_is_told_which_schedules_lose_it(schedule, source, ada, eve):
    address = f"/models/artifacts/{source.pk}/delete/"
    page = signed_in(ada).get(address).content.decode()
    assert "<strong>nightly</strong> makes results out of it on local" in page
    assert 'type="submit">' in page, "it may be deleted all the same"
    assert signed_in(eve).get(address).status_code == 404
    Schedule.objects.update(team=eve.teams.get())
    hidden = signed_in(ada).get(address).content.decode()
    assert "nightly" not in hidden and "1 schedule of other teams" in hidden


def test_a_schedule_without_its_source_says_what_is_gone_and_what_to_do(schedule, source, ada):
    name = str(source)
    source.delete()
    page = signed_in(ada).get(f"/schedules/{schedule.pk}/").content.decode()
    assert f"Its source is gone: {name} was deleted." in page
    assert "Choose another source" in page and f"/schedules/{schedule.pk}/edit/" in page
    assert f"{name} (deleted)" in signed_in(ada).get("/schedules/").content.decode()


def test_a_run_that_could_only_fail_is_not_begun_and_says_what_comes_first(schedule, host, ada):
    def button():
        return re.findall(r"<button([^>]*)>(?:(?!</button>).)*Run now", signed_in(ada).get(one).content.decode())

    one = f"/schedules/{schedule.pk}/"
    assert [" disabled" in marks for marks in button()] == [False]
    host.facts = {"quantiser_images": []}
    host.save()
    assert [" disabled" in marks for marks in button()] == [True]
    page = signed_in(ada).post(f"{one}run/", follow=True).content.decode()
    assert "`make quantizers` on that machine" in page
    assert not ScheduleRun.objects.exists()


def test_a_schedule_whose_hub_is_gone_says_so(schedule, ada):
    Schedule.objects.update(artifact=None, source_name="", repo="org/model", variant="Q8_0")
    page = signed_in(ada).get(f"/schedules/{schedule.pk}/").content.decode()
    assert "the hub that org/model was fetched from was deleted" in page


def test_every_page_is_valid_html(schedule, ada, team):
    from tests.browser.markup import faults
    from webapp.schedules.models import Target

    firing.begin(schedule, timezone.now())
    Target.objects.create(team=team, kind="webhook", address="https://a.example/", events=["job.failed"])
    client, one = signed_in(ada), f"/schedules/{schedule.pk}/"
    pages = ["/schedules/", "/schedules/new/", one, f"{one}edit/", f"{one}delete/"]
    for page in [*pages, "/schedules/notifications/research/"]:
        assert faults(client.get(page).content.decode()) == [], page


def test_what_a_target_is_told_is_changed_on_its_page(ada, bob, eve, team):
    from webapp.schedules.models import Target

    target = Target.objects.create(
        team=team, kind="webhook", address="https://hooks.example.org/x", events=["job.failed"]
    )
    url = f"/schedules/targets/{target.pk}/edit/"
    assert url in signed_in(ada).get(f"/schedules/notifications/{team.slug}/").content.decode()
    assert "checked" in signed_in(ada).get(url).content.decode()
    assert signed_in(ada).post(url, {"events": ["schedule.failed", "job.failed"]}).status_code == 302
    target.refresh_from_db()
    assert target.events == ["job.failed", "schedule.failed"]
    assert signed_in(ada).post(url, {"events": []}).status_code == 422
    assert signed_in(bob).get(url).status_code == 403
    assert signed_in(eve).get(url).status_code == 404
