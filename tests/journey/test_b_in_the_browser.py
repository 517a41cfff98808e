"""A person with a browser: sign in, deploy a second model, chat with it, find its log, delete it."""

import re

import pytest
from playwright.sync_api import expect

from tests.parts.browser import chromium, sign_in

pytestmark = [pytest.mark.journey, pytest.mark.docker, pytest.mark.browser]


def test_a_person_deploys_chats_and_deletes(stack, password, key):
    wrong = []
    with chromium() as browser:
        page = sign_in(browser, stack.url, "admin", password)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        expect(page.locator("tr", has_text="smollm2").first).to_contain_text("ready")

        page.goto("/deployments/new/")
        page.get_by_label("Name", exact=True).fill("second")
        page.get_by_label("Context length").fill("1024")
        expect(page.locator("#fit")).to_contain_text("2 x 1024 tokens")
        page.get_by_role("button", name="Deploy").click()
        expect(page).to_have_url(re.compile(r"/deployments/\d+/$"))
        # No reload from here on: the page follows the truth.
        expect(page.locator(".status-line")).to_contain_text("ready", timeout=120_000)
        expect(page.locator("#deployment-panel")).to_contain_text("passed the health check")
        expect(page.locator("body")).to_contain_text("model loaded")

        page.goto("/playground/")
        page.locator("#deployment-a").select_option(label="second (ready)")
        page.get_by_label("Temperature").fill("0")
        page.get_by_label("Your message").fill("What is the capital of France? Answer in one sentence.")
        page.keyboard.press("Enter")
        expect(page.locator(".turn-assistant .words")).to_contain_text("Paris", timeout=60_000)
        expect(page.locator("#measured-a")).to_contain_text(re.compile(r"TTFT \d+ ms · [\d.]+ tokens/s"))

        made = stack.deployment("second", key)
        page.goto(f"/deployments/{made['id']}/")
        page.get_by_role("link", name="Delete").click()
        page.get_by_label("Type second").fill("second")
        page.get_by_role("button", name="Delete").click()
        expect(page.get_by_role("link", name="second", exact=True)).to_have_count(0, timeout=60_000)
    assert stack.deployment("second", key) is None
    assert wrong == []
