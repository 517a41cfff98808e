"""The interactive API description works under the rules of the site: nothing inline, nothing from elsewhere."""

import pytest

pytestmark = pytest.mark.browser


def test_the_api_is_tried_out_in_the_browser(open_page):
    page = open_page("/api/v1/docs")
    page.get_by_text("Show the current user").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    answer = page.locator(".responses-table.live-responses-table")
    answer.get_by_text('"ada"').first.wait_for()


def test_a_room_says_what_it_is_about_and_an_operation_how_it_refuses(open_page):
    page = open_page("/api/v1/docs")
    page.get_by_text("Models served under a name").wait_for()
    page.get_by_text("Create a deployment (dry_run: estimate only)").click()
    page.get_by_text("Conflict with the current state.").first.wait_for()
    page.get_by_text("Idempotency-Key").first.wait_for()
