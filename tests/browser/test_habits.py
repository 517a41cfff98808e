"""Habits of people: keys, search, theme, the folded menu, forms that lose nothing, and everything without scripts."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.site import wait_until

pytestmark = pytest.mark.browser


def test_a_slash_finds_anything_and_the_menu_has_keys(open_page, deploy, site):
    pk = deploy("findable")
    page = open_page("/hosts/")
    page.keyboard.press("/")
    page.keyboard.type("findable")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/search/\?q=findable"))
    page.locator("#content").get_by_role("link", name="findable").click()
    page.wait_for_url(site.url + f"/deployments/{pk}/")
    for keys, path in (("go", "/hosts/"), ("gm", "/models/"), ("g?", "/help/"), ("gs", "/settings/"), ("gh", "/")):
        for key in keys:
            page.keyboard.press(key)
        # The address changes before the new page listens to keys.
        page.wait_for_url(site.url + path)


def test_n_makes_something_new_where_a_page_can(open_page, site):
    page = open_page("/deployments/")
    page.keyboard.press("n")
    page.wait_for_url(site.url + "/deployments/new/")
    page.get_by_label("Name", exact=True).press("n")
    expect(page).to_have_url(site.url + "/deployments/new/")
    page.goto("/keys/")
    page.keyboard.press("n")
    expect(page).to_have_url(site.url + "/keys/new/")


def test_the_list_of_keys_is_the_menu(open_page):
    page = open_page("/")
    page.keyboard.press("?")
    rows = page.get_by_role("dialog").locator("tr")
    for text in ("Search everything", "Filter this list", "Deployments", "Hosts", "Settings"):
        expect(rows.filter(has_text=text)).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_colours_follow_the_system_until_a_person_chooses(open_page):
    page = open_page("/", color_scheme="dark")
    root = page.locator("html")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    page.emulate_media(color_scheme="light")
    expect(root).to_have_attribute("data-bs-theme", "light")
    page.get_by_role("button", name="Dark").click()
    page.reload()
    expect(root).to_have_attribute("data-bs-theme", "dark")
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="System").click()
    expect(root).to_have_attribute("data-bs-theme", "light")


def test_the_menu_folds_and_stays_folded(open_page):
    page = open_page("/")
    link = page.get_by_role("navigation", name="Main").get_by_role("link", name="Deployments")
    wide = page.locator("aside.navbar-vertical").bounding_box()["width"]
    page.get_by_role("button", name="Collapse sidebar").click()
    page.reload()
    assert page.locator("aside.navbar-vertical").bounding_box()["width"] < wide / 2
    # Without its word the link still has its name.
    link.click()
    expect(page).to_have_url(re.compile("/deployments/$"))


def test_on_a_narrow_screen_the_menu_opens_and_closes(open_page):
    page = open_page("/", viewport={"width": 390, "height": 844})
    link = page.get_by_role("navigation", name="Main").get_by_role("link", name="Jobs")
    expect(link).to_be_hidden()
    page.locator("label.nav-toggle").click()
    expect(link).to_be_visible()
    page.locator("label.nav-toggle").click()
    expect(link).to_be_hidden()


def test_a_changed_row_is_tinted_unless_motion_is_unwanted(open_page, deploy, move):
    animation = "(id) => getComputedStyle(document.getElementById(id)).animationName"
    for motion, expected in (("no-preference", "tint"), ("reduce", "none")):
        pk = deploy(f"tinted-{motion}")
        page = open_page("/deployments/", reduced_motion=motion)
        expect(page.locator("html")).to_have_attribute("data-live", "live")
        move(pk, "placing")
        expect(page.locator(f"#deployment-{pk}.tinted")).to_have_count(1)
        assert page.evaluate(animation, f"deployment-{pk}") == expected


def test_without_scripts_a_person_does_the_whole_round(open_page, site, deploy, allowed_noise):
    allowed_noise += ["422"]
    pk = deploy("no-scripts")
    page = open_page("/", java_script_enabled=False)
    page.get_by_label("Search everything").fill("no-scripts")
    page.get_by_label("Search everything").press("Enter")
    page.locator("#content").get_by_role("link", name="no-scripts").click()
    expect(page).to_have_url(site.url + f"/deployments/{pk}/")
    page.goto("/hosts/1/edit/")
    page.get_by_label("Labels").fill("rack-3, for-tests")
    page.get_by_label("Reserved for the system").fill("900")
    page.get_by_role("button", name="Save").click()
    # The error stands beside its field, and nothing that was typed is gone.
    expect(page.locator(".field.has-error")).to_contain_text("Reserve between 0 and")
    expect(page.get_by_label("Labels")).to_have_value("rack-3, for-tests")
    page.get_by_label("Reserved for the system").fill("1.5")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#host-panel")).to_contain_text("rack-3")
    page.get_by_role("button", name="Drain").click()
    expect(page.locator("#drain-means")).to_contain_text("nothing new is placed here")
    page.get_by_role("button", name="Undrain").click()
    page.goto("/keys/new/")
    page.get_by_label("Name").fill("by hand")
    page.get_by_role("button", name="Create").click()
    expect(page.locator("#key-text")).to_contain_text("my_")
    page.goto("/help/?q=drain")
    page.get_by_role("link", name="Hosts", exact=True).last.click()
    expect(page.get_by_role("heading", name="Memory reservations")).to_be_visible()
    page.goto("/playground/")
    expect(page.get_by_role("alert")).to_contain_text("JavaScript")


def test_a_command_is_copied_without_its_prompt(open_page, site):
    page = open_page("/help/first-hour/")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site.url)
    example = page.locator("[data-language=console]").first
    expect(example).to_contain_text("$ curl")
    page.locator(f"[data-copy={example.get_attribute('id')}]").click()
    wait_until(lambda: page.evaluate("navigator.clipboard.readText()").startswith("curl "))


def test_destructive_actions_ask_first(open_page, deploy, allowed_noise):
    allowed_noise += ["422"]
    pk = deploy("precious")
    page = open_page(f"/deployments/{pk}/")
    asked = []

    def refuse(dialog):
        asked.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", refuse)
    with page.expect_event("dialog"):
        page.get_by_role("button", name="Stop").click()
    page.goto("/hosts/1/")
    with page.expect_event("dialog"):
        page.get_by_role("button", name="Drain").click()
    assert len(asked) == 2 and "Nothing new is placed here" in asked[1]
    expect(page.get_by_role("button", name="Drain")).to_be_visible()
    page.goto(f"/deployments/{pk}/delete/")
    page.get_by_label("Type precious").fill("something else")
    page.get_by_role("button", name="Delete").click()
    expect(page.locator("#content")).to_contain_text("The name doesn't match")
