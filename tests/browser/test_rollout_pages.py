"""Editing a deployment in a real browser: what changes is seen before, what happens is seen live."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.test_pages import LOOKS, TOO_WIDE, is_live

pytestmark = pytest.mark.browser

SETTLE = """
from datetime import timedelta
from django.utils import timezone
from webapp.deployments import rolling
from webapp.deployments.models import Replica
Replica.objects.filter(deployment_id={pk}, state="ready").update(ready_at=timezone.now() - timedelta(days=1))
rolling.advance({pk})
"""
UP = ("placing", "starting", "loading", "ready")


def test_an_edit_shows_what_changes_and_is_followed_live_to_its_end(open_page, site, deploy, move, shoot):
    pk = deploy("edited")
    move(pk, *UP)
    site.do(SETTLE.format(pk=pk))
    page = open_page(f"/deployments/{pk}/edit/")
    page.get_by_label("Context length").fill("2048")
    change = page.locator("#change")
    expect(change.locator("ins")).to_have_text("2048")
    expect(change).to_contain_text("new before old")
    expect(change).to_contain_text("Reserved per replica")
    page.get_by_label("Note").fill("shorter answers")
    shoot(page, "edit-light")
    page.get_by_role("button", name="Apply").press("Enter")
    is_live(page)
    panel = page.locator("#deployment-panel")
    expect(panel).to_contain_text("Revision 2 is rolling out")
    expect(panel).to_contain_text("waiting for #2 (pending)")
    shoot(page, "rolling-light")
    move(pk, *UP, number=2)
    site.do(SETTLE.format(pk=pk))
    expect(panel).to_contain_text("finished rolling out revision 2")
    expect(panel.locator("tr", has_text="#1").first).to_contain_text("being removed")
    page.goto(f"/deployments/{pk}/history/?revision=2")
    expect(page.locator("#content")).to_contain_text("Context length: 4096 → 2048")
    page.get_by_role("button", name="Roll back to revision 1").click()
    expect(page.locator("#messages")).to_contain_text("back to revision 1")


def test_the_log_of_each_replica_is_one_key_away(open_page, site, deploy, move):
    pk = deploy("logged", replicas=2)
    for number in (1, 2):
        replica = move(pk, "placing", "starting", "loading", number=number)
        site.do(
            "from webapp.deployments import lifecycle\n"
            f"lifecycle.append_log({replica}, 1, 1, 'line of replica {number}\\n', 't')"
        )
    page = open_page(f"/deployments/{pk}/", viewport=LOOKS["narrow"]["viewport"])
    expect(page.locator(".log-text")).to_have_text("line of replica 1\n")
    page.get_by_role("navigation", name="Replicas").get_by_role("link", name="#2").press("Enter")
    expect(page.locator(".log-text")).to_have_text("line of replica 2\n")
    assert page.evaluate(TOO_WIDE) == []
    page.get_by_role("link", name="All restarts").press("Enter")
    page.wait_for_url("**/log/2/")
    expect(page.locator(".log-text")).to_contain_text("line of replica 2")
    page.keyboard.press("f")
    page.keyboard.type("nothing like it")
    page.keyboard.press("Enter")
    expect(page.locator("#content")).to_contain_text("No matching lines for")


def test_the_list_is_narrowed_and_many_are_asked_at_once(open_page, deploy, move, shoot):
    for name in ("bulk-a", "bulk-b", "bulk-c"):
        deploy(name)
    page = open_page("/deployments/?q=bulk-")
    page.clock.install()
    page.get_by_label("State").select_option("pending")
    expect(page).to_have_url(re.compile(r"q=bulk-.*state=pending"))
    page.get_by_label("Select bulk-a").check()
    page.get_by_label("Select bulk-b").check()
    shoot(page, "list-ticked-light")
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.locator("#messages")).to_contain_text("Stopping bulk-a, bulk-b.")
    page.clock.run_for(15_000)
    expect(page.locator("#messages .alert")).to_have_count(0)
    page.goto("/deployments/?q=bulk-")
    page.get_by_label("Select bulk-c").check()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Delete 1 deployment?")


def test_everything_is_asked_without_scripts_too(open_page, site, deploy, move):
    pk = deploy("asked-without-scripts")
    move(pk, *UP)
    site.do(SETTLE.format(pk=pk))
    page = open_page(f"/deployments/{pk}/edit/", java_script_enabled=False)
    page.get_by_label("Context length").fill("1024")
    page.get_by_role("button", name="Preview changes").click()
    expect(page.locator("#change ins")).to_have_text("1024")
    expect(page.get_by_label("Context length")).to_have_value("1024")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#deployment-panel")).to_contain_text("Revision 2 is rolling out")
    page.get_by_role("spinbutton", name="Replicas").fill("3")
    page.get_by_role("button", name="Scale").click()
    expect(page.locator("#messages")).to_contain_text("to 3 replicas")


@pytest.mark.parametrize("look", LOOKS)
def test_the_pages_of_changes_look_right(open_page, site, deploy, move, shoot, look):
    pk = deploy(f"looks-{look}", replicas=2)
    for number in (1, 2):
        move(pk, *UP, number=number)
    site.do(SETTLE.format(pk=pk))
    site.do(
        "from webapp.deployments import services; from webapp.deployments.models import Deployment\n"
        f"edit = services.DeploymentPatch({{'options': {{'context_length': 2048}}}})\n"
        f"services.edit(None, Deployment.objects.get(pk={pk}), edit)"
    )
    move(pk, "placing", "starting", "loading", number=3)
    move(pk, "failed", number=3, text="The engine exited with code 1.", advice="Change the options.")
    site.do(SETTLE.format(pk=pk))
    for name, path in (("detail", ""), ("edit", "edit/"), ("history", "history/"), ("share", "share/")):
        page = open_page(f"/deployments/{pk}/{path}", **LOOKS[look])
        assert page.evaluate(TOO_WIDE) == [], name
        shoot(page, f"deployment-{name}-{look}")
    page = open_page("/deployments/", **LOOKS[look])
    assert page.evaluate(TOO_WIDE) == []
    shoot(page, f"deployments-{look}")
